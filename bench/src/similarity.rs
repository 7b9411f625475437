//! Exact search for similar situations: the kernels beside a plain loop and beside what the memory
//! can deliver; then the search beside an approximate index (HNSW), which is told how many answers
//! there are.

use crate::inputs::Random;
use crate::measure::{Contender, Effort, interleave};
use crate::report::{Section, grouped, rate_cells};
use anyhow::{Result, ensure};
use edgelore_kernels::memory::prefetch;
use edgelore_kernels::similarity::{Block, Implementation, LANES};
use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::{Aim, RADIUS_DEFAULT, SituationIndex, Space};
use hnsw_rs::prelude::{Distance, Hnsw};
use std::hint::black_box;
use std::sync::Arc;

/// Queries that are asked one after the other, or together.
const QUERIES: usize = 8;
/// How far ahead memory is asked for when it is only read.
const AHEAD: usize = 16;
/// Answers of a query for the nearest.
const NEAREST: usize = 50;
/// HNSW's `M` and `efConstruction`.
const CONNECTIONS: usize = 16;
const CANDIDATES: usize = 200;

const TERMS: [&[&str]; 3] = [
    &[
        "spine_leaf",
        "clos_3stage",
        "clos_5stage",
        "fat_tree",
        "hub_spoke",
        "dual_hub",
        "dmvpn",
        "access_ring",
        "metro_ring",
        "dual_ring",
        "full_mesh",
        "partial_mesh",
        "backbone",
        "three_tier",
        "collapsed_core",
        "dual_homed",
        "single_homed",
    ],
    &["bgp", "ospf", "ospfv3", "isis", "bfd", "link", "ldp", "mpls", "rsvp_te"],
    &["convergence", "flap", "saturation", "degradation"],
];

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    Ok(vec![scans(effort)?, peers(effort)?])
}

/// A situation as a plain loop measures it: 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Plain {
    terms: [u8; 3],
    coordinates: [u32; 3],
}

/// What the plain loop needs to know of a query.
#[derive(Clone, Debug)]
struct PlainQuery {
    costs: [[u32; 256]; 3],
    coordinates: [u32; 3],
}

impl PlainQuery {
    fn distance(&self, to: &Plain) -> u32 {
        let terms = self.costs.iter().zip(to.terms).map(|(costs, term)| costs[usize::from(term)]);
        let ordinals = self.coordinates.iter().zip(to.coordinates).map(|(a, b)| a.abs_diff(b));
        terms.sum::<u32>() + ordinals.sum::<u32>()
    }
}

/// The same situations for everybody.
struct Inputs {
    index: SituationIndex,
    /// The same in the order in which a store keeps them.
    settled: SituationIndex,
    plain: Vec<Plain>,
    aims: Vec<Aim>,
    asked: Vec<(Plain, PlainQuery)>,
}

impl Inputs {
    fn new(count: usize, queries: usize) -> Self {
        let space = Space::default_definition();
        let costs = term_costs(&space);
        let mut random = Random::new(8);
        let mut inputs = Self {
            index: SituationIndex::new(space.clone()),
            settled: SituationIndex::new(space.clone()),
            plain: Vec::with_capacity(count),
            aims: Vec::new(),
            asked: Vec::new(),
        };
        let mut situation = Situation {
            topology_class: String::new(),
            protocol: String::new(),
            event_type: String::new(),
            severity: 0,
            affected_prefixes: 0,
            node_count: 0,
        };
        for place in 0..count {
            let plain = draw(&mut situation, &space, &mut random);
            inputs.index.push(&situation);
            inputs.plain.push(plain);
            if place % (count / queries) == 0 && inputs.aims.len() < queries {
                let costs = std::array::from_fn(|i| costs[i][usize::from(plain.terms[i])]);
                inputs.aims.push(space.aim(&Query::from(&situation)));
                inputs.asked.push((plain, PlainQuery { costs, coordinates: plain.coordinates }));
            }
        }
        inputs.settled = inputs.index.clone();
        // Nothing else is known by slot; too few stay as they came.
        let _ = inputs.settled.settle();
        inputs
    }

    /// Places of what the plain loop finds.
    fn plainly(&self, query: &PlainQuery) -> Vec<usize> {
        let near = |(_, to): &(usize, &Plain)| query.distance(to) <= RADIUS_DEFAULT;
        self.plain.iter().enumerate().filter(near).map(|(place, _)| place).collect()
    }
}

/// Slots of what a search finds.
fn exactly(index: &SituationIndex, aim: &Aim) -> Vec<usize> {
    let mut found = Vec::new();
    index.visit(aim, RADIUS_DEFAULT, |slot, _| {
        found.push(slot);
        RADIUS_DEFAULT
    });
    found
}

