//! The topology of each area, as its routers tell it in OSPF and IS-IS.
//!
//! ```text
//! LinkStateChange ─► Graph (claims of every router, per area) ─► Topology (what both ends claim)
//! ```
//!
//! Owns what the advertisements say, updated by one advertisement at a time. A [`Topology`] is
//! derived from it when asked for: routers, and an edge wherever both ends claim the adjacency
//! (RFC 2328 §16.1 (2), ISO 10589 §C.2.6). Networks with several routers are contracted: their
//! routers are each other's neighbours. Computes no routes, and never judges.
//!
//! **Invariant:** deterministic: the same advertisements give the same topology, whatever the
//! order in which they came; and bounded by [`TopologyConfig`].

mod build;
mod class;
mod shape;
mod site;
mod tiers;

pub use class::{TopologyClass, classify, may_be};
pub use shape::Shape;
pub use site::{SESSIONS_MAX, SiteInference, SiteTracker};

use edgelore_model::{
    IgpArea, IgpProtocol, LinkStateAction, LinkStateChange, NodeId, TopologyEdge, TopologyPrefix,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// OSPFv2's router LSA and network LSA (RFC 2328 §A.4.1).
const OSPF2_FOUNDING: [u16; 2] = [1, 2];
/// OSPFv3's (RFC 5340 §A.4.2.1).
const OSPF3_FOUNDING: [u16; 2] = [0x2001, 0x2002];

/// What a [`Graph`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyConfig {
    /// Advertisements, of all areas together; a further one is refused.
    pub link_states_max: usize,
    /// Neighbours and prefixes in them, together; an advertisement that goes past it is refused.
    pub claims_max: usize,
    /// Edges, counted from both ends, and prefixes that the contraction of networks may make in
    /// one topology; a network that goes past it is left out.
    pub contracted_max: usize,
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self { link_states_max: 65_536, claims_max: 1 << 20, contracted_max: 1 << 20 }
    }
}

/// What names an advertisement within its area: the originating system, and its own id.
type AdvertisementKey = ([u8; 6], (u16, u32));

/// What one advertisement says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    /// The vertex that it speaks for.
    vertex: NodeId,
    /// It makes its vertex a router or network of the area: without such a one, whatever else is
    /// said for the vertex does not count.
    founding: bool,
    overload: bool,
    neighbours: Vec<TopologyEdge>,
    prefixes: Vec<TopologyPrefix>,
}

impl Claim {
    fn of(change: &LinkStateChange) -> Self {
        let founding = match change.area.protocol {
            IgpProtocol::OspfV2 => OSPF2_FOUNDING.contains(&change.id.0),
            IgpProtocol::OspfV3 => OSPF3_FOUNDING.contains(&change.id.0),
            // The first fragment: without it the others do not count (ISO 10589 §7.2.5).
            IgpProtocol::IsisLevel1 | IgpProtocol::IsisLevel2 => change.id.1 == 0,
        };
        Self {
            vertex: vertex(change.area.protocol, change.origin),
            founding,
            overload: change.overload,
            neighbours: change.neighbours.clone(),
            prefixes: change.prefixes.clone(),
        }
    }

    /// How much it counts against [`TopologyConfig::claims_max`].
    fn size(&self) -> usize {
        self.neighbours.len() + self.prefixes.len()
    }
}

/// What stands for a node in the graph: OSPFv2's router LSAs name a network by the address of its
/// designated router alone, so that its network LSA goes by that, too.
fn vertex(protocol: IgpProtocol, node: NodeId) -> NodeId {
    match protocol {
        IgpProtocol::OspfV2 if !node.is_router() => NodeId { system: [0; 6], ..node },
        _ => node,
    }
}

/// The advertisements of all areas, with what they say of the topology.
#[derive(Clone, Debug)]
pub struct Graph {
    config: TopologyConfig,
    areas: BTreeMap<IgpArea, BTreeMap<AdvertisementKey, Claim>>,
    link_states: usize,
    claims: usize,
    refused: u64,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new(TopologyConfig::default())
    }
}

impl Graph {
    /// One that knows nothing.
    #[must_use]
    pub fn new(config: TopologyConfig) -> Self {
        Self { config, areas: BTreeMap::new(), link_states: 0, claims: 0, refused: 0 }
    }

