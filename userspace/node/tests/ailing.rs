//! Queues that stand full and heartbeats that get lost, on a gateway between namespaces: each is one
//! incident, with the figures that the kernel's own tools show, and quiet is none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_capture::Clock;
use edgelore_model::{EventType, Incident, Link, Protocol, Scope, SessionKey, TriggerKind};
use edgelore_node::config::CaptureConfig;
use edgelore_node::engine::{Engine, Output};
use edgelore_node::live::Sources;
use edgelore_node::status::StatusSource;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::{DetectConfig, Detected};
use edgelore_testkit::{Frr, FrrDaemon, NetNs, Storm, Topology, Vantage, live, pause, wait_for};
use std::io::Write;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// How long things go on, or stay quiet.
const A_WHILE: Duration = Duration::from_secs(3);

/// A node's sources and engine, until they are dropped.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    detected: Arc<Mutex<Vec<Detected>>>,
}

impl Running {
    fn start(gateway: &NetNs, interfaces: Vec<String>, detect: DetectConfig) -> Self {
        let clock = Clock::new();
        let status = StatusSource::new(clock);
        let config = CaptureConfig { interfaces, ..CaptureConfig::default() };
        let detected = Arc::<Mutex<Vec<Detected>>>::default();
        let told = Arc::clone(&detected);
        let engine = Engine::start(1, &DecodeConfig::default(), detect, move |output| {
            if let Output::Detected(one) = output {
                told.lock().unwrap().push(one);
            }
        });
        let stop = Arc::new(AtomicBool::new(false));
        // The threads of the sources inherit the namespace of the one that starts them.
        let thread = gateway
            .run(|| {
                let sources = Sources::open(&config, clock, &status)?;
                let (stop, status) = (Arc::clone(&stop), status.clone());
                Ok(std::thread::spawn(move || {
                    let _ = sources.run(engine, &stop, &status).finish();
                }))
            })
            .unwrap();
        Self { stop, thread: Some(thread), detected }
    }

    fn opened(&self, event: EventType) -> usize {
        let opened = |one: &&Detected| matches!(one, Detected::Opened(one) if one.event == event);
        self.detected.lock().unwrap().iter().filter(opened).count()
    }

