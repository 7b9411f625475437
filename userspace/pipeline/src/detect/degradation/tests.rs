//! What is lost or late enough, at the bounds.

use super::*;
use crate::detect::{DetectConfig, Detector};
use edgelore_model::{
    Adjacency, CounterSample, FaultHandling, Heartbeat, IgpArea, IgpProtocol, KernelEvent,
    LateHeartbeat, Link, PeerStatistics, QueueSample, SentAgain, SessionKey,
};

const LINK: u32 = 4;

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn session() -> SessionKey {
    SessionKey::between(ip(1), ip(2))
}

fn ms(ms: i64) -> Timestamp {
    Timestamp(0) + Span::from_millis(ms)
}

fn at(at_ms: i64, what: Observed) -> Observation {
    Observation { at: ms(at_ms), link: LINK, what }
}

/// A BFD packet of a session of 100 ms that came after 195 ms, the `count`th of its sender.
fn bfd(at_ms: i64, count: u32) -> Observation {
    let heartbeat = Heartbeat::Bfd { session: session(), speaker: ip(2) };
    let (interval, gap) = (Span::from_millis(100), Span::from_millis(195));
    at(at_ms, Observed::Late(LateHeartbeat { heartbeat, interval, gap, count }))
}

/// One of every `of` BFD packets is lost, `losses` times; packets come each 90 ms.
fn lossy(losses: i64, of: i64) -> Vec<Observation> {
    (1..=losses).map(|n| bfd(n * of * 90, u32::try_from(n * (of - 1)).unwrap())).collect()
}

fn again(at_ms: i64, segments: u64) -> Observation {
    let (session, speaker, protocol) = (session(), ip(1), Protocol::Bgp);
    at(at_ms, Observed::SentAgain(SentAgain { session, speaker, protocol, segments }))
}

fn counters(at_ms: i64, packets: u64, errors: u64) -> Observation {
    let sample =
        CounterSample { rx_packets: packets, rx_errors: errors, ..CounterSample::default() };
    at(at_ms, Observed::Counters(sample))
}

