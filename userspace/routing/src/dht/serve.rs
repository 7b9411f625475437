//! What this node answers to peers, and what it takes from them.
//!
//! Owns the admission of what peers send. Never trusts a length, a name or a claim.
//!
//! **Invariant:** nothing is kept for a peer that a user could not have stored here too.

use libp2p::PeerId;
use libp2p::gossipsub::MessageAcceptance;

use super::refusals::Reason;
use super::wire::{Ask, IDS_MAX, PACKETS_MAX, PUBLISHERS_MAX, Response};
use super::{Shared, beside};
use crate::admission::{admit, check_space};
use crate::backend::{Backend as _, BackendError, CELLS_MAX, LIMIT_MAX};
use crate::{Cell, PacketId};

/// Records that one question for news looks at.
const LOOKED_AT_MAX: usize = 8 * IDS_MAX;

/// Answers a request.
pub(super) async fn answer(shared: &Shared, peer: PeerId, ask: Ask) -> Response {
    let answered = match ask {
        Ask::Near { query, radius, limit } => {
            let limit = usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
            shared.local.near(query, radius, limit).await.map(Response::Ids)
        }
        Ask::Fetch(ids) if ids.len() <= PACKETS_MAX => {
            shared.local.bytes(ids).await.map(Response::Packets)
        }
        Ask::Offer(ids) if ids.len() <= IDS_MAX => Ok(Response::Ids(wanted(shared, ids))),
        Ask::Keep(packets) if packets.len() <= PACKETS_MAX => {
            Ok(Response::Kept(keep(shared, peer, packets).await))
        }
        Ask::Since { cells, after } if cells.len() <= CELLS_MAX => {
            since(shared, &cells, after).await
        }
        Ask::Declare(statements) if statements.len() <= PACKETS_MAX => {
            Ok(Response::Kept(beside::keep(shared, peer, &statements).await))
        }
        Ask::Compare { sums, after } => beside::differing(shared, &sums, after),
        Ask::About(publishers) if publishers.len() <= PUBLISHERS_MAX => {
            Ok(Response::Ids(shared.local.statements_about(&publishers, IDS_MAX)))
        }
        Ask::Statements(ids) if ids.len() <= PACKETS_MAX => {
            Ok(Response::Packets(shared.local.statement_bytes(&ids)))
        }
        _ => Err(BackendError::Request("more than fits into a request".into())),
    };
    match answered {
        Ok(response) => response,
        Err(BackendError::Request(_)) => {
            shared.blame(peer, Reason::Malformed);
            Response::Refused
        }
        Err(error) => {
            tracing::warn!(%error, "a peer's question could not be answered");
            Response::Busy
        }
    }
}

fn wanted(shared: &Shared, ids: Vec<PacketId>) -> Vec<PacketId> {
    ids.into_iter().filter(|id| !shared.local.holds(id)).collect()
}

/// Keeps those of the packets that are some and belong here; gives how many are here now.
async fn keep(shared: &Shared, peer: PeerId, packets: Vec<Vec<u8>>) -> u32 {
    let stores = packets.into_iter().map(|packet| keep_one(shared, peer, packet));
    let kept = futures_util::future::join_all(stores).await;
    kept.into_iter().map(u32::from).sum()
}

async fn keep_one(shared: &Shared, peer: PeerId, packet: Vec<u8>) -> bool {
    let opened = match admit(&shared.space, shared.now(), &packet) {
        Ok(opened) => opened,
        Err(error) => {
            shared.blame(peer, Reason::of(&error));
            return false;
        }
    };
    let cell = shared.filed(&opened.outcome.situation);
    let withdraws = opened.outcome.supersedes.is_some() || opened.outcome.revokes.is_some();
    // What is taken back may lie in another cell, whose nodes have to know.
    if !withdraws && !shared.follows.is_followed(&cell) && !shared.circle(cell.clone()).await.near {
        shared.blame(peer, Reason::Elsewhere);
        return false;
    }
    match shared.local.store(packet).await {
        Ok(stored) => {
            shared.traffic.kept.more(stored.new.into());
            shared.carry(cell);
            true
        }
        Err(error) => {
            shared.blame(peer, Reason::of(&error));
            false
        }
    }
}

/// What came into some cells, all of them when there are none.
async fn since(shared: &Shared, cells: &[String], after: u64) -> Result<Response, BackendError> {
    let cells: Result<Vec<Cell>, _> = cells.iter().map(|cell| cell.parse()).collect();
    let cells = cells.map_err(|_| BackendError::Request("a cell that is none".into()))?;
    check_space(&cells, &shared.space)?;
    // A place that this store has not reached is another store's: rather twice than never.
    let mut next = if after <= shared.local.last() { after } else { 0 };
    let (mut ids, mut at_end, mut looked_at) = (Vec::new(), false, 0);
    while ids.len() < IDS_MAX && !at_end && looked_at < LOOKED_AT_MAX {
        let page = shared.local.page(next, IDS_MAX - ids.len()).await?;
        looked_at += IDS_MAX;
        (next, at_end) = (page.next, page.at_end);
        let covered = |situation| {
            let exact = Cell::exact(&shared.space, situation);
            cells.is_empty() || cells.iter().any(|cell| cell.covers(&exact))
        };
        let followed = page.held.iter().filter(|held| held.places.iter().any(covered));
        ids.extend(followed.map(|held| held.id));
    }
    Ok(Response::Page { ids, next, at_end })
}

/// Takes a packet, or a statement, of the gossip; says whether it is passed on.
pub(super) async fn heard(
    shared: &Shared,
    peer: PeerId,
    topic: &str,
    packet: Vec<u8>,
) -> MessageAcceptance {
    if topic == shared.follows.statements() {
        return beside::heard(shared, peer, &packet).await;
    }
    let refused = |reason| {
        shared.blame(peer, reason);
        MessageAcceptance::Reject
    };
    let opened = match admit(&shared.space, shared.now(), &packet) {
        Ok(opened) => opened,
        Err(error) => return refused(Reason::of(&error)),
    };
    let cell = shared.filed(&opened.outcome.situation);
    if !shared.follows.topics_of(&cell).contains(&topic.to_owned()) {
        return refused(Reason::Unasked);
    }
    match shared.local.store(packet).await {
        Ok(_) => MessageAcceptance::Accept,
        Err(error) => {
            shared.blame(peer, Reason::of(&error));
            MessageAcceptance::Ignore
        }
    }
}
