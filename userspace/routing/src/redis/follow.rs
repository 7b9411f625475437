//! Subscriptions: each reads the history at its own pace, on a connection of its own.
//!
//! Nothing is buffered beyond one step: a slow subscriber is simply further back in the history.
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
use crate::backend::{BackendError, Cursor, Delivery, Subscription};
use crate::{Cell, PacketId};

/// Entries that are read in one step.
const STEP_ENTRIES: usize = 128;

/// One subscription.
pub(super) struct Follower {
    shared: Arc<Shared>,
    cells: Vec<Cell>,
    /// Everything up to here was handed out or did not match.
    cursor: Cursor,
    /// Read, not handed out yet.
    ready: VecDeque<Delivery>,
    /// Everything up to here was read.
    read: Cursor,
    connection: Option<MultiplexedConnection>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// Connects, and begins after `after`, or at the end.
    pub(super) async fn begin(
        shared: Arc<Shared>,
        cells: &[Cell],
        after: Option<Cursor>,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, BackendError> {
        let connection = shared.server.dedicated().await?;
        let last = last(&shared).await?;
        let cursor = match after {
            None => last,
            // The cursor of another store: rather twice than never.
            Some(after) if after > last => Cursor(0),
            Some(after) => after,
        };
        Ok(Self {
            shared,
            cells: cells.to_vec(),
            cursor,
            ready: VecDeque::new(),
            read: cursor,
            connection: Some(connection),
            _place: place,
        })
    }

    /// Waits for entries after `read`; none when nothing came for a while.
    async fn entries(&mut self) -> Result<Vec<Entry>, BackendError> {
        if self.connection.is_none() {
            self.connection = Some(self.shared.server.dedicated().await?);
        }
        let gone = || BackendError::Unavailable("the connection was closed".into());
        let connection = self.connection.as_mut().ok_or_else(gone)?;
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(STEP_ENTRIES).arg("BLOCK").arg(BLOCK_MS);
        command.arg("STREAMS").arg(&self.shared.keys.history).arg(layout::entry(self.read));
        match command.query_async::<Value>(connection).await {
            Ok(answer) => Ok(layout::entries(answer)),
            Err(error) => {
                self.connection = None;
                Err(failed(&error))
            }
        }
    }

    /// What of the entries is delivered, and up to where they go.
    async fn step(&self, entries: &[Entry]) -> Result<(VecDeque<Delivery>, Cursor), BackendError> {
        let mut read = self.read;
        let mut wanted: Vec<(Cursor, PacketId)> = Vec::new();
        for entry in entries {
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

    async fn deliveries(
        &self,
        wanted: &[(Cursor, PacketId)],
    ) -> Result<VecDeque<Delivery>, BackendError> {
        let ids: Vec<PacketId> = wanted.iter().map(|(_, id)| *id).collect();
        // What was purged meanwhile has expired, and is left out.
        let packets = packets(&self.shared, &ids).await?.into_iter().flatten().collect();
        let counting = in_force(&self.shared, packets).await?;
        let mut wanted = wanted.iter();
        let deliveries = counting.into_iter().filter_map(|packet| {
            let (cursor, _) = wanted.find(|(_, id)| *id == packet.id)?;
            let followed = self.shared.verifier.is_followed(&self.cells, &packet);
            followed.then_some(Delivery { cursor: *cursor, packet })
        });
        Ok(deliveries.collect())
    }
}

#[async_trait]
impl Subscription for Follower {
    fn cursor(&self) -> Cursor {
        self.cursor
    }

    async fn next(&mut self) -> Result<Delivery, BackendError> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                self.cursor = delivery.cursor;
                return Ok(delivery);
            }
            // Nothing up to here matched, so resuming need not read it again.
            self.cursor = self.read;
            let entries = self.entries().await?;
            let (ready, read) = self.step(&entries).await?;
            (self.ready, self.read) = (ready, read);
        }
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
