//! What stands beside the packets: statements about keys, and what nobody signed.
//!
//! | table of `beside.redb` | key | value |
//! |---|---|---|
//! | `statements` | id | the statement's exact bytes |
//! | `heard` | id | nothing: no user of this node declared that statement, peers told of it (DHT) |
//! | `imports` | sequence number | a packet of the reference's form with the time it came in, as JSON |
//!
//! What may stand there is [`Memory`]'s to say, which holds all of it too.
//!
//! **Invariant:** a statement is acknowledged only after it was synced to disk.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::statement::{self, Statement};
use edgelore_pipeline::synthesise::Unsigned;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::disk::failed;
#[cfg(feature = "dht")]
use super::heard::Heard;
use super::index::Change;
use crate::PacketId;
use crate::backend::{BackendError, Stored};
use crate::beside::{Import, Memory};

const FILE: &str = "beside.redb";
pub(super) const STATEMENTS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("statements");
const IMPORTS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("imports");

/// The statements and the unsigned packets.
pub(super) struct Beside {
    pub(super) database: Database,
    memory: RwLock<Memory>,
    /// Held from looking for room until what was written is in memory, so that the bounds hold for
    /// those who come at the same time; who only reads does not wait for the disk.
    turn: Mutex<()>,
    #[cfg(feature = "dht")]
    pub(super) heard: Mutex<Heard>,
}

impl Beside {
    pub(super) fn open(directory: &Path) -> Result<Self, BackendError> {
        let place = |error: redb::Error| {
            failed("opening the store", &format_args!("{}: {error}", directory.display()))
        };
        let database = Database::create(directory.join(FILE)).map_err(|e| place(e.into()))?;
        let memory = read(&database).map_err(place)?;
        #[cfg(feature = "dht")]
        let heard = Mutex::new(Heard::read(&database).map_err(place)?);
        Ok(Self {
            database,
            memory: RwLock::new(memory),
            turn: Mutex::default(),
            #[cfg(feature = "dht")]
            heard,
        })
    }

    pub(super) fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows from the statements.
    pub(super) fn lineage(&self) -> Lineage {
        self.memory().lineage().clone()
    }

    /// Keeps a statement; `learn` is told of it in the order in which all are kept.
    pub(super) fn declare(
        &self,
        bytes: &[u8],
        learn: impl FnOnce(Change<'_>),
    ) -> Result<Stored, BackendError> {
        let statement = statement::open(bytes)?;
        let id = statement.id;
        let _turn = self.turn();
        let lacks = self.memory().lacks(&statement)?;
        if !lacks {
            return Ok(Stored { id, new: false });
        }
        self.write(|transaction| {
            transaction.open_table(STATEMENTS)?.insert(id.as_slice(), bytes)?;
            Ok(())
        })?;
        self.remember(vec![statement], learn);
        Ok(Stored { id, new: true })
    }

    /// Has in memory what is on disk.
    pub(super) fn remember(&self, statements: Vec<Statement>, learn: impl FnOnce(Change<'_>)) {
        learn(Change::More(&statements));
        #[cfg(feature = "dht")]
        let ids: Vec<PacketId> = statements.iter().map(|statement| statement.id).collect();
        let mut memory = self.memory_mut();
        statements.into_iter().for_each(|statement| memory.add_statement(statement));
        drop(memory);
        #[cfg(feature = "dht")]
        self.heard().touch(&ids);
    }

    /// The statements of these publishers, and of those that name them or are named by them.
    pub(super) fn about(&self, publishers: &[[u8; 32]]) -> Vec<Statement> {
        self.memory().about(publishers)
    }

    /// A page of all statements, by id.
    pub(super) fn after(&self, after: Option<PacketId>) -> Vec<Statement> {
        self.memory().after(after)
    }

    pub(super) fn import(
        &self,
        packet: &Reference,
        now: Timestamp,
    ) -> Result<Stored, BackendError> {
        let import = Import::new(packet, now);
        let (id, unsigned) = (import.id, import.unsigned().map_err(BackendError::Request)?);
        let _turn = self.turn();
        let (number, gone) = {
            let memory = self.memory();
            if memory.has_import(&id) {
                return Ok(Stored { id, new: false });
            }
            (memory.next_import(), memory.makes_room())
        };
        self.write(|transaction| {
            let mut table = transaction.open_table(IMPORTS)?;
            if let Some(gone) = gone {
                table.remove(gone)?;
            }
            table.insert(number, import.encode().as_slice())?;
            Ok(())
        })?;
        self.memory_mut().add_import(number, unsigned);
        Ok(Stored { id, new: true })
    }

    pub(super) fn near(
        &self,
        space: &Space,
        query: &Query,
        radius: u32,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Unsigned> {
        self.memory().near(space, query, radius, limit, now)
    }

    pub(super) fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), BackendError> {
        let run = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        run().map_err(|error| failed("writing beside the packets", &error))
    }
}

fn read(database: &Database) -> Result<Memory, redb::Error> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(STATEMENTS)?;
        transaction.open_table(IMPORTS)?;
    }
    transaction.commit()?;
    let (mut memory, transaction) = (Memory::default(), database.begin_read()?);
    for entry in transaction.open_table(STATEMENTS)?.iter()? {
        match statement::open(entry?.1.value()) {
            Ok(statement) => memory.add_statement(statement),
            Err(error) => tracing::error!(%error, "a stored statement is damaged"),
        }
    }
    for entry in transaction.open_table(IMPORTS)?.iter()? {
        let (sequence, value) = entry?;
        match Import::decode(value.value()).and_then(|import| import.unsigned()) {
            Ok(unsigned) => memory.add_import(sequence.value(), unsigned),
            Err(error) => tracing::error!(error, "a stored unsigned packet is not readable"),
        }
    }
    Ok(memory)
}
