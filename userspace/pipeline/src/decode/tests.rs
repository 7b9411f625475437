//! Whole conversations through the decoder.

mod properties;

use super::*;
use edgelore_model::{
    AddressFamily, Direction, Heartbeat, LossReason, PayloadRef, Prefix, Protocol, StreamProtocol,
    tcp_flags,
};
use std::net::SocketAddr;

const A: &str = "192.0.2.1:40000";
const B: &str = "192.0.2.2:179";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn open(hold_time_s: u16) -> Vec<u8> {
    let [high, low] = hold_time_s.to_be_bytes();
    message(1, &[4, 0xfd, 0xe8, high, low, 10, 0, 0, 1, 8, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8])
}

fn keepalive() -> Vec<u8> {
    message(4, &[])
}

fn update(third_octet: u8) -> Vec<u8> {
    let path = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, 0x40, 3, 4, 192, 0, 2, 7];
    message(2, &[&[0, 0, 0, 20][..], &path, &[24, 10, 0, third_octet]].concat())
}

fn cease() -> Vec<u8> {
    message(3, &[6, 9])
}

/// Writes both directions of connections as a capture would show them.
#[derive(Default)]
struct Wire {
    batch: Batch,
    next: std::collections::HashMap<(SocketAddr, SocketAddr), u32>,
}

impl Wire {
    fn segment(&mut self, from: &str, to: &str, flags: u8, payload: &[u8]) -> &mut Self {
        let (src, dst) = (from.parse().unwrap(), to.parse().unwrap());
        let next = self.next.entry((src, dst)).or_insert(1_000);
        let seq = *next;
        let turns = flags & (tcp_flags::SYN | tcp_flags::FIN) != 0;
        *next = seq.wrapping_add(payload.len() as u32 + u32::from(turns));
        let payload = self.batch.append(payload);
        let kind = SignalKind::Segment(Segment {
            protocol: StreamProtocol::Bgp,
            src,
            dst,
            seq,
            flags,
            gap: None,
            suppressed_bytes: 0,
            wire_len: payload.len,
            payload,
            direction: Direction::Ingress,
        });
        let at = Timestamp(self.batch.signals.len() as i64 * 1_000_000);
        self.batch.signals.push(Signal { at, link: 3, kind });
        self
    }

    /// Begins other sequence numbers: the next SYN is a new one.
    fn restart(&mut self, from: &str, to: &str) -> &mut Self {
        let fresh = 77_000 * (self.batch.signals.len() as u32 + 1);
        self.next.insert((from.parse().unwrap(), to.parse().unwrap()), fresh);
        self.next.insert((to.parse().unwrap(), from.parse().unwrap()), fresh + 9);
        self
    }

    fn handshake(&mut self, from: &str, to: &str) -> &mut Self {
        self.segment(from, to, tcp_flags::SYN, &[]).segment(
            to,
            from,
            tcp_flags::SYN | tcp_flags::ACK,
            &[],
        )
    }

    fn establish(&mut self, from: &str, to: &str) -> &mut Self {
        self.handshake(from, to)
            .segment(from, to, tcp_flags::ACK, &open(90))
            .segment(to, from, tcp_flags::ACK, &[open(9), keepalive()].concat())
            .segment(from, to, tcp_flags::ACK, &keepalive())
    }

    fn observations(&self) -> Vec<String> {
        let (observations, _) = decode(std::slice::from_ref(&self.batch));
        observations.iter().map(name).collect()
    }
}

fn decode(batches: &[Batch]) -> (Vec<Observation>, Summary) {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut observations = Vec::new();
    for batch in batches {
        decoder.decode(batch, &mut |_, observation| observations.push(observation));
    }
    decoder.finish(&mut |_, observation| observations.push(observation));
    (observations, *decoder.summary())
}

