//! NATS JetStream under the conformance suite, and what is its own.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod credentials;
mod stream;
#[path = "../suite/mod.rs"]
mod suite;

use std::io::Write;
use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, Context};
use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_pipeline::fingerprint::{Cell, Grain, Space};
use edgelore_pipeline::packet;
use edgelore_routing::nats::{Nats, NatsConfig};
use edgelore_routing::{Backend, BackendError, Cursor, PacketId};
use edgelore_testkit::live;
use edgelore_testkit::server::{Certificates, NatsServer, PASSWORD, Relay};
use suite::{Served, SimClock, Subject, key, outcome, sealed};

struct OnNats {
    backend: Nats,
    clock: SimClock,
    relay: Relay,
    server: NatsServer,
    options: &'static str,
}

fn config(url: &str, clock: &SimClock) -> NatsConfig {
    let clock = clock.clone();
    NatsConfig { now: Arc::new(move || clock.now()), ..NatsConfig::at(url) }
}

fn url(port: u16) -> String {
    format!("nats://edgelore:{PASSWORD}@127.0.0.1:{port}")
}

/// A client that has connected.
async fn client(url: &str, clock: &SimClock) -> Nats {
    let backend = Nats::new(config(url, clock)).unwrap();
    backend.get(&[0; 32]).await.unwrap();
    backend
}

/// A subject of the shipped similarity definition.
fn subject(rest: &str) -> String {
    format!("edgelore.1.{}.{rest}", hex::encode(Space::default_definition().short_id()))
}

/// The stream of the shipped similarity definition.
fn stream_name() -> String {
    format!("EDGELORE-1-{}", hex::encode(Space::default_definition().short_id()))
}

/// A client of the server's own, past Edgelore.
async fn direct(port: u16) -> Context {
    let options = ConnectOptions::with_user_and_password("edgelore".into(), PASSWORD.into());
    jetstream::new(options.connect(format!("127.0.0.1:{port}")).await.unwrap())
}

impl OnNats {
    async fn on(server: NatsServer, options: &'static str) -> Self {
        let clock = SimClock::new();
        let relay = Relay::to(server.port()).unwrap();
        let backend = client(&format!("{}{options}", url(relay.port())), &clock).await;
        Self { backend, clock, relay, server, options }
    }

    fn url(&self) -> String {
        format!("{}{}", url(self.relay.port()), self.options)
    }
}

#[async_trait]
impl Subject for OnNats {
    async fn start() -> Self {
        Self::on(NatsServer::start().unwrap(), "").await
    }

    async fn restart(&mut self) {
        self.kill();
        self.start_again();
        self.backend = client(&self.url(), &self.clock).await;
    }

    fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }

    fn durable(&self) -> bool {
        // Debian's server cannot be told to sync before it acknowledges.
        !self.options.is_empty()
    }
}

#[async_trait]
impl Served for OnNats {
    fn another(&self) -> Box<dyn Backend> {
        Box::new(Nats::new(config(&self.url(), &self.clock)).unwrap())
    }

    fn stranger(&self) -> Box<dyn Backend> {
        let url = format!("nats://edgelore:wrong@127.0.0.1:{}", self.relay.port());
        Box::new(Nats::new(config(&url, &self.clock)).unwrap())
    }

    fn relay(&self) -> &Relay {
        &self.relay
    }

    fn kill(&mut self) {
        self.server.kill().unwrap();
    }

    fn start_again(&mut self) {
        self.server.start_again().unwrap();
    }

    async fn plant(&self, id: PacketId, bytes: &[u8], like: &Outcome) {
        let cell = Cell::filed(&Space::default_definition(), &like.situation, Grain::Exact);
        let subject = format!("{}.{}", cell.to_string().replace('/', "."), hex::encode(id));
        let direct = direct(self.server.port()).await;
        direct.publish(subject, bytes.to_vec().into()).await.unwrap().await.unwrap();
    }

    async fn litter(&self, like: &Outcome) {
        let direct = direct(self.server.port()).await;
        let good = packet::open(&sealed(like, &key(1)).bytes).unwrap();
        let (publisher, id) = (hex::encode(good.publisher), hex::encode(good.id));
        let cell = Cell::filed(&Space::default_definition(), &like.situation, Grain::Exact);
        let cell = cell.to_string().replace('/', ".");
        for subject in [
            subject("x"),
            subject("withdrawn"),
            subject(&format!("withdrawn.{publisher}.{id}")),
            format!("{cell}.not-an-id"),
            format!("{cell}.ff"),
            cell.clone(),
            format!("{cell}.{id}.more"),
        ] {
            direct.publish(subject, "rubbish".into()).await.unwrap().await.unwrap();
        }
    }

