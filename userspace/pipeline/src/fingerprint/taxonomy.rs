//! A tree of terms and the distance through it.
//!
//! Owns the tree metric. Never reads a file: [`super::definition`] builds it.
//!
//! **Invariant:** distances form a metric. Terms that the tree does not hold hang on branches of
//! their own at the root, one edge longer than the deepest, so the triangle inequality holds for
//! them too.

use std::collections::HashMap;

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
    index: HashMap<String, u16>,
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

    pub(super) fn term(&self, word: &str) -> Term {
        self.index.get(word).map_or_else(|| Term::Unknown(word.into()), |at| Term::Known(*at))
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
        let outside = self.deepest + 1;
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
