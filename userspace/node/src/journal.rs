//! The node's journal: what it found, what it was told, what it made of it, in one redb file.
//!
//! A finding and the outcomes that it completes are written in one durable transaction before
//! anything is sent, so a crash at any instruction loses no outcome: what is not marked
//! delivered is delivered again, and stores take the same packet twice as once.
//!
//! **Invariant:** entries are append-only except for an outcome's delivery; past
//! [`ENTRIES_MAX`] per table the oldest are dropped.

use crate::maintenance::Request;
use edgelore_model::{IncidentId, Sharing, Timestamp};
use edgelore_pipeline::detect::{Finding, Joined, Opened, Settled};
use edgelore_pipeline::distil::{Distilled, Input};
use edgelore_pipeline::resolve::Change;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Entries kept per table.
pub const ENTRIES_MAX: u64 = 100_000;

type Table = TableDefinition<'static, u64, &'static [u8]>;
const FINDINGS: Table = Table::new("findings");
/// By an incident's id, the number of its latest finding.
const INCIDENTS: TableDefinition<'static, u64, u64> = TableDefinition::new("incidents");
/// What distillation took in, in order; findings by their number.
const INPUTS: Table = Table::new("inputs");
const OUTCOMES: Table = Table::new("outcomes");
const ADVICE: Table = Table::new("advice");
const MAINTENANCE: Table = Table::new("maintenance");
/// Entries of `outcomes` that no store has acknowledged.
const PENDING: TableDefinition<'static, u64, ()> = TableDefinition::new("pending");

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database refused.
    #[error("journal {path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// An entry is not what this version writes.
    #[error("journal {path}: entry {entry} of {table}: {source}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The table.
        table: String,
        /// The entry.
        entry: u64,
        /// Why.
        source: serde_json::Error,
    },
}

/// An outcome with the packet that carries it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournaledOutcome {
    /// What was distilled, with parents filled in.
    pub distilled: Distilled,
    /// SHA-256 of the packet, hexadecimal.
    pub packet_id: String,
    /// The outcome hash, hexadecimal.
    pub outcome_hash: String,
    /// The packet's exact bytes.
    pub packet: Vec<u8>,
    /// When a store acknowledged it.
    pub delivered: Option<Timestamp>,
    /// Why it is kept back, for people; it is tried again.
    #[serde(default)]
    pub held: Option<String>,
    /// How far it might go when it was distilled; it never goes farther. As far as is configured, of
    /// those that were written before there were scopes.
    #[serde(default)]
    pub scope: Option<Sharing>,
}

/// Advice that was given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournaledAdvice {
    /// When.
    pub at: Timestamp,
    /// The event type asked about.
    pub event_type: String,
    /// The protocol asked about.
    pub protocol: String,
    /// Per advised pattern, the packets (hexadecimal ids) that spoke for it.
    pub patterns: Vec<(String, Vec<String>)>,
}

/// What distillation took in: see [`Input`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JournaledInput {
    Started(Timestamp),
    Advanced(Timestamp),
    Opened(Opened),
    Joined(Joined),
    /// The number of the finding.
    Closed(u64),
    Changed(Box<Change>),
    Settled(Box<Settled>),
    Method([u8; 8]),
}

/// The operator's word on maintenance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Maintained {
    /// When it was said.
    pub at: Timestamp,
    /// What was said.
    pub request: Request,
}

/// The journal, open for writing by one process.
#[derive(Debug)]
pub struct Journal {
    database: Database,
    path: PathBuf,
}

