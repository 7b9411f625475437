//! Sessions that died before anybody said so: what bounds the start, and whose the end is.

use super::joined::{SECOND_LINK, link};
use super::*;
use edgelore_model::KernelEvent;

/// What is seen without the kernel's table.
fn on_the_wire() -> Vec<Observation> {
    let wire = |observation: &Observation| !matches!(observation.what, Observed::Fib(_));
    established().into_iter().filter(wire).collect()
}

fn ended(at_ms: i64, cause: DownCause) -> Observation {
    at(at_ms, Observed::SessionDown { session: session(), cause })
}

fn up(at_ms: i64) -> Observation {
    at(at_ms, Observed::SessionUp { session: session() })
}

/// All that was announced is announced again, one prefix a millisecond.
fn return_of_all(at_ms: i64) -> impl Iterator<Item = Observation> {
    (0..20).map(move |n| routes(at_ms + i64::from(n), vec![], vec![prefix(n)]))
}

fn bounds(incident: &Incident) -> (Timestamp, Timestamp, Timestamp) {
    (incident.start.earliest, incident.start.estimate, incident.start.latest)
}

#[test]
fn how_the_end_is_known_bounds_the_start() {
    for (cause, expected) in [
        // Whoever ends it says so at once, and may have to wait for a processor.
        (DownCause::Closed, (27_450, 27_500, 27_500)),
        (DownCause::Reset, (27_450, 27_500, 27_500)),
        // The last message came a hold time before, the next was due a third of it later.
        (DownCause::Expired, (18_050, 20_000, 21_950)),
        // At once, or by a timer that had run for a hold time at most.
        (DownCause::Recorded, (18_500, 27_500, 27_500)),
        // It came up at 2 ms, and somebody had it in mind for a hold time at least.
        (DownCause::Forgotten, (2, 18_500, 27_500)),
        (DownCause::Replaced, (2, 18_500, 27_500)),
    ] {
        let mut all = on_the_wire();
        all.push(ended(27_500, cause));
        let closed = run(all);
        assert_eq!(closed.len(), 1, "{cause:?}");
        let (earliest, estimate, latest) = expected;
        let expected = (ms(earliest), ms(estimate), ms(latest));
        assert_eq!(bounds(&closed[0].incident), expected, "{cause:?}");
    }
}

#[test]
fn where_times_count_in_steps_the_bounds_are_a_step_wider() {
    let step = Span::from_millis(1_000);
    let exact = &run(silent_failure())[0].incident;
    let mut all = silent_failure();
    all.insert(0, at(0, Observed::Granularity { step }));
    let wide = &run(all)[0].incident;
    let wider = |bounds: Interval| Interval { latest: bounds.latest + step, ..bounds };
    assert_eq!((wide.start, wide.end), (wider(exact.start), exact.end.map(wider)));
    assert!(wide.end.is_some());
}

#[test]
fn what_was_never_seen_up_is_a_bgp_session_when_bgp_ends_it() {
    let closed = run(vec![ended(27_500, DownCause::Recorded)]);
    assert_eq!((closed.len(), closed[0].incident.protocol), (1, Protocol::Bgp));
}

#[test]
fn whoever_speaks_has_heard_the_other_end_within_the_hold_time() {
    let mut all = on_the_wire();
    all.extend([routes(50_000, vec![], vec![prefix(30)]), ended(90_000, DownCause::Forgotten)]);
    assert_eq!(bounds(&run(all)[0].incident), (ms(41_000), ms(81_000), ms(90_000)));
}

#[test]
fn the_silence_of_the_link_tells_when_the_session_died() {
    let mut all = on_the_wire();
    all.extend(traffic(10, 20_000));
    all.push(ended(60_000, DownCause::Replaced));
    let start = run(all)[0].incident.start;
    assert_eq!((start.earliest, start.latest), (ms(19_979), ms(20_060)));
}

/// The same on the other link of a bridge.
fn there(observation: Observation) -> Observation {
    Observation { link: SECOND_LINK, ..observation }
}

