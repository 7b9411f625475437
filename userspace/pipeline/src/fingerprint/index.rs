//! Where millions of situations lie, searched exactly.
//!
//! ```text
//! a situation ─► code of each term, upper 8 bits of each coordinate   6 bytes, scanned
//!             └► lower bits of each coordinate                       6 bytes, read where marked
//! ```
//!
//! A query is turned into costs that are never more than what lies behind a code costs, so the scan
//! ([`edgelore_kernels::similarity`]) misses nothing; what it marks is measured exactly. A term is
//! in a dictionary of 255; those beyond it share a code that the scan never holds against them. Runs of
//! codes that are too far as a whole ([`super::runs`]) are not scanned: few at first, and most of them, and of
//! the blocks of the others, once the situations were put in order ([`SituationIndex::settle`]).
//!
//! Owns the codes and the search. Never knows whose situations they are: a situation is a slot,
//! counted from 0 without gaps.
//!
//! **Invariant:** a search finds exactly what [`Space::reach`] puts within the radius.

use std::array;
use std::collections::HashMap;
use std::mem;
use std::ops::Range;

use edgelore_kernels::memory::prefetch;
use edgelore_kernels::similarity::{self, Block, FIELDS, LANES};
use edgelore_model::Situation;

use super::nearest::Nearest;
use super::runs::{self, Boxes, Code, Costs, HALF, Order, RUN, Runs};
use super::similarity::{Aim, Space};
use super::taxonomy::{Taxonomy, Term};
use crate::pages::Paged;

/// Upper bits of a coordinate, which the scan sees.
const UPPER_BITS: u32 = 8;
/// Lower bits of a coordinate at least. What is left of one then has at most 63 values within the
/// default radius, which the kernels look up fastest.
const LOWER_BITS_MIN: u32 = 7;
/// Terms of a dictionary.
const TERMS_CODED: usize = 255;
/// The code of every term that is not in the dictionary.
const ELSEWHERE: u8 = 255;
/// As many situations as come or move before all are put in order, if that is more than a part of all.
const UNSETTLED: usize = 4_096;
/// That part.
const UNSETTLED_PART: usize = 8;
/// The cost that no limit of a scan reaches.
const TOO_FAR: u32 = 255;

/// The situations of a space.
#[derive(Clone, Debug)]
pub struct SituationIndex {
    space: Space,
    dictionaries: [Dictionary; HALF],
    lower_bits: [u32; HALF],
    blocks: Paged<Block>,
    lower: Paged<[u16; HALF]>,
    /// Terms of the code [`ELSEWHERE`], by slot and field.
    elsewhere: HashMap<(usize, usize), Term>,
    runs: Runs,
    boxes: Boxes,
    /// Situations that came or moved since all were put in order.
    unsettled: usize,
}

/// Codes of terms: those of the taxonomy first, then others as they come.
#[derive(Clone, Debug)]
struct Dictionary {
    codes: HashMap<Term, u8>,
    terms: Vec<Term>,
}

impl Dictionary {
    fn new(taxonomy: &Taxonomy) -> Self {
        let mut dictionary = Self { codes: HashMap::new(), terms: Vec::new() };
        for (known, _) in (0u16..).zip(taxonomy.paths()) {
            dictionary.code(&Term::Known(known));
        }
        dictionary
    }

    /// The code of a term, a new one if there is room.
    fn code(&mut self, term: &Term) -> u8 {
        if let Some(code) = self.codes.get(term) {
            return *code;
        }
        if self.terms.len() == TERMS_CODED {
            return ELSEWHERE;
        }
        let code = self.terms.len() as u8;
        self.codes.insert(term.clone(), code);
        self.terms.push(term.clone());
        code
    }
}

