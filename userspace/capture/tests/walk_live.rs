//! Live tests of the walk and of change detection in the kernel: frames through every program by
//! `BPF_PROG_TEST_RUN`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod packets;

use edgelore_capture::Clock;
use edgelore_capture::file::FileSource;
use edgelore_capture::ring::{DirectionCounters, Program, Ring, RingConfig};
use edgelore_headers::{Kind, hello, hello_hash};
use edgelore_model::{Batch, Direction, SignalKind, tcp_flags};
use edgelore_testkit::live;
use packets::{
    BFD_UP, KEEPALIVE, bfd_frame, isis_frame, isis_hello_frame, labelled, ldp_frame,
    ldp_hello_frame, ldp_keepalive, ospf_hello_frame, tagged_twice, tcp_frame, tunnelled,
    udp_frame, update,
};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

const ACK: u8 = tcp_flags::ACK;
const PROGRAMS: [Program; 3] = [Program::Xdp, Program::TcxIngress, Program::TcxEgress];

fn injected() -> Ring {
    Ring::open(&RingConfig { watch: vec![], ring_bytes: 8 << 20 }, Clock::new()).unwrap()
}

fn counters(ring: &Ring, program: Program) -> DirectionCounters {
    *ring.counters().unwrap().of(direction(program))
}

fn direction(program: Program) -> Direction {
    if program == Program::TcxEgress { Direction::Egress } else { Direction::Ingress }
}

/// A signal without its time and link, the payload in its place: comparable between live and file.
/// What is withheld of a stream is a matter of the kernel's.
#[derive(Debug, PartialEq)]
struct Seen(String, Vec<u8>);

fn seen(batch: &Batch) -> Vec<Seen> {
    let of = |kind: &SignalKind| {
        let mut kind = kind.clone();
        let payload = match &mut kind {
            SignalKind::Segment(segment) => {
                segment.suppressed_bytes = 0;
                segment.direction = Direction::Ingress;
                &mut segment.payload
            }
            SignalKind::Bfd(d) | SignalKind::Ospf(d) | SignalKind::LdpHello(d) => {
                (d.direction, d.heard) = (Direction::Ingress, None);
                &mut d.payload
            }
            SignalKind::Isis(frame) => {
                (frame.direction, frame.heard) = (Direction::Ingress, None);
                &mut frame.payload
            }
            other => panic!("unexpected {other:?}"),
        };
        let bytes = batch.payload(std::mem::take(payload)).to_vec();
        Seen(format!("{kind:?}"), bytes)
    };
    batch.signals.iter().map(|signal| of(&signal.kind)).collect()
}

/// Everything that the ring holds.
fn drain(ring: &mut Ring) -> Batch {
    let mut all = Batch::default();
    while ring.poll(Duration::ZERO, &mut all).unwrap() > 0 {}
    all
}

/// What `frames` put into the ring.
fn through(ring: &mut Ring, program: Program, frames: &[Vec<u8>]) -> Vec<Seen> {
    for frame in frames {
        ring.inject(program, frame, 1).unwrap();
    }
    seen(&drain(ring))
}

#[test]
fn live_unchanged_hellos_are_withheld_and_counted() {
    if !live("live_unchanged_hellos_are_withheld_and_counted") {
        return;
    }
    for program in PROGRAMS {
        let mut ring = injected();
        let ospf = [(1, 40), (2, 40), (3, 40), (4, 4), (5, 4), (6, 40)]
            .map(|(sequence, dead)| ospf_hello_frame(sequence, dead));
        assert_eq!(through(&mut ring, program, &ospf).len(), 3, "{program:?}: two changes");
        let isis = [30, 30, 30, 9, 9].map(isis_hello_frame);
        assert_eq!(through(&mut ring, program, &isis).len(), 2, "{program:?}: one change");
        let ldp = [(1, 15), (2, 15), (3, 45), (4, 45)].map(|(id, hold)| ldp_hello_frame(id, hold));
        assert_eq!(through(&mut ring, program, &ldp).len(), 2, "{program:?}: one change");
        let counted = counters(&ring, program);
        assert_eq!(counted.ospf_hellos_withheld, 3, "{program:?}");
        assert_eq!(counted.isis_hellos_withheld, 3, "{program:?}");
        assert_eq!(counted.ldp_hellos_withheld, 2, "{program:?}");
        assert_eq!((counted.control, counted.records, counted.cut), (15, 7, 0), "{program:?}");
    }
}

