//! The link-state database: which instance of each advertisement is the latest, and whether a new
//! one says anything else (RFC 2328 §13, ISO 10589 §7.3.15 and §7.3.16).
//!
//! What an advertisement says is not kept, only a digest of it: whoever needs the content keeps it
//! ([`crate::topology`]). What was flushed stays for a while, so that a copy of it, or of an older
//! instance, arriving over another link is not taken for news.
//!
//! **Invariant:** holds at most as many advertisements as it was told; when full, one that was not
//! seen lately is forgotten, and counted.

use crate::decode::table::Table;
use edgelore_model::{IgpArea, IgpProtocol, LinkStateAction, Timestamp};
use std::cmp::Ordering;

/// Instances whose ages differ by more are different (RFC 2328 §B, MaxAgeDiff), in seconds.
const MAX_AGE_DIFF_S: u64 = 900;
/// OSPF's first sequence number (RFC 2328 §12.1.6).
const INITIAL_SEQUENCE: u32 = 0x8000_0001;
/// How long a router retransmits what it flooded (RFC 2328 §C.3, RxmtInterval), in seconds: so
/// long older instances may still arrive after a flush.
const RETRANSMIT_S: u64 = 5;
/// How long IS-IS keeps the header of what was purged (ISO 10589 §7.3.16.4, ZeroAgeLifetime).
const ZERO_AGE_LIFETIME_S: u64 = 60;

/// What names an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) area: IgpArea,
    /// The link of what is flooded on one link alone, otherwise 0.
    pub(super) link: u32,
    pub(super) system: [u8; 6],
    pub(super) id: (u16, u32),
}

/// What tells instances of an advertisement apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) sequence: u32,
    pub(super) checksum: u16,
    /// OSPF's age in seconds; IS-IS compares no ages.
    pub(super) age_s: u16,
    /// The age grows while it lies in the database.
    pub(super) ages: bool,
    /// MaxAge, or no lifetime left.
    pub(super) flushed: bool,
}

struct Held {
    instance: Instance,
    at: Timestamp,
    digest: u64,
}

impl Held {
    /// Whole seconds since it was seen.
    fn elapsed_s(&self, now: Timestamp) -> u64 {
        u64::try_from((now - self.at).0 / 1_000_000_000).unwrap_or(0)
    }

    /// The age it has by now.
    fn age_s(&self, now: Timestamp) -> u64 {
        let grown = if self.instance.ages { self.elapsed_s(now) } else { 0 };
        u64::from(self.instance.age_s) + grown
    }
}

pub(super) struct Lsdb {
    held: Table<Key, Held>,
}

impl Lsdb {
    pub(super) fn new(max: usize) -> Self {
        Self { held: Table::new(max) }
    }

    /// Advertisements forgotten because there were too many.
    pub(super) const fn evicted(&self) -> u64 {
        self.held.evicted()
    }

    /// Takes an instance in; tells what it means if it is newer than the one held.
    pub(super) fn offer(
        &mut self,
        key: Key,
        instance: Instance,
        digest: u64,
        now: Timestamp,
    ) -> Option<LinkStateAction> {
        let held = Held { instance, at: now, digest };
        let Some(place) = self.held.find(&key) else {
            self.held.insert(key, held);
            return Some(match instance.flushed {
                true => LinkStateAction::Flushed,
                false => LinkStateAction::New,
            });
        };
        let known = self.held.at(place);
        let ospf = matches!(key.area.protocol, IgpProtocol::OspfV2 | IgpProtocol::OspfV3);
        let newer = if ospf {
            compare_ospf(&instance, known, now).is_gt() || follows_flush(&instance, known, now)
        } else {
            compare_isis(&instance, known).is_gt() || outlived(&instance, known, now)
        };
        if !newer {
            return None;
        }
        let action = match (known.instance.flushed, instance.flushed) {
            (_, true) => LinkStateAction::Flushed,
            (true, false) => LinkStateAction::New,
            (false, false) if known.digest == digest => LinkStateAction::Refreshed,
            (false, false) => LinkStateAction::Changed,
        };
        *known = held;
        Some(action)
    }
}

/// RFC 2328 §13.1: which instance is newer.
fn compare_ospf(new: &Instance, known: &Held, now: Timestamp) -> Ordering {
    let old = &known.instance;
    let (age, old_age) = (u64::from(new.age_s), known.age_s(now));
    (new.sequence as i32)
        .cmp(&(old.sequence as i32))
        .then(new.checksum.cmp(&old.checksum))
        .then(new.flushed.cmp(&old.flushed))
        .then(match age.abs_diff(old_age) {
            // The ages of what is being flushed are both MaxAge.
            0..=MAX_AGE_DIFF_S => Ordering::Equal,
            _ if old.flushed => Ordering::Equal,
            _ => old_age.cmp(&age),
        })
}

/// After a flush an originator may begin anew, with the first number or, once the flush has been
/// acknowledged everywhere, with any.
fn follows_flush(new: &Instance, known: &Held, now: Timestamp) -> bool {
    known.instance.flushed
        && !new.flushed
        && (new.sequence == INITIAL_SEQUENCE || known.elapsed_s(now) >= RETRANSMIT_S)
}

/// ISO 10589 §7.3.16: the higher sequence number; of the same, the one that is being purged. Of
/// the same with different checksums (§7.3.16.2) the one seen last is what is told.
fn compare_isis(new: &Instance, known: &Held) -> Ordering {
    let old = &known.instance;
    let confused = !new.flushed && !old.flushed && new.checksum != old.checksum;
    new.sequence.cmp(&old.sequence).then(new.flushed.cmp(&old.flushed)).then(match confused {
        true => Ordering::Greater,
        false => Ordering::Equal,
    })
}

