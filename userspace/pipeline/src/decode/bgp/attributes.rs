//! Path attributes, read where they lie (RFC 4271 §4.3, RFC 4760 §3 and §4, RFC 6793).
//!
//! ```text
//! flags (1) | type (1) | length (1, or 2 with the extended length flag) | value
//! ```
//!
//! **Invariant:** an iterator ends at its first fault.

use super::{BgpError, Fault};
use edgelore_model::PathSummary;

/// Type codes of the attributes that are looked into.
pub mod attribute_code {
    /// RFC 4271 §5.1.2.
    pub const AS_PATH: u8 = 2;
    /// RFC 4760 §3.
    pub const MP_REACH_NLRI: u8 = 14;
    /// RFC 4760 §4.
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// RFC 6793 §3.
    pub const AS4_PATH: u8 = 17;
}

const EXTENDED_LENGTH: u8 = 0x10;
/// Stands for an AS number that does not fit two octets (RFC 6793 §9).
const AS_TRANS: u32 = 23_456;

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

const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;
const AS_CONFED_SEQUENCE: u8 = 3;
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

    fn adds_up(&self) -> bool {
        let mut segments = self.segments();
        let known = segments.by_ref().all(|(kind, _)| (AS_SET..=AS_CONFED_SET).contains(&kind));
        known && segments.rest.is_empty()
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

    /// The last AS; 0 when the path is empty or ends in a set.
    #[must_use]
    pub fn origin(&self) -> u32 {
        match self.segments().last() {
            Some((AS_SEQUENCE | AS_CONFED_SEQUENCE, numbers)) => {
                let at = numbers.len().saturating_sub(self.width.octets());
                numbers[at..].iter().fold(0, |number, &octet| number << 8 | u32::from(octet))
            }
            _ => 0,
        }
    }

    /// Length and origin; a two-octet path's origin is completed from AS4_PATH (RFC 6793 §4.2.3).
    pub(super) fn summarise(&self, as4_path: Option<&'a [u8]>, summary: &mut PathSummary) {
        summary.length = self.length();
        summary.origin_as = self.origin();
        if self.width == AsWidth::Two
            && summary.origin_as == AS_TRANS
            && let Some(value) = as4_path
            && let whole = (Self { value, width: AsWidth::Four })
            && whole.adds_up()
            && whole.origin() != 0
        {
            summary.origin_as = whole.origin();
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
    fn as4_path_completes_the_origin() {
        let path = AsPath::parse(&[2, 1, 0x5b, 0xa0], AsWidth::Two).unwrap();
        let mut summary = PathSummary::default();
        path.summarise(Some(&[2, 1, 0, 3, 0, 4]), &mut summary);
        assert_eq!(summary.origin_as, 0x0003_0004);
        path.summarise(Some(&[2, 9]), &mut summary);
        assert_eq!(summary.origin_as, AS_TRANS);
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
