//! The rtnetlink sources against this kernel, in network namespaces of their own.
//!
//! The truth is always what `ip` says: what a [`FibSource`] emitted must add up to it.

use anyhow::{Context, Result, bail};
use edgelore_capture::Clock;
use edgelore_capture::netlink::{
    CounterConfig, CounterSource, FibConfig, FibSource, SAMPLE_UNCERTAINTY, TABLE_MAIN,
};
use edgelore_model::{
    Batch, CounterSample, FibAction, FibChange, LinkChange, LossReason, NextHop, OperState, Prefix,
    Signal, SignalKind, Timestamp,
};
use edgelore_testkit::{NetNs, live};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_millis(50);

type Table = BTreeMap<Prefix, Vec<NextHop>>;

/// A source with what its signals add up to.
struct Follower {
    source: FibSource,
    table: Table,
    links: BTreeMap<u32, LinkChange>,
    /// Everything that was emitted since it was last looked at.
    changes: Vec<FibChange>,
    lost: u64,
}

impl Follower {
    fn open(namespace: &NetNs, config: FibConfig) -> Result<Self> {
        let source = namespace.run(|| Ok(FibSource::open(config)?))?;
        let (table, links) = (Table::new(), BTreeMap::new());
        Ok(Self { source, table, links, changes: Vec::new(), lost: 0 })
    }

    /// Reads once. Each change must be one.
    fn read(&mut self, timeout: Duration) -> Result<usize> {
        let mut batch = Batch::default();
        let count = self.source.read(timeout, &mut batch)?;
        assert_eq!(count, batch.signals.len());
        for Signal { at, link, kind } in batch.signals {
            match kind {
                SignalKind::Fib(change) => {
                    assert!(change.not_before <= at);
                    assert_eq!(change.table, TABLE_MAIN);
                    let before = match change.action {
                        FibAction::Deleted => self.table.remove(&change.prefix),
                        _ => self.table.insert(change.prefix, change.next_hops.clone()),
                    };
                    match change.action {
                        FibAction::Present => assert_eq!(before, None, "{change:?}"),
                        FibAction::Set => assert_ne!(before.as_ref(), Some(&change.next_hops)),
                        FibAction::Deleted => assert!(before.is_some(), "{change:?}"),
                    }
                    self.changes.push(change);
                }
                SignalKind::Link(change) if change.present => {
                    self.links.insert(link, change);
                }
                SignalKind::Link(_) => assert!(self.links.remove(&link).is_some()),
                SignalKind::Lost { reason: LossReason::NetlinkOverrun, count } => {
                    self.lost += count
                }
                other => bail!("unexpected signal {other:?}"),
            }
        }
        Ok(count)
    }

    /// Reads until nothing is pending.
    fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.read(READ)? > 0 || !self.source.settled() {
            anyhow::ensure!(Instant::now() < deadline, "the source does not settle");
        }
        Ok(())
    }

    /// Reads until the signals add up to what `ip` shows.
    fn agree(&mut self, namespace: &NetNs) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.settle()?;
            let truth = truth(namespace)?;
            // What `ip` saw must be what the signals say, unless something changed in between.
            if self.read(Duration::ZERO)? == 0 && self.source.settled() && self.table == truth {
                return Ok(());
            }
            if Instant::now() >= deadline {
                assert_eq!(self.table, truth, "{:?}", self.source.counters());
            }
        }
    }

    fn take(&mut self) -> Vec<FibChange> {
        std::mem::take(&mut self.changes)
    }

    /// The actions on one prefix since the last look, with the gateways.
    fn actions(&self, prefix: &str) -> Vec<(FibAction, Vec<String>)> {
        let prefix: Prefix = prefix.parse().expect("tests name prefixes");
        let mine = self.changes.iter().filter(|change| change.prefix == prefix);
        mine.map(|change| (change.action, gateways(&change.next_hops))).collect()
    }
}

