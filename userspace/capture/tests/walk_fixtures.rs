//! What the walk finds in captures of many link types, against tshark's counts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_capture::file::FileSource;
use edgelore_model::{Batch, Signal, SignalKind, StreamProtocol};
use std::path::{Path, PathBuf};

/// Every signal of a capture with its payload.
fn signals(path: &Path) -> Vec<(Signal, Vec<u8>)> {
    let mut source = FileSource::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut all = Vec::new();
    loop {
        let mut batch = Batch::default();
        let more = source.next_batch(&mut batch).unwrap();
        for signal in &batch.signals {
            let payload = match &signal.kind {
                SignalKind::Segment(segment) => segment.payload,
                SignalKind::Bfd(d) | SignalKind::Ospf(d) | SignalKind::LdpHello(d) => d.payload,
                SignalKind::Isis(frame) => frame.payload,
                other => panic!("{}: {other:?}", path.display()),
            };
            all.push((signal.clone(), batch.payload(payload).to_vec()));
        }
        if !more {
            return all;
        }
    }
}

const fn name(kind: &SignalKind) -> &'static str {
    match kind {
        SignalKind::Ospf(_) => "ospf",
        SignalKind::Isis(_) => "isis",
        SignalKind::LdpHello(_) => "ldp hello",
        SignalKind::Segment(segment) => match segment.protocol {
            StreamProtocol::Bgp => "bgp",
            StreamProtocol::Ldp => "ldp",
            StreamProtocol::Bmp => "bmp",
        },
        _ => "other",
    }
}

#[test]
fn captures_of_many_link_types_hold_what_tshark_counts() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    for (file, kind, count, hellos) in [
        ("tcpdump.ISIS_level1_adjacency.pcap", "isis", 22, 18),
        ("tcpdump.ISIS_p2p_adjacency.pcap", "isis", 26, 14),
        ("tcpdump.isis_sid.pcap", "isis", 1, 0),
        ("tcpdump.isis_poi.pcap", "isis", 1, 0),
        ("tcpdump.OSPFv2_Capture_FINAL.pcapng", "ospf", 30, 7),
        ("tcpdump.OSPFv3_broadcast_adjacency.pcap", "ospf", 38, 12),
        ("tcpdump.OSPFv3_multipoint_adjacencies.pcap", "ospf", 73, 16),
        ("tcpdump.OSPFv3_with_AH.pcap", "ospf", 61, 35),
        ("tcpdump.ospf-gmpls.pcap", "ospf", 3, 0),
        ("tcpdump.mpls-ldp-hello.pcap", "ldp hello", 1, 1),
    ] {
        let signals = signals(&fixtures.join(file));
        assert_eq!(signals.len(), count, "{file}");
        let mut seen = 0;
        for (signal, payload) in &signals {
            assert_eq!(name(&signal.kind), kind, "{file}");
            let hello = match kind {
                "isis" => {
                    assert_eq!(payload[0], 0x83, "{file}");
                    matches!(payload[4] & 0x1f, 15..=17)
                }
                "ospf" => {
                    assert!(matches!(payload[0], 2 | 3), "{file}: a version of OSPF");
                    payload[1] == 1
                }
                _ => payload[10..12] == [1, 0],
            };
            seen += usize::from(hello);
        }
        assert_eq!(seen, hellos, "{file}: hellos");
    }
}

#[test]
fn segments_of_ldp_and_bmp_are_told_apart_in_the_data_folder() {
    let Some(data) = std::env::var_os("EDGELORE_DATA").map(PathBuf::from) else { return };
    for (file, kind, least) in [
        ("mpls-vlan-pcap/ndpi.ldp.pcap", "ldp", 4),
        ("mpls-vlan-pcap/ndpi.ldp.pcap", "ldp hello", 3),
        ("bmp-pcap/trafrepro.pcaps_bmp-traffic.pcap", "bmp", 9),
    ] {
        let signals = signals(&data.join(file));
        let found = signals.iter().filter(|(signal, _)| name(&signal.kind) == kind).count();
        assert_eq!(found, least, "{file}: {kind}");
    }
}