    fn closed(&self) -> Vec<Incident> {
        let closed = |one: &Detected| match one {
            Detected::Closed(finding) => Some(finding.incident.clone()),
            _ => None,
        };
        self.detected.lock().unwrap().iter().filter_map(closed).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs a program that reads its commands from its input; what it prints.
fn fed(namespace: &NetNs, program: &str, arguments: &[&str], commands: &str) -> String {
    let mut command = namespace.command(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {commands}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `tc -s` shows of the queue of this handle: drops, and bytes that wait.
fn shown(gateway: &NetNs, handle: &str) -> (u64, u64) {
    let text = fed(gateway, "tc", &["-s", "-j", "qdisc", "show", "dev", "up0"], "");
    let queues: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut queues = queues.as_array().unwrap().iter();
    let queue = queues.find(|queue| queue["handle"] == handle).unwrap();
    (queue["drops"].as_u64().unwrap(), queue["backlog"].as_u64().unwrap())
}

#[test]
fn live_a_queue_that_stands_full_is_one_saturation_with_exact_drops() {
    if !live("live_a_queue_that_stands_full_is_one_saturation_with_exact_drops") {
        return;
    }
    let topology = Topology::build("full", Vantage::Routed, 1).unwrap();
    let (gateway, link) = (topology.gateway(), topology.link(0));
    let interfaces = topology.interfaces();
    let running = Running::start(gateway, interfaces, DetectConfig::default());
    let index = |name: &str| {
        let text = fed(gateway, "ip", &["-j", "link", "show", "dev", name], "");
        let links: serde_json::Value = serde_json::from_str(&text).unwrap();
        u32::try_from(links[0]["ifindex"].as_u64().unwrap()).unwrap()
    };
    let uplink = Link(index("up0"));
    for (number, handle, commands) in [
        (
            0x1_0000,
            "1:",
            "qdisc add dev up0 root handle 1: tbf rate 20mbit burst 20kb limit 200kb\n",
        ),
        (
            0x20_0000,
            "20:",
            "qdisc add dev up0 root handle 2: htb default 20\n\
             class add dev up0 parent 2: classid 2:20 htb rate 20mbit\n\
             qdisc add dev up0 parent 2:20 handle 20: pfifo limit 150\n",
        ),
    ] {
        fed(gateway, "tc", &["-batch", "-"], commands);
        let (before, opened) = (running.closed().len(), running.opened(EventType::Saturation));
        pause(A_WHILE, "a quiet queue").unwrap();
        assert_eq!(running.opened(EventType::Saturation), opened, "{handle} is quiet");
        let storm =
            Storm::start(&topology.peers()[0], (topology.hub(), link.hub[0]), 1_000).unwrap();
        wait_for(PATIENCE, &format!("a saturation of {handle}"), || {
            running.opened(EventType::Saturation) > opened
        })
        .unwrap();
        pause(A_WHILE, "a storm").unwrap();
        drop(storm);
        wait_for(PATIENCE, &format!("the end of it in {handle}"), || {
            running.closed().len() > before
        })
        .unwrap();
        let (drops, backlog) = shown(gateway, handle);
        let closed = running.closed();
        let [incident] = &closed[before..] else { panic!("{handle}: {:?}", &closed[before..]) };
        println!("{handle}: {drops} drops, {} ms, {:?}", incident.severity, incident.measured);
        assert_eq!(incident.event, EventType::Saturation);
        assert_eq!(incident.scope, Scope::Queue(uplink, number), "{handle}");
        assert_eq!((incident.measured.drops, backlog), (Some(drops), 0), "{handle}");
        assert!(drops > 0 && incident.severity >= 20, "{handle}: {incident:?}");
        let (shortest, _, longest) = incident.duration().unwrap();
        assert!(shortest.millis() >= 2_000, "{handle}: {shortest:?} to {longest:?}");
        fed(gateway, "tc", &["-batch", "-"], "qdisc del dev up0 root\n");
    }
    assert_eq!(running.opened(EventType::Saturation), 2);
    assert_eq!(running.opened(EventType::Degradation), 0);
}

const BFD_MS: u64 = 200;

fn bfd(namespace: &NetNs, peer: IpAddr) -> Frr {
    let config = format!(
        "bfd\n peer {peer}\n  receive-interval {BFD_MS}\n  transmit-interval {BFD_MS}\n  \
         detect-multiplier 20\n exit\nexit\n"
    );
    Frr::start_daemons(namespace, &[FrrDaemon::Zebra, FrrDaemon::Bfdd], &config).unwrap()
}

/// Lets one of five BFD packets that leave be lost.
const LOSSY: &str = "table inet lossy {\n chain out {\n  type filter hook output priority 0\n  \
     udp dport 3784 numgen random mod 5 == 0 counter drop\n }\n}\n";

/// How many were lost so far.
fn dropped(namespace: &NetNs) -> u64 {
    let text = fed(namespace, "nft", &["-j", "list", "table", "inet", "lossy"], "");
    let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expressions = listed["nftables"].as_array().unwrap().iter().filter_map(|one| {
        let expressions = one["rule"]["expr"].as_array()?;
        expressions.iter().find_map(|expression| expression["counter"]["packets"].as_u64())
    });
    expressions.sum()
}

#[test]
fn live_bfd_that_loses_packets_below_detection_is_one_degradation() {
    if !live("live_bfd_that_loses_packets_below_detection_is_one_degradation") {
        return;
    }
    let topology = Topology::build("lossy", Vantage::Bridged, 1).unwrap();
    let link = topology.link(0);
    let mut detect = DetectConfig::default();
    (detect.degradation.close_after_ms, detect.degradation.close_ppm) = (10_000, 100_000);
    let running = Running::start(topology.gateway(), topology.interfaces(), detect);
    let (hub, peer) = (topology.hub(), &topology.peers()[0]);
    let routers = [bfd(hub, link.peer[0]), bfd(peer, link.hub[0])];
    let up = |router: &Frr, other: IpAddr| router.bfd_up(&other.to_string(), BFD_MS);
    wait_for(PATIENCE, "BFD at both ends", || {
        up(&routers[0], link.peer[0]) && up(&routers[1], link.hub[0])
    })
    .unwrap();
    pause(A_WHILE, "a healthy session").unwrap();
    assert_eq!(running.opened(EventType::Degradation), 0, "nothing is lost yet");

    fed(peer, "nft", &["-f", "-"], LOSSY);
    wait_for(PATIENCE, "a degradation", || running.opened(EventType::Degradation) > 0).unwrap();
    wait_for(PATIENCE, "forty losses", || dropped(peer) >= 40).unwrap();
    let truth = dropped(peer);
    fed(peer, "nft", &["-f", "-"], "delete table inet lossy\n");
    wait_for(PATIENCE, "the end of it", || !running.closed().is_empty()).unwrap();
    let closed = running.closed();
    let [incident] = &closed[..] else { panic!("{closed:?}") };
    println!("{truth} dropped: {} ppm, {:?}", incident.severity, incident.measured);
    assert_eq!((incident.event, incident.protocol), (EventType::Degradation, Protocol::Bfd));
    let session = SessionKey::between(link.hub[0], link.peer[0]);
    assert_eq!(incident.scope, Scope::Session(session));
    assert_eq!(incident.chain[0].kind, TriggerKind::BfdLate);
    // A loaded machine holds packets up as well, and two losses in a row may look like one.
    let lost = incident.measured.lost.unwrap();
    assert!(lost * 4 >= truth * 3 && lost <= truth * 2, "{truth}: {incident:?}");
    assert!((100_000..400_000).contains(&incident.severity), "{incident:?}");
    assert_eq!(running.opened(EventType::Degradation), 1);
    assert_eq!(running.opened(EventType::Convergence), 0, "the session stayed up");
}
