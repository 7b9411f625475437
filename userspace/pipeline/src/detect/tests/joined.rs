//! Convergence of every protocol: what joins, what stays apart, and what is no incident at all.

use super::*;
use edgelore_model::{
    Adjacency, HelloChange, IgpArea, IgpProtocol, KernelEvent, LdpChange, Link, LinkStateAction,
    LinkStateChange, LossReason, NodeId, OperState, QueueSample, RouterChange, RuledOut,
    TopologyEdge, TopologyPrefix, Trigger,
};

pub(super) const AREA: IgpArea = IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 };
pub(super) const SECOND_LINK: u32 = 8;

pub(super) fn router(id: u32) -> NodeId {
    NodeId::ospf(id)
}

pub(super) fn kinds(chain: &[Trigger]) -> Vec<TriggerKind> {
    chain.iter().map(|trigger| trigger.kind).collect()
}

pub(super) fn hello(at_ms: i64, from: u32, hears: &[u32], first: bool) -> Observation {
    at(
        at_ms,
        Observed::Hello(HelloChange {
            area: AREA,
            router: router(from),
            hello_interval: Span::from_millis(1_000),
            dead_interval: Span::from_millis(4_000),
            neighbours: hears.iter().map(|&id| router(id)).collect(),
            designated: None,
            first,
        }),
    )
}

/// A router LSA: neighbours with their costs, and the router's own prefix.
pub(super) fn lsa(
    at_ms: i64,
    from: u32,
    action: LinkStateAction,
    edges: &[(u32, u32)],
) -> Observation {
    let told = action != LinkStateAction::Flushed;
    let prefix = TopologyPrefix { prefix: prefix(100 + from as u8), cost: 1 };
    at(
        at_ms,
        Observed::LinkState(LinkStateChange {
            area: AREA,
            origin: router(from),
            id: (1, from),
            sequence: 1,
            age: Span(0),
            action,
            overload: false,
            neighbours: edges
                .iter()
                .map(|&(to, cost)| TopologyEdge { to: router(to), cost })
                .collect(),
            prefixes: told.then_some(prefix).into_iter().collect(),
            grace: None,
        }),
    )
}

/// Routers 1 and 2 on the uplink, 3 behind 2, everybody adjacent.
pub(super) fn interior() -> Vec<Observation> {
    use LinkStateAction::New;
    let mut all = vec![
        hello(1, 1, &[2], true),
        hello(2, 2, &[1], true),
        lsa(3, 1, New, &[(2, 10)]),
        lsa(4, 2, New, &[(1, 10), (3, 10)]),
        lsa(5, 3, New, &[(2, 10)]),
    ];
    all.extend([101, 102, 103].map(|n| fib(6, n, FibAction::Set, Some(primary()))));
    all
}

pub(super) fn link(at_ms: i64, link: u32, carrier: bool) -> Observation {
    let oper = if carrier { OperState::Up } else { OperState::Down };
    let change =
        LinkChange { present: true, admin_up: true, carrier, oper, ..LinkChange::default() };
    Observation { link, ..at(at_ms, Observed::Link(change)) }
}

#[test]
fn a_link_down_and_all_that_follows_is_one_causal_chain() {
    let mut all = established();
    all.extend(interior());
    all.extend([link(0, UPLINK, true), link(9_000, UPLINK, false)]);
    all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
    all.push(bfd(9_005, gateway(), BfdState::Down));
    all.push(hello(9_008, 1, &[], false));
    all.push(lsa(9_009, 1, LinkStateAction::Changed, &[]));
    all.extend([notification(9_010, 6, 9), down(9_010)]);
    all.extend((0..20).map(|n| fib(9_020, n, FibAction::Set, Some(secondary()))));
    all.push(fib(9_030, 102, FibAction::Deleted, None));
    let closed = run(all);
    assert_eq!(closed.len(), 1, "{closed:#?}");
    let incident = &closed[0].incident;
    use TriggerKind::{
        AdjacencyDown, BfdDown, LinkDown, Notification, SessionDown, TopologyChange,
    };
    assert_eq!(
        kinds(&incident.chain),
        [LinkDown, BfdDown, AdjacencyDown, TopologyChange, Notification(6, 9), SessionDown]
    );
    assert_eq!(incident.scope, Scope::Link(Link(UPLINK)));
    assert_eq!(
        incident.chain[2].on,
        Scope::Adjacency(Adjacency::between(AREA, router(1), router(2)))
    );
    assert_eq!((incident.protocol, incident.prefixes.len()), (Protocol::Bgp, 21));
    assert_eq!(incident.end.expect("the table moved").latest, ms(9_030));
    assert_eq!(incident.measured.fib_ms, Some(10));
    // One prefix was gone when the incident closed, and had been for the quiet time.
    assert_eq!(incident.measured.blackholed, Some(1));
    assert_eq!(incident.progress.last().map(|p| (p.at, p.value)), Some((ms(9_030), 21)));
    assert!(incident.ruled_out.contains(&RuledOut::AdministrativeShutdown));
    assert!(!incident.ruled_out.contains(&RuledOut::LinkDown));
}

