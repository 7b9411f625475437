//! Reads the rtnetlink messages that the sources need, and writes their requests.
//!
//! ```text
//! nlmsghdr  length:u32 type:u16 flags:u16 sequence:u32 port:u32      (native byte order)
//! ifinfomsg family:u8 pad:u8 type:u16 index:i32 flags:u32 change:u32
//! rtmsg     family:u8 dst_len:u8 src_len:u8 tos:u8 table:u8 protocol:u8 scope:u8 type:u8 flags:u32
//! nhmsg     family:u8 scope:u8 protocol:u8 reserved:u8 flags:u32
//! if_stats  family:u8 pad:u8 pad:u16 index:u32 filter_mask:u32
//! then attributes: length:u16 type:u16 value, each padded to four octets
//! ```
//! Layouts: `linux/{netlink,rtnetlink,nexthop,if_link}.h`.
//!
//! **Invariant:** no input panics; what is cut short is an error, what is unknown is skipped.

use edgelore_model::{AddressFamily, CounterSample, NextHop, Prefix};
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

const IFLA_IFNAME: u16 = 3;
const IFLA_STATS64: u16 = 23;
const IFLA_STATS_LINK_64: u16 = 1;
pub(super) const RTA_TABLE: u16 = 15;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_FDB: u16 = 11;

const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;
const RTNH_F_DEAD: u32 = 1;
const RTM_F_CLONED: u32 = 0x200;
const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTN_PROHIBIT: u8 = 8;

const NETLINK_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const NEXT_HOP_HEADER: usize = 8;
const STATS_HEADER: usize = 12;
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

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkMessage {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) admin_up: bool,
    pub(super) carrier: bool,
    pub(super) deleted: bool,
}

/// How a new route relates to those that the prefix has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// RTM_DELROUTE.
    Delete,
    /// RTM_NEWROUTE with NLM_F_REPLACE.
    Replace,
    /// RTM_NEWROUTE with NLM_F_APPEND.
    Append,
    /// RTM_NEWROUTE with neither.
    Add,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteTarget {
    /// To these next hops; those that the kernel calls dead are left out.
    Hops(Vec<NextHop>),
    /// To a next-hop object.
    Object(u32),
    /// Nowhere: blackhole, unreachable, prohibit.
    Discard,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteMessage {
    pub(super) prefix: Prefix,
    pub(super) table: u32,
    pub(super) priority: u32,
    pub(super) target: RouteTarget,
    pub(super) placement: Placement,
}

/// What a next-hop object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextHopObject {
    /// One next hop; `None` while the kernel calls it dead.
    Hop(Option<NextHop>),
    /// A group of objects by id.
    Group(Vec<u32>),
    /// Packets sent to it are dropped.
    Discard,
}

/// A next-hop object; `object` is `None` after its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NextHopMessage {
    pub(super) id: u32,
    pub(super) object: Option<NextHopObject>,
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
        RTM_NEWLINK | RTM_DELLINK => read_link(header, payload),
        RTM_NEWROUTE | RTM_DELROUTE => read_route(header, payload),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => read_next_hop(header, payload),
        RTM_NEWSTATS => read_stats(payload),
        _ => Ok(Message::Other),
    }
}

/// The error number of an NLMSG_ERROR or NLMSG_DONE payload: 0 for an acknowledgment or success.
pub(super) fn error_number(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg())
}

fn read_link(header: Header, payload: &[u8]) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("link", payload, LINK_HEADER)?;
    // A message of family AF_BRIDGE is about a port's membership: RTM_DELLINK then says that the
    // link left its bridge, not that it is gone.
    if fixed[0] != AF_UNSPEC {
        return Ok(Message::Other);
    }
    let flags = u32_at(fixed, 8);
    let mut name = None;
    each_attribute("link", attributes, |kind, value| {
        if kind == IFLA_IFNAME {
            let end = value.iter().position(|&octet| octet == 0).unwrap_or(value.len());
            name = Some(String::from_utf8_lossy(&value[..end]).into_owned());
        }
    })?;
    let deleted = header.kind == RTM_DELLINK;
    Ok(Message::Link(LinkMessage {
        index: u32_at(fixed, 4),
        name: name.ok_or(MessageError::Missing { part: "link", attribute: "IFLA_IFNAME" })?,
        admin_up: !deleted && flags & IFF_UP != 0,
        carrier: !deleted && flags & IFF_LOWER_UP != 0,
        deleted,
    }))
}

