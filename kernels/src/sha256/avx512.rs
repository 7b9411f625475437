//! SHA-256 by AVX-512, sixteen messages at a time.
//!
//! ```text
//! 16 messages × 64 bytes ─► masked loads, 0x80 blended in ─► byte order, 16 × 16 transposition
//!                           ─► rounds ─► 16 × 8 transposition ─► 16 digests
//! ```
//!
//! **Port limit.** Of 512-bit instructions two start in a cycle (ports 0 and 5 of Intel's server
//! cores). A round takes 17: six rotations, four ternary operations (two exclusive ors of three,
//! choice, majority), seven additions. A word of the schedule takes 11: six rotations and shifts,
//! two ternary operations, three additions. So a block of sixteen messages takes
//! 64 × 17 + 48 × 11 = 1,616, with 16 changes of byte order, 64 shuffles of the transposition and
//! 8 additions at the end 1,704, that is 852 cycles or 53 a message's block.
//!
//! Owns the vectors; never reads past a message: a masked load does not touch what is masked out.
//! **Invariant:** an [`Avx512`] exists only on a machine that has the instructions it uses.

use core::arch::x86_64::*;

use super::avx512vl::Avx512Vl;
use super::constants::BLOCK;
use super::groups::Engine;
use super::lanes::{Words, digest_group};
use super::{Digest, groups};

/// Proof that this machine has AVX-512F and AVX-512BW, and the ISA for what fills no group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512 {
    narrower: Avx512Vl,
}

impl Avx512 {
    /// `None` where the machine lacks an instruction.
    pub(super) fn new() -> Option<Self> {
        let here = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        here.then(Avx512Vl::new).flatten().map(|narrower| Self { narrower })
    }

    /// See [`super::digest_many`]; the caller has checked the lengths.
    pub(super) fn digest_many(&self, messages: &[&[u8]], out: &mut [Digest]) {
        groups::digest_many(self, messages, out);
    }
}

impl Engine<16> for Avx512 {
    /// A group takes as long as eight messages and a half by eight 256-bit lanes.
    const WORTHWHILE: usize = 9;

    fn group(&self, messages: &[&[u8]; 16]) -> [Digest; 16] {
        // SAFETY: `self` exists only where the instructions do.
        unsafe { sixteen(messages) }
    }

    fn few(&self, messages: &[&[u8]], out: &mut [Digest]) {
        self.narrower.digest_many(messages, out);
    }
}

/// The digests of sixteen messages.
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteen(messages: &[&[u8]; 16]) -> [Digest; 16] {
    // SAFETY: this function has the instructions.
    let digests = unsafe { digest_group::<Zmm, 16>(messages) };
    // Dirty upper halves would slow the SSE code that follows.
    _mm256_zeroupper();
    digests
}

/// Sixteen words.
#[derive(Clone, Copy)]
struct Zmm(__m512i);

// SAFETY of the blocks below: the caller of a function of `Words` has AVX-512F and AVX-512BW.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the trait's condition covers all of them")]
impl Words<16> for Zmm {
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        unsafe { Self(_mm512_set1_epi32(word as i32)) }
    }

    #[inline(always)]
    unsafe fn from_array(words: &[u32; 16]) -> Self {
        unsafe { Self(_mm512_loadu_si512(words.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm512_ternarylogic_epi32::<0x96>(self.0, b.0, c.0)) }
    }

    #[inline(always)]
    unsafe fn choose(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm512_ternarylogic_epi32::<0xca>(self.0, b.0, c.0)) }
    }

    #[inline(always)]
    unsafe fn majority(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm512_ternarylogic_epi32::<0xe8>(self.0, b.0, c.0)) }
    }

    #[inline(always)]
    unsafe fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        unsafe { Self(_mm512_ror_epi32::<RIGHT>(self.0)) }
    }

    #[inline(always)]
    unsafe fn shift<const RIGHT: u32>(self) -> Self {
        unsafe { Self(_mm512_srli_epi32::<RIGHT>(self.0)) }
    }

    #[inline(always)]
    unsafe fn load(messages: &[&[u8]; 16], at: usize, whole: bool) -> [Self; 16] {
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 16];
            for (row, message) in rows.iter_mut().zip(messages) {
                *row = if whole {
                    _mm512_loadu_si512(message.as_ptr().add(at).cast())
                } else {
                    padded_row(message, at)
                };
            }
            transpose(rows)
        }
    }

    #[inline(always)]
    unsafe fn store(state: &[Self; 8]) -> [Digest; 16] {
        unsafe {
            let mut s = [_mm512_setzero_si512(); 8];
            for (bytes, word) in s.iter_mut().zip(state) {
                *bytes = _mm512_shuffle_epi8(word.0, byte_order());
            }
            let low = quarters(s[0], s[1], s[2], s[3]);
            let high = quarters(s[4], s[5], s[6], s[7]);
            let mut digests = [Digest::default(); 16];
            let front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
            let back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
            for i in 0..4 {
                let first = _mm512_permutex2var_epi64(low[i], front, high[i]);
                let second = _mm512_permutex2var_epi64(low[i], back, high[i]);
                for (pair, at) in [(first, i), (second, i + 8)] {
                    let upper = _mm512_extracti64x4_epi64::<1>(pair);
                    let lower = _mm512_castsi512_si256(pair);
                    _mm256_storeu_si256(digests[at].as_mut_ptr().cast(), lower);
                    _mm256_storeu_si256(digests[at + 4].as_mut_ptr().cast(), upper);
                }
            }
            digests
        }
    }
}

