//! The signed envelope: `COSE_Sign1` (RFC 9052 §4.2).
//!
//! ```text
//! 18([ h'{1: -8, 4: key}', {}, h'payload', h'signature' ])
//!      └ protected header: EdDSA, and as `kid` the raw public key
//! ```
//!
//! Owns the headers and what is signed. Never looks into the payload. All growth goes into the
//! payload: version 1 has these headers and no others.
//!
//! **Invariant:** for a payload, a key and a signature there is one envelope; any other encoding
//! of the same is refused.

use std::convert::Infallible;

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};

use super::fit::head_bytes;
use super::{PACKET_BYTES_MAX, PacketError, SigningKey};

/// `COSE_Sign1` (RFC 9052 §2).
const TAG: Tag = Tag::new(18);
/// The protected header up to the key: `{1: -8, 4: h'` and the head of 32 bytes.
const PROTECTED_HEAD: [u8; 6] = [0xa2, 0x01, 0x27, 0x04, 0x58, 0x20];
const PROTECTED_BYTES: usize = PROTECTED_HEAD.len() + 32;
/// Bytes of an envelope but for the payload and its head.
const FRAME_BYTES: usize = 109;
/// What a signature is about (RFC 9052 §4.4).
const CONTEXT: &str = "Signature1";

/// An envelope, read but not verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'p> {
    pub(super) key: [u8; 32],
    pub(super) payload: &'p [u8],
    pub(super) signature: [u8; 64],
}

type Written = Result<Vec<u8>, minicbor::encode::Error<Infallible>>;

/// Signs a payload.
pub(super) fn sign(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let protected = protected(&key.public());
    let signature = key.sign(&signed(&protected, payload));
    write(&protected, payload, &signature).expect("writing to memory does not fail")
}

fn write(protected: &[u8], payload: &[u8], signature: &[u8; 64]) -> Written {
    let mut out = Encoder::new(Vec::with_capacity(PACKET_BYTES_MAX));
    out.tag(TAG)?.array(4)?.bytes(protected)?.map(0)?.bytes(payload)?.bytes(signature)?;
    Ok(out.into_writer())
}

fn protected(key: &[u8; 32]) -> [u8; PROTECTED_BYTES] {
    let mut header = [0; PROTECTED_BYTES];
    header[..PROTECTED_HEAD.len()].copy_from_slice(&PROTECTED_HEAD);
    header[PROTECTED_HEAD.len()..].copy_from_slice(key);
    header
}

/// The `Sig_structure` (RFC 9052 §4.4), which is what is signed.
fn signed(protected: &[u8; PROTECTED_BYTES], payload: &[u8]) -> Vec<u8> {
    let write = || {
        let mut out = Encoder::new(Vec::with_capacity(PACKET_BYTES_MAX));
        out.array(4)?.str(CONTEXT)?.bytes(protected)?.bytes(&[])?.bytes(payload)?;
        Written::Ok(out.into_writer())
    };
    write().expect("writing to memory does not fail")
}

impl<'p> Envelope<'p> {
    /// Reads an envelope.
    pub(super) fn read(bytes: &'p [u8]) -> Result<Self, PacketError> {
        let mut input = Decoder::new(bytes);
        let parts = Self::parts(&mut input).map_err(|e| PacketError::Envelope(e.to_string()))?;
        let ([protected, payload, signature], headers) = parts;
        let protected: &[u8; PROTECTED_BYTES] =
            protected.try_into().map_err(|_| PacketError::Headers)?;
        let key = protected.strip_prefix(&PROTECTED_HEAD).and_then(|key| key.try_into().ok());
        let key = key.filter(|_| headers == Some(0)).ok_or(PacketError::Headers)?;
        let signature = signature.try_into().map_err(|_| PacketError::Signature)?;
        // No head is shorter than its shortest form, so the whole is as short only if all are.
        let shortest = FRAME_BYTES + head_bytes(payload.len()) + payload.len();
        if input.position() != bytes.len() || bytes.len() != shortest {
            return Err(PacketError::Envelope("not its shortest encoding".to_owned()));
        }
        Ok(Self { key, payload, signature })
    }

    /// Protected header, payload and signature; and the number of unprotected headers.
    fn parts(
        input: &mut Decoder<'p>,
    ) -> Result<([&'p [u8]; 3], Option<u64>), minicbor::decode::Error> {
        let (tag, array) = (input.tag()?, input.array()?);
        if tag != TAG || array != Some(4) {
            return Err(minicbor::decode::Error::message("no tag 18 with an array of four"));
        }
        let (protected, headers) = (input.bytes()?, input.map()?);
        Ok(([protected, input.bytes()?, input.bytes()?], headers))
    }

    /// What the signature is about.
    pub(super) fn signed(&self) -> Vec<u8> {
        signed(&protected(&self.key), self.payload)
    }
}
