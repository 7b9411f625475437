//! Bodies made by hand, whole packets through the decoder, and any octets at all.

use super::*;
use crate::decode::{DecodeConfig, Decoder};
use edgelore_model::{Batch, Direction, Observation, Signal, SignalKind};
use ospf::LsaHeader;
use proptest::prelude::*;

fn header(ls_type: u16, link_state_id: u32, advertising_router: u32) -> LsaHeader {
    LsaHeader {
        age_s: 1,
        do_not_age: false,
        options: 2,
        ls_type,
        link_state_id,
        advertising_router,
        sequence: 0x8000_0001,
        checksum: 0,
        length: 0,
    }
}

/// Big-endian 32-bit words.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn costs(content: &Content) -> Vec<(NodeId, u32)> {
    content.neighbours.iter().map(|edge| (edge.to, edge.cost)).collect()
}

fn prefixes(content: &Content) -> Vec<String> {
    content.prefixes.iter().map(|told| format!("{}@{}", told.prefix, told.cost)).collect()
}

const ONE: u32 = 0x0a00_0001;
const TWO: u32 = 0x0a00_0002;

mod ospf_2 {
    use super::*;

    #[test]
    fn router_lsas_tell_links_and_stubs() {
        let body = words(&[
            0x0000_0005,
            // Point-to-point, with the metric of one type of service.
            TWO,
            0xc0a8_0001,
            0x0101_000a,
            0x0200_0005,
            // A network, a stub, a virtual link, and the first again.
            0xc0a8_0109,
            0xc0a8_0101,
            0x0200_0014,
            0xac10_1234,
            0xffff_ff00,
            0x0300_0007,
            0x0a00_0003,
            0xc0a8_0001,
            0x0400_ffff,
            TWO,
            0xc0a8_0001,
            0x0100_000a,
        ]);
        let content = ospf2::content(&header(1, ONE, ONE), &body).unwrap();
        let lan = NodeId { system: [0; 6], pseudonode: 0xc0a8_0109 };
        let expected = [(lan, 20), (NodeId::ospf(TWO), 10), (NodeId::ospf(0x0a00_0003), 0xffff)];
        assert_eq!(costs(&content), expected, "sorted, and each once");
        assert_eq!(prefixes(&content), ["172.16.18.0/24@7"]);
        assert_eq!((content.origin, content.overload), (NodeId::ospf(ONE), false));
    }

    #[test]
    fn a_stub_router_has_no_link_for_transit() {
        let link = |metric: u32| words(&[1, TWO, 0, 0x0100_0000 | metric]);
        for (metric, overload) in [(0xffff, true), (0xfffe, false)] {
            let content = ospf2::content(&header(1, ONE, ONE), &link(metric)).unwrap();
            assert_eq!(content.overload, overload, "{metric:#x}");
        }
        assert!(!ospf2::content(&header(1, ONE, ONE), &words(&[0])).unwrap().overload);
    }

    #[test]
    fn network_lsas_tell_routers_and_their_prefix() {
        let body = words(&[0xffff_ff80, TWO, ONE, TWO]);
        let content = ospf2::content(&header(2, 0xc0a8_0109, TWO), &body).unwrap();
        assert_eq!(content.origin, NodeId::ospf(TWO).with_pseudonode(0xc0a8_0109));
        assert_eq!(costs(&content), [(NodeId::ospf(ONE), 0), (NodeId::ospf(TWO), 0)]);
        assert_eq!(prefixes(&content), ["192.168.1.0/25@0"]);
        let error = ospf2::content(&header(2, 0, TWO), &body).unwrap_err();
        assert_eq!(error.fault, Fault::Pseudonode);
    }

    #[test]
    fn destinations_beyond_the_area_are_prefixes() {
        for (ls_type, cost, expected) in [
            (3, 0x0000_0014, vec!["10.9.0.0/16@20"]),
            (5, 0x8000_0014, vec!["10.9.0.0/16@20"]),
            (7, 0x0000_0001, vec!["10.9.0.0/16@1"]),
            (4, 0x0000_0014, vec![]),
            (5, 0x80ff_ffff, vec![]),
        ] {
            let body = words(&[0xffff_0000, cost, 0, 0]);
            let content = ospf2::content(&header(ls_type, 0x0a09_0001, ONE), &body).unwrap();
            assert_eq!(prefixes(&content), expected, "type {ls_type}");
        }
        let torn = words(&[0xff00_ffff, 1]);
        assert_eq!(
            ospf2::content(&header(3, 0, ONE), &torn).unwrap_err().fault,
            Fault::Mask(0xff00_ffff)
        );
    }

