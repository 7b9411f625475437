//! Finding what is near, among all nodes that keep it.
//!
//! ```text
//! coarse cells within the radius ─► nodes of each ─► ids of the nearest that each has ─► union
//!    ─► those that are not here, from whoever named them ─► verify, measure ─► nearest first
//! ```
//!
//! What was found counts as its publishers say: the same nodes are asked about them ([`inquire`]).
//!
//! Each node gives its `limit` nearest of everything it keeps. What belongs to the answer is among the
//! nearest of every node that has it, so the union holds the whole answer.
//!
//! Owns the question and the verdict. Never writes.
//!
//! **Invariant:** an answer is refused as incomplete when no node of a cell was heard; at most
//! [`PEERS_ASKED_MAX`] nodes are asked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Grain;
use edgelore_pipeline::packet::Opened;
use libp2p::PeerId;

use super::circles::Circle;
use super::refusals::Reason;
use super::wire::{Ask, PACKETS_MAX, Response};
use super::{REPLICAS_MAX, Shared, inquire};
use crate::admission::admit;
use crate::backend::{Backend as _, BackendError, LIMIT_MAX, in_order};
use crate::{Found, PacketId};

/// Nodes that are asked for one query.
const PEERS_ASKED_MAX: usize = 256;
/// Nodes of a cell that are asked at least, when there are many cells.
const PEERS_OF_A_CELL_MIN: usize = 3;
/// Coarse cells that one query looks into.
const CELLS_MAX: usize = 4_096;
/// How often a packet is asked for, each time of another node.
const ATTEMPTS: usize = 4;

/// Who named which packet.
type Named = BTreeMap<PacketId, Vec<PeerId>>;

/// Answers a query.
pub(super) async fn query(
    shared: &Shared,
    query: &Query,
    radius: u32,
    limit: usize,
) -> Result<Vec<Found>, BackendError> {
    let limit = limit.min(LIMIT_MAX);
    let circles = circles(shared, query, radius).await?;
    let (mut named, heard) = ask_all(shared, &circles, query, radius, limit).await?;
    named.retain(|id, _| !shared.local.holds(id));
    // The own store is asked last: what came into it meanwhile is no longer fetched.
    let (fetched, local) =
        tokio::join!(fetch(shared, named), shared.local.query(query, radius, limit));
    let mut found = local?;
    let near = fetched.into_iter().filter_map(|(peer, opened)| {
        let near = near(shared, query, radius, opened);
        if near.is_none() {
            shared.blame(peer, Reason::Unasked);
        }
        near
    });
    found.extend(near);
    if inquire::about_found(shared, &found, &heard).await {
        // Others take the places of what does not count any more.
        found.extend(shared.local.query(query, radius, limit).await?);
    }
    let found = in_force(shared, found);
    Ok(nearest(found, limit))
}

fn nearest(mut found: Vec<Found>, limit: usize) -> Vec<Found> {
    in_order(&mut found);
    found.truncate(limit);
    found
}

/// Those that nobody took back, as far as this node or the answer knows.
fn in_force(shared: &Shared, found: Vec<Found>) -> Vec<Found> {
    let withdrawn: HashSet<([u8; 32], PacketId)> = found
        .iter()
        .flat_map(|found| {
            let outcome = &found.opened.outcome;
            let ids = outcome.supersedes.into_iter().chain(outcome.revokes);
            ids.map(|id| (found.opened.publisher, id))
        })
        .collect();
    let counts = |found: &Found| {
        let Opened { publisher, id, .. } = &*found.opened;
        let by = |heir: &[u8; 32]| withdrawn.contains(&(*heir, *id));
        let heirs = || shared.local.heirs(publisher);
        !shared.local.is_withdrawn(publisher, id)
            && (withdrawn.is_empty() || !heirs().iter().any(by))
    };
    found.into_iter().filter(counts).collect()
}

/// The packet's place in the answer; `None` when it has none.
fn near(shared: &Shared, query: &Query, radius: u32, opened: Opened) -> Option<Found> {
    let pattern = &opened.outcome.resolution.pattern;
    let distance = shared.space.query_distance(query, &opened.outcome.situation);
    let asked = query.resolution_pattern.as_ref();
    let near = distance <= radius && asked.is_none_or(|asked| asked == pattern);
    near.then(|| Found { opened: Arc::new(opened), distance })
}

/// The nodes of every cell within the radius, nearest cell first.
async fn circles(
    shared: &Shared,
    query: &Query,
    radius: u32,
) -> Result<Vec<Arc<Circle>>, BackendError> {
    let cells = shared.space.cells_near(query, radius, Grain::Coarse, CELLS_MAX);
    let cells = cells.map_err(|error| BackendError::Request(error.to_string()))?;
    shared.circles(cells.into_iter().map(|near| near.cell).collect()).await
}

