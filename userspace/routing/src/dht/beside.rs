//! Statements about keys: who succeeds whom, and who counts no more.
//!
//! ```text
//! declare ─► own store (synced) ─► Declare to the nodes that keep what the key published, and others
//!                              └─► gossip, one topic that all nodes follow
//! query ─► About the publishers, to the nodes that keep the packets ─► Statements that are missing
//! rounds, statements, subscription ─► Compare with a few peers: sums ─► ids where they differ ─► Statements
//! ```
//!
//! A packet lies where its cell does; who reads it has to know what became of its key, whatever
//! the cell. Statements are few and never expire, so every node holds all of them, like a list of
//! revoked certificates:
//!
//! - **News** go by the gossip. It is fast and may lose.
//! - **Comparing** finds what is missing: a node that joined or was away, and halves of a network that
//!   were apart, catch up ([`compare`](super::compare)).
//! - **Asking** makes a statement hold as soon as it is acknowledged ([`inquire`](super::inquire)): it was
//!   given to half of the nodes of each cell in which its key published, as far as the declaring node
//!   has what it published, as a publisher's own has ([`declare`](super::declare)); a query hears more than half of the nodes of each cell in which it found
//!   something, of those that answer, about the publishers. Two such sets have a node in common.
//!
//! Keys are free, and so are statements. Those of keys with which nobody here has to do have a quarter of
//! the room; those of keys that published what is here displace them, those of keys that somebody
//! here asked about displace these, and what a user of this node declares displaces any that came
//! from peers ([`heard`](crate::embedded::heard)). So what had no room finds some when it matters: whoever
//! asks for packets asks about their publishers, and the nodes that keep the packets know. A
//! peer's statements and comparisons have a rate, and so have a node's own, below it. What passes by gossip
//! beyond the rate is left out and not held against who passed it on, for it may come from elsewhere.
//!
//! What remains: whoever publishes packets under as many keys as there is room fills nodes with
//! statements that make room only when others are asked about, which costs time. A statement
//! never expires, so what a flood left stays until it is displaced. Who keeps no copy of a cell is
//! told what its nodes say: when all of them are one attacker's, they can keep a statement back as they can
//! a packet. Until a statement has reached a node, that node counts what does not count any more among
//! the nearest that it names.
//!
//! Owns what is taken of peers' statements, and the answers about them. Never believes one.
//!
//! **Invariant:** no statement of a peer is kept, honoured or passed on before its signatures were verified
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use edgelore_pipeline::packet;
use edgelore_pipeline::packet::statement::{self, Statement};
use libp2p::PeerId;
use libp2p::gossipsub::MessageAcceptance;

use super::Shared;
use super::refusals::Reason;
use super::wire::{Ask, IDS_MAX, PACKETS_MAX, Response};
use crate::PacketId;
use crate::backend::{BackendError, Stored};
use crate::beside::keys;
use crate::embedded::heard::Asked;
use crate::embedded::sums::{Sum, are_parts};

/// How often a statement is asked for, each time of another node.
const ATTEMPTS: usize = 3;

/// Of each group of peers so many, by its size, are to answer.
pub(super) struct Quorum {
    pub(super) groups: BTreeSet<BTreeSet<PeerId>>,
    pub(super) enough: fn(usize) -> usize,
}

impl Quorum {
    /// All of them.
    pub(super) fn peers(&self) -> BTreeSet<PeerId> {
        self.groups.iter().flatten().copied().collect()
    }

    /// Whether enough have answered.
    pub(super) fn is_met(&self, answered: &BTreeSet<PeerId>) -> bool {
        let met = |group: &BTreeSet<PeerId>| {
            group.intersection(answered).count() >= (self.enough)(group.len())
        };
        self.groups.iter().all(met)
    }
}

impl Shared {
    /// Whether somebody here asked about a publisher.
    fn was_asked(&self) -> Asked {
        let inquiries = Arc::clone(&self.inquiries);
        Arc::new(move |publisher| inquiries.has(publisher))
    }

    /// Keeps what a user of this node says of a key.
    pub(super) async fn declare_own(&self, statement: Statement) -> Result<Stored, BackendError> {
        self.local.declare_own(statement, self.was_asked()).await
    }

    /// Takes verified statements of a peer in.
    async fn adopt(&self, peer: PeerId, statements: Vec<Statement>) -> Adopted {
        let sent: Vec<(PacketId, Vec<[u8; 32]>)> =
            statements.iter().map(|statement| (statement.id, keys(statement).collect())).collect();
        let verdicts = match self.local.adopt(statements, self.was_asked()).await {
            Ok(verdicts) => verdicts,
            Err(error) => {
                tracing::warn!(%error, "statements about keys could not be kept");
                vec![Err(BackendError::Unavailable("not kept".into())); sent.len()]
            }
        };
        let mut adopted = Adopted::default();
        for ((id, keys), verdict) in sent.into_iter().zip(verdicts) {
            match verdict {
                Ok(new) => {
                    adopted.here += 1;
                    adopted.new |= new;
                    self.traffic.learnt.more(new.into());
                    if !new && !self.local.has_statement(&id) {
                        self.passed.note(id);
                    }
                }
                Err(BackendError::Full) => {
                    self.passed.note_crowded(id, &keys);
                    self.blame(peer, Reason::Crowded);
                }
                Err(_) => self.blame(peer, Reason::Busy),
            }
        }
        adopted
    }
}

