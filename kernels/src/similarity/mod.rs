//! Which of millions of codes may be near: a table lookup a field, the costs added up, the sums
//! compared with a limit.
//!
//! A code is [`FIELDS`] bytes. A query says for every field what each of the 256 values costs; a
//! code whose costs add up to the limit or less is marked. Sums stop at 255.
//!
//! | name | instructions | codes at a time |
//! |---|---|---|
//! | `portable` | none in particular | 1 |
//! | `avx2` | AVX2: `vpshufb` | 32 |
//! | `avx512` | AVX-512BW and VBMI: `vpermb` | 64 |
//!
//! Codes lie in [`Block`]s of 64, field by field, so that a scan reads memory in one direction and
//! every byte of it. Owns the layout and the scan; never knows what a field means, never allocates.
//!
//! **Invariant:** bit `i` of mark `b` is set exactly when code `i` of block `b` costs the limit at
//! most, whatever the implementation.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
mod portable;
#[cfg(test)]
mod tests;

use bytemuck::{Pod, Zeroable};

/// Bytes of a code.
pub const FIELDS: usize = 6;
/// Codes in a block.
pub const LANES: usize = 64;

/// Entries of a table that holds all values with a cost below 255 between two others.
const WINDOW: usize = 64;

/// 64 codes, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Block {
    /// Byte `i` of field `f` belongs to code `i`.
    pub fields: [[u8; LANES]; FIELDS],
}

impl Block {
    /// A block of codes of zeros.
    pub const ZERO: Self = Self { fields: [[0; LANES]; FIELDS] };

    /// Code `lane`.
    #[must_use]
    pub fn code(&self, lane: usize) -> [u8; FIELDS] {
        self.fields.each_ref().map(|field| field[lane])
    }

    /// Replaces code `lane`.
    pub fn set(&mut self, lane: usize, code: [u8; FIELDS]) {
        for (field, value) in self.fields.iter_mut().zip(code) {
            field[lane] = value;
        }
    }
}

/// What a field costs, ready for a scan.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Lookup {
    /// Costs of the values from `base` on: of all 256, or of [`WINDOW`] of which the last stands
    /// for every other value and costs 255.
    costs: [u8; 256],
    base: u8,
    window: bool,
    field: usize,
}

impl Lookup {
    /// `None` when the field costs nothing whatever its value.
    fn new(field: usize, costs: &[u8; 256]) -> Option<Self> {
        if costs.iter().all(|cost| *cost == 0) {
            return None;
        }
        let first = costs.iter().position(|cost| *cost < u8::MAX).unwrap_or(0);
        let last = costs.iter().rposition(|cost| *cost < u8::MAX).unwrap_or(0);
        // From this base on, 63 values do not wrap around.
        let base = first.min(256 - WINDOW + 1);
        if last - base >= WINDOW - 1 {
            return Some(Self { costs: *costs, base: 0, window: false, field });
        }
        let mut window = [u8::MAX; 256];
        window[..WINDOW - 1].copy_from_slice(&costs[base..base + WINDOW - 1]);
        Some(Self { costs: window, base: base as u8, window: true, field })
    }

    fn cost(&self, value: u8) -> u8 {
        let at = usize::from(value.wrapping_sub(self.base));
        self.costs[if self.window { at.min(WINDOW - 1) } else { at }]
    }
}

/// What a code costs.
#[derive(Clone, Debug)]
pub struct Query {
    lookups: [Option<Lookup>; FIELDS],
}

impl Query {
    /// `costs[f][v]` is what value `v` of field `f` costs; 255 is more than any limit but 255.
    #[must_use]
    pub fn new(costs: &[[u8; 256]; FIELDS]) -> Self {
        Self { lookups: std::array::from_fn(|field| Lookup::new(field, &costs[field])) }
    }

    fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.lookups.iter().flatten()
    }

    /// What a code costs.
    #[must_use]
    pub fn cost(&self, code: [u8; FIELDS]) -> u8 {
        self.lookups()
            .fold(0, |sum: u8, lookup| sum.saturating_add(lookup.cost(code[lookup.field])))
    }
}

/// One way to scan; having a value of it proves that this machine can run it.
#[derive(Clone, Copy, Debug)]
pub struct Implementation(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Portable,
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx2(avx2::Avx2),
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx512(avx512::Avx512),
}

impl Implementation {
    /// Every implementation that this machine can run, the slowest first; the portable one is
    /// always there.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let all = std::iter::once(Kind::Portable);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        let all = all
            .chain(avx2::Avx2::new().map(Kind::Avx2))
            .chain(avx512::Avx512::new().map(Kind::Avx512));
        all.map(Self).collect()
    }

    /// Its name, for benches, logs and [`crate::platform::SIMILARITY_VARIABLE`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx512(_) => "avx512",
        }
    }

    /// Marks the codes of each block that cost at most `limit`.
    ///
    /// # Panics
    /// When `blocks` and `marks` differ in length.
    pub fn mark(&self, blocks: &[Block], query: &Query, limit: u8, marks: &mut [u64]) {
        assert_eq!(blocks.len(), marks.len(), "one mark for each block");
        match self.0 {
            Kind::Portable => portable::mark(blocks, query, limit, marks),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx2(isa) => isa.mark(blocks, query, limit, marks),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx512(isa) => isa.mark(blocks, query, limit, marks),
        }
    }
}

/// Marks the codes of each block that cost at most `limit`, by the fastest implementation here.
///
/// # Panics
/// When `blocks` and `marks` differ in length.
pub fn mark(blocks: &[Block], query: &Query, limit: u8, marks: &mut [u64]) {
    crate::platform::similarity().mark(blocks, query, limit, marks);
}
