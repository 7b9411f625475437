//! A node that can be killed: the journal, the publisher and the receiving part of a real one, in a
//! process of its own, with made-up outcomes in the place of capture.
//!
//! It prints `acknowledged ID` after an outcome is in its journal, and does what its input says:
//! `stop` ends the making of outcomes, and `drained` is printed when all are delivered; `expect N`
//! prints `complete` when so many packets are in its own store; the end of input ends it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use edgelore_capture::Clock;
use edgelore_model::{IncidentId, Known, Outcome, Resolution, Situation, Span, Timestamp};
use edgelore_node::delivery::{Follower, Wanted};
use edgelore_node::journal::{Journal, JournaledOutcome};
use edgelore_node::keeper::Keeper;
use edgelore_node::publisher::Publisher;
use edgelore_node::sharing::{Outlets, SharingConfig};
use edgelore_node::status::StatusSource;
use edgelore_node::store::{Access, Stores, open_each};
use edgelore_node::trust::{Trust, TrustConfig};
use edgelore_pipeline::distil::{ChangeId, Compared, DistilConfig, Distilled, Input, Site};
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_pipeline::packet::{self, PacketId, Privacy, SigningKey};
use edgelore_routing::Backend;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_testkit::{NetNs, wait_for, wait_for_some};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

const PLAN: &str = "EDGELORE_TEST_NODE";
/// How long something may take that has to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// What the child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// Its stores, all of which it writes and follows.
    pub(crate) stores: Vec<String>,
    /// The stores' token.
    pub(crate) token: Option<PathBuf>,
    /// Who it is.
    pub(crate) key: u8,
    /// The number of its first outcome.
    pub(crate) first: u32,
    /// Between two outcomes, in ms.
    pub(crate) pause_ms: u64,
}

fn situation() -> Situation {
    Situation {
        topology_class: "spine_leaf".into(),
        protocol: "bgp".into(),
        event_type: "convergence".into(),
        severity: 340_000,
        affected_prefixes: 8_200,
        node_count: 96,
    }
}

fn journaled(number: u32, key: &SigningKey) -> JournaledOutcome {
    let now = Timestamp::from_secs_nanos(Clock::new().now().secs(), 0);
    let outcome = Outcome {
        situation: situation(),
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: vec!["lower the detection time".into()],
            known: Known::Measured,
        },
        before: Some(340_000),
        after: Some(800),
        convergence_delta_ms: 339_200,
        sample_size: number,
        created: now,
        expires: now + Span::from_millis(86_400_000),
        method: [7; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    };
    let sealed = packet::seal(&outcome, key, &Space::default_definition()).unwrap();
    let change = ChangeId { incident: IncidentId(number.into()), pattern: "bfd_tuning".into() };
    JournaledOutcome {
        distilled: Distilled {
            outcome: sealed.outcome,
            incidents: Vec::new(),
            change,
            changed_before: now,
            compared: Compared::default(),
            silent_ms: None,
            regression: false,
            evidence: Vec::new(),
        },
        packet_id: hex::encode(sealed.id),
        outcome_hash: String::new(),
        packet: sealed.bytes,
        delivered: None,
        held: None,
        scope: None,
    }
}

/// The child's state.
struct Running {
    journal: Arc<Journal>,
    received: Arc<Embedded>,
    pending: Arc<Notify>,
    stopped: AtomicBool,
}

