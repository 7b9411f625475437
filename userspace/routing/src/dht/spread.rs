//! Bringing a packet to those who keep it and to those who follow it.
//!
//! Owns the copies. Never takes back an acknowledgement: what could not be placed now is offered
//! again by the upkeep.
//!
//! **Invariant:** a slow or silent peer delays nobody longer than [`ANSWER_MAX`](super::ANSWER_MAX),
//! and nobody at all when half of the others have a copy.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libp2p::PeerId;
use tokio::sync::mpsc;

use super::Shared;
use super::drive::Order;
use super::wire::{Ask, Response};
use crate::PacketId;
use crate::backend::BackendError;
use crate::embedded::replica::Held;

/// Places a packet of this node's store.
pub(super) async fn place(shared: &Arc<Shared>, id: PacketId) -> Result<(), BackendError> {
    // What was evicted in the meantime is nobody's.
    let Some(held) = shared.local.held(id).await? else { return Ok(()) };
    let Some(packet) = shared.local.bytes(vec![id]).await?.pop() else { return Ok(()) };
    let peers = responsible(shared, &held).await.unwrap_or_else(|_| {
        shared.unplaced.store(true, Ordering::Relaxed);
        BTreeSet::new()
    });
    copy(shared, peers, &packet, held.sequence).await;
    let topics = shared.follows.topics_of(&shared.filed(&held.places[0]));
    let _ = shared.orders.send(Order::Publish { topics, packet }).await;
    Ok(())
}

/// The nodes that have to know a packet.
pub(super) async fn responsible(
    shared: &Shared,
    held: &Held,
) -> Result<BTreeSet<PeerId>, BackendError> {
    let cells: Vec<_> = held.places.iter().map(|place| shared.filed(place)).collect();
    let circles = shared.circles(cells).await?;
    Ok(circles.iter().flat_map(|circle| &circle.peers).copied().collect())
}

/// Gives copies to the peers; returns when half of them have one, and lets the others go on.
async fn copy(shared: &Arc<Shared>, peers: BTreeSet<PeerId>, packet: &[u8], sequence: u64) {
    let enough = peers.len().div_ceil(2);
    let (answered, mut answers) = mpsc::channel(peers.len().max(1));
    for peer in peers {
        let Ok(place) = Arc::clone(&shared.copies).try_acquire_owned() else {
            shared.fell_behind(peer, sequence - 1);
            continue;
        };
        let (shared, packet, answered) = (Arc::clone(shared), packet.to_vec(), answered.clone());
        let runtime = shared.runtime.clone();
        runtime.spawn(async move {
            let kept = shared.ask(peer, Ask::Keep(vec![packet])).await;
            let kept = matches!(kept, Some(Response::Kept(1)));
            if kept {
                shared.traffic.copies.one();
            } else {
                shared.fell_behind(peer, sequence - 1);
            }
            let _ = answered.send(kept).await;
            drop(place);
        });
    }
    drop(answered);
    let mut copies = 0;
    while copies < enough
        && let Some(kept) = answers.recv().await
    {
        copies += usize::from(kept);
    }
}
