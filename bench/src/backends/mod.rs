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
mod processor;
mod subjects;

use crate::inputs::Random;
use crate::measure::{Effort, PERCENTILES, latencies, percentiles_us};
use crate::packet::{example, key, varied};
use crate::report::{Section, grouped};
use crate::store::an_hour_ago;
use anyhow::{Context as _, Result, ensure};
use edgelore_model::{Query, Situation, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{Sealed, seal};
use edgelore_routing::{Backend, PacketId};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

const BACKENDS: [(&str, Start); 7] = [
    ("embedded", Subject::embedded),
    ("http", Subject::http),
    ("redis", Subject::redis),
    ("postgres", Subject::postgres),
    ("pgvector", Subject::pgvector),
    ("nats", Subject::nats),
    ("dht", Subject::dht),
];

/// A packet that is stored, as brute force sees it: 56 bytes, since there may be millions of them.
struct Known {
    id: PacketId,
    /// Severity, prefixes, nodes.
    numbers: [u64; 3],
}

impl Known {
    fn of(sealed: &Sealed) -> Self {
        let Situation { severity, affected_prefixes, node_count, .. } = sealed.outcome.situation;
        Self { id: sealed.id, numbers: [severity, affected_prefixes, node_count] }
    }

    /// Its situation; all have the same words.
    fn situation(&self) -> Situation {
        let mut situation = example(Timestamp(0)).situation;
        self.place(&mut situation);
        situation
    }

    /// Makes another packet's situation this one's.
    const fn place(&self, situation: &mut Situation) {
        let [severity, affected_prefixes, node_count] = self.numbers;
        situation.severity = severity;
        situation.affected_prefixes = affected_prefixes;
        situation.node_count = node_count;
    }
}

/// How the backends are called.
pub(crate) fn names() -> [&'static str; 7] {
    BACKENDS.map(|(name, _)| name)
}

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let mut tables = Tables::new(effort);
    let chosen = |name| effort.backends.is_empty() || effort.backends.iter().any(|one| one == name);
    for (_, start) in BACKENDS.iter().filter(|(name, _)| chosen(name)) {
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
        let columns = with(&["backend", "packets"]);
        let mut delivery = Section::new("Backends: from storing to the subscriber", &columns);
        delivery.note("From before `store` is called to when another client has the packet.");
        Self { stores, queries, processor: processor::table(), delivery }
    }
}

fn measure(subject: &Subject, effort: Effort, tables: &mut Tables) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let client = subject.client()?;
    let (mut known, histogram) = fill(&runtime, subject, &client, effort.packets)?;
    let mut store = |producers: usize, histogram: &Histogram<u64>| {
        let cells = [subject.name.to_owned(), producers.to_string(), grouped(histogram.len())];
        tables.stores.row(cells.into_iter().chain(percentiles_us(histogram)));
    };
    store(PRODUCERS, &histogram);
    let (more, histogram) =
        runtime.block_on(fill_share(client.clone(), 999, effort.pick(500, 100), || ()))?;
    store(1, &histogram);
    known.extend(more);
    let asked = queries(&runtime, subject, &client, &known, effort, &mut tables.queries)?;
    drop(known);
    runtime.shutdown_background();
    processor::measure(subject, &asked, RADII[1], effort, &mut tables.processor)?;
    let histogram = delivery(subject, effort.pick(500, 50))?;
    let cells = [subject.name.to_owned(), grouped(histogram.len())];
    tables.delivery.row(cells.into_iter().chain(percentiles_us(&histogram)));
    Ok(())
}

/// How far a store is filled; says so at each tenth.
struct Progress {
    name: &'static str,
    all: usize,
    done: AtomicUsize,
}

impl Progress {
    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let tenths = |done: usize| done * 10 / self.all;
        if tenths(done) > tenths(done - 1) {
            let (percent, packets) = (tenths(done) * 10, grouped(done as u64));
            eprintln!("  {}: {percent} %, {packets} packets stored", self.name);
        }
    }
}

