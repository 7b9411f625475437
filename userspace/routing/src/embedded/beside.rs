//! What stands beside the packets: statements about keys, and what nobody signed.
//!
//! | table of `beside.redb` | key | value |
//! |---|---|---|
//! | `statements` | id | the statement's exact bytes |
//! | `imports` | sequence number | a packet of the reference's form with the time it came in, as JSON |
//!
//! Statements are few and never expire: they are kept in memory too. Past [`STATEMENTS_MAX`], or
//! [`STATEMENTS_PER_KEY_MAX`] of one key, a new one is refused. Of what nobody signed the oldest
//! makes room, for it never votes; its steps are scrubbed when it comes in.
//!
//! **Invariant:** a statement is acknowledged only after it was synced to disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use edgelore_model::{Query, Span, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::scrub::scrub;
use edgelore_pipeline::packet::statement::{self, Said, Statement};
use edgelore_pipeline::synthesise::Unsigned;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::disk::failed;
use crate::PacketId;
use crate::backend::{BackendError, LIMIT_MAX, PUBLISHERS_MAX, STATEMENTS_PAGE, Stored};

/// Statements kept.
const STATEMENTS_MAX: usize = 65_536;
/// Statements kept of one key.
const STATEMENTS_PER_KEY_MAX: usize = 8;
/// Unsigned packets kept.
const IMPORTS_MAX: usize = 10_000;
/// How long an unsigned packet counts.
const IMPORT_LIFETIME: Span = Span(180 * 86_400 * 1_000_000_000);

const FILE: &str = "beside.redb";
const STATEMENTS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("statements");
const IMPORTS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("imports");

/// An unsigned packet as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Record {
    /// As it came in, before its steps were scrubbed.
    id: PacketId,
    received: Timestamp,
    packet: Reference,
}

#[derive(Debug, Default)]
struct Memory {
    statements: BTreeMap<PacketId, Statement>,
    lineage: Lineage,
    imports: VecDeque<(u64, Unsigned)>,
    imported: BTreeSet<PacketId>,
}

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
        self.memory().lineage.clone()
    }

    pub(super) fn declare(&self, bytes: &[u8]) -> Result<Stored, BackendError> {
        let statement = statement::open(bytes)?;
        let id = statement.id;
        // Held until it is on disk, so that the bounds hold for those who come at the same time.
        let mut memory = self.memory_mut();
        if memory.statements.contains_key(&id) {
            return Ok(Stored { id, new: false });
        }
        let same = memory.statements.values().filter(|s| s.publisher == statement.publisher);
        // A key can always be revoked.
        let room = statement.said == Said::Revoked || same.count() < STATEMENTS_PER_KEY_MAX;
        if memory.statements.len() >= STATEMENTS_MAX || !room {
            return Err(BackendError::Full);
        }
        self.write(|transaction| {
            transaction.open_table(STATEMENTS)?.insert(id.as_slice(), bytes)?;
            Ok(())
        })?;
        memory.lineage.add(&statement);
        memory.statements.insert(id, statement);
        Ok(Stored { id, new: true })
    }

    /// The statements of these publishers, and of those that name them or are named by them.
    pub(super) fn about(&self, publishers: &[[u8; 32]]) -> Vec<Statement> {
        let memory = self.memory();
        let mut asked: BTreeSet<[u8; 32]> = BTreeSet::new();
        for publisher in publishers.iter().take(PUBLISHERS_MAX) {
            asked.extend(memory.lineage.heirs(publisher));
            asked.extend(memory.lineage.heirs(&memory.lineage.origin(publisher)));
        }
        let names = |statement: &&Statement| {
            let named = match statement.said {
                Said::Succeeded { publisher, .. } => asked.contains(&publisher),
                Said::Revoked => false,
            };
            named || asked.contains(&statement.publisher)
        };
        memory.statements.values().filter(names).cloned().collect()
    }

    /// A page of all statements, by id.
    pub(super) fn after(&self, after: Option<PacketId>) -> Vec<Statement> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let memory = self.memory();
        let page = memory.statements.range((from, Bound::Unbounded)).take(STATEMENTS_PAGE);
        page.map(|(_, statement)| statement.clone()).collect()
    }

    pub(super) fn import(
        &self,
        packet: &Reference,
        now: Timestamp,
    ) -> Result<Stored, BackendError> {
        let id = packet.id();
        let mut packet = packet.clone();
        packet.resolution_steps.iter_mut().for_each(|step| *step = scrub(step));
        let record = Record { id, received: now, packet };
        let unsigned = unsigned(&record).map_err(BackendError::Request)?;
        let mut memory = self.memory_mut();
        if memory.imported.contains(&id) {
            return Ok(Stored { id, new: false });
        }
        let sequence = memory.imports.back().map_or(0, |(sequence, _)| sequence + 1);
        let gone =
            (memory.imports.len() >= IMPORTS_MAX).then(|| memory.imports.pop_front()).flatten();
        self.write(|transaction| {
            let mut table = transaction.open_table(IMPORTS)?;
            if let Some((sequence, _)) = &gone {
                table.remove(sequence)?;
            }
            let bytes = serde_json::to_vec(&record).expect("a packet of the reference serializes");
            table.insert(sequence, bytes.as_slice())?;
            Ok(())
        })?;
        if let Some((_, gone)) = gone {
            memory.imported.remove(&gone.id);
        }
        memory.imported.insert(id);
        memory.imports.push_back((sequence, unsigned));
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
        let aim = space.aim(query);
        let asked = query.resolution_pattern.as_deref();
        let memory = self.memory();
        let mut near: Vec<(u32, &Unsigned)> = memory
            .imports
            .iter()
            .map(|(_, unsigned)| unsigned)
            .filter(|unsigned| unsigned.outcome.expires > now)
            .filter(|one| asked.is_none_or(|asked| asked == one.outcome.resolution.pattern))
            .map(|one| (space.reach(&aim, &space.locate(&one.outcome.situation)), one))
            .filter(|(distance, _)| *distance <= radius)
            .collect();
        near.sort_by_key(|(distance, unsigned)| (*distance, unsigned.id));
        near.into_iter().take(limit.min(LIMIT_MAX)).map(|(_, unsigned)| unsigned.clone()).collect()
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

fn unsigned(record: &Record) -> Result<Unsigned, String> {
    let expires = record.received + IMPORT_LIFETIME;
    let outcome = record.packet.to_outcome(record.received, expires);
    outcome.map(|outcome| Unsigned { outcome, id: record.id }).map_err(|error| error.to_string())
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
            Ok(statement) => {
                memory.lineage.add(&statement);
                memory.statements.insert(statement.id, statement);
            }
            Err(error) => tracing::error!(%error, "a stored statement is damaged"),
        }
    }
    for entry in transaction.open_table(IMPORTS)?.iter()? {
        let (sequence, value) = entry?;
        let record = serde_json::from_slice::<Record>(value.value()).map_err(|e| e.to_string());
        match record.and_then(|record| unsigned(&record)) {
            Ok(unsigned) => {
                memory.imported.insert(unsigned.id);
                memory.imports.push_back((sequence.value(), unsigned));
            }
            Err(error) => tracing::error!(error, "a stored unsigned packet is not readable"),
        }
    }
    Ok(memory)
}
