//! What can be put around any backend.
//!
//! ```text
//! several stores at once   servers that stand in for one another
//! Mirror ─┬─ Retry ─ Failover ─┬─ Breaker ─ Timeout ─ http://a
//!         │                    └─ Breaker ─ Timeout ─ http://b
//!         └─ embedded
//! ```
//!
//! Owns [`Timeout`], [`Breaker`], [`Failover`], [`Mirror`], [`Retry`], [`Cache`] and [`Metrics`]; a
//! shared backend (`Arc`) is one too, so that sets of stores may have stores in common. Never changes
//! what a backend answers. What is published while no store can be reached is kept by the node's journal
//! and delivered later; there is no second spool here.
//!
//! **Invariant:** a layer repeats only what is idempotent.

mod breaker;
mod cache;
mod failover;
mod metrics;
mod mirror;
mod retry;
mod shared;
mod timeout;

pub use breaker::Breaker;
pub use cache::{Cache, CacheBounds};
pub use failover::Failover;
pub use metrics::{Measured, Metrics, OperationFigures};
pub use mirror::Mirror;
pub use retry::Retry;
pub use timeout::Timeout;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Backend;

/// A backend and what messages call it.
pub type Named = (String, Arc<dyn Backend>);

/// What several count together.
fn summed(backends: &[Named]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (name, count) in backends.iter().flat_map(|(_, backend)| backend.counts()) {
        *sums.entry(name).or_default() += count;
    }
    sums
}
