//! Remembering answers for a while.
//!
//! Owns the answers to queries and the packets that were read. What is stored or declared through
//! this layer makes it forget everything, and that a packet is not there is never remembered. What
//! others store is seen when an answer's time is up.
//!
//! **Invariant:** nothing is answered that is older than the time given, has expired, or was asked
//! before the last change made here; memory is bounded by the packets that are held.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;
use lru::LruCache;
use tokio::time::Instant;

use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::embedded::Now;
use crate::{Cell, Found, PacketId};

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheBounds {
    /// How long an answer counts.
    pub lifetime: Duration,
    /// Packets held at most in answers to queries, and as many that were read alone; each takes about
    /// 2 KB.
    pub packets_max: usize,
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(10), packets_max: 10_000 }
    }
}

/// Answers to one kind of question.
struct Answers<Q: Hash + Eq, A> {
    kept: LruCache<Q, (Instant, A)>,
    /// Packets in them.
    packets: usize,
}

impl<Q: Hash + Eq, A: Weigh + Clone> Answers<Q, A> {
    fn new() -> Self {
        Self { kept: LruCache::unbounded(), packets: 0 }
    }

    fn recall(&mut self, question: &Q, lifetime: Duration) -> Option<A> {
        let (since, answer) = self.kept.get(question)?;
        if since.elapsed() < lifetime {
            return Some(answer.clone());
        }
        self.forget(question);
        None
    }

    fn remember(&mut self, question: Q, answer: A, packets_max: usize) {
        self.forget(&question);
        self.packets += answer.packets();
        self.kept.put(question, (Instant::now(), answer));
        while self.packets > packets_max
            && let Some((_, (_, oldest))) = self.kept.pop_lru()
        {
            self.packets -= oldest.packets();
        }
    }

    fn forget(&mut self, question: &Q) {
        if let Some((_, answer)) = self.kept.pop(question) {
            self.packets -= answer.packets();
        }
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.packets = 0;
    }
}

/// Counts the packets of an answer.
trait Weigh {
    fn packets(&self) -> usize;
}

impl Weigh for Vec<Found> {
    /// An empty answer takes a place, too.
    fn packets(&self) -> usize {
        self.len().max(1)
    }
}

impl Weigh for Vec<u8> {
    fn packets(&self) -> usize {
        1
    }
}

struct Memory {
    near: Answers<(Query, u32, usize), Vec<Found>>,
    packets: Answers<PacketId, Vec<u8>>,
    /// Changes made here.
    changes: u64,
}

/// Answers again what was asked a moment ago.
pub struct Cache<B> {
    inner: B,
    bounds: CacheBounds,
    now: Now,
    memory: Mutex<Memory>,
}

impl<B> Cache<B> {
    /// Remembers within `bounds`; packets expire by `now`.
    pub fn new(inner: B, bounds: CacheBounds, now: Now) -> Self {
        let memory = Memory { near: Answers::new(), packets: Answers::new(), changes: 0 };
        Self { inner, bounds, now, memory: Mutex::new(memory) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked may have another answer now.
    fn changed(&self) {
        let mut memory = self.memory();
        memory.changes += 1;
        memory.near.clear();
        memory.packets.clear();
    }

    /// A change made here, which may have happened although its answer is lost.
    async fn change<T>(&self, call: impl Future<Output = T> + Send) -> T {
        self.changed();
        let answer = call.await;
        // What was asked in between may have been answered from before.
        self.changed();
        answer
    }
}

#[async_trait]
impl<B: Backend> Backend for Cache<B> {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.change(self.inner.store(packet)).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        let question = (query.clone(), radius, limit);
        let (recalled, changes) = {
            let mut memory = self.memory();
            (memory.near.recall(&question, self.bounds.lifetime), memory.changes)
        };
        if let Some(mut found) = recalled {
            let now = (self.now)();
            found.retain(|found| found.opened.outcome.expires > now);
            return Ok(found);
        }
        let found = self.inner.query(query, radius, limit).await?;
        let mut memory = self.memory();
        if memory.changes == changes {
            memory.near.remember(question, found.clone(), self.bounds.packets_max);
        }
        Ok(found)
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        let (recalled, changes) = {
            let mut memory = self.memory();
            (memory.packets.recall(id, self.bounds.lifetime), memory.changes)
        };
        if recalled.is_some() {
            return Ok(recalled);
        }
        let packet = self.inner.get(id).await?;
        let mut memory = self.memory();
        if let Some(packet) = &packet
            && memory.changes == changes
        {
            memory.packets.remember(*id, packet.clone(), self.bounds.packets_max);
        }
        drop(memory);
        Ok(packet)
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.inner.subscribe(cells, after).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.change(self.inner.declare(statement)).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.inner.statements(publishers).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.inner.statements_after(after).await
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.inner.held().await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.inner.import(packet).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.inner.imported(query, radius, limit).await
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
