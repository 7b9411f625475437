//! Why two situations are as far from each other as they are.
//!
//! Owns the words. Never measures otherwise than [`Space::reach`] does.
//!
//! **Invariant:** the distances of the fields add up to the whole.

use edgelore_model::Query;
use serde::Serialize;

use super::similarity::{FIELDS, Ordinal, Scale, Space};
use super::taxonomy::Taxonomy;

/// What one field adds to a distance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldDistance {
    /// The field's name in a definition.
    pub field: &'static str,
    /// Its value on one side; `None` where it is open.
    pub a: Option<String>,
    /// Its value on the other side.
    pub b: Option<String>,
    /// Milli-units.
    pub distance: u32,
    /// How it comes about.
    pub reason: String,
}

impl Space {
    /// Every field's part in the distance of two situations, in the order of an address. A field that
    /// is open on either side costs nothing.
    #[must_use]
    pub fn explain(&self, a: &Query, b: &Query) -> [FieldDistance; 6] {
        let [topology, protocol, event] = self.taxonomies();
        let [severity, prefixes, nodes] = self.ordinals();
        let term = |field, taxonomy, a: &Option<String>, b: &Option<String>| {
            let pair = a.as_deref().zip(b.as_deref());
            let (distance, reason) = pair.map_or_else(open, |(a, b)| way(taxonomy, a, b));
            FieldDistance { field, a: a.clone(), b: b.clone(), distance, reason }
        };
        let ordinal = |field, ordinal: &Ordinal, a: Option<u64>, b: Option<u64>| {
            let (distance, reason) = a.zip(b).map_or_else(open, |(a, b)| steps(*ordinal, a, b));
            let [a, b] = [a, b].map(|value| value.map(|value| value.to_string()));
            FieldDistance { field, a, b, distance, reason }
        };
        [
            term(FIELDS[0], topology, &a.topology_class, &b.topology_class),
            term(FIELDS[1], protocol, &a.protocol, &b.protocol),
            term(FIELDS[2], event, &a.event_type, &b.event_type),
            ordinal(FIELDS[3], severity, a.severity, b.severity),
            ordinal(FIELDS[4], prefixes, a.affected_prefixes, b.affected_prefixes),
            ordinal(FIELDS[5], nodes, a.node_count, b.node_count),
        ]
    }
}

fn open() -> (u32, String) {
    (0, "left open".to_owned())
}

/// The way through a taxonomy.
fn way(taxonomy: &Taxonomy, a: &str, b: &str) -> (u32, String) {
    let distance = taxonomy.distance(&taxonomy.term(a), &taxonomy.term(b));
    let weight = taxonomy.weight();
    if weight == 0 {
        return (0, "the field weighs nothing".to_owned());
    }
    let strange: Vec<&str> =
        [a, b].into_iter().filter(|w| taxonomy.position(w).is_none()).collect();
    let over = match (a == b, strange.as_slice()) {
        (true, _) => return (distance, "the same word".to_owned()),
        (_, [word]) => format!("'{word}' is not in the taxonomy"),
        (_, [_, _]) => "neither is in the taxonomy".to_owned(),
        _ => format!("by {}", taxonomy.meeting(a, b).unwrap_or("the root")),
    };
    (distance, format!("{} edges of {weight}: {over}", distance / weight))
}

/// The way along a scale.
fn steps(ordinal: Ordinal, a: u64, b: u64) -> (u32, String) {
    let (a, b) = (ordinal.coordinate(a), ordinal.coordinate(b));
    let step = match ordinal.scale {
        Scale::Log2 => "a doubling",
        Scale::Log10 => "a decade",
    };
    let reason = format!("from {a} to {b}, {} for {step}", ordinal.weight);
    (a.abs_diff(b), reason)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{opened, singapore, situations, spaces};
    use super::*;
    use edgelore_model::Situation;
    use proptest::prelude::*;

    #[test]
    fn each_field_tells_its_part_and_why() {
        let space = Space::default_definition();
        let other = Situation {
            topology_class: "clos_5stage".into(),
            protocol: "moebius".into(),
            event_type: "degradation".into(),
            severity: 680_001,
            affected_prefixes: 8_200,
            node_count: 96,
        };
        let mut asked = Query::from(&singapore());
        asked.node_count = None;
        let told = space.explain(&asked, &Query::from(&other)).map(|f| (f.distance, f.reason));
        let expected = [
            (2_500, "2 edges of 1250: by fabric"),
            (8_750, "5 edges of 1750: 'moebius' is not in the taxonomy"),
            (8_000, "4 edges of 2000: by the root"),
            (1_000, "from 18375 to 19375, 1000 for a doubling"),
            (0, "from 3913 to 3913, 1000 for a decade"),
            (0, "left open"),
        ];
        assert_eq!(told, expected.map(|(distance, reason)| (distance, reason.to_owned())));
    }

    proptest! {
        #[test]
        fn the_parts_add_up(space in spaces(), a in situations(), b in situations(), mask in 0u8..64) {
            let query = opened(&a, mask);
            let parts = space.explain(&query, &Query::from(&b));
            let sum: u32 = parts.iter().map(|part| part.distance).sum();
            prop_assert_eq!(sum, space.query_distance(&query, &b));
        }
    }
}