/// Reads the packet counters out of an RTM_NEWLINK answer (the fallback where RTM_GETSTATS is not
/// supported).
pub(super) fn read_link_counters(payload: &[u8]) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("link", payload, LINK_HEADER)?;
    read_counters("link", u32_at(fixed, 4), attributes, IFLA_STATS64)
}

fn read_stats(payload: &[u8]) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("statistics", payload, STATS_HEADER)?;
    read_counters("statistics", u32_at(fixed, 4), attributes, IFLA_STATS_LINK_64)
}

/// `struct rtnl_link_stats64` begins with rx_packets and tx_packets, 64 bits each.
fn read_counters(
    part: &'static str,
    link: u32,
    attributes: &[u8],
    wanted: u16,
) -> Result<Message, MessageError> {
    let mut sample = None;
    each_attribute(part, attributes, |kind, value| {
        if kind == wanted && value.len() >= 16 {
            sample =
                Some(CounterSample { rx_packets: u64_at(value, 0), tx_packets: u64_at(value, 8) });
        }
    })?;
    let sample = sample.ok_or(MessageError::Missing { part, attribute: "64-bit counters" })?;
    Ok(Message::Counters { link, sample })
}

fn read_route(header: Header, payload: &[u8]) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("route", payload, ROUTE_HEADER)?;
    let (length, source_length, tos, kind) = (fixed[1], fixed[2], fixed[3], fixed[7]);
    let flags = u32_at(fixed, 8);
    let discard = (RTN_BLACKHOLE..=RTN_PROHIBIT).contains(&kind);
    let Some(family) = family_of(fixed[0]) else { return Ok(Message::Other) };
    // Routes for one type of service or one source prefix are policy beside the forwarding table
    // that all packets share; cloned routes are IPv6's cache.
    let policy = source_length != 0 || tos != 0;
    if policy || flags & RTM_F_CLONED != 0 || (kind != RTN_UNICAST && !discard) {
        return Ok(Message::Other);
    }
    let mut fields = RouteFields { flags, table: u32::from(fixed[4]), ..RouteFields::default() };
    let mut legs = Ok(());
    each_attribute("route", attributes, |kind, value| match kind {
        RTA_MULTIPATH => legs = fields.read_legs(value),
        _ => fields.read(kind, value),
    })?;
    legs?;
    Ok(Message::Route(RouteMessage {
        prefix: Prefix::from_octets(family, fields.destination, length)?,
        table: fields.table,
        priority: fields.priority,
        placement: placement(header),
        target: match fields.object {
            _ if discard => RouteTarget::Discard,
            Some(id) => RouteTarget::Object(id),
            None => RouteTarget::Hops(fields.into_hops()),
        },
    }))
}

fn placement(header: Header) -> Placement {
    if header.kind == RTM_DELROUTE {
        Placement::Delete
    } else if header.flags & NLM_F_REPLACE != 0 {
        Placement::Replace
    } else if header.flags & NLM_F_APPEND != 0 {
        Placement::Append
    } else {
        Placement::Add
    }
}

/// A route's attributes while they are read.
#[derive(Default)]
struct RouteFields<'a> {
    flags: u32,
    table: u32,
    priority: u32,
    destination: &'a [u8],
    link: Option<u32>,
    via: Option<IpAddr>,
    object: Option<u32>,
    legs: Vec<NextHop>,
}

impl<'a> RouteFields<'a> {
    fn read(&mut self, kind: u16, value: &'a [u8]) {
        match kind {
            RTA_DST => self.destination = value,
            RTA_TABLE => self.table = u32_value(value).unwrap_or(self.table),
            RTA_PRIORITY => self.priority = u32_value(value).unwrap_or(0),
            RTA_OIF => self.link = u32_value(value),
            RTA_GATEWAY => self.via = address(value),
            RTA_VIA => self.via = via_address(value),
            RTA_NH_ID => self.object = u32_value(value).filter(|&id| id != 0),
            _ => {}
        }
    }

