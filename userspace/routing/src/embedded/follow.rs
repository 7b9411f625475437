//! Subscriptions: each follows the history on disk at its own pace.
//!
//! Nothing is pushed and nothing is buffered beyond the subscription's own queue: a slow
//! subscriber is simply further back in the history, and nothing is lost for it.
//!
//! **Invariant:** deliveries come in the order of commits, each once, without gaps.

use super::Shared;
use super::disk;
use crate::{BackendError, Cell, Delivery, Opened, SubscriptionSender};
use std::sync::Arc;
use tokio::sync::watch;

/// Records looked at in one step.
const STEP_RECORDS: usize = 256;

/// One subscription.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    pub(super) cells: Arc<[Cell]>,
    /// The next sequence number to look at.
    pub(super) next: u64,
    /// Changes with every commit; closed when the store is.
    pub(super) committed: watch::Receiver<u64>,
    pub(super) sender: SubscriptionSender,
}

/// What one step found.
struct Step {
    deliveries: Vec<(u64, Opened)>,
    next: u64,
    at_end: bool,
}

impl Follower {
    /// Runs until the subscriber or the store has gone.
    pub(super) async fn run(mut self) {
        loop {
            // Marked as seen before reading, so that no commit falls between the two.
            self.committed.borrow_and_update();
            if let Err(error) = self.catch_up().await {
                if let Some(error) = error {
                    let _ = self.sender.send(Err(error)).await;
                }
                return;
            }
            tokio::select! {
                changed = self.committed.changed() => if changed.is_err() { return },
                () = self.sender.closed() => return,
            }
        }
    }

    /// Delivers up to the end of the history; `Err(None)` when the subscriber has gone.
    async fn catch_up(&mut self) -> Result<(), Option<BackendError>> {
        loop {
            let (shared, cells, next) = (Arc::clone(&self.shared), Arc::clone(&self.cells), self.next);
            let step = tokio::task::spawn_blocking(move || step(&shared, &cells, next))
                .await
                .unwrap_or_else(|error| Err(disk::failed("reading the history", &error)))?;
            for (sequence, opened) in step.deliveries {
                let cursor = self.shared.disk.cursor(sequence);
                self.sender.send(Ok(Delivery { cursor, opened })).await.map_err(|_| None)?;
            }
            self.next = step.next;
            if step.at_end {
                return Ok(());
            }
        }
    }
}

fn step(shared: &Shared, cells: &[Cell], next: u64) -> Result<Step, BackendError> {
    let records = shared.disk.records_from(next, STEP_RECORDS)?;
    let at_end = records.len() < STEP_RECORDS;
    let next = records.last().map_or(next, |(sequence, _)| sequence + 1);
    let now = (shared.now)();
    let wanted: Vec<u64> = {
        let index = shared.index();
        let followed = records.iter().filter(|(sequence, record)| {
            record.as_ref().is_some_and(|record| {
                let cell = Cell::exact(&shared.space, &record.situation);
                record.space == shared.space.short_id()
                    && cells.iter().any(|followed| followed.covers(&cell))
                    && index.in_force(*sequence, now)
            })
        });
        followed.map(|(sequence, _)| *sequence).collect()
    };
    let packets = shared.disk.packets(wanted.iter().copied())?;
    let deliveries =
        wanted.into_iter().zip(packets).filter_map(|(sequence, opened)| Some((sequence, opened?)));
    Ok(Step { deliveries: deliveries.collect(), next, at_end })
}