impl SituationIndex {
    /// An index of a space without situations.
    #[must_use]
    pub fn new(space: Space) -> Self {
        let farthest = space.locate(&Situation {
            topology_class: String::new(),
            protocol: String::new(),
            event_type: String::new(),
            severity: u64::MAX,
            affected_prefixes: u64::MAX,
            node_count: u64::MAX,
        });
        let (_, farthest) = farthest.parts();
        let bits = |coordinate: u32| u32::BITS - coordinate.leading_zeros();
        Self {
            dictionaries: space.taxonomies().each_ref().map(Dictionary::new),
            lower_bits: farthest.map(|it| bits(it).saturating_sub(UPPER_BITS).max(LOWER_BITS_MIN)),
            space,
            blocks: Paged::new(),
            lower: Paged::new(),
            elsewhere: HashMap::new(),
            runs: Runs::default(),
            boxes: Boxes::default(),
            unsettled: 0,
        }
    }

    /// The space in which the situations lie.
    #[must_use]
    pub const fn space(&self) -> &Space {
        &self.space
    }

    /// How many situations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lower.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lower.is_empty()
    }

    /// Bytes that the situations take, with the room that is held for more: at most 16 a situation
    /// and some kilobytes. The words of a dictionary, and those beyond it, are not in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.octets() + self.lower.octets() + self.runs.bytes() + self.boxes.bytes()
    }

    /// The codes as the kernels scan them.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The scan with which a search begins, and the limit of its costs.
    #[must_use]
    pub fn scan(&self, aim: &Aim, radius: u32) -> (similarity::Query, u8) {
        let measure = Measure::new(self, aim, radius);
        let limit = measure.limit(radius);
        (measure.scan, limit)
    }

    /// Takes a situation in; its slot is the number of those before it.
    pub fn push(&mut self, situation: &Situation) {
        let slot = self.len();
        let point = self.space.locate(situation);
        let (terms, coordinates) = point.parts();
        let (mut code, mut lower) = ([0; FIELDS], [0; HALF]);
        for field in 0..HALF {
            code[field] = self.dictionaries[field].code(&terms[field]);
            if code[field] == ELSEWHERE {
                self.elsewhere.insert((slot, field), terms[field].clone());
            }
            let bits = self.lower_bits[field];
            code[HALF + field] = (coordinates[field] >> bits) as u8;
            lower[field] = (coordinates[field] & ((1 << bits) - 1)) as u16;
        }
        self.add(code, lower);
        self.unsettled += 1;
    }

    /// Takes in what is known of a situation, in the next slot.
    fn add(&mut self, code: Code, lower: [u16; HALF]) {
        let slot = self.len();
        if slot.is_multiple_of(LANES) {
            self.blocks.push(Block::ZERO);
        }
        self.lower.push(lower);
        self.put(slot, code);
    }

    /// Puts a code into a slot whose lower bits are there.
    fn put(&mut self, slot: usize, code: Code) {
        self.blocks[slot / LANES].set(slot % LANES, code);
        self.runs.take_in(slot, code);
        self.boxes.take_in(slot, joined(code, self.lower[slot], self.lower_bits));
    }

    /// Takes a situation out; the last one moves to its slot.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn swap_remove(&mut self, slot: usize) {
        self.lower.swap_remove(slot);
        let last = self.lower.len();
        for field in 0..HALF {
            self.elsewhere.remove(&(slot, field));
            if let Some(term) = self.elsewhere.remove(&(last, field)) {
                self.elsewhere.insert((slot, field), term);
            }
        }
        let code = code_of(&self.blocks, last);
        self.blocks.truncate(last.div_ceil(LANES));
        self.runs.truncate(last);
        self.boxes.truncate(last);
        if slot < last {
            self.put(slot, code);
            self.unsettled += 1;
        }
    }

    /// Puts the situations in an order in which near ones lie together, once enough have come or moved since it
    /// was last done, and returns that order; `None` while there are too few. It takes as long as sorting them.
    #[must_use = "what else is known by slot has to follow"]
    pub fn settle(&mut self) -> Option<Order> {
        if self.unsettled < UNSETTLED.max(self.len() / UNSETTLED_PART) {
            return None;
        }
        let bits = self.lower_bits.map(|bits| UPPER_BITS + bits);
        let order = Order::by_key(self.len(), |slot| {
            let code = code_of(&self.blocks, slot);
            runs::key(code, joined(code, self.lower[slot], self.lower_bits), bits)
        });
        let blocks = mem::replace(&mut self.blocks, Paged::new());
        let lower = mem::replace(&mut self.lower, Paged::new());
        (self.runs, self.boxes) = (Runs::default(), Boxes::of(lower.len()));
        let mut elsewhere = HashMap::new();
        for (slot, from) in order.sources().enumerate() {
            let code = code_of(&blocks, from);
            self.add(code, lower[from]);
            for field in (0..HALF).filter(|field| code[*field] == ELSEWHERE) {
                let term = self.elsewhere.remove(&(from, field));
                elsewhere.extend(term.map(|term| ((slot, field), term)));
            }
        }
        (self.elsewhere, self.unsettled) = (elsewhere, 0);
        Some(order)
    }

    /// Calls `each` with slot and distance of every situation within `radius`, the nearest runs of them
    /// first. What `each` returns is the radius from there on, if it is smaller.
    pub fn visit(&self, aim: &Aim, radius: u32, mut each: impl FnMut(usize, u32) -> u32) {
        let mut measure = Measure::new(self, aim, radius);
        let near = self.runs.near(&measure.costs, measure.limit(radius)).map(|(least, run)| {
            let least = u32::from(least) * measure.quantum;
            (least.max(self.boxes.of_run(run, &measure.coordinates)), run)
        });
        let mut near: Vec<(u32, usize)> = near.collect();
        near.sort_unstable();
        let mut bound = radius;
        for (place, (least, run)) in near.into_iter().enumerate() {
            if least > bound {
                break;
            }
            let blocks = runs::blocks(run, self.blocks.len());
            if place > 0 {
                let mut next = blocks.start;
                while let Some(near) =
                    self.boxes.near(next..blocks.end, &measure.coordinates, bound)
                {
                    next = near.end;
                    bound = measure.visit(near, bound, &mut each);
                }
            } else {
                // What is found at first may narrow the search.
                for (least, block) in self.boxes.nearest_first(blocks, &measure.coordinates) {
                    if least > bound {
                        break;
                    }
                    bound = measure.visit(block..block + 1, bound, &mut each);
                }
            }
        }
        measure.visit(0..0, bound, &mut each);
    }

    /// As [`SituationIndex::visit`] for many queries at once, which read memory once together:
    /// `each` gets the place of the query in `aims` too.
    pub fn visit_many(&self, aims: &[Aim], radius: u32, mut each: impl FnMut(usize, usize, u32)) {
        let mut measures: Vec<_> = aims.iter().map(|aim| Measure::new(self, aim, radius)).collect();
        let runs = self.blocks.len().div_ceil(RUN);
        // One more, which is empty, for what the last one marked.
        for run in 0..=runs {
            let blocks = runs::blocks(run, self.blocks.len());
            for (query, measure) in measures.iter_mut().enumerate() {
                measure.visit(blocks.clone(), radius, &mut |slot, distance| {
                    each(query, slot, distance);
                    radius
                });
            }
        }
    }

    /// Distance and slot of the `count` situations nearest within `radius`, nearest first; of those
    /// equally far the one in the lower slot.
    #[must_use]
    pub fn nearest(&self, aim: &Aim, radius: u32, count: usize) -> Vec<(u32, usize)> {
        let mut nearest = Nearest::new(count);
        self.visit(aim, radius, |slot, distance| {
            nearest.offer((distance, slot));
            nearest.last().map_or(radius, |(distance, _)| *distance)
        });
        nearest.into_sorted()
    }
}

