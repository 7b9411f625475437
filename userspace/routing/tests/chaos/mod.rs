//! A backend that fails on purpose.
//!
//! Owns which call fails how. Never fails by chance: a test says which, so that it fails alike
//! every time.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_routing::{
    Backend, BackendError, Capability, Cell, Cursor, Found, PacketId, Said, Stored, Subscription,
};

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Before it reaches the store.
    Refused,
    /// It is never answered.
    Hangs,
    /// After the store has done it.
    AnswerLost,
    /// The caller is told to wait, in ms.
    Throttled(u64),
}

/// A backend whose calls fail by their number, counted from 0 over all clones.
#[derive(Clone)]
pub(crate) struct Chaos {
    inner: Arc<dyn Backend>,
    fault: Arc<dyn Fn(u64) -> Option<Fault> + Send + Sync>,
    calls: Arc<AtomicU64>,
}

impl Chaos {
    pub(crate) fn new(
        inner: Arc<impl Backend + 'static>,
        fault: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self { inner, fault: Arc::new(fault), calls: Arc::default() }
    }

    /// How many calls came so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn fail<T>(
        &self,
        call: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        let lost = |reason: &str| Err(BackendError::Unavailable(reason.into()));
        match (self.fault)(self.calls.fetch_add(1, Ordering::SeqCst)) {
            None => call.await,
            Some(Fault::Refused) => lost("the connection was refused"),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::AnswerLost) => call.await.and_then(|_| lost("the answer was lost")),
            Some(Fault::Throttled(ms)) => Err(BackendError::Throttled(ms, Said::default())),
        }
    }
}

#[async_trait]
impl Backend for Chaos {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.fail(self.inner.store(packet)).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.fail(self.inner.query(query, radius, limit)).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.fail(self.inner.get(id)).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.fail(self.inner.subscribe(cells, after)).await
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }
}
