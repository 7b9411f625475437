//! Where outcome packets are stored and found: one trait, several backends, one suite.
//!
//! Owns [`Backend`] and its implementations: [`embedded`] (in this process, durable), [`http`]
//! (another node's `edgelore serve`), and, each a feature, `nats`, `pgvector`, `postgres`, `redis` and
//! `dht`, with [`layers`] around any of them. Never ranks what it finds and never seals a packet.
//!
//! **Invariant:** a packet that leaves a backend was verified in this process, or by the one that put
//! it into the embedded store; an acknowledged packet survives a crash.
#![forbid(unsafe_code)]

mod admission;
mod backend;
mod beside;
pub mod copy;
#[cfg(feature = "dht")]
pub mod dht;
pub mod embedded;
mod everything;
pub mod http;
pub mod layers;
#[cfg(feature = "nats")]
pub mod nats;
mod opener;
#[cfg(test)]
#[path = "../tests/suite/packets.rs"]
#[allow(dead_code, reason = "the suite of all backends uses more of it")]
mod packets;
#[cfg(feature = "pgvector")]
pub mod pgvector;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod placement;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod shelf;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod stepping;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod verify;

pub use admission::CLOCK_AHEAD_MAX;
pub use backend::{
    Backend, BackendError, CELLS_MAX, Capability, Cursor, Delivery, LIMIT_DEFAULT, LIMIT_MAX,
    PUBLISHERS_MAX, STATEMENTS_PAGE, Said, Stored, Subscription,
};
pub use edgelore_pipeline::fingerprint::Cell;
pub use edgelore_pipeline::packet::PacketId;
pub use edgelore_pipeline::synthesise::Found;
pub use everything::Everything;
