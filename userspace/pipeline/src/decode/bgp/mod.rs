//! BGP-4 messages, read where they lie (RFC 4271 §4).
//!
//! ```text
//! 0                16       18     19                length
//! +----------------+--------+------+------------------+
//! | marker, 16×ff  | length | type | body             |
//! +----------------+--------+------+------------------+
//! ```
//!
//! Owns the framing and the message types. Never copies a byte, never keeps state between
//! messages, never judges whether a route is acceptable.
//!
//! **Invariant:** no input makes it panic, and every slice it hands out lies within its input.

mod attributes;
mod check;
mod encoding;
mod error;
mod hash;
mod nlri;
mod notification;
mod open;
pub mod update;

pub use attributes::{AsPath, AsWidth, Attribute, Attributes, MpReach, MpUnreach, attribute_code};
pub use error::{BgpError, Fault};
pub use nlri::{NlriForm, PathIds, Prefixes, count_other};
pub use notification::Notification;
pub(super) use open::family_of;
pub use open::{Capabilities, GracefulRestart, Negotiated, Open};

pub(crate) use hash::mix;

/// Octets of marker, length and type (RFC 4271 §4.1).
pub const HEADER_LEN: usize = 19;
/// Octets of the marker.
pub const MARKER_LEN: usize = 16;
/// The longest message without the extended message capability (RFC 4271 §4.1).
pub const MESSAGE_LEN_MAX: usize = 4096;
/// The longest message with it (RFC 8654).
pub const EXTENDED_LEN_MAX: usize = 65_535;

/// Message types.
pub mod message_type {
    /// RFC 4271 §4.2.
    pub const OPEN: u8 = 1;
    /// RFC 4271 §4.3.
    pub const UPDATE: u8 = 2;
    /// RFC 4271 §4.5.
    pub const NOTIFICATION: u8 = 3;
    /// RFC 4271 §4.4.
    pub const KEEPALIVE: u8 = 4;
    /// RFC 2918 §3.
    pub const ROUTE_REFRESH: u8 = 5;
}

/// One message: its type and what follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The type octet, see [`message_type`].
    pub kind: u8,
    /// The message without its header.
    pub body: &'a [u8],
}

/// Length of the message that starts at `bytes[0]`; `None` when fewer octets than that are there.
///
/// Lengths up to [`EXTENDED_LEN_MAX`] are taken for UPDATE, NOTIFICATION and ROUTE-REFRESH
/// whether or not the OPENs were seen to negotiate RFC 8654: a listener that joined late cannot
/// know, and a wrong length shows at the next marker.
///
/// # Errors
/// [`Fault::Marker`] and [`Fault::MessageLength`]: this is not the start of a message.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, BgpError> {
    let there = bytes.len().min(MARKER_LEN);
    if let Some(at) = bytes[..there].iter().position(|&octet| octet != 0xff) {
        return Err(BgpError::new(at, Fault::Marker));
    }
    let Some(&[high, low, kind]) = bytes.get(MARKER_LEN..HEADER_LEN) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let longest = match kind {
        message_type::OPEN | message_type::KEEPALIVE => MESSAGE_LEN_MAX,
        _ => EXTENDED_LEN_MAX,
    };
    if length < HEADER_LEN || length > longest {
        return Err(BgpError::new(MARKER_LEN, Fault::MessageLength(length as u16)));
    }
    Ok((bytes.len() >= length).then_some(length))
}

/// Whether a message may well start at `bytes[0]`: used to find one in the middle of a stream,
/// so it is stricter than [`frame`]. `None` when too few octets are there to tell.
#[must_use]
pub fn plausible_start(bytes: &[u8]) -> Option<bool> {
    let there = bytes.len().min(MARKER_LEN);
    if bytes[..there].iter().any(|&octet| octet != 0xff) {
        return Some(false);
    }
    let &[high, low, kind] = bytes.get(MARKER_LEN..HEADER_LEN)? else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (shortest, longest) = match kind {
        message_type::OPEN => (29, MESSAGE_LEN_MAX),
        message_type::UPDATE | message_type::ROUTE_REFRESH => (23, EXTENDED_LEN_MAX),
        message_type::NOTIFICATION => (21, EXTENDED_LEN_MAX),
        message_type::KEEPALIVE => (HEADER_LEN, HEADER_LEN),
        _ => return Some(false),
    };
    let follower = bytes.get(length..).unwrap_or_default();
    let follower = &follower[..follower.len().min(MARKER_LEN)];
    Some((shortest..=longest).contains(&length) && follower.iter().all(|&octet| octet == 0xff))
}

/// Reads one whole message, `bytes` being exactly what [`frame`] measured.
///
/// # Errors
/// Those of [`frame`], and [`Fault::Truncated`] when the message is not all there.
pub fn message(bytes: &[u8]) -> Result<Message<'_>, BgpError> {
    let length = frame(bytes)?.ok_or(BgpError::truncated(bytes.len(), HEADER_LEN))?;
    Ok(Message { kind: bytes[HEADER_LEN - 1], body: &bytes[HEADER_LEN..length] })
}

/// The messages of contiguous bytes, one after the other. Ends at the first fault (handed out
/// once) and before a message that is not all there (see [`Messages::rest`]).
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// The messages that start at `bytes[0]`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read: the start of an incomplete message, or nothing.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, BgpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match frame(self.rest) {
            Ok(None) => None,
            Ok(Some(length)) => {
                let (whole, rest) = self.rest.split_at(length);
                self.rest = rest;
                Some(Ok(Message { kind: whole[HEADER_LEN - 1], body: &whole[HEADER_LEN..] }))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keepalive() -> Vec<u8> {
        [&[0xff; 16][..], &[0, 19, 4]].concat()
    }

    #[test]
    fn frames_are_measured() {
        let whole = keepalive();
        assert_eq!(frame(&whole), Ok(Some(19)));
        for cut in 0..19 {
            assert_eq!(frame(&whole[..cut]), Ok(None), "cut at {cut}");
        }
        for (name, at, value) in [("marker", 7, 0), ("too short", 17, 18), ("too long", 16, 0xff)] {
            let mut bad = whole.clone();
            bad[at] = value;
            assert!(frame(&bad).is_err(), "{name}");
        }
    }

    #[test]
    fn a_start_within_a_run_of_ones_is_found() {
        let bytes = [&[0xff; 5][..], &keepalive(), &keepalive()].concat();
        let starts: Vec<usize> =
            (0..bytes.len()).filter(|&at| plausible_start(&bytes[at..]) == Some(true)).collect();
        assert_eq!(starts, [5, 24]);
    }

    #[test]
    fn messages_end_at_the_incomplete_one() {
        let bytes = [keepalive(), keepalive(), keepalive()[..10].to_vec()].concat();
        let mut messages = Messages::new(&bytes);
        assert_eq!(messages.by_ref().filter(Result::is_ok).count(), 2);
        assert_eq!(messages.rest().len(), 10);
    }
}
