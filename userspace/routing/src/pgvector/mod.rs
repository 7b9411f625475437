//! PostgreSQL with pgvector as a backend: [`crate::postgres`] with one more index.
//!
//! Packets, subscriptions, URL (with `pgvector://` for `postgres://`), TLS and durability are those of
//! that module, and both may use one database. For each similarity definition there is a table more,
//! `edgelore.vector_1_SPACE`, with the vector of each packet (`Space::embed`, whose L1 distance is the
//! distance in milli-units) and an HNSW index on it. It is filled by clients of this kind, after
//! they store and before they need it, so packets that others stored are in it too.
//!
//! **What the index is for.** A query whose radius reaches over many cells would measure all that lies in
//! them, though its limit takes a few. The index tells how far the nearest of them are (`<+>`,
//! `vector_l1_ops`, `hnsw.iterative_scan = strict_order`); what lies within *that* distance is then found,
//! measured and ordered exactly, as without the index. HNSW misses some neighbours (recall 0.996 at
//! radius 4 of 10,000 packets), which makes that distance larger than need be and no more; if too few
//! packets count within it, it is widened up to the radius that was asked for. So answers are exact, whatever
//! the index misses. Queries that leave a field open, and those of few cells, do without it.
//!
//! Needs pgvector 0.8 or newer, and for the first client the right to create the extension `vector`
//! unless it is there.
//!
//! **Invariant:** no packet is given, and none is left out, because of what the index says.

mod vectors;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;

use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::postgres::{Postgres, PostgresConfig};
use crate::{Cell, Found, PacketId};
use vectors::Vectors;

/// A PostgreSQL server with pgvector; see [`Postgres`] for its connections.
pub struct Pgvector(Postgres);

impl fmt::Debug for Pgvector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pgvector").field("skipped", &self.skipped()).finish_non_exhaustive()
    }
}

impl Pgvector {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    /// As [`Postgres::new`], and [`BackendError::Request`] for a URL of another scheme.
    pub fn new(config: PostgresConfig) -> Result<Self, BackendError> {
        let Some(rest) = config.url.strip_prefix("pgvector://") else {
            let reason = "the URL of pgvector: it does not begin with pgvector://";
            return Err(BackendError::Request(reason.to_owned()));
        };
        let config = PostgresConfig { url: format!("postgres://{rest}"), ..config };
        let vectors = Vectors::of(&config.space);
        Postgres::indexed("pgvector", config, Some(Arc::new(vectors))).map(Self)
    }
}

#[async_trait]
impl Backend for Pgvector {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.0.store(packet).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.0.query(query, radius, limit).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.get(id).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.0.subscribe(cells, after).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.0.declare(statement).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.0.statements(publishers).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.0.statements_after(after).await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.0.import(packet).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.0.imported(query, radius, limit).await
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.0.held().await
    }

    fn skipped(&self) -> u64 {
        self.0.skipped()
    }

    fn capability(&self) -> Capability {
        self.0.capability()
    }
}
