//! Which messages go through the lanes of a vector together.
//!
//! Lanes run in step, so a group takes as long as its longest message: messages are gathered by
//! their number of blocks, in a table of fixed size, and a row that is full goes. What is left at
//! the end goes in mixed groups, the shortest first.
//!
//! Owns the gathering; never hashes and never allocates. **Invariant:** every message goes exactly
//! once.

use super::Digest;
use super::constants::{BLOCK, blocks};
use crate::memory::prefetch;

/// Rows of the table. A message of more blocks is not short, and goes alone.
const BLOCKS_MAX: usize = 24;
/// How far ahead of the gathering a message is asked for: three groups of sixteen.
const AHEAD: usize = 48;

/// What takes `N` messages side by side.
pub(super) trait Engine<const N: usize> {
    /// Fewer messages than this do not fill enough lanes to be worth a group.
    const WORTHWHILE: usize;

    /// The digests of `N` messages of any lengths.
    fn group(&self, messages: &[&[u8]; N]) -> [Digest; N];

    /// Fewer messages than [`Engine::WORTHWHILE`], or one that is long.
    fn few(&self, messages: &[&[u8]], out: &mut [Digest]);
}

/// Places of messages that have not gone yet.
#[derive(Clone, Copy)]
struct Row<const N: usize> {
    places: [usize; N],
    len: usize,
}

impl<const N: usize> Row<N> {
    const EMPTY: Self = Self { places: [0; N], len: 0 };

    /// Takes a place; whether the row is full now.
    #[inline]
    fn push(&mut self, place: usize) -> bool {
        self.places[self.len] = place;
        self.len += 1;
        self.len == N
    }

    /// Sends what is in the row.
    #[inline]
    fn send<E: Engine<N>>(&mut self, engine: &E, messages: &[&[u8]], out: &mut [Digest]) {
        let places = &self.places[..self.len];
        let mut gathered: [&[u8]; N] = [&[]; N];
        for (message, &place) in gathered.iter_mut().zip(places) {
            *message = messages[place];
        }
        let mut digests = [Digest::default(); N];
        if places.len() >= E::WORTHWHILE {
            digests = engine.group(&gathered);
        } else {
            engine.few(&gathered[..places.len()], &mut digests[..places.len()]);
        }
        for (digest, &place) in digests.iter().zip(places) {
            out[place] = *digest;
        }
        self.len = 0;
    }
}

/// See [`super::digest_many`]; the caller has checked the lengths.
pub(super) fn digest_many<const N: usize, E: Engine<N>>(
    engine: &E,
    messages: &[&[u8]],
    out: &mut [Digest],
) {
    if messages.len() < E::WORTHWHILE {
        return engine.few(messages, out);
    }
    let mut rows = [Row::<N>::EMPTY; BLOCKS_MAX];
    for place in 0..messages.len() {
        if let Some(later) = messages.get(place + AHEAD) {
            later.chunks(BLOCK).take(BLOCKS_MAX).for_each(|line| prefetch(&line[0]));
        }
        let Some(row) = rows.get_mut(blocks(messages[place]) - 1) else {
            engine.few(&messages[place..=place], &mut out[place..=place]);
            continue;
        };
        if row.push(place) {
            row.send(engine, messages, out);
        }
    }
    let mut rest = Row::<N>::EMPTY;
    for row in &rows {
        for &place in &row.places[..row.len] {
            if rest.push(place) {
                rest.send(engine, messages, out);
            }
        }
    }
    rest.send(engine, messages, out);
}
