//! Queues and neighbours against this kernel, in network namespaces of their own.
//!
//! The truth is always what `tc` and `ip` say: what a source emitted must add up to it.

use anyhow::{Context, Result, bail, ensure};
use edgelore_capture::Clock;
use edgelore_capture::netlink::{NeighbourSource, QueueSource, TableConfig, TableCounters};
use edgelore_model::{
    Batch, LossReason, NeighbourState, QueueSample, Signal, SignalKind, Timestamp,
};
use edgelore_testkit::{NetNs, live, veth};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_millis(50);

/// Reads a source once and tells its counters.
type Read = Box<dyn FnMut(&mut Batch) -> Result<TableCounters>>;

/// A source with what its signals add up to: entries as (link, its key as text).
struct Follower {
    read: Read,
    queues: BTreeMap<(u32, u32, u32), QueueSample>,
    neighbours: BTreeMap<(u32, IpAddr), NeighbourState>,
    /// Everything that was emitted since it was last looked at.
    seen: Vec<Signal>,
    lost: u64,
    counters: TableCounters,
    at: Timestamp,
}

impl Follower {
    fn new(read: Read) -> Self {
        let (queues, neighbours) = (BTreeMap::new(), BTreeMap::new());
        let (counters, at) = (TableCounters::default(), Timestamp(i64::MIN));
        Self { read, queues, neighbours, seen: Vec::new(), lost: 0, counters, at }
    }

    fn queues(namespace: &NetNs, config: TableConfig) -> Result<Self> {
        let mut source = namespace.run(|| Ok(QueueSource::open(config)?))?;
        Ok(Self::new(Box::new(move |batch| {
            source.read(READ, batch)?;
            Ok(source.counters())
        })))
    }

    fn neighbours(namespace: &NetNs, config: TableConfig) -> Result<Self> {
        let mut source = namespace.run(|| Ok(NeighbourSource::open(config)?))?;
        Ok(Self::new(Box::new(move |batch| {
            source.read(READ, batch)?;
            Ok(source.counters())
        })))
    }

    /// Reads once. Each signal must be a change, and not older than the one before.
    fn read(&mut self) -> Result<()> {
        let mut batch = Batch::default();
        self.counters = (self.read)(&mut batch)?;
        for signal in batch.signals {
            assert!(self.at <= signal.at, "{signal:?} is older than {}", self.at);
            self.at = signal.at;
            match &signal.kind {
                SignalKind::Queue(told) => {
                    assert!(told.not_before <= signal.at, "{told:?}");
                    let not_before = Timestamp::default();
                    let sample = &QueueSample { not_before, ..told.clone() };
                    let key = (signal.link, sample.parent, sample.handle);
                    let before = self.queues.remove(&key);
                    if sample.present {
                        assert_ne!(before.as_ref(), Some(sample));
                        self.queues.insert(key, sample.clone());
                    } else {
                        assert!(before.is_some(), "{sample:?} was not there");
                    }
                }
                SignalKind::Neighbour(change) => {
                    let key = (signal.link, change.address);
                    let before = self.neighbours.remove(&key);
                    if change.present {
                        assert_ne!(before, Some(change.state));
                        self.neighbours.insert(key, change.state);
                    } else {
                        assert!(before.is_some(), "{change:?} was not there");
                    }
                }
                SignalKind::Lost { reason: LossReason::NetlinkOverrun, count } => {
                    self.lost += count;
                }
                other => bail!("unexpected signal {other:?}"),
            }
            self.seen.push(signal);
        }
        Ok(())
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.read()?;
            if holds(self)? {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{what}: {:?} {:?} {:?}",
                self.queues,
                self.neighbours,
                self.counters
            );
        }
    }

    /// The first signal in `seen`, after `from`, that `is` one; the place after it.
    fn find(&self, from: usize, is: impl Fn(&Signal) -> bool) -> Option<usize> {
        self.seen[from..].iter().position(is).map(|at| from + at + 1)
    }
}

fn config(interval_ms: u64) -> TableConfig {
    let interval = Duration::from_millis(interval_ms);
    TableConfig { interval, ..TableConfig::queues(Clock::new()) }
}

/// Two namespaces, `n0` of the first joined to `f0` of the second, without IPv6 and its chatter.
fn pair(name: &str) -> Result<(NetNs, NetNs)> {
    let (near, far) = (NetNs::new(&format!("{name}n"))?, NetNs::new(&format!("{name}f"))?);
    for namespace in [&near, &far] {
        namespace.sysctl(&[
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
        ])?;
    }
    veth((&near, "n0"), (&far, "f0"))?;
    near.ip("addr add 10.0.0.1/24 dev n0\n")?;
    Ok((near, far))
}

