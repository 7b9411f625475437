//! Convergence and flap on hand-made observations, and independence of their portions.

mod interior;
mod joined;
mod unseen;

use super::*;
use edgelore_model::{
    BfdChange, BfdState, CounterSample, DownCause, EventType, FibAction, FibChange, Interval,
    LinkChange, NextHop, OpenCapabilities, PathSummary, Prefix, Rib, RouteDelta, Scope, SessionKey,
    Span,
};
use std::net::IpAddr;

const UPLINK: u32 = 7;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn gateway() -> IpAddr {
    ip("192.0.2.1")
}

fn primary() -> IpAddr {
    ip("192.0.2.2")
}

fn secondary() -> IpAddr {
    ip("192.0.2.6")
}

fn session() -> SessionKey {
    SessionKey::between(gateway(), primary())
}

fn ms(ms: i64) -> Timestamp {
    Timestamp(0) + Span::from_millis(ms)
}

fn at(at_ms: i64, what: Observed) -> Observation {
    Observation { at: ms(at_ms), link: UPLINK, what }
}

fn prefix(n: u8) -> Prefix {
    Prefix::new(ip(&format!("198.51.{n}.0")), 24).unwrap()
}

fn fib(at_ms: i64, n: u8, action: FibAction, via: Option<IpAddr>) -> Observation {
    let next_hops = via.map(|via| NextHop { via: Some(via), link: UPLINK }).into_iter().collect();
    let change =
        FibChange { prefix: prefix(n), table: 254, action, next_hops, not_before: ms(at_ms - 1) };
    at(at_ms, Observed::Fib(change))
}

fn open(at_ms: i64, speaker: IpAddr, hold_time_s: u16) -> Observation {
    at(
        at_ms,
        Observed::Open {
            session: session(),
            speaker,
            hold_time_s,
            capabilities: OpenCapabilities::default(),
        },
    )
}

fn notification(at_ms: i64, code: u8, subcode: u8) -> Observation {
    at(
        at_ms,
        Observed::Notification {
            session: session(),
            speaker: gateway(),
            code,
            subcode,
            hard_reset: false,
            communication: None,
        },
    )
}

fn down(at_ms: i64) -> Observation {
    at(at_ms, Observed::SessionDown { session: session(), cause: DownCause::Notification })
}

fn established() -> Vec<Observation> {
    let mut all = vec![
        open(0, gateway(), 9),
        open(1, primary(), 9),
        at(2, Observed::SessionUp { session: session() }),
    ];
    all.push(routes(3, vec![], (0..20).map(prefix).collect()));
    all.extend((0..20).map(|n| fib(3, n, FibAction::Set, Some(primary()))));
    all
}

/// A stream of packets every 10 ms in `from..until`, sampled as often.
fn traffic(from_ms: i64, until_ms: i64) -> Vec<Observation> {
    let sample = |n: i64| CounterSample { rx_packets: (n / 10) as u64, ..CounterSample::default() };
    (from_ms..until_ms).step_by(10).map(|n| at(n, Observed::Counters(sample(n)))).collect()
}

/// The findings among what was detected.
fn closed(detected: Vec<Detected>) -> Vec<Finding> {
    let finding = |one| match one {
        Detected::Closed(finding) => Some(*finding),
        _ => None,
    };
    detected.into_iter().filter_map(finding).collect()
}

fn run(mut observations: Vec<Observation>) -> Vec<Finding> {
    observations.sort_by_key(|o| o.at);
    let (mut detector, mut detected) = (Detector::new(DetectConfig::default()), Vec::new());
    for observation in &observations {
        detector.observe(observation, &mut detected);
    }
    detector.finish(&mut detected);
    assert_eq!(detector.overflows(), 0);
    closed(detected)
}

fn silent_failure() -> Vec<Observation> {
    let mut all = established();
    all.extend(traffic(10, 20_000));
    all.extend([notification(27_500, 4, 0), down(27_500)]);
    all.extend((0..20).map(|n| fib(27_530 + i64::from(n), n, FibAction::Set, Some(secondary()))));
    all.push(at(40_000, Observed::Tick));
    all
}

