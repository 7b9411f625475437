//! OSPF and IS-IS: captures of real routers decoded to counts, changes and topologies that were
//! read off by hand from an independent tool, and real daemons against their own word.
//!
//! With `EDGELORE_DATA` naming a folder with a MANIFEST.tsv, every counted capture in its
//! `igp-pcap` folder is held against that, too.

#![expect(clippy::unwrap_used, reason = "the helpers here are test code")]

mod captures;
mod frames;
mod live;
mod mutated;
mod site;

use edgelore_model::{
    Batch, HelloChange, IgpArea, LinkStateChange, NodeId, Observation, Observed, Summary,
};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_pipeline::topology::{Graph, Topology};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// What decoding makes of a capture.
struct Decoded {
    summary: Summary,
    hellos: Vec<HelloChange>,
    changes: Vec<LinkStateChange>,
    graph: Graph,
}

fn decode(batch: &Batch) -> Decoded {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let (mut hellos, mut changes, mut graph) = (Vec::new(), Vec::new(), Graph::default());
    decoder.decode(batch, &mut |_, observation: Observation| match observation.what {
        Observed::Hello(change) => hellos.push(change),
        Observed::LinkState(change) => {
            graph.apply(&change);
            changes.push(change);
        }
        // A timestamp that was damaged makes hellos late.
        Observed::Late(_) => {}
        other => panic!("nothing else is in these captures: {other:?}"),
    });
    Decoded { summary: *decoder.summary(), hellos, changes, graph }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures").join(name)
}

/// A router id as dotted quad, a system id in hexadecimal, and a pseudonode behind it.
fn name(node: NodeId) -> String {
    let mut name = match node.system {
        [0, 0, a, b, c, d] => Ipv4Addr::new(a, b, c, d).to_string(),
        system => system.map(|octet| format!("{octet:02x}")).concat(),
    };
    if !node.is_router() {
        name += &format!(".{}", node.pseudonode);
    }
    name
}

/// One line for each router: `name component: neighbour/cost …; prefix/cost …`.
fn lines(topology: &Topology) -> Vec<String> {
    let line = |node: &edgelore_pipeline::topology::TopologyNode| {
        let edges: Vec<_> =
            node.edges.iter().map(|edge| format!("{}@{}", name(edge.to), edge.cost)).collect();
        let prefixes: Vec<_> =
            node.prefixes.iter().map(|told| format!("{}@{}", told.prefix, told.cost)).collect();
        let overload = if node.overload { "!" } else { "" };
        format!("{}{overload}: {}; {}", name(node.id), edges.join(" "), prefixes.join(" "))
    };
    topology.nodes.iter().map(line).collect()
}

/// The lines of all areas of a graph, each headed by its protocol, instance and area.
fn areas(graph: &Graph) -> Vec<String> {
    let lines_of = |area: IgpArea| {
        let head = format!("{:?} {} {}", area.protocol, area.instance, area.area);
        std::iter::once(head).chain(lines(&graph.topology(area)))
    };
    graph.areas().flat_map(lines_of).collect()
}
