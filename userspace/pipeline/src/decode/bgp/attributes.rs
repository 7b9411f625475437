//! Path attributes, read where they lie (RFC 4271 §4.3, RFC 4760 §3 and §4, RFC 6793).
//!
//! ```text
//! flags (1) | type (1) | length (1, or 2 with the extended length flag) | value
//! ```
//!
//! **Invariant:** an iterator ends at its first fault.

use super::{BgpError, Fault};
use std::net::{IpAddr, Ipv6Addr};

/// Type codes of the attributes that are looked into or whose form is checked.
pub mod attribute_code {
    /// RFC 4271 §5.1.1.
    pub const ORIGIN: u8 = 1;
    /// RFC 4271 §5.1.2.
    pub const AS_PATH: u8 = 2;
    /// RFC 4271 §5.1.3.
    pub const NEXT_HOP: u8 = 3;
    /// RFC 4271 §5.1.4.
    pub const MULTI_EXIT_DISC: u8 = 4;
    /// RFC 4271 §5.1.5.
    pub const LOCAL_PREF: u8 = 5;
    /// RFC 4271 §5.1.6.
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// RFC 4271 §5.1.7.
    pub const AGGREGATOR: u8 = 7;
    /// RFC 1997.
    pub const COMMUNITIES: u8 = 8;
    /// RFC 4456 §8.
    pub const ORIGINATOR_ID: u8 = 9;
    /// RFC 4456 §8.
    pub const CLUSTER_LIST: u8 = 10;
    /// RFC 4760 §3.
    pub const MP_REACH_NLRI: u8 = 14;
    /// RFC 4760 §4.
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// RFC 4360 §2.
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// RFC 6793 §3.
    pub const AS4_PATH: u8 = 17;
    /// RFC 6793 §3.
    pub const AS4_AGGREGATOR: u8 = 18;
    /// RFC 5701 §2.
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    /// RFC 8092 §3.
    pub const LARGE_COMMUNITIES: u8 = 32;
    /// Stands in the place of AS_PATH (RFC 8205 §3).
    pub const BGPSEC_PATH: u8 = 33;
}

const EXTENDED_LENGTH: u8 = 0x10;
/// Octets of a route distinguisher before a next hop (RFC 4364 §4.3.2).
const DISTINGUISHER_LEN: usize = 8;

/// One path attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Optional, transitive, partial, extended length.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// The value.
    pub value: &'a [u8],
    /// The attribute as sent, flags and length included.
    pub raw: &'a [u8],
}

/// The attributes of an UPDATE, in wire order.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    /// Reads `bytes` as a list of path attributes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[cold]
    fn fail(&mut self, needed: usize) -> Option<Result<Attribute<'a>, BgpError>> {
        let at = std::mem::replace(&mut self.at, self.bytes.len());
        let there = self.bytes.len() - at;
        Some(Err(BgpError::new(at, Fault::Truncated { there, needed })))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, BgpError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        let (flags, code, header, length) = match *rest {
            [] => return None,
            [flags, code, high, low, ..] if flags & EXTENDED_LENGTH != 0 => {
                (flags, code, 4, usize::from(u16::from_be_bytes([high, low])))
            }
            [flags, code, length, ..] if flags & EXTENDED_LENGTH == 0 => {
                (flags, code, 3, usize::from(length))
            }
            _ => return self.fail(4),
        };
        let Some(raw) = rest.get(..header + length) else { return self.fail(header + length) };
        self.at += raw.len();
        Some(Ok(Attribute { flags, code, value: &raw[header..], raw }))
    }
}

impl std::iter::FusedIterator for Attributes<'_> {}

/// MP_REACH_NLRI (RFC 4760 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpReach<'a> {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
    /// Next hop, in whatever form the family has.
    pub next_hop: &'a [u8],
    /// The routes.
    pub nlri: &'a [u8],
}

