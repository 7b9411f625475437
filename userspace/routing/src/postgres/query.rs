//! Finding what is near.
//!
//! A radius may reach over far more than the few that are asked for, and the server would measure all of it. So
//! it is asked first for what lies within a [`Reach`], and farther and farther only while that is too little.
//!
//! Owns the cells known here, how far the nearest are likely to be, and the query in SQL. Never trusts a
//! row: every packet that is given was verified and measured.
//!
//! **Invariant:** an answer is that of the whole radius; memory is bounded by the directory of cells and
//! [`ROWS_AT_ONCE`] packets beyond the limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgelore_model::Query;
use edgelore_pipeline::packet::Opened;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Prepared;
use super::Shared;
use crate::backend::{BackendError, LIMIT_MAX, in_order};
use crate::placement::Target;
use crate::{Cell, Found, PacketId};

/// Packets that are read in one round trip at most.
const ROWS_AT_ONCE: usize = 256;
/// Packets that are read beyond those still wanted: some may be withdrawn.
const ROWS_MORE: usize = 16;
/// How many times as far the next look reaches when one has brought too few.
const WIDER: u32 = 4;
/// The first look reaches at least this part of the radius, so three more reach all of it.
const NARROWEST: u32 = 64;
/// As many cells are looked into without asking an index first.
const CELLS_FEW: usize = 8;

/// What lies within a radius, nearest first.
const NEAR: &str = include_str!("near.sql");

/// Coarse cells with their numbers.
type Cells = Arc<Vec<(i32, Cell)>>;

/// The coarse cells of this space that the server holds, as of the highest number of one.
#[derive(Default)]
pub(super) struct Directory(Mutex<(i32, Cells)>);

/// How far the last full answer reached, and a quarter more: how many were asked for, and milli-units.
#[derive(Default)]
pub(super) struct Reach(Mutex<Option<(usize, u32)>>);

impl Reach {
    fn last(&self) -> MutexGuard<'_, Option<(usize, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Within which `limit` packets are likely to be, if they are anywhere near.
    fn of(&self, limit: usize) -> Option<u32> {
        self.last().filter(|(asked, _)| limit <= *asked).map(|(_, reach)| reach)
    }

    fn learn(&self, limit: usize, found: &[Found]) {
        let farthest = found.last().filter(|_| found.len() == limit).map(|one| one.distance);
        if let Some(farthest) = farthest {
            *self.last() = Some((limit, farthest.saturating_add(farthest / 4)));
        }
    }
}

/// Answers a query. A wide one begins where the nearest are, as an index tells it or the last answer, and
/// is widened until it brings as many as are asked for.
pub(super) async fn query(
    shared: &Shared,
    query: &Query,
    radius: u32,
    limit: usize,
) -> Result<Vec<Found>, BackendError> {
    let limit = limit.min(LIMIT_MAX);
    shared.verifier.catch_up(shared).await?;
    let client = shared.server.reader().await?;
    let cells = directory(shared, &client).await?;
    let target = || Target::new(&shared.verifier.space, query, radius);
    let wide = || target().near(numbered(&cells)).len() > CELLS_FEW;
    let index = shared.index.as_ref().filter(|_| wide());
    let bound = match index {
        Some(index) => index.bound(&client, &shared.verifier, query, limit + ROWS_MORE).await?,
        None => None,
    };
    let bound = bound.or_else(|| shared.reach.of(limit)).unwrap_or(radius);
    let mut bound = bound.max(radius.div_ceil(NARROWEST));
    loop {
        bound = bound.min(radius);
        let found = within(shared, &client, &cells, query, bound, limit).await?;
        if found.len() == limit || bound == radius {
            shared.reach.learn(limit, &found);
            return Ok(found);
        }
        bound = bound.saturating_mul(WIDER);
    }
}

fn numbered(cells: &Cells) -> impl Iterator<Item = (&Cell, i32)> {
    cells.iter().map(|(number, cell)| (cell, *number))
}

/// The nearest `limit` packets within a radius.
async fn within(
    shared: &Shared,
    client: &Prepared,
    cells: &Cells,
    query: &Query,
    radius: u32,
    limit: usize,
) -> Result<Vec<Found>, BackendError> {
    let target = Target::new(&shared.verifier.space, query, radius);
    let near = target.near(numbered(cells));
    let (mut found, mut after) = (Vec::new(), (-1, Vec::new()));
    while found.len() < limit && !near.is_empty() {
        let count = (limit - found.len() + ROWS_MORE).min(ROWS_AT_ONCE);
        let rows = rows(shared, client, &target, &near, query, &after, count).await?;
        let Some(last) = rows.last() else { break };
        after = (last.get(1), last.get(0));
        let at_end = rows.len() < count;
        let mut rows = &rows[..];
        while found.len() < limit && !rows.is_empty() {
            let (next, rest) = rows.split_at(rows.len().min(limit - found.len()));
            rows = rest;
            for one in verified(shared, query, radius, next) {
                if !is_withdrawn_by_heirs(shared, client, &one.opened).await? {
                    found.push(one);
                }
            }
        }
        if at_end {
            break;
        }
    }
    in_order(&mut found);
    Ok(found)
}