fn other_session() -> SessionKey {
    SessionKey::between(ip("192.0.2.5"), secondary())
}

/// A second session, on another link, that carries twenty prefixes of its own.
fn second() -> Vec<Observation> {
    let here = |observation| Observation { link: SECOND_LINK, ..observation };
    let mut all = vec![here(at(2, Observed::SessionUp { session: other_session() }))];
    if let Observed::Routes(delta) = routes(3, vec![], (40..60).map(prefix).collect()).what {
        let delta = RouteDelta { session: other_session(), speaker: secondary(), ..delta };
        all.push(here(at(3, Observed::Routes(delta))));
    }
    all.extend((40..60).map(|n| fib(4, n, FibAction::Set, Some(secondary()))));
    all
}

fn down_of(at_ms: i64, session: SessionKey) -> Observation {
    at(at_ms, Observed::SessionDown { session, cause: DownCause::Reset })
}

#[test]
fn failures_on_different_links_in_the_same_second_stay_apart() {
    let mut all = established();
    all.extend(second());
    all.extend([down_of(9_000, session()), down_of(9_001, other_session())]);
    for n in 0..20 {
        all.push(fib(9_010, n, FibAction::Deleted, None));
        all.push(fib(9_011, 40 + n, FibAction::Deleted, None));
    }
    let closed = run(all);
    let scopes: Vec<Scope> = closed.iter().map(|f| f.incident.scope).collect();
    assert_eq!(scopes, [Scope::Session(session()), Scope::Session(other_session())]);
    assert_eq!(closed[0].incident.prefixes, (0..20).map(prefix).collect::<Vec<_>>());
    assert_eq!(closed[1].incident.prefixes, (40..60).map(prefix).collect::<Vec<_>>());
}

#[test]
fn sessions_on_a_link_that_fell_silent_fail_together() {
    for silent in [true, false] {
        let sixth = SessionKey::between(ip("2001:db8::1"), ip("2001:db8::2"));
        let mut all = established();
        all.push(at(2, Observed::SessionUp { session: sixth }));
        if let Observed::Routes(delta) = routes(3, vec![], vec![prefix(90)]).what {
            let delta = RouteDelta { session: sixth, speaker: ip("2001:db8::2"), ..delta };
            all.push(at(3, Observed::Routes(delta)));
        }
        all.extend(traffic(10, if silent { 20_000 } else { 28_000 }));
        all.extend([notification(27_500, 4, 0), down(27_500), down_of(27_900, sixth)]);
        all.push(fib(27_950, 3, FibAction::Set, Some(secondary())));
        let closed = run(all);
        assert_eq!(closed.len(), if silent { 1 } else { 2 }, "silent: {silent}");
        let ruled_out = &closed[0].incident.ruled_out;
        assert_eq!(ruled_out.contains(&RuledOut::Silence), !silent);
    }
}

#[test]
fn sessions_without_a_link_never_meet_on_it() {
    let unlinked = |o: Observation| Observation { link: 0, ..o };
    let mut all: Vec<Observation> =
        established().into_iter().chain(second()).map(unlinked).collect();
    all.retain(|o| !matches!(o.what, Observed::Fib(_)));
    all.extend([down_of(9_000, session()), down_of(9_001, other_session())].map(unlinked));
    let closed = run(all);
    assert_eq!(closed.len(), 2);
    // Nothing but its end shows what a session moved: all that was announced on it.
    assert_eq!(closed[0].incident.prefixes, (0..20).map(prefix).collect::<Vec<_>>());
    assert_eq!(closed[0].incident.end, None);
}

