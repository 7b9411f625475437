//! Subscriptions: each reads the history at its own pace, on a connection of its own.
//!
//! **Invariant:** deliveries come in the order of the history, each once, without gaps.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::connect::{BLOCK_MS, failed};
use super::layout::{self, Entry, bytes, items};
use super::query::{in_force, packets};
use crate::backend::{BackendError, Cursor, Delivery};
use crate::stepping::{Follower, Step, Steps};
use crate::{Cell, PacketId};

/// Entries that are read in one step.
const STEP_ENTRIES: usize = 128;

/// Where one subscription reads.
pub(super) struct History {
    shared: Arc<Shared>,
    cells: Vec<Cell>,
    connection: Option<MultiplexedConnection>,
}

/// Connects, and begins after `after`, or at the end.
pub(super) async fn follow(
    shared: Arc<Shared>,
    cells: &[Cell],
    after: Option<Cursor>,
    place: OwnedSemaphorePermit,
) -> Result<Follower<History>, BackendError> {
    let connection = Some(shared.server.dedicated().await?);
    let last = last(&shared).await?;
    let history = History { shared, cells: cells.to_vec(), connection };
    Ok(Follower::begin(history, after, last, place))
}

impl History {
    /// Waits for entries after `read`; none when nothing came for a while.
    async fn entries(&mut self, read: Cursor) -> Result<Vec<Entry>, BackendError> {
        if self.connection.is_none() {
            self.connection = Some(self.shared.server.dedicated().await?);
        }
        let gone = || BackendError::Unavailable("the connection was closed".into());
        let connection = self.connection.as_mut().ok_or_else(gone)?;
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(STEP_ENTRIES).arg("BLOCK").arg(BLOCK_MS);
        command.arg("STREAMS").arg(&self.shared.keys.history).arg(layout::entry(read));
        match command.query_async::<Value>(connection).await {
            Ok(answer) => Ok(layout::entries(answer)),
            Err(error) => {
                self.connection = None;
                Err(failed(&error))
            }
        }
    }

    async fn deliveries(
        &self,
        wanted: &[(Cursor, PacketId)],
    ) -> Result<VecDeque<Delivery>, BackendError> {
        if !wanted.is_empty() {
            self.shared.verifier.keep_up(&*self.shared).await?;
        }
        let ids: Vec<PacketId> = wanted.iter().map(|(_, id)| *id).collect();
        // What was purged meanwhile has expired, and is left out.
        let packets = packets(&self.shared, &ids).await?.into_iter().flatten().collect();
        let counting = in_force(&self.shared, packets).await?;
        let mut wanted = wanted.iter();
        let deliveries = counting.into_iter().filter_map(|packet| {
            let (cursor, _) = wanted.find(|(_, id)| *id == packet.id)?;
            let followed = self.shared.verifier.is_followed(&self.cells, &packet);
            followed
                .then(|| Delivery { cursor: *cursor, packet: Arc::unwrap_or_clone(packet.opened) })
        });
        Ok(deliveries.collect())
    }
}

#[async_trait]
impl Steps for History {
    async fn step(&mut self, read: Cursor) -> Result<Step, BackendError> {
        let (entries, mut read) = (self.entries(read).await?, read);
        let mut wanted: Vec<(Cursor, PacketId)> = Vec::new();
        for entry in &entries {
            let Some(cursor) = layout::cursor(&entry.name) else {
                self.shared.verifier.skip("entry", &String::from_utf8_lossy(&entry.name));
                continue;
            };
            read = cursor;
            match (entry.id, &entry.cell) {
                (Some(id), Some(cell)) => {
                    if self.cells.is_empty() || self.cells.iter().any(|own| own.covers(cell)) {
                        wanted.push((cursor, id));
                    }
                }
                _ => self.shared.verifier.skip("entry", &"it names no packet and cell"),
            }
        }
        Ok((self.deliveries(&wanted).await?, read))
    }
}

/// The last entry that the history ever had.
async fn last(shared: &Shared) -> Result<Cursor, BackendError> {
    let mut connection = shared.server.connection().await?;
    let mut command = cmd("XINFO");
    command.arg("STREAM").arg(&shared.keys.history);
    let answer = match command.query_async::<Value>(&mut connection).await {
        Ok(answer) => answer,
        Err(error) if error.detail().is_some_and(|detail| detail.contains("no such key")) => {
            return Ok(Cursor(0));
        }
        Err(error) => return Err(failed(&error)),
    };
    let mut fields = items(answer).into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if bytes(name).as_deref() == Some(b"last-generated-id") {
            let last = bytes(value).and_then(|entry| layout::cursor(&entry));
            return last
                .ok_or_else(|| BackendError::Answer("the history's end is no cursor".into()));
        }
    }
    Err(BackendError::Answer("the history has no end".into()))
}