    #[test]
    fn grace_lsas_tell_how_long() {
        let body = words(&[0x0001_0004, 120, 0x0002_0001, 0x0100_0000, 0x0003_0004, ONE]);
        let content = ospf2::content(&header(9, 0x0300_0000, ONE), &body).unwrap();
        assert_eq!(content.grace, Some(Span::from_millis(120_000)));
        let other = ospf2::content(&header(9, 0x0400_0000, ONE), &body).unwrap();
        assert_eq!(other, Content::of(NodeId::ospf(ONE)), "another opaque type is not read");
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let router = words(&[2, TWO, 0, 0x0100_000a]);
        let error = ospf2::content(&header(1, ONE, ONE), &router).unwrap_err();
        assert_eq!(error.to_string(), "in router-LSA: at byte 16: 0 octets where 4 are needed");
        let network = ospf2::content(&header(2, ONE, ONE), &words(&[0xffff_ff00, TWO])[..7]);
        assert_eq!(network.unwrap_err().fault, Fault::Truncated { there: 3, needed: 4 });
        let unknown = ospf2::content(&header(1, ONE, ONE), &words(&[1, TWO, 0, 0x0900_000a]));
        assert_eq!(unknown.unwrap_err().fault, Fault::LinkType(9));
    }
}

mod ospf_3 {
    use super::*;

    #[test]
    fn router_lsas_tell_links() {
        const OPTIONS: u32 = 0x13;
        let body = words(&[OPTIONS, 0x0100_0040, 6, 7, TWO, 0x0200_000a, 5, 9, 0x0a00_0003]);
        let content = ospf3::content(&header(0x2001, 0, ONE), 0, &body).unwrap();
        let lan = NodeId::ospf(0x0a00_0003).with_pseudonode(9);
        assert_eq!(costs(&content), [(NodeId::ospf(TWO), 64), (lan, 10)]);
        assert!(!content.overload);
        let no_transit = [&words(&[OPTIONS & !0x10])[..], &body[4..]].concat();
        assert!(ospf3::content(&header(0x2001, 0, ONE), 0, &no_transit).unwrap().overload);
    }

    #[test]
    fn prefixes_take_as_many_words_as_they_need() {
        let body = words(&[0x0000_0014, 0x4000_0000, 0x2001_0db8, 0x0000_0012]);
        let content = ospf3::content(&header(0x2003, 0, ONE), 0, &body).unwrap();
        assert_eq!(prefixes(&content), ["2001:db8:0:12::/64@20"]);
        let default = words(&[0x0500_0001, 0]);
        let content = ospf3::content(&header(0x4005, 0, ONE), 0, &default).unwrap();
        assert_eq!(prefixes(&content), ["::/0@1"]);
        let no_unicast = words(&[0x0000_0014, 0x2001_0000, 0x2001_0db8]);
        let content = ospf3::content(&header(0x2003, 0, ONE), 0, &no_unicast).unwrap();
        assert_eq!(prefixes(&content), Vec::<String>::new());
        let too_long = words(&[0, 0x8100_0000, 0, 0, 0, 0, 0]);
        let error = ospf3::content(&header(0x2003, 0, ONE), 0, &too_long).unwrap_err();
        assert_eq!(error.fault, Fault::PrefixLength { length: 129, max: 128 });
    }

    #[test]
    fn instances_from_64_on_route_ipv4() {
        let body = words(&[0x0000_0014, 0x1000_0000, 0x0a09_0000]);
        for (instance, expected) in [(63, "a09::/16@20"), (64, "10.9.0.0/16@20")] {
            let content = ospf3::content(&header(0x2003, 0, ONE), instance, &body).unwrap();
            assert_eq!(prefixes(&content), [expected]);
        }
    }

