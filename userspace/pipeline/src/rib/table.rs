//! A hash table of one speaker's prefixes that grows in small steps.
//!
//! ```text
//! few:   one area of 4 to 512 lines of its own, doubled when it is full
//! many:  directory (top bits of the hash) ─► block of the common memory, split in two when it is
//!        full, each by itself (extendible hashing, Fagin 1979)
//! ```
//!
//! Never moves more than one block at a time, and never removes a single entry: entries that
//! nobody needs go when their area is full.
//!
//! **Invariant:** an entry lies within [`PROBES_MAX`] lines of the one that its hash names, with no
//! empty slot between. So whatever keys a neighbour chooses, looking one up is bounded.

use super::memory::{BLOCK_WORDS, Memory, Meta};
use super::slot::{Key, LINE_SLOTS, Name, Named, STATE_WORDS, State};
use edgelore_model::Prefix;
use std::marker::PhantomData;

/// Lines looked at for one key at most.
const PROBES_MAX: usize = 128;
/// Lines of the first area.
const LINES_MIN: usize = 4;
/// Bits of the hash that the directory uses at most: 65,536 places.
const DEPTH_MAX: u32 = 16;

/// A tick is 2^20 ns, about a millisecond.
pub(super) const TICK_BITS: u32 = 20;

/// Why there is no slot for a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
enum Store {
    Few { words: Vec<u32>, meta: Meta },
    Many { depth: u32, directory: Vec<u32> },
}

#[derive(Debug)]
pub(super) struct Table<K> {
    store: Store,
    /// Withdrawals so far.
    withdrawals: u64,
    key: PhantomData<K>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        let store = Store::Few { words: Vec::new(), meta: Meta::default() };
        Self { store, withdrawals: 0, key: PhantomData }
    }
}

/// What a probe ends at.
enum Probe {
    There(usize),
    Empty(usize),
    Crowded,
}

const fn slots<K: Key>(area: &[u32]) -> usize {
    area.len() / K::LINE_WORDS * LINE_SLOTS
}

/// Where a hash's line begins. An area that is not empty has a power of two of lines.
#[inline]
const fn line_of<K: Key>(area: &[u32], hash: u64) -> usize {
    (hash as usize & (area.len() / K::LINE_WORDS - 1)) * K::LINE_WORDS
}

/// The slot of a key, or the empty one where it would go, as the first word of its state.
#[inline(always)]
fn probe<K: Key>(area: &[u32], name: &Name<K>) -> Probe {
    if area.is_empty() {
        return Probe::Crowded;
    }
    let mut at = line_of::<K>(area, name.hash);
    for _ in 0..PROBES_MAX {
        let line = &area[at..at + K::LINE_WORDS];
        for slot in 0..LINE_SLOTS {
            let begin = slot * K::SLOT_WORDS;
            let form = (line[begin + K::SLOT_WORDS - 1] & 0xff) as u8;
            if form == name.form && K::read(&line[begin..begin + K::WORDS]) == name.key {
                return Probe::There(at + begin + K::WORDS);
            }
            if form == 0 {
                return Probe::Empty(at + begin + K::WORDS);
            }
        }
        at = (at + K::LINE_WORDS) & (area.len() - 1);
    }
    Probe::Crowded
}

fn state_at(area: &[u32], at: usize) -> State {
    State::read(area[at..].first_chunk().expect("a slot has its state"))
}

/// Puts an entry in that is not there; false when there is no room within the probes' bound.
fn put<K: Key>(area: &mut [u32], name: &Name<K>, state: &State) -> bool {
    let Probe::Empty(at) = probe(area, name) else { return false };
    name.key.write(&mut area[at - K::WORDS..at]);
    state.write(area[at..].first_chunk_mut().expect("a slot has its state"));
    true
}

