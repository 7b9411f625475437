//! Owns the short answer: most packets are TCP or UDP between ports that are none of the control
//! plane's, plainly over IPv4 or IPv6, perhaps with one VLAN tag. For these a handful of loads at
//! fixed offsets is the whole walk.
//!
//! Every test looks at four octets at once, as they lie in the packet. The shortest frame that can
//! hold two ports is as long as the first look needs, so one comparison of lengths does for it.

use super::ethertype::{IPV4, IPV6};
use super::link::{ETHERNET_LEN, VLAN_8021Q, VLAN_TAG_LEN};
use super::network::{IPV4_FRAGMENT_MASK, IPV4_LEN_MIN, IPV6_LEN, TCP, UDP};
use super::{Scope, port};
use crate::Bytes;

/// Source and destination port, which both TCP and UDP begin with.
const PORTS_LEN: usize = 4;
/// Where the octets begin that the EtherType opens: two of it, two of what follows.
const TYPE_AT: usize = ETHERNET_LEN - 2;
/// An Ethernet frame up to the ports of IPv4, tagged or not.
const HEAD_LEN: usize = ETHERNET_LEN + VLAN_TAG_LEN + IPV4_LEN_MIN + PORTS_LEN;
/// Next header and hop limit lie within the second half of the first eight octets.
const IPV6_NEXT_AT: usize = 6;
/// Flags and fragment offset, time to live, protocol.
const IPV4_FRAGMENT_AT: usize = 6;

/// EtherType, and the octet after it.
const TYPE_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
const ETHERTYPE_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0]);
/// IPv4 without options.
const IPV4_PLAIN: u32 = after_ethertype(IPV4, 0x45);
const IPV6_ANY: u32 = after_ethertype(IPV6, 0);
const VLAN: u32 = after_ethertype(VLAN_8021Q, 0);

/// Whether the Ethernet frame is certainly none of the control plane's; false when it takes the
/// whole walk to say.
#[must_use]
#[inline(always)]
pub fn is_other<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> bool {
    other(frame, scope).unwrap_or(false)
}

#[inline(always)]
fn other<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> Option<bool> {
    let head: [u8; HEAD_LEN] = frame.octets(0)?;
    let mut kind = word(&head, TYPE_AT);
    if kind & TYPE_MASK == IPV4_PLAIN {
        return Some(ipv4(&head, ETHERNET_LEN, scope));
    }
    let mut at = ETHERNET_LEN;
    if kind & ETHERTYPE_MASK == VLAN {
        kind = word(&head, TYPE_AT + VLAN_TAG_LEN);
        at += VLAN_TAG_LEN;
        if kind & TYPE_MASK == IPV4_PLAIN {
            return Some(ipv4(&head, ETHERNET_LEN + VLAN_TAG_LEN, scope));
        }
    }
    if kind & ETHERTYPE_MASK != IPV6_ANY {
        return None;
    }
    let head: [u8; IPV6_LEN + PORTS_LEN] = frame.octets(at)?;
    let ports = word(&head, IPV6_LEN);
    Some(no_control(head[IPV6_NEXT_AT].into(), UDP.into(), TCP.into(), ports, scope))
}

/// `at` is a constant wherever this is called.
#[inline(always)]
fn ipv4(head: &[u8; HEAD_LEN], at: usize, scope: Scope) -> bool {
    const MASK: u32 = of_fragment(IPV4_FRAGMENT_MASK, u8::MAX);
    const WHOLE_UDP: u32 = of_fragment(0, UDP);
    const WHOLE_TCP: u32 = of_fragment(0, TCP);
    let carried = word(head, at + IPV4_FRAGMENT_AT) & MASK;
    no_control(carried, WHOLE_UDP, WHOLE_TCP, word(head, at + IPV4_LEN_MIN), scope)
}

/// `ports` as they lie there: source, then destination.
#[inline(always)]
fn no_control(carried: u32, udp: u32, tcp: u32, ports: u32, scope: Scope) -> bool {
    if carried == udp {
        !is_udp_control(ports)
    } else if carried == tcp {
        !is_tcp_control(ports, scope)
    } else {
        false
    }
}

/// A destination port of ours has a first octet of 2, 14, 18, 26 or 30: three tests of the mask's
/// bits in one, which nearly every other packet fails.
#[inline(always)]
const fn is_udp_control(ports: u32) -> bool {
    const MASK: u32 = u32::from_ne_bytes([0, 0, 0xe3, 0]);
    const OURS: u32 = u32::from_ne_bytes([0, 0, 0x02, 0]);
    source(ports) == port::BFD_SEAMLESS.to_be()
        || (ports & MASK == OURS && is_udp_destination(destination(ports)))
}

/// In network order.
#[inline(always)]
const fn is_udp_destination(port: u16) -> bool {
    const LDP: u16 = port::LDP.to_be();
    const SINGLE_HOP: u16 = port::BFD_SINGLE_HOP.to_be();
    const ECHO: u16 = port::BFD_ECHO.to_be();
    const MULTI_HOP: u16 = port::BFD_MULTI_HOP.to_be();
    const LAG: u16 = port::BFD_LAG.to_be();
    const SEAMLESS: u16 = port::BFD_SEAMLESS.to_be();
    matches!(port, LDP | SINGLE_HOP | ECHO | MULTI_HOP | LAG | SEAMLESS)
}

#[inline(always)]
const fn is_tcp_control(ports: u32, scope: Scope) -> bool {
    is_tcp_port(source(ports), scope) || is_tcp_port(destination(ports), scope)
}

/// One of the two ports, in network order.
#[inline(always)]
const fn is_tcp_port(port: u16, scope: Scope) -> bool {
    const BGP: u16 = port::BGP.to_be();
    const LDP: u16 = port::LDP.to_be();
    const BMP: u16 = port::BMP.to_be();
    port == BGP || port == LDP || (matches!(scope, Scope::Capture) && port == BMP)
}

#[inline(always)]
const fn source(ports: u32) -> u16 {
    let [a, b, _, _] = ports.to_ne_bytes();
    u16::from_ne_bytes([a, b])
}

#[inline(always)]
const fn destination(ports: u32) -> u16 {
    let [_, _, a, b] = ports.to_ne_bytes();
    u16::from_ne_bytes([a, b])
}

/// An EtherType and the octet after it, as they lie in a packet.
const fn after_ethertype(ethertype: u16, octet: u8) -> u32 {
    let [high, low] = ethertype.to_be_bytes();
    u32::from_ne_bytes([high, low, octet, 0])
}

/// Flags with fragment offset, and protocol; between them the time to live.
const fn of_fragment(fragment: u16, protocol: u8) -> u32 {
    let [high, low] = fragment.to_be_bytes();
    u32::from_ne_bytes([high, low, 0, protocol])
}

/// Four octets as they lie there, in one load.
#[inline(always)]
fn word<const N: usize>(head: &[u8; N], at: usize) -> u32 {
    head[at..].first_chunk().map_or(0, |octets| u32::from_ne_bytes(*octets))
}
