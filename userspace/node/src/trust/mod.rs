//! Whom this node, or this store, takes packets from, and what it counts.
//!
//! ```text
//! packets ─► Guard ─ verified? in the book? in time? withdrawn? too many? ─► store, advice, delivery
//!               └──► sightings, audit log
//! ```
//!
//! Publishers are *pinned* (they vote), *allowed*, *blocked* or *unknown*: an unknown one is visible
//! and does not rank until [`TrustConfig::corroboration_min`] trust groups report the same. What holds
//! of a key holds of all keys that are known to succeed it or to come before it; of several, blocked
//! holds first.
//!
//! Owns the judgement, the [`book`], the [`sightings`], the audit log ([`audit`]) and the [`Guard`]
//! around a backend. Never ranks.
//!
//! **Invariant:** a packet that is refused is counted under one [`Refusal`], and concerns no other.

pub mod audit;
pub mod book;
mod guard;
mod memory;
mod refusal;
pub mod roll;
pub mod sightings;

pub use guard::Guard;
pub use refusal::Refusal;

use audit::{Audit, AuditError, Event, Record};
use book::{Book, BookError, Current, PublisherId, Standing};
use edgelore_model::{Sharing, Span, Timestamp};
use edgelore_pipeline::packet::{self, Opened, PacketId};
use edgelore_pipeline::synthesise::Policy;
use edgelore_routing::embedded::Now;
use edgelore_routing::{BackendError, CLOCK_AHEAD_MAX};
use governor::Quota;
use memory::Memory;
use serde::{Deserialize, Serialize};
use sightings::Sightings;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limit::Limiter;

/// How soon what was counted is on disk.
const WRITE_EVERY: Duration = Duration::from_secs(2);
const DAY: Span = Span(86_400 * 1_000_000_000);

/// `[trust]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrustConfig {
    /// Trust groups that must report a resolution before publishers that are not pinned vote for it,
    /// 1 to 100.
    pub corroboration_min: u32,
    /// Whether only publishers that are pinned or allowed are taken at all.
    pub only_known: bool,
    /// How old a packet may be when it is taken, in days since it was made, 1 to 366.
    pub replay_window_days: u16,
    /// New packets of one publisher that are stored in an hour, at most; so many may come at once.
    pub publisher_hourly_max: NonZeroU32,
    /// Size of the audit log in MiB, 1 to 4096.
    pub audit_mib: u32,
}

impl Default for TrustConfig {
    fn default() -> Self {
        Self {
            corroboration_min: 2,
            only_known: false,
            replay_window_days: 180,
            publisher_hourly_max: NonZeroU32::new(10_000).expect("it is not zero"),
            audit_mib: 32,
        }
    }
}

impl TrustConfig {
    /// The key, value and bounds of what cannot be used.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        let Self { corroboration_min, replay_window_days, audit_mib, .. } = self;
        let faults = [
            (
                "trust.corroboration_min",
                (1..=100).contains(corroboration_min),
                corroboration_min.to_string(),
                "1 to 100",
            ),
            (
                "trust.replay_window_days",
                (1..=366).contains(replay_window_days),
                replay_window_days.to_string(),
                "1 to 366",
            ),
            (
                "trust.audit_mib",
                (1..=4_096).contains(audit_mib),
                audit_mib.to_string(),
                "1 to 4096",
            ),
        ];
        let fault = faults.into_iter().find(|(_, holds, ..)| !holds)?;
        Some((fault.0, fault.2, fault.3))
    }
}

