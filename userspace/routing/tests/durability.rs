//! An acknowledged packet survives `kill -9`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "the clock stands still here")]
#[path = "suite/packets.rs"]
mod packets;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use edgelore_model::Outcome;
use edgelore_routing::Backend;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use packets::{SimClock, key, outcome, sealed};

/// Tells the child where to write and which round it is.
const DIRECTORY: &str = "EDGELORE_TEST_STORE";
const ROUND: &str = "EDGELORE_TEST_ROUND";
const ROUNDS: u32 = 6;
const PRODUCERS: u32 = 8;

fn open(directory: &Path) -> Embedded {
    let clock = SimClock::new();
    let now: Arc<dyn Fn() -> _ + Send + Sync> = Arc::new(move || clock.now());
    Embedded::open(EmbeddedConfig { now, ..EmbeddedConfig::in_directory(directory) }).unwrap()
}

/// Stores without end and says which packets were acknowledged, until it is killed.
#[test]
#[ignore = "the child of nothing_acknowledged_is_lost_to_kill_9"]
fn writer_child() {
    let directory = std::env::var_os(DIRECTORY).expect("the parent names a directory");
    let round: u32 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store = Arc::new(open(Path::new(&directory)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let producers = (0..PRODUCERS).map(|producer| {
        let store = Arc::clone(&store);
        runtime.spawn(async move {
            for number in 0u32.. {
                let sample_size = (round * PRODUCERS + producer) * 1_000_000 + number;
                let packet = sealed(&Outcome { sample_size, ..outcome() }, &key(1));
                let stored = store.store(packet.bytes).await.unwrap();
                let line = format!("\nacknowledged {}\n", hex::encode(stored.id));
                // A parent that has gone ends this child.
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        runtime.block_on(producer).unwrap();
    }
}

/// Runs a child until it has acknowledged `count` packets, kills it, and gives all that it said.
fn kill_after(count: usize, round: u32, directory: &Path) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "writer_child"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let mut killed = false;
    // After the kill, what the child had still written is read to its end.
    while let Some(Ok(line)) = lines.next() {
        if let Some(id) = line.strip_prefix("acknowledged ").filter(|id| id.len() == 64) {
            acknowledged.push(id.to_owned());
        }
        if acknowledged.len() >= count && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    let status = child.wait().unwrap();
    assert!(killed && !status.success(), "the child ended by itself: {status}");
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = HashSet::new();
    for round in 0..ROUNDS {
        let count = 20 + 37 * round as usize;
        acknowledged.extend(kill_after(count, round, directory.path()));
        let store = open(directory.path());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        for id in &acknowledged {
            let id = hex::decode(id).unwrap().try_into().unwrap();
            let packet = runtime.block_on(store.get(&id)).unwrap();
            assert!(packet.is_some(), "round {round}: {id:02x?} was acknowledged and is gone");
        }
        assert!(store.figures().packets >= acknowledged.len());
    }
}
