//! k-anonymity of what is published: an outcome leaves only in a form that k publishers share.
//!
//! A *form* has nothing finer than its cell: topology class, protocol, event type, the doubling of
//! the severity, the decade of the prefixes, the doubling of the number of routers. The forms of an
//! outcome go from the finest to the coarsest: all of it; without the number of routers; with the
//! topology class of the next higher branch of the taxonomy, up to its family. Whoever publishes
//! takes the first form whose cell holds outcomes of k publishers, itself included, and keeps the
//! outcome back when there is none.
//!
//! In a form severities are those of their doubling; the severity after keeps its ratio to the one
//! before, in sixteenths, so that what helped still helped. The sample is a power of two, the times
//! are whole days, the method is left out, and so are steps in the operator's own words.
//!
//! **What it does not give.** The signing key is a pseudonym: the cells of all packets of one key
//! together may be one network's alone. Steps that were read off the wire or by rules keep their
//! numbers. Parents name packets that others published. Keys are free, so a store's k publishers may
//! be one: this is a measure of how common a situation is among those who publish, not a proof.
//!
//! **Invariant:** two outcomes whose situations fall into one cell leave with equal situations.

use super::Opened;
use super::privacy::{decade, doubling};
use crate::fingerprint::Space;
use edgelore_model::{Known, Outcome, Query, Situation, Timestamp};
use std::collections::BTreeSet;

/// The largest k that is taken.
pub const PUBLISHERS_MAX: u32 = 100;
/// Milli-units around a form's situation that hold its whole cell in the shipped definition.
pub const RADIUS: u32 = 2_500;
const DAY_SECS: i64 = 86_400;

/// How coarse a form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The number of routers is left out.
    nodes_dropped: bool,
    /// Steps of the taxonomy that the topology class keeps; `None` keeps all.
    depth: Option<usize>,
}

/// An outcome in a form that may be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The outcome as it would leave.
    pub outcome: Outcome,
    /// How coarse it is.
    pub level: Level,
}

/// The forms of an outcome, the finest first.
#[must_use]
pub fn forms(outcome: &Outcome, space: &Space) -> Vec<Form> {
    let depth = space.topology_depth(&outcome.situation.topology_class);
    let lifted = (1..depth).rev().map(|depth| (true, Some(depth)));
    let levels = [(false, None), (true, None)].into_iter().chain(lifted);
    let form = |(nodes_dropped, depth)| {
        let level = Level { nodes_dropped, depth };
        Form { outcome: generalised(outcome, level, space), level }
    };
    levels.map(form).collect()
}

impl Form {
    /// What to ask a store for: everything that may lie in this form's cell.
    #[must_use]
    pub fn query(&self) -> Query {
        let mut query = Query::from(&self.outcome.situation);
        query.node_count = None;
        if self.level.depth.is_some() {
            query.topology_class = None;
        }
        query
    }

    /// The publishers among `found` that have an outcome in this form's cell.
    #[must_use]
    pub fn shared_by<'f>(
        &self,
        found: impl Iterator<Item = &'f Opened>,
        space: &Space,
    ) -> BTreeSet<[u8; 32]> {
        let inside = found.filter(|opened| {
            let there = situation(&opened.outcome.situation, self.level, space);
            there == self.outcome.situation && opened.outcome.revokes.is_none()
        });
        inside.map(|opened| opened.publisher).collect()
    }

    /// The cell, for people.
    #[must_use]
    pub fn cell(&self) -> String {
        let situation = &self.outcome.situation;
        let nodes = match situation.node_count {
            0 => "any number of routers".to_owned(),
            count => format!("about {count} routers"),
        };
        format!(
            "{}/{}/{}, severity about {}, about {} prefixes, {nodes}",
            situation.topology_class,
            situation.protocol,
            situation.event_type,
            situation.severity,
            situation.affected_prefixes,
        )
    }
}

fn situation(of: &Situation, level: Level, space: &Space) -> Situation {
    let class = &of.topology_class;
    Situation {
        topology_class: level
            .depth
            .map_or(class.as_str(), |depth| space.topology_at(class, depth))
            .to_owned(),
        protocol: of.protocol.clone(),
        event_type: of.event_type.clone(),
        severity: doubling(of.severity),
        affected_prefixes: decade(of.affected_prefixes),
        node_count: if level.nodes_dropped { 0 } else { doubling(of.node_count) },
    }
}

fn generalised(of: &Outcome, level: Level, space: &Space) -> Outcome {
    let mut outcome = of.clone();
    outcome.situation = situation(&of.situation, level, space);
    outcome.before = of.before.map(doubling);
    outcome.after = match (of.before, of.after) {
        (Some(before), Some(after)) => Some(in_sixteenths(before, after)),
        (None, after) => after.map(doubling),
        (Some(_), None) => None,
    };
    outcome.convergence_delta_ms = match (outcome.before, outcome.after) {
        (Some(before), Some(after)) => {
            let (before, after) = (i128::from(before), i128::from(after));
            i64::try_from(before - after).unwrap_or(of.convergence_delta_ms)
        }
        _ => {
            let size = doubling(of.convergence_delta_ms.unsigned_abs()) / 2;
            i64::try_from(size).unwrap_or(i64::MAX) * of.convergence_delta_ms.signum()
        }
    };
    outcome.sample_size = of.sample_size.checked_ilog2().map_or(0, |log| 1 << log);
    outcome.created = day(of.created);
    outcome.expires = day(of.expires).max(outcome.created);
    outcome.method = [0; 8];
    if of.resolution.known == Known::Declared {
        outcome.resolution.steps.clear();
    }
    outcome
}

