//! Sums of the statements that are here, by which two stores find out with few bytes where they differ.
//!
//! ```text
//! ids by their first byte ─► 256 digests of all that begin so ─► 1, 2, 4 … 256 sums over them
//! ```
//!
//! Owns the digests, each computed when it is asked for after a change. A sum is a hash and not, say, the
//! ids added up: whoever makes statements can make some that add up to any other's id.
//!
//! **Invariant:** equal sums are of equal ids.

use edgelore_kernels::sha256;

use crate::PacketId;
use crate::beside::Memory;

/// A part's sum: the beginning of its hash.
pub(crate) type Sum = [u8; 16];
/// Parts that are told apart at most.
pub(crate) const PARTS_MAX: usize = 256;
/// Statements in a part, about, while there are few.
const PART: usize = 16;

/// In how many parts so many statements are compared.
pub(crate) fn parts_of(statements: usize) -> usize {
    (statements / PART).next_power_of_two().min(PARTS_MAX)
}

/// Whether statements can be compared in so many parts.
pub(crate) const fn are_parts(parts: usize) -> bool {
    parts.is_power_of_two() && parts <= PARTS_MAX
}

/// The part of so many in which an id lies.
pub(crate) fn part(id: &PacketId, parts: usize) -> usize {
    usize::from(id[0]) * parts / PARTS_MAX
}

/// The digests by the ids' first byte; `None` is to be computed.
#[derive(Debug)]
pub(super) struct Sums([Option<[u8; 32]>; PARTS_MAX]);

impl Default for Sums {
    fn default() -> Self {
        Self([None; PARTS_MAX])
    }
}

impl Sums {
    /// The id came or went.
    pub(super) fn touch(&mut self, id: &PacketId) {
        self.0[usize::from(id[0])] = None;
    }

    /// The sums of so many parts.
    pub(super) fn of(&mut self, memory: &Memory, parts: usize) -> Vec<Sum> {
        for (first, digest) in (0..=u8::MAX).zip(&mut self.0) {
            digest.get_or_insert_with(|| hash(memory.ids_of(first)));
        }
        let parts = self.0.chunks(PARTS_MAX / parts);
        parts.map(|digests| beginning(&hash(digests.iter().flatten()))).collect()
    }
}

fn hash<'h>(hashes: impl Iterator<Item = &'h [u8; 32]>) -> [u8; 32] {
    let bytes: Vec<u8> = hashes.flatten().copied().collect();
    let mut digest = [[0; 32]];
    sha256::digest_many(&[&bytes], &mut digest);
    digest[0]
}

fn beginning(digest: &[u8; 32]) -> Sum {
    std::array::from_fn(|at| digest[at])
}
