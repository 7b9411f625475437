//! From many outcomes to ranked advice.
//!
//! Owns who votes, how votes are weighed, and the ranking. Never applies anything, never hides an
//! outcome: what does not vote is shown as evidence without a vote. No floating point.
//!
//! For each resolution pattern:
//! 1. **Votes.** An outcome votes if it is signed by a key that is not revoked, counts at
//!    [`Policy::now`], was not taken back by its own publisher ([`Policy::lineage`]: under whatever
//!    key), and its trust group is corroborated ([`Policy::corroboration_min`]) or
//!    pinned. A trust group has one vote a pattern: its nearest outcome.
//! 2. **Weight.** `sample * known * 1000 / (1000 + distance)`, where sample is the number of
//!    incidents up to [`SAMPLE_MAX`] and known is 4 (measured), 2 (observed) or 1 (declared).
//! 3. **Improvement.** Before minus after in per mille of before, within ±1000; its weighted median.
//! 4. **Lower bound.** The median minus `z * spread / sqrt(n)`: the spread is 1.4826 times the
//!    weighted median of the deviations from the median, but at least [`SPREAD_MIN`], so that one
//!    outcome is never certain; n is the effective number of votes, `(Σw)² / Σw²`. This is the
//!    ranking key, so a good figure from many beats a better one from a single network.
//!
//! **Invariant:** the result depends on the set of outcomes, not on their order.

mod robust;
mod votes;

use std::collections::BTreeMap;
use std::sync::Arc;

use edgelore_model::{Advice, Evidence, Outcome, Query, Timestamp};

use crate::fingerprint::Space;
use crate::packet::lineage::Lineage;
use crate::packet::{Opened, PacketId};
use votes::{Candidate, Source};

/// Incidents behind one outcome beyond which more do not weigh more.
pub const SAMPLE_MAX: u32 = 16;
/// The least spread that is assumed among networks, per mille of the severity before.
pub const SPREAD_MIN: i64 = 250;
/// Outcomes considered in one call, the nearest first.
pub const FOUND_MAX: usize = 10_000;

/// A verified packet that was found near a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The packet.
    pub opened: Arc<Opened>,
    /// Its distance from the query, milli-units.
    pub distance: u32,
}

/// An outcome that nobody signed, such as an import in the reference's form: shown, never voting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// What it says.
    pub outcome: Outcome,
    /// Whatever identifies it.
    pub id: PacketId,
}

/// Whose word counts, and how much of it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The time at which outcomes must not have expired; `None` takes them at any age.
    pub now: Option<Timestamp>,
    /// Votes below which a pattern ranks behind every pattern that has them.
    pub votes_min: u32,
    /// Trust groups that must report a pattern before those that are not pinned vote.
    pub corroboration_min: u32,
    /// Publishers that vote without corroboration.
    pub pinned: Vec<[u8; 32]>,
    /// The trust group of a publisher; one that is not listed is a group of its own.
    pub groups: BTreeMap<[u8; 32], String>,
    /// Which keys are one publisher's, and which are revoked.
    pub lineage: Lineage,
    /// How many standard errors the lower bound lies below the median, per mille; 1282 is a
    /// one-sided confidence of 90 %.
    pub z_permille: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            now: None,
            votes_min: 1,
            corroboration_min: 1,
            pinned: Vec::new(),
            groups: BTreeMap::new(),
            lineage: Lineage::default(),
            z_permille: 1_282,
        }
    }
}

/// Ranks the resolutions among `found` for a query, the best first. The distances of `found` are
/// measured again in `space`: a store's word is not taken.
#[must_use]
pub fn advise(space: &Space, query: &Query, found: &[Found], policy: &Policy) -> Vec<Advice> {
    advise_with(space, query, found, &[], policy)
}

/// As [`advise`], with outcomes that nobody signed shown as evidence.
#[must_use]
pub fn advise_with(
    space: &Space,
    query: &Query,
    found: &[Found],
    unsigned: &[Unsigned],
    policy: &Policy,
) -> Vec<Advice> {
    let signed = found.iter().map(|found| Source::from(&*found.opened));
    let sources: Vec<Source<'_>> = signed.chain(unsigned.iter().map(Source::from)).collect();
    let mut patterns: BTreeMap<&str, Vec<Candidate<'_>>> = BTreeMap::new();
    for candidate in votes::candidates(space, query, &sources, policy) {
        let pattern = candidate.source.outcome.resolution.pattern.as_str();
        patterns.entry(pattern).or_default().push(candidate);
    }
    let mut advice: Vec<Advice> = patterns
        .into_iter()
        .map(|(pattern, mut candidates)| {
            votes::elect(&mut candidates, policy);
            judge(pattern, &candidates, policy)
        })
        .collect();
    // The sort is stable and the patterns come sorted, so ties fall in the order of the words.
    advice.sort_by_key(|advice| {
        let enough = advice.votes >= policy.votes_min.max(1);
        (!enough, -advice.lower_bound_permille, -advice.improvement_permille)
    });
    advice
}

fn judge(pattern: &str, candidates: &[Candidate<'_>], policy: &Policy) -> Advice {
    let voting: Vec<&Candidate<'_>> =
        candidates.iter().filter(|candidate| candidate.votes).collect();
    let improvements: Vec<(i64, u64)> =
        voting.iter().map(|vote| (vote.improvement, vote.weight)).collect();
    let deltas: Vec<(i64, u64)> =
        voting.iter().map(|vote| (vote.source.outcome.convergence_delta_ms, vote.weight)).collect();
    let nearest = voting.first().copied().or(candidates.first());
    let failed = voting.iter().filter(|vote| vote.improvement <= 0).count();
    Advice {
        pattern: pattern.to_owned(),
        steps: nearest.map(|c| c.source.outcome.resolution.steps.clone()).unwrap_or_default(),
        improvement_permille: robust::median(&improvements).unwrap_or(0),
        lower_bound_permille: robust::lower_bound(&improvements, policy.z_permille),
        convergence_delta_ms: robust::median(&deltas).unwrap_or(0),
        votes: voting.len() as u32,
        contradictions: failed as u32,
        evidence: candidates.iter().map(evidence).collect(),
    }
}

fn evidence(candidate: &Candidate<'_>) -> Evidence {
    let outcome = candidate.source.outcome;
    Evidence {
        packet: hex::encode(candidate.source.id),
        publisher: candidate.source.publisher.map(hex::encode),
        distance: candidate.distance,
        before: outcome.before,
        after: outcome.after,
        convergence_delta_ms: outcome.convergence_delta_ms,
        sample_size: outcome.sample_size,
        votes: candidate.votes,
        steps: outcome.resolution.steps.clone(),
    }
}

#[cfg(test)]
mod tests;
