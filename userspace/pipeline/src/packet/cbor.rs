//! The payload: a CBOR map with integer keys, deterministic (RFC 8949 §4.2.1).
//!
//! ```text
//!  0 … 21    the fields of version 1
//!  22 …      added by later minor versions: kept, byte for byte, and otherwise ignored
//!  -1, -2 …  critical: whoever does not know such a key refuses the packet (as RFC 9052 `crit`)
//! ```
//!
//! Owns the keys. Never judges whether values are possible.
//!
//! **Invariant:** [`decode`] accepts exactly the bytes that [`encode`] makes of what it read, keys
//! that it does not know among them; so one content has one form.

use std::convert::Infallible;

use ciborium::Value;
use edgelore_model::{Known, Outcome, Resolution, Situation, Timestamp};
use minicbor::{Decoder, Encoder};

use super::{PACKET_BYTES_MAX, PARENTS_MAX, PacketError};

/// The version that is written.
const VERSION: u64 = 1;

/// Keys of the payload; see `outcome.cddl`.
mod key {
    pub(super) const VERSION: u8 = 0;
    pub(super) const SPACE: u8 = 1;
    pub(super) const TOPOLOGY_CLASS: u8 = 2;
    pub(super) const PROTOCOL: u8 = 3;
    pub(super) const EVENT_TYPE: u8 = 4;
    pub(super) const SEVERITY: u8 = 5;
    pub(super) const PREFIXES: u8 = 6;
    pub(super) const NODES: u8 = 7;
    pub(super) const PATTERN: u8 = 8;
    pub(super) const STEPS: u8 = 9;
    pub(super) const KNOWN: u8 = 10;
    pub(super) const BEFORE: u8 = 11;
    pub(super) const AFTER: u8 = 12;
    pub(super) const DELTA: u8 = 13;
    pub(super) const SAMPLE_SIZE: u8 = 14;
    pub(super) const CREATED: u8 = 15;
    pub(super) const EXPIRES: u8 = 16;
    pub(super) const METHOD: u8 = 17;
    pub(super) const PARENTS: u8 = 18;
    pub(super) const SUPERSEDES: u8 = 19;
    pub(super) const REVOKES: u8 = 20;
    pub(super) const TRUNCATED: u8 = 21;
}

/// What the keys are called, in their order.
pub(super) const NAMES: [&str; 22] = [
    "version",
    "space",
    "topology_class",
    "protocol",
    "event_type",
    "severity",
    "affected_prefixes",
    "node_count",
    "pattern",
    "steps",
    "known",
    "before",
    "after",
    "convergence_delta_ms",
    "sample_size",
    "created",
    "expires",
    "method",
    "parents",
    "supersedes",
    "revokes",
    "truncated",
];

/// A payload, read.
pub(super) struct Content<'p> {
    pub(super) outcome: Outcome,
    pub(super) space: [u8; 8],
    pub(super) truncated: bool,
    /// Keys beyond those of this version and their encoded values, in ascending order.
    unknown: Vec<(u64, &'p [u8])>,
}

/// Writes a payload.
pub(super) fn encode(outcome: &Outcome, space: [u8; 8], truncated: bool) -> Vec<u8> {
    encode_with(outcome, space, truncated, &[])
}

fn encode_with(
    outcome: &Outcome,
    space: [u8; 8],
    truncated: bool,
    unknown: &[(u64, &[u8])],
) -> Vec<u8> {
    let mut out = Encoder::new(Vec::with_capacity(PACKET_BYTES_MAX));
    let written = write_head(&mut out, outcome, space, truncated, unknown.len())
        .and_then(|()| write_outcome(&mut out, outcome))
        .and_then(|()| write_tail(&mut out, outcome, truncated, unknown));
    written.expect("writing to memory does not fail");
    out.into_writer()
}

type Out = Encoder<Vec<u8>>;
type Written = Result<(), minicbor::encode::Error<Infallible>>;

fn write_head(
    out: &mut Out,
    outcome: &Outcome,
    space: [u8; 8],
    truncated: bool,
    unknown: usize,
) -> Written {
    let optional = [
        outcome.before.is_some(),
        outcome.after.is_some(),
        !outcome.parents.is_empty(),
        outcome.supersedes.is_some(),
        outcome.revokes.is_some(),
        truncated,
    ];
    let entries = NAMES.len() - optional.into_iter().filter(|there| !there).count() + unknown;
    let situation = &outcome.situation;
    out.map(entries as u64)?.u8(key::VERSION)?.u64(VERSION)?;
    out.u8(key::SPACE)?.bytes(&space)?;
    out.u8(key::TOPOLOGY_CLASS)?.str(&situation.topology_class)?;
    out.u8(key::PROTOCOL)?.str(&situation.protocol)?;
    out.u8(key::EVENT_TYPE)?.str(&situation.event_type)?;
    out.u8(key::SEVERITY)?.u64(situation.severity)?;
    out.u8(key::PREFIXES)?.u64(situation.affected_prefixes)?;
    out.u8(key::NODES)?.u64(situation.node_count)?.ok()
}

