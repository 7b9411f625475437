//! Owns the walk through link, network and transport headers. Never looks into the payload.
//!
//! ```text
//! walk.rs        what the walk takes and gives; its two steps
//! walk/link.rs   Ethernet, VLAN tags, MPLS labels, LLC
//! walk/network.rs   IPv4, IPv6, what they carry, one tunnel
//! walk/transport.rs  ports, TCP and UDP
//! walk/quick.rs  the short answer for the packets that nearly all packets are
//! ```
//!
//! **Invariant:** [`quick::is_other`] says so only of packets of which the whole walk says the same.

mod link;
mod network;
mod quick;
mod transport;

use crate::Bytes;

pub use link::{MPLS_LABELS_MAX, VLAN_TAGS_MAX};
pub use network::EXTENSION_HEADERS_MAX;
pub use quick::is_other;

/// Well-known ports of the control plane.
pub mod port {
    /// BGP over TCP (RFC 4271 §4.1).
    pub const BGP: u16 = 179;
    /// LDP over TCP, its hellos over UDP (RFC 5036 §3.10).
    pub const LDP: u16 = 646;
    /// BMP over TCP: the registered port, which collectors listen on by default.
    pub const BMP: u16 = 1790;
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

/// EtherTypes that the walk follows (IEEE 802, RFC 5332 for MPLS).
pub mod ethertype {
    /// Internet Protocol version 4.
    pub const IPV4: u16 = 0x0800;
    /// Internet Protocol version 6.
    pub const IPV6: u16 = 0x86dd;
    /// MPLS, the label assigned downstream.
    pub const MPLS: u16 = 0x8847;
    /// MPLS, the label assigned upstream.
    pub const MPLS_UPSTREAM: u16 = 0x8848;
    /// LLC in frames longer than a length field can say.
    pub const LLC_JUMBO: u16 = 0x8870;
    /// ISO network protocols in GRE and Cisco's HDLC, which have no LLC.
    pub const ISO: u16 = 0x00fe;
    /// The same by its two service access points.
    pub const ISO_SAP: u16 = 0xfefe;
}

/// Which packets count as control plane; a constant wherever the walk is called, so that what a
/// scope leaves out costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What a gateway watches on its interfaces.
    Gateway,
    /// What a capture file is searched for: also BMP, which a gateway itself listens to.
    Capture,
}

/// Which control protocol a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BGP: TCP with port 179 at either end.
    Bgp,
    /// BFD: UDP to port 3784, 3785, 4784, 6784 or 7784, or from the latter.
    Bfd,
    /// OSPF: IP protocol 89, version 2 in IPv4 and version 3 in IPv6.
    Ospf,
    /// IS-IS: over LLC, or where ISO network protocols stand alone.
    Isis,
    /// LDP session: TCP with port 646 at either end.
    Ldp,
    /// LDP discovery: UDP to port 646.
    LdpHello,
    /// BMP: TCP with port 1790 at either end; in [`Scope::Capture`] alone.
    Bmp,
}

/// A control-plane packet: where it goes and where its payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// Which protocol.
    pub kind: Kind,
    /// 4 or 6; 0 for IS-IS, which needs no IP.
    pub ip_version: u8,
    /// TCP flags (RFC 9293 §3.1, low eight bits); 0 without TCP.
    pub tcp_flags: u8,
    /// Source address; IPv4 as `::ffff:a.b.c.d`. IS-IS: the hardware address in the first six
    /// octets, zero where the link has none.
    pub src: [u8; 16],
    /// Destination address, likewise.
    pub dst: [u8; 16],
    /// Source port; 0 without TCP or UDP.
    pub src_port: u16,
    /// Destination port; 0 without TCP or UDP.
    pub dst_port: u16,
    /// TCP sequence number of the first payload byte (of the SYN itself when SYN is set); 0
    /// without TCP.
    pub seq: u32,
    /// VLAN ids, the outer first; 0 where there is no tag.
    pub vlan: [u16; VLAN_TAGS_MAX],
    /// Offset of the first payload byte from the start of the frame: what follows TCP, UDP or, for
    /// OSPF, IP; IS-IS from its discriminator (0x83) on.
    pub payload_offset: usize,
    /// Payload length on the wire in bytes, from the headers: Ethernet padding is not payload.
    /// It may exceed what the frame holds when the capture was cut short.
    pub payload_len: usize,
}

/// What the walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// One of [`Kind`].
    Control(ControlPacket),
    /// Anything else.
    Other,
    /// A fragment of an IP packet: whether it is control plane cannot be known from it alone.
    Fragment,
    /// The headers end before they say where they lead, contradict each other, or are more than
    /// [`EXTENSION_HEADERS_MAX`] or [`MPLS_LABELS_MAX`].
    Truncated,
}

