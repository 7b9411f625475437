//! Placeholder root, replaced as the crate grows.
#![no_std]
