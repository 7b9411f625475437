//! What a trial has shown: when there is something to say, and the outcome that says it.
//!
//! **Invariant:** an outcome is given only past its probation; a further one of the same change only
//! when it is better founded or says something else.

use super::class::{Class, Trial};
use super::era::Era;
use super::judge::{Compared, Verdict, relapsed};
use super::{ChangeId, DistilConfig, Distilled, LIFETIME, Site};
use edgelore_model::{EventType, IncidentId, Outcome, Protocol, Situation, Timestamp};

/// Incidents after the change up to which each one replaces the outcome; beyond, each doubling.
const EVERY_INCIDENT_MAX: u32 = 4;

/// What an outcome rests on.
#[derive(Debug)]
pub(super) struct Basis {
    compared: Compared,
    after: u64,
    sample_size: u32,
    /// The incidents after the change.
    recurred: Vec<IncidentId>,
    silent_ms: Option<u64>,
    regression: bool,
}

impl Class {
    /// An incident that cannot be measured came back.
    pub(super) fn break_silence(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.broken = true;
        }
    }

    /// What the trial says now that this incident has joined the class; `None` when nothing new.
    pub(super) fn judge(&mut self, latest: IncidentId, config: &DistilConfig) -> Option<Basis> {
        let trial = self.trial.as_mut()?;
        if self.era.count() < config.probation_incidents.max(1) || !self.era.has(latest) {
            return None;
        }
        let helped = trial.given == Some(Verdict::Helped);
        if helped && relapsed(&trial.before, &self.era, config) {
            // What was before the relapse was another state of the network.
            self.era.keep_last(config.regression_incidents as usize);
        }
        let compared = Compared::eras(&trial.before, &self.era, config);
        let after = compared.after();
        let verdict = verdict(compared.before.median, after);
        let (count, regression) = (self.era.count(), helped && verdict != Verdict::Helped);
        let due = count <= EVERY_INCIDENT_MAX || count.is_power_of_two();
        if !due && trial.given == Some(verdict) {
            return None;
        }
        trial.given = Some(verdict);
        Some(Basis {
            compared,
            after,
            sample_size: count,
            recurred: self.era.ids().collect(),
            silent_ms: None,
            regression,
        })
    }

    /// What the trial says after so many missed incidents; `None` when it is silent no longer.
    pub(super) fn judge_silence(
        &mut self,
        event: EventType,
        config: &DistilConfig,
        missed: u32,
        clock: i64,
    ) -> Option<Basis> {
        self.silence_proves_at(event, config, missed).filter(|at| *at <= clock)?;
        let trial = self.trial.as_mut()?;
        let compared = Compared::eras(&trial.before, &Era::default(), config);
        if compared.before.median == 0 {
            return None;
        }
        trial.given = Some(Verdict::Helped);
        let silent_ms = clock.saturating_sub(trial.silent_since) / 1_000_000;
        Some(Basis {
            compared,
            after: 0,
            sample_size: missed,
            recurred: Vec::new(),
            silent_ms: Some(silent_ms.unsigned_abs()),
            regression: false,
        })
    }
}

const fn verdict(before: u64, after: u64) -> Verdict {
    if after < before {
        Verdict::Helped
    } else if after == before {
        Verdict::Failed
    } else {
        Verdict::Worse
    }
}

impl Trial {
    /// One outcome per pattern.
    pub(super) fn outcomes(
        &self,
        basis: &Basis,
        (event, protocol): (EventType, Protocol),
        site: &Site,
        method: [u8; 8],
        created: Timestamp,
    ) -> Vec<Distilled> {
        let Some(last_before) = self.last_before() else { return Vec::new() };
        let before = basis.compared.before.median;
        let situation = Situation {
            topology_class: site.topology_class.clone(),
            protocol: protocol.term().to_owned(),
            event_type: event.term().to_owned(),
            severity: before,
            affected_prefixes: self.before.prefixes(),
            node_count: site.node_count,
        };
        let incidents: Vec<IncidentId> =
            self.before.ids().chain(basis.recurred.iter().copied()).collect();
        let distilled = |(resolution, evidence): (edgelore_model::Resolution, Vec<String>)| {
            let change = ChangeId { incident: last_before, pattern: resolution.pattern.clone() };
            Distilled {
                outcome: Outcome {
                    situation: situation.clone(),
                    resolution,
                    before: Some(before),
                    after: Some(basis.after),
                    convergence_delta_ms: signed(before).saturating_sub(signed(basis.after)),
                    sample_size: basis.sample_size,
                    created,
                    expires: created + LIFETIME,
                    method,
                    parents: Vec::new(),
                    supersedes: None,
                    revokes: None,
                },
                incidents: incidents.clone(),
                change,
                changed_before: self.made.latest,
                compared: basis.compared,
                silent_ms: basis.silent_ms,
                regression: basis.regression,
                evidence,
            }
        };
        self.resolutions().into_iter().map(distilled).collect()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