/// The code in a slot.
fn code_of(blocks: &[Block], slot: usize) -> Code {
    blocks[slot / LANES].code(slot % LANES)
}

/// The coordinates of which these are the parts.
fn joined(code: Code, lower: [u16; HALF], lower_bits: [u32; HALF]) -> [u32; HALF] {
    array::from_fn(|field| {
        u32::from(code[HALF + field]) << lower_bits[field] | u32::from(lower[field])
    })
}

/// A query made ready for an index.
struct Measure<'i> {
    index: &'i SituationIndex,
    blocks: &'i [Block],
    lower: &'i [[u16; HALF]],
    asked: [Option<&'i Term>; HALF],
    coordinates: [Option<u32>; HALF],
    /// Milli-units from the term asked for, by code; nothing from a field left open.
    terms: Box<[[u32; 256]; HALF]>,
    costs: Box<Costs>,
    scan: similarity::Query,
    /// Milli-units in a unit of the scan's costs.
    quantum: u32,
    /// What the scan marked in the last two ranges of blocks, in turn.
    marked: [Marked; 2],
    turn: usize,
}

/// What the scan marked in a run or a part of one.
#[derive(Clone, Copy)]
struct Marked {
    /// Its first block.
    first: usize,
    marks: [u64; RUN],
}

