//! What is stored at one place and read at another.

use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_routing::{
    Backend, BackendError, Capability, Cell, Cursor, Found, PacketId, Stored, Subscription,
};

/// Stores at one node and reads at another.
pub(crate) struct Elsewhere {
    pub(crate) writer: Arc<dyn Backend>,
    pub(crate) reader: Arc<dyn Backend>,
}

#[async_trait]
impl Backend for Elsewhere {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.writer.store(packet).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.reader.query(query, radius, limit).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.reader.get(id).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.reader.subscribe(cells, after).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.writer.declare(statement).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.reader.statements(publishers).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.reader.statements_after(after).await
    }

    fn capability(&self) -> Capability {
        self.reader.capability()
    }
}
