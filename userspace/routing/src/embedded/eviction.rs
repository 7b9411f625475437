//! Which packets make room when the store is full.
//!
//! What has expired goes first (the writer purges it anyway), then what its own publisher has
//! withdrawn, then the least useful packet of the publisher that holds most: so a publisher that
//! floods the store displaces itself. Of equal publishers the one that came last loses. Within a
//! publisher, a packet is the more useful
//!
//! 1. if it withdraws another one, which would count again without it;
//! 2. the better it is known: measured, observed, declared;
//! 3. the more incidents it rests on; 4. the longer it counts; 5. the earlier it came.
//!
//! New packets are judged with those that are there: one that would be the first to go is refused.
//! Keys are free, so whoever makes enough of them gets a share for each; whom to believe is decided
//! where outcomes are ranked, not here.
//!
//! Owns a few words per packet, and decides. Never removes anything itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use edgelore_model::Known;

use super::disk::Record;

/// How useful a packet is, most significant first: withdraws (1 bit), known (2), sample size (32),
/// expiry in minutes since 1970 (29).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worth(u64);

impl Worth {
    pub(super) fn of(record: &Record) -> Self {
        let known = match record.known {
            Known::Declared => 0,
            Known::Observed => 1,
            Known::Measured => 2,
        };
        let minutes = (record.expires.secs() / 60).clamp(0, (1 << 29) - 1).unsigned_abs();
        let withdraws = u64::from(!record.withdraws.is_empty());
        Self(withdraws << 63 | known << 61 | u64::from(record.sample_size) << 29 | minutes)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    worth: Worth,
    /// The number of its publisher.
    publisher: u32,
}

#[derive(Debug)]
struct Publisher {
    key: [u8; 32],
    held: u32,
    /// The sequence number of its first packet.
    since: u64,
}

/// The packets of a store, ready to be judged.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    entries: BTreeMap<u64, Entry>,
    withdrawn: BTreeSet<u64>,
    numbers: HashMap<[u8; 32], u32>,
    publishers: Vec<Publisher>,
    /// Numbers of publishers that hold nothing any more.
    free: Vec<u32>,
}

/// Who has to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Victims {
    /// Of those that are there, by sequence number.
    pub(super) evicted: Vec<u64>,
    /// Of the new ones, by their place.
    pub(super) refused: HashSet<usize>,
}

impl Ranking {
    pub(super) fn insert(&mut self, sequence: u64, record: &Record) {
        let publisher = self.number(record.publisher, sequence);
        self.publishers[publisher as usize].held += 1;
        self.entries.insert(sequence, Entry { worth: Worth::of(record), publisher });
    }

    /// The packet was withdrawn by a publisher; what others say of it does not count.
    pub(super) fn withdraw(&mut self, sequence: u64, publisher: &[u8; 32]) {
        let number = self.numbers.get(publisher);
        if self.entries.get(&sequence).is_some_and(|entry| number == Some(&entry.publisher)) {
            self.withdrawn.insert(sequence);
        }
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        let Some(entry) = self.entries.remove(&sequence) else { return };
        self.withdrawn.remove(&sequence);
        let publisher = &mut self.publishers[entry.publisher as usize];
        publisher.held -= 1;
        if publisher.held == 0 {
            self.numbers.remove(&publisher.key);
            self.free.push(entry.publisher);
        }
    }