#[test]
fn a_changed_cost_is_a_convergence_where_it_moves_routes() {
    use LinkStateAction::{Changed, Refreshed};
    for (moves, action, count) in [(true, Changed, 1), (false, Changed, 0), (true, Refreshed, 0)] {
        let mut all = interior();
        all.push(lsa(9_000, 2, action, &[(1, 10), (3, 500)]));
        if moves {
            all.push(fib(9_060, 103, FibAction::Set, Some(secondary())));
        }
        let closed = run(all);
        assert_eq!(closed.len(), count, "{moves} {action:?}");
        let Some(finding) = closed.first() else { continue };
        let incident = &finding.incident;
        assert_eq!(kinds(&incident.chain), [TriggerKind::CostChange]);
        assert_eq!(incident.protocol, Protocol::Ospf);
        assert_eq!(incident.start, Interval::exactly(ms(9_000)));
        assert_eq!((incident.severity, &incident.prefixes[..]), (60, &[prefix(103)][..]));
    }
}

#[test]
fn a_lost_neighbour_fell_silent_a_dead_interval_before_it_was_dropped() {
    for traffic_until in [None, Some(20_000)] {
        let mut all = interior();
        all.extend(traffic_until.into_iter().flat_map(|until| traffic(10, until)));
        all.push(hello(24_600, 1, &[], false));
        all.push(lsa(24_610, 1, LinkStateAction::Changed, &[]));
        all.push(fib(24_700, 102, FibAction::Set, Some(secondary())));
        let closed = run(all);
        assert_eq!(closed.len(), 1);
        let incident = &closed[0].incident;
        let between = Adjacency::between(AREA, router(1), router(2));
        assert_eq!(incident.scope, Scope::Adjacency(between));
        use TriggerKind::{AdjacencyDown, TopologyChange};
        assert_eq!(kinds(&incident.chain), [AdjacencyDown, TopologyChange]);
        assert_eq!(incident.protocol, Protocol::Ospf);
        let silence = (ms(19_979), ms(20_060));
        let bounds = if traffic_until.is_some() { silence } else { (ms(19_600), ms(24_600)) };
        assert_eq!((incident.start.earliest, incident.start.latest), bounds);
    }
}

#[test]
fn a_bridge_hears_a_neighbour_fall_silent_before_the_traffic_leaves_the_other_link() {
    let there = |observation| Observation { link: SECOND_LINK, ..observation };
    let mut all = interior();
    all.retain(|o| !matches!(o.what, Observed::Fib(_)));
    // What passes a bridge is seen on both of its links.
    all.push(there(hello(2, 2, &[1], true)));
    all.extend(traffic(10, 24_100));
    all.extend(traffic(10, 20_000).into_iter().map(there));
    all.push(hello(24_600, 1, &[], false));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let start = closed[0].incident.start;
    assert_eq!((start.earliest, start.latest), (ms(19_979), ms(20_060)));
}

#[test]
fn what_is_lost_far_away_counts_where_routes_move_or_nothing_shows_them() {
    use LinkStateAction::Changed;
    let lost = || [lsa(9_000, 2, Changed, &[(1, 10)]), lsa(9_400, 3, Changed, &[])];
    let mut moved = interior();
    moved.extend(lost());
    moved.push(fib(9_200, 103, FibAction::Deleted, None));
    let closed = run(moved);
    assert_eq!(closed.len(), 1);
    let between = Adjacency::between(AREA, router(2), router(3));
    assert_eq!(closed[0].incident.scope, Scope::Adjacency(between));
    assert_eq!(closed[0].incident.prefixes, [prefix(103)]);

    let mut unmoved = interior();
    unmoved.extend(lost());
    assert!(run(unmoved).is_empty());

    let mut bridge = interior();
    bridge.retain(|o| !matches!(o.what, Observed::Fib(_)));
    bridge.extend(lost());
    let closed = run(bridge);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].incident.end, None, "what others calculate is not seen");
}

