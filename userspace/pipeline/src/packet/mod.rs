//! The outcome packet: an outcome on the wire, signed, at most [`PACKET_BYTES_MAX`] bytes.
//!
//! A `COSE_Sign1` (RFC 9052 §4.2, tag 18) with Ed25519 (RFC 9053 §2.2) over deterministic CBOR
//! (RFC 8949 §4.2). The payload is a map with integer keys; `outcome.cddl` is its schema. The
//! protected header carries the algorithm and, as `kid`, the publisher's raw public key, so that
//! whoever holds the packet can verify it.
//!
//! Owns sealing and opening, what leaves a gateway in which form ([`Privacy`], [`scrub`],
//! [`anonymity`]), what publishers say of their keys ([`statement`]), and which values are possible. Never reads a clock or a file: expiry is the reader's decision.
//!
//! **Invariant:** [`open`] accepts exactly the bytes that its content would be sealed to; one
//! packet has one form and one id.

pub mod anonymity;
mod cbor;
mod diagnostic;
pub mod keys;
mod limits;
pub mod lineage;
mod privacy;
pub mod scrub;
mod sign;
pub mod statement;

use edgelore_kernels::sha256;
use edgelore_model::Outcome;

use crate::fingerprint::Space;

pub use self::diagnostic::diagnostic;
pub use self::keys::SigningKey;
pub use self::limits::{LIFETIME_SECS_MAX, SEVERITY_MS_MAX};
pub use self::privacy::{Changed, Counts, Privacy, round_two};

/// The longest packet, bytes, signature included.
pub const PACKET_BYTES_MAX: usize = 512;
/// Bytes of a packet that are not payload: tag, array, headers with the key, signature.
const ENVELOPE_BYTES: usize = 112;
/// The longest payload, bytes.
const PAYLOAD_BYTES_MAX: usize = PACKET_BYTES_MAX - ENVELOPE_BYTES;
/// The four terms of a packet together, bytes: keeps room for every other field at its longest.
pub const TERMS_BYTES_MAX: usize = 160;
/// Parents in a packet. The first is always carried, more where the steps leave room.
pub const PARENTS_MAX: usize = 4;

/// The schema of the payload (RFC 8610).
pub const CDDL: &str = include_str!("outcome.cddl");

/// SHA-256 of a packet's exact bytes.
pub type PacketId = [u8; 32];

/// Why a packet was not sealed or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// More than [`PACKET_BYTES_MAX`].
    #[error("packet of {0} bytes exceeds {PACKET_BYTES_MAX}")]
    Oversized(usize),
    /// Not a `COSE_Sign1`.
    #[error("packet is not a COSE_Sign1: {0}")]
    Envelope(String),
    /// The headers are not an EdDSA algorithm and a 32-byte key, in this order and nothing else.
    #[error("packet headers are not exactly EdDSA and a 32-byte key")]
    Headers,
    /// The signature does not fit the bytes and the key.
    #[error("packet signature does not verify")]
    Signature,
    /// Not the deterministic encoding of RFC 8949 §4.2.
    #[error("packet payload is not deterministic CBOR")]
    NotDeterministic,
    /// A field is missing or has another type.
    #[error("packet payload field {key}: {reason}")]
    Field {
        /// The integer key.
        key: i64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A payload of a version that this code does not know.
    #[error("packet version {0} is unknown, expected 1")]
    Version(u64),
    /// A value that cannot be true.
    #[error("outcome is impossible: {0}")]
    Impossible(&'static str),
    /// The terms leave no room for the other fields.
    #[error("terms of {0} bytes together exceed {TERMS_BYTES_MAX}")]
    Terms(usize),
}

/// A packet that was sealed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The packet.
    pub bytes: Vec<u8>,
    /// SHA-256 of `bytes`.
    pub id: PacketId,
    /// The outcome as the packet says it: rounded, scrubbed, cut, times in whole seconds.
    pub outcome: Outcome,
    /// Steps were cut or left out.
    pub truncated: bool,
}

/// A packet whose signature and content were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub outcome: Outcome,
    /// SHA-256 of `key`: who says it.
    pub publisher: [u8; 32],
    /// The raw Ed25519 public key.
    pub key: [u8; 32],
    /// First eight bytes of the id of the similarity definition it was published under.
    pub space: [u8; 8],
    /// SHA-256 of `bytes`.
    pub id: PacketId,
    /// Steps were cut or left out.
    pub truncated: bool,
    /// The packet itself.
    pub bytes: Vec<u8>,
}

