//! BMP messages, read where they lie (RFC 7854 §4, Adj-RIB-Out by RFC 8671, Loc-RIB by RFC 9069).
//!
//! ```text
//! common header    version 3, 1 | length of all, 4 | type, 1
//! per-peer header  peer type, 1 | flags, 1 | distinguisher, 8 | address, 16 | AS, 4
//!                  | BGP identifier, 4 | seconds, 4 | microseconds, 4
//! ```
//!
//! Owns the framing, the headers and the bodies. Never keeps state between messages (see
//! [`routers`]), never reads the BGP messages inside (see [`super::bgp`]).
//!
//! **Invariant:** no input makes it panic, every slice it hands out lies within its input, and
//! nothing it reads costs more than one pass over its bytes.

mod body;
pub(super) mod routers;
mod talk;

pub use body::{PeerDown, PeerUp, information, statistics, tlv_text};

use edgelore_model::Rib;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The version of RFC 7854.
pub const VERSION: u8 = 3;
/// Octets of the common header.
pub const HEADER_LEN: usize = 6;
/// Octets of the per-peer header.
pub const PEER_HEADER_LEN: usize = 42;
/// The longest message that is believed, in octets. A BGP message has at most 65,535 octets
/// (RFC 8654), and no BMP message has reason to carry more than a few of those; a length past
/// this is the sign of a stream that is not where it should be, and waiting for as many bytes
/// would cost memory and time.
pub const MESSAGE_LEN_MAX: usize = 1 << 20;

/// Message types (RFC 7854 §4.1).
pub mod message_type {
    /// §4.6.
    pub const ROUTE_MONITORING: u8 = 0;
    /// §4.8.
    pub const STATISTICS_REPORT: u8 = 1;
    /// §4.9.
    pub const PEER_DOWN: u8 = 2;
    /// §4.10.
    pub const PEER_UP: u8 = 3;
    /// §4.3.
    pub const INITIATION: u8 = 4;
    /// §4.5.
    pub const TERMINATION: u8 = 5;
    /// §4.7.
    pub const ROUTE_MIRRORING: u8 = 6;
}

/// Why something is no BMP message; offsets in octets from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BmpError {
    /// A version other than 3.
    #[error("in BMP message: at byte 0: version {0} is not 3")]
    Version(u8),
    /// A length shorter than the header or past [`MESSAGE_LEN_MAX`].
    #[error("in BMP message: at byte 1: length {0} is out of bounds")]
    Length(u32),
    /// Fewer octets than needed.
    #[error("in BMP {what}: at byte {there}: {needed} octets are needed")]
    Truncated {
        /// What is cut short.
        what: &'static str,
        /// Octets there.
        there: usize,
        /// Octets needed.
        needed: usize,
    },
    /// A peer type nobody defined.
    #[error("in BMP per-peer header: at byte 0: peer type {0} is unknown")]
    PeerType(u8),
    /// A reason nobody defined.
    #[error("in BMP Peer Down: at byte 0: reason {0} is unknown")]
    PeerDownReason(u8),
    /// What should be a BGP message is none.
    #[error("in BMP {0}: no BGP message where one should be")]
    Bgp(&'static str),
}

/// Length of the message that starts at `bytes[0]`; `None` when fewer octets than that are there.
///
/// # Errors
/// [`BmpError::Version`] and [`BmpError::Length`]: this is not the start of a message.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, BmpError> {
    match *bytes {
        [version, ..] if version != VERSION => return Err(BmpError::Version(version)),
        _ => {}
    }
    let &[_, a, b, c, d, ..] = bytes else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    match length as usize {
        whole @ HEADER_LEN..=MESSAGE_LEN_MAX => Ok((bytes.len() >= whole).then_some(whole)),
        _ => Err(BmpError::Length(length)),
    }
}

/// Whether a message may well start at `bytes[0]`: used to find one in the middle of a stream, so
/// it is stricter than [`frame`]: the type must be a defined one and fit the length, the per-peer
/// header must be plausible, and what follows the message must begin as one. `None` when too few
/// octets are there to tell.
#[must_use]
pub fn plausible_start(bytes: &[u8]) -> Option<bool> {
    if frame(bytes).is_err() {
        return Some(false);
    }
    let &[_, a, b, c, d, kind, ref body @ ..] = bytes else { return None };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let fits = match kind {
        message_type::INITIATION | message_type::TERMINATION => plausible_tlvs(length, body)?,
        message_type::ROUTE_MONITORING..=message_type::ROUTE_MIRRORING => {
            length >= HEADER_LEN + PEER_HEADER_LEN && plausible_peer(body)?
        }
        _ => false,
    };
    let follower = bytes.get(length..).unwrap_or_default();
    Some(fits && follower.iter().zip([VERSION, 0]).all(|(&is, should)| is == should))
}

/// The first information TLV fits a message of `length` octets, if there is one.
fn plausible_tlvs(length: usize, body: &[u8]) -> Option<bool> {
    match *body {
        _ if length == HEADER_LEN => Some(true),
        [0, _, high, low, ..] => {
            Some(HEADER_LEN + 4 + usize::from(u16::from_be_bytes([high, low])) <= length)
        }
        [kind, ..] if kind != 0 => Some(false),
        _ => None,
    }
}

