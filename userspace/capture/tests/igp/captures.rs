//! The captures: what independent tools count in them, what changes in them, and the topologies
//! that their routers tell.

use super::*;
use edgelore_model::{IgpProtocol, LinkStateAction};
use serde_json::Value;

/// File; hellos, database descriptions, requests, updates and acknowledgments of OSPF; hellos,
/// LSPs, complete and partial sequence numbers of IS-IS, all as tshark 4.0.17 counts them; and
/// what does not decode.
const COUNTS: [(&str, [u64; 5], [u64; 4], u64); 15] = [
    ("tcpdump.ISIS_external_lsp.pcap", [0; 5], [11, 1, 3, 0], 0),
    ("tcpdump.ISIS_level1_adjacency.pcap", [0; 5], [18, 2, 2, 0], 0),
    ("tcpdump.ISIS_p2p_adjacency.pcap", [0; 5], [14, 4, 4, 4], 0),
    ("tcpdump.OSPFv2_Capture_FINAL.pcapng", [7, 10, 2, 9, 2], [0; 4], 0),
    ("tcpdump.OSPFv3_broadcast_adjacency.pcap", [12, 7, 2, 11, 6], [0; 4], 0),
    ("tcpdump.OSPFv3_multipoint_adjacencies.pcap", [16, 14, 4, 23, 16], [0; 4], 0),
    ("tcpdump.OSPFv3_with_AH.pcap", [35, 9, 2, 10, 5], [0; 4], 0),
    ("tcpdump.isis_iid_tlv.pcap", [0; 5], [21, 8, 8, 4], 0),
    ("tcpdump.isis_poi.pcap", [0; 5], [0, 1, 0, 0], 0),
    // Its checksum is wrong, and tshark says so, too.
    ("tcpdump.isis_sid.pcap", [0; 5], [0, 1, 0, 0], 1),
    ("tcpdump.isis_sr.pcapng", [0; 5], [0, 1, 0, 0], 0),
    ("tcpdump.ospf-ack.pcap", [0, 0, 0, 0, 1], [0; 4], 0),
    ("tcpdump.ospf-gmpls.pcap", [0, 0, 0, 3, 0], [0; 4], 0),
    ("tcpdump.ospf3_auth.pcapng", [1, 0, 0, 0, 0], [0; 4], 0),
    ("tcpdump.ospf_graceful_restart_rfc3623.pcap", [0, 0, 0, 1, 0], [0; 4], 0),
];

fn counts(summary: &Summary) -> ([u64; 5], [u64; 4], u64) {
    let (ospf, isis) = (summary.ospf, summary.isis);
    (
        [
            ospf.hello,
            ospf.database_description,
            ospf.link_state_request,
            ospf.link_state_update,
            ospf.link_state_ack,
        ],
        [isis.hello, isis.lsp, isis.csnp, isis.psnp],
        summary.undecodable,
    )
}

#[test]
fn packets_are_counted_as_independent_tools_do() {
    for (file, ospf, isis, undecodable) in COUNTS {
        let decoded = decode(&frames::read(&fixture(file)));
        assert_eq!(counts(&decoded.summary), (ospf, isis, undecodable), "{file}");
    }
}

