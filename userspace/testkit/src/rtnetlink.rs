//! The few rtnetlink messages the laboratory needs, written and read by hand (`rtnetlink(7)`,
//! `netlink(7)`), so that its truth shares no code with what it is the truth of.
//!
//! Invariant: every read is bounds-checked; a malformed message is skipped, never trusted.

use crate::{NetNs, now};
use anyhow::{Context, Result, bail};
use edgelore_model::{Span, Timestamp};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;
use std::net::Ipv4Addr;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const IFF_UP: u32 = 0x1;
const AF_INET: u8 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const NLMSG_HEADER_BYTES: usize = 16;
const RTMSG_BYTES: usize = 12;
/// `struct rtnexthop`: its length with its attributes (2), flags, hops, interface (4).
const RTNEXTHOP_BYTES: usize = 8;

/// When a change was made: it took effect between the two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Read immediately before the kernel was asked.
    pub before: Timestamp,
    /// Read immediately after it had answered.
    pub after: Timestamp,
}

impl Injection {
    /// The middle of the two readings.
    #[must_use]
    pub fn estimate(&self) -> Timestamp {
        self.before + Span((self.after - self.before).0 / 2)
    }
}

/// Sets an interface administratively up or down by one netlink call, without starting a program.
///
/// # Errors
/// When the interface does not exist or the kernel refuses.
pub fn set_link(namespace: &NetNs, interface: &str, up: bool) -> Result<Injection> {
    namespace
        .run(|| {
            let index = if_nametoindex(interface).context("look its index up")?;
            let socket = open(0)?;
            let request = link_request(index, up);
            let before = now();
            socket.send(&request, 0).context("send the request")?;
            let (answer, _) = socket.recv_from_full().context("receive the answer")?;
            let after = now();
            acknowledged(&answer)?;
            Ok(Injection { before, after })
        })
        .with_context(|| format!("set {interface} {}", if up { "up" } else { "down" }))
}

/// A socket that first tells all IPv4 routes, then every change of one.
pub(crate) fn follow_routes() -> Result<Socket> {
    let socket = open(RTNLGRP_IPV4_ROUTE)?;
    // rtmsg: family, then zeroes: every table, every route.
    let mut body = [0u8; RTMSG_BYTES];
    body[0] = AF_INET;
    let request = message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, &body);
    socket.send(&request, 0).context("ask for the routes")?;
    Ok(socket)
}

fn open(group: u32) -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE).context("open a netlink socket")?;
    socket.bind_auto().context("bind a netlink socket")?;
    if group != 0 {
        socket.add_membership(group).context("join a netlink group")?;
    }
    socket.connect(&SocketAddr::new(0, 0)).context("connect to the kernel")?;
    Ok(socket)
}

/// One change of one route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteEvent {
    /// Destination and prefix length.
    pub(crate) prefix: (Ipv4Addr, u8),
    /// Where it points now, sorted; empty when it is gone or leads to no gateway.
    pub(crate) gateways: Vec<Ipv4Addr>,
}

/// The route changes in one datagram.
pub(crate) fn route_events(datagram: &[u8]) -> Vec<RouteEvent> {
    messages(datagram).filter_map(|(kind, body)| route_event(kind, body)).collect()
}

fn route_event(kind: u16, body: &[u8]) -> Option<RouteEvent> {
    if !matches!(kind, RTM_NEWROUTE | RTM_DELROUTE) {
        return None;
    }
    let (family, length, table) = (*body.first()?, *body.get(1)?, *body.get(4)?);
    if family != AF_INET || table != RT_TABLE_MAIN {
        return None;
    }
    let mut prefix = (Ipv4Addr::UNSPECIFIED, length);
    let mut gateways = Vec::new();
    for (attribute, value) in attributes(body.get(RTMSG_BYTES..)?) {
        match attribute {
            RTA_DST => prefix.0 = address(value)?,
            RTA_GATEWAY if kind == RTM_NEWROUTE => gateways.push(address(value)?),
            RTA_MULTIPATH if kind == RTM_NEWROUTE => gateways.extend(legs(value)),
            _ => {}
        }
    }
    gateways.sort_unstable();
    Some(RouteEvent { prefix, gateways })
}

