//! What stands beside the packets, as a table.
//!
//! Owns the rows of `edgelore.beside`. Never checks one.
//!
//! **Invariant:** rows are read in the order of commits.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::Shared;
use crate::backend::BackendError;
use crate::shelf::{Entry, Kind, Shelf};

/// Rows that are read in one round trip.
const ROWS_AT_ONCE: i64 = 512;

#[async_trait]
impl Shelf for Shared {
    async fn after(&self, number: u64) -> Result<Vec<Entry>, BackendError> {
        let after = "SELECT number, kind, bytes FROM edgelore.beside
            WHERE number > $1 ORDER BY number LIMIT $2";
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let client = self.server.reader().await?;
        let rows = client.query(after, &[&number, &ROWS_AT_ONCE]).await?;
        Ok(rows.iter().map(entry).collect())
    }

    async fn append(&self, kind: Kind, bytes: Vec<u8>) -> Result<(), BackendError> {
        let client = self.server.reader().await?;
        let put = "SELECT edgelore.put_beside($1, $2)";
        client.execute(put, &[&kind.name(), &bytes]).await
    }

    async fn remove(&self, number: u64) -> Result<(), BackendError> {
        let client = self.server.reader().await?;
        let remove = "DELETE FROM edgelore.beside WHERE number = $1";
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        client.execute(remove, &[&number]).await
    }
}

fn entry(row: &Row) -> Entry {
    let number = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
    let content = Kind::of(row.get(1)).map(|kind| (kind, row.get(2)));
    Entry { number, content }
}