/// What became of statements of a peer.
#[derive(Default)]
pub(super) struct Adopted {
    /// So many are here, or say nothing new.
    pub(super) here: u32,
    pub(super) new: bool,
}

/// Verifies what a peer sent as a statement; what is none is held against it.
fn open(shared: &Shared, peer: PeerId, bytes: &[u8]) -> Option<Statement> {
    let opened = statement::open(bytes).map_err(BackendError::from);
    opened.inspect_err(|error| shared.blame(peer, Reason::of(error))).ok()
}

/// Whether a statement with these bytes is here, and was verified when it came.
fn is_here(shared: &Shared, bytes: &[u8]) -> bool {
    shared.local.has_statement(&packet::id(bytes))
}

/// Keeps those of the statements that are some; gives how many are here now.
pub(super) async fn keep(shared: &Shared, peer: PeerId, statements: &[Vec<u8>]) -> u32 {
    let (here, new): (Vec<_>, Vec<_>) = statements.iter().partition(|bytes| is_here(shared, bytes));
    let opened = new.into_iter().filter_map(|bytes| open(shared, peer, bytes)).collect();
    here.len() as u32 + shared.adopt(peer, opened).await.here
}

/// Takes a statement of the gossip; says whether it is passed on.
pub(super) async fn heard(shared: &Shared, peer: PeerId, bytes: &[u8]) -> MessageAcceptance {
    if is_here(shared, bytes) {
        return MessageAcceptance::Accept;
    }
    let Some(statement) = open(shared, peer, bytes) else { return MessageAcceptance::Reject };
    match shared.adopt(peer, vec![statement]).await.here {
        0 => MessageAcceptance::Ignore,
        _ => MessageAcceptance::Accept,
    }
}

/// The statements in which a peer's sums differ from ours.
pub(super) fn differing(
    shared: &Shared,
    sums: &[Sum],
    after: Option<PacketId>,
) -> Result<Response, BackendError> {
    if !are_parts(sums.len()) {
        return Err(BackendError::Request("sums of no number of parts".into()));
    }
    Ok(Response::Ids(shared.local.differing(sums, after, IDS_MAX)))
}

/// Fetches statements that are not here from those who named them, and takes them in; true when one was
/// new.
pub(super) async fn fetch(shared: &Shared, mut named: BTreeMap<PacketId, Vec<PeerId>>) -> bool {
    let mut new = false;
    for attempt in 0..ATTEMPTS {
        named.retain(|id, _| !shared.local.has_statement(id));
        let mut asked: BTreeMap<PeerId, Vec<PacketId>> = BTreeMap::new();
        for (id, peers) in &named {
            if let Some(peer) = peers.get(attempt) {
                asked.entry(*peer).or_default().push(*id);
            }
        }
        let parts = asked.iter().flat_map(|(peer, ids)| {
            ids.chunks(PACKETS_MAX).map(|ids| fetch_from(shared, *peer, ids.to_vec()))
        });
        for (got, adopted) in futures_util::future::join_all(parts.collect::<Vec<_>>()).await {
            new |= adopted;
            got.iter().for_each(|id| drop(named.remove(id)));
        }
        if named.is_empty() {
            break;
        }
    }
    new
}

/// Which of the statements that a peer named it gives, and whether one was new.
async fn fetch_from(shared: &Shared, peer: PeerId, ids: Vec<PacketId>) -> (Vec<PacketId>, bool) {
    let mut missing: BTreeSet<PacketId> = ids.iter().copied().collect();
    let given = match shared.ask(peer, Ask::Statements(ids)).await {
        Some(Response::Packets(given)) if given.len() <= missing.len() => given,
        Some(_) => {
            shared.blame(peer, Reason::Malformed);
            return (Vec::new(), false);
        }
        None => return (Vec::new(), false),
    };
    let mut statements = Vec::new();
    for statement in given.iter().filter_map(|bytes| open(shared, peer, bytes)) {
        if missing.remove(&statement.id) {
            statements.push(statement);
        } else {
            shared.blame(peer, Reason::Unasked);
        }
    }
    missing.iter().for_each(|_| shared.blame(peer, Reason::Withheld));
    let got = statements.iter().map(|statement| statement.id).collect();
    (got, shared.adopt(peer, statements).await.new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_declares_and_whoever_asks_have_a_node_in_common() {
        for size in 0..=20 {
            let all: Vec<PeerId> = (0..size).map(|_| PeerId::random()).collect();
            let group: BTreeSet<PeerId> = all.iter().copied().collect();
            let quorum = |enough| Quorum { groups: BTreeSet::from([group.clone()]), enough };
            let met = |quorum: &Quorum, answered: &[PeerId]| {
                quorum.is_met(&answered.iter().copied().collect())
            };
            let told = quorum(super::super::declare::enough);
            let asked = quorum(super::super::inquire::enough);
            let needed = |quorum: &Quorum| (0..=size).find(|n| met(quorum, &all[..*n])).unwrap();
            assert!(size == 0 || needed(&told) + needed(&asked) > size, "{size}");
            assert!(needed(&told) <= size && needed(&asked) <= size);
            assert_eq!(told.peers(), group);
        }
    }
}
