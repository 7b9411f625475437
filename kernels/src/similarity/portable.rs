//! The reference implementation: code by code.
//!
//! Owns nothing; the other implementations are measured and checked against it.
//! **Invariant:** runs on every target.

#![forbid(unsafe_code)]

use super::{Block, LANES, Query};

/// See [`super::Implementation::mark`]; the caller has checked the lengths.
pub(super) fn mark(blocks: &[Block], query: &Query, limit: u8, marks: &mut [u64]) {
    for (block, mark) in blocks.iter().zip(marks) {
        let near = |lane: &usize| query.cost(block.code(*lane)) <= limit;
        *mark = (0..LANES).filter(near).fold(0, |bits, lane| bits | 1 << lane);
    }
}