#[test]
fn a_silent_failure_began_when_the_link_fell_silent() {
    let closed = run(silent_failure());
    assert_eq!(closed.len(), 1);
    let incident = &closed[0].incident;
    assert_eq!(incident.event, EventType::Convergence);
    assert_eq!(incident.scope, Scope::Session(session()));
    assert_eq!(incident.prefixes.len(), 20);
    // The last packet came in (19,980, 19,990], a sample may be 1 ms old, and the next was due
    // within twice the pace of 10 ms.
    assert_eq!(incident.start.earliest, ms(19_979));
    assert_eq!(incident.start.latest, ms(20_060));
    let end = incident.end.unwrap();
    assert_eq!((end.earliest, end.latest), (ms(27_548), ms(27_549)));
    assert_eq!(incident.severity, 7_560);
    assert_eq!(closed[0].settings.sessions[0].1.hold_time_s(), Some(9));
}

#[test]
fn without_traffic_the_hold_timer_bounds_the_start() {
    let mut all = established();
    all.extend([notification(27_500, 4, 0), down(27_500)]);
    all.push(fib(27_540, 3, FibAction::Set, Some(secondary())));
    let incident = &run(all)[0].incident;
    // Last heard 9 s before, next keepalive due 3 s later, a twentieth of slack on both sides.
    assert_eq!(incident.start.earliest, ms(18_050));
    assert_eq!(incident.start.latest, ms(21_950));
}

#[test]
fn an_unseen_hold_time_is_not_taken_for_zero() {
    let all = vec![
        fib(3, 1, FibAction::Set, Some(primary())),
        notification(300_000, 4, 0),
        fib(300_040, 1, FibAction::Set, Some(secondary())),
    ];
    let incident = &run(all)[0].incident;
    assert!(incident.start.earliest <= ms(120_000), "{:?}", incident.start);
    assert_eq!(incident.start.latest, ms(300_000));
}

fn bfd(at_ms: i64, speaker: IpAddr, state: BfdState) -> Observation {
    at(
        at_ms,
        Observed::Bfd(BfdChange {
            session: session(),
            speaker,
            state,
            diagnostic: 1,
            detect_multiplier: 3,
            desired_min_tx_us: 300_000,
            required_min_rx_us: 300_000,
        }),
    )
}

#[test]
fn bfd_down_and_what_follows_are_one_incident() {
    let mut all = established();
    all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
    all.extend([bfd(10_000, gateway(), BfdState::Down), notification(10_004, 6, 9), down(10_004)]);
    all.push(fib(10_020, 1, FibAction::Set, Some(secondary())));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let incident = &closed[0].incident;
    let kinds: Vec<TriggerKind> = incident.chain.iter().map(|t| t.kind).collect();
    use TriggerKind::{BfdDown, Notification, SessionDown};
    assert_eq!(kinds, [BfdDown, Notification(6, 9), SessionDown]);
    // Detection takes 900 ms and packets come every 300 ms, one of them up to as much late, a
    // twentieth of slack; and the wire may have said so up to a second late.
    assert_eq!((incident.start.earliest, incident.start.latest), (ms(8_055), ms(9_745)));
    assert_eq!(incident.start.estimate, ms(9_250));
}

#[test]
fn a_table_that_moved_before_the_wire_said_why_belongs_to_the_incident() {
    let mut all = established();
    all.push(fib(9_990, 4, FibAction::Set, Some(secondary())));
    all.push(at(10_000, Observed::SessionDown { session: session(), cause: DownCause::Reset }));
    let incident = &run(all)[0].incident;
    assert_eq!(incident.prefixes, [prefix(4)]);
    let start = Interval { earliest: ms(9_950), ..Interval::exactly(ms(9_990)) };
    assert_eq!(incident.start, start);
}

#[test]
fn recovery_and_collision_are_no_incidents() {
    let mut all = established();
    all.push(notification(5_000, 6, 7));
    all.extend((0..20).map(|n| fib(6_000, n, FibAction::Set, Some(secondary()))));
    assert!(run(all).is_empty());
}

