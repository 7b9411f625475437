//! Attacks on every backend: each is refused, counted and explained, and concerns nobody else.
//!
//! | store | started by |
//! |---|---|
//! | embedded | the process itself |
//! | HTTP, by a client that sends whatever it likes | the process itself |
//! | NATS JetStream, pgvector, PostgreSQL, Redis (live) | a server for each case |
//! | Kademlia DHT: stored and declared at one node, read at another | the process itself |
//!
//! A hostile server is `hostile.rs`; hostile peers of the DHT are in `routing/src/dht/tests`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../routing/tests/suite/mod.rs"]
mod suite;

mod cases;
mod hostile;
mod web;

use async_trait::async_trait;
use edgelore_model::{Outcome, Query, Span, Timestamp};
use edgelore_node::trust::book::{Book, Entry, Standing};
use edgelore_node::trust::{Guard, Trust, TrustConfig, audit};
use edgelore_pipeline::packet::Sealed;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig, Now};
use edgelore_routing::{Backend, BackendError, PacketId};
use std::num::NonZeroU32;
use std::sync::Arc;
use suite::{START, SimClock, key, outcome, sealed};
use tempfile::TempDir;

/// Days of the replay window.
const WINDOW_DAYS: u16 = 30;
/// New packets of a publisher in an hour; no test lasts long enough for one more.
const HOURLY: u32 = 40;

fn config() -> TrustConfig {
    TrustConfig {
        replay_window_days: WINDOW_DAYS,
        publisher_hourly_max: NonZeroU32::new(HOURLY).unwrap(),
        ..TrustConfig::default()
    }
}

/// What stands between others and a store.
struct Gate {
    directory: TempDir,
    clock: SimClock,
    trust: Arc<Trust>,
}

impl Gate {
    fn new() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
        let now = clock.clone();
        let trust = Trust::open(directory.path(), config(), Arc::new(move || now.now())).unwrap();
        Self { directory, clock, trust }
    }

    /// The node, or the server, starts again on what is on its disk.
    fn restart(&mut self) {
        let now = self.clock.clone();
        let now: Now = Arc::new(move || now.now());
        self.trust = Trust::open(self.directory.path(), config(), now).unwrap();
    }

    fn count(&self, name: &str) -> u64 {
        self.trust.counts().get(name).copied().unwrap_or(0)
    }

    fn refused(&self) -> u64 {
        let counts = self.trust.counts().into_iter();
        counts.filter(|(name, _)| name.starts_with("refused.")).map(|(_, count)| count).sum()
    }

    fn audited(&self) -> Vec<audit::Record> {
        let (records, damaged) = audit::read(self.directory.path(), 10_000, |_| true).unwrap();
        assert_eq!(damaged, 0, "no packet breaks a line of the log");
        records
    }

    fn say(&self, by: u8, standing: Standing) {
        let entry = Entry::new(standing, START);
        let change = |book: &mut Book| book.set(key(by).publisher(), entry);
        Book::change(self.directory.path(), change).unwrap();
    }
}

/// A store behind a gate.
#[async_trait]
trait Target: Send + Sync + Sized {
    async fn start() -> Self;
    fn gate(&self) -> &Gate;
    /// What everybody uses.
    fn backend(&self) -> &dyn Backend;
    /// Sends bytes as they are: the reason when they are refused.
    async fn send(&self, bytes: &[u8]) -> Result<(), String> {
        match self.backend().store(bytes.to_vec()).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let held_back = matches!(error, BackendError::Throttled(..));
                assert!(error.is_final() || held_back, "{error}");
                Err(error.to_string())
            }
        }
    }
}

struct Direct {
    gate: Gate,
    backend: Arc<Guard>,
    _store: TempDir,
}

fn embedded(directory: &TempDir, clock: &SimClock) -> Arc<Embedded> {
    let clock = clock.clone();
    let config = EmbeddedConfig {
        now: Arc::new(move || clock.now()),
        ..EmbeddedConfig::in_directory(directory.path())
    };
    Arc::new(Embedded::open(config).unwrap())
}

#[async_trait]
impl Target for Direct {
    async fn start() -> Self {
        let (gate, store) = (Gate::new(), tempfile::tempdir().unwrap());
        let backend = Guard::serving(embedded(&store, &gate.clock), Arc::clone(&gate.trust));
        Self { gate, backend, _store: store }
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }
}

/// The ids of everything that is found, in order.
async fn everything(backend: &dyn Backend) -> Vec<PacketId> {
    let found = backend.query(&Query::default(), u32::MAX, 1_000).await.unwrap();
    let mut ids: Vec<PacketId> = found.into_iter().map(|found| found.opened.id).collect();
    ids.sort_unstable();
    ids
}

/// An outcome that differs from others by its number.
fn numbered(number: u32) -> Outcome {
    Outcome { sample_size: number, ..outcome() }
}

fn days(days: i64) -> Span {
    Span::from_millis(days * 86_400_000)
}

fn made(created: Timestamp, expires: Timestamp) -> Sealed {
    sealed(&Outcome { created, expires, ..outcome() }, &key(1))
}

/// One test a case.
macro_rules! attacks {
    ($target:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                cases::$case(&<$target as Target>::start().await).await;
            }
        )+
    };
    (live $module:ident $target:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if edgelore_testkit::live(concat!(stringify!($module), "::", stringify!($case))) {
                    cases::$case(&<$target as Target>::start().await).await;
                }
            }
        )+
    };
}

/// All cases of a target, as a module.
macro_rules! attacked {
    ($module:ident, $($target:tt)+) => {
        mod $module {
            use super::*;
            attacks!($($target)+:
                what_is_not_a_packet_of_this_store_is_refused,
                who_is_blocked_or_revoked_is_out_and_nobody_else,
                a_packet_that_is_sent_again_changes_nothing_and_uses_up_nothing,
                what_was_replaced_does_not_come_back,
                equal_answers_of_others_and_claims_on_others_packets_change_nothing,
                a_flood_stops_at_its_publisher,
                no_word_gets_out_of_its_field_or_into_the_log,
                a_subscriber_receives_what_a_query_shows,
            );
        }
    };
}

attacked!(on_embedded, Direct);
attacked!(on_http, web::Web);

#[cfg(any(feature = "nats", feature = "pgvector", feature = "postgres", feature = "redis"))]
mod servers;

#[cfg(feature = "dht")]
mod dht;
