//! Owns the short answer: most packets are TCP or UDP between ports that are none of the control
//! plane's, plainly over IPv4 or IPv6, perhaps with one VLAN tag. For these a handful of loads at
//! fixed offsets is the whole walk.

use super::Scope;
use super::ethertype::{IPV4, IPV6};
use super::link::{ETHERNET_LEN, VLAN_8021Q, VLAN_TAG_LEN};
use super::network::{IPV4_FRAGMENT_MASK, IPV4_LEN_MIN, IPV6_LEN, TCP, UDP};
use super::transport::{by_tcp, by_udp};
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

#[inline(always)]
fn other<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> Option<bool> {
    const TAGGED_LEN: usize = ETHERNET_LEN + VLAN_TAG_LEN;
    // One check covers the EtherType and a plain IPv4 packet, the most frequent of all.
    let head: [u8; ETHERNET_LEN + IPV4_NEED] = frame.octets(0)?;
    let ethertype = be16(&head, 12);
    if ethertype == IPV4 {
        return Some(ipv4(&head, ETHERNET_LEN, scope));
    }
    if ethertype == IPV6 {
        let head: [u8; ETHERNET_LEN + IPV6_NEED] = frame.octets(0)?;
        return Some(ipv6(&head, ETHERNET_LEN, scope));
    }
    if ethertype != VLAN_8021Q {
        return None;
    }
    let ethertype = be16(&head, 16);
    if ethertype == IPV4 {
        let head: [u8; TAGGED_LEN + IPV4_NEED] = frame.octets(0)?;
        return Some(ipv4(&head, TAGGED_LEN, scope));
    }
    if ethertype == IPV6 {
        let head: [u8; TAGGED_LEN + IPV6_NEED] = frame.octets(0)?;
        return Some(ipv6(&head, TAGGED_LEN, scope));
    }
    None
}

#[inline(always)]
fn ipv4<const N: usize>(head: &[u8; N], at: usize, scope: Scope) -> bool {
    head[at] == IPV4_PLAIN
        && be16(head, at + 6) & IPV4_FRAGMENT_MASK == 0
        && no_control(head, head[at + 9], at + IPV4_LEN_MIN, scope)
}

#[inline(always)]
fn ipv6<const N: usize>(head: &[u8; N], at: usize, scope: Scope) -> bool {
    no_control(head, head[at + 6], at + IPV6_LEN, scope)
}

#[inline(always)]
fn no_control<const N: usize>(head: &[u8; N], protocol: u8, at: usize, scope: Scope) -> bool {
    let (src, dst) = (be16(head, at), be16(head, at + 2));
    match protocol {
        UDP => by_udp(src, dst).is_none(),
        TCP => by_tcp(src, dst, scope).is_none(),
        _ => false,
    }
}

#[inline(always)]
const fn be16<const N: usize>(head: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([head[at], head[at + 1]])
}
