//! SHA-256 by the SHA extensions of x86, two messages interleaved.
//!
//! `sha256rnds2` has a latency of several cycles and the rounds of one message depend on each
//! other; the rounds of a second message fill the gap. Owns the block function and the padding of
//! a message's end; never reads past a message.
//!
//! **Invariant:** a [`ShaNi`] exists only on a machine that has the instructions it uses.

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi32,
    _mm_set_epi64x, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::Digest;

/// Bytes in a block.
const BLOCK: usize = 64;

/// Round constants (FIPS 180-4 §4.2.2).
#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// Initial hash value (FIPS 180-4 §5.3.3).
const H: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/// Proof that this machine has SHA, SSSE3 and SSE4.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShaNi(());

/// The state of one message, in the order of words that the instructions want.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// A message cut into whole blocks and its padded end.
struct Padded<'a> {
    whole: &'a [u8],
    end: [u8; 2 * BLOCK],
    end_blocks: usize,
}

impl<'a> Padded<'a> {
    fn new(message: &'a [u8]) -> Self {
        let (whole, rest) = message.split_at(message.len() / BLOCK * BLOCK);
        let mut end = [0; 2 * BLOCK];
        end[..rest.len()].copy_from_slice(rest);
        end[rest.len()] = 0x80;
        let end_blocks = if rest.len() < BLOCK - 8 { 1 } else { 2 };
        let bits = (message.len() as u64).wrapping_mul(8);
        end[end_blocks * BLOCK - 8..end_blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
        Self { whole, end, end_blocks }
    }

    const fn blocks(&self) -> usize {
        self.whole.len() / BLOCK + self.end_blocks
    }

    fn block(&self, index: usize) -> &[u8; BLOCK] {
        let at = index * BLOCK;
        let block = match self.whole.get(at..at + BLOCK) {
            Some(block) => block,
            None => &self.end[at - self.whole.len()..at - self.whole.len() + BLOCK],
        };
        block.try_into().expect("a block has 64 bytes")
    }
}

impl ShaNi {
    /// `None` where the machine lacks an instruction.
    pub(super) fn new() -> Option<Self> {
        let here = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        here.then_some(Self(()))
    }

    /// See [`super::digest_many`]; the caller has checked the lengths.
    pub(super) fn digest_many(self, messages: &[&[u8]], out: &mut [Digest]) {
        let mut pairs = messages.chunks_exact(2);
        let mut places = out.chunks_exact_mut(2);
        for (pair, place) in pairs.by_ref().zip(places.by_ref()) {
            // SAFETY: `self` exists only where the instructions do.
            let [a, b] = unsafe { digest_pair([pair[0], pair[1]]) };
            place[0] = a;
            place[1] = b;
        }
        if let ([last], [place]) = (pairs.remainder(), places.into_remainder()) {
            // SAFETY: `self` exists only where the instructions do.
            [*place, _] = unsafe { digest_pair([last, &[]]) };
        }
    }
}

/// Two messages side by side for as many blocks as both have, then the longer one alone.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn digest_pair(messages: [&[u8]; 2]) -> [Digest; 2] {
    let [a, b] = messages.map(Padded::new);
    let mut states = [initial(), initial()];
    let common = a.blocks().min(b.blocks());
    for index in 0..common {
        compress(&mut states, [a.block(index), b.block(index)]);
    }
    for (lane, message) in [&a, &b].into_iter().enumerate() {
        for index in common..message.blocks() {
            let mut alone = [states[lane]];
            compress(&mut alone, [message.block(index)]);
            states[lane] = alone[0];
        }
    }
    [finish(states[0]), finish(states[1])]
}

#[target_feature(enable = "sse2")]
fn initial() -> State {
    let [a, b, c, d, e, f, g, h] = H.map(|word| word as i32);
    State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

/// One block of each of `N` messages (FIPS 180-4 §6.2.2), four rounds at a time, the lanes in turn.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn compress<const N: usize>(states: &mut [State; N], blocks: [&[u8; BLOCK]; N]) {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let before = *states;
    let mut words = [[_mm_set_epi64x(0, 0); 4]; N];
    for lane in 0..N {
        for quarter in 0..4 {
            let bytes = &blocks[lane][quarter * 16..quarter * 16 + 16];
            // SAFETY: `bytes` has the 16 bytes that are read, and the load has no alignment.
            let raw = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            words[lane][quarter] = _mm_shuffle_epi8(raw, big_endian);
        }
    }
    for group in 0..16 {
        let constants: &[u32] = &K[group * 4..group * 4 + 4];
        // SAFETY: `constants` has the 16 bytes that are read, and the load has no alignment.
        let k = unsafe { _mm_loadu_si128(constants.as_ptr().cast()) };
        for lane in 0..N {
            let w = &mut words[lane];
            if group >= 4 {
                w[group % 4] = schedule(
                    w[group % 4],
                    w[(group + 1) % 4],
                    w[(group + 2) % 4],
                    w[(group + 3) % 4],
                );
            }
            let sum = _mm_add_epi32(w[group % 4], k);
            let state = &mut states[lane];
            state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
            state.abef =
                _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32(sum, 0x0e));
        }
    }
    for lane in 0..N {
        states[lane].abef = _mm_add_epi32(states[lane].abef, before[lane].abef);
        states[lane].cdgh = _mm_add_epi32(states[lane].cdgh, before[lane].cdgh);
    }
}

/// The next four words of the message schedule from the sixteen before them.
#[target_feature(enable = "sha,sse2,ssse3")]
#[inline]
fn schedule(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
    _mm_sha256msg2_epu32(sum, w3)
}

/// The digest's bytes from the order of words that the instructions use.
#[target_feature(enable = "sse2,ssse3,sse4.1")]
fn finish(state: State) -> Digest {
    let feba = _mm_shuffle_epi32(state.abef, 0x1b);
    let dchg = _mm_shuffle_epi32(state.cdgh, 0xb1);
    let mut words = [0u32; 8];
    let (low, high) = words.split_at_mut(4);
    // SAFETY: each half has the 16 bytes that are written, and the stores have no alignment.
    unsafe {
        _mm_storeu_si128(low.as_mut_ptr().cast(), _mm_blend_epi16(feba, dchg, 0xf0));
        _mm_storeu_si128(high.as_mut_ptr().cast(), _mm_alignr_epi8(dchg, feba, 8));
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