fn write_outcome(out: &mut Out, outcome: &Outcome) -> Written {
    let resolution = &outcome.resolution;
    out.u8(key::PATTERN)?.str(&resolution.pattern)?;
    out.u8(key::STEPS)?.array(resolution.steps.len() as u64)?;
    for step in &resolution.steps {
        out.str(step)?;
    }
    out.u8(key::KNOWN)?.u8(known_number(resolution.known))?;
    for (key, value) in [(key::BEFORE, outcome.before), (key::AFTER, outcome.after)] {
        if let Some(value) = value {
            out.u8(key)?.u64(value)?;
        }
    }
    out.u8(key::DELTA)?.i64(outcome.convergence_delta_ms)?;
    out.u8(key::SAMPLE_SIZE)?.u32(outcome.sample_size)?;
    out.u8(key::CREATED)?.i64(outcome.created.secs())?;
    out.u8(key::EXPIRES)?.i64(outcome.expires.secs())?;
    out.u8(key::METHOD)?.bytes(&outcome.method)?.ok()
}

fn write_tail(
    out: &mut Out,
    outcome: &Outcome,
    truncated: bool,
    unknown: &[(u64, &[u8])],
) -> Written {
    if !outcome.parents.is_empty() {
        out.u8(key::PARENTS)?.array(outcome.parents.len() as u64)?;
        for parent in &outcome.parents {
            out.bytes(parent)?;
        }
    }
    for (key, id) in [(key::SUPERSEDES, outcome.supersedes), (key::REVOKES, outcome.revokes)] {
        if let Some(id) = id {
            out.u8(key)?.bytes(&id)?;
        }
    }
    if truncated {
        out.u8(key::TRUNCATED)?.bool(true)?;
    }
    for (key, value) in unknown {
        out.u64(*key)?;
        out.writer_mut().extend_from_slice(value);
    }
    Ok(())
}

const fn known_number(known: Known) -> u8 {
    match known {
        Known::Measured => 0,
        Known::Observed => 1,
        Known::Declared => 2,
    }
}

/// Reads a payload.
pub(super) fn decode(payload: &[u8]) -> Result<Content<'_>, PacketError> {
    let content = Fields::read(payload)?.content()?;
    let Content { outcome, space, truncated, unknown } = &content;
    let deterministic = unknown.iter().all(|(_, value)| is_deterministic(value));
    if deterministic && encode_with(outcome, *space, *truncated, unknown) == payload {
        Ok(content)
    } else {
        Err(PacketError::NotDeterministic)
    }
}

/// An entry of a payload as it stands there.
pub(super) struct Entry<'p> {
    pub(super) key: i128,
    /// The encoded value.
    pub(super) value: &'p [u8],
    /// Bytes of key and value.
    pub(super) bytes: usize,
}

/// The entries of a payload, which are all of it, with rising keys.
pub(super) fn entries(payload: &[u8]) -> Result<Vec<Entry<'_>>, PacketError> {
    let mut input = Decoder::new(payload);
    let count = input.map().map_err(|_| wrong(key::VERSION, "the payload is not a map"))?;
    let count = count.ok_or(PacketError::NotDeterministic)?;
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(NAMES.len());
    for _ in 0..count {
        let start = input.position();
        let number = input.int().map_err(|_| wrong(key::VERSION, "a key is not an integer"))?;
        let at = input.position();
        input.skip().map_err(|_| PacketError::NotDeterministic)?;
        let end = input.position();
        let value = payload.get(at..end).ok_or(PacketError::NotDeterministic)?;
        let entry = Entry { key: number.into(), value, bytes: end - start };
        if entries.last().is_some_and(|last| order(last.key) >= order(entry.key)) {
            return Err(PacketError::NotDeterministic);
        }
        entries.push(entry);
    }
    let whole = input.position() == payload.len();
    whole.then_some(entries).ok_or(PacketError::NotDeterministic)
}

/// The order of encoded integers (RFC 8949 §4.2.1): negative ones last, the nearest to zero first.
const fn order(key: i128) -> (bool, u128) {
    (key < 0, key.unsigned_abs())
}

/// Whether an encoded value is what RFC 8949 §4.2.1 asks for: the encoder writes heads and floating
/// point at their shortest, and keys rise in the order of their encoded bytes.
fn is_deterministic(encoded: &[u8]) -> bool {
    let value: Result<Value, _> = ciborium::from_reader(encoded);
    value.is_ok_and(|value| to_bytes(&value) == encoded && is_sorted(&value))
}

fn to_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to memory does not fail");
    out
}

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

