//! Faults under load: nodes and servers killed at any instruction, networks cut in two.
//!
//! `EDGELORE_FAULT_ROUNDS` is the number of rounds of each, 5 without it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use edgelore_node::store::{Access, Stores};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::PacketId;
use edgelore_routing::{Backend, Everything};
use edgelore_testkit::{NetNs, Process, live, scratch, veth, wait_for_some};
use node::{DEADLINE, Node, Plan, journal, received};

const EDGELORE: &str = env!("CARGO_BIN_EXE_edgelore");
const TOKEN: &str = "of-the-tests-of-faults-0123";
const ROUNDS: &str = "EDGELORE_FAULT_ROUNDS";

fn rounds() -> u32 {
    std::env::var(ROUNDS).map_or(5, |rounds| rounds.parse().expect("a number of rounds"))
}

/// A server that is killed and started again where it was.
trait Mortal {
    fn url(&self) -> String;
    fn kill(&mut self);
    fn start_again(&mut self);
}

/// The embedded store behind `edgelore serve`.
struct Served<'n> {
    process: Option<Process>,
    directory: tempfile::TempDir,
    inside: Option<&'n NetNs>,
    address: String,
}

impl<'n> Served<'n> {
    fn start(inside: Option<&'n NetNs>, listen: &str) -> Self {
        let directory = scratch("faults").unwrap();
        std::fs::write(directory.path().join("tokens"), TOKEN).unwrap();
        let mut served = Self { process: None, directory, inside, address: listen.to_owned() };
        served.start_again();
        served
    }

    fn token(&self) -> PathBuf {
        self.directory.path().join("tokens")
    }
}

impl Mortal for Served<'_> {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill().unwrap();
    }

    fn start_again(&mut self) {
        let mut command =
            self.inside.map_or_else(|| Command::new(EDGELORE), |ns| ns.command(EDGELORE));
        let path = self.directory.path();
        command.args(["serve", "--rate", "100000", "--listen", &self.address]);
        command.arg("--store").arg(path.join("store"));
        command.arg("--token-file").arg(path.join("tokens"));
        let log = path.join("log");
        let mut process = Process::spawn("edgelore serve", &mut command, &log).unwrap();
        let address = wait_for_some(DEADLINE, "the server to listen", || {
            assert!(process.exited().is_none(), "{}", process.log_tail());
            let said = std::fs::read_to_string(&log).ok()?;
            let address = said.split("address=").nth(1)?.split_whitespace().next()?;
            Some(address.to_owned())
        });
        self.address = address.unwrap();
        self.process = Some(process);
    }
}

fn open(url: &str, token: Option<&Path>) -> std::sync::Arc<dyn Backend> {
    let access = Access { token: token.map(Path::to_owned), ..Access::default() };
    edgelore_node::store::open(&Stores::from(url), &access, &Space::default_definition()).unwrap()
}

/// What a store gives out, each packet once.
fn given(store: &dyn Backend) -> BTreeSet<PacketId> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut everything = Everything::of(store, &[]).await.unwrap();
        let mut ids = BTreeSet::new();
        while let Some(delivery) = everything.next().await.unwrap() {
            assert!(ids.insert(delivery.packet.id), "{} twice", hex::encode(delivery.packet.id));
        }
        ids
    })
}

/// Kills the node again and again; what it acknowledged is at the server and came back, once.
fn kill_the_node(server: &impl Mortal, token: Option<&Path>) {
    let directory = scratch("faults").unwrap();
    let mut plan = Plan {
        data: directory.path().join("data"),
        stores: vec![server.url()],
        token: token.map(Path::to_owned),
        key: 1,
        first: 0,
        pause_ms: 1,
    };
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds() {
        plan.first = round * 1_000_000;
        let node = Node::start(&plan, None);
        // At another instruction each time.
        node.await_more(5 + (round as usize * 7) % 23);
        acknowledged.extend(node.kill());
        let kept = journal(&plan.data);
        assert!(acknowledged.is_subset(&kept), "round {round}: an acknowledged outcome is gone");
    }
    plan.first = rounds() * 1_000_000;
    let mut last = Node::start(&plan, None);
    last.await_more(1);
    last.tell("stop", "drained");
    let stored = given(open(&server.url(), token).as_ref());
    last.tell(&format!("expect {}", stored.len()), "complete");
    last.end();
    // What was journaled and not acknowledged any more is there as well.
    assert_eq!(stored, journal(&plan.data));
    assert_eq!(given(&received(&plan.data)), stored);
    assert!(acknowledged.is_subset(&stored));
    println!("{} rounds: {} acknowledged, {} stored", rounds(), acknowledged.len(), stored.len());
}

