//! Flaps on hand-made observations: what opens one, what holds it open, and what is none.

use crate::detect::{DetectConfig, Detected, Detector, Finding};
use edgelore_model::{
    BfdChange, BfdState, DownCause, EventType, HelloChange, IgpArea, IgpProtocol, LdpChange, Link,
    LinkChange, NodeId, Observation, Observed, PathSummary, Prefix, Protocol, Rib, RouteDelta,
    Scope, SessionKey, Span, Timestamp,
};
use std::net::IpAddr;

const UPLINK: u32 = 7;

fn speaker(number: u32) -> IpAddr {
    IpAddr::V4((0xc000_0200 + number).into())
}

fn session(number: u32) -> SessionKey {
    SessionKey::between(speaker(0), speaker(number))
}

fn prefix(number: u32) -> Prefix {
    Prefix::new(IpAddr::V4((0x0b00_0000 + (number << 8)).into()), 24).expect("24 is a length")
}

fn at(ms: i64, what: Observed) -> Observation {
    Observation { at: Timestamp(0) + Span::from_millis(ms), link: UPLINK, what }
}

fn routes(number: u32, withdrawn: Vec<Prefix>, announced: Vec<Prefix>, hash: u64) -> Observed {
    Observed::Routes(RouteDelta {
        rib: Rib::Wire,
        session: session(number),
        speaker: speaker(number),
        withdrawn,
        announced,
        withdrawn_path_ids: Vec::new(),
        announced_path_ids: Vec::new(),
        path: Some(PathSummary { attributes_hash: hash, ..PathSummary::default() }),
    })
}

/// What is told of flaps, with what did not fit.
fn run(config: DetectConfig, all: &[Observation]) -> (Vec<Detected>, u64) {
    let (mut detector, mut out) = (Detector::new(config), Vec::new());
    all.iter().for_each(|one| detector.observe(one, &mut out));
    detector.finish(&mut out);
    out.retain(|one| match one {
        Detected::Opened(opened) => opened.event == EventType::Flap,
        Detected::Closed(finding) => finding.incident.event == EventType::Flap,
        Detected::Settled(_) | Detected::Joined(_) => false,
    });
    (out, detector.overflows())
}

/// The closed ones, of which each was told as opened before.
fn flaps(all: &[Observation]) -> Vec<Finding> {
    let (told, overflows) = run(DetectConfig::default(), all);
    assert_eq!(overflows, 0);
    let mut opened = 0;
    let mut closed = Vec::new();
    for one in told {
        match one {
            Detected::Closed(finding) => closed.push(*finding),
            _ => opened += 1,
        }
    }
    assert_eq!(opened, closed.len());
    closed
}

/// Prefix 1 of speaker 1, withdrawn and announced `cycles` times.
fn cycles(from_ms: i64, cycles: i64, period_ms: i64) -> Vec<Observation> {
    let mut all = Vec::new();
    for cycle in 0..cycles {
        let began = from_ms + cycle * period_ms;
        all.push(at(began, routes(1, vec![prefix(1)], vec![], 0)));
        all.push(at(began + period_ms / 2, routes(1, vec![], vec![prefix(1)], 1)));
    }
    all
}

#[test]
fn a_prefix_s_flap_says_how_often_how_fast_and_how_bad() {
    let all = cycles(0, 5, 4_000);
    let [flap] = &flaps(&all)[..] else { panic!("one flap") };
    let incident = &flap.incident;
    assert_eq!(incident.scope, Scope::Prefix(prefix(1), speaker(1)));
    assert_eq!(incident.protocol, Protocol::Bgp);
    let measured = &incident.measured;
    assert_eq!((measured.transitions, measured.period_ms), (Some(10), Some(4_000)));
    // Five losses of 1,000 within 16 s of a half-life of 900 s.
    assert!((4_930..=5_000).contains(&measured.penalty_max.unwrap()), "{measured:?}");
    assert!(incident.start.earliest.0 <= 0 && incident.start.latest.0 >= 0);
    assert_eq!(incident.end.unwrap().estimate, Timestamp(0) + Span::from_millis(18_000));
    assert!(incident.progress.is_sorted_by_key(|point| point.value));
    assert_eq!(incident.progress.last().unwrap().value, 10);
}

