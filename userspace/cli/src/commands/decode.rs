//! `edgelore decode`: what a capture or dump contains.

use crate::output;
use anyhow::{Context, Result};
use clap::Args;
use edgelore_capture::file::FileSource;
use edgelore_model::{Batch, Observation};
use edgelore_node::replay::Damage;
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// pcap, pcapng or MRT, plain or compressed (gz, bz2, xz, zst).
    file: PathBuf,
    /// Print one JSON object with counts instead of one observation a line.
    #[arg(long)]
    summary: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut printed = Ok(());
    let mut print = |observation: Observation| {
        if !arguments.summary && printed.is_ok() {
            printed = output::json(&observation);
        }
    };
    let mut source = FileSource::open(&arguments.file)?;
    let mut batch = Batch::default();
    let read = loop {
        batch.clear();
        let more = source.next_batch(&mut batch);
        decoder.decode(&batch, &mut |_, observation| print(observation));
        match more {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    decoder.finish(&mut |_, observation| print(observation));
    if arguments.summary {
        output::json(decoder.summary())?;
    }
    printed?;
    if let Some(first) = source.stepped_over().first() {
        let (file, faults) = (arguments.file.clone(), source.counts().faults);
        output::damage(&Damage { file, faults, first: *first });
    }
    read.context("what came before was decoded")
}