/// Kills the server again and again; the node goes on, and all arrives, once.
fn kill_the_server(server: &mut impl Mortal, token: Option<&Path>) {
    let directory = scratch("faults").unwrap();
    let plan = Plan {
        data: directory.path().join("data"),
        stores: vec![server.url()],
        token: token.map(Path::to_owned),
        key: 1,
        first: 0,
        // All that a hundred rounds make has its place in the journal.
        pause_ms: 10,
    };
    let mut node = Node::start(&plan, None);
    for round in 0..rounds() {
        node.await_more(10 + (round as usize * 7) % 23);
        server.kill();
        node.await_more(5);
        server.start_again();
    }
    node.await_more(10);
    node.tell("stop", "drained");
    let acknowledged: BTreeSet<PacketId> = node.acknowledged().into_iter().collect();
    let stored = given(open(&server.url(), token).as_ref());
    assert_eq!(stored, acknowledged, "each acknowledged outcome once, nothing else");
    node.tell(&format!("expect {}", stored.len()), "complete");
    node.end();
    assert_eq!(given(&received(&plan.data)), stored, "and each came back once");
    println!("{} rounds: {} acknowledged, all stored", rounds(), acknowledged.len());
}

#[test]
fn live_a_killed_node_loses_nothing_and_repeats_nothing() {
    if live("live_a_killed_node_loses_nothing_and_repeats_nothing") {
        let server = Served::start(None, "127.0.0.1:0");
        kill_the_node(&server, Some(&server.token()));
    }
}

#[test]
fn live_a_killed_embedded_store_loses_nothing_and_repeats_nothing() {
    if live("live_a_killed_embedded_store_loses_nothing_and_repeats_nothing") {
        let mut server = Served::start(None, "127.0.0.1:0");
        let token = server.token();
        kill_the_server(&mut server, Some(&token));
    }
}

#[cfg(feature = "redis")]
mod on_redis {
    use super::*;
    use edgelore_testkit::server::{PASSWORD, RedisServer};

    impl Mortal for RedisServer {
        fn url(&self) -> String {
            format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port())
        }

        fn kill(&mut self) {
            Self::kill(self).unwrap();
        }

        fn start_again(&mut self) {
            Self::start_again(self).unwrap();
        }
    }

    #[test]
    fn live_a_killed_redis_loses_nothing_and_repeats_nothing() {
        if live("live_a_killed_redis_loses_nothing_and_repeats_nothing") {
            kill_the_server(&mut RedisServer::start(&[]).unwrap(), None);
        }
    }

    #[test]
    fn live_a_killed_node_on_redis_loses_nothing_and_repeats_nothing() {
        if live("live_a_killed_node_on_redis_loses_nothing_and_repeats_nothing") {
            kill_the_node(&RedisServer::start(&[]).unwrap(), None);
        }
    }
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use super::*;
    use edgelore_testkit::server::{PASSWORD, PostgresServer};

    impl Mortal for PostgresServer {
        fn url(&self) -> String {
            format!("postgres://edgelore:{PASSWORD}@127.0.0.1:{}/postgres", self.port())
        }

        fn kill(&mut self) {
            Self::kill(self).unwrap();
        }

        fn start_again(&mut self) {
            Self::start_again(self).unwrap();
        }
    }

    #[test]
    fn live_a_killed_postgres_loses_nothing_and_repeats_nothing() {
        if live("live_a_killed_postgres_loses_nothing_and_repeats_nothing") {
            kill_the_server(&mut PostgresServer::start().unwrap(), None);
        }
    }

    #[test]
    fn live_a_killed_node_on_postgres_loses_nothing_and_repeats_nothing() {
        if live("live_a_killed_node_on_postgres_loses_nothing_and_repeats_nothing") {
            kill_the_node(&PostgresServer::start().unwrap(), None);
        }
    }
}

/// The same server, with one more index on its packets.
#[cfg(feature = "pgvector")]
mod on_pgvector {
    use super::*;
    use edgelore_testkit::server::{PASSWORD, PostgresServer};

    struct WithVectors(PostgresServer);

    impl Mortal for WithVectors {
        fn url(&self) -> String {
            format!("pgvector://edgelore:{PASSWORD}@127.0.0.1:{}/postgres", self.0.port())
        }