#[test]
fn what_recovers_repeats_itself_or_was_lost_long_ago_is_no_failure() {
    use LinkStateAction::{Changed, Flushed, New};
    let mut all = interior();
    all.retain(|o| !matches!(o.what, Observed::Fib(_)));
    // A further neighbour, with another cost for an old one and without a prefix.
    all.push(lsa(9_000, 4, New, &[(2, 10)]));
    all.push(lsa(9_010, 2, Changed, &[(1, 20), (3, 10), (4, 10)]));
    assert!(run(all.clone()).is_empty());
    // The neighbour dies: one incident; its own advertisement ages out an hour later.
    all.push(lsa(60_000, 2, Changed, &[(1, 20), (3, 10)]));
    all.push(lsa(3_660_000, 4, Flushed, &[]));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    assert_eq!(kinds(&closed[0].incident.chain), [TriggerKind::TopologyChange]);
}

#[test]
fn a_router_that_restarts_gracefully_loses_no_neighbour() {
    let mut all = interior();
    let Observed::LinkState(mut grace) = lsa(0, 2, LinkStateAction::New, &[]).what else {
        unreachable!("it is one")
    };
    (grace.id, grace.grace) = ((9, 3 << 24), Some(Span::from_millis(120_000)));
    grace.prefixes.clear();
    all.push(at(8_000, Observed::LinkState(grace)));
    all.push(hello(9_000, 1, &[], false));
    assert!(run(all.clone()).is_empty());
    all.push(hello(9_100, 1, &[2], false));
    all.push(hello(200_000, 1, &[], false));
    assert_eq!(run(all).len(), 1, "the grace period is over");
}

#[test]
fn a_label_session_is_lost_once() {
    let session = SessionKey::between(ip("10.0.0.1"), ip("10.0.0.2"));
    let ldp = |at_ms, change| at(at_ms, Observed::Ldp(change));
    let notified =
        LdpChange::Notification { session, speaker: ip("10.0.0.1"), status: 0x14, fatal: true };
    let ended = LdpChange::SessionDown { session, cause: DownCause::Closed };
    let all = vec![
        ldp(0, LdpChange::SessionUp { session, keepalive_time_s: 30 }),
        ldp(60_000, notified),
        ldp(60_001, ended.clone()),
        ldp(90_000, ended),
    ];
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let incident = &closed[0].incident;
    assert_eq!(
        (incident.protocol, kinds(&incident.chain)),
        (Protocol::Ldp, vec![TriggerKind::LdpDown])
    );
    // Silent for the 30 s of the keepalive timer, with something due every ten.
    assert_eq!((incident.start.earliest, incident.start.latest), (ms(28_500), ms(41_500)));
}

fn graceful(at_ms: i64, speaker: IpAddr) -> Observation {
    let mut observation = open(at_ms, speaker, 9);
    if let Observed::Open { capabilities, .. } = &mut observation.what {
        (capabilities.graceful_restart_s, capabilities.graceful_restart_families) = (Some(60), 1);
    }
    observation
}

#[test]
fn a_graceful_restart_is_an_incident_where_routes_move_all_the_same() {
    let mut all = established();
    all.extend([graceful(0, gateway()), graceful(1, primary())]);
    let mut notified = all.clone();
    all.push(down_of(9_000, session()));
    all.push(at(20_000, Observed::SessionUp { session: session() }));
    all.push(routes(20_001, vec![], (0..20).map(prefix).collect()));
    assert!(run(all.clone()).is_empty(), "the routes were kept");
    all.retain(|o| o.at < ms(20_000));
    all.push(fib(50_000, 3, FibAction::Set, Some(secondary())));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].incident.severity, 41_000);
    // A NOTIFICATION ends graceful restart unless both say otherwise (RFC 8538).
    notified.extend([notification(9_000, 6, 4), down(9_000)]);
    assert_eq!(run(notified).len(), 1);
}

