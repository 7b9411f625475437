//! What the routers of the scenarios are told: configurations of FRR and BIRD, and addresses.
//!
//! Invariant: addresses are set aside for documentation (RFC 5737) or benchmarks (RFC 2544), AS
//! numbers for documentation (RFC 5398).

use super::ground::{Protection, Routing};
use crate::speaker::{Identity, Neighbour};
use edgelore_model::Prefix;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// The gateway's addresses on its links, and who is at their other ends; all in /28.
pub(super) const GATEWAY_PRIMARY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const PRIMARY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const GATEWAY_SECONDARY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 17);
pub(super) const SECONDARY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 18);
pub(super) const GATEWAY_LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 33);
pub(super) const LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 34);
pub(super) const GATEWAY_COLLECTOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 49);
pub(super) const COLLECTOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

/// The hosts' network.
pub(super) const LAN_PREFIX: &str = "192.0.2.32/28";

/// The same, as the vocabulary writes it.
pub(super) fn lan() -> Prefix {
    LAN_PREFIX.parse().expect("it is a prefix")
}

const GATEWAY_ASN: u32 = 64_496;
const PRIMARY_ASN: u32 = 64_497;
const SECONDARY_ASN: u32 = 64_498;

/// IANA's port for BMP.
pub(super) const BMP_PORT: u16 = 1790;
/// OSPF and IS-IS prefer the primary by these.
const COST_PRIMARY: u32 = 10;
const COST_SECONDARY: u32 = 50;

/// Which of the three routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Gateway,
    Primary,
    Secondary,
}

impl Role {
    const fn number(self) -> u8 {
        match self {
            Self::Gateway => 1,
            Self::Primary => 2,
            Self::Secondary => 3,
        }
    }

    /// Its own address, for LDP and as a router id.
    pub(super) const fn loopback(self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, self.number())
    }

    const fn asn(self) -> u32 {
        match self {
            Self::Gateway => GATEWAY_ASN,
            Self::Primary => PRIMARY_ASN,
            Self::Secondary => SECONDARY_ASN,
        }
    }

    /// Its interfaces towards others: name, neighbour's address and AS, cost.
    fn links(self) -> Vec<(&'static str, Ipv4Addr, u32, u32)> {
        match self {
            Self::Gateway => vec![
                ("prim0", PRIMARY, PRIMARY_ASN, COST_PRIMARY),
                ("sec0", SECONDARY, SECONDARY_ASN, COST_SECONDARY),
            ],
            Self::Primary => vec![("gw0", GATEWAY_PRIMARY, GATEWAY_ASN, COST_PRIMARY)],
            Self::Secondary => vec![("gw0", GATEWAY_SECONDARY, GATEWAY_ASN, COST_SECONDARY)],
        }
    }
}

/// The address, inside the first prefix, that both neighbours hold.
pub(super) const fn target() -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 1)
}

/// The destinations of the network: /24s over BGP, and single addresses, which the neighbours
/// hold, over the others.
pub(super) fn destinations(routing: Routing) -> Vec<(Ipv4Addr, u8)> {
    let (count, host, length) = match routing {
        Routing::Bgp { prefixes, .. } | Routing::Bird { prefixes, .. } => (prefixes, 0, 24),
        Routing::Ospf { .. } | Routing::Isis { .. } | Routing::Ldp => (20, 1, 32),
        Routing::Nothing => (0, 0, 24),
    };
    (0..count)
        .map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            (Ipv4Addr::new(198, 18 + high, low, host), length)
        })
        .collect()
}

/// So many prefixes more, at most 56, at the end of the block that is set aside.
pub(super) fn extra(count: u8) -> Vec<Prefix> {
    let numbers = (200..=u8::MAX).take(count.into());
    prefixes(&numbers.map(|number| (Ipv4Addr::new(198, 19, number, 0), 24)).collect::<Vec<_>>())
}

/// As the vocabulary writes them.
pub(super) fn prefixes(destinations: &[(Ipv4Addr, u8)]) -> Vec<Prefix> {
    destinations
        .iter()
        .map(|(address, length)| {
            Prefix::new((*address).into(), *length).expect("lengths fit their family")
        })
        .collect()
}

/// The whole configuration of one router.
pub(super) fn configuration(role: Role, routing: Routing, bfd: Option<Protection>) -> String {
    let mut text = bfd.map(profile).unwrap_or_default();
    match routing {
        Routing::Bgp { hold_s, .. } | Routing::Bird { hold_s, .. } => {
            text += &bgp(role, routing, hold_s, bfd.is_some());
        }
        Routing::Ospf { hello_s, dead_s } => text += &ospf(role, hello_s, dead_s, bfd.is_some()),
        Routing::Isis { hello_s, multiplier } => text += &isis(role, hello_s, multiplier),
        Routing::Ldp => {
            text += &ospf(role, 1, 4, false);
            text += &ldp(role);
        }
        Routing::Nothing => text += &watched(role, bfd),
    }
    text
}

