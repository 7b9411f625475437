//! From what every router claims to what both ends claim.
//!
//! **Invariant:** takes time in the order of the claims times their logarithm, plus the edges of
//! contracted networks, which are bounded.

use super::{Claim, Topology, TopologyNode, vertex};
use edgelore_model::{IgpArea, NodeId, Prefix, TopologyEdge, TopologyPrefix};
use std::collections::BTreeMap;

/// What all advertisements of a vertex say together.
#[derive(Default)]
struct Vertex {
    exists: bool,
    overload: bool,
    /// Its neighbours with the smallest cost that it claims.
    claims: BTreeMap<NodeId, u32>,
    prefixes: BTreeMap<Prefix, u32>,
}

type Vertices = BTreeMap<NodeId, Vertex>;

pub(super) fn topology<'a>(
    area: IgpArea,
    held: impl Iterator<Item = &'a Claim>,
    contracted_max: usize,
) -> Topology {
    let vertices = gather(area, held);
    let mut parts = Parts::new(&vertices);
    let mut nodes: Nodes = vertices
        .iter()
        .filter(|(id, _)| id.is_router())
        .map(|(id, vertex)| {
            (*id, Node { edges: BTreeMap::new(), prefixes: vertex.prefixes.clone() })
        })
        .collect();
    let (mut contracted, mut networks_left_out) = (0usize, 0);
    for (id, vertex) in &vertices {
        let confirmed = confirmed(&vertices, *id, vertex);
        for (to, _) in &confirmed {
            parts.join(id, to);
        }
        let routers = confirmed.into_iter().filter(|(to, _)| to.is_router());
        if let Some(node) = nodes.get_mut(id) {
            routers.for_each(|(to, cost)| keep_smallest(&mut node.edges, to, cost));
            continue;
        }
        let members: Members = routers.map(|(to, _)| (to, vertices[&to].claims[id])).collect();
        let makes = members.len().saturating_mul(members.len() + vertex.prefixes.len());
        if makes > contracted_max - contracted {
            networks_left_out += 1;
        } else {
            contracted += makes;
            contract(&mut nodes, &members, &vertex.prefixes);
        }
    }
    Topology { area, nodes: finish(nodes, &vertices, &mut parts), networks_left_out }
}

type Nodes = BTreeMap<NodeId, Node>;
/// The routers of a network, each with the cost of its link to it.
type Members = Vec<(NodeId, u32)>;

struct Node {
    edges: BTreeMap<NodeId, u32>,
    prefixes: BTreeMap<Prefix, u32>,
}

/// The vertices that exist, with what they claim.
fn gather<'a>(area: IgpArea, held: impl Iterator<Item = &'a Claim>) -> Vertices {
    let mut vertices = Vertices::new();
    for claim in held {
        let entry = vertices.entry(claim.vertex).or_default();
        // Of several router LSAs the first one counts (RFC 5340 §4.8.1).
        if claim.founding && !entry.exists {
            (entry.exists, entry.overload) = (true, claim.overload);
        }
        for edge in &claim.neighbours {
            keep_smallest(&mut entry.claims, vertex(area.protocol, edge.to), edge.cost);
        }
        for told in &claim.prefixes {
            keep_smallest(&mut entry.prefixes, told.prefix, told.cost);
        }
    }
    vertices.retain(|_, vertex| vertex.exists);
    vertices
}

fn keep_smallest<K: Ord>(costs: &mut BTreeMap<K, u32>, key: K, cost: u32) {
    costs.entry(key).and_modify(|known| *known = cost.min(*known)).or_insert(cost);
}

/// The neighbours that claim the adjacency, too.
fn confirmed(vertices: &Vertices, id: NodeId, vertex: &Vertex) -> Vec<(NodeId, u32)> {
    let claims = vertex.claims.iter().filter(|(to, _)| **to != id);
    claims
        .filter(|(to, _)| vertices.get(to).is_some_and(|other| other.claims.contains_key(&id)))
        .map(|(to, cost)| (*to, *cost))
        .collect()
}

/// Makes the routers of a network each other's neighbours, and its prefixes theirs: from the
/// network on, its routers cost nothing.
fn contract(nodes: &mut Nodes, members: &Members, prefixes: &BTreeMap<Prefix, u32>) {
    for (from, link) in members {
        let node = nodes.get_mut(from).expect("every router that exists was put in");
        for (to, _) in members.iter().filter(|(to, _)| to != from) {
            keep_smallest(&mut node.edges, *to, *link);
        }
        for (prefix, cost) in prefixes {
            keep_smallest(&mut node.prefixes, *prefix, link.saturating_add(*cost));
        }
    }
}

fn finish(nodes: Nodes, vertices: &Vertices, parts: &mut Parts) -> Vec<TopologyNode> {
    let mut numbers: BTreeMap<usize, u32> = BTreeMap::new();
    let mut finished = Vec::with_capacity(nodes.len());
    for (id, node) in nodes {
        let next = numbers.len() as u32;
        let component = *numbers.entry(parts.root_of(&id)).or_insert(next);
        let edge = |(to, cost)| TopologyEdge { to, cost };
        let prefix = |(prefix, cost)| TopologyPrefix { prefix, cost };
        finished.push(TopologyNode {
            id,
            overload: vertices[&id].overload,
            component,
            edges: node.edges.into_iter().map(edge).collect(),
            prefixes: node.prefixes.into_iter().map(prefix).collect(),
        });
    }
    finished
}

/// The connected parts: disjoint sets, joined with halved paths.
struct Parts {
    index: BTreeMap<NodeId, usize>,
    parents: Vec<usize>,
}

impl Parts {
    fn new(vertices: &Vertices) -> Self {
        let index = vertices.keys().enumerate().map(|(index, id)| (*id, index)).collect();
        Self { index, parents: (0..vertices.len()).collect() }
    }

    fn root_of(&mut self, id: &NodeId) -> usize {
        let mut at = self.index[id];
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn join(&mut self, a: &NodeId, b: &NodeId) {
        let (a, b) = (self.root_of(a), self.root_of(b));
        self.parents[a.max(b)] = a.min(b);
    }
}
