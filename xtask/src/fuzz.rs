//! Runs the fuzz targets on a nightly toolchain, one after the other.
//!
//! Invariant: what a target finds stays in `target/fuzz`, and makes the command fail.

use crate::shell::{self, root};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;

/// What every run is told: a find is also what takes too long (s) or too much memory (MiB).
const LIMITS: [&str; 4] =
    ["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"];
const CARGO_FUZZ: &str = "0.13.2";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The targets; all of them by default.
    targets: Vec<String>,
    /// Time for each target in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    install()?;
    let known = known()?;
    let targets = if options.targets.is_empty() { &known } else { &options.targets };
    for target in targets {
        ensure!(known.contains(target), "no fuzz target {target}: there are {}", known.join(", "));
    }
    let found: Vec<&str> = targets
        .iter()
        .filter(|target| fuzz(target, options).is_err())
        .map(String::as_str)
        .collect();
    if !found.is_empty() {
        bail!("finds, or failures, in {}: see target/fuzz/artifacts", found.join(", "));
    }
    println!("{} targets, {} s each: no find", targets.len(), options.seconds);
    Ok(())
}

fn fuzz(target: &str, options: &Options) -> Result<()> {
    let corpus = directory("corpus", target)?;
    let artifacts = directory("artifacts", target)?;
    let mut command = cargo_fuzz("run");
    command
        .arg(target)
        .arg(corpus)
        .arg(seeds(target))
        .arg("--")
        .args(LIMITS)
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    shell::run(&mut command).inspect_err(|error| eprintln!("{error:#}"))
}

/// What a target begins with: recordings of what it reads, or of about that length.
fn seeds(target: &str) -> PathBuf {
    let folder = match target {
        "formats" => "tracepoints",
        "netlink" | "detect" => "netlink",
        "json" | "similarity" => target,
        "packet" => "packets",
        _ => "captures",
    };
    root().join("userspace/fixtures").join(folder)
}

fn directory(kind: &str, target: &str) -> Result<PathBuf> {
    let directory = root().join("target/fuzz").join(kind).join(target);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

/// The targets' names, from their files.
fn known() -> Result<Vec<String>> {
    let directory = root().join("userspace/fuzz/targets");
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .with_context(|| format!("list {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn program() -> PathBuf {
    root().join("target/tools/bin/cargo-fuzz")
}

/// `cargo fuzz` as cargo of the nightly toolchain would call it.
fn cargo_fuzz(action: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .current_dir(root())
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN");
    command.args(["run", "nightly"]).arg(program()).args(["fuzz", action]);
    command.args(["--fuzz-dir", "userspace/fuzz", "--target-dir", "target/fuzz/build"]);
    command
}

fn install() -> Result<()> {
    let nightly = shell::succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "-V"]));
    ensure!(nightly, "fuzzing needs a nightly toolchain: rustup toolchain install nightly");
    if program().exists() {
        return Ok(());
    }
    let mut command = shell::cargo();
    command.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--root"]);
    shell::run(command.arg(root().join("target/tools"))).context("build cargo-fuzz")
}
