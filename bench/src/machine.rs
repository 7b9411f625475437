//! Where and when a measurement was taken. Never says anything that identifies the machine: no
//! host name, no path, no address.

use edgelore_model::Timestamp;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine, the compiler and the code.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// UTC, `YYYY-MM-DD`.
    pub(crate) date: String,
    cpu: String,
    cores: usize,
    kernel: String,
    commit: String,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            date: today(),
            cpu: cpu_model(&read("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: or_unknown(read("/proc/sys/kernel/osrelease").trim()),
            commit: commit(),
        }
    }

    /// The head of a record.
    pub(crate) fn to_markdown(&self, quick: bool) -> String {
        let Self { date, cpu, cores, kernel, commit } = self;
        let rustc = env!("EDGELORE_BENCH_RUSTC");
        let architecture = std::env::consts::ARCH;
        let mode = if quick { ", quick run" } else { "" };
        format!(
            "# Edgelore measured, {date}{mode}\n\n\
             - CPU: {cpu}, {cores} cores, {architecture}\n\
             - kernel: Linux {kernel}\n\
             - compiler: {rustc}, release profile\n\
             - commit: {commit}\n\n\
             Medians of interleaved rounds in one process, with the slowest and the fastest round \
             where shown. The machine is shared: compare within a table.\n"
        )
    }
}

fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_secs_nanos(i64::try_from(since.as_secs()).unwrap_or(0), 0);
    now.to_string().chars().take(10).collect()
}

/// The first model name in `/proc/cpuinfo`, which not every architecture has.
fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    or_unknown(model.and_then(|rest| rest.split_once(':')).map_or("", |(_, name)| name.trim()))
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

/// The commit, if the sources are exactly that commit's; records do not count as sources.
fn commit() -> String {
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else { return or_unknown("") };
    match git(&["status", "--porcelain", "--", ".", ":!bench/record"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head} with uncommitted changes"),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_named_or_unknown() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: x\n";
        assert_eq!(cpu_model(cpuinfo), "Some CPU @ 2 GHz");
        assert_eq!(cpu_model("CPU implementer\t: 0x41\n"), "unknown");
    }

    #[test]
    fn the_date_is_a_date() {
        let date = today();
        let dashes: Vec<usize> = date.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!((date.len(), dashes), (10, vec![4, 7]));
    }
}
