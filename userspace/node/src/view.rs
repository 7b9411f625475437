//! What the operator sees of incidents and outcomes: the JSON of the control API and the CLI.

use crate::journal::JournaledOutcome;
use edgelore_model::{Incident, Interval, Outcome, Timestamp, Trigger};
use serde::{Deserialize, Serialize};

/// A duration with its bounds, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationView {
    /// The true duration is not shorter (rounded down).
    pub earliest: i64,
    /// The best single figure.
    pub estimate: i64,
    /// The true duration is not longer (rounded up).
    pub latest: i64,
}

/// An incident, with the prefixes counted instead of listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Identity, hexadecimal.
    pub id: String,
    /// Event type.
    pub event: String,
    /// Protocol.
    pub protocol: String,
    /// What it is about.
    pub scope: edgelore_model::Scope,
    /// What set it off, ns since the Unix epoch.
    pub chain: Vec<Trigger>,
    /// Start, ns since the Unix epoch.
    pub start: Interval,
    /// End, ns since the Unix epoch; absent when it could not be seen.
    pub end: Option<Interval>,
    /// Duration; absent when the end could not be seen.
    pub duration_ms: Option<DurationView>,
    /// Affected prefixes.
    pub prefixes: usize,
    /// In the unit of the event type.
    pub severity: u64,
    /// The evidence has gaps.
    pub gaps: bool,
    /// It lies in a maintenance window, and no outcome rests on it.
    #[serde(default)]
    pub maintenance: bool,
}

impl From<&Incident> for IncidentView {
    fn from(incident: &Incident) -> Self {
        let duration_ms = incident.duration().map(|(shortest, estimate, longest)| DurationView {
            earliest: shortest.0.div_euclid(1_000_000),
            estimate: estimate.millis(),
            latest: longest.0.div_euclid(1_000_000) + i64::from(longest.0 % 1_000_000 != 0),
        });
        Self {
            id: incident.id.to_string(),
            event: incident.event.term().to_owned(),
            protocol: incident.protocol.term().to_owned(),
            scope: incident.scope,
            chain: incident.chain.clone(),
            start: incident.start,
            end: incident.end,
            duration_ms,
            prefixes: incident.prefixes.len(),
            severity: incident.severity,
            gaps: incident.gaps,
            maintenance: incident.maintenance,
        }
    }
}

/// An outcome and its packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeView {
    /// SHA-256 of the packet's exact bytes, hexadecimal.
    pub packet_id: String,
    /// The outcome hash, hexadecimal.
    pub outcome_hash: String,
    /// The packet's size in bytes.
    pub packet_bytes: usize,
    /// When a store acknowledged it.
    pub delivered: Option<Timestamp>,
    /// The incidents it rests on, hexadecimal.
    pub incidents: Vec<String>,
    /// Packets whose advice led to it, hexadecimal.
    pub parents: Vec<String>,
    /// The outcome.
    pub outcome: Outcome,
}

impl From<&JournaledOutcome> for OutcomeView {
    fn from(journaled: &JournaledOutcome) -> Self {
        let outcome = &journaled.distilled.outcome;
        Self {
            packet_id: journaled.packet_id.clone(),
            outcome_hash: journaled.outcome_hash.clone(),
            packet_bytes: journaled.packet.len(),
            delivered: journaled.delivered,
            incidents: journaled.distilled.incidents.iter().map(ToString::to_string).collect(),
            parents: outcome.parents.iter().map(hex::encode).collect(),
            outcome: outcome.clone(),
        }
    }
}
