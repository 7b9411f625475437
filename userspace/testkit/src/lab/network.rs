//! One network of the laboratory: built, started, broken and repaired.
//!
//! Invariant: each step returns only when the state it promises has been observed.

use super::config::Plan;
use super::{FibMonitor, Outage, Stream};
use crate::{Frr, Injection, NetNs, now, remove_stale, set_link, veth, wait_for, wait_for_some};
use anyhow::{Context, Result, ensure};
use edgelore_model::{Interval, Span, Timestamp};
use std::time::Duration;

/// Transmit and receive interval that the story's engineer sets with [`Network::tune_bfd`], ms.
pub const BFD_INTERVAL_MS: u64 = 300;

/// Detection multiplier that that engineer sets.
pub const BFD_MULTIPLIER: u64 = 3;

const SESSION_DEADLINE: Duration = Duration::from_secs(60);
const STREAM_DEADLINE: Duration = Duration::from_secs(20);
const BFD_DEADLINE: Duration = Duration::from_secs(30);
/// Beyond the hold time.
const FAILOVER_SLACK: Duration = Duration::from_secs(10);

const PRIMARY_INTERFACE: &str = "prim0";
const SECONDARY_INTERFACE: &str = "sec0";
const LAN_INTERFACE: &str = "lan0";
const FAULT_PORT: &str = "toprim";

/// What to build.
#[derive(Clone, Debug)]
pub struct Site {
    /// Part of the namespaces' names; short, without spaces.
    pub name: String,
    /// Second octet of its addresses; two networks that meet need two.
    pub index: u8,
    /// Prefixes that both neighbours announce, 1 to 512.
    pub prefixes: u16,
    /// BGP hold time, seconds, at least 3; keepalives at a third of it.
    pub hold_time_s: u16,
}

impl Site {
    /// 200 prefixes and a hold time of 9 s.
    #[must_use]
    pub fn new(name: &str, index: u8) -> Self {
        Self { name: name.to_owned(), index, prefixes: 200, hold_time_s: 9 }
    }
}

/// What really happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// When the fault was injected.
    pub injected: Injection,
    /// When the last prefix got its other route in the FIB.
    pub converged: Timestamp,
    /// What the packet stream lost.
    pub outage: Outage,
}

impl Truth {
    /// The convergence, with the uncertainty of the injection.
    #[must_use]
    pub fn duration(&self) -> (Span, Span, Span) {
        (
            self.converged - self.injected.after,
            self.converged - self.injected.estimate(),
            self.converged - self.injected.before,
        )
    }

    /// When it began.
    #[must_use]
    pub fn start(&self) -> Interval {
        Interval::between(self.injected.before, self.injected.after)
    }
}

#[derive(Debug)]
struct Routers {
    gateway: Frr,
    primary: Frr,
    // Held so that it runs; nothing is asked of it.
    _secondary: Frr,
    stream: Stream,
    fib: FibMonitor,
}

/// A network in namespaces.
#[derive(Debug)]
pub struct Network {
    site: Site,
    // Dropped in order: what runs before where it runs.
    routers: Option<Routers>,
    gw: NetNs,
    sw: NetNs,
    prim: NetNs,
    sec: NetNs,
    lan: NetNs,
}

impl Network {
    /// Creates the namespaces, links and addresses; nothing routes yet, so that Edgelore can be
    /// attached first. Needs root.
    ///
    /// # Errors
    /// When a namespace or link cannot be made.
    pub fn build(site: Site) -> Result<Self> {
        ensure!(site.hold_time_s >= 3, "hold time {} s: at least 3 s", site.hold_time_s);
        remove_stale()?;
        let name = |part: &str| format!("{}_{part}", site.name);
        let network = Self {
            gw: NetNs::new(&name("gw"))?,
            sw: NetNs::new(&name("sw"))?,
            prim: NetNs::new(&name("prim"))?,
            sec: NetNs::new(&name("sec"))?,
            lan: NetNs::new(&name("lan"))?,
            routers: None,
            site,
        };
        network.cable()?;
        network.address()?;
        Ok(network)
    }

