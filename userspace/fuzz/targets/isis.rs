//! Any bytes as a sequence of IS-IS PDUs, each given the common header so that bodies are reached.
#![no_main]

use edgelore_model::{Batch, Direction, IsisFrame, Observed, Signal, SignalKind, Timestamp};
use edgelore_pipeline::decode::igp::isis::Pdu;
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_pipeline::topology::Graph;
use libfuzzer_sys::fuzz_target;

/// PDU types with the length that their header states.
const TYPES: [(u8, u8); 9] =
    [(15, 27), (16, 27), (17, 20), (18, 27), (20, 27), (24, 33), (25, 33), (26, 17), (27, 17)];

fuzz_target!(|bytes: &[u8]| {
    let _ = Pdu::parse(bytes);
    let mut batch = Batch::default();
    let mut rest = bytes;
    while let [kind, length, seconds, tail @ ..] = rest {
        let (body, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let (kind, indicated) = TYPES[usize::from(*kind) % TYPES.len()];
        let pdu = [&[0x83, indicated, 1, 0, kind, 1, 0, 0][..], body].concat();
        let payload = batch.append(&pdu);
        let src = [0, 0, 0, 0, 0, *seconds & 7];
        let kind = SignalKind::Isis(IsisFrame { src, payload, direction: Direction::Ingress });
        let at = batch.signals.last().map_or(0, |last| last.at.secs()) + i64::from(*seconds);
        batch.signals.push(Signal { at: Timestamp::from_secs_nanos(at, 0), link: 1, kind });
    }
    let mut decoder = Decoder::new(DecodeConfig { link_states_max: 4, ..DecodeConfig::default() });
    let mut graph = Graph::default();
    decoder.decode(&batch, &mut |_, observation| {
        if let Observed::LinkState(change) = observation.what {
            assert!(change.neighbours.is_sorted() && change.prefixes.is_sorted());
            graph.apply(&change);
        }
    });
    for area in graph.areas() {
        let _ = graph.topology(area);
    }
});