#[test]
fn topologies_are_those_that_the_routers_tell() {
    let cases: [(&str, &[&str]); 6] = [
        (
            "tcpdump.OSPFv2_Capture_FINAL.pcapng",
            &[
                "OspfV2 0 0",
                "192.168.255.11: 192.168.255.14@12 192.168.255.15@12; 192.168.121.0/24@12 \
                 192.168.122.0/30@12 192.168.124.0/24@20 192.168.127.0/24@20 192.168.128.0/23@20 \
                 192.168.255.11/32@1 192.168.255.12/31@20",
                "192.168.255.14: 192.168.255.11@1 192.168.255.15@1; 0.0.0.0/0@1 \
                 192.168.120.0/24@1 192.168.121.0/24@1",
                "192.168.255.15: 192.168.255.11@1 192.168.255.14@1; 0.0.0.0/0@1 \
                 192.168.120.0/24@1 192.168.121.0/24@1",
            ],
        ),
        (
            "tcpdump.OSPFv3_broadcast_adjacency.pcap",
            &[
                "OspfV3 0 1",
                "1.1.1.1: 2.2.2.2@10; 2001:db8::/64@64 2001:db8:0:3::/64@74 \
                 2001:db8:0:4::/64@84 2001:db8:0:12::/64@10 2001:db8:0:34::/64@74",
                "2.2.2.2: 1.1.1.1@10; 2001:db8::/64@64 2001:db8:0:3::/64@74 \
                 2001:db8:0:4::/64@84 2001:db8:0:12::/64@10 2001:db8:0:34::/64@74",
            ],
        ),
        (
            "tcpdump.OSPFv3_multipoint_adjacencies.pcap",
            &[
                "OspfV3 0 0",
                "1.1.1.1: 3.3.3.3@64; 2001:db8::1/128@0 2001:db8:0:12::/64@10",
                "2.2.2.2: 3.3.3.3@64; 2001:db8::2/128@0 2001:db8:0:12::/64@10",
                "3.3.3.3: 1.1.1.1@64 2.2.2.2@64; 2001:db8::3/128@0 2001:db8:0:3::/64@10 \
                 2001:db8:0:4::/64@20 2001:db8:0:34::/64@10",
            ],
        ),
        (
            "tcpdump.ISIS_p2p_adjacency.pcap",
            &[
                "IsisLevel1 0 0",
                "111111111111: 222222222222@10; 10.0.0.0/30@10",
                "222222222222: 111111111111@10; 10.0.0.0/30@10",
                "IsisLevel2 0 0",
                "111111111111: 222222222222@10; 10.0.0.0/30@10",
                "222222222222: 111111111111@10; 10.0.0.0/30@10",
            ],
        ),
        (
            "tcpdump.isis_iid_tlv.pcap",
            &[
                "IsisLevel1 1 0",
                "111111111111: 222222222222@10; 1.1.1.0/24@10 2.2.2.1/32@10",
                "222222222222: 111111111111@10; 1.1.1.0/24@10 2.2.2.2/32@10",
                "IsisLevel2 1 0",
                "111111111111: 222222222222@10; 1.1.1.0/24@10 2.2.2.1/32@10 2.2.2.2/32@20",
                "222222222222: 111111111111@10; 1.1.1.0/24@10 2.2.2.1/32@20 2.2.2.2/32@10",
            ],
        ),
        (
            // The pseudonode's LSP was not captured: nothing confirms the adjacency.
            "tcpdump.ISIS_external_lsp.pcap",
            &[
                "IsisLevel1 0 0",
                "222222222222: ; 10.0.10.0/30@10 172.16.0.0/30@0 172.16.1.0/24@0 172.16.2.0/24@0 \
                 172.16.3.0/24@0 192.168.10.0/24@10",
            ],
        ),
    ];
    for (file, expected) in cases {
        let decoded = decode(&frames::read(&fixture(file)));
        assert_eq!(areas(&decoded.graph), expected, "{file}");
    }
}

/// `router type/id action` of each change.
fn changes(file: &str) -> Vec<String> {
    let line = |change: &LinkStateChange| {
        let (kind, id) = change.id;
        format!("{} {kind:x}/{id:x} {:?}", name(change.origin), change.action)
    };
    decode(&frames::read(&fixture(file))).changes.iter().map(line).collect()
}

#[test]
fn instances_are_told_when_they_are_newer() {
    let all = changes("tcpdump.OSPFv2_Capture_FINAL.pcapng");
    let expected = [
        "192.168.255.11 1/c0a8ff0b New",
        "192.168.255.14 1/c0a8ff0e New",
        "192.168.255.15 1/c0a8ff0f New",
        "192.168.255.14.3232266500 2/c0a87904 New",
        "192.168.255.14 5/0 New",
        "192.168.255.15 5/0 New",
        "192.168.255.11 5/c0a87c00 New",
        "192.168.255.11 5/c0a87f00 New",
        "192.168.255.11 5/c0a88000 New",
        "192.168.255.11 5/c0a8ff0c New",
        "192.168.255.11 5/c0a87c00 Refreshed",
        "192.168.255.11 5/c0a87f00 Refreshed",
        "192.168.255.11 5/c0a88000 Refreshed",
        "192.168.255.11 5/c0a8ff0c Refreshed",
        // The network gets its third router.
        "192.168.255.14.3232266500 2/c0a87904 Changed",
        "192.168.255.11 1/c0a8ff0b Refreshed",
    ];
    assert_eq!(all, expected);
}

