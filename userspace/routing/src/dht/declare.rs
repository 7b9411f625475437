//! Bringing a statement about a key to other nodes.
//!
//! It goes to the nodes that keep what the key, or its successor, published lately, as far as this node
//! has it: whoever asks them for packets asks them about the publisher too. And to some of those that this
//! node is connected to, whatever they keep. The gossip and the comparing do the rest.
//!
//! Owns the copies. Never takes back an acknowledgement.
//!
//! **Invariant:** what is acknowledged is synced to this node's disk, whatever the network does; a silent
//! peer delays nobody longer than [`ANSWER_MAX`](super::ANSWER_MAX).

use std::collections::BTreeSet;
use std::sync::Arc;

use edgelore_pipeline::packet::statement::{self, Statement};
use libp2p::PeerId;
use tokio::sync::mpsc;

use super::beside::Quorum;
use super::drive::Order;
use super::wire::{Ask, Response};
use super::{REPLICAS_MAX, Shared, lock};
use crate::Cell;
use crate::backend::{BackendError, Stored};
use crate::beside::keys;

/// Packets of a publisher whose nodes are told.
const PACKETS_MAX: usize = 256;
/// Cells whose nodes are told.
const CELLS_MAX: usize = 64;

/// How many of a cell's nodes have to have it before it is acknowledged.
pub(super) const fn enough(nodes: usize) -> usize {
    nodes.div_ceil(2)
}

/// Keeps a statement and tells others of it.
pub(super) async fn declare(shared: &Arc<Shared>, bytes: Vec<u8>) -> Result<Stored, BackendError> {
    let statement = statement::open(&bytes)?;
    let stored = shared.declare_own(statement.clone()).await?;
    shared.joined().await;
    // Whoever declares very many at once leaves them to the comparing.
    if shared.pace.admits_news() {
        let groups = groups(shared, &statement).await;
        tell(shared, Quorum { groups, enough }, &statement.bytes).await;
        let topics = vec![shared.follows.statements()];
        let _ = shared.orders.send(Order::Publish { topics, packet: statement.bytes }).await;
    }
    Ok(stored)
}

/// Whom to tell.
async fn groups(shared: &Shared, statement: &Statement) -> BTreeSet<BTreeSet<PeerId>> {
    let places = shared.local.places_of(keys(statement).collect(), PACKETS_MAX).await;
    let places = places.unwrap_or_default();
    let cells: BTreeSet<Cell> = places.iter().map(|place| shared.filed(place)).collect();
    let circles = shared.circles(cells.into_iter().take(CELLS_MAX).collect()).await;
    let circles = circles.unwrap_or_default();
    let mut groups: BTreeSet<BTreeSet<PeerId>> =
        circles.iter().map(|circle| circle.peers.iter().copied().collect()).collect();
    groups.insert(lock(&shared.connected).iter().take(REPLICAS_MAX).copied().collect());
    groups
}

/// Gives the statement to all of them; returns when enough have it, and lets the others go on.
async fn tell(shared: &Arc<Shared>, quorum: Quorum, statement: &[u8]) {
    let peers = quorum.peers();
    let (answered, mut answers) = mpsc::channel(peers.len().max(1));
    for peer in peers {
        let Ok(place) = Arc::clone(&shared.copies).try_acquire_owned() else { continue };
        let (shared, answered) = (Arc::clone(shared), answered.clone());
        let (runtime, statement) = (shared.runtime.clone(), statement.to_vec());
        runtime.spawn(async move {
            let kept = shared.ask(peer, Ask::Declare(vec![statement])).await;
            if matches!(kept, Some(Response::Kept(1))) {
                shared.traffic.told.one();
                let _ = answered.send(peer).await;
            }
            drop(place);
        });
    }
    drop(answered);
    let mut told = BTreeSet::new();
    while !quorum.is_met(&told)
        && let Some(peer) = answers.recv().await
    {
        told.insert(peer);
    }
}