/// All entries of an area, in the order in which they lie.
fn entries<K: Key>(area: &[u32]) -> impl Iterator<Item = (K, State)> {
    let slot = |line: &[u32], slot: usize| {
        let begin = slot * K::SLOT_WORDS;
        let state = state_at(line, begin + K::WORDS);
        (state.form != 0).then(|| (K::read(&line[begin..begin + K::WORDS]), state))
    };
    let lines = area.chunks_exact(K::LINE_WORDS);
    lines.flat_map(move |line| (0..LINE_SLOTS).map_while(move |at| slot(line, at)))
}

impl<K: Key + Named> Table<K> {
    #[inline(always)]
    fn area<'m>(&'m self, memory: &'m Memory, hash: u64) -> &'m [u32] {
        match &self.store {
            Store::Few { words, .. } => words,
            Store::Many { depth, directory } => memory.words(block_of(*depth, directory, hash)),
        }
    }

    #[inline(always)]
    fn area_mut<'m>(&'m mut self, memory: &'m mut Memory, hash: u64) -> &'m mut [u32] {
        match &mut self.store {
            Store::Few { words, .. } => words,
            Store::Many { depth, directory } => memory.words_mut(block_of(*depth, directory, hash)),
        }
    }

    fn meta_mut<'m>(&'m mut self, memory: &'m mut Memory, hash: u64) -> &'m mut Meta {
        match &mut self.store {
            Store::Few { meta, .. } => meta,
            Store::Many { depth, directory } => memory.meta_mut(block_of(*depth, directory, hash)),
        }
    }

    /// Has the line where the probing for a hash begins brought near.
    #[inline]
    pub(super) fn fetch(&self, memory: &Memory, hash: u64) {
        let area = self.area(memory, hash);
        if !area.is_empty() {
            edgelore_kernels::memory::prefetch(&area[line_of::<K>(area, hash)]);
        }
    }

    /// The state of a key that is there.
    #[inline]
    pub(super) fn find(&self, memory: &Memory, name: &Name<K>) -> Option<State> {
        let area = self.area(memory, name.hash);
        match probe(area, name) {
            Probe::There(at) => Some(state_at(area, at)),
            _ => None,
        }
    }

