//! Real routers report over BMP: what FRR and GoBGP say of each other, of the routes between them
//! and of the end of their session.

use anyhow::{Context, Result};
use edgelore_capture::Clock;
use edgelore_capture::bmp::{BmpConfig, BmpSource};
use edgelore_model::{
    Batch, DownCause, Observation, Observed, Prefix, Rib, RouteDelta, SessionKey, Summary,
};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_testkit::{Frr, NetNs, Process, live, scratch, veth};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
const READ: Duration = Duration::from_millis(50);

const FRR_ROUTER: &str = "10.0.2.1";
const FRR_PEER: &str = "10.0.1.1";
const GOBGP_ROUTER: &str = "10.0.3.1";
const GOBGP_PEER: &str = "10.0.1.2";
const FRR_ROUTE: &str = "203.0.113.0/24";
const GOBGP_ROUTE: &str = "198.51.100.0/24";

const FRR_CONFIG: &str = "
router bgp 65001
 bgp router-id 10.0.1.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 10.0.1.2 remote-as 65002
 neighbor 10.0.1.2 timers 3 9
 neighbor 10.0.1.2 timers connect 1
 address-family ipv4 unicast
  network 203.0.113.0/24
  neighbor 10.0.1.2 soft-reconfiguration inbound
 exit-address-family
 bmp targets T
  bmp stats interval 1000
  bmp monitor ipv4 unicast pre-policy
  bmp monitor ipv4 unicast post-policy
  bmp connect 10.0.2.2 port 1790 min-retry 100 max-retry 1000
";

const GOBGP_CONFIG: &str = r#"
[global.config]
 as = 65002
 router-id = "10.0.1.2"
[[neighbors]]
 [neighbors.config]
  neighbor-address = "10.0.1.1"
  peer-as = 65001
 [neighbors.timers.config]
  connect-retry = 1
  hold-time = 9
[[bmp-servers]]
 [bmp-servers.config]
  address = "10.0.3.2"
  port = 1790
  route-monitoring-policy = "all"
  statistics-timeout = 15
"#;

/// Two routers with a link between them and one each to the collector.
struct Lab {
    // Dropped in order: daemons before their namespaces.
    gobgp: Option<Process>,
    frr: Frr,
    _scratch: tempfile::TempDir,
    gobgp_namespace: NetNs,
    _frr_namespace: NetNs,
    collector: NetNs,
}

impl Lab {
    fn start(name: &str, frr_config: &str) -> Result<(Self, Collector)> {
        let [m, f, g] = ["m", "f", "g"].map(|router| NetNs::new(&format!("{name}_{router}")));
        let (m, f, g) = (m?, f?, g?);
        veth((&f, "g0"), (&g, "f0"))?;
        veth((&f, "m0"), (&m, "f0"))?;
        veth((&g, "m0"), (&m, "g0"))?;
        f.ip("addr add 10.0.1.1/30 dev g0\naddr add 10.0.2.1/30 dev m0")?;
        g.ip("addr add 10.0.1.2/30 dev f0\naddr add 10.0.3.1/30 dev m0")?;
        m.ip("addr add 10.0.2.2/30 dev f0\naddr add 10.0.3.2/30 dev g0")?;
        let collector = Collector::open(&m)?;
        let frr = Frr::start_with(&f, frr_config, &["bmp"])?;
        let scratch = scratch("gobgp")?;
        let gobgp = Some(start_gobgp(&g, scratch.path())?);
        let lab = Self {
            gobgp,
            frr,
            _scratch: scratch,
            gobgp_namespace: g,
            _frr_namespace: f,
            collector: m,
        };
        Ok((lab, collector))
    }