/// Makes `situation` another one: terms alike often, values alike on a logarithmic scale.
fn draw(situation: &mut Situation, space: &Space, random: &mut Random) -> Plain {
    let terms = TERMS.map(|terms| random.next() as usize % terms.len());
    let [topology, protocol, event] = [0, 1, 2].map(|field| TERMS[field][terms[field]]);
    topology.clone_into(&mut situation.topology_class);
    protocol.clone_into(&mut situation.protocol);
    event.clone_into(&mut situation.event_type);
    let mut value = |bits: u64| {
        let bits = random.within(&(1..=bits));
        (1 << bits) + random.next() % (1 << bits)
    };
    situation.severity = value(20);
    situation.affected_prefixes = value(17);
    situation.node_count = value(9);
    Plain { terms: terms.map(|term| term as u8), coordinates: space.coordinates(situation) }
}

/// By field and term: milli-units to each term.
fn term_costs(space: &Space) -> [Vec<[u32; 256]>; 3] {
    let situation = |field: usize, term: &str| {
        let word = |at: usize| if at == field { term.to_owned() } else { String::new() };
        Situation {
            topology_class: word(0),
            protocol: word(1),
            event_type: word(2),
            severity: 0,
            affected_prefixes: 0,
            node_count: 0,
        }
    };
    std::array::from_fn(|field| {
        let costs = |asked: &&str| {
            let mut costs = [0; 256];
            for (cost, term) in costs.iter_mut().zip(TERMS[field]) {
                *cost = space.distance(&situation(field, asked), &situation(field, term));
            }
            costs
        };
        TERMS[field].iter().map(costs).collect()
    })
}

fn scans(effort: Effort) -> Result<Section> {
    let count = effort.pick(10_000_000, 1_000_000);
    let inputs = Inputs::new(count, QUERIES);
    let mut found = Vec::new();
    for ((_, query), aim) in inputs.asked.iter().zip(&inputs.aims) {
        let (truth, mut exact) = (inputs.plainly(query), exactly(&inputs.index, aim));
        exact.sort_unstable();
        ensure!(truth == exact, "the search differs from the loop");
        let settled = exactly(&inputs.settled, aim).len();
        ensure!(truth.len() == settled, "the order changes what is found");
        found.push(truth.len());
    }
    let columns =
        ["way", "M situations/s", "min", "max", "ns each", "× plain loop", "GB/s", "% of reading"];
    let mut section = Section::new("Similar situations", &columns);
    section.note(format!(
        "{} situations, {QUERIES} queries at radius {}, {} to {} of them within it, one core. The \
         index takes {:.1} bytes a situation; a scan reads 6 of them, the plain loop 16. GB/s \
         counts what a scan reads. In order, as a store keeps them, most runs of situations are passed \
         over, and what is not read is counted all the same.",
        grouped(count as u64),
        RADIUS_DEFAULT / 1_000,
        found.iter().min().copied().unwrap_or(0),
        found.iter().max().copied().unwrap_or(0),
        inputs.index.bytes() as f64 / count as f64,
    ));
    let all = interleave(effort.pick(11, 3), contenders(&inputs))?;
    let reading = all[1].per_second().max(all[2].per_second());
    for (place, series) in all.iter().enumerate() {
        let bytes = if place == 0 { 16.0 } else { 6.0 };
        let rate = format!("{:.1}", series.per_second() * bytes / 1e9);
        let of_reading = format!("{:.0}", 100.0 * series.per_second() * bytes / (reading * 6.0));
        let cells = [series.name.clone()].into_iter().chain(rate_cells(series, &all[0]));
        section.row(cells.chain([rate, of_reading]));
    }
    Ok(section)
}

/// The plain loop, twice reading alone, the scans by themselves, and whole searches.
fn contenders(inputs: &Inputs) -> Vec<Contender<'_>> {
    let Inputs { index, settled, plain, aims, asked } = inputs;
    let units = (plain.len() * aims.len()) as u64;
    let blocks = index.blocks();
    let mut contenders = vec![
        Contender::timed("plain loop, exact", move || {
            for (_, query) in asked {
                black_box(inputs.plainly(query));
            }
            Ok(units)
        }),
        Contender::timed("reading the codes", move || {
            aims.iter().for_each(|_| _ = black_box(read::<0>(blocks)));
            Ok(units)
        }),
        Contender::timed("reading the codes, asked for ahead", move || {
            aims.iter().for_each(|_| _ = black_box(read::<AHEAD>(blocks)));
            Ok(units)
        }),
    ];
    for implementation in Implementation::available() {
        let name = format!("scan, {}", implementation.name());
        let mut marks = vec![0; blocks.len()];
        contenders.push(Contender::timed(name, move || {
            for aim in aims {
                let (query, limit) = index.scan(aim, RADIUS_DEFAULT);
                for (blocks, marks) in blocks.chunks(64).zip(marks.chunks_mut(64)) {
                    implementation.mark(blocks, &query, limit, marks);
                }
                black_box(&marks);
            }
            Ok(units)
        }));
    }
    for (index, order) in [(index, ""), (settled, ", in order")] {
        contenders.push(Contender::timed(format!("search, exact{order}"), move || {
            aims.iter().for_each(|aim| _ = black_box(exactly(index, aim)));
            Ok(units)
        }));
        let name = format!("search for the nearest {NEAREST}{order}");
        contenders.push(Contender::timed(name, move || {
            for aim in aims {
                black_box(index.nearest(aim, RADIUS_DEFAULT, NEAREST));
            }
            Ok(units)
        }));
    }
    contenders.push(Contender::timed(format!("search, {QUERIES} queries together"), move || {
        let mut found = vec![Vec::new(); aims.len()];
        index.visit_many(aims, RADIUS_DEFAULT, |query, slot, _| found[query].push(slot));
        black_box(found);
        Ok(units)
    }));
    contenders
}

