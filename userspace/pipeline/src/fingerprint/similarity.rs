//! How far two situations are from each other.
//!
//! Owns the metric: a weighted sum over three taxonomies and three ordinal scales. Never uses
//! floating point, and never buckets: ordinals are measured on the value itself, so no bucket edge
//! parts neighbours.
//!
//! **Unit.** Distances are integers in milli-units; people speak of units. "Radius 3" is
//! `3 * UNIT` = 3000. With the default definition one unit is one doubling of the severity or one
//! decade of the prefixes.
//!
//! **Resolution.** An ordinal's coordinate is `weight * log(value + 1)`, computed with 2^-16 of a
//! doubling and rounded down to a milli-unit. Distances are differences of coordinates, so the
//! rounding never breaks the triangle inequality.
//!
//! **Invariant:** symmetric; triangle inequality; zero exactly for situations with the same
//! [`Point`], which is to say equal in all that the definition sees: the same words, and ordinals
//! that round to the same milli-unit, in every field whose weight is not zero; equal on every
//! machine.

use std::sync::OnceLock;

use edgelore_kernels::sha256;
use edgelore_model::{Query, Situation};

use super::definition::{self, SpaceError};
use super::logarithm::{FRACTION_BITS, log2, log10, log10_of_log2};
use super::taxonomy::{Taxonomy, Term};

/// Milli-units in the unit in which people give a radius.
pub const UNIT: u32 = 1000;
/// The radius of a query that names none, milli-units.
pub const RADIUS_DEFAULT: u32 = 3 * UNIT;

/// Fields with a taxonomy, in the order of the address.
pub(super) const TERM_FIELDS: [&str; 3] = ["topology_class", "protocol", "event_type"];
/// Fields with a scale, in the order of the address.
pub(super) const ORDINALS: [&str; 3] = ["severity", "affected_prefixes", "node_count"];
/// All fields of a definition.
pub(super) const FIELDS: [&str; 6] =
    ["topology_class", "protocol", "event_type", "severity", "affected_prefixes", "node_count"];

/// A logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// A step is a doubling.
    Log2,
    /// A step is a decade.
    Log10,
}

impl Scale {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Log2, Self::Log10].into_iter().find(|scale| scale.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Log2 => "log2",
            Self::Log10 => "log10",
        }
    }
}

/// An ordinal field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ordinal {
    /// Milli-units a step.
    pub(super) weight: u32,
    pub(super) scale: Scale,
}

impl Ordinal {
    /// The place of a value on the scale, milli-units from that of zero.
    pub(super) fn coordinate(self, value: u64) -> u32 {
        let steps = match self.scale {
            Scale::Log2 => log2(value),
            Scale::Log10 => log10(value),
        };
        self.milli_units(steps)
    }

    /// Milli-units that two values can lie apart whose base-2 logarithms differ by at most
    /// `difference`, in units of 2^-16.
    pub(super) fn farthest(self, difference: u32) -> u32 {
        // Both logarithms and both coordinates are rounded down: that adds at most one each.
        let steps = match self.scale {
            Scale::Log2 => difference,
            Scale::Log10 => log10_of_log2(difference) + u32::from(difference > 0),
        };
        self.milli_units(steps) + u32::from(steps > 0 && self.weight > 0)
    }

    fn milli_units(self, steps: u32) -> u32 {
        ((u64::from(steps) * u64::from(self.weight)) >> FRACTION_BITS) as u32
    }
}

/// A similarity definition, ready to measure with.
#[derive(Clone, Debug)]
pub struct Space {
    taxonomies: [Taxonomy; 3],
    ordinals: [Ordinal; 3],
    id: [u8; 32],
}

/// A situation's place in a [`Space`]; only comparable within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    terms: [Term; 3],
    coordinates: [u32; 3],
}

impl Point {
    /// Its terms and its coordinates, in the order of the address.
    pub(super) const fn parts(&self) -> (&[Term; 3], [u32; 3]) {
        (&self.terms, self.coordinates)
    }
}

/// A query's place in a [`Space`]: a field left open has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aim {
    terms: [Option<Term>; 3],
    coordinates: [Option<u32>; 3],
}

impl Aim {
    /// Its terms and its coordinates, in the order of the address.
    pub(super) const fn parts(&self) -> (&[Option<Term>; 3], [Option<u32>; 3]) {
        (&self.terms, self.coordinates)
    }
}

impl Space {
    pub(super) fn new(taxonomies: [Taxonomy; 3], ordinals: [Ordinal; 3]) -> Self {
        let mut space = Self { taxonomies, ordinals, id: [0; 32] };
        let canonical = definition::canonical(&space);
        let mut id = [[0; 32]];
        sha256::digest_many(&[canonical.as_bytes()], &mut id);
        space.id = id[0];
        space
    }

    /// Reads a definition (`similarity.toml`).
    ///
    /// # Errors
    /// [`SpaceError`] with the line and the reason.
    pub fn parse(text: &str) -> Result<Self, SpaceError> {
        definition::parse(text)
    }