fn gateways(hops: &[NextHop]) -> Vec<String> {
    hops.iter().map(|hop| hop.via.map_or("direct".into(), |via| via.to_string())).collect()
}

fn json(namespace: &NetNs, arguments: &str) -> Result<Value> {
    let output = namespace.command("ip").args(arguments.split(' ')).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("ip {arguments}"))
}

fn indexes(namespace: &NetNs) -> Result<BTreeMap<String, u32>> {
    let links = json(namespace, "-j link show")?;
    let entry = |link: &Value| {
        Some((link["ifname"].as_str()?.to_owned(), u32::try_from(link["ifindex"].as_u64()?).ok()?))
    };
    Ok(links.as_array().context("ip shows no array")?.iter().filter_map(entry).collect())
}

/// What `ip route` shows of the main table: for each prefix the usable next hops of the lowest
/// metric, which is what the kernel forwards by.
fn truth(namespace: &NetNs) -> Result<Table> {
    let links = indexes(namespace)?;
    let mut best: BTreeMap<Prefix, (u64, Vec<NextHop>)> = BTreeMap::new();
    for (arguments, default) in [("-j route show", "0.0.0.0/0"), ("-j -6 route show", "::/0")] {
        for route in json(namespace, arguments)?.as_array().context("ip shows no array")? {
            let Some((prefix, metric, hops)) = shown_route(route, default, &links) else {
                continue;
            };
            match best.get_mut(&prefix) {
                // Of IPv4 routes with one metric the first is used; IPv6's are siblings.
                Some((known, all)) if *known == metric && default == "::/0" => all.extend(hops),
                Some((known, _)) if *known == metric => {}
                Some((known, _)) if *known < metric => {}
                _ => {
                    best.insert(prefix, (metric, hops));
                }
            }
        }
    }
    let sorted = |(prefix, (_, mut hops)): (Prefix, (u64, Vec<NextHop>))| {
        hops.sort();
        hops.dedup();
        (prefix, hops)
    };
    Ok(best.into_iter().map(sorted).collect())
}

fn shown_route(
    route: &Value,
    default: &str,
    links: &BTreeMap<String, u32>,
) -> Option<(Prefix, u64, Vec<NextHop>)> {
    let text = match route["dst"].as_str()? {
        "default" => default.to_owned(),
        host if !host.contains('/') => {
            format!("{host}/{}", if host.contains(':') { 128 } else { 32 })
        }
        prefix => prefix.to_owned(),
    };
    let legs = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
    let discard = matches!(route["type"].as_str(), Some("blackhole" | "unreachable" | "prohibit"));
    let hops: Vec<NextHop> = legs
        .iter()
        .filter(|_| !discard)
        .filter(|leg| !leg["flags"].as_array().is_some_and(|flags| flags.contains(&"dead".into())))
        .filter_map(|leg| {
            let via = leg["gateway"].as_str().or_else(|| leg["via"]["host"].as_str());
            let via: Option<IpAddr> = via.and_then(|via| via.parse().ok());
            Some(NextHop { via, link: *links.get(leg["dev"].as_str()?)? })
        })
        .collect();
    let usable = discard || !hops.is_empty();
    usable.then(|| {
        (text.parse().expect("ip shows prefixes"), route["metric"].as_u64().unwrap_or(0), hops)
    })
}

/// A namespace with two veth pairs whose ends all lie inside: `a0`–`a1` and `b0`–`b1`.
fn gateway(name: &str) -> Result<NetNs> {
    let namespace = NetNs::new(name)?;
    namespace.ip("link add a0 type veth peer name a1\n\
         link add b0 type veth peer name b1\n\
         link set a1 up\nlink set b1 up\nlink set a0 up\nlink set b0 up\n\
         addr add 10.1.0.1/24 dev a0\naddr add 10.2.0.1/24 dev b0\n\
         addr add 2001:db8:1::1/64 dev a0 nodad\naddr add 2001:db8:2::1/64 dev b0 nodad\n")?;
    Ok(namespace)
}

