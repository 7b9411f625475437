//! The JSON packet of the reference algorithm, read and written.
//!
//! Owns the conversion between that form and [`Outcome`]. The form is unsigned, so what comes from
//! it is *declared*. Never reads floating point or integers outside 64 bits for the improvement,
//! nor escapes of lone surrogates, which Python writes and which stand for no character (RFC 8259
//! §8.2): such lines are refused with their column.
//!
//! **Invariant:** what [`Packet::to_json`] writes is what the reference writes, character for
//! character.

use edgelore_model::{Known, Outcome, Resolution, Situation, Timestamp};
use serde::{Deserialize, Serialize};

use super::core::{Core, outcome_hash};
use super::json::Object;

/// Why a reference packet was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Not the JSON of a packet.
    #[error("reading a reference packet")]
    Json(#[from] serde_json::Error),
    /// The packet names another fingerprint than its content has.
    #[error("reference packet names outcome_hash {named} but its content has {computed}")]
    Hash {
        /// As the packet says.
        named: String,
        /// As its content says.
        computed: String,
    },
    /// A count that is negative or beyond 64 bits.
    #[error("reference packet has {field} {value}, which is not a count")]
    Count {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: i128,
    },
}

/// A packet in the reference's form. Fields that it does not know are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// See [`Situation::topology_class`].
    pub topology_class: String,
    /// See [`Situation::protocol`].
    pub protocol: String,
    /// See [`Situation::event_type`].
    pub event_type: String,
    /// See [`Resolution::pattern`].
    pub resolution_pattern: String,
    /// Before minus after, ms; stands in for the severity.
    pub convergence_delta_ms: i64,
    /// Prefixes.
    pub affected_prefixes: i128,
    /// Routers.
    #[serde(default)]
    pub node_count: i128,
    /// What was done.
    #[serde(default)]
    pub resolution_steps: Vec<String>,
    /// The fingerprint that the packet claims, hexadecimal; checked by [`Packet::parse`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_hash: Option<String>,
}

impl Packet {
    /// Reads one packet.
    ///
    /// # Errors
    /// [`ReferenceError::Json`] when `json` is not a packet, [`ReferenceError::Hash`] when it
    /// names a fingerprint that is not its own.
    pub fn parse(json: &str) -> Result<Self, ReferenceError> {
        let packet: Self = serde_json::from_str(json)?;
        let computed = hex::encode(packet.fingerprint());
        match &packet.outcome_hash {
            Some(named) if !named.eq_ignore_ascii_case(&computed) => {
                Err(ReferenceError::Hash { named: named.clone(), computed })
            }
            _ => Ok(packet),
        }
    }

    /// What its fingerprint depends on.
    #[must_use]
    pub fn core(&self) -> Core<'_> {
        Core {
            topology_class: &self.topology_class,
            protocol: &self.protocol,
            event_type: &self.event_type,
            resolution_pattern: &self.resolution_pattern,
            convergence_delta_ms: self.convergence_delta_ms,
            affected_prefixes: self.affected_prefixes,
        }
    }

    /// Its fingerprint, computed from its content.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        outcome_hash(&self.core())
    }

    /// What tells it from every other packet: SHA-256 of the line that the reference would write.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut id = [[0; 32]];
        edgelore_kernels::sha256::digest_many(&[self.to_json().as_bytes()], &mut id);
        id[0]
    }

    /// The line that the reference would write, fingerprint last.
    #[must_use]
    pub fn to_json(&self) -> String {
        Object::new()
            .string("topology_class", &self.topology_class)
            .string("protocol", &self.protocol)
            .string("event_type", &self.event_type)
            .string("resolution_pattern", &self.resolution_pattern)
            .integer("convergence_delta_ms", self.convergence_delta_ms)
            .integer("affected_prefixes", self.affected_prefixes)
            .integer("node_count", self.node_count)
            .strings("resolution_steps", &self.resolution_steps)
            .string("outcome_hash", &hex::encode(self.fingerprint()))
            .finish()
    }

    /// As an outcome that somebody declared. The improvement stands in for the severity: its
    /// magnitude, since a severity has no sign.
    ///
    /// # Errors
    /// [`ReferenceError::Count`] when a count is negative or beyond 64 bits.
    pub fn to_outcome(
        &self,
        created: Timestamp,
        expires: Timestamp,
    ) -> Result<Outcome, ReferenceError> {
        let situation = Situation {
            topology_class: self.topology_class.clone(),
            protocol: self.protocol.clone(),
            event_type: self.event_type.clone(),
            severity: self.convergence_delta_ms.unsigned_abs(),
            affected_prefixes: count("affected_prefixes", self.affected_prefixes)?,
            node_count: count("node_count", self.node_count)?,
        };
        let resolution = Resolution {
            pattern: self.resolution_pattern.clone(),
            steps: self.resolution_steps.clone(),
            known: Known::Declared,
        };
        Ok(Outcome {
            situation,
            resolution,
            before: None,
            after: None,
            convergence_delta_ms: self.convergence_delta_ms,
            sample_size: 1,
            created,
            expires,
            method: [0; 8],
            parents: Vec::new(),
            supersedes: None,
            revokes: None,
        })
    }
}

