//! Any bytes as a packet, and as the payload of one whose signature is right.
#![no_main]

use ed25519_dalek::{Signer, SigningKey};
use edgelore_model::Outcome;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{self, Counts, PACKET_BYTES_MAX, Privacy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = (packet::inspect(bytes), packet::open(bytes), packet::open_batch(&[bytes, &[], bytes]));
    let packet = signed(bytes);
    if let Ok(inspection) = packet::inspect(&packet) {
        let parts: usize = inspection.parts.iter().map(|part| part.bytes).sum();
        assert_eq!((parts, parts + inspection.left), (packet.len(), PACKET_BYTES_MAX));
    }
    let opened = packet::open(&packet);
    assert_eq!(packet::open_batch(&[&packet]), [opened.clone()]);
    if let Ok(opened) = opened {
        assert!(packet.len() <= PACKET_BYTES_MAX && opened.bytes == packet);
        again(&opened.outcome);
    }
});

/// What was accepted can be said again, and is then said alike.
fn again(outcome: &Outcome) {
    let key = packet::SigningKey::from_seed(&mut [7; 32]);
    let space = Space::default_definition();
    let privacy = Privacy::with(Counts::Exact);
    if let Ok(sealed) = packet::seal_with(outcome, &key, &space, &privacy) {
        let opened = packet::open(&sealed.bytes).expect("what is sealed opens");
        assert_eq!(opened.outcome, sealed.outcome);
    }
}

/// The envelope of RFC 9052 §4.2 around a payload.
fn signed(payload: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let header = [&[0xa2, 0x01, 0x27, 0x04, 0x58, 0x20][..], key.verifying_key().as_bytes()].concat();
    let protected = [&[0x58, 0x26][..], &header].concat();
    let length = payload.len();
    let head = match length {
        0..24 => vec![0x40 | length as u8],
        24..256 => vec![0x58, length as u8],
        _ => [&[0x59][..], &(length as u16).to_be_bytes()].concat(),
    };
    let payload = [&head, payload].concat();
    let text = [&[0x84, 0x6a][..], b"Signature1", &protected, &[0x40], &payload].concat();
    let signature = key.sign(&text).to_bytes();
    [&[0xd2, 0x84][..], &protected, &[0xa0], &payload, &[0x58, 0x40], &signature].concat()
}
