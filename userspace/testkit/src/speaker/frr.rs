//! FRR's bgpd as one speaker among others, and as the hub that all others talk to: what it says of
//! its neighbours is what Edgelore's words are held against.

use super::{HOPS, Identity, Neighbour, RETRY_S, Speaker, family};
use crate::NetNs;
use crate::frr::{Frr, FrrDaemon};
use anyhow::{Context, Result};
use edgelore_model::Prefix;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) const PROGRAMS: [&str; 3] =
    ["/usr/lib/frr/zebra", "/usr/lib/frr/bgpd", "/usr/bin/vtysh"];

/// zebra and bgpd of one router, which announces to its neighbours what is its own, and no more.
#[derive(Debug)]
pub struct FrrBgp {
    frr: Frr,
    asn: u32,
}

/// BGP messages that a router has counted for one neighbour, sent and received together. (Its count
/// of NOTIFICATIONs is left out: bgpd counts those that it receives twice.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// OPENs.
    pub open: u64,
    /// UPDATEs.
    pub update: u64,
}

impl FrrBgp {
    /// Starts zebra and bgpd inside `namespace`.
    ///
    /// # Errors
    /// When a daemon does not come up.
    pub fn start(namespace: &NetNs, identity: &Identity) -> Result<Self> {
        let daemons = [FrrDaemon::Zebra, FrrDaemon::Bgpd];
        let frr = Frr::start_daemons(namespace, &daemons, &configuration(identity))?;
        Ok(Self { frr, asn: identity.asn })
    }

    /// The session with `neighbour` is Established.
    #[must_use]
    pub fn established(&self, neighbour: IpAddr) -> bool {
        self.neighbour(neighbour).is_ok_and(|said| said["bgpState"] == "Established")
    }

    /// The prefixes that `neighbour` announces now.
    ///
    /// # Errors
    /// When bgpd does not answer.
    pub fn received(&self, neighbour: IpAddr) -> Result<BTreeSet<Prefix>> {
        let command =
            format!("show bgp {} unicast neighbors {neighbour} routes json", family(neighbour));
        let said = self.frr.show(&command)?;
        let routes = said["routes"].as_object().into_iter().flat_map(|routes| routes.keys());
        routes.map(|text| text.parse().with_context(|| format!("read {text}"))).collect()
    }

    /// What it has counted for `neighbour`.
    ///
    /// # Errors
    /// When bgpd does not answer.
    pub fn messages(&self, neighbour: IpAddr) -> Result<Messages> {
        let said = self.neighbour(neighbour)?;
        let stats = &said["messageStats"];
        let both = |kind: &str| -> Result<u64> {
            let of = |way: &str| stats[format!("{kind}{way}")].as_u64();
            Option::zip(of("Sent"), of("Recv"))
                .map(|(sent, received)| sent + received)
                .with_context(|| format!("find {kind} in {stats}"))
        };
        Ok(Messages { open: both("opens")?, update: both("updates")? })
    }

    /// Everything it says of `neighbour`.
    ///
    /// # Errors
    /// When bgpd does not answer.
    pub fn neighbour(&self, neighbour: IpAddr) -> Result<Value> {
        let said = self.frr.show(&format!("show bgp neighbors {neighbour} json"))?;
        Ok(said[neighbour.to_string()].clone())
    }

    fn networks(&self, verb: &str, prefixes: &[Prefix]) -> Result<()> {
        let mut text = format!("router bgp {}\n", self.asn);
        for name in ["ipv4", "ipv6"] {
            text += &format!(" address-family {name} unicast\n");
            for prefix in prefixes.iter().filter(|prefix| family(prefix.address()) == name) {
                text += &format!("  {verb}network {prefix}\n");
            }
            text += " exit-address-family\n";
        }
        self.frr.configure(&text)
    }
}

impl Speaker for FrrBgp {
    fn announce(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.networks("", prefixes)
    }

    fn withdraw(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.networks("no ", prefixes)
    }

    fn stop(&mut self) -> Result<()> {
        self.frr.stop()
    }
}

pub(super) fn configuration(identity: &Identity) -> String {
    let mut text = format!(
        "bgp as-path access-list OWN seq 5 permit ^$\nrouter bgp {}\n bgp router-id {}\n \
         no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n",
        identity.asn, identity.router_id
    );
    text.extend(identity.neighbours.iter().map(session));
    for name in ["ipv4", "ipv6"] {
        text += &format!(" address-family {name} unicast\n");
        for neighbour in identity.neighbours.iter().filter(|n| family(n.remote) == name) {
            let remote = neighbour.remote;
            text +=
                &format!("  neighbor {remote} activate\n  neighbor {remote} filter-list OWN out\n");
        }
        text += " exit-address-family\n";
    }
    text + "exit\n"
}

fn session(neighbour: &Neighbour) -> String {
    let Neighbour { local, remote, asn, hold_time_s, passive } = neighbour;
    let keepalive_s = hold_time_s / 3;
    let passive = if *passive { format!(" neighbor {remote} passive\n") } else { String::new() };
    format!(
        " neighbor {remote} remote-as {asn}\n neighbor {remote} update-source {local}\n \
         neighbor {remote} ebgp-multihop {HOPS}\n \
         neighbor {remote} timers {keepalive_s} {hold_time_s}\n \
         neighbor {remote} timers connect {RETRY_S}\n \
         neighbor {remote} advertisement-interval 0\n{passive}"
    )
}
