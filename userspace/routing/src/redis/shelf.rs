//! What stands beside the packets, as a stream.
//!
//! Owns the entries of the key `beside`. Never checks one.
//!
//! **Invariant:** reading never fails for what somebody else wrote.

use async_trait::async_trait;
use redis::{Value, cmd};

use super::Shared;
use super::connect::failed;
use super::layout::{self, bytes, items};
use crate::backend::{BackendError, Cursor};
use crate::shelf::{Entry, Kind, Shelf};

/// Entries that are read in one round trip.
const ENTRIES_AT_ONCE: usize = 512;

#[async_trait]
impl Shelf for Shared {
    async fn after(&self, number: u64) -> Result<Vec<Entry>, BackendError> {
        let mut connection = self.server.connection().await?;
        let mut command = cmd("XRANGE");
        command.arg(&self.keys.beside).arg(format!("({}", layout::entry(Cursor(number)))).arg("+");
        command.arg("COUNT").arg(ENTRIES_AT_ONCE);
        let answer: Value =
            command.query_async(&mut connection).await.map_err(|error| failed(&error))?;
        Ok(items(answer).into_iter().filter_map(entry).collect())
    }

    async fn append(&self, kind: Kind, bytes: Vec<u8>) -> Result<(), BackendError> {
        let mut connection = self.server.connection().await?;
        let mut command = cmd("XADD");
        command.arg(&self.keys.beside).arg("*").arg("k").arg(kind.name()).arg("b").arg(bytes);
        let added: Result<String, _> = command.query_async(&mut connection).await;
        added.map(drop).map_err(|error| failed(&error))
    }

    async fn remove(&self, number: u64) -> Result<(), BackendError> {
        let mut connection = self.server.connection().await?;
        let mut command = cmd("XDEL");
        command.arg(&self.keys.beside).arg(layout::entry(Cursor(number)));
        let removed: Result<u64, _> = command.query_async(&mut connection).await;
        removed.map(drop).map_err(|error| failed(&error))
    }
}

fn entry(value: Value) -> Option<Entry> {
    let mut parts = items(value).into_iter();
    let number = layout::cursor(&bytes(parts.next()?)?)?.0;
    let mut fields = parts.next().map(items).unwrap_or_default().into_iter().map(bytes);
    let content =
        match [fields.next(), fields.next(), fields.next(), fields.next()].map(Option::flatten) {
            [Some(k), Some(kind), Some(b), Some(content)] if k == b"k" && b == b"b" => {
                let kind = std::str::from_utf8(&kind).ok().and_then(Kind::of);
                kind.map(|kind| (kind, content))
            }
            _ => None,
        };
    Some(Entry { number, content })
}
