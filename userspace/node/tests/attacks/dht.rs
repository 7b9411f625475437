//! The DHT: what is sent to one node is looked for at another, so that all of it passes between them.

use super::suite::Elsewhere;
use super::*;
use edgelore_routing::dht::{Dht, DhtConfig};
use std::time::Duration;

/// How long two nodes may take to find each other.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct OnDht {
    gate: Gate,
    backend: Arc<Guard>,
    _directories: [TempDir; 2],
}

fn node(directory: &TempDir, clock: &SimClock, bootstrap: Vec<String>) -> Arc<Dht> {
    let clock = clock.clone();
    let config = DhtConfig {
        bootstrap,
        upkeep: Duration::from_millis(500),
        now: Arc::new(move || clock.now()),
        ..DhtConfig::in_directory(directory.path())
    };
    Arc::new(Dht::open(config).unwrap())
}

async fn acquainted(nodes: [&Dht; 2]) {
    let meeting = async {
        while nodes.iter().any(|node| node.figures().peers == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, meeting).await.expect("the nodes find each other");
}

#[async_trait]
impl Target for OnDht {
    async fn start() -> Self {
        let gate = Gate::new();
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let writer = node(&directories[0], &gate.clock, Vec::new());
        let reader = node(&directories[1], &gate.clock, writer.addresses());
        acquainted([&writer, &reader]).await;
        let elsewhere = Elsewhere { writer, reader };
        let backend = Guard::serving(Arc::new(elsewhere), Arc::clone(&gate.trust));
        Self { gate, backend, _directories: directories }
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }
}

attacked!(on_dht, OnDht);
