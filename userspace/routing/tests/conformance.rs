//! The embedded store under the conformance suite, and what is its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod suite;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig, upkeep};
use edgelore_routing::{Backend, BackendError, Cursor};
use redb::ReadableTable as _;
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
async fn a_full_store_keeps_the_most_useful() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let full = EmbeddedConfig { packets_max: 3, ..config(directory.path(), &clock) };
    let store = Embedded::open(full.clone()).unwrap();
    let packet =
        |sample_size, publisher| sealed(&Outcome { sample_size, ..outcome() }, &key(publisher));
    let kept = async |store: &Embedded| {
        let found = store.query(&Query::default(), u32::MAX, 10).await.unwrap();
        let mut kept: Vec<_> = found.iter().map(|one| one.opened.outcome.sample_size).collect();
        kept.sort_unstable();
        kept
    };
    for sample_size in [5, 6, 7] {
        assert!(store.store(packet(sample_size, 1).bytes).await.unwrap().new);
    }
    let error = store.store(packet(4, 1).bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Full) && !error.is_final(), "{error}");
    assert!(!store.store(packet(5, 1).bytes).await.unwrap().new, "what is there needs no room");
    // Another publisher's first packet displaces one of whoever holds most, and says so.
    assert!(store.store(packet(1, 2).bytes).await.unwrap().new);
    assert_eq!(kept(&store).await, [1, 6, 7]);
    assert_eq!((store.figures().packets, store.figures().evicted), (3, 1));
    // What was withdrawn goes first, after a restart too.
    let third = Outcome { sample_size: 3, revokes: Some(packet(7, 1).id), ..outcome() };
    assert!(store.store(sealed(&third, &key(1)).bytes).await.unwrap().new);
    assert_eq!(kept(&store).await, [1, 3]);
    drop(store);
    let store = Embedded::open(full).unwrap();
    assert!(store.store(packet(9, 2).bytes).await.unwrap().new);
    assert_eq!(kept(&store).await, [1, 3, 9]);
    // What has expired makes room before anything else.
    clock.advance(86_400);
    let mut later = Outcome { sample_size: 1, ..outcome() };
    later.expires.0 += 86_400_000_000_000;
    assert!(store.store(sealed(&later, &key(1)).bytes).await.unwrap().new);
    assert_eq!((kept(&store).await, store.figures().packets), (vec![1], 1));
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

/// The packets of a store, as they are on disk.
fn planted(directory: &Path, plant: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(directory.join("outcomes.redb")).unwrap();
    let write = database.begin_write().unwrap();
    plant(&write);
    write.commit().unwrap();
}

#[tokio::test]
async fn upkeep_finds_what_is_wrong_and_saves_what_is_not() {
    let mut subject = Direct::start().await;
    let directory = subject.directory.path().to_owned();
    let packets: Vec<_> =
        (1..=3).map(|n| sealed(&Outcome { sample_size: n, ..outcome() }, &key(1))).collect();
    for packet in &packets {
        subject.backend().store(packet.bytes.clone()).await.unwrap();
    }
    assert!(upkeep::check(&directory).is_err(), "the store is open");
    subject.store = None;
    let checked = upkeep::check(&directory).unwrap();
    assert!(checked.is_sound() && checked.sound == 3, "{checked:?}");
    let stats = upkeep::stats(&directory, subject.clock.now()).unwrap();
    assert_eq!((stats.packets, stats.publishers, stats.expired, stats.withdrawn), (3, 1, 0, 0));
    assert_eq!(stats.situations["spine_leaf/bgp/convergence"], 3);

    // A packet that nobody signed, a record that says another thing, and one without its packet.
    const PACKETS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("packets");
    const RECORDS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("records");
    planted(&directory, |write| {
        let mut forged = packets[0].bytes.clone();
        *forged.last_mut().unwrap() ^= 1;
        write.open_table(PACKETS).unwrap().insert(1, forged.as_slice()).unwrap();
        let mut records = write.open_table(RECORDS).unwrap();
        let other = records.get(3).unwrap().unwrap().value().to_vec();
        records.insert(2, other.as_slice()).unwrap();
        records.insert(9, other.as_slice()).unwrap();
    });
    let checked = upkeep::check(&directory).unwrap();
    assert!(!checked.is_sound(), "{checked:?}");
    assert_eq!((checked.sound, checked.damaged, checked.orphans), (1, 2, 1));
    let named: Vec<u64> = checked.named.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(named, [1, 2]);
    let mut saved = Vec::new();
    let damaged = upkeep::export(&directory, |packet| -> Result<(), BackendError> {
        saved.push(packet.to_vec());
        Ok(())
    });
    assert_eq!(damaged.unwrap(), 1);
    assert_eq!(saved, [packets[1].bytes.clone(), packets[2].bytes.clone()]);
}

#[tokio::test]
async fn a_store_of_the_first_format_is_brought_up() {
    let mut subject = Direct::start().await;
    let directory = subject.directory.path().to_owned();
    let packet = sealed(&outcome(), &key(1));
    subject.backend().store(packet.bytes.clone()).await.unwrap();
    subject.store = None;
    planted(&directory, |write| {
        let table = redb::TableDefinition::<u64, &[u8]>::new("records");
        write.open_table(table).unwrap().insert(1, br#"{"id":[]}"#.as_slice()).unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        write.open_table(meta).unwrap().insert("format", 1).unwrap();
    });
    subject.restart().await;
    let found = subject.backend().query(&Query::default(), 0, 10).await.unwrap();
    assert_eq!(found[0].opened.id, packet.id);
    subject.store = None;
    assert!(upkeep::check(&directory).unwrap().is_sound());
}

#[tokio::test]
async fn a_store_that_was_emptied_shrinks_when_it_is_compacted() {
    let mut subject = Direct::start().await;
    for n in 0..512 {
        let packet = sealed(&Outcome { sample_size: n, ..outcome() }, &key(1));
        subject.backend().store(packet.bytes).await.unwrap();
    }
    subject.clock.advance(86_400);
    let mut later = outcome();
    later.expires.0 += 86_400_000_000_000;
    subject.backend().store(sealed(&later, &key(1)).bytes).await.unwrap();
    subject.store = None;
    let directory = subject.directory.path().to_owned();
    let (before, after) = upkeep::compact(&directory).unwrap();
    assert!(after < before, "{after} bytes of {before}");
    assert_eq!(upkeep::check(&directory).unwrap().sound, 1);
}