/// The gateways of a route with several legs.
fn legs(mut rest: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let leg = rest.get(RTNEXTHOP_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attributes(leg).find(|(kind, _)| *kind == RTA_GATEWAY).and_then(|(_, v)| address(v)))
    })
    .flatten()
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

/// The (type, body) of each message of a datagram.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(NLMSG_HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The (type, value) of each attribute (`struct rtattr`).
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn acknowledged(answer: &[u8]) -> Result<()> {
    let Some((NLMSG_ERROR, body)) = messages(answer).next() else {
        bail!("the kernel's answer is not an acknowledgement");
    };
    let code = body.get(..4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) => bail!(std::io::Error::from_raw_os_error(code.wrapping_neg())),
        None => bail!("the kernel's acknowledgement is cut short"),
    }
}

fn link_request(index: u32, up: bool) -> Vec<u8> {
    // ifinfomsg: family, pad, type (2), index (4), flags (4), change mask (4).
    let mut body = [0u8; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&(if up { IFF_UP } else { 0 }).to_ne_bytes());
    body[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &body)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(NLMSG_HEADER_BYTES + body.len()).expect("requests are short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]); // sequence number and port: one request per socket needs neither
    bytes.extend(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(kind: u16, table: u8, gateway: [u8; 4]) -> Vec<u8> {
        let mut body = vec![AF_INET, 24, 0, 0, table, 0, 0, 1, 0, 0, 0, 0];
        for (attribute, value) in [(RTA_DST, [198, 18, 7, 0]), (RTA_GATEWAY, gateway)] {
            body.extend(8u16.to_ne_bytes());
            body.extend(attribute.to_ne_bytes());
            body.extend(value);
        }
        message(kind, 0, &body)
    }

    #[test]
    fn route_messages_are_read() {
        let prefix = (Ipv4Addr::new(198, 18, 7, 0), 24);
        let gateways = vec![Ipv4Addr::new(10, 0, 0, 1)];
        let mut datagram = route(RTM_NEWROUTE, RT_TABLE_MAIN, [10, 0, 0, 1]);
        datagram.extend(route(RTM_NEWROUTE, 255, [10, 0, 0, 2]));
        datagram.extend(route(RTM_DELROUTE, RT_TABLE_MAIN, [10, 0, 0, 1]));
        assert_eq!(
            route_events(&datagram),
            [RouteEvent { prefix, gateways }, RouteEvent { prefix, gateways: Vec::new() }]
        );
    }

    #[test]
    fn every_leg_of_a_route_is_read() {
        let mut legs = Vec::new();
        for last in [2u8, 1] {
            legs.extend(16u16.to_ne_bytes());
            legs.extend([0, 0, 3, 0, 0, 0]);
            legs.extend(8u16.to_ne_bytes());
            legs.extend(RTA_GATEWAY.to_ne_bytes());
            legs.extend([10, 0, 0, last]);
        }
        let mut body = vec![AF_INET, 24, 0, 0, RT_TABLE_MAIN, 0, 0, 1, 0, 0, 0, 0];
        for (attribute, value) in [(RTA_DST, &[198, 18, 7, 0][..]), (RTA_MULTIPATH, &legs)] {
            body.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            body.extend(attribute.to_ne_bytes());
            body.extend(value);
        }
        let events = route_events(&message(RTM_NEWROUTE, 0, &body));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].gateways, [[10, 0, 0, 1], [10, 0, 0, 2]].map(Ipv4Addr::from));
    }

    #[test]
    fn no_cut_and_no_length_field_is_trusted() {
        let whole = route(RTM_NEWROUTE, RT_TABLE_MAIN, [10, 0, 0, 1]);
        for cut in 0..whole.len() {
            assert!(route_events(&whole[..cut]).is_empty(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                assert!(route_events(&broken).len() <= 1);
            }
        }
    }
}
