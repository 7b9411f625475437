//! Any bytes as the bodies of two OPENs and a NOTIFICATION: never panics, and what is handed out
//! keeps its bounds.
#![no_main]

use edgelore_pipeline::decode::bgp::{Negotiated, Notification, Open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let half = bytes.len() / 2;
    let opens = [Open::parse(bytes), Open::parse(&bytes[half..])];
    for open in opens.iter().flatten() {
        assert!(open.capabilities.families.len() <= 64 && open.capabilities.add_path.len() <= 64);
        assert!(open.summary().families >= 1);
    }
    if let [Ok(one), Ok(other)] = &opens {
        let negotiated = Negotiated::between(one, other);
        assert!(negotiated.add_path.len() <= one.capabilities.add_path.len());
    }
    if let Ok(Notification { communication: Some(text), .. }) = Notification::parse(bytes) {
        // Each of at most 255 octets may be shown as a replacement character of three.
        assert!(text.len() <= 3 * 255 && !text.chars().any(char::is_control));
    }
});
