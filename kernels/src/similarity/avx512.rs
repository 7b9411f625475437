//! The scan by AVX-512, a block at a time: `vpermb` looks 64 values up in 64 entries at once.
//!
//! A table of 256 entries takes four of them, merged by the two upper bits of the value.
//!
//! Owns the vectors. **Invariant:** an [`Avx512`] exists only on a machine that has the
//! instructions it uses.

use core::arch::x86_64::*;

use super::{Block, FIELDS, Lookup, Query, WINDOW};

/// Blocks that are asked for ahead of their turn: far enough for memory, near enough for the
/// cache.
const AHEAD: usize = 12;

/// Proof that this machine has AVX-512F, BW and VBMI.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// `None` where the machine lacks an instruction.
    pub(super) fn new() -> Option<Self> {
        let here = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi");
        here.then_some(Self(()))
    }

    /// See [`super::Implementation::mark`]; the caller has checked the lengths.
    pub(super) fn mark(self, blocks: &[Block], query: &Query, limit: u8, marks: &mut [u64]) {
        // SAFETY: `self` exists only where the instructions do.
        unsafe { mark(blocks, query, limit, marks) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn mark(blocks: &[Block], query: &Query, limit: u8, marks: &mut [u64]) {
    let limit = _mm512_set1_epi8(limit as i8);
    let (mut windows, mut wholes) = ([None; FIELDS], [None; FIELDS]);
    let (mut narrow, mut wide) = (0, 0);
    for lookup in query.lookups() {
        if lookup.window {
            windows[narrow] = Some(lookup);
            narrow += 1;
        } else {
            wholes[wide] = Some(lookup);
            wide += 1;
        }
    }
    for (block, mark) in blocks.iter().zip(marks) {
        prefetch(block);
        let mut sum = _mm512_setzero_si512();
        for lookup in windows.iter().map_while(|lookup| *lookup) {
            sum = _mm512_adds_epu8(sum, in_window(block, lookup));
        }
        for lookup in wholes.iter().map_while(|lookup| *lookup) {
            sum = _mm512_adds_epu8(sum, in_whole(block, lookup));
        }
        *mark = _mm512_cmple_epu8_mask(sum, limit);
    }
    _mm256_zeroupper();
}

/// Asks for the block [`AHEAD`] of this one, which may lie beyond the last.
#[target_feature(enable = "avx512f")]
#[inline]
fn prefetch(block: &Block) {
    let ahead = std::ptr::from_ref(block).wrapping_add(AHEAD).cast::<i8>();
    for line in 0..FIELDS {
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64 * line));
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8]) -> __m512i {
    assert!(bytes.len() >= 64);
    // SAFETY: 64 bytes are there, and the load has no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// What a field of a block costs where all but 63 values cost 255.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn in_window(block: &Block, lookup: &Lookup) -> __m512i {
    let values = load(&block.fields[lookup.field]);
    let from_base = _mm512_sub_epi8(values, _mm512_set1_epi8(lookup.base as i8));
    let at = _mm512_min_epu8(from_base, _mm512_set1_epi8(WINDOW as i8 - 1));
    _mm512_permutexvar_epi8(at, load(&lookup.costs[..64]))
}

/// What a field of a block costs.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn in_whole(block: &Block, lookup: &Lookup) -> __m512i {
    let values = load(&block.fields[lookup.field]);
    let odd = _mm512_test_epi8_mask(values, _mm512_set1_epi8(0x40));
    let upper = _mm512_movepi8_mask(values);
    let costs = &lookup.costs;
    let low = _mm512_permutexvar_epi8(values, load(&costs[..64]));
    let low = _mm512_mask_permutexvar_epi8(low, odd, values, load(&costs[64..128]));
    let high = _mm512_permutexvar_epi8(values, load(&costs[128..192]));
    let high = _mm512_mask_permutexvar_epi8(high, odd, values, load(&costs[192..]));
    _mm512_mask_mov_epi8(low, upper, high)
}
