//! Redis under the conformance suite, and what is its own.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod suite;

use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_routing::redis::{Redis, RedisConfig};
use edgelore_routing::{Backend, BackendError, PacketId};
use edgelore_testkit::live;
use edgelore_testkit::server::{Certificates, PASSWORD, RedisServer, Relay};
use redis::{Commands, Connection};
use suite::{Served, SimClock, Subject, key, outcome, sealed};

struct OnRedis {
    backend: Redis,
    clock: SimClock,
    relay: Relay,
    server: RedisServer,
}

fn config(url: &str, clock: &SimClock) -> RedisConfig {
    let clock = clock.clone();
    RedisConfig { now: Arc::new(move || clock.now()), ..RedisConfig::at(url) }
}

/// A client that has connected.
async fn client(port: u16, clock: &SimClock) -> Redis {
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}");
    let backend = Redis::new(config(&url, clock)).unwrap();
    backend.get(&[0; 32]).await.unwrap();
    backend
}

/// The name of a key of the shipped similarity definition.
fn name(key: &str) -> String {
    let space = hex::encode(Space::default_definition().short_id());
    format!("edgelore:1:{{{space}}}:{key}")
}

impl OnRedis {
    /// A client of the server's own, past Edgelore.
    fn direct(&self) -> Connection {
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", self.server.port());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }
}

#[async_trait]
impl Subject for OnRedis {
    async fn start() -> Self {
        let (server, clock) = (RedisServer::start(&[]).unwrap(), SimClock::new());
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
impl Served for OnRedis {
    fn another(&self) -> Box<dyn Backend> {
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", self.relay.port());
        Box::new(Redis::new(config(&url, &self.clock)).unwrap())
    }

    fn stranger(&self) -> Box<dyn Backend> {
        let url = format!("redis://:wrong@127.0.0.1:{}", self.relay.port());
        Box::new(Redis::new(config(&url, &self.clock)).unwrap())
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
        let (space, mut direct) = (Space::default_definition(), self.direct());
        // The record of a packet that was stored there, under the new name.
        let index = name(&format!("cell:{}", Cell::coarse(&space, &like.situation)));
        let records: Vec<(Vec<u8>, f64)> = direct.zrange_withscores(&index, 0, 0).unwrap();
        let (mut record, severity) = records[0].clone();
        record[..32].copy_from_slice(&id);
        let exact = Cell::exact(&space, &like.situation).to_string();
        let () = direct.hset(name("packets"), &id[..], bytes).unwrap();
        let () = direct.zadd(index, record, severity).unwrap();
        let fields = [(b"i".as_slice(), &id[..]), (b"c", exact.as_bytes())];
        let _: String = redis::cmd("XADD")
            .arg(name("history"))
            .arg("*")
            .arg(&fields)
            .query(&mut direct)
            .unwrap();
    }

    async fn litter(&self, like: &Outcome) {
        let (space, mut direct) = (Space::default_definition(), self.direct());
        let coarse = Cell::coarse(&space, &like.situation);
        let index = name(&format!("cell:{coarse}"));
        let () = direct.zadd(&index, b"\xff short", 1).unwrap();
        let () = direct.zadd(&index, vec![9u8; 56], 1.5).unwrap();
        let () = direct.zadd(&index, vec![8u8; 56], "-inf").unwrap();
        for cell in [&b"\xff\xfe"[..], b"edgelore/1/0000000000000000/a/b/c/d", b"", b"x"] {
            let () = direct.sadd(name("cells"), cell).unwrap();
        }
        // A cell of the right name whose index is none.
        let odd = coarse.to_string().replace("bgp", "bgp2");
        let () = direct.sadd(name("cells"), &odd).unwrap();
        let () = direct.set(name(&format!("cell:{odd}")), "no sorted set").unwrap();
        let () = direct.hset(name("meta"), "cells", "changed").unwrap();
        for fields in [[("i", "short")], [("nonsense", "\u{0}")]] {
            let _: String = redis::cmd("XADD")
                .arg(name("history"))
                .arg("*")
                .arg(&fields)
                .query(&mut direct)
                .unwrap();
        }
        for entry in ["1-1", "no entry", "99999999999999999999-1"] {
            let () = direct.zadd(name("expiry"), entry, 1).unwrap();
        }
        let good = sealed(like, &key(1));
        let opened = edgelore_pipeline::packet::open(&good.bytes).unwrap();
        let withdrawn = [opened.publisher, opened.id].concat();
        let () = direct.hset(name("withdrawn"), withdrawn, vec![7u8; 75]).unwrap();
    }

    fn skipped(&self) -> u64 {
        self.backend.skipped()
    }
}

served!(live_redis, OnRedis);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_redis_over_tls() {
    if !live("live_redis_over_tls") {
        return;
    }
    let (certificates, clock) = (Certificates::new().unwrap(), SimClock::new());
    let server = RedisServer::start_with_tls(&certificates).unwrap();
    let port = server.tls_port().unwrap();
    let (ca, cert, key_file) =
        (certificates.authority(), certificates.client_cert(), certificates.client_key());
    let url = format!(
        "rediss://:{PASSWORD}@localhost:{port}?ca={}&cert={}&key={}",
        ca.display(),
        cert.display(),
        key_file.display()
    );
    let backend = Redis::new(config(&url, &clock)).unwrap();
    let packet = sealed(&outcome(), &key(1));
    assert!(backend.store(packet.bytes).await.unwrap().new);
    let mut subscription = backend.subscribe(&[], Some(Default::default())).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().packet.id, packet.id);
    // Without a certificate of the server's authority, and with the system's authorities alone.
    for query in [format!("?ca={}", ca.display()), String::new()] {
        let url = format!("rediss://:{PASSWORD}@localhost:{port}{query}");
        let error = Redis::new(config(&url, &clock)).unwrap().get(&[0; 32]).await.unwrap_err();
        assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_redis_says_whether_it_is_durable() {
    if !live("live_redis_says_whether_it_is_durable") {
        return;
    }
    let clock = SimClock::new();
    for (option, durable) in [("always", true), ("everysec", false), ("no", false)] {
        let server = RedisServer::start(&["--appendfsync", option]).unwrap();
        let backend = client(server.port(), &clock).await;
        assert_eq!(backend.capability().durable, durable, "{option}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_redis_that_is_full_refuses_until_something_expires() {
    if !live("live_redis_that_is_full_refuses_until_something_expires") {
        return;
    }
    let (server, clock) = (RedisServer::start(&[]).unwrap(), SimClock::new());
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port());
    let full = RedisConfig { packets_max: 2, ..config(&url, &clock) };
    let backend = Redis::new(full).unwrap();
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
    clock.advance(86_400);
    let late = Outcome { sample_size: 4, ..outcome() };
    let mut late = late;
    late.expires.0 += 3 * 86_400_000_000_000;
    backend.store(sealed(&late, &key(1)).bytes).await.unwrap();
    let found = backend.query(&Query::default(), u32::MAX, 10).await.unwrap();
    assert_eq!(found.len(), 1, "purging leaves what counts");
    let mut direct = redis::Client::open(url).unwrap().get_connection().unwrap();
    let packets: u64 = direct.hlen(name("packets")).unwrap();
    let history: u64 = redis::cmd("XLEN").arg(name("history")).query(&mut direct).unwrap();
    assert_eq!((packets, history), (1, 1), "and takes everything else along");
}

#[test]
fn urls_that_are_none_are_refused_without_their_password() {
    for url in [
        "redis:// x",
        "http://:secret@localhost",
        "redis://:secret@localhost/not-a-number",
        "redis://:secret@localhost?color=red",
        "rediss://:secret@localhost?ca=/nonexistent/file",
        "rediss://:secret@localhost?cert=/dev/null",
    ] {
        let error = Redis::new(RedisConfig::at(url)).unwrap_err();
        assert!(matches!(error, BackendError::Request(_)) && error.is_final(), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
