//! What the network is, as far as this gateway has heard: its class of topology, and its routers.
//!
//! ```text
//! LinkState ─► Graph ─► the areas of one protocol together ─┐
//! Open ───────────────► ASes that are neighbours ───────────┴─► SiteInference
//! ```
//!
//! The link-state database shows the network's shape. Where none was heard, BGP sessions show how the
//! gateway's own AS is joined to others, which is less. Both are what was heard so far: a gateway
//! that listens in one area knows one area.
//!
//! **Invariant:** bounded by [`TopologyConfig`] and [`SESSIONS_MAX`]; what routers and
//! sessions say last gives the same inference, in whatever order they said it.

use super::{Graph, Shape, TopologyClass, TopologyConfig, classify};
use edgelore_model::{IgpProtocol, NodeId, Observation, Observed, SessionKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Ends of BGP sessions whose AS number is remembered; further ones are not.
pub const SESSIONS_MAX: usize = 16_384;

/// How the gateway's own AS is joined to others is never sure: it may have sessions elsewhere.
const HOMED_PERMILLE: u32 = 500;

/// What was inferred of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteInference {
    /// Its class; `None` when it could be anything.
    pub topology: Option<TopologyClass>,
    /// Routers heard of; with BGP alone, the ASes.
    pub node_count: u64,
    /// There are more: routers that others name were not heard, or BGP alone was.
    pub node_count_is_lower_bound: bool,
}

/// Follows what tells the shape of the network.
#[derive(Clone, Debug, Default)]
pub struct SiteTracker {
    graph: Graph,
    /// The AS number that each end of a session last opened with.
    ases: BTreeMap<(SessionKey, IpAddr), u32>,
    changed: bool,
}

/// OSPFv2 and OSPFv3 go by the same router ids, and so do the levels of IS-IS.
const FAMILIES: [[IgpProtocol; 2]; 2] = [
    [IgpProtocol::OspfV2, IgpProtocol::OspfV3],
    [IgpProtocol::IsisLevel1, IgpProtocol::IsisLevel2],
];

impl SiteTracker {
    /// One that has heard nothing.
    #[must_use]
    pub fn new(config: TopologyConfig) -> Self {
        Self { graph: Graph::new(config), ..Self::default() }
    }

    /// Takes what an observation says of the network's shape.
    pub fn observe(&mut self, observation: &Observation) {
        match &observation.what {
            Observed::LinkState(change) => {
                self.graph.apply(change);
                self.changed = true;
            }
            Observed::Open { session, speaker, capabilities, .. } => {
                let end = (*session, *speaker);
                let room = self.ases.len() < SESSIONS_MAX || self.ases.contains_key(&end);
                let asn = capabilities.asn;
                if room && asn != 0 && self.ases.insert(end, asn) != Some(asn) {
                    self.changed = true;
                }
            }
            _ => {}
        }
    }

    /// Something was heard since this was asked last.
    pub const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// Advertisements that were refused because a bound was reached.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.graph.refused()
    }

    /// What the network is, by all that was heard. Takes time in the order of what the link-state
    /// database says, times its logarithm.
    #[must_use]
    pub fn infer(&self) -> SiteInference {
        let families = FAMILIES.map(|family| self.link_state(family));
        // The larger one: the other may be a remnant.
        let larger = families.into_iter().max_by_key(|inference| inference.node_count);
        // Two routers say as little of the network as one.
        larger.filter(|inference| inference.node_count > 2).unwrap_or_else(|| self.homed())
    }

    fn link_state(&self, family: [IgpProtocol; 2]) -> SiteInference {
        let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
        let (mut edges, mut unheard) = (Vec::new(), BTreeSet::new());
        for area in self.graph.areas().filter(|area| family.contains(&area.protocol)) {
            for node in self.graph.topology(area).nodes {
                nodes.insert(node.id);
                edges.extend(node.edges.iter().map(|edge| (node.id, edge.to)));
            }
            unheard.extend(self.graph.unheard(area));
        }
        let topology = classify(&Shape::of(edges, nodes.iter().copied()));
        unheard.retain(|router| !nodes.contains(router));
        SiteInference {
            topology,
            node_count: nodes.len() as u64,
            node_count_is_lower_bound: !unheard.is_empty(),
        }
    }

    /// How an AS that all external sessions have in common is joined to others.
    fn homed(&self) -> SiteInference {
        let mut ends: BTreeMap<SessionKey, Vec<u32>> = BTreeMap::new();
        for ((session, _), asn) in &self.ases {
            ends.entry(*session).or_default().push(*asn);
        }
        let external: Vec<(u32, u32)> = ends
            .values()
            .filter_map(|ends| match ends[..] {
                [one, other] if one != other => Some((one, other)),
                _ => None,
            })
            .collect();
        let all: BTreeSet<u32> = self.ases.values().copied().collect();
        SiteInference {
            topology: homed_class(&external),
            node_count: all.len() as u64,
            node_count_is_lower_bound: true,
        }
    }
}

