//! Sources of raw signals.
//!
//! Each source turns what it sees into [`edgelore_model::Signal`]s and counts what it loses. No
//! source decodes a protocol, decides anything or knows the pipeline.

mod clock;
pub mod file;
pub mod netlink;
pub mod ring;
pub mod trace;

pub use clock::Clock;
