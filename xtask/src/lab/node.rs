//! Edgelore at a viewpoint of the laboratory, live or on a capture, as its operator sees it.
//!
//! Invariant: what a live node has told when it ended in good order is everything that it found: at
//! its end it closes what is open as if the quiet that it waits for had followed.

use anyhow::{Context, Result, ensure};
use edgelore_model::{EventType, Interval, Protocol};
use edgelore_testkit::lab::{Ground, Moved, Reported, Viewpoint};
use edgelore_testkit::{NetNs, Process, wait_for_some};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START_DEADLINE: Duration = Duration::from_secs(60);
/// Routers of the laboratory.
const NODE_COUNT: u64 = 3;
const TOPOLOGY_CLASS: &str = "dual_homed";

/// What Edgelore says of a scenario from one viewpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) incidents: Vec<Reported>,
    /// Patterns of the resolutions whose outcomes it distilled.
    pub(super) noticed: Vec<String>,
}

/// An incident as Edgelore prints it; what is not judged is left out.
#[derive(Debug, Deserialize)]
struct Incident {
    event: EventType,
    protocol: Protocol,
    start: Interval,
    end: Option<Interval>,
    prefixes: u64,
}

impl From<Incident> for Reported {
    fn from(told: Incident) -> Self {
        let Incident { event, protocol, start, end, prefixes } = told;
        Self { event, protocol, start, end, prefixes: Moved::Counted(prefixes) }
    }
}

#[derive(Debug, Deserialize)]
struct Distilled {
    outcome: Outcome,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    resolution: Resolution,
}

#[derive(Debug, Deserialize)]
struct Resolution {
    pattern: String,
}

#[derive(Debug, Deserialize)]
struct Replayed {
    incidents: Vec<Incident>,
    outcomes: Vec<Distilled>,
}

impl Said {
    fn of(incidents: Vec<Incident>, outcomes: Vec<Distilled>) -> Self {
        Self {
            incidents: incidents.into_iter().map(Reported::from).collect(),
            noticed: outcomes.into_iter().map(|one| one.outcome.resolution.pattern).collect(),
        }
    }
}

/// A live node.
#[derive(Debug)]
pub(super) struct Node {
    process: Process,
    binary: PathBuf,
    namespace: PathBuf,
    /// Where its files are, with this viewpoint's name.
    directory: PathBuf,
    viewpoint: Viewpoint,
}

impl Node {
    /// Starts `edgelore run` at a live viewpoint, and waits until it answers.
    pub(super) fn start(
        binary: &Path,
        directory: &Path,
        ground: &Ground,
        viewpoint: Viewpoint,
    ) -> Result<Self> {
        let (namespace, capture) = stand(ground, viewpoint);
        let file = |suffix: &str| file(directory, viewpoint, suffix);
        let config = file("toml");
        let text = format!(
            "[node]\ndata_dir = {:?}\ntopology_class = {TOPOLOGY_CLASS:?}\n\
             node_count = {NODE_COUNT}\n\n{capture}",
            file("data")
        );
        std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let (namespace, directory) = (namespace.path(), directory.to_owned());
        let process = spawn(binary, &namespace, &config, &file("log"))?;
        let mut node = Self { process, binary: binary.to_owned(), namespace, directory, viewpoint };
        node.await_answer().with_context(|| format!("Edgelore at the {}", viewpoint.name()))?;
        Ok(node)
    }

    /// Ends it, so that it closes what is open, and lets its successor tell everything.
    pub(super) fn last_words(mut self) -> Result<Said> {
        let status = self.process.stop()?;
        ensure!(status.success(), "edgelore run ended: {status}\n{}", self.process.log_tail());
        let config = self.file("toml");
        self.process = spawn(&self.binary, &self.namespace, &config, &self.file("log.after"))?;
        self.await_answer()?;
        self.keep_words()?;
        self.said()
    }

    fn file(&self, suffix: &str) -> PathBuf {
        file(&self.directory, self.viewpoint, suffix)
    }

    fn await_answer(&mut self) -> Result<()> {
        let waited = wait_for_some(START_DEADLINE, "the node's first answer", || {
            if let Some(status) = self.process.exited() {
                return Some(Err(anyhow::anyhow!("edgelore run ended: {status}")));
            }
            self.ask("status", &[]).is_ok().then_some(Ok(()))
        });
        waited
            .and_then(std::convert::identity)
            .with_context(|| format!("edgelore run said:\n{}", self.process.log_tail()))
    }

    /// Everything that it has closed and distilled so far.
    fn said(&self) -> Result<Said> {
        let incidents = self.ask("incidents", &["--json"])?;
        let outcomes = self.ask("outcomes", &["--json"])?;
        Ok(Said::of(
            serde_json::from_slice(&incidents).context("read the node's incidents")?,
            serde_json::from_slice(&outcomes).context("read the node's outcomes")?,
        ))
    }

    /// Writes down what it says of itself, for people.
    fn keep_words(&self) -> Result<()> {
        let file = self.file("json");
        let mut words = self.ask("incidents", &["--json"])?;
        words.extend(self.ask("outcomes", &["--json"])?);
        std::fs::write(&file, words).with_context(|| format!("write {}", file.display()))
    }

    fn ask(&self, subcommand: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.display()));
        command
            .arg(&self.binary)
            .arg(subcommand)
            .arg("--data")
            .arg(self.file("data"))
            .args(arguments);
        answer(&mut command)
    }
}

fn file(directory: &Path, viewpoint: Viewpoint, suffix: &str) -> PathBuf {
    directory.join(format!("{}.{suffix}", viewpoint.name()))
}

fn spawn(binary: &Path, namespace: &Path, config: &Path, log: &Path) -> Result<Process> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display())).arg(binary);
    command.arg("run").arg("--config").arg(config);
    Process::spawn("edgelore run", &mut command, log)
}

/// Where a node runs and what it is told to watch.
fn stand(ground: &Ground, viewpoint: Viewpoint) -> (&NetNs, String) {
    let watching = |interfaces: &[&str]| format!("[capture]\ninterfaces = {interfaces:?}\n");
    match viewpoint {
        Viewpoint::Router | Viewpoint::RouterReplay => {
            let (namespace, interfaces) = ground.router();
            (namespace, watching(interfaces))
        }
        Viewpoint::Bridge | Viewpoint::BridgeReplay => {
            let (namespace, interfaces) = ground.bridge();
            (namespace, watching(interfaces))
        }
        Viewpoint::Bmp | Viewpoint::BmpReplay => {
            let bmp = format!(
                "[capture.bmp]\nlisten = '0.0.0.0:1790'\nallow = ['{}']\n",
                Ground::reporter()
            );
            (ground.collector().0, bmp)
        }
    }
}

/// What Edgelore finds in a capture.
pub(super) fn replay(binary: &Path, capture: &Path) -> Result<Said> {
    let mut command = Command::new(binary);
    command.args(["replay", "--json", "--topology-class", TOPOLOGY_CLASS]).arg(capture);
    let said = answer(&mut command)?;
    let replayed: Replayed = serde_json::from_slice(&said).context("read what was replayed")?;
    Ok(Said::of(replayed.incidents, replayed.outcomes))
}

fn answer(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().context("start edgelore")?;
    ensure!(
        output.status.success(),
        "edgelore: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}
