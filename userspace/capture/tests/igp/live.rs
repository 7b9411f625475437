//! Three FRR routers in a triangle, each with OSPFv2, OSPFv3 and IS-IS: what passes the links of
//! one of them gives the topologies that its daemons hold, also after a cost and a link change.
//!
//! Every advertisement that a router holds it has received, or made and flooded; so its links
//! show all of them.

use super::*;
use edgelore_model::IgpProtocol;
use edgelore_testkit::{Frr, FrrDaemon, NetNs, live, now, remove_stale, veth, wait_for};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt::RcvBufForce,
};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(120);
const PROTOCOLS: [IgpProtocol; 3] =
    [IgpProtocol::OspfV2, IgpProtocol::OspfV3, IgpProtocol::IsisLevel2];
const DAEMONS: [FrrDaemon; 4] =
    [FrrDaemon::Zebra, FrrDaemon::Ospfd, FrrDaemon::Ospf6d, FrrDaemon::Isisd];

/// Ends of a link: router, its interface, and its cost; the network is the routers' numbers.
/// That between 1 and 3 is one with a designated router.
const LINKS: [[(u8, &str, u32); 2]; 3] = [
    [(1, "one-two", 10), (2, "two-one", 15)],
    [(1, "one-three", 20), (3, "three-one", 25)],
    [(2, "two-three", 30), (3, "three-two", 35)],
];

/// Everything that passes the interfaces of a namespace.
struct Tap {
    socket: OwnedFd,
    batch: Batch,
}

impl Tap {
    fn open(namespace: &NetNs) -> Self {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let all = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, all)?;
            // Room for what comes while nobody reads.
            setsockopt(&socket, RcvBufForce, &(64 << 20))?;
            Ok(socket)
        };
        Self { socket: namespace.run(open).unwrap(), batch: Batch::default() }
    }

    /// Takes in what came since the last call.
    fn drain(&mut self) {
        let mut frame = vec![0; 65_536];
        while let Ok((length, from)) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) {
            let before = self.batch.signals.len();
            frames::signal(now(), &frame[..length], &mut self.batch);
            let link = from.map_or(0, |from| from.ifindex() as u32);
            self.batch.signals[before..].iter_mut().for_each(|signal| signal.link = link);
        }
    }
}

fn configuration(router: u8) -> String {
    let mut text = format!(
        "interface lo\n ip address 10.255.0.{router}/32\n ipv6 address 2001:db8:ffff::{router}/128\n \
         ip ospf area 0\n ipv6 ospf6 area 0\n ip router isis L\n ipv6 router isis L\n isis passive\n"
    );
    for ends in LINKS {
        let Some((_, name, cost)) = ends.into_iter().find(|end| end.0 == router) else { continue };
        let net = format!("{}{}", ends[0].0, ends[1].0);
        text += &format!(
            "interface {name}\n ip address 10.1.{net}.{router}/24\n \
             ipv6 address 2001:db8:{net}::{router}/64\n ip ospf area 0\n ip ospf hello-interval 1\n \
             ip ospf dead-interval 4\n ipv6 ospf6 area 0\n ipv6 ospf6 hello-interval 1\n \
             ipv6 ospf6 dead-interval 4\n ip router isis L\n ipv6 router isis L\n \
             isis hello-interval 1\n"
        );
        if net != "13" {
            text += " ip ospf network point-to-point\n ipv6 ospf6 network point-to-point\n \
                     isis network point-to-point\n";
        }
        text += &costs(cost);
    }
    text + &format!(
        "router ospf\n ospf router-id 10.255.0.{router}\n\
         router ospf6\n ospf6 router-id 10.255.0.{router}\n\
         router isis L\n net 49.0001.0000.0000.000{router}.00\n is-type level-2-only\n \
         metric-style wide\n no hostname dynamic\n lsp-gen-interval 1\n spf-interval 1\n"
    )
}

/// The lines of an interface that set its costs.
fn costs(cost: u32) -> String {
    format!(" ip ospf cost {cost}\n ipv6 ospf6 cost {cost}\n isis metric {cost}\n")
}

/// What routers and networks claim in a daemon's words.
#[derive(Default)]
struct Claims {
    /// A router's neighbours, routers and networks, with their costs.
    routers: BTreeMap<String, Vec<(String, u32)>>,
    /// A network's routers.
    networks: BTreeMap<String, BTreeSet<String>>,
}

