//! Brings what others publish near here: to the local store and to the operator.
//!
//! ```text
//! store a ─► subscription ─┐ batches   ┌► packets and cursor, one transaction ─► `received`
//! store b ─► subscription ─┴ of 256 ───┴► log, status; events on the control socket
//! ```
//!
//! Each server is followed by itself, from a cursor of its own, for a cursor means nothing to another
//! one: a server that stands in for another, or comes back, is read on from where it was left, or from
//! the beginning when it was never followed. What came from elsewhere before is known by its id.
//! Cells that are added later are read from the beginning, once.
//!
//! Owns following and its figures. Never judges what it receives: the store's rules of admission do,
//! and whoever gives advice.
//!
//! **Invariant:** a cursor is durable in the same transaction as everything received up to it; at
//! most [`BATCH_MAX`] packets of a server are in memory, and it is read no faster than they are
//! written.

pub mod cells;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::Opened;
use edgelore_routing::embedded::{Embedded, Mark};
use edgelore_routing::{Backend, BackendError, Cell, Cursor, Delivery, Everything, Subscription};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

pub use cells::{Class, Wanted};
pub use status::{DeliveryStatus, ReceivedView};

use crate::control::Context;
use crate::keeper::Keeper;
use crate::lock;
use crate::status::StatusSource;

/// Packets that are written in one transaction.
pub const BATCH_MAX: usize = 256;
/// How long a packet waits for others to be written with it.
const GATHER: Duration = Duration::from_millis(10);
/// Publishers of whom it is remembered that their statements were asked for.
const PUBLISHERS_KNOWN_MAX: usize = 65_536;
/// Packets that are told one by one; of more at once only the number.
const TOLD_MAX: usize = 8;
/// How soon a new situation is followed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Where following a server stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// `None` before anything of it was followed.
    cursor: Option<Cursor>,
    cells: Vec<Cell>,
}

/// How the cells of a [`Place`] are noted.
#[derive(Serialize, Deserialize)]
struct Noted(Vec<String>);

/// Follows one server.
pub struct Follower {
    /// What messages call it, and what its cursor is noted under.
    pub name: String,
    /// The server.
    pub server: Arc<dyn Backend>,
    /// Where what arrives is kept.
    pub received: Arc<Embedded>,
    /// What to follow; changes are followed.
    pub wanted: watch::Receiver<Wanted>,
    /// Who publishes here: its own outcomes are no news.
    pub own: [u8; 32],
    /// Where the figures go.
    pub status: StatusSource,
}

/// Follows every server, if anything is received; within a runtime.
pub(crate) fn start(context: &Context, radius_milli: u32) {
    let Some(received) = &context.received else { return };
    let (tell, wanted) = watch::channel(Wanted::default());
    let (keeper, space) = (Arc::clone(&context.keeper), context.space.clone());
    let own = lock(&keeper).publisher();
    tokio::spawn(look(keeper, space, radius_milli, tell));
    for (name, server) in &context.servers {
        let follower = Follower {
            name: name.clone(),
            server: Arc::clone(server),
            received: Arc::clone(received),
            wanted: wanted.clone(),
            own,
            status: context.status.clone(),
        };
        tokio::spawn(follower.run());
    }
}

