//! What a search need not look into: how far each run of blocks is at least.
//!
//! A run's bounds hold the codes of its situations, so none of them is nearer than its bounds are. Where
//! situations lie in an order in which near ones are together ([`key`]), the bounds are narrow and most runs are
//! passed over. What comes, and what moves, widens the bounds of its run; nothing narrows them but a new order.
//!
//! Owns the bounds and the order. Never knows what a code means.
//!
//! **Invariant:** every situation's code lies within the bounds of its run.

use std::ops::Range;

use edgelore_kernels::similarity::{FIELDS, LANES};

/// Blocks of a run: half of a core's first cache.
pub(super) const RUN: usize = 64;
/// Situations of a run.
const SITUATIONS: usize = RUN * LANES;

/// A code.
pub(super) type Code = [u8; FIELDS];

/// The least and the greatest value of each field.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    least: Code,
    greatest: Code,
}

/// The bounds of all runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Vec<Bounds>);

impl Runs {
    /// Bytes that they take.
    pub(super) const fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Bounds>()
    }

    /// Widens the bounds of the run in which a slot lies, which is the one after the last at most.
    pub(super) fn take_in(&mut self, slot: usize, code: Code) {
        match self.0.get_mut(slot / SITUATIONS) {
            Some(bounds) => {
                let both = bounds.least.iter_mut().zip(&mut bounds.greatest);
                for ((least, greatest), value) in both.zip(code) {
                    (*least, *greatest) = (value.min(*least), value.max(*greatest));
                }
            }
            None => self.0.push(Bounds { least: code, greatest: code }),
        }
    }

    /// Forgets the runs of which nothing is left among `len` situations.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len.div_ceil(SITUATIONS));
    }

    /// The cost below which nothing lies in it, and the place, of every run that may hold something of
    /// `limit` at most; the nearest first.
    pub(super) fn near(&self, costs: &Costs, limit: u8) -> Vec<(u8, usize)> {
        let runs = self.0.iter().enumerate().map(|(run, bounds)| (costs.least(bounds), run));
        let mut near: Vec<(u8, usize)> = runs.filter(|(least, _)| *least <= limit).collect();
        near.sort_unstable();
        near
    }
}

/// The blocks of a run, of so many that there are; none after the last run.
pub(super) fn blocks(run: usize, count: usize) -> Range<usize> {
    count.min(run * RUN)..count.min((run + 1) * RUN)
}

/// What the values of each field cost.
pub(super) struct Costs {
    costs: [[u8; 256]; FIELDS],
    /// A value of each field that costs least.
    cheapest: Code,
}

impl Costs {
    pub(super) fn new(costs: [[u8; 256]; FIELDS]) -> Self {
        let cheapest = costs.each_ref().map(|costs| {
            let values = (0..=u8::MAX).zip(costs);
            values.min_by_key(|(_, cost)| **cost).map_or(0, |(value, _)| value)
        });
        Self { costs, cheapest }
    }

    pub(super) const fn of_each(&self) -> &[[u8; 256]; FIELDS] {
        &self.costs
    }

    /// What a code within the bounds costs at least.
    fn least(&self, bounds: &Bounds) -> u8 {
        (0..FIELDS).fold(0, |sum: u8, field| {
            let (costs, cheapest) = (&self.costs[field], self.cheapest[field]);
            let (from, to) = (bounds.least[field], bounds.greatest[field]);
            let least = if (from..=to).contains(&cheapest) {
                costs[usize::from(cheapest)]
            } else {
                costs[usize::from(from)..=usize::from(to)].iter().fold(u8::MAX, |a, b| a.min(*b))
            };
            sum.saturating_add(least)
        })
    }
}

/// Where a code stands in an order in which near ones are together: term by term, and within the same terms
/// by the bits of the coordinates in turn.
pub(super) fn key(code: Code) -> u64 {
    let [topology, protocol, event, severity, prefixes, nodes] = code.map(u64::from);
    let terms = topology << 16 | protocol << 8 | event;
    let coordinates = [severity, prefixes, nodes];
    (0..8).rev().fold(terms, |key, bit| {
        coordinates.iter().fold(key, |key, coordinate| key << 1 | coordinate >> bit & 1)
    })
}

/// An order of what lies in slots: each slot's content comes from the slot that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(Vec<u32>);

impl Order {
    /// That in which slots are sorted by a key, and by their number where it is the same.
    pub(super) fn by_key(slots: usize, key: impl Fn(usize) -> u64) -> Self {
        let mut keyed: Vec<(u64, u32)> =
            (0..slots).zip(0..).map(|(slot, number)| (key(slot), number)).collect();
        keyed.sort_unstable();
        Self(keyed.into_iter().map(|(_, slot)| slot).collect())
    }

    /// The slots that the contents come from.
    pub(super) fn sources(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|from| *from as usize)
    }

    /// Brings what lies in the slots into this order.
    ///
    /// # Panics
    /// When there are not as many of them as of slots.
    pub fn apply<T>(&self, items: &mut [T]) {
        assert_eq!(items.len(), self.0.len(), "an item for each slot");
        for (slot, source) in self.sources().enumerate() {
            // What lay in an earlier slot was swapped to where that slot's content came from.
            let mut from = source;
            while from < slot {
                from = self.0[from] as usize;
            }
            items.swap(slot, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_order_sorts_whatever_lies_beside_the_keys(keys in proptest::collection::vec(0u64..50, 0..300)) {
            let order = Order::by_key(keys.len(), |slot| keys[slot]);
            let mut items: Vec<(u64, usize)> = keys.iter().copied().zip(0..).collect();
            let mut sorted = items.clone();
            order.apply(&mut items);
            sorted.sort_unstable();
            prop_assert_eq!(items, sorted);
        }

        #[test]
        fn no_code_costs_less_than_its_run(
            codes in proptest::collection::vec(any::<Code>(), 1..20),
            costs in proptest::collection::vec(any::<u8>(), FIELDS * 256),
        ) {
            let costs = std::array::from_fn(|field| std::array::from_fn(|at| costs[field * 256 + at] / 4));
            let costs = Costs::new(costs);
            let mut runs = Runs::default();
            codes.iter().for_each(|code| runs.take_in(7, *code));
            let cost = |code: &Code| {
                let each = code.iter().zip(costs.of_each()).map(|(at, costs)| costs[usize::from(*at)]);
                each.fold(0, u8::saturating_add)
            };
            let cheapest = codes.iter().map(cost).min().unwrap_or_default();
            let near = runs.near(&costs, u8::MAX);
            prop_assert!(near[0].0 <= cheapest);
            // Of a single code it is told exactly.
            runs.truncate(0);
            runs.take_in(0, codes[0]);
            prop_assert_eq!(runs.near(&costs, u8::MAX), [(cost(&codes[0]), 0)]);
            prop_assert!(cost(&codes[0]) == 0 || runs.near(&costs, cost(&codes[0]) - 1).is_empty());
        }
    }

    #[test]
    fn codes_are_ordered_by_terms_and_then_by_where_they_lie() {
        let order = [
            [0, 0, 9, 255, 255, 255],
            [0, 1, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 1],
            [1, 0, 0, 1, 1, 1],
            [1, 0, 0, 0, 0, 2],
            [1, 0, 0, 127, 127, 127],
            [1, 0, 0, 0, 0, 128],
            [1, 0, 0, 0, 128, 0],
        ];
        assert!(order.map(key).is_sorted_by(|one, other| one < other));
    }
}
