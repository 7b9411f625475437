//! Any bytes as the payload of an LDP hello, and as one connection's stream in two pieces.
#![no_main]

use edgelore_model::{
    Batch, Datagram, Direction, Segment, Signal, SignalKind, StreamProtocol, Timestamp,
};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut batch = Batch::default();
    let direction = Direction::Ingress;
    let (src, dst) = ([10, 0, 0, 1].into(), [224, 0, 0, 2].into());
    let payload = batch.append(bytes);
    let hello = Datagram { src, dst, port: 646, payload, direction };
    batch.signals.push(Signal { at: Timestamp(0), link: 1, kind: SignalKind::LdpHello(hello) });
    let middle = bytes.len() / 2;
    for (seq, flags, part) in
        [(0, 2, &[][..]), (1, 16, &bytes[..middle]), (2, 16, &bytes[middle..])]
    {
        let payload = batch.append(part);
        let kind = SignalKind::Segment(Segment {
            protocol: StreamProtocol::Ldp,
            src: ([10, 0, 0, 1], 40_000).into(),
            dst: ([10, 0, 0, 2], 646).into(),
            seq: if seq == 2 { 1 + middle as u32 } else { seq },
            flags,
            gap: None,
            suppressed_bytes: 0,
            wire_len: payload.len,
            payload,
            direction,
        });
        batch.signals.push(Signal { at: Timestamp(0), link: 1, kind });
    }
    let mut decoder = Decoder::new(DecodeConfig::default());
    decoder.decode(&batch, &mut |_, _| {});
    decoder.finish(&mut |_, _| {});
});