    #[test]
    fn intra_area_prefixes_belong_to_what_they_refer_to() {
        let body = |referenced: u32, id| {
            words(&[0x0002_0000 | referenced, id, ONE, 0x8002_0000, 0x2001_0db8, 0, 0, 1, 10, 0])
        };
        let content = ospf3::content(&header(0x2009, 7, ONE), 0, &body(0x2001, 0)).unwrap();
        assert_eq!(content.origin, NodeId::ospf(ONE));
        assert_eq!(prefixes(&content), ["::/0@10", "2001:db8::1/128@0"]);
        let content = ospf3::content(&header(0x2009, 7, ONE), 0, &body(0x2002, 5)).unwrap();
        assert_eq!(content.origin, NodeId::ospf(ONE).with_pseudonode(5));
        let nobody = ospf3::content(&header(0x2009, 7, ONE), 0, &body(0x2002, 0));
        assert_eq!(nobody.unwrap_err().fault, Fault::Pseudonode);
    }

    #[test]
    fn extended_and_link_lsas_are_tolerated() {
        for ls_type in [0x0008, 0x8008, 0xa021, 0xa029, 0xc025, 0x2004] {
            let content = ospf3::content(&header(ls_type, 0, ONE), 0, &[1, 2, 3]).unwrap();
            assert_eq!(content, Content::of(NodeId::ospf(ONE)), "{ls_type:#x}");
        }
    }
}

mod is_is {
    use super::*;

    /// A PDU with its length set; `at` is where that stands.
    fn pdu(kind: u8, fixed: &[u8], at: usize, tlvs: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut pdu = vec![0x83, 8 + fixed.len() as u8, 1, 0, kind, 1, 0, 0];
        pdu.extend_from_slice(fixed);
        for (code, value) in tlvs {
            pdu.extend_from_slice(&[*code, value.len() as u8]);
            pdu.extend_from_slice(value);
        }
        let length = (pdu.len() as u16).to_be_bytes();
        pdu[8 + at..8 + at + 2].copy_from_slice(&length);
        pdu
    }

    /// A fragment of system 1's LSP at level 2, without checksum.
    fn lsp(lifetime_s: u16, flags: u8, tlvs: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let [high, low] = lifetime_s.to_be_bytes();
        let id = [1, 1, 1, 1, 1, 1, 0, 2];
        let fixed = [&[0, 0, high, low][..], &id, &[0, 0, 0, 9, 0, 0, flags]].concat();
        pdu(20, &fixed, 0, tlvs)
    }

    fn read(pdu: &[u8]) -> Result<Lsp, IgpError> {
        match Pdu::parse(pdu).unwrap() {
            Pdu::LinkState(Level::Two, body) => body.link_state(),
            other => panic!("{other:?}"),
        }
    }

    fn narrow(metric: u8, system: u8, pseudonode: u8) -> Vec<u8> {
        [&[metric, 0x80, 0x80, 0x80][..], &[system; 6], &[pseudonode]].concat()
    }

    fn wide(metric: u8, system: u8, pseudonode: u8) -> Vec<u8> {
        [&[system; 6][..], &[pseudonode, 1, 0, metric, 2, 99, 0]].concat()
    }

    #[test]
    fn wide_metrics_count_before_narrow_ones() {
        let tlvs = [
            (137, b"a host name".to_vec()),
            (2, [vec![0], narrow(63, 2, 0), narrow(0x40 | 5, 3, 7)].concat()),
            (22, [wide(9, 2, 0), wide(8, 2, 0)].concat()),
            (222, [vec![0, 2], wide(1, 2, 0), wide(4, 4, 0)].concat()),
        ];
        let lsp = read(&lsp(1190, 0x07, &tlvs)).unwrap();
        let node = |n: u8| NodeId::isis([n; 6]);
        let expected = [
            (node(2), 0x1_0008),
            (node(2), 0x1_0009),
            (node(3).with_pseudonode(7), 5),
            (node(4), 0x1_0004),
        ];
        assert_eq!(costs(&lsp.content), expected);
        assert_eq!((lsp.fragment, lsp.sequence, lsp.content.overload), (2, 9, true));
        assert_eq!(lsp.age(), Span::from_millis(10_000));
    }

