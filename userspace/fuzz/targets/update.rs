//! Any bytes as BGP messages and as a BFD packet.
#![no_main]

use edgelore_pipeline::decode::bfd::ControlPacket;
use edgelore_pipeline::decode::bgp::update::{Delta, Encoding, PathIdHint};
use edgelore_pipeline::decode::bgp::{AsWidth, Messages, Open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for message in Messages::new(bytes) {
        let _ = message;
    }
    let _ = (Open::parse(bytes), ControlPacket::parse(bytes));
    for path_ids in [PathIdHint::Unlikely, PathIdHint::Likely] {
        let encoding = Encoding::Presumed { width: AsWidth::Four, path_ids };
        if let Ok(delta) = Delta::read(bytes, &encoding) {
            let counted = delta.counts.ipv4_announced + delta.counts.ipv6_announced;
            assert_eq!(delta.announced.len() as u64, counted);
        }
    }
});
