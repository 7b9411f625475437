//! Every implementation against plain sums.

use super::*;

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Costs of the kinds that queries have: a valley, a few values, everything, nothing.
fn costs(random: &mut Random) -> [[u8; 256]; FIELDS] {
    std::array::from_fn(|_| {
        let (kind, at, width) = (random.next() % 6, random.next() % 256, random.next() % 90 + 1);
        std::array::from_fn(|value| match kind {
            0 => 0,
            1 => random.next() as u8,
            2 => (random.next() % 40) as u8 * u8::from(value < 40) + 255 * u8::from(value >= 40),
            3 => u8::MAX,
            4 if value == 255 => 3,
            _ => (value as u64).abs_diff(at).saturating_mul(255).div_ceil(width).min(255) as u8,
        })
    })
}

fn blocks(count: usize, random: &mut Random) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; count];
    for block in &mut blocks {
        for lane in 0..LANES {
            let narrow = random.next() & 1 == 0;
            let code = random.next().to_le_bytes();
            let code = std::array::from_fn(|i| if narrow { code[i] & 63 } else { code[i] });
            block.set(lane, code);
        }
    }
    blocks
}

fn plain(costs: &[[u8; 256]; FIELDS], code: [u8; FIELDS]) -> u32 {
    costs.iter().zip(code).map(|(costs, value)| u32::from(costs[usize::from(value)])).sum()
}

#[test]
fn every_implementation_marks_what_plain_sums_say() {
    let mut random = Random(88_172_645_463_325_252);
    let rounds = if cfg!(miri) { 3 } else { 200 };
    for round in 0..rounds {
        let costs = costs(&mut random);
        let query = Query::new(&costs);
        let blocks = blocks([0, 1, 2, 3, 15, 31][round % 6], &mut random);
        for limit in [0, 1, 40, 254, 255, random.next() as u8] {
            let near =
                |block: &Block, lane| plain(&costs, block.code(lane)).min(255) <= limit.into();
            let expected = blocks.iter().map(|block| {
                (0..LANES)
                    .filter(|lane| near(block, *lane))
                    .fold(0, |bits, lane| bits | 1u64 << lane)
            });
            let expected: Vec<u64> = expected.collect();
            for implementation in Implementation::available() {
                let mut marks = vec![0xdead; blocks.len()];
                implementation.mark(&blocks, &query, limit, &mut marks);
                assert_eq!(
                    marks,
                    expected,
                    "{}, round {round}, limit {limit}",
                    implementation.name()
                );
            }
        }
    }
}

#[test]
fn a_valley_at_any_place_and_of_any_width_is_looked_up_right() {
    let apart = if cfg!(miri) { 51 } else { 1 };
    for first in (0..256).step_by(apart) {
        for width in [1, 2, 15, 16, 17, 61, 62, 63, 64, 65, 256] {
            let cost = |value: usize| {
                if (first..first + width).contains(&value) { (value % 255) as u8 } else { u8::MAX }
            };
            let costs: [u8; 256] = std::array::from_fn(cost);
            let Some(lookup) = Lookup::new(0, &costs) else { continue };
            assert_eq!(lookup.window, width.min(256 - first) < 64, "{first}, {width}");
            for value in 0..=255 {
                assert_eq!(
                    lookup.cost(value),
                    costs[usize::from(value)],
                    "{first} {width} {value}"
                );
            }
        }
    }
}

#[test]
fn a_code_takes_six_bytes() {
    assert_eq!(size_of::<Block>(), LANES * FIELDS);
}

#[test]
#[should_panic(expected = "one mark for each block")]
fn a_missing_mark_is_refused() {
    mark(&[Block::ZERO], &Query::new(&[[0; 256]; FIELDS]), 0, &mut []);
}
