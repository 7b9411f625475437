//! Situations as vectors whose L1 distance is the distance of the space, for vector stores.
//!
//! ```text
//! for each of topology class, protocol, event type:
//!   one dimension for each term of its taxonomy, in the order of their paths: the length of an
//!     edge where the term is the word itself or lies on the way to it, else 0
//!   UNLISTED_DIMENSIONS: for a word that the taxonomy does not hold, the way to it from the root in
//!     the dimension that its SHA-256 chooses, else 0
//! for each of severity, affected prefixes, node count:
//!   one dimension: the coordinate on its scale
//! ```
//!
//! So two terms differ in just the edges between them. The shipped definition has 58 dimensions.
//!
//! Owns this layout. Never measures: the store does. Uses floating point only to hold integers, as
//! vector stores want them: every value is one below 2^23, which an `f32` holds, and a sum of
//! differences is exact while it stays below 2^24 milli-units, 16,777 units, as all distances do
//! with the shipped definition.
//!
//! **Invariant:** the L1 distance of two vectors equals [`Space::distance`], but for two *different*
//! words that no taxonomy holds and whose hashes choose the same dimension: there it is less, so
//! that a search by radius never misses, and measuring again sorts it out.

use std::ops::Range;

use edgelore_kernels::sha256;
use edgelore_model::{Query, Situation};

use super::similarity::{FIELDS, Space};
use super::taxonomy::Taxonomy;

/// Dimensions of each taxonomy for words that it does not hold.
pub const UNLISTED_DIMENSIONS: usize = 4;

impl Space {
    /// How many dimensions vectors of this space have: at most 783.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.layout()[FIELDS.len() - 1].end
    }

    /// Which dimensions belong to topology class, protocol, event type, severity, affected prefixes
    /// and node count. For a query with open fields a store measures the others alone.
    #[must_use]
    pub fn layout(&self) -> [Range<usize>; 6] {
        let [topology, protocol, event] = self.taxonomies();
        let sizes = [dimensions(topology), dimensions(protocol), dimensions(event), 1, 1, 1];
        let mut at = 0;
        sizes.map(|size| {
            at += size;
            at - size..at
        })
    }

    /// The vector of a situation.
    #[must_use]
    pub fn embed(&self, situation: &Situation) -> Vec<f32> {
        self.embed_query(&Query::from(situation))
    }

    /// The vector of a query; zero in the dimensions of open fields, which are not to be measured.
    #[must_use]
    pub fn embed_query(&self, query: &Query) -> Vec<f32> {
        let layout = self.layout();
        let mut vector = vec![0.0; self.dimensions()];
        let words = [&query.topology_class, &query.protocol, &query.event_type];
        for ((taxonomy, word), range) in self.taxonomies().iter().zip(words).zip(&layout) {
            if let Some(word) = word {
                embed_word(taxonomy, word, &mut vector[range.clone()]);
            }
        }
        let values = [query.severity, query.affected_prefixes, query.node_count];
        for ((ordinal, value), range) in self.ordinals().iter().zip(values).zip(&layout[3..]) {
            vector[range.start] = value.map_or(0.0, |value| ordinal.coordinate(value) as f32);
        }
        vector
    }
}

fn dimensions(taxonomy: &Taxonomy) -> usize {
    taxonomy.paths().len() + UNLISTED_DIMENSIONS
}

fn embed_word(taxonomy: &Taxonomy, word: &str, out: &mut [f32]) {
    let terms = taxonomy.paths().len();
    if let Some(at) = taxonomy.position(word) {
        for term in &taxonomy.paths()[usize::from(at)] {
            let at = taxonomy.position(term).map_or(terms, usize::from);
            out[at] = taxonomy.weight() as f32;
        }
    } else {
        let mut digest = [[0; 32]];
        sha256::digest_many(&[word.as_bytes()], &mut digest);
        let chosen = usize::from(digest[0][0]) % UNLISTED_DIMENSIONS;
        out[terms + chosen] = (taxonomy.outside() as u32 * taxonomy.weight()) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{opened, singapore, situations, spaces};
    use super::*;
    use proptest::prelude::*;

    fn l1(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
    }

    /// In some field both words are unknown to the taxonomy, and differ.
    fn strangers(space: &Space, a: &Situation, b: &Situation) -> bool {
        let words = [
            (&a.topology_class, &b.topology_class),
            (&a.protocol, &b.protocol),
            (&a.event_type, &b.event_type),
        ];
        space.taxonomies().iter().zip(words).any(|(taxonomy, (a, b))| {
            let strange = |word: &String| taxonomy.position(word).is_none();
            a != b && strange(a) && strange(b)
        })
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let space = Space::default_definition();
        assert_eq!(space.layout(), [0..28, 28..45, 45..55, 55..56, 56..57, 57..58]);
        assert_eq!(space.dimensions(), 58);
        let vector = space.embed(&singapore());
        assert_eq!(vector.iter().filter(|value| **value != 0.0).count(), 9);
        assert_eq!(vector[55], 18_375.0);
    }

    #[test]
    fn most_words_that_no_taxonomy_holds_are_told_apart() {
        let space = Space::default_definition();
        let at = |n: u32| Situation { protocol: format!("strange{n}"), ..singapore() };
        let vectors: Vec<_> = (0..40).map(|n| space.embed(&at(n))).collect();
        let pairs = vectors.iter().flat_map(|a| vectors.iter().map(move |b| l1(a, b)));
        let far = pairs.filter(|distance| *distance > 0.0).count();
        assert!((1_000..1_400).contains(&far), "about three in four of 1,560: {far}");
    }

    proptest! {
        #[test]
        fn l1_distances_equal_the_metric(space in spaces(), a in situations(), b in situations()) {
            let (measured, exact) = (l1(&space.embed(&a), &space.embed(&b)), space.distance(&a, &b));
            if strangers(&space, &a, &b) {
                prop_assert!(measured <= exact as f32);
            } else {
                prop_assert_eq!(measured, exact as f32);
            }
        }

        #[test]
        fn open_fields_are_left_out(a in situations(), b in situations(), mask in 0u8..64) {
            let space = Space::default_definition();
            let query = opened(&a, mask);
            let (asked, vector) = (space.embed_query(&query), space.embed(&b));
            let fields = space.layout().into_iter().enumerate();
            let measured: f32 = fields
                .filter(|(field, _)| mask & (1 << field) == 0)
                .map(|(_, range)| l1(&asked[range.clone()], &vector[range]))
                .sum();
            if !strangers(&space, &a, &b) {
                prop_assert_eq!(measured, space.query_distance(&query, &b) as f32);
            }
        }
    }
}
