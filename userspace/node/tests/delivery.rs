//! What others publish arrives: real servers of the HTTP API on loopback, a real local store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use edgelore_capture::Clock;
use edgelore_model::{Known, Outcome, Query, Resolution, Situation, Span};
use edgelore_node::api::{self, Policy, Stopping};
use edgelore_node::delivery::{DeliveryStatus, Follower, Wanted};
use edgelore_node::status::StatusSource;
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_pipeline::packet::statement::succession;
use edgelore_pipeline::packet::{self, SigningKey};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::Http;
use edgelore_routing::{Backend, PacketId};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(60);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&mut [seed; 32])
}

fn situation(topology_class: &str) -> Situation {
    Situation {
        topology_class: topology_class.into(),
        protocol: "bgp".into(),
        event_type: "convergence".into(),
        severity: 340_000,
        affected_prefixes: 8_200,
        node_count: 96,
    }
}

fn cell(topology_class: &str) -> Cell {
    Cell::coarse(&Space::default_definition(), &situation(topology_class))
}

fn packet(number: u32, topology_class: &str, by: u8) -> Vec<u8> {
    let now = Clock::new().now();
    let created = edgelore_model::Timestamp::from_secs_nanos(now.secs(), 0);
    let outcome = Outcome {
        situation: situation(topology_class),
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: vec!["lower the detection time to 300 ms".into()],
            known: Known::Measured,
        },
        before: Some(340_000),
        after: Some(800),
        convergence_delta_ms: 339_200,
        sample_size: number,
        created,
        expires: created + Span::from_millis(86_400_000),
        method: [7; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    };
    packet::seal(&outcome, &key(by), &Space::default_definition()).unwrap().bytes
}

/// A server of the HTTP API that can be cut, as by a crash, and come back.
struct Server {
    directory: TempDir,
    address: SocketAddr,
    runtime: Option<Runtime>,
    client: Http,
}

async fn serve(directory: &TempDir, address: SocketAddr) -> (Runtime, SocketAddr) {
    let store = Arc::new(open(directory).await);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bound = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
    let address = bound.local_addr().unwrap();
    let router = api::router(store, Policy::default(), Stopping::new().1);
    runtime.spawn(async move { axum::serve(bound, router).await });
    (runtime, address)
}

