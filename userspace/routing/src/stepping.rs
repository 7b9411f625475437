//! A subscription that reads what a server keeps, step by step.
//!
//! Owns where a subscription stands. Never buffers beyond one step: a slow subscriber is simply
//! further back.
//!
//! **Invariant:** deliveries come in the order of steps, each once; dropping a call loses nothing.

use std::collections::VecDeque;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;

use crate::backend::{BackendError, Cursor, Delivery, Subscription};

/// What of a step is delivered, and up to where it was read.
pub(crate) type Step = (VecDeque<Delivery>, Cursor);

/// Reads what arrived, in its order.
#[async_trait]
pub(crate) trait Steps: Send {
    /// What arrived after `read`; waits for it, and may give up waiting with an empty step. Dropping
    /// the future must lose nothing.
    async fn step(&mut self, read: Cursor) -> Result<Step, BackendError>;
}

/// One subscription.
pub(crate) struct Follower<S> {
    steps: S,
    /// Everything up to here was handed out or did not match.
    cursor: Cursor,
    /// Read, not handed out yet.
    ready: VecDeque<Delivery>,
    /// Everything up to here was read.
    read: Cursor,
    _place: OwnedSemaphorePermit,
}

impl<S: Steps> Follower<S> {
    /// Begins after `after`, or after the `last` that arrived until now.
    pub(crate) fn begin(
        steps: S,
        after: Option<Cursor>,
        last: Cursor,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let cursor = match after {
            None => last,
            // The cursor of another store: rather twice than never.
            Some(after) if after > last => Cursor(0),
            Some(after) => after,
        };
        Self { steps, cursor, ready: VecDeque::new(), read: cursor, _place: place }
    }
}

#[async_trait]
impl<S: Steps> Subscription for Follower<S> {
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
            (self.ready, self.read) = self.steps.step(self.read).await?;
        }
    }
}
