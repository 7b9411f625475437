//! What a client knows by heart of the stream: where each packet lies.
//!
//! JetStream has no index but its subjects, so each client keeps one, of [`PACKET_BYTES`] a packet,
//! and reads on in the stream before a query. What is known is nobody's word: what a query finds here is
//! fetched and verified, and what is gone from the server or was forged is forgotten then.
//!
//! Owns the places of packets and how far the stream was read. Never does I/O.
//!
//! **Invariant:** of what was read up to [`Index::last`] it holds every packet but those that could not be
//! decoded, have expired or were found to be gone or forged, and knows every subject of a withdrawal;
//! never more of either than its bound.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::{Nearest, SituationIndex, Space};
use edgelore_pipeline::packet::Opened;

use crate::PacketId;

/// Packets that are known at most, unless the configuration says otherwise.
pub(super) const PACKETS_MAX: usize = 1 << 20;
/// Bytes of memory that a packet takes, at most.
const PACKET_BYTES: usize = 40;
const _: () = assert!(size_of::<Entry>() + 16 <= PACKET_BYTES);

/// A message: where it is in the stream, and the first half of its hash's first half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// First, so that packets at the same distance are in the order of their ids.
    pub(super) tag: u64,
    pub(super) sequence: u64,
}

/// A packet near a query; ordered by distance, then by id, so that every store answers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) distance: u32,
    pub(super) mark: Mark,
}

#[derive(Debug)]
struct Entry {
    mark: Mark,
    /// Rounded down.
    expires_secs: u32,
    /// Of the resolution's pattern, by this index's hash.
    pattern: u32,
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    /// Packets at most; what lies beyond is read for each query.
    most: usize,
    situations: SituationIndex,
    entries: Vec<Entry>,
    /// Subjects under which something withdraws a packet, by their hashes; `None` when they were too many.
    withdrawals: Option<HashSet<u64>>,
    /// Keyed by chance: nobody can name patterns that are taken for one another.
    hashes: RandomState,
    /// The last message that was read.
    last: Option<Mark>,
    /// Messages that queries have read past the index since it was last read on.
    read_beside: u64,
}

/// What tells a message from others in its place.
pub(super) fn mark(sequence: u64, id: &PacketId) -> Mark {
    let [a, b, c, d, e, f, g, h, ..] = *id;
    Mark { tag: u64::from_be_bytes([a, b, c, d, e, f, g, h]), sequence }
}

fn secs(time: Timestamp) -> u32 {
    u32::try_from(time.secs().max(0)).unwrap_or(u32::MAX)
}

impl Index {
    pub(super) fn new(space: Space, most: usize) -> Self {
        let situations = SituationIndex::new(space);
        let (entries, hashes) = (Vec::new(), RandomState::new());
        let withdrawals = Some(HashSet::new());
        Self { most, situations, entries, withdrawals, hashes, last: None, read_beside: 0 }
    }

    /// The last message that was read.
    pub(super) const fn last(&self) -> Option<Mark> {
        self.last
    }

    /// The sequence from which on nothing is known.
    pub(super) fn next(&self) -> u64 {
        self.last.map_or(1, |mark| mark.sequence + 1)
    }

    /// How many more packets there is room for.
    pub(super) fn room(&self) -> usize {
        self.most.saturating_sub(self.entries.len())
    }

    /// Takes a message in, with the packet that it may be.
    pub(super) fn push(&mut self, mark: Mark, packet: Option<&Opened>) {
        self.last = Some(mark);
        let Some(packet) = packet else { return };
        let outcome = &packet.outcome;
        let pattern = self.pattern(&outcome.resolution.pattern);
        self.situations.push(&outcome.situation);
        self.entries.push(Entry { mark, expires_secs: secs(outcome.expires), pattern });
    }

    /// Puts what was taken in where the search passes over most of it, when that is much.
    pub(super) fn settle(&mut self) {
        if let Some(order) = self.situations.settle() {
            order.apply(&mut self.entries);
        }
    }

