//! SHA-256 of as many messages as a vector has 32-bit lanes, a message a lane.
//!
//! Owns the rounds, written once for every kind of vector; the kinds of vectors are in the modules
//! of their instruction sets. Everything here is inlined into a function of theirs that has the
//! instructions: alone, none of it may run.
//!
//! **Invariant:** a lane's digest depends on its own message alone.

use super::Digest;
use super::constants::{BLOCK, H, K};
use crate::memory::prefetch_address;

/// A vector of `N` words.
///
/// # Safety
/// Every function may be called only where the instructions of the implementing type are.
pub(super) trait Words<const N: usize>: Copy {
    unsafe fn splat(word: u32) -> Self;
    unsafe fn from_array(words: &[u32; N]) -> Self;
    unsafe fn to_array(self, words: &mut [u32; N]);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn xor3(self, b: Self, c: Self) -> Self;
    /// Bits of `b` where `self` has ones, of `c` elsewhere.
    unsafe fn choose(self, b: Self, c: Self) -> Self;
    unsafe fn majority(self, b: Self, c: Self) -> Self;
    /// `RIGHT + LEFT` is 32.
    unsafe fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self;
    unsafe fn shift<const RIGHT: u32>(self) -> Self;

    /// Words `4 * quarter` to `4 * quarter + 3` of a block of each message.
    unsafe fn quarter(blocks: &[&[u8; BLOCK]; N], quarter: usize) -> [Self; 4];
    /// `bytes`, fewer than a block, and zeros after them.
    unsafe fn zero_extended(bytes: &[u8]) -> [u8; BLOCK];
    /// The digests of a state.
    unsafe fn digests(state: &[Self; 8], out: &mut [Digest; N]);
}

/// One round (FIPS 180-4 §6.2.2 step 3) on `t = h`, with the roles of the words as they stand.
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $word:expr, $k:expr) => {
        let big1 = $e.rotate::<6, 26>().xor3($e.rotate::<11, 21>(), $e.rotate::<25, 7>());
        let t = $h.add($word.add(V::splat($k))).add($e.choose($f, $g)).add(big1);
        $d = $d.add(t);
        let big0 = $a.rotate::<2, 30>().xor3($a.rotate::<13, 19>(), $a.rotate::<22, 10>());
        $h = big0.add($a.majority($b, $c)).add(t);
    };
}

/// Sixteen rounds; `$word` gives the word of a round from `$w` and the round's number.
macro_rules! sixteen {
    ($s:ident, $k:ident, $word:path, $($w:ident)+) => {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $s;
        round!(a b c d e f g h, $word($($w,)+ 0), $k[0]);
        round!(h a b c d e f g, $word($($w,)+ 1), $k[1]);
        round!(g h a b c d e f, $word($($w,)+ 2), $k[2]);
        round!(f g h a b c d e, $word($($w,)+ 3), $k[3]);
        round!(e f g h a b c d, $word($($w,)+ 4), $k[4]);
        round!(d e f g h a b c, $word($($w,)+ 5), $k[5]);
        round!(c d e f g h a b, $word($($w,)+ 6), $k[6]);
        round!(b c d e f g h a, $word($($w,)+ 7), $k[7]);
        round!(a b c d e f g h, $word($($w,)+ 8), $k[8]);
        round!(h a b c d e f g, $word($($w,)+ 9), $k[9]);
        round!(g h a b c d e f, $word($($w,)+ 10), $k[10]);
        round!(f g h a b c d e, $word($($w,)+ 11), $k[11]);
        round!(e f g h a b c d, $word($($w,)+ 12), $k[12]);
        round!(d e f g h a b c, $word($($w,)+ 13), $k[13]);
        round!(c d e f g h a b, $word($($w,)+ 14), $k[14]);
        round!(b c d e f g h a, $word($($w,)+ 15), $k[15]);
        $s = [a, b, c, d, e, f, g, h];
    };
}

/// Word `i` of the blocks. Every fourth makes the words of the next four rounds too: shuffles, which
/// few ports can do, go beside rotations, which others can.
///
/// # Safety
/// As for [`Words`].
#[inline(always)]
unsafe fn given<V: Words<N>, const N: usize>(
    w: &mut [V; 16],
    blocks: &[&[u8; BLOCK]; N],
    i: usize,
) -> V {
    if i < 12 && i.is_multiple_of(4) {
        // SAFETY: the caller has the instructions.
        let words = unsafe { V::quarter(blocks, i / 4 + 1) };
        w[i + 4..i + 8].copy_from_slice(&words);
    }
    w[i]
}

