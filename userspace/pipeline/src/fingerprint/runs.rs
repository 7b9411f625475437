//! What a search need not look into: how far each run of blocks is at least.
//!
//! A run's bounds hold the codes of its situations, so none of them is nearer than its bounds are. Where
//! situations lie in an order in which near ones are together ([`key`]), the bounds are narrow and most runs are
//! passed over, and so are more of them and most blocks of the others by what their coordinates reach over. What
//! comes, and what moves, widens the bounds of its run and block; nothing narrows them but a new order.
//!
//! Owns the bounds and the order. Never knows what a code means.
//!
//! **Invariant:** every situation's code lies within the bounds of its run, and its coordinates within those
//! of its block and its run if these have any.

use std::array;
use std::mem;
use std::ops::Range;

use edgelore_kernels::similarity::{FIELDS, LANES};

/// Blocks of a run: half of a core's first cache.
pub(super) const RUN: usize = 64;
/// Situations of a run.
const SITUATIONS: usize = RUN * LANES;
/// Fields with a taxonomy, and fields with a scale.
pub(super) const HALF: usize = FIELDS / 2;
/// Upper bits of each coordinate that an order goes by: with 24 bits of terms no more fit into a key.
const KEY_BITS: u32 = 13;

/// A code.
pub(super) type Code = [u8; FIELDS];
/// Milli-units.
type Coordinates = [u32; HALF];

/// The least and the greatest of each value.
#[derive(Clone, Copy, Debug)]
struct Bounds<T, const N: usize> {
    least: [T; N],
    greatest: [T; N],
}

impl<T: Copy + Ord, const N: usize> Bounds<T, N> {
    fn widen(&mut self, values: [T; N]) {
        let both = self.least.iter_mut().zip(&mut self.greatest);
        for ((least, greatest), value) in both.zip(values) {
            (*least, *greatest) = (value.min(*least), value.max(*greatest));
        }
    }
}

/// The bounds of all runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Vec<Bounds<u8, FIELDS>>);

