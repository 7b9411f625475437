//! SHA-256 by AVX2, eight messages at a time: for machines that have neither the SHA extensions
//! nor AVX-512.
//!
//! Owns the vectors and the transpositions of eight lanes; never reads past a message: what is not
//! a whole block is copied first. **Invariant:** an [`Avx2`] exists only on a machine that has the
//! instructions it uses.

use core::arch::x86_64::*;

use super::constants::BLOCK;
use super::groups::Engine;
use super::lanes::{End, State, Words};
use super::{Digest, groups, lanes, portable};

/// Proof that this machine has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// `None` where the machine lacks an instruction.
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// See [`super::digest_many`]; the caller has checked the lengths.
    pub(super) fn digest_many(&self, messages: &[&[u8]], out: &mut [Digest]) {
        groups::digest_many(self, messages, out);
    }
}

impl Engine<8> for Avx2 {
    /// A group takes as long as two messages without any vectors.
    const WORTHWHILE: usize = 3;

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
        portable::digest_many(messages, out);
    }
}

/// The state after rows of blocks, one of each message.
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
fn digests(state: &State<8>, out: &mut [Digest; 8]) {
    // SAFETY: this function has the instructions.
    unsafe { lanes::digests::<Ymm, 8>(state, out) };
    _mm256_zeroupper();
}

/// Puts the ends of messages together.
#[target_feature(enable = "avx2")]
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
        unsafe { Self(_mm256_xor_si256(_mm256_xor_si256(self.0, b.0), c.0)) }
    }

    #[inline(always)]
    unsafe fn choose(self, b: Self, c: Self) -> Self {
        unsafe {
            let differing = _mm256_and_si256(self.0, _mm256_xor_si256(b.0, c.0));
            Self(_mm256_xor_si256(differing, c.0))
        }
    }

    #[inline(always)]
    unsafe fn majority(self, b: Self, c: Self) -> Self {
        unsafe {
            let either = _mm256_and_si256(c.0, _mm256_or_si256(self.0, b.0));
            Self(_mm256_or_si256(either, _mm256_and_si256(self.0, b.0)))
        }
    }

    #[inline(always)]
    unsafe fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        unsafe {
            let right = _mm256_srli_epi32::<RIGHT>(self.0);
            Self(_mm256_or_si256(right, _mm256_slli_epi32::<LEFT>(self.0)))
        }
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
        block[..bytes.len()].copy_from_slice(bytes);
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

/// Words `4 * quarter` to `4 * quarter + 3` of eight blocks.
///
/// # Safety
/// The caller has AVX2.
#[inline(always)]
pub(super) unsafe fn words_of(blocks: &[&[u8; BLOCK]; 8], quarter: usize) -> [__m256i; 4] {
    // SAFETY: the caller has the instructions; a quarter has the 16 bytes that are read, and the
    // loads have no alignment.
    unsafe {
        let row = |i| {
            let at = |lane: usize| _mm_loadu_si128(blocks[lane].as_ptr().add(16 * quarter).cast());
            let row = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(i)), at(4 + i));
            _mm256_shuffle_epi8(row, byte_order())
        };
        quarters(row(0), row(1), row(2), row(3))
    }
}

/// Writes the digests of a state of eight lanes.
///
/// # Safety
/// The caller has AVX2.
#[inline(always)]
pub(super) unsafe fn digests_of(mut state: [__m256i; 8], out: &mut [Digest; 8]) {
    // SAFETY: the caller has the instructions, and a digest has the 32 bytes that are written.
    unsafe {
        for word in &mut state {
            *word = _mm256_shuffle_epi8(*word, byte_order());
        }
        for (digest, row) in out.iter_mut().zip(transpose(state)) {
            _mm256_storeu_si256(digest.as_mut_ptr().cast(), row);
        }
    }
}

/// Reverses the bytes of each word.
///
/// # Safety
/// The caller has AVX2.
#[inline(always)]
unsafe fn byte_order() -> __m256i {
    // SAFETY: the caller has the instructions.
    unsafe {
        _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203))
    }
}

/// Transposes 8 × 8 words.
///
/// # Safety
/// The caller has AVX2.
#[inline(always)]
unsafe fn transpose(r: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let low = quarters(r[0], r[1], r[2], r[3]);
        let high = quarters(r[4], r[5], r[6], r[7]);
        let mut columns = [_mm256_setzero_si256(); 8];
        for i in 0..4 {
            columns[i] = _mm256_permute2x128_si256::<0x20>(low[i], high[i]);
            columns[i + 4] = _mm256_permute2x128_si256::<0x31>(low[i], high[i]);
        }
        columns
    }
}

/// Transposes the 4 × 4 words in each 128-bit half: half `q` of result `i` holds word `4 q + i`
/// of `a`, `b`, `c` and `d`.
///
/// # Safety
/// The caller has AVX2.
#[inline(always)]
unsafe fn quarters(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m256i; 4] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let ab_low = _mm256_unpacklo_epi32(a, b);
        let ab_high = _mm256_unpackhi_epi32(a, b);
        let cd_low = _mm256_unpacklo_epi32(c, d);
        let cd_high = _mm256_unpackhi_epi32(c, d);
        [
            _mm256_unpacklo_epi64(ab_low, cd_low),
            _mm256_unpackhi_epi64(ab_low, cd_low),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ]
    }
}
