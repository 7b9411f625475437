//! Routers over loopback: what they send comes out whole, and what is no BMP sends them away.

use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

fn source(routers_max: usize, allow: &str) -> (BmpSource, SocketAddr) {
    let source = BmpSource::open(BmpConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        routers_max,
        allow: vec![allow.parse().unwrap()],
        clock: Clock::new(),
    })
    .expect("listen on loopback");
    let address = source.local_address().expect("a bound socket has an address");
    (source, address)
}

fn message(kind: u8, length: usize) -> Vec<u8> {
    let mut message = vec![3, 0, 0, 0, 0, kind];
    message[1..5].copy_from_slice(&(length as u32).to_be_bytes());
    message.resize(length, kind);
    message
}

/// Reads until `done` holds of what has come: openings, messages, ends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    opened: usize,
    closed: usize,
    messages: Vec<Vec<u8>>,
}

fn read_until(source: &mut BmpSource, done: impl Fn(&Seen, &BmpSource) -> bool) -> Seen {
    let (start, mut seen) = (Instant::now(), Seen::default());
    while !done(&seen, source) {
        assert!(start.elapsed() < PATIENCE, "not in time: {seen:?}");
        let mut batch = Batch::default();
        source.read(Duration::from_millis(20), &mut batch).expect("read the routers");
        for signal in &batch.signals {
            match &signal.kind {
                SignalKind::BmpRouter(router) if router.connected => seen.opened += 1,
                SignalKind::BmpRouter(_) => seen.closed += 1,
                SignalKind::Bmp(message) => {
                    seen.messages.push(batch.payload(message.payload).to_vec());
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
    seen
}

#[test]
fn messages_come_out_whole_and_in_order() {
    let (mut source, address) = source(4, "127.0.0.0/8");
    let messages: Vec<_> = [(4, 6), (3, 300), (0, 70_000), (1, MESSAGE_LEN_MAX), (0, 48)]
        .map(|(k, l)| message(k, l))
        .into();
    let bytes = messages.concat();
    let writer = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("connect");
        // Odd pieces, so that headers and bodies are cut everywhere.
        for piece in bytes.chunks(4_099) {
            stream.write_all(piece).expect("write");
        }
    });
    let seen = read_until(&mut source, |seen, _| seen.closed == 1);
    writer.join().unwrap();
    assert_eq!((seen.opened, seen.closed), (1, 1));
    assert!(seen.messages == messages, "what was sent is what came");
    let counters = source.counters();
    assert_eq!((counters.accepted, counters.messages, counters.cut_short), (1, 5, 0));
    assert_eq!(counters.bytes, messages.concat().len() as u64);
}

#[test]
fn garbage_sends_the_router_away() {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[3, 0, 0, 0, 5, 0], &[3, 0, 0x10, 0, 1, 0]] {
        let (mut source, address) = source(4, "127.0.0.0/8");
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(&message(4, 10)).expect("write a message");
        stream.write_all(garbage).expect("write garbage");
        let seen = read_until(&mut source, |seen, _| seen.closed == 1);
        assert_eq!((seen.messages.len(), source.counters().framing_errors), (1, 1));
        assert_eq!(source.routers().count(), 0);
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "the connection is closed");
    }
}

#[test]
fn only_expected_routers_are_let_in() {
    let (mut source, address) = source(4, "192.0.2.0/24");
    let _stream = TcpStream::connect(address).expect("connect");
    let seen = read_until(&mut source, |_, source| source.counters().refused_address == 1);
    assert_eq!(seen, Seen::default());
}

#[test]
fn one_router_too_many_is_sent_away_and_the_others_stay() {
    let (mut source, address) = source(2, "127.0.0.1/32");
    let mut streams: Vec<_> =
        (0..3).map(|_| TcpStream::connect(address).expect("connect")).collect();
    read_until(&mut source, |_, source| source.counters().refused_full == 1);
    assert_eq!(source.routers().count(), 2);
    streams[0].write_all(&message(4, 6)).expect("write");
    read_until(&mut source, |seen, _| seen.messages.len() == 1);
    drop(streams);
    read_until(&mut source, |_, source| source.routers().count() == 0);
}

#[test]
fn a_connection_that_ends_within_a_message_says_so() {
    let (mut source, address) = source(4, "127.0.0.0/8");
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.write_all(&message(0, 100)[..60]).expect("write");
    drop(stream);
    let seen = read_until(&mut source, |seen, _| seen.closed == 1);
    assert_eq!((seen.messages.len(), source.counters().cut_short), (0, 1));
}

/// A router that sends more than anybody takes has to wait; nothing of it is lost.
#[test]
fn a_slow_reader_makes_the_router_wait() {
    const MESSAGES: usize = 400;
    let (mut source, address) = source(1, "127.0.0.0/8");
    let (sent, progress) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("connect");
        for _ in 0..MESSAGES {
            stream.write_all(&message(0, 65_000)).expect("write");
            let _ = sent.send(());
        }
    });
    // Until it stands still: 26 MB are more than the two kernel buffers take.
    let mut through = 0;
    while progress.recv_timeout(Duration::from_millis(500)).is_ok() {
        through += 1;
    }
    assert!(through < MESSAGES, "the router was not held up");
    let seen = read_until(&mut source, |seen, _| seen.messages.len() == MESSAGES);
    writer.join().unwrap();
    assert!(seen.messages.iter().all(|m| m.len() == 65_000));
}

proptest! {
    /// The listener and the pipeline agree on what a message is.
    #[test]
    fn framing_is_that_of_the_pipeline(
        start in prop_oneof![Just(vec![3]), proptest::collection::vec(any::<u8>(), 0..2)],
        rest in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..64),
    ) {
        use edgelore_pipeline::decode::bmp;
        let bytes = [start, rest].concat();
        match (connection::length(&bytes), bmp::frame(&bytes)) {
            (Err(_), Err(_)) => {}
            (Ok(Some(ours)), Ok(theirs)) => {
                prop_assert_eq!((bytes.len() >= ours).then_some(ours), theirs);
            }
            (Ok(None), Ok(None)) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} and {theirs:?}"),
        }
    }
}
