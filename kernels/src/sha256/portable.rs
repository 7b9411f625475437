//! The reference implementation: the `sha2` crate, message by message.
//!
//! Owns nothing; the other implementations are measured and checked against it.
//! **Invariant:** runs on every target, without detection of its own.

#![forbid(unsafe_code)]

use sha2::{Digest as _, Sha256};

use super::Digest;

/// See [`super::digest_many`]; the caller has checked the lengths.
pub(super) fn digest_many(messages: &[&[u8]], out: &mut [Digest]) {
    for (message, place) in messages.iter().zip(out) {
        *place = Sha256::digest(message).into();
    }
}
