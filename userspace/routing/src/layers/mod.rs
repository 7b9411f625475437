//! What can be put around any backend.
//!
//! ```text
//! several stores at once   servers that stand in for one another
//! Mirror ─┬─ Retry ─ Failover ─┬─ Breaker ─ Timeout ─ http://a
//!         │                    └─ Breaker ─ Timeout ─ http://b
//!         └─ embedded
//! ```
//!
//! Owns [`Timeout`], [`Breaker`], [`Failover`], [`Mirror`] and [`Retry`]. Never changes what a
//! backend answers. What is published while no store can be reached is kept by the node's journal
//! and delivered later; there is no second spool here.
//!
//! **Invariant:** a layer repeats only what is idempotent.

mod breaker;
mod failover;
mod mirror;
mod retry;
mod timeout;

pub use breaker::Breaker;
pub use failover::Failover;
pub use mirror::Mirror;
pub use retry::Retry;
pub use timeout::Timeout;

use std::sync::Arc;

use crate::Backend;

/// A backend and what messages call it.
pub type Named = (String, Arc<dyn Backend>);
