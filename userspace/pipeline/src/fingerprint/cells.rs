//! Which cells lie within a radius of a query.
//!
//! Owns the enumeration, for backends that can look under a key but cannot measure: such a
//! backend files a situation under [`Cell::filed`], looks under every cell that
//! [`Space::cells_near`] names, and measures what it finds there with [`Space::reach`].
//!
//! **The distance of a cell** is that of the nearest situation that can be filed in it. A bucket is a
//! range of values and coordinates rise with values, so the nearest value of a bucket is the one
//! asked for if it lies inside, and else the end of the bucket that faces it. The nearest node count
//! is the one asked for.
//!
//! **Words that no taxonomy holds** are as many as there are words, so situations with such a word
//! are filed as if it were the empty word, which no taxonomy can hold: they share one cell of each
//! combination of the other fields.
//!
//! **Invariant:** exactly the cells that can hold a situation within the radius: none missing, none
//! more, each once.

use std::sync::OnceLock;

use edgelore_model::{Query, Situation};

use super::address::{Cell, prefixes_bucket, severity_bucket};
use super::similarity::{Ordinal, Space};
use super::taxonomy::Taxonomy;

/// A bound for those who have no other: more cells than these cost more to look under than a scan.
pub const CELLS_NEAR_MAX: usize = 65_536;

/// The word under which every word is filed that a taxonomy does not hold.
const UNLISTED: &str = "";

/// How narrow cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Topology class, protocol and event type.
    Coarse,
    /// These, and the buckets of severity and prefixes.
    Exact,
}

/// A cell that can hold situations within a radius.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NearCell {
    /// Milli-units from the query to the nearest situation that can be filed there.
    pub distance: u32,
    /// The cell.
    pub cell: Cell,
}

/// More cells lie within a radius than the caller wants to look under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {max} cells lie within the radius")]
pub struct TooManyCells {
    /// The bound that the caller gave.
    pub max: usize,
}

impl Cell {
    /// The cell under which a backend files a situation: [`Cell::coarse`] or [`Cell::exact`], with
    /// the empty word in the place of words that the space's taxonomies do not hold.
    #[must_use]
    pub fn filed(space: &Space, situation: &Situation, grain: Grain) -> Self {
        let mut filed = situation.clone();
        let words = [&mut filed.topology_class, &mut filed.protocol, &mut filed.event_type];
        for (word, taxonomy) in words.into_iter().zip(space.taxonomies()) {
            if taxonomy.position(word).is_none() {
                UNLISTED.clone_into(word);
            }
        }
        match grain {
            Grain::Coarse => Self::coarse(space, &filed),
            Grain::Exact => Self::exact(space, &filed),
        }
    }
}

impl Space {
    /// The cells that can hold situations within `radius` milli-units of `query`, nearest first,
    /// equally near ones by name. A field left open is as near everywhere. The query's resolution
    /// pattern plays no part.
    ///
    /// # Errors
    /// [`TooManyCells`] when there are more than `max`, before much more than that is computed.
    pub fn cells_near(
        &self,
        query: &Query,
        radius: u32,
        grain: Grain,
        max: usize,
    ) -> Result<Vec<NearCell>, TooManyCells> {
        let fields = self.near_segments(query, radius, grain);
        let mut walk = Walk { space: self, fields: &fields, max, found: Vec::new() };
        walk.descend(&mut Vec::new(), 0, radius)?;
        let mut found = walk.found;
        found.sort_unstable();
        Ok(found)
    }

    /// What can stand in each segment, with its distance.
    fn near_segments(&self, query: &Query, radius: u32, grain: Grain) -> Vec<Vec<Segment>> {
        let words = [&query.topology_class, &query.protocol, &query.event_type];
        let words = self.taxonomies().iter().zip(words);
        let mut fields: Vec<_> =
            words.map(|(tree, word)| near_words(tree, word.as_deref())).collect();
        if grain == Grain::Exact {
            let [severity, prefixes, _] = self.ordinals();
            let [severities, decades] = buckets();
            fields.push(near_buckets(*severity, query.severity, severities));
            fields.push(near_buckets(*prefixes, query.affected_prefixes, decades));
        }
        for field in &mut fields {
            field.retain(|segment| segment.distance <= radius);
            field.sort_unstable_by_key(|segment| segment.distance);
        }
        fields
    }
}

