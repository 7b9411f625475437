//! What the routers of interior gateway protocols have set: intervals and costs.
//!
//! **Invariant:** what an advertisement takes back keeps its last cost, for an edge that is down
//! costs what it did; bounded by [`CLAIMS_MAX`] costs and the number of routers.

use super::{EdgeCosts, RouterSettings};
use edgelore_model::{
    HelloChange, IgpArea, IgpProtocol, Link, LinkStateChange, NodeId, Prefix, Span,
};
use std::collections::BTreeMap;

/// Costs remembered, of all routers together.
const CLAIMS_MAX: usize = 262_144;
/// Links on which one router's intervals are remembered.
const LINKS_MAX: usize = 64;
/// Edges, and prefixes, of a router that an incident keeps.
const KEPT_MAX: usize = 256;

type Advertisement = (u16, u32);

#[derive(Debug, Default)]
struct Record {
    intervals: BTreeMap<u32, (Span, Span)>,
    edges: BTreeMap<(Advertisement, NodeId), Vec<u32>>,
    prefixes: BTreeMap<(Advertisement, Prefix), u32>,
    overload: bool,
}

#[derive(Debug)]
pub(super) struct Routers {
    records: BTreeMap<(IgpArea, NodeId), Record>,
    routers_max: usize,
    claims: usize,
    pub(super) overflows: u64,
}

impl Routers {
    pub(super) const fn new(routers_max: usize) -> Self {
        Self { records: BTreeMap::new(), routers_max, claims: 0, overflows: 0 }
    }

    /// True when it says something else than before.
    pub(super) fn hello(&mut self, hello: &HelloChange, link: u32) -> bool {
        let Some(record) = self.record(hello.area, hello.router) else { return false };
        if record.intervals.len() >= LINKS_MAX && !record.intervals.contains_key(&link) {
            self.overflows += 1;
            return false;
        }
        let intervals = (hello.hello_interval, hello.dead_interval);
        record.intervals.insert(link, intervals) != Some(intervals)
    }

    /// True when it says something else than before.
    pub(super) fn advertised(&mut self, change: &LinkStateChange) -> bool {
        if !change.origin.is_router()
            || (change.neighbours.is_empty() && change.prefixes.is_empty())
        {
            return false;
        }
        let mut room = CLAIMS_MAX.saturating_sub(self.claims);
        let Some(record) = self.record(change.area, change.origin) else { return false };
        let before = room;
        let mut refused = 0;
        let mut moved = false;
        if founds_router(change) {
            moved |= std::mem::replace(&mut record.overload, change.overload) != change.overload;
        }
        // An OSPF router that wants no transit says so by what its edges cost (RFC 6987).
        if !change.overload || is_isis(change.area) {
            for (to, costs) in by_neighbour(change) {
                let known = record.edges.get(&(change.id, to));
                if known == Some(&costs) {
                    continue;
                }
                if known.is_none() && room == 0 {
                    refused += 1;
                    continue;
                }
                room -= usize::from(known.is_none());
                record.edges.insert((change.id, to), costs);
                moved = true;
            }
        }
        for one in &change.prefixes {
            let known = record.prefixes.get(&(change.id, one.prefix));
            if known == Some(&one.cost) {
                continue;
            }
            if known.is_none() && room == 0 {
                refused += 1;
                continue;
            }
            room -= usize::from(known.is_none());
            record.prefixes.insert((change.id, one.prefix), one.cost);
            moved = true;
        }
        self.claims += before - room;
        self.overflows += refused;
        moved
    }

    fn record(&mut self, area: IgpArea, router: NodeId) -> Option<&mut Record> {
        let key = (area, router);
        if self.records.len() >= self.routers_max && !self.records.contains_key(&key) {
            self.overflows += 1;
            return None;
        }
        Some(self.records.entry(key).or_default())
    }

    /// What a router has set, with what its prefixes cost where that is asked for.
    pub(super) fn of(
        &self,
        area: IgpArea,
        router: NodeId,
        with_prefixes: bool,
    ) -> Option<(IgpArea, NodeId, RouterSettings)> {
        let record = self.records.get(&(area, router))?;
        let kept = if with_prefixes { KEPT_MAX } else { 0 };
        let edge = |((advertisement, to), costs): (&(Advertisement, NodeId), &Vec<u32>)| {
            EdgeCosts { to: *to, advertisement: *advertisement, costs: costs.clone() }
        };
        let interval = |(link, (hello, dead)): (&u32, &(Span, Span))| (Link(*link), *hello, *dead);
        let settings = RouterSettings {
            intervals: record.intervals.iter().map(interval).collect(),
            edges: record.edges.iter().take(KEPT_MAX).map(edge).collect(),
            prefixes: record.prefixes.iter().take(kept).map(|((_, p), c)| (*p, *c)).collect(),
            overload: record.overload,
        };
        Some((area, router, settings))
    }
}

const fn is_isis(area: IgpArea) -> bool {
    matches!(area.protocol, IgpProtocol::IsisLevel1 | IgpProtocol::IsisLevel2)
}

/// It is the advertisement that speaks for the router as a whole (RFC 2328 §A.4.2, RFC 5340
/// §A.4.3, ISO 10589 §7.2.5).
const fn founds_router(change: &LinkStateChange) -> bool {
    match change.area.protocol {
        IgpProtocol::OspfV2 => change.id.0 == 1,
        IgpProtocol::OspfV3 => change.id.0 == 0x2001,
        IgpProtocol::IsisLevel1 | IgpProtocol::IsisLevel2 => change.id.1 == 0,
    }
}

/// The costs of the parallel edges to each neighbour.
fn by_neighbour(change: &LinkStateChange) -> BTreeMap<NodeId, Vec<u32>> {
    let mut edges: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
    for edge in &change.neighbours {
        edges.entry(edge.to).or_default().push(edge.cost);
    }
    edges.values_mut().for_each(|costs| costs.sort_unstable());
    edges
}
