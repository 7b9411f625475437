//! The layers around a real embedded store that is made to fail: the conformance suite through
//! them, and what each layer promises.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chaos;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::layers::{
    Breaker, Cache, CacheBounds, Failover, Measured, Metrics, Mirror, Named, Retry, Timeout,
};
use edgelore_routing::{Backend, BackendError};

use chaos::{Chaos, Fault};
use suite::{SimClock, Subject, key, outcome, sealed};
use tempfile::TempDir;

/// A store in a directory of its own.
fn open(directory: &TempDir, clock: &SimClock) -> Embedded {
    let clock = clock.clone();
    let now: Arc<dyn Fn() -> _ + Send + Sync> = Arc::new(move || clock.now());
    Embedded::open(EmbeddedConfig { now, ..EmbeddedConfig::in_directory(directory.path()) })
        .unwrap()
}

/// Every third call fails or hangs before it reaches the store.
struct Harried {
    directory: TempDir,
    clock: SimClock,
    store: Option<Box<dyn Backend>>,
}

impl Harried {
    fn harry(&mut self) {
        let store = Arc::new(open(&self.directory, &self.clock));
        let chaos = Chaos::new(store, |call| match call % 6 {
            1 => Some(Fault::Refused),
            4 => Some(Fault::Hangs),
            _ => None,
        });
        let limited = Timeout::new(chaos, Duration::from_millis(200));
        self.store = Some(Box::new(Retry::new(limited, 100, Duration::from_millis(1))));
    }
}

#[async_trait]
impl Subject for Harried {
    async fn start() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
        let mut subject = Self { directory, clock, store: None };
        subject.harry();
        subject
    }

    async fn restart(&mut self) {
        self.store = None;
        self.harry();
    }

    fn backend(&self) -> &dyn Backend {
        self.store.as_deref().unwrap()
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }
}

conformance!(Harried);

/// A store to share, and the directory that goes with it.
fn shared() -> (Arc<Embedded>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Arc::new(open(&directory, &SimClock::new())), directory)
}

fn named(name: &str, backend: impl Backend + 'static) -> Named {
    (name.to_owned(), Arc::new(backend))
}

async fn count(store: &dyn Backend) -> usize {
    store.query(&Query::default(), u32::MAX, 1_000).await.unwrap().len()
}

fn packets(count: u32) -> Vec<Vec<u8>> {
    let packet = |sample_size| sealed(&Outcome { sample_size, ..outcome() }, &key(1)).bytes;
    (0..count).map(packet).collect()
}

#[tokio::test]
async fn a_lost_acknowledgement_stores_nothing_twice() {
    let (store, _directory) = shared();
    let chaos = Chaos::new(Arc::clone(&store), |call| (call % 2 == 0).then_some(Fault::AnswerLost));
    let patient = Retry::new(chaos, 5, Duration::from_millis(1));
    for packet in packets(20) {
        patient.store(packet).await.unwrap();
    }
    assert_eq!(count(store.as_ref()).await, 20);
    assert_eq!(store.figures().packets, 20);
}

