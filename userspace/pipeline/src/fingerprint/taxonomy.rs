//! A tree of terms and the distance through it.
//!
//! Owns the tree metric. Never reads a file: [`super::definition`] builds it.
//!
//! **Invariant:** distances form a metric. Terms that the tree does not hold hang on branches of
//! their own at the root, one edge longer than the deepest, so the triangle inequality holds for
//! them too.

use std::collections::HashMap;

use ahash::RandomState;

/// Terms in one taxonomy, families included.
pub(super) const TERMS_MAX: usize = 256;
/// Edges from the root to a term.
pub(super) const DEPTH_MAX: usize = 8;

/// The word that stands for the family of a term that the tree does not hold.
const FAMILY_UNKNOWN: &str = "other";

/// A term's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Term {
    /// Its index in the tree.
    Known(u16),
    /// Not in the tree: the word itself.
    Unknown(Box<str>),
}

/// A built tree.
#[derive(Clone, Debug)]
pub(super) struct Taxonomy {
    /// Milli-units an edge.
    weight: u32,
    /// From the root's child down to the term, by index.
    paths: Vec<Vec<String>>,
    index: HashMap<String, u16, RandomState>,
    /// Milli-units between known terms, row by row.
    table: Vec<u32>,
    deepest: usize,
}

impl Taxonomy {
    /// From the paths of all its terms; the caller has checked the bounds, that each path's last
    /// word is unique, and that the way to each term is there too.
    pub(super) fn new(weight: u32, mut paths: Vec<Vec<String>>) -> Self {
        paths.sort();
        let index = (0u16..)
            .zip(&paths)
            .filter_map(|(at, path)| Some((path.last()?.clone(), at)))
            .collect();
        let deepest = paths.iter().map(Vec::len).max().unwrap_or(0);
        let table =
            paths.iter().flat_map(|a| paths.iter().map(|b| edges(a, b) as u32 * weight)).collect();
        Self { weight, paths, index, table, deepest }
    }

    pub(super) const fn weight(&self) -> u32 {
        self.weight
    }

    /// Every term's path, sorted.
    pub(super) fn paths(&self) -> &[Vec<String>] {
        &self.paths
    }

    /// The place of a word. Where edges have no length all words have the same place.
    pub(super) fn term(&self, word: &str) -> Term {
        if self.weight == 0 {
            return Term::Unknown("".into());
        }
        self.index.get(word).map_or_else(|| Term::Unknown(word.into()), |at| Term::Known(*at))
    }

    /// The terms that the tree holds, in the order of [`Taxonomy::paths`].
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().filter_map(|path| path.last()).map(String::as_str)
    }

    /// Where a word stands among [`Taxonomy::words`].
    pub(super) fn position(&self, word: &str) -> Option<u16> {
        self.index.get(word).copied()
    }

    /// The term at which the ways of two terms from the root part; `None` for the root itself.
    pub(super) fn meeting(&self, a: &str, b: &str) -> Option<&str> {
        let path = |word| self.position(word).map(|at| &self.paths[usize::from(at)]);
        let shared = path(a)?.iter().zip(path(b)?).take_while(|(a, b)| a == b);
        shared.last().map(|(term, _)| term.as_str())
    }

    /// Milli-units from a word to the nearest of the words that the tree does not hold.
    pub(super) fn distance_unlisted(&self, word: &str) -> u32 {
        self.position(word).map_or(0, |at| {
            let depth = self.paths[usize::from(at)].len();
            (depth + self.outside()) as u32 * self.weight
        })
    }

    /// Edges from the root to a word that the tree does not hold.
    pub(super) const fn outside(&self) -> usize {
        self.deepest + 1
    }

    /// Milli-units between the two words that lie farthest apart.
    pub(super) const fn diameter(&self) -> u32 {
        2 * self.outside() as u32 * self.weight
    }

    /// Milli-units between the two terms of one branch of the root that lie farthest apart.
    pub(super) fn diameter_in_family(&self) -> u32 {
        let pairs = self.paths.iter().flat_map(|a| self.paths.iter().map(move |b| (a, b)));
        let related = pairs.filter(|(a, b)| a[0] == b[0]);
        related.map(|(a, b)| edges(a, b) as u32 * self.weight).max().unwrap_or(0)
    }

    /// The branch of the root on which a word stands.
    pub(super) fn family(&self, word: &str) -> &str {
        let path = self.index.get(word).map(|at| &self.paths[usize::from(*at)]);
        path.and_then(|path| path.first()).map_or(FAMILY_UNKNOWN, String::as_str)
    }

    /// From the root's child down to a word; empty for one that the tree does not hold.
    pub(super) fn path(&self, word: &str) -> &[String] {
        self.index.get(word).map_or(&[], |at| &self.paths[usize::from(*at)])
    }

    /// Milli-units between two terms.
    pub(super) fn distance(&self, a: &Term, b: &Term) -> u32 {
        let outside = self.outside();
        match (a, b) {
            (Term::Known(a), Term::Known(b)) => {
                self.table[usize::from(*a) * self.paths.len() + usize::from(*b)]
            }
            (Term::Unknown(a), Term::Unknown(b)) if a == b => 0,
            (Term::Unknown(_), Term::Unknown(_)) => 2 * outside as u32 * self.weight,
            (Term::Known(known), Term::Unknown(_)) | (Term::Unknown(_), Term::Known(known)) => {
                let depth = self.paths[usize::from(*known)].len();
                (depth + outside) as u32 * self.weight
            }
        }
    }
}

/// Edges on the way between two terms.
fn edges(a: &[String], b: &[String]) -> usize {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    a.len() + b.len() - 2 * common
}
