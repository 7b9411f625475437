//! BIRD 2: routes come from a static protocol whose file is rewritten, then `birdc configure`.
//!
//! Invariant: the files always hold exactly what was announced and not withdrawn.

use super::{HOPS, Identity, RETRY_S, START_DEADLINE, Speaker, ask, end, family, write};
use crate::{NetNs, Process, scratch, wait_for};
use anyhow::{Context, Result, ensure};
use edgelore_model::Prefix;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

const BIRD: &str = "/usr/sbin/bird";
const BIRDC: &str = "/usr/sbin/birdc";
pub(super) const PROGRAMS: [&str; 2] = [BIRD, BIRDC];

/// Prefixes of [`table`]: all /24s from 20.0.0.0 to 223.255.255.0.
pub const TABLE_PREFIXES_MAX: u32 = 204 << 16;

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    process: Process,
    announced: BTreeSet<Prefix>,
    directory: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Bird {
    /// Starts BIRD inside `namespace`; it announces `prefixes` from the beginning, which is how a
    /// full table is best brought up. It installs nothing into the kernel's table.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(namespace: &NetNs, identity: &Identity, prefixes: &[Prefix]) -> Result<Self> {
        let scratch = scratch("bird")?;
        let directory = scratch.path().to_owned();
        let announced: BTreeSet<Prefix> = prefixes.iter().copied().collect();
        write_routes(&directory, &announced)?;
        let file = |name: &str| directory.join(name);
        write(&file("bird.conf"), &configuration(identity))?;
        let mut command = namespace.command(BIRD);
        command.arg("-f").arg("-c").arg(file("bird.conf")).arg("-s").arg(file("bird.ctl"));
        command.arg("-P").arg(file("bird.pid"));
        let process = Process::spawn("bird", &mut command, &file("log"))?;
        let mut bird = Self { process, announced, directory, _scratch: scratch };
        let mut ended = None;
        wait_for(START_DEADLINE, "start of bird", || {
            ended = bird.process.exited();
            ended.is_some() || bird.control("show status").is_ok()
        })?;
        ensure!(ended.is_none(), "bird ended at once: {}", bird.process.log_tail());
        Ok(bird)
    }

    /// What `birdc` prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn control(&self, command: &str) -> Result<String> {
        let mut birdc = Command::new(BIRDC);
        birdc.arg("-s").arg(self.directory.join("bird.ctl")).args(command.split(' '));
        ask(&mut birdc)
    }

    /// Routes that its sessions have brought and that still hold.
    ///
    /// # Errors
    /// When `birdc` fails or answers something else.
    pub fn received(&self) -> Result<u64> {
        let said = self.control("show protocols all \"session*\"")?;
        // A session that is down has no such line: it holds no routes.
        let lines = said.lines().filter_map(|line| line.trim().strip_prefix("Routes:"));
        let counts = lines.map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        counts.sum::<Option<u64>>().with_context(|| format!("count routes: {said}"))
    }

    /// Takes every session down and up again.
    ///
    /// # Errors
    /// When `birdc` fails.
    pub fn restart_sessions(&self) -> Result<()> {
        self.control("restart \"session*\"").map(drop)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn reconfigure(&mut self) -> Result<()> {
        write_routes(&self.directory, &self.announced)?;
        let said = self.control("configure")?;
        ensure!(said.contains("Reconfig"), "BIRD refused: {said}");
        Ok(())
    }
}

impl Speaker for Bird {
    fn announce(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.announced.extend(prefixes);
        self.reconfigure()
    }

    fn withdraw(&mut self, prefixes: &[Prefix]) -> Result<()> {
        for prefix in prefixes {
            self.announced.remove(prefix);
        }
        self.reconfigure()
    }

    fn stop(&mut self) -> Result<()> {
        end(&mut self.process, "bird")
    }
}

fn write_routes(directory: &Path, announced: &BTreeSet<Prefix>) -> Result<()> {
    let (mut ipv4, mut ipv6) = (String::new(), String::new());
    for prefix in announced {
        let text = if prefix.address().is_ipv4() { &mut ipv4 } else { &mut ipv6 };
        writeln!(text, "route {prefix} blackhole;").context("write a route")?;
    }
    write(&directory.join("ipv4.conf"), &ipv4)?;
    write(&directory.join("ipv6.conf"), &ipv6)
}

pub(super) fn configuration(identity: &Identity) -> String {
    let mut text = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{ }}\n\
         protocol static static4 {{\n ipv4;\n include \"ipv4.conf\";\n}}\n\
         protocol static static6 {{\n ipv6;\n include \"ipv6.conf\";\n}}\n",
        identity.router_id
    );
    for (number, neighbour) in identity.neighbours.iter().enumerate() {
        let passive = if neighbour.passive { " passive yes;\n" } else { "" };
        text += &format!(
            "protocol bgp session{number} {{\n local {} as {};\n neighbor {} as {};\n\
             {passive} multihop {HOPS};\n hold time {};\n connect retry time {RETRY_S};\n \
             connect delay time {RETRY_S};\n error wait time {RETRY_S}, {RETRY_S};\n \
             {} {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n",
            neighbour.local,
            identity.asn,
            neighbour.remote,
            neighbour.asn,
            neighbour.hold_time_s,
            family(neighbour.remote),
        );
    }
    text
}

/// `count` neighbouring /24s from 20.0.0.0 on, at most [`TABLE_PREFIXES_MAX`]: the size of a full
/// table without its source.
#[must_use]
pub fn table(count: u32) -> Vec<Prefix> {
    (0..count.min(TABLE_PREFIXES_MAX))
        .map(|number| {
            let address = IpAddr::from(((20u32 << 24) + (number << 8)).to_be_bytes());
            Prefix::new(address, 24).expect("24 bits fit an IPv4 address")
        })
        .collect()
}
