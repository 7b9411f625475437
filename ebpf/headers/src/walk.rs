//! Owns the walk through link, network and transport headers. Never looks into the payload.
//!
//! **Invariant:** a packet without control plane is recognised as such before its addresses are
//! read: that is the path nearly every packet takes in the kernel.

use crate::Bytes;

/// VLAN tags that the walk steps over (802.1ad outer and 802.1Q inner).
pub const VLAN_TAGS_MAX: usize = 2;
/// IPv6 extension headers that the walk steps over.
pub const EXTENSION_HEADERS_MAX: usize = 6;

/// Well-known ports of the control plane.
pub mod port {
    /// BGP over TCP (RFC 4271 §4.1).
    pub const BGP: u16 = 179;
    /// BFD control, single hop, over UDP (RFC 5881 §4).
    pub const BFD_SINGLE_HOP: u16 = 3784;
    /// BFD echo over UDP (RFC 5881 §4); its payload is the sender's own affair.
    pub const BFD_ECHO: u16 = 3785;
    /// BFD control, multihop, over UDP (RFC 5883 §5).
    pub const BFD_MULTI_HOP: u16 = 4784;
    /// BFD control on the member links of an aggregation (RFC 7130 §2.2).
    pub const BFD_LAG: u16 = 6784;
    /// Seamless BFD: the reflector answers from this port to the initiator's own (RFC 7881 §3).
    pub const BFD_SEAMLESS: u16 = 7784;
}

/// TCP flag bits (RFC 9293 §3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;
const ETHERTYPE_OFFSET: usize = 12;
const ETHERNET_LEN: usize = 14;
const VLAN_TAG_LEN: usize = 4;
const VLAN_ID_MASK: u16 = 0x0fff;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const IPV4_LEN_MIN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN_MIN: usize = 20;
const UDP_LEN: usize = 8;
/// More Fragments and the fragment offset of IPv4 (RFC 791 §3.1).
const IPV4_FRAGMENT_MASK: u16 = 0x3fff;
/// M flag and the fragment offset of IPv6 (RFC 8200 §4.5).
const IPV6_FRAGMENT_MASK: u16 = 0xfff9;

/// Which control protocol a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BGP: TCP with port 179 at either end.
    Bgp,
    /// BFD: UDP to port 3784, 3785, 4784, 6784 or 7784, or from the latter.
    Bfd,
}

/// A control-plane packet: where it goes and where its payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// Which protocol.
    pub kind: Kind,
    /// 4 or 6.
    pub ip_version: u8,
    /// TCP flags (RFC 9293 §3.1, low eight bits); 0 for UDP.
    pub tcp_flags: u8,
    /// Source address; IPv4 as `::ffff:a.b.c.d`.
    pub src: [u8; 16],
    /// Destination address; IPv4 as `::ffff:a.b.c.d`.
    pub dst: [u8; 16],
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// TCP sequence number of the first payload byte (of the SYN itself when SYN is set); 0 for UDP.
    pub seq: u32,
    /// VLAN ids, the outer first; 0 where there is no tag.
    pub vlan: [u16; VLAN_TAGS_MAX],
    /// Offset of the first payload byte from the start of the frame.
    pub payload_offset: usize,
    /// Payload length on the wire in bytes, from the IP header: Ethernet padding is not payload.
    /// It may exceed what the frame holds when the capture was cut short.
    pub payload_len: usize,
}

/// What the walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// BGP or BFD.
    Control(ControlPacket),
    /// Anything else.
    Other,
    /// A fragment of a TCP or UDP packet: whether it is control plane cannot be known from it alone.
    Fragment,
    /// The headers end before they say where they lead, contradict each other, or have more
    /// extension headers than [`EXTENSION_HEADERS_MAX`].
    Truncated,
}

/// An IPv4 address in its IPv4-mapped IPv6 form (RFC 4291 §2.5.5.2).
#[must_use]
#[inline(always)]
pub const fn v4_mapped(octets: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = octets;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Walks an Ethernet frame.
#[inline(always)]
pub fn walk_ethernet<B: Bytes + ?Sized>(frame: &B) -> Walk {
    ethernet(frame).unwrap_or(Walk::Truncated)
}

/// Walks an IPv4 or IPv6 packet that starts at `offset`; for link types without Ethernet.
#[inline(always)]
pub fn walk_ip<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Walk {
    let walked = match frame.u8(offset) {
        Some(first) if first >> 4 == 4 => ipv4(frame, offset, [0; VLAN_TAGS_MAX]),
        Some(first) if first >> 4 == 6 => ipv6(frame, offset, [0; VLAN_TAGS_MAX]),
        Some(_) => Some(Walk::Other),
        None => None,
    };
    walked.unwrap_or(Walk::Truncated)
}

#[inline(always)]
fn ethernet<B: Bytes + ?Sized>(frame: &B) -> Option<Walk> {
    let mut vlan = [0; VLAN_TAGS_MAX];
    let mut ethertype = frame.be16(ETHERTYPE_OFFSET)?;
    let mut offset = ETHERNET_LEN;
    for id in &mut vlan {
        if !matches!(ethertype, ETHERTYPE_8021Q | ETHERTYPE_8021AD | ETHERTYPE_QINQ_OLD) {
            break;
        }
        let [a, b, c, d] = frame.octets::<VLAN_TAG_LEN>(offset)?;
        *id = u16::from_be_bytes([a, b]) & VLAN_ID_MASK;
        ethertype = u16::from_be_bytes([c, d]);
        offset += VLAN_TAG_LEN;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, offset, vlan),
        ETHERTYPE_IPV6 => ipv6(frame, offset, vlan),
        _ => Some(Walk::Other),
    }
}

