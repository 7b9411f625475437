//! Which nodes keep a cell.
//!
//! Owns the lookups and what is remembered of them. Never asks for a packet.
//!
//! **Invariant:** at most [`CIRCLES_MAX`] cells are remembered, none longer than [`REMEMBERED`]; a
//! node that did not answer is forgotten at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use libp2p::PeerId;
use libp2p::kad::KBucketKey;
use tokio::sync::oneshot;

use super::drive::Order;
use super::overlay::LOOKUP_MAX;
use super::{REPLICAS_MAX, Shared, lock};
use crate::Cell;
use crate::backend::BackendError;

/// Cells that are remembered.
const CIRCLES_MAX: usize = 8_192;
/// How long: nodes come and go.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How long all lookups of one call take at most.
const ALL_LOOKUPS_MAX: Duration = Duration::from_secs(10);
/// Lookups of one call at the same time.
const LOOKUPS_MAX: usize = 16;

/// The nodes near a cell's key.
#[derive(Debug)]
pub(super) struct Circle {
    /// Those that keep it, without this one; nearest first.
    pub(super) peers: Vec<PeerId>,
    /// This node keeps it too.
    pub(super) own: bool,
    /// This node is near enough to be taken for one that keeps it.
    pub(super) near: bool,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Circles(Mutex<HashMap<Cell, (Instant, Arc<Circle>)>>);

impl Circles {
    /// Everything: the network has changed.
    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// What a node is part of.
    pub(super) fn forget(&self, peer: &PeerId) {
        lock(&self.0).retain(|_, (_, circle)| !circle.peers.contains(peer));
    }

    fn get(&self, cell: &Cell) -> Option<Arc<Circle>> {
        let known = lock(&self.0);
        let (since, circle) = known.get(cell)?;
        (since.elapsed() < REMEMBERED).then(|| Arc::clone(circle))
    }

    fn insert(&self, cell: Cell, circle: &Arc<Circle>) {
        let mut known = lock(&self.0);
        if known.len() >= CIRCLES_MAX {
            known.clear();
        }
        known.insert(cell, (Instant::now(), Arc::clone(circle)));
    }
}

impl Shared {
    /// The nodes of a cell.
    pub(super) async fn circle(&self, cell: Cell) -> Arc<Circle> {
        if lock(&self.connected).is_empty() {
            return Arc::new(circle(&[], self.own, Vec::new(), self.replicas));
        }
        if let Some(circle) = self.circles.get(&cell) {
            return circle;
        }
        let key = cell.to_string().into_bytes();
        let (reply, answer) = oneshot::channel();
        let looked_up = async {
            self.orders.send(Order::Closest { key: key.clone(), reply }).await.ok()?;
            answer.await.ok()
        };
        let found = tokio::time::timeout(LOOKUP_MAX * 2, looked_up).await.ok().flatten();
        let complete = found.is_some();
        let circle = Arc::new(circle(&key, self.own, found.unwrap_or_default(), self.replicas));
        // What was not finished, or found nobody, is asked again the next time.
        if complete && !circle.peers.is_empty() {
            self.circles.insert(cell, &circle);
        }
        circle
    }

    /// The nodes of several cells, in their order.
    ///
    /// # Errors
    /// [`BackendError::Timeout`] when not all are found in time; what was found is remembered.
    pub(super) async fn circles(&self, cells: Vec<Cell>) -> Result<Vec<Arc<Circle>>, BackendError> {
        let lookups: Vec<_> = cells.into_iter().map(|cell| self.circle(cell)).collect();
        let all = futures_util::stream::iter(lookups).buffered(LOOKUPS_MAX).collect();
        let late = |_| BackendError::Timeout(ALL_LOOKUPS_MAX.as_secs() * 1_000);
        tokio::time::timeout(ALL_LOOKUPS_MAX, all).await.map_err(late)
    }
}

fn circle(key: &[u8], own: PeerId, mut found: Vec<PeerId>, replicas: usize) -> Circle {
    let key = KBucketKey::new(key.to_vec());
    let distance = |peer: &PeerId| key.distance(&KBucketKey::from(*peer));
    found.sort_by_cached_key(distance);
    found.dedup();
    let nearer = found.iter().filter(|peer| distance(peer) < distance(&own)).count();
    found.retain(|peer| *peer != own);
    found.truncate(if nearer < replicas { replicas - 1 } else { replicas });
    Circle { peers: found, own: nearer < replicas, near: nearer < REPLICAS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_the_nearest_with_or_without_this_node() {
        let key = b"edgelore/1/x".to_vec();
        let target = KBucketKey::new(key.clone());
        let mut all: Vec<PeerId> = (0..40).map(|_| PeerId::random()).collect();
        all.sort_by_cached_key(|peer| target.distance(&KBucketKey::from(*peer)));
        for place in [0, 4, 5, 6, 19, 20, 30] {
            let own = all[place];
            let mut others = all.clone();
            others.remove(place);
            others.truncate(20);
            others.reverse();
            let circle = circle(&key, own, others, 5);
            assert_eq!(circle.own, place < 5, "{place}");
            assert_eq!(circle.near, place < 20, "{place}");
            let mut expected = all[..5].to_vec();
            expected.retain(|peer| *peer != own);
            assert_eq!(circle.peers, expected, "{place}");
        }
        let alone = circle(&key, all[0], Vec::new(), 20);
        assert!(alone.own && alone.peers.is_empty());
    }
}
