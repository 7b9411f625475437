//! SHA-256 by AVX-512, sixteen messages at a time.
//!
//! ```text
//! 16 blocks of 64 bytes ─► 4 × (16 quarters side by side, byte order, 4 × 4 transpositions)
//!                          ─► rounds ─► 16 × 8 transposition ─► 16 digests
//! ```
//!
//! **Port limit.** Of 512-bit instructions two start in a cycle (ports 0 and 5 of Intel's server
//! cores). A round takes 17: six rotations, four ternary operations (two exclusive ors of three,
//! choice, majority), seven additions. A word of the schedule takes 11: six rotations and shifts,
//! two ternary operations, three additions. So a block of sixteen messages takes
//! 64 × 17 + 48 × 11 = 1,616, with 48 insertions of quarters, 16 changes of byte order, 32 shuffles
//! of the transpositions and 8 additions at the end 1,720, that is 860 cycles or 54 a message's
//! block. Only port 0 does the 672 rotations and shifts, only port 5 the shuffles. Shuffles alone
//! would transpose with 16 instructions fewer, which is the limit that the bench states, but with
//! twice as many that wait for port 5, and as a whole; a quarter is put together beside the rounds
//! before those that need it.
//!
//! Owns the vectors; never reads past a message: a masked load does not touch what is masked out.
//! **Invariant:** an [`Avx512`] exists only on a machine that has the instructions it uses.

use core::arch::x86_64::*;

use super::avx512vl::Avx512Vl;
use super::constants::BLOCK;
use super::groups::Engine;
use super::lanes::{End, State, Words};
use super::{Digest, groups, lanes};

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

    fn compress(
        &self,
        before: &State<16>,
        rows: &[[&[u8; BLOCK]; 16]],
        later: (&[&[u8]; 16], usize),
        after: &mut State<16>,
    ) {
        // SAFETY: `self` exists only where the instructions do.
        unsafe { compress(before, rows, later, after) }
    }

    fn digests(&self, state: &State<16>, out: &mut [Digest; 16]) {
        // SAFETY: as above.
        unsafe { digests(state, out) }
    }

    fn fill(&self, ends: &mut [End; 16], messages: &[&[u8]; 16]) {
        // SAFETY: as above.
        unsafe { fill(ends, messages) }
    }

    fn few(&self, messages: &[&[u8]], out: &mut [Digest]) {
        self.narrower.digest_many(messages, out);
    }
}

/// The state after rows of blocks, one of each message.
#[target_feature(enable = "avx512f,avx512bw")]
fn compress(
    before: &State<16>,
    rows: &[[&[u8; BLOCK]; 16]],
    later: (&[&[u8]; 16], usize),
    after: &mut State<16>,
) {
    // SAFETY: this function has the instructions.
    unsafe { lanes::compress::<Zmm, 16>(before, rows, later, after) };
    // Dirty upper halves would slow the SSE code that follows.
    _mm256_zeroupper();
}

/// Writes the digests that a state is.
#[target_feature(enable = "avx512f,avx512bw")]
fn digests(state: &State<16>, out: &mut [Digest; 16]) {
    // SAFETY: this function has the instructions.
    unsafe { lanes::digests::<Zmm, 16>(state, out) };
    _mm256_zeroupper();
}

/// Puts the ends of messages together.
#[target_feature(enable = "avx512f,avx512bw")]
fn fill(ends: &mut [End; 16], messages: &[&[u8]; 16]) {
    // SAFETY: this function has the instructions.
    unsafe { lanes::fill::<Zmm, 16>(ends, messages) };
    _mm256_zeroupper();
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
    unsafe fn to_array(self, words: &mut [u32; 16]) {
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self.0) }
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
    unsafe fn quarter(blocks: &[&[u8; BLOCK]; 16], quarter: usize) -> [Self; 4] {
        unsafe {
            let row = |i| {
                let at =
                    |lane: usize| _mm_loadu_si128(blocks[lane].as_ptr().add(16 * quarter).cast());
                let row = _mm512_castsi128_si512(at(i));
                let row = _mm512_inserti32x4::<1>(row, at(4 + i));
                let row = _mm512_inserti32x4::<2>(row, at(8 + i));
                let row = _mm512_inserti32x4::<3>(row, at(12 + i));
                _mm512_shuffle_epi8(row, byte_order())
            };
            let [a, b, c, d] = quarters(row(0), row(1), row(2), row(3));
            [Self(a), Self(b), Self(c), Self(d)]
        }
    }

    #[inline(always)]
    unsafe fn zero_extended(bytes: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        unsafe {
            let row = _mm512_maskz_loadu_epi8((1 << bytes.len()) - 1, bytes.as_ptr().cast());
            _mm512_storeu_si512(block.as_mut_ptr().cast(), row);
        }
        block
    }

    #[inline(always)]
    unsafe fn digests(state: &[Self; 8], out: &mut [Digest; 16]) {
        unsafe {
            let mut s = [_mm512_setzero_si512(); 8];
            for (bytes, word) in s.iter_mut().zip(state) {
                *bytes = _mm512_shuffle_epi8(word.0, byte_order());
            }
            let low = quarters(s[0], s[1], s[2], s[3]);
            let high = quarters(s[4], s[5], s[6], s[7]);
            let front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
            let back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
            for i in 0..4 {
                let first = _mm512_permutex2var_epi64(low[i], front, high[i]);
                let second = _mm512_permutex2var_epi64(low[i], back, high[i]);
                for (pair, at) in [(first, i), (second, i + 8)] {
                    let upper = _mm512_extracti64x4_epi64::<1>(pair);
                    let lower = _mm512_castsi512_si256(pair);
                    _mm256_storeu_si256(out[at].as_mut_ptr().cast(), lower);
                    _mm256_storeu_si256(out[at + 4].as_mut_ptr().cast(), upper);
                }
            }
        }
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
