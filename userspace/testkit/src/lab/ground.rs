//! Where the scenarios are played: a gateway with two neighbours, a bridge in sight and one out of
//! sight on the way to the first, a host, and a collector.
//!
//! ```text
//!              ┌─ prim0 ── togw ─ sw ─ todark ── tosw ─ dark ─ toprim ── gw0 ─ prim (preferred) ─┐
//!  lan ── lan0 ─ gw                                                                               ├─ same prefixes
//!              ├─ sec0 ───────────────────────────────────────────────── gw0 ─ sec ──────────────┘
//!              └─ mgmt0 ── gw0 ─ col (BMP)
//! ```
//!
//! Edgelore stands at `gw` (router), `sw` (bridge) and `col` (collector); `dark` is where a failure
//! happens that none of them can see but by silence.
//!
//! Invariant: each step returns only when the state that it promises has been observed.

use super::words::{self, Role};
use super::{FibMonitor, Stream};
use crate::speaker::{Bird, Speaker};
use crate::{Frr, FrrDaemon, NetNs, now, veth, wait_for};
use anyhow::{Context, Result};
use edgelore_model::Prefix;
use std::net::Ipv4Addr;
use std::time::Duration;

const START_DEADLINE: Duration = Duration::from_secs(90);
const STREAM_DEADLINE: Duration = Duration::from_secs(30);

/// What is spoken, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// BGP among three FRRs.
    Bgp {
        /// Hold time, s; keepalives at a third of it.
        hold_s: u16,
        /// Prefixes that both neighbours announce, at most 512.
        prefixes: u32,
    },
    /// BGP, and the primary is a BIRD, which announces and withdraws at once what it is told.
    Bird {
        /// Hold time, s.
        hold_s: u16,
        /// Prefixes that both neighbours announce, at most 512.
        prefixes: u32,
    },
    /// OSPFv2, point to point.
    Ospf {
        /// Hello interval, s.
        hello_s: u16,
        /// Dead interval, s.
        dead_s: u16,
    },
    /// IS-IS level 2, point to point.
    Isis {
        /// Hello interval, s.
        hello_s: u16,
        /// Hellos missed until the neighbour counts as lost.
        multiplier: u8,
    },
    /// OSPFv2, and LDP with the primary.
    Ldp,
    /// Nothing but BFD with the primary.
    Nothing,
}

impl Routing {
    /// BGP is spoken, so that there is something to report over BMP.
    #[must_use]
    pub const fn is_bgp(self) -> bool {
        matches!(self, Self::Bgp { .. } | Self::Bird { .. })
    }

    /// Users send over the way that fails, so that who stands on it sees by them when it fell silent.
    const fn has_users(self) -> bool {
        !matches!(self, Self::Ldp | Self::Nothing)
    }

    const fn daemons(self) -> &'static [FrrDaemon] {
        match self {
            Self::Bgp { .. } | Self::Bird { .. } => {
                &[FrrDaemon::Zebra, FrrDaemon::Bfdd, FrrDaemon::Bgpd]
            }
            Self::Ospf { .. } => &[FrrDaemon::Zebra, FrrDaemon::Bfdd, FrrDaemon::Ospfd],
            Self::Isis { .. } => &[FrrDaemon::Zebra, FrrDaemon::Isisd],
            Self::Ldp => &[FrrDaemon::Zebra, FrrDaemon::Ospfd, FrrDaemon::Ldpd],
            Self::Nothing => &[FrrDaemon::Zebra, FrrDaemon::Bfdd],
        }
    }
}

/// BFD on the link to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Transmit and receive interval, ms.
    pub interval_ms: u64,
    /// Packets missed until the session is down.
    pub multiplier: u64,
}

#[derive(Debug)]
pub(super) enum Primary {
    Frr(Frr),
    Bird(Bird),
}

#[derive(Debug)]
pub(super) struct Routers {
    pub(super) gateway: Frr,
    pub(super) primary: Primary,
    pub(super) secondary: Frr,
    pub(super) fib: FibMonitor,
    stream: Option<Stream>,
}

/// The network of one scenario.
#[derive(Debug)]
pub struct Ground {
    routing: Routing,
    bfd: Option<Protection>,
    // Dropped in order: what runs before where it runs.
    routers: Option<Routers>,
    pub(super) gw: NetNs,
    sw: NetNs,
    pub(super) dark: NetNs,
    pub(super) prim: NetNs,
    sec: NetNs,
    pub(super) lan: NetNs,
    col: NetNs,
}

impl Ground {
    /// Creates namespaces, links and addresses; nothing speaks yet, so that Edgelore and recorders
    /// can be there first. Needs root.
    ///
    /// # Errors
    /// When a namespace or a link cannot be made.
    pub fn build(name: &str, routing: Routing, bfd: Option<Protection>) -> Result<Self> {
        let new = |part: &str| NetNs::new(&format!("{name}_{part}"));
        let ground = Self {
            routing,
            bfd,
            routers: None,
            gw: new("gw")?,
            sw: new("sw")?,
            dark: new("dark")?,
            prim: new("prim")?,
            sec: new("sec")?,
            lan: new("lan")?,
            col: new("col")?,
        };
        ground.cable()?;
        ground.address()?;
        Ok(ground)
    }

