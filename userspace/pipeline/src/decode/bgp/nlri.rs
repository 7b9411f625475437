//! Network layer reachability information: prefixes of IPv4 and IPv6 unicast one by one, every
//! other family counted (RFC 4271 §4.3, RFC 4760 §5, RFC 7911 §3).
//!
//! ```text
//! [path identifier, 4 octets, RFC 7911] | length in bits, 1 octet | ceil(length / 8) octets
//! ```
//!
//! **Invariant:** an iterator ends at its first fault, so that nothing after a fault is believed.

use super::{BgpError, Fault};
use edgelore_model::{AddressFamily, Prefix, PrefixCounts};

/// Octets of a path identifier.
const PATH_ID_LEN: usize = 4;

/// Whether a list of NLRI carries path identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathIds {
    /// It does not.
    Absent,
    /// It does.
    Present,
}

/// What is known about the form of a list before reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NlriForm {
    /// Both OPENs were seen, or the record type says so.
    Known(PathIds),
    /// Nobody said. The list is read as [`PathIds::Absent`], unless that cannot be right and the
    /// other reading comes out even: see [`NlriForm::resolve`].
    Guess {
        /// There is a hint that path identifiers are there (OPENs that negotiated them, in a
        /// file whose record type denies them): read them if that comes out even.
        hint: bool,
    },
}

impl NlriForm {
    /// Decides how to read `bytes`.
    ///
    /// A small path identifier reads as several prefixes of length zero. A default route never
    /// stands twice in a list, so a list in which it does, or that does not come out even, is
    /// read with path identifiers if that comes out even.
    #[must_use]
    pub fn resolve(self, family: AddressFamily, bytes: &[u8]) -> PathIds {
        let even = |ids| walk(family.bits(), ids, bytes);
        match self {
            Self::Known(ids) => ids,
            Self::Guess { hint: true } if even(PathIds::Present).is_some() => PathIds::Present,
            Self::Guess { .. } if matches!(even(PathIds::Absent), Some(0 | 1)) => PathIds::Absent,
            Self::Guess { .. } if even(PathIds::Present).is_some() => PathIds::Present,
            Self::Guess { .. } => PathIds::Absent,
        }
    }
}

/// How many prefixes of length zero the list holds; `None` when it does not come out even.
fn walk(bits_max: u8, ids: PathIds, mut bytes: &[u8]) -> Option<usize> {
    let mut zeros = 0;
    while !bytes.is_empty() {
        if ids == PathIds::Present {
            bytes = bytes.get(PATH_ID_LEN..)?;
        }
        let (&length, rest) = bytes.split_first()?;
        if length > bits_max {
            return None;
        }
        zeros += usize::from(length == 0);
        bytes = rest.get(usize::from(length).div_ceil(8)..)?;
    }
    Some(zeros)
}

/// The prefixes of a list, in wire order.
#[derive(Clone, Debug)]
pub struct Prefixes<'a> {
    family: AddressFamily,
    ids: PathIds,
    bytes: &'a [u8],
    at: usize,
    path_id: u32,
}

impl<'a> Prefixes<'a> {
    /// Reads `bytes` as prefixes of `family`.
    #[must_use]
    pub const fn new(family: AddressFamily, ids: PathIds, bytes: &'a [u8]) -> Self {
        Self { family, ids, bytes, at: 0, path_id: 0 }
    }

    /// The path identifier of the prefix handed out last; 0 without.
    #[inline]
    #[must_use]
    pub const fn path_id(&self) -> u32 {
        self.path_id
    }

    /// Octets before the length of each prefix.
    #[inline]
    const fn path_id_len(&self) -> usize {
        if matches!(self.ids, PathIds::Present) { PATH_ID_LEN } else { 0 }
    }

    /// The next prefix; `None` at the end, and where it cannot be read.
    #[inline(always)]
    pub(super) fn sound(&mut self) -> Option<Prefix> {
        let rest = self.bytes.get(self.at..)?;
        let skip = self.path_id_len();
        let &length = rest.get(skip)?;
        let end = skip + 1 + usize::from(length).div_ceil(8);
        if end > rest.len() {
            return None;
        }
        let prefix = Prefix::from_octets(self.family, &rest[skip + 1..], length).ok()?;
        if let (PathIds::Present, Some(id)) = (self.ids, rest.first_chunk()) {
            self.path_id = u32::from_be_bytes(*id);
        }
        self.at += end;
        Some(prefix)
    }

    /// Why there is no next prefix; `None` at the end.
    #[inline]
    pub(super) fn fault(&mut self) -> Option<BgpError> {
        (self.at < self.bytes.len()).then(|| self.refuse())
    }

