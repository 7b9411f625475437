//! `edgelore fingerprint`: outcome hashes of packets in the reference's JSON form.

use crate::output;
use anyhow::{Context, Result};
use clap::Args;
use edgelore_pipeline::fingerprint::reference::Packet;
use std::io::BufRead;

#[derive(Debug, Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<()> {
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("reading standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        let packet =
            Packet::parse(&line).with_context(|| format!("standard input, line {}", number + 1))?;
        output::line(&hex::encode(packet.fingerprint()))?;
    }
    Ok(())
}