#[test]
fn of_two_links_the_first_to_fall_silent_tells_when_the_session_died() {
    // Its traffic leaves the other link when it takes another way, a hold time later; packets come
    // in on the first again before the session does.
    let silence = (ms(19_979), ms(20_060));
    for (heard_again, expected) in [(false, silence), (true, (ms(2), ms(60_000)))] {
        let mut all = on_the_wire();
        all.push(there(routes(4, vec![], vec![prefix(30)])));
        all.extend(traffic(10, 28_500));
        all.extend(traffic(10, 20_000).into_iter().map(there));
        all.extend(heard_again.then(|| traffic(50_000, 60_000)).into_iter().flatten().map(there));
        all.push(ended(60_000, DownCause::Replaced));
        let start = run(all)[0].incident.start;
        assert_eq!((start.earliest, start.latest), expected, "heard again: {heard_again}");
    }
}

#[test]
fn the_repair_of_a_loss_that_is_told_late_is_not_its_end() {
    // Twenty seconds after it came up a timer may have run out; five seconds after it, none.
    for (reconnected, end) in [(20_000, None), (5_000, Some(Interval::exactly(ms(5_219))))] {
        let mut all = on_the_wire();
        all.extend([ended(reconnected, DownCause::Replaced), up(reconnected + 100)]);
        all.extend(return_of_all(reconnected + 200));
        all.push(at(reconnected + 60_000, Observed::Tick));
        let closed = run(all);
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].incident.end, end);
        assert_eq!(closed[0].incident.prefixes.len(), 20);
    }
}

#[test]
fn what_is_told_late_of_a_failure_that_was_told_is_no_second_one() {
    let link = |carrier| {
        let known = LinkChange { present: true, admin_up: true, ..LinkChange::default() };
        Observed::Link(LinkChange { name: "port0".into(), carrier, ..known })
    };
    let mut all = on_the_wire();
    all.extend([at(5, link(true)), at(9_000, link(false)), at(15_000, link(true))]);
    all.push(ended(30_000, DownCause::Replaced));
    all.extend(return_of_all(30_200));
    all.push(at(60_000, Observed::Tick));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].incident.start.latest, ms(9_000));
}

#[test]
fn bfd_that_only_the_other_end_saw_leaves_the_hold_time() {
    let mut all = on_the_wire();
    all.push(notification(27_500, 6, 10));
    assert_eq!(bounds(&run(all)[0].incident), (ms(18_050), ms(23_000), ms(27_500)));
}

fn bfd_with(at_ms: i64, speaker: IpAddr, state: BfdState, diagnostic: u8) -> Observation {
    let mut observation = bfd(at_ms, speaker, state);
    if let Observed::Bfd(change) = &mut observation.what {
        change.diagnostic = diagnostic;
    }
    observation
}

#[test]
fn why_bfd_went_down_bounds_the_start() {
    for (diagnostic, expected) in [
        // The detection time of 900 ms ran out, where packets come every 300 ms.
        (1, (8_055, 9_745)),
        // Not said, the echo function failed, the neighbour says so: within the detection time.
        (0, (8_055, 10_000)),
        (2, (8_055, 10_000)),
        (3, (8_055, 10_000)),
        // The forwarding plane was reset, the path is down: known at once, and said within a second.
        (4, (8_950, 10_000)),
        (5, (8_950, 10_000)),
    ] {
        let mut all = on_the_wire();
        all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
        all.push(bfd_with(10_000, gateway(), BfdState::Down, diagnostic));
        let start = run(all)[0].incident.start;
        let expected = (ms(expected.0), ms(expected.1));
        assert_eq!((start.earliest, start.latest), expected, "diagnostic {diagnostic}");
    }
}

#[test]
fn a_table_that_moved_before_bfd_said_why_tells_when_the_path_went_down() {
    let mut all = established();
    all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
    all.push(fib(9_600, 4, FibAction::Set, Some(secondary())));
    all.push(bfd_with(10_400, gateway(), BfdState::Down, 5));
    assert_eq!(bounds(&run(all)[0].incident), (ms(9_550), ms(9_600), ms(9_600)));
}

#[test]
fn a_path_that_bfd_knows_to_be_down_leaves_the_start_of_its_lost_link() {
    for (diagnostic, start) in [(5, (8_980, 10_000)), (1, (8_980, 9_745))] {
        let mut all = on_the_wire();
        all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
        all.extend([link(5, UPLINK, true), link(10_000, UPLINK, false)]);
        all.push(bfd_with(10_000, gateway(), BfdState::Down, diagnostic));
        let incident = &run(all)[0].incident;
        assert_eq!(incident.chain[0].kind, TriggerKind::LinkDown);
        let (earliest, _, latest) = bounds(incident);
        assert_eq!((earliest, latest), (ms(start.0), ms(start.1)), "diagnostic {diagnostic}");
    }
}