fn run(observations: &[Observation]) -> (Vec<Timestamp>, Vec<Incident>) {
    let mut detector = Detector::new(DetectConfig::default());
    let (mut detected, mut opened, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    for observation in observations {
        detector.observe(observation, &mut detected);
    }
    detector.finish(&mut detected);
    assert_eq!(detector.overflows(), 0);
    for one in detected {
        match one {
            Detected::Opened(one) => opened.push(one.at),
            Detected::Closed(finding) => closed.push(finding.incident),
            Detected::Settled(_) | Detected::Joined(_) => {}
        }
    }
    (opened, closed)
}

#[test]
fn lasting_loss_of_bfd_is_one_degradation_with_its_rate() {
    let mut observations = lossy(40, 20);
    observations.push(at(200_000, Observed::Tick));
    let (opened, incidents) = run(&observations);
    let [incident] = &incidents[..] else { panic!("{incidents:?}") };
    assert_eq!((incident.event, incident.protocol), (EventType::Degradation, Protocol::Bfd));
    assert_eq!(incident.scope, Scope::Session(session()));
    assert_eq!(opened, [ms(5 * 1_800)]);
    // The first was lost between the packet before it and the late one.
    assert_eq!((incident.start.earliest, incident.start.latest), (ms(1_605), ms(1_800)));
    assert_eq!(incident.end.unwrap().latest, ms(40 * 1_800));
    // 40 lost, and 39 times 19 have come in between.
    assert_eq!((incident.measured.lost, incident.measured.expected), (Some(40), Some(781)));
    assert_eq!(incident.severity, 40 * 1_000_000 / 781);
    assert_eq!(incident.measured.late_ms_max, Some(95));
    assert_eq!(incident.chain[0].kind, TriggerKind::BfdLate);
    assert_eq!(incident.progress.last().unwrap().value, 40);
}

#[test]
fn too_few_too_rarely_or_at_once_is_none() {
    let slow = |n: i64| (0..n).map(|n| again(n * 20_000, 1_000 + n as u64)).collect::<Vec<_>>();
    let once = |count| {
        let heartbeat = Heartbeat::Bfd { session: session(), speaker: ip(2) };
        let (interval, gap) = (Span::from_millis(10), Span::from_millis(2_000));
        at(90, Observed::Late(LateHeartbeat { heartbeat, interval, gap, count }))
    };
    for (name, observations, incidents) in [
        ("one retransmission", vec![again(5, 1)], 0),
        ("four losses", lossy(4, 20), 0),
        ("five losses", lossy(5, 20), 1),
        ("a loss in a hundred", lossy(8, 80), 1),
        ("below one in a hundred", lossy(40, 130), 0),
        ("retransmissions of a table", (0..50).map(|n| again(n, 200 * n as u64)).collect(), 0),
        ("a few within a minute", slow(4), 0),
        ("many, but few within a minute", slow(30), 0),
        ("one pause", vec![once(7)], 0),
        (
            "an error in a thousand",
            (0..9).map(|n| counters(n * 10, n as u64 * 900, n as u64)).collect(),
            1,
        ),
        (
            "an error in two thousand",
            (0..9).map(|n| counters(n * 10, n as u64 * 2_000, n as u64)).collect(),
            0,
        ),
    ] {
        let (opened, found) = run(&observations);
        assert_eq!((opened.len(), found.len()), (incidents, incidents), "{name}: {found:?}");
    }
}

#[test]
fn loss_that_comes_and_goes_does_not_flutter() {
    let mut observations = lossy(10, 20);
    // One in 300 goes on being lost: too little to open, too much to close.
    for n in 1..20 {
        observations.push(bfd(18_000 + n * 27_000, 190 + u32::try_from(n).unwrap() * 299));
    }
    let (opened, incidents) = run(&observations);
    assert_eq!((opened.len(), incidents.len()), (1, 1));
    observations.push(at(18_000 + 19 * 27_000 + 40_001, Observed::Tick));
    let (_, closed) = run(&observations);
    assert_eq!(closed, incidents, "what the end of the input closes, time closes as well");
}

#[test]
fn every_source_has_its_scope_and_trigger() {
    let area = IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 };
    let [router, other] = [NodeId::ospf(1), NodeId::ospf(2)];
    let hello = |heartbeat, n: i64| {
        let (interval, gap) = (Span::from_millis(1_000), Span::from_millis(2_000));
        let count = u32::try_from(n * 3).unwrap();
        at(n * 4_000, Observed::Late(LateHeartbeat { heartbeat, interval, gap, count }))
    };
    let ospf = |neighbour| move |n| hello(Heartbeat::Hello { area, router, neighbour }, n);
    let ldp = |n| hello(Heartbeat::LdpHello { speaker: ip(2) }, n);
    let protocol = Protocol::Bgp;
    let beats = Heartbeat::Keepalive { session: session(), speaker: ip(2), protocol };
    let keepalives = |n| hello(beats, n);
    let fault = |n: i64| {
        let (session, speaker, fault) = (session(), ip(2), String::new());
        let handling = FaultHandling::TreatAsWithdraw;
        at(n * 100, Observed::MessageFault { session, speaker, handling, fault })
    };
    let statistics = |n: i64| {
        let values = vec![(0, 9 * n as u64), (7, 1_000), (11, 30 * n as u64)];
        let (router, peer) = (ip(1), ip(2));
        let report = PeerStatistics { router, peer, instance: 0, values };
        at(n * 30_000, Observed::PeerStatistics(report))
    };
    let own = |n: i64| {
        let event = KernelEvent::Retransmitted { session: Some(session()), port: 646, count: 2 };
        at(n * 1_000, Observed::Kernel(event))
    };
    type Source<'a> = &'a dyn Fn(i64) -> Observation;
    let adjacency = Scope::Adjacency(Adjacency::between(area, other, router));
    let (on_session, on_link) = (Scope::Session(session()), Scope::Link(Link(LINK)));
    for (name, source, protocol, scope, kind) in [
        (
            "OSPF",
            &ospf(Some(other)) as Source<'_>,
            Protocol::Ospf,
            adjacency,
            TriggerKind::HellosLate,
        ),
        (
            "OSPF, several",
            &ospf(None),
            Protocol::Ospf,
            Scope::Router(area, router),
            TriggerKind::HellosLate,
        ),
        ("LDP", &ldp, Protocol::Ldp, on_link, TriggerKind::HellosLate),
        ("keepalives", &keepalives, Protocol::Bgp, on_session, TriggerKind::KeepalivesLate),
        (
            "segments",
            &|n| again(n * 1_000, n as u64 * 9),
            Protocol::Bgp,
            on_session,
            TriggerKind::Retransmissions,
        ),
        ("own segments", &own, Protocol::Ldp, on_session, TriggerKind::Retransmissions),
        (
            "errors",
            &|n| counters(n * 10, n as u64, n as u64),
            Protocol::Link,
            on_link,
            TriggerKind::LinkErrors,
        ),
        ("faults", &fault, Protocol::Bgp, on_session, TriggerKind::PeerUnstable),
        ("statistics", &statistics, Protocol::Bgp, on_session, TriggerKind::PeerUnstable),
    ] {
        let observations: Vec<Observation> = (0..10).map(source).collect();
        let (_, incidents) = run(&observations);
        let [incident] = &incidents[..] else { panic!("{name}: {incidents:?}") };
        assert_eq!((incident.protocol, incident.scope), (protocol, scope), "{name}");
        assert_eq!((incident.chain[0].kind, incident.chain.len()), (kind, 1), "{name}");
        assert!(incident.start.latest < incident.end.unwrap().latest, "{name}");
    }
}