    fn number(&mut self, key: [u8; 32], since: u64) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let publisher = Publisher { key, held: 0, since };
        let number = match self.free.pop() {
            Some(number) => {
                self.publishers[number as usize] = publisher;
                number
            }
            None => {
                self.publishers.push(publisher);
                u32::try_from(self.publishers.len() - 1).expect("fewer publishers than packets")
            }
        };
        self.numbers.insert(key, number);
        number
    }

    /// Chooses `count` among what is there, without `leaving`, and the `new` packets.
    pub(super) fn victims(
        &self,
        count: usize,
        leaving: &[u64],
        new: &[([u8; 32], Worth)],
    ) -> Victims {
        let mut gone: HashSet<u64> = leaving.iter().copied().collect();
        let mut victims = Victims::default();
        let withdrawn = self.withdrawn.iter().filter(|sequence| !gone.contains(sequence));
        victims.evicted = withdrawn.take(count).copied().collect();
        gone.extend(&victims.evicted);
        let mut pool = Pool::new(self, &gone, new);
        pool.share(count - victims.evicted.len());
        for (sequence, entry) in &self.entries {
            if !gone.contains(sequence) {
                pool.judge(entry.publisher as usize, entry.worth, Candidate::Held(*sequence));
            }
        }
        for (place, (key, worth)) in new.iter().enumerate() {
            pool.judge(pool.numbers[key], *worth, Candidate::New(place));
        }
        for (_, Reverse(candidate)) in pool.losing.into_values().flatten() {
            match candidate {
                Candidate::Held(sequence) => victims.evicted.push(sequence),
                Candidate::New(place) => {
                    victims.refused.insert(place);
                }
            }
        }
        victims
    }
}

/// A packet that may have to go, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Candidate {
    Held(u64),
    New(usize),
}

/// The least useful packets of one publisher; the most useful of them on top.
type Losing = BinaryHeap<(Worth, Reverse<Candidate>)>;

/// Who loses how many.
struct Pool {
    /// Packets of each publisher, and since when it is there.
    held: Vec<(u32, u64)>,
    /// Publishers of new packets.
    numbers: HashMap<[u8; 32], usize>,
    /// How many each publisher loses.
    quota: HashMap<usize, usize>,
    losing: HashMap<usize, Losing>,
}

impl Pool {
    fn new(ranking: &Ranking, gone: &HashSet<u64>, new: &[([u8; 32], Worth)]) -> Self {
        let publishers = ranking.publishers.iter();
        let mut held: Vec<_> = publishers.map(|one| (one.held, one.since)).collect();
        for sequence in gone {
            if let Some(entry) = ranking.entries.get(sequence) {
                held[entry.publisher as usize].0 -= 1;
            }
        }
        let mut numbers = HashMap::new();
        for (key, _) in new {
            let known = ranking.numbers.get(key).map(|number| *number as usize);
            let number = *numbers.entry(*key).or_insert_with(|| known.unwrap_or(held.len()));
            if number == held.len() {
                held.push((0, u64::MAX));
            }
            held[number].0 += 1;
        }
        Self { held, numbers, quota: HashMap::new(), losing: HashMap::new() }
    }

    /// Takes `count` packets, one after the other, from whoever holds most then.
    fn share(&mut self, count: usize) {
        let all = self.held.iter().enumerate();
        let mut most: BinaryHeap<(u32, u64, usize)> =
            all.map(|(number, (held, since))| (*held, *since, number)).collect();
        for _ in 0..count {
            let Some((held, since, number)) = most.pop().filter(|(held, ..)| *held > 0) else {
                return;
            };
            *self.quota.entry(number).or_default() += 1;
            most.push((held - 1, since, number));
        }
    }

