//! Distillation: two incidents of one class with a change between them become an outcome.
//!
//! Incidents are of one class when event type, protocol and scope agree. The *era* of a class is
//! the stretch between two changes: its severity is the median of its incidents. When an incident
//! closes under other settings than the one before it, a new era begins, and the outcome
//! compares the two: improvement = severity before minus severity after. Each further incident of
//! the new era replaces that outcome with a better founded one.
//!
//! **Invariant:** only incidents whose end was seen, whose evidence has no gaps, and which lie in no
//! maintenance window count.

use crate::detect::{Finding, Settings};
use crate::resolve::wire_changes;
use edgelore_model::{
    EventType, Incident, IncidentId, Outcome, Protocol, Resolution, Scope, Situation, Span,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Classes remembered.
const CLASSES_MAX: usize = 16_384;
/// Incidents remembered per era.
const ERA_INCIDENTS_MAX: usize = 64;
/// Declarations that wait for the incident that shows their effect.
const DECLARED_MAX: usize = 64;
/// How long an outcome counts.
const LIFETIME: Span = Span(180 * 86_400 * 1_000_000_000);

/// What is known of the network: by the operator, or by what was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// For example `spine_leaf`; a word of the similarity definition.
    pub topology_class: String,
    /// Routers in the network.
    pub node_count: u64,
}

/// An outcome and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distilled {
    /// The outcome; its parents and what it supersedes are for the node to fill in.
    pub outcome: Outcome,
    /// The incidents before the change, then those after it.
    pub incidents: Vec<IncidentId>,
    /// Equal for all outcomes of one change of one class: a later one replaces an earlier one.
    pub change: ChangeId,
    /// The change was made before this: the start of the first incident after it.
    pub changed_before: Timestamp,
}

/// Identifies a change: the first incident after it, and the pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChangeId {
    /// The first incident after the change.
    pub incident: IncidentId,
    /// The resolution's pattern.
    pub pattern: String,
}

#[derive(Clone, Debug)]
struct Sample {
    id: IncidentId,
    severity: u64,
    prefixes: u64,
}

#[derive(Debug)]
struct Era {
    samples: Vec<Sample>,
    settings: Settings,
    /// When the latest incident ended.
    ended: Timestamp,
    change: Option<Change>,
}

/// What began an era.
#[derive(Debug)]
struct Change {
    resolutions: Vec<Resolution>,
    before: Vec<Sample>,
    first_after: IncidentId,
    made_before: Timestamp,
}

/// The distiller: remembers what it needs of former incidents.
#[derive(Debug)]
pub struct Distiller {
    site: Site,
    method: [u8; 8],
    classes: BTreeMap<(EventType, Protocol, Scope), Era>,
    declared: VecDeque<(Timestamp, Resolution)>,
}

impl Distiller {
    /// An empty distiller; `method` is [`crate::detect::DetectConfig::method`].
    #[must_use]
    pub const fn new(site: Site, method: [u8; 8]) -> Self {
        Self { site, method, classes: BTreeMap::new(), declared: VecDeque::new() }
    }

    /// Outcomes from now on are of another method: the detector's settings have changed.
    pub const fn set_method(&mut self, method: [u8; 8]) {
        self.method = method;
    }

    /// Outcomes from now on are of this network: more of it was heard.
    pub fn set_site(&mut self, site: Site) {
        self.site = site;
    }

    /// What outcomes say of the network now.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The operator declares what was changed at `at`. It begins a new era of every class at the
    /// class's next incident after `at`. The oldest declaration makes room past 64.
    pub fn declare(&mut self, at: Timestamp, resolution: Resolution) {
        if self.declared.len() >= DECLARED_MAX {
            self.declared.pop_front();
        }
        self.declared.push_back((at, resolution));
    }

    /// Takes a closed incident; gives the outcomes that it completes, one per pattern.
    pub fn closed(&mut self, finding: &Finding) -> Vec<Distilled> {
        let incident = &finding.incident;
        let doubtful = incident.gaps || incident.maintenance;
        let (Some(end), false) = (incident.end, doubtful) else { return Vec::new() };
        let class = (incident.event, incident.protocol, incident.scope);
        if self.classes.len() >= CLASSES_MAX && !self.classes.contains_key(&class) {
            self.classes.pop_first();
        }
        let era = self.classes.entry(class).or_insert_with(|| Era {
            samples: Vec::new(),
            settings: finding.settings.clone(),
            ended: Timestamp(i64::MIN),
            change: None,
        });
        let mut resolutions = wire_changes(incident, &era.settings, &finding.settings);
        let between = era.ended..=incident.start.latest;
        let declared = self.declared.iter().filter(|(at, _)| between.contains(at));
        resolutions.extend(declared.map(|(_, resolution)| resolution.clone()));
        era.enter(finding, end.latest, resolutions);
        outcomes(&self.site, self.method, incident, era, end.latest)
    }
}

impl Era {
    fn enter(&mut self, finding: &Finding, ended: Timestamp, resolutions: Vec<Resolution>) {
        let incident = &finding.incident;
        if !resolutions.is_empty() && !self.samples.is_empty() {
            let before = std::mem::take(&mut self.samples);
            self.change = Some(Change {
                resolutions,
                before,
                first_after: incident.id,
                made_before: incident.start.latest,
            });
        }
        if self.samples.len() >= ERA_INCIDENTS_MAX {
            self.samples.remove(0);
        }
        self.samples.push(Sample {
            id: incident.id,
            severity: incident.severity,
            prefixes: incident.prefixes.len() as u64,
        });
        self.settings.clone_from(&finding.settings);
        self.ended = ended;
    }
}

fn outcomes(
    site: &Site,
    method: [u8; 8],
    incident: &Incident,
    era: &Era,
    created: Timestamp,
) -> Vec<Distilled> {
    let Some(change) = &era.change else { return Vec::new() };
    let before = median(change.before.iter().map(|s| s.severity));
    let after = median(era.samples.iter().map(|s| s.severity));
    let situation = Situation {
        topology_class: site.topology_class.clone(),
        protocol: incident.protocol.term().to_owned(),
        event_type: incident.event.term().to_owned(),
        severity: before,
        affected_prefixes: median(change.before.iter().map(|s| s.prefixes)),
        node_count: site.node_count,
    };
    let distilled = |resolution: &Resolution| Distilled {
        outcome: Outcome {
            situation: situation.clone(),
            resolution: shared_credit(resolution, &change.resolutions),
            before: Some(before),
            after: Some(after),
            convergence_delta_ms: signed(before).saturating_sub(signed(after)),
            sample_size: era.samples.len() as u32,
            created,
            expires: created + LIFETIME,
            method,
            parents: Vec::new(),
            supersedes: None,
            revokes: None,
        },
        incidents: change.before.iter().chain(&era.samples).map(|s| s.id).collect(),
        change: ChangeId { incident: change.first_after, pattern: resolution.pattern.clone() },
        changed_before: change.made_before,
    };
    change.resolutions.iter().map(distilled).collect()
}

/// Several changes at once share the credit, and each one's outcome says so.
fn shared_credit(resolution: &Resolution, all: &[Resolution]) -> Resolution {
    let mut resolution = resolution.clone();
    let others: Vec<&str> =
        all.iter().map(|r| r.pattern.as_str()).filter(|p| *p != resolution.pattern).collect();
    if !others.is_empty() {
        resolution.steps.push(format!("Changed together with: {}", others.join(", ")));
    }
    resolution
}

/// The lower median; 0 of nothing.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
