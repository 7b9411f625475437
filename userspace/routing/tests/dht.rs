//! The DHT under the conformance suite, on nodes with sockets of their own, and what is its own.
#![cfg(feature = "dht")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod suite;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_pipeline::packet::statement::revocation;
use edgelore_routing::dht::{Dht, DhtConfig};
use edgelore_routing::{Backend, BackendError, Cursor, PacketId};
use suite::{Elsewhere, SimClock, Subject, key, outcome, sealed};
use tempfile::TempDir;

/// How long a condition may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "never: {what}");
}

fn config(directory: &Path, clock: &SimClock) -> DhtConfig {
    let clock = clock.clone();
    DhtConfig {
        upkeep: Duration::from_millis(500),
        now: Arc::new(move || clock.now()),
        ..DhtConfig::in_directory(directory)
    }
}

/// Nodes of one network, on loopback; every second one is reached over QUIC first.
struct Network {
    nodes: Vec<Arc<Dht>>,
    directories: Vec<TempDir>,
    clock: SimClock,
    replicas: usize,
}

impl Network {
    async fn of(count: usize, replicas: usize) -> Self {
        let directories = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let (nodes, clock) = (Vec::new(), SimClock::new());
        let mut network = Self { nodes, directories, clock, replicas };
        network.start().await;
        network
    }

    async fn start(&mut self) {
        let replicas = self.replicas;
        for (number, directory) in self.directories.iter().enumerate() {
            let known = self.nodes.first().map(|node: &Arc<Dht>| node.addresses());
            let mut bootstrap = known.unwrap_or_default();
            bootstrap.retain(|address| address.contains("quic") == (number % 2 == 0));
            let config = DhtConfig { bootstrap, replicas, ..config(directory.path(), &self.clock) };
            self.nodes.push(Arc::new(Dht::open(config).unwrap()));
        }
        let enough = (self.nodes.len() - 1).min(12);
        for node in &self.nodes {
            until("the nodes know each other", || node.figures().peers >= enough).await;
        }
    }
}

/// One node of five, each packet on all of them.
struct OneOfFive(Network);

#[async_trait]
impl Subject for OneOfFive {
    async fn start() -> Self {
        Self(Network::of(5, 20).await)
    }

    async fn restart(&mut self) {
        self.0.nodes.clear();
        self.0.start().await;
    }

    fn backend(&self) -> &dyn Backend {
        &*self.0.nodes[1]
    }

    fn clock(&self) -> &SimClock {
        &self.0.clock
    }
}

conformance!(OneOfFive);
conformance_cases!(OneOfFive:
    nothing_of_a_revoked_key_is_found_or_delivered,
    a_successor_withdraws_what_its_predecessor_published,
);

/// Two nodes of six, each packet on two of them: what is read is rarely where it was written.
struct TwoOfSix {
    network: Network,
    view: Option<Elsewhere>,
}

impl TwoOfSix {
    fn look(&mut self) {
        let node = |number: usize| Arc::clone(&self.network.nodes[number]) as Arc<dyn Backend>;
        let (writer, reader) = (node(1), node(4));
        self.view = Some(Elsewhere { writer, reader });
    }
}

#[async_trait]
impl Subject for TwoOfSix {
    async fn start() -> Self {
        let mut subject = Self { network: Network::of(6, 2).await, view: None };
        subject.look();
        subject
    }

    async fn restart(&mut self) {
        self.view = None;
        self.network.nodes.clear();
        self.network.start().await;
        self.look();
    }

    fn backend(&self) -> &dyn Backend {
        self.view.as_ref().unwrap()
    }

    fn clock(&self) -> &SimClock {
        &self.network.clock
    }
}

mod elsewhere {
    use super::*;