    /// Where the state of a key that is there lies.
    #[inline(always)]
    pub(super) fn find_mut<'m>(
        &'m mut self,
        memory: &'m mut Memory,
        name: &Name<K>,
    ) -> Option<&'m mut [u32; STATE_WORDS]> {
        let area = self.area_mut(memory, name.hash);
        match probe(area, name) {
            Probe::There(at) => area[at..].first_chunk_mut(),
            _ => None,
        }
    }

    /// An announced entry was withdrawn, or one came in as withdrawn.
    #[inline]
    pub(super) const fn withdrawn(&mut self) {
        self.withdrawals += 1;
    }

    /// The place for a key that is not there, made if need be: by clearing its area of what is
    /// `stale`, by growing it, or at last by clearing it of withdrawn entries however fresh.
    ///
    /// # Errors
    /// [`Full`]: none of that made room.
    pub(super) fn insert(
        &mut self,
        memory: &mut Memory,
        name: &Name<K>,
        state: &State,
        seed: u64,
        stale: impl Fn(&State) -> bool,
    ) -> Result<(), Full> {
        loop {
            let entries = self.meta_mut(memory, name.hash).entries;
            let area = self.area_mut(memory, name.hash);
            let crowded = entries >= slots::<K>(area) / 8 * 7;
            let half = entries >= slots::<K>(area) / 2;
            if !crowded && put(area, name, state) {
                self.meta_mut(memory, name.hash).entries += 1;
                return Ok(());
            }
            let worth = (slots::<K>(self.area(memory, name.hash)) / 16).max(1);
            let (old, withdrawn) = self.walk(memory, name.hash, worth, &stale);
            if old >= worth {
                self.rebuild(memory, name.hash, seed, |state| !stale(state));
            } else if half && self.grow(memory, name.hash, seed) {
            } else if withdrawn >= worth {
                self.rebuild(memory, name.hash, seed, |state| state.announced);
            } else {
                return Err(Full);
            }
        }
    }

    /// How many entries of an area are stale, and how many are withdrawn, if there can be enough of
    /// them to be `worth` the walk.
    fn walk(
        &mut self,
        memory: &mut Memory,
        hash: u64,
        worth: usize,
        stale: impl Fn(&State) -> bool,
    ) -> (usize, usize) {
        let withdrawals = self.withdrawals;
        let meta = *self.meta_mut(memory, hash);
        let since = usize::try_from(withdrawals - meta.walked_at).unwrap_or(usize::MAX);
        if meta.withdrawn.saturating_add(since) < worth {
            return (0, 0);
        }
        let (mut old, mut withdrawn) = (0, 0);
        for (_, state) in entries::<K>(self.area(memory, hash)) {
            withdrawn += usize::from(!state.announced);
            old += usize::from(stale(&state));
        }
        let meta = self.meta_mut(memory, hash);
        (meta.withdrawn, meta.walked_at) = (withdrawn, withdrawals);
        (old, withdrawn)
    }

    /// Drops all but what is to be kept from an area.
    fn rebuild(
        &mut self,
        memory: &mut Memory,
        hash: u64,
        seed: u64,
        keep: impl Fn(&State) -> bool,
    ) {
        let area = self.area_mut(memory, hash);
        let kept: Vec<(K, State)> = entries(area).filter(|(_, state)| keep(state)).collect();
        area.fill(0);
        let put = put_all(area, &kept, seed);
        self.meta_mut(memory, hash).entries = put;
        memory.displaced += (kept.len() - put) as u64;
    }

    /// Makes an area larger; false when there is no memory for that.
    fn grow(&mut self, memory: &mut Memory, hash: u64, seed: u64) -> bool {
        match &mut self.store {
            Store::Few { words, .. } => {
                let lines = words.len() / K::LINE_WORDS;
                if lines * K::LINE_WORDS * 2 < BLOCK_WORDS {
                    self.double(memory, (lines * 2).max(LINES_MIN), seed)
                } else {
                    self.move_into_block(memory, seed)
                }
            }
            Store::Many { .. } => self.split(memory, hash, seed),
        }
    }

    fn double(&mut self, memory: &mut Memory, lines: usize, seed: u64) -> bool {
        let Store::Few { words, meta } = &mut self.store else { return false };
        let mut larger = vec![0; lines * K::LINE_WORDS];
        if !memory.reserve((larger.len() - words.len()) * size_of::<u32>()) {
            return false;
        }
        let all: Vec<(K, State)> = entries(words).collect();
        meta.entries = put_all(&mut larger, &all, seed);
        memory.displaced += (all.len() - meta.entries) as u64;
        *words = larger;
        true
    }

    fn move_into_block(&mut self, memory: &mut Memory, seed: u64) -> bool {
        let Store::Few { words, meta } = &mut self.store else { return false };
        let Some(block) = memory.take(*meta) else { return false };
        let all: Vec<(K, State)> = entries(words).collect();
        let put = put_all(memory.words_mut(block), &all, seed);
        memory.meta_mut(block).entries = put;
        memory.unreserve(size_of_val(&words[..]));
        memory.displaced += (all.len() - put) as u64;
        self.store = Store::Many { depth: 0, directory: vec![block] };
        true
    }

    /// Splits a block by the next bit of its entries' hashes.
    fn split(&mut self, memory: &mut Memory, hash: u64, seed: u64) -> bool {
        let Store::Many { depth, directory } = &mut self.store else { return false };
        let low = block_of(*depth, directory, hash);
        let of = memory.meta(low);
        let deeper = Meta { depth: of.depth + 1, ..of };
        if of.depth >= DEPTH_MAX {
            return false;
        }
        let Some(high) = memory.take(deeper) else { return false };
        if of.depth == *depth {
            *directory = directory.iter().flat_map(|&block| [block; 2]).collect();
            *depth += 1;
        }
        let bit = *depth - of.depth - 1;
        for (place, block) in directory.iter_mut().enumerate() {
            if *block == low && place >> bit & 1 == 1 {
                *block = high;
            }
        }
        let all: Vec<(K, State)> = entries(memory.words(low)).collect();
        let is_high = |(key, state): &(K, State)| {
            Name::new(*key, state.form, seed).hash >> (63 - of.depth) & 1 == 1
        };
        let (highs, lows): (Vec<_>, Vec<_>) = all.into_iter().partition(is_high);
        memory.words_mut(low).fill(0);
        for (block, entries) in [(low, lows), (high, highs)] {
            let put = put_all(memory.words_mut(block), &entries, seed);
            *memory.meta_mut(block) = Meta { entries: put, ..deeper };
            memory.displaced += (entries.len() - put) as u64;
        }
        true
    }

    /// Everything goes, and the memory back.
    pub(super) fn release(&mut self, memory: &mut Memory) {
        match &self.store {
            Store::Few { words, .. } => memory.unreserve(size_of_val(&words[..])),
            Store::Many { directory, .. } => {
                blocks(directory).for_each(|block| memory.give_back(block));
            }
        }
        *self = Self::default();
    }

    /// The prefixes that are announced, in no order.
    pub(super) fn announced<'m>(&'m self, memory: &'m Memory) -> impl Iterator<Item = Prefix> + 'm {
        let of = |area| entries::<K>(area).filter(|(_, state)| state.announced);
        let prefixes = self.areas(memory).flat_map(of);
        prefixes.filter_map(|(key, state)| key.prefix(state.form))
    }

    /// Entries, those withdrawn included.
    pub(super) fn entries(&self, memory: &Memory) -> usize {
        self.areas(memory).map(|area| entries::<K>(area).count()).sum()
    }

    /// Moves all times back by so many ticks; what would lie before the first counts as at it.
    pub(super) fn rebase(&mut self, memory: &mut Memory, older: u32) {
        let mut all: Vec<u32> = Vec::new();
        if let Store::Many { directory, .. } = &self.store {
            all.extend(blocks(directory));
        }
        if let Store::Few { words, .. } = &mut self.store {
            rebase::<K>(words, older);
        }
        for block in all {
            rebase::<K>(memory.words_mut(block), older);
        }
    }

    fn areas<'m>(&'m self, memory: &'m Memory) -> impl Iterator<Item = &'m [u32]> {
        let (few, many): (&[u32], &[u32]) = match &self.store {
            Store::Few { words, .. } => (words, &[]),
            Store::Many { directory, .. } => (&[], directory),
        };
        std::iter::once(few).chain(blocks(many).map(|block| memory.words(block)))
    }
}

