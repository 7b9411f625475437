//! Live tests of the tracepoint source: real drops, retransmissions and sockets in namespaces.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_capture::Clock;
use edgelore_capture::trace::{TraceConfig, TraceSource, Tracepoint};
use edgelore_model::{Batch, KernelEvent, SessionKey, Signal, SignalKind, TcpState};
use edgelore_testkit::{NetNs, live, veth};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway with 192.0.2.1 on gw0 and a peer with 192.0.2.2 on peer0; without IPv6 the interfaces
/// say nothing by themselves.
fn pair(name: &str) -> (NetNs, NetNs) {
    let gateway = NetNs::new(&format!("{name}g")).unwrap();
    let peer = NetNs::new(&format!("{name}p")).unwrap();
    for ns in [&gateway, &peer] {
        ns.sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])
            .unwrap();
    }
    veth((&gateway, "gw0"), (&peer, "peer0")).unwrap();
    gateway.ip("address add 192.0.2.1/24 dev gw0").unwrap();
    peer.ip("address add 192.0.2.2/24 dev peer0").unwrap();
    (gateway, peer)
}

fn open(ns: &NetNs, links: Vec<u32>) -> TraceSource {
    let interval = Duration::from_millis(20);
    let config = TraceConfig { interval, ..TraceConfig::new(Clock::new(), links) };
    let source = ns.run(|| Ok(TraceSource::open(&config)?)).unwrap();
    assert_eq!(source.missing(), [], "everything is there on the kernel that the tests run on");
    source
}

fn index_of(ns: &NetNs, interface: &str) -> u32 {
    let shown = ns.command("ip").args(["-j", "link", "show", interface]).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    u32::try_from(shown[0]["ifindex"].as_u64().expect("ip shows the index")).unwrap()
}

/// Reads until `enough` says so; everything that came.
fn collect(source: &mut TraceSource, mut enough: impl FnMut(&[Signal]) -> bool) -> Vec<Signal> {
    let mut batch = Batch::default();
    let deadline = Instant::now() + PATIENCE;
    while !enough(&batch.signals) {
        assert!(Instant::now() < deadline, "only these came: {:?}", batch.signals);
        source.read(Duration::from_millis(20), &mut batch).unwrap();
    }
    batch.signals
}

fn events(signals: &[Signal]) -> impl Iterator<Item = (u32, &KernelEvent)> {
    signals.iter().filter_map(|signal| match &signal.kind {
        SignalKind::Kernel(event) => Some((signal.link, event)),
        _ => None,
    })
}

fn dropped(signals: &[Signal], wanted: &str) -> u64 {
    let count = |(_, event): (u32, &KernelEvent)| match event {
        KernelEvent::Dropped { reason, count } if reason == wanted => *count,
        _ => 0,
    };
    events(signals).map(count).sum()
}

fn queue_activity(signals: &[Signal], wanted: u32) -> (u64, u64) {
    events(signals).fold((0, 0), |(inside, outside), (link, event)| match event {
        KernelEvent::QueueActivity { enqueued, dequeued } if link == wanted => {
            (inside + enqueued, outside + dequeued)
        }
        _ => (inside, outside),
    })
}

/// Packets sent, dropped and waiting, as `tc -s` has them.
fn queue_statistics(ns: &NetNs) -> (u64, u64, u64) {
    let output = ns.command("tc").args(["-s", "-j", "qdisc", "show", "dev", "gw0"]).output();
    let shown: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let number = |key: &str| shown[0][key].as_u64().expect("tc shows statistics");
    (number("packets"), number("drops"), number("qlen"))
}

#[test]
fn live_every_tracepoint_of_this_kernel_is_attached() {
    if !live("live_every_tracepoint_of_this_kernel_is_attached") {
        return;
    }
    let ns = NetNs::new("tra").unwrap();
    let source = open(&ns, vec![1]);
    assert_eq!(source.attached(), Tracepoint::ALL);
    let counters = source.counters().unwrap();
    assert_eq!(counters.hits.len(), Tracepoint::ALL.len());
    assert_eq!((counters.unreadable, counters.malformed, counters.records_lost), (0, 0, 0));
    assert!(source.tracefs().is_some());
}

