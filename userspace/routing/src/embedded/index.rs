//! The index in memory: where every packet lies in the space, rebuilt from the records when the
//! store is opened.
//!
//! A query looks at every entry, so that its answer is exact by construction; an entry costs some
//! ten nanoseconds. Never touches the disk, never reads a clock.
//!
//! **Invariant:** holds exactly the packets that are committed and not purged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::{Point, Space};
use edgelore_pipeline::packet::lineage::Lineage;

use super::disk::Record;
use crate::PacketId;

#[derive(Debug)]
struct Entry {
    id: PacketId,
    publisher: [u8; 32],
    point: Point,
    pattern: Box<str>,
    expires: Timestamp,
    withdraws: Box<[PacketId]>,
}

/// A packet near a query; ordered by distance, then by id, so that every store answers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) distance: u32,
    pub(super) id: PacketId,
    pub(super) sequence: u64,
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<u64, Entry>,
    sequences: HashMap<PacketId, u64>,
    by_expiry: BTreeSet<(Timestamp, u64)>,
    /// How many packets of this publisher supersede or revoke this packet, which may come later.
    withdrawn: HashMap<([u8; 32], PacketId), u32>,
    /// What publishers said of their keys.
    lineage: Lineage,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, id: &PacketId) -> bool {
        self.sequences.contains_key(id)
    }

    /// A packet's sequence number.
    pub(super) fn sequence(&self, id: &PacketId) -> Option<u64> {
        self.sequences.get(id).copied()
    }

    /// What publishers say of their keys from now on.
    pub(super) fn set_lineage(&mut self, lineage: Lineage) {
        self.lineage = lineage;
    }

    /// The packet was superseded or revoked by its own publisher, under this key or a later one; or
    /// the key itself was revoked.
    pub(super) fn is_withdrawn(&self, publisher: &[u8; 32], id: &PacketId) -> bool {
        let by = |publisher: &[u8; 32]| self.withdrawn.contains_key(&(*publisher, *id));
        if self.lineage.is_empty() {
            return !self.withdrawn.is_empty() && by(publisher);
        }
        self.lineage.is_revoked(publisher)
            || (!self.withdrawn.is_empty() && self.lineage.heirs(publisher).iter().any(by))
    }

    fn in_force(&self, entry: &Entry, now: Timestamp) -> bool {
        entry.expires > now && !self.is_withdrawn(&entry.publisher, &entry.id)
    }

    pub(super) fn insert(&mut self, sequence: u64, space: &Space, record: &Record) {
        for id in &record.withdraws {
            *self.withdrawn.entry((record.publisher, *id)).or_default() += 1;
        }
        self.sequences.insert(record.id, sequence);
        self.by_expiry.insert((record.expires, sequence));
        let entry = Entry {
            id: record.id,
            publisher: record.publisher,
            point: space.locate(&record.situation),
            pattern: record.pattern.as_str().into(),
            expires: record.expires,
            withdraws: record.withdraws.clone().into(),
        };
        self.entries.insert(sequence, entry);
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        let Some(entry) = self.entries.remove(&sequence) else { return };
        self.sequences.remove(&entry.id);
        self.by_expiry.remove(&(entry.expires, sequence));
        for id in entry.withdraws {
            let key = (entry.publisher, id);
            if let Some(count) = self.withdrawn.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.withdrawn.remove(&key);
                }
            }
        }
    }

    /// At most `count` packets that have expired, the longest ago first.
    pub(super) fn expired(&self, now: Timestamp, count: usize) -> Vec<u64> {
        let past = self.by_expiry.iter().take_while(|(expires, _)| *expires <= now);
        past.take(count).map(|(_, sequence)| *sequence).collect()
    }

    /// The packets in force within the radius, nearest first, at most `limit`.
    pub(super) fn near(
        &self,
        space: &Space,
        query: &Query,
        radius: u32,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Hit> {
        let aim = space.aim(query);
        let pattern = query.resolution_pattern.as_deref();
        let mut hits: Vec<Hit> = self
            .entries
            .iter()
            .filter(|(_, entry)| pattern.is_none_or(|pattern| pattern == &*entry.pattern))
            .filter_map(|(sequence, entry)| {
                let distance = space.reach(&aim, &entry.point);
                (distance <= radius && self.in_force(entry, now)).then_some(Hit {
                    distance,
                    id: entry.id,
                    sequence: *sequence,
                })
            })
            .collect();
        if limit < hits.len() {
            hits.select_nth_unstable(limit);
            hits.truncate(limit);
        }
        hits.sort_unstable();
        hits
    }
}
