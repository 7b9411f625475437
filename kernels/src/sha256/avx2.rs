//! SHA-256 by AVX2, eight messages at a time: for machines that have neither the SHA extensions
//! nor AVX-512.
//!
//! Owns the vectors and the transpositions of eight lanes; never reads past a message: what is not
//! a whole block is copied first. **Invariant:** an [`Avx2`] exists only on a machine that has the
//! instructions it uses.

use core::arch::x86_64::*;

use super::constants::BLOCK;
use super::groups::Engine;
use super::lanes::{Words, digest_group};
use super::{Digest, groups, portable};

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

    fn group(&self, messages: &[&[u8]; 8]) -> [Digest; 8] {
        // SAFETY: `self` exists only where the instructions do.
        unsafe { eight(messages) }
    }

    fn few(&self, messages: &[&[u8]], out: &mut [Digest]) {
        portable::digest_many(messages, out);
    }
}

/// The digests of eight messages.
#[target_feature(enable = "avx2")]
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
    unsafe fn load(messages: &[&[u8]; 8], at: usize, whole: bool) -> [Self; 16] {
        unsafe {
            let mut rows = [[_mm256_setzero_si256(); 2]; 8];
            for (row, message) in rows.iter_mut().zip(messages) {
                *row = if whole {
                    halves(message.as_ptr().add(at))
                } else {
                    halves(padded_row(message, at).as_ptr())
                };
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
fn padded_row(message: &[u8], at: usize) -> [u8; BLOCK] {
    let mut row = [0; BLOCK];
    let Some(rest) = message.get(at..) else { return row };
    match row.get_mut(rest.len()) {
        Some(end) => {
            *end = 0x80;
            row[..rest.len()].copy_from_slice(rest);
        }
        None => row.copy_from_slice(&rest[..BLOCK]),
    }
    row
}

/// The two halves of a block.
///
/// # Safety
/// The caller has AVX2, and 64 bytes are readable.
#[inline(always)]
pub(super) unsafe fn halves(block: *const u8) -> [__m256i; 2] {
    // SAFETY: as the caller promises; the loads have no alignment.
    unsafe { [_mm256_loadu_si256(block.cast()), _mm256_loadu_si256(block.add(32).cast())] }
}

/// From eight blocks to sixteen vectors of their words.
///
/// # Safety
/// The caller has AVX2.
#[inline(always)]
pub(super) unsafe fn words_of(rows: &[[__m256i; 2]; 8]) -> [__m256i; 16] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let mut words = [_mm256_setzero_si256(); 16];
        for half in 0..2 {
            let mut square = [_mm256_setzero_si256(); 8];
            for (column, row) in square.iter_mut().zip(rows) {
                *column = _mm256_shuffle_epi8(row[half], byte_order());
            }
            words[half * 8..half * 8 + 8].copy_from_slice(&transpose(square));
        }
        words
    }
}

/// The digests of a state of eight lanes.
///
/// # Safety
/// The caller has AVX2.
#[inline(always)]
pub(super) unsafe fn digests_of(mut state: [__m256i; 8]) -> [Digest; 8] {
    // SAFETY: the caller has the instructions, and a digest has the 32 bytes that are written.
    unsafe {
        for word in &mut state {
            *word = _mm256_shuffle_epi8(*word, byte_order());
        }
        let mut digests = [Digest::default(); 8];
        for (digest, row) in digests.iter_mut().zip(transpose(state)) {
            _mm256_storeu_si256(digest.as_mut_ptr().cast(), row);
        }
        digests
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