    fn gobgp(&self, arguments: &str) -> Result<()> {
        let mut command = self.gobgp_namespace.command("gobgp");
        let output = command.args(arguments.split(' ')).output().context("start gobgp")?;
        anyhow::ensure!(
            output.status.success(),
            "gobgp {arguments}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

fn start_gobgp(namespace: &NetNs, directory: &Path) -> Result<Process> {
    let config = directory.join("gobgpd.toml");
    std::fs::write(&config, GOBGP_CONFIG).context("write GoBGP's configuration")?;
    let mut command = namespace.command("gobgpd");
    command.arg("-f").arg(&config).args(["-t", "toml", "--pprof-disable"]);
    Process::spawn("gobgpd", &mut command, &directory.join("log"))
}

/// The listener with everything it made of what it heard.
struct Collector {
    source: BmpSource,
    decoder: Decoder,
    seen: Vec<Observation>,
}

impl Collector {
    fn open(namespace: &NetNs) -> Result<Self> {
        let source = namespace.run(|| {
            let allow = ["10.0.2.1/32", "10.0.3.1/32"].map(prefix).to_vec();
            let listen = "0.0.0.0:1790".parse()?;
            Ok(BmpSource::open(BmpConfig { listen, routers_max: 4, allow, clock: Clock::new() })?)
        })?;
        Ok(Self { source, decoder: Decoder::new(DecodeConfig::default()), seen: Vec::new() })
    }

    fn read(&mut self) -> Result<()> {
        let mut batch = Batch::default();
        self.source.read(READ, &mut batch)?;
        let seen = &mut self.seen;
        self.decoder.decode(&batch, &mut |_, observation| seen.push(observation));
        Ok(())
    }

    /// Reads until something that was seen since `from` matches; says where it stands.
    fn wait(
        &mut self,
        from: usize,
        what: &str,
        matches: impl Fn(&Observed) -> bool,
    ) -> Result<usize> {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen[from..].iter().position(|seen| matches(&seen.what)) {
                return Ok(from + at);
            }
            anyhow::ensure!(
                start.elapsed() < PATIENCE,
                "{what}: not in time; {:?}; seen: {:#?}",
                self.summary(),
                &self.seen[from..]
            );
            self.read()?;
        }
    }

    fn summary(&self) -> Summary {
        *self.decoder.summary()
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The session that `router` reports with its peer.
fn session(router: &str, peer: &str) -> SessionKey {
    SessionKey::between(address(router), address(peer))
}

fn moved(what: &Observed, key: SessionKey, rib: Rib, lists: fn(&RouteDelta) -> &[Prefix]) -> bool {
    matches!(what, Observed::Routes(delta)
        if delta.session == key && delta.rib == rib && !lists(delta).is_empty())
}

fn announced(delta: &RouteDelta) -> &[Prefix] {
    &delta.announced
}

fn withdrawn(delta: &RouteDelta) -> &[Prefix] {
    &delta.withdrawn
}

#[test]
fn live_bmp_of_frr_and_gobgp() -> Result<()> {
    if !live("live_bmp_of_frr_and_gobgp") {
        return Ok(());
    }
    let (mut lab, mut collector) = Lab::start("bmp", FRR_CONFIG)?;
    let (from_frr, from_gobgp) = (session(FRR_ROUTER, GOBGP_PEER), session(GOBGP_ROUTER, FRR_PEER));
    for router in [FRR_ROUTER, GOBGP_ROUTER] {
        let came = |what: &Observed| {
            matches!(what, Observed::Router(change)
                if change.connected && change.router == address(router))
        };
        collector.wait(0, "an Initiation", came)?;
    }
    for key in [from_frr, from_gobgp] {
        let up =
            |what: &Observed| matches!(what, Observed::SessionUp { session } if *session == key);
        collector.wait(0, "a Peer Up", up)?;
    }
    lab.gobgp(&format!("global rib add {GOBGP_ROUTE}"))?;
    for rib in [Rib::InPre, Rib::InPost] {
        let shown = |what: &Observed| moved(what, from_frr, rib, announced);
        let at = collector.wait(0, "GoBGP's route at FRR", shown)?;
        let Observed::Routes(delta) = &collector.seen[at].what else { unreachable!() };
        assert_eq!(delta.announced, [prefix(GOBGP_ROUTE)]);
        assert_eq!(delta.speaker, address(GOBGP_PEER));
        let shown = |what: &Observed| moved(what, from_gobgp, rib, announced);
        let at = collector.wait(0, "FRR's route at GoBGP", shown)?;
        let Observed::Routes(delta) = &collector.seen[at].what else { unreachable!() };
        assert_eq!(delta.announced, [prefix(FRR_ROUTE)]);
    }
    let loc_rib = session(GOBGP_ROUTER, GOBGP_ROUTER);
    collector.wait(0, "GoBGP's Loc-RIB", |what| moved(what, loc_rib, Rib::Local, announced))?;
    let statistics = |what: &Observed| matches!(what, Observed::PeerStatistics(report) if report.peer == address(GOBGP_PEER));
    collector.wait(0, "statistics", statistics)?;

    let before = collector.seen.len();
    lab.gobgp(&format!("global rib del {GOBGP_ROUTE}"))?;
    for rib in [Rib::InPre, Rib::InPost] {
        let gone = |what: &Observed| moved(what, from_frr, rib, withdrawn);
        collector.wait(before, "the withdrawal of GoBGP's route", gone)?;
    }

    let before = collector.seen.len();
    drop(lab.gobgp.take());
    let down = |what: &Observed| matches!(what, Observed::SessionDown { session, .. } if *session == from_frr);
    let at = collector.wait(before, "a Peer Down", down)?;
    let Observed::SessionDown { cause, .. } = collector.seen[at].what else { unreachable!() };
    assert!(matches!(cause, DownCause::Notification | DownCause::Closed), "{cause:?}");
    let left = |what: &Observed| {
        matches!(what, Observed::Router(change)
            if !change.connected && change.router == address(GOBGP_ROUTER))
    };
    collector.wait(before, "GoBGP's end", left)?;
    let ended = |seen: &Observation| matches!(seen.what, Observed::SessionDown { session, .. } if session == from_gobgp);
    assert!(!collector.seen.iter().any(ended), "a router that left says nothing of its peers");
    assert_eq!(collector.summary().undecodable, 0);
    assert_eq!(collector.source.counters().framing_errors, 0);
    Ok(())
}

/// FRR that does not keep what its peer announced reports announcements as withdrawals before
/// policy. They must not be believed, and what it reports after policy must.
#[test]
fn live_bmp_withdrawals_that_cannot_be() -> Result<()> {
    if !live("live_bmp_withdrawals_that_cannot_be") {
        return Ok(());
    }
    let config = FRR_CONFIG.replace("  neighbor 10.0.1.2 soft-reconfiguration inbound\n", "");
    assert_ne!(config, FRR_CONFIG);
    let (lab, mut collector) = Lab::start("bmpw", &config)?;
    expect_unfounded(&lab, &mut collector, GOBGP_ROUTE)?;
    // A collector that comes when the session is up is sent the tables first.
    drop(collector);
    let mut collector = Collector::open(&lab.collector)?;
    expect_unfounded(&lab, &mut collector, "198.51.101.0/24")?;
    drop((lab.frr, lab.collector));
    Ok(())
}

/// Waits for the session, lets GoBGP announce `route` and looks at what FRR makes of it.
fn expect_unfounded(lab: &Lab, collector: &mut Collector, route: &str) -> Result<()> {
    let key = session(FRR_ROUTER, GOBGP_PEER);
    let up = |what: &Observed| matches!(what, Observed::SessionUp { session } if *session == key);
    let at = collector.wait(0, "a Peer Up", up)?;
    await_statistics(collector, at)?;
    lab.gobgp(&format!("global rib add {route}"))?;
    let shown = |what: &Observed| {
        matches!(what, Observed::Routes(delta)
            if delta.session == key && delta.rib == Rib::InPost && delta.announced == [prefix(route)])
    };
    let at = collector.wait(at, "the route after policy", shown)?;
    await_statistics(collector, at)?;
    assert!(collector.summary().bmp.unfounded_withdrawals > 0, "{:?}", collector.summary());
    let believed = |seen: &&Observation| moved(&seen.what, key, Rib::InPre, withdrawn);
    assert_eq!(collector.seen.iter().filter(believed).count(), 0);
    Ok(())
}

/// FRR's second report from now on comes behind everything that it had to say before.
fn await_statistics(collector: &mut Collector, mut from: usize) -> Result<()> {
    let statistics = |what: &Observed| matches!(what, Observed::PeerStatistics(report) if report.router == address(FRR_ROUTER));
    for _ in 0..2 {
        from = collector.wait(from, "statistics", statistics)? + 1;
    }
    Ok(())
}
