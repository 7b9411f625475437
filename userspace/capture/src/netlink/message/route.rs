//! Routes and next-hop objects: RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP.
//!
//! Owns the reading of `rtmsg`, `rtnexthop` and `nhmsg`; remembers nothing.
//!
//! **Invariant:** no input panics; a leg that is cut short is an error, and a dead one is no next
//! hop.

use super::{
    GROUP_MEMBER, Header, LEG_HEADER, Message, MessageError, NEXT_HOP_HEADER, NLM_F_APPEND,
    NLM_F_REPLACE, ROUTE_HEADER, RTM_DELNEXTHOP, RTM_DELROUTE, address, each_attribute, family_of,
    split, u32_at, u32_value, via_address,
};
use edgelore_model::{NextHop, Prefix};
use std::net::IpAddr;

pub(in crate::netlink) const RTA_TABLE: u16 = 15;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
pub(super) const NHA_ID: u16 = 1;
pub(super) const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_FDB: u16 = 11;
const RTNH_F_DEAD: u32 = 1;
const RTM_F_CLONED: u32 = 0x200;
const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTN_PROHIBIT: u8 = 8;

/// How a new route relates to those that the prefix has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::netlink) enum Placement {
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
pub(in crate::netlink) enum RouteTarget {
    /// To these next hops; those that the kernel calls dead are left out.
    Hops(Vec<NextHop>),
    /// To a next-hop object.
    Object(u32),
    /// Nowhere: blackhole, unreachable, prohibit.
    Discard,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::netlink) struct RouteMessage {
    pub(in crate::netlink) prefix: Prefix,
    pub(in crate::netlink) table: u32,
    pub(in crate::netlink) priority: u32,
    pub(in crate::netlink) target: RouteTarget,
    pub(in crate::netlink) placement: Placement,
    /// Links of the legs that the kernel calls dead: when such a link comes up, they revive
    /// without a message.
    pub(in crate::netlink) dead: Vec<u32>,
}

/// What a next-hop object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::netlink) enum NextHopObject {
    /// One next hop; `None` while the kernel calls it dead.
    Hop(Option<NextHop>),
    /// A group of objects by id.
    Group(Vec<u32>),
    /// Packets sent to it are dropped.
    Discard,
}

/// A next-hop object; `object` is `None` after its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::netlink) struct NextHopMessage {
    pub(in crate::netlink) id: u32,
    pub(in crate::netlink) object: Option<NextHopObject>,
}

pub(in crate::netlink) fn read_route(
    header: Header,
    payload: &[u8],
) -> Result<Message, MessageError> {
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
        dead: fields.dead_links(),
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
    dead: Vec<u32>,
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
            let link = u32_at(fixed, 4);
            if u32::from(fixed[2]) & RTNH_F_DEAD == 0 {
                self.legs.push(NextHop { via, link });
            } else {
                self.dead.push(link);
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }

    fn dead_links(&mut self) -> Vec<u32> {
        if self.flags & RTNH_F_DEAD != 0 {
            self.dead.extend(self.link);
        }
        std::mem::take(&mut self.dead)
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

pub(in crate::netlink) fn read_next_hop(
    header: Header,
    payload: &[u8],
) -> Result<Message, MessageError> {
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