/// Says what is wanted whenever the network or its incidents have changed.
async fn look(
    keeper: Arc<Mutex<Keeper>>,
    space: Space,
    radius_milli: u32,
    tell: watch::Sender<Wanted>,
) {
    let mut known = None;
    loop {
        let now = {
            let keeper = lock(&keeper);
            (keeper.site().clone(), keeper.classes().clone())
        };
        if known.as_ref() != Some(&now) {
            let wanted = cells::around(&space, &now.0, &now.1, radius_milli);
            if wanted.left_out > 0 {
                let left_out = wanted.left_out;
                tracing::warn!(left_out, "more cells lie within receive.radius_milli than fit");
            }
            tell.send_if_modified(|told| std::mem::replace(told, wanted.clone()) != wanted);
            known = Some(now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Follower {
    /// Runs until it is dropped; a server that fails is tried again, ever more rarely.
    pub async fn run(mut self) {
        let mut wait = RETRY_FIRST;
        loop {
            let mut received = false;
            match self.follow(&mut received).await {
                Ok(()) => wait = RETRY_FIRST,
                Err(error) => {
                    wait = if received { RETRY_FIRST } else { wait };
                    tracing::warn!(store = self.name, %error, "not followed, will retry");
                    self.figures(|figures| {
                        figures.connected = false;
                        figures.failures += 1;
                        figures.error = Some(error.to_string());
                    });
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_LONGEST);
                }
            }
        }
    }

    fn figures(&self, change: impl FnOnce(&mut DeliveryStatus)) {
        change(self.status.update().delivery.entry(self.name.clone()).or_default());
    }

    /// Follows what is wanted until that changes. Says when something was received.
    async fn follow(&mut self, received: &mut bool) -> Result<(), BackendError> {
        let wanted = self.wanted.borrow_and_update().clone();
        self.figures(|figures| {
            (figures.cells, figures.cells_left_out) = (wanted.cells.len(), wanted.left_out);
        });
        if wanted.cells.is_empty() {
            self.figures(|figures| figures.connected = false);
            return self.wait_for_change().await;
        }
        let mut asked = HashSet::new();
        let cursor = self.catch_up(&wanted.cells, &mut asked).await?;
        let mut subscription = self.server.subscribe(&wanted.cells, Some(cursor)).await?;
        self.figures(|figures| (figures.connected, figures.error) = (true, None));
        tracing::info!(store = self.name, cells = wanted.cells.len(), "following");
        loop {
            let batch = tokio::select! {
                batch = batch(&mut *subscription) => batch?,
                changed = self.wanted.changed() => {
                    // Whoever says what is wanted goes with the node.
                    return if changed.is_ok() { Ok(()) } else { std::future::pending().await };
                }
            };
            *received = true;
            self.receive(batch, &mut asked, Some(subscription.cursor())).await?;
        }
    }

    async fn wait_for_change(&mut self) -> Result<(), BackendError> {
        if self.wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Reads the history of cells that were not followed before; gives where to go on.
    async fn catch_up(
        &self,
        wanted: &[Cell],
        asked: &mut HashSet<[u8; 32]>,
    ) -> Result<Cursor, BackendError> {
        let place = self.place()?;
        let new = |cell: &&Cell| !place.cells.iter().any(|followed| followed.covers(cell));
        let added: Vec<Cell> = wanted.iter().filter(new).cloned().collect();
        let mut cursor = place.cursor;
        if !added.is_empty() {
            let mut history = Everything::of(self.server.as_ref(), &added).await?;
            cursor = cursor.or(Some(history.end()));
            let mut batch = Vec::new();
            while let Some(delivery) = history.next().await? {
                batch.push(delivery);
                if batch.len() == BATCH_MAX {
                    self.receive(std::mem::take(&mut batch), asked, None).await?;
                }
            }
            self.receive(batch, asked, None).await?;
        }
        let cursor = cursor.unwrap_or_default();
        if place != (Place { cursor: Some(cursor), cells: wanted.to_vec() }) {
            let cells = Noted(wanted.iter().map(Cell::to_string).collect());
            let cells = serde_json::to_vec(&cells).expect("a list of strings serializes");
            let marks = vec![self.mark("cells", cells), self.at(cursor)];
            self.received.receive(Vec::new(), marks).await?;
        }
        Ok(cursor)
    }

    fn place(&self) -> Result<Place, BackendError> {
        let noted = |what: &str| self.received.mark(&format!("{}/{what}", self.name));
        let cells = noted("cells")?.and_then(|bytes| serde_json::from_slice::<Noted>(&bytes).ok());
        let cells = cells.into_iter().flat_map(|Noted(cells)| cells);
        let cursor = noted("cursor")?.and_then(|bytes| bytes.try_into().ok());
        Ok(Place {
            cursor: cursor.map(|bytes| Cursor(u64::from_be_bytes(bytes))),
            // A cell that is none any more is not followed.
            cells: cells.filter_map(|path| path.parse().ok()).collect(),
        })
    }

    fn mark(&self, what: &str, value: Vec<u8>) -> Mark {
        Mark { name: format!("{}/{what}", self.name), value }
    }

    fn at(&self, cursor: Cursor) -> Mark {
        self.mark("cursor", cursor.0.to_be_bytes().to_vec())
    }

    /// Writes what arrived, and up to where, and tells what is new.
    async fn receive(
        &self,
        batch: Vec<Delivery>,
        asked: &mut HashSet<[u8; 32]>,
        cursor: Option<Cursor>,
    ) -> Result<(), BackendError> {
        let packets: Vec<Opened> = batch.into_iter().map(|delivery| delivery.packet).collect();
        self.ask_about(&packets, asked).await?;
        let bytes = packets.iter().map(|packet| packet.bytes.clone()).collect();
        let marks = cursor.map(|cursor| self.at(cursor)).into_iter().collect();
        let stored = self.received.receive(bytes, marks).await?;
        let (mut new, mut refused, mut repeated) = (Vec::new(), 0, 0);
        for (packet, stored) in packets.iter().zip(stored) {
            match stored {
                Ok(stored) if stored.new => new.push(packet),
                Ok(_) => repeated += 1,
                Err(error) => {
                    refused += 1;
                    tracing::debug!(store = self.name, %error, "received and not kept");
                }
            }
        }
        let at = self.status.clock_now();
        let news: Vec<ReceivedView> = new
            .iter()
            .filter(|packet| packet.publisher != self.own)
            .map(|packet| ReceivedView::of(packet, at))
            .collect();
        tell(&self.name, &news);
        self.figures(|figures| {
            figures.received += new.len() as u64;
            figures.repeated += repeated;
            figures.refused += refused;
            figures.news += news.len() as u64;
            figures.cursor = cursor.map_or(figures.cursor, |cursor| cursor.0);
            figures.latest = news.into_iter().last().or_else(|| figures.latest.take());
        });
        Ok(())
    }

    /// Takes over what publishers that were not met before said of their keys, before anything of
    /// theirs counts here.
    async fn ask_about(
        &self,
        packets: &[Opened],
        asked: &mut HashSet<[u8; 32]>,
    ) -> Result<(), BackendError> {
        let publishers: BTreeSet<[u8; 32]> = packets
            .iter()
            .map(|packet| packet.publisher)
            .filter(|one| !asked.contains(one))
            .collect();
        let publishers: Vec<[u8; 32]> = publishers.into_iter().collect();
        if publishers.is_empty() {
            return Ok(());
        }
        for statement in self.server.statements(&publishers).await? {
            match self.received.declare(statement.bytes).await {
                Ok(_) => {}
                Err(error @ (BackendError::Full | BackendError::Packet(_))) => {
                    tracing::warn!(store = self.name, %error, "a statement about a key is not kept");
                }
                Err(error) => return Err(error),
            }
        }
        if asked.len() + publishers.len() > PUBLISHERS_KNOWN_MAX {
            asked.clear();
        }
        asked.extend(publishers);
        Ok(())
    }
}

/// The next packet, and those that come within [`GATHER`] after it.
async fn batch(subscription: &mut dyn Subscription) -> Result<Vec<Delivery>, BackendError> {
    let mut batch = vec![subscription.next().await?];
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH_MAX {
        // Dropping a call that waits loses nothing; what failed is asked again.
        match tokio::time::timeout_at(until, subscription.next()).await {
            Ok(Ok(delivery)) => batch.push(delivery),
            _ => break,
        }
    }
    Ok(batch)
}

fn tell(store: &str, news: &[ReceivedView]) {
    if news.len() > TOLD_MAX {
        tracing::info!(store, count = news.len(), "outcomes received");
        return;
    }
    for one in news {
        tracing::info!(
            store,
            packet = one.packet,
            topology = one.topology_class,
            protocol = one.protocol,
            event = one.event_type,
            pattern = one.pattern,
            "outcome received"
        );
    }
}
