//! Asking other nodes what publishers said of their keys, before it is told what they published.
//!
//! Owns the questions, and which publishers were asked about lately. Never says what follows from an
//! answer: what is learnt is in the own store, which honours it.
//!
//! **Invariant:** at most [`PEERS_ASKED_MAX`] nodes are asked at once, and of what one of them names at most
//! [`LEARNT_MAX`] statements are fetched; at most twice [`ASKED_MAX`] publishers are remembered. Who did not
//! answer holds up nobody for [`LEFT_ALONE`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use libp2p::PeerId;

use super::beside::{Quorum, fetch};
use super::refusals::Reason;
use super::wire::{Ask, IDS_MAX, PUBLISHERS_MAX, Response};
use super::{REPLICAS_MAX, Shared, compare, lock};
use crate::backend::PUBLISHERS_MAX as ASKED_ABOUT_MAX;
use crate::{Cell, Found, PacketId};

/// Publishers that are remembered, about.
const ASKED_MAX: usize = 8_192;
/// Nodes that are asked about the publishers of one answer.
const PEERS_ASKED_MAX: usize = 256;
/// Statements that one node teaches at once; more are found by comparing.
const LEARNT_MAX: usize = 256;
/// How long who did not answer is not asked.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// Peers that are left alone at most.
const SILENT_MAX: usize = 1_024;

/// How many of a cell's nodes have to have answered.
pub(super) const fn enough(nodes: usize) -> usize {
    if nodes == 0 { 0 } else { nodes / 2 + 1 }
}

/// What was asked.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    /// The publishers that were asked about: when the young ones are many they are the old ones, and
    /// those go.
    asked: Mutex<[HashMap<[u8; 32], Instant>; 2]>,
    /// Who did not answer, and when.
    silent: Mutex<HashMap<PeerId, Instant>>,
}

impl Inquiries {
    pub(super) fn has(&self, publisher: &[u8; 32]) -> bool {
        lock(&self.asked).iter().any(|asked| asked.contains_key(publisher))
    }

    fn note(&self, publishers: &[[u8; 32]]) {
        let [young, old] = &mut *lock(&self.asked);
        for publisher in publishers {
            if young.len() >= ASKED_MAX {
                *old = mem::take(young);
            }
            young.insert(*publisher, Instant::now());
        }
    }

    /// Those that were not asked about a moment ago.
    fn due(&self, publishers: &[[u8; 32]]) -> Vec<[u8; 32]> {
        let asked = lock(&self.asked);
        let lately = |publisher: &[u8; 32]| {
            let times = asked.iter().filter_map(|asked| asked.get(publisher));
            times.max().is_some_and(|asked| asked.elapsed() < compare::AGE_MAX)
        };
        publishers.iter().filter(|publisher| !lately(publisher)).copied().collect()
    }

    fn is_silent(&self, peer: &PeerId) -> bool {
        lock(&self.silent).get(peer).is_some_and(|since| since.elapsed() < LEFT_ALONE)
    }

    fn note_silence(&self, peer: PeerId) {
        let mut silent = lock(&self.silent);
        if silent.len() >= SILENT_MAX {
            silent.retain(|_, since| since.elapsed() < LEFT_ALONE);
        }
        if silent.len() < SILENT_MAX {
            silent.insert(peer, Instant::now());
        }
    }
}

/// Asks the nodes that keep what was found, those of them that were just heard, about its publishers; true
/// when something was learnt.
pub(super) async fn about_found(
    shared: &Shared,
    found: &[Found],
    heard: &BTreeSet<PeerId>,
) -> bool {
    let publishers: BTreeSet<[u8; 32]> = found.iter().map(|one| one.opened.publisher).collect();
    let cells: BTreeSet<Cell> =
        found.iter().map(|one| shared.filed(&one.opened.outcome.situation)).collect();
    let circles = shared.circles(cells.into_iter().collect()).await.unwrap_or_default();
    let mut quorum = Quorum { groups: BTreeSet::new(), enough };
    for circle in circles {
        if quorum.peers().len() + circle.peers.len() > PEERS_ASKED_MAX {
            break;
        }
        quorum
            .groups
            .insert(circle.peers.iter().filter(|peer| heard.contains(peer)).copied().collect());
    }
    inquire(shared, publishers.into_iter().collect(), quorum).await
}

