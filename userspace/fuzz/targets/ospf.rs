//! Any bytes as a sequence of OSPF packets, and as the body of every advertisement: a checksum
//! would keep the fuzzer out of them.
#![no_main]

use edgelore_model::{Batch, Datagram, Direction, Observed, Signal, SignalKind, Timestamp};
use edgelore_pipeline::decode::igp::{ospf, ospf2, ospf3};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_pipeline::topology::Graph;
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|bytes: &[u8]| {
    bodies(bytes);
    let mut batch = Batch::default();
    let mut rest = bytes;
    while let [length, seconds, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let payload = batch.append(payload);
        let (src, dst) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([224, 0, 0, 5]));
        let direction = Direction::Ingress;
        let kind = SignalKind::Ospf(Datagram { src, dst, port: 0, payload, direction });
        let at = batch.signals.last().map_or(0, |last| last.at.secs()) + i64::from(*seconds);
        batch.signals.push(Signal { at: Timestamp::from_secs_nanos(at, 0), link: 1, kind });
    }
    let mut decoder = Decoder::new(DecodeConfig { link_states_max: 4, ..DecodeConfig::default() });
    let mut graph = Graph::default();
    decoder.decode(&batch, &mut |_, observation| {
        if let Observed::LinkState(change) = observation.what {
            graph.apply(&change);
        }
    });
    for area in graph.areas() {
        let _ = graph.topology(area);
    }
});

/// The first octets choose the advertisement, the others are its body.
fn bodies(bytes: &[u8]) {
    let &[high, low, instance, ref id @ .., _] = bytes else { return };
    let Some((id, body)) = id.split_first_chunk() else { return };
    let header = ospf::LsaHeader {
        age_s: 1,
        do_not_age: false,
        options: 0,
        ls_type: u16::from_be_bytes([high, low]),
        link_state_id: u32::from_be_bytes(*id),
        advertising_router: 1,
        sequence: 1,
        checksum: 0,
        length: 0,
    };
    for content in [ospf2::content(&header, body), ospf3::content(&header, instance, body)] {
        if let Ok(content) = content {
            assert!(content.neighbours.is_sorted() && content.prefixes.is_sorted());
        }
    }
}
