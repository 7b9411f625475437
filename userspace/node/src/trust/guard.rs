//! The guard: around a backend, nothing passes that is not to be trusted.
//!
//! A *serving* guard stands between others and a store of this machine: it also judges what is
//! stored. A *reading* guard stands between this node and stores that it does not trust; what the
//! node itself publishes passes it unjudged.
//!
//! Owns the passing and the leaving out. Never judges by itself: that is [`Trust`]'s.
//!
//! **Invariant:** one packet that is left out of an answer or a subscription changes nothing else in
//! it; dropping a future that waits for the next delivery loses none.

use super::{Refusal, Trust, lock};
use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Cell;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::packet::{self, Opened, PacketId};
use edgelore_pipeline::synthesise::{Found, Unsigned};
use edgelore_routing::{
    Backend, BackendError, Capability, Cursor, Delivery, LIMIT_MAX, Said, Stored, Subscription,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A backend that is guarded.
pub struct Guard {
    inner: Arc<dyn Backend>,
    trust: Arc<Trust>,
    serving: bool,
}

impl Guard {
    /// Between others and a store of this machine.
    #[must_use]
    pub fn serving(inner: Arc<dyn Backend>, trust: Arc<Trust>) -> Arc<Self> {
        Arc::new(Self { inner, trust, serving: true })
    }

    /// Between this node and its stores.
    #[must_use]
    pub fn reading(inner: Arc<dyn Backend>, trust: Arc<Trust>) -> Arc<Self> {
        Arc::new(Self { inner, trust, serving: false })
    }

    /// Verifies a packet that somebody wants to store, and judges it.
    async fn admit(&self, bytes: &[u8]) -> Result<Opened, BackendError> {
        let opened = packet::open(bytes)
            .map_err(BackendError::from)
            .inspect_err(|error| self.trust.refuse_for(error, bytes, None))?;
        self.learn([opened.publisher]).await;
        match self.trust.judge(&opened) {
            // What is withdrawn is kept, and not found: whoever resends what arrived need not know
            // that it was replaced since.
            Ok(()) | Err(Refusal::Withdrawn) => {}
            Err(why) => return Err(self.refused(why, &opened)),
        }
        // The store itself refuses what is of another space; it uses up nobody's share.
        if hex::encode(opened.space) == self.inner.capability().space {
            self.within_rate(&opened).await?;
        }
        Ok(opened)
    }

    fn refused(&self, why: Refusal, opened: &Opened) -> BackendError {
        self.trust.refuse(why, &opened.id, Some(&opened.publisher), "store", why.reason());
        match why {
            Refusal::Expired => BackendError::Expired,
            Refusal::Future => BackendError::Future,
            _ => BackendError::Refused(why.reason().to_owned()),
        }
    }

    /// Refuses what floods the store. What is there, or is not taken anyway, costs nothing: else
    /// anybody could use up a publisher's share by sending its own packets again.
    async fn within_rate(&self, opened: &Opened) -> Result<(), BackendError> {
        if lock(&self.trust.memory).knows(&opened.id) {
            return Ok(());
        }
        if self.inner.get(&opened.id).await?.is_some() {
            return Ok(());
        }
        let Some(wait) = self.trust.wait(&opened.publisher) else { return Ok(()) };
        let why = Refusal::Flooding;
        self.trust.refuse(why, &opened.id, Some(&opened.publisher), "store", why.reason());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Err(BackendError::Throttled(wait_ms, Said::new(why.reason())))
    }

    /// Learns which keys are whose, where the book depends on it. A store that does not answer tells
    /// nothing, and what was known holds.
    async fn learn(&self, publishers: impl IntoIterator<Item = [u8; 32]>) {
        if !self.trust.asks_for_statements() {
            return;
        }
        let asked: BTreeSet<[u8; 32]> = publishers.into_iter().collect();
        let asked: Vec<[u8; 32]> = asked.into_iter().collect();
        if asked.is_empty() {
            return;
        }
        if let Ok(statements) = self.inner.statements(&asked).await {
            lock(&self.trust.memory).learn(&statements);
        }
    }

    /// Takes in what an answer says of packets, all of it before any is judged: what replaces one may
    /// come after it.
    async fn hear(&self, found: &[Found]) {
        self.learn(found.iter().map(|found| found.opened.publisher)).await;
        self.trust.hear(found.iter().map(|found| &*found.opened));
    }

    /// Whether a packet that a store gives is passed on.
    fn passes(&self, packet: &Opened, via: &str) -> bool {
        passes(&self.trust, packet, via, self.serving)
    }
}

fn passes(trust: &Trust, packet: &Opened, via: &str, serving: bool) -> bool {
    match trust.judge(packet) {
        Ok(()) => {
            if !serving {
                trust.accept(packet, via);
            }
            true
        }
        Err(why) => {
            trust.refuse(why, &packet.id, Some(&packet.publisher), via, why.reason());
            false
        }
    }
}

#[async_trait]
impl Backend for Guard {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        if !self.serving {
            return self.inner.store(packet).await;
        }
        let opened = self.admit(&packet).await?;
        let stored = self.inner.store(packet).await;
        match &stored {
            Ok(_) => self.trust.accept(&opened, "store"),
            Err(error) => self.trust.refuse_for(error, &opened.bytes, Some(&opened.publisher)),
        }
        stored
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        let mut found = self.inner.query(query, radius, limit).await?;
        self.hear(&found).await;
        let left_out = found.iter().any(|found| self.trust.judge(&found.opened).is_err());
        if left_out && found.len() >= limit && limit < LIMIT_MAX {
            // What is left out must not take the places of what is behind it.
            found = self.inner.query(query, radius, LIMIT_MAX).await?;
            self.hear(&found).await;
        }
        found.retain(|found| self.passes(&found.opened, "query"));
        found.truncate(limit);
        Ok(found)
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(bytes) = self.inner.get(id).await? else { return Ok(None) };
        let opened = packet::open(&bytes)?;
        self.learn([opened.publisher]).await;
        match self.trust.judge(&opened) {
            Err(why @ (Refusal::Blocked | Refusal::NotAllowed)) => {
                self.trust.refuse(why, id, Some(&opened.publisher), "get", why.reason());
                Ok(None)
            }
            // Whoever names a packet gets it, expired or withdrawn.
            _ => Ok(Some(bytes)),
        }
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        let inner = self.inner.subscribe(cells, after).await?;
        let guard = Self {
            inner: Arc::clone(&self.inner),
            trust: Arc::clone(&self.trust),
            serving: self.serving,
        };
        Ok(Box::new(Following { cursor: inner.cursor(), inner, guard, waiting: None }))
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        let opened = packet::statement::open(&statement);
        let stored = self.inner.declare(statement).await?;
        if let Ok(opened) = opened {
            lock(&self.trust.memory).learn([&opened]);
        }
        Ok(stored)
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        let statements = self.inner.statements(publishers).await?;
        lock(&self.trust.memory).learn(&statements);
        Ok(statements)
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        let statements = self.inner.statements_after(after).await?;
        lock(&self.trust.memory).learn(&statements);
        Ok(statements)
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.inner.held().await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        if self.serving && self.trust.config.only_known {
            let why = Refusal::Unsigned;
            self.trust.refuse(why, &packet.id(), None, "store", why.reason());
            return Err(BackendError::Refused(why.reason().to_owned()));
        }
        self.inner.import(packet).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        let unsigned = self.inner.imported(query, radius, limit).await?;
        if !self.trust.config.only_known {
            return Ok(unsigned);
        }
        let why = Refusal::Unsigned;
        for one in &unsigned {
            self.trust.refuse(why, &one.id, None, "query", why.reason());
        }
        Ok(Vec::new())
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

/// A subscription that is guarded.
struct Following {
    inner: Box<dyn Subscription>,
    guard: Guard,
    /// Of what was given last, or left out after it.
    cursor: Cursor,
    /// What came and was not judged yet.
    waiting: Option<Delivery>,
}

#[async_trait]
impl Subscription for Following {
    fn cursor(&self) -> Cursor {
        self.cursor
    }

    async fn next(&mut self) -> Result<Delivery, BackendError> {
        loop {
            let publisher = match &self.waiting {
                Some(delivery) => delivery.packet.publisher,
                None => {
                    let delivery = self.inner.next().await?;
                    let publisher = delivery.packet.publisher;
                    self.waiting = Some(delivery);
                    publisher
                }
            };
            self.guard.learn([publisher]).await;
            let Some(delivery) = self.waiting.take() else { continue };
            self.cursor = delivery.cursor;
            self.guard.trust.hear([&delivery.packet]);
            if self.guard.passes(&delivery.packet, "subscription") {
                return Ok(delivery);
            }
        }
    }
}
