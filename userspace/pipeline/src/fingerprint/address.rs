//! Where a situation lives: 128 bits, and the same as a path.
//!
//! ```text
//!  127       112 111        96 95         80 79         64 63      42 41      21 20       0
//! ┌─────────────┬─────────────┬─────────────┬─────────────┬──────────┬──────────┬──────────┐
//! │   family    │    class    │  protocol   │ event type  │ severity │ prefixes │  nodes   │
//! └─────────────┴─────────────┴─────────────┴─────────────┴──────────┴──────────┴──────────┘
//! ```
//!
//! A term's code is its place in the taxonomy; a word that the taxonomy does not hold has the
//! first bit set and then the first bits of its SHA-256 (for a topology class: of both its codes).
//! An ordinal is the base-2 logarithm of value + 1 in fixed point: 6 bits before the point, 16
//! after it for the severity, 15 for the others.
//!
//! **The common prefix grows with similarity**, as it does with IP prefixes: two addresses that
//! share their first `bits` bits belong to situations at most [`Space::farthest`]`(bits)` apart, and
//! that bound falls with every field, and within an ordinal with every bit, that is shared. (Of two
//! different words that no taxonomy holds, one pair in 2^15 shares a code and escapes the bound.)
//! The converse does not hold: neighbours on two sides of a power of two share little, so distances
//! are never measured on addresses, but by [`Space`], and what lies near is found by
//! [`Space::cells_near`].
//!
//! The path `edgelore/1/<space>/<family>/<class>/<protocol>/<event>/<severity>/<prefixes>` is the
//! topic, subject or key on every backend; a shorter path is a wider net. Its severity is the
//! whole part of log2(severity + 1), its prefixes the whole part of log10(prefixes + 1).
//!
//! Owns both forms. Never contains the resolution: one asks without knowing the answer.
//!
//! **Invariant:** [`Cell`]s print to ASCII without separators of any backend inside a segment
//! (`/`, `.`, `*`, `>`, `:`, space), and parse back to themselves.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use edgelore_kernels::sha256;
use edgelore_model::Situation;

use super::logarithm::{FRACTION_BITS, log2, log10};
use super::similarity::Space;
use super::taxonomy::Taxonomy;

/// First segments of every path: the name and the version of the scheme.
const SCHEME: &str = "edgelore/1";
/// Segments of an exact cell after the space.
const SEGMENTS_EXACT: usize = 6;
/// Segments of a coarse cell: family, class, protocol, event type.
const SEGMENTS_COARSE: usize = 4;
/// The longest segment that is parsed, bytes before decoding.
const SEGMENT_BYTES_MAX: usize = 1_024;

/// 128 bits, most significant field first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u128);

impl Address {
    /// The address of a situation in a space.
    #[must_use]
    pub fn of(space: &Space, situation: &Situation) -> Self {
        let [topology, protocol, event] = space.taxonomies();
        let class = &situation.topology_class;
        let terms = match topology.position(class) {
            Some(at) => {
                let family = topology.position(topology.family(class)).unwrap_or(at);
                u64::from(family) << 16 | u64::from(at)
            }
            None => unlisted(class, 32),
        };
        let terms = terms << 16 | code(protocol, &situation.protocol);
        let terms = terms << 16 | code(event, &situation.event_type);
        let severity = u128::from(log2(situation.severity));
        let prefixes = u128::from(log2(situation.affected_prefixes) >> 1);
        let nodes = u128::from(log2(situation.node_count) >> 1);
        Self(u128::from(terms) << 64 | severity << 42 | prefixes << 21 | nodes)
    }

    /// Leading bits that two addresses share, 0 to 128.
    #[must_use]
    pub const fn common_prefix(self, other: Self) -> u32 {
        (self.0 ^ other.0).leading_zeros()
    }
}

/// A word's code of 16 bits.
fn code(taxonomy: &Taxonomy, word: &str) -> u64 {
    taxonomy.position(word).map_or_else(|| unlisted(word, 16), u64::from)
}