/// Adds all bytes up, eight at a time, and asks for the block `DISTANCE` of the one that is read.
fn read<const DISTANCE: usize>(blocks: &[Block]) -> u64 {
    let mut sums = [0u64; LANES / 8];
    for (place, block) in blocks.iter().enumerate() {
        if let Some(ahead) = blocks.get(place + DISTANCE).filter(|_| DISTANCE > 0) {
            ahead.fields.iter().for_each(|field| prefetch(&field[0]));
        }
        for field in &block.fields {
            for (sum, word) in sums.iter_mut().zip(field.as_chunks::<8>().0) {
                *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
            }
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

/// The exact distance, for the peer.
#[derive(Clone, Debug)]
struct ByTables(Arc<[Vec<[u32; 256]>; 3]>);

impl Distance<u32> for ByTables {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        let term = |i: usize| self.0[i][a[i] as usize][b[i] as usize];
        let ordinal = |i: usize| a[i].abs_diff(b[i]);
        (term(0) + term(1) + term(2) + ordinal(3) + ordinal(4) + ordinal(5)) as f32
    }
}

fn vector(plain: &Plain) -> [u32; 6] {
    let ([a, b, c], [d, e, f]) = (plain.terms.map(u32::from), plain.coordinates);
    [a, b, c, d, e, f]
}

fn peers(effort: Effort) -> Result<Section> {
    let (count, queries) = (effort.pick(200_000, 20_000), effort.pick(200, 50));
    let inputs = Inputs::new(count, queries);
    let costs = ByTables(Arc::new(term_costs(inputs.index.space())));
    let graph = Hnsw::<u32, ByTables>::new(CONNECTIONS, count, 16, CANDIDATES, costs);
    let vectors: Vec<Vec<u32>> = inputs.plain.iter().map(|plain| vector(plain).to_vec()).collect();
    let rows: Vec<(&Vec<u32>, usize)> =
        vectors.iter().enumerate().map(|(place, vector)| (vector, place)).collect();
    let start = std::time::Instant::now();
    graph.parallel_insert(&rows);
    let built = start.elapsed();
    let truth: Vec<usize> =
        inputs.aims.iter().map(|aim| exactly(&inputs.index, aim).len()).collect();
    let total: usize = truth.iter().sum();
    let mut section = Section::new(
        "Similar situations, beside an approximate index",
        &["way", "µs a query", "min", "max", "× exact search", "found of what is there"],
    );
    section.note(format!(
        "{} situations, {queries} queries at radius {}, {} within it on average, one core. The \
         peer is hnsw_rs (M {CONNECTIONS}, efConstruction {CANDIDATES}, built on all cores in \
         {:.0} s) with the same exact distance; it is told how many answers there are, which a \
         query cannot know.",
        grouped(count as u64),
        RADIUS_DEFAULT / 1_000,
        total / queries,
        built.as_secs_f64(),
    ));
    let ask = |factor: usize| {
        let queries = inputs.asked.iter().zip(&truth);
        let found = queries.map(|((plain, _), &there)| {
            let found = graph.search(&vector(plain), there, (there * factor).max(16));
            found.iter().filter(|one| one.distance <= RADIUS_DEFAULT as f32).count()
        });
        found.sum::<usize>()
    };
    let ways = [("hnsw_rs, ef = answers", 1), ("hnsw_rs, ef = 4 × answers", 4)];
    let mut contenders = vec![Contender::timed("exact search", || {
        let found: usize = inputs.aims.iter().map(|aim| exactly(&inputs.index, aim).len()).sum();
        ensure!(found == total, "the search found something else");
        Ok(queries as u64)
    })];
    contenders.extend(ways.map(|(name, factor)| {
        Contender::timed(name, move || {
            black_box(ask(factor));
            Ok(queries as u64)
        })
    }));
    let recalls = [total].into_iter().chain(ways.map(|(_, factor)| ask(factor)));
    let recalls: Vec<usize> = recalls.collect();
    let all = interleave(effort.pick(7, 3), contenders)?;
    for (series, found) in all.iter().zip(recalls) {
        let (fast, slow) = series.ns_range();
        let us = |ns: f64| format!("{:.1}", ns / 1e3);
        section.row([
            series.name.clone(),
            us(series.ns()),
            us(fast),
            us(slow),
            format!("{:.2}", series.speedup_over(&all[0])),
            format!("{:.4}", found as f64 / total as f64),
        ]);
    }
    Ok(section)
}
