//! The table of vectors: making, filling and asking it.
//!
//! A vector is where the packet's coarse cell lies, which a client works out once for each cell, and the three
//! coordinates that stand beside the packet; so the server makes it, and no packet is read for it.
//!
//! **Invariant:** a packet that has arrived up to the mark of a client has a vector, or lies in no cell.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use async_trait::async_trait;
use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::Space;
use pgvector::Vector;

use crate::backend::BackendError;
use crate::placement::place;
use crate::postgres::{Nearness, Prepared};
use crate::verify::Verifier;

/// Packets that get their vectors in one call.
const FILL_AT_ONCE: i64 = 256;
/// What the index keeps in view while it searches (`hnsw.ef_search`).
const IN_VIEW: u32 = 100;

/// Gives vectors to packets that have none.
const FILL: &str = include_str!("fill.sql");

/// The vectors of one similarity definition.
pub(super) struct Vectors {
    table: String,
    dimensions: usize,
    /// [`FILL`] for this table.
    fill: String,
    /// Everything that arrived up to here has a vector or lies in no cell.
    filled: AtomicI64,
    /// Cells with numbers up to this one have their places.
    placed: AtomicI32,
}

impl Vectors {
    pub(super) fn of(space: &Space) -> Self {
        let table = format!("vector_1_{}", hex::encode(space.short_id()));
        Self {
            fill: FILL.replace("VECTORS", &table),
            table,
            dimensions: space.dimensions(),
            filled: AtomicI64::new(0),
            placed: AtomicI32::new(0),
        }
    }

    async fn make(&self, client: &Prepared) -> Result<(), BackendError> {
        let (table, dimensions, terms) = (&self.table, self.dimensions, self.terms());
        let make = format!(
            "BEGIN;
            SELECT pg_advisory_xact_lock(6351042118930);
            CREATE EXTENSION IF NOT EXISTS vector;
            CREATE TABLE IF NOT EXISTS edgelore.{table} (
                packet bigint PRIMARY KEY REFERENCES edgelore.packet ON DELETE CASCADE,
                at vector({dimensions}) NOT NULL
            );
            CREATE INDEX IF NOT EXISTS {table}_near ON edgelore.{table} USING hnsw (at vector_l1_ops);
            CREATE TABLE IF NOT EXISTS edgelore.{table}_cell (
                cell integer PRIMARY KEY REFERENCES edgelore.cell ON DELETE CASCADE,
                place vector({terms}) NOT NULL
            );
            COMMIT"
        );
        let made = client.batch_execute(&make).await;
        if made.is_err() {
            // Its own error does not matter: the first one is told.
            let _ = client.batch_execute("ROLLBACK").await;
        }
        made.map_err(|error| match error {
            BackendError::Storage(text) => {
                BackendError::Storage(format!("making the vectors of pgvector: {text}"))
            }
            other => other,
        })
    }

    /// Dimensions of what a cell fixes: all but the last three, which are the coordinates.
    const fn terms(&self) -> usize {
        self.dimensions - 3
    }

    /// Puts down where the cells up to a number lie.
    async fn place(
        &self,
        client: &Prepared,
        verifier: &Verifier,
        highest: i32,
    ) -> Result<(), BackendError> {
        let cells = format!(
            "SELECT c.id, c.path FROM edgelore.cell c
            WHERE c.space = $1 AND c.id <= $2 AND NOT EXISTS (
                SELECT FROM edgelore.{}_cell k WHERE k.cell = c.id
            )",
            self.table
        );
        let space = verifier.space.short_id();
        let rows = client.query(&cells, &[&&space[..], &highest]).await?;
        let placed = rows.iter().filter_map(|row| {
            let place = place(&verifier.cell(row.get::<_, &str>(1).as_bytes())?)?;
            let mut vector = verifier.space.embed(&place);
            vector.truncate(self.terms());
            Some((row.get::<_, i32>(0), Vector::from(vector)))
        });
        let (cells, places): (Vec<i32>, Vec<Vector>) = placed.unzip();
        // A cell may have been emptied meanwhile; one that is there stays until this is done.
        let add = format!(
            "INSERT INTO edgelore.{}_cell (cell, place)
            SELECT u.cell, u.place FROM unnest($1::integer[], $2::vector[]) AS u (cell, place)
            JOIN edgelore.cell c ON c.id = u.cell FOR KEY SHARE OF c
            ON CONFLICT DO NOTHING",
            self.table
        );
        client.execute(&add, &[&cells, &places]).await?;
        self.placed.fetch_max(highest, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Nearness for Vectors {
    async fn prepare(&self, client: &Prepared) -> Result<(), BackendError> {
        let there = format!("SELECT to_regclass('edgelore.{}_cell') IS NOT NULL", self.table);
        let there = client.query_one(&there, &[]).await?;
        if !there.get::<_, bool>(0) {
            self.make(client).await?;
            // Whatever this client filled was in another table.
            self.filled.store(0, Ordering::Relaxed);
            self.placed.store(0, Ordering::Relaxed);
        }
        // The extension's settings are known once it was used.
        let settings = format!(
            "SELECT '[1]'::vector; SET hnsw.iterative_scan = strict_order; SET hnsw.ef_search = {IN_VIEW}"
        );
        client.batch_execute(&settings).await
    }

    async fn fill(&self, client: &Prepared, verifier: &Verifier) -> Result<(), BackendError> {
        loop {
            let mark = self.filled.load(Ordering::Relaxed);
            let row = client.query_one(&self.fill, &[&mark, &i64::MAX, &FILL_AT_ONCE]).await?;
            let (highest, end): (i32, i64) = (row.get(0), row.get(1));
            let (count, last): (i64, Option<i64>) = (row.get(2), row.get(3));
            if self.placed.load(Ordering::Relaxed) < highest {
                self.place(client, verifier, highest).await?;
                continue;
            }
            let at_end = count < FILL_AT_ONCE;
            let filled = last.filter(|_| !at_end).unwrap_or(end);
            self.filled.fetch_max(filled, Ordering::Relaxed);
            if at_end {
                return Ok(());
            }
        }
    }

    async fn bound(
        &self,
        client: &Prepared,
        verifier: &Verifier,
        query: &Query,
        count: usize,
    ) -> Result<Option<u32>, BackendError> {
        let Some(at) = complete(query) else { return Ok(None) };
        self.fill(client, verifier).await?;
        let nearest = format!(
            "SELECT v.at <+> $1::vector AS distance
            FROM edgelore.{} v JOIN edgelore.packet p ON p.arrival = v.packet
            WHERE p.expires > $2::bigint AND ($3::bytea IS NULL OR p.pattern = $3)
            ORDER BY v.at <+> $1::vector LIMIT $4::bigint",
            self.table
        );
        let (at, now) = (Vector::from(verifier.space.embed(&at)), verifier.now().secs());
        let pattern = query.resolution_pattern.as_deref().map(str::as_bytes);
        let rows = client.query(&nearest, &[&at, &now, &pattern, &(count as i64)]).await?;
        let farthest = rows.last().filter(|_| rows.len() == count);
        // Milli-units are whole numbers; what `as` cuts off above them is no bound anyway.
        Ok(farthest.map(|row| row.get::<_, f64>(0).ceil() as u32))
    }
}

/// The situation that a query without an open field asks about.
fn complete(query: &Query) -> Option<Situation> {
    Some(Situation {
        topology_class: query.topology_class.clone()?,
        protocol: query.protocol.clone()?,
        event_type: query.event_type.clone()?,
        severity: query.severity?,
        affected_prefixes: query.affected_prefixes?,
        node_count: query.node_count?,
    })
}
