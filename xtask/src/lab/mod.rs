//! `cargo xtask lab`: scenarios on real daemons, recorded with their truth, and Edgelore held
//! against it from every vantage point.
//!
//! Owns: which scenarios run, at how many at a time, and the verdict. Never does: Edgelore's work;
//! it talks to the release binary as an operator does.
//!
//! Invariant: it succeeds only when every criterion that can be checked was met.

mod node;
mod run;
mod table;

use crate::setup::{self, Need};
use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use edgelore_testkit::lab::{SCENARIOS, Scenario};
use edgelore_testkit::{interrupted, now, remove_stale, scratch, watch_signals};
use nix::unistd::geteuid;
use run::{Played, Runner};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What can be chosen.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these scenarios; may be given several times. A name that ends in `*` stands for all
    /// that begin so.
    #[arg(long)]
    only: Vec<String>,
    /// Also those that take minutes.
    #[arg(long)]
    slow: bool,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
    /// Scenarios at a time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Leave captures, truths, and the nodes' words in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Record captures and truths without Edgelore.
    #[arg(long, requires = "keep")]
    record_only: bool,
    /// Judge Edgelore on the captures of this directory, which was kept before; needs no root.
    #[arg(long, conflicts_with_all = ["keep", "record_only"])]
    evaluate: Option<PathBuf>,
    /// Write the tables to this file, too.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Take this program instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = chosen(options)?;
    if options.list {
        for scenario in chosen {
            println!("{:<20} {}", scenario.name, scenario.about);
        }
        return Ok(());
    }
    let start = Instant::now();
    let played = match &options.evaluate {
        Some(directory) => evaluate(options, directory, &chosen)?,
        None => play(options, &chosen)?,
    };
    ensure!(!interrupted(), "interrupted");
    report(options, &played, start.elapsed().as_secs())
}

/// The scenarios that were asked for.
fn chosen(options: &Options) -> Result<Vec<&'static Scenario>> {
    let matches = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    for pattern in &options.only {
        if !SCENARIOS.iter().any(|scenario| matches(pattern, scenario.name)) {
            bail!("there is no scenario {pattern}; --list shows all");
        }
    }
    let wanted = |scenario: &&Scenario| {
        if options.only.is_empty() {
            return options.slow || options.list || !scenario.slow;
        }
        options.only.iter().any(|pattern| matches(pattern, scenario.name))
    };
    Ok(SCENARIOS.iter().filter(wanted).collect())
}

fn play(options: &Options, chosen: &[&'static Scenario]) -> Result<Vec<Played>> {
    ensure!(
        geteuid().is_root(),
        "the laboratory needs root: it makes network namespaces and loads eBPF programs"
    );
    setup::ensure(&[Need::Daemons])?;
    let binary = binary(options)?;
    watch_signals().context("watch for interrupts")?;
    remove_stale().context("remove what an earlier run left")?;
    let scratch = scratch("lab")?;
    let directory = options.keep.as_deref().unwrap_or(scratch.path());
    let runner = Runner { binary: (!options.record_only).then_some(binary), directory };
    // The longest first, so that none is left alone at the end.
    let mut order = chosen.to_vec();
    order.sort_by_key(|scenario| std::cmp::Reverse(run::duration_estimate(scenario)));
    in_parallel(options.jobs, &order, |scenario| runner.play(scenario))
}

/// Judges what was recorded before.
fn evaluate(
    options: &Options,
    directory: &Path,
    chosen: &[&'static Scenario],
) -> Result<Vec<Played>> {
    let binary = binary(options)?;
    let runner = Runner { binary: Some(binary), directory };
    let recorded: Vec<_> =
        chosen.iter().copied().filter(|scenario| runner.is_recorded(scenario)).collect();
    ensure!(!recorded.is_empty(), "{} holds no recorded scenario", directory.display());
    in_parallel(options.jobs, &recorded, |scenario| runner.evaluate(scenario))
}

fn binary(options: &Options) -> Result<PathBuf> {
    if let Some(binary) = &options.binary {
        return std::path::absolute(binary).context("find the program");
    }
    if !options.record_only {
        crate::build()?;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(shell::root().join(target).join("release/edgelore"))
}

/// Does `work` for each scenario, some at a time; a scenario that fails does not stop the others.
fn in_parallel(
    jobs: u8,
    scenarios: &[&'static Scenario],
    work: impl Fn(&'static Scenario) -> Result<Played> + Sync,
) -> Result<Vec<Played>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let labour = || {
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            if interrupted() {
                return;
            }
            let began = Instant::now();
            let played = work(scenario)
                .unwrap_or_else(|error| Played::failed(scenario.name, format!("{error:#}")));
            let problems = played.problems().len();
            println!(
                "{}  {:<20} {:>4} s  {}",
                now(),
                scenario.name,
                began.elapsed().as_secs(),
                if problems == 0 { "ok".to_owned() } else { format!("{problems} problems") }
            );
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(played);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(labour);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let place = |played: &Played| SCENARIOS.iter().position(|s| s.name == played.scenario);
    done.sort_by_key(place);
    Ok(done)
}

fn report(options: &Options, played: &[Played], took_s: u64) -> Result<()> {
    let text = table::render(played);
    print!("\n{text}");
    println!("\n{} scenarios took {took_s} s.", played.len());
    if let Some(file) = &options.write {
        std::fs::write(file, &text).with_context(|| format!("write {}", file.display()))?;
    }
    let wrong: usize = played.iter().map(|one| one.problems().len()).sum();
    ensure!(wrong == 0, "{wrong} of the laboratory's criteria failed");
    Ok(())
}
