//! What a publisher says of its key: that another one succeeds it, or that it counts no more.
//!
//! A statement is signed in the same envelope as an outcome; its payload is a map of its own
//! (`statement.cddl`), so that neither is ever taken for the other. A succession carries a
//! signature by the new key as well, so nobody can make a stranger's key his own. Old and new key
//! may both publish for as long as one likes: together they have one vote.
//!
//! **Invariant:** [`open`] accepts exactly the bytes that [`succession`] or [`revocation`] writes.

use super::keys::verify_detached;
use super::{PacketError, PacketId, SigningKey, hash, sign, verify};
use ciborium::Value;
use edgelore_model::Timestamp;

/// The schema of the payload (RFC 8610).
pub const CDDL: &str = include_str!("statement.cddl");
/// The longest statement, bytes.
pub const STATEMENT_BYTES_MAX: usize = super::PACKET_BYTES_MAX;

const VERSION: u64 = 1;
const KIND_SUCCESSION: u64 = 1;
const KIND_REVOCATION: u64 = 2;
const KEY_VERSION: i64 = 0;
const KEY_CREATED: i64 = 15;
const KEY_KIND: i64 = 32;
const KEY_SUCCESSOR: i64 = 33;
const KEY_PROOF: i64 = 34;
/// What a new key signs begins with this, so that its signature means nothing else.
const PROOF_DOMAIN: &[u8] = b"edgelore 1 key succession\0";

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The signer's key is succeeded by this one, which agrees.
    Succeeded {
        /// The new raw public key.
        key: [u8; 32],
        /// The new publisher id.
        publisher: [u8; 32],
    },
    /// The signer's key counts no more, and nothing that it signed does.
    Revoked,
}

/// A statement that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Who says it.
    pub publisher: [u8; 32],
    /// The raw public key of whoever says it.
    pub key: [u8; 32],
    /// What it says.
    pub said: Said,
    /// When it was made.
    pub created: Timestamp,
    /// SHA-256 of its bytes.
    pub id: PacketId,
    /// The statement itself.
    pub bytes: Vec<u8>,
}

/// `old` is succeeded by `new`, signed by both.
#[must_use]
pub fn succession(old: &SigningKey, new: &SigningKey, created: Timestamp) -> Vec<u8> {
    let secs = seconds(created);
    let proof = new.sign(&proof_of(&old.public(), &new.public(), secs));
    sign::sign(&payload(secs, Some((new.public(), proof))), old)
}

/// `key` counts no more.
#[must_use]
pub fn revocation(key: &SigningKey, created: Timestamp) -> Vec<u8> {
    sign::sign(&payload(seconds(created), None), key)
}

/// Verifies and reads a statement.
///
/// # Errors
/// One variant of [`PacketError`] for each thing that can be wrong.
pub fn open(bytes: &[u8]) -> Result<Statement, PacketError> {
    if bytes.len() > STATEMENT_BYTES_MAX {
        return Err(PacketError::Oversized(bytes.len()));
    }
    let envelope = sign::Envelope::read(bytes)?;
    if !verify::one(&envelope) {
        return Err(PacketError::Signature);
    }
    let key = envelope.key;
    let (created, successor) = read(envelope.payload)?;
    let said = match successor {
        None => Said::Revoked,
        Some((new, proof)) => {
            let message = proof_of(&key, &new, created);
            verify_detached(&new, &message, &proof).ok_or(PacketError::Signature)?;
            Said::Succeeded { key: new, publisher: hash(&new) }
        }
    };
    let nanos = i64::try_from(created).ok().and_then(|secs| secs.checked_mul(1_000_000_000));
    let reason = "lies beyond the year 2262";
    let created = Timestamp(nanos.ok_or(PacketError::Field { key: KEY_CREATED, reason })?);
    let (publisher, id) = (hash(&key), hash(bytes));
    Ok(Statement { publisher, key, said, created, id, bytes: bytes.to_vec() })
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.secs()).unwrap_or(0)
}

fn proof_of(old: &[u8; 32], new: &[u8; 32], created: u64) -> Vec<u8> {
    [PROOF_DOMAIN, old, new, &created.to_be_bytes()].concat()
}

type Successor = Option<([u8; 32], [u8; 64])>;

fn payload(created: u64, successor: Successor) -> Vec<u8> {
    let kind = if successor.is_some() { KIND_SUCCESSION } else { KIND_REVOCATION };
    let mut map = vec![
        (KEY_VERSION, Value::from(VERSION)),
        (KEY_CREATED, created.into()),
        (KEY_KIND, kind.into()),
    ];
    if let Some((key, proof)) = successor {
        map.push((KEY_SUCCESSOR, Value::Bytes(key.to_vec())));
        map.push((KEY_PROOF, Value::Bytes(proof.to_vec())));
    }
    let map = map.into_iter().map(|(key, value)| (key.into(), value)).collect();
    let mut out = Vec::new();
    ciborium::into_writer(&Value::Map(map), &mut out).expect("writing to memory does not fail");
    out
}

