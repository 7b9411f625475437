//! Which nodes keep a cell.
//!
//! Owns the lookups and what is remembered of them. Never asks for a packet.
//!
//! **Invariant:** at most [`CIRCLES_MAX`] cells are remembered, none longer than [`REMEMBERED`]; a
//! node that did not answer is forgotten at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
/// Bits of a key by which regions are told apart.
const REGION_BITS: u32 = 6;
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
        if let Some(circle) = self.circles.get(&cell) {
            return circle;
        }
        let found = self.look_up(&cell).await;
        let complete = found.is_some();
        let keys = keys(self.with_connected(found.unwrap_or_default()));
        let circle = Arc::new(circle(&cell, self.own, keys, self.replicas));
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
        let all = async {
            self.survey(&cells).await;
            let lookups: Vec<_> = cells.into_iter().map(|cell| self.circle(cell)).collect();
            futures_util::stream::iter(lookups).buffered(LOOKUPS_MAX).collect().await
        };
        let late = |_| BackendError::Timeout(ALL_LOOKUPS_MAX.as_secs() * 1_000);
        tokio::time::timeout(ALL_LOOKUPS_MAX, all).await.map_err(late)
    }

    /// The nodes nearest to a cell's key that the network knows of; `None` when it could not be asked.
    async fn look_up(&self, cell: &Cell) -> Option<Vec<PeerId>> {
        if lock(&self.connected).is_empty() {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        let looked_up = async {
            self.orders.send(Order::Closest { key: name(cell), reply }).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(LOOKUP_MAX * 2, looked_up).await.ok().flatten()
    }

    /// A lookup passes over a node that was too busy to answer it; those that this node is connected
    /// to are known to be there.
    fn with_connected(&self, found: impl IntoIterator<Item = PeerId>) -> BTreeSet<PeerId> {
        let mut peers = lock(&self.connected).iter().copied().collect::<BTreeSet<PeerId>>();
        peers.extend(found);
        peers
    }

    /// Learns the nodes of many cells from one lookup in each region of the keys. One that finds
    /// nodes beyond its region has found all in it, so the nodes near any key there are known.
    async fn survey(&self, cells: &[Cell]) {
        let unknown: Vec<&Cell> =
            cells.iter().filter(|cell| self.circles.get(cell).is_none()).collect();
        if unknown.len() <= 1 << REGION_BITS {
            return;
        }
        let mut regions: BTreeMap<u8, Vec<&Cell>> = BTreeMap::new();
        for cell in unknown {
            regions.entry(region(&KBucketKey::new(name(cell)))).or_default().push(cell);
        }
        let lookups: Vec<_> = regions.values().map(|cells| self.look_up(cells[0])).collect();
        let found: Vec<Option<Vec<PeerId>>> =
            futures_util::stream::iter(lookups).buffered(LOOKUPS_MAX).collect().await;
        let all = keys(self.with_connected(found.iter().flatten().flatten().copied()));
        for ((number, cells), found) in regions.into_iter().zip(found) {
            let found = keys(found.unwrap_or_default());
            if found.is_empty() || !found.iter().any(|key| region(key) != number) {
                continue;
            }
            for cell in cells {
                let circle = circle(cell, self.own, all.clone(), self.replicas);
                self.circles.insert(cell.clone(), &Arc::new(circle));
            }
        }
    }
}

/// What is hashed to a cell's key.
fn name(cell: &Cell) -> Vec<u8> {
    cell.to_string().into_bytes()
}

fn keys(peers: impl IntoIterator<Item = PeerId>) -> Vec<KBucketKey<PeerId>> {
    peers.into_iter().map(KBucketKey::from).collect()
}

/// The first bits of a key.
fn region<T>(key: &KBucketKey<T>) -> u8 {
    key.hashed_bytes()[0] >> (8 - REGION_BITS)
}

fn circle(cell: &Cell, own: PeerId, mut found: Vec<KBucketKey<PeerId>>, replicas: usize) -> Circle {
    let (key, own) = (KBucketKey::new(name(cell)), KBucketKey::from(own));
    found.retain(|peer| *peer != own);
    found.sort_by_cached_key(|peer| key.distance(peer));
    found.dedup();
    let nearer = found.iter().filter(|peer| key.distance(peer) < key.distance(&own)).count();
    found.truncate(if nearer < replicas { replicas - 1 } else { replicas });
    let peers = found.into_iter().map(KBucketKey::into_preimage).collect();
    Circle { peers, own: nearer < replicas, near: nearer < REPLICAS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_pipeline::fingerprint::Space;

    /// The nearest of some peers to a cell, by the definition.
    fn nearest(cell: &Cell, mut peers: Vec<PeerId>, count: usize) -> Vec<PeerId> {
        let key = KBucketKey::new(name(cell));
        peers.sort_by_cached_key(|peer| key.distance(&KBucketKey::from(*peer)));
        peers.truncate(count);
        peers
    }

    #[test]
    fn a_circle_is_the_nearest_with_or_without_this_node() {
        let cell = Cell::whole(&Space::default_definition());
        let all = nearest(&cell, (0..40).map(|_| PeerId::random()).collect(), 40);
        for place in [0, 4, 5, 6, 19, 20, 30] {
            let own = all[place];
            let mut others = all.clone();
            others.remove(place);
            others.truncate(20);
            others.reverse();
            let circle = circle(&cell, own, keys(others), 5);
            assert_eq!(circle.own, place < 5, "{place}");
            assert_eq!(circle.near, place < 20, "{place}");
            let mut expected = all[..5].to_vec();
            expected.retain(|peer| *peer != own);
            assert_eq!(circle.peers, expected, "{place}");
        }
        let alone = circle(&cell, all[0], Vec::new(), 20);
        assert!(alone.own && alone.peers.is_empty());
    }
}
