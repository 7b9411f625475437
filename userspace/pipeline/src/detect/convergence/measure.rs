//! What a convergence cost beside its duration: path exploration and blackholes.
//!
//! **Invariant:** one entry per prefix, or per prefix and speaker, and never more than the bound
//! that is handed in.

use crate::rib::Became;
use edgelore_model::{Prefix, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Announcements of each prefix by each speaker within an incident.
#[derive(Clone, Debug, Default)]
pub(super) struct Explored {
    heard: HashMap<(Prefix, IpAddr), Heard>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    announced: u32,
    stands: bool,
}

impl Explored {
    /// Takes what became of a prefix; false when it did not fit.
    pub(super) fn take(
        &mut self,
        prefix: Prefix,
        speaker: IpAddr,
        became: Became,
        entries_max: usize,
    ) -> bool {
        let key = (prefix, speaker);
        if self.heard.len() >= entries_max && !self.heard.contains_key(&key) {
            return false;
        }
        let heard = self.heard.entry(key).or_default();
        heard.stands = !became.lost();
        heard.announced = heard.announced.saturating_add(u32::from(heard.stands));
        true
    }

    /// Announcements that did not stand: of all prefixes together, and the most of one.
    pub(super) fn measured(&self) -> (u64, u32) {
        let mut by_prefix: HashMap<Prefix, u32> = HashMap::new();
        for ((prefix, _), heard) in &self.heard {
            let transient = heard.announced - u32::from(heard.stands && heard.announced > 0);
            let of_prefix = by_prefix.entry(*prefix).or_default();
            *of_prefix = of_prefix.saturating_add(transient);
        }
        let all = by_prefix.values().map(|&count| u64::from(count)).sum();
        (all, by_prefix.values().copied().max().unwrap_or(0))
    }

    pub(super) fn absorb(&mut self, other: Self) {
        for (key, heard) in other.heard {
            let own = self.heard.entry(key).or_default();
            own.announced = own.announced.saturating_add(heard.announced);
            own.stands |= heard.stands;
        }
    }
}

/// Prefixes without any route, and for how long.
#[derive(Clone, Debug, Default)]
pub(super) struct Blackholes {
    gone: BTreeMap<Prefix, Gone>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    since: Option<Timestamp>,
    /// Earlier stretches together, in ns.
    before: i64,
}

/// What [`Blackholes`] come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlackholesMeasured {
    pub(super) prefixes: u64,
    pub(super) ms_median: u64,
    pub(super) ms_max: u64,
}

impl Blackholes {
    /// The prefix has no route any more; false when it did not fit.
    pub(super) fn left(&mut self, prefix: Prefix, at: Timestamp, entries_max: usize) -> bool {
        if self.gone.len() >= entries_max && !self.gone.contains_key(&prefix) {
            return false;
        }
        self.gone.entry(prefix).or_default().since.get_or_insert(at);
        true
    }

    /// The prefix has a route again.
    pub(super) fn back(&mut self, prefix: Prefix, at: Timestamp) {
        if let Some(gone) = self.gone.get_mut(&prefix)
            && let Some(since) = gone.since.take()
        {
            gone.before = gone.before.saturating_add((at - since).0.max(0));
        }
    }

    /// Counts what had no route for a millisecond and longer. What has none yet counts until
    /// `until`.
    pub(super) fn measured(&self, until: Timestamp) -> BlackholesMeasured {
        let lasted = self.gone.values().map(|gone| {
            let still = gone.since.map_or(0, |since| (until - since).0.max(0));
            gone.before.saturating_add(still).unsigned_abs() / 1_000_000
        });
        let mut ms: Vec<u64> = lasted.filter(|&ms| ms > 0).collect();
        ms.sort_unstable();
        BlackholesMeasured {
            prefixes: ms.len() as u64,
            ms_median: ms.get(ms.len() / 2).copied().unwrap_or(0),
            ms_max: ms.last().copied().unwrap_or(0),
        }
    }

    pub(super) fn absorb(&mut self, other: Self) {
        for (prefix, gone) in other.gone {
            self.gone.entry(prefix).or_insert(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Span;

    fn prefix(n: u8) -> Prefix {
        Prefix::new(IpAddr::from([10, n, 0, 0]), 16).expect("a length in bounds")
    }

    fn ms(ms: i64) -> Timestamp {
        Timestamp(0) + Span::from_millis(ms)
    }

    #[test]
    fn the_announcement_that_stands_is_no_exploration() {
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut explored = Explored::default();
        for (n, speaker, became) in [
            // One that changed twice and stands, one that ended in a withdrawal.
            (1, a, Became::Changed),
            (1, a, Became::Changed),
            (1, a, Became::Changed),
            (1, b, Became::New),
            (1, b, Became::Withdrawn),
            (2, a, Became::Withdrawn),
            (3, a, Became::Returned),
        ] {
            assert!(explored.take(prefix(n), speaker, became, 4));
        }
        assert_eq!(explored.measured(), (3, 3));
        assert!(!explored.take(prefix(4), a, Became::New, 4));
    }

    #[test]
    fn stretches_without_a_route_add_up() {
        let mut holes = Blackholes::default();
        for (n, left, back) in [(1, 0, 10), (1, 20, 25), (2, 0, 100), (3, 5, 5), (4, 50, 0)] {
            holes.left(prefix(n), ms(left), 4);
            if back > 0 {
                holes.back(prefix(n), ms(back));
            }
        }
        assert!(!holes.left(prefix(5), ms(0), 4));
        let measured = holes.measured(ms(1_050));
        assert_eq!(measured, BlackholesMeasured { prefixes: 3, ms_median: 100, ms_max: 1_000 });
    }
}