/// What can stand in one segment of a path.
struct Segment {
    distance: u32,
    word: String,
}

/// Every term, and the place of all other words.
fn near_words(taxonomy: &Taxonomy, asked: Option<&str>) -> Vec<Segment> {
    let asked = asked.map(|word| (word, taxonomy.term(word)));
    let listed = taxonomy.words().map(|word| {
        let distance =
            asked.as_ref().map(|(_, term)| taxonomy.distance(term, &taxonomy.term(word)));
        Segment { distance: distance.unwrap_or(0), word: word.to_owned() }
    });
    let unlisted = asked.as_ref().map_or(0, |(word, _)| taxonomy.distance_unlisted(word));
    listed.chain([Segment { distance: unlisted, word: UNLISTED.to_owned() }]).collect()
}

/// Values from `first` to `last`, which a path shows as one number.
struct Bucket {
    first: u64,
    last: u64,
}

fn near_buckets(ordinal: Ordinal, asked: Option<u64>, buckets: &[Bucket]) -> Vec<Segment> {
    let distance = |bucket: &Bucket| {
        asked.map_or(0, |value| {
            let nearest = value.clamp(bucket.first, bucket.last);
            ordinal.coordinate(nearest).abs_diff(ordinal.coordinate(value))
        })
    };
    let numbered = buckets.iter().enumerate();
    numbered
        .map(|(number, bucket)| Segment { distance: distance(bucket), word: number.to_string() })
        .collect()
}

/// The buckets of severities and of prefixes, by their numbers.
fn buckets() -> &'static [Vec<Bucket>; 2] {
    static BUCKETS: OnceLock<[Vec<Bucket>; 2]> = OnceLock::new();
    BUCKETS.get_or_init(|| [severity_bucket, prefixes_bucket].map(ranges))
}

/// The ranges of values that a rising function maps to 0, 1, and so on.
fn ranges(number: fn(u64) -> u32) -> Vec<Bucket> {
    let (mut ranges, mut first) = (Vec::new(), 0);
    loop {
        // The last value of the bucket lies in low ..= high.
        let (mut low, mut high) = (first, u64::MAX);
        while low < high {
            let middle = high - (high - low) / 2;
            if number(middle) == number(first) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        ranges.push(Bucket { first, last: low });
        if low == u64::MAX {
            return ranges;
        }
        first = low + 1;
    }
}

/// The combinations of segments within the radius, field by field.
struct Walk<'a> {
    space: &'a Space,
    fields: &'a [Vec<Segment>],
    max: usize,
    found: Vec<NearCell>,
}

impl<'a> Walk<'a> {
    fn descend(
        &mut self,
        chosen: &mut Vec<&'a str>,
        distance: u32,
        left: u32,
    ) -> Result<(), TooManyCells> {
        let Some(field) = self.fields.get(chosen.len()) else {
            return self.add(chosen, distance);
        };
        for segment in field.iter().take_while(|segment| segment.distance <= left) {
            chosen.push(&segment.word);
            self.descend(chosen, distance + segment.distance, left - segment.distance)?;
            chosen.pop();
        }
        Ok(())
    }