    #[test]
    fn prefixes_of_every_tlv() {
        let narrow =
            |metric: u8, mask: [u8; 4]| [&[metric, 0, 0, 0, 10, 1, 2, 0][..], &mask].concat();
        let tlvs = [
            (128, narrow(10, [255, 255, 255, 0])),
            (130, narrow(0x43, [255, 255, 0, 0])),
            (135, vec![0, 0, 0, 20, 24, 10, 1, 2, 0, 0, 0, 30, 0xc0 | 8, 11, 2, 1, 0]),
            (135, vec![0xfe, 0, 0, 1, 8, 12]),
            (235, vec![0, 3, 0, 0, 0, 7, 8, 11, 0, 0, 0, 5, 8, 13]),
            (236, vec![0, 0, 0, 40, 0x20, 32, 0x20, 1, 0x0d, 0xb8, 1, 0]),
            (237, vec![0, 2, 0, 0, 0, 50, 0, 0]),
        ];
        let lsp = read(&lsp(1200, 3, &tlvs)).unwrap();
        let expected = [
            "10.1.0.0/16@3",
            "10.1.2.0/24@20",
            "11.0.0.0/8@30",
            "13.0.0.0/8@5",
            "::/0@50",
            "2001:db8::/32@40",
        ];
        assert_eq!(prefixes(&lsp.content), expected);
    }

    #[test]
    fn authentication_alone_is_no_change() {
        let digest = |flags, tlvs: &[(u8, Vec<u8>)]| read(&lsp(1200, flags, tlvs)).unwrap().digest;
        let told = digest(3, &[(22, wide(9, 2, 0)), (10, vec![54, 1, 2, 3])]);
        assert_eq!(told, digest(3, &[(10, vec![54, 9, 9, 9]), (22, wide(9, 2, 0)), (11, vec![7])]));
        assert_ne!(told, digest(7, &[(22, wide(9, 2, 0))]), "the flags are content");
        assert_ne!(told, digest(3, &[(22, wide(8, 2, 0))]));
        assert_ne!(told, digest(3, &[(23, wide(9, 2, 0))]));
    }

    #[test]
    fn a_purge_says_nothing() {
        let lsp =
            read(&lsp(0, 3, &[(22, wide(9, 2, 0)), (13, vec![1, 2, 2, 2, 2, 2, 2])])).unwrap();
        assert_eq!(lsp.content, Content::of(NodeId::isis([1; 6])));
    }

    #[test]
    fn what_does_not_add_up_is_an_error() {
        let good = lsp(1200, 3, &[(22, wide(9, 2, 0))]);
        let mut longer = good.clone();
        longer.extend_from_slice(&[0; 20]);
        assert!(read(&longer).is_ok(), "a link may pad");
        for cut in 8..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        assert!(read(&lsp(1200, 3, &[(22, wide(9, 2, 0)[..12].to_vec())])).is_err());
        assert!(read(&lsp(1200, 3, &[(135, vec![0, 0, 0, 1, 33, 1, 2, 3, 4, 5])])).is_err());
        let mut damaged = good;
        damaged[8 + 16] = 1;
        assert_eq!(read(&damaged).unwrap_err().fault, Fault::Checksum);
        for (at, octet, fault) in [
            (0, 0x82, Fault::Discriminator(0x82)),
            (3, 8, Fault::IdLength(8)),
            (4, 19, Fault::Type(19)),
            (5, 2, Fault::Version(2)),
        ] {
            let mut other = longer.clone();
            other[at] = octet;
            assert_eq!(Pdu::parse(&other).unwrap_err().fault, fault);
        }
    }

    #[test]
    fn a_circuit_hello_speaks_for_its_levels() {
        let fixed = [&[3][..], &[1; 6], &[0, 30, 0, 0, 7]].concat();
        let three_way = [&[0, 0, 0, 0, 1][..], &[2; 6], &[0, 0, 0, 3]].concat();
        let hello = pdu(17, &fixed, 9, &[(240, three_way), (7, vec![0, 5, 0, 0])]);
        let (observations, summary) = decode(&[frame(&hello), frame(&hello)]);
        assert_eq!((summary.isis.hello, summary.undecodable), (2, 0));
        let told: Vec<_> = observations.iter().map(hello_of).collect();
        let protocols = [IgpProtocol::IsisLevel1, IgpProtocol::IsisLevel2];
        assert_eq!(told.len(), 2, "the second says nothing new");
        for (change, protocol) in told.iter().zip(protocols) {
            assert_eq!(change.area, IgpArea { protocol, instance: 5, area: 0 });
            assert_eq!(change.neighbours, [NodeId::isis([2; 6])]);
            assert_eq!(change.dead_interval, Span::from_millis(30_000));
        }
        let alone = pdu(17, &[&[2][..], &fixed[1..]].concat(), 9, &[(240, vec![2])]);
        let (observations, _) = decode(&[frame(&alone)]);
        assert_eq!(observations.len(), 1);
        assert_eq!(hello_of(&observations[0]).neighbours, []);
    }