    /// The text of the definition that ships with Edgelore, to start an own one from.
    #[must_use]
    pub const fn default_text() -> &'static str {
        include_str!("similarity.toml")
    }

    /// The definition that ships with Edgelore.
    #[must_use]
    pub fn default_definition() -> Self {
        static SPACE: OnceLock<Space> = OnceLock::new();
        SPACE
            .get_or_init(|| {
                Self::parse(Self::default_text()).expect("the shipped definition is valid")
            })
            .clone()
    }

    /// What the definition says, one line a fact, whatever the file's comments, order and spacing.
    #[must_use]
    pub fn canonical(&self) -> String {
        definition::canonical(self)
    }

    /// SHA-256 of the definition's canonical form.
    #[must_use]
    pub const fn id(&self) -> [u8; 32] {
        self.id
    }

    /// The first eight bytes of [`Space::id`], as packets and addresses carry it.
    #[must_use]
    pub fn short_id(&self) -> [u8; 8] {
        *self.id.first_chunk().expect("32 bytes have a first 8")
    }

    /// The place of a situation.
    #[must_use]
    pub fn locate(&self, situation: &Situation) -> Point {
        let [topology, protocol, event] = &self.taxonomies;
        Point {
            terms: [
                topology.term(&situation.topology_class),
                protocol.term(&situation.protocol),
                event.term(&situation.event_type),
            ],
            coordinates: self.coordinates(situation),
        }
    }

    /// Severity, prefixes and nodes of a situation, each in milli-units from zero.
    #[must_use]
    pub fn coordinates(&self, situation: &Situation) -> [u32; 3] {
        let [severity, prefixes, nodes] = self.ordinals;
        [
            severity.coordinate(situation.severity),
            prefixes.coordinate(situation.affected_prefixes),
            nodes.coordinate(situation.node_count),
        ]
    }

    /// The place of a query. The resolution pattern has no place: it is a filter, since the
    /// answer must not be part of the question.
    #[must_use]
    pub fn aim(&self, query: &Query) -> Aim {
        let [topology, protocol, event] = &self.taxonomies;
        let [severity, prefixes, nodes] = self.ordinals;
        Aim {
            terms: [
                query.topology_class.as_deref().map(|word| topology.term(word)),
                query.protocol.as_deref().map(|word| protocol.term(word)),
                query.event_type.as_deref().map(|word| event.term(word)),
            ],
            coordinates: [
                query.severity.map(|value| severity.coordinate(value)),
                query.affected_prefixes.map(|value| prefixes.coordinate(value)),
                query.node_count.map(|value| nodes.coordinate(value)),
            ],
        }
    }

    /// Milli-units from a query to a point of this space; an open field costs nothing.
    #[must_use]
    pub fn reach(&self, aim: &Aim, point: &Point) -> u32 {
        let terms = self.taxonomies.iter().zip(&aim.terms).zip(&point.terms);
        let terms: u32 = terms
            .filter_map(|((taxonomy, asked), term)| Some(taxonomy.distance(asked.as_ref()?, term)))
            .sum();
        let ordinals = aim.coordinates.iter().zip(point.coordinates);
        let ordinals: u32 =
            ordinals.filter_map(|(asked, value)| Some(asked.as_ref()?.abs_diff(value))).sum();
        terms + ordinals
    }

    /// Milli-units between two situations.
    #[must_use]
    pub fn distance(&self, a: &Situation, b: &Situation) -> u32 {
        self.query_distance(&Query::from(a), b)
    }

    /// Milli-units from a query to a situation; an open field costs nothing.
    #[must_use]
    pub fn query_distance(&self, query: &Query, situation: &Situation) -> u32 {
        self.reach(&self.aim(query), &self.locate(situation))
    }

    /// The topology family (the first branch of the taxonomy) of a topology class; `other` for a
    /// class that the taxonomy does not hold.
    #[must_use]
    pub fn topology_family(&self, topology_class: &str) -> &str {
        self.taxonomies[0].family(topology_class)
    }

    /// Milli-units that two situations can lie apart at most.
    #[must_use]
    pub fn diameter(&self) -> u32 {
        self.farthest(0)
    }

    /// How many branches lead to a topology class, itself included; 0 for one that the taxonomy
    /// does not hold.
    #[must_use]
    pub fn topology_depth(&self, topology_class: &str) -> usize {
        self.taxonomies[0].path(topology_class).len()
    }

    /// A topology class as far as `depth` branches tell it; itself when it is no deeper.
    #[must_use]
    pub fn topology_at<'c>(&'c self, topology_class: &'c str, depth: usize) -> &'c str {
        let path = self.taxonomies[0].path(topology_class);
        depth.checked_sub(1).and_then(|at| path.get(at)).map_or(topology_class, String::as_str)
    }

    pub(super) const fn taxonomies(&self) -> &[Taxonomy; 3] {
        &self.taxonomies
    }

    pub(super) const fn ordinals(&self) -> &[Ordinal; 3] {
        &self.ordinals
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{copy_field, opened, singapore, situations, spaces};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_reference_example_is_found_at_radius_3() {
        let space = Space::default_definition();
        let mut query = Query::from(&singapore());
        query.severity = Some(300_000);
        query.affected_prefixes = Some(6_000);
        let distance = space.query_distance(&query, &singapore());
        assert!((1..=3 * UNIT).contains(&distance), "{distance}");
        query.resolution_pattern = Some("bfd_tuning".into());
        assert_eq!(space.query_distance(&query, &singapore()), distance);
    }

    #[test]
    fn bucket_edges_part_no_neighbours() {
        let space = Space::default_definition();
        let at =
            |severity, affected_prefixes| Situation { severity, affected_prefixes, ..singapore() };
        assert!(space.distance(&at(499, 9_999), &at(500, 9_999)) <= 3);
        assert!(space.distance(&at(500, 9_999), &at(500, 10_000)) <= 1);
    }

    #[test]
    fn default_weights_read_as_their_comments_say() {
        let space = Space::default_definition();
        let to = |change: &dyn Fn(&mut Situation)| {
            let mut other = singapore();
            change(&mut other);
            space.distance(&singapore(), &other)
        };
        assert_eq!(to(&|s| s.topology_class = "clos_5stage".into()), 2_500);
        assert_eq!(to(&|s| s.topology_class = "hub_spoke".into()), 5_000);
        assert_eq!(to(&|s| s.protocol = "ospf".into()), 7_000);
        assert_eq!(to(&|s| s.event_type = "flap".into()), 4_000);
        assert_eq!(to(&|s| s.topology_class = "moebius".into()), 6_250);
        assert_eq!(to(&|s| s.severity = 680_001), 1_000);
        assert!((999..=1_000).contains(&to(&|s| s.affected_prefixes = 82_009)));
        assert_eq!(to(&|s| s.node_count = 193), 250);
        assert_eq!(to(&|_| ()), 0);
    }

    #[test]
    fn an_empty_query_is_near_everything() {
        let space = Space::default_definition();
        assert_eq!(space.query_distance(&Query::default(), &singapore()), 0);
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(
            space in spaces(),
            a in situations(),
            b in situations(),
            c in situations(),
        ) {
            prop_assert_eq!(space.distance(&a, &a), 0);
            prop_assert_eq!(space.distance(&a, &b), space.distance(&b, &a));
            prop_assert!(space.distance(&a, &c) <= space.distance(&a, &b) + space.distance(&b, &c));
        }

        /// What a space does not see is what differs by less than a milli-unit, and fields that
        /// weigh nothing.
        #[test]
        fn only_what_a_space_sees_as_equal_is_at_distance_zero(
            space in spaces(),
            a in situations(),
            b in situations(),
            field in 0usize..7,
        ) {
            // Often all but one field are equal.
            let mut b = b;
            if field < 6 {
                let kept = b.clone();
                b = a.clone();
                copy_field(&mut b, &kept, field);
            }
            prop_assert_eq!(space.distance(&a, &b) == 0, space.locate(&a) == space.locate(&b));
            let seen = a.topology_class == b.topology_class
                && a.protocol == b.protocol
                && a.event_type == b.event_type
                && a.severity == b.severity
                && a.affected_prefixes == b.affected_prefixes
                && a.node_count == b.node_count;
            prop_assert!(!seen || space.distance(&a, &b) == 0);
        }

        #[test]
        fn open_fields_never_add(a in situations(), b in situations(), mask in 0u8..64) {
            let space = Space::default_definition();
            let query = opened(&a, mask);
            prop_assert!(space.query_distance(&query, &b) <= space.distance(&a, &b));
        }
    }

    #[test]
    fn words_and_doublings_apart_are_never_at_distance_zero() {
        let space = Space::default_definition();
        let words = ["spine_leaf", "fabric", "other", "", "spine_leaf ", "Spine_leaf"];
        for (a, b) in words.iter().flat_map(|a| words.iter().map(move |b| (a, b))) {
            let at = |word: &str| Situation { topology_class: word.into(), ..singapore() };
            assert_eq!(space.distance(&at(a), &at(b)) == 0, a == b, "{a:?} {b:?}");
        }
        let at = |severity| Situation { severity, ..singapore() };
        for severity in 0..1_000 {
            assert!(space.distance(&at(severity), &at(severity + 1)) > 0, "{severity}");
        }
    }

    #[test]
    fn a_field_without_weight_is_not_seen() {
        let text = Space::default_text().replace("weight = 1750", "weight = 0");
        let space = Space::parse(&text).unwrap();
        let mut other = singapore();
        for word in ["ospf", "unheard_of"] {
            other.protocol = word.into();
            assert_eq!(space.distance(&singapore(), &other), 0);
            assert_eq!(space.locate(&singapore()), space.locate(&other));
        }
    }
}
