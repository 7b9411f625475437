//! A child process that ends with its guard.
//!
//! Invariant: the child runs in a process group of its own, so that an interrupt at the terminal
//! reaches it only through the guard; dropping the guard ends and reaps it, by its pid.

use crate::{Injection, now};
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a child may take to end after SIGTERM before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// How many bytes of a log [`Process::log_tail`] returns at most.
const LOG_TAIL_BYTES_MAX: usize = 4096;

/// A running child whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both output streams written to `log`.
    ///
    /// # Errors
    /// When the log cannot be created or the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output =
            File::create(log).with_context(|| format!("create the log {}", log.display()))?;
        let errors = output.try_clone().context("duplicate the log's descriptor")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it was called when it was started.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills it at once (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be signalled or waited for.
    pub fn kill(&mut self) -> Result<Injection> {
        let before = now();
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("reap {}", self.name))?;
        Ok(Injection { before, after: now() })
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of its output, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_TAIL_BYTES_MAX);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    /// Asks it to end, kills it after five seconds, and reaps it.
    ///
    /// # Errors
    /// When the child cannot be signalled or waited for.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let name = self.name.clone();
        if let Some(status) = self.child.try_wait().with_context(|| format!("wait for {name}"))? {
            return Ok(status);
        }
        let pid = i32::try_from(self.child.id()).expect("a pid fits its type");
        kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("end {name}"))?;
        let asked = Instant::now();
        // Not `wait_for`: an interrupt must not cut the cleaning up short.
        while asked.elapsed() < TERM_GRACE {
            if let Some(status) =
                self.child.try_wait().with_context(|| format!("wait for {name}"))?
            {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().with_context(|| format!("kill {name}"))?;
        self.child.wait().with_context(|| format!("reap {name}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}
