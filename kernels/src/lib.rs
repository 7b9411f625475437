//! Batch kernels: the same small computation over many inputs at once, by the fastest
//! instructions that the machine has.
//!
//! Owns the choice of an implementation ([`platform`]) and the implementations. Never knows what
//! the bytes mean.
//!
//! **Invariant:** every implementation gives the same result as the portable one on every input.

pub mod memory;
pub mod platform;
pub mod sha256;
pub mod similarity;
pub mod text;
