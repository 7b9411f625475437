//! The payload: a CBOR map with integer keys, deterministic (RFC 8949 §4.2).
//!
//! Owns the keys. Never judges whether values are possible.
//!
//! **Invariant:** [`decode`] accepts a payload only if it is the deterministic encoding of itself;
//! unknown integer keys are ignored, an unknown version is refused.

use ciborium::Value;
use edgelore_model::{Known, Outcome, Resolution, Situation, Timestamp};

use super::{PARENTS_MAX, PacketError};

/// The version that is written.
const VERSION: u64 = 1;

/// Keys of the payload; see `outcome.cddl`.
mod key {
    pub(super) const VERSION: i64 = 0;
    pub(super) const SPACE: i64 = 1;
    pub(super) const TOPOLOGY_CLASS: i64 = 2;
    pub(super) const PROTOCOL: i64 = 3;
    pub(super) const EVENT_TYPE: i64 = 4;
    pub(super) const SEVERITY: i64 = 5;
    pub(super) const PREFIXES: i64 = 6;
    pub(super) const NODES: i64 = 7;
    pub(super) const PATTERN: i64 = 8;
    pub(super) const STEPS: i64 = 9;
    pub(super) const KNOWN: i64 = 10;
    pub(super) const BEFORE: i64 = 11;
    pub(super) const AFTER: i64 = 12;
    pub(super) const DELTA: i64 = 13;
    pub(super) const SAMPLE_SIZE: i64 = 14;
    pub(super) const CREATED: i64 = 15;
    pub(super) const EXPIRES: i64 = 16;
    pub(super) const METHOD: i64 = 17;
    pub(super) const PARENTS: i64 = 18;
    pub(super) const SUPERSEDES: i64 = 19;
    pub(super) const REVOKES: i64 = 20;
    pub(super) const TRUNCATED: i64 = 21;
}

/// A payload, read.
pub(super) struct Content {
    pub(super) outcome: Outcome,
    pub(super) space: [u8; 8],
    pub(super) truncated: bool,
}

/// Writes a payload.
pub(super) fn encode(outcome: &Outcome, space: [u8; 8], truncated: bool) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let situation = &outcome.situation;
    let resolution = &outcome.resolution;
    let steps = resolution.steps.iter().map(|step| step.as_str().into()).collect();
    let mut map: Vec<(i64, Value)> = vec![
        (key::VERSION, VERSION.into()),
        (key::SPACE, bytes(&space)),
        (key::TOPOLOGY_CLASS, situation.topology_class.as_str().into()),
        (key::PROTOCOL, situation.protocol.as_str().into()),
        (key::EVENT_TYPE, situation.event_type.as_str().into()),
        (key::SEVERITY, situation.severity.into()),
        (key::PREFIXES, situation.affected_prefixes.into()),
        (key::NODES, situation.node_count.into()),
        (key::PATTERN, resolution.pattern.as_str().into()),
        (key::STEPS, Value::Array(steps)),
        (key::KNOWN, known_number(resolution.known).into()),
    ];
    map.extend(outcome.before.map(|value| (key::BEFORE, value.into())));
    map.extend(outcome.after.map(|value| (key::AFTER, value.into())));
    map.extend([
        (key::DELTA, outcome.convergence_delta_ms.into()),
        (key::SAMPLE_SIZE, outcome.sample_size.into()),
        (key::CREATED, outcome.created.secs().into()),
        (key::EXPIRES, outcome.expires.secs().into()),
        (key::METHOD, bytes(&outcome.method)),
    ]);
    if !outcome.parents.is_empty() {
        let parents = outcome.parents.iter().map(|id| bytes(id)).collect();
        map.push((key::PARENTS, Value::Array(parents)));
    }
    map.extend(outcome.supersedes.map(|id| (key::SUPERSEDES, bytes(&id))));
    map.extend(outcome.revokes.map(|id| (key::REVOKES, bytes(&id))));
    map.extend(truncated.then_some((key::TRUNCATED, Value::Bool(true))));
    let map = map.into_iter().map(|(key, value)| (key.into(), value)).collect();
    to_bytes(&Value::Map(map))
}

fn to_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to memory does not fail");
    out
}

const fn known_number(known: Known) -> u64 {
    match known {
        Known::Measured => 0,
        Known::Observed => 1,
        Known::Declared => 2,
    }
}

/// Reads a payload.
pub(super) fn decode(payload: &[u8]) -> Result<Content, PacketError> {
    let value: Value = ciborium::from_reader(payload).map_err(|_| PacketError::NotDeterministic)?;
    if to_bytes(&value) != payload || !is_sorted(&value) {
        return Err(PacketError::NotDeterministic);
    }
    let Value::Map(entries) = value else {
        return Err(PacketError::Field { key: key::VERSION, reason: "the payload is not a map" });
    };
    Fields::new(entries)?.content()
}

/// Whether every map's keys rise in the order of their encoded bytes, which also makes them unique.
/// Everything else that deterministic encoding demands is what the encoder writes anyway.
fn is_sorted(value: &Value) -> bool {
    match value {
        Value::Map(entries) => {
            let keys: Vec<Vec<u8>> = entries.iter().map(|(key, _)| to_bytes(key)).collect();
            keys.is_sorted_by(|a, b| a < b)
                && entries.iter().all(|(key, value)| is_sorted(key) && is_sorted(value))
        }
        Value::Array(items) => items.iter().all(is_sorted),
        Value::Tag(_, inner) => is_sorted(inner),
        _ => true,
    }
}

