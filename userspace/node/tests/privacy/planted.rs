//! Identifiers of a network, where they are planted, and the forms in which they could leave.

use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Everything that identifies one network.
#[derive(Clone, Debug)]
pub(crate) struct Planted {
    /// This router, its neighbour, the other neighbour.
    pub(crate) routers: [Ipv4Addr; 3],
    pub(crate) router_ids: [Ipv4Addr; 3],
    pub(crate) asns: [u32; 3],
    pub(crate) prefixes: Vec<Ipv4Addr>,
    pub(crate) v6: Ipv6Addr,
    pub(crate) mac: [u8; 6],
    pub(crate) system: [u8; 6],
    pub(crate) area: Ipv4Addr,
    pub(crate) community: (u16, u16),
    /// Letters alone, so that only knowing it helps.
    pub(crate) interface: String,
    pub(crate) host: String,
    pub(crate) customer: String,
    pub(crate) filter: String,
}

/// Addresses that no default, mask or multicast group equals.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    (20u8..200, 1u8..255, 1u8..255, 1u8..255).prop_map(|(a, b, c, d)| Ipv4Addr::new(a, b, c, d))
}

fn name() -> impl Strategy<Value = String> {
    // No word of any sentence begins so.
    "zq[a-z]{4,7}"
}

pub(crate) fn networks() -> impl Strategy<Value = Planted> {
    let routers = (address(), address(), address());
    let router_ids = (address(), address(), address());
    let asns = (10_000u32..65_000, 70_000u32.., 10_000u32..65_000);
    let prefixes = proptest::collection::vec(address(), 5..20);
    let link = (any::<u128>(), any::<[u8; 6]>(), any::<[u8; 6]>(), address());
    let community = (10_000u16.., 1_000u16..);
    let names = (name(), name(), name(), name());
    (routers, router_ids, asns, prefixes, link, community, names).prop_map(
        |(routers, router_ids, asns, prefixes, (v6, mac, system, area), community, names)| {
            Planted {
                routers: routers.into(),
                router_ids: router_ids.into(),
                asns: asns.into(),
                prefixes,
                v6: Ipv6Addr::from(v6 >> 3 | 1 << 125),
                mac,
                system,
                area,
                community,
                interface: names.0,
                host: names.1,
                customer: names.2,
                filter: names.3,
            }
        },
    )
}

pub(crate) fn example() -> Planted {
    let ip = Ipv4Addr::new;
    Planted {
        routers: [ip(192, 0, 2, 1), ip(192, 0, 2, 2), ip(192, 0, 2, 3)],
        router_ids: [ip(198, 51, 100, 1), ip(198, 51, 100, 2), ip(198, 51, 100, 3)],
        asns: [64_500, 4_200_000_001, 64_502],
        prefixes: vec![ip(203, 0, 113, 0), ip(203, 0, 112, 0)],
        v6: "2001:db8:1:2:3:4:5:6".parse().unwrap(),
        mac: [2, 0x11, 0x22, 0xaa, 0xbb, 0xcc],
        system: [0x19, 0x20, 0, 0, 0x20, 1],
        area: ip(10, 20, 30, 40),
        community: (64_500, 1_234),
        interface: "zquplink".to_owned(),
        host: "zqhostname".to_owned(),
        customer: "zqcontoso".to_owned(),
        filter: "zqfilter".to_owned(),
    }
}

impl Planted {
    pub(crate) fn net(&self) -> String {
        let [a, b, c, d, e, f] = self.system;
        format!("49.0001.{a:02x}{b:02x}.{c:02x}{d:02x}.{e:02x}{f:02x}.00")
    }

    fn mac_with(&self, separator: &str) -> String {
        self.mac.map(|octet| format!("{octet:02x}")).join(separator)
    }

    fn mac_dotted(&self) -> String {
        let [a, b, c, d, e, f] = self.mac;
        format!("{a:02x}{b:02x}.{c:02x}{d:02x}.{e:02x}{f:02x}")
    }

    /// The operator's own words, one outcome each.
    pub(crate) fn words(&self) -> Vec<(&'static str, Vec<String>)> {
        let Self { routers: [own, peer, other], router_ids, asns, prefixes, v6, .. } = self;
        let Self { area, interface, host, customer, filter, .. } = self;
        let (high, low) = self.community;
        let mapped = peer.to_ipv6_mapped();
        vec![
            (
                "prefix_filter",
                vec![
                    format!("Told {customer} at {peer} to stop announcing {}/24", prefixes[0]),
                    format!("neighbor {peer} remote-as {}", asns[0]),
                ],
            ),
            (
                "cost_change",
                vec![
                    format!("Raised the cost of {interface} from 10 to 500 on {host}"),
                    format!("{host}.example.net, {host}-core1 and {host}7 in area {area}"),
                ],
            ),
            (
                "local_preference",
                vec![
                    format!("Preferred {} over {} and AS{}", asns[0], asns[1], asns[2]),
                    format!("Set community {high}:{low} and {}:1:2, rt {high}:{low}", asns[1]),
                ],
            ),
            (
                "link_repair",
                vec![
                    format!(
                        "Replaced {}, {} beside {}",
                        self.mac_with(":"),
                        self.mac_dotted(),
                        self.mac_with("-")
                    ),
                    format!("ping {v6}%{interface}, [{v6}]:179 and {mapped} from {own}"),
                ],
            ),
            (
                "igp_timer_tuning",
                vec![
                    format!("net {} of router-id {}", self.net(), router_ids[0]),
                    format!(
                        "{} 0.0.0.255 and {:#010x} or {}",
                        prefixes[1],
                        u32::from(*other),
                        u32::from(*own)
                    ),
                ],
            ),
            (
                "dampening",
                vec![
                    format!("route-map {filter} in {}.{}", asns[1] >> 16, asns[1] & 0xffff),
                    format!("Mailed noc@{host}.example; {}", peer.to_string().replace('.', "[.]")),
                ],
            ),
        ]
    }

