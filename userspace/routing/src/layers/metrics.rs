//! Counting and timing what a backend is asked.
//!
//! Owns the figures of each operation: calls, failures by kind, how long answers took. A call that
//! its caller gave up on counts as a call and as nothing else. Never changes an answer; waiting for
//! a subscription's next packet is not timed, for silence is no slowness.
//!
//! **Invariant:** memory is bounded: the operations and kinds of errors are, and so are the histograms.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::{Cell, Found, PacketId};

/// What takes longer counts as this, in µs: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Significant digits of latencies.
const LATENCY_DIGITS: u8 = 2;

/// One operation's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationFigures {
    /// How often it was called.
    pub calls: u64,
    /// Failures by [`BackendError::kind`].
    pub errors: BTreeMap<String, u64>,
    /// Half of the answers took no longer, in µs; failures are answers too.
    pub p50_us: u64,
    /// 99 of a hundred answers took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

struct Operation {
    calls: u64,
    errors: BTreeMap<&'static str, u64>,
    answered_us: Histogram<u64>,
}

impl Default for Operation {
    fn default() -> Self {
        let answered_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
            .expect("the bounds and the digits are within what the histogram takes");
        Self { calls: 0, errors: BTreeMap::new(), answered_us }
    }
}

/// The figures of one backend; cheap to clone.
#[derive(Clone, Default)]
pub struct Measured(Arc<Mutex<BTreeMap<&'static str, Operation>>>);

impl Measured {
    fn operations(&self) -> MutexGuard<'_, BTreeMap<&'static str, Operation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The figures by operation, those that were called.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<String, OperationFigures> {
        let operations = self.operations();
        let figures = operations.iter().map(|(name, operation)| {
            let answered = &operation.answered_us;
            let errors = operation.errors.iter().map(|(kind, count)| ((*kind).to_owned(), *count));
            let figures = OperationFigures {
                calls: operation.calls,
                errors: errors.collect(),
                p50_us: answered.value_at_quantile(0.5),
                p99_us: answered.value_at_quantile(0.99),
                max_us: answered.max(),
            };
            ((*name).to_owned(), figures)
        });
        figures.collect()
    }

    async fn measure<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        self.operations().entry(name).or_default().calls += 1;
        let asked = Instant::now();
        let answer = call.await;
        let took_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut operations = self.operations();
        let operation = operations.entry(name).or_default();
        operation.answered_us.saturating_record(took_us.max(1));
        if let Err(error) = &answer {
            *operation.errors.entry(error.kind()).or_default() += 1;
        }
        answer
    }
}

/// Counts and times every call.
pub struct Metrics<B> {
    inner: B,
    measured: Measured,
}

impl<B> Metrics<B> {
    /// Counts into `measured`.
    pub const fn new(inner: B, measured: Measured) -> Self {
        Self { inner, measured }
    }
}

#[async_trait]
impl<B: Backend> Backend for Metrics<B> {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.measured.measure("store", self.inner.store(packet)).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.measured.measure("query", self.inner.query(query, radius, limit)).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.measured.measure("get", self.inner.get(id)).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.measured.measure("subscribe", self.inner.subscribe(cells, after)).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.measured.measure("declare", self.inner.declare(statement)).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.measured.measure("statements", self.inner.statements(publishers)).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.measured.measure("statements_after", self.inner.statements_after(after)).await
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.measured.measure("held", self.inner.held()).await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.measured.measure("import", self.inner.import(packet)).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.measured.measure("imported", self.inner.imported(query, radius, limit)).await
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
