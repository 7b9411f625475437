//! Ed25519 signatures, one at a time and many at once, with one verdict.
//!
//! A signature (R, S) of a message M by a key A is accepted when
//! - A and R decode, in canonical form (RFC 8032 §5.1.3), to points that are not of small order: under
//!   a key of small order one signature fits many messages;
//! - S is below the order of the base point, so that nobody can make a second signature of one;
//! - \[8\]\[S\]B = \[8\]R + \[8\]\[k\]A with k = SHA-512(R, A, M): the equation of RFC 8032 §5.1.7 with
//!   its cofactor.
//!
//! **Why with the cofactor.** A batch checks one random linear combination of the equations. A
//! combination of equations *without* the cofactor is not sound for parts of small order: what
//! fails alone passes in one batch in two to eight, so the verdict would depend on the company
//! that a packet keeps. (`ed25519-dalek` has this in its `batch`, and its `verify_strict` has no
//! cofactor.) With the cofactor those parts vanish on both paths. Only the owner of a key can make a
//! signature on which the two equations differ, and only of a message that he could sign anyway.
//!
//! Owns this rule. Never reads a packet. The weights of a batch come from a hash of all that
//! it checks, so that no source of randomness is needed and nobody can choose a packet to fit them.
//!
//! **Invariant:** [`all`] accepts what [`one`] accepts, each by itself, but for a chance of 2^-127.

use std::cell::RefCell;
use std::collections::HashMap;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use edgelore_kernels::sha256;
use sha2::{Digest, Sha512};

use super::sign::Envelope;

/// Keys that a thread remembers, 13 KiB.
const RECENT: usize = 64;

/// Whether a signature verifies.
pub(super) fn one(envelope: &Envelope<'_>) -> bool {
    let Some(key) = Recent::key(&envelope.key) else { return false };
    Claim::read(envelope).is_some_and(|Claim { r, s, k }| {
        let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-key, &s);
        (expected - r).mul_by_cofactor().is_identity()
    })
}

/// Whether all signatures verify; when not, some of them may.
pub(super) fn all(envelopes: &[Envelope<'_>]) -> bool {
    let mut keys = Keys::default();
    let claims: Option<Vec<(usize, Claim)>> = envelopes
        .iter()
        .map(|envelope| Some((keys.place(&envelope.key)?, Claim::read(envelope)?)))
        .collect();
    claims.is_some_and(|claims| combination(&claims, &keys.points).mul_by_cofactor().is_identity())
}

/// The keys that a thread decoded last, each in the place that its first byte gives: packets come
/// from few publishers, and decoding a key is a tenth of verifying a signature.
struct Recent([Option<([u8; 32], EdwardsPoint)>; RECENT]);

thread_local! {
    static RECENT_KEYS: RefCell<Recent> = const { RefCell::new(Recent([None; RECENT])) };
}

impl Recent {
    /// The key, decoded.
    fn key(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
        RECENT_KEYS.with_borrow_mut(|Self(places)| {
            let place = &mut places[usize::from(bytes[0]) % RECENT];
            if place.is_none_or(|(known, _)| known != *bytes) {
                *place = Some((*bytes, point(bytes)?));
            }
            place.map(|(_, point)| point)
        })
    }
}

/// The keys of a batch, each decoded once.
#[derive(Default)]
struct Keys {
    places: HashMap<[u8; 32], usize>,
    points: Vec<EdwardsPoint>,
}

impl Keys {
    fn place(&mut self, key: &[u8; 32]) -> Option<usize> {
        if let Some(place) = self.places.get(key) {
            return Some(*place);
        }
        self.points.push(point(key)?);
        self.places.insert(*key, self.points.len() - 1);
        Some(self.points.len() - 1)
    }
}

/// A signature, decoded, and the hash that it is about.
struct Claim {
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl Claim {
    fn read(envelope: &Envelope<'_>) -> Option<Self> {
        let (r, s) = envelope.signature.split_first_chunk::<32>()?;
        let s: Option<Scalar> = Scalar::from_canonical_bytes(s.try_into().ok()?).into();
        let hash = Sha512::new().chain_update(r).chain_update(envelope.key);
        let hash = hash.chain_update(envelope.signed()).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&hash.into());
        Some(Self { r: point(r)?, s: s?, k })
    }
}

/// Decodes a point that may be a key or the first half of a signature.
fn point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    // The prime is 2^255 - 19.
    let canonical = bytes[0] < 0xed
        || bytes[1..31].iter().any(|byte| *byte != 0xff)
        || bytes[31] & 0x7f != 0x7f;
    let point = canonical.then(|| CompressedEdwardsY(*bytes).decompress())?;
    point.filter(|point| !point.is_small_order())
}

/// The sum of all equations, each with its weight: of small order when they hold.
fn combination(claims: &[(usize, Claim)], keys: &[EdwardsPoint]) -> EdwardsPoint {
    let weights = weights(claims);
    let mut base = Scalar::ZERO;
    let mut factors = vec![Scalar::ZERO; keys.len()];
    for ((key, claim), weight) in claims.iter().zip(&weights) {
        base -= weight * claim.s;
        factors[*key] += weight * claim.k;
    }
    let scalars = weights.iter().chain(&factors).chain([&base]);
    let points = claims.iter().map(|(_, claim)| &claim.r).chain(keys);
    EdwardsPoint::vartime_multiscalar_mul(scalars, points.chain([&ED25519_BASEPOINT_POINT]))
}

/// Weights of 128 bits, from everything that is checked.
fn weights(claims: &[(usize, Claim)]) -> Vec<Scalar> {
    // k is a hash of key, R and message.
    let seed: Vec<u8> = claims
        .iter()
        .flat_map(|(_, claim)| [claim.k.to_bytes(), claim.s.to_bytes()])
        .flatten()
        .collect();
    let mut digest = [[0; 32]];
    sha256::digest_many(&[&seed], &mut digest);
    let numbered: Vec<Vec<u8>> =
        (0..claims.len() as u64).map(|at| [&digest[0][..], &at.to_be_bytes()].concat()).collect();
    let messages: Vec<&[u8]> = numbered.iter().map(Vec::as_slice).collect();
    let mut digests = vec![[0; 32]; messages.len()];
    sha256::digest_many(&messages, &mut digests);
    let halves = digests.iter().filter_map(|digest| digest.first_chunk::<16>());
    halves.map(|half| Scalar::from(u128::from_be_bytes(*half))).collect()
}

#[cfg(test)]
mod tests;
