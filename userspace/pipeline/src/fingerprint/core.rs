//! The semantic core of an outcome and its hash.
//!
//! Owns the canonical form: Python's `json.dumps(core, sort_keys=True)` of the reference
//! algorithm, bit for bit. Never serves as an address: SHA-256 has no neighbourhood.
//!
//! The texts are Unicode scalar values, as everywhere in Rust. Python's strings may hold lone
//! surrogates besides; they are no text, and [`super::reference`] refuses them.
//!
//! **Invariant:** equal cores give equal hashes, here and in the reference.

use edgelore_kernels::memory;
use edgelore_kernels::sha256::{self, Digest};
use edgelore_model::Outcome;

use super::json::{push_integer, push_string};

/// Width of a bucket of the improvement, ms.
const BUCKET_MS: u64 = 500;
/// Outcomes whose canonical forms are hashed together: enough to fill the lanes of a kernel, few
/// enough to stay in a core's own cache.
const BATCH: usize = 512;
/// Cores whose texts are brought near before the first of them is read: outcomes lie anywhere in
/// memory, and their texts elsewhere.
const AHEAD: usize = 8;
/// About the bytes of a canonical form.
const FORM_BYTES: usize = 192;

/// What of an outcome its fingerprint depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Core<'a> {
    /// See [`edgelore_model::Situation::topology_class`].
    pub topology_class: &'a str,
    /// See [`edgelore_model::Situation::protocol`].
    pub protocol: &'a str,
    /// See [`edgelore_model::Situation::event_type`].
    pub event_type: &'a str,
    /// See [`edgelore_model::Resolution::pattern`].
    pub resolution_pattern: &'a str,
    /// Before minus after, ms.
    pub convergence_delta_ms: i64,
    /// Prefixes; wider than any real count because the reference takes any integer.
    pub affected_prefixes: i128,
}

impl<'a> From<&'a Outcome> for Core<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        Self {
            topology_class: &outcome.situation.topology_class,
            protocol: &outcome.situation.protocol,
            event_type: &outcome.situation.event_type,
            resolution_pattern: &outcome.resolution.pattern,
            convergence_delta_ms: outcome.convergence_delta_ms,
            affected_prefixes: outcome.situation.affected_prefixes.into(),
        }
    }
}

/// The canonical form: JSON with sorted keys, the improvement floored to 500 ms and the prefixes
/// as the number of characters of their decimal number (a minus sign counts).
#[must_use]
pub fn canonical(core: &Core<'_>) -> String {
    let mut form = Vec::with_capacity(FORM_BYTES);
    push_canonical(&mut form, core);
    String::from_utf8(form).expect("the canonical form is ASCII")
}

/// SHA-256 of the canonical form.
#[must_use]
pub fn outcome_hash(core: &Core<'_>) -> Digest {
    let mut digest = [Digest::default()];
    sha256::digest_many(&[canonical(core).as_bytes()], &mut digest);
    digest[0]
}

/// Hashes the cores of many outcomes. Keeps its memory: once that has grown to the longest batch,
/// nothing is allocated.
#[derive(Debug, Default)]
pub struct Hasher {
    /// The canonical forms of a batch, one after the other.
    forms: Vec<u8>,
}

impl Hasher {
    /// Appends the hash of each core to `out`, in their order.
    pub fn hash<'a, C: Into<Core<'a>>>(
        &mut self,
        cores: impl IntoIterator<Item = C>,
        out: &mut Vec<Digest>,
    ) {
        let mut cores = Foreseen::new(cores.into_iter().map(Into::into).fuse());
        while self.batch(&mut cores, out) == BATCH {}
    }

    /// Hashes the next cores, [`BATCH`] at most; returns how many there were.
    fn batch<'a>(
        &mut self,
        cores: &mut impl Iterator<Item = Core<'a>>,
        out: &mut Vec<Digest>,
    ) -> usize {
        self.forms.clear();
        let (mut ends, mut count) = ([0; BATCH], 0);
        for (end, core) in ends.iter_mut().zip(cores) {
            push_canonical(&mut self.forms, &core);
            *end = self.forms.len();
            count += 1;
        }
        let mut messages: [&[u8]; BATCH] = [&[]; BATCH];
        let mut start = 0;
        for (message, &end) in messages.iter_mut().zip(&ends[..count]) {
            *message = &self.forms[start..end];
            start = end;
        }
        let before = out.len();
        out.resize(before + count, Digest::default());
        sha256::digest_many(&messages[..count], &mut out[before..]);
        count
    }
}

/// Hands cores on after it has asked for the texts of those that follow.
struct Foreseen<'a, I> {
    cores: I,
    waiting: [Option<Core<'a>>; AHEAD],
    at: usize,
}

impl<'a, I: Iterator<Item = Core<'a>>> Foreseen<'a, I> {
    fn new(mut cores: I) -> Self {
        let waiting = std::array::from_fn(|_| Self::coming(&mut cores));
        Self { cores, waiting, at: 0 }
    }

    #[inline]
    fn coming(cores: &mut I) -> Option<Core<'a>> {
        let core = cores.next()?;
        let Core { topology_class, protocol, event_type, resolution_pattern, .. } = core;
        for text in [topology_class, protocol, event_type, resolution_pattern] {
            text.as_bytes().first().iter().for_each(|first| memory::prefetch(*first));
        }
        Some(core)
    }
}

