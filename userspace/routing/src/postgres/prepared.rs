//! A connection on which each command is prepared once: the server parses it when it is first asked, and
//! later one exchange does instead of three.
//!
//! Owns the prepared commands of its connection. Never writes one.
//!
//! **Invariant:** it has as many of them as the program has texts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::connect::failed;
use crate::backend::BackendError;

type Parameters<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A connection.
pub(crate) struct Prepared {
    client: Client,
    statements: Mutex<HashMap<String, Statement, RandomState>>,
}

impl Prepared {
    pub(super) fn new(client: Client) -> Self {
        Self { client, statements: Mutex::default() }
    }

    pub(crate) async fn query(
        &self,
        text: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, BackendError> {
        let statement = self.statement(text).await?;
        self.told(text, self.client.query(&statement, parameters).await)
    }

    pub(crate) async fn query_one(
        &self,
        text: &str,
        parameters: Parameters<'_>,
    ) -> Result<Row, BackendError> {
        let statement = self.statement(text).await?;
        self.told(text, self.client.query_one(&statement, parameters).await)
    }

    pub(crate) async fn query_opt(
        &self,
        text: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, BackendError> {
        let statement = self.statement(text).await?;
        self.told(text, self.client.query_opt(&statement, parameters).await)
    }

    pub(crate) async fn execute(
        &self,
        text: &str,
        parameters: Parameters<'_>,
    ) -> Result<(), BackendError> {
        let statement = self.statement(text).await?;
        self.told(text, self.client.execute(&statement, parameters).await).map(drop)
    }

    /// Several commands without parameters, which are not prepared.
    pub(crate) async fn batch_execute(&self, texts: &str) -> Result<(), BackendError> {
        self.client.batch_execute(texts).await.map_err(|error| failed(&error))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    fn statements(&self) -> MutexGuard<'_, HashMap<String, Statement, RandomState>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn statement(&self, text: &str) -> Result<Statement, BackendError> {
        let known = self.statements().get(text).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let made = self.client.prepare(text).await.map_err(|error| failed(&error))?;
        self.statements().insert(text.to_owned(), made.clone());
        Ok(made)
    }

    /// What fails is prepared anew the next time: the schema may have changed since.
    fn told<T>(
        &self,
        text: &str,
        answer: Result<T, tokio_postgres::Error>,
    ) -> Result<T, BackendError> {
        answer.map_err(|error| {
            self.statements().remove(text);
            failed(&error)
        })
    }
}
