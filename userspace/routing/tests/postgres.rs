//! PostgreSQL, without and with pgvector, under the conformance suite, and what is its own.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod suite;

use std::sync::Arc;
#[cfg(feature = "pgvector")]
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_pipeline::fingerprint::{Cell, Space};
#[cfg(feature = "pgvector")]
use edgelore_routing::pgvector::Pgvector;
use edgelore_routing::postgres::{Postgres, PostgresConfig};
use edgelore_routing::{Backend, BackendError, Cursor, PacketId};
use edgelore_testkit::live;
use edgelore_testkit::server::{Certificates, PASSWORD, PostgresServer, Relay};
use suite::{Served, SimClock, Subject, key, outcome, sealed};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

/// What differs between PostgreSQL and PostgreSQL with pgvector.
trait Engine: Backend + Sized + 'static {
    const SCHEME: &'static str;
    fn server() -> PostgresServer;
    fn open(config: PostgresConfig) -> Self;
}

impl Engine for Postgres {
    const SCHEME: &'static str = "postgres";

    fn server() -> PostgresServer {
        PostgresServer::start().unwrap()
    }

    fn open(config: PostgresConfig) -> Self {
        Self::new(config).unwrap()
    }
}

#[cfg(feature = "pgvector")]
impl Engine for Pgvector {
    const SCHEME: &'static str = "pgvector";

    fn server() -> PostgresServer {
        PostgresServer::start_with_pgvector().unwrap()
    }

    fn open(config: PostgresConfig) -> Self {
        Self::new(config).unwrap()
    }
}

