//! How an entry lies in memory.
//!
//! ```text
//! slot: key (1 or 5 words) | attributes | changed | first | penalty 16, announced 1, transitions 7, form 8
//! line: three slots, filled from the first on, and what is left of 64 or 128 octets
//! ```
//!
//! **Invariant:** a slot whose form is 0 is empty, and so are those after it in its line.

use crate::decode::bgp::mix;
use edgelore_model::{AddressFamily, Prefix};
use std::net::IpAddr;

/// Slots of a line.
pub(super) const LINE_SLOTS: usize = 3;
/// Words of a [`State`].
pub(super) const STATE_WORDS: usize = 4;
/// Transitions counted at most.
pub(super) const TRANSITIONS_MAX: u8 = 127;

const FORM: u32 = 0xff;
const TRANSITIONS_AT: u32 = 8;
const ANNOUNCED: u32 = 1 << 15;
const PENALTY_AT: u32 = 16;

const KEYS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7];

/// What a slot holds beside its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Low 32 bits of the attributes' hash.
    pub(super) attributes: u32,
    /// When it came or went last, in ticks; when it changed last, if it did not come or go since
    /// it stood still.
    pub(super) changed: u32,
    /// When the running episode began, in ticks.
    pub(super) first: u32,
    /// The penalty at that time.
    pub(super) penalty: u16,
    /// The prefix was announced and not withdrawn since.
    pub(super) announced: bool,
    /// Transitions of the running episode, at most [`TRANSITIONS_MAX`].
    pub(super) transitions: u8,
    /// Family and length of the prefix: belongs to the key, lies here to fill the slot.
    pub(super) form: u8,
}

impl State {
    #[inline]
    pub(super) const fn read(&[attributes, changed, first, word]: &[u32; STATE_WORDS]) -> Self {
        Self {
            attributes,
            changed,
            first,
            penalty: (word >> PENALTY_AT) as u16,
            announced: word & ANNOUNCED != 0,
            transitions: (word >> TRANSITIONS_AT) as u8 & TRANSITIONS_MAX,
            form: (word & FORM) as u8,
        }
    }

    #[inline]
    pub(super) fn write(&self, words: &mut [u32; STATE_WORDS]) {
        let word = (u32::from(self.penalty) << PENALTY_AT)
            | (u32::from(self.announced) * ANNOUNCED)
            | (u32::from(self.transitions) << TRANSITIONS_AT)
            | u32::from(self.form);
        *words = [self.attributes, self.changed, self.first, word];
    }
}

/// A prefix's address with its path identifier, in one of two sizes.
pub(super) trait Key: Copy + Eq {
    /// Words that it takes.
    const WORDS: usize;
    /// Words from one line to the next.
    const LINE_WORDS: usize;
    /// Words of a slot.
    const SLOT_WORDS: usize = Self::WORDS + STATE_WORDS;

    /// A hash of which all bits are good.
    fn hash(&self, seed: u64) -> u64;
    fn read(words: &[u32]) -> Self;
    fn write(&self, words: &mut [u32]);
}

/// An IPv4 prefix without a path identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Narrow(u32);

/// Any prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide([u32; 4], u32);

impl Key for Narrow {
    const WORDS: usize = 1;
    const LINE_WORDS: usize = 16;

    #[inline]
    fn hash(&self, seed: u64) -> u64 {
        mix(u64::from(self.0) ^ KEYS[0], seed ^ KEYS[1]) ^ seed
    }

    #[inline]
    fn read(words: &[u32]) -> Self {
        Self(words[0])
    }

    #[inline]
    fn write(&self, words: &mut [u32]) {
        words[0] = self.0;
    }
}

impl Key for Wide {
    const WORDS: usize = 5;
    const LINE_WORDS: usize = 32;

    #[inline]
    fn hash(&self, seed: u64) -> u64 {
        let [a, b, c, d] = self.0.map(u64::from);
        let high = mix(a << 32 ^ b ^ KEYS[0], seed ^ KEYS[1]);
        mix(high ^ c << 32 ^ d, KEYS[2] ^ u64::from(self.1)) ^ high
    }

    #[inline]
    fn read(words: &[u32]) -> Self {
        Self([words[0], words[1], words[2], words[3]], words[4])
    }

    #[inline]
    fn write(&self, words: &mut [u32]) {
        words[..4].copy_from_slice(&self.0);
        words[4] = self.1;
    }
}

/// All that names an entry, and the hash of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<K> {
    pub(super) key: K,
    pub(super) form: u8,
    pub(super) hash: u64,
}

impl<K: Key> Name<K> {
    #[inline]
    pub(super) fn new(key: K, form: u8, seed: u64) -> Self {
        let hash = mix(key.hash(seed) ^ u64::from(form), KEYS[2]);
        Self { key, form, hash }
    }
}

/// A name in the size that its prefix needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnyName {
    Narrow(Name<Narrow>),
    Wide(Name<Wide>),
}

/// Forms of IPv6 prefixes begin at 1, those of IPv4 after them.
const IPV6_FORM: u8 = 1;
const IPV4_FORM: u8 = IPV6_FORM + 129;

impl AnyName {
    /// Always inlined: handing a name back through memory takes as long as making it.
    #[inline(always)]
    pub(super) fn new(prefix: Prefix, path_id: u32, seed: u64) -> Self {
        match prefix.address() {
            IpAddr::V4(address) if path_id == 0 => Self::Narrow(Name::new(
                Narrow(address.to_bits()),
                IPV4_FORM + prefix.length(),
                seed,
            )),
            IpAddr::V4(address) => {
                let key = Wide([0, 0, 0, address.to_bits()], path_id);
                Self::Wide(Name::new(key, IPV4_FORM + prefix.length(), seed))
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let words = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
                Self::Wide(Name::new(Wide(words, path_id), IPV6_FORM + prefix.length(), seed))
            }
        }
    }
}

/// The prefix of an entry.
pub(super) trait Named {
    fn octets(&self) -> [u8; 16];

    fn prefix(&self, form: u8) -> Option<Prefix> {
        let octets = self.octets();
        match form.checked_sub(IPV4_FORM) {
            Some(length) => Prefix::from_octets(AddressFamily::Ipv4, &octets[12..], length).ok(),
            None => {
                let length = form.checked_sub(IPV6_FORM)?;
                Prefix::from_octets(AddressFamily::Ipv6, &octets, length).ok()
            }
        }
    }
}

impl Named for Narrow {
    fn octets(&self) -> [u8; 16] {
        u128::from(self.0).to_be_bytes()
    }
}

impl Named for Wide {
    fn octets(&self) -> [u8; 16] {
        self.0.iter().fold(0, |bits, &word| bits << 32 | u128::from(word)).to_be_bytes()
    }
}
