//! PostgreSQL under the conformance suite, and what is its own.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod suite;

use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_routing::postgres::{Postgres, PostgresConfig};
use edgelore_routing::{Backend, BackendError, Cursor, PacketId};
use edgelore_testkit::live;
use edgelore_testkit::server::{Certificates, PASSWORD, PostgresServer, Relay};
use suite::{Served, SimClock, Subject, key, outcome, sealed};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

struct OnPostgres {
    backend: Postgres,
    clock: SimClock,
    relay: Relay,
    server: PostgresServer,
}

fn config(url: &str, clock: &SimClock) -> PostgresConfig {
    let clock = clock.clone();
    PostgresConfig { now: Arc::new(move || clock.now()), ..PostgresConfig::at(url) }
}

fn url(port: u16) -> String {
    format!("postgres://edgelore:{PASSWORD}@127.0.0.1:{port}/postgres")
}

/// A client that has connected.
async fn client(port: u16, clock: &SimClock) -> Postgres {
    let backend = Postgres::new(config(&url(port), clock)).unwrap();
    backend.get(&[0; 32]).await.unwrap();
    backend
}

/// A client of the server's own, past Edgelore.
async fn direct(port: u16) -> Client {
    let (client, connection) = tokio_postgres::connect(&url(port), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[async_trait]
impl Subject for OnPostgres {
    async fn start() -> Self {
        let (server, clock) = (PostgresServer::start().unwrap(), SimClock::new());
        let relay = Relay::to(server.port()).unwrap();
        Self { backend: client(relay.port(), &clock).await, clock, relay, server }
    }

    async fn restart(&mut self) {
        self.kill();
        self.start_again();
        self.backend = client(self.relay.port(), &self.clock).await;
    }

    fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }
}

#[async_trait]
impl Served for OnPostgres {
    fn another(&self) -> Box<dyn Backend> {
        Box::new(Postgres::new(config(&url(self.relay.port()), &self.clock)).unwrap())
    }

    fn stranger(&self) -> Box<dyn Backend> {
        let url = format!("postgres://edgelore:wrong@127.0.0.1:{}/postgres", self.relay.port());
        Box::new(Postgres::new(config(&url, &self.clock)).unwrap())
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
        let exact = Cell::exact(&Space::default_definition(), &like.situation).to_string();
        // The row of a packet that was stored there, under the new id.
        let plant = "INSERT INTO edgelore.packet
                (id, publisher, cell, exact, severity, prefixes, nodes, expires, pattern, bytes)
            SELECT $1::bytea, publisher, cell, exact, severity, prefixes, nodes, expires, pattern,
                $2::bytea
            FROM edgelore.packet WHERE exact = $3 ORDER BY arrival LIMIT 1";
        let direct = direct(self.server.port()).await;
        assert_eq!(direct.execute(plant, &[&&id[..], &bytes, &exact]).await.unwrap(), 1);
    }

    async fn litter(&self, _like: &Outcome) {
        let space = Space::default_definition();
        let direct = direct(self.server.port()).await;
        for path in ["", "no cell", "edgelore/1/0000000000000000/a/b/c/d", "edgelore/1/é"] {
            let cell = "INSERT INTO edgelore.cell (space, path) VALUES ($1, $2)";
            direct.execute(cell, &[&&space.short_id()[..], &path]).await.unwrap();
        }
        // What no client could compute with, the table refuses by itself.
        for column in
            ["id = 'short'", "severity = -1", "prefixes = 4294967296", "nodes = 1::bigint << 62"]
        {
            let change = format!("UPDATE edgelore.packet SET {column}");
            let error = direct.execute(&change, &[]).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{column}: {error}");
        }
        let withdrawn = "INSERT INTO edgelore.withdrawal
            SELECT a.publisher, a.id, b.id FROM edgelore.packet a, edgelore.packet b
            ON CONFLICT DO NOTHING";
        direct.execute(withdrawn, &[]).await.unwrap();
    }

    fn skipped(&self) -> u64 {
        self.backend.skipped()
    }
}

served!(live_postgres, OnPostgres);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_postgres_over_tls() {
    if !live("live_postgres_over_tls") {
        return;
    }
    let (certificates, clock) = (Certificates::new().unwrap(), SimClock::new());
    let server = PostgresServer::start_with_tls(&certificates).unwrap();
    let at = |query: &str| {
        let port = server.port();
        let url = format!("postgres://edgelore:{PASSWORD}@localhost:{port}/postgres?{query}");
        Postgres::new(config(&url, &clock)).unwrap()
    };
    let root = certificates.authority();
    let backend = at(&format!("sslmode=require&sslrootcert={}", root.display()));
    let packet = sealed(&outcome(), &key(1));
    assert!(backend.store(packet.bytes).await.unwrap().new);
    let encrypted = "SELECT count(*) FILTER (WHERE ssl) > 0 AND bool_and(ssl) FROM pg_stat_ssl s
        JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'edgelore'";
    let direct = direct(server.port()).await;
    assert!(direct.query_one(encrypted, &[]).await.unwrap().get::<_, bool>(0));
    // The system's authorities do not know this one, and encryption alone is not enough.
    let error = at("sslmode=require").get(&[0; 32]).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_postgres_versions_its_schema() {
    if !live("live_postgres_versions_its_schema") {
        return;
    }
    let (server, clock) = (PostgresServer::start().unwrap(), SimClock::new());
    // All at once: one migrates, the others wait for it.
    let clients = (0..8).map(|_| client(server.port(), &clock));
    let clients = futures_util::future::join_all(clients).await;
    let direct = direct(server.port()).await;
    let versions = "SELECT array_agg(version ORDER BY version) FROM edgelore.migration";
    let versions: Vec<i32> = direct.query_one(versions, &[]).await.unwrap().get(0);
    assert_eq!(versions, [1]);
    drop(clients);
    direct.execute("INSERT INTO edgelore.migration VALUES (99)", &[]).await.unwrap();
    let late = Postgres::new(config(&url(server.port()), &clock)).unwrap();
    let error = late.get(&[0; 32]).await.unwrap_err();
    assert!(error.to_string().contains("later version: 99"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_postgres_works_without_the_right_to_create() {
    if !live("live_postgres_works_without_the_right_to_create") {
        return;
    }
    let (server, clock) = (PostgresServer::start().unwrap(), SimClock::new());
    let own = client(server.port(), &clock).await;
    let direct = direct(server.port()).await;
    let grants = format!(
        "CREATE ROLE gateway LOGIN PASSWORD '{PASSWORD}';
        CREATE ROLE nobody_in_particular LOGIN PASSWORD '{PASSWORD}';
        GRANT USAGE ON SCHEMA edgelore TO gateway;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA edgelore TO gateway;
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA edgelore TO gateway"
    );
    direct.batch_execute(&grants).await.unwrap();
    let role = |name: &str| {
        let port = server.port();
        let url = format!("postgres://{name}@127.0.0.1:{port}/postgres");
        let password = Some(PASSWORD.to_owned());
        Postgres::new(PostgresConfig { password, ..config(&url, &clock) }).unwrap()
    };
    let gateway = role("gateway");
    let packet = sealed(&outcome(), &key(1));
    assert!(gateway.store(packet.bytes.clone()).await.unwrap().new);
    let mut subscription = gateway.subscribe(&[], Some(Cursor(0))).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().packet.id, packet.id);
    assert_eq!(own.get(&packet.id).await.unwrap(), Some(packet.bytes));
    let error = role("nobody_in_particular").get(&packet.id).await.unwrap_err();
    assert!(matches!(error, BackendError::Unauthorised), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_postgres_that_is_full_refuses_until_something_expires() {
    if !live("live_postgres_that_is_full_refuses_until_something_expires") {
        return;
    }
    let (server, clock) = (PostgresServer::start().unwrap(), SimClock::new());
    let full = PostgresConfig { packets_max: 2, ..config(&url(server.port()), &clock) };
    let backend = Postgres::new(full).unwrap();
    let put = |sample_size, secs: i64| {
        let mut outcome = Outcome { sample_size, ..outcome() };
        outcome.situation.protocol = format!("own-{sample_size}");
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
    assert_eq!(backend.query(&Query::default(), u32::MAX, 10).await.unwrap().len(), 2);
    let direct = direct(server.port()).await;
    let rest = "SELECT (SELECT packets FROM edgelore.amount),
        (SELECT count(*) FROM edgelore.packet), (SELECT count(*) FROM edgelore.cell)";
    let rest = direct.query_one(rest, &[]).await.unwrap();
    let rest: [i64; 3] = [rest.get(0), rest.get(1), rest.get(2)];
    assert_eq!(rest, [2, 2, 2], "purging takes cells along, and what is refused brings none");
}

#[test]
fn urls_that_are_none_are_refused_without_their_password() {
    for url in [
        "postgres:// x",
        "http://a:secret@localhost",
        "postgres://a:secret@localhost/b?color=red",
        "postgres://a:secret@localhost/b?sslmode=prefer",
        "postgres://a:secret@localhost/b?sslmode=require&sslrootcert=/nonexistent/file",
        "postgres://a:secret@db.example/b?sslcert=/dev/null",
    ] {
        let error = Postgres::new(PostgresConfig::at(url)).unwrap_err();
        assert!(matches!(error, BackendError::Request(_)) && error.is_final(), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
