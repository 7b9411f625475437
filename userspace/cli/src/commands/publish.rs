//! `edgelore publish`: signs outcomes and stores them.

use super::{StoreArguments, block_on};
use crate::output;
use anyhow::{Context, Result};
use clap::Args;
use edgelore_capture::Clock;
use edgelore_model::{Outcome, Span, Timestamp};
use edgelore_pipeline::fingerprint::reference::Packet;
use edgelore_pipeline::packet::{self, Sealed};
use serde::Serialize;
use std::io::Read;
use std::path::PathBuf;

/// How long an imported packet of the reference's form counts.
const REFERENCE_LIFETIME: Span = Span(180 * 86_400 * 1_000_000_000);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Outcomes as JSON lines, Edgelore's own form or the reference's; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    store: StoreArguments,
    /// The signing key.
    #[arg(long)]
    key: PathBuf,
    /// Show what would leave, and store nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    packet_id: String,
    bytes: usize,
    truncated: bool,
    new: Option<bool>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let key = edgelore_node::keys::load(&arguments.key)?;
    let space = arguments.store.space()?;
    let mut sealed = Vec::new();
    for (number, text) in read(&arguments.file)?.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let place = || format!("{}, line {}", arguments.file.display(), number + 1);
        let outcome = outcome(text).with_context(place)?;
        sealed.push(packet::seal(&outcome, &key, &space).with_context(place)?);
    }
    if arguments.dry_run {
        return sealed.iter().try_for_each(dry_run);
    }
    block_on(async {
        let store = arguments.store.open()?;
        for packet in sealed {
            let stored = store.store(packet.bytes.clone()).await?;
            output::json(&report(&packet, Some(stored.new)))?;
        }
        Ok(())
    })
}

/// Everything that would leave: the exact bytes, and what they say.
fn dry_run(packet: &Sealed) -> Result<()> {
    output::json(&report(packet, None))?;
    output::line(&hex::encode(&packet.bytes))?;
    output::json(&packet::open(&packet.bytes)?.outcome)
}

fn report(packet: &Sealed, new: Option<bool>) -> Report {
    Report {
        packet_id: hex::encode(packet.id),
        bytes: packet.bytes.len(),
        truncated: packet.truncated,
        new,
    }
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