impl Runs {
    /// Bytes that they take.
    pub(super) const fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Bounds<u8, FIELDS>>()
    }

    /// Widens the bounds of the run in which a slot lies, which is the one after the last at most.
    pub(super) fn take_in(&mut self, slot: usize, code: Code) {
        match self.0.get_mut(slot / SITUATIONS) {
            Some(bounds) => bounds.widen(code),
            None => self.0.push(Bounds { least: code, greatest: code }),
        }
    }

    /// Forgets the runs of which nothing is left among `len` situations.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len.div_ceil(SITUATIONS));
    }

    /// The cost below which nothing lies in it, and the place, of every run that may hold something of
    /// `limit` at most.
    pub(super) fn near(&self, costs: &Costs, limit: u8) -> impl Iterator<Item = (u8, usize)> {
        let runs = self.0.iter().enumerate().map(move |(run, bounds)| (costs.least(bounds), run));
        runs.filter(move |(least, _)| *least <= limit)
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
    fn least(&self, bounds: &Bounds<u8, FIELDS>) -> u8 {
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

/// The least and the greatest of each coordinate.
type Extent = Bounds<u32, HALF>;

impl Extent {
    const EMPTY: Self = Self { least: [u32::MAX; HALF], greatest: [0; HALF] };

    /// Milli-units by which what is asked for is outside.
    fn distance(&self, asked: &[Option<u32>; HALF]) -> u32 {
        let each = asked.iter().zip(self.least).zip(self.greatest);
        let outside = each.map(|((asked, least), greatest)| {
            asked.map_or(0, |at| least.saturating_sub(at).max(at.saturating_sub(greatest)))
        });
        outside.fold(0, u32::saturating_add)
    }
}

/// How far the situations reach in each block and run that was put in order; of those after nothing is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Boxes {
    blocks: Vec<Extent>,
    runs: Vec<Extent>,
}

impl Boxes {
    /// Of so many situations, of which none is taken in yet.
    pub(super) fn of(situations: usize) -> Self {
        let empty = |each: usize| vec![Extent::EMPTY; situations.div_ceil(each)];
        Self { blocks: empty(LANES), runs: empty(SITUATIONS) }
    }

    /// Bytes that they take.
    pub(super) const fn bytes(&self) -> usize {
        (self.blocks.capacity() + self.runs.capacity()) * size_of::<Extent>()
    }

    /// Widens the block and the run in which a slot lies.
    pub(super) fn take_in(&mut self, slot: usize, coordinates: Coordinates) {
        let block = self.blocks.get_mut(slot / LANES);
        let both = block.into_iter().chain(self.runs.get_mut(slot / SITUATIONS));
        both.for_each(|extent| extent.widen(coordinates));
    }

    /// Forgets the blocks and runs of which nothing is left among `len` situations.
    pub(super) fn truncate(&mut self, len: usize) {
        self.blocks.truncate(len.div_ceil(LANES));
        self.runs.truncate(len.div_ceil(SITUATIONS));
    }

    /// Milli-units from what is asked for below which nothing lies in a block.
    fn distance(&self, block: usize, asked: &[Option<u32>; HALF]) -> u32 {
        self.blocks.get(block).map_or(0, |extent| extent.distance(asked))
    }

    /// The same of a run.
    pub(super) fn of_run(&self, run: usize, asked: &[Option<u32>; HALF]) -> u32 {
        self.runs.get(run).map_or(0, |extent| extent.distance(asked))
    }

    /// The first of these blocks that may hold something within `bound`, and those after it up to one that
    /// does not.
    pub(super) fn near(
        &self,
        mut blocks: Range<usize>,
        asked: &[Option<u32>; HALF],
        bound: u32,
    ) -> Option<Range<usize>> {
        if blocks.start < self.blocks.len() {
            let is_near = |block: &usize| self.distance(*block, asked) <= bound;
            blocks.start = blocks.clone().find(is_near)?;
            blocks.end = blocks.clone().find(|block| !is_near(block)).unwrap_or(blocks.end);
        }
        (!blocks.is_empty()).then_some(blocks)
    }

    /// These blocks, the nearest first, and milli-units below which nothing lies in them.
    pub(super) fn nearest_first(
        &self,
        blocks: Range<usize>,
        asked: &[Option<u32>; HALF],
    ) -> Vec<(u32, usize)> {
        let mut blocks: Vec<_> = blocks.map(|block| (self.distance(block, asked), block)).collect();
        blocks.sort_unstable();
        blocks
    }
}

/// Where a situation stands in an order in which near ones are together: by the codes of its terms, and within
/// the same terms by the upper bits of its coordinates in turn, each of which has so many bits.
pub(super) fn key(code: Code, coordinates: Coordinates, bits: [u32; HALF]) -> u64 {
    let terms = code[..HALF].iter().fold(0, |key, term| key << 8 | u64::from(*term));
    let upper: [u64; HALF] = array::from_fn(|field| {
        u64::from(coordinates[field]) >> bits[field].saturating_sub(KEY_BITS)
    });
    (0..KEY_BITS).rev().fold(terms, |key, bit| {
        upper.iter().fold(key, |key, coordinate| key << 1 | coordinate >> bit & 1)
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
        let mut done = vec![false; items.len()];
        for start in 0..items.len() {
            // Round the circle of slots that take each other's contents.
            let mut slot = start;
            while !mem::replace(&mut done[slot], true) {
                let from = self.0[slot] as usize;
                if from != start {
                    items.swap(slot, from);
                }
                slot = from;
            }
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
            let near = |runs: &Runs, limit| runs.near(&costs, limit).collect::<Vec<_>>();
            prop_assert!(near(&runs, u8::MAX)[0].0 <= cheapest);
            // Of a single code it is told exactly.
            runs.truncate(0);
            runs.take_in(0, codes[0]);
            prop_assert_eq!(near(&runs, u8::MAX), [(cost(&codes[0]), 0)]);
            prop_assert!(cost(&codes[0]) == 0 || near(&runs, cost(&codes[0]) - 1).is_empty());
        }
    }

    #[test]
    fn situations_are_ordered_by_terms_and_then_by_where_they_lie() {
        let order = [
            ([0, 0, 9], [32_767, 65_535, 32_767]),
            ([0, 1, 0], [0, 0, 0]),
            ([1, 0, 0], [0, 0, 0]),
            ([1, 0, 0], [0, 0, 4]),
            ([1, 0, 0], [4, 8, 4]),
            ([1, 0, 0], [0, 0, 8]),
            ([1, 0, 0], [127, 255, 127]),
            ([1, 0, 0], [0, 0, 128]),
            ([1, 0, 0], [0, 256, 0]),
        ];
        let keys = order.map(|([topology, protocol, event], coordinates)| {
            key([topology, protocol, event, 1, 2, 3], coordinates, [15, 16, 15])
        });
        assert!(keys.is_sorted_by(|one, other| one < other), "{keys:?}");
    }

    #[test]
    fn blocks_are_near_as_far_as_their_situations_reach() {
        let mut boxes = Boxes::of(3 * LANES);
        for (slot, at) in [(0, 10), (1, 20), (LANES, 50), (2 * LANES, 20), (3 * LANES, 900)] {
            boxes.take_in(slot, [at, at, 0]);
        }
        let asked = [Some(24), Some(18), None];
        let each: Vec<u32> = (0..4).map(|block| boxes.distance(block, &asked)).collect();
        assert_eq!(each, [4, 26 + 32, 4 + 2, 0], "of the last one nothing is known");
        let near = |blocks, bound| boxes.near(blocks, &asked, bound);
        assert_eq!(
            (near(0..4, 3), near(0..4, 4), near(0..4, 6)),
            (Some(3..4), Some(0..1), Some(0..1))
        );
        assert_eq!((near(1..4, 6), near(1..3, 5), near(0..4, 58)), (Some(2..4), None, Some(0..4)));
        assert_eq!((near(3..5, 0), near(4..4, 9)), (Some(3..5), None));
        assert_eq!(boxes.nearest_first(0..4, &asked), [(0, 3), (4, 0), (6, 2), (58, 1)]);
        assert_eq!((boxes.of_run(0, &asked), boxes.of_run(1, &asked)), (0, 0));
        let asked = [Some(5), Some(7), Some(1)];
        assert_eq!(boxes.of_run(0, &asked), 5 + 3 + 1, "of the nearest of all that came");
        boxes.truncate(LANES);
        assert_eq!((0..2).map(|block| boxes.distance(block, &asked)).collect::<Vec<_>>(), [9, 0]);
        boxes.truncate(0);
        assert_eq!(boxes.of_run(0, &asked), 0);
    }
}
