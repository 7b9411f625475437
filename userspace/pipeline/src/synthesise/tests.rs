//! Ranking, votes and their robustness.

use super::*;
use crate::packet::{SigningKey, statement};
use edgelore_model::{Known, Resolution, Situation};
use proptest::prelude::*;

fn outcome(pattern: &str, before: u64, after: u64) -> Outcome {
    Outcome {
        situation: Situation {
            topology_class: "spine_leaf".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: before,
            affected_prefixes: 200,
            node_count: 5,
        },
        resolution: Resolution {
            pattern: pattern.into(),
            steps: vec![format!("do {pattern}")],
            known: Known::Measured,
        },
        before: Some(before),
        after: Some(after),
        convergence_delta_ms: before as i64 - after as i64,
        sample_size: 1,
        created: Timestamp(0),
        expires: Timestamp(1_000),
        method: [0; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    }
}

fn found(publisher: u8, id: u8, outcome: Outcome) -> Found {
    let opened = Opened {
        outcome,
        publisher: [publisher; 32],
        key: [publisher; 32],
        space: [0; 8],
        id: [id; 32],
        truncated: false,
        bytes: Vec::new(),
    };
    Found { opened: Arc::new(opened), distance: 0 }
}

fn query() -> Query {
    Query::from(&outcome("", 8_000, 0).situation)
}

fn ranked(found: &[Found], policy: &Policy) -> Vec<Advice> {
    advise(&Space::default_definition(), &query(), found, policy)
}

#[test]
fn one_good_outcome_makes_advice() {
    let advice = ranked(&[found(1, 1, outcome("bfd_tuning", 8_000, 800))], &Policy::default());
    let [advice] = advice.as_slice() else { panic!("{advice:?}") };
    assert_eq!((advice.improvement_permille, advice.lower_bound_permille), (900, 580));
    assert_eq!((advice.votes, advice.contradictions), (1, 0));
    assert_eq!(advice.convergence_delta_ms, 7_200);
    assert_eq!(advice.steps, ["do bfd_tuning"]);
    assert!(advice.evidence[0].votes);
    assert_eq!(advice.evidence[0].packet, "01".repeat(32));
}

#[test]
fn many_good_reports_beat_one_better_report() {
    let mut all: Vec<Found> =
        (1..=5).map(|n| found(n, n, outcome("bfd_tuning", 8_000, 1_000))).collect();
    all.push(found(9, 9, outcome("dampening", 8_000, 100)));
    let advice = ranked(&all, &Policy::default());
    assert_eq!(advice[0].pattern, "bfd_tuning");
    assert!(advice[1].improvement_permille > advice[0].improvement_permille);
}

#[test]
fn a_trust_group_has_one_vote_however_many_keys_it_has() {
    let mut all: Vec<Found> =
        (1..=50).map(|n| found(n, n, outcome("bfd_tuning", 8_000, 8_000))).collect();
    let mut policy = Policy::default();
    for n in 1..=50 {
        policy.groups.insert([n; 32], "sybil".into());
    }
    for n in 51..=53 {
        all.push(found(n, n, outcome("bfd_tuning", 8_000, 800)));
    }
    let advice = ranked(&all, &policy);
    assert_eq!((advice[0].votes, advice[0].contradictions), (4, 1));
    assert_eq!(advice[0].improvement_permille, 900);
    assert_eq!(advice[0].evidence.len(), 53);
    let same_key: Vec<Found> =
        (1..=9).map(|id| found(1, id, outcome("bfd_tuning", 8_000, 800))).collect();
    assert_eq!(ranked(&same_key, &Policy::default())[0].votes, 1);
}

#[test]
fn unsigned_expired_and_empty_outcomes_are_shown_without_a_vote() {
    let unsigned = Unsigned { outcome: outcome("bfd_tuning", 8_000, 800), id: [1; 32] };
    let mut expired = found(2, 2, outcome("bfd_tuning", 8_000, 800));
    Arc::make_mut(&mut expired.opened).outcome.expires = Timestamp(10);
    let mut empty = found(3, 3, outcome("bfd_tuning", 8_000, 800));
    Arc::make_mut(&mut empty.opened).outcome.sample_size = 0;
    let policy = Policy { now: Some(Timestamp(10)), ..Policy::default() };
    let space = Space::default_definition();
    let advice = advise_with(&space, &query(), &[expired, empty], &[unsigned], &policy);
    assert_eq!((advice[0].votes, advice[0].evidence.len()), (0, 3));
    assert_eq!((advice[0].improvement_permille, advice[0].lower_bound_permille), (0, -1_000));
}

#[test]
fn a_publisher_takes_back_its_own_packets_only() {
    let good = found(1, 1, outcome("bfd_tuning", 8_000, 800));
    let mut by_other = found(2, 2, outcome("bfd_tuning", 8_000, 800));
    Arc::make_mut(&mut by_other.opened).outcome.revokes = Some([1; 32]);
    assert_eq!(ranked(&[good.clone(), by_other.clone()], &Policy::default())[0].votes, 1);
    Arc::make_mut(&mut by_other.opened).publisher = [1; 32];
    assert_eq!(ranked(&[good.clone(), by_other], &Policy::default())[0].votes, 0);
    let mut newer = found(1, 3, outcome("bfd_tuning", 8_000, 4_000));
    Arc::make_mut(&mut newer.opened).outcome.supersedes = Some([1; 32]);
    let advice = ranked(&[good, newer], &Policy::default());
    assert_eq!((advice[0].votes, advice[0].improvement_permille), (1, 500));
}

/// A packet of one of the keys that statements are about.
fn signed(key: &SigningKey, id: u8, outcome: Outcome) -> Found {
    let mut found = found(0, id, outcome);
    Arc::make_mut(&mut found.opened).publisher = key.publisher();
    found
}

#[test]
fn keys_that_succeed_each_other_have_one_vote_and_revoked_ones_none() {
    let [old, new, other] = [1, 2, 3].map(|seed| SigningKey::from_seed(&mut [seed; 32]));
    let all = [
        signed(&old, 1, outcome("bfd_tuning", 8_000, 800)),
        signed(&new, 2, outcome("bfd_tuning", 8_000, 900)),
        signed(&other, 3, outcome("bfd_tuning", 8_000, 1_000)),
    ];
    let votes = |statements: &[Vec<u8>], found: &[Found]| {
        let statements = statements.iter().map(|bytes| statement::open(bytes).unwrap());
        let lineage = Lineage::of(&statements.collect::<Vec<_>>());
        let policy = Policy { lineage, ..Policy::default() };
        ranked(found, &policy)[0].votes
    };
    let follows = statement::succession(&old, &new, Timestamp(0));
    let gone = statement::revocation(&old, Timestamp(0));
    assert_eq!(votes(&[], &all), 3);
    assert_eq!(votes(std::slice::from_ref(&follows), &all), 2);
    assert_eq!(votes(std::slice::from_ref(&gone), &all), 2);
    assert_eq!(votes(&[follows.clone(), gone], &all), 2, "the new key for itself, and the other");
    // The new key takes back what the old one published.
    let mut back = all.clone();
    Arc::make_mut(&mut back[1].opened).outcome.revokes = Some([1; 32]);
    assert_eq!((votes(&[], &back), votes(&[follows], &back)), (2, 1));
}

#[test]
fn corroboration_and_minimum_evidence_are_asked_for() {
    let all = [
        found(1, 1, outcome("dampening", 8_000, 10)),
        found(2, 2, outcome("bfd_tuning", 8_000, 2_000)),
        found(3, 3, outcome("bfd_tuning", 8_000, 2_000)),
    ];
    let policy = Policy { votes_min: 2, ..Policy::default() };
    assert_eq!(ranked(&all, &policy)[0].pattern, "bfd_tuning");
    let policy = Policy { corroboration_min: 2, ..Policy::default() };
    let votes = |policy: &Policy| -> Vec<(String, u32)> {
        ranked(&all, policy).into_iter().map(|advice| (advice.pattern, advice.votes)).collect()
    };
    assert_eq!(votes(&policy), [("bfd_tuning".into(), 2), ("dampening".into(), 0)]);
    let policy = Policy { pinned: vec![[1; 32]], ..policy };
    assert!(votes(&policy).contains(&("dampening".into(), 1)));
}

#[test]
fn the_named_pattern_filters_and_distance_weighs() {
    let mut far = found(2, 2, outcome("bfd_tuning", 8_000, 8_000));
    Arc::make_mut(&mut far.opened).outcome.situation.severity = 8_000 << 4;
    let near = found(1, 1, outcome("bfd_tuning", 8_000, 800));
    let advice = ranked(&[far.clone(), near.clone()], &Policy::default());
    assert_eq!((advice[0].improvement_permille, advice[0].contradictions), (900, 1));
    let mut asked = query();
    asked.resolution_pattern = Some("dampening".into());
    let none = advise(&Space::default_definition(), &asked, &[far, near], &Policy::default());
    assert!(none.is_empty());
}

proptest! {
    #[test]
    fn the_order_of_what_was_found_does_not_matter(
        parts in proptest::collection::vec((0u8..6, 0u8..30, 0usize..3, 0u64..20_000, 0u64..20_000), 0..20),
        turn in 0usize..20,
    ) {
        let mut seen = std::collections::HashSet::new();
        let mut all: Vec<Found> = parts
            .into_iter()
            .filter(|part| seen.insert(part.1))
            .map(|(publisher, id, pattern, before, after)| {
                found(publisher, id, outcome(["a", "b", "c"][pattern], before, after))
            })
            .collect();
        let expected = ranked(&all, &Policy::default());
        let turn = turn % all.len().max(1);
        all.rotate_left(turn);
        all.reverse();
        prop_assert_eq!(ranked(&all, &Policy::default()), expected);
    }
}
