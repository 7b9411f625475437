//! Statements and unsigned packets that a server keeps.
//!
//! A server keeps a log of them, which every client reads from where it stopped, before each query
//! and at most once a second beside a subscription. It checks each entry and knows the rest by heart.
//! Who writes to the log looks first whether it has what it wants to write; two who do so at once
//! may both write, and every reader takes in the first.
//!
//! Owns what is known of the log. Never decides what counts: [`Memory`] does.
//!
//! **Invariant:** nothing is believed that was not checked here.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::statement::{self, Statement};
use edgelore_pipeline::synthesise::Unsigned;
use tokio::sync::{Mutex, MutexGuard};

use crate::PacketId;
use crate::backend::{BackendError, Stored};
use crate::beside::{Import, Memory};
use crate::verify::Verifier;

/// How old the knowledge beside a subscription may be.
const AGE_MAX: Duration = Duration::from_secs(1);

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Statement,
    Import,
}

impl Kind {
    /// What stands for it in a server.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Import => "import",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Statement, Self::Import].into_iter().find(|kind| kind.name() == name)
    }
}

/// An entry of the log.
pub(crate) struct Entry {
    /// Its place: higher than those before.
    pub(crate) number: u64,
    /// `None` when it cannot be read.
    pub(crate) content: Option<(Kind, Vec<u8>)>,
}

/// The log in a server.
#[async_trait]
pub(crate) trait Shelf: Send + Sync {
    /// Some entries after a place, in order; none at the end.
    async fn after(&self, number: u64) -> Result<Vec<Entry>, BackendError>;

    /// Appends an entry.
    async fn append(&self, kind: Kind, bytes: Vec<u8>) -> Result<(), BackendError>;

    /// Removes an entry.
    async fn remove(&self, number: u64) -> Result<(), BackendError>;
}

/// What is known of a log.
#[derive(Default)]
pub(crate) struct Shelved {
    memory: RwLock<Memory>,
    place: Mutex<Place>,
}

/// How far the log was read, and when.
#[derive(Default)]
struct Place {
    number: u64,
    looked: Option<Instant>,
}

impl Shelved {
    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows from the statements.
    pub(crate) fn with_lineage<T>(&self, ask: impl FnOnce(&Lineage) -> T) -> T {
        ask(self.memory().lineage())
    }
}

impl Verifier {
    /// Reads what came into the log.
    pub(crate) async fn catch_up(&self, shelf: &impl Shelf) -> Result<(), BackendError> {
        self.read_on(shelf, &mut self.shelved.place.lock().await).await
    }

    /// The same, unless it was done a moment ago.
    pub(crate) async fn keep_up(&self, shelf: &impl Shelf) -> Result<(), BackendError> {
        let mut place = self.shelved.place.lock().await;
        if place.looked.is_some_and(|looked| looked.elapsed() < AGE_MAX) {
            return Ok(());
        }
        self.read_on(shelf, &mut place).await
    }

    async fn read_on(
        &self,
        shelf: &impl Shelf,
        place: &mut MutexGuard<'_, Place>,
    ) -> Result<(), BackendError> {
        loop {
            let entries = shelf.after(place.number).await?;
            let Some(last) = entries.last() else {
                place.looked = Some(Instant::now());
                return Ok(());
            };
            place.number = place.number.max(last.number);
            entries.into_iter().for_each(|entry| self.take_in(entry));
        }
    }

    fn take_in(&self, entry: Entry) {
        let number = entry.number;
        let taken = match entry.content {
            Some((Kind::Statement, bytes)) => self.take_statement(&bytes),
            Some((Kind::Import, bytes)) => Import::decode(&bytes)
                .and_then(|import| import.unsigned())
                .map(|unsigned| self.change(|memory| memory.add_import(number, unsigned))),
            None => Err("it is no entry of the log".to_owned()),
        };
        if let Err(error) = taken {
            self.skip(&format!("entry {number} beside the packets"), &error);
        }
    }

    fn take_statement(&self, bytes: &[u8]) -> Result<(), String> {
        let statement = statement::open(bytes).map_err(|error| error.to_string())?;
        self.change(|memory| match memory.lacks(&statement) {
            Ok(true) => {
                memory.add_statement(statement);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(_) => Err("there are too many statements".to_owned()),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.shelved.memory.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`crate::Backend::declare`].
    pub(crate) async fn declare(
        &self,
        shelf: &impl Shelf,
        bytes: Vec<u8>,
    ) -> Result<Stored, BackendError> {
        let statement = statement::open(&bytes)?;
        let id = statement.id;
        let mut place = self.shelved.place.lock().await;
        self.read_on(shelf, &mut place).await?;
        let new = self.shelved.memory().lacks(&statement)?;
        if new {
            shelf.append(Kind::Statement, bytes).await?;
            self.read_on(shelf, &mut place).await?;
        }
        Ok(Stored { id, new })
    }

    /// See [`crate::Backend::statements`].
    pub(crate) async fn statements(
        &self,
        shelf: &impl Shelf,
        publishers: &[[u8; 32]],
    ) -> Result<Vec<Statement>, BackendError> {
        self.catch_up(shelf).await?;
        Ok(self.shelved.memory().about(publishers))
    }

    /// See [`crate::Backend::statements_after`].
    pub(crate) async fn statements_after(
        &self,
        shelf: &impl Shelf,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.catch_up(shelf).await?;
        Ok(self.shelved.memory().after(after))
    }

    /// See [`crate::Backend::import`].
    pub(crate) async fn import(
        &self,
        shelf: &impl Shelf,
        packet: &Reference,
    ) -> Result<Stored, BackendError> {
        let import = Import::new(packet, self.now());
        import.unsigned().map_err(BackendError::Request)?;
        let id = import.id;
        let mut place = self.shelved.place.lock().await;
        self.read_on(shelf, &mut place).await?;
        if self.shelved.memory().has_import(&id) {
            return Ok(Stored { id, new: false });
        }
        let oldest = self.shelved.memory().makes_room();
        if let Some(oldest) = oldest {
            shelf.remove(oldest).await?;
        }
        shelf.append(Kind::Import, import.encode()).await?;
        self.read_on(shelf, &mut place).await?;
        Ok(Stored { id, new: true })
    }

    /// See [`crate::Backend::imported`].
    pub(crate) async fn imported(
        &self,
        shelf: &impl Shelf,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.catch_up(shelf).await?;
        Ok(self.shelved.memory().near(&self.space, query, radius, limit, self.now()))
    }
}
