//! The scan by AVX2, half a block at a time: `vpshufb` looks 32 values up in 16 entries at once.
//!
//! A window of 64 entries takes four of them, a table of 256 sixteen. An index outside of the
//! sixteen gets its top bit set and so finds zero; the pieces are put together by or.
//!
//! Owns the vectors. **Invariant:** an [`Avx2`] exists only on a machine that has the instructions
//! it uses.

use core::arch::x86_64::*;

use super::{Block, LANES, Lookup, Query, WINDOW};

/// Codes in half a block.
const HALF: usize = LANES / 2;

/// Proof that this machine has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// `None` where the machine lacks an instruction.
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// See [`super::Implementation::mark`]; the caller has checked the lengths.
    pub(super) fn mark(self, blocks: &[Block], query: &Query, limit: u8, marks: &mut [u64]) {
        // SAFETY: `self` exists only where the instructions do.
        unsafe { mark(blocks, query, limit, marks) }
    }
}

#[target_feature(enable = "avx2")]
fn mark(blocks: &[Block], query: &Query, limit: u8, marks: &mut [u64]) {
    for (block, mark) in blocks.iter().zip(marks) {
        let low = half(block, 0, query, limit);
        *mark = u64::from(low) | u64::from(half(block, HALF, query, limit)) << HALF;
    }
    _mm256_zeroupper();
}

/// The marks of the 32 codes from `start` on.
#[target_feature(enable = "avx2")]
#[inline]
fn half(block: &Block, start: usize, query: &Query, limit: u8) -> u32 {
    let mut sum = _mm256_setzero_si256();
    for lookup in query.lookups() {
        let bytes = &block.fields[lookup.field][start..start + HALF];
        // SAFETY: `bytes` has the 32 bytes that are read, and the load has no alignment.
        let values = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        sum = _mm256_adds_epu8(sum, costs(lookup, values));
    }
    let limit = _mm256_set1_epi8(limit as i8);
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(sum, limit), limit)) as u32
}

#[target_feature(enable = "avx2")]
#[inline]
fn costs(lookup: &Lookup, values: __m256i) -> __m256i {
    let mut at = _mm256_sub_epi8(values, _mm256_set1_epi8(lookup.base as i8));
    let mut entries = lookup.costs.as_slice();
    if lookup.window {
        at = _mm256_min_epu8(at, _mm256_set1_epi8(WINDOW as i8 - 1));
        entries = &entries[..WINDOW];
    }
    let mut costs = _mm256_setzero_si256();
    for piece in entries.as_chunks::<16>().0 {
        // SAFETY: a piece has the 16 bytes that are read, and the load has no alignment.
        let piece = unsafe { _mm_loadu_si128(piece.as_ptr().cast()) };
        let inside = _mm256_adds_epu8(at, _mm256_set1_epi8(0x70));
        let found = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(piece), inside);
        costs = _mm256_or_si256(costs, found);
        at = _mm256_sub_epi8(at, _mm256_set1_epi8(16));
    }
    costs
}
