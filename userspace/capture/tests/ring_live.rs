//! Live tests of the ring source: programs in the kernel, interfaces in namespaces of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod packets;

use aya::programs::{SchedClassifier, TcAttachType};
use edgelore_capture::Clock;
use edgelore_capture::ring::{Attachment, Mode, Program, Ring, RingConfig, Watch, XdpPolicy};
use edgelore_model::{Batch, Direction, LossReason, Segment, Signal, SignalKind, tcp_flags};
use edgelore_testkit::{NetNs, live, pause, veth};
use packets::{BFD_DOWN, BFD_UP, KEEPALIVE, Tap, bfd_frame, tcp_frame, udp_frame, update};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const ACK: u8 = tcp_flags::ACK;

/// A ring without interfaces: fed by [`Ring::inject`] alone.
fn injected() -> Ring {
    Ring::open(&RingConfig { watch: vec![], ring_bytes: 8 << 20 }, Clock::new()).unwrap()
}

/// A gateway and a peer in namespaces of their own, joined by a veth pair.
fn pair(name: &str) -> (NetNs, NetNs) {
    let gateway = NetNs::new(&format!("{name}g")).unwrap();
    let peer = NetNs::new(&format!("{name}p")).unwrap();
    // Without IPv6 the interfaces say nothing by themselves.
    for ns in [&gateway, &peer] {
        ns.sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])
            .unwrap();
    }
    veth((&gateway, "gw0"), (&peer, "peer0")).unwrap();
    (gateway, peer)
}

fn open_in(ns: &NetNs, config: &RingConfig) -> Ring {
    ns.run(|| Ok(Ring::open(config, Clock::new())?)).unwrap()
}

/// Everything that comes until `enough` says so.
fn collect(ring: &mut Ring, mut enough: impl FnMut(&Batch, &Ring) -> bool) -> Batch {
    let mut batch = Batch::default();
    let deadline = Instant::now() + PATIENCE;
    while !enough(&batch, ring) {
        assert!(Instant::now() < deadline, "only {} signals came", batch.signals.len());
        let mut more = Batch::default();
        ring.poll(Duration::from_millis(20), &mut more).unwrap();
        for mut signal in more.signals.clone() {
            let payload = match &mut signal.kind {
                SignalKind::Segment(segment) => &mut segment.payload,
                SignalKind::Bfd(bfd) => &mut bfd.payload,
                other => panic!("unexpected {other:?}"),
            };
            *payload = batch.append(more.payload(*payload));
            batch.signals.push(signal);
        }
    }
    batch
}

fn segments(batch: &Batch) -> Vec<&Segment> {
    batch
        .signals
        .iter()
        .filter_map(|signal| match &signal.kind {
            SignalKind::Segment(segment) => Some(segment),
            _ => None,
        })
        .collect()
}

#[test]
fn live_self_test_passes_and_counts_nothing() {
    if !live("live_self_test_passes_and_counts_nothing") {
        return;
    }
    let ring = injected();
    assert_eq!(ring.counters().unwrap(), Default::default());
    assert!(ring.attachments().is_empty());
}

#[test]
fn live_what_changes_nothing_is_withheld_and_counted() {
    if !live("live_what_changes_nothing_is_withheld_and_counted") {
        return;
    }
    for program in [Program::Xdp, Program::TcxIngress, Program::TcxEgress] {
        let mut ring = injected();
        let send = |frame: &[u8]| assert!(ring.inject(program, frame, 1).is_ok());
        send(&tcp_frame(1000, tcp_flags::SYN, b""));
        send(&tcp_frame(1001, ACK, b""));
        send(&tcp_frame(1001, ACK, &KEEPALIVE));
        send(&tcp_frame(1020, ACK, &KEEPALIVE));
        send(&tcp_frame(1020, ACK, &KEEPALIVE)); // A retransmission: counted, not added.
        send(&tcp_frame(1039, ACK, &update(3)));
        send(&tcp_frame(1066, ACK, &[&KEEPALIVE[..], &KEEPALIVE[..]].concat()));
        send(&tcp_frame(1104, tcp_flags::FIN | ACK, &KEEPALIVE));
        send(&tcp_frame(5000, tcp_flags::SYN, b""));
        send(&udp_frame(53, b"not control plane"));
        let batch = collect(&mut ring, |batch, _| batch.signals.len() == 5);
        let seen: Vec<_> =
            segments(&batch).iter().map(|s| (s.seq, s.payload.len, s.suppressed_bytes)).collect();
        let expected = [(1000, 0, 0), (1039, 27, 38), (1066, 38, 38), (1104, 19, 38), (5000, 0, 0)];
        assert_eq!(seen, expected, "{program:?}");
        let direction =
            if program == Program::TcxEgress { Direction::Egress } else { Direction::Ingress };
        let counters = *ring.counters().unwrap().of(direction);
        assert_eq!((counters.control, counters.records, counters.other), (9, 5, 1), "{program:?}");
        assert_eq!((counters.keepalives_withheld, counters.pure_acks_withheld), (3, 1));
        assert!(segments(&batch).iter().all(|segment| segment.direction == direction));
    }
}

