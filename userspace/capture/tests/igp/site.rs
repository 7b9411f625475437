//! What real routers' advertisements show of their network.

use super::*;
use edgelore_capture::file::FileSource;
use edgelore_pipeline::topology::{SiteInference, SiteTracker, TopologyConfig};

fn inferred(name: &str) -> SiteInference {
    let mut source = FileSource::open(fixture(name)).unwrap();
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut tracker = SiteTracker::new(TopologyConfig::default());
    let mut more = true;
    while more {
        let mut batch = Batch::default();
        more = source.next_batch(&mut batch).unwrap();
        decoder.decode(&batch, &mut |_, observation| tracker.observe(&observation));
    }
    tracker.infer()
}

#[test]
fn captures_of_three_routers_show_their_network() {
    for (name, class) in [
        ("tcpdump.OSPFv2_Capture_FINAL.pcapng", "full_mesh"),
        ("tcpdump.OSPFv3_multipoint_adjacencies.pcap", "hub_spoke"),
    ] {
        let site = inferred(name);
        let found = site.topology.expect("three routers have a shape");
        // Three routers could be much else.
        assert_eq!((found.class.as_str(), found.confidence_permille), (class, 500), "{name}");
        assert_eq!((site.node_count, site.node_count_is_lower_bound), (3, false), "{name}");
    }
}

#[test]
fn two_routers_show_none() {
    let site = inferred("tcpdump.OSPFv3_broadcast_adjacency.pcap");
    assert_eq!(site.topology, None);
}
