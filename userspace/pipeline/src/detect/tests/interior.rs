//! What interior protocols and LDP tell of one failure, in whatever order and however late.

use super::joined::{AREA, hello, interior, kinds, link, lsa, router};
use super::*;
use LinkStateAction::{Changed, New};
use edgelore_model::{Adjacency, LdpChange, Link, LinkStateAction};

/// Without the kernel's table, as a bridge and a capture see it.
fn passed_by() -> Vec<Observation> {
    let mut all = interior();
    all.retain(|o| !matches!(o.what, Observed::Fib(_)));
    all
}

/// An advertisement that had been made so long before it passed.
fn aged(mut observation: Observation, seconds: i64) -> Observation {
    if let Observed::LinkState(change) = &mut observation.what {
        change.age = Span::from_millis(seconds * 1_000);
    }
    observation
}

#[test]
fn an_advertisement_knows_no_better_than_a_hello_when_a_neighbour_fell_silent() {
    let mut all = passed_by();
    all.push(aged(lsa(24_000, 1, Changed, &[]), 1));
    for then_hello in [false, true] {
        if then_hello {
            all.push(hello(24_400, 1, &[], false));
        }
        let closed = run(all.clone());
        assert_eq!(closed.len(), 1);
        let incident = &closed[0].incident;
        let between = Adjacency::between(AREA, router(1), router(2));
        assert_eq!(incident.scope, Scope::Adjacency(between));
        // Dead after 4 s, and advertised within 5 s; dropped from the next hello, a second later.
        let earliest = if then_hello { 19_400 } else { 15_000 };
        let bounds = (incident.start.earliest, incident.start.estimate, incident.start.latest);
        let estimate = if then_hello { 20_400 } else { 20_000 };
        assert_eq!(bounds, (ms(earliest), ms(estimate), ms(24_000)), "{then_hello}");
        assert_eq!(incident.end, None);
    }
}

#[test]
fn the_silence_of_the_lost_neighbours_link_counts_and_not_that_of_its_loser() {
    let on = |link, observation| Observation { link, ..observation };
    // A bridge between the two: users send from 1 by 2, until routes lead elsewhere.
    let mut all = vec![hello(1, 1, &[2], true), on(8, hello(2, 2, &[1], true))];
    all.extend(traffic(10, 23_500));
    all.extend(traffic(10, 20_000).into_iter().map(|sample| on(8, sample)));
    all.push(hello(24_000, 1, &[], false));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let start = closed[0].incident.start;
    assert_eq!((start.earliest, start.latest), (ms(19_979), ms(20_060)));
}

#[test]
fn a_lost_carrier_may_be_told_a_second_late() {
    for (admin_up, late_ms) in [(true, 1_020), (false, 20)] {
        let mut all = passed_by();
        all.push(link(0, UPLINK, true));
        let mut down = link(9_000, UPLINK, false);
        if let Observed::Link(change) = &mut down.what {
            change.admin_up = admin_up;
        }
        all.push(down);
        let closed = run(all);
        assert_eq!(closed.len(), 1);
        let expected = Interval { earliest: ms(9_000 - late_ms), ..Interval::exactly(ms(9_000)) };
        assert_eq!(closed[0].incident.start, expected, "{admin_up}");
    }
}

#[test]
fn a_repair_tells_the_loss_once_more_and_that_is_no_second_failure() {
    for (repaired_ms, moves) in [(30_000, false), (2_000_000, false), (2_000_000, true)] {
        let mut all = if moves { interior() } else { passed_by() };
        all.push(hello(24_600, 1, &[], false));
        if moves {
            all.push(fib(24_700, 102, FibAction::Set, Some(secondary())));
        }
        // What the other end had dropped meanwhile shows when it is heard again, and what was
        // advertised meanwhile is flooded.
        all.push(hello(repaired_ms, 2, &[], false));
        all.push(aged(lsa(repaired_ms + 30, 1, Changed, &[]), 5));
        all.push(aged(lsa(repaired_ms + 31, 2, Changed, &[(3, 10)]), 5));
        all.push(hello(repaired_ms + 100, 1, &[2], false));
        all.push(hello(repaired_ms + 200, 2, &[1], false));
        all.push(lsa(repaired_ms + 300, 1, Changed, &[(2, 10)]));
        all.push(lsa(repaired_ms + 301, 2, Changed, &[(1, 10), (3, 10)]));
        assert_eq!(run(all.clone()).len(), 1, "{repaired_ms} {moves}");
        // Whole again, it can fail again.
        all.push(hello(repaired_ms + 60_000, 2, &[], false));
        let closed = run(all);
        assert_eq!(closed.len(), 2, "{repaired_ms} {moves}");
        assert_eq!(kinds(&closed[1].incident.chain), [TriggerKind::AdjacencyDown]);
    }
}