/// A code of `bits` bits, at most 64, for a word that no taxonomy holds.
fn unlisted(word: &str, bits: u32) -> u64 {
    let mut digest = [[0; 32]];
    sha256::digest_many(&[word.as_bytes()], &mut digest);
    let first = digest[0].first_chunk().expect("32 bytes have a first 8");
    1 << (bits - 1) | u64::from_be_bytes(*first) >> (65 - bits)
}

/// Where the fields of an address end, bits from its beginning: family, class, protocol, event
/// type, severity, prefixes, nodes.
const ENDS: [u32; 7] = [16, 32, 48, 64, 86, 107, 128];

impl Space {
    /// Milli-units that two situations can lie apart whose addresses share their first `bits` bits.
    /// Never rises with `bits`; a milli-unit or two for all 128, since an address does not hold the
    /// last digit of every logarithm.
    #[must_use]
    pub fn farthest(&self, bits: u32) -> u32 {
        let [topology, protocol, event] = self.taxonomies();
        let shared = |field: usize| bits >= ENDS[field];
        let terms = match (shared(0), shared(1)) {
            (_, true) => 0,
            (true, false) => topology.diameter_in_family(),
            (false, false) => topology.diameter(),
        };
        let protocol = if shared(2) { 0 } else { protocol.diameter() };
        let event = if shared(3) { 0 } else { event.diameter() };
        let ordinals = self.ordinals().iter().zip(4..).map(|(ordinal, field)| {
            let bits_shared = bits.clamp(ENDS[field - 1], ENDS[field]) - ENDS[field - 1];
            ordinal.farthest((1 << (22 - bits_shared)) - 1)
        });
        terms + protocol + event + ordinals.sum::<u32>()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The bucket of a severity in a path, 0 to 63: the whole part of log2(severity + 1).
pub(super) fn severity_bucket(severity: u64) -> u32 {
    log2(severity) >> FRACTION_BITS
}

/// The bucket of a number of prefixes in a path, 0 to 19: the whole part of log10(prefixes + 1).
pub(super) fn prefixes_bucket(prefixes: u64) -> u32 {
    log10(prefixes) >> FRACTION_BITS
}

/// Why a text is not a cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{path}' is not a cell: {reason}")]
pub struct CellError {
    /// What was given.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// An address prefix on the borders of fields: what a backend keys and a subscriber follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    space: [u8; 8],
    segments: Vec<String>,
}

impl Cell {
    /// The cell down to the buckets of severity and prefixes.
    #[must_use]
    pub fn exact(space: &Space, situation: &Situation) -> Self {
        let mut cell = Self::coarse(space, situation);
        let buckets =
            [severity_bucket(situation.severity), prefixes_bucket(situation.affected_prefixes)];
        cell.segments.extend(buckets.map(|bucket| bucket.to_string()));
        cell
    }

    /// The cell of a topology class, protocol and event type.
    #[must_use]
    pub fn coarse(space: &Space, situation: &Situation) -> Self {
        let class = &situation.topology_class;
        let segments = vec![
            space.topology_family(class).to_owned(),
            class.clone(),
            situation.protocol.clone(),
            situation.event_type.clone(),
        ];
        Self { space: space.short_id(), segments }
    }

    /// From the segments after the space, none of them longer than a term; empty ones are words too.
    pub(super) const fn from_segments(space: [u8; 8], segments: Vec<String>) -> Self {
        Self { space, segments }
    }

    /// Everything in a space.
    #[must_use]
    pub fn whole(space: &Space) -> Self {
        Self { space: space.short_id(), segments: Vec::new() }
    }

    /// The space that the cell belongs to.
    #[must_use]
    pub const fn space(&self) -> [u8; 8] {
        self.space
    }

    /// Whether this is a coarse cell, neither wider nor narrower.
    #[must_use]
    pub fn is_coarse(&self) -> bool {
        self.segments.len() == SEGMENTS_COARSE
    }

    /// The topology class, protocol and event type of a coarse or narrower cell.
    #[must_use]
    pub fn terms(&self) -> Option<[&str; 3]> {
        match self.segments.as_slice() {
            [_, class, protocol, event, ..] => Some([class, protocol, event]),
            _ => None,
        }
    }

    /// Whether everything in `other` lies in this cell too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.space == other.space && other.segments.starts_with(&self.segments)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}/{:016x}", u64::from_be_bytes(self.space))?;
        for segment in &self.segments {
            f.write_str("/")?;
            write_segment(f, segment)?;
        }
        Ok(())
    }
}

/// Letters, digits, `_` and `-` stand for themselves, any other byte as `%XX`; the empty word,
/// which no backend takes as a segment, is `%`.
fn write_segment(f: &mut fmt::Formatter<'_>, segment: &str) -> fmt::Result {
    if segment.is_empty() {
        return f.write_str("%");
    }
    for character in segment.chars() {
        if character.is_ascii_alphanumeric() || character == '_' || character == '-' {
            f.write_char(character)?;
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn read_segment(text: &str) -> Option<String> {
    if text == "%" {
        return Some(String::new());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok().filter(|word| !word.is_empty())
}

impl FromStr for Cell {
    type Err = CellError;

    fn from_str(path: &str) -> Result<Self, CellError> {
        let error = |reason| CellError { path: path.chars().take(200).collect(), reason };
        let rest = path.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix('/'));
        let rest = rest.ok_or_else(|| error("it does not begin with 'edgelore/1/'"))?;
        let mut parts = rest.split('/');
        let space = parts
            .next()
            .filter(|text| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .ok_or_else(|| error("the space is not 16 hexadecimal digits"))?;
        let mut segments = Vec::new();
        for part in parts {
            if segments.len() == SEGMENTS_EXACT {
                return Err(error("it has more segments than an exact cell"));
            }
            let segment = Some(part).filter(|part| part.len() <= SEGMENT_BYTES_MAX);
            let segment = segment.and_then(read_segment);
            segments.push(segment.ok_or_else(|| error("a segment is empty or not encoded"))?);
        }
        Ok(Self { space: space.to_be_bytes(), segments })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{copy_field, singapore, situations, spaces};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_path_is_the_one_of_the_design() {
        let space = Space::default_definition();
        let id = format!("{:016x}", u64::from_be_bytes(space.short_id()));
        let exact = Cell::exact(&space, &singapore());
        assert_eq!(
            exact.to_string(),
            format!("edgelore/1/{id}/fabric/spine_leaf/bgp/convergence/18/3")
        );
        let coarse = Cell::coarse(&space, &singapore());
        assert_eq!(
            coarse.to_string(),
            format!("edgelore/1/{id}/fabric/spine_leaf/bgp/convergence")
        );
        assert!(coarse.is_coarse() && !exact.is_coarse());
        assert_eq!(exact.terms(), Some(["spine_leaf", "bgp", "convergence"]));
        assert_eq!(Cell::whole(&space).terms(), None);
        assert!(coarse.covers(&exact) && coarse.covers(&coarse) && !exact.covers(&coarse));
        assert!(Cell::whole(&space).covers(&coarse));
    }

    #[test]
    fn another_space_is_never_covered() {
        let space = Space::default_definition();
        let text = Space::default_text().replace("weight = 250", "weight = 251");
        let other = Space::parse(&text).unwrap();
        assert!(!Cell::whole(&other).covers(&Cell::exact(&space, &singapore())));
    }

    #[test]
    fn the_common_prefix_grows_with_similarity() {
        let space = Space::default_definition();
        let base = Address::of(&space, &singapore());
        let common = |change: &dyn Fn(&mut Situation)| {
            let mut other = singapore();
            change(&mut other);
            base.common_prefix(Address::of(&space, &other))
        };
        let nodes = common(&|s| s.node_count = 97);
        let prefixes = common(&|s| s.affected_prefixes = 8_300);
        let severity = common(&|s| s.severity = 345_000);
        let event = common(&|s| s.event_type = "flap".into());
        let class = common(&|s| s.topology_class = "fat_tree".into());
        let family = common(&|s| s.topology_class = "hub_spoke".into());
        assert!(nodes > 107 && (86..107).contains(&prefixes), "{nodes} {prefixes}");
        assert!((64..86).contains(&severity) && (48..64).contains(&event), "{severity} {event}");
        assert!((16..32).contains(&class) && family < 16, "{class} {family}");
        assert_eq!(common(&|_| ()), 128);
    }

    #[test]
    fn what_a_prefix_bounds_falls_with_every_field_that_is_shared() {
        let space = Space::default_definition();
        let bounds = [0, 16, 32, 48, 64, 70, 80, 86, 107, 128].map(|bits| space.farthest(bits));
        assert!(bounds.is_sorted_by(|a, b| a > b), "{bounds:?}");
        assert!(space.farthest(128) <= 3, "{}", space.farthest(128));
        // Topology, protocol, event type and four whole bits of the severity: a factor of 16 in
        // it, all prefixes and all networks.
        assert_eq!(space.farthest(68), 4_000 + 19_266 + 16_000);
    }

    #[test]
    fn what_is_not_a_cell_is_refused() {
        for path in [
            "",
            "edgelore/1",
            "edgelore/2/0000000000000000",
            "edgelore/1/+000000000000000",
            "edgelore/1/0000000000000000/",
            "edgelore/1/0000000000000000/a//b",
            "edgelore/1/0000000000000000/%2",
            "edgelore/1/0000000000000000/%+1",
            "edgelore/1/0000000000000000/%FF",
            "edgelore/1/0000000000000000/1/2/3/4/5/6/7",
        ] {
            assert!(path.parse::<Cell>().is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_longer_the_common_prefix_the_smaller_the_distance(
            space in spaces(),
            a in situations(),
            other in situations(),
            kept in 0usize..7,
            near in 0u64..3,
        ) {
            // Situations that agree in the first fields, and lie near in the one thereafter.
            let mut b = other;
            (0..kept.min(6)).for_each(|field| copy_field(&mut b, &a, field));
            if near > 0 {
                match kept {
                    3 => b.severity = a.severity.saturating_add(near - 1),
                    4 => b.affected_prefixes = a.affected_prefixes.saturating_add(near - 1),
                    5 => b.node_count = a.node_count.saturating_add(near - 1),
                    _ => {}
                }
            }
            let bits = Address::of(&space, &a).common_prefix(Address::of(&space, &b));
            let distance = space.distance(&a, &b);
            prop_assert!(distance <= space.farthest(bits), "{distance} at {bits} bits");
        }

        #[test]
        fn the_bound_of_a_prefix_never_rises(space in spaces(), bits in 0u32..128) {
            prop_assert!(space.farthest(bits + 1) <= space.farthest(bits));
        }

        #[test]
        fn cells_print_and_parse(topology in ".*", protocol in ".*", event in ".*", n: u64) {
            let situation = Situation {
                topology_class: topology,
                protocol,
                event_type: event,
                severity: n,
                affected_prefixes: n.rotate_left(32),
                node_count: 1,
            };
            let space = Space::default_definition();
            let cell = Cell::exact(&space, &situation);
            let path = cell.to_string();
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-%/".contains(&b)));
            prop_assert_eq!(path.parse::<Cell>().unwrap(), cell);
        }

        #[test]
        fn parsing_never_panics(path in "(edgelore/1/[0-9a-f]{16})?[/%0-9a-fé]*") {
            let _ = path.parse::<Cell>();
        }
    }
}
