//! What must hold of a detector's findings, whatever it was told.
//!
//! Shared by the property tests and the fuzz target; panics with the incident that breaks it.

use edgelore_model::{
    EventType, Incident, Interval, LossReason, Observation, Observed, PROGRESS_MAX, Scope,
};
use edgelore_pipeline::detect::{Bounds, DetectConfig, Detected, Detector, Joined};
use std::collections::BTreeMap;

/// A detector whose every table is nearly full at once.
pub(crate) fn tiny() -> DetectConfig {
    let mut config = DetectConfig::default();
    config.bounds.sessions_max = 3;
    config.bounds.links_max = 2;
    config.bounds.fib_routes_max = 4;
    config.bounds.incidents_open_max = 2;
    config.bounds.incident_prefixes_max = 5;
    config.bounds.recent_changes_max = 4;
    config.bounds.flap_prefixes_max = 4;
    config.convergence.withdrawal_burst_prefixes = 3;
    config
}

/// Runs a detector over the stream and checks all that it tells.
pub(crate) fn run(config: &DetectConfig, observations: &[Observation]) -> Vec<Detected> {
    let mut detector = Detector::new(config.clone());
    let (mut open, mut all) = (Open::default(), Vec::new());
    let mut overflows = 0;
    for observation in observations {
        let first = all.len();
        detector.observe(observation, &mut all);
        for detected in &all[first..] {
            open.take(detected, &config.bounds);
        }
        open.missing(&observation.what);
        assert!(detector.overflows() >= overflows, "overflows are counted, never taken back");
        overflows = detector.overflows();
    }
    let first = all.len();
    detector.finish(&mut all);
    for detected in &all[first..] {
        open.take(detected, &config.bounds);
    }
    assert!(open.0.is_empty(), "the end closes all incidents: {:?}", open.0);
    all
}

/// Incidents that are open, and whether evidence was lost since.
#[derive(Default)]
struct Open(BTreeMap<(EventType, Scope), bool>);

impl Open {
    fn take(&mut self, detected: &Detected, bounds: &Bounds) {
        match detected {
            Detected::Opened(opened) => {
                let of_type = self.0.keys().filter(|(event, _)| *event == opened.event).count();
                let before = self.0.insert((opened.event, opened.scope), false);
                // Convergences of one scope may be open, one of which was only possible before.
                if opened.event != EventType::Convergence {
                    assert!(of_type < bounds.incidents_open_max, "{opened:?}: too many are open");
                    assert!(before.is_none(), "{opened:?}: opened twice");
                }
            }
            Detected::Closed(finding) => {
                let incident = &finding.incident;
                check(incident, bounds);
                let lost = self.0.remove(&(incident.event, incident.scope));
                let marked = incident.gaps || lost != Some(true);
                assert!(marked, "evidence was lost, and it does not say so: {incident:?}");
            }
            Detected::Joined(Joined { event, scope, into, .. }) => {
                let lost = self.0.remove(&(*event, *scope));
                assert!(lost.is_some(), "{scope:?} joins {into:?} and was not open");
                // What of its evidence was lost is missing from the whole.
                *self.0.entry((*event, *into)).or_default() |= lost == Some(true);
            }
            Detected::Settled(_) => {}
        }
    }

    /// What is missing from everywhere concerns all incidents, a session's gap its own.
    fn missing(&mut self, what: &Observed) {
        for ((_, of), lost) in &mut self.0 {
            *lost |= match what {
                Observed::Lost { reason, .. } => *reason != LossReason::Shed,
                Observed::StreamGap { session, .. } => *of == Scope::Session(*session),
                _ => false,
            };
        }
    }
}

fn check(incident: &Incident, bounds: &Bounds) {
    let ordered = |when: &Interval| when.earliest <= when.estimate && when.estimate <= when.latest;
    assert!(ordered(&incident.start), "start out of order: {incident:?}");
    if let Some(end) = &incident.end {
        assert!(ordered(end), "end out of order: {incident:?}");
        assert!(incident.start.earliest <= end.latest, "ends before it starts: {incident:?}");
        assert!(incident.start.estimate <= end.estimate, "ends before it starts: {incident:?}");
    }
    let sorted = incident.prefixes.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(sorted, "prefixes are not sorted, each once: {incident:?}");
    assert!(incident.prefixes.len() <= bounds.incident_prefixes_max, "{incident:?}");
    assert!(!incident.chain.is_empty(), "nothing set it off: {incident:?}");
    assert!(incident.chain.len() <= 64, "{} triggers", incident.chain.len());
    assert!(incident.progress.len() <= PROGRESS_MAX, "{} points", incident.progress.len());
    let onward = incident.progress.windows(2).all(|pair| pair[0].at <= pair[1].at);
    assert!(onward, "progress goes back: {incident:?}");
    assert!(!incident.maintenance, "there is no window: {incident:?}");
}
