//! A 64-bit hash of path attributes: the same on every machine, a few nanoseconds an attribute.
//!
//! Tells a repeated announcement from a changed one. Never a proof: a neighbour that wants two
//! sets of attributes to look alike can find such sets, and deceives nobody but those who listen
//! to it anyway.
//!
//! **Invariant:** the hash depends on the attributes added and their order alone.

/// Odd constants without structure: the fractional parts of the square roots of 2, 3 and 5.
const KEYS: [u64; 3] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];

/// Both halves of the 128-bit product, folded: every bit of both factors moves every bit of it.
#[inline]
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// A hash under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttributesHash(u64);

impl AttributesHash {
    pub(super) const fn new() -> Self {
        Self(KEYS[2])
    }

    /// Adds one attribute as sent, flags and length included: so no two lists of attributes are
    /// the same octets cut differently.
    #[inline]
    pub(super) fn add(&mut self, raw: &[u8]) {
        let mut chunks = raw.chunks_exact(16);
        for chunk in &mut chunks {
            self.0 = mix(word(chunk, 0) ^ KEYS[0], word(chunk, 8) ^ self.0);
        }
        let (low, high) = tail(chunks.remainder());
        self.0 = mix(low ^ KEYS[0], high ^ self.0);
        self.0 = mix(self.0 ^ raw.len() as u64, KEYS[1]);
    }

    pub(super) const fn finish(self) -> u64 {
        mix(self.0 ^ KEYS[1], KEYS[0])
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// Up to 15 octets as two words, each octet in one of them at least.
fn tail(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
    }
    (bytes.iter().fold(0, |word, &octet| word << 8 | u64::from(octet)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn hash(attributes: &[&[u8]]) -> u64 {
        let mut hash = AttributesHash::new();
        attributes.iter().for_each(|raw| hash.add(raw));
        hash.finish()
    }

    #[test]
    fn every_octet_counts() {
        let mut seen = HashSet::new();
        for length in 0..70 {
            let mut bytes = vec![7; length];
            assert!(seen.insert(hash(&[&bytes])), "length {length}");
            for at in 0..length {
                bytes[at] ^= 1;
                assert!(seen.insert(hash(&[&bytes])), "octet {at} of {length}");
                bytes[at] ^= 1;
            }
        }
    }

    #[test]
    fn the_order_counts() {
        assert_ne!(hash(&[&[1, 2, 3], &[4, 5, 6]]), hash(&[&[4, 5, 6], &[1, 2, 3]]));
        // Calculated apart from this code, with integers of any size.
        assert_eq!(hash(&[&[1, 2, 3]]), 1_832_173_989_960_155_506, "the same on every machine");
    }
}
