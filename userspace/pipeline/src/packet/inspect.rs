//! A packet taken apart: what each field says and how many bytes it takes.
//!
//! Owns the view for people. Never verifies: a packet whose signature or values are wrong is worth
//! looking at, too.
//!
//! **Invariant:** the parts' bytes add up to the packet's.

use ciborium::Value;
use serde::Serialize;

use super::{PACKET_BYTES_MAX, PacketError, cbor, envelope};

/// A piece of a packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Its name; `unknown` or `critical` for a key that this version does not know.
    pub name: &'static str,
    /// The payload's key; `None` for what is around the payload.
    pub key: Option<i128>,
    /// Bytes that it takes, its key included.
    pub bytes: usize,
    /// What it says: byte strings in hexadecimal, what JSON cannot say as CBOR diagnostic text.
    pub value: serde_json::Value,
}

/// A packet, taken apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Its length.
    pub bytes: usize,
    /// What it could be longer.
    pub left: usize,
    /// Its parts, in their order on the wire but for the envelope, which comes first.
    pub parts: Vec<Part>,
}

/// Takes a packet apart without verifying it.
///
/// # Errors
/// [`PacketError`] when the envelope, or the frame of its payload, cannot be read.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, PacketError> {
    let envelope = envelope(bytes)?;
    let mut parts = vec![
        around("key", hex::encode(envelope.key), envelope.key.len()),
        around("signature", hex::encode(envelope.signature), envelope.signature.len()),
    ];
    let entries = cbor::entries(envelope.payload)?;
    parts.splice(1..1, entries.iter().map(part));
    let rest = bytes.len() - parts.iter().map(|part| part.bytes).sum::<usize>();
    parts.insert(0, around("envelope", "COSE_Sign1, EdDSA".to_owned(), rest));
    Ok(Inspection { bytes: bytes.len(), left: PACKET_BYTES_MAX - bytes.len(), parts })
}

fn around(name: &'static str, value: String, bytes: usize) -> Part {
    Part { name, key: None, bytes, value: value.into() }
}

fn part(entry: &cbor::Entry<'_>) -> Part {
    let name = match usize::try_from(entry.key) {
        Ok(key) => cbor::NAMES.get(key).copied().unwrap_or("unknown"),
        Err(_) => "critical",
    };
    let value = ciborium::from_reader(entry.value).map_or_else(
        |_| format!("h'{}'", hex::encode(entry.value)).into(),
        |value: Value| json(&value),
    );
    Part { name, key: Some(entry.key), bytes: entry.bytes, value }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Integer(number) => match (u64::try_from(*number), i64::try_from(*number)) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            _ => i128::from(*number).to_string().into(),
        },
        Value::Bytes(bytes) => hex::encode(bytes).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Null => serde_json::Value::Null,
        Value::Array(items) => items.iter().map(json).collect(),
        other => format!("{other:?}").into(),
    }
}
