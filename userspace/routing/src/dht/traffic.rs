//! What a node sends and takes over, counted.
//!
//! Owns the counters, which only grow. Never decides anything by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number of times.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn one(&self) {
        self.more(1);
    }

    pub(super) fn more(&self, times: u64) {
        self.0.fetch_add(times, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See [`Figures`](super::Figures).
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) asked: Count,
    pub(super) unanswered: Count,
    pub(super) spared: Count,
    pub(super) copies: Count,
    pub(super) kept: Count,
    pub(super) gossiped: Count,
    pub(super) ungossiped: Count,
    pub(super) told: Count,
    pub(super) learnt: Count,
}
