//! Which instructions this machine has, asked once.
//!
//! Owns the detection; never runs a kernel. **Invariant:** the answer does not change while the
//! process lives.

use std::sync::OnceLock;

use crate::sha256::Implementation;

/// The SHA-256 implementation that this machine runs fastest.
#[must_use]
pub fn sha256() -> &'static Implementation {
    static CHOICE: OnceLock<Implementation> = OnceLock::new();
    CHOICE
        .get_or_init(|| Implementation::available().pop().unwrap_or_else(Implementation::portable))
}
