//! Every backend that starts here: storing, asking, what asking finds, what a client takes of the
//! processor beside the bare library, and how soon a subscriber has what was stored.
//!
//! ```text
//! fill (32 producers) ─► ask (radius 2, 3, 4; recall against brute force) ─► processor ─► delivery
//! ```
//!
//! Owns the measures. Servers run on this machine and share its processors with the clients, so
//! latencies are those of a gateway that has its server beside it.

mod bare;
mod subjects;

use crate::inputs::Random;
use crate::measure::{Effort, PERCENTILES, latencies, percentiles_us};
use crate::packet::{key, varied};
use crate::report::{Section, grouped};
use crate::store::an_hour_ago;
use anyhow::{Context as _, Result, ensure};
use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::seal;
use edgelore_routing::{Backend, PacketId};
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subjects::Subject;
use tokio::runtime::{Builder, Runtime};

/// Producers that fill a store.
const PRODUCERS: usize = 32;
/// Results of one query at most.
const LIMIT: usize = 50;
/// In milli-units.
const RADII: [u32; 3] = [2_000, 3_000, 4_000];
/// How long is asked at each radius, beyond [`ASKED_MIN`] queries.
const ASKING: Duration = Duration::from_secs(30);
const ASKED_MIN: usize = 20;
/// How long a subscriber is waited for.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// How a backend is started.
type Start = fn() -> Result<Subject>;

const BACKENDS: [Start; 7] = [
    Subject::embedded,
    Subject::http,
    Subject::redis,
    Subject::postgres,
    Subject::pgvector,
    Subject::nats,
    Subject::dht,
];

/// A packet that is stored, as brute force sees it.
#[derive(Clone)]
struct Known {
    id: PacketId,
    situation: Situation,
}

/// A query that was answered.
struct Asked {
    situation: Situation,
    radius: u32,
    ids: Vec<PacketId>,
}

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let mut tables = Tables::new(effort);
    for start in BACKENDS {
        let subject = start()?;
        eprintln!("  {} …", subject.name);
        measure(&subject, effort, &mut tables).with_context(|| subject.name)?;
    }
    Ok(vec![tables.stores, tables.queries, tables.processor, tables.delivery])
}

struct Tables {
    stores: Section,
    queries: Section,
    processor: Section,
    delivery: Section,
}

impl Tables {
    fn new(effort: Effort) -> Self {
        let with = |first: &[&'static str]| [first, &PERCENTILES].concat();
        let packets = grouped(effort.packets as u64);
        let mut stores =
            Section::new("Backends: storing", &with(&["backend", "producers", "stores"]));
        stores.note(
            "Each acknowledged after it was durable: PostgreSQL and Redis sync before they answer, NATS \
             (Debian's) every two minutes, and of the DHT's five nodes as many have it as keep a copy.",
        );
        let title = format!("Backends: queries among {packets} packets");
        let columns = with(&["backend", "radius", "queries", "found each", "recall"]);
        let mut queries = Section::new(&title, &columns);
        queries.note(format!(
            "All packets share topology, protocol and event type, the worst case for an index. At \
             most {LIMIT} results, each verified; recall against brute force over all packets. Where \
             200 queries take longer than {} s, fewer are asked.",
            ASKING.as_secs()
        ));
        let columns = ["backend", "operation", "µs of ours", "µs of the bare client", "ratio"];
        let mut processor = Section::new("Backends: processor time of the client", &columns);
        processor.note(
            "Of the one thread that runs the client, one operation after the other. The bare client \
             makes the same round trips and verifies nothing. Asked again, a client compares the hashes \
             of packets that it has verified.",
        );
        let columns = with(&["backend", "packets"]);
        let mut delivery = Section::new("Backends: from storing to the subscriber", &columns);
        delivery.note("From before `store` is called to when another client has the packet.");
        Self { stores, queries, processor, delivery }
    }
}

fn measure(subject: &Subject, effort: Effort, tables: &mut Tables) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let client = subject.client()?;
    let (known, histogram) = fill(&runtime, &client, effort.packets)?;
    let mut store = |producers: usize, histogram: &Histogram<u64>| {
        let cells = [subject.name.to_owned(), producers.to_string(), grouped(histogram.len())];
        tables.stores.row(cells.into_iter().chain(percentiles_us(histogram)));
    };
    store(PRODUCERS, &histogram);
    let (more, histogram) =
        runtime.block_on(fill_share(client.clone(), 999, effort.pick(500, 100)))?;
    store(1, &histogram);
    let known = [known, more].concat();
    let asked = queries(&runtime, subject, &client, &known, effort, &mut tables.queries)?;
    runtime.shutdown_background();
    processor(subject, &asked, effort, &mut tables.processor)?;
    let histogram = delivery(subject, effort.pick(500, 50))?;
    let cells = [subject.name.to_owned(), grouped(histogram.len())];
    tables.delivery.row(cells.into_iter().chain(percentiles_us(&histogram)));
    Ok(())
}

