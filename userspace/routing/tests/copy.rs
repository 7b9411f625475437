//! Copying one store into another: real stores, and one that is made to fail or to lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chaos;
mod suite;

use std::path::Path;
use std::sync::Arc;

use edgelore_model::{Outcome, Query};
use edgelore_pipeline::packet::statement::{revocation, succession};
use edgelore_routing::copy::{CopyError, Progress, copy};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig, Now};
use edgelore_routing::{Backend, BackendError, Cursor, Everything, PacketId};

use chaos::{Chaos, Fault};
use suite::{START, SimClock, key, outcome, sealed};

fn at(clock: &SimClock) -> Now {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

fn open(directory: &Path, clock: &SimClock) -> Embedded {
    Embedded::open(EmbeddedConfig { now: at(clock), ..EmbeddedConfig::in_directory(directory) })
        .unwrap()
}

fn numbered(sample_size: u32) -> Outcome {
    Outcome { sample_size, ..outcome() }
}

/// Stores so many packets of one key, and gives their ids.
async fn fill(store: &dyn Backend, count: u32, by: u8) -> Vec<PacketId> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(store.store(sealed(&numbered(number), &key(by)).bytes).await.unwrap().id);
    }
    ids.sort_unstable();
    ids
}

/// All that a store gives out.
async fn given(store: &dyn Backend) -> Vec<PacketId> {
    let mut everything = Everything::of(store, &[]).await.unwrap();
    let mut ids = Vec::new();
    while let Some(delivery) = everything.next().await.unwrap() {
        ids.push(delivery.packet.id);
    }
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_counts_is_copied_and_read_back() {
    let (directories, clock) = ([0, 1].map(|_| tempfile::tempdir().unwrap()), SimClock::new());
    let [from, to] = [0, 1].map(|n: usize| open(directories[n].path(), &clock));
    let mut short = numbered(900);
    short.expires = START + edgelore_model::Span::from_millis(1_000);
    from.store(sealed(&short, &key(1)).bytes).await.unwrap();
    let mut expected = fill(&from, 100, 1).await;
    let mine = sealed(&numbered(7), &key(1));
    let other = Outcome { supersedes: Some(mine.id), ..numbered(901) };
    expected.push(from.store(sealed(&other, &key(1)).bytes).await.unwrap().id);
    expected.retain(|id| *id != mine.id);
    expected.sort_unstable();
    fill(&from, 5, 3).await;
    let statements = [revocation(&key(3), START), succession(&key(1), &key(2), START)];
    for statement in &statements {
        from.declare(statement.clone()).await.unwrap();
    }
    clock.advance(2);
    let mut seen = Vec::new();
    let copied = copy(&from, &to, &at(&clock), |progress| seen.push(progress)).await.unwrap();
    assert_eq!((copied.read, copied.new, copied.known, copied.verified), (100, 100, 0, 100));
    // One has expired, one was superseded, five are a revoked key's.
    assert_eq!((copied.left_out, copied.expired), (Some(7), 0));
    assert_eq!((copied.statements.new, copied.statements.refused.len()), (2, 0));
    assert_eq!(given(&to).await, expected);
    assert_eq!(seen.first(), Some(&Progress::Copying(1, Some(107))));
    assert_eq!(seen.last(), Some(&Progress::Verifying(100, 100)));
    // What the revoked key publishes later does not count in the copy either.
    fill(&to, 5, 3).await;
    assert_eq!(given(&to).await, expected);
    let again = copy(&from, &to, &at(&clock), drop).await.unwrap();
    assert_eq!((again.new, again.known, again.verified, again.statements.known), (0, 100, 100, 2));
}

#[tokio::test]
async fn an_empty_store_is_copied_too() {
    let (directories, clock) = ([0, 1].map(|_| tempfile::tempdir().unwrap()), SimClock::new());
    let [from, to] = [0, 1].map(|n: usize| open(directories[n].path(), &clock));
    assert_eq!(copy(&from, &to, &at(&clock), drop).await.unwrap().read, 0);
    // The end of a store whose last packets do not count is reached.
    fill(&from, 3, 1).await;
    clock.advance(100_000_000);
    let copied = copy(&from, &to, &at(&clock), drop).await.unwrap();
    assert_eq!((copied.read, copied.left_out), (0, Some(3)));
}

#[tokio::test]
async fn a_copy_that_broke_off_is_completed_by_another() {
    let (directories, clock) = ([0, 1].map(|_| tempfile::tempdir().unwrap()), SimClock::new());
    let [from, to] = [0, 1].map(|n: usize| open(directories[n].path(), &clock));
    let expected = fill(&from, 200, 1).await;
    let to = Arc::new(to);
    let ailing = Chaos::new(Arc::clone(&to), |call| (call == 90).then_some(Fault::Refused));
    let error = copy(&from, &ailing, &at(&clock), drop).await.unwrap_err();
    assert!(matches!(error, CopyError::Destination { .. }), "{error}");
    assert!(error.to_string().contains("the connection was refused"), "{error}");
    let copied = copy(&from, to.as_ref(), &at(&clock), drop).await.unwrap();
    assert_eq!((copied.new + copied.known, copied.verified), (200, 200));
    assert!(copied.known > 0, "what was stored before counts as known");
    assert_eq!(given(to.as_ref()).await, expected);
}

#[tokio::test]
async fn a_destination_that_forgets_is_found_out() {
    let (directories, clock) = ([0, 1].map(|_| tempfile::tempdir().unwrap()), SimClock::new());
    let from = open(directories[0].path(), &clock);
    fill(&from, 20, 1).await;
    // A store that has room for less than it acknowledges: it evicts what it took before.
    let small = EmbeddedConfig {
        packets_max: 12,
        now: at(&clock),
        ..EmbeddedConfig::in_directory(directories[1].path())
    };
    let to = Embedded::open(small).unwrap();
    match copy(&from, &to, &at(&clock), drop).await.unwrap_err() {
        CopyError::Unfaithful { stored: 20, missing: 8, altered: 0, named } => {
            assert_eq!(named.split(", ").count(), 8);
        }
        // When they come together, those that would be the first to go are refused.
        CopyError::Destination { source: BackendError::Full, .. } => {}
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_packet_of_another_definition_is_refused_and_counted() {
    let (directories, clock) = ([0, 1].map(|_| tempfile::tempdir().unwrap()), SimClock::new());
    let from = open(directories[0].path(), &clock);
    fill(&from, 3, 1).await;
    let space = suite::other_space();
    let to = Embedded::open(EmbeddedConfig {
        space,
        now: at(&clock),
        ..EmbeddedConfig::in_directory(directories[1].path())
    });
    let copied = copy(&from, &to.unwrap(), &at(&clock), drop).await.unwrap();
    assert_eq!((copied.read, copied.verified), (3, 0));
    let (reason, count) = copied.refused.first_key_value().unwrap();
    assert!(reason.contains("similarity definition") && *count == 3, "{reason}");
}

#[tokio::test]
async fn what_arrives_while_all_is_read_belongs_to_the_next_reading() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let store = open(directory.path(), &clock);
    let expected = fill(&store, 3, 1).await;
    let mut everything = Everything::of(&store, &[]).await.unwrap();
    fill(&store, 3, 2).await;
    let mut read = Vec::new();
    while let Some(delivery) = everything.next().await.unwrap() {
        assert!(delivery.cursor <= Cursor(3));
        read.push(delivery.packet.id);
    }
    read.sort_unstable();
    assert_eq!(read, expected);
}

/// Through a DHT: into one node, out of another.
#[cfg(feature = "dht")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_go_along_into_a_dht_and_out_of_it() {
    use edgelore_routing::dht::{Dht, DhtConfig};
    let clock = SimClock::new();
    let directories: [_; 4] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let node = |number: usize, bootstrap| {
        let config = DhtConfig::in_directory(directories[number].path());
        Dht::open(DhtConfig { now: at(&clock), bootstrap, ..config }).unwrap()
    };
    let from = open(directories[0].path(), &clock);
    let mut expected = fill(&from, 20, 1).await;
    fill(&from, 5, 3).await;
    for statement in [revocation(&key(3), START), succession(&key(1), &key(2), START)] {
        from.declare(statement).await.unwrap();
    }
    let into = node(1, Vec::new());
    let out_of = node(2, into.addresses());
    while into.figures().peers == 0 || out_of.figures().peers == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let copied = copy(&from, &into, &at(&clock), drop).await.unwrap();
    assert_eq!((copied.new, copied.verified, copied.statements.new), (20, 20, 2));
    assert!(copied.statements.refused.is_empty());
    // The successor's word counts in the DHT too.
    let first = sealed(&numbered(0), &key(1)).id;
    let second = Outcome { supersedes: Some(first), ..numbered(900) };
    expected.push(out_of.store(sealed(&second, &key(2)).bytes).await.unwrap().id);
    expected.retain(|id| *id != first);
    expected.sort_unstable();
    let to = open(directories[3].path(), &clock);
    let copied = copy(&out_of, &to, &at(&clock), drop).await.unwrap();
    assert_eq!((copied.statements.new, copied.statements.known), (2, 0));
    assert_eq!(given(&to).await, expected);
    fill(&to, 5, 3).await;
    assert_eq!(given(&to).await, expected, "nothing of the revoked key");
}

/// The servers' own stores, one into the other.
#[cfg(all(feature = "redis", feature = "postgres"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_every_store_is_copied_into_every_other() {
    use edgelore_routing::postgres::{Postgres, PostgresConfig};
    use edgelore_routing::redis::{Redis, RedisConfig};
    use edgelore_testkit::server::{PASSWORD, PostgresServer, RedisServer};
    if !edgelore_testkit::live("live_every_store_is_copied_into_every_other") {
        return;
    }
    let (directories, clock) = ([0, 1].map(|_| tempfile::tempdir().unwrap()), SimClock::new());
    let (redis, postgres) = (RedisServer::start(&[]).unwrap(), PostgresServer::start().unwrap());
    let port = redis.port();
    let on_redis = RedisConfig {
        now: at(&clock),
        ..RedisConfig::at(&format!("redis://:{PASSWORD}@127.0.0.1:{port}"))
    };
    let port = postgres.port();
    let url = format!("postgres://edgelore:{PASSWORD}@127.0.0.1:{port}/postgres");
    let on_postgres = PostgresConfig { now: at(&clock), ..PostgresConfig::at(&url) };
    let stores: [Box<dyn Backend>; 4] = [
        Box::new(open(directories[0].path(), &clock)),
        Box::new(Redis::new(on_redis).unwrap()),
        Box::new(Postgres::new(on_postgres).unwrap()),
        Box::new(open(directories[1].path(), &clock)),
    ];
    let mut expected = fill(stores[0].as_ref(), 300, 1).await;
    // The last one of each store does not count: its end is reached all the same.
    let gone = sealed(&numbered(7), &key(1)).id;
    let last = Outcome { revokes: Some(gone), ..numbered(1_000) };
    expected.push(stores[0].store(sealed(&last, &key(1)).bytes).await.unwrap().id);
    expected.retain(|id| *id != gone);
    expected.sort_unstable();
    for (number, pair) in stores.windows(2).enumerate() {
        let copied = copy(pair[0].as_ref(), pair[1].as_ref(), &at(&clock), drop).await.unwrap();
        assert_eq!((copied.new, copied.verified, copied.refused.len()), (300, 300, 0));
        assert_eq!(copied.left_out, Some(u64::from(number == 0)));
        assert_eq!(given(pair[1].as_ref()).await, expected);
        let again = copy(pair[0].as_ref(), pair[1].as_ref(), &at(&clock), drop).await.unwrap();
        assert_eq!((again.new, again.known), (0, 300));
    }
    let found = stores[3].query(&Query::default(), u32::MAX, 1_000).await.unwrap();
    assert_eq!(found.len(), 300);
}
