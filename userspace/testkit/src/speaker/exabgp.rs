//! ExaBGP: commands go through a named pipe that a process of its own copies to it.
//!
//! Invariant: the pipe is open for writing as long as the daemon runs, so that the copying process
//! meets no end of file.

use super::{Identity, Speaker, end, family, write};
use crate::{NetNs, Process, scratch};
use anyhow::{Context, Result};
use edgelore_model::Prefix;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

const EXABGP: &str = "/usr/sbin/exabgp";
const CAT: &str = "/bin/cat";
pub(super) const PROGRAMS: [&str; 2] = [EXABGP, CAT];

/// A running ExaBGP.
#[derive(Debug)]
pub struct ExaBgp {
    process: Process,
    pipe: File,
    neighbours: Vec<IpAddr>,
    _scratch: tempfile::TempDir,
}

impl ExaBgp {
    /// Starts ExaBGP inside `namespace`. It takes commands as soon as it runs; those that were
    /// written before wait in the pipe.
    ///
    /// # Errors
    /// When the pipe cannot be made or the program cannot be started.
    pub fn start(namespace: &NetNs, identity: &Identity) -> Result<Self> {
        let scratch = scratch("exabgp")?;
        let (fifo, file) = (scratch.path().join("commands"), scratch.path().join("exabgp.conf"));
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).context("make a named pipe")?;
        // Open both ways: opening for writing alone would wait for the reader.
        let pipe =
            OpenOptions::new().read(true).write(true).open(&fifo).context("open the pipe")?;
        write(&file, &configuration(identity, &fifo))?;
        let mut command = namespace.command(EXABGP);
        command.arg(&file).envs([
            ("exabgp.daemon.user", "root"),
            ("exabgp.tcp.bind", ""),
            ("exabgp.api.cli", "false"),
            ("exabgp.api.ack", "false"),
            ("exabgp.log.level", "WARNING"),
        ]);
        let process = Process::spawn("exabgp", &mut command, &scratch.path().join("log"))?;
        let neighbours = identity.neighbours.iter().map(|neighbour| neighbour.remote).collect();
        Ok(Self { process, pipe, neighbours, _scratch: scratch })
    }

    fn command(&mut self, verb: &str, prefixes: &[Prefix]) -> Result<()> {
        let mut text = String::new();
        for prefix in prefixes {
            let of_family = |neighbour: &&IpAddr| family(**neighbour) == family(prefix.address());
            for neighbour in self.neighbours.iter().filter(of_family) {
                text += &format!("neighbor {neighbour} {verb} route {prefix} next-hop self\n");
            }
        }
        self.pipe.write_all(text.as_bytes()).context("write commands for ExaBGP")
    }
}

impl Speaker for ExaBgp {
    fn announce(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.command("announce", prefixes)
    }

    fn withdraw(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.command("withdraw", prefixes)
    }

    fn stop(&mut self) -> Result<()> {
        end(&mut self.process, "exabgp")
    }
}

pub(super) fn configuration(identity: &Identity, fifo: &Path) -> String {
    let mut text =
        format!("process commands {{\n run {CAT} {};\n encoder text;\n}}\n", fifo.display());
    for neighbour in &identity.neighbours {
        text += &format!(
            "neighbor {} {{\n router-id {};\n local-address {};\n local-as {};\n peer-as {};\n \
             hold-time {};\n passive {};\n family {{ {} unicast; }}\n \
             api {{ processes [ commands ]; }}\n}}\n",
            neighbour.remote,
            identity.router_id,
            neighbour.local,
            identity.asn,
            neighbour.asn,
            neighbour.hold_time_s,
            neighbour.passive,
            family(neighbour.remote),
        );
    }
    text
}
