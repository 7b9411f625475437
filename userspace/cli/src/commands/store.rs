//! `edgelore store`: looks after an embedded store while no server has it open; copies any store.

use super::{SimilarityArguments, block_on, copy};
use crate::output;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use edgelore_capture::Clock;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig, upkeep};
use edgelore_routing::{Backend, BackendError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify every page, signature and record; fails when something is wrong.
    Check(Place),
    /// Write every packet that verifies, in hexadecimal, one a line.
    Export(Place),
    /// Store packets, in hexadecimal, one a line; those that are there do no harm.
    Import(Import),
    /// Count what is in it.
    Stats(Place),
    /// Copy what counts into another store of any kind, and verify the copy; may be repeated.
    Copy(Box<copy::Arguments>),
    /// Give free pages back to the file system.
    Compact(Place),
}

#[derive(Debug, Args)]
struct Place {
    /// The store's directory.
    #[arg(long, default_value = "/var/lib/edgelore/store")]
    store: PathBuf,
}

#[derive(Debug, Args)]
struct Import {
    /// The packets; `-` is standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    similarity: SimilarityArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Check(place) => check(&place.store),
        Command::Export(place) => export(&place.store),
        Command::Import(import) => block_on(run_import(import)),
        Command::Stats(place) => output::json(&upkeep::stats(&place.store, Clock::new().now())?),
        Command::Copy(arguments) => copy::run(arguments),
        Command::Compact(place) => {
            let (before, after) = upkeep::compact(&place.store)?;
            output::json(&Compacted { bytes_before: before, bytes_after: after })
        }
    }
}

#[derive(Serialize)]
struct Compacted {
    bytes_before: u64,
    bytes_after: u64,
}

fn check(store: &Path) -> Result<()> {
    let checked = upkeep::check(store)?;
    output::json(&checked)?;
    ensure!(
        checked.is_sound(),
        "the store is damaged; `edgelore store export` saves what is sound"
    );
    Ok(())
}

fn export(store: &Path) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let damaged = upkeep::export(store, |packet| -> Result<()> {
        Ok(writeln!(out, "{}", hex::encode(packet))?)
    })?;
    out.flush()?;
    ensure!(damaged == 0, "{damaged} damaged packets were left out");
    Ok(())
}

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
struct Imported {
    new: u64,
    known: u64,
    /// By reason.
    refused: BTreeMap<String, u64>,
}

async fn run_import(import: &Import) -> Result<()> {
    let space = import.similarity.space()?;
    let config = EmbeddedConfig { space, ..EmbeddedConfig::in_directory(&import.place.store) };
    let store = Embedded::open(config)?;
    let mut imported = Imported::default();
    for (number, line) in open(&import.file)?.lines().enumerate() {
        let line = line.with_context(|| format!("reading {}", import.file.display()))?;
        let bytes = hex::decode(line.trim()).with_context(|| {
            format!("{}, line {}: not hexadecimal", import.file.display(), number + 1)
        })?;
        match store.store(bytes).await {
            Ok(stored) if stored.new => imported.new += 1,
            Ok(_) => imported.known += 1,
            Err(error) if error.is_final() || error == BackendError::Full => {
                *imported.refused.entry(error.to_string()).or_default() += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    output::json(&imported)
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.with_context(|| format!("reading {}", file.display()))?)
    };
    Ok(Box::new(BufReader::new(input)))
}