#[test]
fn flushes_are_told_once() {
    let of_multipoint = changes("tcpdump.OSPFv3_multipoint_adjacencies.pcap");
    let flushed: Vec<_> =
        of_multipoint.iter().filter_map(|line| line.strip_suffix(" Flushed")).collect();
    // Each is flooded on two links, some are sent again.
    let expected = [
        "1.1.1.1 2003/4",
        "3.3.3.3.6 2002/6",
        "3.3.3.3 2003/2",
        "3.3.3.3 2003/1",
        "3.3.3.3 2003/0",
        "3.3.3.3.6 2009/1800",
        "2.2.2.2 2003/4",
    ];
    assert_eq!(flushed, expected);
    assert_eq!(changes("tcpdump.isis_poi.pcap"), ["128092019098 0/0 Flushed"], "a purge");
}

#[test]
fn hellos_are_told_when_they_differ() {
    let line = |hello: &HelloChange| {
        let neighbours: Vec<_> = hello.neighbours.iter().copied().map(name).collect();
        let designated = hello.designated.map_or("-".to_owned(), name);
        let dead_s = hello.dead_interval.millis() / 1_000;
        format!("{} {dead_s} [{}] {designated}", name(hello.router), neighbours.join(" "))
    };
    let told = |file| -> Vec<String> {
        decode(&frames::read(&fixture(file))).hellos.iter().map(line).collect()
    };
    // 18 hellos; the designated one changes, and then announces itself three times as often.
    let expected = [
        "222222222222 30 [] 222222222222.1",
        "333333333333 30 [] 333333333333.2",
        "222222222222 30 [333333333333] 222222222222.1",
        "333333333333 30 [222222222222] 333333333333.2",
        "222222222222 30 [333333333333] 333333333333.2",
        "333333333333 10 [222222222222] 333333333333.2",
    ];
    assert_eq!(told("tcpdump.ISIS_level1_adjacency.pcap"), expected);
    // 35 hellos under an authentication header.
    let expected = [
        "1.1.1.1 40 [] -",
        "2.2.2.2 40 [] -",
        "1.1.1.1 40 [2.2.2.2] -",
        "2.2.2.2 40 [1.1.1.1] -",
        "1.1.1.1 40 [2.2.2.2] 2.2.2.2",
        "2.2.2.2 40 [1.1.1.1] 2.2.2.2",
    ];
    assert_eq!(told("tcpdump.OSPFv3_with_AH.pcap"), expected);
}

#[test]
fn a_restart_announces_its_grace_period() {
    let decoded = decode(&frames::read(&fixture("tcpdump.ospf_graceful_restart_rfc3623.pcap")));
    let [change] = &decoded.changes[..] else { panic!("{:?}", decoded.changes) };
    assert_eq!(change.area.protocol, IgpProtocol::OspfV2);
    assert_eq!(change.action, LinkStateAction::New);
    assert_eq!(change.grace.map(|period| period.millis()), Some(40_000));
}

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("EDGELORE_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("SKIP: EDGELORE_DATA names no data folder");
    }
    data
}

/// The counts of a row of the manifest, by the names that tshark gives the types.
fn truth(row: &str) -> Option<([u64; 5], [u64; 4])> {
    let start = row.find("counts=")? + "counts=".len();
    let mut values = serde_json::Deserializer::from_str(&row[start..]).into_iter::<Value>();
    let counts = values.next()?.ok()?;
    let ospf = ["Hello", "DBDesc", "LSReq", "LSUpd", "LSAck"]
        .map(|kind| counts["ospf.msg"][kind].as_u64().unwrap_or(0));
    let isis = ["IIH", "LSP", "CSNP", "PSNP"].map(|kind| {
        let types = counts["isis.type"].as_object().into_iter().flatten();
        types.filter(|(name, _)| name.ends_with(kind)).filter_map(|(_, n)| n.as_u64()).sum()
    });
    Some((ospf, isis))
}

#[test]
fn every_counted_capture_of_the_data_folder() {
    let Some(data) = data() else { return };
    let manifest = std::fs::read_to_string(data.join("MANIFEST.tsv")).unwrap();
    let mut agree = 0;
    for row in manifest.lines().filter(|row| row.starts_with("igp-pcap/")) {
        let file = row.split('\t').next().unwrap();
        let Some(expected) = truth(row) else { continue };
        let (ospf, isis, _) = counts(&decode(&frames::read(&data.join(file))).summary);
        assert_eq!((ospf, isis), expected, "{file}");
        agree += 1;
    }
    println!("{agree} captures agree");
    assert!(agree > 0);
}
