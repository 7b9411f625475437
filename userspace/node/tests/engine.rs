//! One worker and many, small batches and large: the same findings, bit for bit.

use edgelore_model::{
    Batch, Datagram, Direction, EventType, IsisFrame, Observation, PayloadRef, Segment, Signal,
    SignalKind, StreamProtocol, Summary, Timestamp, tcp_flags,
};
use edgelore_node::engine::{Engine, Output};
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::{DetectConfig, Detected, Finding};
use std::net::SocketAddr;
use std::sync::mpsc;

const MARKER: [u8; 16] = [0xff; 16];

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&MARKER[..], &length.to_be_bytes(), &[kind], body].concat()
}

fn withdraw(third: u8, fourth: u8) -> Vec<u8> {
    message(2, &[0, 5, 32, 10, 0, third, fourth, 0, 0])
}

/// Thirty routers of one network each withdraw a hundred and twenty prefixes, a message at a
/// time in turn, one of them out of order, and then say goodbye.
fn history() -> Vec<(i64, SocketAddr, u32, u8, Vec<u8>)> {
    let speaker = |n: u8| SocketAddr::from(([192, 0, 2, n], 179));
    let mut all = Vec::new();
    for step in 0..120u32 {
        for n in 1..=30u8 {
            let body = withdraw(n, step as u8);
            let seq = 1 + step * body.len() as u32;
            let late = i64::from(n == 7 && step % 10 == 3) * 45_000_000;
            let at = i64::from(step) * 5_000_000 + i64::from(n) * 1_000 + late;
            all.push((at, speaker(n), seq, tcp_flags::ACK, body));
        }
    }
    for n in 1..=30u8 {
        let seq = 1 + 120 * withdraw(0, 0).len() as u32;
        all.push((5_000_000_000 + i64::from(n), speaker(n), seq, tcp_flags::RST, Vec::new()));
    }
    all.sort_by_key(|(at, ..)| *at);
    all
}

fn run(workers: usize, batch_signals: usize) -> (Vec<Observation>, Vec<Finding>, Summary) {
    let (sender, receiver) = mpsc::channel();
    let detect = DetectConfig::default();
    let mut engine = Engine::start(workers, &DecodeConfig::default(), detect, move |output| {
        let sent = match output {
            Output::Observation(observation) => sender.send((Some(observation.clone()), None)),
            Output::Detected(Detected::Closed(finding)) => sender.send((None, Some(*finding))),
            Output::Detected(_) => Ok(()),
        };
        sent.expect("the receiver outlives the engine");
    });
    let history = history();
    for chunk in history.chunks(batch_signals) {
        let mut batch = Batch::default();
        for (at, src, seq, flags, payload) in chunk {
            let segment = Segment {
                protocol: StreamProtocol::Bgp,
                src: *src,
                dst: SocketAddr::from(([192, 0, 2, 254], 40_000)),
                seq: *seq,
                flags: *flags,
                gap: None,
                suppressed_bytes: 0,
                wire_len: payload.len() as u32,
                payload: if payload.is_empty() {
                    PayloadRef::default()
                } else {
                    batch.append(payload)
                },
                direction: Direction::Ingress,
            };
            let kind = SignalKind::Segment(segment);
            batch.signals.push(Signal { at: Timestamp(*at), link: 1, kind });
        }
        assert!(engine.submit(batch));
    }
    let totals = engine.finish();
    let (mut observations, mut findings) = (Vec::new(), Vec::new());
    for (observation, finding) in receiver {
        observations.extend(observation);
        findings.extend(finding);
    }
    (observations, findings, totals.summary)
}

#[test]
fn the_result_depends_neither_on_workers_nor_on_batches() {
    let reference = run(1, 64);
    assert_eq!(reference.2.prefixes.ipv4_withdrawn, 30 * 120);
    assert_eq!(reference.2.gaps, 0);
    let bursts = reference.1.iter().filter(|f| f.incident.event == EventType::Convergence);
    let sizes: Vec<usize> = bursts.map(|f| f.incident.prefixes.len()).collect();
    assert_eq!(sizes, [120; 30], "a burst of withdrawals at each of the thirty");
    for (workers, batch_signals) in [(1, 1), (1, 5_000), (2, 64), (3, 7), (8, 1_000)] {
        let result = run(workers, batch_signals);
        assert_eq!(result.2, reference.2, "{workers} workers, batches of {batch_signals}");
        assert!(result.0 == reference.0, "{workers} workers, batches of {batch_signals}");
        assert!(result.1 == reference.1, "{workers} workers, batches of {batch_signals}");
    }
}

/// A point-to-point hello of an IS-IS system, and an OSPFv3 hello of a router.
fn hellos(n: u8) -> [Vec<u8>; 2] {
    let isis = [&[0x83, 20, 1, 0, 17, 1, 0, 0, 2][..], &[n; 6], &[0, 30, 0, 20, 1]].concat();
    let mut ospf = vec![3, 1, 0, 36, 10, 0, 0, n];
    ospf.resize(36, 0);
    [isis, ospf]
}

#[test]
fn packets_of_link_state_protocols_keep_their_payload() {
    for workers in [1, 4] {
        let mut engine =
            Engine::start(workers, &DecodeConfig::default(), DetectConfig::default(), |_| {});
        let (mut batch, direction) = (Batch::default(), Direction::Ingress);
        for n in 1..=20 {
            // Other payloads before them, which go to other workers.
            let payload = batch.append(&[0; 5]);
            let (src, dst) = ([192, 0, 2, n].into(), [192, 0, 2, 99].into());
            let other = Datagram { src, dst, port: 3785, payload, direction, heard: None };
            let [isis, ospf] = hellos(n);
            let isis =
                IsisFrame { src: [n; 6], payload: batch.append(&isis), direction, heard: None };
            let ospf = Datagram { port: 0, payload: batch.append(&ospf), ..other.clone() };
            for kind in [SignalKind::Bfd(other), SignalKind::Isis(isis), SignalKind::Ospf(ospf)] {
                batch.signals.push(Signal { at: Timestamp(i64::from(n)), link: 1, kind });
            }
        }
        assert!(engine.submit(batch));
        let summary = engine.finish().summary;
        assert_eq!((summary.isis.hello, summary.ospf.hello, summary.undecodable), (20, 20, 0));
    }
}
