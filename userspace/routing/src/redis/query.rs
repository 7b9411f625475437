//! Finding what is near.
//!
//! Cells are taken nearest first, a few at a time, and the records of each from the severity asked for
//! on; once enough packets are found, nothing that is farther than all of them is read. Whether a packet
//! counts is known only after it was verified, so more are picked than asked for, and more again when too
//! many do not count.
//!
//! Owns the cells known here and the choice of the nearest. Never trusts the index: every packet
//! that is given was verified and measured.
//!
//! **Invariant:** memory is bounded by the directory of cells, the records of [`CELLS_AT_ONCE`]
//! cells and the packets that are picked.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use edgelore_model::Query;
use redis::{RedisResult, Value, cmd, pipe};

use super::Shared;
use super::connect::failed;
use super::layout::{Record, bytes, items, pattern_tag};
use super::walk::Walk;
use crate::backend::{BackendError, LIMIT_MAX, in_order};
use crate::opener::Placed;
use crate::placement::Target;
use crate::{Cell, Found, PacketId};

/// Cells whose records are read in one round trip.
const CELLS_AT_ONCE: usize = 8;
/// Records that are read first on each side of the severity asked for, in each of these cells; and how
/// many times as many are read next.
const RECORDS_AT_FIRST: usize = 512;
const RECORDS_GROWTH: usize = 4;
/// Packets that are fetched in one round trip.
const PACKETS_AT_ONCE: usize = 128;
/// Packets of one publisher that withdraw one packet and are looked at: one is enough.
const WITHDRAWING_MAX: usize = 4;

/// The coarse cells that the server holds, as of `version`.
#[derive(Default)]
pub(super) struct Directory {
    version: Vec<u8>,
    cells: Arc<Vec<Cell>>,
}

/// A packet near a query; ordered by distance, then by id.
type Hit = (u32, PacketId);

/// Answers a query.
pub(super) async fn query(
    shared: &Shared,
    query: &Query,
    radius: u32,
    limit: usize,
) -> Result<Vec<Found>, BackendError> {
    let limit = limit.min(LIMIT_MAX);
    shared.verifier.catch_up(shared).await?;
    let mut picked = limit + limit / 4 + 16;
    loop {
        let hits = nearest(shared, query, radius, picked).await?;
        let found = verified(shared, query, radius, limit, &hits).await?;
        if found.len() == limit || hits.len() < picked {
            return Ok(found);
        }
        picked *= 4;
    }
}

/// At most `count` hits, nearest first.
async fn nearest(
    shared: &Shared,
    query: &Query,
    radius: u32,
    count: usize,
) -> Result<Vec<Hit>, BackendError> {
    let cells = directory(shared).await?;
    let target = Target::new(&shared.verifier.space, query, radius);
    let near = target.near(cells.iter().map(|cell| (cell, cell)));
    let pattern = query.resolution_pattern.as_deref().map(pattern_tag);
    let now = shared.verifier.now().secs();
    // A record that is read twice is in it once.
    let mut best = BTreeSet::<Hit>::new();
    let bound = |best: &BTreeSet<Hit>| match best.last() {
        Some((farthest, _)) if best.len() == count => *farthest,
        _ => radius,
    };
    for cells in near.chunks(CELLS_AT_ONCE) {
        let walks = cells.iter().map(|(terms, cell)| (*cell, *terms, target.coordinates[0]));
        let mut walks: Vec<Walk<'_>> =
            walks.flat_map(|(cell, terms, at)| Walk::both(cell, terms, at)).collect();
        let mut page = RECORDS_AT_FIRST;
        loop {
            let within = bound(&best);
            walks.retain(|walk| walk.least().is_some_and(|least| least <= within));
            if walks.is_empty() {
                break;
            }
            for (terms, record) in records(shared, &mut walks, within, page).await? {
                let hit = (terms.saturating_add(target.distance(record.at)), record.id);
                let asked = pattern.is_none_or(|pattern| pattern == record.pattern);
                let full = best.len() == count;
                let nearer = !full || best.last().is_some_and(|last| hit < *last);
                if hit.0 <= radius && asked && record.expires_secs > now && nearer {
                    // One that was there makes no other one go.
                    if best.insert(hit) && full {
                        best.pop_last();
                    }
                }
            }
            page = page.saturating_mul(RECORDS_GROWTH);
        }
    }
    Ok(best.into_iter().collect())
}