async fn rows(
    shared: &Shared,
    client: &Prepared,
    target: &Target<'_>,
    near: &[(u32, i32)],
    query: &Query,
    after: &(i64, Vec<u8>),
    count: usize,
) -> Result<Vec<Row>, BackendError> {
    let cells: Vec<i32> = near.iter().map(|(_, cell)| *cell).collect();
    let terms: Vec<i64> = near.iter().map(|(terms, _)| i64::from(*terms)).collect();
    let [severity, prefixes, nodes] = target.coordinates.map(|at| at.map(i64::from));
    let pattern = query.resolution_pattern.as_deref().map(str::as_bytes);
    let (now, radius) = (shared.verifier.now().secs(), i64::from(target.radius));
    let count = count as i64;
    let parameters: [&(dyn ToSql + Sync); 11] = [
        &cells, &terms, &now, &pattern, &severity, &prefixes, &nodes, &radius, &count, &after.0,
        &after.1,
    ];
    client.query(NEAR, &parameters).await
}

/// The rows that are packets, count and answer the query, in their order.
fn verified(shared: &Shared, query: &Query, radius: u32, rows: &[Row]) -> Vec<Found> {
    let verifier = &shared.verifier;
    let numbered = |row: &Row| match row.get::<_, &[u8]>(0).try_into() {
        Ok(id) => Some(id),
        Err(_) => {
            verifier.skip("row", &"its id is none");
            None
        }
    };
    let (mut packets, mut beside) =
        (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for (row, id) in rows.iter().filter_map(|row| Some((row, numbered(row)?))) {
        packets.push((id, row.get(2)));
        beside.push(row);
    }
    let place = verifier.placing(query, radius);
    let mut found = Vec::with_capacity(packets.len());
    found.extend(beside.into_iter().zip(verifier.read_all(&packets)).filter_map(
        |(row, packet)| {
            let packet = packet?;
            let withdrawing = withdrawing(row.get(3), row.get(4));
            let counts = !verifier.is_withdrawn(&packet, &withdrawing);
            counts.then(|| place(packet)).flatten()
        },
    ));
    found
}

/// Whether a key that succeeds its publisher's takes a packet back. Few keys have successors.
pub(super) async fn is_withdrawn_by_heirs(
    shared: &Shared,
    client: &Prepared,
    packet: &Opened,
) -> Result<bool, BackendError> {
    if !shared.verifier.is_succeeded(&packet.publisher) {
        return Ok(false);
    }
    let heirs = shared.verifier.heirs(&packet.publisher);
    let heirs: Vec<&[u8]> = heirs.iter().map(<[u8; 32]>::as_slice).collect();
    let by = "SELECT w.by, b.bytes FROM unnest($2::bytea[]) AS h (publisher)
        CROSS JOIN LATERAL (
            SELECT w.by FROM edgelore.withdrawal w
            WHERE w.publisher = h.publisher AND w.target = $1 ORDER BY w.by LIMIT 4
        ) AS w JOIN edgelore.packet b ON b.id = w.by";
    let rows = client.query(by, &[&&packet.id[..], &heirs]).await?;
    let by = withdrawing(
        rows.iter().map(|row| row.get(0)).collect(),
        rows.iter().map(|row| row.get(1)).collect(),
    );
    Ok(shared.verifier.is_withdrawn(packet, &by))
}

/// The packets that withdraw another one, by id.
pub(super) fn withdrawing(ids: Vec<Vec<u8>>, bytes: Vec<Vec<u8>>) -> Vec<(PacketId, Vec<u8>)> {
    let ids = ids.into_iter().zip(bytes);
    ids.filter_map(|(id, bytes)| Some((id.try_into().ok()?, bytes))).collect()
}

/// The coarse cells that hold packets now.
async fn directory(shared: &Shared, client: &Prepared) -> Result<Cells, BackendError> {
    let highest = "SELECT coalesce(max(id), 0) FROM edgelore.cell";
    let highest: i32 = client.query_one(highest, &[]).await?.get(0);
    {
        let known = shared.directory.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 == highest {
            return Ok(Arc::clone(&known.1));
        }
    }
    let space = shared.verifier.space.short_id();
    let cells = "SELECT id, path FROM edgelore.cell WHERE space = $1 AND id <= $2";
    let rows = client.query(cells, &[&&space[..], &highest]).await?;
    let cells = rows.iter().filter_map(|row| {
        let cell = shared.verifier.cell(row.get::<_, &str>(1).as_bytes())?;
        Some((row.get(0), cell))
    });
    let cells: Arc<Vec<(i32, Cell)>> = Arc::new(cells.collect());
    let mut known = shared.directory.0.lock().unwrap_or_else(PoisonError::into_inner);
    *known = (highest, Arc::clone(&cells));
    Ok(cells)
}

/// A packet's bytes.
pub(super) async fn get(shared: &Shared, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
    let client = shared.server.reader().await?;
    let bytes = "SELECT bytes FROM edgelore.packet WHERE id = $1";
    let row = client.query_opt(bytes, &[&&id[..]]).await?;
    let packet = row.and_then(|row| shared.verifier.read(id, row.get(0)));
    Ok(packet.map(|packet| packet.bytes.clone()))
}

/// How many packets of the space the server holds.
pub(super) async fn held(shared: &Shared) -> Result<u64, BackendError> {
    let client = shared.server.reader().await?;
    let count = "SELECT count(*) FROM edgelore.packet p JOIN edgelore.cell c ON c.id = p.cell
        WHERE c.space = $1";
    let space = shared.verifier.space.short_id();
    let row = client.query_one(count, &[&&space[..]]).await?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
}
