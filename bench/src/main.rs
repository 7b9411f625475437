//! Side-by-side measurements: Edgelore against its peers and against the floor of the machine, in
//! one process, interleaved.
//!
//! Owns the choice of scenarios and the output. Never asserts a figure: machines differ and are
//! shared, so ratios taken in one run are what counts.
//!
//! **Invariant:** contenders of one table work on the same bytes, and a table says when they did
//! not all read the same from them.
#![forbid(unsafe_code)]

mod attached;
mod backends;
mod decode;
mod forwarded;
mod frames;
mod hash;
mod injector;
mod inputs;
mod machine;
mod measure;
mod memory;
mod packet;
mod pipeline;
mod report;
mod rib;
mod ring;
mod saturation;
mod similarity;
mod store;
mod transport;
mod wire;
mod xdp;

use anyhow::{Context as _, Result};
use clap::Parser;
use machine::Machine;
use measure::Effort;
use report::Section;
use std::path::PathBuf;
use std::process::ExitCode;

/// A scenario: its name and what it measures.
type Scenario = (&'static str, fn(Effort) -> Result<Vec<Section>>);

const SCENARIOS: [Scenario; 15] = [
    ("xdp", xdp::run),
    ("transport", transport::run),
    ("ring", ring::run),
    ("decode", decode::run),
    ("rib", rib::run),
    ("hash", hash::run),
    ("similarity", similarity::run),
    ("pipeline", pipeline::run),
    ("packet", packet::run),
    ("store", store::run),
    ("backends", backends::run),
    ("wire", wire::run),
    ("forwarded", forwarded::run),
    ("saturation", saturation::run),
    ("memory", memory::run),
];

/// Side-by-side measurements. Set EDGELORE_DATA to a folder of captures for the longer inputs.
#[derive(Debug, Parser)]
#[command(name = "edgelore-bench")]
struct Options {
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Only this scenario; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = SCENARIOS.map(|(name, _)| name))]
    only: Vec<String>,
    /// Of the scenario `backends` only this one; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = backends::names())]
    backend: Vec<String>,
    /// Packets in the store that is queried, from 1000; a million take minutes to sign and store.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    packets: usize,
    /// Write the tables to bench/record/NAME.md as well; without NAME, today's date.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    record: Option<String>,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("edgelore-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when a scenario failed; the others have run all the same.
fn run(options: Options) -> Result<bool> {
    let machine = Machine::here();
    let mut text = machine.to_markdown(options.quick);
    print!("{text}");
    let mut complete = true;
    // They are needed until the program ends.
    let backends: &'static [String] = options.backend.leak();
    let (quick, packets) = (options.quick, options.packets.max(1_000));
    let effort = Effort { quick, packets, backends };
    for (name, scenario) in SCENARIOS {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("measuring {name} …");
        let sections = scenario(effort).unwrap_or_else(|error| {
            complete = false;
            vec![Section::without_rows(name, format!("Failed: {error:#}."))]
        });
        for section in sections {
            let section = section.to_markdown();
            print!("{section}");
            text.push_str(&section);
        }
    }
    if let Some(name) = &options.record {
        let path = record_path(if name.is_empty() { &machine.date } else { name });
        std::fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("recorded in {}", path.display());
    }
    Ok(complete)
}

fn record_path(name: &str) -> PathBuf {
    let name = name.trim_end_matches(".md").replace(['/', '\\'], "-");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("record").join(format!("{name}.md"))
}