/// An OPEN with this hold time in s.
fn open(hold_time_s: u8) -> Vec<u8> {
    [&[0xff; 16][..], &[0, 29, 1, 4, 0xfb, 0xf0, 0, hold_time_s, 192, 0, 2, 1, 0]].concat()
}

/// The same segment the other way.
fn answer(mut frame: Vec<u8>) -> Vec<u8> {
    frame[26..34].rotate_left(4);
    frame[34..38].rotate_left(2);
    frame
}

#[test]
fn live_a_keepalive_that_comes_late_crosses_with_its_gap() {
    if !live("live_a_keepalive_that_comes_late_crosses_with_its_gap") {
        return;
    }
    for program in [Program::Xdp, Program::TcxIngress, Program::TcxEgress] {
        let mut ring = injected();
        let send = |ring: &Ring, frame: &[u8]| assert!(ring.inject(program, frame, 1).is_ok());
        send(&ring, &tcp_frame(1000, tcp_flags::SYN, b""));
        send(&ring, &answer(tcp_frame(7000, tcp_flags::SYN | ACK, b"")));
        send(&ring, &tcp_frame(1001, ACK, &open(90)));
        send(&ring, &answer(tcp_frame(7001, ACK, &open(4))));
        send(&ring, &tcp_frame(1030, ACK, &KEEPALIVE));
        send(&ring, &answer(tcp_frame(7030, ACK, &KEEPALIVE)));
        let (mut seq, mut withheld) = (1049, 19);
        let deadline = Instant::now() + PATIENCE;
        // Past 11/20 of the shorter hold time, and before all of it, unless the machine stood still.
        let late = loop {
            assert!(Instant::now() < deadline, "{program:?}: no keepalive crossed");
            pause(Duration::from_millis(2_400), "a keepalive to be late").unwrap();
            // It passes in two places; the next one is in time.
            send(&ring, &tcp_frame(seq, ACK, &KEEPALIVE));
            send(&ring, &tcp_frame(seq, ACK, &KEEPALIVE));
            send(&ring, &tcp_frame(seq + 19, ACK, &KEEPALIVE));
            send(&ring, &tcp_frame(seq + 38, ACK, &update(3)));
            let batch = collect(&mut ring, |batch, _| {
                segments(batch).last().is_some_and(|last| last.seq == seq + 38)
            });
            let segments = segments(&batch);
            if let Some(at) = segments.iter().position(|segment| segment.gap.is_some()) {
                let told = |s: &Segment| (s.seq, s.wire_len, s.suppressed_bytes);
                break [told(segments[at]), told(segments[at + 1])];
            }
            (seq, withheld) = (seq + 65, withheld + 38);
        };
        let expected = [(seq, 19, withheld), (seq + 38, 27, withheld + 19)];
        assert_eq!(late, expected, "{program:?}: what crossed was not withheld");
    }
}

