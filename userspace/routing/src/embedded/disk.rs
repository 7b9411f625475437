//! The file: packets and what is needed to find them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `packets` | sequence number | the packet's exact bytes |
//! | `records` | sequence number | [`Record`] (postcard), so that opening need not read every packet |
//! | `marks` | name | what its owner notes with the packets that it receives ([`Mark`]) |
//! | `meta` | `format`, `last` | version of this layout, highest sequence number ever given |
//!
//! A packet's signature is verified before it is written, and not again when it is read: that its
//! bytes are the same is shown by their SHA-256, which the record keeps as its id. This guards
//! against the disk, not against whoever may write to the file; who may not write cannot read either.
//!
//! **Invariant:** every commit is synced, in two phases (packets are untrusted input, see redb's
//! design notes), and leaves a file that reopens without a scan. Sequence numbers rise in the order
//! of commits from 1 and are never used twice.

use std::fmt::Display;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use edgelore_model::{Known, Situation, Timestamp};
use edgelore_pipeline::packet::{self, Opened, PacketId};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};
use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Cursor};

const FILE: &str = "outcomes.redb";
/// 1 had the records as JSON, without what eviction needs.
const FORMAT: u64 = 2;
/// Pages that redb keeps in memory, bytes.
const CACHE_BYTES: usize = 64 << 20;

const PACKETS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("packets");
const RECORDS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const LAST: &str = "last";
const MARKS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("marks");

/// A note that is written in one transaction with the packets that it goes with, such as up to where
/// they were received. It replaces the one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose it is.
    pub name: String,
    /// What it says.
    pub value: Vec<u8>,
}

