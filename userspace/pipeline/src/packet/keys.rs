//! Ed25519 keys of publishers.
//!
//! Owns the key type and the publisher id. Never reads or writes a file, never makes a key: the
//! seed comes from the caller.
//!
//! **Invariant:** the secret is wiped from memory when the key is dropped, and never printed.

use ed25519_dalek::Signer;
use std::fmt;
use zeroize::Zeroize;

/// A publisher's secret key.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From 32 secret random bytes (RFC 8032 §5.1.5); the caller's copy is wiped.
    #[must_use]
    pub fn from_seed(seed: &mut [u8; 32]) -> Self {
        let key = Self(ed25519_dalek::SigningKey::from_bytes(seed));
        seed.zeroize();
        key
    }

    /// The raw public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The publisher id: SHA-256 of the raw public key.
    #[must_use]
    pub fn publisher(&self) -> [u8; 32] {
        super::hash(&self.public())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}
