//! Several stores at once: all are written, what any of them holds is read.
//!
//! Owns putting answers together. A packet counts as stored when every store has it, or refuses it
//! for good while another one took it; until then the caller tries again, which does no harm where
//! it is. A subscription follows the first store, for a cursor means nothing to another one; what nobody
//! signed is read from the first one that has any, for it carries no distance to order it by.
//!
//! **Invariant:** a query answers as long as one store does.

use std::collections::BTreeMap;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;
use futures_util::future::join_all;

use super::{Named, summed};
use crate::backend::{
    Backend, BackendError, Capability, Cursor, LIMIT_MAX, STATEMENTS_PAGE, Stored, Subscription,
    in_order,
};
use crate::{Cell, Found, PacketId};

/// Writes to all stores, reads from any.
pub struct Mirror {
    stores: Vec<Named>,
}

impl Mirror {
    /// Over these stores; `None` when there are none.
    #[must_use]
    pub fn new(stores: Vec<Named>) -> Option<Self> {
        (!stores.is_empty()).then_some(Self { stores })
    }

    fn first(&self) -> &dyn Backend {
        self.stores[0].1.as_ref()
    }

    /// What every store answers, in their order, asked at the same time; failures are told.
    async fn all<'s, T, F>(
        &'s self,
        call: impl Fn(&'s dyn Backend) -> F,
    ) -> Vec<Result<T, BackendError>>
    where
        F: Future<Output = Result<T, BackendError>> + Send,
    {
        let answers = join_all(self.stores.iter().map(|(_, store)| call(store.as_ref()))).await;
        for ((name, _), answer) in self.stores.iter().zip(&answers) {
            if let Err(error) = answer {
                tracing::warn!(store = name, %error, "one of several stores failed");
            }
        }
        answers
    }
}

/// The answers there are; the first failure when there is none.
fn some<T>(answers: Vec<Result<T, BackendError>>) -> Result<Vec<T>, BackendError> {
    let (mut given, mut failed) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Ok(answer) => given.push(answer),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) if given.is_empty() => Err(error),
        _ => Ok(given),
    }
}

/// What every store has now; an error that may pass, as long as one has it.
fn everywhere(answers: Vec<Result<Stored, BackendError>>) -> Result<Stored, BackendError> {
    let unsettled = |answer: &Result<_, BackendError>| {
        answer.as_ref().err().filter(|error| !error.is_final()).cloned()
    };
    if let Some(error) = answers.iter().find_map(unsettled) {
        return Err(error);
    }
    let stored = some(answers)?;
    Ok(Stored { id: stored[0].id, new: stored.iter().any(|stored| stored.new) })
}

/// Each statement once, by id.
fn together(answers: Vec<Vec<Statement>>) -> Vec<Statement> {
    let mut said: Vec<Statement> = answers.into_iter().flatten().collect();
    said.sort_by_key(|statement| statement.id);
    said.dedup_by_key(|statement| statement.id);
    said
}

#[async_trait]
impl Backend for Mirror {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        everywhere(self.all(|store| store.store(packet.clone())).await)
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        let answers = some(self.all(|store| store.query(query, radius, limit)).await)?;
        let mut found: Vec<Found> = answers.into_iter().flatten().collect();
        in_order(&mut found);
        found.truncate(limit.min(LIMIT_MAX));
        Ok(found)
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(some(self.all(|store| store.get(id)).await)?.into_iter().flatten().next())
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        self.first().subscribe(cells, after).await
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        everywhere(self.all(|store| store.declare(statement.clone())).await)
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        let answers = some(self.all(|store| store.statements(publishers)).await)?;
        Ok(together(answers))
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        let answers = some(self.all(|store| store.statements_after(after)).await)?;
        // The first of all are among the first of each.
        let mut page = together(answers);
        page.truncate(STATEMENTS_PAGE);
        Ok(page)
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        self.first().held().await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        everywhere(self.all(|store| store.import(packet.clone())).await)
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        let answers = some(self.all(|store| store.imported(query, radius, limit)).await)?;
        Ok(answers.into_iter().find(|found| !found.is_empty()).unwrap_or_default())
    }

    fn skipped(&self) -> u64 {
        self.stores.iter().map(|(_, store)| store.skipped()).sum()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        summed(&self.stores)
    }

    fn capability(&self) -> Capability {
        self.first().capability()
    }
}
