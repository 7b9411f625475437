//! Subscriptions: each follows the history on disk at its own pace.
//!
//! Nothing is pushed and nothing is buffered beyond one step: a slow subscriber is simply further
//! back in the history, and nothing is lost for it.
//!
//! **Invariant:** deliveries come in the order of commits, each once, without gaps.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::disk::Record;
use super::{Shared, blocking};
use crate::backend::{BackendError, Cursor, Delivery, Subscription};
use crate::{Cell, PacketId};

/// Records looked at in one step.
const STEP_RECORDS: usize = 256;

/// One subscription.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    /// All, when there are none.
    pub(super) cells: Arc<[Cell]>,
    /// Everything up to here was handed out or did not match.
    pub(super) cursor: Cursor,
    /// Changes after every commit; closed when the store is.
    pub(super) committed: watch::Receiver<u64>,
    /// Read, not handed out yet.
    pub(super) ready: VecDeque<Delivery>,
    /// Everything up to here was read.
    pub(super) read: Cursor,
    /// Its place among the subscriptions.
    pub(super) _place: OwnedSemaphorePermit,
}

/// What one step read.
struct Step {
    deliveries: VecDeque<Delivery>,
    read: Cursor,
    at_end: bool,
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
            // Marked as seen before reading, so that no commit falls between the two.
            self.committed.borrow_and_update();
            let (cells, read) = (Arc::clone(&self.cells), self.read);
            let step = blocking(&self.shared, move |shared| step(shared, &cells, read)).await?;
            self.read = step.read;
            self.ready = step.deliveries;
            if self.ready.is_empty() {
                // Nothing up to here matched, so resuming need not read it again.
                self.cursor = self.read;
                if step.at_end {
                    let gone = |_| BackendError::Unavailable("the store was closed".into());
                    self.committed.changed().await.map_err(gone)?;
                }
            }
        }
    }
}

fn step(shared: &Shared, cells: &[Cell], read: Cursor) -> Result<Step, BackendError> {
    let records = shared.disk.records_after(read.0, STEP_RECORDS)?;
    let at_end = records.len() < STEP_RECORDS;
    let last = records.last().map_or(read, |(sequence, _)| Cursor(*sequence));
    let (now, space) = ((shared.now)(), shared.space.short_id());
    let wanted: Vec<(u64, PacketId)> = {
        let index = shared.index();
        // The index may lag behind the disk by the commit that is being indexed: what has to be
        // known of a packet is taken from its record.
        let followed = |record: &Record| {
            let exact = Cell::exact(&shared.space, &record.situation);
            record.space == space
                && record.expires > now
                && (cells.is_empty() || cells.iter().any(|cell| cell.covers(&exact)))
                && !index.is_withdrawn(&record.publisher, &record.id)
        };
        let readable = records.iter().filter_map(|(at, record)| Some((*at, record.as_ref()?)));
        readable
            .filter(|(_, record)| followed(record))
            .map(|(at, record)| (at, record.id))
            .collect()
    };
    let packets = shared.disk.packets(wanted.iter().copied())?;
    // What was purged or evicted between the two steps is left out.
    let deliveries = wanted.into_iter().zip(packets).filter_map(|((sequence, _), packet)| {
        Some(Delivery { cursor: Cursor(sequence), packet: packet? })
    });
    Ok(Step { deliveries: deliveries.collect(), read: last, at_end })
}
