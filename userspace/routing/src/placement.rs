//! Where packets lie, in terms that a server can index.
//!
//! A server neither walks taxonomies nor takes our logarithms. It keeps a packet's coarse cell,
//! which fixes how far the terms are, and three coordinates in milli-units from zero, whose
//! differences are the rest of the distance.
//!
//! Owns that split. Never does I/O.
//!
//! **Invariant:** cell distance and coordinate distance together are what [`Space`] measures.

use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::Opened;

use crate::{Cell, PacketId};

/// Severity, prefixes, nodes, each in milli-units from zero.
pub(crate) type Coordinates = [u32; 3];

/// The situation of a cell's terms, with zero for what they leave open; none for a cell wider than a coarse one.
pub(crate) fn place(cell: &Cell) -> Option<Situation> {
    let [topology_class, protocol, event_type] = cell.terms()?.map(str::to_owned);
    Some(Situation { topology_class, protocol, event_type, ..nowhere() })
}

/// What an outcome takes back: what it supersedes and what it revokes.
pub(crate) fn withdraws(packet: &Opened) -> impl Iterator<Item = PacketId> {
    packet.outcome.supersedes.into_iter().chain(packet.outcome.revokes)
}

/// A query as a server answers it.
pub(crate) struct Target<'s> {
    space: &'s Space,
    /// The terms alone.
    terms: Query,
    /// Where the ordinals are; `None` for one left open.
    pub(crate) coordinates: [Option<u32>; 3],
    pub(crate) radius: u32,
}

impl<'s> Target<'s> {
    pub(crate) fn new(space: &'s Space, query: &Query, radius: u32) -> Self {
        let ordinals = Situation {
            severity: query.severity.unwrap_or_default(),
            affected_prefixes: query.affected_prefixes.unwrap_or_default(),
            node_count: query.node_count.unwrap_or_default(),
            ..nowhere()
        };
        let [severity, prefixes, nodes] = space.coordinates(&ordinals);
        Self {
            space,
            terms: Query {
                topology_class: query.topology_class.clone(),
                protocol: query.protocol.clone(),
                event_type: query.event_type.clone(),
                ..Query::default()
            },
            coordinates: [
                query.severity.map(|_| severity),
                query.affected_prefixes.map(|_| prefixes),
                query.node_count.map(|_| nodes),
            ],
            radius,
        }
    }

    /// Those of the coarse cells that lie within the radius, nearest first, with the distance of
    /// their terms: no packet in them is nearer.
    pub(crate) fn near<'c, T>(
        &self,
        cells: impl IntoIterator<Item = (&'c Cell, T)>,
    ) -> Vec<(u32, T)> {
        let near = cells.into_iter().filter_map(|(cell, tag)| {
            let distance = self.space.query_distance(&self.terms, &place(cell)?);
            (distance <= self.radius).then_some((distance, tag))
        });
        let mut near: Vec<(u32, T)> = near.collect();
        near.sort_by_key(|(distance, _)| *distance);
        near
    }
}

#[cfg(feature = "redis")]
impl Target<'_> {
    /// How far the ordinals are.
    pub(crate) fn distance(&self, at: Coordinates) -> u32 {
        let axes = self.coordinates.iter().zip(at);
        axes.filter_map(|(asked, value)| Some(asked.as_ref()?.abs_diff(value))).sum()
    }
}

const fn nowhere() -> Situation {
    Situation {
        topology_class: String::new(),
        protocol: String::new(),
        event_type: String::new(),
        severity: 0,
        affected_prefixes: 0,
        node_count: 0,
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn situations() -> impl Strategy<Value = Situation> {
        let words = |words: &'static [&'static str]| proptest::sample::select(words);
        (
            words(&["spine_leaf", "fat_tree", "hub_spoke", "ring", "odd/ *", ""]),
            words(&["bgp", "ospf", "bfd", "x"]),
            words(&["convergence", "flap", "saturation"]),
            any::<[u64; 3]>(),
            0u32..64,
        )
            .prop_map(|(topology, protocol, event, values, shift)| {
                let [severity, affected_prefixes, node_count] = values.map(|value| value >> shift);
                Situation {
                    topology_class: topology.into(),
                    protocol: protocol.into(),
                    event_type: event.into(),
                    severity,
                    affected_prefixes,
                    node_count,
                }
            })
    }

    proptest! {
        #[test]
        fn the_two_parts_are_the_whole_distance(a in situations(), b in situations(), open: u8) {
            let space = Space::default_definition();
            let mut query = Query::from(&a);
            if open & 1 != 0 { query.topology_class = None; }
            if open & 2 != 0 { query.event_type = None; }
            if open & 4 != 0 { query.severity = None; }
            if open & 8 != 0 { query.node_count = None; }
            let expected = space.query_distance(&query, &b);
            let target = Target::new(&space, &query, u32::MAX);
            let near = target.near([(&Cell::coarse(&space, &b), ())]);
            let at = space.coordinates(&b);
            prop_assert_eq!(near[0].0 + target.distance(at), expected);
            let nearer = Target::new(&space, &query, near[0].0.saturating_sub(1));
            prop_assert_eq!(nearer.near([(&Cell::coarse(&space, &b), ())]).is_empty(), near[0].0 > 0);
        }
    }
}