/// Whom of each cell to ask: all of its nodes, or fewer when there are many cells.
fn to_ask(circles: &[Arc<Circle>]) -> Result<BTreeSet<PeerId>, BackendError> {
    let all: BTreeSet<PeerId> = circles.iter().flat_map(|circle| &circle.peers).copied().collect();
    if all.len() <= PEERS_ASKED_MAX {
        return Ok(all);
    }
    let each = (PEERS_ASKED_MAX / circles.len()).clamp(PEERS_OF_A_CELL_MIN, REPLICAS_MAX);
    let some: BTreeSet<PeerId> =
        circles.iter().flat_map(|circle| circle.peers.iter().take(each)).copied().collect();
    if some.len() > PEERS_ASKED_MAX {
        let reason = format!("more than {PEERS_ASKED_MAX} nodes keep what lies within the radius");
        return Err(BackendError::Request(reason));
    }
    Ok(some)
}

/// Asks for ids; gives who named which, and who answered.
async fn ask_all(
    shared: &Shared,
    circles: &[Arc<Circle>],
    query: &Query,
    radius: u32,
    limit: usize,
) -> Result<(Named, BTreeSet<PeerId>), BackendError> {
    let near = Ask::Near { query: query.clone(), radius, limit: limit as u32 };
    let asked = to_ask(circles)?.into_iter().map(|peer| {
        let near = near.clone();
        async move { (peer, shared.ask(peer, near).await) }
    });
    let (mut named, mut heard) = (Named::new(), BTreeSet::new());
    for (peer, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Some(Response::Ids(ids)) if ids.len() <= limit => {
                heard.insert(peer);
                ids.into_iter().for_each(|id| named.entry(id).or_default().push(peer));
            }
            Some(_) => shared.blame(peer, Reason::Malformed),
            None => {}
        }
    }
    let silent = circles.iter().find(|circle| {
        !circle.own && !circle.peers.is_empty() && !circle.peers.iter().any(|p| heard.contains(p))
    });
    match silent {
        Some(circle) => Err(BackendError::Unavailable(format!(
            "none of the {} nodes that keep a cell within the radius answers",
            circle.peers.len()
        ))),
        None => Ok((named, heard)),
    }
}

/// Fetches packets from those who named them; gives each that is one, with who gave it.
pub(super) async fn fetch(shared: &Shared, mut named: Named) -> Vec<(PeerId, Opened)> {
    let mut fetched = Vec::new();
    for attempt in 0..ATTEMPTS {
        let mut asked: HashMap<PeerId, Vec<PacketId>> = HashMap::new();
        for (place, (id, peers)) in named.iter().enumerate() {
            // Spread over those who have it.
            if let Some(peer) =
                (attempt < peers.len()).then(|| peers[(place + attempt) % peers.len()])
            {
                asked.entry(peer).or_default().push(*id);
            }
        }
        let parts = asked.iter().flat_map(|(peer, ids)| {
            ids.chunks(PACKETS_MAX).map(|ids| fetch_from(shared, *peer, ids.to_vec()))
        });
        for got in futures_util::future::join_all(parts.collect::<Vec<_>>()).await.concat() {
            if named.remove(&got.1.id).is_some() {
                fetched.push(got);
            }
        }
        if named.is_empty() {
            break;
        }
    }
    fetched
}

/// What a peer gives of the packets that it named.
async fn fetch_from(shared: &Shared, peer: PeerId, ids: Vec<PacketId>) -> Vec<(PeerId, Opened)> {
    let mut missing: HashSet<PacketId> = ids.iter().copied().collect();
    let packets = match shared.ask(peer, Ask::Fetch(ids)).await {
        Some(Response::Packets(packets)) if packets.len() <= missing.len() => packets,
        Some(_) => {
            shared.blame(peer, Reason::Malformed);
            return Vec::new();
        }
        None => return Vec::new(),
    };
    let mut given = Vec::new();
    for packet in packets {
        match admit(&shared.space, shared.now(), &packet) {
            Ok(opened) if missing.remove(&opened.id) => given.push((peer, opened)),
            Ok(_) => shared.blame(peer, Reason::Unasked),
            Err(error) => shared.blame(peer, Reason::of(&error)),
        }
    }
    missing.iter().for_each(|_| shared.blame(peer, Reason::Withheld));
    given
}

/// A packet that is not here, from any node of any cell.
pub(super) async fn get(shared: &Shared, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
    let circles = circles(shared, &Query::default(), u32::MAX).await?;
    let peers = to_ask(&circles)?;
    let asked = peers.into_iter().map(|peer| async move {
        match shared.ask(peer, Ask::Fetch(vec![*id])).await {
            Some(Response::Packets(packets)) => (peer, packets),
            _ => (peer, Vec::new()),
        }
    });
    for (peer, packets) in futures_util::future::join_all(asked).await {
        for packet in packets {
            match admit(&shared.space, shared.now(), &packet) {
                Ok(opened) if opened.id == *id => return Ok(Some(packet)),
                Ok(_) => shared.blame(peer, Reason::Unasked),
                // It was asked for by its name alone: that it has expired is nobody's fault.
                Err(BackendError::Expired) => {}
                Err(error) => shared.blame(peer, Reason::of(&error)),
            }
        }
    }
    Ok(None)
}