#[test]
fn live_fib_dump_at_start() -> Result<()> {
    if !live("live_fib_dump_at_start") {
        return Ok(());
    }
    let namespace = gateway("dump")?;
    namespace.ip("route add 198.51.100.0/24 via 10.1.0.2\n\
         route add 198.51.101.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2\n\
         route add default via 10.2.0.2\n\
         route add 198.51.102.0/24 via 10.1.0.2 metric 50\n\
         route add 198.51.102.0/24 via 10.2.0.2 metric 20\n\
         route add blackhole 198.51.103.0/24\n\
         route add 203.0.113.0/24 via 10.1.0.2 table 100\n\
         route add 2001:db8:aa::/48 via 2001:db8:1::2\n\
         nexthop add id 7 via 10.1.0.2 dev a0\n\
         route add 198.51.104.0/24 nhid 7\n")?;
    let mut follower = Follower::open(&namespace, FibConfig::default())?;
    follower.agree(&namespace)?;
    assert_eq!(
        follower.actions("198.51.102.0/24"),
        [(FibAction::Present, vec!["10.2.0.2".into()])]
    );
    assert_eq!(follower.actions("198.51.103.0/24"), [(FibAction::Present, vec![])]);
    assert_eq!(
        follower.actions("198.51.104.0/24"),
        [(FibAction::Present, vec!["10.1.0.2".into()])]
    );
    assert_eq!(follower.actions("203.0.113.0/24"), []);
    let mut shown: Vec<String> = indexes(&namespace)?.into_keys().collect();
    let mut told: Vec<String> = follower.links.values().map(|link| link.name.clone()).collect();
    shown.sort();
    told.sort();
    assert_eq!(told, shown);
    assert!(
        follower.links.values().filter(|l| l.name.ends_with('0')).all(|l| l.admin_up && l.carrier)
    );
    Ok(())
}

#[test]
fn live_fib_adds_replaces_deletes() -> Result<()> {
    if !live("live_fib_adds_replaces_deletes") {
        return Ok(());
    }
    let namespace = gateway("change")?;
    let mut follower = Follower::open(&namespace, FibConfig::default())?;
    follower.agree(&namespace)?;
    follower.take();
    let one = |gateway: &str| vec![gateway.to_owned()];
    for (step, prefix, expected) in [
        ("route add 198.51.100.0/24 via 10.1.0.2", "198.51.100.0/24", Some(one("10.1.0.2"))),
        ("route replace 198.51.100.0/24 via 10.2.0.2", "198.51.100.0/24", Some(one("10.2.0.2"))),
        (
            "route replace 198.51.100.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2",
            "198.51.100.0/24",
            Some(vec!["10.1.0.2".into(), "10.2.0.2".into()]),
        ),
        ("route add 198.51.100.0/24 via 10.1.0.3 metric 9", "198.51.100.0/24", Some(vec![])),
        ("route del 198.51.100.0/24 metric 0", "198.51.100.0/24", Some(one("10.1.0.3"))),
        ("route append 198.51.100.0/24 via 10.1.0.4 metric 9", "198.51.100.0/24", Some(vec![])),
        (
            "route prepend 198.51.100.0/24 via 10.1.0.5 metric 9",
            "198.51.100.0/24",
            Some(one("10.1.0.5")),
        ),
        ("route flush 198.51.100.0/24", "198.51.100.0/24", None),
        (
            "route add 2001:db8:b::/48 via 2001:db8:1::2",
            "2001:db8:b::/48",
            Some(one("2001:db8:1::2")),
        ),
        (
            "-6 route append 2001:db8:b::/48 via 2001:db8:2::2",
            "2001:db8:b::/48",
            Some(vec!["2001:db8:1::2".into(), "2001:db8:2::2".into()]),
        ),
        (
            "route del 2001:db8:b::/48 via 2001:db8:1::2",
            "2001:db8:b::/48",
            Some(one("2001:db8:2::2")),
        ),
        (
            "route replace 2001:db8:b::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::3",
            "2001:db8:b::/48",
            Some(vec!["2001:db8:1::2".into(), "2001:db8:2::3".into()]),
        ),
        ("route del 2001:db8:b::/48", "2001:db8:b::/48", None),
        ("route replace unreachable 192.0.2.0/24", "192.0.2.0/24", Some(vec!["discard".into()])),
    ] {
        ip(&namespace, step)?;
        follower.settle()?;
        let last = follower.actions(prefix).pop();
        follower.take();
        match (last, expected) {
            // An empty list stands for: nothing is emitted, since something better holds.
            (last, Some(none)) if none.is_empty() => {
                assert!(last.is_none() || step.contains("append"), "{step}: {last:?}");
            }
            (Some((FibAction::Set, hops)), Some(discard)) if discard == ["discard"] => {
                assert!(hops.is_empty(), "{step}");
            }
            (Some((FibAction::Set, hops)), Some(expected)) => assert_eq!(hops, expected, "{step}"),
            (Some((FibAction::Deleted, _)), None) => {}
            other => panic!("{step}: {other:?}"),
        }
        follower.agree(&namespace)?;
    }
    Ok(())
}