impl Journal {
    /// Opens or creates `journal.redb` in a directory.
    ///
    /// # Errors
    /// When the file is in use by another process or damaged beyond repair.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join("journal.redb");
        let failed = |source: redb::Error| JournalError::Database {
            path: path.clone(),
            source: Box::new(source),
        };
        let database = Database::create(&path).map_err(|e| failed(e.into()))?;
        let journal = Self { database, path };
        journal.write(|transaction| {
            for table in [FINDINGS, INPUTS, OUTCOMES, ADVICE, MAINTENANCE] {
                transaction.open_table(table)?;
            }
            transaction.open_table(PENDING)?;
            index(transaction)
        })?;
        Ok(journal)
    }

    /// Writes what distillation took in with the outcomes that it completes, durably. Of several
    /// advances in a row the last one is kept: it says what all of them say.
    ///
    /// # Errors
    /// When the database refuses; nothing was written then.
    pub fn record(&self, input: &Input, outcomes: &[JournaledOutcome]) -> Result<(), JournalError> {
        self.write(|transaction| {
            let journaled = match input {
                Input::Started(at) => JournaledInput::Started(*at),
                Input::Advanced(to) => JournaledInput::Advanced(*to),
                Input::Opened(opened) => JournaledInput::Opened(*opened),
                Input::Joined(joined) => JournaledInput::Joined(*joined),
                Input::Closed(finding) => JournaledInput::Closed(keep(transaction, finding)?),
                Input::Changed(change) => JournaledInput::Changed(change.clone()),
                Input::Settled(settled) => JournaledInput::Settled(settled.clone()),
                Input::Method(method) => JournaledInput::Method(*method),
            };
            let mut inputs = transaction.open_table(INPUTS)?;
            if matches!(input, Input::Advanced(_)) && last_is_advance(&inputs)? {
                inputs.pop_last()?;
            }
            append(&mut inputs, &journaled)?;
            let mut table = transaction.open_table(OUTCOMES)?;
            let mut pending = transaction.open_table(PENDING)?;
            for outcome in outcomes {
                pending.insert(append(&mut table, outcome)?, ())?;
            }
            Ok(())
        })
    }

    /// Writes that the operator began or ended maintenance at a time, durably.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn maintained(&self, at: Timestamp, request: &Request) -> Result<(), JournalError> {
        self.write(|transaction| {
            let said = Maintained { at, request: request.clone() };
            append(&mut transaction.open_table(MAINTENANCE)?, &said).map(drop)
        })
    }

    /// When maintenance was begun and ended, oldest first.
    ///
    /// # Errors
    /// See [`Journal::findings`].
    pub fn maintenance(&self) -> Result<Vec<(u64, Maintained)>, JournalError> {
        self.read(MAINTENANCE)
    }

    /// Writes which advice was given, durably.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn advised(&self, advice: &JournaledAdvice) -> Result<(), JournalError> {
        self.write(|transaction| append(&mut transaction.open_table(ADVICE)?, advice).map(drop))
    }

    /// An outcome need not be delivered any more: a store acknowledged it at `delivered`, or no
    /// store will ever take it (`None`).
    ///
    /// # Errors
    /// When the database refuses.
    pub fn settle(&self, entry: u64, delivered: Option<Timestamp>) -> Result<(), JournalError> {
        self.write(|transaction| {
            transaction.open_table(PENDING)?.remove(entry)?;
            let mut table = transaction.open_table(OUTCOMES)?;
            let stored = table.get(entry)?.map(|value| value.value().to_vec());
            // An entry that is gone or unreadable was dropped or is reported by every reader.
            let Some(Ok(mut outcome)) =
                stored.map(|bytes| serde_json::from_slice::<JournaledOutcome>(&bytes))
            else {
                return Ok(());
            };
            outcome.delivered = delivered;
            table.insert(entry, encode(&outcome).as_slice())?;
            Ok(())
        })
    }

    /// An outcome takes the place of what an entry says, durably.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn replace(&self, entry: u64, outcome: &JournaledOutcome) -> Result<(), JournalError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(OUTCOMES)?;
            // What the bound has dropped does not come back.
            if table.get(entry)?.is_some() {
                table.insert(entry, encode(outcome).as_slice())?;
            }
            Ok(())
        })
    }

    /// All findings, oldest first.
    ///
    /// # Errors
    /// When the database refuses or an entry is not readable.
    pub fn findings(&self) -> Result<Vec<(u64, Finding)>, JournalError> {
        self.read(FINDINGS)
    }

    /// The latest finding of this incident.
    ///
    /// # Errors
    /// See [`Journal::findings`].
    pub fn finding(&self, wanted: IncidentId) -> Result<Option<Finding>, JournalError> {
        let stored = self.look(|transaction| {
            let Some(entry) = transaction.open_table(INCIDENTS)?.get(wanted.0)? else {
                return Ok(None);
            };
            let finding = transaction.open_table(FINDINGS)?.get(entry.value())?;
            Ok(finding.map(|finding| (entry.value(), finding.value().to_vec())))
        })?;
        stored.map(|(entry, bytes)| self.decode(FINDINGS, entry, &bytes)).transpose()
    }

    /// The identities of all incidents, in the order of their latest findings.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn incidents(&self) -> Result<Vec<IncidentId>, JournalError> {
        let mut known: Vec<(u64, u64)> = self.look(|transaction| {
            let incidents = transaction.open_table(INCIDENTS)?;
            incidents
                .iter()?
                .map(|one| one.map(|(id, entry)| (entry.value(), id.value())))
                .collect::<Result<_, _>>()
                .map_err(redb::Error::from)
        })?;
        known.sort_unstable();
        Ok(known.into_iter().map(|(_, id)| IncidentId(id)).collect())
    }

    /// What distillation took in, in order.
    ///
    /// # Errors
    /// See [`Journal::findings`].
    pub fn inputs(&self) -> Result<Vec<Input>, JournalError> {
        let mut findings: HashMap<u64, Finding> = self.findings()?.into_iter().collect();
        let inputs = self.read::<JournaledInput>(INPUTS)?.into_iter();
        Ok(inputs
            .filter_map(|(_, input)| {
                Some(match input {
                    JournaledInput::Started(at) => Input::Started(at),
                    JournaledInput::Advanced(to) => Input::Advanced(to),
                    JournaledInput::Opened(opened) => Input::Opened(opened),
                    JournaledInput::Joined(joined) => Input::Joined(joined),
                    // What the bound has dropped is forgotten.
                    JournaledInput::Closed(number) => {
                        Input::Closed(Box::new(findings.remove(&number)?))
                    }
                    JournaledInput::Changed(change) => Input::Changed(change),
                    JournaledInput::Settled(settled) => Input::Settled(settled),
                    JournaledInput::Method(method) => Input::Method(method),
                })
            })
            .collect())
    }

    /// All outcomes, oldest first.
    ///
    /// # Errors
    /// See [`Journal::findings`].
    pub fn outcomes(&self) -> Result<Vec<(u64, JournaledOutcome)>, JournalError> {
        self.read(OUTCOMES)
    }

    /// The outcomes that no store has acknowledged yet, oldest first.
    ///
    /// # Errors
    /// See [`Journal::findings`].
    pub fn pending(&self) -> Result<Vec<(u64, JournaledOutcome)>, JournalError> {
        self.pending_from(0)
    }

    /// Those of [`Journal::pending`] with this number or a higher one.
    ///
    /// # Errors
    /// See [`Journal::findings`].
    pub fn pending_from(&self, first: u64) -> Result<Vec<(u64, JournaledOutcome)>, JournalError> {
        let failed = |source| self.failed(source);
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        let pending = transaction.open_table(PENDING).map_err(|e| failed(e.into()))?;
        let outcomes = transaction.open_table(OUTCOMES).map_err(|e| failed(e.into()))?;
        let mut entries = Vec::new();
        for entry in pending.range(first..).map_err(|e| failed(e.into()))? {
            let entry = entry.map_err(|e| failed(e.into()))?.0.value();
            // What the bound has dropped can no longer be delivered.
            if let Some(value) = outcomes.get(entry).map_err(|e| failed(e.into()))? {
                entries.push((entry, self.decode(OUTCOMES, entry, value.value())?));
            }
        }
        Ok(entries)
    }

    /// All advice given, oldest first.
    ///
    /// # Errors
    /// See [`Journal::findings`].
    pub fn advice(&self) -> Result<Vec<(u64, JournaledAdvice)>, JournalError> {
        self.read(ADVICE)
    }

    fn read<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(u64, T)>, JournalError> {
        let failed = |source| self.failed(source);
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        let open = transaction.open_table(table).map_err(|e| failed(e.into()))?;
        let mut entries = Vec::new();
        for entry in open.iter().map_err(|e| failed(e.into()))? {
            let (key, value) = entry.map_err(|e| failed(e.into()))?;
            entries.push((key.value(), self.decode(table, key.value(), value.value())?));
        }
        Ok(entries)
    }

    fn decode<T: DeserializeOwned>(
        &self,
        table: Table,
        entry: u64,
        bytes: &[u8],
    ) -> Result<T, JournalError> {
        serde_json::from_slice(bytes).map_err(|source| JournalError::Entry {
            path: self.path.clone(),
            table: table.name().to_owned(),
            entry,
            source,
        })
    }

    fn look<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, JournalError> {
        let run = || read(&self.database.begin_read()?);
        run().map_err(|source| self.failed(source))
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), JournalError> {
        let run = || {
            let transaction = self.database.begin_write()?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        run().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: redb::Error) -> JournalError {
        JournalError::Database { path: self.path.clone(), source: Box::new(source) }
    }
}