/// Stores `count` packets, shared out among the producers.
fn fill(
    runtime: &Runtime,
    subject: &Subject,
    client: &Arc<dyn Backend>,
    count: usize,
) -> Result<(Vec<Known>, Histogram<u64>)> {
    let (name, done) = (subject.name, AtomicUsize::new(0));
    let progress = Arc::new(Progress { name, all: count, done });
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let share = count / PRODUCERS + usize::from(producer < count % PRODUCERS);
            let progress = Arc::clone(&progress);
            let each = move || progress.step();
            runtime.spawn(fill_share(Arc::clone(client), producer as u64, share, each))
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
    each: impl Fn() + Send,
) -> Result<(Vec<Known>, Histogram<u64>)> {
    let mut random = Random::new(1_000 + producer);
    let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
    let (mut known, mut histogram) = (Vec::with_capacity(share), latencies());
    for _ in 0..share {
        let sealed = seal(&varied(created, &mut random), &key, &space)?;
        known.push(Known::of(&sealed));
        let start = Instant::now();
        client.store(sealed.bytes).await?;
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
        each();
    }
    Ok((known, histogram))
}

/// A query that was answered.
struct Answer {
    radius: u32,
    query: Query,
    ids: Vec<PacketId>,
}

/// Asks at each radius; gives what was asked about at the middle one.
fn queries(
    runtime: &Runtime,
    subject: &Subject,
    client: &Arc<dyn Backend>,
    known: &[Known],
    effort: Effort,
    table: &mut Section,
) -> Result<Vec<Situation>> {
    let asked = effort.pick(200, 20).min(known.len());
    let asked = known.iter().step_by(known.len() / asked).map(Known::situation).take(asked);
    let mut situations: Vec<Situation> = asked.collect();
    let mut asked_at_middle = 0;
    for radius in RADII {
        let (mut histogram, mut answers) = (latencies(), Vec::new());
        let begun = Instant::now();
        for situation in &situations {
            if answers.len() >= ASKED_MIN && begun.elapsed() > ASKING {
                break;
            }
            let query = Query::from(situation);
            let start = Instant::now();
            let found = runtime.block_on(client.query(&query, radius, LIMIT))?;
            histogram.saturating_record(start.elapsed().as_nanos() as u64);
            let ids = found.iter().map(|found| found.opened.id).collect();
            answers.push(Answer { radius, query, ids });
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
            asked_at_middle = answers.len();
        }
    }
    situations.truncate(asked_at_middle);
    Ok(situations)
}

/// How many of the nearest packets were found, of all that should have been.
fn recall(known: &[Known], answers: &[Answer]) -> f64 {
    let space = Space::default_definition();
    let (mut found, mut expected) = (0, 0);
    for answer in answers {
        let (aim, mut situation) = (space.aim(&answer.query), example(Timestamp(0)).situation);
        let measured = known.iter().map(|one| {
            one.place(&mut situation);
            (space.reach(&aim, &space.locate(&situation)), one.id)
        });
        let mut near: Vec<_> = measured.filter(|(far, _)| *far <= answer.radius).collect();
        near.sort_unstable();
        near.truncate(LIMIT);
        expected += near.len();
        found += near.iter().filter(|(_, id)| answer.ids.contains(id)).count();
    }
    found as f64 / expected.max(1) as f64
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
                // A node of the DHT may still be receiving what filled the others.
                while subscription.next().await?.packet.id != sealed.id {}
                anyhow::Ok(start.elapsed())
            };
            let delivered = tokio::time::timeout(DELIVERED_WITHIN, delivered);
            let (elapsed, stored) = tokio::join!(delivered, publisher.store(sealed.bytes));
            ensure!(stored?.new, "a fresh packet was there");
            let elapsed = elapsed.context("it was not delivered")??;
            histogram.saturating_record(elapsed.as_nanos() as u64);
        }
        Ok(histogram)
    });
    runtime.shutdown_background();
    histogram
}
