//! Topologies made by hand: what both ends claim, and what is done when they disagree.

use super::*;
use edgelore_model::Span;
use proptest::prelude::*;

const OSPF: IgpArea = IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 1 };
const ISIS: IgpArea = IgpArea { protocol: IgpProtocol::IsisLevel2, instance: 0, area: 0 };
const LAN: u32 = 0x0a00_0001;

fn change(area: IgpArea, origin: NodeId, id: (u16, u32)) -> LinkStateChange {
    LinkStateChange {
        area,
        origin,
        id,
        sequence: 1,
        age: Span(0),
        action: LinkStateAction::New,
        overload: false,
        neighbours: Vec::new(),
        prefixes: Vec::new(),
        grace: None,
    }
}

fn edges(to: &[(NodeId, u32)]) -> Vec<TopologyEdge> {
    to.iter().map(|&(to, cost)| TopologyEdge { to, cost }).collect()
}

fn prefixes(told: &[(&str, u32)]) -> Vec<TopologyPrefix> {
    let read = |&(prefix, cost): &(&str, u32)| {
        let prefix = prefix.parse().expect("prefixes in tests are well formed");
        TopologyPrefix { prefix, cost }
    };
    told.iter().map(read).collect()
}

/// An OSPFv2 router LSA.
fn router(id: u32, to: &[(NodeId, u32)], stubs: &[(&str, u32)]) -> LinkStateChange {
    LinkStateChange {
        neighbours: edges(to),
        prefixes: prefixes(stubs),
        ..change(OSPF, NodeId::ospf(id), (1, id))
    }
}

/// An OSPFv2 network LSA of the LAN.
fn network(designated: u32, members: &[u32]) -> LinkStateChange {
    let members: Vec<_> = members.iter().map(|&id| (NodeId::ospf(id), 0)).collect();
    LinkStateChange {
        neighbours: edges(&members),
        prefixes: prefixes(&[("10.0.0.0/24", 0)]),
        ..change(OSPF, NodeId::ospf(designated).with_pseudonode(LAN), (2, LAN))
    }
}

fn lan() -> NodeId {
    NodeId::ospf(0).with_pseudonode(LAN)
}

fn graph(changes: &[LinkStateChange]) -> Graph {
    let mut graph = Graph::default();
    changes.iter().for_each(|change| graph.apply(change));
    graph
}

/// `1-2:10` for each edge as its first end claims it.
fn text(topology: &Topology) -> Vec<String> {
    let last = |id: NodeId| id.system[5];
    let edge = |node: &TopologyNode| {
        let from = last(node.id);
        let edges = node.edges.iter();
        edges.map(move |edge| format!("{from}-{}:{}", last(edge.to), edge.cost)).collect::<Vec<_>>()
    };
    topology.nodes.iter().flat_map(edge).collect()
}

#[test]
fn both_ends_must_claim_an_adjacency() {
    let (one, two, three) = (NodeId::ospf(1), NodeId::ospf(2), NodeId::ospf(3));
    let mut graph = graph(&[
        router(1, &[(two, 10), (three, 5), (two, 7)], &[("10.1.0.0/16", 3)]),
        router(2, &[(one, 20)], &[]),
        router(3, &[(NodeId::ospf(4), 1)], &[]),
    ]);
    let topology = graph.topology(OSPF);
    assert_eq!(text(&topology), ["1-2:7", "2-1:20"]);
    assert_eq!((topology.node_count(), topology.adjacency_count()), (3, 1));
    assert_eq!(topology.degrees(), BTreeMap::from([(0, 1), (1, 2)]));
    assert_eq!(topology.component_sizes(), [2, 1]);
    assert_eq!(topology.node(one).expect("it is there").prefixes, prefixes(&[("10.1.0.0/16", 3)]));

    graph.apply(&router(3, &[(one, 8)], &[]));
    assert_eq!(text(&graph.topology(OSPF)), ["1-2:7", "1-3:5", "2-1:20", "3-1:8"]);
    let flush = LinkStateChange { action: LinkStateAction::Flushed, ..router(1, &[], &[]) };
    graph.apply(&flush);
    let topology = graph.topology(OSPF);
    assert_eq!((topology.node_count(), topology.component_sizes()), (2, vec![1, 1]));
    assert_eq!(topology.node(one), None);
}