/// One `ip` command, which may begin with an option.
fn ip(namespace: &NetNs, arguments: &str) -> Result<()> {
    let output = namespace.command("ip").args(arguments.split(' ')).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ip {arguments}: {said}");
    Ok(())
}

#[test]
fn live_fib_identical_replacement_is_no_change() -> Result<()> {
    if !live("live_fib_identical_replacement_is_no_change") {
        return Ok(());
    }
    let namespace = gateway("same")?;
    namespace.ip("route add 2001:db8:aa::/48 via 2001:db8:1::2\n\
         route add 198.51.101.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2\n")?;
    let mut follower = Follower::open(&namespace, FibConfig::default())?;
    follower.agree(&namespace)?;
    follower.take();
    let before = follower.source.counters().unchanged;
    for _ in 0..5 {
        namespace.ip("route replace 2001:db8:aa::/48 via 2001:db8:1::2\n\
             route replace 198.51.101.0/24 proto bgp nexthop via 10.2.0.2 nexthop via 10.1.0.2\n\
             route replace 198.51.101.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2\n")?;
    }
    follower.agree(&namespace)?;
    assert_eq!(follower.take(), []);
    assert!(
        follower.source.counters().unchanged >= before + 10,
        "{:?}",
        follower.source.counters()
    );
    Ok(())
}

#[test]
fn live_fib_next_hop_objects_and_groups() -> Result<()> {
    if !live("live_fib_next_hop_objects_and_groups") {
        return Ok(());
    }
    let namespace = gateway("object")?;
    let mut follower = Follower::open(&namespace, FibConfig::default())?;
    namespace.ip("nexthop add id 11 via 10.1.0.2 dev a0\n\
         nexthop add id 12 via 10.2.0.2 dev b0\n\
         nexthop add id 13 via 10.2.0.3 dev b0\n\
         nexthop add id 20 group 11/12\n\
         nexthop add id 31 via 2001:db8:1::2 dev a0\n\
         route add 198.51.100.0/24 nhid 11\n\
         route add 198.51.101.0/24 nhid 20\n\
         route add 198.51.102.0/24 nhid 20\n\
         route add 2001:db8:aa::/48 nhid 31\n")?;
    follower.agree(&namespace)?;
    assert_eq!(follower.table[&"198.51.102.0/24".parse()?].len(), 2);
    follower.take();

    // A member changes: the routes over the group and those over the member move, each once.
    namespace.ip("nexthop replace id 11 via 10.1.0.9 dev a0\n")?;
    follower.agree(&namespace)?;
    assert_eq!(follower.actions("198.51.100.0/24"), [(FibAction::Set, vec!["10.1.0.9".into()])]);
    let both = vec!["10.1.0.9".to_owned(), "10.2.0.2".to_owned()];
    assert_eq!(follower.actions("198.51.101.0/24"), [(FibAction::Set, both.clone())]);
    assert_eq!(follower.actions("198.51.102.0/24"), [(FibAction::Set, both)]);
    follower.take();

    // The group changes.
    namespace.ip("nexthop replace id 20 group 13\n")?;
    follower.agree(&namespace)?;
    assert_eq!(follower.actions("198.51.102.0/24"), [(FibAction::Set, vec!["10.2.0.3".into()])]);
    assert_eq!(follower.actions("198.51.100.0/24"), []);
    follower.take();

    // Removal flushes the routes without a word about them.
    namespace.ip("nexthop del id 11\nnexthop del id 20\n")?;
    follower.agree(&namespace)?;
    for gone in ["198.51.100.0/24", "198.51.101.0/24", "198.51.102.0/24"] {
        assert_eq!(follower.actions(gone), [(FibAction::Deleted, vec![])]);
    }
    Ok(())
}

