//! Nodes of one network, and waiting for what they come to know.

use std::time::Duration;

use edgelore_model::Query;
use tempfile::TempDir;

use super::packets::SimClock;
use crate::PacketId;
use crate::backend::Backend as _;
use crate::dht::{Dht, DhtConfig};

/// How long a condition may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// A node with a directory of its own.
pub(super) struct Node {
    pub(super) dht: Dht,
    directory: TempDir,
}

/// Starts a node that knows others.
pub(super) fn start(clock: &SimClock, known: &[&Node]) -> Node {
    start_in(tempfile::tempdir().unwrap(), clock, known)
}

/// Ends a node, and starts it again, on what it has, after something has happened.
pub(super) async fn again(
    node: Node,
    clock: &SimClock,
    known: &[&Node],
    meanwhile: impl AsyncFnOnce(),
) -> Node {
    let Node { dht, directory } = node;
    drop(dht);
    meanwhile().await;
    start_in(directory, clock, known)
}

fn start_in(directory: TempDir, clock: &SimClock, known: &[&Node]) -> Node {
    let clock = clock.clone();
    let config = DhtConfig {
        bootstrap: known.iter().flat_map(|node| node.dht.addresses()).collect(),
        upkeep: Duration::from_millis(200),
        now: std::sync::Arc::new(move || clock.now()),
        ..DhtConfig::in_directory(directory.path())
    };
    Node { dht: Dht::open(config).unwrap(), directory }
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "never: {what}");
}

/// What a node finds of everything, in the order of the ids.
pub(super) async fn everything(node: &Node) -> Vec<PacketId> {
    let found = node.dht.query(&Query::default(), u32::MAX, 1_000).await.unwrap();
    found.iter().map(|found| found.opened.id).collect()
}
