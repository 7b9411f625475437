//! `cargo xtask demo`: two networks, four failures, one outcome that travels.
//!
//! Owns: the story, its checks and its table. Never does: Edgelore's work; it talks to the release
//! binary as an operator does, and to the routers as an engineer does.
//!
//! Invariant: success means that every figure was held against the truth and fitted.

mod hub;
mod node;
mod progress;
mod story;
mod table;

use crate::setup::{self, Need};
use crate::shell;
use anyhow::{Context, Result, ensure};
use clap::Args;
use edgelore_testkit::{remove_stale, scratch, watch_signals};
use nix::unistd::geteuid;
use std::path::Path;
use std::time::Instant;

/// The longest the story may take once everything is built, seconds.
const STORY_S_MAX: u64 = 240;

/// What can be changed about the demo.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Prefixes that each neighbour announces.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=512))]
    prefixes: u16,
    /// Leave the nodes' logs and data in this directory.
    #[arg(long)]
    keep: Option<std::path::PathBuf>,
    /// Only the networks and the truth, without Edgelore: checks the laboratory itself.
    #[arg(long)]
    truth_only: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the demo needs root: it makes network namespaces and loads eBPF programs"
    );
    setup::ensure(&[Need::Toolchain, Need::Daemons])?;
    if !options.truth_only {
        crate::build()?;
    }
    watch_signals().context("watch for interrupts")?;
    remove_stale().context("remove what an earlier run left")?;
    let scratch = scratch("demo")?;
    let directory = options.keep.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create {}", directory.display()))?;
    let start = Instant::now();
    let story = story::Story { directory, prefixes: options.prefixes, binary: &binary() };
    let report = if options.truth_only { story.play_truth()? } else { story.play()? };
    let took = start.elapsed().as_secs();
    print!("{}", table::render(&report));
    println!("\nThe story took {took} s; all namespaces and processes have been removed.");
    let wrong = report.problems();
    for problem in &wrong {
        println!("NOT OK: {problem}");
    }
    ensure!(wrong.is_empty(), "{} of the demo's checks failed", wrong.len());
    ensure!(took <= STORY_S_MAX, "the story took longer than {STORY_S_MAX} s");
    println!("All checks passed.");
    Ok(())
}

fn binary() -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new("target").to_owned(), Into::into);
    shell::root().join(target).join("release/edgelore")
}
