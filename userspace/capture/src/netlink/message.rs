//! Reads the rtnetlink messages that the sources need, and writes their requests.
//!
//! ```text
//! nlmsghdr  length:u32 type:u16 flags:u16 sequence:u32 port:u32      (native byte order)
//! ifinfomsg family:u8 pad:u8 type:u16 index:i32 flags:u32 change:u32
//! rtmsg     family:u8 dst_len:u8 src_len:u8 tos:u8 table:u8 protocol:u8 scope:u8 type:u8 flags:u32
//! nhmsg     family:u8 scope:u8 protocol:u8 reserved:u8 flags:u32
//! if_stats  family:u8 pad:u8 pad:u16 index:u32 filter_mask:u32
//! tcmsg     family:u8 pad:u8 pad:u16 index:i32 handle:u32 parent:u32 info:u32
//! ndmsg     family:u8 pad:u8 pad:u16 index:i32 state:u16 flags:u8 type:u8
//! then attributes: length:u16 type:u16 value, each padded to four octets
//! ```
//! Layouts: `linux/{netlink,rtnetlink,nexthop,if_link,pkt_sched,gen_stats,neighbour}.h`. Framing and
//! requests are here, each kind of message in a module of its own.
//!
//! **Invariant:** no input panics; what is cut short is an error, what is unknown is skipped.

mod link;
mod neighbour;
mod queue;
mod route;

pub(super) use link::{LinkMessage, read_link_counters};
pub(super) use route::{
    NextHopMessage, NextHopObject, Placement, RTA_TABLE, RouteMessage, RouteTarget,
};

use edgelore_model::{AddressFamily, CounterSample, NeighbourChange, QueueSample};
use link::IFLA_STATS_LINK_64;
use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use std::net::IpAddr;

pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_GETROUTE: u16 = 26;
pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
pub(super) const RTM_GETNEIGH: u16 = 30;
pub(super) const RTM_NEWQDISC: u16 = 36;
pub(super) const RTM_DELQDISC: u16 = 37;
pub(super) const RTM_GETQDISC: u16 = 38;
pub(super) const RTM_NEWSTATS: u16 = 92;
pub(super) const RTM_GETSTATS: u16 = 94;
pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
pub(super) const RTM_GETNEXTHOP: u16 = 106;

pub(super) const NLM_F_REQUEST: u16 = 0x001;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x010;
pub(super) const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_APPEND: u16 = 0x800;

pub(super) const AF_UNSPEC: u8 = 0;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

const NETLINK_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const NEXT_HOP_HEADER: usize = 8;
const STATS_HEADER: usize = 12;
const QUEUE_HEADER: usize = 20;
const NEIGHBOUR_HEADER: usize = 12;
const LEG_HEADER: usize = 8;
const GROUP_MEMBER: usize = 8;

/// What is wrong with an rtnetlink message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends before its fixed part does.
    #[error("in {part}: {have} octets where {need} are needed")]
    Short {
        /// Which structure.
        part: &'static str,
        /// Octets there are.
        have: usize,
        /// Octets needed.
        need: usize,
    },
    /// The netlink header's length does not fit the datagram.
    #[error("in netlink header: {0}")]
    Header(String),
    /// An attribute's length does not fit the message.
    #[error("in attributes of {part}: {reason}")]
    Attribute {
        /// Of which structure.
        part: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A prefix is longer than its family allows.
    #[error("in route: {0}")]
    Prefix(#[from] edgelore_model::NetError),
    /// A mandatory attribute is missing.
    #[error("in {part}: attribute {attribute} is missing")]
    Missing {
        /// Of which structure.
        part: &'static str,
        /// Which attribute.
        attribute: &'static str,
    },
}

/// The fields of a netlink header that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
}

/// A message that a source acts upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Link(LinkMessage),
    Route(RouteMessage),
    NextHop(NextHopMessage),
    Counters {
        link: u32,
        sample: CounterSample,
    },
    Queue {
        link: u32,
        sample: QueueSample,
    },
    Neighbour {
        link: u32,
        change: NeighbourChange,
    },
    /// Something that concerns no source, such as a multicast route or a bridge port.
    Other,
}

/// The netlink messages of one datagram. Ends after the first error.
pub(super) fn messages(
    datagram: &[u8],
) -> impl Iterator<Item = Result<(Header, &[u8]), MessageError>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = match NetlinkBuffer::new_checked(rest) {
            Ok(message) => message,
            Err(error) => {
                rest = &[];
                return Some(Err(MessageError::Header(error.to_string())));
            }
        };
        let header = Header {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
        };
        let length = message.length() as usize;
        let payload = &rest[NETLINK_HEADER..length];
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((header, payload)))
    })
}

