//! Interfaces that come, go and are renamed under a running node, in namespaces of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_capture::Clock;
use edgelore_node::config::{CaptureConfig, XdpMode};
use edgelore_node::egress::Egress;
use edgelore_node::engine::Engine;
use edgelore_node::live::{LiveError, Sources};
use edgelore_node::status::StatusSource;
use edgelore_node::watcher::Change;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::DetectConfig;
use edgelore_testkit::{NetNs, live, veth, wait_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Sources that run in a namespace until they are dropped.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    status: StatusSource,
    changes: crossbeam::channel::Sender<Change>,
}

impl Running {
    fn start(gateway: &NetNs, config: &CaptureConfig) -> Result<Self, LiveError> {
        let clock = Clock::new();
        let status = StatusSource::new(clock);
        let opened = gateway.run(|| Ok(Sources::open(config, clock, &status))).unwrap();
        let sources = opened?;
        let changes = sources.changes().expect("interfaces are watched");
        let engine = Engine::start(1, &DecodeConfig::default(), DetectConfig::default(), |_| {});
        let stop = Arc::new(AtomicBool::new(false));
        // The threads of the sources inherit the namespace of the one that starts them.
        let thread = gateway
            .run(|| {
                let (stop, status) = (Arc::clone(&stop), status.clone());
                Ok(std::thread::spawn(move || {
                    let _ = sources.run(engine, &stop, &status).finish();
                }))
            })
            .unwrap();
        Ok(Self { stop, thread: Some(thread), status, changes })
    }