    fn hello_of(observation: &Observation) -> &HelloChange {
        match &observation.what {
            Observed::Hello(change) => change,
            other => panic!("{other:?}"),
        }
    }
}

/// What the decoder makes of payloads a second apart.
fn decode(payloads: &[(bool, Vec<u8>)]) -> (Vec<Observation>, Summary) {
    let mut batch = Batch::default();
    for (second, (isis, payload)) in payloads.iter().enumerate() {
        let payload = batch.append(payload);
        let direction = Direction::Ingress;
        let kind = if *isis {
            SignalKind::Isis(IsisFrame { src: [2; 6], payload, direction, heard: None })
        } else {
            let (src, dst) = ([10, 0, 0, 1].into(), [224, 0, 0, 5].into());
            SignalKind::Ospf(Datagram { src, dst, port: 0, payload, direction, heard: None })
        };
        let at = Timestamp::from_secs_nanos(second as i64, 0);
        batch.signals.push(Signal { at, link: 3, kind });
    }
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut observations = Vec::new();
    decoder.decode(&batch, &mut |_, observation| observations.push(observation));
    (observations, *decoder.summary())
}

fn frame(pdu: &[u8]) -> (bool, Vec<u8>) {
    (true, pdu.to_vec())
}

/// An OSPF packet with its length and, in version 2 without authentication, its checksum set.
fn packet(version: u8, kind: u8, autype: u8, body: &[u8]) -> Vec<u8> {
    let header_len = if version == 2 { 24 } else { 16 };
    let length = (header_len + body.len()) as u16;
    let mut packet = vec![version, kind];
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&words(&[ONE, 0, u32::from(autype)]));
    packet.resize(header_len, 0);
    packet.extend_from_slice(body);
    if version == 2 && autype == 0 {
        let sum: u32 = packet
            .chunks(2)
            .map(|p| u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0)))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        packet[12..14].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    }
    packet
}

