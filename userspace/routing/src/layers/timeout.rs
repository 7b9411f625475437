//! A bound on waiting.
//!
//! Owns the clock of one call. Waiting for a subscription's next packet has no bound: silence is
//! no failure there.
//!
//! **Invariant:** a call returns within the bound.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;

use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::{Cell, Found, PacketId};

/// Gives up on a call after a time.
pub struct Timeout<B> {
    inner: B,
    bound: Duration,
}

impl<B> Timeout<B> {
    /// Waits `bound` for each call.
    pub const fn new(inner: B, bound: Duration) -> Self {
        Self { inner, bound }
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        let ms = u64::try_from(self.bound.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(self.bound, call).await.unwrap_or(Err(BackendError::Timeout(ms)))
    }
}

#[async_trait]
impl<B: Backend> Backend for Timeout<B> {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.within(self.inner.store(packet)).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.within(self.inner.query(query, radius, limit)).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.within(self.inner.get(id)).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.within(self.inner.subscribe(cells, after)).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.within(self.inner.declare(statement)).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.within(self.inner.statements(publishers)).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.within(self.inner.statements_after(after)).await
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.within(self.inner.held()).await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.within(self.inner.import(packet)).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.within(self.inner.imported(query, radius, limit)).await
    }

    fn skipped(&self) -> u64 {
        self.inner.skipped()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.inner.counts()
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }
}
