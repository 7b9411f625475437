//! The bodies that follow the headers: information TLVs, Peer Up, Peer Down, statistics
//! (RFC 7854 §4.3 to §4.10).
//!
//! **Invariant:** what an iterator or a list hands out is bounded by the message it came from.

use super::{BmpError, message_type};
use crate::decode::bgp;

/// Characters kept of what a router says of itself.
const TEXT_LEN_MAX: usize = 256;
/// Statistics kept of one report; the registry defines fewer.
const STATISTICS_MAX: usize = 256;

/// Information TLVs (RFC 7854 §4.4): type and value. Ends where one is cut short.
pub fn information(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let &[kind_high, kind_low, high, low, ref rest @ ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, next) = rest.split_at_checked(length)?;
        bytes = next;
        Some((u16::from_be_bytes([kind_high, kind_low]), value))
    })
}

/// What a router says of itself in an Initiation, or of why it goes in a Termination, as one
/// line of at most 256 characters.
#[must_use]
pub fn tlv_text(kind: u8, body: &[u8]) -> String {
    const REASON: u16 = 1;
    let mut words: Vec<String> = Vec::new();
    for (tlv, value) in information(body) {
        match (kind, tlv, value) {
            (message_type::TERMINATION, REASON, &[high, low]) => {
                words.push(termination_reason(u16::from_be_bytes([high, low])).to_owned());
            }
            (message_type::TERMINATION, REASON, _) => {}
            _ => words.push(String::from_utf8_lossy(value).trim().to_owned()),
        }
        if words.iter().map(String::len).sum::<usize>() > 4 * TEXT_LEN_MAX {
            break;
        }
    }
    let text = words.iter().filter(|word| !word.is_empty()).map(String::as_str);
    let text = text.collect::<Vec<_>>().join(", ");
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable).take(TEXT_LEN_MAX).collect()
}

const fn termination_reason(code: u16) -> &'static str {
    match code {
        0 => "closed by its operator",
        1 => "unspecified reason",
        2 => "out of resources",
        3 => "redundant connection",
        4 => "closed for good by its operator",
        _ => "unknown reason",
    }
}

/// A Peer Up (RFC 7854 §4.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerUp<'a> {
    /// The router's TCP port and its peer's; they tell one session from the next.
    pub ports: [u16; 2],
    /// The body of the OPEN that the router sent.
    pub sent: &'a [u8],
    /// The body of the OPEN that its peer sent.
    pub received: &'a [u8],
}

impl<'a> PeerUp<'a> {
    /// Reads what follows the per-peer header.
    ///
    /// # Errors
    /// [`BmpError::Truncated`], and [`BmpError::Bgp`] when the two OPENs are not there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BmpError> {
        let cut = BmpError::Truncated { what: "Peer Up", there: bytes.len(), needed: 20 };
        // The router's own address comes first; it may be any of several, or none.
        let rest = bytes.get(16..).ok_or(cut)?;
        let &[a, b, c, d, ref rest @ ..] = rest else { return Err(cut) };
        let (sent, rest) = open(rest)?;
        let (received, _) = open(rest)?;
        let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        Ok(Self { ports, sent, received })
    }
}

fn open(bytes: &[u8]) -> Result<(&[u8], &[u8]), BmpError> {
    let none = BmpError::Bgp("Peer Up");
    let length = bgp::frame(bytes).ok().flatten().ok_or(none)?;
    let (message, rest) = bytes.split_at(length);
    match bgp::message(message) {
        Ok(message) if message.kind == bgp::message_type::OPEN => Ok((message.body, rest)),
        _ => Err(none),
    }
}

/// Why a router's peer is down (RFC 7854 §4.9, RFC 9069 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerDown<'a> {
    /// 1: the router sent this NOTIFICATION (its body).
    LocalNotification(&'a [u8]),
    /// 2: the router closed without one; the event of its state machine (RFC 4271 §8.1).
    LocalEvent(u16),
    /// 3: the peer sent this NOTIFICATION (its body).
    RemoteNotification(&'a [u8]),
    /// 4: the peer closed without one.
    RemoteClosed,
    /// 5: the router stops reporting this peer, which says nothing of the session.
    NotMonitored,
    /// 6: the Loc-RIB's instance has gone.
    LocalClosed,
}

impl<'a> PeerDown<'a> {
    /// Reads what follows the per-peer header.
    ///
    /// # Errors
    /// [`BmpError::Truncated`], [`BmpError::PeerDownReason`], and [`BmpError::Bgp`] when its
    /// NOTIFICATION is missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BmpError> {
        match *bytes {
            [1, ref pdu @ ..] => notification(pdu).map(Self::LocalNotification),
            [2, high, low, ..] => Ok(Self::LocalEvent(u16::from_be_bytes([high, low]))),
            // Routers exist that leave the event out.
            [2, ..] => Ok(Self::LocalEvent(0)),
            [3, ref pdu @ ..] => notification(pdu).map(Self::RemoteNotification),
            [4, ..] => Ok(Self::RemoteClosed),
            [5, ..] => Ok(Self::NotMonitored),
            [6, ..] => Ok(Self::LocalClosed),
            [reason, ..] => Err(BmpError::PeerDownReason(reason)),
            [] => Err(BmpError::Truncated { what: "Peer Down", there: 0, needed: 1 }),
        }
    }
}

fn notification(bytes: &[u8]) -> Result<&[u8], BmpError> {
    match bgp::message(bytes) {
        Ok(message) if message.kind == bgp::message_type::NOTIFICATION => Ok(message.body),
        _ => Err(BmpError::Bgp("Peer Down")),
    }
}

/// The statistics of a report (RFC 7854 §4.8): type and value, in wire order. Of those per
/// address family (11 octets) the value is taken.
///
/// # Errors
/// [`BmpError::Truncated`] when there are fewer than the report announces.
pub fn statistics(bytes: &[u8]) -> Result<Vec<(u16, u64)>, BmpError> {
    let cut = BmpError::Truncated { what: "statistics report", there: bytes.len(), needed: 4 };
    let (count, rest) = bytes.split_first_chunk::<4>().ok_or(cut)?;
    let announced = u32::from_be_bytes(*count) as usize;
    let mut read = 0;
    let mut values = Vec::new();
    for (kind, value) in information(rest).take(announced) {
        read += 1;
        let number = match value {
            [_, _, _, _] | [_, _, _, _, _, _, _, _] => value,
            [_, _, _, gauge @ ..] if gauge.len() == 8 => gauge,
            _ => continue,
        };
        if values.len() < STATISTICS_MAX {
            values.push((kind, number.iter().fold(0, |n, &octet| n << 8 | u64::from(octet))));
        }
    }
    if read < announced { Err(cut) } else { Ok(values) }
}
