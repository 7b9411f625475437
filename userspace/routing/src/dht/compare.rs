//! Comparing statements about keys with peers, so that in the end all nodes have them.
//!
//! ```text
//! sums of what is here ─► peer ─► ids where its sums differ, in order ─► those that are not here ─► fetch
//! ```
//!
//! In every round a few peers are compared with: first those with whom it was never done since they came,
//! then those with whom it is longest ago. What is equal costs one small question. One after
//! another, so that nothing is fetched twice.
//!
//! Who reads statements, or follows cells, has a first page of more than half of those that answer, once a
//! second at most.
//!
//! Owns these rounds. Never removes anything.
//!
//! **Invariant:** a round takes at most [`PAGES_MAX`] pages of each of at most [`PEERS_MAX`] peers; the next
//! goes on where it ended.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::beside::fetch;
use super::refusals::Reason;
use super::wire::{Ask, IDS_MAX, Response};
use super::{Shared, inquire, lock};
use crate::PacketId;

/// Pages of ids in one round with one peer.
const PAGES_MAX: usize = 8;
/// Peers in one round; of those with whom it was done before so many.
const PEERS_MAX: usize = 8;
const AGAIN_MAX: usize = 2;
/// Between two rounds, however much happens.
const PAUSE: Duration = Duration::from_millis(100);
/// How old what is known may be where one reads without searching.
pub(super) const AGE_MAX: Duration = Duration::from_secs(1);
/// Statements that are remembered as passed over.
const PASSED_MAX: usize = 65_536;

/// Statements that were not kept.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<PassedOver>);

#[derive(Debug, Default)]
struct PassedOver {
    /// They are not fetched again by comparing, until so many are remembered that it begins anew.
    ids: HashSet<PacketId>,
    /// The keys of those for which there was no room.
    crowded: HashSet<[u8; 32]>,
    /// There were more keys than are remembered.
    forgotten: bool,
}

impl Passed {
    /// Notes one that says nothing new.
    pub(super) fn note(&self, id: PacketId) {
        let mut passed = lock(&self.0);
        if passed.ids.len() >= PASSED_MAX {
            passed.ids.clear();
        }
        passed.ids.insert(id);
    }

    /// Notes one about some keys for which there was no room.
    pub(super) fn note_crowded(&self, id: PacketId, keys: &[[u8; 32]]) {
        self.note(id);
        let mut passed = lock(&self.0);
        if passed.crowded.len() + keys.len() > PASSED_MAX {
            passed.forgotten = true;
        } else {
            passed.crowded.extend(keys);
        }
    }

    fn has(&self, id: &PacketId) -> bool {
        lock(&self.0).ids.contains(id)
    }

    /// Whether a statement about a key may have found no room, so that comparing does not bring it.
    pub(super) fn may_lack(&self, publisher: &[u8; 32]) -> bool {
        let passed = lock(&self.0);
        passed.forgotten || passed.crowded.contains(publisher)
    }
}

/// How far the comparing with a peer has come.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The round in which it was last done.
    round: u64,
    after: Option<PacketId>,
}

/// With whom was compared.
#[derive(Debug, Default)]
pub(super) struct Comparisons {
    round: u64,
    places: HashMap<PeerId, Place>,
}

impl Comparisons {
    /// The peers of the next round, of those that are connected.
    fn next(&mut self, connected: &HashSet<PeerId>) -> Vec<PeerId> {
        self.places.retain(|peer, _| connected.contains(peer));
        let new = connected.iter().filter(|peer| !self.places.contains_key(peer)).copied();
        let mut again: Vec<(u64, PeerId)> =
            self.places.iter().map(|(peer, place)| (place.round, *peer)).collect();
        again.sort_unstable();
        let again = again.into_iter().take(AGAIN_MAX).map(|(_, peer)| peer);
        let peers: Vec<PeerId> = new.take(PEERS_MAX - AGAIN_MAX).chain(again).collect();
        self.round += 1;
        for peer in &peers {
            match self.places.entry(*peer) {
                hash_map::Entry::Occupied(mut known) => known.get_mut().round = self.round,
                hash_map::Entry::Vacant(new) => {
                    new.insert(Place { round: self.round, after: None });
                }
            }
        }
        peers
    }
}

/// Goes on until the runtime ends.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    loop {
        round(&shared).await;
        tokio::time::sleep(PAUSE).await;
        // Whichever comes first.
        let _ = tokio::time::timeout(every, shared.met.notified()).await;
    }
}

/// Compares with a few peers.
pub(super) async fn round(shared: &Shared) {
    // Rounds at the same time would fetch the same.
    let mut comparisons = shared.comparisons.lock().await;
    let connected = lock(&shared.connected).clone();
    for peer in comparisons.next(&connected) {
        let place = comparisons.places.entry(peer).or_default();
        place.after = compare(shared, peer, place.after).await;
    }
}

