//! rtnetlink sources.
