//! LDP PDUs and messages, read where they lie (RFC 5036 §3, IPv6 by RFC 7552).
//!
//! ```text
//! PDU      version 1, 2 | length of what follows, 2 | LDP identifier, 6 | messages
//! message  U, 1 bit, type, 15 bits | length of what follows, 2 | message ID, 4 | TLVs
//! TLV      U and F, 2 bits, type, 14 bits | length, 2 | value
//! ```
//!
//! Owns the framing and the TLVs that Edgelore reads. Never keeps state between PDUs (see
//! [`talk`]), never judges whether a binding is acceptable.
//!
//! **Invariant:** no input makes it panic, every slice it hands out lies within its input, and
//! nothing it reads costs more than one pass over its bytes.

mod bindings;
pub(super) mod hello;
pub(super) mod talk;

pub use bindings::Fec;
pub use hello::{Hello, LdpIdentifier};

/// Octets of version and length, which the length does not count (RFC 5036 §3.1).
pub const PREAMBLE_LEN: usize = 4;
/// Octets of version, length and LDP identifier.
pub const PDU_HEADER_LEN: usize = 10;
/// Octets of type, length and message ID.
pub const MESSAGE_HEADER_LEN: usize = 8;
/// Octets of a PDU whose one message is a KeepAlive without optional parameters (RFC 5036 §3.5.4).
pub const KEEPALIVE_PDU_LEN: usize = PDU_HEADER_LEN + MESSAGE_HEADER_LEN;
/// The longest PDU that the length field can announce. Speakers agree on less (4096 unless the
/// Initialization messages say otherwise), but a listener that joined late cannot know on what.
pub const PDU_LEN_MAX: usize = PREAMBLE_LEN + u16::MAX as usize;

/// Message types (RFC 5036 §3.5 and §4.2).
pub mod message_type {
    /// §3.5.1.
    pub const NOTIFICATION: u16 = 0x0001;
    /// §3.5.2.
    pub const HELLO: u16 = 0x0100;
    /// §3.5.3.
    pub const INITIALIZATION: u16 = 0x0200;
    /// §3.5.4.
    pub const KEEPALIVE: u16 = 0x0201;
    /// RFC 5561 §3.
    pub const CAPABILITY: u16 = 0x0202;
    /// §3.5.5.
    pub const ADDRESS: u16 = 0x0300;
    /// §3.5.6.
    pub const ADDRESS_WITHDRAW: u16 = 0x0301;
    /// §3.5.7.
    pub const LABEL_MAPPING: u16 = 0x0400;
    /// §3.5.8.
    pub const LABEL_REQUEST: u16 = 0x0401;
    /// §3.5.10.
    pub const LABEL_WITHDRAW: u16 = 0x0402;
    /// §3.5.11.
    pub const LABEL_RELEASE: u16 = 0x0403;
    /// §3.5.9.
    pub const LABEL_ABORT_REQUEST: u16 = 0x0404;
    /// First of the types for vendors and experiments (§4.2.1 and §4.2.2).
    pub const PRIVATE: u16 = 0x3e00;
    /// Last of them.
    pub const PRIVATE_LAST: u16 = 0x3fff;
}

/// TLV types (RFC 5036 §3.4, RFC 7552 §6).
pub(crate) mod tlv_type {
    pub(crate) const FEC: u16 = 0x0100;
    pub(crate) const STATUS: u16 = 0x0300;
    pub(crate) const COMMON_HELLO_PARAMETERS: u16 = 0x0400;
    pub(crate) const IPV4_TRANSPORT_ADDRESS: u16 = 0x0401;
    pub(crate) const IPV6_TRANSPORT_ADDRESS: u16 = 0x0403;
    pub(crate) const COMMON_SESSION_PARAMETERS: u16 = 0x0500;
}

