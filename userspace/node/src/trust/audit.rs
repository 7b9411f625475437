//! The audit log: what was published, what was accepted, and what was not and why.
//!
//! One JSON object a line, appended to `audit.jsonl`; when that is full it becomes `audit.1.jsonl`,
//! and so on, and the oldest file goes. Whoever sends rubbish must not write the rest out of the log:
//! of each reason [`REFUSALS_AT_ONCE`] refusals are written, then one every ten seconds with the
//! number of those that were not (`unwritten`); all are counted.
//!
//! Owns the log's files. Never decides what is worth a line.
//!
//! **Invariant:** a line is written whole or not at all; whatever a packet says is escaped.

use super::refusal::Refusal;
use crate::limit::Limiter;
use edgelore_model::{Sharing, Timestamp};
use governor::Quota;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Files of the log, the one that is written included.
const FILES: u64 = 4;
/// Refusals of one reason that are written in a row.
pub const REFUSALS_AT_ONCE: NonZeroU32 = NonZeroU32::new(64).expect("it is not zero");
const REFUSAL_EVERY: Duration = Duration::from_secs(10);
/// Characters of an explanation.
const DETAIL_CHARACTERS_MAX: usize = 200;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// An outcome of this node was taken by every store that it may go to.
    Published,
    /// An outcome of this node stays here.
    Withheld,
    /// A packet of somebody's was taken, or seen for the first time.
    Accepted,
    /// A packet was not.
    Refused,
    /// The operator said something of a publisher.
    Trust,
}

impl Event {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Published, Self::Withheld, Self::Accepted, Self::Refused, Self::Trust];

    /// Its word in the log.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Withheld => "withheld",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Trust => "trust",
        }
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, RFC 3339.
    pub at: String,
    /// What happened.
    pub event: Event,
    /// Where: `store`, `query`, `subscription`, `publish`, `command`.
    pub via: String,
    /// The packet's id, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// Its publisher's id, hexadecimal; of what does not verify nobody is the publisher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// Why, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How far the outcome may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Sharing>,
    /// Refusals for the same reason since its last line that were counted and not written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unwritten: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// A line that says no more than what and where.
    #[must_use]
    pub fn new(at: Timestamp, event: Event, via: &str) -> Self {
        Self {
            at: at.to_string(),
            event,
            via: via.to_owned(),
            packet: None,
            publisher: None,
            reason: None,
            detail: None,
            scope: None,
            unwritten: 0,
        }
    }
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("audit log {path}: {source}")]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// The log, open for writing.
#[derive(Debug)]
struct Log {
    file: File,
    bytes: u64,
    /// Refusals that were not written, by reason.
    unwritten: BTreeMap<Refusal, u64>,
    /// Lines that could not be written.
    lost: u64,
}

/// Where lines go; one process writes to a directory's log.
pub(super) struct Audit {
    directory: PathBuf,
    bytes_max: u64,
    log: Mutex<Log>,
    refusals: Limiter<Option<Refusal>>,
}

impl Audit {
    /// Opens the log in a directory; all its files together hold `bytes_max` at most.
    pub(super) fn open(directory: &Path, bytes_max: u64) -> Result<Self, AuditError> {
        let (file, bytes) = append(directory)?;
        let quota = Quota::with_period(REFUSAL_EVERY).expect("ten seconds are a period");
        let quota = quota.allow_burst(REFUSALS_AT_ONCE);
        let log = Mutex::new(Log { file, bytes, unwritten: BTreeMap::new(), lost: 0 });
        let refusals = Limiter::new(quota, None);
        Ok(Self { directory: directory.to_owned(), bytes_max: bytes_max / FILES, log, refusals })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines that could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.log().lost
    }

    pub(super) fn write(&self, record: &Record) {
        let mut log = self.log();
        if let Err(error) = self.append(&mut log, record) {
            log.lost += 1;
            if log.lost.is_power_of_two() {
                tracing::error!(%error, lost = log.lost, "lines of the audit log are lost");
            }
        }
    }

    /// Writes a refusal, as long as there are not too many of the same reason.
    pub(super) fn refused(&self, refusal: Refusal, record: Record) {
        if self.refusals.refuses(Some(refusal)).is_some() {
            *self.log().unwritten.entry(refusal).or_default() += 1;
            return;
        }
        let unwritten = self.log().unwritten.remove(&refusal).unwrap_or(0);
        let reason = Some(refusal.term().to_owned());
        self.write(&Record { reason, unwritten, ..record });
    }

    fn append(&self, log: &mut Log, record: &Record) -> Result<(), AuditError> {
        let mut record = record.clone();
        record.detail =
            record.detail.map(|text| text.chars().take(DETAIL_CHARACTERS_MAX).collect());
        let mut line = serde_json::to_vec(&record).expect("a record can be written as JSON");
        line.push(b'\n');
        if log.bytes > 0 && log.bytes + line.len() as u64 > self.bytes_max {
            rotate(&self.directory)?;
            (log.file, log.bytes) = append(&self.directory)?;
        }
        let failed = |source| AuditError { path: file_name(&self.directory, 0), source };
        log.file.write_all(&line).map_err(failed)?;
        log.bytes += line.len() as u64;
        Ok(())
    }
}

