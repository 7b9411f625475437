//! Frames as a gateway sees them, between documentation addresses (RFC 5737, RFC 3849).
//!
//! **Invariant:** lengths in the headers are right; checksums are not computed, for no program of
//! Edgelore looks at them.

/// Shortest Ethernet frame without its check sequence, bytes.
const FRAME_LEN_MIN: usize = 60;
/// The usual size of small packets in comparisons, bytes.
const FRAME_LEN_SMALL: usize = 64;

/// Bytes before the payload of a BGP segment made here: Ethernet, IPv4, TCP.
pub(crate) const BGP_HEADERS_LEN: usize = 14 + 20 + 20;
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const UDP: u8 = 17;
const TCP: u8 = 6;
const BGP_PORT: u16 = 179;
const KEEPALIVE: [u8; 19] =
    *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13\x04";

/// 64 bytes of UDP over IPv4.
pub(crate) fn udp() -> Vec<u8> {
    small(&[0x08, 0x00], |payload| ipv4(UDP, &udp_header(payload)))
}

/// 64 bytes of UDP over IPv4 in VLAN 100 (IEEE 802.1Q).
pub(crate) fn vlan_udp() -> Vec<u8> {
    small(&[0x81, 0x00, 0, 100, 0x08, 0x00], |payload| ipv4(UDP, &udp_header(payload)))
}

/// 64 bytes of UDP over IPv6.
pub(crate) fn ipv6_udp() -> Vec<u8> {
    small(&[0x86, 0xdd], |payload| ipv6(UDP, &udp_header(payload)))
}

/// 64 bytes of TCP that are not BGP.
pub(crate) fn tcp_other() -> Vec<u8> {
    small(&[0x08, 0x00], |payload| ipv4(TCP, &tcp_header(443, payload)))
}

/// A BGP segment that carries one KEEPALIVE.
pub(crate) fn keepalive() -> Vec<u8> {
    bgp(&KEEPALIVE)
}

/// A BGP segment without payload.
pub(crate) fn pure_ack() -> Vec<u8> {
    bgp(&[])
}

/// A BGP segment.
pub(crate) fn bgp(payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(&[0x08, 0x00], &ipv4(TCP, &tcp_header(BGP_PORT, payload)));
    frame.resize(frame.len().max(FRAME_LEN_MIN), 0);
    frame
}

/// The frame whose payload makes it 64 bytes long.
fn small(ether_type: &[u8], packet: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let headers = ethernet(ether_type, &packet(&[])).len();
    ethernet(ether_type, &packet(&vec![0; FRAME_LEN_SMALL - headers]))
}

fn ethernet(ether_type: &[u8], packet: &[u8]) -> Vec<u8> {
    [&MACS, ether_type, packet].concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = length_of(20 + payload.len());
    let header =
        [0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    [&header, payload].concat()
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = length_of(payload.len());
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let header = [0x60, 0, 0, 0, high, low, next_header, 64];
    [&header[..], &address(1), &address(2), payload].concat()
}

fn udp_header(payload: &[u8]) -> Vec<u8> {
    let [high, low] = length_of(8 + payload.len());
    [&[0x9c, 0x40, 0x13, 0x88, high, low, 0, 0], payload].concat()
}

/// Port 40000 to `port`, sequence number 1, PSH and ACK.
fn tcp_header(port: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let header = [0x9c, 0x40, high, low, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x10, 0, 0, 0, 0, 0];
    [&header, payload].concat()
}

fn length_of(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("frames here are short").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_headers::{Kind, Scope, Walk, walk_ethernet};

    #[test]
    fn small_frames_have_64_bytes_and_are_no_control_plane() {
        for frame in [udp(), vlan_udp(), ipv6_udp(), tcp_other()] {
            assert_eq!(frame.len(), 64);
            assert!(
                matches!(walk_ethernet(frame.as_slice(), Scope::Gateway), Walk::Other),
                "{frame:?}"
            );
        }
    }

    #[test]
    fn bgp_frames_are_walked_to_their_payload() {
        for (frame, expected) in [(keepalive(), 19), (pure_ack(), 0), (bgp(&[1, 2, 3]), 3)] {
            let Walk::Control(packet) = walk_ethernet(frame.as_slice(), Scope::Gateway) else {
                panic!("{frame:?}")
            };
            assert!(matches!(packet.kind, Kind::Bgp));
            assert_eq!((packet.payload_len, packet.dst_port), (expected, 179));
        }
    }
}
