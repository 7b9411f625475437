//! The rule against RFC 8032's vectors, against the library's strict verification, and on what small
//! orders can do.

use super::*;
use crate::packet::SigningKey;
use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use proptest::prelude::*;

fn sealed(seed: u8, payload: &[u8]) -> Vec<u8> {
    crate::packet::sign::sign(payload, &SigningKey::from_seed(&mut [seed; 32]))
}

fn envelope(bytes: &[u8]) -> Envelope<'_> {
    Envelope::read(bytes).unwrap()
}

/// What the library's own verification says, which has no cofactor.
fn library(envelope: &Envelope<'_>) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(&envelope.key).is_ok_and(|key| {
        let signature = ed25519_dalek::Signature::from_bytes(&envelope.signature);
        key.verify_strict(&envelope.signed(), &signature).is_ok()
    })
}

/// A signature by somebody who knows the key `a`·B and hides parts of small order in it and in R.
fn crafted(payload: &[u8], key_part: usize, r_part: usize, number: u64) -> Envelope<'_> {
    let (a, r) = (Scalar::from(7_919 + number), Scalar::from(104_729 + number));
    let key = &a * ED25519_BASEPOINT_TABLE + EIGHT_TORSION[key_part];
    let key = key.compress().to_bytes();
    let point = (&r * ED25519_BASEPOINT_TABLE + EIGHT_TORSION[r_part]).compress().to_bytes();
    let unsigned = Envelope { key, payload, signature: [0; 64] };
    let hash = Sha512::new().chain_update(point).chain_update(key).chain_update(unsigned.signed());
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&point);
    signature[32..].copy_from_slice((r + k * a).as_bytes());
    Envelope { signature, ..unsigned }
}

#[test]
fn what_differs_by_small_orders_has_one_verdict_alone_and_in_company() {
    let payload = b"any payload".as_slice();
    let mut apart = 0;
    for (key_part, r_part) in (0..8).flat_map(|a| (0..8).map(move |r| (a, r))) {
        let odd = crafted(payload, key_part, r_part, 0);
        assert!(one(&odd), "{key_part} {r_part}");
        apart += usize::from(!library(&odd));
        for company in 0..8 {
            let others: Vec<_> = (0..company).map(|n| crafted(payload, 0, 0, n + 1)).collect();
            let batch = [&[odd], others.as_slice()].concat();
            assert!(all(&batch), "{key_part} {r_part} among {company}");
        }
    }
    assert!(apart > 40, "the library refuses what has parts of small order: {apart} of 64");
}

#[test]
fn points_of_small_order_are_refused() {
    for small in EIGHT_TORSION {
        let bytes = small.compress().to_bytes();
        assert!(point(&bytes).is_none());
        // S = 0, R of small order, under a key of small order: fits every message.
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&bytes);
        let envelope = Envelope { key: bytes, payload: b"", signature };
        assert!(!one(&envelope) && !all(&[envelope]));
    }
}

#[test]
fn encodings_that_are_not_canonical_are_refused() {
    // y = 2^255 - 19 + n for the n that have a point on the curve, and the order of the base point
    // as S.
    for n in 0..19u8 {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xed + n, 0x7f);
        assert!(point(&bytes).is_none(), "{n}");
    }
    let bytes = sealed(1, b"payload");
    let valid = envelope(&bytes);
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order: [u8; 32] = hex::decode(order).unwrap().try_into().unwrap();
    let mut signature = valid.signature;
    let mut carry = 0u16;
    for (digit, order) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(order) + carry;
        (*digit, carry) = (sum as u8, sum >> 8);
    }
    let second = Envelope { signature, ..valid };
    assert!(one(&valid) && !one(&second) && !all(&[valid, second]));
}

#[test]
fn a_batch_with_one_fault_is_refused_wherever_it_stands() {
    let packets: Vec<Vec<u8>> = (0..20).map(|n| sealed(n % 5, &[n; 40])).collect();
    let valid: Vec<_> = packets.iter().map(|bytes| envelope(bytes)).collect();
    assert!(all(&valid) && all(&[]) && all(&valid[..1]));
    for at in 0..valid.len() {
        let mut batch = valid.clone();
        batch[at].payload = b"another";
        assert!(!all(&batch), "payload {at}");
        let mut batch = valid.clone();
        batch[at].signature = valid[(at + 5) % 20].signature;
        assert!(!all(&batch), "signature {at}");
    }
    // Faults that cancel each other without weights.
    let (mut first, mut second) = (valid[0], valid[5]);
    let shifted = |signature: &[u8; 64], by: Scalar| {
        let mut shifted = *signature;
        let s = Scalar::from_bytes_mod_order(signature[32..].try_into().unwrap()) + by;
        shifted[32..].copy_from_slice(s.as_bytes());
        shifted
    };
    first.signature = shifted(&first.signature, Scalar::ONE);
    second.signature = shifted(&second.signature, -Scalar::ONE);
    assert!(!all(&[first, second]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn honest_signatures_and_changed_ones_are_judged_as_by_the_library(
        seed: u8,
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        flip in proptest::option::of(0usize..1024),
    ) {
        let bytes = sealed(seed, &payload);
        let mut envelope = envelope(&bytes);
        match flip {
            Some(bit) if bit < 512 => envelope.signature[bit / 8] ^= 1 << (bit % 8),
            Some(bit) if bit < 768 => envelope.key[bit / 8 - 64] ^= 1 << (bit % 8),
            _ => {}
        }
        prop_assert_eq!(one(&envelope), library(&envelope));
        prop_assert_eq!(all(&[envelope]), library(&envelope));
        prop_assert_eq!(one(&envelope), flip.is_none_or(|bit| bit >= 768));
    }
}
