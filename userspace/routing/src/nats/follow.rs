//! Subscriptions: each reads the stream with a consumer of its own.
//!
//! **Invariant:** a consumer whose numbers have a gap, or whose connection was lost, is given up, and
//! another one begins where the last step ended.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Shared;
use super::connect::Link;
use super::layout::filed;
use super::query::is_withdrawn;
use super::read::{self, Read};
use crate::Cell;
use crate::backend::{BackendError, Cursor, Delivery};
use crate::stepping::{Follower, Step, Steps};

/// Where one subscription reads.
pub(super) struct Arrivals {
    shared: Arc<Shared>,
    cells: Vec<Cell>,
    filters: Vec<String>,
    reader: Option<Reader>,
}

/// A consumer that has been read without a gap.
struct Reader {
    link: Arc<Link>,
    losses: watch::Receiver<u64>,
    consumer: Consumer<Config>,
    batch: Option<Batch>,
    /// Messages that the consumer has delivered.
    delivered: u64,
    /// Received and not yet decided on.
    message: Option<Read>,
}

/// Connects, and begins after `after`, or at the end.
pub(super) async fn follow(
    shared: Arc<Shared>,
    cells: &[Cell],
    after: Option<Cursor>,
    place: OwnedSemaphorePermit,
) -> Result<Follower<Arrivals>, BackendError> {
    let link = shared.server.link().await?;
    let last = Cursor(read::state(&link, None).await?.0.last_sequence);
    let filed: Vec<Cell> = cells.iter().map(|cell| filed(&shared.verifier.space, cell)).collect();
    let filters = shared.subjects.filters(&filed);
    let arrivals = Arrivals { shared, cells: cells.to_vec(), filters, reader: None };
    Ok(Follower::begin(arrivals, after, last, place))
}

impl Arrivals {
    async fn reader(&self, read: Cursor) -> Result<Reader, BackendError> {
        let link = self.shared.server.link().await?;
        let (losses, start) = (link.losses(), read.0.saturating_add(1));
        let consumer = match read::consumer(&self.shared, &link, &self.filters, start).await? {
            Some(consumer) => consumer,
            None => {
                // What matches the wider filter and none of the cells is left out below.
                let widest = [self.shared.subjects.widest(&self.filters)];
                let consumer = read::consumer(&self.shared, &link, &widest, start).await?;
                consumer.ok_or_else(|| {
                    BackendError::Answer("the server ignores the filter of a consumer".into())
                })?
            }
        };
        Ok(Reader { link, losses, consumer, batch: None, delivered: 0, message: None })
    }

    async fn look(&mut self, read: Cursor) -> Result<Step, BackendError> {
        if self.reader.is_none() {
            self.reader = Some(self.reader(read).await?);
        }
        let gone = || BackendError::Unavailable("the connection was closed".into());
        let reader = self.reader.as_mut().ok_or_else(gone)?;
        reader.receive().await?;
        let Some(message) = &reader.message else { return Ok((VecDeque::new(), read)) };
        let cursor = Cursor(message.sequence);
        let delivery = delivery(&self.shared, &reader.link, &self.cells, cursor, message).await?;
        reader.message = None;
        Ok((delivery.into_iter().collect(), cursor))
    }
}

#[async_trait]
impl Steps for Arrivals {
    async fn step(&mut self, read: Cursor) -> Result<Step, BackendError> {
        let step = self.look(read).await;
        if step.is_err() {
            self.reader = None;
        }
        step
    }
}

impl Reader {
    /// Waits for the next message, which stays here until it is decided on; none when none came for a
    /// while.
    async fn receive(&mut self) -> Result<(), BackendError> {
        if self.message.is_some() {
            return Ok(());
        }
        let batch = match &mut self.batch {
            Some(batch) => batch,
            None => self.batch.insert(read::wait(&self.link, &self.consumer).await?),
        };
        let message = tokio::select! {
            message = batch.next() => message,
            error = self.link.loss(&mut self.losses) => return Err(error),
        };
        let Some(message) = message else {
            self.batch = None;
            return Ok(());
        };
        let message = message.map_err(|error| BackendError::Unavailable(error.to_string()))?;
        self.delivered += 1;
        self.message = Some(Read::next(message, self.delivered)?);
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Outside a runtime the server removes it by itself, later.
        if tokio::runtime::Handle::try_current().is_ok() {
            read::remove(&self.link, &self.consumer);
        }
    }
}

/// What of a message is delivered.
async fn delivery(
    shared: &Shared,
    link: &Link,
    cells: &[Cell],
    cursor: Cursor,
    message: &Read,
) -> Result<Option<Delivery>, BackendError> {
    let Some(id) = shared.subjects.id(&message.subject) else {
        shared.verifier.skip("subject", &message.subject);
        return Ok(None);
    };
    shared.verifier.keep_up(shared).await?;
    let Some(packet) = shared.verifier.read(&id, &message.payload) else { return Ok(None) };
    let counts =
        shared.verifier.is_followed(cells, &packet) && !is_withdrawn(shared, link, &packet).await?;
    Ok(counts.then(|| Delivery { cursor, packet: Arc::unwrap_or_clone(packet) }))
}