/// Where the network header lies and what it says; the addresses are read only for control plane.
struct Network {
    version: u8,
    start: usize,
    /// First byte past the packet, by the IP header's own length.
    end: usize,
    vlan: [u16; VLAN_TAGS_MAX],
}

impl Network {
    #[inline(always)]
    fn addresses<B: Bytes + ?Sized>(&self, frame: &B) -> Option<([u8; 16], [u8; 16])> {
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

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(frame: &B, start: usize, vlan: [u16; VLAN_TAGS_MAX]) -> Option<Walk> {
    let header: [u8; IPV4_LEN_MIN] = frame.octets(start)?;
    let protocol = header[9];
    if protocol != TCP && protocol != UDP {
        return Some(Walk::Other);
    }
    if u16::from_be_bytes([header[6], header[7]]) & IPV4_FRAGMENT_MASK != 0 {
        return Some(Walk::Fragment);
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header_len < IPV4_LEN_MIN {
        return None;
    }
    let transport = start + header_len;
    let Some(kind) = control_kind(frame, transport, protocol)? else { return Some(Walk::Other) };
    let end = match usize::from(u16::from_be_bytes([header[2], header[3]])) {
        // A segment that the sender has not cut yet and that exceeds 64 KiB says 0.
        0 => frame.length(),
        total => start + total,
    };
    control(frame, kind, transport, &Network { version: 4, start, end, vlan })
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(frame: &B, start: usize, vlan: [u16; VLAN_TAGS_MAX]) -> Option<Walk> {
    let header: [u8; IPV6_LEN] = frame.octets(start)?;
    let mut next = header[6];
    let mut offset = start + IPV6_LEN;
    let mut extensions = 0;
    while next != TCP && next != UDP {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | FRAGMENT) {
            return Some(Walk::Other);
        }
        if extensions == EXTENSION_HEADERS_MAX {
            return None;
        }
        extensions += 1;
        let [following, units, high, low] = frame.octets(offset)?;
        if next == FRAGMENT && u16::from_be_bytes([high, low]) & IPV6_FRAGMENT_MASK != 0 {
            return Some(fragment_of(following));
        }
        offset += match next {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        next = following;
    }
    let Some(kind) = control_kind(frame, offset, next)? else { return Some(Walk::Other) };
    let end = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        // A jumbogram (RFC 2675), or a segment that the sender has not cut yet.
        0 => frame.length(),
        payload => start + IPV6_LEN + payload,
    };
    control(frame, kind, offset, &Network { version: 6, start, end, vlan })
}

/// A fragment counts as one only where it can hide TCP or UDP.
#[inline(always)]
const fn fragment_of(next: u8) -> Walk {
    match next {
        TCP | UDP | HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION => Walk::Fragment,
        _ => Walk::Other,
    }
}

/// By the ports; `Some(None)` when it is no control plane, `None` when the ports are cut off.
#[inline(always)]
fn control_kind<B: Bytes + ?Sized>(
    frame: &B,
    transport: usize,
    protocol: u8,
) -> Option<Option<Kind>> {
    let [a, b, c, d] = frame.octets(transport)?;
    let (src, dst) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if protocol == UDP {
        let bfd = matches!(
            dst,
            port::BFD_SINGLE_HOP
                | port::BFD_ECHO
                | port::BFD_MULTI_HOP
                | port::BFD_LAG
                | port::BFD_SEAMLESS
        ) || src == port::BFD_SEAMLESS;
        return Some(bfd.then_some(Kind::Bfd));
    }
    let bgp = dst == port::BGP || src == port::BGP;
    Some(bgp.then_some(Kind::Bgp))
}

#[inline(always)]
fn control<B: Bytes + ?Sized>(
    frame: &B,
    kind: Kind,
    transport: usize,
    network: &Network,
) -> Option<Walk> {
    let (src, dst) = network.addresses(frame)?;
    let mut packet = ControlPacket {
        kind,
        ip_version: network.version,
        tcp_flags: 0,
        src,
        dst,
        src_port: 0,
        dst_port: 0,
        seq: 0,
        vlan: network.vlan,
        payload_offset: transport + UDP_LEN,
        payload_len: 0,
    };
    let mut end = network.end;
    let [a, b, c, d] = match kind {
        Kind::Bgp => {
            let header: [u8; TCP_LEN_MIN] = frame.octets(transport)?;
            let header_len = usize::from(header[12] >> 4) * 4;
            if header_len < TCP_LEN_MIN {
                return None;
            }
            packet.seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            packet.tcp_flags = header[13];
            packet.payload_offset = transport + header_len;
            [header[0], header[1], header[2], header[3]]
        }
        Kind::Bfd => {
            let header: [u8; UDP_LEN] = frame.octets(transport)?;
            let udp_end = transport + usize::from(u16::from_be_bytes([header[4], header[5]]));
            end = if udp_end < end { udp_end } else { end };
            [header[0], header[1], header[2], header[3]]
        }
    };
    packet.src_port = u16::from_be_bytes([a, b]);
    packet.dst_port = u16::from_be_bytes([c, d]);
    packet.payload_len = end.checked_sub(packet.payload_offset)?;
    Some(Walk::Control(packet))
}

#[cfg(test)]
mod tests;