/// Signs an outcome with the default [`Privacy`].
///
/// # Errors
/// See [`seal_with`].
pub fn seal(outcome: &Outcome, key: &SigningKey, space: &Space) -> Result<Sealed, PacketError> {
    seal_with(outcome, key, space, &Privacy::default())
}

/// Rounds, scrubs and signs an outcome. Fields come first, then as many steps as fit, the last one
/// cut at a character.
///
/// # Errors
/// [`PacketError::Impossible`] for values that cannot be true, [`PacketError::Terms`] when topology
/// class, protocol, event type and pattern exceed [`TERMS_BYTES_MAX`] together.
pub fn seal_with(
    outcome: &Outcome,
    key: &SigningKey,
    space: &Space,
    privacy: &Privacy,
) -> Result<Sealed, PacketError> {
    let mut outcome = privacy.prepare(outcome);
    limits::check(&outcome)?;
    let terms = limits::terms_bytes(&outcome);
    if terms > TERMS_BYTES_MAX {
        return Err(PacketError::Terms(terms));
    }
    let truncated = fit(&mut outcome, space.short_id());
    let payload = cbor::encode(&outcome, space.short_id(), truncated);
    let bytes = sign::sign(payload, key);
    assert!(bytes.len() <= PACKET_BYTES_MAX, "the fitting keeps every packet within its bound");
    let id = hash(&bytes);
    Ok(Sealed { bytes, id, outcome, truncated })
}

/// Verifies and reads a packet.
///
/// # Errors
/// One variant of [`PacketError`] for each thing that can be wrong; nothing is accepted in part.
pub fn open(bytes: &[u8]) -> Result<Opened, PacketError> {
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(PacketError::Oversized(bytes.len()));
    }
    let (payload, key) = sign::verify(bytes)?;
    opened(bytes, &payload, key)
}

fn opened(bytes: &[u8], payload: &[u8], key: [u8; 32]) -> Result<Opened, PacketError> {
    let content = cbor::decode(payload)?;
    limits::check(&content.outcome)?;
    Ok(Opened {
        outcome: content.outcome,
        publisher: hash(&key),
        key,
        space: content.space,
        id: hash(bytes),
        truncated: content.truncated,
        bytes: bytes.to_vec(),
    })
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [[0; 32]];
    sha256::digest_many(&[bytes], &mut out);
    out[0]
}

/// Cuts steps and parents until the payload fits; says whether steps were lost.
fn fit(outcome: &mut Outcome, space: [u8; 8]) -> bool {
    let mut parents = std::mem::take(&mut outcome.parents);
    parents.dedup();
    parents.truncate(PARENTS_MAX);
    let mut parents = parents.into_iter();
    outcome.parents.extend(parents.next());
    let truncated = fit_steps(outcome, space);
    for parent in parents {
        outcome.parents.push(parent);
        if !fits(outcome, space, truncated) {
            outcome.parents.pop();
            break;
        }
    }
    truncated
}

fn fits(outcome: &Outcome, space: [u8; 8], truncated: bool) -> bool {
    cbor::encode(outcome, space, truncated).len() <= PAYLOAD_BYTES_MAX
}

fn fit_steps(outcome: &mut Outcome, space: [u8; 8]) -> bool {
    // A step takes a byte at least, so more than these never fit.
    let lost = outcome.resolution.steps.len() > PAYLOAD_BYTES_MAX;
    outcome.resolution.steps.truncate(PAYLOAD_BYTES_MAX);
    if !lost && fits(outcome, space, false) {
        return false;
    }
    let steps = std::mem::take(&mut outcome.resolution.steps);
    for step in steps {
        outcome.resolution.steps.push(step);
        if !fits(outcome, space, true) {
            cut_last(outcome, space);
            break;
        }
    }
    true
}

/// Shortens the last step, a character at a time, until the payload fits; an empty rest goes.
fn cut_last(outcome: &mut Outcome, space: [u8; 8]) {
    let Some(mut step) = outcome.resolution.steps.pop() else { return };
    let bound = (0..=step.len().min(PAYLOAD_BYTES_MAX)).rev().find(|at| step.is_char_boundary(*at));
    step.truncate(bound.unwrap_or(0));
    while step.pop().is_some() && !step.is_empty() {
        outcome.resolution.steps.push(step);
        if fits(outcome, space, true) {
            return;
        }
        step = outcome.resolution.steps.pop().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