#[test]
#[ignore = "the child of the tests of faults"]
fn node_child() {
    let plan: Plan = serde_json::from_str(&std::env::var(PLAN).unwrap()).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let running = {
        let _guard = runtime.enter();
        Arc::new(start(&plan))
    };
    let making = Arc::clone(&running);
    let mut maker = Some(std::thread::spawn(move || make(&making, &plan)));
    for line in std::io::stdin().lines() {
        obey(&runtime, &running, &mut maker, &line.unwrap());
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
}

fn start(plan: &Plan) -> Running {
    let (clock, space) = (Clock::new(), Space::default_definition());
    let key = SigningKey::from_seed(&mut [plan.key; 32]);
    std::fs::create_dir_all(&plan.data).unwrap();
    let journal = Arc::new(Journal::open(&plan.data).unwrap());
    let site = Site { topology_class: "spine_leaf".into(), node_count: 96 };
    let (config, privacy) = (DistilConfig::default(), Privacy::default());
    let at = Arc::clone(&journal);
    let keeper = Keeper::new(site, [7; 8], config, at, key, space.clone(), privacy).unwrap();
    let received =
        Embedded::open(EmbeddedConfig::in_directory(&plan.data.join("received"))).unwrap();
    let received = Arc::new(received);
    let mut servers = Vec::new();
    let mut around = |name: &str, server: Arc<dyn Backend>| {
        servers.push((name.to_owned(), Arc::clone(&server)));
        server
    };
    let access = Access { token: plan.token.clone(), ..Access::default() };
    let stores =
        open_each(&Stores::Several(plan.stores.clone()), &access, &space, &mut around).unwrap();
    let now = Arc::new(move || clock.now());
    let trust = Trust::open(&plan.data, TrustConfig::default(), now).unwrap();
    let cells = vec![Cell::coarse(&space, &situation())];
    let (tell, wanted) = watch::channel(Wanted { cells, left_out: 0 });
    // It says no more, and lives as long as the process.
    std::mem::forget(tell);
    for (name, server) in servers {
        let (received, wanted) = (Arc::clone(&received), wanted.clone());
        let status = StatusSource::new(clock);
        tokio::spawn(Follower { name, server, received, wanted, own: [0; 32], status }.run());
    }
    let pending = Arc::new(Notify::new());
    let publisher = Publisher {
        journal: Arc::clone(&journal),
        outlets: Outlets::new(&stores, &SharingConfig::default(), &trust),
        keeper: Arc::new(Mutex::new(keeper)),
        trust,
        clock,
    };
    tokio::spawn(publisher.run(Arc::clone(&pending)));
    Running { journal, received, pending, stopped: AtomicBool::new(false) }
}

/// Makes outcomes until it is told to stop.
fn make(running: &Running, plan: &Plan) {
    let key = SigningKey::from_seed(&mut [plan.key; 32]);
    for number in plan.first.. {
        if running.stopped.load(Ordering::SeqCst) {
            return;
        }
        let outcome = journaled(number, &key);
        let advanced = Input::Advanced(Clock::new().now());
        running.journal.record(&advanced, std::slice::from_ref(&outcome)).unwrap();
        running.pending.notify_one();
        say(&format!("acknowledged {}", outcome.packet_id));
        std::thread::sleep(Duration::from_millis(plan.pause_ms));
    }
}

/// In a line of its own, whatever else is printed.
fn say(word: &str) {
    // A parent that has gone ends this child.
    std::io::stdout().lock().write_all(format!("\n{word}\n").as_bytes()).unwrap();
}

fn obey(
    runtime: &tokio::runtime::Runtime,
    running: &Running,
    maker: &mut Option<JoinHandle<()>>,
    line: &str,
) {
    if line == "stop" {
        running.stopped.store(true, Ordering::SeqCst);
        // Its last outcome is in the journal and has been acknowledged.
        maker.take().unwrap().join().unwrap();
        down_to_zero("the spool to drain", || running.journal.pending().unwrap().len() as u64);
        say("drained");
    } else if let Some(count) = line.strip_prefix("expect ") {
        let count: u64 = count.parse().unwrap();
        let held = || runtime.block_on(running.received.held()).unwrap().unwrap_or(0);
        down_to_zero("all to be received", || count.abs_diff(held()));
        say("complete");
    }
}

/// However much there is of it: it is to become less again and again, and says so.
fn down_to_zero(what: &str, mut left: impl FnMut() -> u64) {
    let mut now = left();
    while now > 0 {
        let fewer = || Some(left()).filter(|left| *left < now);
        now = wait_for_some(DEADLINE, what, fewer).unwrap();
        say(&format!("{now} left"));
    }
}

/// The child, seen from its parent.
pub(crate) struct Node {
    child: Child,
    input: Option<ChildStdin>,
    acknowledged: Arc<Mutex<Vec<PacketId>>>,
    words: mpsc::Receiver<String>,
}

impl Node {
    /// Starts it, in a namespace if there is one.
    pub(crate) fn start(plan: &Plan, inside: Option<&NetNs>) -> Self {
        let program = std::env::current_exe().unwrap();
        let program = program.to_str().unwrap();
        let mut command = inside.map_or_else(|| Command::new(program), |ns| ns.command(program));
        let mut child = command
            .args(["--ignored", "--exact", "--nocapture", "node::node_child"])
            .env(PLAN, serde_json::to_string(plan).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, words) = mpsc::channel();
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (kept, output) = (Arc::clone(&acknowledged), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let id = line.strip_prefix("acknowledged ").and_then(|id| hex::decode(id).ok());
                match id.and_then(|id| id.try_into().ok()) {
                    Some(id) => kept.lock().unwrap_or_else(PoisonError::into_inner).push(id),
                    // A parent that does not listen any more has its reasons.
                    None => drop(tell.send(line)),
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, acknowledged, words }
    }

    pub(crate) fn acknowledged(&self) -> Vec<PacketId> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has acknowledged `more` than now.
    pub(crate) fn await_more(&self, more: usize) {
        let wanted = self.acknowledged().len() + more;
        wait_for(DEADLINE, "outcomes to be acknowledged", || self.acknowledged().len() >= wanted)
            .unwrap();
    }

    /// Kills it (SIGKILL); what it had acknowledged.
    pub(crate) fn kill(mut self) -> Vec<PacketId> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What it had still written is read to its end.
        while self.words.recv().is_ok() {}
        self.acknowledged()
    }

    /// Tells it something and waits for its answer.
    pub(crate) fn tell(&mut self, word: &str, answer: &str) {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
        loop {
            let said = self.words.recv_timeout(DEADLINE);
            if said.unwrap_or_else(|_| panic!("'{word}' is not answered")) == answer {
                return;
            }
        }
    }

    /// Ends it in order.
    pub(crate) fn end(mut self) {
        self.input = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The packets in the journal of a node that does not run.
pub(crate) fn journal(data: &Path) -> BTreeSet<PacketId> {
    let outcomes = Journal::open(data).unwrap().outcomes().unwrap();
    let ids = outcomes.iter().map(|(_, one)| hex::decode(&one.packet_id).unwrap());
    ids.map(|id| id.try_into().unwrap()).collect()
}

/// What a node that does not run has received.
pub(crate) fn received(data: &Path) -> Embedded {
    Embedded::open(EmbeddedConfig::in_directory(&data.join("received"))).unwrap()
}
