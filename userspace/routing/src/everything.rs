//! Reading all that a backend gives out, from the beginning to an end.
//!
//! Owns the end: the place in the order of arrival that the backend had reached when the reading
//! began. Never keeps a packet.
//!
//! **Invariant:** what was there when the reading began, and counts until it is read, is read once.

use std::time::Duration;

use crate::Cell;
use crate::backend::{Backend, BackendError, Cursor, Delivery, Subscription};

/// How often it is looked whether a silent subscription has reached the end.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A backend whose subscriptions have no place to resume at has no end either: so long a silence is
/// taken for it.
const SILENCE_AT_END: Duration = Duration::from_secs(10);
/// Transient errors in a row that are waited out.
const FAILURES_MAX: u32 = 5;

/// A subscription from the beginning that ends.
pub struct Everything {
    subscription: Box<dyn Subscription>,
    /// `None` for a backend that is not resumable.
    end: Option<Cursor>,
    failures: u32,
}

impl Everything {
    /// All that `backend` gives out of these cells (of all without any).
    ///
    /// # Errors
    /// See [`Backend::subscribe`].
    pub async fn of(backend: &dyn Backend, cells: &[Cell]) -> Result<Self, BackendError> {
        let end = backend.subscribe(cells, None).await?.cursor();
        let end = backend.capability().resumable.then_some(end);
        let subscription = backend.subscribe(cells, Some(Cursor(0))).await?;
        Ok(Self { subscription, end, failures: 0 })
    }

    /// Where a subscription goes on after all of it.
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.end.unwrap_or_default()
    }

    /// The next packet; `None` after the last.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering for longer than a moment.
    pub async fn next(&mut self) -> Result<Option<Delivery>, BackendError> {
        let patience = self.end.map_or(SILENCE_AT_END, |_| LOOK_EVERY);
        loop {
            if self.end.is_some_and(|end| self.subscription.cursor() >= end) {
                return Ok(None);
            }
            match tokio::time::timeout(patience, self.subscription.next()).await {
                Ok(Ok(delivery)) => {
                    self.failures = 0;
                    let late = self.end.is_some_and(|end| delivery.cursor > end);
                    return Ok((!late).then_some(delivery));
                }
                Ok(Err(error)) => self.wait_out(error).await?,
                Err(_) if self.end.is_none() => return Ok(None),
                Err(_) => {}
            }
        }
    }

    async fn wait_out(&mut self, error: BackendError) -> Result<(), BackendError> {
        self.failures += 1;
        if !error.is_transient() || self.failures > FAILURES_MAX {
            return Err(error);
        }
        tracing::debug!(%error, failures = self.failures, "reading on");
        tokio::time::sleep(LOOK_EVERY * 2_u32.pow(self.failures)).await;
        Ok(())
    }
}