#[test]
fn hellos_of_both_versions_are_told_when_they_change() {
    let hello = |dead: u32, neighbours: &[u32]| {
        let fixed = words(&[0xffff_ff00, 0x000a_0201, dead, 0x0a00_0009, 0]);
        (false, packet(2, 1, 0, &[&fixed[..], &words(neighbours)].concat()))
    };
    let third = (false, packet(3, 1, 0, &words(&[5, 0x0100_0013, 0x0002_0028, TWO, 0, TWO])));
    let payloads = [hello(40, &[]), hello(40, &[]), hello(40, &[TWO]), hello(4, &[TWO]), third];
    let (observations, summary) = decode(&payloads);
    assert_eq!((summary.ospf.hello, summary.undecodable), (5, 0));
    let told: Vec<_> = observations
        .iter()
        .map(|observation| match &observation.what {
            Observed::Hello(h) => {
                (h.first, h.neighbours.len(), h.hello_interval.millis(), h.dead_interval.millis())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (true, 0, 10_000, 40_000),
        (false, 1, 10_000, 40_000),
        (false, 1, 10_000, 4_000),
        (true, 1, 2_000, 40_000),
    ];
    assert_eq!(told, expected);
    let designated = |index: usize| match &observations[index].what {
        Observed::Hello(h) => h.designated,
        _ => None,
    };
    assert_eq!(designated(0), Some(NodeId { system: [0; 6], pseudonode: 0x0a00_0009 }));
    assert_eq!(designated(3), Some(NodeId::ospf(TWO)));
}

#[test]
fn damaged_and_cut_packets_are_counted_by_type_and_told_nothing_of() {
    let hello = packet(2, 1, 0, &words(&[0xffff_ff00, 0x000a_0201, 40, 0, 0]));
    let mut damaged = hello.clone();
    damaged[30] ^= 1;
    let mut authenticated = packet(2, 1, 2, &words(&[0xffff_ff00, 0x000a_0201, 40, 0, 0]));
    authenticated.extend_from_slice(&[7; 16]);
    let cases = [
        (damaged, 1, 0),
        (hello[..43].to_vec(), 1, 0),
        (hello[..23].to_vec(), 0, 0),
        (hello.clone(), 1, 1),
        (authenticated, 1, 1),
        (packet(4, 1, 0, &[]), 0, 0),
        (packet(2, 6, 0, &[]), 0, 0),
    ];
    for (index, (payload, hellos, told)) in cases.into_iter().enumerate() {
        let (observations, summary) = decode(&[(false, payload)]);
        let undecodable = u64::from(told == 0);
        assert_eq!((summary.ospf.hello, summary.undecodable), (hellos, undecodable), "{index}");
        assert_eq!(observations.len(), told, "{index}");
    }
}

#[test]
fn lists_of_headers_must_add_up() {
    for (version, kind, length, good) in [
        (2, 2, 8, true),
        (2, 2, 28, true),
        (2, 2, 27, false),
        (3, 2, 12, true),
        (3, 2, 8, false),
        (2, 3, 24, true),
        (3, 3, 23, false),
        (3, 5, 40, true),
        (2, 5, 41, false),
    ] {
        let (_, summary) = decode(&[(false, packet(version, kind, 0, &vec![0; length]))]);
        assert_eq!(summary.undecodable == 0, good, "version {version}, type {kind}, {length}");
    }
}

/// Octets that look like a packet of either protocol.
fn payloads() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let body = || prop::collection::vec(any::<u8>(), 0..300);
    let ospf = (2u8..4, 1u8..6, body())
        .prop_map(|(version, kind, body)| (false, packet(version, kind, 2, &body)));
    let kinds = prop::sample::select(vec![15u8, 16, 17, 18, 20, 24, 25, 26, 27]);
    let isis = (kinds, body()).prop_map(|(kind, mut body)| {
        let fixed = match kind {
            15 | 16 | 18 | 20 => 19,
            17 => 12,
            24 | 25 => 25,
            _ => 9,
        };
        let length = ((body.len() + 8) as u16).to_be_bytes();
        let at = match kind {
            15..=17 => 9,
            _ => 0,
        };
        if let Some(place) = body.get_mut(at..at + 2) {
            place.copy_from_slice(&length);
        }
        // An LSP without checksum, so that its TLVs are read.
        if let (18 | 20, Some(sum)) = (kind, body.get_mut(16..18)) {
            sum.fill(0);
        }
        let mut pdu = vec![0x83, 8 + fixed, 1, 0, kind, 1, 0, 0];
        pdu.append(&mut body);
        (true, pdu)
    });
    let raw = (any::<bool>(), body());
    prop::collection::vec(prop_oneof![ospf, isis, raw], 0..12)
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(payloads in payloads()) {
        let (observations, summary) = decode(&payloads);
        let (ospf, isis) = (summary.ospf, summary.isis);
        let counted = ospf.hello + ospf.database_description + ospf.link_state_request
            + ospf.link_state_update + ospf.link_state_ack
            + isis.hello + isis.lsp + isis.csnp + isis.psnp;
        prop_assert!(counted <= payloads.len() as u64);
        for observation in observations {
            if let Observed::LinkState(change) = observation.what {
                prop_assert!(change.neighbours.is_sorted() && change.prefixes.is_sorted());
                prop_assert!(change.action != LinkStateAction::Flushed
                    || (change.neighbours.is_empty() && change.prefixes.is_empty()));
            }
        }
    }

    #[test]
    fn no_body_makes_it_panic(
        ls_type in prop::sample::select(vec![1u16, 2, 3, 4, 5, 7, 9, 10, 11]),
        id in any::<u32>(),
        instance in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let grace = if ls_type == 9 { 0x0300_0000 } else { id };
        let _ = ospf2::content(&header(ls_type, grace, ONE), &body);
        for scope in [0x0000, 0x2000, 0x4000] {
            let _ = ospf3::content(&header(scope | ls_type, id, ONE), instance, &body);
        }
    }
}
