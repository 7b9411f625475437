//! What survives a restart, who an outcome's parents are, and that outcomes reach the store.

use super::*;
use crate::journal::JournaledAdvice;
use crate::publisher::Publisher;
use edgelore_capture::Clock;
use edgelore_model::{
    EventType, Incident, IncidentId, Interval, Known, Outcome, Protocol, Query, Resolution, Scope,
    SessionKey, Span,
};
use edgelore_pipeline::detect::{BfdTimers, SessionSettings};
use edgelore_pipeline::packet;
use edgelore_pipeline::resolve::Reach;
use edgelore_routing::Backend;
use std::path::Path;
use std::sync::Mutex;
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
    let mut privacy = Privacy::default();
    privacy.scrubber.hide(["uplink0".to_owned()]);
    (
        Keeper::new(
            site,
            [1; 8],
            DistilConfig::default(),
            Arc::clone(&journal),
            key,
            space,
            privacy,
        )
        .unwrap(),
        journal,
    )
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
    keeper.changed(declared(minute(120), resolution)).unwrap();
    let outcomes = keeper.keep(&finding(3, 800, false)).unwrap();
    let opened = packet::open(&outcomes[0].packet).unwrap();
    let step = &opened.outcome.resolution.steps[0];
    assert!(step.starts_with("Enabled dampening on ["), "{step}");
    assert!(!step.contains("uplink0") && !step.contains("192.0.2.2"), "{step}");
}

/// A flap of a minute, `minutes` after yesterday began.
fn flap(minutes: i64) -> Finding {
    let mut flap = finding(1, 360, false);
    let start = yesterday() + Span::from_millis(minutes * 60_000);
    flap.incident.id = IncidentId(minutes as u64);
    flap.incident.event = EventType::Flap;
    flap.incident.start = Interval::exactly(start);
    flap.incident.end = Some(Interval::exactly(start + Span::from_millis(60_000)));
    flap
}

/// The operator's word.
fn declared(at: Timestamp, resolution: Resolution) -> Change {
    let (at, reach) = (Interval::exactly(at), Reach::default());
    Change { at, on: None, reach, resolution, evidence: String::new() }
}

fn minute(minutes: i64) -> Timestamp {
    yesterday() + Span::from_millis(minutes * 60_000)
}

#[test]
fn silence_goes_on_after_a_restart_and_its_outcome_is_given_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _) = keeper(directory.path());
    first.started(minute(0)).unwrap();
    for at in [10, 20, 30, 40] {
        first.keep(&flap(at)).unwrap();
    }
    let resolution = Resolution {
        pattern: "dampening".into(),
        steps: vec!["Enabled dampening".into()],
        known: Known::Declared,
    };
    first.changed(declared(minute(45), resolution)).unwrap();
    // Fifty minutes of silence prove something; thirty are over when the node ends.
    for at in (45..=75).step_by(5) {
        assert!(first.advance(minute(at)).unwrap().is_empty());
    }
    drop(first);
    let (mut second, journal) = keeper(directory.path());
    second.started(minute(600)).unwrap();
    let mut given = Vec::new();
    for at in (600..=640).step_by(5) {
        given.extend(second.advance(minute(at)).unwrap());
    }
    assert_eq!(given.len(), 1, "what the node slept through does not count, the rest does");
    assert_eq!(given[0].distilled.outcome.after, Some(0));
    drop(second);
    drop(journal);
    let (mut third, journal) = keeper(directory.path());
    third.started(minute(641)).unwrap();
    assert!(third.advance(minute(660)).unwrap().is_empty(), "said once");
    assert_eq!(journal.outcomes().unwrap().len(), 1);
    let inputs = journal.inputs().unwrap();
    let advances = inputs.iter().filter(|i| matches!(i, Input::Advanced(_))).count();
    assert!(advances <= 3, "one heartbeat between others: {inputs:?}");
}

#[test]
fn another_method_is_journaled_and_separates_eras() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _) = keeper(directory.path());
    first.keep(&finding(1, 8_000, false)).unwrap();
    first.set_method([2; 8]).unwrap();
    first.keep(&finding(2, 8_000, false)).unwrap();
    drop(first);
    // The configuration went back: what the other method measured is not compared either.
    let (mut second, _) = keeper(directory.path());
    assert!(second.keep(&finding(3, 800, true)).unwrap().is_empty());
}