/// Replaces word `i` of the schedule by the one sixteen later (FIPS 180-4 §6.2.2 step 1).
///
/// # Safety
/// As for [`Words`].
#[inline(always)]
unsafe fn schedule<V: Words<N>, const N: usize>(w: &mut [V; 16], i: usize) -> V {
    let (w1, w14) = (w[(i + 1) % 16], w[(i + 14) % 16]);
    // SAFETY: the caller has the instructions.
    unsafe {
        let small0 = w1.rotate::<7, 25>().xor3(w1.rotate::<18, 14>(), w1.shift::<3>());
        let small1 = w14.rotate::<17, 15>().xor3(w14.rotate::<19, 13>(), w14.shift::<10>());
        w[i] = w[i].add(small0).add(w[(i + 9) % 16]).add(small1);
    }
    w[i]
}

/// Hash values of `N` messages, word by word.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct State<const N: usize>([[u32; N]; 8]);

impl<const N: usize> State<N> {
    /// Before the first block.
    pub(super) const INITIAL: Self = {
        let mut words = [[0; N]; 8];
        let mut i = 0;
        while i < 8 {
            words[i] = [H[i]; N];
            i += 1;
        }
        Self(words)
    };

    /// Replaces the hash value of one message by that in `other`.
    pub(super) fn restore(&mut self, lane: usize, other: &Self) {
        for (words, others) in self.0.iter_mut().zip(&other.0) {
            words[lane] = others[lane];
        }
    }

    /// # Safety
    /// As for [`Words`].
    #[inline(always)]
    unsafe fn vectors<V: Words<N>>(&self) -> [V; 8] {
        // SAFETY: the caller has the instructions.
        unsafe {
            let mut vectors = [V::splat(0); 8];
            for (vector, words) in vectors.iter_mut().zip(&self.0) {
                *vector = V::from_array(words);
            }
            vectors
        }
    }
}

/// The state after rows of blocks, one of each message. Asks for the lines of `later` messages from
/// `line` on, one of each beside a row.
///
/// # Safety
/// As for [`Words`].
#[inline(always)]
pub(super) unsafe fn compress<V: Words<N>, const N: usize>(
    before: &State<N>,
    rows: &[[&[u8; BLOCK]; N]],
    (later, line): (&[&[u8]; N], usize),
    after: &mut State<N>,
) {
    let (first, rest) = K.split_at(16);
    // SAFETY: the caller has the instructions.
    unsafe {
        let mut state = before.vectors::<V>();
        for (index, blocks) in rows.iter().enumerate() {
            let before = state;
            for message in later {
                prefetch_address(message.as_ptr().wrapping_add((line + index) * BLOCK));
            }
            let w = &mut [V::splat(0); 16];
            w[..4].copy_from_slice(&V::quarter(blocks, 0));
            sixteen!(state, first, given::<V, N>, w blocks);
            for k in rest.chunks_exact(16) {
                sixteen!(state, k, schedule::<V, N>, w);
            }
            for (vector, before) in state.iter_mut().zip(before) {
                *vector = vector.add(before);
            }
        }
        for (vector, words) in state.into_iter().zip(&mut after.0) {
            vector.to_array(words);
        }
    }
}

/// Writes the digests that a state is.
///
/// # Safety
/// As for [`Words`].
#[inline(always)]
pub(super) unsafe fn digests<V: Words<N>, const N: usize>(state: &State<N>, out: &mut [Digest; N]) {
    // SAFETY: the caller has the instructions.
    unsafe { V::digests(&state.vectors(), out) }
}

/// What follows the whole blocks of a message: its last bytes and the padding, one block or two.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct End([[u8; BLOCK]; 2]);

impl End {
    pub(super) const EMPTY: Self = Self([[0; BLOCK]; 2]);

    /// Block `index` of a message whose end this is; beyond its last one it is any.
    #[inline]
    pub(super) fn block<'a>(&'a self, message: &'a [u8], index: usize) -> &'a [u8; BLOCK] {
        let whole = message.as_chunks().0;
        whole.get(index).unwrap_or_else(|| &self.0[(index - whole.len()).min(1)])
    }
}

/// Puts the ends of messages together (FIPS 180-4 §5.1.1).
///
/// # Safety
/// As for [`Words`].
#[inline(always)]
pub(super) unsafe fn fill<V: Words<N>, const N: usize>(ends: &mut [End; N], messages: &[&[u8]; N]) {
    for (End(end), message) in ends.iter_mut().zip(messages) {
        let rest = message.as_chunks::<BLOCK>().1;
        // SAFETY: the caller has the instructions.
        *end = [unsafe { V::zero_extended(rest) }, [0; BLOCK]];
        end[0][rest.len()] = 0x80;
        let bits = (message.len() as u64).wrapping_mul(8).to_be_bytes();
        let last = usize::from(rest.len() >= BLOCK - bits.len());
        end[last][BLOCK - bits.len()..].copy_from_slice(&bits);
    }
}
