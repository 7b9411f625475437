//! The index in memory: where every packet lies in the space, rebuilt from the records when the
//! store is opened.
//!
//! A query scans every situation that its bounds do not rule out ([`SituationIndex`], at most 16 bytes each), so
//! that its answer is exact by construction; what else has to be known of a packet is read only for those within the
//! radius. Never touches the disk, never reads a clock.
//!
//! **Invariant:** holds exactly the packets that are committed and not purged; the situation of
//! `entries[slot]` lies in `slot`.

use std::collections::{BTreeSet, HashMap};

use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::{Nearest, SituationIndex, Space};
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::statement::Statement;

use super::disk::Record;
use crate::PacketId;

#[derive(Debug)]
struct Entry {
    sequence: u64,
    id: PacketId,
    publisher: [u8; 32],
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
#[derive(Debug)]
pub(super) struct Index {
    situations: SituationIndex,
    entries: Vec<Entry>,
    /// By sequence number.
    slots: HashMap<u64, usize>,
    sequences: HashMap<PacketId, u64>,
    by_expiry: BTreeSet<(Timestamp, u64)>,
    /// How many packets of this publisher supersede or revoke this packet, which may come later.
    withdrawn: HashMap<([u8; 32], PacketId), u32>,
    /// What publishers said of their keys.
    lineage: Lineage,
    /// How many packets are here of the publishers whose ids begin so.
    #[cfg(feature = "dht")]
    publishers: HashMap<[u8; 8], u32>,
}

/// How what publishers say of their keys has changed.
pub(super) enum Change<'c> {
    /// They say this too.
    More(&'c [Statement]),
    /// This is all that they say.
    All(Lineage),
}

impl Index {
    pub(super) fn new(space: Space) -> Self {
        Self {
            situations: SituationIndex::new(space),
            entries: Vec::new(),
            slots: HashMap::new(),
            sequences: HashMap::new(),
            by_expiry: BTreeSet::new(),
            withdrawn: HashMap::new(),
            lineage: Lineage::default(),
            #[cfg(feature = "dht")]
            publishers: HashMap::new(),
        }
    }

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

    /// Follows what publishers say of their keys.
    pub(super) fn learn(&mut self, change: Change<'_>) {
        match change {
            Change::More(statements) => statements.iter().for_each(|one| self.lineage.add(one)),
            Change::All(lineage) => self.lineage = lineage,
        }
    }

    #[cfg(feature = "dht")]
    pub(super) const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Whether a packet of this publisher is here.
    #[cfg(feature = "dht")]
    pub(super) fn publishes(&self, publisher: &[u8; 32]) -> bool {
        self.publishers.contains_key(&beginning(publisher))
    }

