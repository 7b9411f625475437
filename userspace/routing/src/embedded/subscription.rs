//! Following arrivals.
//!
//! Owns a place in the order of arrival. Never queues: it reads the table again, so a slow
//! subscriber costs nothing and loses nothing.
//!
//! **Invariant:** packets come in the order of arrival, each once.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use edgelore_pipeline::packet;
use tokio::sync::watch;

use super::Shared;
use crate::Cell;
use crate::backend::{BackendError, Cursor, Delivery, Subscription};

/// Arrivals read at a time.
const READ_MAX: usize = 64;

/// A subscription to an embedded store. It ends with an error when the store is dropped.
pub(super) struct Follower {
    shared: std::sync::Weak<Shared>,
    cells: Vec<Cell>,
    cursor: Cursor,
    latest: watch::Receiver<Cursor>,
    ready: VecDeque<Delivery>,
    /// The last arrival that was read, whether it was in a cell or not.
    read: Cursor,
}

impl Follower {
    pub(super) fn new(shared: &Arc<Shared>, cells: Vec<Cell>, after: Option<Cursor>) -> Self {
        let latest = shared.latest.subscribe();
        let cursor = after.unwrap_or_else(|| *latest.borrow());
        let shared = Arc::downgrade(shared);
        Self { shared, cells, cursor, latest, ready: VecDeque::new(), read: cursor }
    }

    /// Reads the next arrivals and keeps those in a cell; whether there were any arrivals.
    fn read(&mut self) -> Result<bool, BackendError> {
        let stopped = || BackendError::Unavailable("the store was closed".into());
        let shared = self.shared.upgrade().ok_or_else(stopped)?;
        let arrivals = shared.packets.arrivals(self.read, READ_MAX)?;
        for (cursor, bytes) in &arrivals {
            let packet = packet::open_again(bytes)?;
            let exact = Cell::exact(&shared.config.space, &packet.outcome.situation);
            if self.cells.is_empty() || self.cells.iter().any(|cell| cell.covers(&exact)) {
                self.ready.push_back(Delivery { cursor: *cursor, packet });
            }
            self.read = *cursor;
        }
        Ok(!arrivals.is_empty())
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
            // Marked as seen before reading, so that what arrives meanwhile wakes it again.
            self.latest.borrow_and_update();
            if !self.read()? {
                let closed = |_| BackendError::Unavailable("the store was closed".into());
                self.latest.changed().await.map_err(closed)?;
            }
        }
    }
}
