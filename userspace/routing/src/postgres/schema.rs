//! The schema and its versions.
//!
//! Owns the migrations: SQL files, applied in order, each in a transaction with the note that it
//! was. Never takes one back.
//!
//! **Invariant:** two clients never migrate at the same time, and one that knows less than the
//! schema refuses to work with it.

use tokio_postgres::Client;

use super::connect::failed;
use crate::backend::BackendError;

/// The files, in order; the first is version 1.
const MIGRATIONS: [&str; 4] = [
    include_str!("migrations/0001_outcomes.sql"),
    include_str!("migrations/0002_beside.sql"),
    include_str!("migrations/0003_box.sql"),
    include_str!("migrations/0004_store.sql"),
];

/// Makes the schema, or brings it up to date.
pub(super) async fn migrate(client: &mut Client) -> Result<(), BackendError> {
    if version(client).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(|error| failed(&error))?;
    let prepare = "SELECT pg_advisory_xact_lock(6351042118930);
        CREATE SCHEMA IF NOT EXISTS edgelore;
        CREATE TABLE IF NOT EXISTS edgelore.migration (
            version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now()
        )";
    transaction.batch_execute(prepare).await.map_err(|error| failed(&error))?;
    // Again: another client may have been first.
    let applied = version(transaction.client()).await?;
    for (number, migration) in (1i32..).zip(MIGRATIONS).skip(applied) {
        transaction.batch_execute(migration).await.map_err(|error| failed(&error))?;
        let note = "INSERT INTO edgelore.migration (version) VALUES ($1)";
        transaction.execute(note, &[&number]).await.map_err(|error| failed(&error))?;
    }
    transaction.commit().await.map_err(|error| failed(&error))
}

/// How many migrations were applied.
async fn version(client: &Client) -> Result<usize, BackendError> {
    let there = "SELECT to_regclass('edgelore.migration') IS NOT NULL";
    let there = client.query_one(there, &[]).await.map_err(|error| failed(&error))?;
    if !there.get::<_, bool>(0) {
        return Ok(0);
    }
    let applied = "SELECT coalesce(max(version), 0) FROM edgelore.migration";
    let applied = client.query_one(applied, &[]).await.map_err(|error| failed(&error))?;
    let applied = usize::try_from(applied.get::<_, i32>(0)).unwrap_or(usize::MAX);
    if applied > MIGRATIONS.len() {
        let (known, schema) = (MIGRATIONS.len(), "the schema is of a later version");
        return Err(BackendError::Storage(format!("{schema}: {applied}, {known} known")));
    }
    Ok(applied)
}
