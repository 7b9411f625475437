//! What survives a restart, who an outcome's parents are, and that outcomes reach the store.

use super::*;
use crate::journal::JournaledAdvice;
use crate::publisher::Publisher;
use crate::sharing::Outlets;
use crate::trust::{Trust, TrustConfig, audit};
use edgelore_capture::Clock;
use edgelore_model::Sharing;
use edgelore_model::{
    EventType, Incident, IncidentId, Interval, Known, Outcome, Protocol, Query, Resolution, Scope,
    SessionKey, Span,
};
use edgelore_pipeline::detect::{BfdTimers, SessionSettings};
use edgelore_pipeline::packet;
use edgelore_pipeline::resolve::Reach;
use edgelore_routing::Backend;
use edgelore_routing::layers::Named;
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
    (another_keeper(&journal), journal)
}

/// A keeper that begins on what a journal holds.
fn another_keeper(journal: &Arc<Journal>) -> Keeper {
    let site = Site { topology_class: "dual_homed".into(), node_count: 3 };
    let key = SigningKey::from_seed(&mut [7; 32]);
    let space = Space::default_definition();
    let mut privacy = Privacy::default();
    privacy.scrubber.hide(["uplink0".to_owned()]);
    let config = DistilConfig::default();
    Keeper::new(site, [1; 8], config, Arc::clone(journal), key, space, privacy).unwrap()
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

/// A publisher to these stores, as far as the keeper's scopes let outcomes go.
fn publisher(
    directory: &Path,
    journal: &Arc<Journal>,
    keeper: &Arc<Mutex<Keeper>>,
    stores: &[Named],
) -> Publisher {
    let clock = Clock::new();
    let trust = Trust::open(directory, TrustConfig::default(), Arc::new(move || clock.now()));
    let trust = trust.unwrap();
    let outlets = Outlets::new(stores, &keeper.lock().unwrap().sharing, &trust);
    let (journal, keeper) = (Arc::clone(journal), Arc::clone(keeper));
    Publisher { journal, outlets, keeper, trust, clock }
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
    let keeper = Arc::new(Mutex::new(keeper));
    let publisher =
        publisher(directory.path(), &journal, &keeper, &[("store".into(), store.clone())]);
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
    let publisher =
        publisher(directory.path(), &journal, &keeper, &[("store".into(), store.clone())]);
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

/// Two stores of which one is public, and what was audited.
struct Shared {
    directory: tempfile::TempDir,
    journal: Arc<Journal>,
    own: Arc<dyn Backend>,
    public: Arc<dyn Backend>,
}

impl Shared {
    fn new(directory: tempfile::TempDir, journal: Arc<Journal>) -> Self {
        let open = |name| {
            let place = directory.path().join(name);
            Arc::new(crate::store::embedded(&place, Space::default_definition()).unwrap())
        };
        let (own, public) = (open("own"), open("public"));
        Self { directory, journal, own, public }
    }

    /// Publishes until `done`, as a node that was started anew would.
    async fn publish(&self, keeper: Keeper, own: bool, done: impl Fn(&[JournaledOutcome]) -> bool) {
        let keeper = Arc::new(Mutex::new(keeper));
        let mut stores: Vec<Named> = vec![("public".into(), Arc::clone(&self.public))];
        stores.extend(own.then(|| ("own".into(), Arc::clone(&self.own))));
        let publisher = publisher(self.directory.path(), &self.journal, &keeper, &stores);
        let waiting = async {
            loop {
                let outcomes = self.journal.outcomes().unwrap().into_iter();
                if done(&outcomes.map(|(_, outcome)| outcome).collect::<Vec<_>>()) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = publisher.run(Arc::new(Notify::new())) => unreachable!("it never ends by itself"),
            () = waiting => {}
        }
    }

    async fn count(store: &Arc<dyn Backend>) -> usize {
        store.query(&Query::default(), u32::MAX, 10).await.unwrap().len()
    }

    fn audited(&self) -> Vec<(audit::Event, Option<Sharing>, Option<String>)> {
        let (records, damaged) = audit::read(self.directory.path(), 99, |_| true).unwrap();
        assert_eq!(damaged, 0);
        records.into_iter().map(|record| (record.event, record.scope, record.reason)).collect()
    }
}

fn sharing(text: &str) -> SharingConfig {
    toml::from_str(text).unwrap()
}

#[tokio::test]
async fn a_private_outcome_enters_no_public_store_whatever_comes() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, journal) = keeper(directory.path());
    first.share(sharing("events = { convergence = 'private' }\nstores = { own = 'private' }"));
    first.keep(&finding(1, 8_000, false)).unwrap();
    first.keep(&finding(2, 800, true)).unwrap();
    let shared = Shared::new(directory, journal);
    // With the public store alone it stays in the journal and says why.
    shared.publish(first, false, |outcomes| outcomes[0].held.is_some()).await;
    assert_eq!(
        (Shared::count(&shared.public).await, shared.journal.pending().unwrap().len()),
        (0, 1)
    );
    assert!(shared.journal.outcomes().unwrap()[0].1.held.as_ref().unwrap().contains("private"));
    // The operator opens up later: what was private when it was distilled stays private.
    let opened = |journal: &Arc<Journal>, sharing: SharingConfig| {
        let mut keeper = another_keeper(journal);
        keeper.share(sharing);
        keeper
    };
    let wide = sharing("outcomes = 'public'\nstores = { own = 'group' }");
    let keeper = opened(&shared.journal, wide);
    shared.publish(keeper, true, |outcomes| outcomes[0].held.is_some()).await;
    assert_eq!((Shared::count(&shared.public).await, Shared::count(&shared.own).await), (0, 0));
    // A private store takes it, and what is public goes to both.
    let keeper = opened(&shared.journal, sharing("stores = { own = 'private' }"));
    shared.publish(keeper, true, |outcomes| outcomes[0].delivered.is_some()).await;
    assert_eq!((Shared::count(&shared.public).await, Shared::count(&shared.own).await), (0, 1));
    let mut keeper = opened(&shared.journal, sharing("stores = { own = 'private' }"));
    keeper.keep(&finding(3, 700, true)).unwrap();
    shared.publish(keeper, true, |outcomes| outcomes[1].delivered.is_some()).await;
    assert_eq!((Shared::count(&shared.public).await, Shared::count(&shared.own).await), (1, 1));
    let private = Some(Sharing::Private);
    assert_eq!(
        shared.audited(),
        [
            (audit::Event::Withheld, private, Some("scope".into())),
            (audit::Event::Published, private, None),
            (audit::Event::Published, Some(Sharing::Public), None),
        ]
    );
}

#[tokio::test]
async fn what_was_public_and_waits_becomes_private_with_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let (mut keeper, journal) = keeper(directory.path());
    keeper.keep(&finding(1, 8_000, false)).unwrap();
    keeper.keep(&finding(2, 800, true)).unwrap();
    assert_eq!(journal.outcomes().unwrap()[0].1.scope, Some(Sharing::Public));
    keeper.share(sharing("outcomes = 'private'"));
    keeper.privacy.k_anonymity = 3;
    let shared = Shared::new(directory, journal);
    shared.publish(keeper, true, |outcomes| outcomes[0].held.is_some()).await;
    assert_eq!((Shared::count(&shared.public).await, Shared::count(&shared.own).await), (0, 0));
    assert_eq!(shared.audited()[0].2.as_deref(), Some("scope"), "nobody was asked who shares it");
}