#[tokio::test]
async fn what_is_final_is_not_tried_again() {
    let (store, _directory) = shared();
    let chaos = Chaos::new(store, |_| None);
    let patient = Retry::new(chaos.clone(), 5, Duration::from_millis(1));
    assert!(patient.store(vec![0; 10]).await.unwrap_err().is_final());
    assert_eq!(chaos.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_as_long_as_it_is_told() {
    let (store, _directory) = shared();
    let chaos = Chaos::new(store, |call| (call < 2).then_some(Fault::Throttled(7_000)));
    let patient = Retry::new(chaos, 3, Duration::from_millis(1));
    let asked = tokio::time::Instant::now();
    patient.get(&[0; 32]).await.unwrap();
    assert_eq!(asked.elapsed(), Duration::from_secs(14));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_leaves_a_silent_backend_alone_and_tries_it_now_and_then() {
    let (store, _directory) = shared();
    let chaos = Chaos::new(store, |call| (call < 6).then_some(Fault::Refused));
    let breaker = Breaker::new(chaos.clone());
    for _ in 0..100 {
        assert!(breaker.get(&[0; 32]).await.unwrap_err().is_transient());
    }
    assert_eq!(chaos.calls(), 5, "five failures open it");
    tokio::time::advance(Duration::from_secs(11)).await;
    for _ in 0..100 {
        breaker.get(&[0; 32]).await.unwrap_err();
    }
    assert_eq!(chaos.calls(), 6, "one call asks after the rest, and fails");
    tokio::time::advance(Duration::from_secs(11)).await;
    for _ in 0..100 {
        breaker.get(&[0; 32]).await.unwrap();
    }
    assert_eq!(chaos.calls(), 106, "an answer closes it");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_whose_question_was_given_up_asks_again() {
    let (store, _directory) = shared();
    let chaos = Chaos::new(store, |call| match call {
        0..5 => Some(Fault::Refused),
        5 => Some(Fault::Hangs),
        _ => None,
    });
    let breaker = Breaker::new(chaos.clone());
    for _ in 0..5 {
        breaker.get(&[0; 32]).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    let given_up = tokio::time::timeout(Duration::from_secs(1), breaker.get(&[0; 32])).await;
    assert!(given_up.is_err(), "it hangs");
    breaker.get(&[0; 32]).await.unwrap_err();
    assert_eq!(chaos.calls(), 6, "it rests again");
    tokio::time::advance(Duration::from_secs(11)).await;
    breaker.get(&[0; 32]).await.unwrap();
}

#[tokio::test]
async fn a_refusal_does_not_open_a_breaker() {
    let (store, _directory) = shared();
    let breaker = Breaker::new(Chaos::new(store, |_| None));
    for _ in 0..10 {
        assert!(breaker.store(vec![0]).await.unwrap_err().is_final());
    }
    breaker.get(&[0; 32]).await.unwrap();
}

#[tokio::test]
async fn another_server_answers_and_is_asked_first_from_then_on() {
    let ((a, _directory_a), (b, _directory_b)) = (shared(), shared());
    let first = Chaos::new(a, |_| Some(Fault::Refused));
    let servers = vec![named("a", first.clone()), ("b".to_owned(), Arc::clone(&b) as _)];
    let both = Failover::new(servers).unwrap();
    for packet in packets(3) {
        assert!(both.store(packet).await.unwrap().new);
    }
    assert_eq!((first.calls(), count(b.as_ref()).await), (1, 3));
    assert!(both.store(vec![0]).await.unwrap_err().is_final(), "a refusal is an answer");
    assert!(both.subscribe(&[], None).await.is_err(), "cursors are the first server's");
}

#[tokio::test]
async fn when_no_server_answers_each_is_named() {
    let ((a, _directory_a), (b, _directory_b)) = (shared(), shared());
    let down = |store: Arc<Embedded>| Chaos::new(store, |_| Some(Fault::Refused));
    let both = Failover::new(vec![named("hub-a", down(a)), named("hub-b", down(b))]).unwrap();
    let error = both.get(&[0; 32]).await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_transient() && text.contains("hub-a") && text.contains("hub-b"), "{text}");
}

#[tokio::test]
async fn several_stores_are_written_together_and_read_from_any() {
    let ((a, _directory_a), (b, _directory_b)) = (shared(), shared());
    // The second store is down for its first call, in the middle of a write to both.
    let late = Chaos::new(Arc::clone(&b), |call| (call == 0).then_some(Fault::Refused));
    let both = Mirror::new(vec![("a".to_owned(), Arc::clone(&a) as _), named("b", late)]).unwrap();
    let [first, second] = packets(2).try_into().unwrap();
    let error = both.store(first.clone()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(both.store(first.clone()).await.unwrap().new, "new to the second");
    assert!(!both.store(first).await.unwrap().new);
    b.store(second).await.unwrap();
    let found = both.query(&Query::default(), u32::MAX, 10).await.unwrap();
    assert_eq!((count(a.as_ref()).await, found.len()), (1, 2), "each once");
    assert_eq!(both.query(&Query::default(), u32::MAX, 1).await.unwrap().len(), 1);
    assert_eq!(both.get(&found[0].opened.id).await.unwrap().unwrap(), found[0].opened.bytes);
}

#[tokio::test]
async fn one_store_of_several_is_enough_to_read_and_none_is_an_error() {
    let ((a, _directory_a), (b, _directory_b)) = (shared(), shared());
    a.store(packets(1).remove(0)).await.unwrap();
    let down = Chaos::new(b, |_| Some(Fault::Refused));
    let both = Mirror::new(vec![named("b", down), ("a".to_owned(), a as _)]).unwrap();
    assert_eq!(count(&both).await, 1);
    let (c, _directory_c) = shared();
    let alone = Mirror::new(vec![named("c", Chaos::new(c, |_| Some(Fault::Refused)))]).unwrap();
    let error = alone.query(&Query::default(), 0, 1).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
}

#[test]
fn layers_over_nothing_are_not_made() {
    assert!(Failover::new(Vec::new()).is_none() && Mirror::new(Vec::new()).is_none());
}

/// A store behind a cache, and how often the store was really asked.
fn cached(packets_max: usize, clock: &SimClock) -> (Cache<Chaos>, Chaos, Arc<Embedded>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&directory, clock));
    let chaos = Chaos::new(Arc::clone(&store), |_| None);
    let bounds = CacheBounds { lifetime: Duration::from_secs(10), packets_max };
    let clock = clock.clone();
    (Cache::new(chaos.clone(), bounds, Arc::new(move || clock.now())), chaos, store, directory)
}

#[tokio::test(start_paused = true)]
async fn a_cache_answers_for_its_time_and_forgets_at_its_own_stores() {
    let clock = SimClock::new();
    let (cache, chaos, store, _directory) = cached(100, &clock);
    let packets = packets(3);
    let id = cache.store(packets[0].clone()).await.unwrap().id;
    for _ in 0..3 {
        assert_eq!((count(&cache).await, cache.get(&id).await.unwrap().is_some()), (1, true));
    }
    assert_eq!(chaos.calls(), 3, "one store, one query, one packet");
    // What others store is seen when the time is up.
    store.store(packets[1].clone()).await.unwrap();
    assert_eq!(count(&cache).await, 1);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(count(&cache).await, 2);
    // What is stored here is seen at once, and a packet that was not there is asked for again.
    assert_eq!(cache.get(&[9; 32]).await.unwrap(), None);
    let third = cache.store(packets[2].clone()).await.unwrap().id;
    assert_eq!(count(&cache).await, 3);
    assert!(cache.get(&third).await.unwrap().is_some());
    let calls = chaos.calls();
    assert_eq!(cache.get(&[9; 32]).await.unwrap(), None);
    assert_eq!(chaos.calls(), calls + 1);
    // What has expired is not answered, whatever is remembered.
    clock.advance(100_000);
    assert_eq!(count(&cache).await, 0);
    assert_eq!(chaos.calls(), calls + 1);
}

#[tokio::test(start_paused = true)]
async fn a_cache_holds_no_more_packets_than_it_may() {
    let clock = SimClock::new();
    let (cache, chaos, _store, _directory) = cached(4, &clock);
    let mut ids = Vec::new();
    for packet in packets(6) {
        ids.push(cache.store(packet).await.unwrap().id);
    }
    let stored = chaos.calls();
    // Six are more than may be held: asked again each time.
    assert_eq!((count(&cache).await, count(&cache).await), (6, 6));
    assert_eq!(chaos.calls(), stored + 2);
    for id in &ids {
        cache.get(id).await.unwrap();
    }
    // The last four are held, the first two are not.
    for id in ids.iter().rev().take(4) {
        cache.get(id).await.unwrap();
    }
    assert_eq!(chaos.calls(), stored + 8);
    cache.get(&ids[0]).await.unwrap();
    assert_eq!(chaos.calls(), stored + 9);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_change_is_not_remembered() {
    // The query has its answer when the store comes in between.
    struct Slow(Arc<Embedded>, tokio::sync::Notify, tokio::sync::Notify);
    #[async_trait]
    impl Backend for Slow {
        async fn store(&self, packet: Vec<u8>) -> Result<edgelore_routing::Stored, BackendError> {
            self.0.store(packet).await
        }
        async fn query(
            &self,
            query: &Query,
            radius: u32,
            limit: usize,
        ) -> Result<Vec<edgelore_routing::Found>, BackendError> {
            let found = self.0.query(query, radius, limit).await;
            self.1.notify_one();
            self.2.notified().await;
            found
        }
        async fn get(
            &self,
            id: &edgelore_routing::PacketId,
        ) -> Result<Option<Vec<u8>>, BackendError> {
            self.0.get(id).await
        }
        async fn subscribe(
            &self,
            cells: &[edgelore_routing::Cell],
            after: Option<edgelore_routing::Cursor>,
        ) -> Result<Box<dyn edgelore_routing::Subscription>, BackendError> {
            self.0.subscribe(cells, after).await
        }
        fn capability(&self) -> edgelore_routing::Capability {
            self.0.capability()
        }
    }
    let ((store, _directory), clock) = (shared(), SimClock::new());
    let slow = Arc::new(Slow(store, tokio::sync::Notify::new(), tokio::sync::Notify::new()));
    let cache =
        Cache::new(Arc::clone(&slow), CacheBounds::default(), Arc::new(move || clock.now()));
    let asked = async { count(&cache).await };
    let stored = async {
        slow.1.notified().await;
        cache.store(packets(1).remove(0)).await.unwrap();
        slow.2.notify_one();
    };
    assert_eq!(tokio::join!(asked, stored).0, 0, "it was asked before");
    slow.2.notify_one();
    assert_eq!(count(&cache).await, 1, "and is not remembered");
}

#[tokio::test]
async fn what_is_asked_is_counted_by_operation_and_failures_by_kind() {
    let (store, _directory) = shared();
    let chaos = Chaos::new(store, |call| match call {
        1 => Some(Fault::Refused),
        2 => Some(Fault::Throttled(5)),
        _ => None,
    });
    let measured = Measured::default();
    let counted = Metrics::new(chaos, measured.clone());
    let stored = counted.store(packets(1).remove(0)).await.unwrap();
    assert!(counted.get(&stored.id).await.is_err());
    assert!(counted.get(&stored.id).await.is_err());
    assert!(counted.get(&stored.id).await.unwrap().is_some());
    assert_eq!(count(&counted).await, 1);
    let figures = measured.figures();
    assert_eq!(figures.keys().collect::<Vec<_>>(), ["get", "query", "store"]);
    assert_eq!((figures["store"].calls, figures["store"].errors.len()), (1, 0));
    assert_eq!(figures["get"].calls, 3);
    let errors = [("throttled".to_owned(), 1), ("unavailable".to_owned(), 1)];
    assert_eq!(figures["get"].errors, errors.into());
    let query = &figures["query"];
    assert!(query.p50_us >= 1 && query.p50_us <= query.p99_us && query.p99_us <= query.max_us);
}

/// A store that several sets have in common: a set for a group, and a set for everybody, each with
/// its own way of writing and reading.
#[tokio::test]
async fn sets_of_stores_share_stores() {
    let [(a, _a), (b, _b), (c, _c)] = [shared(), shared(), shared()];
    let broken = Chaos::new(Arc::clone(&c), |_| Some(Fault::Refused));
    let group: Arc<dyn Backend> = Arc::new(
        Mirror::new(vec![named("a", Arc::clone(&a)), named("b", Arc::clone(&b))]).unwrap(),
    );
    let public = Failover::new(vec![named("c", broken), named("b", Arc::clone(&b))]).unwrap();
    let measured = Measured::default();
    let everything = Mirror::new(vec![
        named("group", Metrics::new(Arc::clone(&group), measured.clone())),
        named("public", public),
    ]);
    let packets = packets(2);
    group.store(packets[0].clone()).await.unwrap();
    let everything = everything.unwrap();
    everything.store(packets[1].clone()).await.unwrap();
    assert_eq!((count(a.as_ref()).await, count(b.as_ref()).await), (2, 2));
    assert_eq!((count(c.as_ref()).await, count(&everything).await), (0, 2));
    assert_eq!(measured.figures()["store"].calls, 1);
}