#[tokio::test]
async fn pending_outcomes_reach_the_store_and_are_marked() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, journal) = keeper(directory.path());
    keeper.keep(&finding(1, 8_000, false)).unwrap();
    let outcomes = keeper.keep(&finding(2, 800, true)).unwrap();
    let space = Space::default_definition();
    let store = crate::store::embedded(&directory.path().join("store"), space).unwrap();
    let store: Arc<dyn Backend> = Arc::new(store);
    let pending = Arc::new(Notify::new());
    let publisher = Publisher {
        journal: Arc::clone(&journal),
        store: Arc::clone(&store),
        keeper: Arc::new(Mutex::new(keeper)),
        clock: Clock::new(),
    };
    let publishing = publisher.run(pending);
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

/// Others' outcomes in the family of this network's topology class.
async fn publish_others(store: &dyn Backend, like: &Outcome, seeds: std::ops::Range<u8>) {
    for seed in seeds {
        let mut outcome = like.clone();
        outcome.situation.topology_class = "single_homed".into();
        (outcome.parents, outcome.supersedes) = (Vec::new(), None);
        let key = SigningKey::from_seed(&mut [seed; 32]);
        let sealed = packet::seal(&outcome, &key, &Space::default_definition()).unwrap();
        store.store(sealed.bytes).await.unwrap();
    }
}

#[tokio::test]
async fn what_too_few_share_stays_in_the_journal_until_enough_do() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, journal) = keeper(directory.path());
    keeper.privacy.k_anonymity = 3;
    keeper.keep(&finding(1, 8_000, false)).unwrap();
    keeper.keep(&finding(2, 800, true)).unwrap();
    let space = Space::default_definition();
    let store = crate::store::embedded(&directory.path().join("store"), space).unwrap();
    let store: Arc<dyn Backend> = Arc::new(store);
    let pending = Arc::new(Notify::new());
    let keeper = Arc::new(Mutex::new(keeper));
    let publisher = Publisher {
        journal: Arc::clone(&journal),
        store: Arc::clone(&store),
        keeper: Arc::clone(&keeper),
        clock: Clock::new(),
    };
    let publishing = publisher.run(Arc::clone(&pending));
    let wait_for = |done: fn(&JournaledOutcome) -> bool| {
        let journal = Arc::clone(&journal);
        async move {
            while !journal.outcomes().unwrap().last().is_some_and(|(_, outcome)| done(outcome)) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    };
    let story = async {
        wait_for(|outcome| outcome.held.is_some()).await;
        let held = journal.outcomes().unwrap().pop().unwrap().1;
        let reason = held.held.unwrap();
        assert!(reason.starts_with("1 of 3 publishers known in edge/bgp/convergence"), "{reason}");
        assert!(store.query(&Query::default(), u32::MAX, 10).await.unwrap().is_empty());
        // A better founded outcome of the same change takes its place.
        keeper.lock().unwrap().keep(&finding(3, 700, true)).unwrap();
        publish_others(store.as_ref(), &held.distilled.outcome, 20..22).await;
        pending.notify_one();
        wait_for(|outcome| outcome.delivered.is_some()).await;
    };
    tokio::select! {
        () = publishing => unreachable!("publishing never ends by itself"),
        () = story => {}
    }
    assert!(journal.pending().unwrap().is_empty());
    let outcomes = journal.outcomes().unwrap();
    let delivered: Vec<bool> = outcomes.iter().map(|(_, o)| o.delivered.is_some()).collect();
    assert_eq!(delivered, [false, true], "the latest alone");
    let own = keeper.lock().unwrap().publisher();
    let found = store.query(&Query::default(), u32::MAX, 10).await.unwrap();
    let mine = found.iter().find(|found| found.opened.publisher == own).unwrap();
    assert_eq!(hex::encode(mine.opened.id), outcomes[1].1.packet_id, "the journal has what left");
    assert_eq!(mine.opened.outcome.situation.topology_class, "edge");
    assert_eq!(mine.opened.outcome.supersedes, None, "the other one never left");
}