/// The fields of a payload, each with its encoded value.
struct Fields<'p> {
    known: [Option<&'p [u8]>; NAMES.len()],
    unknown: Vec<(u64, &'p [u8])>,
}

impl<'p> Fields<'p> {
    fn read(payload: &'p [u8]) -> Result<Self, PacketError> {
        let mut fields = Self { known: [None; NAMES.len()], unknown: Vec::new() };
        let mut critical = None;
        for Entry { key, value, .. } in entries(payload)? {
            match u64::try_from(key) {
                Err(_) => critical = critical.or(Some(key)),
                Ok(key) if key < NAMES.len() as u64 => fields.known[key as usize] = Some(value),
                Ok(key) => fields.unknown.push((key, value)),
            }
        }
        // Another version may mean something else by its keys.
        let version = fields.uint(key::VERSION)?;
        if version != VERSION {
            return Err(PacketError::Version(version));
        }
        critical.map_or(Ok(fields), |key| Err(PacketError::Critical(key)))
    }

    fn content(self) -> Result<Content<'p>, PacketError> {
        let truncated = self.optional(key::TRUNCATED, |value| value.bool().ok())?;
        if truncated == Some(false) {
            return Err(wrong(key::TRUNCATED, "is there but not true"));
        }
        Ok(Content {
            outcome: self.outcome()?,
            space: self.bytes(key::SPACE)?,
            truncated: truncated.is_some(),
            unknown: self.unknown,
        })
    }

    fn outcome(&self) -> Result<Outcome, PacketError> {
        Ok(Outcome {
            situation: self.situation()?,
            resolution: self.resolution()?,
            before: self.optional(key::BEFORE, uint)?,
            after: self.optional(key::AFTER, uint)?,
            convergence_delta_ms: self.required(key::DELTA, |value| value.i64().ok())?,
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

    fn situation(&self) -> Result<Situation, PacketError> {
        Ok(Situation {
            topology_class: self.required(key::TOPOLOGY_CLASS, text)?,
            protocol: self.required(key::PROTOCOL, text)?,
            event_type: self.required(key::EVENT_TYPE, text)?,
            severity: self.uint(key::SEVERITY)?,
            affected_prefixes: self.uint(key::PREFIXES)?,
            node_count: self.uint(key::NODES)?,
        })
    }

    fn resolution(&self) -> Result<Resolution, PacketError> {
        let known = match self.uint(key::KNOWN)? {
            0 => Known::Measured,
            1 => Known::Observed,
            2 => Known::Declared,
            _ => return Err(wrong(key::KNOWN, "is not 0, 1 or 2")),
        };
        let pattern = self.required(key::PATTERN, text)?;
        let steps = self.required(key::STEPS, |value| array(value, text))?;
        Ok(Resolution { pattern, steps, known })
    }

    fn parents(&self) -> Result<Vec<[u8; 32]>, PacketError> {
        let parents = self.optional(key::PARENTS, |value| array(value, bytes))?;
        let Some(parents) = parents else { return Ok(Vec::new()) };
        if parents.is_empty() || parents.len() > PARENTS_MAX {
            return Err(wrong(key::PARENTS, "does not hold 1 to 4 packet ids"));
        }
        Ok(parents)
    }

    fn optional<T>(
        &self,
        key: u8,
        read: impl Fn(&mut Decoder<'p>) -> Option<T>,
    ) -> Result<Option<T>, PacketError> {
        let Some(value) = self.known[usize::from(key)] else { return Ok(None) };
        let value = read(&mut Decoder::new(value));
        value.map(Some).ok_or(wrong(key, "has the wrong type, length or range"))
    }

    fn required<T>(
        &self,
        key: u8,
        read: impl Fn(&mut Decoder<'p>) -> Option<T>,
    ) -> Result<T, PacketError> {
        self.optional(key, read)?.ok_or(wrong(key, "is missing"))
    }

    fn uint(&self, key: u8) -> Result<u64, PacketError> {
        self.required(key, uint)
    }

    fn bytes<const N: usize>(&self, key: u8) -> Result<[u8; N], PacketError> {
        self.required(key, bytes)
    }

    /// Seconds that a [`Timestamp`] can hold, so that reading never loses anything.
    fn time(&self, key: u8) -> Result<Timestamp, PacketError> {
        let secs = i64::try_from(self.uint(key)?).ok();
        let nanos = secs.and_then(|secs| secs.checked_mul(1_000_000_000));
        nanos.map(Timestamp).ok_or(wrong(key, "lies beyond the year 2262"))
    }
}

fn wrong(key: u8, reason: &'static str) -> PacketError {
    PacketError::Field { key: key.into(), reason }
}

fn uint(value: &mut Decoder<'_>) -> Option<u64> {
    value.u64().ok()
}

fn text(value: &mut Decoder<'_>) -> Option<String> {
    value.str().ok().map(str::to_owned)
}

fn bytes<const N: usize>(value: &mut Decoder<'_>) -> Option<[u8; N]> {
    value.bytes().ok()?.try_into().ok()
}

/// An array of as many items as bytes could hold: what it says of its length is not believed.
fn array<'p, T>(
    value: &mut Decoder<'p>,
    read: impl Fn(&mut Decoder<'p>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = value.array().ok()??;
    (0..count).map(|_| read(value)).collect()
}