impl<'a> MpReach<'a> {
    /// Reads the attribute's value.
    ///
    /// # Errors
    /// [`Fault::Truncated`].
    pub fn parse(value: &'a [u8]) -> Result<Self, BgpError> {
        let short = |needed| BgpError::truncated(value.len(), needed).within("MP_REACH_NLRI");
        let &[afi_high, afi_low, safi, length, ref rest @ ..] = value else {
            return Err(short(5));
        };
        let length = usize::from(length);
        // One reserved octet stands between the next hop and the routes.
        let (Some(next_hop), Some(nlri)) = (rest.get(..length), rest.get(length + 1..)) else {
            return Err(short(5 + length));
        };
        Ok(Self { afi: u16::from_be_bytes([afi_high, afi_low]), safi, next_hop, nlri })
    }

    /// The next hop's address: IPv4 or IPv6 by its length (RFC 8950 §3), with or without a route
    /// distinguisher. Of a global and a link-local one (RFC 2545 §3) the global, unless it is
    /// unspecified. `None` when it is no address.
    #[must_use]
    pub fn next_hop_address(&self) -> Option<IpAddr> {
        let field = match self.next_hop.len() {
            12 | 24 | 48 => &self.next_hop[DISTINGUISHER_LEN..],
            _ => self.next_hop,
        };
        match field.len() {
            4 => field.first_chunk::<4>().map(|&octets| octets.into()),
            // With a distinguisher before each of the two the second one begins later.
            16 | 32 | 40 => {
                let global = Ipv6Addr::from(*field.first_chunk::<16>()?);
                let other = field.last_chunk::<16>().map(|&octets| Ipv6Addr::from(octets))?;
                Some(if global.is_unspecified() { other } else { global }.into())
            }
            _ => None,
        }
    }
}

/// MP_UNREACH_NLRI (RFC 4760 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpUnreach<'a> {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
    /// The routes.
    pub nlri: &'a [u8],
}

impl<'a> MpUnreach<'a> {
    /// Reads the attribute's value.
    ///
    /// # Errors
    /// [`Fault::Truncated`].
    pub fn parse(value: &'a [u8]) -> Result<Self, BgpError> {
        match *value {
            [afi_high, afi_low, safi, ref nlri @ ..] => {
                Ok(Self { afi: u16::from_be_bytes([afi_high, afi_low]), safi, nlri })
            }
            _ => Err(BgpError::truncated(value.len(), 3).within("MP_UNREACH_NLRI")),
        }
    }
}

/// Octets per AS number in AS_PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsWidth {
    /// RFC 4271.
    Two,
    /// RFC 6793.
    Four,
}

impl AsWidth {
    const fn octets(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Two => Self::Four,
            Self::Four => Self::Two,
        }
    }
}

/// An AS_PATH whose segments add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsPath<'a> {
    value: &'a [u8],
    width: AsWidth,
}

/// Segment types (RFC 4271 §4.3); 3 and 4 are a confederation's (RFC 5065 §3).
const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;
const AS_CONFED_SET: u8 = 4;

impl<'a> AsPath<'a> {
    /// Reads the value with `likely` octets per AS, or with the other width when only that one
    /// comes out even: a listener that saw no OPEN cannot know the width, and a path of one width
    /// practically never reads as one of the other.
    ///
    /// # Errors
    /// [`Fault::PathSegments`] when neither does.
    pub fn parse(value: &'a [u8], likely: AsWidth) -> Result<Self, BgpError> {
        [likely, likely.other()]
            .into_iter()
            .map(|width| Self { value, width })
            .find(Self::adds_up)
            .ok_or(BgpError::new(0, Fault::PathSegments).within("AS_PATH"))
    }

    /// Every segment is of a known type, holds an AS, and is all there (RFC 7606 §7.2).
    fn adds_up(&self) -> bool {
        let mut segments = self.segments();
        let sound = |(kind, numbers): (u8, &[u8])| {
            (AS_SET..=AS_CONFED_SET).contains(&kind) && !numbers.is_empty()
        };
        segments.by_ref().all(sound) && segments.rest.is_empty()
    }

    /// The width it was read with.
    #[must_use]
    pub const fn width(&self) -> AsWidth {
        self.width
    }

