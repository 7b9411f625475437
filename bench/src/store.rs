//! The embedded store: durable puts by one producer and by many, and queries among many packets.
//!
//! The store lies beside this program, so on a real disk wherever the build folder is on one.

use crate::inputs::Random;
use crate::measure::{Contender, Effort, PERCENTILES, Work, interleave, latencies, percentiles_us};
use crate::packet::{key, varied};
use crate::report::{Section, grouped};
use anyhow::{Context as _, Result, ensure};
use edgelore_model::{Outcome, Query, Timestamp};
use edgelore_pipeline::fingerprint::{RADIUS_DEFAULT, Space};
use edgelore_pipeline::packet::seal;
use edgelore_routing::Backend as _;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Packets in the store that is queried.
const PACKETS: usize = 10_000;
/// Results of one query at most.
const LIMIT: usize = 50;
const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let packets = Packets::sealed(PACKETS)?;
    Ok(vec![puts(&runtime, &packets, effort)?, queries(&runtime, &packets, effort)?])
}

/// Packets made for this run: the store refuses what has expired.
struct Packets {
    bytes: Vec<Vec<u8>>,
    outcomes: Vec<Outcome>,
}

impl Packets {
    fn sealed(count: usize) -> Result<Self> {
        let mut random = Random::new(7);
        let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
        let mut packets = Self { bytes: Vec::new(), outcomes: Vec::new() };
        for _ in 0..count {
            let sealed = seal(&varied(created, &mut random), &key, &space)?;
            packets.bytes.push(sealed.bytes);
            packets.outcomes.push(sealed.outcome);
        }
        Ok(packets)
    }
}

fn an_hour_ago() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let secs = since.saturating_sub(HOUR).as_secs();
    Timestamp::from_secs_nanos(i64::try_from(secs).unwrap_or(0), 0)
}

/// An empty store in a folder that vanishes with it.
fn open() -> Result<(Arc<Embedded>, TempDir)> {
    let program = std::env::current_exe().context("find this program")?;
    let beside = program.parent().context("find the folder of this program")?;
    let folder = tempfile::tempdir_in(beside).context("make a folder for the store")?;
    let store = Embedded::open(EmbeddedConfig::in_directory(folder.path()))?;
    Ok((Arc::new(store), folder))
}

/// What is kept of the rounds of one contender.
struct Puts {
    latencies: Histogram<u64>,
    packets: u64,
    commits: u64,
}

fn puts(runtime: &Runtime, packets: &Packets, effort: Effort) -> Result<Section> {
    let columns: Vec<&str> = ["producers", "puts/s", "min", "max", "puts a commit"]
        .into_iter()
        .chain(PERCENTILES)
        .collect();
    let mut section = Section::new("Embedded store: durable puts", &columns);
    section.note("A put is acknowledged after the transaction that holds it was synced to disk.");
    let cases = [(1, effort.pick(1_000, 200)), (32, effort.pick(PACKETS, 2_000))];
    let kept = cases.map(|_| RefCell::new(Puts { latencies: latencies(), packets: 0, commits: 0 }));
    let contenders = cases.into_iter().zip(&kept).map(|((producers, count), kept)| {
        Contender::new(producers.to_string(), move || {
            put(runtime, &packets.bytes[..count], producers, &mut kept.borrow_mut())
        })
    });
    let all = interleave(effort.pick(5, 1), contenders.collect())?;
    for (series, kept) in all.iter().zip(kept) {
        let kept = kept.into_inner();
        let (slow, fast) = series.per_second_range();
        let rate = |value: f64| grouped(value.round() as u64);
        let cells = [
            series.name.clone(),
            rate(series.per_second()),
            rate(slow),
            rate(fast),
            format!("{:.1}", kept.packets as f64 / kept.commits.max(1) as f64),
        ];
        section.row(cells.into_iter().chain(percentiles_us(&kept.latencies)));
    }
    Ok(section)
}

/// Puts `packets` into a new store, shared out among `producers`.
fn put(runtime: &Runtime, packets: &[Vec<u8>], producers: usize, kept: &mut Puts) -> Result<Work> {
    let (store, _folder) = open()?;
    let shares: Vec<Vec<Vec<u8>>> = (0..producers)
        .map(|producer| packets.iter().skip(producer).step_by(producers).cloned().collect())
        .collect();
    let start = Instant::now();
    let producers: Vec<_> =
        shares.into_iter().map(|share| runtime.spawn(produce(Arc::clone(&store), share))).collect();
    for producer in producers {
        let histogram = runtime.block_on(producer).context("join a producer")??;
        kept.latencies.add(histogram).context("add latencies")?;
    }
    let elapsed = start.elapsed();
    kept.packets += packets.len() as u64;
    kept.commits += store.figures().commits;
    Ok(Work { units: packets.len() as u64, elapsed })
}

async fn produce(store: Arc<Embedded>, packets: Vec<Vec<u8>>) -> Result<Histogram<u64>> {
    let mut histogram = latencies();
    for packet in packets {
        let start = Instant::now();
        let stored = store.store(packet).await?;
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
        ensure!(stored.new, "a packet was in the new store already");
    }
    Ok(histogram)
}

fn queries(runtime: &Runtime, packets: &Packets, effort: Effort) -> Result<Section> {
    let columns: Vec<&str> =
        ["radius", "queries", "found each"].into_iter().chain(PERCENTILES).collect();
    let title = format!("Embedded store: queries among {} packets", grouped(PACKETS as u64));
    let mut section = Section::new(&title, &columns);
    section.note(format!(
        "All packets share topology, protocol and event type, the worst case for an index. At \
         most {LIMIT} results, each opened again: its signature is verified.",
    ));
    let (store, _folder) = open()?;
    let share = packets.bytes.chunks(PACKETS / 32 + 1).map(<[_]>::to_vec);
    let filling: Vec<_> =
        share.map(|share| runtime.spawn(produce(Arc::clone(&store), share))).collect();
    for producer in filling {
        runtime.block_on(producer).context("join a producer")??;
    }
    let count = effort.pick(500, 100);
    for radius in [RADIUS_DEFAULT / 4, RADIUS_DEFAULT] {
        let (histogram, found) = runtime.block_on(ask(&store, packets, radius, count))?;
        let cells = [
            format!("{:.2}", f64::from(radius) / 1e3),
            grouped(histogram.len()),
            format!("{:.1}", found as f64 / count as f64),
        ];
        section.row(cells.into_iter().chain(percentiles_us(&histogram)));
    }
    Ok(section)
}

/// Asks about the situations of packets, one query after the other; every one finds something.
async fn ask(
    store: &Embedded,
    packets: &Packets,
    radius: u32,
    count: usize,
) -> Result<(Histogram<u64>, usize)> {
    let mut histogram = latencies();
    let mut found = 0;
    for outcome in packets.outcomes.iter().step_by(packets.outcomes.len() / count) {
        let query = Query::from(&outcome.situation);
        let start = Instant::now();
        let results = store.query(&query, radius, LIMIT).await?;
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
        ensure!(!results.is_empty(), "a stored situation was not found");
        found += results.len();
    }
    Ok((histogram, found))
}