/// Why trust cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The book.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// The judgement of packets, shared by everything that takes some.
pub struct Trust {
    config: TrustConfig,
    directory: PathBuf,
    current: Current,
    memory: Mutex<Memory>,
    sightings: Mutex<Sightings>,
    /// Something was counted that is not on disk.
    unwritten: AtomicBool,
    /// Held by whoever writes.
    writing: Mutex<()>,
    audit: Audit,
    /// Publishers in the book have buckets apart: those that anybody can make take none of theirs.
    known: Limiter<PublisherId>,
    unknown: Limiter<PublisherId>,
    now: Now,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trust {
    /// Opens what is kept in a directory.
    ///
    /// # Errors
    /// When the book or the audit log cannot be used.
    pub fn open(directory: &Path, config: TrustConfig, now: Now) -> Result<Arc<Self>, TrustError> {
        let quota = Quota::per_hour(config.publisher_hourly_max);
        Ok(Arc::new(Self {
            current: Current::open(directory)?,
            audit: Audit::open(directory, u64::from(config.audit_mib) << 20)?,
            sightings: Mutex::new(Sightings::read(directory)),
            memory: Mutex::new(Memory::read(directory)),
            unwritten: AtomicBool::new(false),
            writing: Mutex::new(()),
            known: Limiter::new(quota, [0; 32]),
            unknown: Limiter::new(quota, [0; 32]),
            directory: directory.to_owned(),
            config,
            now,
        }))
    }

    /// Writes down what was counted and learned, again and again; runs until it is dropped.
    pub async fn keep_written(self: Arc<Self>) {
        loop {
            tokio::time::sleep(WRITE_EVERY).await;
            let trust = Arc::clone(&self);
            // It waits for the disk.
            let _ = tokio::task::spawn_blocking(move || trust.write()).await;
        }
    }

    /// Writes down what was counted, and what was learned of withdrawals and keys.
    pub fn write(&self) {
        let _alone = lock(&self.writing);
        self.write_memory();
        if !self.unwritten.swap(false, Ordering::Relaxed) {
            return;
        }
        let sightings = lock(&self.sightings).clone();
        if let Err(error) = sightings.write(&self.directory) {
            self.unwritten.store(true, Ordering::Relaxed);
            tracing::error!(%error, "what was seen of publishers is not on disk");
        }
    }

    fn write_memory(&self) {
        let Some(written) = lock(&self.memory).take_unwritten() else { return };
        if let Err(error) = written.write(&self.directory) {
            lock(&self.memory).not_written();
            tracing::error!(%error, "what was withdrawn is not on disk");
        }
    }

    /// Whose word counts when advice is ranked now.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let book = self.current.book();
        let pinned = || book.entries().filter(|(_, entry)| entry.standing == Standing::Pinned);
        Policy {
            now: Some((self.now)()),
            corroboration_min: self.config.corroboration_min,
            pinned: pinned().map(|(id, _)| *id).collect(),
            groups: pinned().filter_map(|(id, entry)| Some((*id, entry.group.clone()?))).collect(),
            ..Policy::default()
        }
    }

