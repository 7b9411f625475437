//! How much memory a node takes: idle, with full tables of two sessions in place, and after their
//! withdrawal.
//!
//! A real `edgelore run` stands in the gateway of a laboratory; its figures are the kernel's.
//!
//! **Invariant:** memory is read only after the node itself says that it has decoded the table.

use crate::measure::Effort;
use crate::report::{Section, grouped};
use crate::ring::unavailable;
use crate::saturation::bird_missing;
use anyhow::{Context as _, Result};
use edgelore_node::control::Control;
use edgelore_testkit::speaker::Feed;
use edgelore_testkit::{Process, Topology, Vantage, pause, scratch, wait_for};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TITLE: &str = "Memory of a node";
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions that bring a table each.
const SESSIONS: usize = 2;
/// After the last change: the node's own timers have run, its journal is written.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let binary = binary()?;
    let why = unavailable().or_else(bird_missing).or_else(|| {
        let built = binary.exists();
        (!built).then(|| "Not measured: build `edgelore` first (`cargo xtask build`).".to_owned())
    });
    match why {
        Some(why) => Ok(vec![Section::without_rows(TITLE, why)]),
        None => Ok(vec![measure(&binary, effort.pick(900_000, 100_000))?]),
    }
}

/// The product, beside this program.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    Ok(own.with_file_name("edgelore"))
}

fn measure(binary: &Path, prefixes: u32) -> Result<Section> {
    let topology = Topology::build("mem", Vantage::Routed, SESSIONS)?;
    let directory = scratch("memory")?;
    let (node, data) = start(&topology, binary, directory.path())?;
    let mut section = Section::new(TITLE, &["state", "resident MB", "peak MB", "CPU s"]);
    section.note(format!(
        "`edgelore run` on all interfaces of a forwarding gateway; {SESSIONS} sessions of BIRD bring \
         {} prefixes each. `VmRSS` and `VmHWM`, and the CPU time of all its threads so far.",
        grouped(prefixes.into())
    ));
    pause(SETTLE, "an idle node")?;
    section.row(row("idle", node.pid())?);
    let mut feed = Feed::start(&topology, prefixes)?;
    let all = u64::from(prefixes) * SESSIONS as u64;
    await_decoded(&data, |counts| counts.ipv4_announced >= all)?;
    section.row(row("full tables announced", node.pid())?);
    feed.withdraw()?;
    await_decoded(&data, |counts| counts.ipv4_withdrawn >= all)?;
    section.row(row("full tables withdrawn", node.pid())?);
    Ok(section)
}

fn start(topology: &Topology, binary: &Path, directory: &Path) -> Result<(Process, PathBuf)> {
    let data = directory.join("data");
    let config = directory.join("edgelore.toml");
    let interfaces: Vec<String> =
        topology.interfaces().iter().map(|name| format!("{name:?}")).collect();
    let text = format!(
        "[node]\ndata_dir = {data:?}\n[capture]\ninterfaces = [{}]\n",
        interfaces.join(", ")
    );
    std::fs::write(&config, text).context("write the node's configuration")?;
    let mut command = topology.gateway().command(&binary.display().to_string());
    command.arg("run").arg("--config").arg(&config);
    let node = Process::spawn("edgelore run", &mut command, &directory.join("log"))?;
    await_decoded(&data, |_| true).with_context(|| node.log_tail())?;
    Ok((node, data))
}

/// Waits until the node's counts of prefixes suffice, and then for what follows from them.
fn await_decoded(
    data: &Path,
    enough: impl Fn(&edgelore_model::PrefixCounts) -> bool,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut last = None;
    wait_for(PATIENCE, "the node", || {
        let asked = runtime.block_on(async { Control::connect(data)?.status().await });
        last = asked.ok().map(|status| status.decoded.prefixes);
        last.as_ref().is_some_and(&enough)
    })
    .with_context(|| format!("the node has decoded {last:?}"))?;
    pause(SETTLE, "a settled node")
}

fn row(state: &str, pid: u32) -> Result<[String; 4]> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let (status, stat) = (read("status")?, read("stat")?);
    let megabytes = |key: &str| -> Result<String> {
        let kilobytes = kilobytes(&status, key).with_context(|| format!("find {key}"))?;
        Ok(format!("{:.1}", kilobytes as f64 / 1024.0))
    };
    let ticks = cpu_ticks(&stat).context("find the CPU time")?;
    let seconds = ticks as f64 / TICKS_PER_SECOND;
    Ok([state.to_owned(), megabytes("VmRSS:")?, megabytes("VmHWM:")?, format!("{seconds:.2}")])
}

/// `USER_HZ`, which Linux shows to programs on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A line of `/proc/PID/status`.
fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// User and system time of `/proc/PID/stat`, the 14th and 15th field; the second may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(10_240));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
        let stat = "7 (a ) b) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(300));
    }
}
