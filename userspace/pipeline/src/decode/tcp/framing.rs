//! How the messages of each protocol follow each other in a stream: where one ends, and where
//! one may begin after bytes were lost.
//!
//! ```text
//! BGP (RFC 4271 §4.1)   marker, 16×ff | length, 2, of all   | type, 1 | …
//! LDP (RFC 5036 §3.1)   version 1, 2  | length, 2, of the rest | LDP identifier, 6 | messages
//! BMP (RFC 7854 §4.1)   version 3, 1  | length, 4, of all   | type, 1 | …
//! ```
//!
//! Never keeps state, never looks into a message further than finding it needs.
//!
//! **Invariant:** a length handed out is at least a header's and at most the protocol's longest.

use crate::decode::{bgp, bmp, ldp};
use edgelore_model::StreamProtocol;

/// There is no message where one should start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMessage;

/// Length of the message that starts at `bytes[0]`; `None` when not all of it is there.
pub(super) fn frame(protocol: StreamProtocol, bytes: &[u8]) -> Result<Option<usize>, NoMessage> {
    match protocol {
        StreamProtocol::Bgp => bgp::frame(bytes).map_err(|_| NoMessage),
        StreamProtocol::Ldp => ldp::frame(bytes).map_err(|_| NoMessage),
        StreamProtocol::Bmp => bmp::frame(bytes).map_err(|_| NoMessage),
    }
}

/// Whether a message may well start at `bytes[0]`; `None` when too few octets are there to tell.
pub(super) fn plausible_start(protocol: StreamProtocol, bytes: &[u8]) -> Option<bool> {
    match protocol {
        StreamProtocol::Bgp => bgp::plausible_start(bytes),
        StreamProtocol::Ldp => ldp::plausible_start(bytes),
        StreamProtocol::Bmp => bmp::plausible_start(bytes),
    }
}

/// The octet with which every message starts.
pub(super) const fn first_octet(protocol: StreamProtocol) -> u8 {
    match protocol {
        StreamProtocol::Bgp => 0xff,
        StreamProtocol::Ldp => 0,
        StreamProtocol::Bmp => bmp::VERSION,
    }
}

/// How many octets the start of a message must have before its end is known, or all of it is
/// there.
pub(super) fn wanted(protocol: StreamProtocol, start: &[u8]) -> usize {
    match (protocol, start) {
        (StreamProtocol::Bgp, _) => match start.get(bgp::MARKER_LEN..bgp::HEADER_LEN) {
            Some(&[high, low, _]) => usize::from(u16::from_be_bytes([high, low])),
            _ => bgp::HEADER_LEN,
        },
        (StreamProtocol::Ldp, &[_, _, high, low, ..]) => {
            ldp::PREAMBLE_LEN + usize::from(u16::from_be_bytes([high, low]))
        }
        (StreamProtocol::Ldp, _) => ldp::PREAMBLE_LEN,
        (StreamProtocol::Bmp, &[_, a, b, c, d, _, ..]) => u32::from_be_bytes([a, b, c, d]) as usize,
        (StreamProtocol::Bmp, _) => bmp::HEADER_LEN,
    }
}

/// Octets of the keepalive that the kernel withholds where it stands alone in a segment; `None`
/// when it withholds nothing of this protocol.
pub(in crate::decode) const fn keepalive_len(protocol: StreamProtocol) -> Option<u32> {
    match protocol {
        StreamProtocol::Bgp => Some(bgp::HEADER_LEN as u32),
        StreamProtocol::Ldp => Some(ldp::KEEPALIVE_PDU_LEN as u32),
        StreamProtocol::Bmp => None,
    }
}