    /// The gateway's namespace, and the interfaces to watch there.
    #[must_use]
    pub fn router(&self) -> (&NetNs, &'static [&'static str]) {
        (&self.gw, &["prim0", "sec0", "lan0"])
    }

    /// The bridge's namespace and ports.
    #[must_use]
    pub fn bridge(&self) -> (&NetNs, &'static [&'static str]) {
        (&self.sw, &["togw", "todark"])
    }

    /// The collector's namespace and interface; routers connect to port 1790.
    #[must_use]
    pub fn collector(&self) -> (&NetNs, &'static [&'static str]) {
        (&self.col, &["gw0"])
    }

    /// From where routers report to the collector.
    #[must_use]
    pub const fn reporter() -> Ipv4Addr {
        words::GATEWAY_COLLECTOR
    }

    /// What is spoken.
    #[must_use]
    pub const fn routing(&self) -> Routing {
        self.routing
    }

    pub(super) const fn bfd(&self) -> Option<Protection> {
        self.bfd
    }

    fn cable(&self) -> Result<()> {
        for router in [&self.gw, &self.prim, &self.sec] {
            router.sysctl(&[
                ("ipv4/ip_forward", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
            ])?;
        }
        // No host but the routers speaks: a link must be silent when its far side dies.
        for namespace in [&self.gw, &self.sw, &self.dark, &self.prim, &self.sec, &self.lan] {
            namespace.sysctl(&[
                ("ipv6/conf/all/disable_ipv6", "1"),
                ("ipv6/conf/default/disable_ipv6", "1"),
            ])?;
        }
        veth((&self.gw, "prim0"), (&self.sw, "togw"))?;
        veth((&self.sw, "todark"), (&self.dark, "tosw"))?;
        veth((&self.dark, "toprim"), (&self.prim, "gw0"))?;
        veth((&self.gw, "sec0"), (&self.sec, "gw0"))?;
        veth((&self.gw, "lan0"), (&self.lan, "gw0"))?;
        veth((&self.gw, "mgmt0"), (&self.col, "gw0"))?;
        for (bridge, ports) in [(&self.sw, ["togw", "todark"]), (&self.dark, ["tosw", "toprim"])] {
            bridge.ip(&format!(
                "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
                 link set {} master br0\nlink set {} master br0\nlink set br0 up",
                ports[0], ports[1]
            ))?;
        }
        Ok(())
    }

    fn address(&self) -> Result<()> {
        self.gw.ip(&format!(
            "addr add {}/28 dev prim0\naddr add {}/28 dev sec0\naddr add {}/28 dev lan0\n\
             addr add {}/28 dev mgmt0",
            words::GATEWAY_PRIMARY,
            words::GATEWAY_SECONDARY,
            words::GATEWAY_LAN,
            words::GATEWAY_COLLECTOR
        ))?;
        self.col.ip(&format!("addr add {}/28 dev gw0", words::COLLECTOR))?;
        self.lan.ip(&format!(
            "addr add {}/28 dev gw0\nroute add default via {}",
            words::LAN,
            words::GATEWAY_LAN
        ))?;
        let mut held = vec![(words::target(), 32)];
        if !self.routing.is_bgp() {
            held = words::destinations(self.routing);
        }
        let held: String =
            held.iter().map(|(address, _)| format!("\naddr add {address}/32 dev lo")).collect();
        for (namespace, own) in [(&self.prim, words::PRIMARY), (&self.sec, words::SECONDARY)] {
            namespace.ip(&format!("addr add {own}/28 dev gw0{held}"))?;
        }
        if matches!(self.routing, Routing::Bird { .. }) {
            // BIRD installs nothing, so that the echoes need a way back.
            let gateway = words::GATEWAY_PRIMARY;
            self.prim.ip(&format!("route add {} via {gateway}", words::LAN_PREFIX))?;
        }
        if self.routing == Routing::Ldp {
            for (namespace, role) in [(&self.gw, Role::Gateway), (&self.prim, Role::Primary)] {
                namespace.ip(&format!("addr add {}/32 dev lo", role.loopback()))?;
            }
        }
        Ok(())
    }

    /// Starts the daemons and the witnesses, and waits until every prefix points to the primary,
    /// packets return and BFD is up.
    ///
    /// # Errors
    /// When a daemon fails or the network does not come up.
    pub fn start(&mut self) -> Result<()> {
        let fib = FibMonitor::start(&self.gw)?;
        let (secondary, primary, gateway) = std::thread::scope(|scope| {
            let secondary = scope.spawn(|| self.frr(&self.sec, Role::Secondary));
            let primary = scope.spawn(|| self.primary());
            let gateway = self.frr(&self.gw, Role::Gateway);
            let secondary =
                secondary.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let primary = primary.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (secondary, primary, gateway)
        });
        let (gateway, primary, secondary) = (gateway?, primary?, secondary?);
        let stream = if self.routing.has_users() {
            Some(Stream::start(&self.lan, words::target(), &[&self.prim, &self.sec])?)
        } else {
            None
        };
        self.routers = Some(Routers { gateway, primary, secondary, fib, stream });
        self.await_normal()
    }

    fn frr(&self, namespace: &NetNs, role: Role) -> Result<Frr> {
        let text = words::configuration(role, self.routing, self.bfd);
        if role == Role::Gateway && self.routing.is_bgp() {
            return Frr::start_with(namespace, &text, &["bmp"]);
        }
        Frr::start_daemons(namespace, self.routing.daemons(), &text)
    }

    fn primary(&self) -> Result<Primary> {
        Ok(match self.routing {
            Routing::Bird { hold_s, .. } => {
                let prefixes = self.prefixes();
                Primary::Bird(Bird::start(&self.prim, &words::identity(hold_s), &prefixes)?)
            }
            _ => Primary::Frr(self.frr(&self.prim, Role::Primary)?),
        })
    }

    /// Waits for what [`Ground::start`] promises.
    ///
    /// # Errors
    /// When it does not come about.
    pub fn await_normal(&self) -> Result<()> {
        let routers = self.routers()?;
        let destinations = words::destinations(self.routing);
        wait_for(START_DEADLINE, "every prefix through the primary", || {
            routers.fib.all_point_to(&destinations, &[words::PRIMARY]).unwrap_or(false)
        })?;
        if let Some(stream) = &routers.stream {
            let since = now();
            wait_for(STREAM_DEADLINE, "packets through the primary", || stream.flows(since))?;
        }
        if let (Some(bfd), Primary::Frr(primary)) = (self.bfd, &routers.primary) {
            self.await_bfd(primary, bfd)?;
        }
        if self.routing.is_bgp() {
            // The alternative must be there before anything fails.
            let secondary = words::SECONDARY.to_string();
            wait_for(START_DEADLINE, "the session with the secondary", || {
                routers.gateway.established(&secondary)
            })?;
        } else if self.routing == Routing::Ldp {
            wait_for(START_DEADLINE, "the LDP session", || {
                let said = routers.gateway.show_text("show mpls ldp neighbor");
                said.is_ok_and(|said| said.contains("OPERATIONAL"))
            })?;
        }
        Ok(())
    }

    fn await_bfd(&self, primary: &Frr, bfd: Protection) -> Result<()> {
        let ends = [(&self.routers()?.gateway, words::PRIMARY), (primary, words::GATEWAY_PRIMARY)];
        for (router, peer) in ends {
            let peer = peer.to_string();
            wait_for(START_DEADLINE, &format!("BFD with {peer}"), || {
                router.bfd_up(&peer, bfd.interval_ms)
            })?;
        }
        Ok(())
    }

    /// Lets BFD watch the session with the primary, as an engineer would at both ends, and waits
    /// until it does.
    ///
    /// # Errors
    /// When FRR refuses, or the primary is none.
    pub fn protect(&mut self, bfd: Protection) -> Result<()> {
        let routers = self.routers()?;
        let primary = routers.primary_frr()?;
        routers.gateway.configure(&words::bfd_on_session(Role::Gateway, bfd))?;
        primary.configure(&words::bfd_on_session(Role::Primary, bfd))?;
        self.await_bfd(primary, bfd)?;
        self.bfd = Some(bfd);
        Ok(())
    }

    pub(super) fn prefixes(&self) -> Vec<Prefix> {
        words::prefixes(&words::destinations(self.routing))
    }

    pub(super) fn routers(&self) -> Result<&Routers> {
        self.routers.as_ref().context("routing has not been started")
    }

    pub(super) fn routers_mut(&mut self) -> Result<&mut Routers> {
        self.routers.as_mut().context("routing has not been started")
    }
}

impl Routers {
    pub(super) fn primary_frr(&self) -> Result<&Frr> {
        match &self.primary {
            Primary::Frr(frr) => Ok(frr),
            Primary::Bird(_) => anyhow::bail!("the primary is a BIRD"),
        }
    }

    pub(super) fn primary_frr_mut(&mut self) -> Result<&mut Frr> {
        match &mut self.primary {
            Primary::Frr(frr) => Ok(frr),
            Primary::Bird(_) => anyhow::bail!("the primary is a BIRD"),
        }
    }

    pub(super) fn primary_bird(&mut self) -> Result<&mut Bird> {
        match &mut self.primary {
            Primary::Bird(bird) => Ok(bird),
            Primary::Frr(_) => anyhow::bail!("the primary is an FRR"),
        }
    }

    /// The packet stream from the host to the first prefix.
    pub(super) fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// The primary announces or withdraws at once.
    pub(super) fn move_prefixes(&mut self, prefixes: &[Prefix], announce: bool) -> Result<()> {
        let bird = self.primary_bird()?;
        if announce { bird.announce(prefixes) } else { bird.withdraw(prefixes) }
    }
}