    fn skipped(&self) -> u64 {
        self.backend.skipped()
    }
}

served!(live_nats, OnNats);

/// On a release that filters by several subjects and syncs before it acknowledges.
struct OnNewer(OnNats);

#[async_trait]
impl Subject for OnNewer {
    async fn start() -> Self {
        Self(OnNats::on(NatsServer::start_newer().unwrap(), "?sync=always").await)
    }

    async fn restart(&mut self) {
        self.0.restart().await;
    }

    fn backend(&self) -> &dyn Backend {
        self.0.backend()
    }

    fn clock(&self) -> &SimClock {
        self.0.clock()
    }
}

mod live_nats_newer {
    use super::*;

    conformance!(live live_nats_newer OnNewer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_that_filters_by_one_subject_is_found_out() {
    if !live("live_nats_that_filters_by_one_subject_is_found_out") {
        return;
    }
    let space = Space::default_definition();
    for (subject, expected) in [(OnNats::start().await, true), (OnNewer::start().await.0, false)] {
        let mut other = outcome();
        other.situation.protocol = "ospf".into();
        let mut third = outcome();
        third.situation.protocol = "isis".into();
        let cells: Vec<Cell> =
            [outcome(), other.clone()].iter().map(|o| Cell::coarse(&space, &o.situation)).collect();
        let mut subscription = subject.backend.subscribe(&cells, Some(Cursor(0))).await.unwrap();
        let mut ids = Vec::new();
        for outcome in [third, outcome(), other] {
            let packet = sealed(&outcome, &key(1));
            assert!(subject.backend.store(packet.bytes).await.unwrap().new);
            ids.push(packet.id);
        }
        for id in &ids[1..] {
            assert_eq!(subscription.next().await.unwrap().packet.id, *id);
        }
        assert_eq!(subject.backend.filters_one_subject(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_over_tls() {
    if !live("live_nats_over_tls") {
        return;
    }
    let (certificates, clock) = (Certificates::new().unwrap(), SimClock::new());
    let server = NatsServer::start_with_tls(&certificates).unwrap();
    let at = |scheme: &str, query: &str| {
        let port = server.port();
        let url = format!("{scheme}://edgelore:{PASSWORD}@localhost:{port}{query}");
        Nats::new(config(&url, &clock)).unwrap()
    };
    let ca = format!("?ca={}", certificates.authority().display());
    let identity = format!(
        "&cert={}&key={}",
        certificates.client_cert().display(),
        certificates.client_key().display()
    );
    for scheme in ["tls", "nats"] {
        let backend = at(scheme, &format!("{ca}{identity}"));
        backend.store(sealed(&outcome(), &key(1)).bytes).await.unwrap();
    }
    // Without a certificate of the server's authority, and with the system's authorities alone.
    for query in [ca.as_str(), ""] {
        let error = at("tls", query).get(&[0; 32]).await.unwrap_err();
        assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
    // A server that speaks no TLS is not spoken to without.
    let plain = NatsServer::start().unwrap();
    let url = format!("tls://edgelore:{PASSWORD}@localhost:{}{ca}", plain.port());
    let error = Nats::new(config(&url, &clock)).unwrap().get(&[0; 32]).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
}

/// An NKEY seed and its public key, as `nk -gen user` prints them.
const NKEY: [&str; 2] = [
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_knows_tokens_keys_and_rights() {
    if !live("live_nats_knows_tokens_keys_and_rights") {
        return;
    }
    let clock = SimClock::new();
    let packet = sealed(&outcome(), &key(1));
    let server = NatsServer::start_with_users("authorization { token: \"a/token\" }\n").unwrap();
    let port = server.port();
    let in_url = Nats::new(config(&format!("nats://a%2Ftoken@127.0.0.1:{port}"), &clock)).unwrap();
    assert!(in_url.store(packet.bytes.clone()).await.unwrap().new);
    let apart = NatsConfig {
        password: Some("a/token".to_owned()),
        ..config(&format!("nats://127.0.0.1:{port}"), &clock)
    };
    assert!(!Nats::new(apart).unwrap().store(packet.bytes.clone()).await.unwrap().new);

    let users = format!(
        "authorization {{ users = [
            {{ nkey: {} }}
            {{ user: reader, password: {PASSWORD:?}, permissions: {{
                publish: {{ deny: \"edgelore.>\" }} }} }}
        ] }}\n",
        NKEY[1]
    );
    let server = NatsServer::start_with_users(&users).unwrap();
    let mut seed = tempfile::NamedTempFile::new().unwrap();
    writeln!(seed, "{}", NKEY[0]).unwrap();
    let url = format!("nats://127.0.0.1:{}?nkey={}", server.port(), seed.path().display());
    let backend = Nats::new(config(&url, &clock)).unwrap();
    assert!(backend.store(packet.bytes.clone()).await.unwrap().new);
    // Who may read and not write is told so, and still reads.
    let url = format!("nats://reader:{PASSWORD}@127.0.0.1:{}", server.port());
    let reader = Nats::new(config(&url, &clock)).unwrap();
    let other = sealed(&Outcome { sample_size: 9, ..outcome() }, &key(1));
    let error = reader.store(other.bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Unauthorised(_)), "{error}");
    assert_eq!(reader.get(&packet.id).await.unwrap(), Some(packet.bytes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_stores_again_what_it_lost() {
    if !live("live_nats_stores_again_what_it_lost") {
        return;
    }
    // The server still knows the message's id for two minutes; that must not pass for the message.
    let subject = OnNats::start().await;
    let packet = sealed(&outcome(), &key(1));
    assert!(subject.backend.store(packet.bytes.clone()).await.unwrap().new);
    let stream = stream_name();
    let direct = direct(subject.server.port()).await;
    let planted = direct.get_stream(&stream).await.unwrap();
    planted.purge().await.unwrap();
    assert!(subject.backend.store(packet.bytes.clone()).await.unwrap().new);
    assert_eq!(subject.backend.get(&packet.id).await.unwrap(), Some(packet.bytes.clone()));
    // And a packet under which rubbish was planted later comes back.
    subject.plant(packet.id, b"rubbish", &outcome()).await;
    assert_eq!(subject.backend.get(&packet.id).await.unwrap(), None);
    assert!(subject.backend.store(packet.bytes.clone()).await.unwrap().new);
    assert_eq!(subject.backend.get(&packet.id).await.unwrap(), Some(packet.bytes.clone()));
    // Even the stream itself is made again.
    direct.delete_stream(&stream).await.unwrap();
    let error = subject.backend.store(packet.bytes.clone()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(subject.backend.store(packet.bytes).await.unwrap().new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_refuses_a_stream_that_would_lose_packets() {
    if !live("live_nats_refuses_a_stream_that_would_lose_packets") {
        return;
    }
    let (server, clock) = (NatsServer::start().unwrap(), SimClock::new());
    let made = jetstream::stream::Config {
        name: stream_name(),
        subjects: vec![subject(">")],
        ..Default::default()
    };
    direct(server.port()).await.create_stream(made).await.unwrap();
    let backend = Nats::new(config(&url(server.port()), &clock)).unwrap();
    let error = backend.store(sealed(&outcome(), &key(1)).bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Storage(_)), "{error}");
    assert!(error.to_string().contains("discard new"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_that_is_full_refuses_until_something_expires() {
    if !live("live_nats_that_is_full_refuses_until_something_expires") {
        return;
    }
    let (server, clock) = (NatsServer::start().unwrap(), SimClock::new());
    let full = NatsConfig { packets_max: 2, ..config(&url(server.port()), &clock) };
    let backend = Nats::new(full).unwrap();
    let put = |sample_size, secs: i64| {
        let mut outcome = Outcome { sample_size, ..outcome() };
        outcome.expires.0 += secs * 1_000_000_000;
        backend.store(sealed(&outcome, &key(1)).bytes)
    };
    put(1, 0).await.unwrap();
    put(2, 10).await.unwrap();
    let error = put(3, 20).await.unwrap_err();
    assert!(matches!(error, BackendError::Full) && !error.is_final(), "{error}");
    assert!(!put(1, 0).await.unwrap().new, "what is there already needs no room");
    clock.advance(86_400);
    assert!(put(3, 20).await.unwrap().new);
    clock.advance(15);
    assert!(put(4, 86_400).await.unwrap().new);
    let found = backend.query(&Query::default(), u32::MAX, 10).await.unwrap();
    assert_eq!(found.len(), 2, "purging leaves what counts");
}

#[test]
fn urls_that_are_none_are_refused_without_their_password() {
    for url in [
        "nats:// x",
        "http://a:secret@localhost",
        "nats://a:secret@localhost?color=red",
        "nats://a:secret@localhost?sync=never",
        "nats://a:secret@localhost?replicas=9",
        "tls://a:secret@localhost?ca=/nonexistent/file",
        "tls://a:secret@localhost?cert=/dev/null",
        "nats://a:secret@localhost?nkey=/dev/null&creds=/dev/null",
    ] {
        let error = Nats::new(NatsConfig::at(url)).unwrap_err();
        assert!(matches!(error, BackendError::Request(_)) && error.is_final(), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
