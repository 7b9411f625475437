//! Owns IPv4 and IPv6 with their extension headers, and the tunnels that they carry: GRE and IP
//! in IP.

use super::transport::control;
use super::{Found, Inner, Kind, Scope, VLAN_TAGS_MAX, Verdict, ethertype, transport, v4_mapped};
use crate::Bytes;

/// IPv6 extension headers that the walk steps over.
pub const EXTENSION_HEADERS_MAX: usize = 6;

pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const IPV4_WITHIN: u8 = 4;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const IPV6_WITHIN: u8 = 41;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const GRE: u8 = 47;
pub(super) const AUTHENTICATION: u8 = 51;
pub(super) const DESTINATION_OPTIONS: u8 = 60;
pub(super) const OSPF: u8 = 89;

pub(super) const IPV4_LEN_MIN: usize = 20;
pub(super) const IPV6_LEN: usize = 40;
/// More Fragments and the fragment offset of IPv4 (RFC 791 §3.1).
pub(super) const IPV4_FRAGMENT_MASK: u16 = 0x3fff;
/// M flag and the fragment offset of IPv6 (RFC 8200 §4.5).
const IPV6_FRAGMENT_MASK: u16 = 0xfff9;

/// Where the network header lies and what it says; the addresses are read only for control plane.
pub(super) struct Network {
    pub(super) version: u8,
    start: usize,
    /// First byte past the packet, by the IP header's own length.
    pub(super) end: usize,
    pub(super) vlan: [u16; VLAN_TAGS_MAX],
}

impl Network {
    #[inline(always)]
    pub(super) fn addresses<B: Bytes + ?Sized>(&self, frame: &B) -> Option<([u8; 16], [u8; 16])> {
        if self.version == 4 {
            let src = v4_mapped(frame.octets(self.start + 12)?);
            Some((src, v4_mapped(frame.octets(self.start + 16)?)))
        } else {
            Some((frame.octets(self.start + 8)?, frame.octets(self.start + 24)?))
        }
    }
}

// From here on, headers are read whole: one bounds check covers every field, for the packet's
// cost and because the kernel's verifier ties a check to the one pointer that was compared.

/// What the walk looks into, in whole packets.
#[inline(always)]
const fn is_followed(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | OSPF | GRE | IPV4_WITHIN | IPV6_WITHIN)
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | FRAGMENT)
}

#[inline(always)]
pub(super) fn ipv4<B: Bytes + ?Sized>(
    frame: &B,
    start: usize,
    vlan: [u16; VLAN_TAGS_MAX],
    scope: Scope,
    found: &mut Found,
) -> Option<Verdict> {
    let header: [u8; IPV4_LEN_MIN] = frame.octets(start)?;
    let mut protocol = header[9];
    if !is_followed(protocol) && protocol != AUTHENTICATION {
        return Some(Verdict::Other);
    }
    if u16::from_be_bytes([header[6], header[7]]) & IPV4_FRAGMENT_MASK != 0 {
        return Some(Verdict::Fragment);
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header_len < IPV4_LEN_MIN {
        return None;
    }
    let mut offset = start + header_len;
    if protocol == AUTHENTICATION {
        let [following, units, _, _] = frame.octets(offset)?;
        offset = frame.forget(offset + authentication_len(units));
        protocol = following;
    }
    let end = match usize::from(u16::from_be_bytes([header[2], header[3]])) {
        // A segment that the sender has not cut yet and that exceeds 64 KiB says 0.
        0 => frame.length(),
        total => start + total,
    };
    upper(frame, protocol, offset, &Network { version: 4, start, end, vlan }, scope, found)
}

#[inline(always)]
pub(super) fn ipv6<B: Bytes + ?Sized>(
    frame: &B,
    start: usize,
    vlan: [u16; VLAN_TAGS_MAX],
    scope: Scope,
    found: &mut Found,
) -> Option<Verdict> {
    let header: [u8; IPV6_LEN] = frame.octets(start)?;
    let mut next = header[6];
    let mut offset = start + IPV6_LEN;
    let mut extensions = 0;
    while is_extension(next) {
        if extensions == EXTENSION_HEADERS_MAX {
            return None;
        }
        extensions += 1;
        let [following, units, high, low] = frame.octets(offset)?;
        if next == FRAGMENT && u16::from_be_bytes([high, low]) & IPV6_FRAGMENT_MASK != 0 {
            let hides = is_followed(following) || is_extension(following);
            return Some(if hides { Verdict::Fragment } else { Verdict::Other });
        }
        let len = match next {
            FRAGMENT => 8,
            AUTHENTICATION => authentication_len(units),
            _ => (usize::from(units) + 1) * 8,
        };
        offset = frame.forget(offset + len);
        next = following;
    }
    let end = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        // A jumbogram (RFC 2675), or a segment that the sender has not cut yet.
        0 => frame.length(),
        payload => start + IPV6_LEN + payload,
    };
    upper(frame, next, offset, &Network { version: 6, start, end, vlan }, scope, found)
}

/// Length of an Authentication Header (RFC 4302 §2.2), bytes.
#[inline(always)]
const fn authentication_len(units: u8) -> usize {
    (units as usize + 2) * 4
}

/// What IP carries.
#[inline(always)]
fn upper<B: Bytes + ?Sized>(
    frame: &B,
    protocol: u8,
    offset: usize,
    network: &Network,
    scope: Scope,
    found: &mut Found,
) -> Option<Verdict> {
    let ethertype = match protocol {
        TCP | UDP => {
            let kind = transport::kind(frame, offset, protocol, scope)?;
            let Some(kind) = kind else { return Some(Verdict::Other) };
            return control(frame, kind, offset, network, found);
        }
        OSPF => return control(frame, Kind::Ospf, offset, network, found),
        GRE => return gre(frame, offset, network, found),
        IPV4_WITHIN => ethertype::IPV4,
        IPV6_WITHIN => ethertype::IPV6,
        _ => return Some(Verdict::Other),
    };
    found.inner = within(ethertype, offset, network);
    Some(Verdict::Tunnel)
}

#[inline(always)]
const fn within(ethertype: u16, offset: usize, network: &Network) -> Inner {
    Inner { ethertype, offset, end: network.end, vlan: network.vlan }
}

/// GRE version 0 without source routing.
///
/// ```text
/// C R K S … version (2 octets) | protocol (2) | C: checksum, reserved (4) | K: key (4) | S: sequence (4)
/// ```
/// RFC 2784 §2, RFC 2890 §2.
#[inline(always)]
fn gre<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    network: &Network,
    found: &mut Found,
) -> Option<Verdict> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING_PRESENT: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    let [a, b, c, d] = frame.octets(offset)?;
    let (flags, protocol) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if flags & (ROUTING_PRESENT | VERSION) != 0 {
        return Some(Verdict::Other);
    }
    let mut start = offset + 4;
    for field in [CHECKSUM, KEY, SEQUENCE] {
        if flags & field != 0 {
            start += 4;
        }
    }
    found.inner = within(protocol, start, network);
    Some(Verdict::Tunnel)
}