#[test]
fn a_table_transfer_and_what_follows_from_it_is_no_convergence() {
    let withdrawals = |from_ms: i64| {
        (0..150u8).map(move |n| routes(from_ms + i64::from(n), vec![prefix(n)], vec![]))
    };
    let mut all = vec![at(0, Observed::SessionUp { session: session() })];
    all.extend((0..150u8).map(|n| routes(10 + i64::from(n), vec![], vec![prefix(n)])));
    all.extend(withdrawals(500));
    assert!(run(all.clone()).is_empty());
    // Once the table is through, a burst is one: after the speaker's word, or after a pause.
    all.extend((0..150u8).map(|n| routes(1_000 + i64::from(n), vec![], vec![prefix(n)])));
    let all_sent = Observed::EndOfRib {
        session: session(),
        speaker: primary(),
        rib: Rib::Wire,
        afi: 1,
        safi: 1,
    };
    for (told, from_ms, count) in [(true, 7_000, 1), (false, 4_000, 0), (false, 9_000, 1)] {
        let mut all = all.clone();
        all.extend(told.then(|| at(1_500, all_sent.clone())));
        all.extend(withdrawals(from_ms));
        assert_eq!(run(all).len(), count, "{told} {from_ms}");
    }
}

#[test]
fn a_gap_starts_nothing() {
    let mut all = established();
    all.extend(interior());
    all.push(at(9_000, Observed::StreamGap { session: session(), speaker: primary() }));
    all.push(at(9_001, Observed::Lost { reason: LossReason::RingFull, count: 900 }));
    // What was known is said again.
    all.push(routes(9_100, vec![], (0..20).map(prefix).collect()));
    all.extend((0..20).map(|n| fib(9_200, n, FibAction::Present, Some(secondary()))));
    all.push(lsa(9_300, 2, LinkStateAction::Refreshed, &[(1, 10), (3, 10)]));
    all.push(hello(9_400, 1, &[2], false));
    let count = 3;
    all.push(at(
        9_500,
        Observed::Kernel(KernelEvent::Retransmitted { session: None, port: 0, count }),
    ));
    assert!(run(all).is_empty());
}

#[test]
fn a_monitored_router_that_goes_takes_no_session_down() {
    let gone = RouterChange { router: gateway(), connected: false, words: String::new() };
    let mut all = established();
    all.push(at(9_000, Observed::Router(gone)));
    all.push(at(60_000, Observed::SessionUp { session: session() }));
    all.push(routes(60_001, vec![], (0..20).map(prefix).collect()));
    assert!(run(all).is_empty());
}

#[test]
fn late_signs_of_an_incident_that_has_closed_open_no_other() {
    // The link goes down at 9 s; the hold timer of a session over it expires a minute later.
    for (moves_late, count) in [(false, 1), (true, 2)] {
        let mut all = established();
        all.extend([link(0, UPLINK, true), link(9_000, UPLINK, false)]);
        all.push(fib(9_050, 2, FibAction::Set, Some(secondary())));
        all.push(at(20_000, Observed::Tick));
        all.extend([notification(69_000, 4, 0), down(69_000)]);
        if moves_late {
            all.push(fib(69_040, 3, FibAction::Set, Some(secondary())));
        }
        all.push(at(90_000, Observed::Tick));
        // The session's hold time is 9 s, so a minute later is another failure; with 180 s it is
        // the same one.
        all.extend([open(4, gateway(), 180), open(5, primary(), 180)]);
        let closed = run(all);
        assert_eq!(closed.len(), count, "{moves_late}");
    }
}

#[test]
fn quiet_is_counted_to_the_millisecond() {
    // The fourth prefix leaves just before routing had stood still for five seconds, or just when
    // it had: then it is late, and the session, which is down, fails no second time.
    for (late_ms, prefixes) in [(4_999, 2), (5_000, 1)] {
        let mut all = established();
        all.extend([notification(9_000, 6, 4), down(9_000)]);
        all.push(fib(9_100, 3, FibAction::Set, Some(secondary())));
        all.push(fib(9_100 + late_ms, 4, FibAction::Set, Some(secondary())));
        all.push(at(30_000, Observed::Tick));
        let closed = run(all);
        assert_eq!(closed.len(), 1, "{late_ms}");
        assert_eq!(closed[0].incident.prefixes.len(), prefixes, "{late_ms}");
    }
}