    /// The segments: type, and the AS numbers as sent.
    #[must_use]
    pub const fn segments(&self) -> Segments<'a> {
        Segments { rest: self.value, width: self.width }
    }

    /// Number of ASes as route selection counts them: a set is one (RFC 4271 §9.1.2.2), a
    /// confederation's inner segments are none (RFC 5065 §5.3).
    #[must_use]
    pub fn length(&self) -> u16 {
        let hops = |(kind, numbers): (u8, &[u8])| match kind {
            AS_SEQUENCE => numbers.len() / self.width.octets(),
            AS_SET => 1,
            _ => 0,
        };
        self.segments().map(hops).sum::<usize>().try_into().unwrap_or(u16::MAX)
    }

    /// The last AS; 0 when the path is empty or does not end in an AS_SEQUENCE (RFC 6811 §2).
    #[must_use]
    pub fn origin(&self) -> u32 {
        match self.segments().last() {
            Some((AS_SEQUENCE, numbers)) => {
                let at = numbers.len().saturating_sub(self.width.octets());
                numbers[at..].iter().fold(0, |number, &octet| number << 8 | u32::from(octet))
            }
            _ => 0,
        }
    }

    /// The origin of the path that a two-octet AS_PATH and AS4_PATH make together: that of
    /// AS4_PATH, which is its end, unless it is longer than the AS_PATH or does not read
    /// (RFC 6793 §4.2.3 and §6). The length is that of the AS_PATH either way.
    #[must_use]
    pub fn origin_with(&self, as4_path: Option<&'a [u8]>) -> u32 {
        let end = as4_path.map(|value| Self { value, width: AsWidth::Four });
        match end.filter(|end| self.width == AsWidth::Two && end.adds_up()) {
            Some(end) if (1..=self.length()).contains(&end.length()) => end.origin(),
            _ => self.origin(),
        }
    }
}

/// The segments of an AS_PATH. Ends before a segment that is not all there.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a [u8],
    width: AsWidth,
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let &[kind, count, ref rest @ ..] = self.rest else { return None };
        let (numbers, rest) = rest.split_at_checked(usize::from(count) * self.width.octets())?;
        self.rest = rest;
        Some((kind, numbers))
    }
}