/// When, and the successor if there is one.
fn read(bytes: &[u8]) -> Result<(u64, Successor), PacketError> {
    let value: Value = ciborium::from_reader(bytes).map_err(|_| PacketError::NotDeterministic)?;
    let field = |wanted: i64| {
        let entries = value.as_map().into_iter().flatten();
        let mut found = entries.filter(move |(key, _)| *key == Value::from(wanted));
        found.next().map(|(_, value)| value)
    };
    let number = |key| {
        let number = field(key).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok());
        number.ok_or(PacketError::Field { key, reason: "is not a number of a statement" })
    };
    let version = number(KEY_VERSION)?;
    if version != VERSION {
        return Err(PacketError::Version(version));
    }
    let created = number(KEY_CREATED)?;
    let successor = match number(KEY_KIND)? {
        KIND_REVOCATION => None,
        KIND_SUCCESSION => Some((
            octets(field(KEY_SUCCESSOR), KEY_SUCCESSOR)?,
            octets(field(KEY_PROOF), KEY_PROOF)?,
        )),
        _ => return Err(PacketError::Field { key: KEY_KIND, reason: "is not 1 or 2" }),
    };
    // Whatever else stands there, or stands otherwise, shows here.
    if payload(created, successor) != bytes {
        return Err(PacketError::NotDeterministic);
    }
    Ok((created, successor))
}

fn octets<const N: usize>(value: Option<&Value>, key: i64) -> Result<[u8; N], PacketError> {
    let bytes = value.and_then(Value::as_bytes).and_then(|bytes| bytes.as_slice().try_into().ok());
    bytes.ok_or(PacketError::Field { key, reason: "has the wrong type or length" })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, sealed, singapore};
    use super::*;

    const AT: Timestamp = Timestamp(1_780_000_000_000_000_000);

    fn other() -> SigningKey {
        SigningKey::from_seed(&mut [9; 32])
    }

    #[test]
    fn a_succession_says_who_follows_whom() {
        let bytes = succession(&key(), &other(), AT);
        assert!(bytes.len() <= STATEMENT_BYTES_MAX);
        let statement = open(&bytes).unwrap();
        assert_eq!(statement.publisher, key().publisher());
        let (new, publisher) = (other().public(), other().publisher());
        assert_eq!(statement.said, Said::Succeeded { key: new, publisher });
        assert_eq!((statement.created, statement.id), (AT, hash(&bytes)));
        let revoked = open(&revocation(&key(), AT)).unwrap();
        assert_eq!((revoked.said, revoked.publisher), (Said::Revoked, key().publisher()));
    }

    #[test]
    fn nobody_makes_a_strangers_key_his_own() {
        // The thief signs, and puts in a proof that was made for somebody else.
        let secs = seconds(AT);
        let proof = other().sign(&proof_of(&key().public(), &other().public(), secs));
        let thief = SigningKey::from_seed(&mut [5; 32]);
        let forged = sign::sign(&payload(secs, Some((other().public(), proof))), &thief);
        assert_eq!(open(&forged).unwrap_err(), PacketError::Signature);
        let honest = sign::sign(&payload(secs, Some((other().public(), proof))), &key());
        assert!(open(&honest).is_ok());
        let later = sign::sign(&payload(secs + 1, Some((other().public(), proof))), &key());
        assert_eq!(open(&later).unwrap_err(), PacketError::Signature);
    }

    #[test]
    fn statements_and_outcomes_are_never_taken_for_each_other() {
        let outcome = sealed(&singapore()).bytes;
        assert!(open(&outcome).is_err());
        for statement in [succession(&key(), &other(), AT), revocation(&key(), AT)] {
            assert!(super::super::open(&statement).is_err());
        }
    }

    #[test]
    fn every_changed_bit_is_refused() {
        for bytes in [succession(&key(), &other(), AT), revocation(&key(), AT)] {
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&changed).is_err(), "bit {bit}");
            }
            assert!(open(&bytes[..bytes.len() - 1]).is_err());
        }
        assert_eq!(open(&[0; 513]).unwrap_err(), PacketError::Oversized(513));
    }

    #[test]
    fn the_schema_accepts_what_is_written() {
        let none = payload(1, None);
        let some = payload(1, Some(([1; 32], [2; 64])));
        for payload in [&none, &some] {
            cddl_cat::validate_cbor_bytes("statement", CDDL, payload).unwrap();
            assert!(read(payload).is_ok());
        }
        let outcome = sealed(&singapore()).bytes;
        assert!(cddl_cat::validate_cbor_bytes("statement", CDDL, &outcome).is_err());
    }
}