#[test]
fn a_network_is_contracted() {
    let mut graph = graph(&[
        router(1, &[(lan(), 10)], &[]),
        router(2, &[(lan(), 4)], &[]),
        router(3, &[(lan(), 1), (NodeId::ospf(2), 9)], &[]),
        router(4, &[(lan(), 1)], &[]),
        network(3, &[1, 2, 3, 5]),
    ]);
    let topology = graph.topology(OSPF);
    let expected = ["1-2:10", "1-3:10", "2-1:4", "2-3:4", "3-1:1", "3-2:1"];
    assert_eq!(text(&topology), expected, "the network does not know 4, and 5 does not exist");
    let told: Vec<_> = topology.nodes.iter().map(|node| node.prefixes.clone()).collect();
    let lan = |cost| prefixes(&[("10.0.0.0/24", cost)]);
    assert_eq!(told, [lan(10), lan(4), lan(1), Vec::new()]);
    assert_eq!(topology.component_sizes(), [3, 1]);

    // Another router takes over: the network goes by the same address, told by another.
    let flush = LinkStateChange { action: LinkStateAction::Flushed, ..network(3, &[]) };
    graph.apply(&flush);
    assert_eq!(graph.topology(OSPF).adjacency_count(), 0);
    graph.apply(&network(1, &[1, 4]));
    assert_eq!(text(&graph.topology(OSPF)), ["1-4:10", "4-1:1"]);
}

#[test]
fn fragments_count_with_their_first() {
    let (one, two) = (NodeId::isis([1; 6]), NodeId::isis([2; 6]));
    let fragment = |origin: NodeId, number, to: &[(NodeId, u32)], overload| LinkStateChange {
        neighbours: edges(to),
        overload,
        ..change(ISIS, origin, (origin.pseudonode as u16, number))
    };
    let mut graph = graph(&[
        fragment(one, 1, &[(two, 10)], true),
        fragment(two, 0, &[(one, 30)], true),
        fragment(one.with_pseudonode(1), 0, &[(one, 0), (two, 0)], false),
    ]);
    assert_eq!(graph.topology(ISIS).node_count(), 1);
    graph.apply(&fragment(one, 0, &[(one.with_pseudonode(1), 5)], false));
    let topology = graph.topology(ISIS);
    assert_eq!(text(&topology), ["1-2:10", "2-1:30"]);
    let overload: Vec<bool> = topology.nodes.iter().map(|node| node.overload).collect();
    assert_eq!(overload, [false, true], "the first fragment says whether");
    graph.apply(&fragment(two, 1, &[(one.with_pseudonode(1), 7)], false));
    assert_eq!(text(&graph.topology(ISIS)), ["1-2:5", "2-1:7"]);
}

#[test]
fn what_a_stranger_tells_makes_no_router() {
    let external = LinkStateChange {
        prefixes: prefixes(&[("0.0.0.0/0", 1)]),
        ..change(OSPF, NodeId::ospf(9), (5, 0))
    };
    let mut graph = graph(std::slice::from_ref(&external));
    assert_eq!(graph.topology(OSPF).node_count(), 0);
    graph.apply(&router(9, &[], &[("10.9.0.0/16", 1)]));
    let topology = graph.topology(OSPF);
    assert_eq!(topology.nodes[0].prefixes, prefixes(&[("0.0.0.0/0", 1), ("10.9.0.0/16", 1)]));
}

#[test]
fn areas_do_not_mix() {
    let elsewhere = IgpArea { area: 2, ..OSPF };
    let there = LinkStateChange { area: elsewhere, ..router(2, &[(NodeId::ospf(1), 1)], &[]) };
    let graph = graph(&[router(1, &[(NodeId::ospf(2), 1)], &[]), there]);
    assert_eq!(graph.areas().collect::<Vec<_>>(), [OSPF, elsewhere]);
    assert_eq!(graph.topology(OSPF).adjacency_count(), 0);
    assert_eq!(graph.topology(ISIS).node_count(), 0, "nothing is known of it");
}

