//! Links and their counters: RTM_NEWLINK, RTM_DELLINK, RTM_NEWSTATS.
//!
//! Owns the reading of `ifinfomsg` and `if_stats_msg`; remembers nothing.
//!
//! **Invariant:** no input panics; a link without a name is an error.

use super::{
    AF_UNSPEC, Header, LINK_HEADER, Message, MessageError, RTM_DELLINK, STATS_HEADER,
    each_attribute, split, text, u32_at, u32_value, u64_at,
};
use edgelore_model::{CounterSample, LinkChange, OperState};

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_STATS64: u16 = 23;
pub(in crate::netlink) const IFLA_STATS_LINK_64: u16 = 1;
const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::netlink) struct LinkMessage {
    pub(in crate::netlink) index: u32,
    /// What is said of it; not `present` after RTM_DELLINK.
    pub(in crate::netlink) change: LinkChange,
}

pub(in crate::netlink) fn read_link(
    header: Header,
    payload: &[u8],
) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("link", payload, LINK_HEADER)?;
    // A message of family AF_BRIDGE is about a port's membership: RTM_DELLINK then says that the
    // link left its bridge, not that it is gone.
    if fixed[0] != AF_UNSPEC {
        return Ok(Message::Other);
    }
    let flags = u32_at(fixed, 8);
    let present = header.kind != RTM_DELLINK;
    let (mut name, mut oper, mut mtu) = (None, OperState::Unknown, 0);
    each_attribute("link", attributes, |kind, value| match kind {
        IFLA_IFNAME => name = Some(text(value)),
        IFLA_OPERSTATE => oper = operational(value),
        IFLA_MTU => mtu = u32_value(value).unwrap_or(0),
        _ => {}
    })?;
    let change = LinkChange {
        name: name.ok_or(MessageError::Missing { part: "link", attribute: "IFLA_IFNAME" })?,
        present,
        admin_up: present && flags & IFF_UP != 0,
        carrier: present && flags & IFF_LOWER_UP != 0,
        oper: if present { oper } else { OperState::NotPresent },
        mtu,
    };
    Ok(Message::Link(LinkMessage { index: u32_at(fixed, 4), change }))
}

/// `IF_OPER_*` of `linux/if.h`, in the order of its `enum`.
fn operational(value: &[u8]) -> OperState {
    match value.first() {
        Some(1) => OperState::NotPresent,
        Some(2) => OperState::Down,
        Some(3) => OperState::LowerLayerDown,
        Some(4) => OperState::Testing,
        Some(5) => OperState::Dormant,
        Some(6) => OperState::Up,
        _ => OperState::Unknown,
    }
}

/// Reads the packet counters out of an RTM_NEWLINK answer (the fallback where RTM_GETSTATS is not
/// supported).
pub(in crate::netlink) fn read_link_counters(payload: &[u8]) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("link", payload, LINK_HEADER)?;
    read_counters("link", u32_at(fixed, 4), attributes, IFLA_STATS64)
}

pub(in crate::netlink) fn read_stats(payload: &[u8]) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("statistics", payload, STATS_HEADER)?;
    read_counters("statistics", u32_at(fixed, 4), attributes, IFLA_STATS_LINK_64)
}

/// `struct rtnl_link_stats64` begins with rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors and
/// tx_errors, 64 bits each; what is missing at the end is 0.
fn read_counters(
    part: &'static str,
    link: u32,
    attributes: &[u8],
    wanted: u16,
) -> Result<Message, MessageError> {
    let mut sample = None;
    each_attribute(part, attributes, |kind, value| {
        if kind == wanted && value.len() >= 16 {
            sample = Some(CounterSample {
                rx_packets: u64_at(value, 0),
                tx_packets: u64_at(value, 8),
                rx_errors: u64_at(value, 32),
                tx_errors: u64_at(value, 40),
            });
        }
    })?;
    let sample = sample.ok_or(MessageError::Missing { part, attribute: "64-bit counters" })?;
    Ok(Message::Counters { link, sample })
}
