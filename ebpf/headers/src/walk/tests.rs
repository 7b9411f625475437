//! Tests of the walk: named cases, and properties over built and over random frames.

extern crate std;
use super::link::{ETHERNET_LEN, MPLS_LABELS_MAX};
use super::network::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, GRE, HOP_BY_HOP, IPV4_LEN_MIN, IPV4_WITHIN,
    IPV6_WITHIN, OSPF, ROUTING, TCP, UDP,
};
use super::transport::{TCP_LEN_MIN, UDP_LEN};
use super::{
    ControlPacket, EXTENSION_HEADERS_MAX, Kind, Scope, Walk, is_other, v4_mapped, walk_iso,
};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn walk_ethernet(frame: &[u8]) -> Walk {
    let walk = super::walk_ethernet(frame, Scope::Gateway);
    assert!(!is_other(frame, Scope::Gateway) || walk == Walk::Other, "the quick answer: {walk:?}");
    walk
}

fn walk_ip(frame: &[u8], offset: usize) -> Walk {
    super::walk_ip(frame, offset, Scope::Gateway)
}

/// Builds frames; every part can be made wrong.
#[derive(Clone, Debug)]
struct Build {
    tags: Vec<(u16, u16)>,
    labels: usize,
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
            labels: 0,
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

    /// `payload` right after IP.
    fn protocol(protocol: u8, payload: &[u8]) -> Self {
        Self { protocol, ports: (0, 0), ..Self::tcp(0, 0, payload) }
    }

    /// GRE with these flags and, for each of the three that count, a field of four octets.
    fn gre(flags: u16, ethertype: u16, payload: &[u8]) -> Self {
        let fields = [0x8000, 0x2000, 0x1000].iter().filter(|&&flag| flags & flag != 0).count();
        let head = [flags.to_be_bytes(), ethertype.to_be_bytes()].concat();
        Self::protocol(GRE, &[&head[..], &vec![0xcc; fields * 4], payload].concat())
    }

