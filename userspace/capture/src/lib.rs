//! Sources of raw signals.
//!
//! Each source turns what it sees into [`edgelore_model::Signal`]s and counts what it loses. No
//! source decodes a protocol, decides anything or knows the pipeline.

pub mod bmp;
mod clock;
pub mod file;
pub mod netlink;
mod reason;
pub mod ring;
mod speaker;
pub mod trace;

pub use clock::Clock;
pub use reason::reason;
pub use speaker::Sockets;
