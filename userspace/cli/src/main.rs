//! The `edgelore` command: one module per subcommand, nothing but reading arguments, calling the
//! libraries and printing.
//!
//! Exit codes: 0 done, 1 it failed (the reason is on standard error), 2 the arguments are wrong.
#![forbid(unsafe_code)]

mod commands;
mod output;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What one network learned at its edge, the next one knows.
#[derive(Debug, Parser)]
#[command(name = "edgelore", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch this gateway: capture, detect, distil, publish.
    Run(commands::run::Arguments),
    /// Find the incidents in captures and dumps (pcap, pcapng, MRT); needs no root.
    Replay(commands::replay::Arguments),
    /// Decode a capture or dump and say what it contains.
    Decode(commands::decode::Arguments),
    /// Print the outcome hash of packets in the reference's JSON form, one a line.
    Fingerprint(commands::fingerprint::Arguments),
    /// Sign outcomes and store them where networks with a similar problem look.
    Publish(commands::publish::Arguments),
    /// Take back an outcome, or everything that a key has signed.
    Revoke(commands::revoke::Arguments),
    /// Find outcomes near a situation.
    Query(commands::query::Arguments),
    /// Rank what helped in situations like yours.
    Advise(commands::advise::Arguments),
    /// Tell the node what you changed, when the wire cannot show it.
    Resolve(commands::resolve::Arguments),
    /// Say whose outcomes count, and see what was published, accepted and refused.
    Trust(commands::trust::Arguments),
    /// Begin or end maintenance: incidents in it count for no outcome.
    Maintenance(commands::maintenance::Arguments),
    /// Say how alike two situations are, field by field.
    Similar(commands::similar::Arguments),
    /// Check a similarity definition, or say what a change of it does.
    Similarity(commands::similarity::Arguments),
    /// Take a packet apart.
    Packet(commands::packet::Arguments),
    /// Serve a store to other networks over HTTP.
    Serve(commands::serve::Arguments),
    /// Look after a store: check, export, import, count, compact, copy.
    Store(commands::store::Arguments),
    /// Make a signing key, or one that succeeds another.
    Keygen(commands::keygen::Arguments),
    /// List the incidents that the node has measured.
    Incidents(commands::incidents::Arguments),
    /// List the outcomes that the node has distilled.
    Outcomes(commands::outcomes::Arguments),
    /// Say what the node sees, withholds and loses.
    Status(commands::status::Arguments),
    /// Say what stands between this machine and a node that works, and what to do about it.
    Doctor(commands::doctor::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("EDGELORE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let done = match arguments.command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Replay(arguments) => commands::replay::run(&arguments),
        Command::Decode(arguments) => commands::decode::run(&arguments),
        Command::Fingerprint(arguments) => commands::fingerprint::run(&arguments),
        Command::Publish(arguments) => commands::publish::run(&arguments),
        Command::Revoke(arguments) => commands::revoke::run(&arguments),
        Command::Query(arguments) => commands::query::run(&arguments),
        Command::Advise(arguments) => commands::advise::run(&arguments),
        Command::Resolve(arguments) => commands::resolve::run(&arguments),
        Command::Trust(arguments) => commands::trust::run(&arguments),
        Command::Maintenance(arguments) => commands::maintenance::run(&arguments),
        Command::Similar(arguments) => commands::similar::run(&arguments),
        Command::Similarity(arguments) => commands::similarity::run(&arguments),
        Command::Packet(arguments) => commands::packet::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Store(arguments) => commands::store::run(&arguments),
        Command::Keygen(arguments) => commands::keygen::run(&arguments),
        Command::Incidents(arguments) => commands::incidents::run(&arguments),
        Command::Outcomes(arguments) => commands::outcomes::run(&arguments),
        Command::Status(arguments) => commands::status::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgelore: {error:#}");
            ExitCode::FAILURE
        }
    }
}
