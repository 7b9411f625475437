//! Owns ports, and what TCP and UDP say of a control-plane packet.

use super::network::{Network, UDP};
use super::{ControlPacket, Found, Kind, Scope, Verdict, port};
use crate::Bytes;

pub(super) const TCP_LEN_MIN: usize = 20;
pub(super) const UDP_LEN: usize = 8;

/// By the ports; `Some(None)` when it is no control plane, `None` when the ports are cut off.
#[inline(always)]
pub(super) fn kind<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    protocol: u8,
    scope: Scope,
) -> Option<Option<Kind>> {
    let [a, b, c, d] = frame.octets(offset)?;
    let (src, dst) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(if protocol == UDP { by_udp(src, dst) } else { by_tcp(src, dst, scope) })
}

#[inline(always)]
const fn by_udp(src: u16, dst: u16) -> Option<Kind> {
    match dst {
        port::BFD_SINGLE_HOP
        | port::BFD_ECHO
        | port::BFD_MULTI_HOP
        | port::BFD_LAG
        | port::BFD_SEAMLESS => Some(Kind::Bfd),
        port::LDP => Some(Kind::LdpHello),
        _ if src == port::BFD_SEAMLESS => Some(Kind::Bfd),
        _ => None,
    }
}

#[inline(always)]
const fn by_tcp(src: u16, dst: u16, scope: Scope) -> Option<Kind> {
    if dst == port::BGP || src == port::BGP {
        Some(Kind::Bgp)
    } else if dst == port::LDP || src == port::LDP {
        Some(Kind::Ldp)
    } else if matches!(scope, Scope::Capture) && (dst == port::BMP || src == port::BMP) {
        Some(Kind::Bmp)
    } else {
        None
    }
}

/// The control-plane packet whose transport header, or payload without one, begins at `offset`.
#[inline(always)]
pub(super) fn control<B: Bytes + ?Sized>(
    frame: &B,
    kind: Kind,
    offset: usize,
    network: &Network,
    found: &mut Found,
) -> Option<Verdict> {
    let (src, dst) = network.addresses(frame)?;
    let packet = &mut found.packet;
    *packet = ControlPacket {
        kind,
        ip_version: network.version,
        tcp_flags: 0,
        src,
        dst,
        src_port: 0,
        dst_port: 0,
        seq: 0,
        vlan: network.vlan,
        payload_offset: offset,
        payload_len: 0,
    };
    let mut end = network.end;
    match kind {
        Kind::Bgp | Kind::Ldp | Kind::Bmp => {
            let header: [u8; TCP_LEN_MIN] = frame.octets(offset)?;
            let header_len = usize::from(header[12] >> 4) * 4;
            if header_len < TCP_LEN_MIN {
                return None;
            }
            packet.src_port = u16::from_be_bytes([header[0], header[1]]);
            packet.dst_port = u16::from_be_bytes([header[2], header[3]]);
            packet.seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            packet.tcp_flags = header[13];
            packet.payload_offset += header_len;
        }
        Kind::Bfd | Kind::LdpHello => {
            let header: [u8; UDP_LEN] = frame.octets(offset)?;
            packet.src_port = u16::from_be_bytes([header[0], header[1]]);
            packet.dst_port = u16::from_be_bytes([header[2], header[3]]);
            let udp_end = offset + usize::from(u16::from_be_bytes([header[4], header[5]]));
            end = if udp_end < end { udp_end } else { end };
            packet.payload_offset += UDP_LEN;
        }
        Kind::Ospf | Kind::Isis => {}
    }
    packet.payload_len = end.checked_sub(packet.payload_offset)?;
    Some(Verdict::Control)
}
