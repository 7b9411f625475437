//! Owns the link layer: Ethernet, VLAN tags, MPLS label stacks, LLC.

use super::{ControlPacket, Found, Inner, Kind, Scope, Verdict, ethertype, network};
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
/// The header that every PDU begins with (ISO 10589 §9.5), bytes.
const PDU_LEN_MIN: usize = 8;
const MPLS_LABEL_LEN: usize = 4;
/// The S bit in the third octet of a label (RFC 3032 §2.1).
const MPLS_BOTTOM: u8 = 0x01;

#[inline(always)]
pub(super) const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, VLAN_8021Q | VLAN_8021AD | VLAN_QINQ_OLD)
}

#[inline(always)]
pub(super) fn ethernet<B: Bytes + ?Sized>(
    frame: &B,
    scope: Scope,
    found: &mut Found,
) -> Option<Verdict> {
    let ethertype = frame.be16(ETHERTYPE_OFFSET)?;
    tagged(frame, ethertype, ETHERNET_LEN, true, scope, found)
}

/// `hardware`: the frame begins with two hardware addresses.
#[inline(always)]
pub(super) fn tagged<B: Bytes + ?Sized>(
    frame: &B,
    mut ethertype: u16,
    mut offset: usize,
    hardware: bool,
    scope: Scope,
    found: &mut Found,
) -> Option<Verdict> {
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
        _ => return above(frame, ethertype, offset, vlan, scope, found),
    };
    if frame.octets(offset)? != LLC_ISO {
        return Some(Verdict::Other);
    }
    iso(frame, offset + LLC_ISO.len(), end, vlan, hardware, found)
}

/// The packet within a tunnel.
#[inline(always)]
pub(super) fn inner<B: Bytes + ?Sized>(
    frame: &B,
    inner: &Inner,
    scope: Scope,
    found: &mut Found,
) -> Option<Verdict> {
    if matches!(inner.ethertype, ethertype::ISO | ethertype::ISO_SAP) {
        return iso(frame, inner.offset, inner.end, inner.vlan, false, found);
    }
    above(frame, inner.ethertype, inner.offset, inner.vlan, scope, found)
}

/// What is neither a tag nor a length.
#[inline(always)]
fn above<B: Bytes + ?Sized>(
    frame: &B,
    mut ethertype: u16,
    mut offset: usize,
    vlan: [u16; VLAN_TAGS_MAX],
    scope: Scope,
    found: &mut Found,
) -> Option<Verdict> {
    if matches!(ethertype, ethertype::MPLS | ethertype::MPLS_UPSTREAM) {
        offset = frame.forget(labelled(frame, offset)?);
        // Nothing in the labels says what they carry: an Ethernet frame or a control word
        // (RFC 4385) begins with another nibble than IP (RFC 4928).
        let [first, ..]: [u8; 4] = frame.octets(offset)?;
        ethertype = by_nibble(first);
    }
    match ethertype {
        ethertype::IPV4 => network::ipv4(frame, offset, vlan, scope, found),
        ethertype::IPV6 => network::ipv6(frame, offset, vlan, scope, found),
        _ => Some(Verdict::Other),
    }
}

/// The EtherType of an IP packet by its first octet; 0 when it is none.
#[inline(always)]
pub(super) const fn by_nibble(first: u8) -> u16 {
    match first >> 4 {
        4 => ethertype::IPV4,
        6 => ethertype::IPV6,
        _ => 0,
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
    found: &mut Found,
) -> Option<Verdict> {
    let [first, ..]: [u8; PDU_LEN_MIN] = frame.octets(offset)?;
    if first != ISIS {
        return Some(Verdict::Other);
    }
    found.packet = ControlPacket {
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
        found.packet.dst = [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let [a, b, c, d, e, f]: [u8; HARDWARE_ADDRESS_LEN] = frame.octets(HARDWARE_ADDRESS_LEN)?;
        found.packet.src = [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    }
    Some(Verdict::Control)
}
