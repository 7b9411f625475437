//! `edgelore publish`: signs outcomes and stores them.

use super::{OptionalStore, block_on};
use crate::output;
use anyhow::{Context, Result, ensure};
use clap::Args;
use edgelore_capture::Clock;
use edgelore_model::{Outcome, Span, Timestamp};
use edgelore_node::config::CaptureConfig;
use edgelore_node::privacy::PrivacyConfig;
use edgelore_node::release::{Release, release};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet;
use edgelore_pipeline::packet::{
    self, Changed, Counts, PACKET_BYTES_MAX, Privacy, Sealed, SigningKey,
};
use edgelore_routing::Backend;
use serde::Serialize;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// How long an imported packet of the reference's form counts.
const REFERENCE_LIFETIME: Span = Span(180 * 86_400 * 1_000_000_000);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Outcomes as JSON lines, Edgelore's own form or the reference's; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    store: OptionalStore,
    /// The signing key.
    #[arg(long)]
    key: PathBuf,
    #[command(flatten)]
    privacy: PrivacyArguments,
    /// Show the bytes and fields that would leave, what was taken out of them and why; send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object for each outcome, in a dry run too.
    #[arg(long)]
    json: bool,
}

/// What leaves, and in which form; as `[privacy]` of a node.
#[derive(Debug, Args)]
struct PrivacyArguments {
    /// How exactly counts leave.
    #[arg(long, default_value = "rounded", value_parser = counts)]
    counts: Counts,
    /// A word or pattern that is never taken out; may be repeated.
    #[arg(long, value_name = "WORD")]
    allow: Vec<String>,
    /// A word that identifies this network, beside this machine's name and its interfaces'; may be
    /// repeated.
    #[arg(long, value_name = "WORD")]
    hide: Vec<String>,
    /// Publish only what so many publishers share, in a form as coarse as that takes; what too few
    /// share is not published.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    k_anonymity: u32,
}

/// What becomes of an outcome.
#[derive(Debug, Serialize)]
struct Report {
    packet_id: String,
    bytes: usize,
    truncated: bool,
    /// It was not in the store before; absent in a dry run.
    new: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    shown: Option<Shown>,
}

/// Everything that would leave, and what would not.
#[derive(Debug, Serialize)]
struct Shown {
    /// The exact bytes, hexadecimal.
    packet: String,
    /// The same in CBOR's diagnostic notation.
    diagnostic: String,
    /// What was taken out or made coarser, and why.
    changed: Vec<Changed>,
    /// What the packet says.
    outcome: Outcome,
}

/// An outcome, ready to leave or kept back.
struct Ready {
    sealed: Sealed,
    changed: Vec<Changed>,
    held: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let key = edgelore_node::keys::load(&arguments.key)?;
    let privacy = arguments.privacy.privacy()?;
    let space = arguments.store.space()?;
    let outcomes = outcomes(&arguments.file)?;
    block_on(async {
        let asked = !arguments.dry_run || privacy.k_anonymity > 1;
        let store = if asked { arguments.store.open()? } else { None };
        ensure!(store.is_some() || !asked, "where to publish is missing: --store URL");
        // Nothing leaves unless all of it can.
        let mut all = Vec::new();
        for (place, outcome) in outcomes {
            all.push(ready(&outcome, &key, &space, &privacy, store.as_ref()).await.context(place)?);
        }
        if arguments.dry_run {
            return all.iter().try_for_each(|ready| show(ready, arguments.json));
        }
        for ready in &all {
            let new = match &store {
                Some(store) if ready.held.is_none() => {
                    Some(store.store(ready.sealed.bytes.clone()).await?.new)
                }
                _ => None,
            };
            output::json(&report(ready, new, None))?;
        }
        Ok(())
    })
}

impl PrivacyArguments {
    fn privacy(&self) -> Result<Privacy> {
        let config = PrivacyConfig {
            counts: self.counts,
            allow: self.allow.clone(),
            names: self.hide.clone(),
            k_anonymity: self.k_anonymity,
        };
        config.privacy(&CaptureConfig::default()).context("--allow")
    }
}

