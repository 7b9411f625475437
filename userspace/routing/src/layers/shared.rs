//! A backend that several own: what is around one may be around a shared one.
//!
//! Owns nothing; every call is passed on.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;

use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::{Cell, Found, PacketId};

#[async_trait]
impl<B: Backend + ?Sized> Backend for Arc<B> {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        (**self).store(packet).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        (**self).query(query, radius, limit).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        (**self).get(id).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        (**self).subscribe(cells, after).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        (**self).declare(statement).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        (**self).statements(publishers).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        (**self).statements_after(after).await
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        (**self).held().await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        (**self).import(packet).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        (**self).imported(query, radius, limit).await
    }

    fn skipped(&self) -> u64 {
        (**self).skipped()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        (**self).counts()
    }

    fn capability(&self) -> Capability {
        (**self).capability()
    }
}