#[test]
fn live_fib_link_down_flushes_routes_silently() -> Result<()> {
    if !live("live_fib_link_down_flushes_routes_silently") {
        return Ok(());
    }
    let namespace = gateway("flush")?;
    namespace.ip("route add 198.51.100.0/24 via 10.1.0.2\n\
         route add 198.51.100.0/24 via 10.2.0.2 metric 100\n\
         route add 198.51.101.0/24 via 10.1.0.2\n\
         route add 198.51.102.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2\n\
         route add 2001:db8:aa::/48 via 2001:db8:1::2\n\
         route add 2001:db8:bb::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2\n")?;
    let mut follower = Follower::open(&namespace, FibConfig::default())?;
    follower.agree(&namespace)?;
    follower.take();
    namespace.ip("link set a0 down\n")?;
    follower.agree(&namespace)?;
    let left = |gateway: &str| [(FibAction::Set, vec![gateway.to_owned()])];
    assert_eq!(follower.actions("198.51.100.0/24"), left("10.2.0.2"));
    assert_eq!(follower.actions("198.51.101.0/24"), [(FibAction::Deleted, vec![])]);
    assert_eq!(follower.actions("198.51.102.0/24"), left("10.2.0.2"));
    assert_eq!(follower.actions("2001:db8:aa::/48"), [(FibAction::Deleted, vec![])]);
    assert_eq!(follower.actions("2001:db8:bb::/48"), left("2001:db8:2::2"));
    assert!(follower.source.counters().silent_changes >= 4, "{:?}", follower.source.counters());
    follower.take();

    // Dead legs revive, as silently.
    namespace.ip("link set a0 up\n")?;
    follower.agree(&namespace)?;
    assert_eq!(follower.table[&"198.51.102.0/24".parse()?].len(), 2);
    assert_eq!(follower.table[&"2001:db8:bb::/48".parse()?].len(), 2);

    namespace.ip("link del b0\n")?;
    follower.agree(&namespace)?;
    assert!(follower.links.values().all(|link| !link.name.starts_with('b')));
    Ok(())
}

#[test]
fn live_fib_carrier_loss_removes_next_hop_objects() -> Result<()> {
    if !live("live_fib_carrier_loss_removes_next_hop_objects") {
        return Ok(());
    }
    let namespace = gateway("carrier")?;
    namespace.ip("nexthop add id 11 via 10.1.0.2 dev a0\n\
         nexthop add id 12 via 10.2.0.2 dev b0\n\
         nexthop add id 20 group 11/12\n\
         route add 198.51.100.0/24 nhid 11\n\
         route add 198.51.101.0/24 nhid 20\n\
         route add 198.51.102.0/24 via 10.1.0.2\n")?;
    let mut follower = Follower::open(&namespace, FibConfig::default())?;
    follower.agree(&namespace)?;
    follower.take();
    namespace.ip("link set a1 down\n")?;
    let deadline = Instant::now() + PATIENCE;
    while follower.links.values().any(|link| link.name == "a0" && link.carrier) {
        assert!(Instant::now() < deadline, "the carrier loss of a0 is not reported");
        follower.read(READ)?;
    }
    follower.agree(&namespace)?;
    assert_eq!(follower.actions("198.51.100.0/24"), [(FibAction::Deleted, vec![])]);
    assert_eq!(follower.actions("198.51.101.0/24"), [(FibAction::Set, vec!["10.2.0.2".into()])]);
    // Without `ignore_routes_with_linkdown` a plain route still forwards there.
    assert_eq!(follower.actions("198.51.102.0/24"), []);
    Ok(())
}

