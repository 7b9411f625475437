//! The embedded store under the conformance suite, and what is its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod suite;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::{Backend, BackendError, Cursor};
use suite::{SimClock, Subject, key, outcome, sealed};
use tempfile::TempDir;

struct Direct {
    directory: TempDir,
    clock: SimClock,
    store: Option<Embedded>,
}

fn config(directory: &Path, clock: &SimClock) -> EmbeddedConfig {
    let clock = clock.clone();
    EmbeddedConfig { now: Arc::new(move || clock.now()), ..EmbeddedConfig::in_directory(directory) }
}

#[async_trait]
impl Subject for Direct {
    async fn start() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
        let store = Embedded::open(config(directory.path(), &clock)).unwrap();
        Self { directory, clock, store: Some(store) }
    }

    async fn restart(&mut self) {
        self.store = None;
        self.store = Some(Embedded::open(config(self.directory.path(), &self.clock)).unwrap());
    }

    fn backend(&self) -> &dyn Backend {
        self.store.as_ref().unwrap()
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }
}

conformance!(Direct);

#[tokio::test]
async fn a_full_store_refuses_until_something_expires() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let full = EmbeddedConfig { packets_max: 2, ..config(directory.path(), &clock) };
    let store = Embedded::open(full).unwrap();
    let put = |sample_size, now: i64| {
        let mut outcome = Outcome { sample_size, ..outcome() };
        outcome.expires.0 += now * 1_000_000_000;
        store.store(sealed(&outcome, &key(1)).bytes)
    };
    put(1, 0).await.unwrap();
    put(2, 10).await.unwrap();
    let error = put(3, 20).await.unwrap_err();
    assert!(matches!(error, BackendError::Full) && !error.is_final(), "{error}");
    assert!(!put(1, 0).await.unwrap().new, "what is there already needs no room");
    clock.advance(86_400);
    assert!(put(3, 20).await.unwrap().new);
    assert_eq!(store.figures().packets, 2);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let _store = Embedded::open(config(directory.path(), &clock)).unwrap();
    let error = Embedded::open(config(directory.path(), &clock)).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_arrive_together_share_a_commit() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let store = Arc::new(Embedded::open(config(directory.path(), &clock)).unwrap());
    let packets: Vec<Vec<u8>> = (0..64)
        .map(|sample_size| sealed(&Outcome { sample_size, ..outcome() }, &key(1)).bytes)
        .collect();
    let tasks = packets.into_iter().map(|packet| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.store(packet).await.unwrap() })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap().new);
    }
    let figures = store.figures();
    assert_eq!(figures.packets, 64);
    assert!(figures.commits < 64, "{} commits for 64 packets", figures.commits);
}

#[tokio::test]
async fn sequence_numbers_are_not_used_again_after_a_purge() {
    let mut subject = Direct::start().await;
    let store = |sample_size, hours: i64| {
        let mut outcome = Outcome { sample_size, ..outcome() };
        outcome.expires.0 += hours * 3_600_000_000_000;
        sealed(&outcome, &key(1)).bytes
    };
    subject.backend().store(store(1, 0)).await.unwrap();
    subject.clock.advance(86_400);
    subject.backend().store(store(2, 1)).await.unwrap();
    subject.clock.advance(3_600);
    subject.restart().await;
    let third = subject.backend().store(store(3, 2)).await.unwrap();
    let mut subscription = subject.backend().subscribe(&[], Some(Cursor(0))).await.unwrap();
    let delivery = subscription.next().await.unwrap();
    assert_eq!((delivery.packet.id, delivery.cursor), (third.id, Cursor(3)));
}

#[tokio::test]
async fn a_closed_store_ends_its_subscriptions() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let store = Embedded::open(config(directory.path(), &clock)).unwrap();
    let mut subscription = store.subscribe(&[], None).await.unwrap();
    drop(store);
    let error = subscription.next().await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn what_the_disk_has_damaged_is_left_out() {
    let mut subject = Direct::start().await;
    let first = sealed(&outcome(), &key(1));
    let second = sealed(&Outcome { sample_size: 4, ..outcome() }, &key(1));
    for packet in [&first, &second] {
        subject.backend().store(packet.bytes.clone()).await.unwrap();
    }
    subject.store = None;
    {
        let path = subject.directory.path().join("outcomes.redb");
        let database = redb::Database::open(path).unwrap();
        let write = database.begin_write().unwrap();
        let table = redb::TableDefinition::<u64, &[u8]>::new("packets");
        let mut bytes = first.bytes.clone();
        bytes[200] ^= 1;
        write.open_table(table).unwrap().insert(1, bytes.as_slice()).unwrap();
        write.commit().unwrap();
    }
    subject.restart().await;
    let found = subject.backend().query(&Query::default(), 0, 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|found| found.opened.id).collect();
    assert_eq!(found, [second.id]);
}