impl From<&Outcome> for Packet {
    fn from(outcome: &Outcome) -> Self {
        let mut packet = Self {
            topology_class: outcome.situation.topology_class.clone(),
            protocol: outcome.situation.protocol.clone(),
            event_type: outcome.situation.event_type.clone(),
            resolution_pattern: outcome.resolution.pattern.clone(),
            convergence_delta_ms: outcome.convergence_delta_ms,
            affected_prefixes: outcome.situation.affected_prefixes.into(),
            node_count: outcome.situation.node_count.into(),
            resolution_steps: outcome.resolution.steps.clone(),
            outcome_hash: None,
        };
        packet.outcome_hash = Some(hex::encode(packet.fingerprint()));
        packet
    }
}

fn count(field: &'static str, value: i128) -> Result<u64, ReferenceError> {
    u64::try_from(value).map_err(|_| ReferenceError::Count { field, value })
}

#[cfg(test)]
mod tests {
    use super::super::core::canonical;
    use super::*;

    /// Written by the reference itself: packet, canonical form, hash and JSON form.
    const VECTORS: &str = include_str!("../../../fixtures/outcome_hash.jsonl");

    #[derive(Deserialize)]
    struct Vector {
        packet: Packet,
        canonical: String,
        outcome_hash: String,
        json: String,
    }

    fn vectors() -> Vec<Vector> {
        VECTORS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_vector_of_the_reference_holds() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 400);
        for (line, vector) in vectors.iter().enumerate() {
            let core = vector.packet.core();
            assert_eq!(canonical(&core), vector.canonical, "line {}", line + 1);
            assert_eq!(hex::encode(outcome_hash(&core)), vector.outcome_hash, "line {}", line + 1);
            assert_eq!(vector.packet.to_json(), vector.json, "line {}", line + 1);
        }
    }

    #[test]
    fn a_batch_equals_one_at_a_time() {
        let vectors = vectors();
        let cores: Vec<Core<'_>> = vectors.iter().map(|vector| vector.packet.core()).collect();
        let batch = super::super::core::outcome_hashes(&cores);
        let single: Vec<_> = cores.iter().map(outcome_hash).collect();
        assert_eq!(batch, single);
    }

    #[test]
    fn what_the_reference_writes_is_read_and_written_again() {
        for vector in vectors() {
            let packet = Packet::parse(&vector.json).unwrap();
            assert_eq!(packet.to_json(), vector.json);
            let outcome = packet.to_outcome(Timestamp(0), Timestamp(1)).unwrap();
            assert_eq!(Packet::from(&outcome).to_json(), vector.json);
        }
    }

    #[test]
    fn a_wrong_fingerprint_is_refused() {
        let json = vectors()[0].json.replace("9ea53ba0", "00000000");
        assert!(matches!(Packet::parse(&json), Err(ReferenceError::Hash { .. })));
    }

    #[test]
    fn lone_surrogates_are_refused_and_pairs_are_characters() {
        let json = |word: &str| {
            let json = Packet { outcome_hash: None, ..vectors().swap_remove(0).packet }.to_json();
            let json = json.split(", \"outcome_hash\"").next().unwrap().to_owned() + "}";
            json.replace("bfd_tuning", word)
        };
        assert_eq!(Packet::parse(&json(r"\ud83d\ude00")).unwrap().resolution_pattern, "😀");
        for lone in [r"\ud83d", r"\ude00", r"\ude00\ud83d", r"\ud83dx"] {
            let error = Packet::parse(&json(lone)).unwrap_err();
            assert!(matches!(error, ReferenceError::Json(_)), "{lone}: {error}");
        }
    }

    #[test]
    fn integers_of_python_beyond_64_bits_are_read_where_they_may_stand() {
        let mut packet = vectors().swap_remove(0).packet;
        packet.affected_prefixes = -123_456_789_012_345_678_901_234;
        let again: Packet = serde_json::from_str(&packet.to_json()).unwrap();
        assert_eq!(again.affected_prefixes, packet.affected_prefixes);
        let refused = again.to_outcome(Timestamp(0), Timestamp(1)).unwrap_err();
        assert!(refused.to_string().contains("affected_prefixes"), "{refused}");
    }
}
