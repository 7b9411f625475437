//! What the operator sees of incidents and outcomes: the JSON of the control API and the CLI.

use crate::journal::JournaledOutcome;
use edgelore_model::{Incident, IncidentId, Interval, Outcome, Sharing, Timestamp, Trigger};
use edgelore_pipeline::distil::{Compared, Verdict};
use edgelore_pipeline::explain::Told;
use edgelore_pipeline::packet::Changed;
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
    /// The packet's exact bytes, hexadecimal.
    #[serde(default)]
    pub packet: String,
    /// When a store acknowledged it.
    pub delivered: Option<Timestamp>,
    /// Why it is kept back.
    #[serde(default)]
    pub held: Option<String>,
    /// How far it might go when it was distilled.
    #[serde(default)]
    pub scope: Option<Sharing>,
    /// What was taken out of it or made coarser before it leaves.
    #[serde(default)]
    pub changed: Vec<Changed>,
    /// The incidents it rests on, hexadecimal.
    pub incidents: Vec<String>,
    /// Packets whose advice led to it, hexadecimal.
    pub parents: Vec<String>,
    /// What the change brought.
    pub verdict: Verdict,
    /// The figures that were compared.
    pub compared: Compared,
    /// It has not come back for this long, in ms of watched time.
    pub silent_ms: Option<u64>,
    /// It had helped, and does not any more.
    pub regression: bool,
    /// How the change is known.
    pub evidence: Vec<String>,
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
            packet: hex::encode(&journaled.packet),
            delivered: journaled.delivered,
            held: journaled.held.clone(),
            scope: journaled.scope,
            changed: Vec::new(),
            incidents: journaled.distilled.incidents.iter().map(ToString::to_string).collect(),
            parents: outcome.parents.iter().map(hex::encode).collect(),
            verdict: outcome.into(),
            compared: journaled.distilled.compared,
            silent_ms: journaled.distilled.silent_ms,
            regression: journaled.distilled.regression,
            evidence: journaled.distilled.evidence.clone(),
            outcome: outcome.clone(),
        }
    }
}

/// Prefixes that are listed of an incident unless all are asked for.
pub const PREFIXES_DEFAULT: usize = 10;
/// Incidents that are named when a name fits several.
const CANDIDATES_MAX: usize = 5;

/// Why a name names no incident.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIncident {
    /// There is none that begins so.
    #[error("no incident '{0}': `edgelore incidents` lists them")]
    Unknown(String),
    /// There are several.
    #[error("'{named}' is the beginning of several incidents: {candidates}")]
    Ambiguous {
        /// What was asked for.
        named: String,
        /// Some of them.
        candidates: String,
    },
}

/// The incident that is named by `latest`, its id or the beginning of it.
///
/// # Errors
/// When no incident or more than one is named so.
pub fn identify(named: &str, known: &[IncidentId]) -> Result<IncidentId, NoIncident> {
    let unknown = || NoIncident::Unknown(named.to_owned());
    if named == "latest" {
        return known.last().copied().ok_or_else(unknown);
    }
    let wanted = named.to_ascii_lowercase();
    let mut fitting: Vec<IncidentId> = Vec::new();
    for id in known.iter().filter(|id| !wanted.is_empty() && id.to_string().starts_with(&wanted)) {
        if !fitting.contains(id) && fitting.len() <= CANDIDATES_MAX {
            fitting.push(*id);
        }
    }
    match fitting.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(*one),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(NoIncident::Ambiguous { named: named.to_owned(), candidates: names.join(", ") })
        }
    }
}

/// The outcomes that rest on an incident; of several for one change the latest.
pub fn resting_on(id: IncidentId, all: impl Iterator<Item = JournaledOutcome>) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    for outcome in all.filter(|outcome| outcome.distilled.incidents.contains(&id)) {
        told.retain(|one| one.distilled.change != outcome.distilled.change);
        let packet_id = Some(outcome.packet_id);
        told.push(Told { packet_id, distilled: outcome.distilled });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_named_by_its_beginning_when_that_is_its_own() {
        let known =
            [0x00ab_0000_0000_0001, 0x00ac_0000_0000_0002, 0x00ab_0000_0000_0001].map(IncidentId);
        assert_eq!(identify("latest", &known), Ok(known[2]));
        assert_eq!(identify("00AB", &known), Ok(known[0]));
        assert_eq!(identify("00ac000000000002", &known), Ok(known[1]));
        for (named, said) in [
            ("00a", "several incidents: 00ab000000000001, 00ac000000000002"),
            ("ff", "no incident 'ff'"),
            ("", "no incident ''"),
        ] {
            let error = identify(named, &known).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(identify("latest", &[]).is_err());
    }
}
