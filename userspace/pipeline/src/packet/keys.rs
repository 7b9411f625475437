//! Ed25519 keys of publishers.
//!
//! Owns the key type and the publisher id. Never reads or writes a file, never makes a key: the
//! seed comes from the caller.
//!
//! **Invariant:** the secret lies in one place in memory, is wiped when the key is dropped, and is
//! never printed.

use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Sha512, Signature, VerifyingKey};
use std::fmt;
use zeroize::Zeroize;

/// Words of the stack that are overwritten after a secret was handled, 8 bytes each.
const STACK_WORDS: usize = 4_096;

/// A publisher's secret key. It is boxed, so that moving it leaves no copy behind.
pub struct SigningKey(Box<Pair>);

/// What signing needs of a seed: its hash, expanded once, and the public key that belongs to it.
struct Pair {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
}

impl SigningKey {
    /// From 32 secret random bytes (RFC 8032 §5.1.5); the caller's copy is wiped.
    #[must_use]
    pub fn from_seed(seed: &mut [u8; 32]) -> Self {
        let key = Self(boxed(seed));
        seed.zeroize();
        wipe_stack();
        key
    }

    /// The raw public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.public.to_bytes()
    }

    /// The publisher id: SHA-256 of the raw public key.
    #[must_use]
    pub fn publisher(&self) -> [u8; 32] {
        super::hash(&self.public())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.0.secret, message, &self.0.public).to_bytes()
    }
}

/// `Some` when the signature over a message is this key's. Keys of small order, under which one
/// signature fits many texts, are refused.
pub(super) fn verify_detached(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Option<()> {
    let key = VerifyingKey::from_bytes(key).ok()?;
    key.verify_strict(message, &Signature::from_bytes(signature)).ok()
}

#[inline(never)]
fn boxed(seed: &[u8; 32]) -> Box<Pair> {
    let secret = ExpandedSecretKey::from(seed);
    let public = VerifyingKey::from(&secret);
    Box::new(Pair { secret, public })
}

/// Overwrites the part of the stack that a call before this one has used: the hash function and the
/// moving of values leave copies there that nobody owns.
#[inline(never)]
fn wipe_stack() {
    let mut used = [0u64; STACK_WORDS];
    used.zeroize();
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}
