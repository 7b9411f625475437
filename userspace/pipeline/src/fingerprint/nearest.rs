//! The few smallest of many.
//!
//! Owns what it keeps. Never holds more than it was told.
//!
//! **Invariant:** whatever was offered and is not kept is no smaller than anything that is, once as many are
//! kept as may be.

use std::collections::BinaryHeap;

/// The smallest of what it is offered, by their order.
#[derive(Clone, Debug)]
pub struct Nearest<T> {
    kept: BinaryHeap<T>,
    count: usize,
}

impl<T: Ord> Nearest<T> {
    /// Keeps at most `count`.
    #[must_use]
    pub const fn new(count: usize) -> Self {
        Self { kept: BinaryHeap::new(), count }
    }

    /// Keeps `item` if fewer are kept or a larger one is.
    pub fn offer(&mut self, item: T) {
        if self.kept.len() < self.count {
            self.kept.push(item);
        } else if let Some(mut last) = self.kept.peek_mut()
            && item < *last
        {
            *last = item;
        }
    }

    /// The largest that is kept, when as many are kept as may be: only smaller ones are kept now.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.kept.peek().filter(|_| self.kept.len() == self.count)
    }

    /// What is kept, the smallest first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<T> {
        self.kept.into_sorted_vec()
    }
}
