//! The tables.
//!
//! Owns `packets` (id → bytes) and `arrivals` (cursor → id). Never verifies a packet.
//!
//! **Invariant:** both tables change in the same transaction: an arrival names a packet that is
//! there.

use std::path::Path;

use edgelore_pipeline::packet::{Opened, PacketId};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::backend::{BackendError, Cursor};

const PACKETS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("packets");
const ARRIVALS: TableDefinition<'_, u64, &[u8; 32]> = TableDefinition::new("arrivals");

/// The file.
pub(super) struct Packets {
    database: Database,
}

fn failed(doing: &'static str) -> impl Fn(redb::Error) -> BackendError {
    move |error| BackendError::Storage(format!("{doing}: {error}"))
}

/// Runs a fallible block whose errors are all those of redb.
fn run<T>(
    doing: &'static str,
    block: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, BackendError> {
    block().map_err(failed(doing))
}

impl Packets {
    pub(super) fn open(directory: &Path) -> Result<Self, BackendError> {
        let path = directory.join("packets.redb");
        std::fs::create_dir_all(directory).map_err(|error| {
            BackendError::Storage(format!("making directory {}: {error}", directory.display()))
        })?;
        let database = Database::create(&path).map_err(|error| {
            BackendError::Storage(format!("opening {}: {error}", path.display()))
        })?;
        let packets = Self { database };
        packets.write("preparing tables", |_| Ok(()))?;
        Ok(packets)
    }

    /// One durable transaction over both tables.
    fn write<T>(
        &self,
        doing: &'static str,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, BackendError> {
        run(doing, || {
            let mut transaction = self.database.begin_write()?;
            // Durability is immediate by default. Two phases, because whoever chooses the bytes
            // could otherwise forge a page that passes for committed after a crash.
            transaction.set_two_phase_commit(true);
            transaction.set_quick_repair(true);
            transaction.open_table(PACKETS)?;
            transaction.open_table(ARRIVALS)?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    /// Adds packets; the cursor of each, or `None` for one that was there. On the disk on return.
    pub(super) fn add<'p>(
        &self,
        packets: impl Iterator<Item = &'p Opened>,
    ) -> Result<Vec<Option<Cursor>>, BackendError> {
        self.write("storing packets", |transaction| {
            let mut by_id = transaction.open_table(PACKETS)?;
            let mut arrivals = transaction.open_table(ARRIVALS)?;
            let mut last = arrivals.last()?.map_or(0, |(cursor, _)| cursor.value());
            let mut cursors = Vec::new();
            for packet in packets {
                if by_id.get(&packet.id)?.is_some() {
                    cursors.push(None);
                    continue;
                }
                last += 1;
                by_id.insert(&packet.id, packet.bytes.as_slice())?;
                arrivals.insert(last, &packet.id)?;
                cursors.push(Some(Cursor(last)));
            }
            Ok(cursors)
        })
    }

    /// Removes packets, except the last arrival, so that cursors never repeat.
    pub(super) fn remove(&self, expired: &[(Cursor, PacketId)]) -> Result<(), BackendError> {
        self.write("removing expired packets", |transaction| {
            let mut by_id = transaction.open_table(PACKETS)?;
            let mut arrivals = transaction.open_table(ARRIVALS)?;
            for (cursor, id) in expired {
                by_id.remove(id)?;
                arrivals.remove(cursor.0)?;
            }
            Ok(())
        })
    }

    pub(super) fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        run("reading a packet", || {
            let table = self.database.begin_read()?.open_table(PACKETS)?;
            Ok(table.get(id)?.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// The cursor of the last arrival.
    pub(super) fn latest(&self) -> Result<Cursor, BackendError> {
        run("reading arrivals", || {
            let table = self.database.begin_read()?.open_table(ARRIVALS)?;
            Ok(Cursor(table.last()?.map_or(0, |(cursor, _)| cursor.value())))
        })
    }

    /// The next arrivals after a cursor, at most `count`.
    pub(super) fn arrivals(
        &self,
        after: Cursor,
        count: usize,
    ) -> Result<Vec<(Cursor, Vec<u8>)>, BackendError> {
        run("reading arrivals", || {
            let transaction = self.database.begin_read()?;
            let (table, by_id) =
                (transaction.open_table(ARRIVALS)?, transaction.open_table(PACKETS)?);
            let mut found = Vec::new();
            for arrival in table.range(after.0.saturating_add(1)..)?.take(count) {
                let (cursor, id) = arrival?;
                if let Some(bytes) = by_id.get(id.value())? {
                    found.push((Cursor(cursor.value()), bytes.value().to_vec()));
                }
            }
            Ok(found)
        })
    }

    /// Calls `visit` with every packet in the order of arrival.
    pub(super) fn for_each(
        &self,
        mut visit: impl FnMut(Cursor, &[u8]) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let mut after = Cursor(0);
        loop {
            let arrivals = self.arrivals(after, 4_096)?;
            let Some((last, _)) = arrivals.last() else { return Ok(()) };
            after = *last;
            for (cursor, bytes) in &arrivals {
                visit(*cursor, bytes)?;
            }
        }
    }
}
