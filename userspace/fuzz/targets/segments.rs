//! Any bytes as segments of a few connections of BGP, LDP and BMP: how long, where, with which flags, and what is in
//! them. The same segments one by one must give the same observations.
#![no_main]

use edgelore_model::{
    Batch, Direction, Observation, Segment, Signal, SignalKind, StreamProtocol, Timestamp,
};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;

fuzz_target!(|bytes: &[u8]| {
    let mut batch = Batch::default();
    let mut rest = bytes;
    while let [length, more, flags, seq, which, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let ends: [SocketAddr; 2] = [
            ([192, 0, 2, 1], 40_000 + u16::from(which & 0b1101)).into(),
            ([192, 0, 2, 2], 179).into(),
        ];
        let (src, dst) = if which & 2 == 0 { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
        let payload = batch.append(payload);
        let protocol = match which >> 2 & 3 {
            0 | 1 => StreamProtocol::Bgp,
            2 => StreamProtocol::Ldp,
            _ => StreamProtocol::Bmp,
        };
        let kind = SignalKind::Segment(Segment {
            protocol,
            src,
            dst,
            seq: u32::from(*seq).wrapping_mul(19).wrapping_sub(500),
            flags: *flags,
            gap: None,
            suppressed_bytes: u32::from(which >> 2),
            wire_len: payload.len + u32::from(*more & 7),
            payload,
            direction: Direction::Ingress,
        });
        let at = Timestamp(batch.signals.len() as i64 * i64::from(*more) * 10_000_000);
        batch.signals.push(Signal { at, link: 0, kind });
    }
    let all = batch.signals.len();
    assert_eq!(decode(&batch, all), decode(&batch, 1));
});

/// Decodes `count` signals at a time.
fn decode(batch: &Batch, count: usize) -> Vec<Observation> {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut observations = Vec::new();
    let mut part = Batch { signals: Vec::new(), bytes: batch.bytes.clone() };
    for signals in batch.signals.chunks(count.max(1)) {
        part.signals = signals.to_vec();
        decoder.decode(&part, &mut |_, observation| observations.push(observation));
    }
    decoder.finish(&mut |_, observation| observations.push(observation));
    observations
}
