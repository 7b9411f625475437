//! Messages from hand-made bytes, and from any bytes.

use super::*;
use crate::decode::{DecodeConfig, Decoder};
use edgelore_model::{
    Batch, BmpMessage, BmpRouter, Observed, SessionKey, Signal, SignalKind, Summary, Timestamp,
};
use proptest::prelude::*;
use std::net::SocketAddr;

const ROUTER: &str = "10.0.0.8:40000";
const OTHER_CONNECTION: &str = "10.0.0.8:40001";

const END_OF_RIB: [u8; 4] = [0; 4];

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (HEADER_LEN + body.len()) as u32;
    [&[VERSION][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn peer(peer_type: u8, flags: u8, distinguisher: u64, last: u8) -> Vec<u8> {
    let address = if peer_type == LOC_RIB { [0; 4] } else { [192, 0, 2, last] };
    [
        &[peer_type, flags][..],
        &distinguisher.to_be_bytes(),
        &[0; 12],
        &address,
        &[0, 0, 0xfd, 0xe9, 10, 0, 0, 9],
        &[0; 8],
    ]
    .concat()
}

fn bgp(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An OPEN that offers to send and to receive path identifiers for IPv4 unicast if `add_path`.
fn open(hold_time_s: u8, add_path: bool) -> Vec<u8> {
    let mut capabilities = vec![65, 4, 0, 0, 0xfd, 0xe9];
    if add_path {
        capabilities.extend([69, 4, 0, 1, 1, 3]);
    }
    let parameter = [&[2, capabilities.len() as u8][..], &capabilities].concat();
    let fixed = [4, 0xfd, 0xe9, 0, hold_time_s, 10, 0, 0, 1, parameter.len() as u8];
    bgp(1, &[&fixed[..], &parameter].concat())
}

fn peer_up(peer: &[u8], port: u16, add_path: bool) -> Vec<u8> {
    let local = [&[0; 12][..], &[10, 0, 0, 8], &179u16.to_be_bytes(), &port.to_be_bytes()].concat();
    message(3, &[peer, &local, &open(90, add_path), &open(9, add_path)].concat())
}

fn peer_down(peer: &[u8], reason: &[u8]) -> Vec<u8> {
    message(2, &[peer, reason].concat())
}

fn routes(peer: &[u8], update: &[u8]) -> Vec<u8> {
    message(0, &[peer, &bgp(2, update)].concat())
}

fn announce(third: u8) -> Vec<u8> {
    let path = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 1];
    [&[0, 0, 0, path.len() as u8][..], &path, &[24, 10, 0, third]].concat()
}

fn withdraw(third: u8) -> Vec<u8> {
    vec![0, 4, 24, 10, 0, third, 0, 0]
}

fn initiation() -> Vec<u8> {
    message(4, &[0, 2, 0, 2, b'r', b'1', 0, 1, 0, 3, b'v', b'\n', b'1'])
}

/// What a decoder makes of a router's messages.
#[derive(Default)]
struct Heard {
    batch: Batch,
}

impl Heard {
    fn from(&mut self, router: &str, bytes: &[u8]) -> &mut Self {
        let router = router.parse().expect("a socket address");
        let payload = self.batch.append(bytes);
        self.push(SignalKind::Bmp(BmpMessage { router, payload }))
    }

    fn say(&mut self, bytes: &[u8]) -> &mut Self {
        self.from(ROUTER, bytes)
    }

    fn connection(&mut self, router: &str, connected: bool) -> &mut Self {
        let router: SocketAddr = router.parse().expect("a socket address");
        self.push(SignalKind::BmpRouter(BmpRouter { router, connected }))
    }

    fn push(&mut self, kind: SignalKind) -> &mut Self {
        let at = Timestamp(self.batch.signals.len() as i64);
        self.batch.signals.push(Signal { at, link: 0, kind });
        self
    }

    fn decode(&self) -> (Vec<Observed>, Summary) {
        let mut decoder = Decoder::new(DecodeConfig::default());
        let mut seen = Vec::new();
        decoder.decode(&self.batch, &mut |_, observation| seen.push(observation.what));
        decoder.finish(&mut |_, observation| seen.push(observation.what));
        (seen, *decoder.summary())
    }

    fn names(&self) -> Vec<String> {
        self.decode().0.iter().map(name).collect()
    }
}

fn name(what: &Observed) -> String {
    match what {
        Observed::Open { hold_time_s, speaker, .. } => format!("{speaker} open {hold_time_s}"),
        Observed::SessionUp { session } => format!("up {session}"),
        Observed::SessionDown { session, cause } => format!("down {session} {cause:?}"),
        Observed::Notification { speaker, code, subcode, .. } => {
            format!("{speaker} notification {code}/{subcode}")
        }
        Observed::Routes(delta) => {
            let (rib, added, gone) = (delta.rib, &delta.announced, &delta.withdrawn);
            format!("{} {rib:?} +{added:?} -{gone:?}", delta.speaker)
        }
        Observed::Router(change) => format!("router {} {}", change.connected, change.words),
        Observed::PeerStatistics(report) => format!("{} {:?}", report.peer, report.values),
        other => format!("{other:?}"),
    }
}

const UP: [&str; 3] = ["10.0.0.8 open 90", "192.0.2.1 open 9", "up 10.0.0.8–192.0.2.1"];

#[test]
fn a_router_reports_a_session_from_up_to_down() {
    let p = peer(0, 0, 0, 1);
    let mut heard = Heard::default();
    heard
        .connection(ROUTER, true)
        .say(&initiation())
        .say(&peer_up(&p, 1000, false))
        .say(&routes(&p, &announce(1)))
        .say(&routes(&peer(0, FLAG_L, 0, 1), &announce(1)))
        .say(&routes(&peer(0, FLAG_O, 0, 1), &announce(2)))
        .say(&routes(&peer(0, FLAG_O | FLAG_L, 0, 1), &withdraw(2)))
        .say(&message(1, &[&p[..], &[0, 0, 0, 2, 0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5]].concat()))
        .say(&message(1, &[&p[..], &[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 6]].concat()))
        .say(&peer_down(&p, &[&[3][..], &bgp(3, &[6, 2])].concat()))
        .say(&peer_down(&p, &[4]))
        .say(&message(5, &[0, 1, 0, 2, 0, 0]))
        .connection(ROUTER, false);
    let (seen, summary) = heard.decode();
    let mut expected = vec!["router true r1, v 1"];
    expected.extend(UP);
    expected.extend([
        "192.0.2.1 InPre +[10.0.1.0/24] -[]",
        "192.0.2.1 InPost +[10.0.1.0/24] -[]",
        "10.0.0.8 OutPre +[10.0.2.0/24] -[]",
        "10.0.0.8 OutPost +[] -[10.0.2.0/24]",
        "192.0.2.1 [(0, 6)]",
        "192.0.2.1 notification 6/2",
        "down 10.0.0.8–192.0.2.1 Notification",
        "router false closed by its operator",
    ]);
    assert_eq!(seen.iter().map(name).collect::<Vec<_>>(), expected);
    let bmp = summary.bmp;
    assert_eq!((bmp.initiation, bmp.peer_up, bmp.route_monitoring), (1, 1, 4));
    assert_eq!((bmp.statistics, bmp.peer_down, bmp.termination), (2, 2, 1));
    assert_eq!(summary.undecodable, 1, "the report that announces two statistics and has one");
    assert_eq!((summary.prefixes.ipv4_announced, summary.prefixes.ipv4_withdrawn), (3, 1));
    assert_eq!((summary.bgp.open, summary.bgp.update, summary.streams), (0, 0, 1));
}

#[test]
fn peer_down_reasons() {
    let session = "10.0.0.8–192.0.2.1";
    for (reason, expected) in [
        (
            [&[1][..], &bgp(3, &[4, 0])].concat(),
            vec!["10.0.0.8 notification 4/0".to_owned(), format!("down {session} Notification")],
        ),
        (vec![2, 0, 10], vec![format!("down {session} Expired")]),
        (vec![2, 0, 18], vec![format!("down {session} Recorded")]),
        (vec![4], vec![format!("down {session} Closed")]),
        (vec![5], vec![]),
    ] {
        let p = peer(0, 0, 0, 1);
        let mut heard = Heard::default();
        heard.say(&initiation()).say(&peer_up(&p, 1000, false)).say(&peer_down(&p, &reason));
        assert_eq!(heard.names()[4..], expected, "{reason:?}");
    }
    let mut heard = Heard::default();
    heard.say(&peer_down(&peer(0, 0, 0, 1), &[9]));
    assert_eq!(heard.decode().1.undecodable, 1);
}

#[test]
fn what_is_no_change_is_not_told() {
    let p = peer(0, 0, 0, 1);
    let mut heard = Heard::default();
    heard
        .say(&initiation())
        .say(&peer_down(&p, &[4]))
        .say(&initiation())
        .say(&peer_up(&p, 1000, false))
        .say(&peer_up(&p, 1000, false));
    assert_eq!(heard.names()[1..], UP);
    heard.say(&peer_up(&p, 2000, false));
    let mut replaced = vec!["down 10.0.0.8–192.0.2.1 Replaced"];
    replaced.extend(UP);
    assert_eq!(heard.names()[4..], replaced, "other ports: another session");
}

#[test]
fn a_peer_that_was_not_up_at_the_start_may_have_been_before_a_late_start() {
    let p = peer(0, 0, 0, 1);
    let mut late = Heard::default();
    late.say(&peer_down(&p, &[4]));
    assert_eq!(late.names(), ["down 10.0.0.8–192.0.2.1 Closed"]);
    let mut routes_first = Heard::default();
    routes_first.say(&initiation()).say(&routes(&p, &announce(1))).say(&peer_up(&p, 1, false));
    let names = routes_first.names();
    assert_eq!(names[1], "192.0.2.1 InPre +[10.0.1.0/24] -[]");
    assert_eq!(names[2..], UP, "Route Monitoring before Peer Up is no session of its own");
}

#[test]
fn when_the_connection_ends_its_peers_are_unknown() {
    let p = peer(0, 0, 0, 1);
    let mut heard = Heard::default();
    heard
        .connection(ROUTER, true)
        .say(&initiation())
        .say(&peer_up(&p, 1000, false))
        .connection(OTHER_CONNECTION, true)
        .from(OTHER_CONNECTION, &initiation())
        .connection(ROUTER, false)
        .from(OTHER_CONNECTION, &peer_up(&p, 1000, false));
    assert_eq!(heard.names()[1..], UP, "the router came back before its old connection ended");
    heard.connection(OTHER_CONNECTION, false).say(&initiation()).say(&peer_up(&p, 1000, false));
    let names = heard.names();
    assert_eq!(names[4], "router false connection closed");
    assert_eq!(names[5], "router true r1, v 1");
    assert_eq!(names[6..], UP);
}

#[test]
fn a_peer_is_up_whatever_its_opens_say() {
    let p = peer(0, 0, 0, 1);
    let (good, mut bad) = (open(9, false), open(90, false));
    bad[19] = 3;
    let mut heard = Heard::default();
    heard.say(&message(3, &[&p[..], &[0; 20], &bad, &good].concat()));
    assert_eq!(heard.names(), UP[1..], "the router's OPEN has a version that nobody speaks");
    assert_eq!(heard.decode().1.undecodable, 1);
}

#[test]
fn instances_keep_equal_peers_apart() {
    let mut heard = Heard::default();
    heard.say(&initiation());
    for distinguisher in [1, 2] {
        heard.say(&peer_up(&peer(1, 0, distinguisher, 1), 1000, false));
    }
    heard.say(&peer_down(&peer(1, 0, 2, 1), &[4]));
    let names = heard.names();
    assert_eq!(names[3], "up 10.0.0.8–192.0.2.1 in 0000000000000001");
    assert_eq!(names[6], "up 10.0.0.8–192.0.2.1 in 0000000000000002");
    assert_eq!(names[7..], ["down 10.0.0.8–192.0.2.1 in 0000000000000002 Closed"]);
}

#[test]
fn a_loc_rib_is_no_session() {
    let own = peer(3, 0x80, 0, 0);
    let mut heard = Heard::default();
    heard
        .say(&peer_up(&own, 0, false))
        .say(&routes(&own, &announce(1)))
        .say(&peer_down(&own, &[6, 0, 3, 0, 0]));
    let (seen, summary) = heard.decode();
    let [Observed::Routes(delta)] = &seen[..] else { panic!("routes alone: {seen:?}") };
    let router = "10.0.0.8".parse().unwrap();
    assert_eq!((delta.rib, delta.speaker), (Rib::Local, router));
    assert_eq!(delta.session, SessionKey::between(router, router));
    assert_eq!(summary.undecodable, 0);
}

#[test]
fn a_table_known_to_be_empty_withdraws_nothing() {
    let (p, post) = (peer(0, 0, 0, 1), peer(0, FLAG_L, 0, 1));
    let up = peer_up(&p, 1000, false);
    let believed = |messages: &[&[u8]]| {
        let mut heard = Heard::default();
        heard.say(&initiation());
        for message in messages {
            heard.say(message);
        }
        let (seen, summary) = heard.decode();
        let withdrawals = seen
            .iter()
            .filter(|what| matches!(what, Observed::Routes(d) if !d.withdrawn.is_empty()))
            .count();
        (withdrawals, summary.bmp.unfounded_withdrawals)
    };
    let (gone, end) = (routes(&p, &withdraw(1)), routes(&p, &END_OF_RIB));
    let added = routes(&p, &announce(2));
    let down = peer_down(&p, &[4]);
    assert_eq!(believed(&[&up, &gone]), (1, 0), "its tables may not have been sent");
    assert_eq!(believed(&[&up, &end, &gone]), (0, 1), "sent, and empty");
    assert_eq!(believed(&[&down, &up, &gone]), (0, 1), "the session has just begun");
    assert_eq!(believed(&[&up, &end, &added, &gone]), (1, 0));
    assert_eq!(believed(&[&down, &up, &added, &gone]), (1, 0));
    assert_eq!(believed(&[&up, &end, &routes(&post, &withdraw(1))]), (1, 0), "another table");
    let unreach6 = [0, 0, 0, 11, 0x80, 15, 8, 0, 2, 1, 32, 0x20, 1, 0xd, 0xb8];
    assert_eq!(believed(&[&up, &end, &routes(&p, &unreach6)]), (1, 0), "another family");
    let end6 = [0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1];
    let both = [&up[..], &routes(&p, &end6), &routes(&p, &unreach6)];
    assert_eq!(believed(&both), (0, 1));
}

#[test]
fn a_route_of_the_router_itself_needs_no_path() {
    let own = [0, 0, 0, 11, 0x40, 1, 1, 2, 0x40, 3, 4, 0, 0, 0, 0, 24, 10, 0, 7];
    let mut heard = Heard::default();
    heard.say(&initiation()).say(&routes(&peer(LOC_RIB, 0, 0, 1), &own));
    assert_eq!(heard.names()[1], "10.0.0.8 Local +[10.0.7.0/24] -[]");
    assert_eq!(heard.decode().1.undecodable, 0);
}

#[test]
fn flags_that_do_not_fit_are_corrected() {
    let octets = |text: &str| match text.parse().unwrap() {
        IpAddr::V4(v4) => [&[0; 12][..], &v4.octets()].concat().try_into().unwrap(),
        IpAddr::V6(v6) => v6.octets(),
    };
    for (flags, written, read) in [
        (0, "192.0.2.1", "192.0.2.1"),
        (FLAG_V, "2001:db8::1", "2001:db8::1"),
        (FLAG_V, "192.0.2.1", "192.0.2.1"),
        (0, "2001:db8::1", "2001:db8::1"),
        (FLAG_V, "::1", "::1"),
        (0, "0.0.0.0", "0.0.0.0"),
    ] {
        assert_eq!(address_of(flags, octets(written)).to_string(), read, "{flags:#x} {written}");
    }
    // AS_PATH in the width that the A flag denies.
    let path = [0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 1];
    let two = [&[0, 0, 0, path.len() as u8][..], &path, &[24, 10, 0, 1]].concat();
    for (flags, update) in
        [(FLAG_A, announce(1)), (0, announce(1)), (FLAG_A, two.clone()), (0, two)]
    {
        let mut heard = Heard::default();
        heard.say(&routes(&peer(0, flags, 0, 1), &update));
        let (seen, _) = heard.decode();
        let [Observed::Routes(delta)] = &seen[..] else { panic!("routes alone: {seen:?}") };
        assert_eq!(delta.path.map(|path| (path.length, path.origin_as)), Some((1, 0xfde9)));
    }
}

#[test]
fn path_identifiers_are_read_where_the_opens_agree_and_where_they_stand() {
    let path = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 1];
    let with = [
        &[0, 0, 0, path.len() as u8][..],
        &path,
        &[0, 0, 0, 1, 24, 10, 0, 1, 0, 0, 0, 2, 24, 10, 0, 1],
    ]
    .concat();
    let without = announce(1);
    for (add_path, update) in [(true, &with), (true, &without), (false, &with), (false, &without)] {
        let p = peer(0, 0, 0, 1);
        let mut heard = Heard::default();
        heard.say(&peer_up(&p, 1, add_path)).say(&routes(&p, update));
        let (seen, _) = heard.decode();
        let Some(Observed::Routes(delta)) = seen.last() else { panic!("routes: {seen:?}") };
        assert!(!delta.announced.is_empty() && delta.withdrawn.is_empty());
        assert!(delta.announced.iter().all(|prefix| prefix.to_string() == "10.0.1.0/24"));
    }
}

#[test]
fn frames_are_measured() {
    let whole = initiation();
    assert_eq!(frame(&whole), Ok(Some(whole.len())));
    for cut in 0..whole.len() {
        assert_eq!(frame(&whole[..cut]), Ok(None), "cut at {cut}");
    }
    assert_eq!(frame(&[2]), Err(BmpError::Version(2)));
    assert_eq!(frame(&[3, 0, 0, 0, 5]), Err(BmpError::Length(5)));
    assert_eq!(frame(&[3, 0, 0x10, 0, 1]), Err(BmpError::Length(0x0010_0001)));
}

#[test]
fn words_are_short_and_on_one_line() {
    let long = vec![b'x'; 60_000];
    let tlv = [&[0, 0, 0xea, 0x60][..], &long].concat();
    let text = tlv_text(message_type::INITIATION, &tlv.repeat(8));
    assert_eq!(text.chars().count(), 256);
}

proptest! {
    /// Whatever comes, reading it ends, and each message is counted once at most.
    #[test]
    fn any_bytes_are_read(
        messages in proptest::collection::vec(
            (0u8..8, 0u8..5, any::<u8>(), 0u64..3, proptest::collection::vec(any::<u8>(), 0..120)),
            0..12,
        ),
        raw in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut heard = Heard::default();
        for (kind, peer_type, flags, distinguisher, body) in &messages {
            let p = peer(*peer_type, *flags, *distinguisher, 1);
            heard.say(&message(*kind, &[&p[..], body].concat()));
            heard.say(&routes(&p, body));
            heard.say(&peer_down(&p, body));
            heard.say(&peer_up(&p, u16::from(*flags), flags & 1 == 0));
        }
        heard.say(&raw).say(&message(4, &raw)).say(&message(5, &raw));
        let (_, summary) = heard.decode();
        let b = summary.bmp;
        let counted = b.initiation + b.peer_up + b.peer_down + b.route_monitoring + b.statistics
            + b.termination + b.route_mirroring;
        prop_assert!(counted <= heard.batch.signals.len() as u64);
    }

    /// Downs and ups of a peer alternate, whatever its router reports in whichever order.
    #[test]
    fn downs_and_ups_alternate(events in proptest::collection::vec(0u8..5, 0..30)) {
        let p = peer(0, 0, 0, 1);
        let mut heard = Heard::default();
        heard.say(&initiation());
        for event in &events {
            match event {
                0 => heard.say(&peer_up(&p, 1000, false)),
                1 => heard.say(&peer_up(&p, 2000, false)),
                2 => heard.say(&peer_down(&p, &[4])),
                3 => heard.say(&routes(&p, &announce(1))),
                _ => heard.say(&routes(&p, &withdraw(1))),
            };
        }
        let mut up = None;
        for what in heard.decode().0 {
            match what {
                Observed::SessionUp { .. } => {
                    prop_assert_ne!(up, Some(true));
                    up = Some(true);
                }
                Observed::SessionDown { .. } => {
                    prop_assert_ne!(up, Some(false));
                    up = Some(false);
                }
                _ => {}
            }
        }
    }
}