#[test]
fn live_only_changed_bfd_packets_cross() {
    if !live("live_only_changed_bfd_packets_cross") {
        return;
    }
    let mut ring = injected();
    let send =
        |payload: &[u8]| assert!(ring.inject(Program::Xdp, &bfd_frame(3784, payload), 1).is_ok());
    let mut poll = BFD_UP;
    poll[1] |= 0x20;
    let mut slower = BFD_UP;
    slower[2] = 5;
    for packet in [&BFD_DOWN, &BFD_DOWN, &BFD_UP, &BFD_UP, &poll, &slower, &slower, &BFD_UP] {
        send(packet);
    }
    send(&[0x20, 0xc0]); // Cut off: userspace decides.
    ring.inject(Program::Xdp, &bfd_frame(3785, &BFD_UP), 3).unwrap();
    let batch = collect(&mut ring, |batch, _| batch.signals.len() == 5);
    let seen: Vec<_> = batch
        .signals
        .iter()
        .map(|signal| match &signal.kind {
            SignalKind::Bfd(bfd) => batch.payload(bfd.payload).to_vec(),
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    let expected: [&[u8]; 5] = [&BFD_DOWN, &BFD_UP, &slower, &BFD_UP, &[0x20, 0xc0]];
    assert_eq!(seen, expected);
    let counters = ring.counters().unwrap().ingress;
    assert_eq!((counters.bfd_unchanged_withheld, counters.bfd_echo_withheld), (4, 3));
}

#[test]
fn live_a_full_ring_is_counted_and_reported() {
    if !live("live_a_full_ring_is_counted_and_reported") {
        return;
    }
    let config = RingConfig { watch: vec![], ring_bytes: 128 << 10 };
    let mut ring = Ring::open(&config, Clock::new()).unwrap();
    const SENT: u64 = 5000;
    ring.inject(Program::Xdp, &tcp_frame(1, ACK, &update(9)), SENT as u32).unwrap();
    let counters = ring.counters().unwrap().ingress;
    assert!(counters.ring_full > 0, "{counters:?}");
    assert_eq!(counters.records + counters.ring_full, SENT);
    let (mut records, mut lost) = (0, 0);
    while records < counters.records || lost < counters.ring_full {
        let mut batch = Batch::default();
        assert!(ring.poll(PATIENCE, &mut batch).unwrap() > 0, "{records} records, {lost} lost");
        for signal in &batch.signals {
            match signal.kind {
                SignalKind::Lost { count, .. } => lost += count,
                _ => records += 1,
            }
        }
    }
    assert_eq!((records, lost), (counters.records, counters.ring_full));
}

#[test]
fn live_overload_spares_what_repeats_itself_first() {
    if !live("live_overload_spares_what_repeats_itself_first") {
        return;
    }
    let mut ring =
        Ring::open(&RingConfig { watch: vec![], ring_bytes: 128 << 10 }, Clock::new()).unwrap();
    let send = |frame: &[u8], times| assert!(ring.inject(Program::Xdp, frame, times).is_ok());
    // About 152 bytes each: 700 fill three quarters of the ring, then a change of BFD is spared, then
    // BGP goes on until nothing fits.
    let (segment, bfd_down, bfd_up) =
        (tcp_frame(1, ACK, &update(9)), bfd_frame(3784, &BFD_DOWN), bfd_frame(3784, &BFD_UP));
    send(&bfd_down, 1);
    send(&segment, 700);
    send(&bfd_up, 3);
    send(&segment, 500);
    const OFFERED: u64 = 1 + 700 + 3 + 500;
    let counters = ring.counters().unwrap().ingress;
    assert_eq!(counters.shed_hello, 3, "{counters:?}");
    assert!(counters.ring_full > 0 && counters.records > 701, "{counters:?}");
    assert_eq!(counters.records + counters.ring_full + counters.shed_hello, OFFERED);
    let (mut delivered, mut full, mut shed) = (0, 0, 0);
    while delivered < counters.records || full < counters.ring_full || shed < counters.shed_hello {
        let mut batch = Batch::default();
        assert!(ring.poll(PATIENCE, &mut batch).unwrap() > 0, "{delivered} {full} {shed}");
        for signal in &batch.signals {
            match signal.kind {
                SignalKind::Lost { reason: LossReason::RingFull, count } => full += count,
                SignalKind::Lost { reason: LossReason::Shed, count } => shed += count,
                SignalKind::Lost { .. } => panic!("{signal:?}"),
                _ => delivered += 1,
            }
        }
    }
    assert_eq!(delivered + full + shed, OFFERED);
    // With room again, the next packet of the session says what was spared.
    assert!(ring.inject(Program::Xdp, &bfd_up, 2).is_ok());
    let batch = collect(&mut ring, |batch, _| !batch.signals.is_empty());
    assert!(matches!(batch.signals[..], [Signal { kind: SignalKind::Bfd(_), .. }]));
}

#[test]
fn live_attachments_leave_nothing_behind() {
    if !live("live_attachments_leave_nothing_behind") {
        return;
    }
    let (gateway, peer) = pair("at");
    let mut ring = open_in(&gateway, &RingConfig::watching(["gw0"]));
    let modes: Vec<_> = ring.attachments().iter().map(|a: &Attachment| a.mode).collect();
    assert_eq!(modes, [Mode::XdpNative, Mode::TcxEgress]);
    assert!(ring.attachments().iter().all(|a| a.fallback.is_empty() && a.ifindex > 1));
    let tap = Tap::open(&peer, "peer0");
    tap.send(&udp_frame(53, b"x"));
    tap.send(&tcp_frame(7, ACK, &update(1)));
    let batch = collect(&mut ring, |batch, ring| {
        batch.signals.len() == 1 && ring.counters().unwrap().ingress.other == 1
    });
    assert_eq!(batch.signals[0].link, ring.attachments()[0].ifindex);
    assert!(attached(&gateway).contains("xdp"));
    // The kernel keeps 15 characters of a name.
    let expected = [vec![], vec![Program::TcxEgress.name()[..15].to_owned()]];
    assert_eq!(tcx_programs(&gateway), expected);
    drop(ring);
    edgelore_testkit::wait_for(PATIENCE, "programs detached", || {
        !attached(&gateway).contains("xdp") && tcx_programs(&gateway).concat().is_empty()
    })
    .unwrap();
    let config = RingConfig { watch: vec![Watch::both("gw0")], ring_bytes: 1 << 20 };
    drop(open_in(&gateway, &config));
}

#[test]
fn live_an_interface_that_came_back_is_watched_again() {
    if !live("live_an_interface_that_came_back_is_watched_again") {
        return;
    }
    let (gateway, peer) = pair("cb");
    let mut ring = open_in(&gateway, &RingConfig::watching(["gw0"]));
    gateway.ip("link delete gw0").unwrap();
    veth((&gateway, "gw0"), (&peer, "peer0")).unwrap();
    let watch = Watch::both("gw0");
    gateway.run(|| Ok(ring.attach(&watch)?)).unwrap();
    assert_eq!(ring.attachments().len(), 2);
    Tap::open(&peer, "peer0").send(&tcp_frame(7, ACK, &update(1)));
    collect(&mut ring, |batch, _| batch.signals.len() == 1);
    ring.detach("gw0").unwrap();
    assert!(ring.attachments().is_empty());
    edgelore_testkit::wait_for(PATIENCE, "programs detached", || {
        !attached(&gateway).contains("xdp")
    })
    .unwrap();
}

#[test]
fn live_a_missing_interface_is_named() {
    if !live("live_a_missing_interface_is_named") {
        return;
    }
    let error = Ring::open(&RingConfig::watching(["el_none"]), Clock::new()).unwrap_err();
    assert_eq!(error.to_string(), "find interface el_none");
}

#[test]
fn live_native_xdp_falls_back_visibly() {
    if !live("live_native_xdp_falls_back_visibly") {
        return;
    }
    let gateway = NetNs::new("fb").unwrap();
    let ring = open_in(&gateway, &RingConfig::watching(["lo"]));
    let ingress = &ring.attachments()[0];
    assert_eq!(ingress.mode, Mode::XdpGeneric, "loopback has no native XDP");
    assert!(ingress.fallback.contains("XdpNative"), "{}", ingress.fallback);
}

#[test]
fn live_the_xdp_policy_is_kept_or_refused() {
    if !live("live_the_xdp_policy_is_kept_or_refused") {
        return;
    }
    let (gateway, _peer) = pair("xp");
    let with = |interface: &str, xdp| {
        let watch = vec![Watch { xdp, ..Watch::both(interface) }];
        let config = RingConfig { watch, ring_bytes: 1 << 20 };
        gateway.run(|| Ok(Ring::open(&config, Clock::new()))).unwrap()
    };
    for (xdp, mode) in
        [(XdpPolicy::Native, Mode::XdpNative), (XdpPolicy::Generic, Mode::XdpGeneric)]
    {
        let ring = with("gw0", xdp).unwrap();
        assert_eq!((ring.attachments()[0].mode, ring.attachments().len()), (mode, 2));
        assert!(ring.attachments()[0].fallback.is_empty());
    }
    let error = with("lo", XdpPolicy::Native).unwrap_err();
    assert_eq!(error.to_string(), "attach to native XDP of interface lo");
    assert!(tcx_programs(&gateway).concat().is_empty(), "all of it or nothing");
    // A veth is no card: the host's program is there all the same, and says why it is alone.
    match with("gw0", XdpPolicy::Offload) {
        Ok(ring) => {
            let ingress = &ring.attachments()[0];
            assert_eq!(ingress.mode, Mode::XdpNative);
            assert!(ingress.fallback.starts_with("XdpOffload: "), "{}", ingress.fallback);
        }
        Err(error) => assert_eq!(error.to_string(), "find edgelore_classify in the eBPF object"),
    }
}

#[test]
fn live_packets_pass_unaltered() {
    if !live("live_packets_pass_unaltered") {
        return;
    }
    let (gateway, peer) = pair("un");
    let ring = open_in(&gateway, &RingConfig::watching(["gw0"]));
    let (near, far) = (Tap::open(&gateway, "gw0"), Tap::open(&peer, "peer0"));
    let mut odd = tcp_frame(1, ACK, b"");
    odd.truncate(40);
    let frames = [
        tcp_frame(1, tcp_flags::SYN, b""),
        tcp_frame(2, ACK, &KEEPALIVE),
        tcp_frame(21, ACK, &update(200)),
        tcp_frame(21, ACK, &[0xab; 1400]),
        bfd_frame(3784, &BFD_UP),
        bfd_frame(3784, &BFD_UP),
        udp_frame(53, b"other"),
        odd,
        [&[0x02; 12][..], &[0x86, 0xdd], &[0x60; 50]].concat(),
    ];
    for frame in &frames {
        far.send(frame);
        assert_eq!(near.receive(frame.len()), *frame, "into the gateway");
        near.send(frame);
        assert_eq!(far.receive(frame.len()), *frame, "out of the gateway");
    }
    let counters = ring.counters().unwrap();
    for counted in [counters.ingress, counters.egress] {
        assert_eq!(counted.control + counted.other + counted.truncated, frames.len() as u64);
    }
}

#[test]
fn live_egress_sees_every_byte_of_uncut_segments() {
    if !live("live_egress_sees_every_byte_of_uncut_segments") {
        return;
    }
    let (gateway, peer) = pair("eg");
    gateway.ip("address add 192.0.2.1/24 dev gw0").unwrap();
    peer.ip("address add 192.0.2.2/24 dev peer0").unwrap();
    let watch = Watch { ingress: false, ..Watch::both("gw0") };
    let mut ring = open_in(&gateway, &RingConfig { watch: vec![watch], ring_bytes: 8 << 20 });
    let target: SocketAddr = "192.0.2.2:179".parse().unwrap();
    let listener = peer.run(|| Ok(TcpListener::bind(target)?)).unwrap();
    let sent: Vec<u8> = (0..400_000u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        received
    });
    let mut stream = gateway.run(|| Ok(TcpStream::connect(target)?)).unwrap();
    stream.write_all(&sent).unwrap();
    drop(stream);
    assert_eq!(reader.join().unwrap(), sent, "the peer received it");

    let finished =
        |batch: &Batch| segments(batch).iter().any(|segment| segment.flags & tcp_flags::FIN != 0);
    let batch = collect(&mut ring, |batch, _| finished(batch));
    let first = segments(&batch).iter().find(|s| s.flags & tcp_flags::SYN != 0).unwrap().seq;
    let mut seen = vec![0u8; sent.len()];
    let mut covered = 0;
    let mut longest = 0;
    for segment in segments(&batch) {
        let at = segment.seq.wrapping_sub(first).wrapping_sub(1) as usize;
        let payload = batch.payload(segment.payload);
        assert_eq!(payload.len(), segment.wire_len as usize, "nothing cut");
        if !payload.is_empty() {
            seen[at..at + payload.len()].copy_from_slice(payload);
            covered += payload.len();
            longest = longest.max(payload.len());
        }
    }
    assert_eq!(seen, sent);
    assert!(covered >= sent.len());
    assert!(longest > 1460, "segments were seen before they were cut: longest record {longest}");
    let counters = ring.counters().unwrap().egress;
    assert_eq!((counters.cut, counters.ring_full), (0, 0));
}

/// Names of the tcx programs on the gateway's interface: ingress, egress.
fn tcx_programs(ns: &NetNs) -> [Vec<String>; 2] {
    [TcAttachType::Ingress, TcAttachType::Egress].map(|side| {
        let listed = ns.run(|| Ok(SchedClassifier::query_tcx("gw0", side)?)).unwrap().1;
        listed.iter().map(|info| info.name_as_str().unwrap().to_owned()).collect()
    })
}

/// What the kernel says of the gateway's interface.
fn attached(ns: &NetNs) -> String {
    let output = ns.command("ip").args(["-details", "link", "show", "gw0"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