    /// What is wrong with the next prefix, which cannot be read; none is read after it.
    #[cold]
    fn refuse(&mut self) -> BgpError {
        let at = std::mem::replace(&mut self.at, self.bytes.len());
        let there = self.bytes.len() - at;
        let skip = self.path_id_len();
        let length = self.bytes.get(at + skip).copied();
        let needed = skip + 1 + length.map_or(0, |bits| usize::from(bits).div_ceil(8));
        let fault = match length {
            Some(length) if needed <= there => {
                Fault::PrefixLength { length, max: self.family.bits() }
            }
            _ => Fault::Truncated { there, needed },
        };
        BgpError::new(at, fault)
    }
}

impl Iterator for Prefixes<'_> {
    type Item = Result<Prefix, BgpError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.sound() {
            Some(prefix) => Some(Ok(prefix)),
            None => self.fault().map(Err),
        }
    }
}

impl std::iter::FusedIterator for Prefixes<'_> {}

/// How the routes of a family follow each other.
enum Layout {
    /// Length in bits, as unicast has it (multicast, labelled, VPN, SR policy, RT constraint).
    BitLength,
    /// Type and length in one octet each (EVPN RFC 7432 §7, MVPN RFC 6514 §4).
    TypeLength8,
    /// Type and length in two octets each (BGP-LS RFC 9552 §5.2).
    TypeLength16,
    /// Length in two octets (VPLS RFC 4761 §3.2.2).
    Length16,
    /// Length in one octet, or in twelve bits from 0xf000 on (flow specification RFC 8955 §4.1).
    FlowSpec,
    /// Nobody told us: the whole list counts as one route.
    Unknown,
}

const fn layout(afi: u16, safi: u8) -> Layout {
    match (afi, safi) {
        (1 | 2, 1 | 2 | 4 | 73 | 128 | 129 | 132) => Layout::BitLength,
        (_, 5) | (25, 70) => Layout::TypeLength8,
        (16_388, _) => Layout::TypeLength16,
        (25, 65) => Layout::Length16,
        (_, 133 | 134) => Layout::FlowSpec,
        _ => Layout::Unknown,
    }
}

/// Adds routes of a family that is only counted, announced or withdrawn.
pub(super) fn count_apart(
    counts: &mut PrefixCounts,
    afi: u16,
    safi: u8,
    announced: bool,
    count: u64,
) {
    let (any, apart) =
        if announced { announcements(counts, afi, safi) } else { withdrawals(counts, afi, safi) };
    *any += count;
    if let Some(apart) = apart {
        *apart += count;
    }
}

type Counters<'c> = (&'c mut u64, Option<&'c mut u64>);

/// Where routes announced in a family are counted.
const fn announcements(counts: &mut PrefixCounts, afi: u16, safi: u8) -> Counters<'_> {
    let apart = match (afi, safi) {
        (_, 2) => Some(&mut counts.multicast_announced),
        (_, 4) => Some(&mut counts.labelled_announced),
        (_, 128 | 129) => Some(&mut counts.vpn_announced),
        (25, 70) => Some(&mut counts.evpn_announced),
        (_, 133 | 134) => Some(&mut counts.flowspec_announced),
        (25, 65) => Some(&mut counts.vpls_announced),
        (_, 132) => Some(&mut counts.route_target_announced),
        _ => None,
    };
    (&mut counts.other_announced, apart)
}

/// Where routes withdrawn in a family are counted.
const fn withdrawals(counts: &mut PrefixCounts, afi: u16, safi: u8) -> Counters<'_> {
    let apart = match (afi, safi) {
        (_, 2) => Some(&mut counts.multicast_withdrawn),
        (_, 4) => Some(&mut counts.labelled_withdrawn),
        (_, 128 | 129) => Some(&mut counts.vpn_withdrawn),
        (25, 70) => Some(&mut counts.evpn_withdrawn),
        (_, 133 | 134) => Some(&mut counts.flowspec_withdrawn),
        (25, 65) => Some(&mut counts.vpls_withdrawn),
        (_, 132) => Some(&mut counts.route_target_withdrawn),
        _ => None,
    };
    (&mut counts.other_withdrawn, apart)
}

/// How many routes a list of any family holds, as far as it reads evenly: what follows a fault is
/// not counted.
#[must_use]
pub fn count_other(afi: u16, safi: u8, ids: PathIds, mut bytes: &[u8]) -> u64 {
    let layout = layout(afi, safi);
    let mut count = 0;
    while !bytes.is_empty() {
        let skip = if ids == PathIds::Present { PATH_ID_LEN } else { 0 };
        let Some(route) = bytes.get(skip..) else { break };
        let Some(end) = route_len(&layout, route) else { break };
        let Some(rest) = route.get(end..) else { break };
        count += 1;
        bytes = rest;
    }
    count
}