#[test]
fn what_flaps_with_pauses_is_one_flap() {
    // Each bout of eight losses is followed by five minutes of quiet, far more than `quiet_ms`.
    let bouts: Vec<Observation> =
        (0..4).flat_map(|bout| cycles(bout * 316_000, 8, 2_000)).collect();
    let [flap] = &flaps(&bouts)[..] else { panic!("one flap") };
    assert_eq!(flap.incident.measured.transitions, Some(64));
    // When its penalty is forgotten, the next bout is another.
    let apart: Vec<Observation> =
        (0..2).flat_map(|bout| cycles(bout * 7_200_000, 8, 2_000)).collect();
    assert_eq!(flaps(&apart).len(), 2);
}

#[test]
fn attributes_that_never_rest_are_a_flap_and_those_that_converge_are_none() {
    let change = |n: i64, every: i64| at(n * every, routes(1, vec![], vec![prefix(1)], n as u64));
    let restless: Vec<Observation> = (0..20).map(|n| change(n, 5_000)).collect();
    let [flap] = &flaps(&restless)[..] else { panic!("one flap") };
    assert!(flap.incident.measured.penalty_max >= Some(6_000));
    let exploring: Vec<Observation> = (0..8).map(|n| change(n, 5_000)).collect();
    assert!(flaps(&exploring).is_empty());
    let slow: Vec<Observation> = (0..40).map(|n| change(n, 1_800_000)).collect();
    assert!(flaps(&slow).is_empty());
}

#[test]
fn repeated_announcements_and_withdrawals_are_no_flap() {
    let again = |n: i64| {
        let (gone, here) = (vec![prefix(2)], vec![prefix(1)]);
        at(n * 100, routes(1, gone, here, 1))
    };
    assert!(flaps(&(0..100).map(again).collect::<Vec<_>>()).is_empty());
}

fn carrier(ms: i64, carrier: bool) -> Observation {
    let change = LinkChange {
        name: "up0".into(),
        present: true,
        admin_up: true,
        carrier,
        ..LinkChange::default()
    };
    at(ms, Observed::Link(change))
}

fn bfd(ms: i64, state: BfdState) -> Observation {
    let change = BfdChange {
        session: session(1),
        speaker: speaker(1),
        state,
        diagnostic: 0,
        detect_multiplier: 3,
        desired_min_tx_us: 300_000,
        required_min_rx_us: 300_000,
    };
    at(ms, Observed::Bfd(change))
}

fn ldp(ms: i64, up: bool) -> Observation {
    let session = session(1);
    at(
        ms,
        Observed::Ldp(if up {
            LdpChange::SessionUp { session, keepalive_time_s: 30 }
        } else {
            LdpChange::SessionDown { session, cause: DownCause::Closed }
        }),
    )
}

const AREA: IgpArea = IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 };

fn hello(ms: i64, heard: bool) -> Observation {
    let change = HelloChange {
        area: AREA,
        router: NodeId::ospf(1),
        hello_interval: Span::from_millis(1_000),
        dead_interval: Span::from_millis(4_000),
        neighbours: if heard { vec![NodeId::ospf(2)] } else { vec![] },
        designated: None,
        first: false,
    };
    at(ms, Observed::Hello(change))
}

/// Up at first, then `cycles` times down and up again.
fn ups_and_downs(cycles: i64, state: impl Fn(i64, bool) -> Observation) -> Vec<Observation> {
    let mut all = vec![state(0, true)];
    for cycle in 1..=cycles {
        all.extend([state(cycle * 5_000, false), state(cycle * 5_000 + 1_000, true)]);
    }
    all
}