#[test]
fn live_a_hello_is_remembered_once_its_record_is_in_the_ring() {
    if !live("live_a_hello_is_remembered_once_its_record_is_in_the_ring") {
        return;
    }
    let config = RingConfig { watch: vec![], ring_bytes: 128 << 10 };
    let mut ring = Ring::open(&config, Clock::new()).unwrap();
    let hello = isis_hello_frame(30);
    ring.inject(Program::Xdp, &tcp_frame(1, ACK, &[7; 1400]), 200).unwrap();
    let filled = counters(&ring, Program::Xdp);
    assert!(filled.ring_full > 0, "the ring is full: {filled:?}");
    ring.inject(Program::Xdp, &hello, 3).unwrap();
    let counted = counters(&ring, Program::Xdp);
    assert_eq!(counted.shed_hello, filled.shed_hello + 3, "each was tried");
    assert_eq!(counted.isis_hellos_withheld, 0);
    let mut batch = Batch::default();
    while ring.poll(Duration::ZERO, &mut batch).unwrap() > 0 {}
    ring.inject(Program::Xdp, &hello, 3).unwrap();
    assert_eq!(drain(&mut ring).signals.len(), 1);
    assert_eq!(counters(&ring, Program::Xdp).isis_hellos_withheld, 2);
}