fn route_len(layout: &Layout, route: &[u8]) -> Option<usize> {
    let wide =
        |at: usize| Some(usize::from(u16::from_be_bytes([*route.get(at)?, *route.get(at + 1)?])));
    Some(match layout {
        Layout::BitLength => 1 + usize::from(*route.first()?).div_ceil(8),
        Layout::TypeLength8 => 2 + usize::from(*route.get(1)?),
        Layout::TypeLength16 => 4 + wide(2)?,
        Layout::Length16 => 2 + wide(0)?,
        Layout::FlowSpec if *route.first()? >= 0xf0 => 2 + (wide(0)? & 0x0fff),
        Layout::FlowSpec => 1 + usize::from(*route.first()?),
        Layout::Unknown => route.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use AddressFamily::{Ipv4, Ipv6};

    fn texts(family: AddressFamily, ids: PathIds, bytes: &[u8]) -> Vec<String> {
        Prefixes::new(family, ids, bytes).map(|p| p.unwrap().to_string()).collect()
    }

    #[test]
    fn prefixes_in_wire_order() {
        assert_eq!(
            texts(Ipv4, PathIds::Absent, &[24, 192, 0, 2, 0, 17, 10, 1, 255]),
            ["192.0.2.0/24", "0.0.0.0/0", "10.1.128.0/17"]
        );
        assert_eq!(
            texts(Ipv6, PathIds::Present, &[0, 0, 0, 7, 32, 0x20, 1, 0xd, 0xb8]),
            ["2001:db8::/32"]
        );
    }

    #[test]
    fn path_identifiers_are_handed_out() {
        let mut list = Prefixes::new(Ipv4, PathIds::Present, &[0, 0, 1, 7, 8, 10, 0, 0, 0, 2, 0]);
        assert!(list.next().unwrap().is_ok());
        assert_eq!(list.path_id(), 263);
        assert!(list.next().unwrap().is_ok());
        assert_eq!(list.path_id(), 2);
    }

    #[test]
    fn families_are_counted_apart_and_together() {
        let mut counts = PrefixCounts::default();
        for (afi, safi) in [(1, 2), (2, 4), (1, 128), (25, 70), (1, 133), (25, 65), (1, 132)] {
            count_apart(&mut counts, afi, safi, true, 2);
            count_apart(&mut counts, afi, safi, false, 1);
        }
        count_apart(&mut counts, 16_388, 71, true, 5);
        assert_eq!((counts.other_announced, counts.other_withdrawn), (19, 7));
        let apart = [counts.multicast_announced, counts.labelled_announced, counts.vpn_announced];
        assert_eq!(apart, [2; 3]);
        let apart = [counts.evpn_withdrawn, counts.flowspec_withdrawn, counts.vpls_withdrawn];
        assert_eq!((apart, counts.route_target_withdrawn), ([1; 3], 1));
    }

    #[test]
    fn a_fault_ends_the_list() {
        for (name, bytes) in [
            ("too long a length", &[24, 1, 2, 3, 33, 1, 1, 1, 1, 1][..]),
            ("cut short", &[24, 1, 2, 3, 24, 1, 2][..]),
        ] {
            let mut list = Prefixes::new(Ipv4, PathIds::Absent, bytes);
            assert!(list.next().unwrap().is_ok(), "{name}");
            assert_eq!(list.next().unwrap().unwrap_err().offset, 4, "{name}");
            assert!(list.next().is_none(), "{name}");
        }
    }

    #[test]
    fn path_identifiers_are_recognised() {
        let guess = NlriForm::Guess { hint: false };
        let with = [0, 0, 0, 1, 24, 192, 0, 2, 0, 0, 0, 2, 24, 192, 0, 2];
        let without = [24, 192, 0, 2, 0, 16, 10, 1];
        assert_eq!(guess.resolve(Ipv4, &with), PathIds::Present);
        assert_eq!(guess.resolve(Ipv4, &without), PathIds::Absent);
        assert_eq!(NlriForm::Guess { hint: true }.resolve(Ipv4, &without), PathIds::Absent);
        assert_eq!(guess.resolve(Ipv4, &[]), PathIds::Absent);
    }

    #[test]
    fn other_families_are_counted() {
        for (name, afi, safi, bytes, expected) in [
            ("multicast", 1, 2, &[24, 1, 2, 3, 8, 10][..], 2),
            ("VPN", 1, 128, &[[112].as_slice(), &[0; 14]].concat(), 1),
            ("EVPN", 25, 70, &[2, 3, 1, 2, 3, 3, 1, 9], 2),
            ("flow specification", 1, 133, &[2, 1, 1, 0xf0, 3, 1, 2, 3], 2),
            ("BGP-LS", 16_388, 71, &[0, 1, 0, 2, 9, 9, 0, 2, 0, 0], 2),
            ("cut short", 1, 2, &[24, 1, 2, 3, 24, 1], 1),
            ("unknown", 99, 99, &[1, 2, 3], 1),
        ] {
            assert_eq!(count_other(afi, safi, PathIds::Absent, bytes), expected, "{name}");
        }
    }
}
