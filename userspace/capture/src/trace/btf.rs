//! Owns the one question that is asked of the kernel's type information (BTF): where does a member
//! of a structure lie?
//!
//! ```text
//! header   magic:u16 version:u8 flags:u8 hdr_len:u32 type_off:u32 type_len:u32 str_off:u32 str_len:u32
//! type     name_off:u32 info:u32 size_or_type:u32, then what its kind brings along
//! member   name_off:u32 type:u32 offset:u32 (in bits; with the kind flag, the lower 24 bits of it)
//! ```
//! Layout: `linux/btf.h`. Numbers are in the machine's byte order.
//!
//! **Invariant:** no bytes make this panic, loop or take more than linear time.

use std::collections::HashSet;

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
const TYPE: usize = 12;
const MEMBER: usize = 12;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// Anonymous structures within anonymous structures are followed this far.
const DEPTH_MAX: usize = 8;

/// The kernel's types, as BTF tells them.
#[derive(Debug)]
pub struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins; type 1 is the first.
    starts: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    members: usize,
    kind_flag: bool,
    start: usize,
}

impl<'a> Types<'a> {
    /// Reads the headers of all types; `None` when the bytes are no BTF.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let number = |at| word(bytes, at).map(|word| word as usize);
        let header = number(4)?.max(HEADER);
        let section = |offset: usize, length: usize| {
            let start = header.checked_add(offset)?;
            bytes.get(start..start.checked_add(length)?)
        };
        let types = section(number(8)?, number(12)?)?;
        let strings = section(number(16)?, number(20)?)?;
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(u32::try_from(at).ok()?);
            at = at.checked_add(TYPE)?.checked_add(extra(word(types, at + 4)?)?)?;
        }
        Some(Self { types, strings, starts })
    }

    /// Where `member` of `struct structure` lies, in bytes; also when it is a member of an
    /// anonymous structure or union within. `None` when there is none, or it begins within a byte.
    #[must_use]
    pub fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        let found = (1..=self.starts.len()).find_map(|id| {
            let head = self.head(id)?;
            (head.kind == STRUCT && self.is_named(head.name, structure)).then_some(head)
        })?;
        let bits = self.search(found, member, 0, &mut HashSet::new())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// The member's offset in bits. Each anonymous type is looked into once.
    fn search(
        &self,
        within: Head,
        member: &str,
        depth: usize,
        seen: &mut HashSet<usize>,
    ) -> Option<u32> {
        if depth > DEPTH_MAX || !seen.insert(within.start) {
            return None;
        }
        (0..within.members).find_map(|index| {
            let at = within.start + TYPE + index * MEMBER;
            let (name, id) = (word(self.types, at)?, word(self.types, at + 4)? as usize);
            let offset = word(self.types, at + 8)?;
            let bits = if within.kind_flag { offset & 0xff_ffff } else { offset };
            if name != 0 {
                return self.is_named(name, member).then_some(bits);
            }
            let inner = self.head(id).filter(|head| matches!(head.kind, STRUCT | UNION))?;
            bits.checked_add(self.search(inner, member, depth + 1, seen)?)
        })
    }

    fn head(&self, id: usize) -> Option<Head> {
        let start = *self.starts.get(id.checked_sub(1)?)? as usize;
        let info = word(self.types, start + 4)?;
        Some(Head {
            name: word(self.types, start)?,
            kind: kind(info),
            members: (info & 0xffff) as usize,
            kind_flag: info >> 31 == 1,
            start,
        })
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

const fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes that follow a type of this kind; `None` for a kind that is not known.
fn extra(info: u32) -> Option<usize> {
    let members = (info & 0xffff) as usize;
    match kind(info) {
        2 | 7..=12 | 16 | 18 => Some(0),
        1 | 14 | 17 => Some(4),
        3 => Some(12),
        STRUCT | UNION | 15 | 19 => Some(members * MEMBER),
        6 | 13 => Some(members * 8),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(octets.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct outer { int a; struct { int b; union { int c; }; }; struct named d; }` and what it
    /// needs, as a compiler would write it.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0named\0d\0self\0";
        let name = |text: &str| {
            let needle = [b"\0", text.as_bytes(), b"\0"].concat();
            strings.windows(needle.len()).position(|w| w == needle).unwrap() as u32 + 1
        };
        let info = |kind: u32, members: u32| (kind << 24) | members;
        #[rustfmt::skip]
        let types = [
            name("int"), info(1, 0), 4, 0x0100_0020,                               // 1: int
            0, info(UNION, 1), 4, name("c"), 1, 0,                                 // 2
            0, info(STRUCT, 2), 8, name("b"), 1, 0, 0, 2, 32,                      // 3
            name("named"), info(STRUCT, 1), 8, name("self"), 1, 32,                // 4
            name("outer"), info(STRUCT, 3), 20,                                    // 5
                name("a"), 1, 0, 0, 3, 32, name("d"), 4, 96,
        ];
        let header = [types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for number in [24, 0, header[0], header[1], header[2]].into_iter().chain(types) {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_also_in_anonymous_structures() {
        let bytes = sample();
        let types = Types::parse(&bytes).unwrap();
        for (structure, member, offset) in [
            ("outer", "a", Some(0)),
            ("outer", "b", Some(4)),
            ("outer", "c", Some(8)),
            ("outer", "d", Some(12)),
            ("outer", "self", None),
            ("named", "self", Some(4)),
            ("none", "a", None),
        ] {
            assert_eq!(types.offset(structure, member), offset, "{structure}.{member}");
        }
    }

    #[test]
    fn the_running_kernel_has_what_is_needed() {
        // Absent on a kernel built without BTF, where this has nothing to say.
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
        let types = Types::parse(&bytes).expect("the kernel's BTF can be read");
        assert_eq!(types.offset("list_head", "prev"), Some(size_of::<usize>() as u32));
    }

    proptest! {
        #[test]
        fn damaged_types_never_panic(
            at in 0usize..280, byte: u8, cut in 0usize..300
        ) {
            let mut bytes = sample();
            let last = bytes.len() - 1;
            bytes[at.min(last)] = byte;
            bytes.truncate(cut);
            if let Some(types) = Types::parse(&bytes) {
                let _ = types.offset("outer", "c");
            }
        }
    }
}