/// A purge is forgotten after a while; whoever lost its memory may begin at 1 then.
fn outlived(new: &Instance, known: &Held, now: Timestamp) -> bool {
    known.instance.flushed && !new.flushed && known.elapsed_s(now) >= ZERO_AGE_LIFETIME_S
}

/// A digest of content, FNV-1a in 64 bits: equal content, equal digest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) const NONE: Self = Self(0xcbf2_9ce4_8422_2325);

    /// The digest of what came before and these octets.
    pub(super) fn and(self, octets: &[u8]) -> Self {
        let step =
            |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(octets.iter().fold(self.0, step))
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LinkStateAction::{Changed, Flushed, New, Refreshed};

    const KEY: Key = Key {
        area: IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 },
        link: 0,
        system: [0, 0, 10, 0, 0, 1],
        id: (1, 0x0a00_0001),
    };
    const LSP: Key = Key {
        area: IgpArea { protocol: IgpProtocol::IsisLevel2, instance: 0, area: 0 },
        id: (0, 0),
        ..KEY
    };

    fn lsa(number: u32, checksum: u16, age_s: u16) -> Instance {
        let sequence = 0x8000_0000u32.wrapping_add(number);
        Instance { sequence, checksum, age_s, ages: true, flushed: age_s == 3600 }
    }

    fn lsp(sequence: u32, checksum: u16, flushed: bool) -> Instance {
        Instance { sequence, checksum, age_s: 0, ages: true, flushed }
    }

    /// Offers instances at seconds, with what each says, and expects what each means.
    fn expect(key: Key, offers: &[(i64, Instance, u64, Option<LinkStateAction>)]) {
        let mut lsdb = Lsdb::new(4);
        for (index, &(second, instance, digest, expected)) in offers.iter().enumerate() {
            let now = Timestamp::from_secs_nanos(second, 0);
            assert_eq!(lsdb.offer(key, instance, digest, now), expected, "offer {index}");
        }
    }

    #[test]
    fn the_newer_instance_counts() {
        expect(
            KEY,
            &[
                (0, lsa(1, 5, 1), 7, Some(New)),
                (1, lsa(1, 5, 2), 7, None),
                (2, lsa(2, 5, 1), 7, Some(Refreshed)),
                (3, lsa(1, 5, 3), 8, None),
                (4, lsa(3, 5, 1), 8, Some(Changed)),
                (5, lsa(3, 4, 1), 9, None),
                (6, lsa(3, 6, 1), 9, Some(Changed)),
            ],
        );
    }

    #[test]
    fn sequence_numbers_are_signed() {
        expect(
            KEY,
            &[
                (0, lsa(0x7fff_ffff, 5, 1), 7, Some(New)),
                (1, lsa(0x8000_0001, 5, 1), 8, Some(Changed)),
                (2, lsa(0x7fff_ffff, 9, 1), 7, None),
            ],
        );
    }

    #[test]
    fn of_equal_numbers_the_much_younger_counts() {
        expect(
            KEY,
            &[
                (0, lsa(1, 5, 100), 7, Some(New)),
                (800, lsa(1, 5, 10), 7, None),
                (1_700, lsa(1, 5, 1_000), 7, None),
                (1_701, lsa(1, 5, 100), 7, Some(Refreshed)),
                (1_702, lsa(1, 5, 1_500), 7, None),
            ],
        );
    }

    #[test]
    fn a_flush_is_told_once_and_leaves_the_way_free() {
        expect(
            KEY,
            &[
                (0, lsa(5, 5, 1), 7, Some(New)),
                (10, lsa(5, 5, 3600), 7, Some(Flushed)),
                (11, lsa(5, 5, 3600), 7, None),
                (12, lsa(4, 5, 20), 7, None),
                (13, lsa(1, 5, 1), 7, Some(New)),
                (14, lsa(1, 5, 3600), 7, Some(Flushed)),
                (2_000, lsa(1, 5, 3600), 7, None),
                (2_001, lsa(1, 5, 1), 7, Some(New)),
            ],
        );
        expect(KEY, &[(0, lsa(5, 5, 3600), 7, Some(Flushed)), (20, lsa(4, 5, 9), 7, Some(New))]);
    }

    #[test]
    fn what_does_not_age_is_compared_without() {
        let fixed = Instance { ages: false, ..lsa(1, 5, 10) };
        expect(KEY, &[(0, fixed, 7, Some(New)), (5_000, fixed, 7, None)]);
    }

    #[test]
    fn purges_of_is_is_count_among_equals() {
        expect(
            LSP,
            &[
                (0, lsp(8, 5, false), 7, Some(New)),
                (1, lsp(7, 5, true), 0, None),
                (2, lsp(8, 5, true), 0, Some(Flushed)),
                (3, lsp(8, 0, true), 0, None),
                (4, lsp(8, 5, false), 7, None),
                (5, lsp(9, 6, false), 7, Some(New)),
                (6, lsp(10, 7, false), 7, Some(Refreshed)),
                (7, lsp(10, 8, false), 8, Some(Changed)),
                (8, lsp(10, 8, true), 0, Some(Flushed)),
                (30, lsp(1, 5, false), 7, None),
                (90, lsp(1, 5, false), 7, Some(New)),
            ],
        );
    }

    #[test]
    fn a_full_database_forgets_and_counts() {
        let mut lsdb = Lsdb::new(2);
        for system in 0..5 {
            let key = Key { system: [system; 6], ..KEY };
            lsdb.offer(key, lsa(1, 1, 1), 0, Timestamp(0));
        }
        assert_eq!(lsdb.evicted(), 3);
    }
}