/// What an engineer types to let BFD watch the session with the neighbour.
pub(super) fn bfd_on_session(role: Role, bfd: Protection) -> String {
    let mut text = profile(bfd);
    let _ = writeln!(text, "router bgp {}", role.asn());
    for (_, neighbour, ..) in role.links().into_iter().take(1) {
        let _ = writeln!(text, " neighbor {neighbour} bfd profile fast");
    }
    text + "exit\n"
}

/// What an engineer types for other timers; they count from the next OPEN on.
pub(super) fn hold_time(role: Role, hold_s: u16) -> String {
    format!("router bgp {}\n timers bgp {} {hold_s}\nexit\n", role.asn(), hold_s / 3)
}

/// What an engineer types for other OSPF intervals towards the first neighbour.
pub(super) fn igp_timers(role: Role, hello_s: u16, dead_s: u16) -> String {
    let first = role.links().into_iter().take(1);
    let interface = |(interface, ..): (&str, Ipv4Addr, u32, u32)| {
        format!(
            "interface {interface}\n ip ospf hello-interval {hello_s}\n \
             ip ospf dead-interval {dead_s}\nexit\n"
        )
    };
    first.map(interface).collect()
}

/// What an engineer types for routes over both neighbours.
pub(super) fn multipath() -> String {
    format!(
        "router bgp {GATEWAY_ASN}\n bgp bestpath as-path multipath-relax\n \
         address-family ipv4 unicast\n  maximum-paths 2\n exit-address-family\nexit\n"
    )
}

/// What an engineer types at the secondary so that its paths are as short as the primary's.
pub(super) fn no_longer_paths() -> String {
    format!(
        "router bgp {SECONDARY_ASN}\n address-family ipv4 unicast\n  \
         no neighbor {GATEWAY_SECONDARY} route-map LONGER out\n exit-address-family\nexit\n"
    )
}

/// What an engineer types at the gateway for a neighbour that will come some day.
pub(super) fn absent_neighbour() -> String {
    format!("router bgp {GATEWAY_ASN}\n neighbor {LAN} remote-as 64499\nexit\n")
}

/// What an engineer types to damp routes that flap (RFC 2439): half-life 1 min, reuse below 750,
/// suppression from 1500 on, 4 min at most.
pub(super) fn dampening() -> String {
    format!(
        "router bgp {GATEWAY_ASN}\n address-family ipv4 unicast\n  \
         bgp dampening 1 750 1500 4\n exit-address-family\nexit\n"
    )
}

/// What an engineer types at the gateway to prefer the secondary.
pub(super) fn cost(routing: Routing, cost: u32) -> String {
    let word = if matches!(routing, Routing::Isis { .. }) { "isis metric" } else { "ip ospf cost" };
    format!("interface prim0\n {word} {cost}\nexit\n")
}

fn profile(Protection { interval_ms, multiplier }: Protection) -> String {
    format!(
        "bfd\n profile fast\n  receive-interval {interval_ms}\n  transmit-interval {interval_ms}\n  \
         detect-multiplier {multiplier}\n exit\nexit\n"
    )
}

fn bgp(role: Role, routing: Routing, hold_s: u16, bfd: bool) -> String {
    let lan = LAN_PREFIX;
    let mut text = format!(
        "ip prefix-list LAN seq 5 permit {lan}\nbgp as-path access-list OWN seq 5 permit ^$\n"
    );
    if role == Role::Secondary {
        let _ = writeln!(
            text,
            "route-map LONGER permit 10\n set as-path prepend {0} {0} {0}\nexit",
            role.asn()
        );
    }
    let _ = write!(
        text,
        "router bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n timers bgp {} {hold_s}\n",
        role.asn(),
        role.loopback(),
        hold_s / 3
    );
    for (number, (_, neighbour, asn, _)) in role.links().into_iter().enumerate() {
        let _ = write!(
            text,
            " neighbor {neighbour} remote-as {asn}\n neighbor {neighbour} timers connect 1\n \
             neighbor {neighbour} advertisement-interval 0\n"
        );
        if role != Role::Gateway {
            // Two FRR that connect in the same moment may come up and go down for several seconds
            // before they agree on one connection (RFC 4271 §6.8): a flap that nobody asked for.
            let _ = writeln!(text, " neighbor {neighbour} passive");
        }
        if bfd && number == 0 && role != Role::Secondary {
            let _ = writeln!(text, " neighbor {neighbour} bfd profile fast");
        }
    }
    text += " address-family ipv4 unicast\n";
    text += &policy(role, routing, lan);
    text += " exit-address-family\n";
    if role == Role::Gateway {
        text += &bmp();
    }
    text + "exit\n"
}

/// What a router announces and keeps.
fn policy(role: Role, routing: Routing, lan: &str) -> String {
    let mut text = String::new();
    match role {
        Role::Gateway => {
            let _ = writeln!(text, "  network {lan}");
            for (_, neighbour, ..) in role.links() {
                let _ = write!(
                    text,
                    "  neighbor {neighbour} soft-reconfiguration inbound\n  \
                     neighbor {neighbour} prefix-list LAN out\n"
                );
            }
        }
        Role::Primary | Role::Secondary => {
            for (prefix, length) in destinations(routing) {
                let _ = writeln!(text, "  network {prefix}/{length}");
            }
            for (_, neighbour, ..) in role.links() {
                let _ = writeln!(text, "  neighbor {neighbour} filter-list OWN out");
            }
            if role == Role::Secondary {
                let _ = writeln!(text, "  neighbor {GATEWAY_SECONDARY} route-map LONGER out");
            }
        }
    }
    text
}

