//! Finding what is near.
//!
//! Where packets lie is known from the [`Index`], which is read on first: into the index, or, when much is
//! unread and little of it lies in the cells within the radius, from those alone and past it. The nearest are
//! then fetched and verified: a lie about its own situation gets a packet verified in vain, once. Whether a
//! packet counts is known only then, so where anything withdraws packets more are picked than asked for, and
//! more again when too many do not count.
//!
//! **Invariant:** memory is bounded by the index and what is picked; every packet that is given was
//! verified and measured.

use std::collections::HashSet;

use async_nats::jetstream::stream::State;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::{Grain, NearCell, Nearest};
use edgelore_pipeline::packet::{self, Opened};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::Shared;
use super::connect::Link;
use super::index::{Hit, Index, mark};
use super::read::{self, EVERYTHING, QUESTIONS_AT_ONCE, Read, Reading};
use crate::backend::{BackendError, LIMIT_MAX, in_order};
use crate::opener::Placed;
use crate::{Found, PacketId};

/// Cells that are read by themselves; beyond, everything is read at once.
const CELLS_MAX: usize = 64;
/// As many new messages are asked for one by one, by their numbers: that a server makes a consumer takes
/// longer the more it keeps.
const FEW: u64 = 256;
/// Packets that are verified before looking whether they are enough.
const PACKETS_AT_ONCE: usize = 128;

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
    // Some of the nearest may be withdrawn.
    let spare = if shared.index.lock().await.knows_withdrawals() { limit / 4 + 16 } else { 0 };
    let mut picked = limit + spare;
    loop {
        let (hits, whole) = nearest(shared, &link, query, radius, picked).await?;
        let found = verified(shared, &link, query, radius, limit, &hits, whole).await?;
        if found.len() == limit || hits.len() < picked {
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

/// At most `count` hits, nearest first, and whether all of the stream is in the index.
async fn nearest(
    shared: &Shared,
    link: &Link,
    query: &Query,
    radius: u32,
    count: usize,
) -> Result<(Vec<Hit>, bool), BackendError> {
    let (verifier, mut nearest) = (&shared.verifier, Nearest::new(count));
    let (aim, now) = (verifier.space.aim(query), verifier.now());
    let (beside, whole) = {
        let mut index = shared.index.lock().await;
        let state = state(link, &mut index).await?;
        let beside = read_on(shared, link, &mut index, &state, query, radius).await?;
        index.near(query, radius, now, &mut nearest);
        (beside, index.next() > state.last_sequence)
    };
    let pattern = query.resolution_pattern.as_deref();
    let each = |message: Read| {
        let Some(Opened { outcome, .. }) = decoded(shared, &message) else { return };
        let distance = verifier.space.reach(&aim, &verifier.space.locate(&outcome.situation));
        let asked = pattern.is_none_or(|pattern| pattern == outcome.resolution.pattern);
        if distance <= radius && asked && outcome.expires > now {
            nearest.offer(Hit { distance, mark: message.mark() });
        }
    };
    if let Some(beside) = beside {
        beside.all(link, each).await?;
    }
    Ok((nearest.into_sorted(), whole))
}

/// Reads what is new into the index, or, as long as that does not pay, gives what is to be read instead.
async fn read_on(
    shared: &Shared,
    link: &Link,
    index: &mut Index,
    state: &State,
    query: &Query,
    radius: u32,
) -> Result<Option<Reading>, BackendError> {
    let new = (state.last_sequence + 1).saturating_sub(index.next());
    if new == 0 {
        return Ok(None);
    }
    let unread = new.min(state.messages);
    index.make_room(unread, state.first_sequence, shared.verifier.now());
    if new > FEW || index.room() == 0 {
        let near = reading_near(shared, link, query, radius, index.next()).await?;
        if index.room() == 0 || !index.pays(unread, near.pending()) {
            return Ok(Some(near));
        }
        near.end(link);
    }
    take_in(shared, link, index, state.last_sequence).await?;
    if index.room() > 0 {
        return Ok(None);
    }
    reading_near(shared, link, query, radius, index.next()).await.map(Some)
}

/// What lies in the cells within the radius from a sequence on.
async fn reading_near(
    shared: &Shared,
    link: &Link,
    query: &Query,
    radius: u32,
    start: u64,
) -> Result<Reading, BackendError> {
    Reading::begin(shared, link, &filters(shared, query, radius), start).await
}

/// Reads up to `last` into the index, as far as there is room.
async fn take_in(
    shared: &Shared,
    link: &Link,
    index: &mut Index,
    last: u64,
) -> Result<(), BackendError> {
    let take = |index: &mut Index, message: Read| {
        if shared.subjects.is_withdrawal(&message.subject) {
            index.note_withdrawal(&message.subject);
        }
        let packet = decoded(shared, &message);
        index.push(message.mark(), packet.as_ref());
    };
    let left = |index: &Index| (last + 1).saturating_sub(index.next());
    if left(index) > FEW {
        let (start, room) = (index.next(), index.room());
        let mut each = |message| take(index, message);
        read::some(shared, link, EVERYTHING, start, room, &mut each).await?;
    }
    // A consumer reads its own server's copy, which may be behind a cluster's leader: that answers here.
    let (start, count) = (index.next(), left(index).min(index.room() as u64));
    if count <= FEW {
        read::each_of(link, start..start + count, |message| take(index, message)).await?;
    }
    index.settle();
    Ok(())
}

/// The stream as it is now. When the last message that was read is not in its place, it was deleted, or
/// the server lost its latest messages and gave their numbers again, or the stream is another one: the
/// index goes back to something that is there.
async fn state(link: &Link, index: &mut Index) -> Result<State, BackendError> {
    let (state, there) = read::state(link, index.last()).await?;
    if there {
        return Ok(state);
    }
    let mut found = None;
    for mark in index.steps_back() {
        if read::is_there(link, mark).await? {
            found = Some(mark);
            break;
        }
    }
    index.go_back_to(found);
    Ok(state)
}

/// The packet in a message, not verified; none when it is of another kind or no packet of this space.
fn decoded(shared: &Shared, message: &Read) -> Option<Opened> {
    let (subjects, verifier) = (&shared.subjects, &shared.verifier);
    let Some(id) = subjects.id(&message.subject) else {
        if !subjects.is_beside(&message.subject) {
            verifier.skip("subject", &message.subject);
        }
        return None;
    };
    let skip = |why: &dyn std::fmt::Display| {
        verifier.skip(&format!("packet {}", hex::encode(id)), why);
        None
    };
    match packet::reopen(&message.payload, &id) {
        Ok(packet) if packet.space == verifier.space.short_id() => Some(packet),
        Ok(_) => skip(&"it belongs to another similarity definition"),
        Err(error) => skip(&error),
    }
}

/// The first `limit` of the hits that are packets and count.
async fn verified(
    shared: &Shared,
    link: &Link,
    query: &Query,
    radius: u32,
    limit: usize,
    mut hits: &[Hit],
    whole: bool,
) -> Result<Vec<Found>, BackendError> {
    let (mut found, mut gone): (Vec<Found>, _) = (Vec::new(), HashSet::new());
    while found.len() < limit && !hits.is_empty() {
        let count = hits.len().min(limit - found.len()).min(PACKETS_AT_ONCE);
        let (next, rest) = hits.split_at(count);
        hits = rest;
        let packets = fetched(shared, link, next, &mut gone).await?;
        let counting = in_force(shared, link, packets, whole).await?;
        found.extend(counting.into_iter().filter_map(shared.verifier.placing(query, radius)));
        in_order(&mut found);
    }
    if !gone.is_empty() {
        shared.index.lock().await.forget(&gone);
    }
    Ok(found)
}

/// The packets of these hits, verified. Where none is, or none any more, goes to `gone`.
async fn fetched(
    shared: &Shared,
    link: &Link,
    hits: &[Hit],
    gone: &mut HashSet<u64>,
) -> Result<Vec<Placed>, BackendError> {
    let places: Vec<u64> = hits.iter().map(|hit| hit.mark.sequence).collect();
    let messages = read::several(link, &places).await?;
    let there: Vec<&[u8]> = messages.iter().flatten().map(|message| &message.payload[..]).collect();
    let mut opened = shared.verifier.open_all(&there);
    let mut packets = Vec::new();
    for (hit, message) in hits.iter().zip(&messages) {
        let packet = message.as_ref().and_then(|_| opened.next().flatten());
        match packet.filter(|packet| mark(hit.mark.sequence, &packet.id) == hit.mark) {
            Some(packet) => packets.push(packet),
            None => {
                gone.insert(hit.mark.sequence);
            }
        }
    }
    Ok(packets)
}

/// Those that their publishers have not withdrawn, in their order. With the `whole` stream in the index only
/// those are asked about of which it knows a withdrawal.
async fn in_force(
    shared: &Shared,
    link: &Link,
    packets: Vec<Placed>,
    whole: bool,
) -> Result<Vec<Placed>, BackendError> {
    let packets: Vec<(Placed, bool)> = {
        let index = shared.index.lock().await;
        if whole && !index.knows_withdrawals() {
            return Ok(packets);
        }
        let asked = |packet: Placed| {
            let asked =
                !whole || withdrawals(shared, &packet).any(|subject| index.may_withdraw(&subject));
            (packet, asked)
        };
        packets.into_iter().map(asked).collect()
    };
    let judged = stream::iter(packets).map(|(packet, asked)| async move {
        let withdrawn = asked && is_withdrawn(shared, link, &packet).await?;
        Ok::<_, BackendError>((!withdrawn).then_some(packet))
    });
    let judged = judged.buffered(QUESTIONS_AT_ONCE);
    let counting: Vec<Option<Placed>> = judged.try_collect().await?;
    Ok(counting.into_iter().flatten().collect())
}

/// The subjects of what may withdraw a packet.
fn withdrawals<'p>(shared: &'p Shared, packet: &'p Opened) -> impl Iterator<Item = String> + 'p {
    let heirs = shared.verifier.heirs(&packet.publisher).into_iter();
    heirs.map(|heir| shared.subjects.withdrawal(&heir, &packet.id))
}

pub(super) async fn is_withdrawn(
    shared: &Shared,
    link: &Link,
    packet: &Opened,
) -> Result<bool, BackendError> {
    for subject in withdrawals(shared, packet) {
        if let Some(by) = read::last(link, &subject).await? {
            let by = [(packet::id(&by.payload), by.payload.to_vec())];
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
    let everywhere = Reading::begin(shared, &link, &[shared.subjects.anywhere(id)], 1).await?;
    let each = |message: Read| {
        if bytes.is_none() {
            bytes = shared.verifier.read(id, &message.payload).map(|packet| packet.bytes.clone());
        }
    };
    everywhere.all(&link, each).await?;
    Ok(bytes)
}