    /// `struct rtnexthop` is length:u16 flags:u8 hops:u8 index:i32, then attributes.
    fn read_legs(&mut self, mut rest: &'a [u8]) -> Result<(), MessageError> {
        while !rest.is_empty() {
            let (fixed, _) = split("next hop", rest, LEG_HEADER)?;
            let length = usize::from(u16::from_ne_bytes([fixed[0], fixed[1]]));
            let leg = rest.get(LEG_HEADER..length).ok_or(MessageError::Short {
                part: "next hop",
                have: rest.len(),
                need: length.max(LEG_HEADER),
            })?;
            let mut via = None;
            each_attribute("next hop", leg, |kind, value| match kind {
                RTA_GATEWAY => via = address(value),
                RTA_VIA => via = via_address(value),
                _ => {}
            })?;
            if u32::from(fixed[2]) & RTNH_F_DEAD == 0 {
                self.legs.push(NextHop { via, link: u32_at(fixed, 4) });
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }

    fn into_hops(mut self) -> Vec<NextHop> {
        if let Some(link) = self.link
            && self.flags & RTNH_F_DEAD == 0
        {
            self.legs.push(NextHop { via: self.via, link });
        }
        self.legs
    }
}

fn read_next_hop(header: Header, payload: &[u8]) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("next-hop object", payload, NEXT_HOP_HEADER)?;
    let dead = u32_at(fixed, 4) & RTNH_F_DEAD != 0;
    let (mut id, mut link, mut via, mut members) = (None, None, None, None);
    let (mut discard, mut bridge) = (false, false);
    each_attribute("next-hop object", attributes, |kind, value| match kind {
        NHA_ID => id = u32_value(value),
        NHA_OIF => link = u32_value(value),
        NHA_GATEWAY => via = address(value),
        NHA_GROUP => members = Some(value),
        NHA_BLACKHOLE => discard = true,
        NHA_FDB => bridge = true,
        _ => {}
    })?;
    let id = id.ok_or(MessageError::Missing { part: "next-hop object", attribute: "NHA_ID" })?;
    if bridge {
        return Ok(Message::Other);
    }
    let object = match members {
        _ if header.kind == RTM_DELNEXTHOP => None,
        Some(members) => Some(NextHopObject::Group(
            members.chunks_exact(GROUP_MEMBER).map(|member| u32_at(member, 0)).collect(),
        )),
        None if discard => Some(NextHopObject::Discard),
        None => Some(NextHopObject::Hop(link.filter(|_| !dead).map(|link| NextHop { via, link }))),
    };
    Ok(Message::NextHop(NextHopMessage { id, object }))
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

/// The fixed part of a link, route or next-hop dump request for a family.
pub(super) fn dump_header(kind: u16, family: u8) -> Vec<u8> {
    let length = match kind {
        RTM_GETROUTE => ROUTE_HEADER,
        RTM_GETNEXTHOP => NEXT_HOP_HEADER,
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
mod tests {
    use super::*;
    use netlink_packet_core::{NLM_F_CREATE, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::link::{
        LinkAttribute, LinkFlags, LinkHeader, LinkMessage as Link, Stats64,
    };
    use netlink_packet_route::route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage as Encoded, RouteNextHop,
        RouteNextHopFlags, RouteType, RouteVia,
    };
    use netlink_packet_route::{AddressFamily as Family, RouteNetlinkMessage};
    use proptest::prelude::*;

    fn encoded(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        message.header.flags = flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Result<Message, MessageError> {
        let (header, payload) = messages(bytes).next().unwrap()?;
        read(header, payload)
    }

    fn route(attributes: Vec<RouteAttribute>) -> Encoded {
        let mut message = Encoded::default();
        message.header = RouteHeader {
            address_family: Family::Inet,
            destination_prefix_length: 24,
            kind: RouteType::Unicast,
            table: 254,
            ..RouteHeader::default()
        };
        message.attributes = attributes;
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::Inet([198, 51, 100, 0].into())));
        message
    }

    fn target(message: Encoded) -> RouteTarget {
        match decoded(&encoded(RouteNetlinkMessage::NewRoute(message), 0)) {
            Ok(Message::Route(route)) => route.target,
            other => panic!("{other:?}"),
        }
    }

    fn hop(via: &str, link: u32) -> NextHop {
        NextHop { via: Some(via.parse().unwrap()), link }
    }

    #[test]
    fn a_route_with_one_next_hop() {
        let message = route(vec![
            RouteAttribute::Gateway(RouteAddress::Inet([10, 1, 0, 2].into())),
            RouteAttribute::Oif(3),
            RouteAttribute::Priority(20),
            RouteAttribute::Table(70_000),
        ]);
        let bytes = encoded(RouteNetlinkMessage::NewRoute(message), NLM_F_REPLACE | NLM_F_CREATE);
        let expected = RouteMessage {
            prefix: "198.51.100.0/24".parse().unwrap(),
            table: 70_000,
            priority: 20,
            target: RouteTarget::Hops(vec![hop("10.1.0.2", 3)]),
            placement: Placement::Replace,
        };
        assert_eq!(decoded(&bytes), Ok(Message::Route(expected)));
    }

    #[test]
    fn an_ipv4_route_over_ipv6() {
        let via = RouteVia::Inet6("2001:db8::9".parse().unwrap());
        let message = route(vec![RouteAttribute::Via(via), RouteAttribute::Oif(4)]);
        assert_eq!(target(message), RouteTarget::Hops(vec![hop("2001:db8::9", 4)]));
    }

    #[test]
    fn a_dead_leg_is_left_out() {
        let leg = |last: u8, link: u32, flags| {
            let mut leg = RouteNextHop::default();
            leg.interface_index = link;
            leg.flags = flags;
            leg.attributes =
                vec![RouteAttribute::Gateway(RouteAddress::Inet([10, 0, 0, last].into()))];
            leg
        };
        let legs = vec![
            leg(1, 3, RouteNextHopFlags::empty()),
            leg(2, 4, RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown),
            leg(3, 5, RouteNextHopFlags::Linkdown),
        ];
        let message = route(vec![RouteAttribute::MultiPath(legs)]);
        let expected = vec![hop("10.0.0.1", 3), hop("10.0.0.3", 5)];
        assert_eq!(target(message), RouteTarget::Hops(expected));
    }

    #[test]
    fn policy_routes_and_other_types_are_not_followed() {
        type Case = (&'static str, fn(&mut RouteHeader));
        let cases: [Case; 4] = [
            ("type of service", |header| header.tos = 8),
            ("source prefix", |header| header.source_prefix_length = 24),
            ("multicast", |header| header.kind = RouteType::Multicast),
            ("local", |header| header.kind = RouteType::Local),
        ];
        for (name, alter) in cases {
            let mut message = route(vec![RouteAttribute::Oif(3)]);
            alter(&mut message.header);
            let bytes = encoded(RouteNetlinkMessage::NewRoute(message), 0);
            assert_eq!(decoded(&bytes), Ok(Message::Other), "{name}");
        }
    }

    #[test]
    fn a_discarding_route_and_a_bad_length() {
        let mut message = route(vec![]);
        message.header.kind = RouteType::Unreachable;
        assert_eq!(target(message), RouteTarget::Discard);
        let mut message = route(vec![]);
        message.header.destination_prefix_length = 33;
        let bytes = encoded(RouteNetlinkMessage::NewRoute(message), 0);
        assert!(matches!(decoded(&bytes), Err(MessageError::Prefix(_))));
    }

    fn link(family: Family) -> Link {
        let mut stats = Stats64::default();
        (stats.rx_packets, stats.tx_packets) = (11, 22);
        let mut message = Link::default();
        message.header = LinkHeader {
            interface_family: family,
            index: 7,
            flags: LinkFlags::Up | LinkFlags::LowerUp,
            ..LinkHeader::default()
        };
        message.attributes =
            vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::Stats64(stats)];
        message
    }

    #[test]
    fn a_link_its_removal_and_its_counters() {
        let up = encoded(RouteNetlinkMessage::NewLink(link(Family::Unspec)), 0);
        let expected = LinkMessage {
            index: 7,
            name: "eth0".into(),
            admin_up: true,
            carrier: true,
            deleted: false,
        };
        assert_eq!(decoded(&up), Ok(Message::Link(expected.clone())));
        let (_, payload) = messages(&up).next().unwrap().unwrap();
        let sample = CounterSample { rx_packets: 11, tx_packets: 22 };
        assert_eq!(read_link_counters(payload), Ok(Message::Counters { link: 7, sample }));
        let gone = encoded(RouteNetlinkMessage::DelLink(link(Family::Unspec)), 0);
        let expected = LinkMessage { admin_up: false, carrier: false, deleted: true, ..expected };
        assert_eq!(decoded(&gone), Ok(Message::Link(expected)));
    }

    #[test]
    fn leaving_a_bridge_is_not_a_removal() {
        let bytes = encoded(RouteNetlinkMessage::DelLink(link(Family::Bridge)), 0);
        assert_eq!(decoded(&bytes), Ok(Message::Other));
    }

    /// RTM_NEWNEXTHOP as `ip nexthop add id 20 group 11/12` makes the kernel send it.
    #[test]
    fn a_next_hop_group() {
        let mut fixed = vec![0; NEXT_HOP_HEADER];
        fixed.extend([8u16.to_ne_bytes(), NHA_ID.to_ne_bytes()].concat());
        fixed.extend(20u32.to_ne_bytes());
        fixed.extend([20u16.to_ne_bytes(), NHA_GROUP.to_ne_bytes()].concat());
        for member in [11u32, 12] {
            fixed.extend(member.to_ne_bytes());
            fixed.extend([0; 4]);
        }
        let bytes = request(RTM_NEWNEXTHOP, 0, 1, &fixed, None);
        let object = Some(NextHopObject::Group(vec![11, 12]));
        assert_eq!(decoded(&bytes), Ok(Message::NextHop(NextHopMessage { id: 20, object })));
        let bytes = request(RTM_DELNEXTHOP, 0, 1, &fixed, None);
        let gone = NextHopMessage { id: 20, object: None };
        assert_eq!(decoded(&bytes), Ok(Message::NextHop(gone)));
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let message = route(vec![RouteAttribute::Oif(3)]);
        let whole = encoded(RouteNetlinkMessage::NewRoute(message), 0);
        let mut short = whole[..whole.len() - 3].to_vec();
        assert!(matches!(decoded(&short), Err(MessageError::Header(_))));
        let length = (short.len() as u32).to_ne_bytes();
        short[..4].copy_from_slice(&length);
        assert!(matches!(decoded(&short), Err(MessageError::Attribute { part: "route", .. })));
    }

    proptest! {
        #[test]
        fn nothing_panics(
            kind in prop::sample::select(vec![16u16, 17, 24, 25, 92, 104, 105]),
            family in prop::sample::select(vec![0u8, 2, 7, 10]),
            mut payload in prop::collection::vec(any::<u8>(), 0..200),
            datagram in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(first) = payload.first_mut() {
                *first = family;
            }
            let header = Header { kind, flags: 0, sequence: 0 };
            let _ = (read(header, &payload), read_link_counters(&payload), error_number(&payload));
            let count = messages(&datagram).count();
            prop_assert!(count <= datagram.len() / NETLINK_HEADER + 1);
        }

        /// Valid attributes with wild lengths inside, so that the walk goes deeper.
        #[test]
        fn nested_lengths_do_not_panic(
            kind in prop::sample::select(vec![RTM_NEWROUTE, RTM_NEWNEXTHOP]),
            attribute in 0u16..32,
            mut value in prop::collection::vec(any::<u8>(), 0..64),
            leg in 0u16..70,
        ) {
            if let Some(first) = value.first_chunk_mut() {
                *first = leg.to_ne_bytes();
            }
            let mut payload = vec![0u8; if kind == RTM_NEWROUTE { ROUTE_HEADER } else { NEXT_HOP_HEADER }];
            (payload[0], payload[7]) = (AF_INET, RTN_UNICAST);
            payload.extend((value.len() as u16 + 4).to_ne_bytes());
            payload.extend(attribute.to_ne_bytes());
            payload.extend(&value);
            let _ = read(Header { kind, flags: 0, sequence: 0 }, &payload);
        }
    }
}
