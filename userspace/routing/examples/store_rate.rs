//! Measures durable puts a second, queries and reopening of the embedded store:
//! `cargo run --release -p edgelore-routing --example store_rate -- DIRECTORY`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use edgelore_model::{Known, Outcome, Query, Resolution, Situation, Span, Timestamp};
use edgelore_pipeline::fingerprint::{RADIUS_DEFAULT, Space};
use edgelore_pipeline::packet::{self, SigningKey};
use edgelore_routing::Backend;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};

type Failure = Box<dyn std::error::Error>;

const MEASURED: Duration = Duration::from_secs(3);

fn outcome(sample_size: u32, created: Timestamp) -> Outcome {
    Outcome {
        situation: Situation {
            topology_class: "spine_leaf".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: 1_000 + u64::from(sample_size) * 7_919 % 1_000_000,
            affected_prefixes: 8_200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: vec!["lower the detection time to 300 ms".into()],
            known: Known::Measured,
        },
        before: None,
        after: None,
        convergence_delta_ms: 800,
        sample_size,
        created,
        expires: created + Span::from_millis(86_400_000),
        method: [0; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    }
}

/// Durable puts a second; the packets are sealed before the clock starts.
async fn rate(store: &Arc<Embedded>, producers: u32, base: u32) -> Result<f64, Failure> {
    let (space, key) = (Space::default_definition(), SigningKey::from_seed(&mut [1; 32]));
    let secs = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let created = Timestamp::from_secs_nanos(secs, 0);
    let mut tasks = Vec::new();
    for producer in 0..producers {
        let packets: Result<Vec<Vec<u8>>, _> = (0..20_000 / producers + 500)
            .map(|number| {
                let outcome = outcome(base + producer * 100_000 + number, created);
                packet::seal(&outcome, &key, &space).map(|sealed| sealed.bytes)
            })
            .collect();
        tasks.push(packets?);
    }
    let start = Instant::now();
    let tasks = tasks.into_iter().map(|packets| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut stored = 0u32;
            for packet in packets {
                if start.elapsed() > MEASURED || store.store(packet).await.is_err() {
                    break;
                }
                stored += 1;
            }
            stored
        })
    });
    let mut stored = 0;
    for task in tasks.collect::<Vec<_>>() {
        stored += task.await?;
    }
    Ok(f64::from(stored) / start.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("name a directory")?);
    let store = Arc::new(Embedded::open(EmbeddedConfig::in_directory(&directory))?);
    for (producers, base) in [(1, 0), (32, 10_000_000)] {
        println!(
            "{producers:>2} producers: {:.0} durable puts/s",
            rate(&store, producers, base).await?
        );
    }
    let query = Query { severity: Some(300_000), ..Query::default() };
    for limit in [10, 100, 1_000] {
        let start = Instant::now();
        let found = store.query(&query, RADIUS_DEFAULT, limit).await?;
        println!(
            "query, {} of {} packets: {:?}",
            found.len(),
            store.figures().packets,
            start.elapsed()
        );
    }
    drop(store);
    let start = Instant::now();
    let store = Embedded::open(EmbeddedConfig::in_directory(&directory))?;
    println!("reopening with {} packets: {:?}", store.figures().packets, start.elapsed());
    Ok(())
}
