//! `cargo xtask`: everything that is done *with* the repository, each by one command.
//!
//! Never does: anything the product does. The demo and the tests look at Edgelore from outside.
#![forbid(unsafe_code)]

mod cross;
mod demo;
mod ebpf;
mod fuzz;
mod lab;
mod setup;
mod shell;
mod test;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit code after an interrupt, as a shell gives it for SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// What is released and tested has every backend; a plain `cargo build` has those without a server.
const FEATURES: [&str; 2] = ["--features", "edgelore/servers"];

/// Everything that is done with this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing to build, test and run the demo.
    Setup,
    /// Build target/release/edgelore with the eBPF object inside.
    Build,
    /// The Singapore–Denver story on real daemons, measured beside the truth.
    Demo(demo::Options),
    /// Scenarios on real daemons, recorded, and Edgelore held against what really happened.
    Lab(lab::Options),
    /// Format, lint, tidy, all tests, and proof that the live ones ran.
    Test,
    /// Side-by-side measurements; further arguments go to the bench program.
    Bench {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feed the parsers whatever breaks them, on a nightly toolchain.
    Fuzz(fuzz::Options),
    /// Check the rules that a program can check.
    Tidy,
}

fn main() -> ExitCode {
    let done = run(&Arguments::parse().command);
    if edgelore_testkit::interrupted() {
        eprintln!("interrupted; everything that was started has been removed");
        return ExitCode::from(EXIT_INTERRUPTED);
    }
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Setup => setup::ensure(&setup::Need::ALL),
        Command::Build => build(),
        Command::Demo(options) => demo::run(options),
        Command::Lab(options) => lab::run(options),
        Command::Test => test::run(),
        Command::Bench { arguments } => bench(arguments),
        Command::Fuzz(options) => fuzz::run(options),
        Command::Tidy => tidy::run(),
    }
}

/// The release binary, after making sure that it can be built.
fn build() -> Result<()> {
    setup::ensure(&[setup::Need::Toolchain])?;
    ebpf::build()?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "edgelore"]).args(FEATURES))
}

fn bench(arguments: &[String]) -> Result<()> {
    build()?;
    let mut command = shell::cargo();
    command.args(["run", "--release", "--package", "edgelore-bench", "--"]).args(arguments);
    shell::run(&mut command)
}