fn file_name(directory: &Path, number: u64) -> PathBuf {
    match number {
        0 => directory.join("audit.jsonl"),
        number => directory.join(format!("audit.{number}.jsonl")),
    }
}

fn append(directory: &Path) -> Result<(File, u64), AuditError> {
    let path = file_name(directory, 0);
    let open = || {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        // A line that a crash cut short is ended, so that it costs no other.
        if bytes > 0 && !ends_with_newline(&path)? {
            file.write_all(b"\n")?;
        }
        Ok((file, bytes))
    };
    open().map_err(|source| AuditError { path: path.clone(), source })
}

fn ends_with_newline(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let file = File::open(path)?;
    let mut last = [0];
    file.read_exact_at(&mut last, file.metadata()?.len().saturating_sub(1))?;
    Ok(last == *b"\n")
}

fn rotate(directory: &Path) -> Result<(), AuditError> {
    for number in (0..FILES - 1).rev() {
        let path = file_name(directory, number);
        match std::fs::rename(&path, file_name(directory, number + 1)) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(AuditError { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The last `most` lines of a directory's log that `wanted` takes, oldest first, and how many lines
/// could not be read.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read(
    directory: &Path,
    most: usize,
    wanted: impl Fn(&Record) -> bool,
) -> Result<(Vec<Record>, u64), AuditError> {
    let (mut last, mut damaged) = (VecDeque::new(), 0);
    for number in (0..FILES).rev() {
        let path = file_name(directory, number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == ErrorKind::NotFound => continue,
            Err(source) => return Err(AuditError { path, source }),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|source| AuditError { path: path.clone(), source })?;
            match serde_json::from_slice::<Record>(&line) {
                Ok(record) if wanted(&record) => {
                    last.push_back(record);
                    if last.len() > most {
                        last.pop_front();
                    }
                }
                Ok(_) => {}
                Err(_) => damaged += 1,
            }
        }
    }
    Ok((last.into(), damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Record {
        let detail = Some(format!("number {number}\n{{\"event\":\"published\"}}"));
        Record { detail, ..Record::new(Timestamp(0), Event::Accepted, "store") }
    }

    fn all(directory: &Path) -> (Vec<Record>, u64) {
        read(directory, usize::MAX, |_| true).unwrap()
    }

    #[test]
    fn lines_come_back_in_order_and_no_packet_writes_one_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path(), 1 << 20).unwrap();
        (0..5).for_each(|number| audit.write(&record(number)));
        drop(audit);
        Audit::open(directory.path(), 1 << 20).unwrap().write(&record(5));
        let (records, damaged) = all(directory.path());
        assert_eq!((records, damaged), ((0..6).map(record).collect(), 0));
        let (last, _) = read(directory.path(), 2, |_| true).unwrap();
        assert_eq!(last, [record(4), record(5)]);
        let (none, _) = read(directory.path(), 9, |r| r.event == Event::Published).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_latest() {
        const BYTES: u64 = 16 * 1024;
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path(), BYTES).unwrap();
        (0..2_000).for_each(|number| audit.write(&record(number)));
        let sizes = (0..9).filter_map(|n| std::fs::metadata(file_name(directory.path(), n)).ok());
        let sizes: Vec<u64> = sizes.map(|file| file.len()).collect();
        assert_eq!(sizes.len() as u64, FILES);
        assert!(sizes.iter().sum::<u64>() <= BYTES, "{sizes:?}");
        let (records, damaged) = all(directory.path());
        assert_eq!((records.last(), damaged), (Some(&record(1_999)), 0));
        assert!(records.len() > 50, "{}", records.len());
    }

    #[test]
    fn a_flood_of_refusals_writes_few_lines_and_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path(), 1 << 20).unwrap();
        let most = REFUSALS_AT_ONCE.get() as usize;
        for number in 0..10_000 {
            audit.refused(Refusal::Forged, record(number));
        }
        audit.refused(Refusal::Blocked, record(1));
        let (records, _) = all(directory.path());
        let forged = records.iter().filter(|r| r.reason.as_deref() == Some("forged")).count();
        assert!((most..most + 100).contains(&forged), "{forged}");
        assert_eq!(records.last().unwrap().reason.as_deref(), Some("blocked"));
        let unwritten = audit.log().unwritten[&Refusal::Forged];
        let told: u64 = records.iter().map(|record| record.unwritten).sum();
        assert_eq!(unwritten + told + forged as u64, 10_000);
    }

    #[test]
    fn a_line_that_a_crash_cut_costs_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_name(directory.path(), 0);
        std::fs::write(&path, "{\"at\":\"2026").unwrap();
        Audit::open(directory.path(), 1 << 20).unwrap().write(&record(1));
        assert_eq!(all(directory.path()), (vec![record(1)], 1));
    }
}
