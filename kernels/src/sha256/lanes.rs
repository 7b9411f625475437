//! SHA-256 of as many messages as a vector has 32-bit lanes, a message a lane.
//!
//! Owns the rounds, written once for every kind of vector; the kinds of vectors are in the modules
//! of their instruction sets. Everything here is inlined into a function of theirs that has the
//! instructions: alone, none of it may run.
//!
//! **Invariant:** a lane's digest depends on its own message alone.

use super::Digest;
use super::constants::{BLOCK, H, K, blocks};

/// A vector of `N` words.
///
/// # Safety
/// Every function may be called only where the instructions of the implementing type are.
pub(super) trait Words<const N: usize>: Copy {
    unsafe fn splat(word: u32) -> Self;
    unsafe fn from_array(words: &[u32; N]) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn xor3(self, b: Self, c: Self) -> Self;
    /// Bits of `b` where `self` has ones, of `c` elsewhere.
    unsafe fn choose(self, b: Self, c: Self) -> Self;
    unsafe fn majority(self, b: Self, c: Self) -> Self;
    /// `RIGHT + LEFT` is 32.
    unsafe fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self;
    unsafe fn shift<const RIGHT: u32>(self) -> Self;

    /// The block that begins at byte `at` of each message, with the bit and the zeros of the
    /// padding but not the length; what lies beyond a message's padding is zero.
    unsafe fn load(messages: &[&[u8]; N], at: usize, whole: bool) -> [Self; 16];
    /// The digests of a state.
    unsafe fn store(state: &[Self; 8]) -> [Digest; N];
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

/// Sixteen rounds; `$word` gives the word of a round from the schedule and the round's number.
macro_rules! sixteen {
    ($s:ident, $k:ident, $w:ident, $word:path) => {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $s;
        round!(a b c d e f g h, $word($w, 0), $k[0]);
        round!(h a b c d e f g, $word($w, 1), $k[1]);
        round!(g h a b c d e f, $word($w, 2), $k[2]);
        round!(f g h a b c d e, $word($w, 3), $k[3]);
        round!(e f g h a b c d, $word($w, 4), $k[4]);
        round!(d e f g h a b c, $word($w, 5), $k[5]);
        round!(c d e f g h a b, $word($w, 6), $k[6]);
        round!(b c d e f g h a, $word($w, 7), $k[7]);
        round!(a b c d e f g h, $word($w, 8), $k[8]);
        round!(h a b c d e f g, $word($w, 9), $k[9]);
        round!(g h a b c d e f, $word($w, 10), $k[10]);
        round!(f g h a b c d e, $word($w, 11), $k[11]);
        round!(e f g h a b c d, $word($w, 12), $k[12]);
        round!(d e f g h a b c, $word($w, 13), $k[13]);
        round!(c d e f g h a b, $word($w, 14), $k[14]);
        round!(b c d e f g h a, $word($w, 15), $k[15]);
        $s = [a, b, c, d, e, f, g, h];
    };
}

/// Word `i` of the block.
#[inline(always)]
fn given<V: Words<N>, const N: usize>(w: &[V; 16], i: usize) -> V {
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

/// The state after one block.
///
/// # Safety
/// As for [`Words`].
#[inline(always)]
unsafe fn compress<V: Words<N>, const N: usize>(before: &[V; 8], w: &mut [V; 16]) -> [V; 8] {
    let mut state = *before;
    let (first, later) = K.split_at(16);
    // SAFETY: the caller has the instructions.
    unsafe {
        sixteen!(state, first, w, given::<V, N>);
        for k in later.chunks_exact(16) {
            sixteen!(state, k, w, schedule::<V, N>);
        }
        for (word, before) in state.iter_mut().zip(before) {
            *word = word.add(*before);
        }
    }
    state
}

/// The digests of `N` messages.
///
/// # Safety
/// As for [`Words`].
#[inline(always)]
pub(super) unsafe fn digest_group<V: Words<N>, const N: usize>(
    messages: &[&[u8]; N],
) -> [Digest; N] {
    let counts = messages.map(blocks);
    let shortest = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let first_end = counts.iter().copied().min().unwrap_or(0);
    let last_end = counts.iter().copied().max().unwrap_or(0);
    // SAFETY: the caller has the instructions.
    unsafe {
        let mut state = [V::splat(0); 8];
        for (word, initial) in state.iter_mut().zip(H) {
            *word = V::splat(initial);
        }
        for index in 0..last_end {
            let mut w = V::load(messages, index * BLOCK, (index + 1) * BLOCK <= shortest);
            if index + 1 < first_end {
                state = compress(&state, &mut w);
                continue;
            }
            let ends = |lane: usize| counts[lane] == index + 1;
            let bits = |lane: usize| (messages[lane].len() as u64).wrapping_mul(8);
            let high = std::array::from_fn(|i| if ends(i) { (bits(i) >> 32) as u32 } else { 0 });
            let low = std::array::from_fn(|i| if ends(i) { bits(i) as u32 } else { 0 });
            w[14] = w[14].add(V::from_array(&high));
            w[15] = w[15].add(V::from_array(&low));
            let next = compress(&state, &mut w);
            let live = std::array::from_fn(|i| if counts[i] > index { u32::MAX } else { 0 });
            let live = V::from_array(&live);
            for (word, next) in state.iter_mut().zip(next) {
                *word = live.choose(next, *word);
            }
        }
        V::store(&state)
    }
}
