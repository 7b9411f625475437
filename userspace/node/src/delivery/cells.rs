//! Which cells a node follows: those around its own situations.
//!
//! Owns the choice. Never subscribes.
//!
//! **Invariant:** what is followed covers everything within the radius of every situation that the
//! node was in, unless that is more than a subscription takes; what is left out is counted.

use std::collections::{BTreeMap, BTreeSet};

use edgelore_model::Query;
use edgelore_pipeline::distil::Site;
use edgelore_pipeline::fingerprint::{CELLS_NEAR_MAX, Grain, Space};
use edgelore_routing::{CELLS_MAX, Cell};

use crate::site::{UNKNOWN, ask};

/// The protocol and the event type of an incident, as terms of the similarity definition.
pub type Class = (String, String);

/// What is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By name; at most [`CELLS_MAX`].
    pub cells: Vec<Cell>,
    /// Cells within the radius that there was no room for, the farthest.
    pub left_out: usize,
}

/// The cells within `radius` milli-units of these classes of incidents in this network, and all of
/// the network's own topology class, whatever the protocol and the event.
#[must_use]
pub fn around(space: &Space, site: &Site, classes: &BTreeSet<Class>, radius: u32) -> Wanted {
    let mut near: BTreeMap<Cell, u32> = BTreeMap::new();
    let own = own(space, site);
    for (protocol, event_type) in classes {
        let query = ask(Query {
            topology_class: Some(site.topology_class.clone()),
            protocol: Some(protocol.clone()),
            event_type: Some(event_type.clone()),
            ..Query::default()
        });
        // A definition has fewer cells than that.
        let cells = space.cells_near(&query, radius, Grain::Coarse, CELLS_NEAR_MAX);
        for one in cells.unwrap_or_default() {
            if own.as_ref().is_none_or(|own| !own.covers(&one.cell)) {
                let distance = near.entry(one.cell).or_insert(one.distance);
                *distance = one.distance.min(*distance);
            }
        }
    }
    let mut near: Vec<(u32, Cell)> = near.into_iter().map(|(cell, far)| (far, cell)).collect();
    near.extend(own.map(|own| (0, own)));
    near.sort_unstable();
    let left_out = near.len().saturating_sub(CELLS_MAX);
    near.truncate(CELLS_MAX);
    let mut cells: Vec<Cell> = near.into_iter().map(|(_, cell)| cell).collect();
    cells.sort_unstable();
    Wanted { cells, left_out }
}

/// The cell of a topology class; `None` while the network's is not known.
fn own(space: &Space, site: &Site) -> Option<Cell> {
    if site.topology_class == UNKNOWN {
        return None;
    }
    let situation = edgelore_model::Situation {
        topology_class: site.topology_class.clone(),
        protocol: String::new(),
        event_type: String::new(),
        severity: 0,
        affected_prefixes: 0,
        node_count: 0,
    };
    let path = Cell::coarse(space, &situation).to_string();
    // Without the protocol and the event type.
    let mut wider = path.rsplitn(3, '/');
    wider.nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Situation;

    fn site(topology_class: &str) -> Site {
        Site { topology_class: topology_class.into(), node_count: 96 }
    }

    fn situation(words: [&str; 3]) -> Situation {
        let [topology_class, protocol, event_type] = words.map(str::to_owned);
        Situation {
            topology_class,
            protocol,
            event_type,
            severity: 1,
            affected_prefixes: 1,
            node_count: 1,
        }
    }

    #[test]
    fn everything_within_the_radius_of_a_class_is_followed() {
        let space = Space::default_definition();
        let classes = BTreeSet::from([("bgp".to_owned(), "convergence".to_owned())]);
        let wanted = around(&space, &site("spine_leaf"), &classes, 3_000);
        assert_eq!(wanted.left_out, 0);
        let follows = |words| {
            let exact = Cell::exact(&space, &situation(words));
            wanted.cells.iter().any(|cell| cell.covers(&exact))
        };
        let query = Query::from(&situation(["spine_leaf", "bgp", "convergence"]));
        let query = Query { severity: None, affected_prefixes: None, node_count: None, ..query };
        let mut followed = 0;
        for topology in ["spine_leaf", "fat_tree", "ring", "hub_spoke", "full_mesh"] {
            for protocol in ["bgp", "ospf", "bfd", "isis", "ldp"] {
                for event in ["convergence", "flap", "saturation", "degradation"] {
                    let words = [topology, protocol, event];
                    let near = space.query_distance(&query, &situation(words)) <= 3_000;
                    assert!(!near || follows(words), "{words:?}");
                    followed += usize::from(near);
                }
            }
        }
        assert!(followed > 1, "something else is near as well");
        assert!(follows(["spine_leaf", "ldp", "saturation"]), "all of the own topology class");
        assert!(!follows(["ring", "ldp", "saturation"]));
    }

    #[test]
    fn a_network_of_which_nothing_is_known_follows_nothing() {
        let space = Space::default_definition();
        let wanted = around(&space, &site(UNKNOWN), &BTreeSet::new(), 3_000);
        assert_eq!(wanted, Wanted::default());
        let classes = BTreeSet::from([("bgp".to_owned(), "flap".to_owned())]);
        let wanted = around(&space, &site(UNKNOWN), &classes, 0);
        let ring = Cell::exact(&space, &situation(["ring", "bgp", "flap"]));
        assert!(wanted.cells.iter().any(|cell| cell.covers(&ring)), "any topology");
    }

    #[test]
    fn no_more_is_followed_than_a_subscription_takes() {
        let space = Space::default_definition();
        let classes = ["bgp", "ospf", "isis", "ldp", "bfd"].map(|p| (p.to_owned(), "flap".into()));
        let wanted = around(&space, &site(UNKNOWN), &classes.into(), 20_000);
        assert_eq!(wanted.cells.len(), CELLS_MAX);
        assert!(wanted.left_out > 0);
    }
}