impl Marked {
    const NOTHING: Self = Self { first: 0, marks: [0; RUN] };

    /// Calls `each` with the slots that are marked, in their order.
    fn for_each(&self, mut each: impl FnMut(usize)) {
        // Most words are zero: eight are looked at together.
        let mut slot = self.first * LANES;
        for eight in self.marks.as_chunks::<8>().0 {
            if eight.iter().fold(0, |all, word| all | word) != 0 {
                for (word, bits) in eight.iter().enumerate() {
                    let mut bits = *bits;
                    while bits != 0 {
                        each(slot + word * LANES + bits.trailing_zeros() as usize);
                        bits &= bits - 1;
                    }
                }
            }
            slot += eight.len() * LANES;
        }
    }
}

impl<'i> Measure<'i> {
    fn new(index: &'i SituationIndex, aim: &'i Aim, radius: u32) -> Self {
        let (asked, coordinates) = aim.parts();
        let asked = asked.each_ref().map(Option::as_ref);
        let terms = Box::new(array::from_fn(|field| index.term_costs(field, asked[field])));
        // A unit such that the radius is below 255 of them. Beyond what can be at all, a larger
        // radius would only make it coarser.
        let quantum = radius.min(index.farthest()).div_ceil(TOO_FAR - 1).max(1);
        let costs = Box::new(Costs::new(index.costs(&terms, asked, coordinates, quantum)));
        let scan = similarity::Query::new(costs.of_each());
        let (blocks, lower) = (&*index.blocks, &*index.lower);
        let marked = [Marked::NOTHING; 2];
        Self {
            index,
            blocks,
            lower,
            asked,
            coordinates,
            terms,
            costs,
            scan,
            quantum,
            marked,
            turn: 0,
        }
    }

    /// What within `bound` costs at most.
    const fn limit(&self, bound: u32) -> u8 {
        let limit = bound / self.quantum;
        if limit < TOO_FAR { limit as u8 } else { TOO_FAR as u8 - 1 }
    }

    /// Scans a run of blocks or a part of one, and while memory brings what it marks visits what the one
    /// before holds within `bound`; returns what bound is left.
    fn visit(
        &mut self,
        run: Range<usize>,
        bound: u32,
        each: &mut impl FnMut(usize, u32) -> u32,
    ) -> u32 {
        self.mark(run, bound);
        self.turn ^= 1;
        self.visit_marked(bound, each)
    }

    /// Marks what may lie within `bound` in a run or a part of one, and asks memory for it.
    fn mark(&mut self, run: Range<usize>, bound: u32) {
        let limit = self.limit(bound);
        let marked = &mut self.marked[self.turn];
        *marked = Marked { first: run.start, ..Marked::NOTHING };
        let blocks = &self.blocks[run];
        similarity::mark(blocks, &self.scan, limit, &mut marked.marks[..blocks.len()]);
        marked.for_each(|slot| {
            if let Some(lower) = self.lower.get(slot) {
                prefetch(lower);
            }
        });
    }