/// Reads one message.
pub(super) fn read(header: Header, payload: &[u8]) -> Result<Message, MessageError> {
    match header.kind {
        RTM_NEWLINK | RTM_DELLINK => link::read_link(header, payload),
        RTM_NEWROUTE | RTM_DELROUTE => route::read_route(header, payload),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => route::read_next_hop(header, payload),
        RTM_NEWQDISC | RTM_DELQDISC => queue::read_queue(header, payload),
        RTM_NEWNEIGH | RTM_DELNEIGH => neighbour::read_neighbour(header, payload),
        RTM_NEWSTATS => link::read_stats(payload),
        _ => Ok(Message::Other),
    }
}

/// The error number of an NLMSG_ERROR or NLMSG_DONE payload: 0 for an acknowledgment or success.
pub(super) fn error_number(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg())
}

/// A request without its sequence number: header, fixed part, one optional 32-bit attribute.
pub(super) fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    fixed: &[u8],
    attribute: Option<(u16, u32)>,
) -> Vec<u8> {
    let length = NETLINK_HEADER + fixed.len() + if attribute.is_some() { 8 } else { 0 };
    let mut bytes = Vec::with_capacity(length);
    // A request has a fixed part and at most one attribute: far below 4 GiB.
    bytes.extend_from_slice(&(length as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(fixed);
    if let Some((kind, value)) = attribute {
        bytes.extend_from_slice(&8u16.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// The fixed part of a dump request for a family.
pub(super) fn dump_header(kind: u16, family: u8) -> Vec<u8> {
    let length = match kind {
        RTM_GETROUTE => ROUTE_HEADER,
        RTM_GETNEXTHOP => NEXT_HOP_HEADER,
        RTM_GETQDISC => QUEUE_HEADER,
        RTM_GETNEIGH => NEIGHBOUR_HEADER,
        _ => LINK_HEADER,
    };
    let mut fixed = vec![0; length];
    fixed[0] = family;
    fixed
}

/// The fixed part of RTM_GETSTATS for one link's 64-bit counters.
pub(super) fn stats_header(link: u32) -> [u8; STATS_HEADER] {
    let mut fixed = [0; STATS_HEADER];
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    fixed[8..].copy_from_slice(&(1u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
    fixed
}

/// The fixed part of RTM_GETLINK for one link.
pub(super) fn link_header(link: u32) -> [u8; LINK_HEADER] {
    let mut fixed = [0; LINK_HEADER];
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    fixed
}

fn split<'a>(
    part: &'static str,
    bytes: &'a [u8],
    need: usize,
) -> Result<(&'a [u8], &'a [u8]), MessageError> {
    bytes.split_at_checked(need).ok_or(MessageError::Short { part, have: bytes.len(), need })
}

fn each_attribute<'a>(
    part: &'static str,
    bytes: &'a [u8],
    mut visit: impl FnMut(u16, &'a [u8]),
) -> Result<(), MessageError> {
    for attribute in NlasIterator::new(bytes) {
        let attribute = attribute
            .map_err(|error| MessageError::Attribute { part, reason: error.to_string() })?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        // The iterator has checked that the length covers the header and fits the buffer.
        visit(kind, &attribute.into_inner()[4..length]);
    }
    Ok(())
}

fn family_of(octet: u8) -> Option<AddressFamily> {
    match octet {
        AF_INET => Some(AddressFamily::Ipv4),
        AF_INET6 => Some(AddressFamily::Ipv6),
        _ => None,
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

/// `struct rtvia` is family:u16, then the address.
fn via_address(value: &[u8]) -> Option<IpAddr> {
    value.get(2..).and_then(address)
}

/// A string up to its terminating zero.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&octet| octet == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn u32_value(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

/// The 32 bits at `offset` of a fixed part whose length was checked; 0 past its end.
fn u32_at(fixed: &[u8], offset: usize) -> u32 {
    fixed.get(offset..).and_then(u32_value).unwrap_or(0)
}

fn u64_at(fixed: &[u8], offset: usize) -> u64 {
    let octets = fixed.get(offset..).and_then(|rest| rest.first_chunk());
    octets.map_or(0, |octets| u64::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests;