#[test]
fn live_fib_link_events_dump_only_where_routes_lead() -> Result<()> {
    if !live("live_fib_link_events_dump_only_where_routes_lead") {
        return Ok(());
    }
    let namespace = gateway("events")?;
    namespace.ip("link add c0 type veth peer name c1\nlink set c0 up\nlink set c1 up\n")?;
    namespace.ip(&many("add", 0..2_000, "10.1.0.2"))?;
    let mut follower = Follower::open(&namespace, FibConfig::default())?;
    // What IPv6 still says of the new links comes first.
    let deadline = Instant::now() + PATIENCE;
    let local: Prefix = "fe80::/64".parse()?;
    while follower.table.get(&local).is_none_or(|hops| hops.len() < 6) {
        anyhow::ensure!(Instant::now() < deadline, "{:?}", follower.table.get(&local));
        follower.read(READ)?;
    }
    follower.agree(&namespace)?;
    let before = follower.source.counters();
    let c0 = indexes(&namespace)?["c0"];
    assert_eq!((follower.links[&c0].oper, follower.links[&c0].mtu), (OperState::Up, 1_500));

    // Nothing leads over c0 and c1 but the link-local prefix, and its removal is announced.
    for _ in 0..5 {
        namespace.ip("link set c0 down\nlink set c0 mtu 9000\n")?;
        follower.settle()?;
        assert_eq!((follower.links[&c0].oper, follower.links[&c0].mtu), (OperState::Down, 9_000));
        namespace.ip("link set c0 mtu 1500\nlink set c0 up\n")?;
        follower.agree(&namespace)?;
    }
    let after = follower.source.counters();
    assert_eq!(after.dumps, before.dumps, "{after:?}");
    assert!(after.messages >= before.messages + 20, "{after:?}");

    // Two thousand routes lead over a0, and a burst of its events is one matter.
    namespace.ip(&"link set a0 down\nlink set a0 up\n".repeat(20))?;
    follower.agree(&namespace)?;
    let burst = follower.source.counters();
    assert!((1..=4).contains(&(burst.dumps - after.dumps)), "{burst:?}");
    assert!(burst.silent_changes >= after.silent_changes + 2_000, "{burst:?}");

    // A link that comes up revives nothing where no leg is dead.
    namespace.ip("link set c0 down\nlink set c0 up\nlink set b0 mtu 1400\n")?;
    follower.agree(&namespace)?;
    assert_eq!(follower.source.counters().dumps, burst.dumps);
    Ok(())
}

fn many(verb: &str, range: std::ops::Range<u32>, via: &str) -> String {
    let line = |n: u32| format!("route {verb} 100.{}.{}.0/24 via {via}\n", n >> 8, n & 255);
    range.map(line).collect()
}

#[test]
fn live_fib_twenty_thousand_routes() -> Result<()> {
    if !live("live_fib_twenty_thousand_routes") {
        return Ok(());
    }
    let namespace = gateway("many")?;
    // Room for all of them, so that a reader kept waiting by a busy machine still loses nothing.
    let config = FibConfig { receive_buffer_octets: 64 << 20, ..FibConfig::default() };
    let mut follower = Follower::open(&namespace, config)?;
    follower.agree(&namespace)?;
    for (verb, via, action) in [
        ("add", "10.1.0.2", FibAction::Set),
        ("replace", "10.2.0.2", FibAction::Set),
        ("del", "10.2.0.2", FibAction::Deleted),
    ] {
        follower.take();
        namespace.ip(&many(verb, 0..20_000, via))?;
        follower.settle()?;
        let mine = follower.take();
        assert_eq!(mine.len(), 20_000, "{verb}: {:?}", follower.source.counters());
        assert!(mine.iter().all(|change| change.action == action), "{verb}");
        let distinct: std::collections::BTreeSet<_> = mine.iter().map(|c| c.prefix).collect();
        assert_eq!(distinct.len(), 20_000, "{verb}");
        follower.agree(&namespace)?;
    }
    assert_eq!((follower.lost, follower.source.counters().undecodable), (0, 0));
    Ok(())
}

