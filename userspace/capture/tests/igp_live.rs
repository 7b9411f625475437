//! FRR's interior protocols across a bridging gateway: what the daemons say to each other reaches
//! userspace as signals, from both ends, and what repeats itself is withheld.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_capture::Clock;
use edgelore_capture::ring::{Ring, RingConfig};
use edgelore_model::{Batch, SignalKind, StreamProtocol};
use edgelore_testkit::{Frr, FrrDaemon, NetNs, Topology, Vantage, live, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const DAEMONS: [FrrDaemon; 6] = [
    FrrDaemon::Zebra,
    FrrDaemon::Bfdd,
    FrrDaemon::Ospfd,
    FrrDaemon::Ospf6d,
    FrrDaemon::Isisd,
    FrrDaemon::Ldpd,
];

/// What is told apart; for each both routers must be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    OspfV2,
    OspfV3,
    Isis,
    LdpHello,
    LdpSession,
    Bfd,
}

const ALL: [Heard; 6] =
    [Heard::OspfV2, Heard::OspfV3, Heard::Isis, Heard::LdpHello, Heard::LdpSession, Heard::Bfd];

/// Who was heard saying what: hardware addresses stand for IS-IS speakers.
#[derive(Debug, Default)]
struct Listener {
    speakers: BTreeMap<Heard, BTreeSet<String>>,
    lost: u64,
}

impl Listener {
    fn take(&mut self, batch: &Batch) {
        for signal in &batch.signals {
            let (heard, speaker) = match &signal.kind {
                SignalKind::Ospf(packet) if packet.src.is_ipv4() => {
                    (Heard::OspfV2, packet.src.to_string())
                }
                SignalKind::Ospf(packet) => (Heard::OspfV3, packet.src.to_string()),
                SignalKind::Isis(frame) => (Heard::Isis, format!("{:02x?}", frame.src)),
                SignalKind::LdpHello(packet) => (Heard::LdpHello, packet.src.to_string()),
                SignalKind::Segment(segment) if segment.protocol == StreamProtocol::Ldp => {
                    (Heard::LdpSession, segment.src.ip().to_string())
                }
                SignalKind::Bfd(packet) => (Heard::Bfd, packet.src.to_string()),
                SignalKind::Lost { count, .. } => {
                    self.lost += count;
                    continue;
                }
                other => panic!("nothing else is spoken here: {other:?}"),
            };
            self.speakers.entry(heard).or_default().insert(speaker);
        }
    }

    fn heard_both(&self, heard: Heard) -> bool {
        self.speakers.get(&heard).is_some_and(|speakers| speakers.len() == 2)
    }
}

/// One router: all protocols on its only link, with hellos every second.
fn configuration(number: u8, peer: IpAddr) -> String {
    format!(
        "interface gw0\n ip ospf network point-to-point\n ip ospf hello-interval 1\n \
         ip ospf dead-interval 4\n ipv6 ospf6 network point-to-point\n \
         ipv6 ospf6 hello-interval 1\n ipv6 ospf6 dead-interval 4\n ipv6 ospf6 area 0\n \
         ip router isis L\n isis network point-to-point\n isis hello-interval 1\n \
         isis hello-multiplier 3\n isis circuit-type level-2-only\nexit\n\
         interface lo\n ip router isis L\n isis passive\nexit\n\
         router ospf\n ospf router-id 10.255.0.{number}\n network 10.90.1.0/24 area 0\n \
         network 10.255.0.0/16 area 0\nexit\n\
         router ospf6\n ospf6 router-id 10.255.0.{number}\nexit\n\
         router isis L\n net 49.0001.0000.0000.000{number}.00\n is-type level-2-only\n \
         lsp-gen-interval 1\n spf-interval 1\nexit\n\
         bfd\n peer {peer}\n  receive-interval 300\n  transmit-interval 300\n \
         exit\nexit\n\
         mpls ldp\n router-id 10.255.0.{number}\n address-family ipv4\n  \
         discovery transport-address 10.255.0.{number}\n  interface gw0\n  exit\n exit\nexit\n"
    )
}

fn start(namespace: &NetNs, number: u8, peer: IpAddr) -> Frr {
    namespace.ip(&format!("addr add 10.255.0.{number}/32 dev lo")).unwrap();
    Frr::start_daemons(namespace, &DAEMONS, &configuration(number, peer)).unwrap()
}

/// What each daemon shows once it is at its goal.
const GOALS: [(&str, &str); 5] = [
    ("show ip ospf neighbor", "Full"),
    ("show ipv6 ospf6 neighbor", "Full"),
    ("show isis neighbor", "Up"),
    ("show mpls ldp neighbor", "OPERATIONAL"),
    ("show bfd peers", "Status: up"),
];

#[test]
fn live_interior_protocols_are_heard_from_both_ends() {
    if !live("live_interior_protocols_are_heard_from_both_ends") {
        return;
    }
    let topology = Topology::build("igp", Vantage::Bridged, 1).unwrap();
    let config = RingConfig::watching(topology.interfaces());
    let mut ring = topology.gateway().run(|| Ok(Ring::open(&config, Clock::new())?)).unwrap();
    let link = topology.link(0);
    let routers = std::thread::scope(|scope| {
        let hub = scope.spawn(|| start(topology.hub(), 1, link.peer[0]));
        let peer = scope.spawn(|| start(&topology.peers()[0], 2, link.hub[0]));
        [hub.join().unwrap(), peer.join().unwrap()]
    });
    let mut listener = Listener::default();
    let mut listen = |ring: &mut Ring| {
        let mut batch = Batch::default();
        ring.poll(Duration::from_millis(1), &mut batch).unwrap();
        listener.take(&batch);
    };
    for router in &routers {
        for (question, goal) in GOALS {
            wait_for(PATIENCE, &format!("{goal} in {question}"), || {
                listen(&mut ring);
                router.show_text(question).is_ok_and(|said| said.contains(goal))
            })
            .unwrap();
        }
    }
    wait_for(PATIENCE, "repeated hellos", || {
        listen(&mut ring);
        let counters = ring.counters().unwrap();
        let [control, records] = [counters.ingress, counters.egress]
            .map(|counted| [counted.control, counted.records])
            .into_iter()
            .fold([0; 2], |sum, counted| [sum[0] + counted[0], sum[1] + counted[1]]);
        control > records + 100
    })
    .unwrap();
    for heard in ALL {
        assert!(listener.heard_both(heard), "{heard:?}: {listener:?}");
    }
    assert_eq!(listener.lost, 0);
    let counters = ring.counters().unwrap();
    for counted in [counters.ingress, counters.egress] {
        assert_eq!((counted.ring_full, counted.cut), (0, 0), "{counted:?}");
    }
}
