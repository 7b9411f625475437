//! SHA-256 by 256-bit vectors with the instructions of AVX-512VL, eight messages at a time: for
//! what fills no group of sixteen, and for machines on which 512-bit instructions cost clock rate.
//!
//! Owns the vectors; never reads past a message. **Invariant:** an [`Avx512Vl`] exists only on a
//! machine that has the instructions it uses.

use core::arch::x86_64::*;

use super::avx2::{digests_of, halves, words_of};
use super::avx512::row_masks;
use super::groups::Engine;
use super::lanes::{Words, digest_group};
use super::shani::ShaNi;
use super::{Digest, groups, portable};

/// Proof that this machine has AVX-512F, BW and VL, and the SHA extensions for what fills no group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512Vl {
    narrower: Option<ShaNi>,
}

impl Avx512Vl {
    /// `None` where the machine lacks an instruction.
    pub(super) fn new() -> Option<Self> {
        let here = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        here.then(|| Self { narrower: ShaNi::new() })
    }

    /// See [`super::digest_many`]; the caller has checked the lengths.
    pub(super) fn digest_many(&self, messages: &[&[u8]], out: &mut [Digest]) {
        groups::digest_many(self, messages, out);
    }
}

impl Engine<8> for Avx512Vl {
    /// A group takes as long as some six messages by the SHA extensions.
    const WORTHWHILE: usize = 6;

    fn group(&self, messages: &[&[u8]; 8]) -> [Digest; 8] {
        // SAFETY: `self` exists only where the instructions do.
        unsafe { eight(messages) }
    }

    fn few(&self, messages: &[&[u8]], out: &mut [Digest]) {
        match self.narrower {
            Some(isa) => isa.digest_many(messages, out),
            None => portable::digest_many(messages, out),
        }
    }
}

/// The digests of eight messages.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn eight(messages: &[&[u8]; 8]) -> [Digest; 8] {
    // SAFETY: this function has the instructions.
    let digests = unsafe { digest_group::<Ymm, 8>(messages) };
    _mm256_zeroupper();
    digests
}

/// Eight words.
#[derive(Clone, Copy)]
struct Ymm(__m256i);

#[expect(clippy::undocumented_unsafe_blocks, reason = "the trait's condition covers all of them")]
impl Words<8> for Ymm {
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        unsafe { Self(_mm256_set1_epi32(word as i32)) }
    }

    #[inline(always)]
    unsafe fn from_array(words: &[u32; 8]) -> Self {
        unsafe { Self(_mm256_loadu_si256(words.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm256_ternarylogic_epi32::<0x96>(self.0, b.0, c.0)) }
    }

    #[inline(always)]
    unsafe fn choose(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm256_ternarylogic_epi32::<0xca>(self.0, b.0, c.0)) }
    }

    #[inline(always)]
    unsafe fn majority(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm256_ternarylogic_epi32::<0xe8>(self.0, b.0, c.0)) }
    }

    #[inline(always)]
    unsafe fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        unsafe { Self(_mm256_ror_epi32::<RIGHT>(self.0)) }
    }

    #[inline(always)]
    unsafe fn shift<const RIGHT: u32>(self) -> Self {
        unsafe { Self(_mm256_srl_epi32(self.0, _mm_cvtsi32_si128(RIGHT as i32))) }
    }

    #[inline(always)]
    unsafe fn load(messages: &[&[u8]; 8], at: usize, whole: bool) -> [Self; 16] {
        unsafe {
            let mut rows = [[_mm256_setzero_si256(); 2]; 8];
            for (row, message) in rows.iter_mut().zip(messages) {
                *row =
                    if whole { halves(message.as_ptr().add(at)) } else { padded_row(message, at) };
            }
            let mut words = [Self::splat(0); 16];
            for (word, vector) in words.iter_mut().zip(words_of(&rows)) {
                *word = Self(vector);
            }
            words
        }
    }

    #[inline(always)]
    unsafe fn store(state: &[Self; 8]) -> [Digest; 8] {
        unsafe {
            let mut vectors = [_mm256_setzero_si256(); 8];
            for (vector, word) in vectors.iter_mut().zip(state) {
                *vector = word.0;
            }
            digests_of(vectors)
        }
    }
}

/// The block that begins at byte `at` of a message, padded but without the length.
///
/// # Safety
/// The caller has AVX-512BW and AVX-512VL.
#[inline(always)]
unsafe fn padded_row(message: &[u8], at: usize) -> [__m256i; 2] {
    let (bytes, end) = row_masks(message.len(), at);
    let from = message.as_ptr().wrapping_add(at);
    // SAFETY: the masks leave what lies in the message; the rest is not read.
    unsafe {
        let low = _mm256_maskz_loadu_epi8(bytes as u32, from.cast());
        let high = _mm256_maskz_loadu_epi8((bytes >> 32) as u32, from.wrapping_add(32).cast());
        let one = _mm256_set1_epi8(-128);
        [
            _mm256_mask_mov_epi8(low, end as u32, one),
            _mm256_mask_mov_epi8(high, (end >> 32) as u32, one),
        ]
    }
}