#[test]
fn live_ldp_keepalives_are_withheld_and_their_bytes_told() {
    if !live("live_ldp_keepalives_are_withheld_and_their_bytes_told") {
        return;
    }
    for program in PROGRAMS {
        let mut ring = injected();
        let mapping = [0, 1, 0, 20, 192, 0, 2, 1, 0, 0, 4, 0, 0, 10, 0, 0, 0, 5, 1, 0, 0, 2, 1, 1];
        for frame in [
            ldp_frame(1000, tcp_flags::SYN, b""),
            ldp_frame(1001, ACK, b""),
            ldp_frame(1001, ACK, &ldp_keepalive(1)),
            ldp_frame(1019, ACK, &ldp_keepalive(2)),
            ldp_frame(1019, ACK, &ldp_keepalive(2)), // A retransmission: counted, not added.
            ldp_frame(1037, ACK, &mapping),
            ldp_frame(1061, ACK, &[ldp_keepalive(3), ldp_keepalive(4)].concat()),
        ] {
            ring.inject(program, &frame, 1).unwrap();
        }
        let batch = drain(&mut ring);
        let seen: Vec<_> = batch
            .signals
            .iter()
            .map(|signal| match &signal.kind {
                SignalKind::Segment(s) => (s.seq, s.payload.len, s.suppressed_bytes),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(seen, [(1000, 0, 0), (1037, 24, 36), (1061, 36, 36)], "{program:?}");
        let counted = counters(&ring, program);
        assert_eq!((counted.ldp_keepalives_withheld, counted.keepalives_withheld), (3, 0));
        assert_eq!((counted.pure_acks_withheld, counted.control, counted.records), (1, 7, 3));
    }
}

/// Puts a frame into another's payload, or a header before what it carries.
type Wrap = fn(&[u8]) -> Vec<u8>;

#[test]
fn live_what_lies_behind_labels_tags_and_tunnels_is_found() {
    if !live("live_what_lies_behind_labels_tags_and_tunnels_is_found") {
        return;
    }
    let plain = |n: u8| {
        let mut bfd = BFD_UP;
        bfd[2] = 3 + n;
        [
            tcp_frame(1, ACK, &update(n)),
            bfd_frame(3784, &bfd),
            ospf_hello_frame(1, 40 + n),
            ldp_hello_frame(1, 15 + n),
        ]
    };
    let wraps: [Wrap; 5] = [
        labelled,
        tagged_twice,
        tunnelled,
        |frame| tagged_twice(&labelled(frame)),
        |frame| tagged_twice(&tunnelled(frame)),
    ];
    let isis = isis_frame(&[0x83, 27, 1, 0, 18, 1, 0, 0, 0, 27, 4, 0xb0]);
    for program in PROGRAMS {
        let (mut bare, mut wrapped) = (injected(), injected());
        for (n, wrap) in wraps.iter().enumerate() {
            let frames = plain(n as u8);
            let expected = through(&mut bare, program, &frames);
            assert_eq!(expected.len(), frames.len(), "{program:?}");
            let frames = frames.map(|frame| wrap(&frame));
            assert_eq!(through(&mut wrapped, program, &frames), expected, "{program:?}, {n}");
        }
        let expected = through(&mut bare, program, std::slice::from_ref(&isis));
        assert_eq!(expected.len(), 1, "{program:?}");
        assert_eq!(through(&mut wrapped, program, &[tagged_twice(&isis)]), expected, "{program:?}");
    }
}

#[test]
fn live_the_classifier_counts_by_kind() {
    if !live("live_the_classifier_counts_by_kind") {
        return;
    }
    let mut ring = injected();
    ring.load(Program::Classify).unwrap();
    let send = |frame: &[u8]| assert!(ring.inject(Program::Classify, frame, 2).is_ok());
    send(&tcp_frame(1, ACK, &KEEPALIVE));
    send(&bfd_frame(3784, &BFD_UP));
    send(&ospf_hello_frame(1, 40));
    send(&isis_hello_frame(30));
    send(&ldp_frame(1, ACK, &ldp_keepalive(1)));
    send(&ldp_hello_frame(1, 15));
    send(&labelled(&tcp_frame(1, ACK, b"")));
    send(&tunnelled(&tcp_frame(1, ACK, b"")));
    send(&udp_frame(53, b"question"));
    send(&tcp_frame(1, ACK, b"")[..40]);
    let counted = ring.classified().unwrap();
    assert_eq!((counted.bgp, counted.bfd, counted.ospf, counted.isis), (4, 2, 2, 2));
    assert_eq!((counted.ldp, counted.ldp_hello, counted.tunnels), (2, 2, 2));
    assert_eq!((counted.other, counted.fragments, counted.truncated), (2, 0, 2));
    assert_eq!(ring.counters().unwrap(), Default::default(), "the others' counters stand still");
}

/// The frames of an Ethernet pcap file.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = LegacyPcapReader::new(1 << 16, File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let PcapBlockOwned::Legacy(packet) = block {
                    frames.push(packet.data.to_vec());
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return frames,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

/// The file's signals, but for hellos that equal the last of their sender.
fn changes(path: &Path, kind: Kind) -> (Vec<Seen>, u64) {
    let mut source = FileSource::open(path).unwrap();
    let (mut all, mut last, mut withheld) = (Vec::new(), HashMap::new(), 0);
    loop {
        let mut batch = Batch::default();
        let more = source.next_batch(&mut batch).unwrap();
        for Seen(text, payload) in seen(&batch) {
            if let Some(hello) = hello(&payload[..], kind) {
                // The text names the sender, and of OSPF the receiver too.
                let hash = hello_hash(&payload[..], &hello);
                if last.insert((text.clone(), hello.subtype), hash) == Some(hash) {
                    withheld += 1;
                    continue;
                }
            }
            all.push(Seen(text, payload));
        }
        if !more {
            return (all, withheld);
        }
    }
}

#[test]
fn live_link_state_captures_give_the_signals_of_the_file() {
    if !live("live_link_state_captures_give_the_signals_of_the_file") {
        return;
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    for (file, kind) in [
        ("tcpdump.ISIS_level1_adjacency.pcap", Kind::Isis),
        ("tcpdump.isis_sid.pcap", Kind::Isis),
        ("tcpdump.OSPFv3_broadcast_adjacency.pcap", Kind::Ospf),
        ("tcpdump.OSPFv3_with_AH.pcap", Kind::Ospf),
    ] {
        let path = fixtures.join(file);
        let (frames, (expected, withheld)) = (frames(&path), changes(&path, kind));
        assert!(!expected.is_empty(), "{file} says something");
        for program in PROGRAMS {
            let mut ring = injected();
            assert_eq!(through(&mut ring, program, &frames), expected, "{program:?}: {file}");
            let counted = counters(&ring, program);
            assert_eq!(counted.ospf_hellos_withheld + counted.isis_hellos_withheld, withheld);
            assert_eq!((counted.ring_full, counted.cut, counted.truncated), (0, 0, 0));
            assert_eq!(counted.control, frames.len() as u64, "{program:?}: {file}");
        }
    }
}