#[test]
fn what_passes_in_two_places_counts_once() {
    let seen_twice = lossy(40, 20).into_iter().flat_map(|one| {
        let other = Observation { link: LINK + 1, ..one.clone() };
        [one, other]
    });
    let once = run(&lossy(40, 20)).1;
    assert_eq!(run(&seen_twice.collect::<Vec<_>>()).1, once);
}

/// A queue on the link that stands full from 0.1 s on.
fn saturated(until_ms: i64) -> Vec<Observation> {
    (0..=until_ms / 100)
        .map(|n| {
            let sample = QueueSample {
                qdisc: "tbf".to_owned(),
                handle: 0x1_0000,
                parent: u32::MAX,
                present: true,
                backlog_bytes: if n == 0 { 0 } else { 90_000 },
                bytes: n as u64 * 100_000,
                drops: n as u64 * 9,
                not_before: ms((n - 1) * 100),
                ..QueueSample::default()
            };
            at(n * 100, Observed::Queue(sample))
        })
        .collect()
}

#[test]
fn a_saturation_that_stood_before_is_the_cause() {
    let cause = |mut observations: Vec<Observation>| {
        observations.extend(lossy(40, 20));
        observations.sort_by_key(|observation| observation.at);
        let (_, incidents) = run(&observations);
        let mut found = incidents.into_iter().filter(|one| one.event == EventType::Degradation);
        let incident = found.next().unwrap();
        assert!(found.next().is_none());
        let first = incident.chain[0];
        let queued = first.on == Scope::Queue(Link(LINK), 0x1_0000);
        (queued, first.kind == TriggerKind::QueueDrops, incident.ruled_out)
    };
    assert_eq!(cause(saturated(80_000)), (true, true, vec![]));
    assert_eq!(cause(saturated(0)), (false, false, vec![RuledOut::Congestion]), "an idle queue");
    assert_eq!(cause(Vec::new()), (false, false, vec![]), "no queue is known");
    let elsewhere = saturated(80_000).into_iter().map(|one| Observation { link: 99, ..one });
    assert_eq!(cause(elsewhere.collect()), (false, false, vec![]));
}

#[test]
fn a_full_table_counts_what_it_refuses() {
    let mut config = DetectConfig::default();
    (config.bounds.ailing_max, config.bounds.incidents_open_max) = (2, 1);
    let mut detector = Detector::new(config);
    let mut detected = Vec::new();
    for n in 0..5 {
        for last in 10..13 {
            let session = SessionKey::between(ip(1), ip(last));
            let (speaker, protocol, segments) = (ip(1), Protocol::Bgp, n);
            let again = SentAgain { session, speaker, protocol, segments };
            detector.observe(&at(n as i64 * 10, Observed::SentAgain(again)), &mut detected);
        }
    }
    assert_eq!(detected.len(), 1, "{detected:?}");
    // Five of the third session, and the second one's incident.
    assert_eq!(detector.overflows(), 5 + 1);
}

#[test]
fn counts_and_times_that_jump_make_no_degradation() {
    let errors = [9, 3, u64::MAX, 0, 5, u64::MAX, 1];
    let times = [0, 50, -90_000_000, 40, i64::MAX / 3_000_000, 3, 2];
    let mut observations = Vec::new();
    for (&errors, &at_ms) in errors.iter().zip(&times) {
        observations.push(counters(at_ms, u64::MAX - errors, errors));
        observations.push(bfd(at_ms, errors as u32));
    }
    // Nothing is promised but that it ends, and that nothing is made of thin air.
    let (_, incidents) = run(&observations);
    assert!(incidents.iter().all(|one| one.start.earliest <= one.end.unwrap().latest));
}