#[test]
fn live_fib_overrun_resynchronises() -> Result<()> {
    if !live("live_fib_overrun_resynchronises") {
        return Ok(());
    }
    let namespace = gateway("overrun")?;
    namespace.ip(&many("add", 0..500, "10.1.0.2"))?;
    let config = FibConfig { receive_buffer_octets: 8_192, ..FibConfig::default() };
    let mut follower = Follower::open(&namespace, config)?;
    follower.agree(&namespace)?;
    // Nobody reads meanwhile.
    namespace.ip(&many("add", 500..3_000, "10.1.0.2"))?;
    namespace.ip(&many("replace", 0..200, "10.2.0.2"))?;
    namespace.ip(&many("del", 200..400, "10.1.0.2"))?;
    follower.take();
    follower.agree(&namespace)?;
    let counters = follower.source.counters();
    assert!(counters.overruns >= 1 && counters.lost > 1_000, "{counters:?}");
    assert_eq!(follower.lost, counters.lost);
    // Exactly what differs was emitted: 2,500 added, 200 moved, 200 gone.
    assert_eq!(follower.take().len(), 2_900);
    Ok(())
}

#[test]
fn live_fib_changes_lie_within_their_bounds() -> Result<()> {
    if !live("live_fib_changes_lie_within_their_bounds") {
        return Ok(());
    }
    let namespace = gateway("bounds")?;
    let config = FibConfig::default();
    let clock = config.clock;
    let mut follower = Follower::open(&namespace, config)?;
    follower.agree(&namespace)?;
    for (step, prefix) in [
        ("route add 198.51.100.0/24 via 10.1.0.2", "198.51.100.0/24"),
        ("link set a0 down", "198.51.100.0/24"),
    ] {
        follower.take();
        let before_read = clock.now();
        follower.settle()?;
        let before = clock.now();
        ip(&namespace, step)?;
        let after = clock.now();
        follower.settle()?;
        let prefix: Prefix = prefix.parse()?;
        let change = follower.changes.iter().find(|change| change.prefix == prefix);
        let change = change.with_context(|| format!("{step}: no change of {prefix}"))?;
        let (not_before, bound) = (change.not_before, before_read..before);
        assert!(bound.contains(&not_before), "{step}: {not_before} not in {bound:?}, done {after}");
    }
    Ok(())
}

/// Reads counters until `until` holds of all samples so far.
fn sample(
    source: &mut CounterSource,
    batch: &mut Batch,
    what: &str,
    until: impl Fn(&[(Timestamp, CounterSample)]) -> bool,
) -> Result<Vec<(Timestamp, CounterSample)>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        source.read(READ, batch)?;
        let samples: Vec<_> = batch.signals.iter().filter_map(counter).collect();
        if until(&samples) {
            return Ok(samples);
        }
        anyhow::ensure!(Instant::now() < deadline, "{what}: {:?}", source.counters());
    }
}

fn counter(signal: &Signal) -> Option<(Timestamp, CounterSample)> {
    match signal.kind {
        SignalKind::Counters(sample) => Some((signal.at, sample)),
        _ => None,
    }
}