    fn cable(&self) -> Result<()> {
        // A bridge that never speaks: the gateway's link must be silent when the far side dies.
        self.sw.sysctl(&[
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
        ])?;
        for router in [&self.gw, &self.prim, &self.sec] {
            router.sysctl(&[
                ("ipv4/ip_forward", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
            ])?;
        }
        veth((&self.gw, PRIMARY_INTERFACE), (&self.sw, "togw"))?;
        veth((&self.sw, FAULT_PORT), (&self.prim, "gw0"))?;
        veth((&self.gw, SECONDARY_INTERFACE), (&self.sec, "gw0"))?;
        veth((&self.gw, LAN_INTERFACE), (&self.lan, "gw0"))?;
        self.sw.ip(&format!(
            "link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set togw master br0\n\
             link set {FAULT_PORT} master br0\nlink set br0 up"
        ))
    }

    fn address(&self) -> Result<()> {
        let plan = self.plan();
        let target = Plan::target();
        self.gw.ip(&format!(
            "addr add {}/24 dev {PRIMARY_INTERFACE}\naddr add {}/24 dev {SECONDARY_INTERFACE}\n\
             addr add {}/24 dev {LAN_INTERFACE}",
            plan.gateway(1),
            plan.gateway(2),
            plan.gateway(3)
        ))?;
        for (namespace, own) in [(&self.prim, plan.primary()), (&self.sec, plan.secondary())] {
            namespace.ip(&format!("addr add {own}/24 dev gw0\naddr add {target}/32 dev lo"))?;
        }
        self.lan.ip(&format!(
            "addr add {}/24 dev gw0\nroute add default via {}",
            plan.lan(),
            plan.gateway(3)
        ))
    }

    /// Starts FRR in the three routers, the packet stream and the monitor of the truth, and waits
    /// until both sessions are Established, every prefix points to the primary, and packets return.
    ///
    /// # Errors
    /// When a daemon fails or the network does not come up.
    pub fn start_routing(&mut self) -> Result<()> {
        let plan = self.plan();
        let fib = FibMonitor::start(&self.gw)?;
        let secondary = Frr::start(&self.sec, &plan.secondary_config())?;
        let primary = Frr::start(&self.prim, &plan.primary_config())?;
        let gateway = Frr::start(&self.gw, &plan.gateway_config())?;
        let stream = Stream::start(&self.lan, Plan::target(), &[&self.prim, &self.sec])?;
        let routers = Routers { gateway, primary, _secondary: secondary, stream, fib };
        self.routers = Some(routers);
        self.await_normal()
    }

    /// The namespace in which Edgelore runs.
    #[must_use]
    pub fn gateway(&self) -> &NetNs {
        &self.gw
    }

    /// The gateway's interfaces towards the primary and the secondary.
    #[must_use]
    pub fn uplinks(&self) -> [&'static str; 2] {
        [PRIMARY_INTERFACE, SECONDARY_INTERFACE]
    }

    /// What was built.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Fails the primary beyond the gateway's carrier: the switch's port towards it goes down.
    /// Returns once every prefix points to the secondary and packets return again.
    ///
    /// # Errors
    /// When the network does not converge within its hold time and ten seconds.
    pub fn fail_primary(&self) -> Result<Truth> {
        let routers = self.routers()?;
        let (prefixes, via) = (self.plan().prefixes(), self.plan().secondary());
        let injected = set_link(&self.sw, FAULT_PORT, false)?;
        let deadline = Duration::from_secs(self.site.hold_time_s.into()) + FAILOVER_SLACK;
        let converged = wait_for_some(deadline, "convergence onto the secondary", || {
            routers.fib.all_via(&prefixes, via).transpose()
        })??;
        wait_for(STREAM_DEADLINE, "packets through the secondary", || {
            routers.stream.flows(converged)
        })?;
        let outage = routers.stream.outage(injected.before)?;
        Ok(Truth { injected, converged, outage })
    }

    /// Brings the port up again, and waits as [`Network::start_routing`] does.
    ///
    /// # Errors
    /// When the primary does not come back within a minute.
    pub fn repair_primary(&self) -> Result<()> {
        set_link(&self.sw, FAULT_PORT, true)?;
        self.await_normal()
    }

    /// Lets BFD watch the primary's session, as an engineer would on both routers, and waits
    /// until it is Up with the new interval (ms, both ways) on both.
    ///
    /// # Errors
    /// When FRR refuses or BFD is not Up within 30 s.
    pub fn tune_bfd(&self, interval_ms: u64, multiplier: u64) -> Result<()> {
        let (routers, plan) = (self.routers()?, self.plan());
        let ends = [(&routers.gateway, 1, plan.primary()), (&routers.primary, 2, plan.gateway(1))];
        for (router, number, neighbor) in ends {
            router.configure(&plan.bfd_config(number, neighbor, interval_ms, multiplier))?;
        }
        for (router, _, neighbor) in ends {
            let neighbor = neighbor.to_string();
            wait_for(BFD_DEADLINE, &format!("BFD with {neighbor}"), || {
                router.bfd_up(&neighbor, interval_ms)
            })?;
        }
        Ok(())
    }

    fn await_normal(&self) -> Result<()> {
        let (routers, plan) = (self.routers()?, self.plan());
        for peer in [plan.primary().to_string(), plan.secondary().to_string()] {
            wait_for(SESSION_DEADLINE, &format!("a session with {peer}"), || {
                routers.gateway.established(&peer)
            })?;
        }
        let prefixes = plan.prefixes();
        wait_for_some(SESSION_DEADLINE, "every prefix through the primary", || {
            routers.fib.all_via(&prefixes, plan.primary()).transpose()
        })??;
        let since = now();
        wait_for(STREAM_DEADLINE, "packets through the primary", || routers.stream.flows(since))
    }

    fn routers(&self) -> Result<&Routers> {
        self.routers.as_ref().context("routing has not been started")
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.site)
    }
}