#[test]
fn bounds_hold_and_refusals_are_counted() {
    let config = TopologyConfig { link_states_max: 3, claims_max: 4, contracted_max: 9 };
    let mut graph = Graph::new(config);
    graph.apply(&router(1, &[(lan(), 1)], &[("10.1.0.0/16", 3)]));
    graph.apply(&router(1, &[(lan(), 1)], &[]));
    graph.apply(&router(2, &[(lan(), 1)], &[]));
    assert_eq!((graph.link_states(), graph.refused()), (2, 0));
    graph.apply(&network(1, &[1, 2]));
    assert_eq!((graph.link_states(), graph.refused()), (2, 1), "three claims more are too many");
    graph.apply(&LinkStateChange { prefixes: Vec::new(), ..network(1, &[1, 2]) });
    assert_eq!((graph.link_states(), graph.refused()), (3, 1));
    graph.apply(&router(3, &[], &[]));
    assert_eq!((graph.link_states(), graph.refused()), (3, 2));
    let topology = graph.topology(OSPF);
    assert_eq!((topology.adjacency_count(), topology.networks_left_out), (1, 0));

    let small = Graph { config: TopologyConfig { contracted_max: 3, ..config }, ..graph };
    let topology = small.topology(OSPF);
    assert_eq!((topology.adjacency_count(), topology.networks_left_out), (0, 1));
    assert_eq!(topology.component_sizes(), [2], "they are connected all the same");
}

#[test]
fn a_topology_survives_json() {
    let graph = graph(&[router(1, &[(lan(), 1)], &[("10.1.0.0/16", 3)]), network(1, &[1])]);
    let topology = graph.topology(OSPF);
    let json = serde_json::to_string(&topology).expect("it has only text for keys");
    assert_eq!(serde_json::from_str::<Topology>(&json).expect("it was written so"), topology);
}

/// Advertisements of few routers and networks, so that they often meet.
fn changes() -> impl Strategy<Value = Vec<LinkStateChange>> {
    let node = || (1u32..6, 0u32..3).prop_map(|(id, lan)| NodeId::ospf(id).with_pseudonode(lan));
    let claims = prop::collection::vec((node(), 0u32..4), 0..5);
    let one = (node(), claims, 0u32..8).prop_map(|(origin, to, flush)| {
        let kind = if origin.is_router() { 1 } else { 2 };
        let action = if flush == 0 { LinkStateAction::Flushed } else { LinkStateAction::Changed };
        let to: Vec<_> =
            to.into_iter().map(|(to, cost)| (vertex(OSPF.protocol, to), cost)).collect();
        let id = (kind, origin.pseudonode);
        LinkStateChange { action, neighbours: edges(&to), ..change(OSPF, origin, id) }
    });
    prop::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn the_last_word_of_each_counts_whatever_the_order(changes in changes()) {
        let mut latest = BTreeMap::new();
        for change in &changes {
            latest.insert((change.origin, change.id), change.clone());
        }
        let incremental = graph(&changes);
        let last: Vec<_> = latest.into_values().rev().collect();
        let topology = incremental.topology(OSPF);
        prop_assert_eq!(&topology, &graph(&last).topology(OSPF));
        let claims: usize = incremental.areas.values().flat_map(BTreeMap::values).map(Claim::size).sum();
        prop_assert_eq!(claims, incremental.claims);
    }

    #[test]
    fn edges_have_two_ends_in_one_part(changes in changes()) {
        let topology = graph(&changes).topology(OSPF);
        for node in &topology.nodes {
            for edge in &node.edges {
                prop_assert_ne!(edge.to, node.id);
                let other = topology.node(edge.to).expect("neighbours exist");
                prop_assert_eq!(other.component, node.component);
                prop_assert!(other.edges.iter().any(|back| back.to == node.id));
            }
        }
        prop_assert_eq!(topology.component_sizes().iter().sum::<usize>(), topology.node_count());
    }
}
