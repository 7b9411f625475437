//! What an operator does with a store that no process has open: check, export, count, compact.
//!
//! Owns reading all of it. Never changes a packet; [`compact`] moves pages.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use edgelore_model::Timestamp;
use edgelore_pipeline::packet;
use serde::Serialize;

use super::disk::{Disk, Record};
use crate::backend::BackendError;

/// Damaged packets that a check names; all are counted.
pub const NAMED_MAX: usize = 16;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The database's pages were as they should be; if not, they were repaired.
    pub pages_sound: bool,
    /// Packets whose signature verifies and whose record says what they say.
    pub sound: u64,
    /// Packets that are damaged, or whose record is.
    pub damaged: u64,
    /// Records without a packet.
    pub orphans: u64,
    /// Packets that are there twice.
    pub repeated: u64,
    /// The first of the damaged ones: sequence number and what is wrong.
    pub named: Vec<(u64, String)>,
}

impl Checked {
    /// Nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.pages_sound && self.damaged == 0 && self.orphans == 0 && self.repeated == 0
    }
}

/// Verifies every page, every signature and every record.
///
/// # Errors
/// When the store is not there, is open elsewhere, or cannot be read at all.
pub fn check(directory: &Path) -> Result<Checked, BackendError> {
    let mut disk = Disk::existing(directory)?;
    let mut checked = Checked { pages_sound: disk.check_pages()?, ..Checked::default() };
    let mut ids = HashSet::new();
    disk.each_packet(|sequence, bytes, record| match judge(bytes, record.as_ref()) {
        Ok(id) => {
            checked.sound += 1;
            checked.repeated += u64::from(!ids.insert(id));
        }
        Err(reason) => {
            checked.damaged += 1;
            if checked.named.len() < NAMED_MAX {
                checked.named.push((sequence, reason));
            }
        }
    })?;
    checked.orphans = disk.orphans()?;
    Ok(checked)
}

fn judge(bytes: &[u8], record: Option<&Record>) -> Result<[u8; 32], String> {
    let opened = packet::open(bytes).map_err(|error| error.to_string())?;
    match record {
        None => Err("its record is missing or not readable".into()),
        Some(record) if *record != Record::from(&opened) => {
            Err("its record says something else".into())
        }
        Some(_) => Ok(opened.id),
    }
}

/// Calls `each` with every packet that verifies, in the order of arrival; gives how many do not.
///
/// # Errors
/// When the store is not there, is open elsewhere, or cannot be read; and whatever `each` returns.
pub fn export<E: From<BackendError>>(
    directory: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let (mut damaged, mut failed) = (0, None);
    Disk::existing(directory)?.each_packet(|_, bytes, _| {
        if failed.is_some() {
            return;
        }
        match packet::open(bytes) {
            Ok(_) => failed = each(bytes).err(),
            Err(_) => damaged += 1,
        }
    })?;
    failed.map_or(Ok(damaged), Err)
}

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// All packets.
    pub packets: u64,
    /// Those that have expired and are not purged yet.
    pub expired: u64,
    /// Those that their own publisher has superseded or revoked.
    pub withdrawn: u64,
    /// Who published them.
    pub publishers: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the packets alone.
    pub packet_bytes: u64,
    /// Packets by similarity definition, hexadecimal.
    pub spaces: BTreeMap<String, u64>,
    /// Packets by topology class, protocol and event type.
    pub situations: BTreeMap<String, u64>,
    /// Packets by resolution pattern.
    pub patterns: BTreeMap<String, u64>,
}

/// Counts what is in a store at a time.
///
/// # Errors
/// When the store is not there, is open elsewhere, or cannot be read.
pub fn stats(directory: &Path, now: Timestamp) -> Result<Stats, BackendError> {
    let disk = Disk::existing(directory)?;
    let mut stats = Stats { file_bytes: Disk::file_bytes(directory)?, ..Stats::default() };
    let (mut publishers, mut withdrawals) = (HashMap::new(), HashSet::new());
    disk.each_packet(|_, bytes, record| {
        stats.packets += 1;
        stats.packet_bytes += bytes.len() as u64;
        let Some(record) = record else { return };
        stats.expired += u64::from(record.expires <= now);
        let situation = &record.situation;
        let class = [&*situation.topology_class, &situation.protocol, &situation.event_type];
        *stats.situations.entry(class.join("/")).or_default() += 1;
        *stats.spaces.entry(hex::encode(record.space)).or_default() += 1;
        withdrawals.extend(record.withdraws.iter().map(|id| (record.publisher, *id)));
        let ids: &mut Vec<_> = publishers.entry(record.publisher).or_default();
        ids.push(record.id);
        *stats.patterns.entry(record.pattern).or_default() += 1;
    })?;
    stats.publishers = publishers.len() as u64;
    let all = publishers
        .into_iter()
        .flat_map(|(publisher, ids)| ids.into_iter().map(move |id| (publisher, id)));
    stats.withdrawn = all.filter(|one| withdrawals.contains(one)).count() as u64;
    Ok(stats)
}

/// Gives free pages back to the file system; the file's bytes before and after.
///
/// # Errors
/// When the store is not there, is open elsewhere, or cannot be written.
pub fn compact(directory: &Path) -> Result<(u64, u64), BackendError> {
    let mut disk = Disk::existing(directory)?;
    let before = Disk::file_bytes(directory)?;
    while disk.compact()? {}
    drop(disk);
    Ok((before, Disk::file_bytes(directory)?))
}