/// Stores `count` packets, shared out among the producers.
fn fill(
    runtime: &Runtime,
    client: &Arc<dyn Backend>,
    count: usize,
) -> Result<(Vec<Known>, Histogram<u64>)> {
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let share = count / PRODUCERS + usize::from(producer < count % PRODUCERS);
            runtime.spawn(fill_share(Arc::clone(client), producer as u64, share))
        })
        .collect();
    let (mut known, mut histogram) = (Vec::with_capacity(count), latencies());
    for producer in producers {
        let (share, own) = runtime.block_on(producer).context("join a producer")??;
        known.extend(share);
        histogram.add(own).context("add latencies")?;
    }
    Ok((known, histogram))
}

async fn fill_share(
    client: Arc<dyn Backend>,
    producer: u64,
    share: usize,
) -> Result<(Vec<Known>, Histogram<u64>)> {
    let mut random = Random::new(1_000 + producer);
    let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
    let (mut known, mut histogram) = (Vec::new(), latencies());
    for _ in 0..share {
        let sealed = seal(&varied(created, &mut random), &key, &space)?;
        let start = Instant::now();
        client.store(sealed.bytes).await?;
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
        known.push(Known { id: sealed.id, situation: sealed.outcome.situation });
    }
    Ok((known, histogram))
}

/// Asks at each radius; gives what was asked at the middle one.
fn queries(
    runtime: &Runtime,
    subject: &Subject,
    client: &Arc<dyn Backend>,
    known: &[Known],
    effort: Effort,
    table: &mut Section,
) -> Result<Vec<Asked>> {
    let asked = effort.pick(200, 20).min(known.len());
    let situations: Vec<&Situation> =
        known.iter().step_by(known.len() / asked).map(|one| &one.situation).take(asked).collect();
    let mut kept = Vec::new();
    for radius in RADII {
        let (mut histogram, mut answers) = (latencies(), Vec::new());
        let begun = Instant::now();
        for situation in &situations {
            if answers.len() >= ASKED_MIN && begun.elapsed() > ASKING {
                break;
            }
            let query = Query::from(*situation);
            let start = Instant::now();
            let found = runtime.block_on(client.query(&query, radius, LIMIT))?;
            histogram.saturating_record(start.elapsed().as_nanos() as u64);
            let ids = found.iter().map(|found| found.opened.id).collect();
            answers.push(Asked { situation: (*situation).clone(), radius, ids });
        }
        let found: usize = answers.iter().map(|answer| answer.ids.len()).sum();
        let judged = &answers[..answers.len().min(effort.pick(20, 5))];
        let cells = [
            subject.name.to_owned(),
            (radius / 1_000).to_string(),
            grouped(histogram.len()),
            format!("{:.1}", found as f64 / answers.len() as f64),
            format!("{:.3}", recall(known, judged)),
        ];
        table.row(cells.into_iter().chain(percentiles_us(&histogram)));
        if radius == RADII[1] {
            kept = answers;
        }
    }
    Ok(kept)
}

