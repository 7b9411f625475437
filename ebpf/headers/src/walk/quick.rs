//! Owns the short answer: most packets are TCP or UDP between ports that are none of the control
//! plane's, plainly over IPv4 or IPv6, perhaps with one VLAN tag. For these a handful of loads at
//! fixed offsets is the whole walk.

use super::ethertype::{IPV4, IPV6};
use super::link::{ETHERNET_LEN, VLAN_8021Q, VLAN_TAG_LEN};
use super::network::{IPV4_FRAGMENT_MASK, IPV4_LEN_MIN, IPV6_LEN, TCP, UDP};
use super::{Scope, port};
use crate::Bytes;

/// Source and destination port, which both TCP and UDP begin with.
const PORTS_LEN: usize = 4;
const IPV4_NEED: usize = IPV4_LEN_MIN + PORTS_LEN;
const IPV6_NEED: usize = IPV6_LEN + PORTS_LEN;
/// Version 4, no options.
const IPV4_PLAIN: u8 = 0x45;

/// Whether the Ethernet frame is certainly none of the control plane's; false when it takes the
/// whole walk to say.
#[must_use]
#[inline(always)]
pub fn is_other<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> bool {
    other(frame, scope).unwrap_or(false)
}

/// Numbers are compared in network order, as they lie in the packet. Tagged or not, the same code
/// looks at the packet: a shorter program is the faster one.
#[inline(always)]
fn other<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> Option<bool> {
    const IPV4_NETWORK: u16 = IPV4.to_be();
    const IPV6_NETWORK: u16 = IPV6.to_be();
    const VLAN_NETWORK: u16 = VLAN_8021Q.to_be();
    let link: [u8; ETHERNET_LEN] = frame.octets(0)?;
    let (mut ethertype, mut at) = (network16(&link, 12), ETHERNET_LEN);
    if ethertype == VLAN_NETWORK {
        let tag: [u8; VLAN_TAG_LEN] = frame.octets(ETHERNET_LEN)?;
        (ethertype, at) = (network16(&tag, 2), ETHERNET_LEN + VLAN_TAG_LEN);
    }
    match ethertype {
        IPV4_NETWORK => Some(ipv4(&frame.octets(at)?, scope)),
        IPV6_NETWORK => Some(ipv6(&frame.octets(at)?, scope)),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(head: &[u8; IPV4_NEED], scope: Scope) -> bool {
    head[0] == IPV4_PLAIN
        && network16(head, 6) & IPV4_FRAGMENT_MASK.to_be() == 0
        && no_control(head, head[9], IPV4_LEN_MIN, scope)
}

#[inline(always)]
fn ipv6(head: &[u8; IPV6_NEED], scope: Scope) -> bool {
    no_control(head, head[6], IPV6_LEN, scope)
}

#[inline(always)]
fn no_control<const N: usize>(head: &[u8; N], protocol: u8, at: usize, scope: Scope) -> bool {
    let (src, dst) = (network16(head, at), network16(head, at + 2));
    match protocol {
        UDP => !is_udp_control(src, dst),
        TCP => !is_tcp_control(src, scope) && !is_tcp_control(dst, scope),
        _ => false,
    }
}

/// Ports in network order.
#[inline(always)]
const fn is_udp_control(src: u16, dst: u16) -> bool {
    const LDP: u16 = port::LDP.to_be();
    const SINGLE_HOP: u16 = port::BFD_SINGLE_HOP.to_be();
    const ECHO: u16 = port::BFD_ECHO.to_be();
    const MULTI_HOP: u16 = port::BFD_MULTI_HOP.to_be();
    const LAG: u16 = port::BFD_LAG.to_be();
    const SEAMLESS: u16 = port::BFD_SEAMLESS.to_be();
    matches!(dst, LDP | SINGLE_HOP | ECHO | MULTI_HOP | LAG | SEAMLESS) || src == SEAMLESS
}

/// One of the two ports, in network order.
#[inline(always)]
const fn is_tcp_control(port: u16, scope: Scope) -> bool {
    const BGP: u16 = port::BGP.to_be();
    const LDP: u16 = port::LDP.to_be();
    const BMP: u16 = port::BMP.to_be();
    port == BGP || port == LDP || (matches!(scope, Scope::Capture) && port == BMP)
}

/// Two octets as they lie there, in one load.
#[inline(always)]
fn network16<const N: usize>(head: &[u8; N], at: usize) -> u16 {
    head[at..].first_chunk().map_or(0, |octets| u16::from_ne_bytes(*octets))
}
