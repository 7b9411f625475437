//! `outcome_hash` in batches: SHA-256 by each implementation that this machine can run, beside the
//! `sha2` crate a message at a time; then with the canonical form in front of it.

use crate::inputs::Random;
use crate::measure::{Contender, Effort, interleave};
use crate::report::{Section, rate_cells};
use anyhow::{Result, ensure};
use edgelore_kernels::sha256::{Digest, Implementation};
use edgelore_pipeline::fingerprint::{Core, canonical, outcome_hashes};
use sha2::Digest as _;
use std::hint::black_box;

/// About the length of a canonical form, bytes.
const MESSAGE_LEN: usize = 170;
const BATCH: usize = 65_536;

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    Ok(vec![digests(effort)?, fingerprints(effort)?])
}

fn digests(effort: Effort) -> Result<Section> {
    let columns = ["implementation", "M hashes/s", "min", "max", "ns a hash", "× sha2"];
    let mut section = Section::new("SHA-256 of many messages", &columns);
    section.note(format!("Batches of {BATCH} messages of {MESSAGE_LEN} bytes, one core."));
    let mut random = Random::new(4);
    let owned: Vec<Vec<u8>> =
        (0..BATCH).map(|_| (0..MESSAGE_LEN).map(|_| random.next() as u8).collect()).collect();
    let messages: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
    let messages = messages.as_slice();
    let mut expected = vec![Digest::default(); BATCH];
    one_by_one(messages, &mut expected);
    // Every contender writes to memory that is there already: fresh memory would cost the one
    // that asks for it a fifth of its time.
    let mut plain = expected.clone();
    let mut contenders = vec![Contender::timed("sha2, one by one", move || {
        one_by_one(messages, &mut plain);
        black_box(&plain);
        Ok(BATCH as u64)
    })];
    for implementation in Implementation::available() {
        let mut out = vec![Digest::default(); BATCH];
        implementation.digest_many(messages, &mut out);
        ensure!(out == expected, "{} differs from sha2", implementation.name());
        contenders.push(Contender::timed(implementation.name(), move || {
            implementation.digest_many(messages, &mut out);
            black_box(&out);
            Ok(BATCH as u64)
        }));
    }
    add_rates(&mut section, effort, contenders)?;
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
    section.note(format!("Canonical form and hash of {BATCH} outcomes, one core."));
    let cores = cores();
    let plainly = || -> Vec<Digest> {
        cores.iter().map(|core| sha2::Sha256::digest(canonical(core)).into()).collect()
    };
    ensure!(plainly() == outcome_hashes(&cores), "outcome_hashes differs from sha2");
    let contenders = vec![
        Contender::timed("canonical form, then sha2, one by one", || {
            black_box(plainly());
            Ok(BATCH as u64)
        }),
        Contender::timed("outcome_hashes, a batch", || {
            black_box(outcome_hashes(&cores));
            Ok(BATCH as u64)
        }),
        Contender::timed("canonical form alone", || {
            black_box(cores.iter().map(canonical).collect::<Vec<_>>());
            Ok(BATCH as u64)
        }),
    ];
    add_rates(&mut section, effort, contenders)?;
    Ok(section)
}

/// The first contender is the base.
fn add_rates(section: &mut Section, effort: Effort, contenders: Vec<Contender<'_>>) -> Result<()> {
    let all = interleave(effort.pick(15, 5), contenders)?;
    for series in &all {
        section.row([series.name.clone()].into_iter().chain(rate_cells(series, &all[0])));
    }
    Ok(())
}

/// Outcomes that differ in every field.
fn cores() -> Vec<Core> {
    let mut random = Random::new(5);
    let mut pick = move |terms: &[&str]| terms[random.next() as usize % terms.len()].to_owned();
    let mut numbers = Random::new(6);
    (0..BATCH)
        .map(|_| Core {
            topology_class: pick(&["spine_leaf", "hub_spoke", "ring", "full_mesh"]),
            protocol: pick(&["bgp", "ospf", "isis"]),
            event_type: pick(&["convergence", "flap", "saturation"]),
            resolution_pattern: pick(&["bfd_tuning", "dampening", "hold_timer_tuning"]),
            convergence_delta_ms: (numbers.next() % 600_000) as i64,
            affected_prefixes: i128::from(numbers.next() % 1_000_000),
        })
        .collect()
}
