//! A hash table that grows in small steps: segments of a fixed size, found through a directory by
//! the hash's high bits, each of which splits in two by itself (extendible hashing, Fagin 1979).
//!
//! ```text
//! directory (top bits of the hash) ─► segment: [slot; SEGMENT_SLOTS], probed linearly
//! ```
//!
//! Never moves more than one segment at a time, and never removes a single entry: entries that
//! nobody needs go when their segment is full.
//!
//! **Invariant:** an entry lies within [`PROBES_MAX`] slots of the place that its hash names, with
//! no empty slot between. So whatever keys a neighbour chooses, looking one up is bounded.

use edgelore_model::{Span, Timestamp};

/// Slots of a segment.
pub(super) const SEGMENT_SLOTS: usize = 4096;
/// Entries of a segment at most: 7/8 of its slots.
const SEGMENT_ENTRIES_MAX: usize = SEGMENT_SLOTS / 8 * 7;
/// Slots looked at for one key at most.
const PROBES_MAX: usize = 512;
/// Bits of the hash that the directory uses at most: 65,536 places.
const DEPTH_MAX: u32 = 16;
/// Entries that clearing must free to be worth the walk over a segment.
const CLEARED_MIN: usize = SEGMENT_SLOTS / 16;

/// A tick is 2^20 ns, about a millisecond.
pub(super) const TICK_BITS: u32 = 20;
/// Ticks past which a segment's epoch moves on: 26 days.
const TICKS_MAX: u32 = 1 << 31;

/// What a slot holds beside its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Low 32 bits of the attributes' hash.
    pub(super) attributes: u32,
    /// When it changed last, in ticks since the segment's epoch.
    pub(super) changed: u32,
    /// Speaker and table, an index.
    pub(super) source: u16,
    /// The source's life in which this was announced.
    pub(super) life: u16,
    /// Transitions of the running episode; saturates.
    pub(super) transitions: u8,
    /// Announcements with other attributes in the running episode; saturates.
    pub(super) changes: u8,
    /// The penalty when it changed last.
    pub(super) penalty: u16,
    /// [`OCCUPIED`] and [`ANNOUNCED`].
    pub(super) flags: u8,
    /// The prefix's length in bits: belongs to the key, lies here to fill the slot.
    pub(super) length: u8,
}

/// The slot is in use.
pub(super) const OCCUPIED: u8 = 1;
/// The prefix was announced and not withdrawn since.
pub(super) const ANNOUNCED: u8 = 2;

/// A prefix's address with its path identifier, of one family.
pub(super) trait Key: Copy + Eq + Default {
    /// A hash of which all bits are good.
    fn hash(&self, seed: u64) -> u64;
}

/// All that names an entry, and the hash of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name<K> {
    pub(super) key: K,
    pub(super) source: u16,
    pub(super) length: u8,
    pub(super) hash: u64,
}

impl<K: Key> Name<K> {
    #[inline]
    pub(super) fn new(key: K, source: u16, length: u8, seed: u64) -> Self {
        let hash = key.hash(seed ^ u64::from(source) << 8 ^ u64::from(length));
        Self { key, source, length, hash }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot<K> {
    pub(super) key: K,
    pub(super) state: State,
}

impl<K: Key> Slot<K> {
    fn name(&self, seed: u64) -> Name<K> {
        Name::new(self.key, self.state.source, self.state.length, seed)
    }
}

#[derive(Debug)]
pub(super) struct Segment<K> {
    /// Bits of the hash that all its entries share.
    depth: u32,
    entries: usize,
    withdrawn: usize,
    /// The ends of sources that had happened when it was cleared last.
    cleared_at: u64,
    /// What ticks are counted from.
    pub(super) epoch: Timestamp,
    slots: Box<[Slot<K>]>,
}

/// Why there is no slot for a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What decides whether an entry may go.
pub(super) trait Judge {
    /// The source's life is over: nobody needs the entry.
    fn dead(&self, state: &State) -> bool;
    /// Withdrawn, and quiet for long.
    fn stale(&self, state: &State, epoch: Timestamp) -> bool;
    /// How many ends of sources there were so far.
    fn ends(&self) -> u64;
}

#[derive(Debug)]
pub(super) struct Table<K> {
    seed: u64,
    depth: u32,
    directory: Vec<u32>,
    segments: Vec<Segment<K>>,
    /// Entries that found no place within the probes' bound when their segment was cleared or
    /// split: only keys made to crowd together can do that.
    displaced: u64,
}

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: usize,
    slot: usize,
}

impl<K: Key> Segment<K> {
    fn new(depth: u32, epoch: Timestamp) -> Self {
        let slots = vec![Slot::default(); SEGMENT_SLOTS].into_boxed_slice();
        Self { depth, entries: 0, withdrawn: 0, cleared_at: 0, epoch, slots }
    }

