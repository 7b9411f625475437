//! The embedded store: durable puts by one producer and by many, opening a large store, and queries
//! among its packets.
//!
//! The store lies beside this program, so on a real disk wherever the build folder is on one.

use crate::inputs::Random;
use crate::measure::{Contender, Effort, PERCENTILES, Work, interleave, latencies, percentiles_us};
use crate::packet::{key, varied};
use crate::report::{Section, grouped};
use anyhow::{Context as _, Result, ensure};
use edgelore_model::{Query, Situation, Timestamp};
use edgelore_pipeline::fingerprint::{RADIUS_DEFAULT, Space};
use edgelore_pipeline::packet::seal;
use edgelore_routing::Backend as _;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Packets that are put in one round.
const PUTS: usize = 10_000;
/// Producers that fill a store.
const PRODUCERS: usize = 32;
/// Results of one query at most.
const LIMIT: usize = 50;
const HOUR_SECS: i64 = 3_600;

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let puts = puts(&runtime, &sealed(PUTS)?, effort)?;
    let (opening, queries) = large(&runtime, effort)?;
    Ok(vec![puts, opening, queries])
}

/// Packets made for this run: the store refuses what has expired.
fn sealed(count: usize) -> Result<Vec<Vec<u8>>> {
    let mut random = Random::new(7);
    let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
    let seal = |_| Ok(seal(&varied(created, &mut random), &key, &space)?.bytes);
    (0..count).map(seal).collect()
}

/// Seconds since 1970.
pub(crate) fn now_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(0)
}

pub(crate) fn an_hour_ago() -> Timestamp {
    Timestamp::from_secs_nanos(now_secs() - HOUR_SECS, 0)
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

fn puts(runtime: &Runtime, packets: &[Vec<u8>], effort: Effort) -> Result<Section> {
    let columns: Vec<&str> = ["producers", "puts/s", "min", "max", "puts a commit"]
        .into_iter()
        .chain(PERCENTILES)
        .collect();
    let mut section = Section::new("Embedded store: durable puts", &columns);
    section.note("A put is acknowledged after the transaction that holds it was synced to disk.");
    let cases = [(1, effort.pick(1_000, 200)), (32, effort.pick(PUTS, 2_000))];
    let kept = cases.map(|_| RefCell::new(Puts { latencies: latencies(), packets: 0, commits: 0 }));
    let contenders = cases.into_iter().zip(&kept).map(|((producers, count), kept)| {
        Contender::new(producers.to_string(), move || {
            put(runtime, &packets[..count], producers, &mut kept.borrow_mut())
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

/// A store of many packets: how long opening it takes, and asking it.
fn large(runtime: &Runtime, effort: Effort) -> Result<(Section, Section)> {
    let (store, folder) = open()?;
    let asked = effort.pick(500, 100);
    let situations = fill(runtime, &store, effort.packets, asked)?;
    // Every producer has ended and let go of it.
    drop(store);
    let start = Instant::now();
    let store = Embedded::open(EmbeddedConfig::in_directory(folder.path()))?;
    let elapsed = start.elapsed();
    let packets = store.figures().packets;
    let title = format!("Embedded store: opened with {} packets", grouped(packets as u64));
    let mut opening = Section::new(&title, &["ms", "µs a packet", "MB of the file"]);
    opening.note("The file is in the page cache. The index is rebuilt from the records.");
    let bytes =
        std::fs::metadata(folder.path().join("outcomes.redb")).context("look at the file")?;
    opening.row([
        format!("{:.0}", elapsed.as_secs_f64() * 1e3),
        format!("{:.2}", elapsed.as_secs_f64() * 1e6 / packets as f64),
        format!("{:.0}", bytes.len() as f64 / 1e6),
    ]);
    Ok((opening, queries(runtime, &store, &situations)?))
}

fn queries(runtime: &Runtime, store: &Embedded, situations: &[Situation]) -> Result<Section> {
    let columns: Vec<&str> =
        ["radius", "queries", "found each"].into_iter().chain(PERCENTILES).collect();
    let packets = store.figures().packets;
    let title = format!("Embedded store: queries among {} packets", grouped(packets as u64));
    let mut section = Section::new(&title, &columns);
    section.note(format!(
        "All packets share topology, protocol and event type, the worst case for an index. At \
         most {LIMIT} results, each compared with its hash and decoded.",
    ));
    for radius in [RADIUS_DEFAULT / 4, RADIUS_DEFAULT] {
        let (histogram, found) = runtime.block_on(ask(store, situations, radius))?;
        let cells = [
            format!("{:.2}", f64::from(radius) / 1e3),
            grouped(histogram.len()),
            format!("{:.1}", found as f64 / situations.len() as f64),
        ];
        section.row(cells.into_iter().chain(percentiles_us(&histogram)));
    }
    Ok(section)
}

/// Seals and stores `count` packets; gives the situations of about `asked` of them.
fn fill(
    runtime: &Runtime,
    store: &Arc<Embedded>,
    count: usize,
    asked: usize,
) -> Result<Vec<Situation>> {
    let (share, every) = (count.div_ceil(PRODUCERS), (count / asked).max(1));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let share = share.min(count.saturating_sub(producer * share));
            runtime.spawn(fill_share(Arc::clone(store), producer as u64, share, every))
        })
        .collect();
    let mut situations = Vec::new();
    for producer in producers {
        situations.extend(runtime.block_on(producer).context("join a producer")??);
    }
    Ok(situations)
}

async fn fill_share(
    store: Arc<Embedded>,
    producer: u64,
    share: usize,
    every: usize,
) -> Result<Vec<Situation>> {
    let mut random = Random::new(100 + producer);
    let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
    let mut situations = Vec::new();
    for number in 0..share {
        let sealed = seal(&varied(created, &mut random), &key, &space)?;
        store.store(sealed.bytes).await?;
        if number % every == 0 {
            situations.push(sealed.outcome.situation);
        }
    }
    Ok(situations)
}

/// Asks about the situations of packets, one query after the other; every one finds something.
async fn ask(
    store: &Embedded,
    situations: &[Situation],
    radius: u32,
) -> Result<(Histogram<u64>, usize)> {
    let mut histogram = latencies();
    let mut found = 0;
    for situation in situations {
        let query = Query::from(situation);
        let start = Instant::now();
        let results = store.query(&query, radius, LIMIT).await?;
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
        ensure!(!results.is_empty(), "a stored situation was not found");
        found += results.len();
    }
    Ok((histogram, found))
}