        fn kill(&mut self) {
            self.0.kill().unwrap();
        }

        fn start_again(&mut self) {
            self.0.start_again().unwrap();
        }
    }

    #[test]
    fn live_a_killed_pgvector_loses_nothing_and_repeats_nothing() {
        if live("live_a_killed_pgvector_loses_nothing_and_repeats_nothing") {
            let mut server = WithVectors(PostgresServer::start_with_pgvector().unwrap());
            kill_the_server(&mut server, None);
        }
    }
}

#[cfg(feature = "nats")]
mod on_nats {
    use super::*;
    use edgelore_testkit::server::{NatsServer, PASSWORD};

    impl Mortal for NatsServer {
        fn url(&self) -> String {
            format!("nats://edgelore:{PASSWORD}@127.0.0.1:{}", self.port())
        }

        fn kill(&mut self) {
            Self::kill(self).unwrap();
        }

        fn start_again(&mut self) {
            Self::start_again(self).unwrap();
        }
    }

    #[test]
    fn live_a_killed_nats_loses_nothing_and_repeats_nothing() {
        if live("live_a_killed_nats_loses_nothing_and_repeats_nothing") {
            kill_the_server(&mut NatsServer::start().unwrap(), None);
        }
    }

    #[test]
    fn live_a_killed_node_on_nats_loses_nothing_and_repeats_nothing() {
        if live("live_a_killed_node_on_nats_loses_nothing_and_repeats_nothing") {
            kill_the_node(&NatsServer::start().unwrap(), None);
        }
    }
}

/// Two networks, each with a server and a node that writes to both servers, and the link between
/// them cut and healed again and again.
#[test]
fn live_two_sides_of_a_cut_network_go_on_and_converge() {
    if !live("live_two_sides_of_a_cut_network_go_on_and_converge") {
        return;
    }
    let sides = [NetNs::new("faults_a").unwrap(), NetNs::new("faults_b").unwrap()];
    veth((&sides[0], "to_b"), (&sides[1], "to_a")).unwrap();
    sides[0].ip("address add 10.99.0.1/24 dev to_b").unwrap();
    sides[1].ip("address add 10.99.0.2/24 dev to_a").unwrap();
    let servers = [
        Served::start(Some(&sides[0]), "10.99.0.1:7171"),
        Served::start(Some(&sides[1]), "10.99.0.2:7171"),
    ];
    let directory = scratch("faults").unwrap();
    let plans = [0, 1].map(|side: usize| Plan {
        data: directory.path().join(side.to_string()),
        stores: vec![servers[side].url(), servers[1 - side].url()],
        token: Some(servers[side].token()),
        key: 1 + side as u8,
        first: 0,
        pause_ms: 50,
    });
    let mut nodes = [0, 1].map(|side: usize| Node::start(&plans[side], Some(&sides[side])));
    let count = |side: usize| {
        let url = servers[side].url();
        let token = servers[side].token();
        // From inside, for the other side may be cut off.
        sides[side].run(|| Ok(given(open(&url, Some(&token)).as_ref()))).unwrap()
    };
    for round in 0..rounds() {
        nodes.iter().for_each(|node| node.await_more(4));
        sides[0].ip("link set to_b down").unwrap();
        let before = [count(0).len(), count(1).len()];
        nodes.iter().for_each(|node| node.await_more(4));
        for side in [0, 1] {
            // What is published on a side while it is cut off arrives at its own server.
            wait_for_some(DEADLINE, "a side to go on by itself", || {
                (count(side).len() >= before[side] + 2).then_some(())
            })
            .unwrap_or_else(|error| panic!("round {round}, side {side}: {error}"));
        }
        sides[0].ip("link set to_b up").unwrap();
    }
    nodes.iter_mut().for_each(|node| node.tell("stop", "drained"));
    let mut acknowledged: BTreeSet<PacketId> = BTreeSet::new();
    nodes.iter().for_each(|node| acknowledged.extend(node.acknowledged()));
    for side in [0, 1] {
        assert_eq!(count(side), acknowledged, "side {side} has all that either acknowledged");
    }
    let expected = format!("expect {}", acknowledged.len());
    nodes.iter_mut().for_each(|node| node.tell(&expected, "complete"));
    nodes.into_iter().for_each(Node::end);
    for plan in &plans {
        assert_eq!(given(&received(&plan.data)), acknowledged);
    }
    println!("{} rounds: {} acknowledged, on both sides", rounds(), acknowledged.len());
}
