//! Any bytes as a frame, as a delta header, as a hello and as a ring record. The quick answer must
//! never contradict the whole walk.
#![no_main]

use edgelore_capture::Clock;
use edgelore_capture::ring::signal_of;
use edgelore_headers::{
    Kind, Scope, Walk, bfd_delta, bgp_delta, hello, hello_hash, is_lone_keepalive,
    is_lone_ldp_keepalive, is_other, isis_delta, ldp_delta, ospf_delta, walk_ethernet, walk_ip,
    walk_iso,
};
use edgelore_model::Batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for scope in [Scope::Gateway, Scope::Capture] {
        let walked = walk_ethernet(bytes, scope);
        assert!(!is_other(bytes, scope) || walked == Walk::Other, "{walked:?}");
        for walked in [walked, walk_ip(bytes, 0, scope), walk_iso(bytes, 0)] {
            let Walk::Control(packet) = walked else { continue };
            let at = packet.payload_offset;
            let _ = (bgp_delta(bytes, at), bfd_delta(bytes, at), ospf_delta(bytes, at));
            let _ = (isis_delta(bytes, at), ldp_delta(bytes, at));
        }
    }
    for kind in [Kind::Ospf, Kind::Isis, Kind::LdpHello] {
        if let Some(found) = hello(bytes, kind) {
            let _ = hello_hash(bytes, &found);
        }
    }
    let _ = (is_lone_keepalive(bytes), is_lone_ldp_keepalive(bytes));
    let mut batch = Batch::default();
    if signal_of(bytes, &Clock::new(), &mut batch).is_err() {
        assert!(batch.bytes.len() <= bytes.len());
    }
});
