//! The outcome packet: an outcome on the wire, signed, at most [`PACKET_BYTES_MAX`] bytes.
//!
//! A `COSE_Sign1` (RFC 9052 §4.2, tag 18) with Ed25519 (RFC 9053 §2.2) over deterministic CBOR
//! (RFC 8949 §4.2). The payload is a map with integer keys; `outcome.cddl` is its schema. The
//! protected header carries the algorithm and, as `kid`, the publisher's raw public key, so that
//! whoever holds the packet can verify it.
//!
//! Owns sealing and opening, what leaves a gateway in which form ([`Privacy`], [`scrub`],
//! [`anonymity`]), what publishers say of their keys ([`statement`]), and which values are
//! possible. Never reads a clock or a file: expiry is the reader's decision.
//!
//! **Forward compatible.** Whoever passes a packet on passes on its exact bytes, and whoever reads
//! one ignores the keys that later minor versions add; keys marked as critical, which must not be
//! ignored, are refused by those who do not know them (see `outcome.cddl`).
//!
//! **Invariant:** [`open`] accepts exactly the bytes that its content, keys that it does not know
//! among it, would be sealed to; one packet has one form and one id.

pub mod anonymity;
mod cbor;
mod diagnostic;
mod fit;
mod inspect;
pub mod keys;
mod limits;
pub mod lineage;
mod privacy;
pub mod scrub;
mod sign;
pub mod statement;
mod verify;

use edgelore_kernels::sha256;
use edgelore_model::Outcome;

use crate::fingerprint::Space;

pub use self::diagnostic::diagnostic;
pub use self::inspect::{Inspection, Part, inspect};
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
/// Packets whose signatures are verified at once.
pub const BATCH_PACKETS: usize = 128;
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
    /// A key that must not be ignored by those who do not know it.
    #[error("packet payload has the critical key {0}, which this version does not know")]
    Critical(i128),
    /// The bytes are not those of the packet that was expected.
    #[error("packet has changed since it was verified")]
    Changed,
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
    let (payload, truncated) = fit::fit(&mut outcome, space.short_id());
    let bytes = sign::sign(&payload, key);
    assert!(bytes.len() <= PACKET_BYTES_MAX, "the fitting keeps every packet within its bound");
    let id = hash(&bytes);
    Ok(Sealed { bytes, id, outcome, truncated })
}

/// Verifies and reads a packet.
///
/// # Errors
/// One variant of [`PacketError`] for each thing that can be wrong; nothing is accepted in part.
pub fn open(bytes: &[u8]) -> Result<Opened, PacketError> {
    let envelope = envelope(bytes)?;
    if !verify::one(&envelope) {
        return Err(PacketError::Signature);
    }
    opened(bytes, &envelope)
}

/// Verifies and reads many packets, faster than one at a time; the verdict on each is the one that
/// [`open`] gives. Where a signature among [`BATCH_PACKETS`] fails, these are verified one by one.
#[must_use]
pub fn open_batch(packets: &[&[u8]]) -> Vec<Result<Opened, PacketError>> {
    packets.chunks(BATCH_PACKETS).flat_map(open_chunk).collect()
}

fn open_chunk(packets: &[&[u8]]) -> Vec<Result<Opened, PacketError>> {
    let envelopes: Vec<_> = packets.iter().map(|bytes| envelope(bytes)).collect();
    let framed: Vec<_> = envelopes.iter().flatten().copied().collect();
    let verified = verify::all(&framed);
    let judge = |(bytes, envelope): (&&[u8], Result<sign::Envelope<'_>, PacketError>)| {
        let envelope = envelope?;
        if !verified && !verify::one(&envelope) {
            return Err(PacketError::Signature);
        }
        opened(bytes, &envelope)
    };
    packets.iter().zip(envelopes).map(judge).collect()
}

fn envelope(bytes: &[u8]) -> Result<sign::Envelope<'_>, PacketError> {
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(PacketError::Oversized(bytes.len()));
    }
    sign::Envelope::read(bytes)
}

/// Reads a packet that [`open`] accepted before. Its signature is not verified again: that these are
/// the bytes that were verified is shown by their hash, at a hundredth of the cost.
///
/// # Errors
/// [`PacketError::Changed`] when `id` is not the hash of `bytes`.
pub fn reopen(bytes: &[u8], id: &PacketId) -> Result<Opened, PacketError> {
    if self::id(bytes) != *id {
        return Err(PacketError::Changed);
    }
    opened(bytes, &sign::Envelope::read(bytes)?)
}

/// A packet's id.
#[must_use]
pub fn id(bytes: &[u8]) -> PacketId {
    hash(bytes)
}

/// The ids of many packets, faster than one at a time.
#[must_use]
pub fn ids(packets: &[&[u8]]) -> Vec<PacketId> {
    let mut ids = vec![[0; 32]; packets.len()];
    sha256::digest_many(packets, &mut ids);
    ids
}

/// A packet whose signature was verified.
fn opened(bytes: &[u8], envelope: &sign::Envelope<'_>) -> Result<Opened, PacketError> {
    let content = cbor::decode(envelope.payload)?;
    limits::check(&content.outcome)?;
    let mut hashes = [[0; 32]; 2];
    sha256::digest_many(&[&envelope.key, bytes], &mut hashes);
    let [publisher, id] = hashes;
    Ok(Opened {
        outcome: content.outcome,
        publisher,
        key: envelope.key,
        space: content.space,
        id,
        truncated: content.truncated,
        bytes: bytes.to_vec(),
    })
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [[0; 32]];
    sha256::digest_many(&[bytes], &mut out);
    out[0]
}

#[cfg(test)]
mod tests;