impl<'a, I: Iterator<Item = Core<'a>>> Iterator for Foreseen<'a, I> {
    type Item = Core<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let next = std::mem::replace(&mut self.waiting[self.at], Self::coming(&mut self.cores));
        self.at = (self.at + 1) % AHEAD;
        next
    }
}

/// The hashes of many cores, in their order.
#[must_use]
pub fn outcome_hashes(cores: &[Core<'_>]) -> Vec<Digest> {
    let mut out = Vec::with_capacity(cores.len());
    Hasher::default().hash(cores.iter().copied(), &mut out);
    out
}

/// Appends the canonical form.
fn push_canonical(out: &mut Vec<u8>, core: &Core<'_>) {
    out.reserve(FORM_BYTES);
    out.extend_from_slice(b"{\"convergence_bucket\": ");
    let (below_zero, magnitude) = bucket(core.convergence_delta_ms);
    if below_zero {
        out.push(b'-');
    }
    push_integer(out, magnitude);
    out.extend_from_slice(b", \"event_type\": ");
    push_string(out, core.event_type);
    out.extend_from_slice(b", \"prefix_scale\": ");
    push_integer(out, decimal_len(core.affected_prefixes));
    out.extend_from_slice(b", \"protocol\": ");
    push_string(out, core.protocol);
    out.extend_from_slice(b", \"resolution_pattern\": ");
    push_string(out, core.resolution_pattern);
    out.extend_from_slice(b", \"topology_class\": ");
    push_string(out, core.topology_class);
    out.push(b'}');
}

/// `value // 500 * 500` as Python computes it: floored, so away from zero below it. The magnitude
/// may exceed that of any `i64` by less than a bucket.
const fn bucket(value: i64) -> (bool, u64) {
    let magnitude = value.unsigned_abs();
    if value >= 0 {
        (false, magnitude / BUCKET_MS * BUCKET_MS)
    } else {
        (true, magnitude.div_ceil(BUCKET_MS) * BUCKET_MS)
    }
}

/// `len(str(value))`.
fn decimal_len(value: i128) -> u32 {
    let magnitude = value.unsigned_abs();
    let digits = u64::try_from(magnitude).map_or_else(
        |_| magnitude.ilog10() + 1,
        |short| short.checked_ilog10().map_or(1, |log| log + 1),
    );
    digits + u32::from(value < 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: Core<'static> = Core {
        topology_class: "",
        protocol: "",
        event_type: "",
        resolution_pattern: "",
        convergence_delta_ms: 0,
        affected_prefixes: 0,
    };

    #[test]
    fn extreme_numbers_neither_panic_nor_wrap() {
        let core = Core { convergence_delta_ms: i64::MIN, affected_prefixes: i128::MIN, ..EMPTY };
        assert!(canonical(&core).contains("\"convergence_bucket\": -9223372036854776000,"));
        assert!(canonical(&core).contains("\"prefix_scale\": 40,"));
        let core = Core { convergence_delta_ms: i64::MAX, affected_prefixes: i128::MAX, ..EMPTY };
        assert!(canonical(&core).contains("\"convergence_bucket\": 9223372036854775500,"));
        assert!(canonical(&core).contains("\"prefix_scale\": 39,"));
    }

    #[test]
    fn buckets_are_floored_as_python_does() {
        for (value, expected) in
            [(0, "0"), (499, "0"), (500, "500"), (-1, "-500"), (-500, "-500"), (-501, "-1000")]
        {
            let core = Core { convergence_delta_ms: value, ..EMPTY };
            let expected = format!("{{\"convergence_bucket\": {expected}, ");
            assert!(canonical(&core).starts_with(&expected), "{value}");
        }
    }

    #[test]
    fn a_batch_of_any_size_equals_one_at_a_time_and_reuses_its_memory() {
        let words: Vec<String> = (0..700).map(|i| "é\"x".repeat(i % 40)).collect();
        let cores: Vec<Core<'_>> = (0i64..)
            .zip(&words)
            .map(|(i, word)| Core { event_type: word, convergence_delta_ms: i * 333, ..EMPTY })
            .collect();
        let mut hasher = Hasher::default();
        for size in [0, 1, 15, 31, 511, 512, 513, 700] {
            let mut out = vec![[7; 32]];
            hasher.hash(cores[..size].iter().copied(), &mut out);
            let expected: Vec<Digest> = cores[..size].iter().map(outcome_hash).collect();
            assert_eq!((out[0], &out[1..]), ([7; 32], &expected[..]), "{size}");
        }
        let grown = hasher.forms.capacity();
        hasher.hash(cores.iter().copied(), &mut Vec::new());
        assert_eq!(hasher.forms.capacity(), grown);
    }

    proptest! {
        #[test]
        fn integers_are_those_of_plain_arithmetic(delta: i64, prefixes: i128, near in -2_000i64..2_000) {
            for delta in [delta, near] {
                let (below_zero, magnitude) = bucket(delta);
                let signed = i128::from(magnitude) * if below_zero { -1 } else { 1 };
                prop_assert_eq!(signed, i128::from(delta).div_euclid(500) * 500);
            }
            for prefixes in [prefixes, prefixes >> 70, prefixes >> 110, near.into()] {
                prop_assert_eq!(decimal_len(prefixes) as usize, prefixes.to_string().len());
            }
        }
    }
}