/// Why something is no LDP PDU, message or TLV; offsets in octets from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LdpError {
    /// A version other than 1.
    #[error("in LDP PDU: at byte 0: version {0} is not 1")]
    Version(u16),
    /// A length that does not even hold the LDP identifier.
    #[error("in LDP PDU: at byte 2: length {0} is too small")]
    PduLength(u16),
    /// Fewer octets than announced.
    #[error("in LDP {what}: at byte {there}: {needed} octets are needed")]
    Truncated {
        /// What is cut short.
        what: &'static str,
        /// Octets there.
        there: usize,
        /// Octets needed.
        needed: usize,
    },
    /// A message without a TLV that it must have.
    #[error("in LDP {0}: a mandatory TLV is missing")]
    Missing(&'static str),
    /// A prefix longer than its address family allows, or of an unknown family.
    #[error("in LDP FEC: element is not a prefix of a known family")]
    Fec,
}

/// Length of the PDU that starts at `bytes[0]`; `None` when fewer octets than that are there.
///
/// # Errors
/// [`LdpError::Version`] and [`LdpError::PduLength`]: this is not the start of a PDU.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, LdpError> {
    match *bytes {
        [high, ..] if high != 0 => return Err(LdpError::Version(u16::from(high) << 8)),
        [_, low, ..] if low != 1 => return Err(LdpError::Version(u16::from(low))),
        _ => {}
    }
    let &[_, _, high, low, ..] = bytes else { return Ok(None) };
    let length = u16::from_be_bytes([high, low]);
    if usize::from(length) < PDU_HEADER_LEN - PREAMBLE_LEN {
        return Err(LdpError::PduLength(length));
    }
    let length = PREAMBLE_LEN + usize::from(length);
    Ok((bytes.len() >= length).then_some(length))
}

/// Whether a PDU may well start at `bytes[0]`: used to find one in the middle of a stream, so it
/// is stricter than [`frame`]: the first message must be of a known type and fit the PDU, and
/// what follows the PDU must begin as one. `None` when too few octets are there to tell.
#[must_use]
pub fn plausible_start(bytes: &[u8]) -> Option<bool> {
    if frame(bytes).is_err() {
        return Some(false);
    }
    let &[_, _, high, low, _, _, _, _, _, _, kind_high, kind_low, len_high, len_low, ..] = bytes
    else {
        return None;
    };
    let length = PREAMBLE_LEN + usize::from(u16::from_be_bytes([high, low]));
    let kind = u16::from_be_bytes([kind_high, kind_low]) & 0x7fff;
    let first = usize::from(u16::from_be_bytes([len_high, len_low]));
    let fits = first >= 4 && PDU_HEADER_LEN + 4 + first <= length;
    let follower = bytes.get(length..).unwrap_or_default();
    Some(fits && is_known(kind) && follower.iter().zip([0, 1]).all(|(&is, should)| is == should))
}

const fn is_known(kind: u16) -> bool {
    matches!(
        kind,
        message_type::NOTIFICATION
            | message_type::HELLO
            | message_type::INITIALIZATION..=message_type::CAPABILITY
            | message_type::ADDRESS..=message_type::ADDRESS_WITHDRAW
            | message_type::LABEL_MAPPING..=message_type::LABEL_ABORT_REQUEST
    )
}

/// A PDU's sender and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pdu<'a> {
    /// Who sent it.
    pub identifier: LdpIdentifier,
    messages: &'a [u8],
}

impl<'a> Pdu<'a> {
    /// Reads the PDU that `bytes` begin with; what follows it is not looked at.
    ///
    /// # Errors
    /// Those of [`frame`], and [`LdpError::Truncated`] when the PDU is not all there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LdpError> {
        let cut = LdpError::Truncated { what: "PDU", there: bytes.len(), needed: PDU_HEADER_LEN };
        let length = frame(bytes)?.ok_or(cut)?;
        let &[_, _, _, _, a, b, c, d, high, low, ..] = bytes else { return Err(cut) };
        let label_space = u16::from_be_bytes([high, low]);
        let identifier = LdpIdentifier { router: [a, b, c, d], label_space };
        Ok(Self { identifier, messages: &bytes[PDU_HEADER_LEN..length] })
    }

    /// The messages in wire order. Ends at the first that is cut short, which it hands out as an
    /// error.
    #[must_use]
    pub const fn messages(&self) -> Messages<'a> {
        Messages { rest: self.messages }
    }
}

