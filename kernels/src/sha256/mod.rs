//! SHA-256 (FIPS 180-4) of many short messages.
//!
//! Owns the batch interface and the list of implementations. Never keeps state between calls.
//!
//! **Invariant:** `out[i]` is the digest of `messages[i]`, whatever the implementation, the batch
//! size or the order of lengths.

mod portable;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod shani;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// One way to compute a batch; having a value of it proves that this machine can run it.
#[derive(Clone, Copy, Debug)]
pub struct Implementation {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Portable,
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    ShaNi(shani::ShaNi),
}

impl Implementation {
    /// One message after the other through the `sha2` crate; runs everywhere.
    #[must_use]
    pub const fn portable() -> Self {
        Self { name: "portable", kind: Kind::Portable }
    }

    /// Every implementation that this machine can run, the slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let portable = std::iter::once(Self::portable());
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        let portable = portable.chain(
            shani::ShaNi::new().map(|isa| Self { name: "sha-ni x2", kind: Kind::ShaNi(isa) }),
        );
        portable.collect()
    }

    /// Its name, for benches and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Writes the digest of every message to its place in `out`.
    ///
    /// # Panics
    /// When `messages` and `out` differ in length.
    pub fn digest_many(&self, messages: &[&[u8]], out: &mut [Digest]) {
        assert_eq!(messages.len(), out.len(), "one place for each message");
        match self.kind {
            Kind::Portable => portable::digest_many(messages, out),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::ShaNi(isa) => isa.digest_many(messages, out),
        }
    }
}

/// Writes the digest of every message to its place in `out`, by the fastest implementation here.
///
/// # Panics
/// When `messages` and `out` differ in length.
pub fn digest_many(messages: &[&[u8]], out: &mut [Digest]) {
    crate::platform::sha256().digest_many(messages, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    fn expected(message: &[u8]) -> Digest {
        sha2::Sha256::digest(message).into()
    }

    fn bytes(len: usize, seed: u8) -> Vec<u8> {
        (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
    }

    fn assert_batch(implementation: &Implementation, owned: &[Vec<u8>]) {
        let messages: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
        let mut out = vec![[0; 32]; messages.len()];
        implementation.digest_many(&messages, &mut out);
        for (message, digest) in messages.iter().zip(&out) {
            let name = implementation.name();
            assert_eq!(*digest, expected(message), "{name}, {} bytes", message.len());
        }
    }

    #[test]
    fn published_vectors_hold_for_every_implementation() {
        // FIPS 180-4 examples, first bytes of the digest.
        let cases: [(&[u8], [u8; 4]); 3] = [
            (b"", [0xe3, 0xb0, 0xc4, 0x42]),
            (b"abc", [0xba, 0x78, 0x16, 0xbf]),
            (b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", [0x24, 0x8d, 0x6a, 0x61]),
        ];
        for implementation in Implementation::available() {
            for (message, start) in cases {
                let mut out = [[0; 32]];
                implementation.digest_many(&[message], &mut out);
                assert_eq!(out[0][..4], start, "{}", implementation.name());
            }
        }
    }

    #[test]
    fn every_length_to_300_equals_sha2() {
        for implementation in Implementation::available() {
            let batch: Vec<_> = (0..300).map(|len| bytes(len, 7)).collect();
            assert_batch(&implementation, &batch);
        }
    }

    #[test]
    fn every_batch_size_to_40_equals_sha2_on_equal_and_mixed_lengths() {
        for implementation in Implementation::available() {
            for size in 0..40usize {
                let equal: Vec<_> = (0..size).map(|i| bytes(170, i as u8)).collect();
                assert_batch(&implementation, &equal);
                let mixed: Vec<_> = (0..size).map(|i| bytes(i * 53 % 301, i as u8)).collect();
                assert_batch(&implementation, &mixed);
            }
        }
    }

    #[test]
    #[should_panic(expected = "one place for each message")]
    fn a_missing_place_is_refused() {
        digest_many(&[b"a"], &mut []);
    }
}
