//! Live figures: what the node sees, withholds and loses.

use edgelore_capture::Clock;
use edgelore_model::{LossReason, Summary, Timestamp};
use edgelore_pipeline::topology::SiteInference;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// What was lost, by reason.
    pub lost: BTreeMap<LossReason, u64>,
    /// Incidents closed since the start.
    pub incidents: u64,
    /// Outcomes distilled since the start.
    pub outcomes: u64,
    /// What was inferred of the network; absent before anything of it was heard.
    #[serde(default)]
    pub site: Option<SiteInference>,
    /// Why the configured network does not look like the inferred one; empty when it does.
    #[serde(default)]
    pub site_doubts: Vec<String>,
}

/// What a monitored router has sent over its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// Whole BMP messages.
    pub messages: u64,
    /// Octets of them.
    pub bytes: u64,
}

/// Where the figures are gathered; cheap to clone.
#[derive(Clone, Debug)]
pub struct StatusSource {
    shared: Arc<Mutex<Status>>,
    clock: Clock,
}

impl StatusSource {
    /// Starts counting.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: clock.now(),
            ..Status::default()
        };
        Self { shared: Arc::new(Mutex::new(status)), clock }
    }

    /// The figures now.
    #[must_use]
    pub fn now(&self) -> Status {
        Status { at: self.clock.now(), ..self.update().clone() }
    }

    /// Access for whoever has new figures.
    pub fn update(&self) -> MutexGuard<'_, Status> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