    /// Takes note of a subject under which something withdraws a packet.
    pub(super) fn note_withdrawal(&mut self, subject: &str) {
        let hash = self.hashes.hash_one(subject);
        self.withdrawals = self.withdrawals.take().filter(|known| known.len() < self.most);
        if let Some(known) = &mut self.withdrawals {
            known.insert(hash);
        }
    }

    /// Whether anything of what was read may withdraw a packet.
    pub(super) fn knows_withdrawals(&self) -> bool {
        self.withdrawals.as_ref().is_none_or(|known| !known.is_empty())
    }

    /// Whether something under this subject may withdraw a packet; if not, nothing of what was read does.
    pub(super) fn may_withdraw(&self, subject: &str) -> bool {
        let hash = self.hashes.hash_one(subject);
        self.withdrawals.as_ref().is_none_or(|known| known.contains(&hash))
    }

    /// A collision finds a packet that was not asked for, which is noticed when it is fetched.
    fn pattern(&self, pattern: &str) -> u32 {
        self.hashes.hash_one(pattern) as u32
    }

    /// Whether reading the `unread` messages into the index costs no more than queries have cost that
    /// read past it, this one with its `count` included. So a client never reads much more than twice what
    /// the better way would have read, whatever it is asked.
    pub(super) fn pays(&mut self, unread: u64, count: u64) -> bool {
        self.read_beside = self.read_beside.saturating_add(count);
        // Some of what is unread are no packets, which a query for all does not count.
        let pays = self.read_beside.saturating_add(self.read_beside / 4) >= unread;
        if pays {
            self.read_beside = 0;
        }
        pays
    }

    /// Offers the packets within the radius.
    pub(super) fn near(
        &self,
        query: &Query,
        radius: u32,
        now: Timestamp,
        nearest: &mut Nearest<Hit>,
    ) {
        let (aim, now) = (self.situations.space().aim(query), secs(now));
        let asked = query.resolution_pattern.as_deref().map(|pattern| self.pattern(pattern));
        self.situations.visit(&aim, radius, |slot, distance| {
            let entry = &self.entries[slot];
            if entry.expires_secs >= now && asked.is_none_or(|asked| asked == entry.pattern) {
                nearest.offer(Hit { distance, mark: entry.mark });
            }
            nearest.last().map_or(radius, |hit| hit.distance)
        });
    }

    /// Forgets messages.
    pub(super) fn forget(&mut self, gone: &HashSet<u64>) {
        self.retain(|entry| !gone.contains(&entry.mark.sequence));
    }

    /// Makes room for `count` packets if possible: forgets what lies before the stream's first
    /// message, and what has expired.
    pub(super) fn make_room(&mut self, count: u64, first: u64, now: Timestamp) {
        if count > self.room() as u64 {
            self.retain(|entry| entry.mark.sequence >= first && entry.expires_secs >= secs(now));
        }
    }

    /// Packets to look for when the last message is not there: ever farther back.
    pub(super) fn steps_back(&self) -> Vec<Mark> {
        let mut marks: Vec<Mark> = self.entries.iter().map(|entry| entry.mark).collect();
        marks.sort_unstable_by_key(|mark| std::cmp::Reverse(mark.sequence));
        let steps = std::iter::successors(Some(1_usize), |step| step.checked_mul(4));
        steps.map_while(|step| marks.get(step - 1).copied()).collect()
    }

    /// Forgets what was read after a message; everything without one.
    pub(super) fn go_back_to(&mut self, mark: Option<Mark>) {
        if mark.is_none() {
            self.withdrawals = Some(HashSet::new());
        }
        self.last = mark;
        let last = mark.map_or(0, |mark| mark.sequence);
        self.retain(|entry| entry.mark.sequence <= last);
    }