    /// Takes in what an advertisement says from now on. Logarithmic in what is held, linear in
    /// what it says.
    pub fn apply(&mut self, change: &LinkStateChange) {
        let key = (change.origin.system, change.id);
        self.remove(change.area, &key);
        if change.action == LinkStateAction::Flushed {
            return;
        }
        let claim = Claim::of(change);
        let full = self.link_states >= self.config.link_states_max
            || self.claims + claim.size() > self.config.claims_max;
        if full {
            self.refused += 1;
            return;
        }
        self.link_states += 1;
        self.claims += claim.size();
        self.areas.entry(change.area).or_default().insert(key, claim);
    }

    fn remove(&mut self, area: IgpArea, key: &AdvertisementKey) {
        let Some(held) = self.areas.get_mut(&area) else { return };
        if let Some(claim) = held.remove(key) {
            self.link_states -= 1;
            self.claims -= claim.size();
        }
        if held.is_empty() {
            self.areas.remove(&area);
        }
    }

    /// The areas of which something is known, sorted.
    pub fn areas(&self) -> impl Iterator<Item = IgpArea> {
        self.areas.keys().copied()
    }

    /// Routers that others name as neighbours in an area and that were not heard themselves, sorted.
    #[must_use]
    pub fn unheard(&self, area: IgpArea) -> Vec<NodeId> {
        let claims = || self.areas.get(&area).into_iter().flat_map(BTreeMap::values);
        let founded = claims().filter(|claim| claim.founding).map(|claim| claim.vertex);
        let heard: BTreeSet<NodeId> = founded.collect();
        let named = claims().flat_map(|claim| claim.neighbours.iter().map(|edge| edge.to));
        let unheard: BTreeSet<NodeId> =
            named.filter(|to| to.is_router() && !heard.contains(to)).collect();
        unheard.into_iter().collect()
    }

    /// Advertisements held.
    #[must_use]
    pub const fn link_states(&self) -> usize {
        self.link_states
    }

    /// Advertisements refused because a bound was reached.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The topology of an area as it is now; empty for one of which nothing is known. Takes time
    /// in the order of what the area's advertisements say, times its logarithm.
    #[must_use]
    pub fn topology(&self, area: IgpArea) -> Topology {
        let held = self.areas.get(&area).into_iter().flat_map(BTreeMap::values);
        build::topology(area, held, self.config.contracted_max)
    }
}

/// The routers of an area and how they are joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Which area.
    pub area: IgpArea,
    /// Its routers, sorted by their ids.
    pub nodes: Vec<TopologyNode>,
    /// Networks with more routers than can be contracted ([`TopologyConfig::contracted_max`]):
    /// they are missing among the nodes' edges and prefixes, not in [`TopologyNode::component`].
    pub networks_left_out: u64,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// Who.
    pub id: NodeId,
    /// Not to be used for transit.
    pub overload: bool,
    /// The connected part of the area that it is in, numbered from 0 in the order of their first
    /// routers.
    pub component: u32,
    /// Its neighbours, each once with the smallest cost of reaching it directly, sorted.
    pub edges: Vec<TopologyEdge>,
    /// What it reaches itself, each prefix once with the smallest cost, sorted: its own, and those
    /// of networks that it is attached to, with the cost of its link to them added.
    pub prefixes: Vec<TopologyPrefix>,
}

impl Topology {
    /// Routers.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Pairs of neighbours.
    #[must_use]
    pub fn adjacency_count(&self) -> usize {
        self.nodes.iter().map(|node| node.edges.len()).sum::<usize>() / 2
    }

    /// How many routers have how many neighbours: degree to count.
    #[must_use]
    pub fn degrees(&self) -> BTreeMap<usize, usize> {
        let mut degrees = BTreeMap::new();
        for node in &self.nodes {
            *degrees.entry(node.edges.len()).or_insert(0) += 1;
        }
        degrees
    }

    /// The routers of each connected part, in the order of [`TopologyNode::component`].
    #[must_use]
    pub fn component_sizes(&self) -> Vec<usize> {
        let parts = self.nodes.iter().map(|node| node.component as usize + 1).max().unwrap_or(0);
        let mut sizes = vec![0; parts];
        for node in &self.nodes {
            sizes[node.component as usize] += 1;
        }
        sizes
    }

    /// The router with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&TopologyNode> {
        let at = self.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        Some(&self.nodes[at])
    }
}

#[cfg(test)]
mod tests;