    fn transport(&self) -> Vec<u8> {
        if self.protocol != TCP && self.protocol != UDP {
            return self.payload.clone();
        }
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
        let ethertype = match (self.labels, self.v6) {
            (0, false) => 0x0800u16,
            (0, true) => 0x86dd,
            _ => 0x8847,
        };
        bytes.extend_from_slice(&ethertype.to_be_bytes());
        for label in (0..self.labels).rev() {
            bytes.extend_from_slice(&[0x12, 0x34, 0x50 | u8::from(label == 0), 64]);
        }
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
        ("LDP", Build::tcp(646, 40000, b"pdu"), Kind::Ldp, [0, 0]),
        ("LDP hello", Build::udp(646, b"hello"), Kind::LdpHello, [0, 0]),
        ("OSPF", Build::protocol(OSPF, b"hello"), Kind::Ospf, [0, 0]),
        ("OSPFv3", Build { v6: true, ..Build::protocol(OSPF, b"hello") }, Kind::Ospf, [0, 0]),
        ("one label", Build { labels: 1, ..bgp.clone() }, Kind::Bgp, [0, 0]),
        ("labels over IPv6", Build { labels: MPLS_LABELS_MAX, ..v6.clone() }, Kind::Bgp, [0, 0]),
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
        let Walk::Control(packet) = walk_ethernet(&frame) else {
            panic!("{name}: {:?}", walk_ethernet(&frame));
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
    assert_eq!(walk_ethernet(&frame), Walk::Control(expected));
    let v6 = Build { v6: true, ..Build::udp(3784, &[0; 24]) }.frame();
    let Walk::Control(packet) = walk_ethernet(&v6) else { panic!("not control plane") };
    assert_eq!((packet.src, packet.dst, packet.ip_version), ([0xa1; 16], [0xb2; 16], 6));
    assert_eq!((packet.seq, packet.tcp_flags, packet.payload_len), (0, 0, 24));
}

#[test]
fn everything_else_is_told_apart() {
    let bgp = Build::tcp(40000, 179, b"payload");
    let v6 = Build { v6: true, ..bgp.clone() };
    let too_many = vec![extension(HOP_BY_HOP, 0); EXTENSION_HEADERS_MAX + 1];
    let arp = [&MACS[..], &[0x08, 0x06], &[0; 28]].concat();
    let stp = [&MACS[..], &[0, 38, 0x42, 0x42, 3], &[0; 43]].concat();
    let es_is = [&MACS[..], &[0, 38, 0xfe, 0xfe, 3, 0x82], &[0; 42]].concat();
    let pseudowire = [&MACS[..], &[0x88, 0x47, 0, 0, 0x11, 64, 0, 0, 0, 0], &bgp.frame()].concat();
    let nested = Build::protocol(IPV4_WITHIN, &Build::gre(0, 0x0800, &bgp.ip()).ip());
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
        ("spanning tree over LLC", stp, Walk::Other),
        ("ES-IS over LLC", es_is, Walk::Other),
        ("BMP on a gateway", Build::tcp(40000, 1790, b"x").frame(), Walk::Other),
        (
            "too many labels",
            Build { labels: MPLS_LABELS_MAX + 1, ..bgp.clone() }.frame(),
            Walk::Truncated,
        ),
        ("a control word under the label", pseudowire, Walk::Other),
        (
            "OSPF fragment",
            Build { ipv4_fragment: 0x2000, ..Build::protocol(OSPF, b"x") }.frame(),
            Walk::Fragment,
        ),
        ("PPTP", Build::gre(1, 0x0800, &bgp.ip()).frame(), Walk::Other),
        ("GRE with source routing", Build::gre(0x4000, 0x0800, &bgp.ip()).frame(), Walk::Other),
        ("GRE with Ethernet inside", Build::gre(0, 0x6558, &bgp.frame()).frame(), Walk::Other),
        ("a tunnel in a tunnel", nested.frame(), Walk::Other),
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
        assert_eq!(walk_ethernet(&frame), expected, "{name}");
    }
}

#[test]
fn a_tunnel_is_followed_once() {
    let bgp = Build::tcp(40000, 179, b"payload");
    let v6 = Build { v6: true, ..bgp.clone() };
    for (name, build) in [
        ("IPv4 in IPv4", Build::protocol(IPV4_WITHIN, &bgp.ip())),
        ("IPv6 in IPv4", Build::protocol(IPV6_WITHIN, &v6.ip())),
        ("IPv4 in IPv6", Build { v6: true, ..Build::protocol(IPV4_WITHIN, &bgp.ip()) }),
        ("GRE", Build::gre(0, 0x0800, &bgp.ip())),
        ("GRE with every field", Build::gre(0xb000, 0x86dd, &v6.ip())),
        ("GRE over IPv6", Build { v6: true, ..Build::gre(0x2000, 0x0800, &bgp.ip()) }),
        ("MPLS in GRE", Build::gre(0, 0x8847, &Build { labels: 2, ..bgp.clone() }.frame()[14..])),
    ] {
        let frame = Build { tags: vec![(0x8100, 7)], ..build }.frame();
        let Walk::Control(packet) = walk_ethernet(&frame) else { panic!("{name}") };
        assert_eq!(
            (packet.kind, packet.payload_len, packet.vlan),
            (Kind::Bgp, 7, [7, 0]),
            "{name}"
        );
        assert_eq!(&frame[packet.payload_offset..], b"payload", "{name}");
        assert!(
            [v4_mapped([192, 0, 2, 1]), [0xa1; 16]].contains(&packet.src),
            "{name}: the inner one"
        );
        for cut in 0..frame.len() - 7 {
            assert!(!matches!(walk_ethernet(&frame[..cut]), Walk::Control(_)), "{name} {cut}");
        }
    }
}

#[test]
fn ospf_is_what_follows_authentication_headers() {
    let header = [OSPF, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let body = [&header[..], b"hello"].concat();
    for v6 in [false, true] {
        let frame = Build { v6, ..Build::protocol(AUTHENTICATION, &body) }.frame();
        let Walk::Control(packet) = walk_ethernet(&frame) else { panic!("not control plane") };
        assert_eq!((packet.kind, packet.ip_version), (Kind::Ospf, if v6 { 6 } else { 4 }));
        assert_eq!(&frame[packet.payload_offset..][..packet.payload_len], b"hello");
        assert_eq!((packet.src_port, packet.dst_port, packet.seq), (0, 0, 0));
    }
}

#[test]
fn is_is_needs_no_ip() {
    let pdu = [0x83, 27, 1, 0, 16, 1, 0, 0];
    let llc = [&[0xfe, 0xfe, 3][..], &pdu].concat();
    let padding = [0xee; 30];
    let length = [0, llc.len() as u8];
    let tagged = [&MACS[..], &[0x81, 0, 0, 9], &length, &llc, &padding].concat();
    for (name, frame, payload_len, vlan) in [
        ("802.3", [&MACS[..], &length, &llc, &padding].concat(), pdu.len(), [0, 0]),
        ("tagged", tagged, pdu.len(), [9, 0]),
        ("jumbo", [&MACS[..], &[0x88, 0x70], &llc].concat(), pdu.len(), [0, 0]),
    ] {
        let Walk::Control(packet) = walk_ethernet(&frame) else { panic!("{name}") };
        assert_eq!((packet.kind, packet.ip_version, packet.vlan), (Kind::Isis, 0, vlan), "{name}");
        assert_eq!(&frame[packet.payload_offset..][..packet.payload_len], pdu, "{name}");
        assert_eq!(packet.payload_len, payload_len, "{name}");
        assert_eq!((&packet.dst[..6], &packet.src[..6]), MACS.split_at(6), "{name}");
        assert_eq!((&packet.dst[6..], &packet.src[6..]), (&[0; 10][..], &[0; 10][..]), "{name}");
    }
    let gre = Build::gre(0, 0x00fe, &pdu).frame();
    let Walk::Control(packet) = walk_ethernet(&gre) else { panic!("GRE") };
    assert_eq!((packet.kind, packet.src, packet.payload_len), (Kind::Isis, [0; 16], pdu.len()));
    let Walk::Control(packet) = walk_iso(&pdu[..], 0) else { panic!("alone") };
    assert_eq!((packet.payload_offset, packet.payload_len), (0, pdu.len()));
}

#[test]
fn bmp_is_looked_for_in_captures_alone() {
    let frame = Build::tcp(40000, 1790, b"message").frame();
    let Walk::Control(packet) = super::walk_ethernet(&frame[..], Scope::Capture) else { panic!() };
    assert_eq!((packet.kind, packet.payload_len), (Kind::Bmp, 7));
    assert_eq!(walk_ethernet(&frame), Walk::Other);
    assert!(is_other(&frame[..], Scope::Gateway) && !is_other(&frame[..], Scope::Capture));
}

#[test]
fn plain_packets_get_the_quick_answer() {
    for v6 in [false, true] {
        for tags in [vec![], vec![(0x8100, 5)]] {
            for build in [Build::tcp(40000, 443, b"x"), Build::udp(53, b"question")] {
                let frame = Build { v6, tags: tags.clone(), ..build }.frame();
                assert!(is_other(&frame[..], Scope::Gateway));
            }
        }
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
        walk_ethernet(&bytes);
        walk_ip(&bytes, offset);
        walk_iso(&bytes[..], offset);
        crate::bgp_delta(&bytes[..], offset);
        crate::bfd_delta(&bytes[..], offset);
        crate::ospf_delta(&bytes[..], offset);
        crate::isis_delta(&bytes[..], offset);
        crate::ldp_delta(&bytes[..], offset);
        for kind in [Kind::Ospf, Kind::Isis, Kind::LdpHello] {
            if let Some(hello) = crate::hello(&bytes[..], kind) {
                prop_assert!(crate::hello_hash(&bytes[..], &hello).is_some());
            }
        }
    }

    #[test]
    fn damaged_frames_never_panic_and_never_point_before_the_headers(
        v6 in any::<bool>(), udp in any::<bool>(), tunnel in any::<bool>(), labels in 0usize..4,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        damage in proptest::collection::vec((0usize..120, any::<u8>()), 0..6),
        cut in 0usize..160,
    ) {
        let base = if udp { Build::udp(3784, &payload) } else { Build::tcp(1, 179, &payload) };
        let base = if tunnel { Build::gre(0xb000, 0x0800, &base.ip()) } else { base };
        let mut frame = Build { v6, labels, ..base }.frame();
        for (at, value) in damage {
            let len = frame.len();
            frame[at % len] = value;
        }
        frame.truncate(cut);
        if let Walk::Control(packet) = walk_ethernet(&frame) {
            let headers = match packet.kind {
                Kind::Isis => 3,
                Kind::Ospf => IPV4_LEN_MIN,
                _ => IPV4_LEN_MIN + UDP_LEN,
            };
            prop_assert!(packet.payload_offset >= ETHERNET_LEN + headers);
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
        let Walk::Control(packet) = walk_ethernet(&frame) else { panic!("not control plane") };
        prop_assert_eq!(&frame[packet.payload_offset..][..packet.payload_len], &payload[..]);
        prop_assert_eq!(packet.vlan[0], tag.unwrap_or(0));
        let ip = build.ip();
        let Walk::Control(raw) = walk_ip(&ip, 0) else { panic!("not control plane") };
        prop_assert_eq!(&ip[raw.payload_offset..][..raw.payload_len], &payload[..]);
    }

    /// `walk_ethernet` of these tests compares the quick answer with the whole walk.
    #[test]
    fn the_quick_answer_is_right_for_every_port(
        v6 in any::<bool>(), udp in any::<bool>(), tag in any::<bool>(), turn in any::<bool>(),
        known in proptest::sample::select(vec![179u16, 646, 1790, 3784, 3785, 4784, 6784, 7784]),
        near in 0u16..3, other in any::<u16>(), options in 0usize..2, fragment in 0u16..2,
    ) {
        let (a, b) = (known + near - 1, other);
        let ports = if turn { (a, b) } else { (b, a) };
        let base = if udp { Build::udp(0, b"payload") } else { Build::tcp(0, 0, b"payload") };
        let tags = if tag { vec![(0x8100, 5)] } else { vec![] };
        let build = Build { ports, v6, tags, ..base };
        let frame = Build { options_len: options * 4, ipv4_fragment: fragment, ..build }.frame();
        let walk = walk_ethernet(&frame);
        let plain = v6 || (options == 0 && fragment == 0);
        prop_assert_eq!(plain && walk == Walk::Other, is_other(&frame[..], Scope::Gateway));
        for cut in 0..frame.len() {
            walk_ethernet(&frame[..cut]);
        }
    }
}