fn counts(text: &str) -> Result<Counts, String> {
    match text {
        "exact" => Ok(Counts::Exact),
        "rounded" => Ok(Counts::Rounded),
        "bucketed" => Ok(Counts::Bucketed),
        _ => Err("not exact, rounded or bucketed".to_owned()),
    }
}

/// Brings an outcome into the form in which it may leave, and signs it.
async fn ready(
    outcome: &Outcome,
    key: &SigningKey,
    space: &Space,
    privacy: &Privacy,
    store: Option<&Arc<dyn Backend>>,
) -> Result<Ready> {
    let changed = privacy.explain(outcome).1;
    let seal = |outcome: &Outcome, counts: Counts| {
        let privacy = Privacy { counts, ..privacy.clone() };
        packet::seal_with(outcome, key, space, &privacy)
    };
    let (true, Some(store)) = (privacy.k_anonymity > 1, store) else {
        return Ok(Ready { sealed: seal(outcome, privacy.counts)?, changed, held: None });
    };
    let (own, k) = (key.publisher(), privacy.k_anonymity);
    Ok(match release(store.as_ref(), space, outcome, own, k).await? {
        // A form is as coarse as it shall be.
        Release::As(form) => {
            Ready { sealed: seal(&form.outcome, Counts::Exact)?, changed, held: None }
        }
        Release::Held { reason, .. } => {
            Ready { sealed: seal(outcome, privacy.counts)?, changed, held: Some(reason) }
        }
    })
}

fn show(ready: &Ready, json: bool) -> Result<()> {
    let sealed = &ready.sealed;
    let shown = Shown {
        packet: hex::encode(&sealed.bytes),
        diagnostic: packet::diagnostic(&sealed.bytes).context("writing out a packet")?,
        changed: ready.changed.clone(),
        // As whoever receives it reads it.
        outcome: packet::open(&sealed.bytes)?.outcome,
    };
    let report = report(ready, None, Some(shown));
    if json {
        return output::json(&report);
    }
    print(&report, ready)
}

fn print(report: &Report, ready: &Ready) -> Result<()> {
    let Some(shown) = &report.shown else { return Ok(()) };
    let cut = if report.truncated { "; steps were cut or left out" } else { "" };
    let (id, bytes) = (&report.packet_id, report.bytes);
    output::line(&format!("packet {id}: {bytes} of {PACKET_BYTES_MAX} bytes{cut}"))?;
    if let Some(reason) = &ready.held {
        output::line(&format!("  kept back   {reason}"))?;
    }
    output::changes(&shown.changed)?;
    output::line(&format!("  bytes       {}", shown.packet))?;
    output::line(&format!("  notation    {}", shown.diagnostic))?;
    output::line(&format!("  says        {}", serde_json::to_string(&shown.outcome)?))
}

fn report(ready: &Ready, new: Option<bool>, shown: Option<Shown>) -> Report {
    Report {
        packet_id: hex::encode(ready.sealed.id),
        bytes: ready.sealed.bytes.len(),
        truncated: ready.sealed.truncated,
        new,
        held: ready.held.clone(),
        shown,
    }
}

/// The outcomes of a file, each with where it stands.
fn outcomes(file: &PathBuf) -> Result<Vec<(String, Outcome)>> {
    let mut outcomes = Vec::new();
    for (number, text) in read(file)?.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let place = format!("{}, line {}", file.display(), number + 1);
        let outcome = outcome(text).with_context(|| place.clone())?;
        outcomes.push((place, outcome));
    }
    Ok(outcomes)
}

/// An outcome in Edgelore's own form, which has a `situation`, or in the reference's.
fn outcome(text: &str) -> Result<Outcome> {
    let value: serde_json::Value = serde_json::from_str(text)?;
    if value.get("situation").is_some() {
        return Ok(serde_json::from_value(value)?);
    }
    let created = Timestamp::from_secs_nanos(Clock::new().now().secs(), 0);
    Ok(Packet::parse(text)?.to_outcome(created, created + REFERENCE_LIFETIME)?)
}

fn read(file: &PathBuf) -> Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("reading standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}
