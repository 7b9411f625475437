//! The HTTP backend under the conformance suite, against the router that `edgelore serve` runs,
//! on loopback, over an embedded store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../routing/tests/suite/mod.rs"]
mod suite;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use edgelore_model::Outcome;
use edgelore_node::api::{self, Policy, Stopping, Tokens};
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::Http;
use edgelore_routing::layers::{Retry, Timeout};
use edgelore_routing::{Backend, BackendError, Cursor, Everything};
use suite::{SimClock, Subject, key, outcome, sealed};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const TOKEN: &str = "of this test";
const DEADLINE: Duration = Duration::from_secs(60);

struct Remote {
    directory: TempDir,
    clock: SimClock,
    address: SocketAddr,
    /// Everything of the server; ending it ends every connection, as the end of a process does.
    server: Option<Runtime>,
    client: Http,
}

/// Opens the store as soon as whoever had it open has let it go.
async fn open(directory: &Path, clock: &SimClock) -> Embedded {
    let asked = Instant::now();
    loop {
        let clock = clock.clone();
        let config = EmbeddedConfig {
            now: Arc::new(move || clock.now()),
            ..EmbeddedConfig::in_directory(directory)
        };
        match Embedded::open(config) {
            Ok(store) => return store,
            Err(error) => assert!(asked.elapsed() < DEADLINE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Serves on an address; port 0 takes a free one.
async fn serve(directory: &Path, clock: &SimClock, address: SocketAddr) -> (Runtime, SocketAddr) {
    let store = open(directory, clock).await;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bound = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
    let address = bound.local_addr().unwrap();
    let policy = Policy { tokens: Tokens::one(TOKEN), ..Policy::default() };
    // Nobody asks it to stop: it is cut, as by a crash.
    let router = api::router(Arc::new(store), policy, Stopping::new().1);
    runtime.spawn(async move { axum::serve(bound, router).await });
    (runtime, address)
}

fn client(address: SocketAddr, token: Option<&str>) -> Http {
    let token = token.map(str::to_owned);
    Http::new(&format!("http://{address}"), token, Space::default_definition()).unwrap()
}

impl Remote {
    async fn stop(&mut self) {
        let server = self.server.take().unwrap();
        tokio::task::spawn_blocking(move || server.shutdown_timeout(DEADLINE)).await.unwrap();
    }
}

#[async_trait]
impl Subject for Remote {
    async fn start() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let (server, address) = serve(directory.path(), &clock, free).await;
        let client = client(address, Some(TOKEN));
        Self { directory, clock, address, server: Some(server), client }
    }

    async fn restart(&mut self) {
        self.stop().await;
        let (server, address) = serve(self.directory.path(), &self.clock, self.address).await;
        assert_eq!(address, self.address);
        self.server = Some(server);
    }

    fn backend(&self) -> &dyn Backend {
        &self.client
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

conformance!(Remote);

#[tokio::test]
async fn a_token_is_asked_for_and_can_be_mended() {
    let subject = Remote::start().await;
    for token in [None, Some("another"), Some("of this tes")] {
        let stranger = client(subject.address, token);
        let error = stranger.store(sealed(&outcome(), &key(1)).bytes).await.unwrap_err();
        assert!(matches!(error, BackendError::Unauthorised(_)) && !error.is_final(), "{error}");
        let said = "not authorised: the request carries no token that this server takes";
        assert!(error.to_string().ends_with(said), "{error}");
        assert!(stranger.subscribe(&[], None).await.is_err());
    }
    let health = reqwest::get(format!("http://{}/v1/health", subject.address)).await.unwrap();
    assert!(health.status().is_success());
}

#[tokio::test]
async fn a_body_of_513_bytes_is_answered_with_413() {
    let subject = Remote::start().await;
    for (length, status) in [(512, 400), (513, 413)] {
        let answer = reqwest::Client::new()
            .post(format!("http://{}/v1/packets", subject.address))
            .bearer_auth(TOKEN)
            .body(vec![0; length])
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{length} bytes");
    }
}

#[tokio::test]
async fn a_store_that_is_down_delays_and_loses_nothing() {
    let mut subject = Remote::start().await;
    let packet = sealed(&outcome(), &key(1));
    subject.stop().await;
    let error = subject.client.store(packet.bytes.clone()).await.unwrap_err();
    assert!(error.is_transient() && !error.is_final(), "{error}");
    let patient = Retry::new(subject.client.clone(), 1_000, Duration::from_millis(10));
    let waiting = tokio::spawn(async move { patient.store(packet.bytes).await });
    let (server, _) = serve(subject.directory.path(), &subject.clock, subject.address).await;
    subject.server = Some(server);
    let stored = tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(stored.id, packet.id);
    assert!(subject.client.get(&packet.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_running_subscription_outlives_the_server() {
    let mut subject = Remote::start().await;
    let packets: Vec<_> =
        (1..=3).map(|n| sealed(&Outcome { sample_size: n, ..outcome() }, &key(1))).collect();
    subject.client.store(packets[0].bytes.clone()).await.unwrap();
    let mut subscription = subject.client.subscribe(&[], Some(Cursor(0))).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().packet.id, packets[0].id);
    subject.restart().await;
    for packet in &packets[1..] {
        subject.client.store(packet.bytes.clone()).await.unwrap();
    }
    let (mut received, asked) = (Vec::new(), Instant::now());
    while received.len() < 2 {
        match tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap() {
            Ok(delivery) => received.push(delivery.packet.id),
            Err(error) => assert!(error.is_transient() && asked.elapsed() < DEADLINE, "{error}"),
        }
    }
    assert_eq!(received, [packets[1].id, packets[2].id]);
}

#[tokio::test]
async fn a_stream_tells_how_far_it_came_without_a_packet() {
    let subject = Remote::start().await;
    let mut of_a_ring = outcome();
    of_a_ring.situation.topology_class = "ring".into();
    let first = sealed(&outcome(), &key(1));
    for packet in [&first, &sealed(&of_a_ring, &key(1))] {
        subject.client.store(packet.bytes.clone()).await.unwrap();
    }
    let cell = Cell::coarse(&Space::default_definition(), &outcome().situation);
    let mut everything = Everything::of(&subject.client, &[cell]).await.unwrap();
    assert_eq!(everything.next().await.unwrap().unwrap().packet.id, first.id);
    let end = tokio::time::timeout(DEADLINE, everything.next()).await.expect("there is an end");
    assert_eq!(end.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    // The kernel accepts connections for a listener that nobody reads from.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let limited = Timeout::new(client(address, None), Duration::from_millis(50));
    let error = limited.store(sealed(&outcome(), &key(1)).bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Timeout(50)) && !error.is_final(), "{error}");
}
