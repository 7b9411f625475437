//! Situations, queries and definitions for the tests of this module.

use edgelore_model::{Query, Situation};
use proptest::prelude::*;

use super::Space;

pub(super) fn singapore() -> Situation {
    Situation {
        topology_class: "spine_leaf".into(),
        protocol: "bgp".into(),
        event_type: "convergence".into(),
        severity: 340_000,
        affected_prefixes: 8_200,
        node_count: 96,
    }
}

fn words(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(names).prop_map(str::to_owned),
        1 => "[a-c]{0,2}",
    ]
}

/// Listed words and others; small values and any.
pub(super) fn situations() -> impl Strategy<Value = Situation> {
    let values = || prop_oneof![any::<u64>(), 0u64..100_000, 0u64..64];
    (
        words(&["spine_leaf", "clos_5stage", "hub_spoke", "fabric", "metro_ring", "ring", "deep"]),
        words(&["bgp", "ospf", "isis", "bfd", "link_state"]),
        words(&["convergence", "flap", "saturation", "traffic"]),
        values(),
        values(),
        values(),
    )
        .prop_map(|(topology, protocol, event, severity, prefixes, nodes)| Situation {
            topology_class: topology,
            protocol,
            event_type: event,
            severity,
            affected_prefixes: prefixes,
            node_count: nodes,
        })
}

/// The shipped definition; one with a deep branch, other scales and odd weights; one in which two
/// fields weigh nothing and one has no terms.
pub(super) fn spaces() -> impl Strategy<Value = Space> {
    let deep = Space::default_text()
        .replace(
            "ring = [\"access_ring\", \"metro_ring\", \"dual_ring\"]",
            "ring.a.b.c = [\"deep\"]",
        )
        .replace("weight = 1750", "weight = 77")
        .replace("weight = 250\nscale = \"log2\"", "weight = 331\nscale = \"log10\"");
    let flat = Space::default_text()
        .replace("weight = 1250", "weight = 0")
        .replace("weight = 250", "weight = 0")
        .replace("traffic = [\"saturation\", \"degradation\"]", "")
        .replace("routing = [\"convergence\", \"flap\"]", "");
    let texts = [Space::default_text(), &deep, &flat];
    let spaces = texts.map(|text| Space::parse(text).expect("a sample definition is valid"));
    proptest::sample::select(spaces.to_vec())
}

/// A query of which the fields named by the bits of `mask` are open.
pub(super) fn opened(situation: &Situation, mask: u8) -> Query {
    let mut query = Query::from(situation);
    let open = |bit: u8| mask & (1 << bit) != 0;
    query.topology_class = query.topology_class.filter(|_| !open(0));
    query.protocol = query.protocol.filter(|_| !open(1));
    query.event_type = query.event_type.filter(|_| !open(2));
    query.severity = query.severity.filter(|_| !open(3));
    query.affected_prefixes = query.affected_prefixes.filter(|_| !open(4));
    query.node_count = query.node_count.filter(|_| !open(5));
    query
}

/// Takes one field of `from` over, by its place among the fields of a definition.
pub(super) fn copy_field(to: &mut Situation, from: &Situation, field: usize) {
    match field {
        0 => to.topology_class.clone_from(&from.topology_class),
        1 => to.protocol.clone_from(&from.protocol),
        2 => to.event_type.clone_from(&from.event_type),
        3 => to.severity = from.severity,
        4 => to.affected_prefixes = from.affected_prefixes,
        _ => to.node_count = from.node_count,
    }
}