fn json(namespace: &NetNs, program: &str, arguments: &str) -> Result<Value> {
    let output = namespace.command(program).args(arguments.split(' ')).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("{program} {arguments}"))
}

fn indexes(namespace: &NetNs) -> Result<BTreeMap<String, u32>> {
    let links = json(namespace, "ip", "-j link show")?;
    let entry = |link: &Value| {
        Some((link["ifname"].as_str()?.to_owned(), u32::try_from(link["ifindex"].as_u64()?).ok()?))
    };
    Ok(links.as_array().context("no array")?.iter().filter_map(entry).collect())
}

fn index(links: &BTreeMap<String, u32>, link: &Value) -> Result<u32> {
    let name = link.as_str().context("the name of a device")?;
    links.get(name).copied().with_context(|| format!("no device {name}"))
}

fn tc(namespace: &NetNs, batch: &str) -> Result<()> {
    let mut child = namespace
        .command("tc")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("its input is a pipe")?.write_all(batch.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{batch}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// `1:` and `1:20` as the kernel numbers them.
fn number(text: &str) -> Result<u32> {
    let (major, minor) = text.split_once(':').context("a handle has a colon")?;
    let part = |text: &str| u32::from_str_radix(if text.is_empty() { "0" } else { text }, 16);
    Ok(part(major)? << 16 | part(minor)?)
}

/// What `tc -s` shows of all qdiscs, without their limits.
fn shown_queues(namespace: &NetNs) -> Result<BTreeMap<(u32, u32, u32), QueueSample>> {
    let (links, mut all) = (indexes(namespace)?, BTreeMap::new());
    for shown in json(namespace, "tc", "-s -j qdisc show")?.as_array().context("no array")? {
        let link = index(&links, &shown["dev"])?;
        let handle = number(shown["handle"].as_str().context("handle")?)?;
        let parent = shown["parent"].as_str().map_or(Ok(u32::MAX), number)?;
        let count = |name: &str| shown[name].as_u64().unwrap_or(0);
        let sample = QueueSample {
            qdisc: shown["kind"].as_str().context("kind")?.to_owned(),
            handle,
            parent,
            present: true,
            limit: 0,
            backlog_bytes: u32::try_from(count("backlog"))?,
            backlog_packets: u32::try_from(count("qlen"))?,
            bytes: count("bytes"),
            packets: count("packets"),
            drops: count("drops"),
            overlimits: count("overlimits"),
            requeues: count("requeues"),
            ..QueueSample::default()
        };
        all.insert((link, parent, handle), sample);
    }
    Ok(all)
}

fn agrees(follower: &Follower, namespace: &NetNs) -> Result<bool> {
    let told = follower.queues.iter();
    let told: BTreeMap<_, _> =
        told.map(|(key, sample)| (*key, QueueSample { limit: 0, ..sample.clone() })).collect();
    Ok(told == shown_queues(namespace)?)
}

#[test]
fn live_queue_statistics_equal_tc() -> Result<()> {
    if !live("live_queue_statistics_equal_tc") {
        return Ok(());
    }
    let (near, _far) = pair("qst")?;
    let link = indexes(&near)?["n0"];
    let mut follower = Follower::queues(&near, config(10))?;
    follower.until("the start", |follower| agrees(follower, &near))?;
    for (kind, handle, arguments, limit) in [
        ("tbf", 0x1_0000, "rate 2mbit burst 5kb limit 30kb", 30 * 1024),
        ("pfifo", 0x2_0000, "limit 77", 77),
        ("bfifo", 0x3_0000, "limit 54321", 54_321),
    ] {
        let major = handle >> 16;
        tc(&near, &format!("qdisc replace dev n0 root handle {major}: {kind} {arguments}\n"))?;
        follower.seen.clear();
        near.run(|| {
            let socket = UdpSocket::bind("10.0.0.1:0")?;
            // A broadcast needs no neighbour, so that what is counted is what is sent.
            socket.set_broadcast(true)?;
            for _ in 0..400 {
                // A full queue may show as an error of the call: that is what is looked for.
                let _ = socket.send_to(&[0; 1_000], "10.0.0.255:9");
            }
            Ok(())
        })?;
        // At rest, every figure is the one that tc shows.
        follower.until(kind, |follower| {
            let queue = follower.queues.get(&(link, u32::MAX, handle));
            let at_rest = queue.is_some_and(|q| q.backlog_packets == 0 && q.packets > 0);
            Ok(at_rest && agrees(follower, &near)?)
        })?;
        let rest = &follower.queues[&(link, u32::MAX, handle)];
        assert_eq!((rest.qdisc.as_str(), rest.limit), (kind, limit));
        if kind == "tbf" {
            assert!(rest.drops > 0 && rest.overlimits > 0, "{rest:?}");
            assert_eq!(rest.drops + rest.packets, 400, "{rest:?}");
            let waiting = |signal: &Signal| matches!(&signal.kind, SignalKind::Queue(q) if q.backlog_packets > 0 && q.backlog_bytes > 0);
            assert!(follower.seen.iter().any(waiting), "no backlog was seen");
        }
    }
    assert_eq!((follower.lost, follower.counters.undecodable), (0, 0));
    Ok(())
}

#[test]
fn live_queue_replaced_and_removed() -> Result<()> {
    if !live("live_queue_replaced_and_removed") {
        return Ok(());
    }
    let (near, _far) = pair("qrm")?;
    let link = indexes(&near)?["n0"];
    let mut follower = Follower::queues(&near, config(50))?;
    let queue = |kind: &'static str, present: bool| move |signal: &Signal| matches!(&signal.kind, SignalKind::Queue(q) if q.qdisc == kind && q.present == present);
    follower.until("the default", |follower| agrees(follower, &near))?;
    tc(&near, "qdisc add dev n0 root handle 1: pfifo limit 10\n")?;
    tc(&near, "qdisc replace dev n0 root handle 2: bfifo limit 9000\n")?;
    tc(&near, "qdisc del dev n0 root\n")?;
    // The default qdisc comes and goes without an announcement.
    follower.until("the default again", |follower| {
        Ok(follower.find(0, queue("bfifo", false)).is_some() && agrees(follower, &near)?)
    })?;
    let mut place = 0;
    for (kind, present) in [("pfifo", true), ("pfifo", false), ("bfifo", true), ("bfifo", false)] {
        let found = follower.find(place, queue(kind, present));
        place = found.with_context(|| format!("{kind} {present} not in {:?}", follower.seen))?;
    }
    // A device takes its qdiscs along.
    tc(
        &near,
        "qdisc add dev n0 root handle 1: htb default 20\n\
         class add dev n0 parent 1: classid 1:20 htb rate 10mbit\n\
         qdisc add dev n0 parent 1:20 handle 20: pfifo\n",
    )?;
    follower.until("a tree", |follower| {
        Ok(follower.queues.contains_key(&(link, 0x1_0020, 0x20_0000)) && agrees(follower, &near)?)
    })?;
    near.ip("link del n0\n")?;
    follower.until("no device", |follower| agrees(follower, &near))?;
    assert!(follower.queues.keys().all(|(on, ..)| *on != link));
    Ok(())
}

#[test]
fn live_queue_overrun_resynchronises() -> Result<()> {
    if !live("live_queue_overrun_resynchronises") {
        return Ok(());
    }
    let (near, _far) = pair("qov")?;
    let mut follower =
        Follower::queues(&near, TableConfig { receive_buffer_octets: 4_096, ..config(10_000) })?;
    follower.until("the start", |follower| agrees(follower, &near))?;
    // Nobody reads meanwhile, and no dump is due for seconds.
    let lines: String = (1..400)
        .map(|n| format!("qdisc replace dev n0 root handle {n:x}: pfifo limit {n}\n"))
        .collect();
    tc(&near, &lines)?;
    follower.until("agreement", |follower| agrees(follower, &near))?;
    let counters = follower.counters;
    assert!(counters.overruns >= 1 && counters.lost > 100, "{counters:?}");
    assert_eq!(follower.lost, counters.lost);
    Ok(())
}

/// What `ip neigh` shows.
fn shown_neighbours(namespace: &NetNs) -> Result<BTreeMap<(u32, IpAddr), NeighbourState>> {
    let (links, mut all) = (indexes(namespace)?, BTreeMap::new());
    let shown = json(namespace, "ip", "-j neigh show nud all")?;
    for entry in shown.as_array().context("no array")? {
        let link = index(&links, &entry["dev"])?;
        let address: IpAddr = entry["dst"].as_str().context("dst")?.parse()?;
        let state = match entry["state"][0].as_str().context("state")? {
            "INCOMPLETE" => NeighbourState::Incomplete,
            "REACHABLE" => NeighbourState::Reachable,
            "STALE" => NeighbourState::Stale,
            "DELAY" => NeighbourState::Delay,
            "PROBE" => NeighbourState::Probe,
            "FAILED" => NeighbourState::Failed,
            "PERMANENT" => NeighbourState::Permanent,
            // Without resolution, and of no unicast address here.
            "NOARP" | "NONE" => continue,
            other => bail!("unknown state {other}"),
        };
        all.insert((link, address), state);
    }
    Ok(all)
}

/// Sends one datagram, which makes the kernel look for the neighbour.
fn knock(namespace: &NetNs, to: &str) -> Result<()> {
    namespace.run(|| {
        UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", to)?;
        Ok(())
    })
}

#[test]
fn live_neighbour_found_and_lost() -> Result<()> {
    if !live("live_neighbour_found_and_lost") {
        return Ok(());
    }
    let (near, far) = pair("nbr")?;
    near.sysctl(&[
        ("ipv4/neigh/n0/delay_first_probe_time", "1"),
        ("ipv4/neigh/n0/mcast_solicit", "60"),
        ("ipv4/neigh/n0/ucast_solicit", "1"),
        ("ipv4/neigh/n0/retrans_time_ms", "500"),
    ])?;
    let key = (indexes(&near)?["n0"], "10.0.0.2".parse::<IpAddr>()?);
    let mut follower = Follower::neighbours(&near, config(50))?;
    let is = |state| move |follower: &Follower| Ok(follower.neighbours.get(&key) == Some(&state));

    knock(&near, "10.0.0.2:9")?;
    follower.until("incomplete", is(NeighbourState::Incomplete))?;
    far.ip("addr add 10.0.0.2/24 dev f0\n")?;
    follower.until("reachable", is(NeighbourState::Reachable))?;
    // The neighbour has gone, and the next packet to it asks after it.
    far.ip("addr del 10.0.0.2/24 dev f0\n")?;
    near.sysctl(&[("ipv4/neigh/n0/mcast_solicit", "1")])?;
    near.ip("neigh change 10.0.0.2 dev n0 nud stale\n")?;
    follower.until("stale", is(NeighbourState::Stale))?;
    knock(&near, "10.0.0.2:9")?;
    follower.until("failed", is(NeighbourState::Failed))?;
    near.ip("neigh flush all nud failed\n")?;
    near.ip("neigh replace 10.0.0.9 lladdr 02:00:00:00:00:09 dev n0 nud permanent\n")?;
    follower.until("agreement", |follower| Ok(follower.neighbours == shown_neighbours(&near)?))?;

    let mut place = 0;
    for state in [
        NeighbourState::Incomplete,
        NeighbourState::Reachable,
        NeighbourState::Stale,
        NeighbourState::Delay,
        NeighbourState::Probe,
        NeighbourState::Failed,
    ] {
        let found = follower.find(place, |signal| matches!(&signal.kind, SignalKind::Neighbour(n) if n.address == key.1 && n.state == state));
        place = found.with_context(|| format!("{state:?} not in {:?}", follower.seen))?;
    }
    Ok(())
}

#[test]
fn live_neighbour_overrun_resynchronises() -> Result<()> {
    if !live("live_neighbour_overrun_resynchronises") {
        return Ok(());
    }
    let (near, _far) = pair("nov")?;
    let lines = |verb: &str, range: std::ops::Range<u32>| -> String {
        let line = |n: u32| {
            format!(
                "neigh {verb} 10.7.{}.{} lladdr 02:00:00:00:00:01 dev n0 nud permanent\n",
                n >> 8,
                n & 255
            )
        };
        range.map(line).collect()
    };
    near.ip(&lines("replace", 10..200))?;
    let mut follower = Follower::neighbours(
        &near,
        TableConfig { receive_buffer_octets: 4_096, ..config(10_000) },
    )?;
    follower.until("the start", |follower| Ok(follower.neighbours == shown_neighbours(&near)?))?;
    assert_eq!(follower.neighbours.len(), 190);
    // Nobody reads meanwhile, and no dump is due for seconds.
    near.ip(&lines("replace", 200..700))?;
    near.ip(&lines("del", 10..100))?;
    follower.until("agreement", |follower| Ok(follower.neighbours == shown_neighbours(&near)?))?;
    assert_eq!(follower.neighbours.len(), 600);
    let counters = follower.counters;
    assert!(counters.overruns >= 1 && counters.lost > 100, "{counters:?}");
    assert_eq!(follower.lost, counters.lost);
    Ok(())
}