#[test]
fn a_clock_that_jumps_fabricates_no_duration() {
    const DAY: i64 = 86_400_000;
    for jump in [-DAY, DAY, -11_000, i64::MAX / 2_000_000] {
        let mut all = established();
        all.extend(traffic(10, 9_000));
        all.extend([notification(9_000, 6, 4), down(9_000)]);
        all.push(fib(9_100, 3, FibAction::Set, Some(secondary())));
        let mut after = vec![fib(9_200, 4, FibAction::Set, Some(secondary()))];
        after.extend(traffic(9_210, 9_400));
        after.push(at(9_500, Observed::Tick));
        after.iter_mut().for_each(|o| o.at = o.at + Span::from_millis(jump));
        all.sort_by_key(|o| o.at);
        all.extend(after);
        let (mut detector, mut detected) = (Detector::new(DetectConfig::default()), Vec::new());
        all.iter().for_each(|o| detector.observe(o, &mut detected));
        detector.observe(&at(9_600, Observed::Tick), &mut detected);
        detector.finish(&mut detected);
        let closed = closed(detected);
        assert_eq!(closed.len(), 1, "{jump}");
        let incident = &closed[0].incident;
        // What comes from a clock that was set back is taken as of now, as incomplete evidence.
        let prefixes = if jump < 0 { 2 } else { 1 };
        assert_eq!((incident.severity, incident.prefixes.len()), (100, prefixes), "{jump}");
        assert_eq!(incident.gaps, jump < 0, "{jump}");
    }
}

#[test]
fn stretches_without_a_route_are_told_to_the_millisecond() {
    let mut all = established();
    all.extend([notification(9_000, 6, 4), down(9_000)]);
    for (n, back_ms) in [(1, 9_150), (2, 9_300), (3, 10_100)] {
        all.push(fib(9_100, n, FibAction::Deleted, None));
        all.push(fib(back_ms, n, FibAction::Set, Some(secondary())));
    }
    all.push(fib(9_100, 4, FibAction::Set, Some(secondary())));
    let measured = run(all)[0].incident.measured.clone();
    assert_eq!(
        (measured.blackholed, measured.blackholed_ms_median, measured.blackholed_ms_max),
        (Some(3), Some(200), Some(1_000))
    );
    assert_eq!((measured.fib_ms, measured.explored), (Some(1_000), None));
}

/// An announcement with attributes of its own.
fn path(at_ms: i64, n: u8, hash: u64) -> Observation {
    let mut observation = routes(at_ms, vec![], vec![prefix(n)]);
    if let Observed::Routes(RouteDelta { path: Some(path), .. }) = &mut observation.what {
        path.attributes_hash = hash;
    }
    observation
}

#[test]
fn path_exploration_counts_what_did_not_stand() {
    let mut all: Vec<Observation> = (0..150u8).map(|n| path(0, n, 1)).collect();
    all.extend((0..150u8).map(|n| routes(60_000 + i64::from(n), vec![prefix(n)], vec![])));
    // One comes back, gets longer twice, and stands; another comes back and goes again.
    all.extend([path(60_200, 1, 2), path(60_300, 1, 3), path(60_400, 1, 4)]);
    all.extend([path(60_200, 2, 2), routes(60_500, vec![prefix(2)], vec![])]);
    // A repetition is no announcement of something new.
    all.push(path(60_600, 1, 4));
    let closed = run(all);
    assert_eq!(closed.len(), 1);
    let incident = &closed[0].incident;
    assert_eq!((incident.measured.explored, incident.measured.explored_max), (Some(3), Some(2)));
    assert_eq!((incident.prefixes.len(), incident.end), (150, Some(Interval::exactly(ms(60_500)))));
    assert_eq!(incident.measured.blackholed, Some(150));
}

#[test]
fn what_was_watched_and_calm_is_ruled_out() {
    let queue = |at_ms, drops| {
        let sample = QueueSample { present: true, handle: 1, drops, ..QueueSample::default() };
        at(at_ms, Observed::Queue(sample))
    };
    for (drops, congested) in [(7, false), (8, true)] {
        let mut all = established();
        all.extend([link(0, UPLINK, true), queue(100, 7), queue(29_900, drops)]);
        all.extend([bfd(100, gateway(), BfdState::Up), bfd(120, primary(), BfdState::Up)]);
        all.extend(traffic(10, 29_990));
        all.extend([notification(29_995, 2, 0), down(29_995)]);
        all.push(queue(30_000, drops));
        let incident = &run(all)[0].incident;
        let mut expected = vec![RuledOut::LinkDown, RuledOut::Silence, RuledOut::BfdDown];
        expected.extend((!congested).then_some(RuledOut::Congestion));
        expected.push(RuledOut::AdministrativeShutdown);
        assert_eq!(incident.ruled_out, expected);
    }
}