/// A packet within a packet, which the second step of the walk looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// What it is, see [`ethertype`].
    pub ethertype: u16,
    /// Where it begins, from the start of the frame.
    pub offset: usize,
    /// First byte past it, from the start of the frame.
    pub end: usize,
    /// VLAN ids of the outer frame.
    pub vlan: [u16; VLAN_TAGS_MAX],
}

/// What a step of the walk says. What it found lies in [`Found`]: the kernel's verifier wants every
/// part of a value to be written, and those of an enumeration's other variants are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// [`Walk::Control`]; see [`Found::packet`].
    Control,
    /// A tunnel, see [`Found::inner`]: [`step_inner`] goes on.
    Tunnel,
    /// [`Walk::Other`].
    Other,
    /// [`Walk::Fragment`].
    Fragment,
    /// [`Walk::Truncated`].
    Truncated,
}

/// What a step of the walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Valid with [`Verdict::Control`].
    pub packet: ControlPacket,
    /// Valid with [`Verdict::Tunnel`].
    pub inner: Inner,
}

impl Found {
    /// Nothing yet.
    pub const NOTHING: Self = Self {
        packet: ControlPacket {
            kind: Kind::Bgp,
            ip_version: 0,
            tcp_flags: 0,
            src: [0; 16],
            dst: [0; 16],
            src_port: 0,
            dst_port: 0,
            seq: 0,
            vlan: [0; VLAN_TAGS_MAX],
            payload_offset: 0,
            payload_len: 0,
        },
        inner: Inner { ethertype: 0, offset: 0, end: 0, vlan: [0; VLAN_TAGS_MAX] },
    };
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
pub fn walk_ethernet<B: Bytes + ?Sized>(frame: &B, scope: Scope) -> Walk {
    let mut found = Found::NOTHING;
    let verdict = step_ethernet(frame, scope, &mut found);
    follow(frame, verdict, scope, &mut found)
}

/// Walks what `ethertype` announces at `offset`, for link types other than Ethernet; a length up
/// to 1500 announces LLC, as in IEEE 802.3.
#[inline(always)]
pub fn walk_ethertype<B: Bytes + ?Sized>(
    frame: &B,
    ethertype: u16,
    offset: usize,
    scope: Scope,
) -> Walk {
    let mut found = Found::NOTHING;
    let verdict = link::tagged(frame, ethertype, offset, false, scope, &mut found);
    follow(frame, verdict.unwrap_or(Verdict::Truncated), scope, &mut found)
}

/// Walks an IPv4 or IPv6 packet that starts at `offset`; for link types without Ethernet.
#[inline(always)]
pub fn walk_ip<B: Bytes + ?Sized>(frame: &B, offset: usize, scope: Scope) -> Walk {
    let Some(first) = frame.u8(offset) else { return Walk::Truncated };
    match link::by_nibble(first) {
        0 => Walk::Other,
        ethertype => walk_ethertype(frame, ethertype, offset, scope),
    }
}

/// Walks an ISO network protocol that starts at `offset`: IS-IS, or nothing of interest.
#[inline(always)]
pub fn walk_iso<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Walk {
    let mut found = Found::NOTHING;
    let vlan = [0; VLAN_TAGS_MAX];
    let verdict = link::iso(frame, offset, frame.length(), vlan, false, &mut found);
    follow(frame, verdict.unwrap_or(Verdict::Truncated), Scope::Capture, &mut found)
}

/// The first step of [`walk_ethernet`]: up to the control plane, or to the packet within a tunnel.
#[inline(always)]
pub fn step_ethernet<B: Bytes + ?Sized>(frame: &B, scope: Scope, found: &mut Found) -> Verdict {
    link::ethernet(frame, scope, found).unwrap_or(Verdict::Truncated)
}

/// The second step: a packet within a packet. A tunnel within the tunnel is not followed.
#[inline(always)]
pub fn step_inner<B: Bytes + ?Sized>(
    frame: &B,
    inner: &Inner,
    scope: Scope,
    found: &mut Found,
) -> Verdict {
    match link::inner(frame, inner, scope, found) {
        Some(Verdict::Tunnel) => Verdict::Other,
        Some(verdict) => verdict,
        None => Verdict::Truncated,
    }
}

/// The second step where it is needed, and the result of both.
#[inline(always)]
fn follow<B: Bytes + ?Sized>(
    frame: &B,
    mut verdict: Verdict,
    scope: Scope,
    found: &mut Found,
) -> Walk {
    if verdict == Verdict::Tunnel {
        let inner = found.inner;
        verdict = step_inner(frame, &inner, scope, found);
    }
    match verdict {
        Verdict::Control => Walk::Control(found.packet),
        Verdict::Tunnel | Verdict::Other => Walk::Other,
        Verdict::Fragment => Walk::Fragment,
        Verdict::Truncated => Walk::Truncated,
    }
}

#[cfg(test)]
mod tests;
