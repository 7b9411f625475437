//! Leaving a backend alone that does not answer.
//!
//! ```text
//! closed ──[`FAILURES_MAX`] failures in a row──► open ──after [`REST`]──► one call asks ──┐
//!    ▲                                            ▲                                       │
//!    └───────────────── it answers ───────────────┼───────────────────────────────────────┤
//!                                                 └────────────── it fails ───────────────┘
//! ```
//!
//! Owns the count of failures. An answer that refuses is an answer.
//!
//! **Invariant:** while it is open, at most one call in [`REST`] reaches the backend.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;
use tokio::time::Instant;

use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::{Cell, Found, PacketId};

/// So many failures in a row open it.
const FAILURES_MAX: u32 = 5;
/// How long the backend is left alone then.
const REST: Duration = Duration::from_secs(10);

/// Refuses calls at once while a backend does not answer.
pub struct Breaker<B> {
    inner: B,
    state: Mutex<State>,
}

struct State {
    failures: u32,
    /// When the next call may ask.
    open_until: Instant,
}

impl<B> Breaker<B> {
    /// Closed: calls pass.
    pub fn new(inner: B) -> Self {
        let state = State { failures: 0, open_until: Instant::now() };
        Self { inner, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> Result<(), BackendError> {
        let (mut state, now) = (self.state(), Instant::now());
        if state.failures < FAILURES_MAX {
            return Ok(());
        }
        if now < state.open_until {
            let ms = (state.open_until - now).as_millis();
            let failures = state.failures;
            return Err(BackendError::Unavailable(format!(
                "it failed {failures} times in a row and is asked again in {ms} ms"
            )));
        }
        // This call asks; the others wait for what it finds, or for another rest if it is dropped.
        state.open_until = now + REST;
        Ok(())
    }

    fn judge<T>(&self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        let silent = |error: &BackendError| {
            matches!(error, BackendError::Timeout(_) | BackendError::Unavailable(_))
        };
        let mut state = self.state();
        if result.as_ref().err().is_some_and(silent) {
            state.failures = state.failures.saturating_add(1);
            state.open_until = Instant::now() + REST;
        } else {
            state.failures = 0;
        }
        result
    }
}

#[async_trait]
impl<B: Backend> Backend for Breaker<B> {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.admit()?;
        self.judge(self.inner.store(packet).await)
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.admit()?;
        self.judge(self.inner.query(query, radius, limit).await)
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.admit()?;
        self.judge(self.inner.get(id).await)
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.admit()?;
        self.judge(self.inner.subscribe(cells, after).await)
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.admit()?;
        self.judge(self.inner.declare(statement).await)
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.admit()?;
        self.judge(self.inner.statements(publishers).await)
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.admit()?;
        self.judge(self.inner.statements_after(after).await)
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.admit()?;
        self.judge(self.inner.held().await)
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.admit()?;
        self.judge(self.inner.import(packet).await)
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.admit()?;
        self.judge(self.inner.imported(query, radius, limit).await)
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