/// The entries of a payload, taken out key by key.
struct Fields(Vec<(i64, Value)>);

impl Fields {
    fn new(entries: Vec<(Value, Value)>) -> Result<Self, PacketError> {
        let mut fields = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = key.as_integer().and_then(|key| i64::try_from(key).ok());
            let reason = "a key is not an integer";
            fields.push((key.ok_or(PacketError::Field { key: key::VERSION, reason })?, value));
        }
        Ok(Self(fields))
    }

    fn content(mut self) -> Result<Content, PacketError> {
        let version = self.uint(key::VERSION)?;
        if version != VERSION {
            return Err(PacketError::Version(version));
        }
        let space = self.bytes(key::SPACE)?;
        let truncated = match self.take(key::TRUNCATED) {
            None => false,
            Some(Value::Bool(true)) => true,
            Some(_) => return Err(wrong(key::TRUNCATED, "is there but not true")),
        };
        Ok(Content { outcome: self.outcome()?, space, truncated })
    }

    fn outcome(&mut self) -> Result<Outcome, PacketError> {
        Ok(Outcome {
            situation: self.situation()?,
            resolution: self.resolution()?,
            before: self.optional(key::BEFORE, uint)?,
            after: self.optional(key::AFTER, uint)?,
            convergence_delta_ms: self.required(key::DELTA, int)?,
            sample_size: u32::try_from(self.uint(key::SAMPLE_SIZE)?)
                .map_err(|_| wrong(key::SAMPLE_SIZE, "exceeds 32 bits"))?,
            created: self.time(key::CREATED)?,
            expires: self.time(key::EXPIRES)?,
            method: self.bytes(key::METHOD)?,
            parents: self.parents()?,
            supersedes: self.optional(key::SUPERSEDES, bytes)?,
            revokes: self.optional(key::REVOKES, bytes)?,
        })
    }

    fn situation(&mut self) -> Result<Situation, PacketError> {
        Ok(Situation {
            topology_class: self.required(key::TOPOLOGY_CLASS, text)?,
            protocol: self.required(key::PROTOCOL, text)?,
            event_type: self.required(key::EVENT_TYPE, text)?,
            severity: self.uint(key::SEVERITY)?,
            affected_prefixes: self.uint(key::PREFIXES)?,
            node_count: self.uint(key::NODES)?,
        })
    }

    fn resolution(&mut self) -> Result<Resolution, PacketError> {
        let pattern = self.required(key::PATTERN, text)?;
        let steps = self.required(key::STEPS, array)?;
        let steps: Option<Vec<String>> = steps.into_iter().map(text).collect();
        let known = match self.uint(key::KNOWN)? {
            0 => Known::Measured,
            1 => Known::Observed,
            2 => Known::Declared,
            _ => return Err(wrong(key::KNOWN, "is not 0, 1 or 2")),
        };
        let steps = steps.ok_or(wrong(key::STEPS, "holds what is not text"))?;
        Ok(Resolution { pattern, steps, known })
    }

    fn parents(&mut self) -> Result<Vec<[u8; 32]>, PacketError> {
        let Some(parents) = self.optional(key::PARENTS, array)? else { return Ok(Vec::new()) };
        if parents.is_empty() || parents.len() > PARENTS_MAX {
            return Err(wrong(key::PARENTS, "does not hold 1 to 4 packet ids"));
        }
        let parents: Option<Vec<[u8; 32]>> = parents.into_iter().map(bytes).collect();
        parents.ok_or(wrong(key::PARENTS, "holds what is not a packet id"))
    }

    fn take(&mut self, key: i64) -> Option<Value> {
        let at = self.0.iter().position(|(other, _)| *other == key)?;
        Some(self.0.swap_remove(at).1)
    }

    fn optional<T>(
        &mut self,
        key: i64,
        read: impl Fn(Value) -> Option<T>,
    ) -> Result<Option<T>, PacketError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        read(value).map(Some).ok_or(wrong(key, "has the wrong type, length or range"))
    }

    fn required<T>(
        &mut self,
        key: i64,
        read: impl Fn(Value) -> Option<T>,
    ) -> Result<T, PacketError> {
        self.optional(key, read)?.ok_or(wrong(key, "is missing"))
    }

    fn uint(&mut self, key: i64) -> Result<u64, PacketError> {
        self.required(key, uint)
    }

    fn bytes<const N: usize>(&mut self, key: i64) -> Result<[u8; N], PacketError> {
        self.required(key, bytes)
    }

    /// Seconds that a [`Timestamp`] can hold, so that reading never loses anything.
    fn time(&mut self, key: i64) -> Result<Timestamp, PacketError> {
        let secs = i64::try_from(self.uint(key)?).ok();
        let nanos = secs.and_then(|secs| secs.checked_mul(1_000_000_000));
        nanos.map(Timestamp).ok_or(wrong(key, "lies beyond the year 2262"))
    }
}

const fn wrong(key: i64, reason: &'static str) -> PacketError {
    PacketError::Field { key, reason }
}

fn uint(value: Value) -> Option<u64> {
    value.as_integer().and_then(|number| u64::try_from(number).ok())
}

fn int(value: Value) -> Option<i64> {
    value.as_integer().and_then(|number| i64::try_from(number).ok())
}

fn text(value: Value) -> Option<String> {
    value.into_text().ok()
}

fn array(value: Value) -> Option<Vec<Value>> {
    value.into_array().ok()
}

fn bytes<const N: usize>(value: Value) -> Option<[u8; N]> {
    value.into_bytes().ok()?.try_into().ok()
}