    /// The slot of a key, or the empty one where it would go; `None` within the probes' bound.
    #[inline]
    fn probe(&self, name: &Name<K>) -> Option<(usize, bool)> {
        let start = name.hash as usize % SEGMENT_SLOTS;
        let called = |state: &State| (state.source, state.length) == (name.source, name.length);
        for step in 0..PROBES_MAX {
            let at = (start + step) % SEGMENT_SLOTS;
            let slot = &self.slots[at];
            if slot.state.flags == 0 {
                return Some((at, false));
            }
            if slot.key == name.key && called(&slot.state) {
                return Some((at, true));
            }
        }
        None
    }

    /// Puts an entry in that is not there; false when there is no room within the probes' bound.
    fn put(&mut self, slot: Slot<K>, name: &Name<K>) -> bool {
        let Some((at, false)) = self.probe(name) else {
            return false;
        };
        self.slots[at] = slot;
        self.entries += 1;
        self.withdrawn += usize::from(slot.state.flags & ANNOUNCED == 0);
        true
    }

    /// Takes all entries out.
    fn drain(&mut self) -> Vec<Slot<K>> {
        let slots = self.slots.iter().filter(|slot| slot.state.flags != 0).copied().collect();
        self.slots.fill(Slot::default());
        (self.entries, self.withdrawn) = (0, 0);
        slots
    }
}

impl<K: Key> Table<K> {
    /// An empty table; takes the memory of one segment at its first entry.
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, depth: 0, directory: Vec::new(), segments: Vec::new(), displaced: 0 }
    }

    /// Segments in use.
    pub(super) const fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Octets of one segment.
    pub(super) const fn segment_bytes() -> usize {
        SEGMENT_SLOTS * size_of::<Slot<K>>()
    }

    /// Entries, those withdrawn or of ended sources included.
    pub(super) fn entries(&self) -> usize {
        self.segments.iter().map(|segment| segment.entries).sum()
    }

    /// All entries, in no order.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot<K>> {
        let all = self.segments.iter().flat_map(|segment| &segment.slots);
        all.filter(|slot| slot.state.flags != 0)
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> Option<usize> {
        // A shift by 64 would not be one: a directory of one place is shifted twice.
        let index = (hash >> 1) >> (63 - self.depth);
        self.directory.get(index as usize).map(|&segment| segment as usize)
    }

    /// Reads the slot where the probing for a hash begins. What it hands out means nothing: the
    /// caller looks at several hashes first, so that the memory they need arrives together.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u8 {
        let segment = self.segment_of(hash).and_then(|index| self.segments.get(index));
        segment.map_or(0, |segment| segment.slots[hash as usize % SEGMENT_SLOTS].state.flags)
    }

    /// The place of a key that is there.
    #[inline]
    pub(super) fn find(&self, name: &Name<K>) -> Option<Place> {
        let segment = self.segment_of(name.hash)?;
        match self.segments[segment].probe(name)? {
            (slot, true) => Some(Place { segment, slot }),
            _ => None,
        }
    }

    /// The entry at a place, and what its ticks are counted from.
    #[inline]
    pub(super) fn at(&self, place: Place) -> (&State, Timestamp) {
        let segment = &self.segments[place.segment];
        (&segment.slots[place.slot].state, segment.epoch)
    }

    /// Changes the entry at a place.
    #[inline]
    pub(super) fn change(&mut self, place: Place, change: impl FnOnce(&mut State)) {
        let segment = &mut self.segments[place.segment];
        let state = &mut segment.slots[place.slot].state;
        let before = state.flags & ANNOUNCED;
        change(state);
        match (before, state.flags & ANNOUNCED) {
            (ANNOUNCED, 0) => segment.withdrawn += 1,
            (0, ANNOUNCED) => segment.withdrawn -= 1,
            _ => {}
        }
    }

    /// Ticks from a segment's epoch to `now`; moves the epoch on when they would run out, after
    /// which older changes count as at the epoch.
    #[inline]
    pub(super) fn ticks(&mut self, segment: usize, now: Timestamp) -> u32 {
        let segment = &mut self.segments[segment];
        let ticks = (now - segment.epoch).0.max(0) >> TICK_BITS;
        if ticks < i64::from(TICKS_MAX) {
            return ticks as u32;
        }
        let moved = ticks - i64::from(TICKS_MAX / 2);
        let older = u32::try_from(moved).unwrap_or(u32::MAX);
        segment.epoch = segment.epoch + Span(moved << TICK_BITS);
        for slot in &mut segment.slots {
            slot.state.changed = slot.state.changed.saturating_sub(older);
        }
        TICKS_MAX / 2
    }

    /// Entries lost in spite of room, see the field.
    pub(super) const fn displaced(&self) -> u64 {
        self.displaced
    }

    /// The place for a key that is not there, made if need be: by clearing the segment of what
    /// nobody needs, by splitting it while `segments_left` allows, or at last by clearing it of
    /// withdrawn entries however fresh.
    ///
    /// # Errors
    /// [`Full`]: none of that made room.
    pub(super) fn insert(
        &mut self,
        name: &Name<K>,
        state: State,
        now: Timestamp,
        judge: &impl Judge,
        mut segments_left: usize,
    ) -> Result<(), Full> {
        if self.segments.is_empty() {
            if segments_left == 0 {
                return Err(Full);
            }
            self.segments.push(Segment::new(0, now));
            self.directory.push(0);
            segments_left -= 1;
        }
        loop {
            let index = self.segment_of(name.hash).ok_or(Full)?;
            let state = State { changed: self.ticks(index, now), ..state };
            let slot = Slot { key: name.key, state };
            let segment = &mut self.segments[index];
            if segment.entries < SEGMENT_ENTRIES_MAX && segment.put(slot, name) {
                return Ok(());
            }
            let crowded = segment.entries >= SEGMENT_ENTRIES_MAX;
            if crowded && self.clear(index, judge, false) {
                continue;
            }
            if segments_left > 0 && self.segments[index].depth < DEPTH_MAX && self.splits(index) {
                segments_left -= 1;
                self.split(index);
                continue;
            }
            if self.clear(index, judge, true) {
                continue;
            }
            return Err(Full);
        }
    }

    /// A segment with few entries whose keys crowd together is not split: that would give a
    /// neighbour that chooses its keys the memory of all.
    fn splits(&self, index: usize) -> bool {
        self.segments[index].entries >= SEGMENT_ENTRIES_MAX / 2
    }

    /// Drops what may go from a segment; false when that is too little to be worth the walk. With
    /// `pressed` all withdrawn entries go, else those that were quiet for long.
    fn clear(&mut self, index: usize, judge: &impl Judge, pressed: bool) -> bool {
        let segment = &mut self.segments[index];
        // Each end and each bunch of withdrawals pays for one walk.
        let ended = segment.cleared_at < judge.ends();
        if !ended && segment.withdrawn < CLEARED_MIN {
            return false;
        }
        segment.cleared_at = judge.ends();
        let (before, epoch) = (segment.entries, segment.epoch);
        let goes = |state: &State| {
            let withdrawn = state.flags & ANNOUNCED == 0;
            judge.dead(state) || withdrawn && (pressed || judge.stale(state, epoch))
        };
        let gone = segment.slots.iter().filter(|s| s.state.flags != 0 && goes(&s.state)).count();
        if gone < CLEARED_MIN {
            return false;
        }
        let kept: Vec<Slot<K>> = segment.drain();
        for slot in kept.into_iter().filter(|slot| !goes(&slot.state)) {
            let kept = segment.put(slot, &slot.name(self.seed));
            self.displaced += u64::from(!kept);
        }
        segment.entries < before
    }

    /// Splits a segment by the next bit of its entries' hashes.
    fn split(&mut self, index: usize) {
        let depth = self.segments[index].depth;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&segment| [segment; 2]).collect();
            self.depth += 1;
        }
        let epoch = self.segments[index].epoch;
        let sibling = self.segments.len();
        let mut high = Segment::new(depth + 1, epoch);
        let low = &mut self.segments[index];
        (low.depth, high.cleared_at) = (depth + 1, low.cleared_at);
        for slot in low.drain() {
            let name = slot.name(self.seed);
            let into = if name.hash >> (63 - depth) & 1 == 1 { &mut high } else { &mut *low };
            self.displaced += u64::from(!into.put(slot, &name));
        }
        self.segments.push(high);
        let bit = self.depth - depth - 1;
        for (place, segment) in self.directory.iter_mut().enumerate() {
            if *segment as usize == index && place >> bit & 1 == 1 {
                *segment = sibling as u32;
            }
        }
    }
}