#[test]
fn how_long_a_failure_far_away_went_unnoticed_is_not_known() {
    let mut all = passed_by();
    all.push(lsa(60_000, 2, Changed, &[(1, 10)]));
    // The two ends find each other again, and lose each other again.
    all.push(lsa(66_000, 2, Changed, &[(1, 10), (3, 10)]));
    all.push(lsa(75_000, 2, Changed, &[(1, 10)]));
    let closed = run(all);
    assert_eq!(closed.len(), 2);
    for (finding, told) in closed.iter().zip([60_000, 75_000]) {
        let start = finding.incident.start;
        let expected = Interval { earliest: ms(told - 9_000), ..Interval::exactly(ms(told)) };
        assert_eq!(start, expected, "the timers that are heard of in the area");
    }
}

#[test]
fn what_is_flooded_long_after_it_was_said_began_before() {
    let mut all = passed_by();
    all.push(lsa(10, 4, New, &[(3, 10)]));
    all.push(lsa(11, 3, Changed, &[(2, 10), (4, 10)]));
    all.push(aged(lsa(60_000, 3, Changed, &[(2, 10)]), 31));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let start = closed[0].incident.start;
    assert_eq!((start.earliest, start.estimate), (ms(21_000), ms(30_000)));
}

#[test]
fn a_daemon_that_ends_says_so_a_moment_later() {
    let session = SessionKey::between(ip("203.0.113.1"), ip("203.0.113.2"));
    let told = |at_ms, change| at(at_ms, Observed::Ldp(change));
    let shutdown =
        LdpChange::Notification { session, speaker: ip("203.0.113.2"), status: 0x0a, fatal: true };
    let closed = run(vec![
        told(0, LdpChange::SessionUp { session, keepalive_time_s: 180 }),
        told(60_000, shutdown),
    ]);
    assert_eq!(closed.len(), 1);
    let expected = Interval { earliest: ms(59_950), ..Interval::exactly(ms(60_000)) };
    assert_eq!(closed[0].incident.start, expected);
}

#[test]
fn an_incident_that_becomes_part_of_another_is_told_to_do_so() {
    let mut all = established();
    all.extend(interior());
    all.push(link(0, UPLINK, true));
    // A session and an adjacency on one link fail each for itself; then the link is seen to be down.
    let sixth = SessionKey::between(ip("2001:db8::1"), ip("2001:db8::2"));
    all.push(at(2, Observed::SessionUp { session: sixth }));
    if let Observed::Routes(delta) = routes(3, vec![], vec![prefix(90)]).what {
        let delta = RouteDelta { session: sixth, speaker: ip("2001:db8::2"), ..delta };
        all.push(at(3, Observed::Routes(delta)));
    }
    for session in [session(), sixth] {
        all.push(at(9_000, Observed::SessionDown { session, cause: DownCause::Reset }));
    }
    all.push(link(9_010, UPLINK, false));
    all.sort_by_key(|o| o.at);
    let (mut detector, mut told) = (Detector::new(DetectConfig::default()), Vec::new());
    all.iter().for_each(|o| detector.observe(o, &mut told));
    detector.finish(&mut told);
    let mut open = std::collections::BTreeSet::new();
    let mut joined = 0;
    for one in told {
        match one {
            Detected::Opened(one) => assert!(open.insert(one.scope), "{one:?}"),
            Detected::Joined(one) => {
                assert_eq!(one.into, Scope::Link(Link(UPLINK)));
                assert!(open.remove(&one.scope), "{one:?}");
                open.insert(one.into);
                joined += 1;
            }
            Detected::Closed(one) => assert!(open.remove(&one.incident.scope), "{one:?}"),
            Detected::Settled(_) => {}
        }
    }
    assert_eq!((joined, open.len()), (2, 0));
}