/// What tells incidents apart, without the rest of a finding.
#[derive(Deserialize)]
struct Identified {
    incident: Identity,
}

#[derive(Deserialize)]
struct Identity {
    id: IncidentId,
}

/// Writes a finding and where it stands; its number. Findings that make room are forgotten in both.
fn keep(transaction: &redb::WriteTransaction, finding: &Finding) -> Result<u64, redb::Error> {
    let mut findings = transaction.open_table(FINDINGS)?;
    let mut incidents = transaction.open_table(INCIDENTS)?;
    while findings.len()? >= ENTRIES_MAX {
        let Some((number, oldest)) = findings.pop_first()? else { break };
        if let Ok(oldest) = serde_json::from_slice::<Identified>(oldest.value()) {
            let id = oldest.incident.id.0;
            let latest = incidents.get(id)?.is_some_and(|latest| latest.value() == number.value());
            if latest {
                incidents.remove(id)?;
            }
        }
    }
    let number = append(&mut findings, finding)?;
    incidents.insert(finding.incident.id.0, number)?;
    Ok(number)
}

/// Notes where findings stand that were written before that was noted. One that cannot be read is
/// reported by every reader of all.
fn index(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    let findings = transaction.open_table(FINDINGS)?;
    let mut incidents = transaction.open_table(INCIDENTS)?;
    if !incidents.is_empty()? {
        return Ok(());
    }
    for finding in findings.iter()? {
        let (number, finding) = finding?;
        if let Ok(known) = serde_json::from_slice::<Identified>(finding.value()) {
            incidents.insert(known.incident.id.0, number.value())?;
        }
    }
    Ok(())
}