/// One message: its type and its TLVs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The type without the U bit, see [`message_type`].
    pub kind: u16,
    /// The U bit: who does not know the type ignores the message.
    pub ignorable: bool,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The TLVs in wire order. Ends at the first that is cut short, which it hands out as an
    /// error.
    #[must_use]
    pub const fn tlvs(&self) -> Tlvs<'a> {
        Tlvs { rest: self.body }
    }

    /// The value of the first TLV of a type.
    ///
    /// # Errors
    /// [`LdpError::Truncated`] when a TLV before it is, [`LdpError::Missing`] when there is none.
    pub fn tlv(&self, kind: u16, of: &'static str) -> Result<&'a [u8], LdpError> {
        for tlv in self.tlvs() {
            let (found, value) = tlv?;
            if found == kind {
                return Ok(value);
            }
        }
        Err(LdpError::Missing(of))
    }
}

/// See [`Pdu::messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, LdpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let cut = |needed| LdpError::Truncated { what: "message", there: rest.len(), needed };
        let &[high, low, len_high, len_low, ref after @ ..] = rest else {
            return Some(Err(cut(MESSAGE_HEADER_LEN)));
        };
        let length = usize::from(u16::from_be_bytes([len_high, len_low]));
        let Some((content, next)) = after.split_at_checked(length) else {
            return Some(Err(cut(4 + length)));
        };
        // The message ID comes first; nothing here needs it.
        let Some(body) = content.get(4..) else { return Some(Err(cut(MESSAGE_HEADER_LEN))) };
        self.rest = next;
        let kind = u16::from_be_bytes([high, low]);
        Some(Ok(Message { kind: kind & 0x7fff, ignorable: kind & 0x8000 != 0, body }))
    }
}

/// See [`Message::tlvs`].
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tlvs<'a> {
    /// The type without its two leading bits, and the value.
    type Item = Result<(u16, &'a [u8]), LdpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let cut = |needed| LdpError::Truncated { what: "TLV", there: rest.len(), needed };
        let &[high, low, len_high, len_low, ref after @ ..] = rest else {
            return Some(Err(cut(4)));
        };
        let length = usize::from(u16::from_be_bytes([len_high, len_low]));
        let Some((value, next)) = after.split_at_checked(length) else {
            return Some(Err(cut(4 + length)));
        };
        self.rest = next;
        Some(Ok((u16::from_be_bytes([high, low]) & 0x3fff, value)))
    }
}

/// A Notification's status (RFC 5036 §3.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The E bit: the session ends.
    pub fatal: bool,
    /// The status data, without the E and F bits.
    pub code: u32,
}

impl Status {
    /// Reads a Notification.
    ///
    /// # Errors
    /// [`LdpError::Missing`], [`LdpError::Truncated`].
    pub fn parse(message: &Message<'_>) -> Result<Self, LdpError> {
        let value = message.tlv(tlv_type::STATUS, "Notification")?;
        let &[a, b, c, d, ..] = value else {
            let there = value.len();
            return Err(LdpError::Truncated { what: "status TLV", there, needed: 10 });
        };
        let word = u32::from_be_bytes([a, b, c, d]);
        Ok(Self { fatal: word & 0x8000_0000 != 0, code: word & 0x3fff_ffff })
    }
}

/// The keepalive time in seconds that an Initialization proposes (RFC 5036 §3.5.3).
///
/// # Errors
/// [`LdpError::Missing`], [`LdpError::Truncated`].
pub fn keepalive_time_s(message: &Message<'_>) -> Result<u16, LdpError> {
    match *message.tlv(tlv_type::COMMON_SESSION_PARAMETERS, "Initialization")? {
        // The protocol version comes first.
        [_, _, high, low, ..] => Ok(u16::from_be_bytes([high, low])),
        ref value => {
            let there = value.len();
            Err(LdpError::Truncated { what: "common session parameters", there, needed: 14 })
        }
    }
}

#[cfg(test)]
mod tests;