#[test]
fn a_session_that_is_down_triggers_nothing_until_it_was_up_again() {
    let mut all = silent_failure();
    all.push(notification(60_000, 4, 0));
    assert_eq!(run(all.clone()).len(), 1);
    all.push(at(61_000, Observed::SessionUp { session: session() }));
    all.push(routes(61_001, vec![], vec![prefix(1)]));
    all.push(notification(70_000, 4, 0));
    assert_eq!(run(all).len(), 2);
}

#[test]
fn a_table_that_leaves_a_silent_neighbour_needs_no_word_on_the_wire() {
    let mut all = established();
    all.extend(traffic(10, 20_000));
    all.extend((0..20).map(|n| fib(27_530 + i64::from(n), n, FibAction::Set, Some(secondary()))));
    // Much later the router notices on the wire that its connection is dead.
    all.push(at(28_400, Observed::SessionDown { session: session(), cause: DownCause::Reset }));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let incident = &closed[0].incident;
    assert_eq!(incident.scope, Scope::Session(session()));
    let kinds: Vec<TriggerKind> = incident.chain.iter().map(|t| t.kind).collect();
    assert_eq!(kinds, [TriggerKind::NextHopLost, TriggerKind::SessionDown]);
    assert_eq!((incident.start.earliest, incident.start.latest), (ms(19_979), ms(20_060)));
    assert_eq!(incident.end.unwrap().latest, ms(27_549));
    assert_eq!(incident.prefixes.len(), 20);
}

#[test]
fn late_departures_from_a_session_that_is_down_are_no_second_failure() {
    let mut all = silent_failure();
    all.push(fib(50_000, 30, FibAction::Set, Some(primary())));
    all.push(fib(70_000, 30, FibAction::Set, Some(secondary())));
    all.push(at(80_000, Observed::Tick));
    assert_eq!(run(all).len(), 1);
}

#[test]
fn routes_that_leave_a_neighbour_with_its_traffic_are_no_failure() {
    let mut all = established();
    all.extend(traffic(10, 27_535));
    all.extend((0..20).map(|n| fib(27_530 + i64::from(n), n, FibAction::Set, Some(secondary()))));
    assert!(run(all).is_empty());
}

#[test]
fn a_late_word_on_the_wire_does_not_shorten_the_failure() {
    let mut all = established();
    all.push(fib(9_000, 4, FibAction::Set, Some(secondary())));
    all.push(at(9_900, Observed::SessionDown { session: session(), cause: DownCause::Reset }));
    let incident = &run(all)[0].incident;
    // Whichever timer noticed, it had run for a hold time at most.
    assert_eq!((incident.start.earliest, incident.start.latest), (ms(-450), ms(9_000)));
}

#[test]
fn a_session_that_was_refused_is_no_convergence() {
    let all = vec![
        at(0, Observed::SessionUp { session: session() }),
        notification(10, 2, 2),
        down(10),
        at(10_000, Observed::SessionUp { session: session() }),
        notification(10_010, 2, 2),
        down(10_010),
    ];
    assert!(run(all).is_empty());
}

#[test]
fn a_link_down_takes_its_session_along() {
    let link = |carrier| {
        let name = "up0".into();
        Observed::Link(LinkChange {
            name,
            present: true,
            admin_up: true,
            carrier,
            ..LinkChange::default()
        })
    };
    let mut all = established();
    all.push(at(5, link(true)));
    all.push(at(9_000, link(false)));
    all.push(at(9_010, Observed::SessionDown { session: session(), cause: DownCause::Closed }));
    all.push(fib(9_050, 2, FibAction::Set, Some(secondary())));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].incident.scope, Scope::Link(edgelore_model::Link(UPLINK)));
    assert_eq!(closed[0].incident.chain.len(), 2);
    assert_eq!(closed[0].incident.start.latest, ms(9_000));
}

fn routes(at_ms: i64, withdrawn: Vec<Prefix>, announced: Vec<Prefix>) -> Observation {
    let path = (!announced.is_empty()).then(PathSummary::default);
    let delta = RouteDelta {
        rib: Rib::Wire,
        session: session(),
        speaker: primary(),
        withdrawn,
        announced,
        withdrawn_path_ids: Vec::new(),
        announced_path_ids: Vec::new(),
        path,
    };
    at(at_ms, Observed::Routes(delta))
}

