//! Edgelore on a gateway, as its operator sees it: a process, a configuration file and commands
//! that answer in JSON.

use super::hub::Hub;
use anyhow::{Context, Result, bail, ensure};
use edgelore_model::{Advice, Interval, Outcome, Span, Timestamp};
use edgelore_testkit::lab::Network;
use edgelore_testkit::{Process, wait_for_some};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The word of the similarity definition for a network with two uplinks.
pub(crate) const TOPOLOGY_CLASS: &str = "dual_homed";
/// Routers in each network.
const NODE_COUNT: u64 = 3;
/// How long the detector waits after the last change; longer than any pause within a convergence.
const QUIET_MS: u64 = 1_000;
const START_DEADLINE: Duration = Duration::from_secs(30);
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// An incident that began further from the fault than keepalives are apart is not of this fault.
const START_APART_MAX: Span = Span::from_millis(3_000);

/// An incident as `edgelore incidents --json` prints it; what the story does not use is left out.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) start: Interval,
    pub(crate) duration_ms: Option<DurationMs>,
    pub(crate) prefixes: u64,
}

/// A duration with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct DurationMs {
    pub(crate) earliest: i64,
    pub(crate) estimate: i64,
    pub(crate) latest: i64,
}

/// An outcome as `edgelore outcomes --json` prints it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Published {
    pub(crate) packet_id: String,
    pub(crate) outcome_hash: String,
    pub(crate) packet_bytes: usize,
    pub(crate) delivered: Option<Timestamp>,
    pub(crate) incidents: Vec<String>,
    pub(crate) parents: Vec<String>,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Deserialize)]
struct AdviceReport {
    advice: Vec<Advice>,
}

#[derive(Debug, Deserialize)]
struct Found {
    packet_id: String,
    publisher: String,
}

/// The node on one network's gateway.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    /// `nsenter --net=…`: where its commands run.
    namespace: PathBuf,
    binary: PathBuf,
    data: PathBuf,
    store: String,
    token: PathBuf,
}

impl Node {
    /// Writes the configuration, starts `edgelore run`, and waits until it answers.
    pub(crate) fn start(
        binary: &Path,
        directory: &Path,
        network: &Network,
        hub: &Hub,
    ) -> Result<Self> {
        let name = &network.site().name;
        let data = directory.join(name);
        std::fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
        let config = directory.join(format!("{name}.toml"));
        let (store, token) = (hub.url(), hub.token_file().to_owned());
        std::fs::write(&config, configuration(&data, &store, &token, network))
            .with_context(|| format!("write {}", config.display()))?;
        let mut command = network.gateway().command(&binary.display().to_string());
        command.arg("run").arg("--config").arg(&config);
        let log = directory.join(format!("{name}.log"));
        let process = Process::spawn("edgelore run", &mut command, &log)?;
        let namespace = network.gateway().path();
        let mut node = Self { process, namespace, binary: binary.to_owned(), data, store, token };
        node.until(START_DEADLINE, "the node's first answer", |node| {
            node.ask_node::<serde_json::Value>("status", &[]).ok()
        })?;
        Ok(node)
    }

    /// The convergence that began nearest to `injected`, once the node has closed it.
    pub(crate) fn incident(&mut self, injected: Timestamp) -> Result<Incident> {
        let apart = |incident: &Incident| (incident.start.estimate - injected).0.abs();
        self.until(ANSWER_DEADLINE, "the incident in Edgelore's list", |node| {
            node.incidents()
                .ok()?
                .into_iter()
                .filter(|one| one.event == "convergence" && apart(one) <= START_APART_MAX.0)
                .min_by_key(apart)
        })
    }

    /// Every incident that the node has closed.
    pub(crate) fn incidents(&self) -> Result<Vec<Incident>> {
        self.ask_node("incidents", &["--json"])
    }

    /// The outcome that rests on this incident, once a store has acknowledged it.
    pub(crate) fn outcome(&mut self, incident: &str) -> Result<Published> {
        self.until(ANSWER_DEADLINE, "a delivered outcome", |node| {
            let outcomes: Vec<Published> = node.ask_node("outcomes", &["--json"]).ok()?;
            outcomes.into_iter().find(|outcome| {
                outcome.delivered.is_some() && outcome.incidents.iter().any(|id| id == incident)
            })
        })
    }

    /// Waits until a query from this gateway, which does not name the answer, finds the packet.
    pub(crate) fn sees(&mut self, packet: &str) -> Result<()> {
        self.found(packet).map(drop)
    }

    /// Lets whoever published a packet vote in this node's advice, as a member of `group`.
    pub(crate) fn pin_publisher_of(&mut self, packet: &str, group: &str) -> Result<()> {
        let found = self.found(packet)?;
        let mut command = self.command("trust");
        command.args(["pin", &found.publisher, "--group", group, "--data"]).arg(&self.data);
        let output = command.output().context("start edgelore")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn found(&mut self, packet: &str) -> Result<Found> {
        let query = ["--topology-class", TOPOLOGY_CLASS, "--protocol", "bgp"];
        self.until(ANSWER_DEADLINE, "the packet in a query's answer", |node| {
            let mut command = node.command("query");
            command.args(["--json", "--store", &node.store, "--token-file"]).arg(&node.token);
            command.args(query).args(["--event-type", "convergence"]);
            let found: Vec<Found> = read(&mut command).ok()?;
            found.into_iter().find(|one| one.packet_id == packet)
        })
    }

    /// Ranked advice for this incident.
    pub(crate) fn advise(&mut self, incident: &str) -> Result<Vec<Advice>> {
        let report: AdviceReport = self.ask_node("advise", &["--incident", incident, "--json"])?;
        Ok(report.advice)
    }

    fn ask_node<T: DeserializeOwned>(&self, command: &str, arguments: &[&str]) -> Result<T> {
        read(self.command(command).arg("--data").arg(&self.data).args(arguments))
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.display()));
        command.arg(&self.binary).arg(subcommand);
        command
    }

    /// Waits for an answer, and tells what the node's log says when there is none.
    fn until<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        mut probe: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let waited = wait_for_some(deadline, what, || {
            if let Some(status) = self.process.exited() {
                return Some(Err(anyhow::anyhow!("edgelore run ended: {status}")));
            }
            probe(self).map(Ok)
        });
        match waited {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) | Err(error) => {
                Err(error.context(format!("edgelore run said:\n{}", self.process.log_tail())))
            }
        }
    }
}

fn configuration(data: &Path, store: &str, token: &Path, network: &Network) -> String {
    let interfaces = network.uplinks().map(|name| format!("{name:?}")).join(", ");
    format!(
        "[node]\ndata_dir = {data:?}\ntopology_class = {TOPOLOGY_CLASS:?}\n\
         node_count = {NODE_COUNT}\n\n[capture]\ninterfaces = [{interfaces}]\n\n\
         [detect.convergence]\nquiet_ms = {QUIET_MS}\n\n\
         [publish]\nstore = {store:?}\ntoken_file = {token:?}\n"
    )
}

fn read<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let output = command.output().context("start edgelore")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    ensure!(!output.stdout.is_empty(), "edgelore printed nothing");
    serde_json::from_slice(&output.stdout).context("read edgelore's answer")
}
