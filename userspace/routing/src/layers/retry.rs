//! Trying again.
//!
//! Owns the schedule: the pause doubles from attempt to attempt up to a bound, and each is cut at
//! random by up to a half, so that many clients of one server do not come back all at once. A
//! server that says how long to wait is waited for. Every call of a backend is idempotent, so every
//! call may be repeated; only transient errors are.
//!
//! **Invariant:** the number of attempts is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;

use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::{Cell, Found, PacketId};

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Repeats calls that failed for a transient reason.
pub struct Retry<B> {
    inner: B,
    attempts: u32,
    pause: Duration,
}

impl<B> Retry<B> {
    /// At most `attempts` calls (at least one), the first pause being `pause`.
    pub const fn new(inner: B, attempts: u32, pause: Duration) -> Self {
        Self { inner, attempts, pause }
    }

    async fn repeat<T, F>(&self, call: impl Fn() -> F + Send) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>> + Send,
    {
        let (mut pause, mut attempt) = (self.pause, 1);
        loop {
            match call().await {
                Err(error) if error.is_transient() && attempt < self.attempts => {
                    tracing::debug!(%error, attempt, "asking a backend again");
                    tokio::time::sleep(wait(pause, &error)).await;
                }
                result => return result,
            }
            attempt += 1;
            pause = pause.saturating_mul(2);
        }
    }
}

/// At least what the server asks for, at most [`PAUSE_MAX`].
fn wait(pause: Duration, error: &BackendError) -> Duration {
    let asked = match error {
        BackendError::Throttled(ms, _) => Duration::from_millis(*ms),
        _ => Duration::ZERO,
    };
    jittered(pause.min(PAUSE_MAX)).max(asked).min(PAUSE_MAX)
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without random numbers the pause is not cut.
    let cut = getrandom::fill(&mut random).map_or(0, |()| u32::from_le_bytes(random));
    pause - pause.mul_f64(0.5 * f64::from(cut) / f64::from(u32::MAX))
}

#[async_trait]
impl<B: Backend> Backend for Retry<B> {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.repeat(|| self.inner.store(packet.clone())).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.repeat(|| self.inner.query(query, radius, limit)).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.repeat(|| self.inner.get(id)).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.repeat(|| self.inner.subscribe(cells, after)).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.repeat(|| self.inner.declare(statement.clone())).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.repeat(|| self.inner.statements(publishers)).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.repeat(|| self.inner.statements_after(after)).await
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.repeat(|| self.inner.held()).await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.repeat(|| self.inner.import(packet.clone())).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.repeat(|| self.inner.imported(query, radius, limit)).await
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
