//! What stands beside the packets: statements about keys, and what nobody signed.
//!
//! | table of `beside.redb` | key | value |
//! |---|---|---|
//! | `statements` | id | the statement's exact bytes |
//! | `imports` | sequence number | a packet of the reference's form with the time it came in, as JSON |
//!
//! What may stand there is [`Memory`]'s to say, which holds all of it too.
//!
//! **Invariant:** a statement is acknowledged only after it was synced to disk.

use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::statement::{self, Statement};
use edgelore_pipeline::synthesise::Unsigned;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::disk::failed;
use crate::PacketId;
use crate::backend::{BackendError, Stored};
use crate::beside::{Import, Memory};

const FILE: &str = "beside.redb";
const STATEMENTS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("statements");
const IMPORTS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("imports");

/// The statements and the unsigned packets.
pub(super) struct Beside {
    database: Database,
    memory: RwLock<Memory>,
}

impl Beside {
    pub(super) fn open(directory: &Path) -> Result<Self, BackendError> {
        let place = |error: redb::Error| {
            failed("opening the store", &format_args!("{}: {error}", directory.display()))
        };
        let database = Database::create(directory.join(FILE)).map_err(|e| place(e.into()))?;
        let memory = read(&database).map_err(place)?;
        Ok(Self { database, memory: RwLock::new(memory) })
    }

    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows from the statements.
    pub(super) fn lineage(&self) -> Lineage {
        self.memory().lineage().clone()
    }

    pub(super) fn declare(&self, bytes: &[u8]) -> Result<Stored, BackendError> {
        let statement = statement::open(bytes)?;
        let id = statement.id;
        // Held until it is on disk, so that the bounds hold for those who come at the same time.
        let mut memory = self.memory_mut();
        if !memory.lacks(&statement)? {
            return Ok(Stored { id, new: false });
        }
        self.write(|transaction| {
            transaction.open_table(STATEMENTS)?.insert(id.as_slice(), bytes)?;
            Ok(())
        })?;
        memory.add_statement(statement);
        Ok(Stored { id, new: true })
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
        let mut memory = self.memory_mut();
        if memory.has_import(&id) {
            return Ok(Stored { id, new: false });
        }
        let (number, gone) = (memory.next_import(), memory.makes_room());
        self.write(|transaction| {
            let mut table = transaction.open_table(IMPORTS)?;
            if let Some(gone) = gone {
                table.remove(gone)?;
            }
            table.insert(number, import.encode().as_slice())?;
            Ok(())
        })?;
        memory.add_import(number, unsigned);
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

    fn write(
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
