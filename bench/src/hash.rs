//! `outcome_hash` in batches: SHA-256 by each implementation that this machine can run, beside the
//! `sha2` crate a message at a time; then with the canonical form in front of it.

use crate::inputs::Random;
use crate::measure::{Contender, Effort, Series, interleave};
use crate::report::{Section, rate_cells};
use anyhow::{Result, ensure};
use edgelore_kernels::sha256::{Digest, Implementation};
use edgelore_model::{Known, Outcome, Resolution, Situation, Timestamp};
use edgelore_pipeline::fingerprint::{Core, Hasher, canonical, outcome_hashes};
use sha2::Digest as _;
use std::hint::black_box;

/// About the length of a canonical form, bytes.
const MESSAGE_LEN: usize = 170;
/// Blocks of such a message with its padding.
const MESSAGE_BLOCKS: f64 = 3.0;
const BATCH: usize = 65_536;

/// Steps of the loop that tells the clock rate, and cycles of a step: one of an exclusive or, three
/// of a multiplication that waits for it.
const CLOCK_STEPS: u64 = 2_000_000;
const CLOCK_STEP_CYCLES: f64 = 4.0;
/// Cycles of a block of one message in 16 lanes when two 512-bit instructions start in each:
/// 1,704 instructions of 16 messages (64 rounds of 17, 48 words of the schedule of 11, 88 to read
/// and to add up).
const PORT_LIMIT_CYCLES: f64 = 1_704.0 / 2.0 / 16.0;

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let mut sections = vec![digests(effort)?];
    sections.push(lengths(effort)?);
    sections.push(fingerprints(effort)?);
    Ok(sections)
}

/// `BATCH` messages whose lengths `len` gives.
fn messages(mut len: impl FnMut(&mut Random) -> usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(4);
    let mut message = |_| {
        let len = len(&mut random);
        (0..len).map(|_| random.next() as u8).collect()
    };
    (0..BATCH).map(&mut message).collect()
}