/// The block that begins at byte `at` of a message, padded but without the length.
///
/// # Safety
/// The caller has AVX-512F and AVX-512BW.
#[inline(always)]
unsafe fn padded_row(message: &[u8], at: usize) -> __m512i {
    let (bytes, end) = row_masks(message.len(), at);
    // SAFETY: the mask leaves what lies in the message; the rest is not read.
    unsafe {
        let row = _mm512_maskz_loadu_epi8(bytes, message.as_ptr().wrapping_add(at).cast());
        _mm512_mask_mov_epi8(row, end, _mm512_set1_epi8(-128))
    }
}

/// Of the block that begins at byte `at`: which bytes are the message's, and which is the one
/// after its last.
#[inline(always)]
pub(super) const fn row_masks(len: usize, at: usize) -> (u64, u64) {
    match len.checked_sub(at) {
        Some(rest) if rest < BLOCK => ((1 << rest) - 1, 1 << rest),
        Some(_) => (u64::MAX, 0),
        None => (0, 0),
    }
}

/// Reverses the bytes of each word.
///
/// # Safety
/// The caller has AVX-512F.
#[inline(always)]
unsafe fn byte_order() -> __m512i {
    // SAFETY: the caller has the instructions.
    unsafe { _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203)) }
}

/// From sixteen blocks to sixteen vectors of their words.
///
/// # Safety
/// The caller has AVX-512F and AVX-512BW.
#[inline(always)]
unsafe fn transpose(mut r: [__m512i; 16]) -> [Zmm; 16] {
    // SAFETY: the caller has the instructions.
    unsafe {
        for row in &mut r {
            *row = _mm512_shuffle_epi8(*row, byte_order());
        }
        let a = quarters(r[0], r[1], r[2], r[3]);
        let b = quarters(r[4], r[5], r[6], r[7]);
        let c = quarters(r[8], r[9], r[10], r[11]);
        let d = quarters(r[12], r[13], r[14], r[15]);
        let mut words = [Zmm(_mm512_setzero_si512()); 16];
        for i in 0..4 {
            let even_low = _mm512_shuffle_i32x4::<0x88>(a[i], b[i]);
            let even_high = _mm512_shuffle_i32x4::<0x88>(c[i], d[i]);
            let odd_low = _mm512_shuffle_i32x4::<0xdd>(a[i], b[i]);
            let odd_high = _mm512_shuffle_i32x4::<0xdd>(c[i], d[i]);
            words[i] = Zmm(_mm512_shuffle_i32x4::<0x88>(even_low, even_high));
            words[i + 4] = Zmm(_mm512_shuffle_i32x4::<0x88>(odd_low, odd_high));
            words[i + 8] = Zmm(_mm512_shuffle_i32x4::<0xdd>(even_low, even_high));
            words[i + 12] = Zmm(_mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high));
        }
        words
    }
}

/// Transposes the 4 × 4 words in each 128-bit quarter: quarter `q` of result `i` holds word
/// `4 q + i` of `a`, `b`, `c` and `d`.
///
/// # Safety
/// The caller has AVX-512F.
#[inline(always)]
unsafe fn quarters(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let ab_low = _mm512_unpacklo_epi32(a, b);
        let ab_high = _mm512_unpackhi_epi32(a, b);
        let cd_low = _mm512_unpacklo_epi32(c, d);
        let cd_high = _mm512_unpackhi_epi32(c, d);
        [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ]
    }
}