    /// All counters by name.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = lock(&self.sightings).counts();
        counts.insert("audit_lines_lost".to_owned(), self.audit.lost());
        counts.insert("withdrawals_forgotten".to_owned(), lock(&self.memory).forgotten());
        counts
    }

    /// An outcome of this node was taken by every store that it may go to.
    pub fn published(&self, packet: &str, scope: Sharing) {
        lock(&self.sightings).published();
        self.tell(
            Record { packet: Some(packet.to_owned()), ..self.record(Event::Published, "publish") },
            scope,
        );
    }

    /// An outcome of this node stays here.
    pub fn withheld(&self, packet: &str, scope: Sharing, reason: &str, detail: &str) {
        lock(&self.sightings).withheld();
        let record = Record {
            packet: Some(packet.to_owned()),
            reason: Some(reason.to_owned()),
            detail: Some(detail.to_owned()),
            ..self.record(Event::Withheld, "publish")
        };
        self.tell(record, scope);
    }

    fn tell(&self, record: Record, scope: Sharing) {
        self.unwritten.store(true, Ordering::Relaxed);
        self.audit.write(&Record { scope: Some(scope), ..record });
    }

    fn record(&self, event: Event, via: &str) -> Record {
        Record::new((self.now)(), event, via)
    }

    /// Whether what a publisher says may depend on statements that are not known yet.
    fn asks_for_statements(&self) -> bool {
        self.config.only_known || !self.current.book().is_empty()
    }

    /// What holds of a publisher, under whichever of its keys it was said.
    fn standing(&self, book: &Book, publisher: &PublisherId) -> Option<Standing> {
        if book.is_empty() {
            return None;
        }
        let keys = lock(&self.memory).keys_of(publisher);
        let said: Vec<Standing> =
            keys.iter().filter_map(|key| book.entry(key)).map(|entry| entry.standing).collect();
        [Standing::Blocked, Standing::Pinned, Standing::Allowed]
            .into_iter()
            .find(|standing| said.contains(standing))
    }

    /// Whether a verified packet is taken, shown and delivered now.
    ///
    /// # Errors
    /// The reason when it is not.
    pub fn judge(&self, packet: &Opened) -> Result<(), Refusal> {
        match self.standing(&self.current.book(), &packet.publisher) {
            Some(Standing::Blocked) => return Err(Refusal::Blocked),
            Some(Standing::Pinned | Standing::Allowed) => {}
            None if self.config.only_known => return Err(Refusal::NotAllowed),
            None => {}
        }
        {
            let memory = lock(&self.memory);
            if memory.lineage().is_revoked(&packet.publisher) {
                return Err(Refusal::Revoked);
            }
            if memory.is_withdrawn(packet) {
                return Err(Refusal::Withdrawn);
            }
        }
        self.in_time(packet)
    }

    fn in_time(&self, packet: &Opened) -> Result<(), Refusal> {
        let (now, outcome) = ((self.now)(), &packet.outcome);
        let window = Span(DAY.0 * i64::from(self.config.replay_window_days));
        if outcome.expires <= now {
            return Err(Refusal::Expired);
        }
        if outcome.created > now + CLOCK_AHEAD_MAX {
            return Err(Refusal::Future);
        }
        if outcome.created < now - window {
            return Err(Refusal::Stale);
        }
        Ok(())
    }

    /// How long a publisher has to wait before the next of its packets is stored.
    fn wait(&self, publisher: &PublisherId) -> Option<Duration> {
        let known = self.standing(&self.current.book(), publisher).is_some();
        if known { self.known.refuses(*publisher) } else { self.unknown.refuses(*publisher) }
    }

    /// Notes what packets withdraw. Nothing of a blocked publisher is shown, so nothing of it has to
    /// be left out for what it withdrew.
    fn hear<'p>(&self, packets: impl IntoIterator<Item = &'p Opened>) {
        let book = self.current.book();
        let withdraws = |packet: &&Opened| {
            packet.outcome.supersedes.is_some() || packet.outcome.revokes.is_some()
        };
        for packet in packets.into_iter().filter(withdraws) {
            match self.standing(&book, &packet.publisher) {
                Some(Standing::Blocked) => {}
                standing => lock(&self.memory).hear(packet, standing.is_some()),
            }
        }
    }

    /// Notes that a packet was taken, the first time.
    fn accept(&self, packet: &Opened, via: &str) {
        self.hear([packet]);
        if !lock(&self.memory).saw(&packet.id) {
            return;
        }
        let (at, book) = ((self.now)(), self.current.book());
        lock(&self.sightings).accepted(&packet.publisher, at, |id| book.entry(id).is_some());
        self.unwritten.store(true, Ordering::Relaxed);
        self.audit.write(&Record {
            packet: Some(hex::encode(packet.id)),
            publisher: Some(hex::encode(packet.publisher)),
            ..self.record(Event::Accepted, via)
        });
    }

    /// Notes that a packet was refused. What does not verify has no publisher.
    fn refuse(
        &self,
        why: Refusal,
        id: &PacketId,
        by: Option<&PublisherId>,
        via: &str,
        detail: &str,
    ) {
        let (at, book) = ((self.now)(), self.current.book());
        lock(&self.sightings).refused(why, by, at, |id| book.entry(id).is_some());
        self.unwritten.store(true, Ordering::Relaxed);
        let record = Record {
            packet: Some(hex::encode(id)),
            publisher: by.map(hex::encode),
            detail: Some(detail.to_owned()),
            ..self.record(Event::Refused, via)
        };
        self.audit.refused(why, record);
    }

    /// Notes a packet that was refused before anything of it was read but its id.
    pub(crate) fn refuse_unread(&self, why: Refusal, id: &PacketId) {
        self.refuse(why, id, None, "store", why.reason());
    }

    /// Notes an error of a store, if it says that a packet was refused.
    fn refuse_for(&self, error: &BackendError, bytes: &[u8], by: Option<&PublisherId>) {
        if let Some(why) = Refusal::of(error) {
            self.refuse(why, &packet::id(bytes), by, "store", &error.to_string());
        }
    }
}

impl Drop for Trust {
    fn drop(&mut self) {
        self.write();
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Notes in a directory's audit log what the operator said of a publisher.
///
/// # Errors
/// When the log cannot be written.
pub fn note_command(
    directory: &Path,
    at: Timestamp,
    publisher: &PublisherId,
    word: &str,
) -> Result<(), AuditError> {
    // Appending is atomic below a page, so a node that writes at the same time is not disturbed.
    let log = Audit::open(directory, u64::MAX)?;
    log.write(&Record {
        publisher: Some(hex::encode(publisher)),
        reason: Some(word.to_owned()),
        ..Record::new(at, Event::Trust, "command")
    });
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
