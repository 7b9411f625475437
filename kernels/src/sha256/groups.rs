//! Which messages go through the lanes of a vector together.
//!
//! Lanes run in step, so a group takes as long as its longest message. Messages that stand side by
//! side and have equally many blocks go at once. Others are gathered by their number of blocks, in a
//! table of fixed size, and a row that is full goes. What is left at the end goes in mixed groups,
//! the shortest first.
//!
//! Owns the gathering; never hashes and never allocates. **Invariant:** every message goes exactly
//! once.

use super::Digest;
use super::constants::{BLOCK, blocks};
use super::lanes::{End, State};
use crate::memory::prefetch;

/// Rows of the table of messages. A message of more blocks is not short, and goes alone.
const BLOCKS_MAX: usize = 24;
/// Rows of blocks that go through the lanes in one call.
const ROWS: usize = 4;
/// How many groups ahead of its turn a message is asked for, and the place of its digest.
const AHEAD: usize = 2;

/// What takes `N` messages side by side.
pub(super) trait Engine<const N: usize> {
    /// Fewer messages than this do not fill enough lanes to be worth a group.
    const WORTHWHILE: usize;

    /// The hash values of `N` messages after rows of blocks, one of each message. Asks for lines of
    /// `later` messages from a line on, one of each beside a row: a processor notes only so many
    /// that are on their way, and waits when it is asked for more at once.
    fn compress(
        &self,
        before: &State<N>,
        rows: &[[&[u8; BLOCK]; N]],
        later: (&[&[u8]; N], usize),
        after: &mut State<N>,
    );

    /// Writes the digests that hash values are.
    fn digests(&self, state: &State<N>, out: &mut [Digest; N]);

    /// Puts the ends of messages together.
    fn fill(&self, ends: &mut [End; N], messages: &[&[u8]; N]);

    /// Fewer messages than [`Engine::WORTHWHILE`], or one that is long.
    fn few(&self, messages: &[&[u8]], out: &mut [Digest]);
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
    let mut work = Work { engine, ends: [End::EMPTY; N], states: [State::INITIAL; 2] };
    let mut rows = [Row::<N>::EMPTY; BLOCKS_MAX];
    let (groups, others) = messages.as_chunks::<N>();
    for (index, group) in groups.iter().enumerate() {
        let later = groups.get(index + AHEAD).unwrap_or(group);
        let (first, places) = (index * N, index * N..);
        let count = blocks(group[0]);
        if group.iter().all(|message| blocks(message) == count) {
            if let Some(places) = out.get(first + AHEAD * N..) {
                places.iter().take(N).step_by(2).for_each(prefetch);
            }
            let out = out[first..].first_chunk_mut().expect("a place for each message");
            work.alike(group, count, later, out);
            continue;
        }
        for (place, message) in places.zip(later) {
            message.chunks(BLOCK).take(BLOCKS_MAX).for_each(|line| prefetch(&line[0]));
            work.gather(&mut rows, place, messages, out);
        }
    }
    for place in messages.len() - others.len()..messages.len() {
        work.gather(&mut rows, place, messages, out);
    }
    let mut rest = Row::<N>::EMPTY;
    for row in &rows {
        for &place in &row.places[..row.len] {
            if rest.push(place) {
                work.send(&mut rest, None, messages, out);
            }
        }
    }
    work.send(&mut rest, None, messages, out);
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
}

/// What the groups of a batch go through, one after the other.
struct Work<'e, E, const N: usize> {
    engine: &'e E,
    ends: [End; N],
    states: [State<N>; 2],
}

impl<E: Engine<N>, const N: usize> Work<'_, E, N> {
    /// Puts a message in its row, and sends the row if it is full.
    #[inline]
    fn gather(
        &mut self,
        rows: &mut [Row<N>; BLOCKS_MAX],
        place: usize,
        messages: &[&[u8]],
        out: &mut [Digest],
    ) {
        let count = blocks(messages[place]);
        let Some(row) = rows.get_mut(count - 1) else {
            return self.engine.few(&messages[place..=place], &mut out[place..=place]);
        };
        if row.push(place) {
            self.send(row, Some(count), messages, out);
        }
    }

    /// Sends what is in the row; `alike` is how many blocks each has, if that is known.
    fn send(
        &mut self,
        row: &mut Row<N>,
        alike: Option<usize>,
        messages: &[&[u8]],
        out: &mut [Digest],
    ) {
        let places = &row.places[..row.len];
        let mut gathered: [&[u8]; N] = [&[]; N];
        for (message, &place) in gathered.iter_mut().zip(places) {
            *message = messages[place];
        }
        let mut digests = [Digest::default(); N];
        match alike {
            Some(count) => self.alike(&gathered, count, &gathered, &mut digests),
            None if places.len() >= E::WORTHWHILE => self.mixed(&gathered, &mut digests),
            None => self.engine.few(&gathered[..places.len()], &mut digests[..places.len()]),
        }
        for (digest, &place) in digests.iter().zip(places) {
            out[place] = *digest;
        }
        row.len = 0;
    }

    /// The digests of messages of `count` blocks each.
    #[inline]
    fn alike(
        &mut self,
        messages: &[&[u8]; N],
        count: usize,
        later: &[&[u8]; N],
        out: &mut [Digest; N],
    ) {
        self.engine.fill(&mut self.ends, messages);
        let mut table = [[&[0; BLOCK]; N]; ROWS];
        let [even, odd] = &mut self.states;
        let (mut before, mut after) = (even, odd);
        for first in (0..count).step_by(ROWS) {
            let rows = &mut table[..(count - first).min(ROWS)];
            for (index, row) in (first..).zip(&mut *rows) {
                *row = row_of(&self.ends, messages, index);
            }
            let state = if first == 0 { const { &State::INITIAL } } else { &*before };
            self.engine.compress(state, rows, (later, first), after);
            std::mem::swap(&mut before, &mut after);
        }
        self.engine.digests(before, out);
    }

    /// The digests of messages of any lengths.
    fn mixed(&mut self, messages: &[&[u8]; N], out: &mut [Digest; N]) {
        let counts = messages.map(blocks);
        self.engine.fill(&mut self.ends, messages);
        let [even, odd] = &mut self.states;
        let (mut before, mut after) = (even, odd);
        for index in 0..counts.iter().copied().max().unwrap_or(0) {
            let row = row_of(&self.ends, messages, index);
            let state = if index == 0 { const { &State::INITIAL } } else { &*before };
            self.engine.compress(state, &[row], (messages, index), after);
            for lane in (0..N).filter(|lane| counts[*lane] <= index) {
                after.restore(lane, before);
            }
            std::mem::swap(&mut before, &mut after);
        }
        self.engine.digests(before, out);
    }
}

/// Block `index` of each message.
#[inline]
fn row_of<'a, const N: usize>(
    ends: &'a [End; N],
    messages: &[&'a [u8]; N],
    index: usize,
) -> [&'a [u8; BLOCK]; N] {
    std::array::from_fn(|lane| ends[lane].block(messages[lane], index))
}