    fn add(&mut self, chosen: &[&str], distance: u32) -> Result<(), TooManyCells> {
        if self.found.len() == self.max {
            return Err(TooManyCells { max: self.max });
        }
        let family = self.space.topology_family(chosen[0]);
        let segments = [family].iter().chain(chosen).map(|word| (*word).to_owned()).collect();
        let cell = Cell::from_segments(self.space.short_id(), segments);
        self.found.push(NearCell { distance, cell });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::samples::{copy_field, opened, singapore, situations, spaces};
    use super::super::similarity::UNIT;
    use super::*;
    use proptest::prelude::*;

    /// A definition small enough for every situation with small values to be tried.
    const SMALL: &str = "
version = 1
topology_class = { weight = 700, taxonomy = { fabric = [\"clos\", \"tree\"], hub = [] } }
protocol = { weight = 900, taxonomy = { vector = [\"bgp\"] } }
event_type = { weight = 400, taxonomy = { flap = [], storm = [] } }
severity = { weight = 1000, scale = \"log2\" }
affected_prefixes = { weight = 1300, scale = \"log10\" }
node_count = { weight = 250, scale = \"log2\" }
";

    fn near(space: &Space, query: &Query, radius: u32, grain: Grain) -> Vec<NearCell> {
        space.cells_near(query, radius, grain, usize::MAX).unwrap()
    }

    /// With severities below 64, and prefixes on both sides of each edge below 104.
    fn every_situation() -> impl Iterator<Item = Situation> {
        let topologies = ["fabric", "clos", "tree", "hub", "none", "moebius"];
        let protocols = ["vector", "bgp", "unheard"];
        let events = ["flap", "storm", "quake"];
        let terms = topologies
            .into_iter()
            .flat_map(move |t| protocols.into_iter().map(move |p| (t, p)))
            .flat_map(move |(t, p)| events.into_iter().map(move |e| (t, p, e)));
        terms.flat_map(move |(topology, protocol, event)| {
            let prefixes = (0..13).chain(95..104);
            let values = (0..64).flat_map(move |s| prefixes.clone().map(move |p| (s, p)));
            values.map(move |(severity, affected_prefixes)| Situation {
                topology_class: topology.into(),
                protocol: protocol.into(),
                event_type: event.into(),
                severity,
                affected_prefixes,
                node_count: 3,
            })
        })
    }

    /// Every situation with small values is measured; whatever lies within the radius names its
    /// cell, and the nearest of a cell its distance.
    #[test]
    fn exactly_the_cells_that_brute_force_finds() {
        let space = Space::parse(SMALL).unwrap();
        let asked = |topology: &str, severity, affected_prefixes| Situation {
            topology_class: topology.into(),
            protocol: "bgp".into(),
            event_type: "flap".into(),
            severity,
            affected_prefixes,
            node_count: 3,
        };
        // Radii at which nothing beyond the values that are tried lies within reach.
        let cases = [
            (asked("clos", 5, 3), 0, 1_500),
            (asked("clos", 0, 9), 0, 1_300),
            (asked("moebius", 6, 10), 0, 1_350),
            (asked("hub", 3, 0), 0b000_111, 1_500),
            (asked("clos", 7, 8), 0b100_010, 1_200),
        ];
        for (situation, mask, radius) in cases {
            let query = opened(&situation, mask);
            for grain in [Grain::Coarse, Grain::Exact] {
                let mut nearest: BTreeMap<Cell, u32> = BTreeMap::new();
                for other in every_situation() {
                    let distance = space.query_distance(&query, &other);
                    if distance <= radius {
                        let cell = Cell::filed(&space, &other, grain);
                        let least = nearest.entry(cell).or_insert(distance);
                        *least = distance.min(*least);
                    }
                }
                let mut expected: Vec<NearCell> = nearest
                    .into_iter()
                    .map(|(cell, distance)| NearCell { distance, cell })
                    .collect();
                expected.sort();
                assert_eq!(near(&space, &query, radius, grain), expected, "{query:?} {grain:?}");
            }
        }
    }

    /// The numbers of cells that a backend has to look under with the shipped definition. Inner
    /// terms, such as `fabric`, are words that a situation can have, too.
    #[test]
    fn how_many_cells_an_ordinary_query_touches() {
        let space = Space::default_definition();
        let query = Query::from(&singapore());
        let count = |radius, grain| near(&space, &query, radius * UNIT, grain).len();
        let counts = [2, 3, 4, 8].map(|r| (count(r, Grain::Exact), count(r, Grain::Coarse)));
        assert_eq!(counts, [(26, 4), (75, 8), (175, 16), (2_714, 127)]);
    }

    #[test]
    fn a_bound_is_kept() {
        let space = Space::default_definition();
        let all = near(&space, &Query::default(), 0, Grain::Coarse).len();
        let asked = |max| space.cells_near(&Query::default(), 0, Grain::Coarse, max);
        assert_eq!(asked(all).unwrap().len(), all);
        assert_eq!(asked(all - 1).unwrap_err(), TooManyCells { max: all - 1 });
    }

    #[test]
    fn buckets_cover_every_value_once() {
        for (buckets, count) in buckets().iter().zip([64, 20]) {
            assert_eq!(buckets.len(), count);
            assert_eq!((buckets[0].first, buckets[count - 1].last), (0, u64::MAX));
            assert!(buckets.windows(2).all(|pair| pair[1].first == pair[0].last + 1));
        }
    }

    #[test]
    fn words_that_no_taxonomy_holds_share_a_cell() {
        let space = Space::default_definition();
        let filed = |topology: &str, protocol: &str| {
            let topology_class = topology.to_owned();
            let situation = Situation { topology_class, protocol: protocol.into(), ..singapore() };
            Cell::filed(&space, &situation, Grain::Exact)
        };
        assert_eq!(filed("moebius", "rip"), filed("klein", "babel"));
        let path = filed("moebius", "rip").to_string();
        assert!(path.ends_with("/other/%/%/convergence/18/3"), "{path}");
        assert_eq!(filed("moebius", "rip"), path.parse().unwrap());
        assert_eq!(filed("spine_leaf", "bgp"), Cell::exact(&space, &singapore()));
    }

    /// A situation filed in a cell, as near to the query as one can be.
    fn witness(space: &Space, query: &Query, cell: &Cell) -> Situation {
        let path = cell.to_string();
        let words: Vec<&str> = path.split('/').skip(4).collect();
        // A word that no taxonomy holds: the asked one if it is such.
        let word = |at: usize, asked: &Option<String>| match words[at] {
            "%" => {
                let strange =
                    asked.clone().filter(|w| space.taxonomies()[at].position(w).is_none());
                strange.unwrap_or_else(|| "unheard of".to_owned())
            }
            listed => listed.to_owned(),
        };
        let value = |at: usize, asked: Option<u64>| {
            let number: usize = words[3 + at].parse().unwrap();
            let bucket = &buckets()[at][number];
            asked.unwrap_or(bucket.first).clamp(bucket.first, bucket.last)
        };
        Situation {
            topology_class: word(0, &query.topology_class),
            protocol: word(1, &query.protocol),
            event_type: word(2, &query.event_type),
            severity: value(0, query.severity),
            affected_prefixes: value(1, query.affected_prefixes),
            node_count: query.node_count.unwrap_or(0),
        }
    }

    proptest! {
        #[test]
        fn none_is_missing(
            space in spaces(),
            asked in situations(),
            stranger in situations(),
            fields in proptest::collection::vec(0usize..6, 0..3),
            factor in 1u64..12,
            mask in 0u8..64,
        ) {
            let mut other = asked.clone();
            other.severity = other.severity.saturating_mul(factor);
            other.affected_prefixes /= factor;
            fields.iter().for_each(|field| copy_field(&mut other, &stranger, *field));
            let query = opened(&asked, mask);
            let radius = space.query_distance(&query, &other);
            for grain in [Grain::Coarse, Grain::Exact] {
                let filed = Cell::filed(&space, &other, grain);
                // Where there are too many to list, a backend would scan.
                if let Ok(cells) = space.cells_near(&query, radius, grain, 20_000) {
                    prop_assert!(cells.iter().any(|near| near.cell == filed), "{filed}");
                }
            }
        }

        #[test]
        fn none_is_more(
            space in spaces(),
            asked in situations(),
            open in 0u8..7,
            radius in 0u32..5_000,
        ) {
            let query = opened(&asked, 1 << open);
            let cells = near(&space, &query, radius, Grain::Exact);
            for NearCell { distance, cell } in &cells {
                let witness = witness(&space, &query, cell);
                prop_assert_eq!(&Cell::filed(&space, &witness, Grain::Exact), cell);
                prop_assert_eq!(space.query_distance(&query, &witness), *distance);
                prop_assert!(*distance <= radius);
            }
            let mut once: Vec<&Cell> = cells.iter().map(|near| &near.cell).collect();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), cells.len());
        }
    }
}