    fn retain(&mut self, stays: impl Fn(&Entry) -> bool) {
        for slot in (0..self.entries.len()).rev() {
            if !stays(&self.entries[slot]) {
                self.situations.swap_remove(slot);
                self.entries.swap_remove(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{key, outcome, sealed};
    use edgelore_model::Span;
    use edgelore_pipeline::packet;

    /// Packets at sequences 1, 3, 5, …, each one a little farther from the first one.
    fn filled(count: u64) -> (Index, Vec<Opened>) {
        let mut index = Index::new(Space::default_definition(), PACKETS_MAX);
        let mut packets = Vec::new();
        for number in 0..count {
            let mut outcome = outcome();
            outcome.situation.severity += number * 1_000;
            outcome.expires = outcome.expires + Span::from_millis(number as i64 * 1_000);
            let packet = packet::open(&sealed(&outcome, &key(1)).bytes).unwrap();
            index.push(mark(2 * number + 1, &packet.id), Some(&packet));
            packets.push(packet);
        }
        (index, packets)
    }

    fn near(index: &Index, now: Timestamp) -> Vec<u64> {
        let mut nearest = Nearest::new(100);
        index.near(&Query::from(&outcome().situation), u32::MAX, now, &mut nearest);
        nearest.into_sorted().iter().map(|hit| hit.mark.sequence).collect()
    }

    #[test]
    fn withdrawals_are_known_until_they_are_too_many_and_then_any_may_be_one() {
        let mut index = Index::new(Space::default_definition(), 3);
        let subjects = ["a.b", "a.c", "b.c", "b.d"];
        assert!(subjects.iter().all(|subject| !index.may_withdraw(subject)));
        assert!(!index.knows_withdrawals());
        for subject in &subjects[..3] {
            index.note_withdrawal(subject);
        }
        let may = |index: &Index| subjects.map(|subject| index.may_withdraw(subject));
        assert_eq!(may(&index), [true, true, true, false]);
        assert!(index.knows_withdrawals());
        index.go_back_to(Some(Mark { tag: 0, sequence: 1 }));
        assert_eq!(may(&index), [true, true, true, false], "what was read may still be there");
        index.note_withdrawal(subjects[3]);
        assert!(may(&index).iter().all(|may| *may) && index.may_withdraw("c"));
        assert!(index.knows_withdrawals());
        index.go_back_to(None);
        assert!(may(&index).iter().all(|may| !*may));
    }

    #[test]
    fn what_is_gone_or_has_expired_is_found_no_more() {
        let (mut index, packets) = filled(6);
        let now = outcome().created;
        assert_eq!(near(&index, now), [1, 3, 5, 7, 9, 11]);
        index.forget(&HashSet::from([1, 7, 8]));
        assert_eq!(near(&index, now), [3, 5, 9, 11]);
        let later = packets[2].outcome.expires + Span::from_millis(1_000);
        assert_eq!(near(&index, later), [9, 11]);
        index.make_room(1, 4, now);
        assert_eq!(near(&index, now), [3, 5, 9, 11], "there is room");
        index.make_room(PACKETS_MAX as u64, 4, later);
        assert_eq!(near(&index, now), [9, 11]);
        assert_eq!((index.next(), index.room()), (12, PACKETS_MAX - 2));
    }

    #[test]
    fn it_goes_back_to_what_is_still_there() {
        let (mut index, packets) = filled(6);
        index.push(mark(20, &[9; 32]), None);
        assert_eq!(index.next(), 21);
        let back: Vec<u64> = index.steps_back().iter().map(|mark| mark.sequence).collect();
        assert_eq!(back, [11, 5]);
        index.go_back_to(Some(mark(5, &packets[2].id)));
        assert_eq!((near(&index, outcome().created), index.next()), (vec![1, 3, 5], 6));
        index.go_back_to(None);
        assert_eq!((near(&index, outcome().created), index.next()), (vec![], 1));
    }

    #[test]
    fn what_is_read_beside_it_adds_up_until_it_pays() {
        let (mut index, _) = filled(0);
        assert!(!index.pays(1_000, 300) && !index.pays(1_000, 300));
        assert!(index.pays(1_000, 300));
        assert!(!index.pays(1_000, 300), "it begins anew");
        assert!(index.pays(u64::MAX, u64::MAX));
    }
}
