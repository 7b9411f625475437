//! Any bytes as a frame, as a delta header and as a ring record.
#![no_main]

use edgelore_capture::Clock;
use edgelore_capture::ring::signal_of;
use edgelore_headers::{Walk, bfd_delta, bgp_delta, is_lone_keepalive, walk_ethernet, walk_ip};
use edgelore_model::Batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for walked in [walk_ethernet(bytes), walk_ip(bytes, 0)] {
        if let Walk::Control(packet) = walked {
            assert!(packet.payload_offset <= bytes.len() + packet.payload_len);
            let _ =
                (bgp_delta(bytes, packet.payload_offset), bfd_delta(bytes, packet.payload_offset));
        }
    }
    let _ = is_lone_keepalive(bytes);
    let mut batch = Batch::default();
    if signal_of(bytes, &Clock::new(), &mut batch).is_err() {
        assert!(batch.bytes.len() <= bytes.len());
    }
});