fn name(observation: &Observation) -> String {
    match &observation.what {
        Observed::Open { hold_time_s, .. } => format!("open {hold_time_s}"),
        Observed::SessionUp { .. } => "up".into(),
        Observed::SessionDown { cause, .. } => format!("down {cause:?}"),
        Observed::Notification { code, subcode, .. } => format!("notification {code}/{subcode}"),
        Observed::Routes(delta) => format!("+{} -{}", delta.announced.len(), delta.withdrawn.len()),
        Observed::Bfd(change) => format!("bfd {:?} {}", change.state, change.detect_multiplier),
        Observed::StreamGap { .. } => "gap".into(),
        Observed::EndOfRib { afi, safi, .. } => format!("end {afi}/{safi}"),
        Observed::MessageFault { handling, .. } => format!("{handling:?}"),
        Observed::Lost { count, .. } => format!("lost {count}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_session_comes_up_and_goes_down_once() {
    let mut wire = Wire::default();
    wire.establish(A, B).segment(B, A, tcp_flags::ACK, &update(1));
    wire.segment(A, B, tcp_flags::ACK, &cease())
        .segment(A, B, tcp_flags::FIN, &[])
        .segment(B, A, tcp_flags::ACK, &update(2))
        .segment(B, A, tcp_flags::RST, &[]);
    assert_eq!(
        wire.observations(),
        ["open 90", "open 9", "up", "+1 -0", "notification 6/9", "down Notification", "+1 -0"]
    );
}

/// Keepalives of A at these times, in s after the session has come up, with the gap that the kernel
/// tells; when each was late, and for how long.
fn late_keepalives(beats: &[(i64, Option<i64>)]) -> Vec<(i64, i64, u32)> {
    let mut wire = Wire::default();
    wire.establish(A, B);
    let up = wire.batch.signals.len();
    for (_, gap_s) in beats {
        wire.segment(A, B, tcp_flags::ACK, &keepalive());
        if let Some(SignalKind::Segment(segment)) =
            wire.batch.signals.last_mut().map(|s| &mut s.kind)
        {
            segment.gap = gap_s.map(|s| Span::from_millis(s * 1_000));
        }
    }
    for (signal, (at_s, _)) in wire.batch.signals[up..].iter_mut().zip(beats) {
        signal.at = Timestamp(at_s * 1_000_000_000);
    }
    let (observations, _) = decode(std::slice::from_ref(&wire.batch));
    let late = |one: Observation| match one.what {
        Observed::Late(late) => {
            let speaker = A.parse::<SocketAddr>().unwrap().ip();
            let Heartbeat::Keepalive { speaker: who, protocol, .. } = late.heartbeat else {
                panic!("{late:?}");
            };
            assert_eq!((who, protocol, late.interval.millis()), (speaker, Protocol::Bgp, 3_000));
            Some((one.at.0 / 1_000_000_000, late.gap.millis() / 1_000, late.count))
        }
        _ => None,
    };
    observations.into_iter().filter_map(late).collect()
}

#[test]
fn a_keepalive_is_late_between_half_the_hold_time_and_the_end() {
    // Of the two hold times, 90 s and 9 s, the shorter one counts.
    let file = [3, 6, 12, 15, 19, 28].map(|at| (at, None));
    assert_eq!(late_keepalives(&file), [(12, 6, 4)], "after 9 s the session is over");
    // Live, those in time are withheld, and the kernel tells how long ago the last one was.
    assert_eq!(late_keepalives(&[(612, Some(6))]), [(612, 6, 2)]);
    assert_eq!(late_keepalives(&[(612, Some(4))]), []);
}

#[test]
fn the_end_is_told_by_what_is_seen_first() {
    for (flags, cause) in [
        (tcp_flags::FIN, "down Closed"),
        (tcp_flags::RST | tcp_flags::ACK, "down Reset"),
        // Without ACK: there is no such connection any more.
        (tcp_flags::RST, "down Forgotten"),
    ] {
        let mut wire = Wire::default();
        wire.establish(A, B).segment(B, A, flags, &[]).segment(A, B, tcp_flags::RST, &[]);
        assert_eq!(wire.observations(), ["open 90", "open 9", "up", cause]);
    }
}

#[test]
fn a_new_connection_on_the_same_ports_replaces_the_session() {
    let mut wire = Wire::default();
    wire.establish(A, B).restart(A, B).establish(A, B);
    assert_eq!(
        wire.observations(),
        ["open 90", "open 9", "up", "down Replaced", "open 90", "open 9", "up"]
    );
    let (_, summary) = decode(std::slice::from_ref(&wire.batch));
    assert_eq!((summary.streams, summary.gaps, summary.undecodable), (1, 0, 0));
    assert_eq!((summary.bgp.open, summary.bgp.keepalive), (4, 4));
}

/// A connection that B opens.
const A_ANSWERS: &str = "192.0.2.1:179";
const B_OPENS: &str = "192.0.2.2:50000";

#[test]
fn of_two_connections_at_once_the_loser_takes_nothing_down() {
    let lost = message(3, &[6, 7]);
    let mut wire = Wire::default();
    wire.handshake(B_OPENS, A_ANSWERS).segment(A_ANSWERS, B_OPENS, tcp_flags::ACK, &open(9));
    wire.establish(A, B).segment(A, B, tcp_flags::ACK, &lost).segment(B, A, tcp_flags::FIN, &[]);
    wire.segment(B_OPENS, A_ANSWERS, tcp_flags::ACK, &open(9));
    wire.segment(B_OPENS, A_ANSWERS, tcp_flags::ACK, &update(1));
    wire.segment(B_OPENS, A_ANSWERS, tcp_flags::RST | tcp_flags::ACK, &[]);
    assert_eq!(
        wire.observations(),
        ["open 9", "open 90", "open 9", "up", "notification 6/7", "open 9", "+1 -0", "down Reset"]
    );
}

#[test]
fn what_an_old_connection_sends_again_ends_no_session() {
    let mut wire = Wire::default();
    wire.establish(A, B).segment(B, A, tcp_flags::ACK, &update(1));
    wire.establish(B_OPENS, A_ANSWERS);
    wire.segment(B_OPENS, A_ANSWERS, tcp_flags::ACK, &update(1));
    wire.segment(B, A, tcp_flags::ACK | tcp_flags::FIN, &message(3, &[4, 0]));
    let (observations, summary) = decode(std::slice::from_ref(&wire.batch));
    assert_eq!(
        observations.iter().map(name).collect::<Vec<_>>()[4..],
        ["open 90", "open 9", "down Replaced", "up", "+1 -0"]
    );
    assert_eq!(summary.bgp.notification, 1);
}

#[test]
fn a_refused_connection_is_no_session() {
    let mut wire = Wire::default();
    wire.segment(A, B, tcp_flags::SYN, &[]).segment(B, A, tcp_flags::RST, &[]);
    assert_eq!(wire.observations(), Vec::<String>::new());
}

#[test]
fn a_connection_found_midway_ends_a_session() {
    let mut wire = Wire::default();
    wire.segment(B, A, tcp_flags::ACK, &[&update(9)[7..], &update(1)].concat());
    wire.segment(B, A, tcp_flags::RST, &[]).segment(A, B, tcp_flags::RST, &[]);
    assert_eq!(wire.observations(), ["+1 -0", "down Forgotten"]);
}

#[test]
fn end_of_rib_is_counted_and_told() {
    let mut wire = Wire::default();
    wire.segment(A, B, tcp_flags::SYN, &[]).segment(A, B, 0, &message(2, &[0; 4]));
    assert_eq!(wire.observations(), ["end 1/1"]);
    let (_, summary) = decode(std::slice::from_ref(&wire.batch));
    assert_eq!((summary.bgp.update, summary.undecodable), (1, 0));
}

#[test]
fn what_does_not_decode_is_counted_and_passed_over() {
    let mut wire = Wire::default();
    let bad = [message(2, &[0, 9, 1, 1]), message(77, &[]), message(4, &[1]), message(3, &[])];
    wire.segment(A, B, tcp_flags::SYN, &[]).segment(A, B, 0, &bad.concat());
    wire.segment(A, B, 0, &update(1));
    let (observations, summary) = decode(std::slice::from_ref(&wire.batch));
    let names: Vec<String> = observations.iter().map(name).collect();
    assert_eq!(names, ["SessionReset", "SessionReset", "+1 -0"]);
    assert_eq!((summary.undecodable, summary.bgp.update, summary.gaps), (4, 2, 0));
    assert_eq!(summary.bgp_faults.session_reset, 2);
}

#[test]
fn few_faults_are_explained_and_all_counted() {
    let mut wire = Wire::default();
    let mut faulty = update(1);
    faulty[26] = 7;
    wire.segment(A, B, tcp_flags::SYN, &[]).segment(A, B, 0, &faulty.repeat(40));
    let (observations, summary) = decode(std::slice::from_ref(&wire.batch));
    let explained = |o: &&Observation| matches!(o.what, Observed::MessageFault { .. });
    assert_eq!(observations.iter().filter(explained).count(), 16);
    assert_eq!((summary.bgp_faults.treat_as_withdraw, summary.undecodable), (40, 40));
    let Observed::MessageFault { fault, .. } = &observations[0].what else { panic!("a fault") };
    assert_eq!(fault, "in UPDATE: in path attributes: at byte 0: origin 7 is unknown");
    assert_eq!(name(&observations[1]), "+0 -1", "announced, and treated as withdrawn");
}

#[test]
fn opens_tell_what_the_speakers_can() {
    let mut wire = Wire::default();
    let restart = [2, 8, 64, 6, 0x80, 120, 0, 1, 1, 0x80, 2, 2, 2, 0];
    let able = [&[4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 2, restart.len() as u8][..], &restart].concat();
    wire.handshake(A, B).segment(A, B, 0, &open(90)).segment(B, A, 0, &message(1, &able));
    wire.segment(B, A, 0, &message(1, &able[..9]));
    let (observations, summary) = decode(std::slice::from_ref(&wire.batch));
    let offered: Vec<_> = observations
        .iter()
        .filter_map(|o| match o.what {
            Observed::Open { capabilities, .. } => Some(capabilities),
            _ => None,
        })
        .collect();
    assert!(offered[0].four_octet_as && offered[0].graceful_restart_s.is_none());
    assert_eq!((offered[0].asn, offered[1].asn), (65_000, 65_001));
    assert_eq!((offered[1].graceful_restart_s, offered[1].restarting), (Some(120), true));
    assert!(offered[1].route_refresh && !offered[1].four_octet_as);
    assert_eq!((offered.len(), summary.bgp.open, summary.bgp_faults.session_reset), (2, 3, 1));
}

#[test]
fn a_hole_is_declared_at_the_end() {
    let mut wire = Wire::default();
    wire.establish(A, B).segment(A, B, 0, &update(1)).segment(A, B, 0, &update(2));
    let lost = wire.batch.signals.len() - 2;
    wire.batch.signals.remove(lost);
    assert_eq!(wire.observations(), ["open 90", "open 9", "up", "gap", "+1 -0"]);
}

fn bfd(octets: [u8; 3]) -> Vec<u8> {
    let mut packet = vec![octets[0], octets[1], octets[2], 24];
    for word in [1u32, 2, 300_000, 300_000, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet
}

#[test]
fn bfd_is_observed_when_it_changes() {
    let mut batch = Batch::default();
    for (port, octets) in [
        (3784, [0x20, 0xc0, 3]),
        (3784, [0x20, 0xc0, 3]),
        (3784, [0x20, 0xc0, 5]),
        (3785, [0x20, 0x40, 5]),
        (4784, [0x21, 0x40, 5]),
        (3784, [0x20, 0xc0, 0]),
    ] {
        let payload = batch.append(&bfd(octets));
        let (src, dst) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let direction = Direction::Egress;
        let kind = SignalKind::Bfd(Datagram { src, dst, port, payload, direction, heard: None });
        batch.signals.push(Signal { at: Timestamp(1), link: 0, kind });
    }
    let (observations, summary) = decode(&[batch]);
    let names: Vec<String> = observations.iter().map(name).collect();
    assert_eq!(names, ["bfd Up 3", "bfd Up 5", "bfd Down 5"]);
    assert_eq!((summary.bfd.up, summary.bfd.down, summary.undecodable), (3, 1, 1));
    assert_eq!((summary.bfd.echo, summary.bfd.multihop, summary.bfd.seamless), (1, 1, 0));
}

#[test]
fn bfd_that_comes_late_is_told_while_both_ends_are_up() {
    let mut batch = Batch::default();
    let packet = |state: u8, interval_us: u32| {
        let mut packet = vec![0x20, state, 3, 24];
        for word in [1u32, 2, interval_us, 100_000, 0] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet
    };
    // The first wants to send each 50 ms, the second to hear each 100 ms.
    let mut push = |at_ms: i64, from: &str, to: &str, packet: &[u8]| {
        let payload = batch.append(packet);
        let (src, dst) = (from.parse().unwrap(), to.parse().unwrap());
        let direction = Direction::Ingress;
        let datagram = Datagram { src, dst, port: 3784, payload, direction, heard: None };
        let kind = SignalKind::Bfd(datagram);
        batch.signals.push(Signal { at: Timestamp(at_ms * 1_000_000), link: 1, kind });
    };
    let (first, second) = ("192.0.2.1", "192.0.2.2");
    push(0, first, second, &packet(0x40, 50_000));
    push(500, first, second, &packet(0xc0, 50_000));
    push(510, second, first, &packet(0xc0, 50_000));
    for at_ms in [600, 700, 826, 900, 1_100, 1_150, 1_500, 1_590] {
        push(at_ms, first, second, &packet(0xc0, 50_000));
    }
    let (observations, _) = decode(&[batch]);
    let late: Vec<(i64, i64, u32)> = observations
        .iter()
        .filter_map(|observation| match observation.what {
            Observed::Late(late) => {
                assert_eq!(late.interval.millis(), 100);
                Some((observation.at.0 / 1_000_000, late.gap.millis(), late.count))
            }
            _ => None,
        })
        .collect();
    assert_eq!(late, [(826, 126, 5), (1_100, 200, 7)]);
}

/// What was told of segments that were sent again: when in ms, and how many had passed.
fn sent_again(batch: &Batch) -> Vec<(i64, u64)> {
    let (observations, _) = decode(std::slice::from_ref(batch));
    let again = |observation: &Observation| match &observation.what {
        Observed::SentAgain(again) => Some((observation.at.0 / 1_000_000, again.segments)),
        _ => None,
    };
    observations.iter().filter_map(again).collect()
}

#[test]
fn a_segment_that_is_sent_again_is_told() {
    let mut wire = Wire::default();
    wire.establish(A, B);
    let ack = tcp_flags::ACK;
    wire.segment(A, B, ack, &update(1)).segment(A, B, ack, &update(2));
    assert_eq!(sent_again(&wire.batch), []);
    // The last one again, and then each packet a second time on its way out of the gateway.
    let last = wire.batch.signals.last().unwrap().clone();
    let again = Signal { at: Timestamp(300_000_000), ..last };
    wire.batch.signals.push(again);
    assert_eq!(sent_again(&wire.batch), [(300, 3)], "OPEN and two UPDATEs");
    let mut both = wire.batch.clone();
    both.signals = wire
        .batch
        .signals
        .iter()
        .flat_map(|signal| {
            let at = Timestamp(signal.at.0 + 10_000);
            [signal.clone(), Signal { at, link: 9, ..signal.clone() }]
        })
        .collect();
    assert_eq!(sent_again(&both), [(300, 3)]);
}

#[test]
fn a_hole_that_is_filled_late_was_sent_again() {
    for (late_ms, expected) in [(1, vec![]), (200, vec![(207, 2)])] {
        let mut wire = Wire::default();
        wire.establish(A, B);
        wire.segment(A, B, tcp_flags::ACK, &update(1)).segment(A, B, tcp_flags::ACK, &update(2));
        let behind = wire.batch.signals.len() - 1;
        wire.batch.signals.swap(behind - 1, behind);
        let overtaken = wire.batch.signals[behind - 1].at;
        wire.batch.signals[behind].at = Timestamp(overtaken.0 + late_ms * 1_000_000);
        let found = sent_again(&wire.batch);
        assert_eq!(found.len(), expected.len(), "{late_ms}: {found:?}");
    }
}

#[test]
fn keepalives_and_probes_are_not_counted() {
    let mut wire = Wire::default();
    wire.establish(A, B);
    let mut again = wire.batch.signals.last().unwrap().clone();
    wire.batch.signals.push(again.clone());
    if let SignalKind::Segment(segment) = &mut again.kind {
        let octet = wire.batch.append(&[0]);
        (segment.payload, segment.wire_len) = (octet, 1);
        segment.seq = segment.seq.wrapping_add(18);
    }
    wire.batch.signals.push(again);
    assert_eq!(sent_again(&wire.batch), []);
}

#[test]
fn members_of_an_aggregate_are_speakers_of_their_own() {
    let mut batch = Batch::default();
    for (link, octets) in
        [(1, [0x20, 0xc0, 3]), (2, [0x20, 0xc0, 3]), (1, [0x20, 0xc0, 3]), (2, [0x21, 0x40, 3])]
    {
        let payload = batch.append(&bfd(octets));
        let (src, dst) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let direction = Direction::Ingress;
        let kind =
            SignalKind::Bfd(Datagram { src, dst, port: 6784, payload, direction, heard: None });
        batch.signals.push(Signal { at: Timestamp(1), link, kind });
    }
    let (observations, summary) = decode(&[batch]);
    let names: Vec<_> = observations.iter().map(|o| (o.link, name(o))).collect();
    assert_eq!(names, [(1, "bfd Up 3".into()), (2, "bfd Up 3".into()), (2, "bfd Down 3".into())]);
    assert_eq!((summary.bfd.micro, summary.bfd.up, summary.bfd.down), (4, 3, 1));
}

#[test]
fn other_signals_pass_through() {
    let mut batch = Batch::default();
    for kind in [
        SignalKind::Tick,
        SignalKind::Lost { reason: LossReason::RingFull, count: 4 },
        SignalKind::Lost { reason: LossReason::Malformed, count: 2 },
    ] {
        batch.signals.push(Signal { at: Timestamp(5), link: 2, kind });
    }
    let (observations, summary) = decode(&[batch]);
    assert_eq!(observations.iter().map(name).collect::<Vec<_>>(), ["Tick", "lost 4", "lost 2"]);
    assert_eq!(summary.undecodable, 2, "records that the source could not read");
}

fn whole(batch: &mut Batch, speaker: &str, message: &[u8]) {
    let payload = batch.append(message);
    let (speaker, listener) = (speaker.parse().unwrap(), "192.0.2.9".parse().unwrap());
    let kind = SignalKind::Message(WholeMessage {
        speaker,
        listener,
        as4: true,
        add_path: false,
        payload,
    });
    batch.signals.push(Signal { at: Timestamp(1), link: 0, kind });
}

#[test]
fn records_of_a_collector_tell_sessions_too() {
    let peer = |old, new| {
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let session = SessionKey::between(peer, "192.0.2.9".parse().unwrap());
        let kind = SignalKind::Peer(PeerState { session, peer, old, new });
        Signal { at: Timestamp(1), link: 0, kind }
    };
    let mut batch = Batch::default();
    whole(&mut batch, "192.0.2.1", &update(1));
    batch.signals.push(peer(6, 1));
    batch.signals.push(peer(1, 3));
    whole(&mut batch, "192.0.2.1", &open(180));
    batch.signals.push(peer(5, 6));
    whole(&mut batch, "192.0.2.1", &update(2));
    whole(&mut batch, "192.0.2.1", &cease());
    batch.signals.push(peer(6, 1));
    let (observations, summary) = decode(&[batch]);
    assert_eq!(
        observations.iter().map(name).collect::<Vec<_>>(),
        [
            "+1 -0",
            "down Recorded",
            "open 180",
            "up",
            "+1 -0",
            "notification 6/9",
            "down Notification"
        ]
    );
    assert_eq!(summary.streams, 1);
}

#[test]
fn connections_past_the_bound_are_forgotten_and_counted() {
    let config = DecodeConfig { connections_max: 2, ..DecodeConfig::default() };
    let mut decoder = Decoder::new(config);
    let mut wire = Wire::default();
    for port in 1..=5 {
        wire.segment(&format!("192.0.2.1:{port}"), B, tcp_flags::SYN, &[]);
        wire.segment(&format!("192.0.2.1:{port}"), B, 0, &update(1)[..30]);
    }
    decoder.decode(&wire.batch, &mut |_, _| {});
    assert_eq!((decoder.summary().streams, decoder.overflow().connections), (5, 3));
    assert_eq!(decoder.summary().gaps, 3, "each held the start of a message");
    assert_eq!(decoder.held, 60);
}

#[test]
fn held_bytes_are_bounded() {
    let config = DecodeConfig { held_bytes_max: 100, ..DecodeConfig::default() };
    let mut decoder = Decoder::new(config);
    let mut wire = Wire::default();
    for port in 1..=9 {
        wire.segment(&format!("192.0.2.1:{port}"), B, tcp_flags::SYN, &[]);
        wire.segment(&format!("192.0.2.1:{port}"), B, 0, &update(1)[..39]);
    }
    decoder.decode(&wire.batch, &mut |_, _| {});
    assert!(decoder.held <= 100);
    assert_eq!((decoder.overflow().shed, decoder.summary().gaps), (7, 7));
}

#[test]
fn a_payload_of_another_batch_is_empty() {
    let mut wire = Wire::default();
    wire.segment(A, B, 0, &update(1));
    wire.batch.bytes.clear();
    let (observations, summary) = decode(std::slice::from_ref(&wire.batch));
    assert!(wire.batch.payload(PayloadRef { start: 9, len: 9 }).is_empty());
    assert_eq!((observations.len(), summary.gaps), (1, 1));
}
