//! A full table passes a gateway amid a storm of other packets, and not one prefix is missed.
//!
//! Nothing is timed here: what watching costs the traffic is the saturation scenario of the benches.

mod watcher;

use edgelore_model::{Prefix, SessionKey};
use edgelore_testkit::speaker::{Feed, table};
use edgelore_testkit::{Storm, Topology, Vantage, live, traffic, wait_for};
use std::time::Duration;
use watcher::{Moves, Watcher};

const PATIENCE: Duration = Duration::from_secs(60);
const PREFIXES: u32 = 100_000;
/// Packets that the gateway must have forwarded meanwhile; it forwards many more a second.
const STORM_PACKETS_MIN: u64 = 100_000;
/// Payload of 64-byte frames.
const PAYLOAD_LEN: usize = 22;

#[test]
fn live_a_full_table_passes_a_storm_without_loss() {
    if !live("live_a_full_table_passes_a_storm_without_loss") {
        return;
    }
    let topology = Topology::build("st", Vantage::Routed, 1).unwrap();
    let link = topology.link(0);
    let (session, speaker) = (SessionKey::between(link.hub[0], link.peer[0]), link.peer[0]);
    let watcher = Watcher::start(topology.gateway(), topology.interfaces());
    let storm =
        Storm::start(&topology.peers()[0], (topology.hub(), link.hub[0]), PAYLOAD_LEN).unwrap();

    let mut feed = Feed::start(&topology, PREFIXES).unwrap();
    let announced = || watcher.seen().table(session, speaker).len();
    wait_for(PATIENCE, "the whole table", || announced() == PREFIXES as usize).unwrap();
    feed.withdraw().unwrap();
    wait_for(PATIENCE, "the whole withdrawal", || announced() == 0).unwrap();
    let arrived = || traffic(topology.hub(), "gw0").unwrap().rx_packets;
    wait_for(PATIENCE, "the storm", || arrived() > STORM_PACKETS_MIN).unwrap();
    println!("{} packets sent, {} arrived", storm.sent(), arrived());
    drop(storm);
    drop(feed);

    let (seen, counters) = watcher.finish();
    let all: Vec<Prefix> = table(PREFIXES);
    let expected = Moves { announced: all.clone(), withdrawn: all };
    assert!(seen.moved(session, speaker) == expected, "every prefix came and went once");
    assert_eq!((seen.lost, counters.malformed), (0, 0));
    assert_eq!((seen.summary.gaps, seen.summary.undecodable), (0, 0), "{:?}", seen.summary);
    for counted in [counters.ingress, counters.egress] {
        assert_eq!((counted.ring_full, counted.cut), (0, 0), "{counted:?}");
        assert!(counted.other > STORM_PACKETS_MIN, "{counted:?}");
    }
}