    /// The latest packets of some publishers, at most so many.
    #[cfg(feature = "dht")]
    pub(super) fn latest_of(&self, publishers: &[[u8; 32]], count: usize) -> Vec<u64> {
        if !publishers.iter().any(|publisher| self.publishes(publisher)) {
            return Vec::new();
        }
        let theirs = self.entries.iter().filter(|entry| publishers.contains(&entry.publisher));
        let mut sequences: Vec<u64> = theirs.map(|entry| entry.sequence).collect();
        sequences.sort_unstable_by(|one, other| other.cmp(one));
        sequences.truncate(count);
        sequences
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

    pub(super) fn insert(&mut self, sequence: u64, record: &Record) {
        self.by_expiry.insert((record.expires, sequence));
        self.place(sequence, record);
    }

    /// Takes records, about `count` of them, into an index that has none yet, and hands each on. What has
    /// an order is put in order once.
    pub(super) fn fill(
        &mut self,
        count: usize,
        records: impl Iterator<Item = (u64, Record)>,
        mut then: impl FnMut(u64, Record),
    ) {
        self.entries.reserve(count);
        self.slots.reserve(count);
        self.sequences.reserve(count);
        let mut by_expiry = Vec::with_capacity(count);
        for (sequence, record) in records {
            by_expiry.push((record.expires, sequence));
            self.place(sequence, &record);
            then(sequence, record);
        }
        self.by_expiry = by_expiry.into_iter().collect();
        self.settle();
    }

    /// Puts the packets in an order in which a search passes over most of them, when many have come or moved.
    pub(super) fn settle(&mut self) {
        let Some(order) = self.situations.settle() else { return };
        order.apply(&mut self.entries);
        let slots = self.entries.iter().enumerate();
        self.slots.extend(slots.map(|(slot, entry)| (entry.sequence, slot)));
    }

    fn place(&mut self, sequence: u64, record: &Record) {
        for id in &record.withdraws {
            *self.withdrawn.entry((record.publisher, *id)).or_default() += 1;
        }
        #[cfg(feature = "dht")]
        {
            *self.publishers.entry(beginning(&record.publisher)).or_default() += 1;
        }
        self.sequences.insert(record.id, sequence);
        self.situations.push(&record.situation);
        self.slots.insert(sequence, self.entries.len());
        self.entries.push(Entry {
            sequence,
            id: record.id,
            publisher: record.publisher,
            pattern: record.pattern.as_str().into(),
            expires: record.expires,
            withdraws: record.withdraws.clone().into(),
        });
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        let Some(slot) = self.slots.remove(&sequence) else { return };
        self.situations.swap_remove(slot);
        let entry = self.entries.swap_remove(slot);
        if let Some(moved) = self.entries.get(slot) {
            self.slots.insert(moved.sequence, slot);
        }
        #[cfg(feature = "dht")]
        self.forget(&entry.publisher);
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

    /// One packet less of a publisher.
    #[cfg(feature = "dht")]
    fn forget(&mut self, publisher: &[u8; 32]) {
        let beginning = beginning(publisher);
        if let Some(count) = self.publishers.get_mut(&beginning) {
            *count -= 1;
            if *count == 0 {
                self.publishers.remove(&beginning);
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
        query: &Query,
        radius: u32,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Hit> {
        let aim = self.situations.space().aim(query);
        let pattern = query.resolution_pattern.as_deref();
        let mut nearest = Nearest::new(limit);
        self.situations.visit(&aim, radius, |slot, distance| {
            let entry = &self.entries[slot];
            let asked_for = pattern.is_none_or(|pattern| pattern == &*entry.pattern);
            if asked_for && self.in_force(entry, now) {
                nearest.offer(Hit { distance, id: entry.id, sequence: entry.sequence });
            }
            nearest.last().map_or(radius, |hit| hit.distance)
        });
        nearest.into_sorted()
    }
}

/// Enough of a publisher's id, which is a hash, to tell it from others.
#[cfg(feature = "dht")]
fn beginning(publisher: &[u8; 32]) -> [u8; 8] {
    std::array::from_fn(|at| publisher[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::{Known, Situation};

    fn record(number: u64) -> Record {
        let mut id = [0; 32];
        // The ids run against the order in which the packets come.
        id[..8].copy_from_slice(&(u64::MAX - number).to_be_bytes());
        Record {
            id,
            publisher: [number as u8 % 3; 32],
            space: Space::default_definition().short_id(),
            situation: Situation {
                topology_class: ["spine_leaf", "ring", "odd"][number as usize % 3].to_owned(),
                protocol: "bgp".to_owned(),
                event_type: "convergence".to_owned(),
                severity: number % 97 * 1_000,
                affected_prefixes: number % 7,
                node_count: 1,
            },
            pattern: ["dampening", "bfd_tuning"][number as usize % 2].to_owned(),
            known: Known::Measured,
            sample_size: 1,
            expires: Timestamp(number as i64 % 11),
            withdraws: Vec::new(),
        }
    }

    /// What measuring every record finds.
    fn brute(there: &[u64], query: &Query, radius: u32, limit: usize, now: i64) -> Vec<Hit> {
        let space = Space::default_definition();
        let mut hits = Vec::new();
        for &sequence in there {
            let Record { id, situation, pattern, expires, .. } = record(sequence);
            let distance = space.query_distance(query, &situation);
            let pattern = query.resolution_pattern.as_ref().is_none_or(|asked| *asked == pattern);
            if pattern && expires > Timestamp(now) && distance <= radius {
                hits.push(Hit { distance, id, sequence });
            }
        }
        hits.sort_unstable();
        hits.truncate(limit);
        hits
    }

    #[test]
    fn what_is_near_equals_measuring_everything_while_packets_come_and_go() {
        let mut index = Index::new(Space::default_definition());
        let mut there: Vec<u64> = (1..=400).collect();
        there.iter().for_each(|sequence| index.insert(*sequence, &record(*sequence)));
        for round in 0..300u64 {
            let gone = there.swap_remove((round * 7_919) as usize % there.len());
            index.remove(gone);
            index.remove(gone);
            assert_eq!((index.len(), index.sequence(&record(gone).id)), (there.len(), None));
            #[cfg(feature = "dht")]
            for publisher in [[0; 32], [1; 32], [2; 32], [3; 32]] {
                let theirs = there.iter().filter(|one| record(**one).publisher == publisher);
                let mut latest: Vec<u64> = theirs.copied().collect();
                latest.sort_unstable_by(|one, other| other.cmp(one));
                latest.truncate(3);
                assert_eq!(index.latest_of(&[publisher], 3), latest);
                assert_eq!(index.publishes(&publisher), !latest.is_empty());
            }
            let mut query = Query::from(&record(round).situation);
            query.severity = query.severity.filter(|_| round % 4 != 0);
            query.resolution_pattern = (round % 3 == 0).then(|| "dampening".to_owned());
            for (radius, limit) in [(3_000, 5), (3_000, 1_000), (0, 3), (u32::MAX, 20), (9_000, 0)]
            {
                let found = index.near(&query, radius, limit, Timestamp(round as i64 % 5));
                let expected = brute(&there, &query, radius, limit, round as i64 % 5);
                assert_eq!(found, expected, "round {round}, {limit} within {radius}");
            }
        }
    }

    #[test]
    fn the_search_takes_sixteen_bytes_a_packet_at_most() {
        let mut index = Index::new(Space::default_definition());
        for sequence in 0..20_000 {
            index.insert(sequence, &record(sequence));
            assert!(index.situations.bytes() <= 16 * index.len() + 32_768, "{sequence}");
        }
    }
}
