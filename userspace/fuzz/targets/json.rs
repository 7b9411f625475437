//! Any text as what is imported: packets of the reference's form, outcomes, queries.
#![no_main]

use edgelore_model::{Outcome, Query, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet;
use edgelore_pipeline::packet::{PACKET_BYTES_MAX, SigningKey, open, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(packet) = Packet::parse(text) {
        let again = Packet::parse(&packet.to_json()).expect("what is written is read");
        assert_eq!(again.fingerprint(), packet.fingerprint());
        assert_eq!(again.to_json(), packet.to_json());
        if let Ok(outcome) = packet.to_outcome(Timestamp(0), Timestamp(1_000_000_000)) {
            assert_eq!(Packet::from(&outcome).fingerprint(), packet.fingerprint());
            published(&outcome);
        }
    }
    if let Ok(outcome) = serde_json::from_str::<Outcome>(text) {
        published(&outcome);
    }
    if let Ok(query) = serde_json::from_str::<Query>(text) {
        let space = Space::default_definition();
        let parts = space.explain(&query, &query);
        assert!(parts.iter().all(|part| part.distance == 0));
    }
});

/// What was imported is sealed within its bound, or refused.
fn published(outcome: &Outcome) {
    let key = SigningKey::from_seed(&mut [7; 32]);
    if let Ok(sealed) = seal(outcome, &key, &Space::default_definition()) {
        assert!(sealed.bytes.len() <= PACKET_BYTES_MAX);
        assert_eq!(open(&sealed.bytes).expect("what is sealed opens").outcome, sealed.outcome);
    }
}