/// Length and origin of a BGPsec_PATH: the sum of the pCounts, and the AS of its last segment.
/// Signatures are not looked at. `None` when the Secure_Path is not all there (RFC 8205 §3.1).
///
/// ```text
/// octets, these included (2) | pCount (1), flags (1), AS (4), newest first | signatures
/// ```
pub(super) fn secure_path(value: &[u8]) -> Option<(u16, u32)> {
    let length = usize::from(u16::from_be_bytes(*value.first_chunk()?));
    let segments = value.get(2..length)?.chunks_exact(6);
    if !segments.remainder().is_empty() {
        return None;
    }
    let hops = segments.clone().map(|segment| u16::from(segment[0])).fold(0, u16::saturating_add);
    let origin = segments.last()?.last_chunk()?;
    Some((hops, u32::from_be_bytes(*origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_in_wire_order() {
        let bytes = [0x40, 1, 1, 0, 0x50, 2, 0, 4, 2, 1, 0xfd, 0xe8];
        let read: Vec<_> = Attributes::new(&bytes).map(|a| a.unwrap()).collect();
        assert_eq!(
            read.iter().map(|a| (a.code, a.value.len())).collect::<Vec<_>>(),
            [(1, 1), (2, 4)]
        );
        let mut cut = Attributes::new(&bytes[..11]);
        assert!(cut.next().unwrap().is_ok());
        let error = cut.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "at byte 4: 7 octets where 8 are needed");
        assert!(cut.next().is_none());
    }

    #[test]
    fn path_width_is_found() {
        let two = [2, 3, 0, 1, 0, 2, 0, 3];
        let four = [2, 2, 0, 0, 0, 1, 0, 3, 0, 4];
        for likely in [AsWidth::Two, AsWidth::Four] {
            let path = AsPath::parse(&two, likely).unwrap();
            assert_eq!((path.width(), path.length(), path.origin()), (AsWidth::Two, 3, 3));
            let path = AsPath::parse(&four, likely).unwrap();
            assert_eq!(
                (path.width(), path.length(), path.origin()),
                (AsWidth::Four, 2, 0x0003_0004)
            );
            assert!(AsPath::parse(&[2, 3, 0, 1, 0], likely).is_err());
        }
    }

    #[test]
    fn sets_count_one_and_hide_the_origin() {
        let path = AsPath::parse(&[2, 1, 0, 1, 1, 3, 0, 7, 0, 8, 0, 9], AsWidth::Two).unwrap();
        assert_eq!((path.length(), path.origin()), (2, 0));
        let empty = AsPath::parse(&[], AsWidth::Four).unwrap();
        assert_eq!((empty.length(), empty.origin()), (0, 0));
    }

    #[test]
    fn a_confederation_is_no_origin_and_has_no_length() {
        let path = AsPath::parse(&[3, 1, 0, 7, 2, 1, 0, 8], AsWidth::Two).unwrap();
        assert_eq!((path.length(), path.origin()), (1, 8));
        let inner = AsPath::parse(&[3, 1, 0, 7, 4, 1, 0, 8], AsWidth::Two).unwrap();
        assert_eq!((inner.length(), inner.origin()), (0, 0));
        assert!(AsPath::parse(&[2, 0], AsWidth::Two).is_err(), "a segment holds an AS");
    }

    #[test]
    fn as4_path_completes_the_origin() {
        let old = [2, 2, 0, 1, 0x5b, 0xa0];
        let path = AsPath::parse(&old, AsWidth::Two).unwrap();
        for (name, as4_path, expected) in [
            ("the end", &[2, 1, 0, 3, 0, 4][..], 0x0003_0004),
            ("cut short", &[2, 9], 23_456),
            ("longer than the path", &[2, 3, 0, 3, 0, 4, 0, 3, 0, 4, 0, 3, 0, 4], 23_456),
            ("empty", &[], 23_456),
            ("a confederation's", &[3, 1, 0, 3, 0, 4], 23_456),
        ] {
            assert_eq!(path.origin_with(Some(as4_path)), expected, "{name}");
        }
        let new = AsPath::parse(&[2, 1, 0, 0, 0, 9], AsWidth::Four).unwrap();
        assert_eq!(new.origin_with(Some(&[2, 1, 0, 3, 0, 4])), 9, "of a new speaker");
    }

    #[test]
    fn secure_paths_have_length_and_origin() {
        let value = [0, 14, 2, 0, 0, 0, 0xfd, 0xe8, 1, 0, 0, 1, 0, 0, 0, 9, 9];
        assert_eq!(secure_path(&value), Some((3, 65_536)));
        for cut in [0, 1, 2, 8, 13] {
            assert_eq!(secure_path(&value[..cut]), None, "{cut}");
        }
        assert_eq!(secure_path(&[0, 1, 1]), None, "shorter than itself");
    }

    #[test]
    fn next_hops_are_addresses() {
        let v4 = [192, 0, 2, 1];
        let global = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        let local = "fe80::1".parse::<Ipv6Addr>().unwrap().octets();
        for (name, next_hop, expected) in [
            ("IPv4", v4.to_vec(), Some("192.0.2.1")),
            ("IPv6", global.to_vec(), Some("2001:db8::1")),
            ("both", [global, local].concat(), Some("2001:db8::1")),
            ("link-local alone", [[0; 16], local].concat(), Some("fe80::1")),
            ("VPN over IPv4", [&[0; 8][..], &v4].concat(), Some("192.0.2.1")),
            ("VPN over IPv6", [&[0; 8][..], &global].concat(), Some("2001:db8::1")),
            ("VPN, both", [&[0; 8][..], &global, &[0; 8], &local].concat(), Some("2001:db8::1")),
            ("none", vec![], None),
            ("another", vec![1; 7], None),
        ] {
            let reach = MpReach { afi: 2, safi: 1, next_hop: &next_hop, nlri: &[] };
            let expected = expected.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(reach.next_hop_address(), expected, "{name}");
        }
    }

    #[test]
    fn multiprotocol_attributes_are_split() {
        let reach = MpReach::parse(&[0, 1, 1, 4, 192, 0, 2, 1, 0, 8, 10]).unwrap();
        assert_eq!(
            (reach.afi, reach.safi, reach.next_hop.len(), reach.nlri),
            (1, 1, 4, &[8, 10][..])
        );
        assert!(MpReach::parse(&[0, 1, 1, 4, 192, 0, 2, 1]).is_err());
        assert_eq!(MpUnreach::parse(&[0, 2, 1]).unwrap().nlri, [0u8; 0]);
    }
}