/// Asks several peers at once for a first page, unless that was done a moment ago, and waits for more than
/// half of them.
pub(super) async fn keep_up(shared: &Shared) {
    let mut looked = shared.looked.lock().await;
    if is_fresh(*looked) {
        return;
    }
    let new = |ids: Vec<PacketId>| ids.into_iter().filter(|id| !shared.passed.has(id)).collect();
    let ask = |peer| async move { page(shared, peer, None).await.map(new) };
    inquire::gather(shared, inquire::speaking(shared), ask).await;
    *looked = Some(Instant::now());
}

/// Whether that was done a moment ago.
pub(super) fn is_up(shared: &Shared) -> bool {
    shared.looked.try_lock().is_ok_and(|looked| is_fresh(*looked))
}

fn is_fresh(looked: Option<Instant>) -> bool {
    looked.is_some_and(|looked| looked.elapsed() < AGE_MAX)
}

/// Takes over what a peer has and this node lacks; gives where to go on.
async fn compare(shared: &Shared, peer: PeerId, mut after: Option<PacketId>) -> Option<PacketId> {
    for _ in 0..PAGES_MAX {
        let Some(ids) = page(shared, peer, after).await else { return after };
        let lacking = ids.iter().filter(|id| !shared.local.has_statement(id));
        let named: BTreeMap<PacketId, Vec<PeerId>> =
            lacking.filter(|id| !shared.passed.has(id)).map(|id| (*id, vec![peer])).collect();
        let (some, new) = (!named.is_empty(), fetch(shared, named).await);
        if ids.len() < IDS_MAX {
            return None;
        }
        after = ids.last().copied();
        // Who has a page of nothing that is wanted may have many more: that is for the next round.
        if some && !new {
            return after;
        }
    }
    after
}

/// The next ids after a place where a peer's statements differ from ours.
async fn page(shared: &Shared, peer: PeerId, after: Option<PacketId>) -> Option<Vec<PacketId>> {
    let sums = shared.local.sums();
    match shared.ask(peer, Ask::Compare { sums, after }).await? {
        Response::Ids(ids) if follow(after, &ids) => Some(ids),
        _ => {
            shared.blame(peer, Reason::Malformed);
            None
        }
    }
}

/// Whether ids are a page after a place.
fn follow(after: Option<PacketId>, ids: &[PacketId]) -> bool {
    ids.len() <= IDS_MAX
        && ids.is_sorted_by(|one, next| one < next)
        && ids.first().is_none_or(|first| after.is_none_or(|after| *first > after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_as_passed_over_and_none_passes_for_known() {
        let passed = Passed::default();
        let id = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        passed.note(id(1));
        assert!(passed.has(&id(1)) && !passed.may_lack(&id(1)));
        passed.note_crowded(id(2), &[id(3), id(4)]);
        assert!(passed.has(&id(2)) && passed.may_lack(&id(4)) && !passed.may_lack(&id(2)));
        for number in 0..2 * PASSED_MAX {
            passed.note_crowded(id(number), &[id(number)]);
            assert!(passed.may_lack(&id(number)));
        }
        let over = lock(&passed.0);
        assert!(over.ids.len() <= PASSED_MAX && over.crowded.len() <= PASSED_MAX);
    }

    #[test]
    fn everybody_has_a_turn_and_who_is_new_comes_first() {
        let mut comparisons = Comparisons::default();
        let mut connected: HashSet<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        let first: HashSet<PeerId> = comparisons.next(&connected).into_iter().collect();
        assert_eq!(first, connected);
        let mut again = Vec::new();
        for _ in 0..connected.len().div_ceil(AGAIN_MAX) {
            again.extend(comparisons.next(&connected));
        }
        assert!(connected.iter().all(|peer| again.contains(peer)));
        let new: Vec<PeerId> = (0..20).map(|_| PeerId::random()).collect();
        connected.extend(new.iter().copied());
        let mut met = HashSet::new();
        for _ in 0..4 {
            let peers = comparisons.next(&connected);
            assert!(peers.len() <= PEERS_MAX);
            met.extend(peers);
        }
        assert!(new.iter().all(|peer| met.contains(peer)));
        // Whoever comes back is new.
        connected.remove(&new[0]);
        comparisons.next(&connected);
        connected.insert(new[0]);
        assert!(comparisons.next(&connected).contains(&new[0]));
    }

    #[test]
    fn a_page_is_in_order_and_after_its_place() {
        let [a, b, c] = [1, 2, 3].map(|number| [number; 32]);
        for (after, ids, is_page) in [
            (None, vec![], true),
            (None, vec![a, b, c], true),
            (None, vec![a, c, b], false),
            (None, vec![a, a], false),
            (Some(a), vec![b, c], true),
            (Some(a), vec![a, b], false),
            (None, vec![a; IDS_MAX + 1], false),
        ] {
            assert_eq!(follow(after, &ids), is_page, "{after:?} {ids:?}");
        }
    }
}
