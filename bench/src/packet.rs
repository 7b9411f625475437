//! Sealing and opening packets, beside bare Ed25519 of the same library: the difference is CBOR,
//! scrubbing, fitting and checking.

use crate::inputs::Random;
use crate::measure::{Contender, Effort, interleave};
use crate::report::{Section, rate_cells};
use anyhow::Result;
use ed25519_dalek::Signer as _;
use edgelore_model::{Known, Outcome, Resolution, Situation, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{
    BATCH_PACKETS, PACKET_BYTES_MAX, SigningKey, open, open_batch, seal,
};
use std::hint::black_box;

const DAY_NS: i64 = 86_400_000_000_000;
/// A moment in 2026.
const CREATED: Timestamp = Timestamp(1_795_000_000_000_000_000);
/// Any key does.
pub(crate) const SEED: [u8; 32] = [7; 32];

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    Ok(vec![speeds(effort)?, sizes()?])
}

/// The outcome of the reference's example, with its four steps.
pub(crate) fn example(created: Timestamp) -> Outcome {
    Outcome {
        situation: Situation {
            topology_class: "spine_leaf".to_owned(),
            protocol: "bgp".to_owned(),
            event_type: "convergence".to_owned(),
            severity: 358_000,
            affected_prefixes: 8_200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".to_owned(),
            steps: [
                "Identified BFD hello interval mismatch on spine-leaf links",
                "Reduced BFD multiplier from 5 to 3 across fabric",
                "Verified convergence improvement to 18 seconds",
                "Deployed dampening profile to border routers",
            ]
            .map(str::to_owned)
            .to_vec(),
            known: Known::Measured,
        },
        before: Some(358_000),
        after: Some(18_000),
        convergence_delta_ms: 340_000,
        sample_size: 3,
        created,
        expires: Timestamp(created.0 + 90 * DAY_NS),
        method: *b"detector",
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    }
}

/// An outcome near the example, so that many of them are not one packet.
pub(crate) fn varied(created: Timestamp, random: &mut Random) -> Outcome {
    let mut outcome = example(created);
    let before = random.within(&(1_000..=600_000));
    let after = random.within(&(100..=before));
    outcome.situation.severity = before;
    outcome.situation.affected_prefixes = random.within(&(1..=1_000_000));
    outcome.situation.node_count = random.within(&(2..=2_000));
    (outcome.before, outcome.after) = (Some(before), Some(after));
    outcome.convergence_delta_ms = (before - after) as i64;
    outcome
}

/// The key that seals here.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&mut SEED.clone())
}

fn speeds(effort: Effort) -> Result<Section> {
    let columns = ["operation", "M/s", "min", "max", "ns each", "× bare Ed25519"];
    let mut section = Section::new("Packets: sealing and opening", &columns);
    section.note(format!(
        "The reference's four-step example; bare Ed25519 (`ed25519-dalek`) signs, and strictly \
         verifies, as many bytes as the packet has, with the key's point decoded once for all; a \
         packet brings its key with it, so beside it stands the verification with the key's bytes. \
         The batch has {BATCH_PACKETS} packets of as many publishers, and of one. One core."
    ));
    let count = effort.pick(2_000, 500);
    let (key, space, outcome) = (key(), Space::default_definition(), example(CREATED));
    let packet = seal(&outcome, &key, &space)?.bytes;
    let bare = ed25519_dalek::SigningKey::from_bytes(&SEED);
    let (public, signature) = (bare.verifying_key(), bare.sign(&packet));
    let key_bytes = public.to_bytes();
    let (many, same) = (batch(BATCH_PACKETS)?, batch(1)?);
    let times = |work: &dyn Fn() -> Result<()>| (0..count).try_for_each(|_| work()).map(|()| count);
    let contenders = vec![
        Contender::timed("Ed25519 sign", || {
            times(&|| {
                black_box(bare.sign(black_box(&packet)));
                Ok(())
            })
        }),
        Contender::timed("seal", || {
            times(&|| {
                black_box(seal(black_box(&outcome), &key, &space)?);
                Ok(())
            })
        }),
        Contender::timed("Ed25519 verify", || {
            times(&|| Ok(public.verify_strict(black_box(&packet), &signature)?))
        }),
        Contender::timed("Ed25519 verify, key from its bytes", || {
            times(&|| {
                let public = ed25519_dalek::VerifyingKey::from_bytes(black_box(&key_bytes))?;
                Ok(public.verify_strict(black_box(&packet), &signature)?)
            })
        }),
        Contender::timed("open", || {
            times(&|| {
                black_box(open(black_box(&packet))?);
                Ok(())
            })
        }),
        Contender::timed("open in batches, many publishers", || open_all(&many, count)),
        Contender::timed("open in batches, one publisher", || open_all(&same, count)),
    ];
    let all = interleave(effort.pick(15, 5), contenders)?;
    for (at, series) in all.iter().enumerate() {
        let base = &all[if at < 2 { 0 } else { 2 }];
        section.row([series.name.clone()].into_iter().chain(rate_cells(series, base)));
    }
    Ok(section)
}

/// Opens the packets in one call, again and again, until it was `count` of them.
fn open_all(packets: &[Vec<u8>], count: u64) -> Result<u64> {
    let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let length = slices.len() as u64;
    let rounds = count.div_ceil(length);
    for _ in 0..rounds {
        for opened in open_batch(black_box(&slices)) {
            black_box(opened?);
        }
    }
    Ok(rounds * length)
}

/// As many packets as a batch has, sealed by this many publishers in turn.
fn batch(publishers: usize) -> Result<Vec<Vec<u8>>> {
    let mut random = Random::new(9);
    let keys: Vec<_> = (0..publishers)
        .map(|n| {
            let mut seed = SEED;
            seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
            SigningKey::from_seed(&mut seed)
        })
        .collect();
    keys.iter()
        .cycle()
        .take(BATCH_PACKETS)
        .map(
            |key| Ok(seal(&varied(CREATED, &mut random), key, &Space::default_definition())?.bytes),
        )
        .collect()
}

fn sizes() -> Result<Section> {
    let mut section = Section::new("Packets: size", &["packet", "bytes", "steps", "cut"]);
    section.note(format!("At most {PACKET_BYTES_MAX} bytes, signature and key included."));
    let plain = example(CREATED);
    let mut linked = plain.clone();
    linked.parents = vec![[1; 32]];
    linked.supersedes = Some([2; 32]);
    let mut long = plain.clone();
    long.resolution.steps = vec!["x".repeat(200); 3];
    for (name, outcome) in [
        ("four-step example", &plain),
        ("the same with a parent and what it supersedes", &linked),
        ("three steps of 200 characters", &long),
    ] {
        let sealed = seal(outcome, &key(), &Space::default_definition())?;
        section.row([
            name.to_owned(),
            sealed.bytes.len().to_string(),
            format!(
                "{} of {}",
                sealed.outcome.resolution.steps.len(),
                outcome.resolution.steps.len()
            ),
            if sealed.truncated { "yes" } else { "no" }.to_owned(),
        ]);
    }
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varied_outcomes_are_possible_and_differ() {
        let mut random = Random::new(1);
        let space = Space::default_definition();
        let mut ids: Vec<_> = (0..50)
            .map(|_| seal(&varied(CREATED, &mut random), &key(), &space).unwrap().id)
            .collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 50);
    }
}
