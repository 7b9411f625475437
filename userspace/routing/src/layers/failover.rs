//! Servers that stand in for one another.
//!
//! Owns which of them is asked first: the one that answered last. Calls go to the next one for
//! everything that another server might not refuse. A subscription always goes to the first one
//! named, for a cursor means nothing to another server: whoever must go on receiving while that one is
//! down follows each server by itself, from a cursor of its own, and drops what came before.
//!
//! **Invariant:** a call asks each server at most once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;

use super::{Named, summed};
use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::{Cell, Found, PacketId};

/// Asks one server after the other until one answers.
pub struct Failover {
    servers: Vec<Named>,
    preferred: AtomicUsize,
}

impl Failover {
    /// Asks them in this order; `None` when there are none.
    #[must_use]
    pub fn new(servers: Vec<Named>) -> Option<Self> {
        (!servers.is_empty()).then(|| Self { servers, preferred: AtomicUsize::new(0) })
    }

    fn first(&self) -> &dyn Backend {
        self.servers[0].1.as_ref()
    }

    async fn ask<'s, T, F>(
        &'s self,
        call: impl Fn(&'s dyn Backend) -> F + Send,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>> + Send,
    {
        let (count, preferred) = (self.servers.len(), self.preferred.load(Ordering::Relaxed));
        let mut said = Vec::new();
        for number in (preferred..preferred + count).map(|number| number % count) {
            let (name, server) = &self.servers[number];
            match call(server.as_ref()).await {
                Err(error) if !error.is_final() => {
                    if count > 1 {
                        tracing::warn!(server = name, %error, "one of several servers failed");
                    }
                    said.push((name, error));
                }
                result => {
                    self.preferred.store(number, Ordering::Relaxed);
                    return result;
                }
            }
        }
        Err(none_answers(said))
    }
}

/// The one error of a single server as it is; else what each of them said.
fn none_answers(mut said: Vec<(&String, BackendError)>) -> BackendError {
    if said.len() == 1 {
        return said.remove(0).1;
    }
    let said: Vec<_> = said.iter().map(|(name, error)| format!("{name}: {error}")).collect();
    BackendError::Unavailable(format!("no server answers: {}", said.join("; ")))
}

#[async_trait]
impl Backend for Failover {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        self.ask(|server| server.store(packet.clone())).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.ask(|server| server.query(query, radius, limit)).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        self.ask(|server| server.get(id)).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.first().subscribe(cells, after).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.ask(|server| server.declare(statement.clone())).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.ask(|server| server.statements(publishers)).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.ask(|server| server.statements_after(after)).await
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.ask(|server| server.held()).await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.ask(|server| server.import(packet.clone())).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.ask(|server| server.imported(query, radius, limit)).await
    }

    fn skipped(&self) -> u64 {
        self.servers.iter().map(|(_, server)| server.skipped()).sum()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        summed(&self.servers)
    }

    fn capability(&self) -> Capability {
        self.first().capability()
    }
}
