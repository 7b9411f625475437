//! Owns the link layer: Ethernet, VLAN tags, MPLS label stacks, LLC.

use super::{ControlPacket, Inner, Kind, Scope, Step, Walk, ethertype, network};
use crate::Bytes;

/// VLAN tags that the walk steps over (802.1ad outer and 802.1Q inner).
pub const VLAN_TAGS_MAX: usize = 2;
/// MPLS labels that the walk steps over.
pub const MPLS_LABELS_MAX: usize = 8;

const ETHERTYPE_OFFSET: usize = 12;
pub(super) const ETHERNET_LEN: usize = 14;
const HARDWARE_ADDRESS_LEN: usize = 6;
pub(super) const VLAN_8021Q: u16 = 0x8100;
const VLAN_8021AD: u16 = 0x88a8;
const VLAN_QINQ_OLD: u16 = 0x9100;
pub(super) const VLAN_TAG_LEN: usize = 4;
const VLAN_ID_MASK: u16 = 0x0fff;
/// A smaller value in the place of the EtherType is the length of an 802.3 frame.
const LENGTH_MAX: u16 = 1500;
/// Source and destination service access point of ISO network protocols, unnumbered information.
const LLC_ISO: [u8; 3] = [0xfe, 0xfe, 0x03];
/// Intradomain Routing Protocol Discriminator (ISO 10589 §9): the first octet of every PDU.
const ISIS: u8 = 0x83;
const MPLS_LABEL_LEN: usize = 4;
/// The S bit in the third octet of a label (RFC 3032 §2.1).
const MPLS_BOTTOM: u8 = 0x01;

#[inline(always)]
pub(super) const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, VLAN_8021Q | VLAN_8021AD | VLAN_QINQ_OLD)
}

#[inline(always)]
pub(super) fn ethernet<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> Option<Step> {
    let ethertype = frame.be16(ETHERTYPE_OFFSET)?;
    tagged(frame, ethertype, ETHERNET_LEN, true, scope)
}

/// `hardware`: the frame begins with two hardware addresses.
#[inline(always)]
pub(super) fn tagged<B: Bytes + ?Sized>(
    frame: &B,
    mut ethertype: u16,
    mut offset: usize,
    hardware: bool,
    scope: Scope,
) -> Option<Step> {
    let mut vlan = [0; VLAN_TAGS_MAX];
    for id in &mut vlan {
        if !is_vlan(ethertype) {
            break;
        }
        let [a, b, c, d] = frame.octets::<VLAN_TAG_LEN>(offset)?;
        *id = u16::from_be_bytes([a, b]) & VLAN_ID_MASK;
        ethertype = u16::from_be_bytes([c, d]);
        offset += VLAN_TAG_LEN;
    }
    let end = match ethertype {
        ethertype::LLC_JUMBO => frame.length(),
        length @ ..=LENGTH_MAX => offset + usize::from(length),
        _ => return above(frame, ethertype, offset, vlan, scope),
    };
    if frame.octets(offset)? != LLC_ISO {
        return Some(Step::Done(Walk::Other));
    }
    iso(frame, offset + LLC_ISO.len(), end, vlan, hardware).map(Step::Done)
}

/// The packet within a tunnel.
#[inline(always)]
pub(super) fn inner<B: Bytes + ?Sized>(frame: &B, inner: &Inner, scope: Scope) -> Option<Step> {
    if matches!(inner.ethertype, ethertype::ISO | ethertype::ISO_SAP) {
        return iso(frame, inner.offset, inner.end, inner.vlan, false).map(Step::Done);
    }
    above(frame, inner.ethertype, inner.offset, inner.vlan, scope)
}

/// What is neither a tag nor a length.
#[inline(always)]
fn above<B: Bytes + ?Sized>(
    frame: &B,
    mut ethertype: u16,
    mut offset: usize,
    vlan: [u16; VLAN_TAGS_MAX],
    scope: Scope,
) -> Option<Step> {
    if matches!(ethertype, ethertype::MPLS | ethertype::MPLS_UPSTREAM) {
        offset = labelled(frame, offset)?;
        // Nothing in the labels says what they carry: an Ethernet frame or a control word
        // (RFC 4385) begins with another nibble than IP (RFC 4928).
        ethertype = by_nibble(frame.u8(offset)?).unwrap_or_default();
    }
    match ethertype {
        ethertype::IPV4 => network::ipv4(frame, offset, vlan, scope),
        ethertype::IPV6 => network::ipv6(frame, offset, vlan, scope),
        _ => Some(Step::Done(Walk::Other)),
    }
}

/// The EtherType of an IP packet by its first octet.
#[inline(always)]
pub(super) const fn by_nibble(first: u8) -> Option<u16> {
    match first >> 4 {
        4 => Some(ethertype::IPV4),
        6 => Some(ethertype::IPV6),
        _ => None,
    }
}

/// Where the label stack (RFC 3032 §2.1) ends; `None` when it is cut off or deeper than
/// [`MPLS_LABELS_MAX`].
#[inline(always)]
fn labelled<B: Bytes + ?Sized>(frame: &B, start: usize) -> Option<usize> {
    let mut offset = start;
    for _ in 0..MPLS_LABELS_MAX {
        let [_, _, third, _] = frame.octets::<MPLS_LABEL_LEN>(offset)?;
        offset += MPLS_LABEL_LEN;
        if third & MPLS_BOTTOM != 0 {
            return Some(offset);
        }
    }
    None
}

/// An ISO network protocol between `offset` and `end`.
#[inline(always)]
pub(super) fn iso<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    end: usize,
    vlan: [u16; VLAN_TAGS_MAX],
    hardware: bool,
) -> Option<Walk> {
    if frame.u8(offset)? != ISIS {
        return Some(Walk::Other);
    }
    let mut packet = ControlPacket {
        kind: Kind::Isis,
        ip_version: 0,
        tcp_flags: 0,
        src: [0; 16],
        dst: [0; 16],
        src_port: 0,
        dst_port: 0,
        seq: 0,
        vlan,
        payload_offset: offset,
        payload_len: end.checked_sub(offset)?,
    };
    if hardware {
        let [a, b, c, d, e, f]: [u8; HARDWARE_ADDRESS_LEN] = frame.octets(0)?;
        packet.dst = [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let [a, b, c, d, e, f]: [u8; HARDWARE_ADDRESS_LEN] = frame.octets(HARDWARE_ADDRESS_LEN)?;
        packet.src = [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    }
    Some(Walk::Control(packet))
}
