//! Live figures: what the node sees, withholds and loses.

use crate::delivery::DeliveryStatus;
use edgelore_capture::Clock;
use edgelore_model::{LossReason, Summary, Timestamp};
use edgelore_pipeline::topology::SiteInference;
use edgelore_routing::Backend;
use edgelore_routing::layers::{Measured, OperationFigures};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything an operator may ask of a running node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// When the node started.
    pub started: Timestamp,
    /// When these figures were taken.
    pub at: Timestamp,
    /// Per interface, how its programs are attached.
    pub interfaces: BTreeMap<String, Vec<String>>,
    /// Per tracepoint, `attached` or why it is missing.
    #[serde(default)]
    pub tracepoints: BTreeMap<String, String>,
    /// The kernel side's counters by name.
    pub kernel: BTreeMap<String, u64>,
    /// The BMP listener's counters by name; empty without one.
    #[serde(default)]
    pub bmp: BTreeMap<String, u64>,
    /// The routers connected to it, by their end of the connection.
    #[serde(default)]
    pub bmp_routers: BTreeMap<SocketAddr, RouterStatus>,
    /// What was decoded.
    pub decoded: Summary,
    /// What did not fit into the bounded tables of decoders and detector.
    pub overflows: u64,
    /// From the signal that opened an incident, as it was captured, to the incident's being told:
    /// the wait for slower sources (`capture.reorder_ms`), decoding and detection. `None` before the
    /// first.
    #[serde(default)]
    pub opened_latency_us: Option<Latency>,
    /// What was lost, by reason.
    pub lost: BTreeMap<LossReason, u64>,
    /// Incidents closed since the start.
    pub incidents: u64,
    /// Outcomes distilled since the start.
    pub outcomes: u64,
    /// What was published, accepted, withheld and refused, by name, since the data directory was
    /// made, refusals as `refused.REASON`; and `left_out_of_stores`: what stores gave since the start that
    /// was not what it should be.
    #[serde(default)]
    pub trust: BTreeMap<String, u64>,
    /// What others publish near here, by the server that it comes from.
    #[serde(default)]
    pub delivery: BTreeMap<String, DeliveryStatus>,
    /// What servers were asked since the start, by server and operation.
    #[serde(default)]
    pub stores: BTreeMap<String, BTreeMap<String, OperationFigures>>,
    /// What servers' clients and nodes of the DHT count of their own since the start, by server: peers,
    /// copies, what peers sent that was refused (`refused.REASON`).
    #[serde(default)]
    pub store_counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// What was inferred of the network; absent before anything of it was heard.
    #[serde(default)]
    pub site: Option<SiteInference>,
    /// Why the configured network does not look like the inferred one; empty when it does.
    #[serde(default)]
    pub site_doubts: Vec<String>,
}

/// How long something took, over all times that it happened, in µs, to two digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How often it happened.
    pub count: u64,
    /// Half of the times it took no longer.
    pub p50: u64,
    /// In 99 of a hundred times it took no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// What a monitored router has sent over its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// Whole BMP messages.
    pub messages: u64,
    /// Octets of them.
    pub bytes: u64,
}

impl fmt::Debug for StatusSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusSource").finish_non_exhaustive()
    }
}

/// Where the figures are gathered; cheap to clone.
#[derive(Clone)]
pub struct StatusSource {
    shared: Arc<Mutex<Status>>,
    stores: Arc<Mutex<BTreeMap<String, Store>>>,
    opened_us: Arc<Mutex<Histogram<u64>>>,
    clock: Clock,
}

/// A store and what it was asked.
struct Store {
    measured: Measured,
    backend: Arc<dyn Backend>,
}

/// What takes longer counts as this, in µs: a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Significant digits of latencies.
const LATENCY_DIGITS: u8 = 2;