    fn visit_marked(&self, mut bound: u32, each: &mut impl FnMut(usize, u32) -> u32) -> u32 {
        self.marked[self.turn].for_each(|slot| {
            // The last block may have lanes that no situation is in.
            let Some(lower) = self.lower.get(slot) else { return };
            let distance = self.distance(slot, *lower);
            if distance <= bound {
                bound = each(slot, distance).min(bound);
            }
        });
        bound
    }

    /// Milli-units to the situation in a slot, whose coordinates have these lower bits.
    fn distance(&self, slot: usize, lower: [u16; HALF]) -> u32 {
        let code = code_of(self.blocks, slot);
        let mut distance = 0;
        for field in 0..HALF {
            distance += match code[field] {
                ELSEWHERE => self.index.term_elsewhere(field, slot, self.asked[field]),
                code => self.terms[field][usize::from(code)],
            };
        }
        let coordinates = joined(code, lower, self.index.lower_bits);
        let each = self.coordinates.iter().zip(coordinates);
        distance + each.map(|(asked, at)| asked.map_or(0, |asked| asked.abs_diff(at))).sum::<u32>()
    }
}

impl SituationIndex {
    /// Milli-units from a term to that of each code.
    fn term_costs(&self, field: usize, asked: Option<&Term>) -> [u32; 256] {
        let mut costs = [0; 256];
        let Some(asked) = asked else { return costs };
        let taxonomy = &self.space.taxonomies()[field];
        for (cost, term) in costs.iter_mut().zip(&self.dictionaries[field].terms) {
            *cost = taxonomy.distance(asked, term);
        }
        costs
    }

    fn term_elsewhere(&self, field: usize, slot: usize, asked: Option<&Term>) -> u32 {
        let Some(asked) = asked else { return 0 };
        let term = self.elsewhere.get(&(slot, field)).expect("what is elsewhere has its term");
        self.space.taxonomies()[field].distance(asked, term)
    }

    /// What each value of a code costs at least, in units of `quantum` milli-units.
    fn costs(
        &self,
        terms: &[[u32; 256]; HALF],
        asked: [Option<&Term>; HALF],
        coordinates: [Option<u32>; HALF],
        quantum: u32,
    ) -> [[u8; 256]; FIELDS] {
        let cost = |distance: u32| (distance / quantum).min(TOO_FAR) as u8;
        let mut costs = [[TOO_FAR as u8; 256]; FIELDS];
        let (of_terms, of_coordinates) = costs.split_at_mut(HALF);
        for (field, costs) in of_terms.iter_mut().enumerate() {
            let coded = self.dictionaries[field].terms.len();
            if asked[field].is_none() {
                costs.fill(0);
            } else if coded == TERMS_CODED {
                // Whatever has no code of its own.
                costs[usize::from(ELSEWHERE)] = 0;
            }
            let coded = costs.iter_mut().zip(&terms[field]).take(coded);
            coded.for_each(|(code, distance)| *code = cost(*distance));
        }
        for (field, costs) in of_coordinates.iter_mut().enumerate() {
            let Some(asked) = coordinates[field] else {
                costs.fill(0);
                continue;
            };
            let (bits, reach) = (self.lower_bits[field], quantum.saturating_mul(TOO_FAR));
            let values = |end: u32| (end >> bits).min(u32::from(u8::MAX));
            for value in values(asked.saturating_sub(reach))..=values(asked.saturating_add(reach)) {
                costs[value as usize] = cost(self.least(field, value, asked));
            }
        }
        costs
    }

    /// The least that a coordinate with these upper bits can be from the one asked for.
    const fn least(&self, field: usize, upper: u32, asked: u32) -> u32 {
        let bits = self.lower_bits[field];
        let (first, last) = (upper << bits, (upper << bits) + (1 << bits) - 1);
        if asked < first { first - asked } else { asked.saturating_sub(last) }
    }