struct On<E> {
    backend: E,
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

/// A client that will connect.
fn open<E: Engine>(port: u16, clock: &SimClock) -> E {
    E::open(config(&url(port).replace("postgres:", &format!("{}:", E::SCHEME)), clock))
}

/// A client that has connected.
async fn client<E: Engine>(port: u16, clock: &SimClock) -> E {
    let backend = open::<E>(port, clock);
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
impl<E: Engine> Subject for On<E> {
    async fn start() -> Self {
        let (server, clock) = (E::server(), SimClock::new());
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
impl<E: Engine> Served for On<E> {
    fn another(&self) -> Box<dyn Backend> {
        Box::new(open::<E>(self.relay.port(), &self.clock))
    }

    fn stranger(&self) -> Box<dyn Backend> {
        let port = self.relay.port();
        let url = format!("{}://edgelore:wrong@127.0.0.1:{port}/postgres", E::SCHEME);
        Box::new(E::open(config(&url, &self.clock)))
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

served!(live_postgres, On<Postgres>);
#[cfg(feature = "pgvector")]
served!(live_pgvector, On<Pgvector>);

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
    let clients = (0..8).map(|_| client::<Postgres>(server.port(), &clock));
    let clients = futures_util::future::join_all(clients).await;
    let direct = direct(server.port()).await;
    let versions = async || -> Vec<i32> {
        let versions = "SELECT array_agg(version ORDER BY version) FROM edgelore.migration";
        direct.query_one(versions, &[]).await.unwrap().get(0)
    };
    assert_eq!(versions().await, [1, 2, 3, 4]);
    drop(clients);
    let as_before = "DROP INDEX edgelore.packet_box;
        CREATE INDEX packet_near ON edgelore.packet (cell, severity);
        DELETE FROM edgelore.migration WHERE version > 2";
    direct.batch_execute(as_before).await.unwrap();
    drop(client::<Postgres>(server.port(), &clock).await);
    assert_eq!(versions().await, [1, 2, 3, 4]);
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
    let own: Postgres = client(server.port(), &clock).await;
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
    assert!(matches!(error, BackendError::Unauthorised(_)), "{error}");
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

/// An outcome for each number, at different distances from the suite's outcome.
#[cfg(feature = "pgvector")]
fn spread(number: u32) -> Outcome {
    let mut outcome = Outcome { sample_size: number, ..outcome() };
    outcome.situation.protocol = ["bgp", "ospf", "isis", "bfd"][number as usize % 4].into();
    outcome.situation.event_type =
        ["convergence", "flap", "saturation"][number as usize / 4 % 3].into();
    outcome.situation.affected_prefixes = u64::from(number) * 97 % 100_000;
    outcome.situation.node_count = u64::from(number) % 300 + 1;
    outcome.before = None;
    outcome
}

#[cfg(feature = "pgvector")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_pgvector_is_exact_whatever_its_index_holds() {
    if !live("live_pgvector_is_exact_whatever_its_index_holds") {
        return;
    }
    const PACKETS: u32 = 2_000;
    let (server, clock) = (Pgvector::server(), SimClock::new());
    let (plain, vectors) =
        (open::<Postgres>(server.port(), &clock), open::<Pgvector>(server.port(), &clock));
    let direct = direct(server.port()).await;
    let table =
        format!("edgelore.vector_1_{}", hex::encode(Space::default_definition().short_id()));
    let count = format!("SELECT count(*) FROM {table}");
    // One half by each of them: the index has them all in the end.
    let numbers: Vec<u32> = (0..PACKETS).collect();
    for numbers in numbers.chunks(200) {
        let stores = numbers.iter().map(|number| {
            let bytes = sealed(&spread(*number), &key(1)).bytes;
            let backend: &dyn Backend = if number % 2 == 0 { &plain } else { &vectors };
            async move { assert!(backend.store(bytes).await.unwrap().new) }
        });
        futures_util::future::join_all(stores).await;
    }
    let query = Query::from(&outcome().situation);
    for limit in [1, 10, 100, 1_000] {
        let expected = plain.query(&query, u32::MAX, limit).await.unwrap();
        assert_eq!(expected.len(), limit);
        assert_eq!(vectors.query(&query, u32::MAX, limit).await.unwrap(), expected, "{limit}");
    }
    assert_eq!(direct.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), i64::from(PACKETS));
    let vectors_made = format!(
        "SELECT v.at::real[], p.bytes FROM {table} v JOIN edgelore.packet p ON p.arrival = v.packet"
    );
    for row in direct.query(&vectors_made, &[]).await.unwrap() {
        let situation = edgelore_pipeline::packet::open(row.get(1)).unwrap().outcome.situation;
        assert_eq!(row.get::<_, Vec<f32>>(0), Space::default_definition().embed(&situation));
    }
    // The server tells its figures with a delay.
    let used = "SELECT idx_scan > 0 FROM pg_stat_user_indexes
        WHERE indexrelname LIKE 'vector_1_%_near'";
    let is_used = async {
        while !direct.query_one(used, &[]).await.unwrap().get::<_, bool>(0) {
            vectors.query(&query, u32::MAX, 1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_used).await.expect("the index is used");
    // With a pattern that few have, fewer than asked for, and with an index that lost most.
    let mut rare = spread(7);
    rare.resolution.pattern = "max_prefix".into();
    let id = vectors.store(sealed(&rare, &key(1)).bytes).await.unwrap().id;
    let rare = Query { resolution_pattern: Some("max_prefix".into()), ..query.clone() };
    let found = vectors.query(&rare, u32::MAX, 10).await.unwrap();
    assert_eq!(found.iter().map(|found| found.opened.id).collect::<Vec<_>>(), [id]);
    let expected = plain.query(&query, u32::MAX, 50).await.unwrap();
    let thin = format!("DELETE FROM {table} WHERE packet % 10 <> 0");
    direct.execute(&thin, &[]).await.unwrap();
    assert_eq!(vectors.query(&query, u32::MAX, 50).await.unwrap(), expected, "a thin index");
    direct.execute(&format!("DELETE FROM {table}"), &[]).await.unwrap();
    assert_eq!(vectors.query(&query, u32::MAX, 50).await.unwrap(), expected, "an empty index");
    // Another client fills what is missing.
    let other = open::<Pgvector>(server.port(), &clock);
    assert_eq!(other.query(&query, u32::MAX, 50).await.unwrap(), expected);
    let filled = direct.query_one(&count, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(filled, i64::from(PACKETS) + 1);
}

#[cfg(feature = "pgvector")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_pgvector_says_that_the_server_has_no_vectors() {
    if !live("live_pgvector_says_that_the_server_has_no_vectors") {
        return;
    }
    let (server, clock) = (Postgres::server(), SimClock::new());
    let error = open::<Pgvector>(server.port(), &clock).get(&[0; 32]).await.unwrap_err();
    assert!(matches!(error, BackendError::Storage(_)), "{error}");
    assert!(error.to_string().contains("vector"), "{error}");
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
