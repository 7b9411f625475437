//! Words that identify this network and that no pattern recognises.
//!
//! Owns the names: of hosts, interfaces, neighbours, filters, sites. Compared in the folded form, as
//! whole words. Never forgets a name.
//!
//! **Invariant:** at most [`NAMES_MAX`]; what is beyond is counted.

use super::fold::Folded;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use std::collections::BTreeSet;
use std::ops::Range;

/// Names that are remembered.
pub const NAMES_MAX: usize = 16_384;
/// The longest name, bytes; more of it is not compared.
const NAME_BYTES_MAX: usize = 255;

/// The names, ready to be looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    all: BTreeSet<String>,
    automaton: Option<AhoCorasick>,
    pub(super) beyond: u64,
}

impl Names {
    pub(super) fn add(&mut self, names: impl IntoIterator<Item = String>) {
        let before = self.all.len();
        for name in names {
            let name = Folded::new(name.trim()).text;
            let length = (0..=name.len().min(NAME_BYTES_MAX)).rev();
            let end = length.into_iter().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
            let name = &name[..end];
            if !name.contains(char::is_alphanumeric) || self.all.contains(name) {
                continue;
            }
            if self.all.len() >= NAMES_MAX {
                self.beyond += 1;
            } else {
                self.all.insert(name.to_owned());
            }
        }
        if self.all.len() > before {
            // 16,384 names of 255 bytes stay far below the automaton's limits.
            self.automaton = AhoCorasickBuilder::new().build(&self.all).ok();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Where names stand as whole words, in order, the longest of those that overlap.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let Some(automaton) = &self.automaton else { return Vec::new() };
        let whole = |range: &Range<usize>| {
            let before = text[..range.start].chars().next_back();
            let after = text[range.end..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        };
        let found = automaton.find_overlapping_iter(text).map(|found| found.range());
        let mut found: Vec<Range<usize>> = found.filter(whole).collect();
        found.retain(|range| !within_mark(text, range));
        found.sort_by_key(|range| (range.start, usize::MAX - range.end));
        let mut end = 0;
        found.retain(|range| {
            let free = range.start >= end;
            end = if free { range.end } else { end };
            free
        });
        found
    }
}

/// "asn" may be a name, but `[asn]` is a mark; a name that reaches across a mark is none either.
fn within_mark(text: &str, range: &Range<usize>) -> bool {
    let from = text[..range.start].rfind('[').unwrap_or(range.start);
    let marks = text[from..range.end].match_indices('[');
    marks.into_iter().any(|(at, _)| {
        let at = from + at;
        super::token::mark(&text[at..])
            .is_some_and(|(length, _)| at < range.end && range.start < at + length)
    })
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Names {}