    /// No situation is farther than this from any query.
    fn farthest(&self) -> u32 {
        let [one, other] = ["1", "2"].map(|word| Term::Unknown(word.into()));
        let terms = self.space.taxonomies().iter().map(|it| it.distance(&one, &other));
        let ordinals = self.lower_bits.map(|bits| 1 << (UPPER_BITS + bits));
        terms.chain(ordinals).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Query;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::strategy::ValueTree;

    fn words(odd: usize) -> impl Strategy<Value = String> {
        let usual = vec!["spine_leaf", "fat_tree", "hub_spoke", "ring", "bgp", "ospf", "flap"];
        prop_oneof![
            4 => select(usual).prop_map(str::to_owned),
            1 => (0..odd).prop_map(|number| format!("odd{number}")),
        ]
    }

    fn situations(odd: usize) -> impl Strategy<Value = Situation> {
        let values = || prop_oneof![any::<u64>(), 0u64..3_000];
        (words(odd), words(odd), words(odd), values(), values(), values()).prop_map(
            |(topology_class, protocol, event_type, severity, affected_prefixes, node_count)| {
                Situation {
                    topology_class,
                    protocol,
                    event_type,
                    severity,
                    affected_prefixes,
                    node_count,
                }
            },
        )
    }

    fn spaces() -> Vec<Space> {
        let text = Space::default_text();
        let many: Vec<String> = (0..243).map(|number| format!("\"odd{number}\"")).collect();
        [
            text.to_owned(),
            text.replace("weight = 1000", "weight = 100000"),
            text.replace("weight = 250", "weight = 0").replace("weight = 1250", "weight = 7"),
            text.replace("\"bgp\"", &format!("\"bgp\", {}", many.join(", "))),
        ]
        .map(|text| Space::parse(&text).unwrap())
        .into()
    }

    fn brute(all: &[Situation], space: &Space, aim: &Aim, radius: u32) -> Vec<(u32, usize)> {
        let reach = |situation| space.reach(aim, &space.locate(situation));
        let mut found: Vec<_> = all.iter().enumerate().map(|(at, one)| (reach(one), at)).collect();
        found.retain(|(distance, _)| *distance <= radius);
        found.sort_unstable();
        found
    }

    fn check(index: &SituationIndex, all: &[Situation], query: &Query) {
        let aim = index.space().aim(query);
        for radius in [0, 1, 254, 255, 3_000, 9_999, 300_000, 20_000_000, u32::MAX] {
            let expected = brute(all, index.space(), &aim, radius);
            let mut found = Vec::new();
            index.visit_many(&[aim.clone(), aim.clone()], radius, |_, slot, distance| {
                found.push((distance, slot));
            });
            found.sort_unstable();
            let twice: Vec<_> = expected.iter().flat_map(|one| [*one, *one]).collect();
            assert_eq!(found, twice, "within {radius} of {query:?}");
            for count in [0, 1, 7, all.len() + 1] {
                let nearest = index.nearest(&aim, radius, count);
                assert_eq!(nearest, expected[..count.min(expected.len())], "{count} in {radius}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_search_finds_what_measuring_everything_finds(
            all in proptest::collection::vec(situations(400), 0..400),
            asked in situations(400),
            open in 0u8..64,
        ) {
            let mut query = Query::from(&asked);
            if open & 1 != 0 { query.topology_class = None; }
            if open & 2 != 0 { query.protocol = None; }
            if open & 4 != 0 { query.event_type = None; }
            if open & 8 != 0 { query.severity = None; }
            if open & 16 != 0 { query.affected_prefixes = None; }
            if open & 32 != 0 { query.node_count = None; }
            for space in spaces() {
                let mut index = SituationIndex::new(space);
                all.iter().for_each(|situation| index.push(situation));
                check(&index, &all, &query);
            }
        }

        #[test]
        fn what_is_taken_out_is_not_found_and_the_last_takes_its_slot(
            mut all in proptest::collection::vec(situations(3), 1..200),
            removed in proptest::collection::vec(any::<usize>(), 1..100),
        ) {
            let mut index = SituationIndex::new(Space::default_definition());
            all.iter().for_each(|situation| index.push(situation));
            for at in removed {
                if !all.is_empty() {
                    index.swap_remove(at % all.len());
                    let slot = at % all.len();
                    all.swap_remove(slot);
                }
            }
            prop_assert_eq!((index.len(), index.is_empty()), (all.len(), all.is_empty()));
            check(&index, &all, &Query::default());
        }
    }

    /// As many as take several runs, in order and again out of it.
    #[test]
    fn an_order_changes_no_answer() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut one = || situations(400).new_tree(&mut runner).unwrap().current();
        let mut all: Vec<Situation> = (0..4 * RUN * LANES + 1_000).map(|_| one()).collect();
        let mut index = SituationIndex::new(spaces().swap_remove(3));
        all.iter().for_each(|situation| index.push(situation));
        let asked = [Query::from(&one()), Query::from(&one())];
        let runs = asked.each_ref().map(|query| runs_near(&index, query));
        assert_eq!(runs, [all.len().div_ceil(RUN * LANES); 2], "no order yet");
        let order = index.settle().unwrap();
        order.apply(&mut all);
        assert!(!index.elsewhere.is_empty() && index.settle().is_none());
        asked.iter().for_each(|query| check(&index, &all, query));
        assert!(asked.iter().zip(runs).all(|(query, runs)| runs_near(&index, query) < runs));
        for number in 0..UNSETTLED / 2 + 100 {
            index.push(&all[number]);
            all.push(all[number].clone());
            index.swap_remove(number * 7 % all.len());
            all.swap_remove(number * 7 % all.len());
        }
        asked.iter().for_each(|query| check(&index, &all, query));
        let order = index.settle().unwrap();
        order.apply(&mut all);
        asked.iter().for_each(|query| check(&index, &all, query));
    }

    /// Runs that may hold something near.
    fn runs_near(index: &SituationIndex, query: &Query) -> usize {
        let aim = index.space().aim(query);
        let measure = Measure::new(index, &aim, 300);
        index.runs.near(&measure.costs, measure.limit(300)).count()
    }

    /// More words than a dictionary holds, coming and going.
    #[test]
    fn terms_beyond_the_dictionary_are_found_as_others_are() {
        let odd = |number: usize| Situation {
            topology_class: format!("odd{number}"),
            protocol: format!("odd{}", number * 7 % 600),
            event_type: String::new(),
            severity: 0,
            affected_prefixes: 0,
            node_count: 0,
        };
        let mut all: Vec<Situation> = (0..600).map(odd).collect();
        let mut index = SituationIndex::new(Space::default_definition());
        all.iter().for_each(|situation| index.push(situation));
        assert!(!index.elsewhere.is_empty());
        for number in [1, 200, 255, 256, 400, 599, 700] {
            check(&index, &all, &Query::from(&odd(number)));
        }
        while all.len() > 300 {
            let slot = all.len() * 31 % 300;
            index.swap_remove(slot);
            all.swap_remove(slot);
        }
        check(&index, &all, &Query::from(&odd(599)));
        while !all.is_empty() {
            index.swap_remove(0);
            all.swap_remove(0);
        }
        assert!(index.elsewhere.is_empty() && index.blocks.is_empty());
    }

    #[test]
    fn a_situation_takes_sixteen_bytes_at_most() {
        let mut index = SituationIndex::new(Space::default_definition());
        let mut situation = Situation {
            topology_class: String::new(),
            protocol: "bgp".to_owned(),
            event_type: "flap".to_owned(),
            severity: 0,
            affected_prefixes: 1,
            node_count: 1,
        };
        while situation.severity < 200_000 {
            situation.severity += 1;
            index.push(&situation);
            let allowed = 16 * index.len() + 32_768;
            assert!(index.bytes() <= allowed, "{} for {}", index.bytes(), index.len());
        }
        assert_eq!(size_of::<Block>() / LANES + size_of::<[u16; HALF]>(), 12);
    }
}