#[test]
fn a_burst_of_withdrawals_is_an_incident_without_a_kernel_table() {
    let all: Vec<Observation> =
        (0..150).map(|n| routes(1_000 + i64::from(n), vec![prefix(n)], vec![])).collect();
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let incident = &closed[0].incident;
    assert_eq!(incident.prefixes.len(), 150);
    assert_eq!(incident.start, Interval::exactly(ms(1_000)));
    assert_eq!(incident.end, Some(Interval::exactly(ms(1_149))));
}

#[test]
fn a_prefix_that_comes_and_goes_flaps() {
    let mut all = Vec::new();
    for cycle in 0..4 {
        all.push(routes(cycle * 2_000, vec![prefix(1)], vec![]));
        all.push(routes(cycle * 2_000 + 1_000, vec![], vec![prefix(1)]));
        all.push(routes(cycle * 2_000 + 1_500, vec![], vec![prefix(1), prefix(2)]));
    }
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let incident = &closed[0].incident;
    assert_eq!(incident.event, EventType::Flap);
    assert_eq!(incident.scope, Scope::Prefix(prefix(1), primary()));
    // Eight transitions in seven seconds.
    assert_eq!(incident.severity, 8 * 3_600 / 7);
}

#[test]
fn a_route_reported_from_two_tables_moves_once() {
    let seen_after_policy = |mut observation: Observation| {
        if let Observed::Routes(delta) = &mut observation.what {
            delta.rib = Rib::InPost;
        }
        observation
    };
    let mut all = Vec::new();
    for cycle in 0..2 {
        for (moment, moved) in [
            (0, routes(cycle * 2_000, vec![prefix(1)], vec![])),
            (1_000, routes(cycle * 2_000 + 1_000, vec![], vec![prefix(1)])),
        ] {
            let mut before_policy = moved.clone();
            if let Observed::Routes(delta) = &mut before_policy.what {
                delta.rib = Rib::InPre;
            }
            let late = seen_after_policy(moved);
            all.push(before_policy);
            all.push(Observation { at: ms(cycle * 2_000 + moment + 400), ..late });
        }
    }
    // Four transitions, where both tables together would make seven.
    assert!(run(all).is_empty());
}

#[test]
fn a_session_that_comes_and_goes_flaps() {
    let mut all = established();
    for cycle in 1..5 {
        all.push(down(cycle * 10_000));
        all.push(at(cycle * 10_000 + 2_000, Observed::SessionUp { session: session() }));
    }
    let flaps: Vec<Finding> =
        run(all).into_iter().filter(|f| f.incident.event == EventType::Flap).collect();
    assert_eq!(flaps.len(), 1);
    assert_eq!(flaps[0].incident.scope, Scope::Session(session()));
}

#[test]
fn a_gap_in_the_evidence_marks_what_is_open() {
    let mut all = silent_failure();
    all.push(at(27_535, Observed::StreamGap { session: session(), speaker: primary() }));
    assert!(run(all)[0].incident.gaps);
}

#[test]
fn other_settings_hold_for_what_is_open_and_leave_the_bounds() {
    let mut detector = Detector::new(DetectConfig::default());
    let mut detected = Vec::new();
    for observation in established().iter().chain(&[notification(60_000, 4, 0)]) {
        detector.observe(observation, &mut detected);
    }
    detector.observe(&at(61_000, Observed::Tick), &mut detected);
    assert!(closed(std::mem::take(&mut detected)).is_empty(), "five seconds are not over");
    let mut shorter = DetectConfig::default();
    (shorter.convergence.quiet_ms, shorter.bounds.incidents_open_max) = (500, 0);
    detector.retune(&shorter);
    detector.observe(&at(61_001, Observed::Tick), &mut detected);
    assert_eq!(closed(std::mem::take(&mut detected)).len(), 1);
    detector.observe(&at(70_000, Observed::SessionUp { session: session() }), &mut detected);
    detector.observe(&routes(70_001, vec![], vec![prefix(1)]), &mut detected);
    detector.observe(&notification(80_000, 4, 0), &mut detected);
    detector.finish(&mut detected);
    assert_eq!((closed(detected).len(), detector.overflows()), (1, 0), "the first bound holds");
}
