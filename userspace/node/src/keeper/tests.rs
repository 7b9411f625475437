//! What survives a restart, who an outcome's parents are, and that outcomes reach the store.

use super::*;
use crate::journal::JournaledAdvice;
use crate::publisher;
use edgelore_capture::Clock;
use edgelore_model::{
    EventType, Incident, IncidentId, Interval, Known, Protocol, Query, Scope, SessionKey, Span,
};
use edgelore_pipeline::detect::{BfdTimers, SessionSettings};
use edgelore_routing::Backend;
use std::path::Path;
use tokio::sync::Notify;

const DAY: Span = Span(86_400 * 1_000_000_000);

fn session() -> SessionKey {
    SessionKey::between("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
}

/// An incident `hours` after yesterday, under settings with or without BFD.
fn finding(hours: i64, severity: u64, bfd: bool) -> Finding {
    let mut settings = SessionSettings::default();
    let (low, high) = session().addresses();
    for end in [low, high] {
        settings.hold_time_s.insert(end, 9);
        let timers = BfdTimers {
            detect_multiplier: 3,
            desired_min_tx_us: 300_000,
            required_min_rx_us: 300_000,
        };
        settings.bfd.extend(bfd.then_some((end, timers)));
    }
    let start = yesterday() + Span::from_millis(hours * 3_600_000);
    let incident = Incident {
        id: IncidentId(hours as u64),
        event: EventType::Convergence,
        protocol: Protocol::Bgp,
        scope: Scope::Session(session()),
        chain: Vec::new(),
        start: Interval::exactly(start),
        end: Some(Interval::exactly(start + Span::from_millis(severity as i64))),
        prefixes: vec!["198.51.100.0/24".parse().unwrap()],
        severity,
        gaps: false,
        maintenance: false,
        measured: edgelore_model::Measured::default(),
        progress: Vec::new(),
        ruled_out: Vec::new(),
    };
    Finding {
        incident,
        settings: edgelore_pipeline::detect::Settings {
            sessions: vec![(session(), settings)],
            ..Default::default()
        },
    }
}

fn yesterday() -> Timestamp {
    Timestamp(Clock::new().now().0 / DAY.0 * DAY.0) - DAY
}

fn keeper(directory: &Path) -> (Keeper, Arc<Journal>) {
    let journal = Arc::new(Journal::open(directory).unwrap());
    let site = Site { topology_class: "dual_homed".into(), node_count: 3 };
    let key = SigningKey::from_seed(&mut [7; 32]);
    let space = Space::default_definition();
    let privacy = Privacy { names: vec!["uplink0".into()], ..Privacy::default() };
    (Keeper::new(site, [1; 8], Arc::clone(&journal), key, space, privacy).unwrap(), journal)
}

#[test]
fn distillation_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _) = keeper(directory.path());
    assert!(first.keep(&finding(1, 8_000, false)).unwrap().is_empty());
    drop(first);
    let (mut second, _) = keeper(directory.path());
    let outcomes = second.keep(&finding(2, 800, true)).unwrap();
    assert_eq!(outcomes.len(), 1);
    drop(second);
    let (mut third, journal) = keeper(directory.path());
    let refined = third.keep(&finding(3, 700, true)).unwrap();
    assert_eq!(refined[0].distilled.outcome.sample_size, 2);
    let supersedes = refined[0].distilled.outcome.supersedes.map(hex::encode);
    assert_eq!(supersedes.as_deref(), Some(outcomes[0].packet_id.as_str()));
    assert_eq!(journal.findings().unwrap().len(), 3);
    assert_eq!(journal.pending().unwrap().len(), 2);
}

#[test]
fn parents_are_those_whose_advice_came_before_the_change_was_seen() {
    let advice = |hours: i64, packet: u8| JournaledAdvice {
        at: yesterday() + Span::from_millis(hours * 3_600_000),
        event_type: "convergence".into(),
        protocol: "bgp".into(),
        patterns: vec![("bfd_tuning".into(), vec![hex::encode([packet; 32])])],
    };
    for (advised_at, parents) in [(2, vec![[9; 32]]), (4, vec![])] {
        let directory = tempfile::tempdir().unwrap();
        let (mut keeper, journal) = keeper(directory.path());
        keeper.keep(&finding(1, 8_000, false)).unwrap();
        journal.advised(&advice(advised_at, 9)).unwrap();
        let outcomes = keeper.keep(&finding(3, 800, true)).unwrap();
        assert_eq!(outcomes[0].distilled.outcome.parents, parents, "advised at {advised_at}");
    }
}

#[test]
fn a_declared_step_leaves_without_the_names_of_this_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, _) = keeper(directory.path());
    keeper.keep(&finding(1, 8_000, false)).unwrap();
    let resolution = Resolution {
        pattern: "dampening".into(),
        steps: vec!["Enabled dampening on uplink0 towards 192.0.2.2".into()],
        known: Known::Declared,
    };
    keeper.declare(yesterday() + Span::from_millis(2 * 3_600_000), resolution).unwrap();
    let outcomes = keeper.keep(&finding(3, 800, false)).unwrap();
    let opened = packet::open(&outcomes[0].packet).unwrap();
    let step = &opened.outcome.resolution.steps[0];
    assert!(step.starts_with("Enabled dampening on ["), "{step}");
    assert!(!step.contains("uplink0") && !step.contains("192.0.2.2"), "{step}");
}

#[tokio::test]
async fn pending_outcomes_reach_the_store_and_are_marked() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, journal) = keeper(directory.path());
    keeper.keep(&finding(1, 8_000, false)).unwrap();
    let outcomes = keeper.keep(&finding(2, 800, true)).unwrap();
    let store = crate::store::embedded(&directory.path().join("store")).unwrap();
    let store: Arc<dyn Backend> = Arc::new(store);
    let pending = Arc::new(Notify::new());
    let publishing =
        publisher::publish(Arc::clone(&journal), Arc::clone(&store), Clock::new(), pending);
    let delivered = async {
        while !journal.pending().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = publishing => unreachable!("publishing never ends by itself"),
        () = delivered => {}
    }
    assert!(journal.outcomes().unwrap()[0].1.delivered.is_some());
    let found = store.query(&Query::default(), u32::MAX, 10).await.unwrap();
    assert_eq!(hex::encode(found[0].opened.id), outcomes[0].packet_id);
}