fn rebase<K: Key>(area: &mut [u32], older: u32) {
    for line in area.chunks_exact_mut(K::LINE_WORDS) {
        for slot in 0..LINE_SLOTS {
            let at = slot * K::SLOT_WORDS + K::WORDS;
            let mut state = state_at(line, at);
            state.changed = state.changed.saturating_sub(older);
            state.first = state.first.saturating_sub(older);
            state.write(line[at..].first_chunk_mut().expect("a slot has its state"));
        }
    }
}

/// Puts entries into an area that is empty; says how many found a place.
fn put_all<K: Key>(area: &mut [u32], entries: &[(K, State)], seed: u64) -> usize {
    let mut placed = 0;
    for (key, state) in entries {
        placed += usize::from(put(area, &Name::new(*key, state.form, seed), state));
    }
    placed
}

#[inline]
fn block_of(depth: u32, directory: &[u32], hash: u64) -> u32 {
    // A shift by 64 would not be one: a directory of one place is shifted twice.
    directory[((hash >> 1) >> (63 - depth)) as usize]
}

/// The blocks of a directory, each once: those places that share one lie side by side.
fn blocks(directory: &[u32]) -> impl Iterator<Item = u32> {
    let last = |at: usize| at.checked_sub(1).map(|before| directory[before]);
    directory
        .iter()
        .enumerate()
        .filter(move |(at, block)| last(*at) != Some(**block))
        .map(|(_, b)| *b)
}
