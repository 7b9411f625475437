//! Owns what makes two hellos of one speaker equal: everything but checksums, authentication data
//! that changes with every packet, and message ids. Never remembers a hello: that is the caller's.
//!
//! A hello is told from the last one by a hash of 64 bits. It guards against nobody: who can send
//! hellos can as well send equal ones.

use crate::igp::{is_isis_hello, ospf_type};
use crate::ldp::ldp_type;
use crate::{Bytes, Kind};

/// A shorter hello is none, and is not recognised, bytes.
pub const HELLO_LEN_MIN: usize = 26;
/// A longer hello is not recognised, bytes. IS-IS pads its hellos to the link's MTU.
pub const HELLO_LEN_MAX: usize = WORDS_MAX * WORD_LEN;
const WORD_LEN: usize = 8;
const WORDS_MAX: usize = 511;

/// Octets of the first words that count: where a bit is 0 the octet's is left out.
type Masks = [u64; 3];

const fn word(octets: [u8; WORD_LEN]) -> u64 {
    u64::from_ne_bytes(octets)
}

const ALL: u64 = u64::MAX;
/// The checksum, and the eight octets of authentication: with cryptographic authentication a
/// sequence number stands there (RFC 2328 §D.3).
const OSPF_V2: Masks = [ALL, word([255, 255, 255, 255, 0, 0, 255, 255]), 0];
/// The checksum.
const OSPF_V3: Masks = [ALL, word([255, 255, 255, 255, 0, 0, 255, 255]), ALL];
/// The message id (RFC 5036 §3.5).
const LDP: Masks =
    [ALL, word([255, 255, 255, 255, 255, 255, 0, 0]), word([0, 0, 255, 255, 255, 255, 255, 255])];
const ISIS: Masks = [ALL; 3];

/// A hello, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Tells apart hellos that one speaker sends side by side: the IS-IS PDU type, else 0.
    pub subtype: u8,
    /// Bytes that are compared, [`HELLO_LEN_MIN`] to [`HELLO_LEN_MAX`].
    pub len: usize,
    masks: Masks,
}

/// The hello at the beginning of a payload of `kind`; `None` when it is another packet, or too
/// short or too long.
#[inline(always)]
pub fn hello<B: Bytes + ?Sized>(payload: &B, kind: Kind) -> Option<Hello> {
    let head: [u8; 14] = payload.octets(0)?;
    let mut hello = Hello { subtype: 0, len: payload.length(), masks: ISIS };
    match kind {
        Kind::Ospf => {
            if head[1] != ospf_type::HELLO {
                return None;
            }
            // What follows the packet is its digest (RFC 2328 §D.4.3) or link-local signalling.
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            hello.len = if len < hello.len { len } else { hello.len };
            hello.masks = if head[0] == 2 { OSPF_V2 } else { OSPF_V3 };
        }
        Kind::Isis => {
            hello.subtype = head[4] & 0x1f;
            if !is_isis_hello(hello.subtype) {
                return None;
            }
        }
        Kind::LdpHello => {
            if u16::from_be_bytes([head[10], head[11]]) != ldp_type::HELLO {
                return None;
            }
            hello.masks = LDP;
        }
        _ => return None,
    }
    (HELLO_LEN_MIN..=HELLO_LEN_MAX).contains(&hello.len).then_some(hello)
}

/// A hash of everything in the hello that counts; `None` when the payload is shorter than it.
#[inline(always)]
pub fn hello_hash<B: Bytes + ?Sized>(payload: &B, hello: &Hello) -> Option<u64> {
    let [first, second, third] = hello.masks;
    let mut hash = hello.len as u64;
    hash = mix(hash, word(payload.octets(0)?) & first);
    hash = mix(hash, word(payload.octets(WORD_LEN)?) & second);
    hash = mix(hash, word(payload.octets(2 * WORD_LEN)?) & third);
    let mut offset = 3 * WORD_LEN;
    for _ in 3..WORDS_MAX {
        if offset + WORD_LEN > hello.len {
            break;
        }
        hash = mix(hash, word(payload.octets(offset)?));
        offset += WORD_LEN;
    }
    // What is left of the last word, with some octets a second time. No octet that is left out
    // lies there: the shortest OSPFv2 hello has 44, and LDP's message id ends at 18.
    Some(mix(hash, word(payload.octets(hello.len - WORD_LEN)?)))
}

