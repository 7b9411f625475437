//! The file: packets and what is needed to find them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `packets` | sequence number | the packet's exact bytes |
//! | `records` | sequence number | [`Record`] as JSON, so that opening need not verify every signature |
//! | `meta` | `format`, `last` | version of this layout, highest sequence number ever given |
//!
//! **Invariant:** every commit is synced, in two phases (packets are untrusted input, see redb's
//! design notes), and leaves a file that reopens without a scan. Sequence numbers rise in the order
//! of commits from 1 and are never used twice.

use std::fmt::Display;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use edgelore_model::{Situation, Timestamp};
use edgelore_pipeline::packet::{self, Opened, PacketError};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Cursor};

const FILE: &str = "outcomes.redb";
const FORMAT: u64 = 1;
/// Pages that redb keeps in memory, bytes.
const CACHE_BYTES: usize = 64 << 20;

const PACKETS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("packets");
const RECORDS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const LAST: &str = "last";

/// What the index and the subscriptions need to know of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: [u8; 32],
    pub(super) publisher: [u8; 32],
    pub(super) space: [u8; 8],
    pub(super) situation: Situation,
    pub(super) pattern: String,
    pub(super) expires: Timestamp,
    /// Packets that this one supersedes or revokes.
    pub(super) withdraws: Vec<[u8; 32]>,
}

impl From<&Opened> for Record {
    fn from(opened: &Opened) -> Self {
        let outcome = &opened.outcome;
        Self {
            id: opened.id,
            publisher: opened.publisher,
            space: opened.space,
            situation: outcome.situation.clone(),
            pattern: outcome.resolution.pattern.clone(),
            expires: outcome.expires,
            withdraws: outcome.supersedes.into_iter().chain(outcome.revokes).collect(),
        }
    }
}

/// A packet on its way to the disk.
pub(super) struct Insert<'a> {
    pub(super) sequence: u64,
    pub(super) bytes: &'a [u8],
    pub(super) record: &'a Record,
}

/// The open file.
pub(super) struct Disk {
    database: Database,
}

/// An error of the storage below.
pub(super) fn failed(operation: &str, reason: &dyn Display) -> BackendError {
    BackendError::Storage(format!("{operation}: {reason}"))
}

impl Disk {
    pub(super) fn open(directory: &Path) -> Result<Self, BackendError> {
        let place = |reason: &dyn Display| {
            failed("opening the store", &format_args!("{}: {reason}", directory.display()))
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| place(&error))?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(directory.join(FILE))
            .map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => place(&"is in use by another process"),
                error => place(&error),
            })?;
        let format = prepare(&database).map_err(|error| place(&error))?;
        if format != FORMAT {
            return Err(place(&format_args!("has format {format}, expected {FORMAT}")));
        }
        Ok(Self { database })
    }

    /// Calls `each` with every record in the order of commits.
    pub(super) fn each_record(
        &self,
        mut each: impl FnMut(u64, Record),
    ) -> Result<(), BackendError> {
        self.read("reading the index", |transaction| {
            for entry in transaction.open_table(RECORDS)?.iter()? {
                let (sequence, value) = entry?;
                match serde_json::from_slice(value.value()) {
                    Ok(record) => each(sequence.value(), record),
                    Err(error) => {
                        let sequence = sequence.value();
                        tracing::error!(%error, sequence, "a record of the store is not readable");
                    }
                }
            }
            Ok(())
        })
    }

    /// At most `count` records after `after`; `None` for one that is not readable.
    pub(super) fn records_after(
        &self,
        after: u64,
        count: usize,
    ) -> Result<Vec<(u64, Option<Record>)>, BackendError> {
        self.read("reading the history", |transaction| {
            let mut records = Vec::new();
            for entry in
                transaction.open_table(RECORDS)?.range(after.saturating_add(1)..)?.take(count)
            {
                let (sequence, value) = entry?;
                // What is not readable was reported when the store was opened.
                records.push((sequence.value(), serde_json::from_slice(value.value()).ok()));
            }
            Ok(records)
        })
    }

    /// The packets with these sequence numbers, from one snapshot and verified again: `None` for
    /// one that is not there any more, or that the disk has damaged.
    pub(super) fn packets(
        &self,
        sequences: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<Option<Opened>>, BackendError> {
        self.read("reading packets", |transaction| {
            let table = transaction.open_table(PACKETS)?;
            let stored = sequences.into_iter().map(|sequence| Ok((sequence, table.get(sequence)?)));
            let stored: Vec<_> = stored.collect::<Result<_, redb::StorageError>>()?;
            let there = stored.iter().filter_map(|(_, bytes)| bytes.as_ref());
            let there: Vec<&[u8]> = there.map(|bytes| bytes.value()).collect();
            let mut opened = packet::open_batch(&there).into_iter();
            let verdict = |(sequence, bytes): &(u64, Option<_>)| {
                let opened = bytes.as_ref().and_then(|_| opened.next())?;
                let told = |error: &PacketError| {
                    tracing::error!(%error, sequence, "a stored packet is damaged");
                };
                opened.inspect_err(told).ok()
            };
            Ok(stored.iter().map(verdict).collect())
        })
    }

    /// The highest sequence number ever given, 0 before the first.
    pub(super) fn last_sequence(&self) -> Result<u64, BackendError> {
        self.read("reading the store's state", |transaction| {
            Ok(transaction.open_table(META)?.get(LAST)?.map_or(0, |last| last.value()))
        })
    }

    /// Writes and removes in one durable transaction.
    pub(super) fn commit(
        &self,
        inserts: &[Insert<'_>],
        removals: &[u64],
        last: u64,
    ) -> Result<(), BackendError> {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            transaction.set_quick_repair(true);
            {
                let mut packets = transaction.open_table(PACKETS)?;
                let mut records = transaction.open_table(RECORDS)?;
                for sequence in removals {
                    packets.remove(sequence)?;
                    records.remove(sequence)?;
                }
                for insert in inserts {
                    packets.insert(insert.sequence, insert.bytes)?;
                    let record = serde_json::to_vec(insert.record)
                        .expect("a record of integers and strings serializes");
                    records.insert(insert.sequence, record.as_slice())?;
                }
                transaction.open_table(META)?.insert(LAST, last)?;
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| failed("writing packets", &error))
    }

    /// Where to resume after `cursor`: the beginning, for one that this store has not reached (it
    /// replaced another one, or was restored from an older copy).
    pub(super) fn resume(&self, cursor: Cursor) -> Result<Cursor, BackendError> {
        Ok(if cursor.0 <= self.last_sequence()? { cursor } else { Cursor(0) })
    }

    fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, BackendError> {
        let run = || read(&self.database.begin_read()?);
        run().map_err(|error: redb::Error| failed(operation, &error))
    }
}

/// Makes the tables at the first opening; gives the format of what is there.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    let format = {
        transaction.open_table(PACKETS)?;
        transaction.open_table(RECORDS)?;
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|value| value.value());
        if format.is_none() {
            meta.insert("format", FORMAT)?;
        }
        format.unwrap_or(FORMAT)
    };
    transaction.commit()?;
    Ok(format)
}