fn last_is_advance(inputs: &impl ReadableTable<u64, &'static [u8]>) -> Result<bool, redb::Error> {
    let Some((_, last)) = inputs.last()? else { return Ok(false) };
    let last = serde_json::from_slice::<JournaledInput>(last.value());
    Ok(matches!(last, Ok(JournaledInput::Advanced(_))))
}

fn encode(entry: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(entry).expect("journal entries always serialize")
}

fn append(
    table: &mut redb::Table<'_, u64, &'static [u8]>,
    entry: &impl Serialize,
) -> Result<u64, redb::Error> {
    let next = table.last()?.map_or(0, |(key, _)| key.value() + 1);
    table.insert(next, encode(entry).as_slice())?;
    while table.len()? > ENTRIES_MAX {
        table.pop_first()?;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::{
        EventType, Incident, Interval, Link, Measured, Protocol, Scope, Timestamp,
    };
    use edgelore_pipeline::detect::Settings;

    fn finding(id: u64, severity: u64) -> Input {
        let incident = Incident {
            id: IncidentId(id),
            event: EventType::Flap,
            protocol: Protocol::Link,
            scope: Scope::Link(Link(1)),
            chain: Vec::new(),
            start: Interval::exactly(Timestamp(1)),
            end: None,
            prefixes: Vec::new(),
            severity,
            gaps: false,
            maintenance: false,
            measured: Measured::default(),
            progress: Vec::new(),
            ruled_out: Vec::new(),
        };
        Input::Closed(Box::new(Finding { incident, settings: Settings::default() }))
    }

    fn severity(journal: &Journal, id: u64) -> Option<u64> {
        journal.finding(IncidentId(id)).unwrap().map(|finding| finding.incident.severity)
    }

    #[test]
    fn an_incident_is_found_by_its_id_also_in_a_journal_that_has_no_index_yet() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        for (id, severity) in [(7, 1), (3, 2), (9, 3), (3, 4)] {
            journal.record(&finding(id, severity), &[]).unwrap();
        }
        let journal = [true, false].into_iter().fold(journal, |journal, forget| {
            assert_eq!(severity(&journal, 7), Some(1));
            assert_eq!(severity(&journal, 3), Some(4), "the latest finding of it");
            assert_eq!(severity(&journal, 8), None);
            assert_eq!(journal.incidents().unwrap(), [7, 9, 3].map(IncidentId));
            if forget {
                let drop_index = |transaction: &redb::WriteTransaction| {
                    transaction.delete_table(INCIDENTS)?;
                    Ok(())
                };
                journal.write(drop_index).unwrap();
            }
            drop(journal);
            Journal::open(directory.path()).unwrap()
        });
        assert_eq!(journal.findings().unwrap().len(), 4);
    }
}