#[test]
fn live_drops_and_queue_activity_are_those_of_tc() {
    if !live("live_drops_and_queue_activity_are_those_of_tc") {
        return;
    }
    let (gateway, _peer) = pair("trq");
    let link = index_of(&gateway, "gw0");
    let mut source = open(&gateway, vec![link]);
    let added = gateway
        .command("tc")
        .args(["qdisc", "add", "dev", "gw0", "root", "tbf"])
        .args(["rate", "20mbit", "burst", "10kb", "limit", "20kb"])
        .status()
        .unwrap();
    assert!(added.success());
    let socket = gateway.run(|| Ok(UdpSocket::bind("192.0.2.1:0")?)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while queue_statistics(&gateway).1 < 500 {
        assert!(Instant::now() < deadline, "the queue drops nothing");
        for _ in 0..2000 {
            // A drop may be reported to the sender; that is what is wanted here.
            let _ = socket.send_to(&[0; 1000], "192.0.2.2:9");
        }
    }
    edgelore_testkit::wait_for(PATIENCE, "the queue to drain", || {
        queue_statistics(&gateway).2 == 0
    })
    .unwrap();
    let (sent, drops, _) = queue_statistics(&gateway);
    // The kernel says how much it did not show.
    let skipped = source.counters().unwrap().skipped;
    let signals = collect(&mut source, |signals| {
        dropped(signals, "QDISC_DROP") + skipped >= drops
            && queue_activity(signals, link).1 + skipped >= sent
    });
    let (inside, outside) = queue_activity(&signals, link);
    assert!(inside <= sent && outside <= sent, "no other namespace's queue counts");
    assert!(inside + skipped >= sent, "{inside} of {sent}, {skipped} skipped");
    // Drops are those of the whole machine, where other tests may run.
    assert!(drops >= 500, "{drops}");
    let counters = source.counters().unwrap();
    assert_eq!((counters.unreadable, counters.malformed), (0, 0));
}

#[test]
fn live_retransmissions_of_a_session_are_told_apart() {
    if !live("live_retransmissions_of_a_session_are_told_apart") {
        return;
    }
    let (gateway, peer) = pair("trr");
    let mut source = open(&gateway, vec![]);
    let connect = |port: u16| {
        let target = SocketAddr::from(([192, 0, 2, 2], port));
        let listener = peer.run(|| Ok(TcpListener::bind(target)?)).unwrap();
        let stream = gateway.run(|| Ok(TcpStream::connect(target)?)).unwrap();
        (listener.accept().unwrap(), stream)
    };
    let mut connections = [connect(179), connect(5001)];
    // From now on the peer hears, but these segments are for nobody.
    peer.ip("address del 192.0.2.2/24 dev peer0").unwrap();
    for (_, stream) in &mut connections {
        stream.write_all(b"lost").unwrap();
    }
    let session = SessionKey::between([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let retransmitted = |signals: &[Signal], wanted: Option<SessionKey>| -> u64 {
        let count = |(_, event): (u32, &KernelEvent)| match event {
            KernelEvent::Retransmitted { session, port, count } if *session == wanted => {
                assert_eq!(*port, if wanted.is_some() { 179 } else { 0 });
                *count
            }
            _ => 0,
        };
        events(signals).map(count).sum()
    };
    collect(&mut source, |signals| {
        retransmitted(signals, Some(session)) >= 2 && retransmitted(signals, None) >= 2
    });
    assert_eq!(source.counters().unwrap().retransmits_unkeyed, 0);
}

/// Opens and closes a connection to `target` within `ns`.
fn converse(ns: &NetNs, target: SocketAddr) -> SocketAddr {
    ns.run(|| {
        let listener = TcpListener::bind(target)?;
        let stream = TcpStream::connect(target)?;
        let local = stream.local_addr()?;
        drop(listener.accept()?);
        drop(stream);
        Ok(local)
    })
    .unwrap()
}

#[test]
fn live_socket_states_have_both_ends_and_their_namespace() {
    if !live("live_socket_states_have_both_ends_and_their_namespace") {
        return;
    }
    let (ours, other) = (NetNs::new("tso").unwrap(), NetNs::new("tsx").unwrap());
    let mut source = open(&ours, vec![]);
    let foreign: SocketAddr = "127.0.0.9:179".parse().unwrap();
    converse(&other, foreign);
    for target in ["127.0.0.1:179", "[::1]:179", "127.0.0.1:646"] {
        let server: SocketAddr = target.parse().unwrap();
        converse(&ours, "127.0.0.1:5000".parse().unwrap());
        let client = converse(&ours, server);
        let nobody = |address: IpAddr| match address {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let listening = SocketAddr::new(nobody(server.ip()), 0);
        use TcpState::{Close, Established, Listen, SynReceived, SynSent};
        let expected = [
            (server, listening, Close, Listen),
            (client, server, SynSent, Established),
            (server, client, SynReceived, Established),
        ];
        let states = |signals: &[Signal]| -> Vec<_> {
            let state = |(_, event): (u32, &KernelEvent)| match event {
                KernelEvent::SocketState { local, peer, old, new } => {
                    assert!(*local != foreign && *peer != foreign, "another namespace's socket");
                    assert!(local.port() != 5000 && peer.port() != 5000, "not control plane");
                    Some((*local, *peer, *old, *new))
                }
                _ => None,
            };
            events(signals).filter_map(state).collect()
        };
        collect(&mut source, |signals| {
            let seen = states(signals);
            expected.iter().all(|state| seen.contains(state))
        });
    }
    assert_eq!(source.counters().unwrap().records_lost, 0);
}