/// How many of the nearest packets were found, of all that should have been.
fn recall(known: &[Known], answers: &[Asked]) -> f64 {
    let space = Space::default_definition();
    let (mut found, mut expected) = (0, 0);
    for answer in answers {
        let query = Query::from(&answer.situation);
        let measured =
            known.iter().map(|one| (space.query_distance(&query, &one.situation), one.id));
        let mut near: Vec<_> = measured.filter(|(far, _)| *far <= answer.radius).collect();
        near.sort_unstable();
        near.truncate(LIMIT);
        expected += near.len();
        found += near.iter().filter(|(_, id)| answer.ids.contains(id)).count();
    }
    found as f64 / expected.max(1) as f64
}

/// What the client takes of the processor, in ns since the thread began.
fn processor_ns() -> Result<u64> {
    let time =
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the thread's clock")?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// The same operations by the backend and by the bare client, in turn, on one thread.
fn processor(
    subject: &Subject,
    asked: &[Asked],
    effort: Effort,
    table: &mut Section,
) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let Some(mut bare) = runtime.block_on(subject.bare())? else { return Ok(()) };
    let client = subject.client()?;
    let mut random = Random::new(5_000);
    let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
    let count = effort.pick(500, 50);
    let mut sealed = (0..2 * count).map(|_| seal(&varied(created, &mut random), &key, &space));
    let (mut ours, mut theirs) = ([0_u64; 3], [0_u64; 3]);
    for _ in 0..count {
        let [one, other] = [sealed.next(), sealed.next()].map(|one| one.context("a packet"));
        let (one, other) = (one??, other??);
        let start = processor_ns()?;
        runtime.block_on(client.store(one.bytes))?;
        let between = processor_ns()?;
        runtime.block_on(bare.store(&other.id, &other.bytes))?;
        ours[0] += between - start;
        theirs[0] += processor_ns()? - between;
    }
    for (times, one) in asked.iter().map(|one| (1, one)).chain(asked.iter().map(|one| (2, one))) {
        let query = Query::from(&one.situation);
        let start = processor_ns()?;
        let found = runtime.block_on(client.query(&query, one.radius, LIMIT))?.len();
        let between = processor_ns()?;
        let fetched = runtime.block_on(bare.fetch(one))?;
        ours[times] += between - start;
        theirs[times] += processor_ns()? - between;
        ensure!(found > 0 && fetched > 0, "a stored situation was not found");
    }
    let queries = [("query, radius 3", asked.len()), ("the same query again", asked.len())];
    let operations = [("store", count)].into_iter().chain(queries);
    for (at, (operation, times)) in operations.enumerate() {
        let each = |ns: u64| ns as f64 / 1e3 / times as f64;
        table.row([
            subject.name.to_owned(),
            operation.to_owned(),
            format!("{:.1}", each(ours[at])),
            format!("{:.1}", each(theirs[at])),
            format!("{:.2}", ours[at] as f64 / theirs[at].max(1) as f64),
        ]);
    }
    Ok(())
}

/// Stores packets one after the other while another client follows.
fn delivery(subject: &Subject, count: usize) -> Result<Histogram<u64>> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (publisher, subscriber) = (subject.client()?, subject.client()?);
    let mut random = Random::new(9_000);
    let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
    let histogram = runtime.block_on(async {
        let mut subscription = subscriber.subscribe(&[], None).await?;
        let mut histogram = latencies();
        for _ in 0..count {
            let sealed = seal(&varied(created, &mut random), &key, &space)?;
            let start = Instant::now();
            let delivered = async {
                let next = tokio::time::timeout(DELIVERED_WITHIN, subscription.next()).await;
                let delivery = next.context("nothing was delivered")??;
                anyhow::Ok((delivery.packet.id, start.elapsed()))
            };
            let stored = async { anyhow::Ok(publisher.store(sealed.bytes).await?.id) };
            let ((id, elapsed), stored) = tokio::try_join!(delivered, stored)?;
            ensure!(id == stored, "another packet was delivered");
            histogram.saturating_record(elapsed.as_nanos() as u64);
        }
        Ok(histogram)
    });
    runtime.shutdown_background();
    histogram
}