fn bmp() -> String {
    format!(
        " bmp targets T\n  bmp stats interval 1000\n  bmp monitor ipv4 unicast pre-policy\n  \
         bmp monitor ipv4 unicast post-policy\n  \
         bmp connect {COLLECTOR} port {BMP_PORT} min-retry 100 max-retry 1000\n exit\n"
    )
}

fn ospf(role: Role, hello_s: u16, dead_s: u16, bfd: bool) -> String {
    let mut text = String::new();
    for (number, (interface, _, _, cost)) in role.links().into_iter().enumerate() {
        let _ = write!(
            text,
            "interface {interface}\n ip ospf area 0\n ip ospf network point-to-point\n \
             ip ospf hello-interval {hello_s}\n ip ospf dead-interval {dead_s}\n \
             ip ospf cost {cost}\n"
        );
        if bfd && number == 0 && role != Role::Secondary {
            text += " ip ospf bfd\n ip ospf bfd profile fast\n";
        }
        text += "exit\n";
    }
    if role == Role::Gateway {
        text += "interface lan0\n ip ospf area 0\n ip ospf passive\nexit\n";
    }
    let _ = write!(
        text,
        "interface lo\n ip ospf area 0\nexit\nrouter ospf\n ospf router-id {}\n \
         timers throttle spf 50 100 1000\n timers throttle lsa all 0\nexit\n",
        role.loopback()
    );
    text
}

fn isis(role: Role, hello_s: u16, multiplier: u8) -> String {
    let mut text = String::new();
    for (interface, _, _, cost) in role.links() {
        let _ = write!(
            text,
            "interface {interface}\n ip router isis L\n isis network point-to-point\n \
             isis hello-interval {hello_s}\n isis hello-multiplier {multiplier}\n \
             isis circuit-type level-2-only\n isis metric {cost}\nexit\n"
        );
    }
    if role == Role::Gateway {
        text += "interface lan0\n ip router isis L\n isis passive\nexit\n";
    }
    let _ = write!(
        text,
        "interface lo\n ip router isis L\n isis passive\nexit\nrouter isis L\n \
         net 49.0001.0000.0000.000{}.00\n is-type level-2-only\n metric-style wide\n \
         lsp-gen-interval 1\n spf-interval 1\nexit\n",
        role.number()
    );
    text
}

fn ldp(role: Role) -> String {
    let own = role.loopback();
    let mut text = format!(
        "mpls ldp\n router-id {own}\n address-family ipv4\n  discovery transport-address {own}\n"
    );
    for (interface, ..) in role.links().into_iter().take(1) {
        let _ = writeln!(text, "  interface {interface}\n  exit");
    }
    text + " exit\nexit\n"
}

/// BFD with the first neighbour, for nobody.
fn watched(role: Role, bfd: Option<Protection>) -> String {
    let mut text = String::new();
    let first = role.links().into_iter().next();
    if let (Some((_, neighbour, ..)), Some(_), true) = (first, bfd, role != Role::Secondary) {
        let _ = writeln!(text, "bfd\n peer {neighbour}\n  profile fast\n exit\nexit");
    }
    text
}

/// The primary as BIRD sees itself.
pub(super) fn identity(hold_s: u16) -> Identity {
    Identity {
        asn: PRIMARY_ASN,
        router_id: Role::Primary.loopback(),
        neighbours: vec![Neighbour {
            local: PRIMARY.into(),
            remote: GATEWAY_PRIMARY.into(),
            asn: GATEWAY_ASN,
            hold_time_s: hold_s,
            passive: false,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_distinct_and_hold_the_target() {
        let found = destinations(Routing::Bgp { hold_s: 9, prefixes: 300 });
        assert_eq!(found.len(), 300);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(found[299], (Ipv4Addr::new(198, 19, 43, 0), 24));
        assert_eq!(destinations(Routing::Ldp)[0], (target(), 32));
    }

    #[test]
    fn only_the_primarys_link_is_watched_by_bfd() {
        let bfd = Some(Protection { interval_ms: 50, multiplier: 3 });
        for (role, expected) in [(Role::Gateway, 1), (Role::Primary, 1), (Role::Secondary, 0)] {
            for routing in [
                Routing::Bgp { hold_s: 9, prefixes: 2 },
                Routing::Ospf { hello_s: 1, dead_s: 4 },
                Routing::Nothing,
            ] {
                let text = configuration(role, routing, bfd);
                let used = text.matches("bfd profile fast").count()
                    + text.matches("  profile fast\n exit").count();
                assert_eq!(used, expected, "{role:?} {routing:?}: {text}");
            }
        }
    }
}
