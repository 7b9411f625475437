//! SHA-256 (FIPS 180-4) of many short messages.
//!
//! | name | instructions | messages side by side |
//! |---|---|---|
//! | `portable` | those that the `sha2` crate finds | 1 |
//! | `avx2` | AVX2 | 8 |
//! | `shani` | the SHA extensions of x86 | 2 |
//! | `avx512vl` | 256-bit vectors with AVX-512VL | 8 |
//! | `avx512` | AVX-512F, AVX-512BW | 16 |
//! | `neon` | the SHA-2 extension of 64-bit ARM, through `sha2` | 1 |
//!
//! Owns the batch interface and the list of implementations. Never keeps state between calls and
//! never allocates. Miri takes the portable one.
//!
//! **Invariant:** `out[i]` is the digest of `messages[i]`, whatever the implementation, the batch
//! size or the order of lengths.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512vl;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod constants;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod groups;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod lanes;
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod neon;
mod portable;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod shani;
#[cfg(test)]
mod tests;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// One way to compute a batch; having a value of it proves that this machine can run it.
#[derive(Clone, Copy, Debug)]
pub struct Implementation(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Portable,
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx2(avx2::Avx2),
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    ShaNi(shani::ShaNi),
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx512Vl(avx512vl::Avx512Vl),
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx512(avx512::Avx512),
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    Neon(neon::Neon),
}

impl Implementation {
    /// One message after the other through the `sha2` crate; runs everywhere.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// Every implementation that this machine can run, the slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let portable = std::iter::once(Kind::Portable);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        let portable = portable
            .chain(avx2::Avx2::new().map(Kind::Avx2))
            .chain(shani::ShaNi::new().map(Kind::ShaNi))
            .chain(avx512vl::Avx512Vl::new().map(Kind::Avx512Vl))
            .chain(avx512::Avx512::new().map(Kind::Avx512));
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        let portable = portable.chain(neon::Neon::new().map(Kind::Neon));
        portable.map(Self).collect()
    }

    /// Its name, for benches, logs and [`crate::platform::SHA256_VARIABLE`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::ShaNi(_) => "shani",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx512Vl(_) => "avx512vl",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx512(_) => "avx512",
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            Kind::Neon(_) => "neon",
        }
    }

    /// Messages that it takes side by side.
    #[must_use]
    pub const fn lanes(&self) -> usize {
        match self.0 {
            Kind::Portable => 1,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::ShaNi(_) => 2,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx2(_) | Kind::Avx512Vl(_) => 8,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx512(_) => 16,
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            Kind::Neon(_) => 1,
        }
    }

    /// Writes the digest of every message to its place in `out`.
    ///
    /// # Panics
    /// When `messages` and `out` differ in length.
    pub fn digest_many(&self, messages: &[&[u8]], out: &mut [Digest]) {
        assert_eq!(messages.len(), out.len(), "one place for each message");
        match self.0 {
            Kind::Portable => portable::digest_many(messages, out),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx2(isa) => isa.digest_many(messages, out),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::ShaNi(isa) => isa.digest_many(messages, out),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx512Vl(isa) => isa.digest_many(messages, out),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Kind::Avx512(isa) => isa.digest_many(messages, out),
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            Kind::Neon(isa) => isa.digest_many(messages, out),
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
