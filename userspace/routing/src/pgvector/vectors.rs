//! The table of vectors: making, filling and asking it.
//!
//! **Invariant:** a packet that has arrived up to the mark of a client has a vector, or cannot be read.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet;
use pgvector::Vector;
use tokio_postgres::Row;

use crate::backend::BackendError;
use crate::postgres::{Nearness, Prepared};
use crate::verify::Verifier;

/// Packets that get their vectors in one call.
const FILL_AT_ONCE: i64 = 256;
/// What the index keeps in view while it searches (`hnsw.ef_search`).
const IN_VIEW: u32 = 100;

/// The vectors of one similarity definition.
pub(super) struct Vectors {
    table: String,
    dimensions: usize,
    /// Everything that arrived up to here has a vector or cannot be read.
    filled: AtomicI64,
}

impl Vectors {
    pub(super) fn of(space: &Space) -> Self {
        let table = format!("vector_1_{}", hex::encode(space.short_id()));
        Self { table, dimensions: space.dimensions(), filled: AtomicI64::new(0) }
    }

    async fn make(&self, client: &Prepared) -> Result<(), BackendError> {
        let (table, dimensions) = (&self.table, self.dimensions);
        let make = format!(
            "BEGIN;
            SELECT pg_advisory_xact_lock(6351042118930);
            CREATE EXTENSION IF NOT EXISTS vector;
            CREATE TABLE IF NOT EXISTS edgelore.{table} (
                packet bigint PRIMARY KEY REFERENCES edgelore.packet ON DELETE CASCADE,
                at vector({dimensions}) NOT NULL
            );
            CREATE INDEX IF NOT EXISTS {table}_near ON edgelore.{table} USING hnsw (at vector_l1_ops);
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

    /// Packets after the mark without a vector, and up to where they were looked for.
    async fn missing(
        &self,
        client: &Prepared,
        verifier: &Verifier,
    ) -> Result<(Vec<Row>, i64), BackendError> {
        let end = "SELECT coalesce(max(p.arrival), 0) FROM edgelore.packet p";
        let end = client.query_one(end, &[]).await?;
        let (end, mark): (i64, _) = (end.get(0), self.filled.load(Ordering::Relaxed));
        if end <= mark {
            return Ok((Vec::new(), mark));
        }
        let missing = format!(
            "SELECT p.arrival, p.id, p.bytes
            FROM edgelore.packet p JOIN edgelore.cell c ON c.id = p.cell
            WHERE c.space = $1 AND p.arrival > $2 AND p.arrival <= $3 AND NOT EXISTS (
                SELECT FROM edgelore.{} v WHERE v.packet = p.arrival
            ) ORDER BY p.arrival LIMIT $4",
            self.table
        );
        let space = verifier.space.short_id();
        let rows = client.query(&missing, &[&&space[..], &mark, &end, &FILL_AT_ONCE]).await?;
        let at_end = (rows.len() as i64) < FILL_AT_ONCE;
        let looked = rows.last().filter(|_| !at_end).map_or(end, |row| row.get(0));
        Ok((rows, looked))
    }

    async fn add(
        &self,
        client: &Prepared,
        verifier: &Verifier,
        rows: &[Row],
    ) -> Result<(), BackendError> {
        let placed = rows.iter().filter_map(|row| {
            let vector = vector(&verifier.space, &situation(verifier, row)?);
            Some((row.get::<_, i64>(0), vector))
        });
        let (packets, vectors): (Vec<i64>, Vec<Vector>) = placed.unzip();
        // A packet may have been purged meanwhile; one that is there stays until this is done.
        let add = format!(
            "INSERT INTO edgelore.{} (packet, at)
            SELECT u.packet, u.at FROM unnest($1::bigint[], $2::vector[]) AS u (packet, at)
            JOIN edgelore.packet p ON p.arrival = u.packet FOR KEY SHARE OF p
            ON CONFLICT DO NOTHING",
            self.table
        );
        client.execute(&add, &[&packets, &vectors]).await
    }
}

#[async_trait]
impl Nearness for Vectors {
    async fn prepare(&self, client: &Prepared) -> Result<(), BackendError> {
        let there = format!("SELECT to_regclass('edgelore.{}_near') IS NOT NULL", self.table);
        let there = client.query_one(&there, &[]).await?;
        if !there.get::<_, bool>(0) {
            self.make(client).await?;
            // Whatever this client filled was in another table.
            self.filled.store(0, Ordering::Relaxed);
        }
        // The extension's settings are known once it was used.
        let settings = format!(
            "SELECT '[1]'::vector; SET hnsw.iterative_scan = strict_order; SET hnsw.ef_search = {IN_VIEW}"
        );
        client.batch_execute(&settings).await
    }

    async fn fill(&self, client: &Prepared, verifier: &Verifier) -> Result<(), BackendError> {
        loop {
            let (rows, looked) = self.missing(client, verifier).await?;
            if !rows.is_empty() {
                self.add(client, verifier, &rows).await?;
            }
            self.filled.fetch_max(looked, Ordering::Relaxed);
            if (rows.len() as i64) < FILL_AT_ONCE {
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
        let (at, now) = (vector(&verifier.space, &at), verifier.now().secs());
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

/// Where a row lies by its own word; a lie concerns nobody else's place.
fn situation(verifier: &Verifier, row: &Row) -> Option<Situation> {
    let id = row.get::<_, &[u8]>(1).try_into().ok()?;
    match packet::reopen(row.get(2), &id) {
        Ok(packet) => Some(packet.outcome.situation),
        Err(error) => {
            verifier.skip(&format!("packet {}", hex::encode(id)), &error);
            None
        }
    }
}

fn vector(space: &Space, situation: &Situation) -> Vector {
    Vector::from(space.embed(situation))
}