impl Claims {
    /// Edges as `from to cost` that both ends claim, networks contracted.
    fn edges(&self) -> BTreeSet<String> {
        let mut edges = BTreeSet::new();
        let claims = |from: &str, to: &str| {
            self.routers.get(from).is_some_and(|claims| claims.iter().any(|(x, _)| x == to))
        };
        for (from, claimed) in &self.routers {
            for (to, cost) in claimed {
                let network = self.networks.get(to).into_iter().flatten();
                let on_network = network.filter(|member| claims(member, to));
                let others = on_network.filter(|_| self.networks[to].contains(from));
                edges.extend(
                    others.filter(|other| *other != from).map(|o| format!("{from} {o} {cost}")),
                );
                if claims(to, from) {
                    edges.insert(format!("{from} {to} {cost}"));
                }
            }
        }
        edges
    }
}

/// What ospfd's database holds.
fn ospf(frr: &Frr) -> anyhow::Result<Claims> {
    let mut claims = Claims::default();
    let of = |answer: serde_json::Value, kind: &str| {
        answer[kind]["areas"]["0.0.0.0"].as_array().cloned().unwrap_or_default()
    };
    for lsa in of(frr.show("show ip ospf database router json")?, "routerLinkStates") {
        let links = lsa["routerLinks"].as_object().into_iter().flatten();
        let neighbours = links.filter_map(|(_, link)| {
            let to = link["neighborRouterId"].as_str().or(link["designatedRouterAddress"].as_str());
            Some((to?.to_owned(), link["tos0Metric"].as_u64()? as u32))
        });
        claims.routers.insert(text_of(&lsa["advertisingRouter"]), neighbours.collect());
    }
    for lsa in of(frr.show("show ip ospf database network json")?, "networkLinkStates") {
        let members = lsa["attchedRouters"].as_object().into_iter().flatten();
        claims
            .networks
            .insert(text_of(&lsa["linkStateId"]), members.map(|(id, _)| id.clone()).collect());
    }
    Ok(claims)
}

/// What ospf6d's database holds.
fn ospf6(frr: &Frr) -> anyhow::Result<Claims> {
    let mut claims = Claims::default();
    let answer = frr.show("show ipv6 ospf6 database detail json")?;
    let lsas = answer["areaScopedLinkStateDb"][0]["lsa"].as_array().cloned().unwrap_or_default();
    for lsa in lsas {
        let origin = text_of(&lsa["advertisingRouter"]);
        if lsa["type"] == "Router" {
            let links = lsa["lsaDescription"].as_array().into_iter().flatten();
            let neighbours = links.map(|link| {
                let mut to = text_of(&link["neighborRouterId"]);
                if link["type"] == "Transit-Network" {
                    to += &format!(".{}", text_of(&link["neighborInterfaceId"]));
                }
                (to, link["metric"].as_u64().unwrap_or(0) as u32)
            });
            claims.routers.insert(origin, neighbours.collect());
        } else if lsa["type"] == "Network" {
            let members = lsa["attachedRouter"].as_array().into_iter().flatten().map(text_of);
            let network = format!("{origin}.{}", text_of(&lsa["linkStateId"]));
            claims.networks.insert(network, members.collect());
        }
    }
    Ok(claims)
}

fn text_of(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What isisd's database holds; its JSON leaves most of it out.
fn isis(frr: &Frr) -> anyhow::Result<Claims> {
    const ROUTER: &str = ".00";
    // A system by the number of its router, a network as it stands.
    let short = |id: &str| match id.strip_suffix(ROUTER) {
        Some(system) => format!("10.255.0.{}", system.trim_start_matches(['0', '.'])),
        None => id.to_owned(),
    };
    let (mut claims, mut origin) = (Claims::default(), String::new());
    for line in frr.show_text("show isis database detail")?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [id, ..] if id.len() == "0000.0000.0001.00-00".len() && id.ends_with("-00") => {
                origin = short(&id[..id.len() - "-00".len()]);
                if id.ends_with(".00-00") {
                    claims.routers.entry(origin.clone()).or_default();
                }
            }
            ["Extended", "Reachability:", to, "(Metric:", cost, ..] => {
                let (to, cost) = (short(to), cost.trim_end_matches(')').parse()?);
                match claims.routers.get_mut(&origin) {
                    Some(neighbours) => neighbours.push((to, cost)),
                    None => _ = claims.networks.entry(origin.clone()).or_default().insert(to),
                }
            }
            _ => {}
        }
    }
    Ok(claims)
}