/// The next records of some walks, each with the distance of its cell's terms.
async fn records(
    shared: &Shared,
    walks: &mut [Walk<'_>],
    bound: u32,
    page: usize,
) -> Result<Vec<(u32, Record)>, BackendError> {
    let mut pipeline = pipe();
    for walk in &*walks {
        walk.ask(shared.keys.index(walk.cell()), bound, page, &mut pipeline);
    }
    let mut connection = shared.server.connection().await?;
    let answers: Vec<RedisResult<Value>> =
        pipeline.ignore_errors().query_async(&mut connection).await.map_err(|e| failed(&e))?;
    let mut records = Vec::new();
    for (walk, answer) in walks.iter_mut().zip(answers) {
        match answer {
            Ok(answer) => {
                let fields = items(answer);
                let (count, first) = (fields.len() / 2, records.len());
                records.extend(decoded(shared, fields).map(|record| (walk.terms(), record)));
                walk.advance(count, page, records[first..].last().map(|(_, record)| record));
            }
            Err(error) if error.code() == Some("WRONGTYPE") => {
                shared.verifier.skip("index of a cell", walk.cell());
                walk.end();
            }
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(records)
}

fn decoded(shared: &Shared, fields: Vec<Value>) -> impl Iterator<Item = Record> {
    let mut fields = fields.into_iter();
    std::iter::from_fn(move || Some((fields.next()?, fields.next()?))).filter_map(
        |(member, score)| {
            let (member, score) = (bytes(member)?, bytes(score)?);
            let record = Record::decode(&member, &score);
            if record.is_none() {
                shared.verifier.skip("index record", &hex::encode(member));
            }
            record
        },
    )
}

/// The coarse cells that hold packets now.
async fn directory(shared: &Shared) -> Result<Arc<Vec<Cell>>, BackendError> {
    let mut connection = shared.server.connection().await?;
    let version: Option<Vec<u8>> = cmd("HGET")
        .arg(&shared.keys.meta)
        .arg("cells")
        .query_async(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    // Without a version there is no packet.
    let Some(version) = version else { return Ok(Arc::default()) };
    {
        let known = shared.directory.read().unwrap_or_else(PoisonError::into_inner);
        if known.version == version {
            return Ok(Arc::clone(&known.cells));
        }
    }
    let answer: Value = cmd("SMEMBERS")
        .arg(&shared.keys.cells)
        .query_async(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    let paths = items(answer).into_iter().filter_map(bytes);
    let cells: Vec<Cell> = paths.filter_map(|path| shared.verifier.cell(&path)).collect();
    let cells = Arc::new(cells);
    let mut known = shared.directory.write().unwrap_or_else(PoisonError::into_inner);
    *known = Directory { version, cells: Arc::clone(&cells) };
    Ok(cells)
}

/// The first `limit` of the hits that really are what the index says, and count.
async fn verified(
    shared: &Shared,
    query: &Query,
    radius: u32,
    limit: usize,
    mut hits: &[Hit],
) -> Result<Vec<Found>, BackendError> {
    let mut found: Vec<Found> = Vec::new();
    while found.len() < limit && !hits.is_empty() {
        let count = hits.len().min(limit - found.len()).min(PACKETS_AT_ONCE);
        let (next, rest) = hits.split_at(count);
        hits = rest;
        let ids: Vec<PacketId> = next.iter().map(|(_, id)| *id).collect();
        let packets = packets(shared, &ids).await?.into_iter().flatten().collect();
        let counting = in_force(shared, packets).await?;
        found.extend(counting.into_iter().filter_map(shared.verifier.placing(query, radius)));
        in_order(&mut found);
    }
    Ok(found)
}

/// The packets with these ids, verified; `None` where there is none.
pub(super) async fn packets(
    shared: &Shared,
    ids: &[PacketId],
) -> Result<Vec<Option<Placed>>, BackendError> {
    let values = fields(shared, &shared.keys.packets, ids.iter().map(|id| &id[..])).await?;
    let there = ids.iter().zip(&values);
    let there = there.filter_map(|(id, bytes)| Some((*id, bytes.as_deref()?)));
    let there: Vec<(PacketId, &[u8])> = there.collect();
    let mut packets = shared.verifier.read_all(&there);
    Ok(values.iter().map(|bytes| bytes.as_ref().and_then(|_| packets.next()?)).collect())
}

/// Those that their publishers have not withdrawn.
pub(super) async fn in_force(
    shared: &Shared,
    packets: Vec<Placed>,
) -> Result<Vec<Placed>, BackendError> {
    let heirs: Vec<Vec<[u8; 32]>> = packets
        .iter()
        .map(|packet| shared.verifier.heirs(&packet.publisher).into_iter().collect())
        .collect();
    let keys = packets.iter().zip(&heirs);
    let keys =
        keys.flat_map(|(packet, heirs)| heirs.iter().map(|heir| [*heir, packet.id].concat()));
    let keys: Vec<Vec<u8>> = keys.collect();
    let keys = keys.iter().map(Vec::as_slice);
    let mut withdrawing = fields(shared, &shared.keys.withdrawn, keys).await?.into_iter();
    let mut counting = Vec::new();
    for (packet, heirs) in packets.into_iter().zip(heirs) {
        let ids: Vec<PacketId> = withdrawing
            .by_ref()
            .take(heirs.len())
            .flat_map(|ids| {
                let ids = ids.unwrap_or_default();
                ids.as_chunks::<32>().0.iter().take(WITHDRAWING_MAX).copied().collect::<Vec<_>>()
            })
            .collect();
        let bytes = fields(shared, &shared.keys.packets, ids.iter().map(|id| &id[..])).await?;
        let withdrawing: Vec<(PacketId, Vec<u8>)> =
            ids.iter().zip(bytes).filter_map(|(id, bytes)| Some((*id, bytes?))).collect();
        if !shared.verifier.is_withdrawn(&packet, &withdrawing) {
            counting.push(packet);
        }
    }
    Ok(counting)
}

/// The values of some fields of a hash.
async fn fields<'f>(
    shared: &Shared,
    key: &str,
    fields: impl ExactSizeIterator<Item = &'f [u8]>,
) -> Result<Vec<Option<Vec<u8>>>, BackendError> {
    if fields.len() == 0 {
        return Ok(Vec::new());
    }
    let mut command = cmd("HMGET");
    command.arg(key);
    for field in fields {
        command.arg(field);
    }
    let mut connection = shared.server.connection().await?;
    command.query_async(&mut connection).await.map_err(|error| failed(&error))
}
