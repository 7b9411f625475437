//! Eras of a class: what counts, what begins a new one, what an outcome says.

use super::*;
use crate::detect::{BfdTimers, SessionSettings};
use edgelore_model::{Interval, Known, SessionKey};

fn session() -> SessionKey {
    SessionKey::between("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
}

fn settings(bfd: bool) -> Settings {
    let mut settings = SessionSettings::default();
    let (a, b) = session().addresses();
    for end in [a, b] {
        settings.hold_time_s.insert(end, 9);
        if bfd {
            let timers = BfdTimers {
                detect_multiplier: 3,
                desired_min_tx_us: 300_000,
                required_min_rx_us: 300_000,
            };
            settings.bfd.insert(end, timers);
        }
    }
    Settings { sessions: vec![(session(), settings)], ..Settings::default() }
}

fn finding(id: u64, at_s: i64, severity: u64, settings: Settings) -> Finding {
    let at = Timestamp::from_secs_nanos(at_s, 0);
    Finding {
        incident: Incident {
            id: IncidentId(id),
            event: EventType::Convergence,
            protocol: Protocol::Bgp,
            scope: Scope::Session(session()),
            chain: Vec::new(),
            start: Interval::exactly(at),
            end: Some(Interval::exactly(at + Span::from_millis(severity as i64))),
            prefixes: vec!["198.51.100.0/24".parse().unwrap()],
            severity,
            gaps: false,
            maintenance: false,
            measured: edgelore_model::Measured::default(),
            progress: Vec::new(),
            ruled_out: Vec::new(),
        },
        settings,
    }
}

fn distiller() -> Distiller {
    Distiller::new(Site { topology_class: "spine_leaf".into(), node_count: 96 }, [7; 8])
}

#[test]
fn a_change_between_two_incidents_is_an_outcome() {
    let mut distiller = distiller();
    assert!(distiller.closed(&finding(1, 100, 8_000, settings(false))).is_empty());
    let found = distiller.closed(&finding(2, 200, 800, settings(true)));
    assert_eq!(found.len(), 1);
    let outcome = &found[0].outcome;
    assert_eq!(outcome.resolution.pattern, "bfd_tuning");
    assert_eq!(outcome.resolution.known, Known::Measured);
    assert_eq!((outcome.before, outcome.after), (Some(8_000), Some(800)));
    assert_eq!(outcome.convergence_delta_ms, 7_200);
    assert_eq!(outcome.situation.severity, 8_000);
    assert_eq!(found[0].incidents, [IncidentId(1), IncidentId(2)]);
}

#[test]
fn without_a_change_there_is_no_outcome() {
    let mut distiller = distiller();
    for id in 1..5 {
        assert!(distiller.closed(&finding(id, id as i64 * 100, 8_000, settings(false))).is_empty());
    }
}

#[test]
fn further_incidents_refine_the_same_change() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    let first = distiller.closed(&finding(2, 200, 800, settings(true)));
    let second = distiller.closed(&finding(3, 300, 700, settings(true)));
    assert_eq!(first[0].change, second[0].change);
    assert_eq!(second[0].outcome.sample_size, 2);
    assert_eq!(second[0].outcome.after, Some(700), "the lower median of two");
}

#[test]
fn a_declared_resolution_counts_for_the_next_incident_only() {
    let mut distiller = distiller();
    let declared = Resolution {
        pattern: "dampening".into(),
        steps: vec!["Enabled dampening".into()],
        known: Known::Declared,
    };
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.declare(Timestamp::from_secs_nanos(150, 0), declared);
    let found = distiller.closed(&finding(2, 200, 9_000, settings(false)));
    assert_eq!(found[0].outcome.resolution.pattern, "dampening");
    assert_eq!(
        found[0].outcome.convergence_delta_ms, -1_000,
        "it got worse, and the outcome says so"
    );
    let further = distiller.closed(&finding(3, 300, 9_000, settings(false)));
    assert_eq!(further[0].change.incident, IncidentId(2));
}

#[test]
fn several_changes_share_the_credit() {
    let mut distiller = distiller();
    let declared =
        Resolution { pattern: "ecmp_rebalance".into(), steps: vec![], known: Known::Declared };
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.declare(Timestamp::from_secs_nanos(150, 0), declared);
    let found = distiller.closed(&finding(2, 200, 800, settings(true)));
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].outcome.resolution.steps.last().unwrap(),
        "Changed together with: ecmp_rebalance"
    );
}

#[test]
fn incidents_with_gaps_or_without_an_end_do_not_count() {
    let mut distiller = distiller();
    let mut gappy = finding(1, 100, 8_000, settings(false));
    gappy.incident.gaps = true;
    distiller.closed(&gappy);
    let mut endless = finding(2, 150, 8_000, settings(false));
    endless.incident.end = None;
    distiller.closed(&endless);
    assert!(distiller.closed(&finding(3, 200, 800, settings(true))).is_empty());
}