#[inline(always)]
const fn mix(hash: u64, word: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (hash ^ word).wrapping_mul(ODD);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn hash(payload: &[u8], kind: Kind) -> u64 {
        let hello = hello(payload, kind).expect("a hello");
        hello_hash(payload, &hello).expect("all of it")
    }

    /// A hello of `len` octets that begins with `head`, the rest told apart by their values.
    fn payload(head: &[u8], len: usize) -> Vec<u8> {
        head.iter().copied().chain((head.len()..len).map(|at| at as u8)).collect()
    }

    #[test]
    fn every_octet_counts_but_those_that_change_by_themselves() {
        let ldp = [0, 1, 0, 22, 1, 2, 3, 4, 0, 0, 1, 0, 0, 12, 0, 0, 0, 9];
        for (name, kind, payload, ignored) in [
            ("OSPFv2", Kind::Ospf, payload(&[2, 1, 0, 48], 68), [12..14, 16..24, 48..68]),
            ("OSPFv3", Kind::Ospf, payload(&[3, 1, 0, 36], 36), [12..14, 0..0, 0..0]),
            ("IS-IS", Kind::Isis, payload(&[0x83, 27, 1, 0, 16, 1, 0], 1497), [0..0, 0..0, 0..0]),
            ("LDP", Kind::LdpHello, payload(&ldp, 26), [14..18, 0..0, 0..0]),
            ("LDP, longer", Kind::LdpHello, payload(&ldp, 42), [14..18, 0..0, 0..0]),
        ] {
            let first = hash(&payload, kind);
            // What says that it is a hello, and how long it is, is not changed here.
            let fixed = match kind {
                Kind::Ospf => 0..4,
                Kind::Isis => 4..5,
                _ => 10..12,
            };
            for at in (0..payload.len()).filter(|at| !fixed.contains(at)) {
                let mut changed = payload.clone();
                changed[at] ^= 0x40;
                let ignored = ignored.iter().any(|range| range.contains(&at));
                assert_eq!(hash(&changed, kind) == first, ignored, "{name}, octet {at}");
            }
        }
    }

    #[test]
    fn only_hellos_are_hellos() {
        for (name, kind, payload) in [
            ("an update", Kind::Ospf, payload(&[2, 4, 0, 48], 48)),
            ("an LSP", Kind::Isis, payload(&[0x83, 27, 1, 0, 18], 100)),
            (
                "an LDP keepalive",
                Kind::LdpHello,
                payload(&[0, 1, 0, 14, 0, 0, 0, 0, 0, 0, 2, 1], 40),
            ),
            ("another protocol", Kind::Bgp, payload(&[2, 1, 0, 48], 48)),
            ("too short", Kind::Isis, payload(&[0x83, 27, 1, 0, 16], HELLO_LEN_MIN - 1)),
            ("too long", Kind::Isis, payload(&[0x83, 27, 1, 0, 16], HELLO_LEN_MAX + 1)),
            ("a length below the header", Kind::Ospf, payload(&[2, 1, 0, 20], 48)),
        ] {
            assert_eq!(hello(&payload[..], kind), None, "{name}");
        }
        let longest = payload(&[0x83, 27, 1, 0, 16], HELLO_LEN_MAX);
        let mut changed = longest.clone();
        changed[HELLO_LEN_MAX - 1] ^= 1;
        assert_ne!(hash(&longest, Kind::Isis), hash(&changed, Kind::Isis));
        let cut = hello(&longest[..], Kind::Isis).expect("a hello");
        assert_eq!(hello_hash(&longest[..100], &cut), None, "cut off");
    }
}
