//! Network namespaces that vanish with their guard.
//!
//! Invariant: every namespace is named `el_<pid>_<name>`, so that one left by a killed run can be
//! recognised and removed. Programs enter by `nsenter`, never by `ip netns exec`, which hides bpffs
//! and tracefs.

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const RUN_NETNS: &str = "/run/netns";

/// How long processes in a namespace may take to end before they are killed.
const TERM_GRACE: Duration = Duration::from_secs(3);

/// A network namespace created by this process.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// Creates `el_<pid>_<name>` with its loopback up. Needs root.
    ///
    /// # Errors
    /// When `ip netns add` fails, for instance because the name is taken.
    pub fn new(name: &str) -> Result<Self> {
        let name = format!("el_{}_{name}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(RUN_NETNS).join(&self.name)
    }

    /// A command that runs `program` inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    /// Runs the lines of `batch` inside, each the arguments of one `ip` command.
    ///
    /// # Errors
    /// The first line that `ip` refuses, with what it said.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let mut child = self
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip")?;
        let mut input = child.stdin.take().expect("its input was asked to be a pipe");
        // `ip` stops reading at the first bad line; its own message says more than the broken pipe.
        let _ = input.write_all(batch.as_bytes());
        drop(input);
        let output = child.wait_with_output().context("wait for ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}: {}", self.name, said.trim());
        Ok(())
    }

    /// Runs `f` on a thread of its own inside. Sockets that it opens stay in the namespace,
    /// whichever thread uses them later.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the error of `f`.
    ///
    /// # Panics
    /// When `f` panics.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let enter = || {
            let handle = File::open(self.path())
                .with_context(|| format!("open the namespace {}", self.name))?;
            setns(handle, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("enter the namespace {}", self.name))?;
            f()
        };
        std::thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Writes kernel settings of the namespace, given as paths below `/proc/sys/net`.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (path, value) in settings {
                let path = Path::new("/proc/sys/net").join(path);
                std::fs::write(&path, value)
                    .with_context(|| format!("write {}", path.display()))?;
            }
            Ok(())
        })
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("{error:#}");
        }
    }
}

/// Joins two namespaces by a veth pair, both ends up; each end is given as (namespace, interface).
///
/// # Errors
/// When a name is taken or too long (15 bytes).
pub fn veth(a: (&NetNs, &str), b: (&NetNs, &str)) -> Result<()> {
    run(Command::new("ip")
        .args(["link", "add", a.1, "netns", a.0.name(), "type", "veth"])
        .args(["peer", "name", b.1, "netns", b.0.name()]))?;
    a.0.ip(&format!("link set {} up", a.1))?;
    b.0.ip(&format!("link set {} up", b.1))
}

/// A temporary directory that [`remove_stale`] recognises: `el_<pid>_<name>_…`.
///
/// # Errors
/// When it cannot be created.
pub fn scratch(name: &str) -> Result<TempDir> {
    let prefix = format!("el_{}_{name}_", std::process::id());
    let directory = tempfile::Builder::new().prefix(&prefix).tempdir();
    directory.with_context(|| format!("create a directory for {name}"))
}

/// Removes what runs left that no longer exist: their namespaces with the processes in them, and
/// their temporary directories.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_stale() -> Result<()> {
    for name in stale(Path::new(RUN_NETNS)) {
        // Two runs may clean up at the same time: gone is gone.
        let removed = remove(&name);
        if Path::new(RUN_NETNS).join(&name).exists() {
            removed?;
        }
    }
    let temporary = std::env::temp_dir();
    for name in stale(&temporary) {
        let path = temporary.join(name);
        let ours = std::fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        let removed = if ours { std::fs::remove_dir_all(&path) } else { Ok(()) };
        if ours && path.exists() {
            removed.with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The names in `directory` whose owner has ended.
fn stale(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let ended = |pid: u32| !Path::new(&format!("/proc/{pid}")).exists();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(ended))
        .collect()
}

/// The pid in a name of the form `el_<pid>_<name>`.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("el_")?.split_once('_')?.0.parse().ok()
}

fn remove(name: &str) -> Result<()> {
    end_processes(&Path::new(RUN_NETNS).join(name));
    run(Command::new("ip").args(["netns", "del", name]))
}

/// Ends what runs in the namespace: nothing but what was started for it can be there.
fn end_processes(namespace: &Path) {
    for pid in processes_in(namespace) {
        let _ = kill(pid, Signal::SIGTERM);
    }
    let asked = Instant::now();
    while !processes_in(namespace).is_empty() {
        if asked.elapsed() > TERM_GRACE {
            for pid in processes_in(namespace) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn processes_in(namespace: &Path) -> Vec<Pid> {
    let Ok(target) = std::fs::metadata(namespace) else { return Vec::new() };
    let same = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (target.dev(), target.ino()))
    };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = i32::try_from(std::process::id()).expect("a pid fits its type");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own && !is_zombie(*pid))
        .filter(|pid| same(Path::new(&format!("/proc/{pid}/ns/net"))))
        .map(Pid::from_raw)
        .collect()
}

/// A zombie still shows its namespace, but has ended.
fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_our_names_have_an_owner() {
        assert_eq!(owner("el_123_gw"), Some(123));
        for other in ["lab_gw", "el_gw", "el_x_gw", "el_12", ""] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
