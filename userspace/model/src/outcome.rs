//! Situations, resolutions and outcomes.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The problem without the answer. The three terms are words of the similarity definition's
/// taxonomies; other words are kept as they are and are far from everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Situation {
    /// For example `spine_leaf`.
    pub topology_class: String,
    /// For example `bgp`.
    pub protocol: String,
    /// For example `convergence`.
    pub event_type: String,
    /// In the unit of the event type (ms, transitions per hour, ms of backlog, ppm).
    pub severity: u64,
    /// How many prefixes were affected.
    pub affected_prefixes: u64,
    /// How many routers the network has.
    pub node_count: u64,
}

/// A situation to ask about: a field left open costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// See [`Situation::topology_class`].
    pub topology_class: Option<String>,
    /// See [`Situation::protocol`].
    pub protocol: Option<String>,
    /// See [`Situation::event_type`].
    pub event_type: Option<String>,
    /// See [`Situation::severity`].
    pub severity: Option<u64>,
    /// See [`Situation::affected_prefixes`].
    pub affected_prefixes: Option<u64>,
    /// See [`Situation::node_count`].
    pub node_count: Option<u64>,
    /// Only outcomes of this resolution pattern; the answer need not be known to ask.
    pub resolution_pattern: Option<String>,
}

impl From<&Situation> for Query {
    fn from(situation: &Situation) -> Self {
        Self {
            topology_class: Some(situation.topology_class.clone()),
            protocol: Some(situation.protocol.clone()),
            event_type: Some(situation.event_type.clone()),
            severity: Some(situation.severity),
            affected_prefixes: Some(situation.affected_prefixes),
            node_count: Some(situation.node_count),
            resolution_pattern: None,
        }
    }
}

/// How a resolution is known.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// Seen on the wire or in the kernel, and its effect measured.
    Measured,
    /// Seen, its effect inferred.
    Observed,
    /// Somebody said so.
    Declared,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Resolution {
    /// For example `bfd_tuning`.
    pub pattern: String,
    /// What was done, a sentence a step.
    pub steps: Vec<String>,
    /// How it is known.
    pub known: Known,
}

/// Situation, resolution and what it brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The problem.
    pub situation: Situation,
    /// What was changed.
    pub resolution: Resolution,
    /// Severity before the change; `None` when only the difference is known.
    pub before: Option<u64>,
    /// Severity after it.
    pub after: Option<u64>,
    /// Before minus after, in ms for a convergence; negative when it got worse.
    pub convergence_delta_ms: i64,
    /// How many incidents after the change the figure rests on.
    pub sample_size: u32,
    /// When it was distilled.
    pub created: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// First eight bytes of SHA-256 over the detector's name, version and settings.
    pub method: [u8; 8],
    /// Packets (SHA-256 of their exact bytes) whose advice led to this outcome.
    pub parents: Vec<[u8; 32]>,
    /// The packet that this one replaces.
    pub supersedes: Option<[u8; 32]>,
    /// The packet that this one takes back.
    pub revokes: Option<[u8; 32]>,
}
