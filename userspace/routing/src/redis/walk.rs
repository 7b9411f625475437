//! Reading a cell's records from the severity asked for on, as far as it matters.
//!
//! ```text
//! severity:  ◄── down, nearest first ── asked for ── up, nearest first ──►
//! ```
//!
//! A record is at least as far as its severity is. So once enough nearer ones are known, a walk ends,
//! and of a cell that holds a million packets some ten thousand records are read, not all.
//!
//! Owns the order and the end of reading. Never does I/O.
//!
//! **Invariant:** a walk that has ended, or is left with a bound below [`Walk::least`], has read every
//! record on its side within that bound.

use redis::Pipeline;

use super::layout::Record;
use crate::Cell;

/// One side of a cell's records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'c> {
    cell: &'c Cell,
    /// How far the cell's terms are.
    terms: u32,
    /// The severity asked for.
    at: Option<u32>,
    upward: bool,
    /// Everything nearer than this severity was read.
    from: u32,
    ended: bool,
}

impl<'c> Walk<'c> {
    /// Both sides of a cell; where no severity is asked for, one side that is everything.
    pub(super) fn both(cell: &'c Cell, terms: u32, at: Option<u32>) -> impl Iterator<Item = Self> {
        let from = at.unwrap_or(0);
        let up = Self { cell, terms, at, upward: true, from, ended: false };
        let below = at.and_then(|at| at.checked_sub(1));
        let down = below.map(|from| Self { upward: false, from, ..up });
        [up].into_iter().chain(down)
    }

    pub(super) const fn cell(&self) -> &'c Cell {
        self.cell
    }

    pub(super) const fn terms(&self) -> u32 {
        self.terms
    }

    /// How far a record that is still to be read is at least; `None` at the end.
    pub(super) fn least(&self) -> Option<u32> {
        let severity = self.at.map_or(0, |at| at.abs_diff(self.from));
        (!self.ended).then(|| self.terms.saturating_add(severity))
    }

    /// Asks for the next `page` records of those within `bound`, which is not below the terms.
    pub(super) fn ask(&self, key: String, bound: u32, page: usize, pipeline: &mut Pipeline) {
        let rest = bound - self.terms;
        let (command, end) = if self.upward {
            ("ZRANGEBYSCORE", self.at.map_or(u32::MAX, |at| at.saturating_add(rest)))
        } else {
            ("ZREVRANGEBYSCORE", self.at.map_or(0, |at| at.saturating_sub(rest)))
        };
        let range = pipeline.cmd(command).arg(key).arg(self.from).arg(end).arg("WITHSCORES");
        range.arg("LIMIT").arg(0).arg(page);
    }

    /// Goes past what came back: `count` records of a page, the last readable one `last`. Those of
    /// the same severity come again, with others when the page is larger.
    pub(super) fn advance(&mut self, count: usize, page: usize, last: Option<&Record>) {
        self.ended = count < page;
        if let Some(last) = last {
            self.from = last.at[0];
        }
    }

    /// Ends where it is.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }
}
