//! SHA-256 by the SHA extensions of x86, two messages interleaved.
//!
//! `sha256rnds2` has a latency of several cycles and the rounds of one message depend on each
//! other; the rounds of a second message fill the gap. Owns the block function and the padding of
//! a message's end; never reads past a message.
//!
//! **Invariant:** a [`ShaNi`] exists only on a machine that has the instructions it uses.

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi32,
    _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32,
    _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::Digest;
use super::constants::{BLOCK, H, K, blocks};
use crate::memory::prefetch;

/// How many pairs ahead of its turn a message is asked for, and how many of its lines at most.
const AHEAD: usize = 4;
const LINES: usize = 8;

/// Proof that this machine has SHA, SSSE3 and SSE4.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShaNi(());

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
        // SAFETY: `self` exists only where the instructions do.
        unsafe { digest_pairs(messages, out) }
    }
}

/// The state of one message, in the order of words that the instructions want.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// Where the padded end of a message is put together: the last block of the message, if it has
/// one, is copied so that its bytes beyond whole blocks come to lie at [`BLOCK`], and zeros follow.
struct End([u8; 3 * BLOCK]);

impl End {
    const fn new() -> Self {
        Self([0; 3 * BLOCK])
    }

    /// Puts the end of `message` together; the blocks that it takes, one or two, are those from
    /// [`BLOCK`] on. A copy of fixed size is a few moves, one of a size that varies is a call.
    #[inline]
    fn fill(&mut self, message: &[u8]) {
        let rest = message.len() % BLOCK;
        if let Some(last) = message.last_chunk::<BLOCK>() {
            self.0[rest..rest + BLOCK].copy_from_slice(last);
        } else {
            self.0[BLOCK..BLOCK + rest].copy_from_slice(message);
        }
        self.0[BLOCK + rest..].fill(0);
        self.0[BLOCK + rest] = 0x80;
        let bits = (message.len() as u64).wrapping_mul(8).to_be_bytes();
        let end = if rest < BLOCK - bits.len() { 2 * BLOCK } else { 3 * BLOCK };
        self.0[end - bits.len()..end].copy_from_slice(&bits);
    }

    /// Block `index` of a message whose end this is.
    #[inline]
    fn block<'a>(&'a self, message: &'a [u8], index: usize) -> &'a [u8; BLOCK] {
        let at = index * BLOCK;
        let whole = message.get(at..).and_then(|rest| rest.first_chunk());
        whole.unwrap_or_else(|| {
            let at = at - message.len() / BLOCK * BLOCK + BLOCK;
            self.0[at..].first_chunk().expect("a message's end has two blocks at most")
        })
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn digest_pairs(messages: &[&[u8]], out: &mut [Digest]) {
    let mut ends = [const { End::new() }; 2];
    let (pairs, last) = messages.as_chunks::<2>();
    let (places, last_place) = out.as_chunks_mut::<2>();
    for (index, pair) in pairs.iter().enumerate() {
        if let (Some(later), Some(place)) = (pairs.get(index + AHEAD), places.get(index + AHEAD)) {
            let lines = later.iter().flat_map(|message| message.chunks(BLOCK).take(LINES));
            lines.for_each(|line| prefetch(&line[0]));
            prefetch(place);
        }
        let states = digest_pair(*pair, &mut ends);
        places[index] = [finish(states[0]), finish(states[1])];
    }
    if let ([last], [place]) = (last, last_place) {
        ends[0].fill(last);
        let mut state = [initial()];
        for index in 0..blocks(last) {
            compress(&mut state, [ends[0].block(last, index)]);
        }
        *place = finish(state[0]);
    }
}

/// Two messages side by side for as many blocks as both have, then the longer one alone.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn digest_pair(messages: [&[u8]; 2], ends: &mut [End; 2]) -> [State; 2] {
    let [a, b] = messages;
    ends[0].fill(a);
    ends[1].fill(b);
    let mut states = [initial(); 2];
    let common = blocks(a).min(blocks(b));
    for index in 0..common {
        compress(&mut states, [ends[0].block(a, index), ends[1].block(b, index)]);
    }
    for lane in 0..2 {
        for index in common..blocks(messages[lane]) {
            let mut alone = [states[lane]];
            compress(&mut alone, [ends[lane].block(messages[lane], index)]);
            states[lane] = alone[0];
        }
    }
    states
}

#[target_feature(enable = "sse2")]
#[inline]
fn initial() -> State {
    let [a, b, c, d, e, f, g, h] = H.map(|word| word as i32);
    State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

/// Sixteen rounds, four at a time, the lanes in turn; `$next` makes the words of the next sixteen.
macro_rules! sixteen {
    ($states:ident, $words:ident, $k:expr, $next:literal) => {
        four!($states, $words, $k, $next, 0 1 2 3);
        four!($states, $words, $k, $next, 1 2 3 0);
        four!($states, $words, $k, $next, 2 3 0 1);
        four!($states, $words, $k, $next, 3 0 1 2);
    };
}

/// Four rounds of each lane with the words `$a`, which become those of sixteen rounds later.
macro_rules! four {
    ($states:ident, $words:ident, $k:expr, $next:literal, $a:literal $b:literal $c:literal $d:literal) => {
        let constants: &[u32] = &$k[4 * $a..4 * $a + 4];
        // SAFETY: `constants` has the 16 bytes that are read, and the load has no alignment.
        let constants = unsafe { _mm_loadu_si128(constants.as_ptr().cast()) };
        for (state, words) in $states.iter_mut().zip(&mut $words) {
            let sum = _mm_add_epi32(words[$a], constants);
            state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
            let high = _mm_shuffle_epi32(sum, 0x0e);
            state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, high);
            if $next {
                words[$a] = schedule(words[$a], words[$b], words[$c], words[$d]);
            }
        }
    };
}

/// One block of each of `N` messages (FIPS 180-4 §6.2.2).
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn compress<const N: usize>(states: &mut [State; N], blocks: [&[u8; BLOCK]; N]) {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let before = *states;
    let mut words = [[_mm_setzero_si128(); 4]; N];
    for (words, block) in words.iter_mut().zip(blocks) {
        for (quarter, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
            // SAFETY: `bytes` has the 16 bytes that are read, and the load has no alignment.
            let raw = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            *quarter = _mm_shuffle_epi8(raw, big_endian);
        }
    }
    sixteen!(states, words, K[..16], true);
    sixteen!(states, words, K[16..32], true);
    sixteen!(states, words, K[32..48], true);
    sixteen!(states, words, K[48..], false);
    for (state, before) in states.iter_mut().zip(&before) {
        state.abef = _mm_add_epi32(state.abef, before.abef);
        state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
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
#[inline]
fn finish(state: State) -> Digest {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let feba = _mm_shuffle_epi32(state.abef, 0x1b);
    let dchg = _mm_shuffle_epi32(state.cdgh, 0xb1);
    let abcd = _mm_shuffle_epi8(_mm_blend_epi16(feba, dchg, 0xf0), big_endian);
    let efgh = _mm_shuffle_epi8(_mm_alignr_epi8(dchg, feba, 8), big_endian);
    let mut digest = [0; 32];
    let (low, high) = digest.split_at_mut(16);
    // SAFETY: each half has the 16 bytes that are written, and the stores have no alignment.
    unsafe {
        _mm_storeu_si128(low.as_mut_ptr().cast(), abcd);
        _mm_storeu_si128(high.as_mut_ptr().cast(), efgh);
    }
    digest
}