#[test]
fn what_answers_an_administrative_down_is_no_failure() {
    for (state, count) in [(BfdState::AdminDown, 0), (BfdState::Down, 1)] {
        let mut all = on_the_wire();
        all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
        all.push(bfd_with(10_000, primary(), state, 7));
        all.push(bfd_with(10_010, gateway(), BfdState::Down, 3));
        assert_eq!(run(all).len(), count, "{state:?}");
    }
}

#[test]
fn a_session_that_has_come_up_since_fails_anew() {
    // The first failure's incident closes five seconds after the table has moved, the second comes
    // less than five later.
    let mut all = established();
    all.extend([notification(9_000, 6, 4), down(9_000)]);
    all.extend((0..20).map(|n| fib(9_100, n, FibAction::Set, Some(secondary()))));
    all.push(up(9_500));
    all.extend(return_of_all(9_600));
    all.extend((0..20).map(|n| fib(10_000, n, FibAction::Set, Some(primary()))));
    all.extend(traffic(10, 16_000));
    all.extend((0..20).map(|n| fib(20_800, n, FibAction::Set, Some(secondary()))));
    let closed = run(all);
    assert_eq!(closed.len(), 2);
    let second = &closed[1].incident;
    assert_eq!(second.chain[0].kind, TriggerKind::NextHopLost);
    assert_eq!((second.start.earliest, second.start.latest), (ms(15_979), ms(16_060)));
}

#[test]
fn a_second_word_of_a_silent_failure_leaves_its_bounds() {
    let mut all = on_the_wire();
    all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
    all.extend([ended(27_500, DownCause::Recorded), bfd(27_500, gateway(), BfdState::Down)]);
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    assert_eq!(bounds(&closed[0].incident), (ms(18_500), ms(27_500), ms(27_500)));
}

#[test]
fn a_lost_carrier_may_be_told_a_second_late() {
    for (admin_up, earliest) in [(true, 7_980), (false, 8_980)] {
        let link = |carrier, admin_up| {
            let known = LinkChange { present: true, admin_up, ..LinkChange::default() };
            Observed::Link(LinkChange { name: "port0".into(), carrier, ..known })
        };
        let mut all = on_the_wire();
        all.extend([at(5, link(true, true)), at(9_000, link(false, admin_up))]);
        all.push(ended(8_990, DownCause::Closed));
        let closed = run(all);
        assert_eq!(closed.len(), 1);
        let incident = &closed[0].incident;
        assert_eq!(incident.start.earliest, ms(earliest.max(8_940)));
        assert_eq!(incident.chain[0].kind, TriggerKind::LinkDown);
    }
}

#[test]
fn a_carrier_was_lost_after_the_last_packet_however_long() {
    for (last_packet, earliest) in [(9_700, 9_679), (8_000, 8_980)] {
        let mut all = on_the_wire();
        all.extend([link(5, UPLINK, true), link(10_000, UPLINK, false)]);
        all.extend(traffic(10, last_packet));
        let (from, estimate, to) = bounds(&run(all)[0].incident);
        assert_eq!((from, to), (ms(earliest), ms(10_000)));
        assert_eq!(estimate < ms(9_720), last_packet == 9_700);
    }
}

#[test]
fn what_is_sent_again_into_silence_is_no_degradation() {
    let again = |at_ms| {
        let (session, count) = (Some(session()), 1);
        at(at_ms, Observed::Kernel(KernelEvent::Retransmitted { session, port: 179, count }))
    };
    // The link carries packets every 10 ms, and none from the twentieth second on in one case.
    for (lives_until, degradations) in [(20_000, 0), (40_000, 1)] {
        let mut all = established();
        all.extend(traffic(10, lives_until));
        all.extend((0..8).map(|n| again(20_300 + n * 1_500)));
        all.push(at(120_000, Observed::Tick));
        all.sort_by_key(|observation| observation.at);
        let closed = run(all);
        let found = closed.iter().filter(|f| f.incident.event == EventType::Degradation).count();
        assert_eq!(found, degradations, "packets until {lives_until} ms");
    }
}
