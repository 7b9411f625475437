//! SHA-256 by 256-bit vectors with the instructions of AVX-512VL, eight messages at a time: for
//! what fills no group of sixteen, and for machines on which 512-bit instructions cost clock rate.
//!
//! Owns the vectors; never reads past a message. **Invariant:** an [`Avx512Vl`] exists only on a
//! machine that has the instructions it uses.

use core::arch::x86_64::*;

use super::avx2::{digests_of, words_of};
use super::constants::BLOCK;
use super::groups::Engine;
use super::lanes::{End, State, Words};
use super::shani::ShaNi;
use super::{Digest, groups, lanes, portable};

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

    fn compress(
        &self,
        before: &State<8>,
        rows: &[[&[u8; BLOCK]; 8]],
        later: (&[&[u8]; 8], usize),
        after: &mut State<8>,
    ) {
        // SAFETY: `self` exists only where the instructions do.
        unsafe { compress(before, rows, later, after) }
    }

    fn digests(&self, state: &State<8>, out: &mut [Digest; 8]) {
        // SAFETY: as above.
        unsafe { digests(state, out) }
    }

    fn fill(&self, ends: &mut [End; 8], messages: &[&[u8]; 8]) {
        // SAFETY: as above.
        unsafe { fill(ends, messages) }
    }

    fn few(&self, messages: &[&[u8]], out: &mut [Digest]) {
        match self.narrower {
            Some(isa) => isa.digest_many(messages, out),
            None => portable::digest_many(messages, out),
        }
    }
}

/// The state after rows of blocks, one of each message.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn compress(
    before: &State<8>,
    rows: &[[&[u8; BLOCK]; 8]],
    later: (&[&[u8]; 8], usize),
    after: &mut State<8>,
) {
    // SAFETY: this function has the instructions.
    unsafe { lanes::compress::<Ymm, 8>(before, rows, later, after) };
    _mm256_zeroupper();
}

/// Writes the digests that a state is.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn digests(state: &State<8>, out: &mut [Digest; 8]) {
    // SAFETY: this function has the instructions.
    unsafe { lanes::digests::<Ymm, 8>(state, out) };
    _mm256_zeroupper();
}

/// Puts the ends of messages together.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn fill(ends: &mut [End; 8], messages: &[&[u8]; 8]) {
    // SAFETY: this function has the instructions.
    unsafe { lanes::fill::<Ymm, 8>(ends, messages) };
    _mm256_zeroupper();
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
    unsafe fn to_array(self, words: &mut [u32; 8]) {
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), self.0) }
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
    unsafe fn quarter(blocks: &[&[u8; BLOCK]; 8], quarter: usize) -> [Self; 4] {
        let [a, b, c, d] = unsafe { words_of(blocks, quarter) };
        [Self(a), Self(b), Self(c), Self(d)]
    }

    #[inline(always)]
    unsafe fn zero_extended(bytes: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mask: u64 = (1 << bytes.len()) - 1;
        unsafe {
            let (from, to) = (bytes.as_ptr(), block.as_mut_ptr());
            let low = _mm256_maskz_loadu_epi8(mask as u32, from.cast());
            let high = _mm256_maskz_loadu_epi8((mask >> 32) as u32, from.wrapping_add(32).cast());
            _mm256_storeu_si256(to.cast(), low);
            _mm256_storeu_si256(to.add(32).cast(), high);
        }
        block
    }

    #[inline(always)]
    unsafe fn digests(state: &[Self; 8], out: &mut [Digest; 8]) {
        unsafe {
            let mut vectors = [_mm256_setzero_si256(); 8];
            for (vector, word) in vectors.iter_mut().zip(state) {
                *vector = word.0;
            }
            digests_of(vectors, out)
        }
    }
}
