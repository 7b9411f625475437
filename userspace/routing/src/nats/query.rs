//! Finding what is near.
//!
//! What is filed in the cells within the radius is read and ranked before any signature is verified:
//! a lie about its own situation gets a packet verified in vain, and no further. Whether a packet
//! counts is known only then, so more are picked than asked for, and more again when too many do not
//! count.
//!
//! **Invariant:** memory is bounded by the packets that are picked; every packet that is given was
//! verified and measured.

use std::collections::BinaryHeap;

use edgelore_model::Query;
use edgelore_pipeline::fingerprint::{Grain, NearCell};
use edgelore_pipeline::packet::{self, Opened};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::Shared;
use super::connect::Link;
use super::read;
use crate::backend::{BackendError, LIMIT_MAX};
use crate::{Found, PacketId};

/// Cells that are read by themselves; beyond, everything is read at once.
const CELLS_MAX: usize = 64;
/// Withdrawals that are asked for at the same time.
const QUESTIONS_AT_ONCE: usize = 32;
/// Packets that are verified before looking whether they are enough.
const PACKETS_AT_ONCE: usize = 128;

/// A packet near a query, not verified: distance, id and bytes, in this order.
type Hit = (u32, PacketId, Vec<u8>);

/// Answers a query.
pub(super) async fn query(
    shared: &Shared,
    query: &Query,
    radius: u32,
    limit: usize,
) -> Result<Vec<Found>, BackendError> {
    let limit = limit.min(LIMIT_MAX);
    shared.verifier.catch_up(shared).await?;
    let link = shared.server.link().await?;
    let filters = filters(shared, query, radius);
    let mut picked = limit + limit / 4 + 16;
    loop {
        let (hits, all) = nearest(shared, &link, &filters, query, radius, picked).await?;
        let found = verified(shared, &link, query, radius, limit, hits).await?;
        if found.len() == limit || all {
            return Ok(found);
        }
        picked *= 4;
    }
}

/// Filters for the cells within the radius: exact ones if these are few and the server takes several
/// filters, else coarse ones, else all.
fn filters(shared: &Shared, query: &Query, radius: u32) -> Vec<String> {
    let near = |grain| shared.verifier.space.cells_near(query, radius, grain, CELLS_MAX);
    let cells = match near(Grain::Exact) {
        Ok(cells) if !shared.server.filters_one_subject() => Ok(cells),
        _ => near(Grain::Coarse),
    };
    let cells: Vec<NearCell> = cells.unwrap_or_default();
    shared.subjects.filters(cells.iter().map(|near| &near.cell))
}

/// At most `count` hits, nearest first, and whether they are all there are.
async fn nearest(
    shared: &Shared,
    link: &Link,
    filters: &[String],
    query: &Query,
    radius: u32,
    count: usize,
) -> Result<(Vec<Hit>, bool), BackendError> {
    let (verifier, mut best, mut all) = (&shared.verifier, BinaryHeap::new(), true);
    let (aim, now) = (verifier.space.aim(query), verifier.now());
    let pattern = query.resolution_pattern.as_deref();
    read::all(shared, link, filters, |message| {
        let Some(id) = shared.subjects.id(&message.subject) else {
            return verifier.skip("subject", &message.subject);
        };
        let outcome = match packet::reopen(&message.payload, &id) {
            Ok(packet) => packet.outcome,
            Err(error) => return verifier.skip(&format!("packet {}", hex::encode(id)), &error),
        };
        let distance = verifier.space.reach(&aim, &verifier.space.locate(&outcome.situation));
        let asked = pattern.is_none_or(|pattern| pattern == outcome.resolution.pattern);
        if distance > radius || !asked || outcome.expires <= now {
            return;
        }
        best.push((distance, id, message.payload));
        if best.len() > count {
            best.pop();
            all = false;
        }
    })
    .await?;
    Ok((best.into_sorted_vec(), all))
}

/// The first `limit` of the hits that are packets and count.
async fn verified(
    shared: &Shared,
    link: &Link,
    query: &Query,
    radius: u32,
    limit: usize,
    hits: Vec<Hit>,
) -> Result<Vec<Found>, BackendError> {
    let mut found = Vec::new();
    for hits in hits.chunks(PACKETS_AT_ONCE) {
        if found.len() == limit {
            break;
        }
        let hits: Vec<_> = hits.iter().map(|(_, id, bytes)| (*id, &bytes[..])).collect();
        let packets = shared.verifier.read_all(&hits).into_iter().flatten().collect();
        let counting = in_force(shared, link, packets).await?;
        found.extend(
            counting.into_iter().filter_map(|packet| shared.verifier.found(query, radius, packet)),
        );
        found.truncate(limit);
    }
    found.sort_by_key(|found| (found.distance, found.opened.id));
    found.dedup_by_key(|found| found.opened.id);
    Ok(found)
}

/// Those that their publishers have not withdrawn, in their order.
pub(super) async fn in_force(
    shared: &Shared,
    link: &Link,
    packets: Vec<Opened>,
) -> Result<Vec<Opened>, BackendError> {
    let asked = stream::iter(packets).map(|packet| async move {
        let withdrawn = is_withdrawn(shared, link, &packet).await?;
        Ok::<_, BackendError>((!withdrawn).then_some(packet))
    });
    let asked = asked.buffered(QUESTIONS_AT_ONCE);
    let counting: Vec<Option<Opened>> = asked.try_collect().await?;
    Ok(counting.into_iter().flatten().collect())
}

pub(super) async fn is_withdrawn(
    shared: &Shared,
    link: &Link,
    packet: &Opened,
) -> Result<bool, BackendError> {
    for heir in shared.verifier.heirs(&packet.publisher) {
        let subject = shared.subjects.withdrawal(&heir, &packet.id);
        if let Some(by) = read::last(link, &subject).await? {
            let by = [(packet::id(&by.payload), by.payload)];
            if shared.verifier.is_withdrawn(packet, &by) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A packet's bytes.
pub(super) async fn get(shared: &Shared, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
    let link = shared.server.link().await?;
    let mut bytes = None;
    read::all(shared, &link, &[shared.subjects.anywhere(id)], |message| {
        if bytes.is_none() {
            bytes = shared.verifier.read(id, &message.payload).map(|packet| packet.bytes);
        }
    })
    .await?;
    Ok(bytes)
}
