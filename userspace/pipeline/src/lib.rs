//! The pure core of Edgelore: takes signals and `now`, returns values.
//!
//! ```text
//! Batch of Signal ─► decode ─► Observation ─► detect ─► Finding (Incident, Settings)
//!                                                          │
//!                                   resolve ◄──────────────┤ what changed between two
//!                                      │                   ▼
//!                                      └──────────────► distil ─► Outcome
//!                                                          │
//!                          fingerprint (hash, address) ◄───┤
//!                                                          ▼
//!                                                       packet ─► ≤ 512 signed bytes
//!
//! LinkStateChange of an Observation ─► topology ─► Topology
//!
//! packets found near a situation ─► synthesise ─► Advice
//! ```
//!
//! **Invariant:** no socket, no clock, no thread, no async in here: the same bytes with the same
//! timestamps give the same result, bit for bit.
#![forbid(unsafe_code)]

pub mod decode;
pub mod detect;
pub mod distil;
pub mod explain;
pub mod fingerprint;
pub mod packet;
mod pages;
pub mod resolve;
pub mod rib;
pub mod synthesise;
pub mod topology;
