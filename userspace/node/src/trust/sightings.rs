//! Which publishers were seen, since when and how often, and how often what was refused.
//!
//! Owns `publishers.json`, written anew a few seconds after something was counted; a crash costs
//! what was counted since. Never judges.
//!
//! **Invariant:** there are at most [`PUBLISHERS_MAX`] publishers; when there are as many, an eighth
//! of them goes, those that were silent longest and are not in the trust book.

use super::book::{BookError, PublisherId, publisher_id, recall, replace};
use super::refusal::Refusal;
use edgelore_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Publishers whose sightings are kept.
pub const PUBLISHERS_MAX: usize = 16_384;
const FILE: &str = "publishers.json";

/// What was seen of a publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When a packet of it was first seen.
    pub first: Timestamp,
    /// When one was last seen.
    pub last: Timestamp,
    /// Packets taken; the same one again counts as long as it is remembered (16,384 packets).
    pub packets: u64,
    /// Times that a packet of it was refused.
    pub refused: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    publishers: BTreeMap<PublisherId, Sighting>,
    /// Publishers that were forgotten for want of room.
    forgotten: u64,
    accepted: u64,
    published: u64,
    withheld: u64,
    refused: BTreeMap<Refusal, u64>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    publishers: BTreeMap<String, Sighting>,
    counts: BTreeMap<String, u64>,
}

const FORGOTTEN: &str = "publishers_forgotten";
const ACCEPTED: &str = "accepted";
const PUBLISHED: &str = "published";
const WITHHELD: &str = "withheld";

impl Sightings {
    /// What was counted in a directory; nothing where there is no file, or one that is damaged.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        recall::<Written>(&directory.join(FILE)).into()
    }

    /// Writes it all down.
    pub(super) fn write(&self, directory: &Path) -> Result<(), BookError> {
        let publishers = self.publishers.iter().map(|(id, seen)| (hex::encode(id), *seen));
        let written = Written { publishers: publishers.collect(), counts: self.counts() };
        let bytes = serde_json::to_vec(&written).expect("sightings can be written as JSON");
        replace(&directory.join(FILE), &bytes)
    }

    /// What was seen of a publisher.
    #[must_use]
    pub fn of(&self, publisher: &PublisherId) -> Option<&Sighting> {
        self.publishers.get(publisher)
    }

    /// Every publisher that was seen.
    pub fn publishers(&self) -> impl Iterator<Item = (&PublisherId, &Sighting)> {
        self.publishers.iter()
    }

    /// All counters by name; refusals as `refused.REASON`.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let refused =
            self.refused.iter().map(|(why, count)| (format!("refused.{}", why.term()), *count));
        let others = [
            (FORGOTTEN, self.forgotten),
            (ACCEPTED, self.accepted),
            (PUBLISHED, self.published),
            (WITHHELD, self.withheld),
        ];
        let others = others.into_iter().map(|(name, count)| (name.to_owned(), count));
        others.chain(refused).collect()
    }

    pub(super) const fn published(&mut self) {
        self.published += 1;
    }

    pub(super) const fn withheld(&mut self) {
        self.withheld += 1;
    }

    /// A packet was taken that was not known.
    pub(super) fn accepted(
        &mut self,
        publisher: &PublisherId,
        at: Timestamp,
        keep: impl Fn(&PublisherId) -> bool,
    ) {
        self.accepted += 1;
        self.saw(publisher, at, keep).packets += 1;
    }

    /// A packet was refused; of one that does not verify nobody is the publisher.
    pub(super) fn refused(
        &mut self,
        why: Refusal,
        publisher: Option<&PublisherId>,
        at: Timestamp,
        keep: impl Fn(&PublisherId) -> bool,
    ) {
        *self.refused.entry(why).or_default() += 1;
        if let Some(publisher) = publisher {
            self.saw(publisher, at, keep).refused += 1;
        }
    }

    fn saw(
        &mut self,
        publisher: &PublisherId,
        at: Timestamp,
        keep: impl Fn(&PublisherId) -> bool,
    ) -> &mut Sighting {
        if self.publishers.len() >= PUBLISHERS_MAX && !self.publishers.contains_key(publisher) {
            self.make_room(keep);
        }
        let new = Sighting { first: at, ..Sighting::default() };
        let seen = self.publishers.entry(*publisher).or_insert(new);
        seen.last = seen.last.max(at);
        seen
    }

    fn make_room(&mut self, keep: impl Fn(&PublisherId) -> bool) {
        let before = self.publishers.len();
        let mut silent: Vec<(Timestamp, PublisherId)> = self
            .publishers
            .iter()
            .filter(|(id, _)| !keep(id))
            .map(|(id, seen)| (seen.last, *id))
            .collect();
        silent.sort_unstable();
        for (_, id) in silent.into_iter().take(PUBLISHERS_MAX / 8) {
            self.publishers.remove(&id);
        }
        if self.publishers.len() == before {
            // All are in the book; the book's own bound is larger than this one.
            self.publishers.pop_first();
        }
        self.forgotten += (before - self.publishers.len()) as u64;
    }
}

impl From<Written> for Sightings {
    fn from(written: Written) -> Self {
        let count = |name: &str| written.counts.get(name).copied().unwrap_or(0);
        let refused = Refusal::ALL.map(|why| (why, count(&format!("refused.{}", why.term()))));
        let publishers = written.publishers.iter();
        Self {
            publishers: publishers
                .filter_map(|(id, seen)| Some((publisher_id(id)?, *seen)))
                .take(PUBLISHERS_MAX)
                .collect(),
            forgotten: count(FORGOTTEN),
            accepted: count(ACCEPTED),
            published: count(PUBLISHED),
            withheld: count(WITHHELD),
            refused: refused.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> PublisherId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn what_was_counted_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut seen = Sightings::default();
        seen.accepted(&id(1), Timestamp(5), |_| false);
        seen.accepted(&id(1), Timestamp(9), |_| false);
        seen.refused(Refusal::Blocked, Some(&id(2)), Timestamp(7), |_| false);
        seen.refused(Refusal::Forged, None, Timestamp(8), |_| false);
        seen.published();
        seen.withheld();
        seen.write(directory.path()).unwrap();
        assert_eq!(Sightings::read(directory.path()), seen);
        let one = Sighting { first: Timestamp(5), last: Timestamp(9), packets: 2, refused: 0 };
        assert_eq!(seen.of(&id(1)), Some(&one));
        assert_eq!((seen.of(&id(2)).unwrap().refused, seen.publishers().count()), (1, 2));
        let counts = seen.counts();
        assert_eq!((counts["refused.blocked"], counts["refused.forged"]), (1, 1));
        assert_eq!((counts["accepted"], counts["published"], counts["withheld"]), (2, 1, 1));
        std::fs::write(directory.path().join(FILE), "{").unwrap();
        assert_eq!(Sightings::read(directory.path()), Sightings::default());
    }

    #[test]
    fn many_keys_push_out_the_silent_and_never_those_in_the_book() {
        let mut seen = Sightings::default();
        let known = |publisher: &PublisherId| *publisher == id(0);
        for number in 0..2 * PUBLISHERS_MAX {
            seen.accepted(&id(number), Timestamp(number as i64), known);
        }
        assert!(seen.publishers().count() <= PUBLISHERS_MAX);
        assert!(seen.of(&id(0)).is_some() && seen.of(&id(1)).is_none());
        assert!(seen.of(&id(2 * PUBLISHERS_MAX - 1)).is_some());
        let counted = seen.publishers().count() as u64 + seen.counts()[FORGOTTEN];
        assert_eq!(counted, 2 * PUBLISHERS_MAX as u64);
    }
}
