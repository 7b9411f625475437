//! SHA-256 by the SHA-2 extension of 64-bit ARM: the `sha2` crate, which detects and uses it.
//!
//! Owns the detection for the name alone; the work is that of [`super::portable`].
//! **Invariant:** a [`Neon`] exists only on a machine that has the extension.

use super::{Digest, portable};

/// Proof that this machine has the SHA-2 extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

impl Neon {
    /// `None` where the machine lacks the extension.
    pub(super) fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("sha2").then_some(Self(()))
    }

    /// See [`super::digest_many`]; the caller has checked the lengths.
    pub(super) fn digest_many(self, messages: &[&[u8]], out: &mut [Digest]) {
        portable::digest_many(messages, out);
    }
}