    conformance_cases!(TwoOfSix:
        packets_come_back_byte_for_byte,
        storing_twice_stores_once,
        the_radius_is_exact,
        open_fields_cost_nothing,
        the_reference_example_is_found_at_radius_3,
        a_limit_keeps_the_nearest,
        what_has_expired_is_not_found_and_not_taken,
        any_words_are_found_again,
        a_restart_loses_nothing,
        only_its_own_publisher_withdraws_a_packet,
        many_append_to_one_cell_at_once,
        a_large_answer_is_cut_at_its_bound,
        no_word_gets_out_of_its_field,
        nothing_of_a_revoked_key_is_found_or_delivered,
        a_successor_withdraws_what_its_predecessor_published,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_declares_every_other_honours_at_once() {
    let network = Network::of(7, 3).await;
    for (number, seeds) in (0..6).zip((1..).step_by(2)) {
        let [one, other] = [0, 1].map(|next| network.nodes[number + next].as_ref());
        suite::honoured_at_once(one, other, seeds).await;
    }
    // Whoever was not asked learns it too.
    for node in &network.nodes {
        until("every node has every statement", || node.figures().statements == 12).await;
    }
    let pages = async |node: &Dht| node.statements_after(None).await.unwrap();
    let all = pages(&network.nodes[0]).await;
    assert_eq!(all.len(), 12);
    for node in &network.nodes {
        assert_eq!(pages(node).await, all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_gets_nothing_of_a_key_that_was_revoked_elsewhere() {
    let network = Network::of(4, 2).await;
    let mut subscription = network.nodes[3].subscribe(&[], Some(Cursor(0))).await.unwrap();
    let store = async |node: &Dht, by, sample_size| {
        let sealed = sealed(&Outcome { sample_size, ..outcome() }, &key(by));
        node.store(sealed.bytes).await.unwrap().id
    };
    let first = store(&network.nodes[0], 1, 1).await;
    assert_eq!(suite::next_within(&mut subscription, DEADLINE).await.packet.id, first);
    let revoked = revocation(&key(1), suite::START);
    network.nodes[1].declare(revoked).await.unwrap();
    store(&network.nodes[0], 1, 2).await;
    let other = store(&network.nodes[0], 2, 3).await;
    assert_eq!(suite::next_within(&mut subscription, DEADLINE).await.packet.id, other);
}

/// Outcomes of many cells.
fn outcomes(count: u32) -> impl Iterator<Item = Outcome> {
    (0..count).map(|number| {
        let mut outcome = Outcome { sample_size: number, ..outcome() };
        let pick = |words: &[&str], by: u32| words[(number / by) as usize % words.len()].to_owned();
        outcome.situation.topology_class =
            pick(&["spine_leaf", "ring", "hub_spoke", "full_mesh", "odd"], 1);
        outcome.situation.protocol = pick(&["bgp", "ospf"], 5);
        outcome
    })
}

async fn ids(node: &Dht) -> BTreeSet<PacketId> {
    let found = node.query(&Query::default(), u32::MAX, 1_000).await.unwrap();
    found.iter().map(|found| found.opened.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_40_percent_of_30_nodes_killed_every_outcome_is_found() {
    // One more than are killed, so that one copy of each packet is left wherever they lay.
    let mut network = Network::of(30, 13).await;
    let mut stored = BTreeSet::new();
    let outcomes: Vec<Outcome> = outcomes(100).collect();
    for outcomes in outcomes.chunks(25) {
        let stores = outcomes.iter().zip(&network.nodes).map(|(outcome, node)| async move {
            let sealed = sealed(outcome, &key(1));
            assert!(node.store(sealed.bytes).await.unwrap().new);
            sealed.id
        });
        stored.extend(futures_util::future::join_all(stores).await);
    }
    // The first node, which all others began with, is among them.
    let mut number = 0;
    network.nodes.retain(|_| {
        number += 1;
        !matches!(number % 5, 1 | 3)
    });
    assert_eq!(network.nodes.len(), 18);
    for node in network.nodes.iter().step_by(6) {
        let found = async {
            // Until the dead are known to be dead a question may go unanswered.
            while let Err(error) = node.query(&Query::default(), u32::MAX, 1_000).await {
                assert!(error.is_transient(), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap();
        assert_eq!(ids(node).await, stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_hears_what_is_stored_elsewhere_once_and_after_an_absence() {
    let mut network = Network::of(6, 2).await;
    let cell = Cell::coarse(&Space::default_definition(), &outcome().situation);
    let cells = [cell];
    let store = async |node: &Dht, sample_size| {
        let sealed = sealed(&Outcome { sample_size, ..outcome() }, &key(1));
        node.store(sealed.bytes).await.unwrap().id
    };
    let mut expected = BTreeSet::from([store(&network.nodes[1], 1).await]);
    let mut subscription = network.nodes[5].subscribe(&cells, Some(Cursor(0))).await.unwrap();
    let mut delivered = Vec::new();
    for sample_size in 2..10 {
        expected.insert(store(&network.nodes[sample_size as usize % 5], sample_size).await);
    }
    while delivered.len() < expected.len() {
        delivered.push(suite::next_within(&mut subscription, DEADLINE).await);
    }
    let cursor = subscription.cursor();
    drop(subscription);
    // While the follower is away, others go on; when it is back it misses nothing.
    network.nodes.pop();
    let missed = store(&network.nodes[2], 20).await;
    let known = network.nodes[0].addresses();
    let directory = network.directories[5].path();
    let again = DhtConfig { bootstrap: known, replicas: 2, ..config(directory, &network.clock) };
    let again = Dht::open(again).unwrap();
    let mut subscription = again.subscribe(&cells, Some(cursor)).await.unwrap();
    delivered.push(suite::next_within(&mut subscription, DEADLINE).await);
    let ids: Vec<PacketId> = delivered.iter().map(|delivery| delivery.packet.id).collect();
    expected.insert(missed);
    assert_eq!(ids.len(), expected.len(), "nothing twice");
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_network_keeps_strangers_out() {
    let (clock, psk) = (SimClock::new(), "a5".repeat(32));
    let private = Some(format!("/key/swarm/psk/1.0.0/\n/base16/\n{psk}"));
    let directories: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let node = |number: usize, private: &Option<String>, bootstrap: Vec<String>| {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
        let private = private.clone();
        let config = config(directories[number].path(), &clock);
        Dht::open(DhtConfig { listen, private, bootstrap, ..config }).unwrap()
    };
    let first = node(0, &private, Vec::new());
    let stranger = node(2, &None, first.addresses());
    let second = node(1, &private, first.addresses());
    until("the members are connected", || second.figures().peers == 1).await;
    let sealed = sealed(&outcome(), &key(1));
    first.store(sealed.bytes).await.unwrap();
    assert_eq!(ids(&second).await, BTreeSet::from([sealed.id]));
    assert_eq!((first.figures().peers, stranger.figures().peers), (1, 0));
    assert!(ids(&stranger).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_is_a_store_of_its_own_and_tells_what_it_cannot_do() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let node = Dht::open(config(directory.path(), &clock)).unwrap();
    let sealed = sealed(&outcome(), &key(1));
    assert!(node.store(sealed.bytes).await.unwrap().new);
    assert_eq!(ids(&node).await, BTreeSet::from([sealed.id]));
    assert_eq!(node.get(&[0; 32]).await.unwrap(), None);
    let id = node.id();
    let error = Dht::open(config(directory.path(), &clock)).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(node);
    let again = Dht::open(config(directory.path(), &clock)).unwrap();
    assert_eq!(again.id(), id, "others know it again");
    drop(again);
    // An address of another machine.
    let elsewhere = vec!["/ip4/192.0.2.1/tcp/4601".to_owned()];
    let config = DhtConfig { listen: elsewhere, ..config(directory.path(), &clock) };
    let error = Dht::open(config).unwrap_err();
    assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
}