/// A per-peer header of a known type, without reserved flags, and with a time that is one.
fn plausible_peer(body: &[u8]) -> Option<bool> {
    const MICROSECONDS: u32 = 1_000_000;
    match *body {
        [kind, ..] if kind > PEER_TYPE_MAX => return Some(false),
        [_, flags, ..] if flags & 0x0f != 0 => return Some(false),
        _ => {}
    }
    let micros = body.get(PEER_HEADER_LEN - 4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*micros) < MICROSECONDS)
}

/// One message: its type and what follows the common header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// See [`message_type`].
    pub kind: u8,
    /// The message without its common header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the message that `bytes` begin with; what follows it is not looked at.
    ///
    /// # Errors
    /// Those of [`frame`], and [`BmpError::Truncated`] when the message is not all there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BmpError> {
        let cut = BmpError::Truncated { what: "message", there: bytes.len(), needed: HEADER_LEN };
        let length = frame(bytes)?.ok_or(cut)?;
        Ok(Self { kind: bytes[HEADER_LEN - 1], body: &bytes[HEADER_LEN..length] })
    }
}

/// Peer types (RFC 7854 §4.2, RFC 9069 §4.1): 0 global, 1 of a routing instance with a route
/// distinguisher, 2 of a local one, 3 the router's own Loc-RIB.
const PEER_TYPE_MAX: u8 = 3;
const LOC_RIB: u8 = 3;

const FLAG_V: u8 = 0x80;
const FLAG_L: u8 = 0x40;
const FLAG_A: u8 = 0x20;
const FLAG_O: u8 = 0x10;

/// Which peer a message is about. The peer type, the distinguisher and the address together
/// identify it (RFC 7854 §4.2); the flags tell the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// 0 to 3.
    pub peer_type: u8,
    /// The routing instance; 0 in the default one.
    pub distinguisher: u64,
    /// The peer; unspecified for a Loc-RIB.
    pub address: IpAddr,
}

impl PeerKey {
    /// The router's own table rather than what it heard from, or told, a peer.
    #[must_use]
    pub const fn is_loc_rib(&self) -> bool {
        self.peer_type == LOC_RIB
    }
}

/// The per-peer header (RFC 7854 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// The peer.
    pub key: PeerKey,
    /// Which table.
    pub rib: Rib,
    /// The A flag: AS_PATH has two octets per AS. Not every router that should set it does, so it
    /// is a hint: a path that reads only in the other width is read in that.
    pub legacy_as_path: bool,
}

impl PeerHeader {
    /// Reads the header that a body begins with, and what follows it.
    ///
    /// The address family is told by the octets as much as by the V flag, which some routers set
    /// wrongly: an address whose first twelve octets are zero is IPv4 unless it is too small for
    /// one, and one whose first twelve are not is IPv6.
    ///
    /// # Errors
    /// [`BmpError::Truncated`], [`BmpError::PeerType`].
    pub fn parse(body: &[u8]) -> Result<(Self, &[u8]), BmpError> {
        let cut = BmpError::Truncated {
            what: "per-peer header",
            there: body.len(),
            needed: PEER_HEADER_LEN,
        };
        let (header, rest) = body.split_at_checked(PEER_HEADER_LEN).ok_or(cut)?;
        let &[peer_type, flags, ref after @ ..] = header else { return Err(cut) };
        if peer_type > PEER_TYPE_MAX {
            return Err(BmpError::PeerType(peer_type));
        }
        let (Some(distinguisher), Some(address)) = (after.first_chunk(), after[8..].first_chunk())
        else {
            return Err(cut);
        };
        let distinguisher = u64::from_be_bytes(*distinguisher);
        let key = PeerKey { peer_type, distinguisher, address: address_of(flags, *address) };
        // A Loc-RIB's flags are others: F, 0x80, says that it is filtered (RFC 9069 §4.2).
        let loc_rib = key.is_loc_rib();
        let legacy_as_path = !loc_rib && flags & FLAG_A != 0;
        let rib = if loc_rib { Rib::Local } else { rib_of(flags) };
        Ok((Self { key, rib, legacy_as_path }, rest))
    }
}

const fn rib_of(flags: u8) -> Rib {
    match (flags & FLAG_O != 0, flags & FLAG_L != 0) {
        (false, false) => Rib::InPre,
        (false, true) => Rib::InPost,
        (true, false) => Rib::OutPre,
        (true, true) => Rib::OutPost,
    }
}

fn address_of(flags: u8, octets: [u8; 16]) -> IpAddr {
    let [head @ .., a, b, c, d] = octets;
    let embedded = head == [0; 12];
    let says_v6 = flags & FLAG_V != 0;
    if embedded && (!says_v6 || a != 0) {
        Ipv4Addr::new(a, b, c, d).into()
    } else {
        Ipv6Addr::from(octets).into()
    }
}

#[cfg(test)]
mod tests;
