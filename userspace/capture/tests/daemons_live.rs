//! Real BGP daemons of five makes talk to a hub, and a gateway in their midst listens: what it
//! understood must be what the daemons say of themselves.
//!
//! The gateway stands where gateways stand: as a bridge, as a router that only forwards, and as
//! the hub itself. In each place all makes talk at once, over IPv4 and over IPv6.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod watcher;

use edgelore_model::{DownCause, Observed, Prefix, SessionKey, Summary};
use edgelore_testkit::speaker::{FrrBgp, Identity, Make, Messages, Neighbour, Speaker};
use edgelore_testkit::{Link, Topology, Vantage, live, wait_for};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use watcher::{Moves, Watcher};

const PATIENCE: Duration = Duration::from_secs(60);
const HUB_ASN: u32 = 4_200_000_000;
/// Prefixes of each family that a peer announces.
const PREFIXES: usize = 6;
/// How many of them it withdraws.
const WITHDRAWN: usize = 2;

/// Everything that is known of one session before it begins.
#[derive(Clone, Copy, Debug)]
struct Session {
    #[expect(dead_code, reason = "for the messages of failures")]
    make: Make,
    peer: usize,
    family: usize,
    hub: IpAddr,
    speaker: IpAddr,
}

impl Session {
    fn key(&self) -> SessionKey {
        SessionKey::between(self.hub, self.speaker)
    }

    /// No two ends of the laboratory propose the same.
    fn hold_time_s(&self) -> u16 {
        30 + 2 * self.peer as u16 + self.family as u16
    }

    fn hub_hold_time_s(&self) -> u16 {
        60 + 2 * self.peer as u16 + self.family as u16
    }

    /// What the peer announces on this session.
    fn prefixes(&self) -> Vec<Prefix> {
        prefixes(self.family, self.peer + 1, PREFIXES)
    }
}

fn prefixes(family: usize, owner: usize, count: usize) -> Vec<Prefix> {
    let text = |number: usize| match family {
        0 => format!("198.18.{}.0/24", owner * 16 + number),
        _ => format!("2001:db8:{:x}:{number:x}::/64", 0x1000 + owner),
    };
    (0..count).map(|number| text(number).parse().unwrap()).collect()
}

fn own_prefixes(family: usize) -> Vec<Prefix> {
    prefixes(family, 0, 1)
}

fn sessions(topology: &Topology) -> Vec<Session> {
    let session = |(peer, make): (usize, Make)| {
        let Link { hub, peer: speaker } = topology.link(peer);
        [0, 1].map(|family| Session {
            make,
            peer,
            family,
            hub: hub[family],
            speaker: speaker[family],
        })
    };
    Make::ALL.into_iter().enumerate().flat_map(session).collect()
}

fn hub_identity(sessions: &[Session]) -> Identity {
    let neighbours = sessions.iter().map(|session| Neighbour {
        local: session.hub,
        remote: session.speaker,
        asn: HUB_ASN + 1 + session.peer as u32,
        hold_time_s: session.hub_hold_time_s(),
        passive: true,
    });
    let router_id = Ipv4Addr::new(10, 90, 255, 254);
    Identity { asn: HUB_ASN, router_id, neighbours: neighbours.collect() }
}

fn peer_identity(sessions: &[Session], peer: usize) -> Identity {
    let neighbours =
        sessions.iter().filter(|session| session.peer == peer).map(|session| Neighbour {
            local: session.speaker,
            remote: session.hub,
            asn: HUB_ASN,
            hold_time_s: session.hold_time_s(),
            passive: false,
        });
    let router_id = Ipv4Addr::new(10, 90, 255, 1 + peer as u8);
    let asn = HUB_ASN + 1 + peer as u32;
    Identity { asn, router_id, neighbours: neighbours.collect() }
}

/// The daemons at work.
struct Lab<'a> {
    sessions: Vec<Session>,
    hub: FrrBgp,
    speakers: Vec<Box<dyn Speaker>>,
    watcher: &'a Watcher,
}