/// What the index and the subscriptions need to know of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: [u8; 32],
    pub(super) publisher: [u8; 32],
    pub(super) space: [u8; 8],
    pub(super) situation: Situation,
    pub(super) pattern: String,
    pub(super) known: Known,
    pub(super) sample_size: u32,
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
            known: outcome.resolution.known,
            sample_size: outcome.sample_size,
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
        match prepare(&database).map_err(|error| place(&error))? {
            FORMAT => {}
            1 => upgrade(&database).map_err(|error| place(&error))?,
            format => {
                return Err(place(&format_args!("has format {format}, expected {FORMAT}")));
            }
        }
        Ok(Self { database })
    }

    /// Opens a store that is there.
    pub(super) fn existing(directory: &Path) -> Result<Self, BackendError> {
        if !directory.join(FILE).is_file() {
            let place = directory.display();
            return Err(failed("opening the store", &format_args!("{place} holds no {FILE}")));
        }
        Self::open(directory)
    }

    /// The file's length in bytes.
    pub(super) fn file_bytes(directory: &Path) -> Result<u64, BackendError> {
        let metadata = std::fs::metadata(directory.join(FILE));
        Ok(metadata.map_err(|error| failed("reading the store's length", &error))?.len())
    }

    /// Checks what the database knows of its own pages; false when something had to be repaired.
    pub(super) fn check_pages(&mut self) -> Result<bool, BackendError> {
        self.database.check_integrity().map_err(|error| failed("checking the store", &error))
    }

    /// Gives free pages back to the file system; false when there was nothing to give.
    pub(super) fn compact(&mut self) -> Result<bool, BackendError> {
        self.database.compact().map_err(|error| failed("compacting the store", &error))
    }

    /// Calls `each` with every packet and its record, in the order of commits, unverified.
    pub(super) fn each_packet(
        &self,
        mut each: impl FnMut(u64, &[u8], Option<Record>),
    ) -> Result<(), BackendError> {
        self.read("reading packets", |transaction| {
            let records = transaction.open_table(RECORDS)?;
            for entry in transaction.open_table(PACKETS)?.iter()? {
                let (sequence, bytes) = entry?;
                let record = records.get(sequence.value())?;
                let record = record.and_then(|record| postcard::from_bytes(record.value()).ok());
                each(sequence.value(), bytes.value(), record);
            }
            Ok(())
        })
    }

    /// Records whose packet is not there.
    pub(super) fn orphans(&self) -> Result<u64, BackendError> {
        self.read("reading the index", |transaction| {
            let packets = transaction.open_table(PACKETS)?;
            let mut orphans = 0;
            for entry in transaction.open_table(RECORDS)?.iter()? {
                orphans += u64::from(packets.get(entry?.0.value())?.is_none());
            }
            Ok(orphans)
        })
    }

    /// How many records there are.
    pub(super) fn records(&self) -> Result<usize, BackendError> {
        let count = self.read("counting records", |transaction| {
            Ok(transaction.open_table(RECORDS)?.len()?)
        })?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Calls `each` with every record in the order of commits.
    pub(super) fn each_record(
        &self,
        mut each: impl FnMut(u64, Record),
    ) -> Result<(), BackendError> {
        self.read("reading the index", |transaction| {
            for entry in transaction.open_table(RECORDS)?.iter()? {
                let (sequence, value) = entry?;
                match postcard::from_bytes(value.value()) {
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
                records.push((sequence.value(), postcard::from_bytes(value.value()).ok()));
            }
            Ok(records)
        })
    }

    /// The packets with these sequence numbers and ids, from one snapshot: `None` for one that is
    /// not there any more, or that the disk has damaged.
    pub(super) fn packets(
        &self,
        wanted: impl IntoIterator<Item = (u64, PacketId)>,
    ) -> Result<Vec<Option<Opened>>, BackendError> {
        self.read("reading packets", |transaction| {
            let table = transaction.open_table(PACKETS)?;
            let mut packets = Vec::new();
            for (sequence, id) in wanted {
                let opened = table.get(sequence)?.map(|bytes| packet::reopen(bytes.value(), &id));
                packets.push(opened.and_then(|opened| {
                    opened
                        .inspect_err(|error| {
                            tracing::error!(%error, sequence, "a stored packet is damaged");
                        })
                        .ok()
                }));
            }
            Ok(packets)
        })
    }

    /// The highest sequence number ever given, 0 before the first.
    pub(super) fn last_sequence(&self) -> Result<u64, BackendError> {
        self.read("reading the store's state", |transaction| {
            Ok(transaction.open_table(META)?.get(LAST)?.map_or(0, |last| last.value()))
        })
    }

    /// What was noted under this name last.
    pub(super) fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.read("reading a mark", |transaction| {
            Ok(transaction.open_table(MARKS)?.get(name)?.map(|value| value.value().to_vec()))
        })
    }

    /// Writes and removes in one durable transaction.
    pub(super) fn commit(
        &self,
        inserts: &[Insert<'_>],
        removals: &[u64],
        marks: &[&Mark],
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
                    records.insert(insert.sequence, encode(insert.record).as_slice())?;
                }
                let mut noted = transaction.open_table(MARKS)?;
                for mark in marks {
                    noted.insert(mark.name.as_str(), mark.value.as_slice())?;
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

fn encode(record: &Record) -> Vec<u8> {
    postcard::to_stdvec(record).expect("a record of integers and strings serializes")
}

/// Makes the records anew from the packets.
fn upgrade(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    {
        let packets = transaction.open_table(PACKETS)?;
        let mut records = transaction.open_table(RECORDS)?;
        for entry in packets.iter()? {
            let (sequence, bytes) = entry?;
            match packet::open(bytes.value()) {
                Ok(opened) => {
                    records.insert(sequence.value(), encode(&Record::from(&opened)).as_slice())?;
                }
                Err(error) => {
                    let sequence = sequence.value();
                    tracing::error!(%error, sequence, "a stored packet is damaged");
                    records.remove(sequence)?;
                }
            }
        }
        transaction.open_table(META)?.insert("format", FORMAT)?;
    }
    transaction.commit()?;
    tracing::info!("the store was brought to format {FORMAT}");
    Ok(())
}

/// Makes the tables at the first opening; gives the format of what is there.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    let format = {
        transaction.open_table(PACKETS)?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(MARKS)?;
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