impl StatusSource {
    /// Starts counting.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: clock.now(),
            ..Status::default()
        };
        let opened_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
            .expect("the bounds and the digits are within what the histogram takes");
        Self {
            shared: Arc::new(Mutex::new(status)),
            stores: Arc::default(),
            opened_us: Arc::new(Mutex::new(opened_us)),
            clock,
        }
    }

    /// The figures now.
    #[must_use]
    pub fn now(&self) -> Status {
        let (at, opened_latency_us) = (self.clock.now(), self.opened_latency());
        let (mut stores, mut store_counts) = (BTreeMap::new(), BTreeMap::new());
        for (name, store) in self.stores.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            stores.insert(name.clone(), store.measured.figures());
            let counts = store.backend.counts();
            if !counts.is_empty() {
                store_counts.insert(name.clone(), counts);
            }
        }
        Status { at, opened_latency_us, stores, store_counts, ..self.update().clone() }
    }

    /// The node's time.
    #[must_use]
    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A store whose figures are told, with what it is asked; what messages call it.
    pub fn measure(&self, name: &str, measured: Measured, backend: Arc<dyn Backend>) {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(name.to_owned(), Store { measured, backend });
    }

    /// An incident is told now that a signal of the time `at` opened.
    pub fn incident_opened(&self, at: Timestamp) {
        let took_us = (self.clock.now() - at).0.max(0).unsigned_abs() / 1_000;
        let mut opened = self.opened_us.lock().unwrap_or_else(PoisonError::into_inner);
        opened.saturating_record(took_us.max(1));
    }

    fn opened_latency(&self) -> Option<Latency> {
        let opened = self.opened_us.lock().unwrap_or_else(PoisonError::into_inner);
        (!opened.is_empty()).then(|| Latency {
            count: opened.len(),
            p50: opened.value_at_quantile(0.5),
            p99: opened.value_at_quantile(0.99),
            max: opened.max(),
        })
    }

    /// Access for whoever has new figures.
    pub fn update(&self) -> MutexGuard<'_, Status> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Span;

    #[test]
    fn how_soon_incidents_are_told_is_there_once_one_was() {
        let status = StatusSource::new(Clock::new());
        assert_eq!(status.now().opened_latency_us, None);
        let clock = status.clock;
        for ms in [30, 30, 500] {
            status.incident_opened(clock.now() - Span::from_millis(ms));
        }
        // A signal from the future took no time.
        status.incident_opened(clock.now() + Span::from_millis(60_000));
        let told = status.now().opened_latency_us.expect("incidents were told");
        assert_eq!(told.count, 4);
        assert!((30_000..500_000).contains(&told.p50), "{told:?}");
        assert!(told.max >= 495_000 && told.p99 >= 495_000, "{told:?}");
    }

    #[cfg(feature = "dht")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_node_of_the_dht_counts_is_told() {
        use crate::trust::tests::{key, outcome};
        use crate::trust::{Trust, TrustConfig};
        use edgelore_model::{Outcome, Sharing};
        use edgelore_pipeline::fingerprint::Space;
        use edgelore_pipeline::packet::seal;
        use edgelore_routing::dht::{Dht, DhtConfig};
        use std::time::Duration;

        let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let (status, clock) = (StatusSource::new(Clock::new()), Clock::new());
        let now = clock.now();
        // To a neighbour whose clock is an hour behind, what has expired meanwhile still counts.
        let hour = Span::from_millis(3_600_000);
        let neighbour = Dht::open(DhtConfig {
            now: Arc::new(move || now - hour),
            ..DhtConfig::in_directory(directories[0].path())
        });
        let neighbour = neighbour.unwrap();
        let name = format!("dht://{}", directories[1].path().display());
        let url = format!("{name}?bootstrap={}", neighbour.addresses()[0]);
        let mut config = crate::Config::default();
        config.publish.store = Some(url.as_str().into());
        let space = Space::default_definition();
        let trust = directories[2].path();
        let trust = Trust::open(trust, TrustConfig::default(), Arc::new(move || clock.now()));
        let (outlets, _) = crate::open_stores(&config, &space, &trust.unwrap(), &status).unwrap();
        let signed = |created, expires| {
            let outcome = Outcome { created, expires, ..outcome() };
            seal(&outcome, &key(1), &space).unwrap().bytes
        };
        let store = outlets.of(Sharing::Public).unwrap();
        store.store(signed(now, now + hour)).await.unwrap();
        let half = Span::from_millis(1_800_000);
        neighbour.store(signed(now - hour - half, now - half)).await.unwrap();
        let told = async {
            loop {
                let counts = status.now().store_counts.remove(&name).expect("it counts");
                let wanted = ["peers", "packets", "asked", "copies", "refused.expired"];
                if wanted.iter().all(|name| counts[*name] > 0) {
                    break counts;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(60), told).await.expect("it is told");
        assert_eq!((told["peers"], told["packets"], told["kept"]), (1, 1, 0));
        assert_eq!((told["refused.forged"], told["banned"]), (0, 0));
        assert_eq!(status.now().stores[&name]["store"].calls, 1);
    }
}