impl<'a> Lab<'a> {
    /// The hub first, so that nobody knocks in vain; then all the others at once.
    fn start(topology: &Topology, watcher: &'a Watcher) -> Self {
        let sessions = sessions(topology);
        let mut hub = FrrBgp::start(topology.hub(), &hub_identity(&sessions)).unwrap();
        hub.announce(&[own_prefixes(0), own_prefixes(1)].concat()).unwrap();
        let speakers = std::thread::scope(|scope| {
            let start = |(peer, make): (usize, Make)| {
                let identity = peer_identity(&sessions, peer);
                let namespace = &topology.peers()[peer];
                scope.spawn(move || make.start(namespace, &identity).unwrap())
            };
            let threads: Vec<_> = Make::ALL.into_iter().enumerate().map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        Self { sessions, hub, speakers, watcher }
    }

    /// Lets every peer do something with the prefixes of both its sessions, all peers at once.
    fn all(&mut self, act: impl Fn(&mut dyn Speaker, Vec<Prefix>) + Sync) {
        let (sessions, act) = (&self.sessions, &act);
        std::thread::scope(|scope| {
            for (peer, speaker) in self.speakers.iter_mut().enumerate() {
                let of_peer = sessions.iter().filter(move |session| session.peer == peer);
                let prefixes = of_peer.flat_map(Session::prefixes).collect();
                scope.spawn(move || act(speaker.as_mut(), prefixes));
            }
        });
    }

    fn await_established(&self) {
        for session in &self.sessions {
            wait_for(PATIENCE, &format!("{session:?}"), || self.hub.established(session.speaker))
                .unwrap();
        }
    }

    /// Waits until hub and gateway agree that each session brings what `expected` says, and the
    /// hub's own prefixes the other way.
    fn await_tables(&self, expected: impl Fn(&Session) -> Vec<Prefix>) {
        for session in &self.sessions {
            let expected: BTreeSet<Prefix> = expected(session).into_iter().collect();
            let (mut hub, mut gateway) = (BTreeSet::new(), BTreeSet::new());
            let done = wait_for(PATIENCE, "the tables", || {
                hub = self.hub.received(session.speaker).unwrap_or_default();
                gateway = self.watcher.seen().table(session.key(), session.speaker);
                hub == expected && gateway == expected
            });
            assert!(done.is_ok(), "{session:?}: {expected:?}, hub {hub:?}, gateway {gateway:?}");
            let own = own_prefixes(session.family).into_iter().collect();
            wait_for(PATIENCE, &format!("the hub's prefixes on {session:?}"), || {
                self.watcher.seen().table(session.key(), session.hub) == own
            })
            .unwrap();
        }
    }

    /// Withdraws the first of each peer's prefixes.
    fn withdraw(&mut self) {
        self.all(|speaker, prefixes| {
            let first: Vec<Prefix> = prefixes
                .chunks(PREFIXES)
                .flat_map(|family| &family[..WITHDRAWN])
                .copied()
                .collect();
            speaker.withdraw(&first).unwrap();
        });
    }

    /// Exactly these moves were seen, each once.
    fn check_moves(&self, expected: impl Fn(&Session) -> Moves) {
        for session in &self.sessions {
            let seen = self.watcher.seen().moved(session.key(), session.speaker);
            assert_eq!(seen, expected(session), "{session:?}");
        }
    }

    /// Stops every peer and waits until hub and gateway know.
    fn stop(&mut self) {
        self.all(|speaker, _| speaker.stop().unwrap());
        for session in &self.sessions {
            let mut downs = 0;
            let done = wait_for(PATIENCE, "the end", || {
                downs = of_session(self.watcher, session, down_cause).len();
                downs > 0 && !self.hub.established(session.speaker)
            });
            assert!(done.is_ok(), "{session:?}: {downs} ends");
        }
    }

    /// What the hub has counted on all sessions.
    fn messages(&self) -> Messages {
        let mut sum = Messages::default();
        for session in &self.sessions {
            let counted = self.hub.messages(session.speaker).unwrap();
            sum.open += counted.open;
            sum.update += counted.update;
        }
        sum
    }
}

/// What `pick` finds among the events of one session.
fn of_session<T>(
    watcher: &Watcher,
    session: &Session,
    pick: impl Fn(&Observed) -> Option<(SessionKey, T)>,
) -> Vec<T> {
    let seen = watcher.seen();
    let found = seen.events.iter().filter_map(|event| pick(&event.what));
    found.filter(|(key, _)| *key == session.key()).map(|(_, found)| found).collect()
}

fn down_cause(what: &Observed) -> Option<(SessionKey, DownCause)> {
    match what {
        Observed::SessionDown { session, cause } => Some((*session, *cause)),
        _ => None,
    }
}

fn up(what: &Observed) -> Option<(SessionKey, ())> {
    match what {
        Observed::SessionUp { session } => Some((*session, ())),
        _ => None,
    }
}

fn open(what: &Observed) -> Option<(SessionKey, (IpAddr, u16))> {
    match what {
        Observed::Open { session, speaker, hold_time_s, .. } => {
            Some((*session, (*speaker, *hold_time_s)))
        }
        _ => None,
    }
}

fn notification(what: &Observed) -> Option<(SessionKey, (IpAddr, u8, u8))> {
    match what {
        Observed::Notification { session, speaker, code, subcode, .. } => {
            Some((*session, (*speaker, *code, *subcode)))
        }
        _ => None,
    }
}

fn check_opens(lab: &Lab<'_>) {
    for session in &lab.sessions {
        let mut opens = of_session(lab.watcher, session, open);
        // A hub that is not ready for the first connection sees a second one.
        opens.sort_unstable();
        opens.dedup();
        let mut expected =
            [(session.hub, session.hub_hold_time_s()), (session.speaker, session.hold_time_s())];
        expected.sort_unstable();
        assert_eq!(opens, expected, "{session:?}");
        assert_eq!(of_session(lab.watcher, session, up).len(), 1, "{session:?}");
    }
}

/// How each session ended: what the gateway saw is what the hub says of it.
fn check_ends(lab: &Lab<'_>) {
    for session in &lab.sessions {
        let said = lab.hub.neighbour(session.speaker).unwrap();
        let causes = of_session(lab.watcher, session, down_cause);
        let notifications = of_session(lab.watcher, session, notification);
        println!("{session:?}: {causes:?} {notifications:?}, hub {}", said["lastResetDueTo"]);
        match said["lastResetDueTo"].as_str().unwrap() {
            "BGP Notification received" => {
                let code = u16::from_str_radix(said["lastErrorCodeSubcode"].as_str().unwrap(), 16);
                let [code, subcode] = code.unwrap().to_be_bytes();
                assert_eq!(causes, [DownCause::Notification], "{session:?}");
                assert_eq!(notifications, [(session.speaker, code, subcode)], "{session:?}");
            }
            "Peer closed the session" => {
                assert!(matches!(causes[..], [DownCause::Closed | DownCause::Reset]), "{causes:?}");
                assert_eq!(notifications, [], "{session:?}");
            }
            other => panic!("{session:?}: the hub says {other}"),
        }
    }
}

/// The hub counts the OPENs of connections that it accepted. Those that it refused, because it was
/// not ready for the neighbour yet, carried the peer's alone.
fn check_messages(summary: &Summary, said: Messages, sessions: u64) {
    let bgp = summary.bgp;
    assert_eq!(bgp.update, said.update, "UPDATEs (gateway, hub)");
    let refused = summary.streams - sessions;
    let opens = said.open..=said.open + refused;
    assert!(opens.contains(&bgp.open), "{} OPENs, {opens:?} by the hub", bgp.open);
    assert_eq!((summary.gaps, summary.undecodable), (0, 0), "{summary:?}");
}

fn run(name: &str, vantage: Vantage) {
    let topology = Topology::build(name, vantage, Make::ALL.len()).unwrap();
    let watcher = Watcher::start(topology.gateway(), topology.interfaces());
    let mut lab = Lab::start(&topology, &watcher);
    lab.await_established();
    check_opens(&lab);

    lab.all(|speaker, prefixes| speaker.announce(&prefixes).unwrap());
    lab.await_tables(Session::prefixes);
    lab.check_moves(|session| Moves { announced: session.prefixes(), withdrawn: Vec::new() });

    watcher.seen().forget_moves();
    lab.withdraw();
    lab.await_tables(|session| session.prefixes().split_off(WITHDRAWN));
    lab.check_moves(|session| {
        let withdrawn = session.prefixes()[..WITHDRAWN].to_vec();
        Moves { announced: Vec::new(), withdrawn }
    });

    lab.stop();
    check_ends(&lab);
    let (said, sessions) = (lab.messages(), lab.sessions.len() as u64);
    drop(lab);
    let (seen, counters) = watcher.finish();
    check_messages(&seen.summary, said, sessions);
    assert_eq!((seen.lost, counters.malformed), (0, 0));
    for counted in [counters.ingress, counters.egress] {
        assert_eq!((counted.ring_full, counted.cut), (0, 0), "{counted:?}");
    }
}

#[test]
fn live_a_bridging_gateway_understands_every_daemon() {
    if live("live_a_bridging_gateway_understands_every_daemon") {
        run("br", Vantage::Bridged);
    }
}

#[test]
fn live_a_forwarding_gateway_understands_every_daemon() {
    if live("live_a_forwarding_gateway_understands_every_daemon") {
        run("fw", Vantage::Routed);
    }
}

#[test]
fn live_a_speaking_gateway_understands_every_daemon() {
    if live("live_a_speaking_gateway_understands_every_daemon") {
        run("sp", Vantage::Speaking);
    }
}
