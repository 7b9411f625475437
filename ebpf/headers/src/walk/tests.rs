//! Tests of the walk: named cases, and properties over built and over random frames.

extern crate std;
use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// Builds frames; every part can be made wrong.
#[derive(Clone, Debug)]
struct Build {
    tags: Vec<(u16, u16)>,
    v6: bool,
    options_len: usize,
    extensions: Vec<(u8, Vec<u8>)>,
    ipv4_fragment: u16,
    protocol: u8,
    ports: (u16, u16),
    tcp_options_len: usize,
    payload: Vec<u8>,
    padding: usize,
    zero_ip_len: bool,
}

impl Build {
    fn tcp(src_port: u16, dst_port: u16, payload: &[u8]) -> Self {
        Self {
            tags: vec![],
            v6: false,
            options_len: 0,
            extensions: vec![],
            ipv4_fragment: 0x4000,
            protocol: TCP,
            ports: (src_port, dst_port),
            tcp_options_len: 0,
            payload: payload.to_vec(),
            padding: 0,
            zero_ip_len: false,
        }
    }

    fn udp(dst_port: u16, payload: &[u8]) -> Self {
        Self { protocol: UDP, ..Self::tcp(49152, dst_port, payload) }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = self.ports.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.ports.1.to_be_bytes());
        if self.protocol == UDP {
            bytes.extend_from_slice(&((UDP_LEN + self.payload.len()) as u16).to_be_bytes());
            bytes.extend_from_slice(&[0, 0]);
        } else {
            bytes.extend_from_slice(&0x0102_0304u32.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.push((((TCP_LEN_MIN + self.tcp_options_len) / 4) as u8) << 4);
            bytes.extend_from_slice(&[0x18, 0xff, 0xff, 0, 0, 0, 0]);
            bytes.extend(vec![1; self.tcp_options_len]);
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn ip(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = vec![];
        if self.v6 {
            let extensions: usize = self.extensions.iter().map(|(_, body)| body.len()).sum();
            let len = if self.zero_ip_len { 0 } else { extensions + transport.len() };
            bytes.extend_from_slice(&[0x60, 0, 0, 0]);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
            bytes.push(self.extensions.first().map_or(self.protocol, |(kind, _)| *kind));
            bytes.push(64);
            bytes.extend_from_slice(&[0xa1; 16]);
            bytes.extend_from_slice(&[0xb2; 16]);
            for (index, (_, body)) in self.extensions.iter().enumerate() {
                let start = bytes.len();
                bytes.extend_from_slice(body);
                bytes[start] = self.extensions.get(index + 1).map_or(self.protocol, |(k, _)| *k);
            }
        } else {
            let header = IPV4_LEN_MIN + self.options_len;
            let len = if self.zero_ip_len { 0 } else { header + transport.len() };
            bytes.extend_from_slice(&[0x40 | (header / 4) as u8, 0xc0]);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
            bytes.extend_from_slice(&[0, 1]);
            bytes.extend_from_slice(&self.ipv4_fragment.to_be_bytes());
            bytes.extend_from_slice(&[1, self.protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
            bytes.extend(vec![1; self.options_len]);
        }
        bytes.extend(transport);
        bytes
    }

    fn frame(&self) -> Vec<u8> {
        let mut bytes = MACS.to_vec();
        for (ethertype, tci) in &self.tags {
            bytes.extend_from_slice(&ethertype.to_be_bytes());
            bytes.extend_from_slice(&tci.to_be_bytes());
        }
        bytes.extend_from_slice(&(if self.v6 { 0x86ddu16 } else { 0x0800 }).to_be_bytes());
        bytes.extend(self.ip());
        bytes.extend(vec![0xee; self.padding]);
        bytes
    }
}

fn extension(kind: u8, units: u8) -> (u8, Vec<u8>) {
    let mut body = vec![0; (usize::from(units) + 1) * 8];
    body[1] = units;
    (kind, body)
}

fn fragment_header(offset_and_more: u16) -> (u8, Vec<u8>) {
    let [high, low] = offset_and_more.to_be_bytes();
    (FRAGMENT, vec![0, 0, high, low, 0, 0, 0, 1])
}

#[test]
fn control_plane_is_found_behind_every_header() {
    let bgp = Build::tcp(40000, 179, b"payload");
    let v6 = Build { v6: true, ..bgp.clone() };
    for (name, build, kind, vlan) in [
        ("plain IPv4", bgp.clone(), Kind::Bgp, [0, 0]),
        ("port 179 as source", Build::tcp(179, 40000, b"x"), Kind::Bgp, [0, 0]),
        ("single hop BFD", Build::udp(3784, &[0; 24]), Kind::Bfd, [0, 0]),
        ("BFD echo", Build::udp(3785, &[0; 12]), Kind::Bfd, [0, 0]),
        ("multihop BFD", Build::udp(4784, &[0; 24]), Kind::Bfd, [0, 0]),
        ("802.1Q", Build { tags: vec![(0x8100, 0xe064)], ..bgp.clone() }, Kind::Bgp, [100, 0]),
        (
            "QinQ",
            Build { tags: vec![(0x88a8, 200), (0x8100, 30)], ..bgp.clone() },
            Kind::Bgp,
            [200, 30],
        ),
        ("IPv4 options", Build { options_len: 40, ..bgp.clone() }, Kind::Bgp, [0, 0]),
        ("TCP options", Build { tcp_options_len: 40, ..bgp.clone() }, Kind::Bgp, [0, 0]),
        ("Ethernet padding", Build { padding: 46, ..bgp.clone() }, Kind::Bgp, [0, 0]),
        ("uncut segment of 64 KiB", Build { zero_ip_len: true, ..bgp.clone() }, Kind::Bgp, [0, 0]),
        ("plain IPv6", v6.clone(), Kind::Bgp, [0, 0]),
        (
            "IPv6 with every extension header",
            Build {
                extensions: vec![
                    extension(HOP_BY_HOP, 0),
                    extension(DESTINATION_OPTIONS, 2),
                    extension(ROUTING, 4),
                    fragment_header(0),
                    (
                        AUTHENTICATION,
                        vec![
                            0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        ],
                    ),
                ],
                ..v6.clone()
            },
            Kind::Bgp,
            [0, 0],
        ),
    ] {
        let frame = build.frame();
        let Walk::Control(packet) = walk_ethernet(&frame[..]) else {
            panic!("{name}: {:?}", walk_ethernet(&frame[..]));
        };
        let payload = &frame[packet.payload_offset..][..packet.payload_len];
        assert_eq!((packet.kind, packet.vlan, payload), (kind, vlan, &build.payload[..]), "{name}");
        assert_eq!((packet.src_port, packet.dst_port), build.ports, "{name}");
    }
}

#[test]
fn a_packet_says_who_speaks_to_whom() {
    let frame = Build::tcp(40000, 179, b"hello").frame();
    let expected = ControlPacket {
        kind: Kind::Bgp,
        ip_version: 4,
        tcp_flags: 0x18,
        src: v4_mapped([192, 0, 2, 1]),
        dst: v4_mapped([198, 51, 100, 2]),
        src_port: 40000,
        dst_port: 179,
        seq: 0x0102_0304,
        vlan: [0, 0],
        payload_offset: 54,
        payload_len: 5,
    };
    assert_eq!(walk_ethernet(&frame[..]), Walk::Control(expected));
    let v6 = Build { v6: true, ..Build::udp(3784, &[0; 24]) }.frame();
    let Walk::Control(packet) = walk_ethernet(&v6[..]) else { panic!("not control plane") };
    assert_eq!((packet.src, packet.dst, packet.ip_version), ([0xa1; 16], [0xb2; 16], 6));
    assert_eq!((packet.seq, packet.tcp_flags, packet.payload_len), (0, 0, 24));
}

#[test]
fn everything_else_is_told_apart() {
    let bgp = Build::tcp(40000, 179, b"payload");
    let v6 = Build { v6: true, ..bgp.clone() };
    let too_many = vec![extension(HOP_BY_HOP, 0); EXTENSION_HEADERS_MAX + 1];
    let arp = [&MACS[..], &[0x08, 0x06], &[0; 28]].concat();
    let llc = [&MACS[..], &[0, 38, 0xfe, 0xfe, 3], &[0; 35]].concat();
    let bad_offset = {
        let mut frame = bgp.frame();
        frame[46] = 0x10;
        frame
    };
    for (name, frame, expected) in [
        ("other TCP", Build::tcp(40000, 443, b"x").frame(), Walk::Other),
        ("UDP to port 179", Build::udp(179, b"x").frame(), Walk::Other),
        (
            "UDP from port 3784",
            Build { ports: (3784, 9), ..Build::udp(9, b"x") }.frame(),
            Walk::Other,
        ),
        ("ICMP", Build { protocol: 1, ..bgp.clone() }.frame(), Walk::Other),
        ("ICMPv6", Build { protocol: 58, ..v6.clone() }.frame(), Walk::Other),
        ("ARP", arp, Walk::Other),
        ("IS-IS over LLC", llc, Walk::Other),
        (
            "three tags",
            Build { tags: vec![(0x88a8, 1), (0x8100, 2), (0x8100, 3)], ..bgp.clone() }.frame(),
            Walk::Other,
        ),
        ("first fragment", Build { ipv4_fragment: 0x2000, ..bgp.clone() }.frame(), Walk::Fragment),
        ("last fragment", Build { ipv4_fragment: 0x00b9, ..bgp.clone() }.frame(), Walk::Fragment),
        (
            "IPv6 fragment",
            Build { extensions: vec![fragment_header(1)], ..v6.clone() }.frame(),
            Walk::Fragment,
        ),
        (
            "ICMPv6 fragment",
            Build { extensions: vec![fragment_header(8)], protocol: 58, ..v6.clone() }.frame(),
            Walk::Other,
        ),
        ("too many headers", Build { extensions: too_many, ..v6.clone() }.frame(), Walk::Truncated),
        ("TCP header length 4", bad_offset, Walk::Truncated),
        ("cut in Ethernet", bgp.frame()[..13].to_vec(), Walk::Truncated),
        ("cut in IPv4", bgp.frame()[..20].to_vec(), Walk::Truncated),
        ("cut in TCP", bgp.frame()[..40].to_vec(), Walk::Truncated),
        ("empty", vec![], Walk::Truncated),
    ] {
        assert_eq!(walk_ethernet(&frame[..]), expected, "{name}");
    }
}

#[test]
fn a_cut_capture_keeps_the_length_on_the_wire() {
    let frame = Build::tcp(179, 40000, &[7; 1000]).frame();
    let Walk::Control(packet) = walk_ethernet(&frame[..96]) else { panic!("not control plane") };
    assert_eq!((packet.payload_len, packet.payload_offset), (1000, 54));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), offset in 0usize..300) {
        walk_ethernet(&bytes[..]);
        walk_ip(&bytes[..], offset);
        crate::bgp_delta(&bytes[..], offset);
        crate::bfd_delta(&bytes[..], offset);
    }

    #[test]
    fn damaged_frames_never_panic_and_never_point_before_the_headers(
        v6 in any::<bool>(), udp in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        damage in proptest::collection::vec((0usize..120, any::<u8>()), 0..6),
        cut in 0usize..160,
    ) {
        let base = if udp { Build::udp(3784, &payload) } else { Build::tcp(1, 179, &payload) };
        let mut frame = Build { v6, ..base }.frame();
        for (at, value) in damage {
            let len = frame.len();
            frame[at % len] = value;
        }
        frame.truncate(cut);
        if let Walk::Control(packet) = walk_ethernet(&frame[..]) {
            prop_assert!(packet.payload_offset >= ETHERNET_LEN + IPV4_LEN_MIN + UDP_LEN);
        }
    }

    #[test]
    fn built_frames_give_back_their_payload(
        v6 in any::<bool>(), udp in any::<bool>(), tag in proptest::option::of(1u16..4095),
        options in 0usize..10, units in proptest::collection::vec(0u8..20, 0..EXTENSION_HEADERS_MAX),
        padding in 0usize..46,
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let base = if udp { Build::udp(4784, &payload) } else { Build::tcp(179, 5, &payload) };
        let build = Build {
            v6,
            tags: tag.map(|id| (0x8100, id)).into_iter().collect(),
            options_len: options * 4,
            extensions: units.iter().map(|units| extension(DESTINATION_OPTIONS, *units)).collect(),
            padding,
            ..base
        };
        let frame = build.frame();
        let Walk::Control(packet) = walk_ethernet(&frame[..]) else { panic!("not control plane") };
        prop_assert_eq!(&frame[packet.payload_offset..][..packet.payload_len], &payload[..]);
        prop_assert_eq!(packet.vlan[0], tag.unwrap_or(0));
        let ip = build.ip();
        let Walk::Control(raw) = walk_ip(&ip[..], 0) else { panic!("not control plane") };
        prop_assert_eq!(&ip[raw.payload_offset..][..raw.payload_len], &payload[..]);
    }
}