fn shown_counters(namespace: &NetNs, link: &str) -> Result<CounterSample> {
    let shown = json(namespace, &format!("-j -s link show dev {link}"))?;
    let stats = &shown[0]["stats64"];
    let count = |way: &str, what: &str| stats[way][what].as_u64().context("a count");
    Ok(CounterSample {
        rx_packets: count("rx", "packets")?,
        tx_packets: count("tx", "packets")?,
        rx_errors: count("rx", "errors")?,
        tx_errors: count("tx", "errors")?,
    })
}

#[test]
fn live_counters_follow_pings() -> Result<()> {
    if !live("live_counters_follow_pings") {
        return Ok(());
    }
    let (near, far) = (NetNs::new("near")?, NetNs::new("far")?);
    // No IPv6: its own chatter would break the silence.
    for namespace in [&near, &far] {
        namespace.sysctl(&[
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
        ])?;
    }
    edgelore_testkit::veth((&near, "n0"), (&far, "f0"))?;
    near.ip("addr add 10.0.0.1/24 dev n0\n")?;
    far.ip("addr add 10.0.0.2/24 dev f0\n")?;
    let clock = Clock::new();
    let link = indexes(&near)?["n0"];
    let mut source =
        near.run(|| Ok(CounterSource::open(CounterConfig::new(clock, vec![link]))?))?;

    // Silence: the keep-alive is all there is, and it comes.
    let mut batch = Batch::default();
    let still = sample(&mut source, &mut batch, "keep-alives", |samples| samples.len() >= 6)?;
    let tail = &still[still.len() - 3..];
    assert!(tail.windows(2).all(|pair| (pair[1].0 - pair[0].0).0 >= 90_000_000), "{tail:?}");
    assert!(source.counters().rounds >= 40, "{:?}", source.counters());

    let mut batch = Batch::default();
    let start = clock.now();
    let mut ping = near.command("ping");
    ping.args(["-n", "-q", "-c", "20", "-i", "0.03", "10.0.0.2"])
        .stdout(std::process::Stdio::null());
    let mut ping = ping.spawn()?;
    let rx = |samples: &[(Timestamp, CounterSample)]| samples.last().map_or(0, |s| s.1.rx_packets);
    let base = rx(&still);
    let samples = sample(&mut source, &mut batch, "pings", |samples| rx(samples) >= base + 20)?;
    assert!(ping.wait()?.success());
    let end = clock.now();

    // Within the source, time never goes back, and each change is bounded by the sample before it.
    assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let moved: Vec<_> = samples.windows(2).filter(|pair| pair[0].1 != pair[1].1).collect();
    assert!(moved.len() >= 5, "{} of {} samples moved", moved.len(), samples.len());
    let (missed, lost) = (source.counters().deadlines_missed, source.counters().rounds_lost);
    let slack = (missed + lost + 2) * 10_000_000;
    for pair in &moved {
        assert!((pair[1].0 - pair[0].0).0.unsigned_abs() <= slack, "{pair:?}");
        assert!(pair[1].0 >= start && pair[0].0 - SAMPLE_UNCERTAINTY <= end);
    }
    // Late packets (ARP) may still come: the counters end where `ip` says they do.
    sample(&mut source, &mut batch, "agreement with ip", |samples| {
        shown_counters(&near, "n0").is_ok_and(|shown| samples.last().is_some_and(|s| s.1 == shown))
    })?;
    Ok(())
}

#[test]
fn live_counters_of_an_absent_link() -> Result<()> {
    if !live("live_counters_of_an_absent_link") {
        return Ok(());
    }
    let namespace = NetNs::new("absent")?;
    let clock = Clock::new();
    let config = CounterConfig::new(clock, vec![1, 4_000_000]);
    let mut source = namespace.run(|| Ok(CounterSource::open(config)?))?;
    let mut batch = Batch::default();
    sample(&mut source, &mut batch, "loopback", |samples| samples.len() >= 3)?;
    assert!(batch.signals.iter().all(|signal| signal.link == 1));
    let counters = source.counters();
    assert!(counters.absent >= 1 && counters.undecodable == 0, "{counters:?}");
    Ok(())
}
