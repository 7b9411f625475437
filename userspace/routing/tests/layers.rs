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
use edgelore_routing::layers::{Breaker, Failover, Mirror, Named, Retry, Timeout};
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
