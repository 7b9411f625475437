//! The signed envelope: `COSE_Sign1` (RFC 9052 §4.2).
//!
//! Owns the headers and the signature. Never looks into the payload.
//!
//! **Invariant:** for a payload, a key and a signature there is one envelope; any other encoding
//! of the same is refused.

use coset::iana::Algorithm;
use coset::{CoseSign1, CoseSign1Builder, Header, HeaderBuilder, TaggedCborSerializable};
use ed25519_dalek::{Signature, VerifyingKey};

use super::{PacketError, SigningKey};

fn header(key: &[u8; 32]) -> Header {
    HeaderBuilder::new().algorithm(Algorithm::EdDSA).key_id(key.to_vec()).build()
}

/// Signs a payload.
pub(super) fn sign(payload: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    CoseSign1Builder::new()
        .protected(header(&key.public()))
        .payload(payload)
        .create_signature(&[], |message| key.sign(message).to_vec())
        .build()
        .to_tagged_vec()
        .expect("an envelope of byte strings and integers encodes")
}

/// The payload and the key of an envelope whose signature verifies.
pub(super) fn verify(bytes: &[u8]) -> Result<(Vec<u8>, [u8; 32]), PacketError> {
    let (envelope, key) = parse(bytes)?;
    let refused = |_| PacketError::Signature;
    let public = VerifyingKey::from_bytes(&key).map_err(refused)?;
    envelope.verify_signature(&[], |signature, message| {
        let signature = Signature::from_slice(signature).map_err(refused)?;
        // The strict form refuses keys of small order, under which one signature fits many texts.
        public.verify_strict(message, &signature).map_err(refused)
    })?;
    Ok((envelope.payload.ok_or(PacketError::Headers)?, key))
}

/// The payload and the key of an envelope that was verified before.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<u8>, [u8; 32]), PacketError> {
    let (envelope, key) = split(bytes)?;
    Ok((envelope.payload.ok_or(PacketError::Headers)?, key))
}

fn parse(bytes: &[u8]) -> Result<(CoseSign1, [u8; 32]), PacketError> {
    let (envelope, key) = split(bytes)?;
    // Headers that are missing, of another kind or in another encoding all show here.
    let payload = envelope.payload.as_deref().unwrap_or_default();
    if rebuild(payload, &key, envelope.signature.clone()) != bytes {
        return Err(PacketError::Headers);
    }
    Ok((envelope, key))
}

fn split(bytes: &[u8]) -> Result<(CoseSign1, [u8; 32]), PacketError> {
    let envelope = CoseSign1::from_tagged_slice(bytes)
        .map_err(|error| PacketError::Envelope(error.to_string()))?;
    let key_id = envelope.protected.header.key_id.as_slice();
    let key = key_id.try_into().map_err(|_| PacketError::Headers)?;
    Ok((envelope, key))
}

/// The only envelope that these parts may have.
fn rebuild(payload: &[u8], key: &[u8; 32], signature: Vec<u8>) -> Vec<u8> {
    CoseSign1Builder::new()
        .protected(header(key))
        .payload(payload.to_vec())
        .signature(signature)
        .build()
        .to_tagged_vec()
        .expect("an envelope of byte strings and integers encodes")
}