/// The severity after, beside the doubling of the one before.
fn in_sixteenths(before: u64, after: u64) -> u64 {
    let coarse = u128::from(doubling(before));
    let (before, after) = (u128::from(before), u128::from(after));
    if before == 0 || after > 2 * before {
        return doubling(after as u64);
    }
    let nearest = (after * 16 + before / 2) / before;
    let value = match after.cmp(&before) {
        std::cmp::Ordering::Less => coarse * nearest.min(15) / 16,
        std::cmp::Ordering::Equal => coarse,
        std::cmp::Ordering::Greater => (coarse * nearest.max(17)).div_ceil(16),
    };
    // A bound of the event type that `after` keeps is kept.
    u64::try_from(value.min(after.max(coarse + 1))).unwrap_or(u64::MAX)
}

const fn day(at: Timestamp) -> Timestamp {
    Timestamp::from_secs_nanos(at.secs().div_euclid(DAY_SECS) * DAY_SECS, 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, singapore};
    use super::super::{SigningKey, open, seal};
    use super::*;
    use proptest::prelude::*;

    fn space() -> Space {
        Space::default_definition()
    }

    fn published(seed: u8, change: impl FnOnce(&mut Situation)) -> Opened {
        let mut outcome = singapore();
        change(&mut outcome.situation);
        let key = SigningKey::from_seed(&mut [seed; 32]);
        open(&seal(&outcome, &key, &space()).unwrap().bytes).unwrap()
    }

    #[test]
    fn forms_go_from_the_finest_to_the_family() {
        let forms = forms(&singapore(), &space());
        let seen: Vec<(&str, u64)> = forms
            .iter()
            .map(|form| &form.outcome.situation)
            .map(|situation| (situation.topology_class.as_str(), situation.node_count))
            .collect();
        assert_eq!(seen, [("spine_leaf", 64), ("spine_leaf", 0), ("fabric", 0)]);
        let first = &forms[0].outcome;
        let situation = &first.situation;
        assert_eq!((situation.severity, situation.affected_prefixes), (262_144, 3_000));
        // 18 of 358 seconds are one sixteenth.
        assert_eq!((first.before, first.after), (Some(262_144), Some(16_384)));
        assert_eq!(first.convergence_delta_ms, 245_760);
        assert_eq!((first.sample_size, first.method), (2, [0; 8]));
        assert_eq!(first.created.secs() % DAY_SECS, 0);
        assert_eq!(first.resolution.steps, singapore().resolution.steps);
        let mut unknown = singapore();
        unknown.situation.topology_class = "moebius".into();
        assert_eq!(super::forms(&unknown, &space()).len(), 2);
    }

    #[test]
    fn the_operators_own_words_stay() {
        let mut outcome = singapore();
        outcome.resolution.known = Known::Declared;
        assert!(forms(&outcome, &space())[0].outcome.resolution.steps.is_empty());
    }

    #[test]
    fn publishers_are_counted_once_and_only_in_the_same_cell() {
        let found = [
            published(1, |_| ()),
            published(1, |s| s.severity = 300_000),
            published(2, |s| s.node_count = 200),
            published(3, |s| s.topology_class = "fat_tree".into()),
            published(4, |s| s.topology_class = "fabric".into()),
            published(5, |s| s.protocol = "ospf".into()),
            published(6, |s| s.severity = 9_000),
            published(7, |s| s.affected_prefixes = 90),
        ];
        let shared: Vec<usize> = forms(&singapore(), &space())
            .iter()
            .map(|form| form.shared_by(found.iter(), &space()).len())
            .collect();
        assert_eq!(shared, [1, 2, 4]);
    }

    #[test]
    fn a_store_is_asked_for_the_whole_cell() {
        let space = space();
        for form in forms(&singapore(), &space) {
            for (severity, prefixes) in [(262_143, 999), (524_286, 9_998)] {
                let mut edge = singapore().situation;
                (edge.severity, edge.affected_prefixes) = (severity, prefixes);
                edge.topology_class = "spine_leaf".into();
                assert!(space.query_distance(&form.query(), &edge) <= RADIUS, "{edge:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn forms_can_be_sealed_keep_the_verdict_and_are_forms_of_themselves(
            before in 0..=1_000_000_u64, after in 0..=1_000_000_u64, counts: (u64, u64), sample: u32,
            event in "(convergence|flap|degradation)",
        ) {
            let mut outcome = singapore();
            (outcome.before, outcome.after) = (Some(before), Some(after));
            outcome.situation.severity = before;
            outcome.situation.event_type = event;
            outcome.convergence_delta_ms = before as i64 - after as i64;
            (outcome.situation.affected_prefixes, outcome.situation.node_count) = counts;
            outcome.sample_size = sample;
            for form in forms(&outcome, &space()) {
                prop_assert!(seal(&form.outcome, &key(), &space()).is_ok());
                let (was, is) = (form.outcome.before.unwrap(), form.outcome.after.unwrap());
                prop_assert_eq!(before.cmp(&after), was.cmp(&is), "{} {} {} {}", before, after, was, is);
                let again = situation(&form.outcome.situation, form.level, &space());
                prop_assert_eq!(again, form.outcome.situation);
            }
        }
    }
}