    /// Keeps the packet among those that go, if its publisher has no less useful ones.
    fn judge(&mut self, publisher: usize, worth: Worth, candidate: Candidate) {
        let Some(quota) = self.quota.get(&publisher) else { return };
        let losing = self.losing.entry(publisher).or_default();
        let judged = (worth, Reverse(candidate));
        if losing.len() < *quota {
            losing.push(judged);
        } else if losing.peek().is_some_and(|most_useful| judged < *most_useful) {
            losing.pop();
            losing.push(judged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::{Situation, Timestamp};

    fn record(publisher: u8, known: Known, sample_size: u32) -> Record {
        let situation = Situation {
            topology_class: String::new(),
            protocol: String::new(),
            event_type: String::new(),
            severity: 0,
            affected_prefixes: 0,
            node_count: 0,
        };
        Record {
            id: [0; 32],
            publisher: [publisher; 32],
            space: [0; 8],
            situation,
            pattern: String::new(),
            known,
            sample_size,
            expires: Timestamp::from_secs_nanos(1_800_000_000, 0),
            withdraws: Vec::new(),
        }
    }

    fn new(publisher: u8, known: Known, sample_size: u32) -> ([u8; 32], Worth) {
        ([publisher; 32], Worth::of(&record(publisher, known, sample_size)))
    }

    fn ranking(records: &[Record]) -> Ranking {
        let mut ranking = Ranking::default();
        for (sequence, record) in (1..).zip(records) {
            ranking.insert(sequence, record);
        }
        ranking
    }

    fn evicted(ranking: &Ranking, count: usize, new: &[([u8; 32], Worth)]) -> Vec<u64> {
        let mut victims = ranking.victims(count, &[], new);
        assert_eq!(victims.evicted.len() + victims.refused.len(), count, "{victims:?}");
        victims.evicted.sort_unstable();
        victims.evicted
    }

    #[test]
    fn usefulness_is_withdrawing_then_known_then_evidence_then_time() {
        let order = [
            record(1, Known::Declared, 9),
            record(1, Known::Observed, 3),
            record(1, Known::Measured, 1),
            record(1, Known::Measured, u32::MAX),
            Record { withdraws: vec![[1; 32]], ..record(1, Known::Declared, 0) },
        ];
        assert!(order.is_sorted_by(|a, b| Worth::of(a) < Worth::of(b)));
        let later =
            Record { expires: Timestamp::from_secs_nanos(1_900_000_000, 0), ..order[0].clone() };
        assert!(Worth::of(&later) > Worth::of(&order[0]));
    }

    #[test]
    fn a_flood_displaces_itself() {
        let mut records = vec![record(1, Known::Declared, 1), record(2, Known::Declared, 1)];
        records.extend((0..8).map(|n| record(3, Known::Measured, 100 + n)));
        let ranking = ranking(&records);
        // A quiet publisher's packet takes the place of the flood's least useful one.
        assert_eq!(evicted(&ranking, 1, &[new(2, Known::Declared, 1)]), [3]);
        // The flood's next packet is worth more than its first, or less than all of them.
        assert_eq!(evicted(&ranking, 1, &[new(3, Known::Measured, 999)]), [3]);
        assert!(evicted(&ranking, 1, &[new(3, Known::Measured, 1)]).is_empty());
        // Equally useful ones stay when they came first.
        assert!(evicted(&ranking, 1, &[new(3, Known::Measured, 100)]).is_empty());
    }

    #[test]
    fn what_was_withdrawn_goes_first_and_only_by_its_publisher() {
        let mut ranking = ranking(&[record(1, Known::Measured, 9), record(1, Known::Declared, 1)]);
        ranking.withdraw(1, &[2; 32]);
        assert_eq!(evicted(&ranking, 1, &[]), [2]);
        ranking.withdraw(1, &[1; 32]);
        assert_eq!(evicted(&ranking, 1, &[]), [1]);
        assert_eq!(evicted(&ranking, 2, &[]), [1, 2]);
    }

    #[test]
    fn of_equal_publishers_the_last_one_loses() {
        let ranking = ranking(&[record(1, Known::Declared, 1), record(2, Known::Declared, 1)]);
        assert!(evicted(&ranking, 1, &[new(3, Known::Measured, 9)]).is_empty());
        assert_eq!(evicted(&ranking, 1, &[]), [2]);
    }

    #[test]
    fn removed_packets_are_forgotten_and_leaving_ones_not_chosen() {
        let mut ranking = ranking(&[
            record(1, Known::Declared, 1),
            record(1, Known::Declared, 2),
            record(1, Known::Declared, 3),
        ]);
        assert_eq!(ranking.victims(1, &[1], &[]).evicted, [2]);
        for sequence in [1, 2, 3, 3] {
            ranking.remove(sequence);
        }
        assert!(ranking.entries.is_empty() && ranking.numbers.is_empty());
        ranking.insert(4, &record(2, Known::Declared, 1));
        assert_eq!((ranking.publishers.len(), ranking.publishers[0].since), (1, 4));
    }
}
