//! Who votes, and with what weight.
//!
//! Owns eligibility: signatures, expiry, supersession, revocation, trust groups, corroboration.
//! Never computes a ranking.
//!
//! **Invariant:** a trust group has at most one vote a pattern, whatever the number of its keys
//! or packets.

use std::collections::{BTreeSet, HashSet};

use edgelore_model::{Known, Outcome, Query};

use super::{FOUND_MAX, Policy, SAMPLE_MAX, Unsigned};
use crate::fingerprint::Space;
use crate::packet::{Opened, PacketId};

/// Where an outcome comes from.
#[derive(Clone, Copy)]
pub(super) struct Source<'f> {
    pub(super) outcome: &'f Outcome,
    pub(super) id: PacketId,
    /// Who signed it.
    pub(super) publisher: Option<[u8; 32]>,
}

impl<'f> From<&'f Opened> for Source<'f> {
    fn from(packet: &'f Opened) -> Self {
        Self { outcome: &packet.outcome, id: packet.id, publisher: Some(packet.publisher) }
    }
}

impl<'f> From<&'f Unsigned> for Source<'f> {
    fn from(import: &'f Unsigned) -> Self {
        Self { outcome: &import.outcome, id: import.id, publisher: None }
    }
}

/// An outcome under consideration.
pub(super) struct Candidate<'f> {
    pub(super) source: Source<'f>,
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
    sources: &[Source<'f>],
    policy: &Policy,
) -> Vec<Candidate<'f>> {
    let withdrawn = withdrawn(sources, policy);
    let aim = space.aim(query);
    let asked = query.resolution_pattern.as_deref();
    let mut candidates: Vec<Candidate<'f>> = sources
        .iter()
        .filter(|source| asked.is_none_or(|asked| asked == source.outcome.resolution.pattern))
        // One that takes another back is a message about it, not an outcome.
        .filter(|source| source.outcome.revokes.is_none())
        .map(|source| {
            let distance = space.reach(&aim, &space.locate(&source.outcome.situation));
            Candidate {
                source: *source,
                distance,
                improvement: improvement(source.outcome),
                weight: weight(source.outcome, distance),
                votes: counts(source, policy) && !withdrawn.contains(&source.id),
            }
        })
        .collect();
    candidates.sort_by_key(|candidate| {
        let outcome = candidate.source.outcome;
        let sample = u32::MAX - outcome.sample_size;
        (candidate.distance, sample, std::cmp::Reverse(outcome.created), candidate.source.id)
    });
    candidates.dedup_by_key(|candidate| candidate.source.id);
    candidates.truncate(FOUND_MAX);
    candidates
}

/// Packets that their own publisher, under this key or a later one, replaced or took back.
fn withdrawn(sources: &[Source<'_>], policy: &Policy) -> HashSet<PacketId> {
    let mut claims: HashSet<([u8; 32], PacketId)> = HashSet::new();
    for claim in sources {
        let Some(publisher) = claim.publisher else { continue };
        let targets = [claim.outcome.supersedes, claim.outcome.revokes];
        claims.extend(targets.into_iter().flatten().map(|target| (publisher, target)));
    }
    let own = |source: &&Source<'_>| {
        let claimed = |publisher: [u8; 32]| claims.contains(&(publisher, source.id));
        source.publisher.is_some_and(|publisher| {
            claimed(publisher) || policy.lineage.heirs(&publisher).into_iter().any(claimed)
        })
    };
    sources.iter().filter(own).map(|source| source.id).collect()
}

fn counts(source: &Source<'_>, policy: &Policy) -> bool {
    source.publisher.is_some_and(|publisher| !policy.lineage.is_revoked(&publisher))
        && source.outcome.sample_size > 0
        && policy.now.is_none_or(|now| source.outcome.expires > now)
}

/// Leaves each trust group its nearest vote, and none to groups that nobody corroborates.
pub(super) fn elect(candidates: &mut [Candidate<'_>], policy: &Policy) {
    let mut groups = BTreeSet::new();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.votes) {
        let group = candidate.source.publisher.map(|publisher| {
            let origin = policy.lineage.origin(&publisher);
            let named = policy.groups.get(&publisher).or_else(|| policy.groups.get(&origin));
            named.map_or(Group::Publisher(origin), |name| Group::Named(name))
        });
        candidate.votes = group.is_some_and(|group| groups.insert(group));
    }
    if groups.len() < policy.corroboration_min as usize {
        for candidate in candidates {
            let publisher = candidate.source.publisher;
            candidate.votes &= publisher.is_some_and(|key| {
                policy.pinned.contains(&key) || policy.pinned.contains(&policy.lineage.origin(&key))
            });
        }
    }
}

/// Before minus after in per mille of before. Without a figure for before, the situation's
/// severity is what was before.
fn improvement(outcome: &Outcome) -> i64 {
    let before = outcome.before.unwrap_or(outcome.situation.severity);
    let delta = i128::from(outcome.convergence_delta_ms);
    let permille =
        if before == 0 { delta.signum() * 1_000 } else { delta * 1_000 / i128::from(before) };
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