    /// A configuration of FRR before and after.
    pub(crate) fn frr(&self) -> (String, String) {
        let Self { routers: [_, peer, other], router_ids, asns, prefixes, v6, .. } = self;
        let Self { host, customer, filter, interface, area, .. } = self;
        let text = |hold: u32, limit: u32| {
            format!(
                "hostname {host}\ninterface {interface}\n ip ospf area {area}\nrouter bgp {}\n \
                 bgp router-id {}\n timers bgp 3 {hold}\n neighbor {peer} remote-as {}\n neighbor \
                 {peer} description {customer}\n neighbor {peer} route-map {filter} in\n neighbor \
                 {other} remote-as {}\n neighbor {peer} maximum-prefix {limit}\n neighbor {v6} \
                 remote-as {}\nip prefix-list {filter} seq 5 permit {}/24\nrouter isis {customer}\n \
                 net {}\n",
                asns[0],
                router_ids[0],
                asns[1],
                asns[2],
                asns[2],
                prefixes[0],
                self.net()
            )
        };
        (text(180, 1_000), text(9, 12_000))
    }

    /// A configuration of BIRD before and after.
    pub(crate) fn bird(&self) -> (String, String) {
        let Self { routers: [own, peer, _], router_ids, asns, host, customer, filter, .. } = self;
        let text = |multiplier: u32, cost: u32| {
            format!(
                "router id {};\nhostname \"{host}\";\nprotocol bgp {customer} {{\n local {own} as \
                 {};\n neighbor {peer} as {};\n ipv4 {{ import filter {filter}; }};\n}}\nprotocol bfd \
                 {{\n interface \"{}\" {{ multiplier {multiplier}; }};\n}}\nprotocol ospf v2 {{\n area \
                 {} {{ interface \"{}\" {{ cost {cost}; }}; }};\n}}\n",
                router_ids[0], asns[0], asns[1], self.interface, self.area, self.interface
            )
        };
        (text(5, 10), text(3, 20))
    }

    /// Every form in which an identifier could stand in a packet.
    pub(crate) fn forms(&self) -> Vec<(String, Vec<u8>)> {
        let mut forms = Vec::new();
        let mut add = |name: &str, form: &[u8]| forms.push((name.to_owned(), form.to_vec()));
        let singles = self.routers.iter().chain(&self.router_ids).chain(&self.prefixes);
        for address in singles.chain([&self.area]) {
            let number = u32::from(*address);
            let [a, b, c, d] = address.octets();
            for text in [
                address.to_string(),
                format!("{a}.{b}.{c}"),
                format!("{a}-{b}-{c}-{d}"),
                format!("{d}.{c}.{b}.{a}"),
                number.to_string(),
                format!("{number:08x}"),
                format!("{a:x}.{b:x}.{c:x}.{d:x}"),
                format!("{:x}:{:x}", number >> 16, number & 0xffff),
            ] {
                add("IPv4 address", text.as_bytes());
            }
            add("IPv4 address, binary", &address.octets());
            let mut reversed = address.octets();
            reversed.reverse();
            add("IPv4 address, binary, reversed", &reversed);
            add("mapped IPv4 address, binary", &address.to_ipv6_mapped().octets());
        }
        for asn in self.asns {
            add("AS number", asn.to_string().as_bytes());
            add("AS number, asdot", format!("{}.{}", asn >> 16, asn & 0xffff).as_bytes());
            add("AS number, binary", &asn.to_be_bytes());
        }
        let groups = self.v6.segments().map(|group| format!("{group:x}"));
        add("IPv6 address", self.v6.to_string().as_bytes());
        add("IPv6 network", groups[..4].join(":").as_bytes());
        add("IPv6 address, digits", hex(&self.v6.octets()).as_bytes());
        add("IPv6 address, binary", &self.v6.octets());
        for (name, octets) in [("MAC", self.mac), ("system id", self.system)] {
            let digits = hex(&octets);
            add(name, &octets);
            add(name, digits.as_bytes());
            for (separator, width) in [(":", 2), ("-", 2), (".", 4), ("-", 4)] {
                let groups: Vec<&str> =
                    (0..12).step_by(width).map(|at| &digits[at..at + width]).collect();
                add(name, groups.join(separator).as_bytes());
            }
        }
        let (high, low) = self.community;
        add("community", format!("{high}:{low}").as_bytes());
        add("community, binary", &[high.to_be_bytes(), low.to_be_bytes()].concat());
        for name in [&self.interface, &self.host, &self.customer, &self.filter] {
            add("name", name.as_bytes());
        }
        forms
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
