//! Owns the short answer: most packets are TCP or UDP between ports that are none of the control
//! plane's, plainly over IPv4 or IPv6, perhaps with one VLAN tag. For these a handful of loads at
//! fixed offsets is the whole walk.
//!
//! Each test loads just the octets that it looks at: comparing what was loaded is then all there is to
//! do, without masks and shifts. The shortest frame that can hold two ports is as long as the first look
//! needs, so one comparison of lengths does for it.

use super::ethertype::{IPV4, IPV6};
use super::link::{ETHERNET_LEN, VLAN_8021Q, VLAN_TAG_LEN};
use super::network::{IPV4_FRAGMENT_MASK, IPV4_LEN_MIN, IPV6_LEN, TCP, UDP};
use super::{Scope, port};
use crate::Bytes;

const PORT_LEN: usize = 2;
/// Source and destination port, which both TCP and UDP begin with.
const PORTS_LEN: usize = 2 * PORT_LEN;
/// Octets from the EtherType to what it announces.
const ETHERTYPE_LEN: usize = 2;
const TAGGED_LEN: usize = ETHERNET_LEN + VLAN_TAG_LEN;
/// An Ethernet frame up to the ports of IPv4, tagged or not.
const HEAD_LEN: usize = TAGGED_LEN + IPV4_LEN_MIN + PORTS_LEN;
/// Where the next header lies.
const IPV6_NEXT_AT: usize = 6;
/// Flags and fragment offset, time to live, protocol.
const IPV4_FRAGMENT_AT: usize = 6;
/// Version and length of an IPv4 header without options.
const IPV4_PLAIN: u8 = 0x45;

/// Whether the Ethernet frame is certainly none of the control plane's; false when it takes the
/// whole walk to say.
#[must_use]
#[inline(always)]
pub fn is_other<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> bool {
    let Some(head) = frame.octets::<HEAD_LEN>(0) else { return false };
    match half(&head, ETHERNET_LEN - ETHERTYPE_LEN) {
        IPV4_NETWORK => ipv4(&head, ETHERNET_LEN, scope),
        IPV6_NETWORK => ipv6::<B, { ETHERNET_LEN + IPV6_LEN + PORTS_LEN }>(frame, scope),
        VLAN_NETWORK => match half(&head, TAGGED_LEN - ETHERTYPE_LEN) {
            IPV4_NETWORK => ipv4(&head, TAGGED_LEN, scope),
            IPV6_NETWORK => ipv6::<B, { TAGGED_LEN + IPV6_LEN + PORTS_LEN }>(frame, scope),
            _ => false,
        },
        _ => false,
    }
}

const IPV4_NETWORK: u16 = IPV4.to_be();
const IPV6_NETWORK: u16 = IPV6.to_be();
const VLAN_NETWORK: u16 = VLAN_8021Q.to_be();

/// `at` is a constant wherever this is called.
#[inline(always)]
fn ipv4(head: &[u8; HEAD_LEN], at: usize, scope: Scope) -> bool {
    const MASK: u32 = of_fragment(IPV4_FRAGMENT_MASK, u8::MAX);
    const WHOLE_UDP: u32 = of_fragment(0, UDP);
    const WHOLE_TCP: u32 = of_fragment(0, TCP);
    if head[at] != IPV4_PLAIN {
        return false;
    }
    let carried = word(head, at + IPV4_FRAGMENT_AT) & MASK;
    no_control(carried, WHOLE_UDP, WHOLE_TCP, head, at + IPV4_LEN_MIN, scope)
}

/// IPv6 in a frame whose ports end at `END`.
#[inline(always)]
fn ipv6<B: Bytes + ?Sized, const END: usize>(frame: &B, scope: Scope) -> bool {
    let Some(head) = frame.octets::<END>(0) else { return false };
    let ports = END - PORTS_LEN;
    let next = head[ports - IPV6_LEN + IPV6_NEXT_AT];
    no_control(next.into(), UDP.into(), TCP.into(), &head, ports, scope)
}

/// The ports lie at `ports`: source, then destination.
#[inline(always)]
fn no_control<const N: usize>(
    carried: u32,
    udp: u32,
    tcp: u32,
    head: &[u8; N],
    ports: usize,
    scope: Scope,
) -> bool {
    if carried == udp {
        !is_udp_control(head, ports)
    } else if carried == tcp {
        let (source, destination) = (half(head, ports), half(head, ports + PORT_LEN));
        !is_tcp_port(source, scope) && !is_tcp_port(destination, scope)
    } else {
        false
    }
}

/// A destination port of ours has a first octet of 2, 14, 18, 26 or 30: three tests of the mask's
/// bits in one, which nearly every other packet fails.
#[inline(always)]
fn is_udp_control<const N: usize>(head: &[u8; N], ports: usize) -> bool {
    const MASK: u8 = 0xe3;
    const OURS: u8 = 0x02;
    half(head, ports) == port::BFD_SEAMLESS.to_be()
        || (head[ports + PORT_LEN] & MASK == OURS
            && is_udp_destination(half(head, ports + PORT_LEN)))
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

/// One of the two ports, in network order.
#[inline(always)]
const fn is_tcp_port(port: u16, scope: Scope) -> bool {
    const BGP: u16 = port::BGP.to_be();
    const LDP: u16 = port::LDP.to_be();
    const BMP: u16 = port::BMP.to_be();
    port == BGP || port == LDP || (matches!(scope, Scope::Capture) && port == BMP)
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

/// Two octets as they lie there, in one load.
#[inline(always)]
fn half<const N: usize>(head: &[u8; N], at: usize) -> u16 {
    head[at..].first_chunk().map_or(0, |octets| u16::from_ne_bytes(*octets))
}
