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
            // What is announced with a fault is counted as sent, and counts as withdrawn.
            let counts = delta.counts;
            let counted = counts.ipv4_announced
                + counts.ipv6_announced
                + counts.ipv4_withdrawn
                + counts.ipv6_withdrawn;
            assert_eq!((delta.announced.len() + delta.withdrawn.len()) as u64, counted);
            assert!(delta.announced.is_empty() || delta.path.is_some());
        }
    }
});