/// Makes sure that what is known of publishers is not older than a moment: by comparing, and where some
/// statements have found no room by asking about them.
pub(super) async fn keep_up(shared: &Shared, publishers: &[[u8; 32]]) {
    compare::keep_up(shared).await;
    let publishers = publishers.iter().take(ASKED_ABOUT_MAX);
    let lacking = publishers.filter(|one| shared.passed.may_lack(one)).copied().collect::<Vec<_>>();
    inquire(shared, shared.inquiries.due(&lacking), speaking(shared)).await;
}

/// Whether that is so already.
pub(super) fn is_up(shared: &Shared, publisher: &[u8; 32]) -> bool {
    compare::is_up(shared) && !shared.passed.may_lack(publisher)
}

/// Some of those that are connected and did not keep silent.
pub(super) fn speaking(shared: &Shared) -> Quorum {
    let connected = lock(&shared.connected);
    let speaking = connected.iter().filter(|peer| !shared.inquiries.is_silent(peer));
    let some = speaking.take(REPLICAS_MAX).copied().collect();
    Quorum { groups: BTreeSet::from([some]), enough }
}

async fn inquire(shared: &Shared, publishers: Vec<[u8; 32]>, quorum: Quorum) -> bool {
    if publishers.is_empty() {
        return false;
    }
    // Whose statements they are matters here from now on.
    shared.inquiries.note(&publishers);
    let publishers = publishers.as_slice();
    let learnt = gather(shared, quorum, |peer| ask(shared, peer, publishers)).await;
    // From now on it was a moment ago.
    shared.inquiries.note(publishers);
    learnt
}

/// Asks all of them for ids of statements, until enough have answered, and fetches what is missing; true
/// when something was learnt.
pub(super) async fn gather<A: Future<Output = Option<Vec<PacketId>>>>(
    shared: &Shared,
    quorum: Quorum,
    ask: impl Fn(PeerId) -> A,
) -> bool {
    let asked = quorum.peers().into_iter().map(|peer| ask(peer).map(move |ids| (peer, ids)));
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut answered, mut named) = (BTreeSet::new(), BTreeMap::<PacketId, Vec<PeerId>>::new());
    while !quorum.is_met(&answered)
        && let Some((peer, ids)) = asked.next().await
    {
        let Some(ids) = ids else {
            shared.inquiries.note_silence(peer);
            continue;
        };
        answered.insert(peer);
        let missing = ids.into_iter().filter(|id| !shared.local.has_statement(id));
        missing.take(LEARNT_MAX).for_each(|id| named.entry(id).or_default().push(peer));
    }
    fetch(shared, named).await
}

/// The statements that a peer knows about publishers; `None` when it does not answer.
async fn ask(shared: &Shared, peer: PeerId, publishers: &[[u8; 32]]) -> Option<Vec<PacketId>> {
    let mut ids = Vec::new();
    for publishers in publishers.chunks(PUBLISHERS_MAX) {
        match shared.ask(peer, Ask::About(publishers.to_vec())).await? {
            Response::Ids(some) if some.len() <= IDS_MAX => ids.extend(some),
            _ => {
                shared.blame(peer, Reason::Malformed);
                return None;
            }
        }
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_publishers_are_remembered_and_the_latest_are() {
        let inquiries = Inquiries::default();
        let publisher = |number: usize| {
            let mut publisher = [0; 32];
            publisher[..8].copy_from_slice(&number.to_be_bytes());
            publisher
        };
        for number in 0..5 * ASKED_MAX {
            inquiries.note(&[publisher(number)]);
            assert!(lock(&inquiries.asked).iter().all(|asked| asked.len() <= ASKED_MAX));
        }
        assert!((4 * ASKED_MAX..5 * ASKED_MAX).all(|number| inquiries.has(&publisher(number))));
        assert!(!inquiries.has(&publisher(0)));
        let stranger = publisher(0);
        assert_eq!(inquiries.due(&[stranger]), [stranger]);
    }
}