/// Opens a store as soon as whoever had it open has let it go.
async fn open(directory: &TempDir) -> Embedded {
    until("the store opens", async || {
        Embedded::open(EmbeddedConfig::in_directory(directory.path())).ok()
    })
    .await
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = tokio::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(asked.elapsed() < DEADLINE, "{what}: never");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (runtime, address) = serve(&directory, SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let url = format!("http://{address}");
        let client = Http::new(&url, None, Space::default_definition()).unwrap();
        Self { directory, address, runtime: Some(runtime), client }
    }

    async fn cut(&mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DEADLINE)).await.unwrap();
    }

    async fn come_back(&mut self) {
        self.runtime = Some(serve(&self.directory, self.address).await.0);
    }

    async fn publish(&self, packet: Vec<u8>) -> PacketId {
        until("it is stored", async || self.client.store(packet.clone()).await.ok()).await.id
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A node's receiving part.
struct Node {
    received: Arc<Embedded>,
    status: StatusSource,
    wanted: watch::Sender<Wanted>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    async fn start(directory: &TempDir, servers: &[&Server], cells: &[Cell]) -> Self {
        let received = Arc::new(open(directory).await);
        let status = StatusSource::new(Clock::new());
        let (wanted, follows) = watch::channel(wanted(cells));
        let follow = |server: &&Server| {
            let follower = Follower {
                name: server.address.to_string(),
                server: Arc::new(server.client.clone()),
                received: Arc::clone(&received),
                wanted: follows.clone(),
                own: key(9).publisher(),
                status: status.clone(),
            };
            tokio::spawn(follower.run())
        };
        let tasks = servers.iter().map(follow).collect();
        Self { received, status, wanted, tasks }
    }

    fn of(&self, server: &Server) -> DeliveryStatus {
        self.status.now().delivery.get(&server.address.to_string()).cloned().unwrap_or_default()
    }

    async fn holds(&self, expected: &[PacketId]) {
        let expected: BTreeSet<PacketId> = expected.iter().copied().collect();
        let query = Query::default();
        until("all arrives", async || {
            let found = self.received.query(&query, u32::MAX, 1_000).await.unwrap();
            let found: BTreeSet<PacketId> = found.iter().map(|found| found.opened.id).collect();
            assert!(found.is_subset(&expected), "something else arrived");
            (found == expected).then_some(())
        })
        .await;
    }

    /// Ends it between two instructions, and lets go of its store.
    async fn end(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

fn wanted(cells: &[Cell]) -> Wanted {
    Wanted { cells: cells.to_vec(), left_out: 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_nothing_and_receives_nothing_twice() {
    let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let mut expected = Vec::new();
    for number in 0..3 {
        expected.push(server.publish(packet(number, "spine_leaf", 1)).await);
    }
    let node = Node::start(&directory, &[&server], &[cell("spine_leaf")]).await;
    node.holds(&expected).await;
    for number in 3..6 {
        expected.push(server.publish(packet(number, "spine_leaf", 1)).await);
        server.publish(packet(number, "ring", 1)).await;
    }
    node.holds(&expected).await;
    let figures = until("it is counted", async || {
        Some(node.of(&server)).filter(|figures| figures.received == 6)
    })
    .await;
    assert!(figures.connected && figures.repeated == 0 && figures.refused == 0, "{figures:?}");
    assert_eq!((figures.news, figures.cells, figures.error), (6, 1, None));
    assert_eq!(figures.latest.unwrap().topology_class, "spine_leaf");
    node.end().await;
    for number in 6..9 {
        expected.push(server.publish(packet(number, "spine_leaf", 2)).await);
    }
    let node = Node::start(&directory, &[&server], &[cell("spine_leaf")]).await;
    node.holds(&expected).await;
    let figures = until("it is counted", async || {
        Some(node.of(&server)).filter(|figures| figures.received == 3)
    })
    .await;
    assert_eq!((figures.repeated, figures.failures), (0, 0), "it went on where it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_is_read_on_from_where_it_was_left() {
    let (first, mut second) = (Server::start().await, Server::start().await);
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&directory, &[&first, &second], &[cell("spine_leaf")]).await;
    let mut expected = vec![first.publish(packet(1, "spine_leaf", 1)).await];
    expected.push(second.publish(packet(2, "spine_leaf", 1)).await);
    node.holds(&expected).await;
    second.cut().await;
    let third = packet(3, "spine_leaf", 1);
    expected.push(first.publish(third.clone()).await);
    node.holds(&expected).await;
    until("the loss is noticed", async || node.of(&second).error).await;
    assert!(node.of(&first).connected, "the other one is followed");
    second.come_back().await;
    // The same on both, as one stands in for the other, and something of its own.
    second.publish(third).await;
    expected.push(second.publish(packet(4, "spine_leaf", 1)).await);
    node.holds(&expected).await;
    until("it is known by its id", async || (node.of(&second).repeated == 1).then_some(())).await;
    let figures = node.of(&second);
    assert!(figures.connected && figures.error.is_none() && figures.failures > 0, "{figures:?}");
    assert_eq!(figures.received, 2, "what came before was not read again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_that_are_added_are_read_from_the_beginning_once() {
    let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let mut expected = vec![server.publish(packet(1, "ring", 1)).await];
    let other = server.publish(packet(2, "spine_leaf", 1)).await;
    let node = Node::start(&directory, &[&server], &[cell("ring")]).await;
    node.holds(&expected).await;
    expected.push(other);
    node.wanted.send(wanted(&[cell("ring"), cell("spine_leaf")])).unwrap();
    node.holds(&expected).await;
    expected.push(server.publish(packet(3, "spine_leaf", 1)).await);
    expected.push(server.publish(packet(4, "ring", 1)).await);
    node.holds(&expected).await;
    let figures = until("all is counted", async || {
        Some(node.of(&server)).filter(|figures| figures.received == 4)
    })
    .await;
    assert_eq!(figures.repeated, 0, "{figures:?}");
    // Nothing is followed any more, and it goes on when something is.
    node.wanted.send(Wanted::default()).unwrap();
    until("nothing is followed", async || (node.of(&server).cells == 0).then_some(())).await;
    expected.push(server.publish(packet(5, "ring", 1)).await);
    node.wanted.send(wanted(&[cell("ring")])).unwrap();
    node.holds(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_taken_in_batches() {
    const PACKETS: u32 = 900;
    let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let node = Node::start(&directory, &[&server], &[cell("ring")]).await;
    until("it is followed", async || node.of(&server).connected.then_some(())).await;
    node.end().await;
    let mut storing = tokio::task::JoinSet::new();
    for number in 0..PACKETS {
        let client = server.client.clone();
        storing.spawn(async move { client.store(packet(number, "ring", 1)).await.unwrap().id });
    }
    let expected = storing.join_all().await;
    let node = Node::start(&directory, &[&server], &[cell("ring")]).await;
    node.holds(&expected).await;
    let figures = until("all is counted", async || {
        Some(node.of(&server)).filter(|figures| figures.received == u64::from(PACKETS))
    })
    .await;
    assert_eq!((figures.repeated, figures.failures), (0, 0), "{figures:?}");
    let commits = node.received.figures().commits;
    assert!(commits < u64::from(PACKETS) / 2, "{commits} commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_publishers_say_of_their_keys_comes_first_and_ones_own_is_no_news() {
    let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let statement = succession(&key(1), &key(2), Clock::new().now());
    let said = server.client.declare(statement).await.unwrap().id;
    let mut expected = vec![server.publish(packet(1, "ring", 1)).await];
    let node = Node::start(&directory, &[&server], &[cell("ring")]).await;
    node.holds(&expected).await;
    let known = node.received.statements(&[key(1).publisher()]).await.unwrap();
    assert_eq!(known.iter().map(|one| one.id).collect::<Vec<_>>(), [said]);
    expected.push(server.publish(packet(2, "ring", 9)).await);
    node.holds(&expected).await;
    let figures = until("it is counted", async || {
        Some(node.of(&server)).filter(|figures| figures.received == 2)
    })
    .await;
    assert_eq!(figures.news, 1);
    assert_eq!(figures.latest.unwrap().publisher, hex::encode(key(1).publisher()));
}
