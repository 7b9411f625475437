//! Who votes, and with what weight.
//!
//! Owns eligibility: signatures, expiry, supersession, revocation, trust groups, corroboration.
//! Never computes a ranking.
//!
//! **Invariant:** a trust group has at most one vote a pattern, whatever the number of its keys
//! or packets.

use std::collections::{BTreeSet, HashSet};

use edgelore_model::{Known, Outcome, Query};

use super::{FOUND_MAX, Found, Policy, SAMPLE_MAX};
use crate::fingerprint::Space;

/// An outcome under consideration.
pub(super) struct Candidate<'f> {
    pub(super) found: &'f Found,
    /// Milli-units from the query.
    pub(super) distance: u32,
    /// Per mille of the severity before, within ±1000.
    pub(super) improvement: i64,
    pub(super) weight: u64,
    /// It may vote, and after [`elect`]: it does.
    pub(super) votes: bool,
}

/// A trust group: named by the policy, or a publisher on its own.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Group<'p> {
    Named(&'p str),
    Publisher([u8; 32]),
}

/// What is shown, nearest first, each packet once.
pub(super) fn candidates<'f>(
    space: &Space,
    query: &Query,
    found: &'f [Found],
    policy: &Policy,
) -> Vec<Candidate<'f>> {
    let withdrawn = withdrawn(found);
    let aim = space.aim(query);
    let asked = query.resolution_pattern.as_deref();
    let mut candidates: Vec<Candidate<'f>> = found
        .iter()
        .filter(|found| asked.is_none_or(|asked| asked == found.outcome.resolution.pattern))
        // One that takes another back is a message about it, not an outcome.
        .filter(|found| found.outcome.revokes.is_none())
        .map(|found| Candidate {
            found,
            distance: space.reach(&aim, &space.locate(&found.outcome.situation)),
            improvement: improvement(&found.outcome),
            weight: 0,
            votes: counts(found, policy) && !withdrawn.contains(&found.id),
        })
        .collect();
    candidates.sort_by_key(|candidate| {
        let outcome = &candidate.found.outcome;
        let sample = u32::MAX - outcome.sample_size;
        (candidate.distance, sample, std::cmp::Reverse(outcome.created), candidate.found.id)
    });
    candidates.dedup_by_key(|candidate| candidate.found.id);
    candidates.truncate(FOUND_MAX);
    for candidate in &mut candidates {
        candidate.weight = weight(&candidate.found.outcome, candidate.distance);
    }
    candidates
}

/// Packets that their own publisher replaced or took back.
fn withdrawn(found: &[Found]) -> HashSet<[u8; 32]> {
    let mut claims: HashSet<([u8; 32], [u8; 32])> = HashSet::new();
    for claim in found {
        let Some(publisher) = claim.publisher else { continue };
        let targets = [claim.outcome.supersedes, claim.outcome.revokes];
        claims.extend(targets.into_iter().flatten().map(|target| (publisher, target)));
    }
    let own = |found: &&Found| {
        found.publisher.is_some_and(|publisher| claims.contains(&(publisher, found.id)))
    };
    found.iter().filter(own).map(|found| found.id).collect()
}

fn counts(found: &Found, policy: &Policy) -> bool {
    let outcome = &found.outcome;
    found.publisher.is_some()
        && outcome.sample_size > 0
        && policy.now.is_none_or(|now| outcome.expires > now)
}

/// Leaves each trust group its nearest vote, and none to groups that nobody corroborates.
pub(super) fn elect(candidates: &mut [Candidate<'_>], policy: &Policy) {
    let mut groups = BTreeSet::new();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.votes) {
        let group = candidate.found.publisher.map(|publisher| {
            policy
                .groups
                .get(&publisher)
                .map_or(Group::Publisher(publisher), |name| Group::Named(name))
        });
        candidate.votes = group.is_some_and(|group| groups.insert(group));
    }
    if groups.len() < policy.corroboration_min as usize {
        for candidate in candidates {
            let publisher = candidate.found.publisher;
            candidate.votes &= publisher.is_some_and(|key| policy.pinned.contains(&key));
        }
    }
}

/// Before minus after in per mille of before. Without a figure for before, the situation's
/// severity is what was before.
fn improvement(outcome: &Outcome) -> i64 {
    let before = outcome.before.unwrap_or(outcome.situation.severity);
    let delta = i128::from(outcome.convergence_delta_ms);
    let permille = if before == 0 { delta.signum() * 1_000 } else { delta * 1_000 / i128::from(before) };
    permille.clamp(-1_000, 1_000) as i64
}

fn weight(outcome: &Outcome, distance: u32) -> u64 {
    let known = match outcome.resolution.known {
        Known::Measured => 4,
        Known::Observed => 2,
        Known::Declared => 1,
    };
    let sample = u64::from(outcome.sample_size.min(SAMPLE_MAX));
    sample * known * 1_000_000 / (1_000 + u64::from(distance))
}