/// One AS with one or two neighbours; several that are joined otherwise have the shape they show.
fn homed_class(external: &[(u32, u32)]) -> Option<TopologyClass> {
    let (first, second) = external.first()?;
    let own = [first, second]
        .into_iter()
        .find(|own| external.iter().all(|(one, other)| one == *own || other == *own));
    let shape = Shape::of(external.iter().copied(), []);
    if own.is_none() {
        let mut class = classify(&shape)?;
        class.confidence_permille = class.confidence_permille * HOMED_PERMILLE / 1_000;
        class.evidence.push("told by BGP sessions between ASes alone".to_owned());
        return Some(class);
    }
    let (sessions, neighbours) = (external.len(), shape.nodes() - 1);
    let class = match (neighbours, sessions) {
        (1, 1) => "single_homed",
        (1 | 2, _) => "dual_homed",
        _ => return None,
    };
    Some(TopologyClass {
        class: class.to_owned(),
        confidence_permille: HOMED_PERMILLE,
        evidence: vec![format!(
            "{sessions} external BGP sessions to {neighbours} neighbouring ASes"
        )],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::{
        IgpArea, LinkStateAction, LinkStateChange, OpenCapabilities, Span, Timestamp, TopologyEdge,
    };

    fn heard(what: Observed) -> Observation {
        Observation { at: Timestamp(0), link: 1, what }
    }

    fn router(area: u32, id: u32, neighbours: &[u32]) -> Observation {
        let to = |id: &u32| TopologyEdge { to: NodeId::ospf(*id), cost: 10 };
        heard(Observed::LinkState(LinkStateChange {
            area: IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area },
            origin: NodeId::ospf(id),
            id: (1, id),
            sequence: 1,
            age: Span(0),
            action: LinkStateAction::New,
            overload: false,
            neighbours: neighbours.iter().map(to).collect(),
            prefixes: Vec::new(),
            grace: None,
        }))
    }

    fn open(session: [u8; 2], speaker: u8, asn: u32) -> Observation {
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        heard(Observed::Open {
            session: SessionKey::between(ip(session[0]), ip(session[1])),
            speaker: ip(speaker),
            hold_time_s: 9,
            capabilities: OpenCapabilities { asn, ..OpenCapabilities::default() },
        })
    }

    fn infer(observations: &[Observation]) -> SiteInference {
        let mut tracker = SiteTracker::new(TopologyConfig::default());
        observations.iter().for_each(|one| tracker.observe(one));
        assert_eq!(tracker.refused(), 0);
        tracker.infer()
    }

    /// Two spines, and `leaves` of them.
    fn fabric(leaves: u32) -> Vec<Observation> {
        let below: Vec<u32> = (10..10 + leaves).collect();
        let spines = [1, 2].map(|spine| router(0, spine, &below));
        let leaves = below.iter().map(|leaf| router(0, *leaf, &[1, 2]));
        spines.into_iter().chain(leaves).collect()
    }

    #[test]
    fn the_link_state_database_tells_class_and_routers() {
        let inference = infer(&fabric(6));
        let class = inference.topology.expect("two spines and six leaves");
        assert_eq!((class.class.as_str(), class.confidence_permille), ("spine_leaf", 800));
        assert_eq!((inference.node_count, inference.node_count_is_lower_bound), (8, false));
    }

    #[test]
    fn routers_that_only_others_name_make_the_count_a_lower_bound() {
        let mut heard = fabric(6);
        heard.pop();
        let inference = infer(&heard);
        assert_eq!((inference.node_count, inference.node_count_is_lower_bound), (7, true));
    }

    #[test]
    fn areas_of_one_protocol_are_one_network() {
        let all = [
            router(0, 1, &[2, 3]),
            router(0, 2, &[1, 3]),
            router(0, 3, &[1, 2]),
            router(7, 3, &[4]),
            router(7, 4, &[3]),
        ];
        assert_eq!(infer(&all).node_count, 4);
    }

    #[test]
    fn without_it_bgp_tells_how_many_homes_there_are() {
        for (opens, class, ases) in [
            (vec![open([1, 2], 1, 65_001), open([1, 2], 2, 65_002)], Some("single_homed"), 2),
            (
                vec![
                    open([1, 2], 1, 65_001),
                    open([1, 2], 2, 65_002),
                    open([1, 3], 1, 65_001),
                    open([1, 3], 3, 65_003),
                ],
                Some("dual_homed"),
                3,
            ),
            (vec![open([1, 2], 1, 65_001), open([1, 2], 2, 65_001)], None, 1),
            (vec![open([1, 2], 1, 65_001)], None, 1),
        ] {
            let inference = infer(&opens);
            assert_eq!(inference.topology.map(|topology| topology.class).as_deref(), class);
            assert_eq!((inference.node_count, inference.node_count_is_lower_bound), (ases, true));
        }
    }

    #[test]
    fn the_order_does_not_matter() {
        let mut all = fabric(5);
        all.extend([open([1, 2], 1, 65_001), open([1, 2], 2, 65_002)]);
        let one = infer(&all);
        all.reverse();
        assert_eq!(infer(&all), one);
    }
}