/// `sha2` one by one, then every implementation here, and a loop that tells the clock rate.
fn contenders<'a>(messages: &'a [&'a [u8]]) -> Result<Vec<Contender<'a>>> {
    let mut expected = vec![Digest::default(); messages.len()];
    one_by_one(messages, &mut expected);
    // Every contender writes to memory that is there already: fresh memory would cost the one
    // that asks for it a fifth of its time.
    let mut plain = expected.clone();
    let mut contenders = vec![Contender::timed("sha2, one by one", move || {
        one_by_one(messages, &mut plain);
        black_box(&plain);
        Ok(messages.len() as u64)
    })];
    for implementation in Implementation::available() {
        let mut out = vec![Digest::default(); messages.len()];
        implementation.digest_many(messages, &mut out);
        ensure!(out == expected, "{} differs from sha2", implementation.name());
        let name = format!("{}, {} at a time", implementation.name(), implementation.lanes());
        contenders.push(Contender::timed(name, move || {
            implementation.digest_many(messages, &mut out);
            black_box(&out);
            Ok(messages.len() as u64)
        }));
    }
    contenders.push(Contender::timed("clock", || {
        let mut x = black_box(3u64);
        let factor = black_box(5u64);
        for _ in 0..CLOCK_STEPS {
            x = (x ^ factor).wrapping_mul(factor);
        }
        black_box(x);
        Ok(CLOCK_STEPS)
    }));
    Ok(contenders)
}

fn digests(effort: Effort) -> Result<Section> {
    let columns = [
        "implementation",
        "M hashes/s",
        "min",
        "max",
        "ns a hash",
        "× sha2",
        "cycles a block",
        "% of the port limit",
    ];
    let mut section = Section::new("SHA-256 of many messages", &columns);
    let owned = messages(|_| MESSAGE_LEN);
    let views: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
    let mut all = interleave(effort.pick(15, 5), contenders(&views)?)?;
    let clock = all.pop().map_or(1.0, |clock| CLOCK_STEP_CYCLES / clock.ns());
    section.note(format!(
        "Batches of {BATCH} messages of {MESSAGE_LEN} bytes (three blocks), one core at {clock:.2} \
         GHz (from a chain of multiplications in the same run). The port limit is \
         {PORT_LIMIT_CYCLES:.1} cycles a block: a round takes 17 instructions (six rotations, four \
         ternary operations, seven additions), a word of the schedule 11 (six rotations and \
         shifts, two ternary operations, three additions), reading and adding up 88 a block, so \
         64 × 17 + 48 × 11 + 88 = 1,704 for 16 messages, two in a cycle."
    ));
    for series in &all {
        let cycles = series.ns() * clock / MESSAGE_BLOCKS;
        let limit = format!("{:.0}", 100.0 * PORT_LIMIT_CYCLES / cycles);
        let cells = [series.name.clone()].into_iter().chain(rate_cells(series, &all[0]));
        section.row(cells.chain([format!("{cycles:.0}"), limit]));
    }
    Ok(section)
}

/// The lengths that canonical forms have, and any up to half a kilobyte.
fn lengths(effort: Effort) -> Result<Section> {
    let columns = ["implementation", "M hashes/s", "min", "max", "ns a hash", "× sha2"];
    let mut section = Section::new("SHA-256 of messages of mixed lengths", &columns);
    section.note(format!("Batches of {BATCH} messages of 0 to 500 bytes, one core."));
    let owned = messages(|random| random.within(&(0..=500)) as usize);
    let views: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
    let mut all = interleave(effort.pick(15, 5), contenders(&views)?)?;
    all.pop();
    add_rates(&mut section, &all);
    Ok(section)
}

fn one_by_one(messages: &[&[u8]], out: &mut [Digest]) {
    for (message, digest) in messages.iter().zip(out) {
        *digest = sha2::Sha256::digest(message).into();
    }
}

fn fingerprints(effort: Effort) -> Result<Section> {
    let columns = ["way", "M hashes/s", "min", "max", "ns a hash", "× sha2"];
    let mut section = Section::new("outcome_hash of many outcomes", &columns);
    let outcomes = outcomes();
    let cores: Vec<Core<'_>> = outcomes.iter().map(Core::from).collect();
    let plainly = || -> Vec<Digest> {
        cores.iter().map(|core| sha2::Sha256::digest(canonical(core)).into()).collect()
    };
    ensure!(plainly() == outcome_hashes(&cores), "outcome_hashes differs from sha2");
    let bytes: usize = cores.iter().map(|core| canonical(core).len()).sum();
    section.note(format!(
        "Canonical form ({} bytes on average) and hash of {BATCH} outcomes, one core.",
        bytes / BATCH
    ));
    let (mut hasher, mut out) = (Hasher::default(), Vec::with_capacity(BATCH));
    let contenders = vec![
        Contender::timed("canonical form, then sha2, one by one", || {
            black_box(plainly());
            Ok(BATCH as u64)
        }),
        Contender::timed("Hasher, from outcomes", || {
            out.clear();
            hasher.hash(&outcomes, &mut out);
            black_box(&out);
            Ok(BATCH as u64)
        }),
        Contender::timed("outcome_hashes, from cores", || {
            black_box(outcome_hashes(&cores));
            Ok(BATCH as u64)
        }),
        Contender::timed("canonical form alone, a string each", || {
            black_box(cores.iter().map(canonical).collect::<Vec<_>>());
            Ok(BATCH as u64)
        }),
    ];
    add_rates(&mut section, &interleave(effort.pick(15, 5), contenders)?);
    Ok(section)
}

/// The first series is the base.
fn add_rates(section: &mut Section, all: &[Series]) {
    for series in all {
        section.row([series.name.clone()].into_iter().chain(rate_cells(series, &all[0])));
    }
}

/// Outcomes that differ in every field.
fn outcomes() -> Vec<Outcome> {
    let mut random = Random::new(5);
    let mut pick = move |terms: &[&str]| terms[random.next() as usize % terms.len()].to_owned();
    let mut numbers = Random::new(6);
    (0..BATCH)
        .map(|_| Outcome {
            situation: Situation {
                topology_class: pick(&["spine_leaf", "hub_spoke", "ring", "full_mesh"]),
                protocol: pick(&["bgp", "ospf", "isis"]),
                event_type: pick(&["convergence", "flap", "saturation"]),
                severity: numbers.next() % 600_000,
                affected_prefixes: numbers.next() % 1_000_000,
                node_count: 96,
            },
            resolution: Resolution {
                pattern: pick(&["bfd_tuning", "dampening", "hold_timer_tuning"]),
                steps: Vec::new(),
                known: Known::Measured,
            },
            before: None,
            after: None,
            convergence_delta_ms: (numbers.next() % 600_000) as i64,
            sample_size: 1,
            created: Timestamp(0),
            expires: Timestamp(1),
            method: [0; 8],
            parents: Vec::new(),
            supersedes: None,
            revokes: None,
        })
        .collect()
}
