//! What may leave the gateway, and in which form.
//!
//! Owns rounding and the fields that are scrubbed: the four terms and every step. Never decides
//! whether an outcome leaves.
//!
//! **Invariant:** what is prepared once stays as it is when it is prepared again.

use super::scrub::{Removed, Scrubber};
use edgelore_model::{Outcome, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How exactly the counts of prefixes and routers leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// As they are.
    Exact,
    /// With two significant digits.
    #[default]
    Rounded,
    /// Prefixes by decades, routers by doublings.
    Bucketed,
}

impl Counts {
    /// A count of prefixes as it leaves.
    #[must_use]
    pub fn prefixes(self, count: u64) -> u64 {
        match self {
            Self::Exact => count,
            Self::Rounded => round_two(count),
            Self::Bucketed => decade(count),
        }
    }

    /// A count of routers as it leaves.
    #[must_use]
    pub fn nodes(self, count: u64) -> u64 {
        match self {
            Self::Exact => count,
            Self::Rounded => round_two(count),
            Self::Bucketed => doubling(count),
        }
    }
}

/// What may leave the gateway, and in which form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// How exactly counts leave.
    pub counts: Counts,
    /// What is taken out of text.
    pub scrubber: Scrubber,
    /// Publishers that must share what is published ([`super::anonymity`]); below 2 there is no such
    /// condition. Whoever publishes sees to it, not the packet.
    pub k_anonymity: u32,
}

/// What was changed of an outcome before it left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Changed {
    /// Something was taken out of a text.
    Scrubbed {
        /// The field, `step 1` and so on for the steps.
        field: String,
        /// What, and why.
        #[serde(flatten)]
        removed: Removed,
    },
    /// A number was made coarser.
    Rounded {
        /// The field.
        field: String,
        /// As it was.
        from: u64,
        /// As it leaves.
        to: u64,
    },
}

impl Privacy {
    /// With nothing known of the network.
    #[must_use]
    pub fn with(counts: Counts) -> Self {
        Self { counts, ..Self::default() }
    }

    /// The outcome in the form in which it may leave.
    #[must_use]
    pub fn prepare(&self, outcome: &Outcome) -> Outcome {
        let mut outcome = outcome.clone();
        for text in texts(&mut outcome) {
            if let Cow::Owned(scrubbed) = self.scrubber.scrub(text) {
                *text = scrubbed;
            }
        }
        self.coarsen(&mut outcome);
        outcome
    }

    /// As [`Privacy::prepare`], with everything that was changed.
    #[must_use]
    pub fn explain(&self, outcome: &Outcome) -> (Outcome, Vec<Changed>) {
        let (mut outcome, mut changed) = (outcome.clone(), Vec::new());
        for (at, text) in texts(&mut outcome).enumerate() {
            let field = field(at);
            let (scrubbed, removed) = self.scrubber.explain(text);
            let scrubs = removed.into_iter();
            changed
                .extend(scrubs.map(|removed| Changed::Scrubbed { field: field.clone(), removed }));
            *text = scrubbed;
        }
        let before = outcome.situation.clone();
        self.coarsen(&mut outcome);
        let after = &outcome.situation;
        for (field, from, to) in [
            ("affected_prefixes", before.affected_prefixes, after.affected_prefixes),
            ("node_count", before.node_count, after.node_count),
        ] {
            if from != to {
                changed.push(Changed::Rounded { field: field.to_owned(), from, to });
            }
        }
        (outcome, changed)
    }

    fn coarsen(&self, outcome: &mut Outcome) {
        let situation = &mut outcome.situation;
        situation.affected_prefixes = self.counts.prefixes(situation.affected_prefixes);
        situation.node_count = self.counts.nodes(situation.node_count);
        outcome.created = whole_seconds(outcome.created);
        outcome.expires = whole_seconds(outcome.expires);
    }
}

/// The names of the texts that are no steps, in the order of [`texts`].
const TERMS: [&str; 4] = ["topology_class", "protocol", "event_type", "pattern"];

fn field(at: usize) -> String {
    TERMS.get(at).map_or_else(|| format!("step {}", at + 1 - TERMS.len()), |&term| term.to_owned())
}

/// Every text of an outcome.
fn texts(outcome: &mut Outcome) -> impl Iterator<Item = &mut String> {
    let situation = &mut outcome.situation;
    let resolution = &mut outcome.resolution;
    let terms = [
        &mut situation.topology_class,
        &mut situation.protocol,
        &mut situation.event_type,
        &mut resolution.pattern,
    ];
    terms.into_iter().chain(&mut resolution.steps)
}

const fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_secs_nanos(at.secs(), 0)
}

/// Rounds to two significant digits, half up.
#[must_use]
pub fn round_two(value: u64) -> u64 {
    let mut unit = 1;
    while value / unit >= 100 {
        unit *= 10;
    }
    let (whole, rest) = (value / unit, value % unit);
    let up = u64::from(rest >= unit - rest);
    (whole + up).saturating_mul(unit)
}

/// The middle of the decade of `value + 1`, 3 · 10^k: 1 to 8 become 3, 9 to 98 become 30. These are
/// the buckets of exact cells.
#[must_use]
pub(super) fn decade(value: u64) -> u64 {
    if value == 0 {
        return 0;
    }
    let unit = 10_u64.pow(value.saturating_add(1).ilog10());
    unit.checked_mul(3).unwrap_or(unit)
}

/// The lower end of the doubling of `value + 1`, 2^k: 1 and 2 become 2, 3 to 6 become 4.
#[must_use]
pub(super) fn doubling(value: u64) -> u64 {
    if value == 0 { 0 } else { 1 << value.saturating_add(1).ilog2() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_decades_and_doublings() {
        for (value, prefixes, nodes) in [
            (0, 0, 0),
            (1, 3, 2),
            (8, 3, 8),
            (9, 30, 8),
            (98, 30, 64),
            (99, 300, 64),
            (8_200, 3_000, 8_192),
            (u64::MAX, 10_000_000_000_000_000_000, 1 << 63),
        ] {
            assert_eq!(Counts::Bucketed.prefixes(value), prefixes, "{value} prefixes");
            assert_eq!(Counts::Bucketed.nodes(value), nodes, "{value} nodes");
        }
        assert_eq!(Counts::Exact.prefixes(8_249), 8_249);
        assert_eq!(Counts::Rounded.nodes(8_249), 8_200);
    }

    proptest! {
        #[test]
        fn what_is_coarse_stays_and_order_is_kept(a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            for counts in [Counts::Exact, Counts::Rounded, Counts::Bucketed] {
                for form in [Counts::prefixes, Counts::nodes] {
                    let (low, high) = (form(counts, low), form(counts, high));
                    prop_assert!(low <= high);
                    prop_assert_eq!(form(counts, low), low);
                }
            }
        }
    }
}
