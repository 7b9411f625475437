//! A bounded table: when it is full, an entry that was not used lately makes room (second chance).
//!
//! **Invariant:** what is evicted depends on the order of use alone, so that a replay evicts the
//! same entries.

use std::collections::HashMap;
use std::hash::Hash;

struct Slot<K, V> {
    key: K,
    value: V,
    used: bool,
}

pub(super) struct Table<K, V> {
    index: HashMap<K, usize>,
    slots: Vec<Slot<K, V>>,
    hand: usize,
    last: usize,
    max: usize,
    evicted: u64,
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    /// A table of at most `max` entries, at least one.
    pub(super) fn new(max: usize) -> Self {
        let (index, slots) = (HashMap::new(), Vec::new());
        Self { index, slots, hand: 0, last: 0, max: max.max(1), evicted: 0 }
    }

    /// Entries that had to make room so far.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The place of `key`, for [`Self::at`].
    pub(super) fn find(&mut self, key: &K) -> Option<usize> {
        // Packets of a stream come in a row: the last place is nearly always the right one.
        if self.slots.get(self.last).is_none_or(|slot| slot.key != *key) {
            self.last = *self.index.get(key)?;
        }
        self.slots[self.last].used = true;
        Some(self.last)
    }

    /// Puts a new key in; hands out its place and what had to go.
    pub(super) fn insert(&mut self, key: K, value: V) -> (usize, Option<V>) {
        let slot = Slot { key, value, used: true };
        let (place, gone) = if self.slots.len() < self.max {
            self.slots.push(slot);
            (self.slots.len() - 1, None)
        } else {
            let place = self.victim();
            self.evicted += 1;
            let gone = std::mem::replace(&mut self.slots[place], slot);
            self.index.remove(&gone.key);
            (place, Some(gone.value))
        };
        self.index.insert(key, place);
        self.last = place;
        (place, gone)
    }

    /// The value at a place handed out since the last insertion.
    pub(super) fn at(&mut self, place: usize) -> &mut V {
        &mut self.slots[place].value
    }

    /// The value of `key`, made if it is not there yet.
    pub(super) fn get_or_insert(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let place = self.find(&key).unwrap_or_else(|| self.insert(key, make()).0);
        self.at(place)
    }

    /// Places in the order of their keys.
    pub(super) fn sorted(&self) -> Vec<usize>
    where
        K: Ord,
    {
        let mut places: Vec<usize> = (0..self.slots.len()).collect();
        places.sort_unstable_by_key(|&place| self.slots[place].key);
        places
    }

    /// Passes over what was used since the hand's last turn, taking the mark off.
    fn victim(&mut self) -> usize {
        loop {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if !std::mem::take(&mut self.slots[place].used) {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_makes_room() {
        let mut table = Table::new(3);
        for key in 0..3 {
            table.insert(key, key * 10);
        }
        assert_eq!(table.insert(3, 30).1, Some(0), "all were used: the hand goes round once");
        assert!(table.find(&1).is_some());
        assert_eq!(table.insert(4, 40).1, Some(20), "1 was used since");
        assert_eq!(table.evicted(), 2);
        assert_eq!(*table.get_or_insert(3, || 0), 30);
        assert_eq!(table.sorted().len(), 3);
    }
}