/// The edges of a topology that was decoded, in the words of [`Claims::edges`].
fn told(graph: &Graph, protocol: IgpProtocol) -> BTreeSet<String> {
    let topology = graph.topology(IgpArea { protocol, instance: 0, area: 0 });
    let router = |node: NodeId| format!("10.255.0.{}", node.system[5]);
    let edges = topology.nodes.iter().flat_map(|node| {
        node.edges.iter().map(|e| format!("{} {} {}", router(node.id), router(e.to), e.cost))
    });
    edges.collect()
}

/// Waits until every protocol's daemon holds `count` edges, `edge` among them, and what was seen
/// on the links gives the same.
fn await_agreement(frr: &Frr, tap: &mut Tap, count: usize, edge: &str) {
    let mut differs = String::new();
    let agreed = wait_for(DEADLINE, "agreement", || {
        let held = [ospf(frr), ospf6(frr), isis(frr)];
        tap.drain();
        let graph = decode(&tap.batch).graph;
        differs.clear();
        for (held, protocol) in held.into_iter().zip(PROTOCOLS) {
            let held = held.map(|claims| claims.edges()).unwrap_or_default();
            let told = told(&graph, protocol);
            if held != told || held.len() != count || !held.contains(edge) {
                differs += &format!("{protocol:?}: held {held:?}, told {told:?}\n");
            }
        }
        differs.is_empty()
    });
    agreed.unwrap_or_else(|error| panic!("{error:#}\n{differs}"));
}

#[test]
fn live_topologies_are_those_that_the_daemons_hold() {
    if !live("live_topologies_are_those_that_the_daemons_hold") {
        return;
    }
    remove_stale().unwrap();
    let spaces = ["igp1", "igp2", "igp3"].map(|name| NetNs::new(name).unwrap());
    for [a, b] in LINKS {
        let end = |end: (u8, &'static str, u32)| (&spaces[usize::from(end.0) - 1], end.1);
        veth(end(a), end(b)).unwrap();
    }
    let mut tap = Tap::open(&spaces[0]);
    let start = |router: u8| {
        let space = &spaces[usize::from(router) - 1];
        Frr::start_daemons(space, &DAEMONS, &configuration(router)).unwrap()
    };
    let routers = [start(1), start(2), start(3)];
    await_agreement(&routers[0], &mut tap, 6, "10.255.0.3 10.255.0.2 35");
    check_prefixes(&mut tap);

    routers[1].configure(&format!("interface two-three\n{}", costs(77))).unwrap();
    await_agreement(&routers[0], &mut tap, 6, "10.255.0.2 10.255.0.3 77");

    spaces[1].ip("link set two-three down").unwrap();
    await_agreement(&routers[0], &mut tap, 4, "10.255.0.1 10.255.0.2 10");
    assert_eq!(decode(&tap.batch).summary.undecodable, 0);
}

/// Every address that was configured is a prefix of its router.
fn check_prefixes(tap: &mut Tap) {
    let configured = |router: u8, family: usize| -> BTreeSet<String> {
        let nets = LINKS.iter().filter(|ends| ends.iter().any(|end| end.0 == router));
        let nets = nets.map(|ends| format!("{}{}", ends[0].0, ends[1].0));
        let both = nets.map(|net| [format!("10.1.{net}.0/24"), format!("2001:db8:{net}::/64")]);
        let own = [format!("10.255.0.{router}/32"), format!("2001:db8:ffff::{router}/128")];
        both.chain([own]).map(|prefixes| prefixes[family].clone()).collect()
    };
    let agreed = wait_for(DEADLINE, "the prefixes", || {
        tap.drain();
        let graph = decode(&tap.batch).graph;
        PROTOCOLS.iter().all(|&protocol| {
            let topology = graph.topology(IgpArea { protocol, instance: 0, area: 0 });
            topology.nodes.iter().all(|node| {
                let told: BTreeSet<String> =
                    node.prefixes.iter().map(|told| told.prefix.to_string()).collect();
                let router = node.id.system[5];
                let expected = match protocol {
                    IgpProtocol::OspfV2 => configured(router, 0),
                    IgpProtocol::OspfV3 => configured(router, 1),
                    _ => &configured(router, 0) | &configured(router, 1),
                };
                told == expected
            })
        })
    });
    agreed.unwrap();
}