#[test]
fn whatever_goes_up_and_down_flaps_by_its_own_name() {
    let between = edgelore_model::Adjacency::between(AREA, NodeId::ospf(1), NodeId::ospf(2));
    let bfd_state = |ms, up| bfd(ms, if up { BfdState::Up } else { BfdState::Down });
    let cases = [
        (ups_and_downs(5, carrier), Protocol::Link, Scope::Link(Link(UPLINK))),
        (ups_and_downs(5, bfd_state), Protocol::Bfd, Scope::Session(session(1))),
        (ups_and_downs(5, ldp), Protocol::Ldp, Scope::Session(session(1))),
        (ups_and_downs(5, hello), Protocol::Ospf, Scope::Adjacency(between)),
    ];
    for (all, protocol, scope) in cases {
        let [flap] = &flaps(&all)[..] else { panic!("one flap of {scope}") };
        let incident = &flap.incident;
        assert_eq!((incident.protocol, incident.scope), (protocol, scope));
        assert_eq!(incident.measured.transitions, Some(10), "{scope}");
        assert_eq!(incident.measured.period_ms, Some(5_000), "{scope}");
        assert_eq!(incident.start.estimate, Timestamp(0) + Span::from_millis(5_000), "{scope}");
        assert!(flaps(&all[..5]).is_empty(), "{scope}: four transitions are none");
    }
}

/// A session with a table that it brings anew each time.
fn session_cycle(ms: i64) -> [Observation; 3] {
    let table = routes(1, vec![], (0..50).map(prefix).collect(), 1);
    [
        at(ms, Observed::SessionDown { session: session(1), cause: DownCause::Closed }),
        at(ms + 1_000, Observed::SessionUp { session: session(1) }),
        at(ms + 1_100, table),
    ]
}

#[test]
fn the_prefixes_of_a_session_that_flaps_do_not_flap_beside_it() {
    let mut all = vec![at(0, Observed::SessionUp { session: session(1) })];
    all.push(at(100, routes(1, vec![], (0..50).map(prefix).collect(), 1)));
    all.extend((1..6).flat_map(|cycle| session_cycle(cycle * 10_000)));
    let [flap] = &flaps(&all)[..] else { panic!("one flap") };
    assert_eq!(flap.incident.scope, Scope::Session(session(1)));
    assert!(flap.incident.prefixes.is_empty());
    assert_eq!(flap.incident.measured.transitions, Some(10));
}

#[test]
fn a_session_that_flaps_with_its_link_belongs_to_the_link() {
    let mut all = vec![carrier(0, true), at(1, Observed::SessionUp { session: session(1) })];
    all.push(at(100, routes(1, vec![], vec![prefix(1)], 1)));
    for cycle in 1..6 {
        let ms = cycle * 10_000;
        all.extend([carrier(ms, false), carrier(ms + 500, true)]);
        all.extend(session_cycle(ms + 600));
    }
    let [flap] = &flaps(&all)[..] else { panic!("one flap") };
    assert_eq!(flap.incident.scope, Scope::Link(Link(UPLINK)));
    let on: Vec<Scope> = flap.incident.chain.iter().map(|trigger| trigger.on).collect();
    assert_eq!(on, [Scope::Link(Link(UPLINK)), Scope::Session(session(1))]);
}

#[test]
fn prefixes_past_the_bound_are_counted() {
    let mut config = DetectConfig::default();
    config.bounds.flap_prefixes_max = 3;
    let all: Vec<Prefix> = (0..5).map(prefix).collect();
    let cycle = |n: i64| {
        [
            at(n * 1_000, routes(1, all.clone(), vec![], 0)),
            at(n * 1_000 + 500, routes(1, vec![], all.clone(), 1)),
        ]
    };
    let (told, overflows) = run(config, &(0..3).flat_map(cycle).collect::<Vec<_>>());
    let [Detected::Opened(_), Detected::Closed(flap)] = &told[..] else { panic!("one flap") };
    assert_eq!((flap.incident.prefixes.len(), overflows), (3, 2));
}
