//! Where a gateway can stand between BGP routers: one hub, several peers, and the gateway as a
//! bridge, as a router that only forwards, or as the hub itself.
//!
//! ```text
//! Bridged   hub ── up0 ─ br0 ─ peer0 … ── peers     one subnet, the gateway is invisible
//! Routed    hub ── up0 ─ gw ─ peer0 … ──── peers    a subnet a link, sessions cross the gateway
//! Speaking         gw = hub ─ peer0 … ──── peers    sessions end in the gateway
//! ```
//!
//! Invariant: addresses are private or set aside for documentation; every peer reaches the hub by
//! both address families as soon as [`Topology::build`] returns.

use crate::{NetNs, remove_stale, veth};
use anyhow::{Result, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The gateway's interface towards the hub.
const UPLINK: &str = "up0";
/// Peers at most: their numbers are part of an octet.
const PEERS_MAX: usize = 32;
/// Third octet of the hub's subnet; those of the peers' follow.
const HUB_SUBNET: u8 = 1;

/// Where the gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vantage {
    /// A bridge between the routers.
    Bridged,
    /// A router between them that speaks no BGP.
    Routed,
    /// The hub itself.
    Speaking,
}

/// The two ends of what may become sessions, IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The hub's addresses.
    pub hub: [IpAddr; 2],
    /// The peer's addresses.
    pub peer: [IpAddr; 2],
}

/// A gateway, a hub and peers in namespaces.
#[derive(Debug)]
pub struct Topology {
    vantage: Vantage,
    gateway: NetNs,
    /// Not there where the gateway is the hub.
    hub: Option<NetNs>,
    peers: Vec<NetNs>,
}

impl Topology {
    /// Creates namespaces, links and addresses; nothing speaks yet. Needs root.
    ///
    /// # Errors
    /// When a namespace or link cannot be made, or there are more than 32 peers.
    pub fn build(name: &str, vantage: Vantage, peers: usize) -> Result<Self> {
        ensure!(peers <= PEERS_MAX, "{peers} peers: {PEERS_MAX} at most");
        remove_stale()?;
        let new = |part: &str| router(&format!("{name}_{part}"));
        let hub = if vantage == Vantage::Speaking { None } else { Some(new("hub")?) };
        let peers =
            (0..peers).map(|number| new(&format!("p{number}"))).collect::<Result<Vec<_>>>()?;
        let topology = Self { vantage, gateway: new("gw")?, hub, peers };
        topology.cable()?;
        topology.address()?;
        Ok(topology)
    }

    /// Where Edgelore runs.
    #[must_use]
    pub fn gateway(&self) -> &NetNs {
        &self.gateway
    }

    /// Where the hub's daemon runs.
    #[must_use]
    pub fn hub(&self) -> &NetNs {
        self.hub.as_ref().unwrap_or(&self.gateway)
    }

    /// Where the peers' daemons run.
    #[must_use]
    pub fn peers(&self) -> &[NetNs] {
        &self.peers
    }

    /// The gateway's interfaces through which the sessions pass.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let uplink = self.hub.as_ref().map(|_| UPLINK.to_owned());
        uplink.into_iter().chain((0..self.peers.len()).map(port)).collect()
    }

    /// The addresses between the hub and a peer.
    #[must_use]
    pub fn link(&self, peer: usize) -> Link {
        let own = subnet_of(peer);
        let host = u8::try_from(10 + peer).expect("peers are few");
        match self.vantage {
            Vantage::Bridged => Link { hub: both(HUB_SUBNET, 1), peer: both(HUB_SUBNET, host) },
            Vantage::Routed => Link { hub: both(HUB_SUBNET, 1), peer: both(own, 1) },
            Vantage::Speaking => Link { hub: both(own, 254), peer: both(own, 1) },
        }
    }

    fn cable(&self) -> Result<()> {
        for (number, peer) in self.peers.iter().enumerate() {
            veth((&self.gateway, &port(number)), (peer, "gw0"))?;
        }
        if let Some(hub) = &self.hub {
            veth((&self.gateway, UPLINK), (hub, "gw0"))?;
        }
        if self.vantage == Vantage::Bridged {
            let mut batch = "link add br0 type bridge stp_state 0 mcast_snooping 0\n".to_owned();
            for interface in self.interfaces() {
                batch += &format!("link set {interface} master br0\n");
            }
            self.gateway.ip(&(batch + "link set br0 up"))?;
        }
        Ok(())
    }

    fn address(&self) -> Result<()> {
        for (number, peer) in self.peers.iter().enumerate() {
            assign(peer, "gw0", self.link(number).peer)?;
            if self.vantage != Vantage::Bridged {
                let gateway = both(subnet_of(number), 254);
                assign(&self.gateway, &port(number), gateway)?;
                route_via(peer, gateway)?;
            }
        }
        let Some(hub) = &self.hub else { return Ok(()) };
        assign(hub, "gw0", both(HUB_SUBNET, 1))?;
        if self.vantage == Vantage::Routed {
            assign(&self.gateway, UPLINK, both(HUB_SUBNET, 254))?;
            route_via(hub, both(HUB_SUBNET, 254))?;
        }
        Ok(())
    }
}

/// A namespace that forwards, and whose IPv6 addresses are usable at once.
fn router(name: &str) -> Result<NetNs> {
    let namespace = NetNs::new(name)?;
    namespace.sysctl(&[
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/accept_dad", "0"),
    ])?;
    Ok(namespace)
}

fn port(peer: usize) -> String {
    format!("peer{peer}")
}

fn subnet_of(peer: usize) -> u8 {
    u8::try_from(10 + peer).expect("peers are few")
}

/// The address of a host in a subnet, of both families.
fn both(subnet: u8, host: u8) -> [IpAddr; 2] {
    [
        Ipv4Addr::new(10, 90, subnet, host).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0x5a, subnet.into(), 0, 0, 0, host.into()).into(),
    ]
}

fn assign(namespace: &NetNs, interface: &str, [ipv4, ipv6]: [IpAddr; 2]) -> Result<()> {
    namespace.ip(&format!(
        "addr add {ipv4}/24 dev {interface}\naddr add {ipv6}/64 dev {interface} nodad"
    ))
}

/// The way to all other subnets. Not a default route: FRR does not look for neighbours behind one.
fn route_via(namespace: &NetNs, [ipv4, ipv6]: [IpAddr; 2]) -> Result<()> {
    namespace
        .ip(&format!("route add 10.90.0.0/16 via {ipv4}\nroute add 2001:db8:5a::/48 via {ipv6}"))
}