    /// Waits until an interface is watched like this; `None` is not at all.
    fn wait(&self, interface: &str, expected: Option<&[&str]>) {
        let what = format!("{interface} watched as {expected:?}");
        wait_for(PATIENCE, &what, || {
            let now = self.status.now().interfaces;
            now.get(interface).map(|texts| texts.iter().map(String::as_str).collect::<Vec<_>>())
                == expected.map(<[&str]>::to_vec)
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", self.status.now().interfaces));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

const NATIVE: Option<&[&str]> = Some(&["XdpNative", "TcxEgress"]);
const GENERIC: Option<&[&str]> = Some(&["XdpGeneric", "TcxEgress"]);
const ABSENT: Option<&[&str]> = Some(&["not there"]);

fn namespaces(name: &str) -> (NetNs, NetNs) {
    (NetNs::new(&format!("{name}g")).unwrap(), NetNs::new(&format!("{name}p")).unwrap())
}

fn watching(words: &[&str]) -> CaptureConfig {
    let interfaces = words.iter().map(|&word| word.to_owned()).collect();
    let egress = Egress::Always;
    CaptureConfig { interfaces, egress, ring_bytes: 1 << 20, ..CaptureConfig::default() }
}

/// What the kernel says of every interface of a namespace.
fn details(ns: &NetNs) -> String {
    let output = ns.command("ip").args(["-details", "link", "show"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn live_interfaces_come_go_and_are_renamed() {
    if !live("live_interfaces_come_go_and_are_renamed") {
        return;
    }
    let (gateway, peer) = namespaces("hp");
    let running = Running::start(&gateway, &watching(&["gw*", "up0"])).unwrap();
    running.wait("up0", ABSENT);
    running.wait("lo", None);
    veth((&gateway, "gw0"), (&peer, "p0")).unwrap();
    veth((&gateway, "other"), (&peer, "p1")).unwrap();
    running.wait("gw0", NATIVE);
    gateway.ip("link set gw0 down\nlink set gw0 name gw7\nlink set gw7 up").unwrap();
    running.wait("gw7", NATIVE);
    running.wait("gw0", None);
    gateway.ip("link set gw7 down\nlink set gw7 name wan\nlink set wan up").unwrap();
    running.wait("gw7", None);
    assert!(!details(&gateway).contains("xdp"), "a name that is not wanted ends the watch");
    gateway.ip("link set wan down\nlink set wan name up0\nlink set up0 up").unwrap();
    running.wait("up0", NATIVE);
    for _ in 0..3 {
        gateway.ip("link delete up0").unwrap();
        running.wait("up0", ABSENT);
        veth((&gateway, "up0"), (&peer, "p0")).unwrap();
        running.wait("up0", NATIVE);
    }
    assert!(!running.status.now().interfaces.contains_key("other"));
    drop(running);
    wait_for(PATIENCE, "programs detached", || !details(&gateway).contains("xdp")).unwrap();
}

#[test]
fn live_a_packet_on_an_interface_that_came_later_is_seen() {
    if !live("live_a_packet_on_an_interface_that_came_later_is_seen") {
        return;
    }
    let (gateway, peer) = namespaces("hl");
    let running = Running::start(&gateway, &watching(&["all"])).unwrap();
    veth((&gateway, "late0"), (&peer, "p0")).unwrap();
    running.wait("late0", NATIVE);
    gateway.ip("address add 192.0.2.1/24 dev late0").unwrap();
    peer.ip("address add 192.0.2.2/24 dev p0").unwrap();
    let seen = || running.status.now().kernel.get("ingress.other").copied().unwrap_or(0);
    let before = seen();
    let ping = peer.command("ping").args(["-c1", "-W5", "192.0.2.1"]).output().unwrap();
    assert!(ping.status.success(), "{ping:?}");
    wait_for(PATIENCE, "the packets counted", || seen() >= before + 2).unwrap();
}

#[test]
fn live_the_selection_and_the_mode_change_while_it_runs() {
    if !live("live_the_selection_and_the_mode_change_while_it_runs") {
        return;
    }
    let (gateway, peer) = namespaces("hs");
    veth((&gateway, "gw0"), (&peer, "p0")).unwrap();
    veth((&gateway, "gw1"), (&peer, "p1")).unwrap();
    let running = Running::start(&gateway, &watching(&["gw0"])).unwrap();
    running.wait("gw0", NATIVE);
    let select = |words: &[&str], xdp: XdpMode, egress: Egress| {
        let wanted = CaptureConfig { xdp, egress, ..watching(words) };
        let select = Change::Select(wanted.selection().unwrap(), wanted.hooks());
        running.changes.send(select).unwrap();
    };
    select(&["gw*"], XdpMode::Auto, Egress::Always);
    running.wait("gw1", NATIVE);
    running.wait("gw0", NATIVE);
    select(&["gw1"], XdpMode::Generic, Egress::Always);
    running.wait("gw1", GENERIC);
    running.wait("gw0", None);
    select(&["gw1"], XdpMode::Auto, Egress::Never);
    running.wait("gw1", Some(&["XdpNative"]));
}

/// The numbers of the XDP programs that are attached in a namespace.
fn programs(ns: &NetNs) -> Vec<String> {
    let details = details(ns);
    let numbers = details.split("prog/xdp id ").skip(1);
    numbers.filter_map(|rest| Some(rest.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn live_what_leaves_is_watched_while_it_is_seen_only_there() {
    if !live("live_what_leaves_is_watched_while_it_is_seen_only_there") {
        return;
    }
    let (gateway, peer) = namespaces("he");
    veth((&gateway, "gw0"), (&peer, "p0")).unwrap();
    // A bridge brings nothing in by itself.
    gateway.ip("link add name br0 type bridge\nlink set br0 up").unwrap();
    let auto = CaptureConfig { egress: Egress::Auto, ..watching(&["gw*"]) };
    let running = Running::start(&gateway, &auto).unwrap();
    let ingress: Option<&[&str]> = Some(&["XdpNative"]);
    running.wait("gw0", ingress);
    let attached = programs(&gateway);
    assert_eq!(attached.len(), 1, "{}", details(&gateway));
    // An interface that is not watched comes, and goes.
    veth((&gateway, "other"), (&peer, "p1")).unwrap();
    running.wait("gw0", NATIVE);
    gateway.ip("link delete other").unwrap();
    running.wait("gw0", ingress);
    // A socket that speaks BGP, and one that came later is watched alike.
    let address = (std::net::Ipv4Addr::UNSPECIFIED, 179);
    let speaker = gateway.run(|| Ok(std::net::TcpListener::bind(address)?)).unwrap();
    running.wait("gw0", NATIVE);
    veth((&gateway, "gw1"), (&peer, "p1")).unwrap();
    running.wait("gw1", NATIVE);
    assert!(programs(&gateway).starts_with(&attached), "what comes in was watched throughout");
    drop(speaker);
}

#[test]
fn live_a_mode_that_cannot_be_had_is_told() {
    if !live("live_a_mode_that_cannot_be_had_is_told") {
        return;
    }
    let (gateway, peer) = namespaces("hm");
    let strict = CaptureConfig { xdp: XdpMode::Native, ..watching(&["lo"]) };
    let error = Running::start(&gateway, &strict).err().unwrap();
    assert_eq!(error.to_string(), "attach to native XDP of interface lo");
    // Behind a glob it is told, and the others are watched.
    veth((&gateway, "gw0"), (&peer, "p0")).unwrap();
    gateway.ip("link add name br0 type bridge\nlink set br0 up").unwrap();
    let running =
        Running::start(&gateway, &CaptureConfig { xdp: XdpMode::Native, ..watching(&["all"]) });
    let running = running.unwrap();
    running.wait("gw0", NATIVE);
    let bridge = running.status.now().interfaces.get("br0").unwrap().join(" ");
    assert!(bridge.starts_with("not watched: attach to native XDP of interface br0"), "{bridge}");
}
