//! Messages as an independent encoder writes them, and damaged ones.

use super::route::{NHA_GROUP, NHA_ID};
use super::*;
use edgelore_model::{LinkChange, NeighbourState, NextHop, OperState};
use netlink_packet_core::{NLM_F_CREATE, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkHeader, LinkMessage as Link, State, Stats64,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader,
    NeighbourMessage as Neighbour, NeighbourState as Nud,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage as Encoded, RouteNextHop,
    RouteNextHopFlags, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily as Family, RouteNetlinkMessage};
use proptest::prelude::*;

fn encoded(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut message =
        NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn decoded(bytes: &[u8]) -> Result<Message, MessageError> {
    let (header, payload) = messages(bytes).next().unwrap()?;
    read(header, payload)
}

fn route(attributes: Vec<RouteAttribute>) -> Encoded {
    let mut message = Encoded::default();
    message.header = RouteHeader {
        address_family: Family::Inet,
        destination_prefix_length: 24,
        kind: RouteType::Unicast,
        table: 254,
        ..RouteHeader::default()
    };
    message.attributes = attributes;
    message
        .attributes
        .push(RouteAttribute::Destination(RouteAddress::Inet([198, 51, 100, 0].into())));
    message
}

fn target(message: Encoded) -> RouteTarget {
    match decoded(&encoded(RouteNetlinkMessage::NewRoute(message), 0)) {
        Ok(Message::Route(route)) => route.target,
        other => panic!("{other:?}"),
    }
}

fn hop(via: &str, link: u32) -> NextHop {
    NextHop { via: Some(via.parse().unwrap()), link }
}

#[test]
fn a_route_with_one_next_hop() {
    let message = route(vec![
        RouteAttribute::Gateway(RouteAddress::Inet([10, 1, 0, 2].into())),
        RouteAttribute::Oif(3),
        RouteAttribute::Priority(20),
        RouteAttribute::Table(70_000),
    ]);
    let bytes = encoded(RouteNetlinkMessage::NewRoute(message), NLM_F_REPLACE | NLM_F_CREATE);
    let expected = RouteMessage {
        prefix: "198.51.100.0/24".parse().unwrap(),
        table: 70_000,
        priority: 20,
        target: RouteTarget::Hops(vec![hop("10.1.0.2", 3)]),
        placement: Placement::Replace,
        dead: Vec::new(),
    };
    assert_eq!(decoded(&bytes), Ok(Message::Route(expected)));
}

#[test]
fn an_ipv4_route_over_ipv6() {
    let via = RouteVia::Inet6("2001:db8::9".parse().unwrap());
    let message = route(vec![RouteAttribute::Via(via), RouteAttribute::Oif(4)]);
    assert_eq!(target(message), RouteTarget::Hops(vec![hop("2001:db8::9", 4)]));
}

#[test]
fn a_dead_leg_is_left_out() {
    let leg = |last: u8, link: u32, flags| {
        let mut leg = RouteNextHop::default();
        leg.interface_index = link;
        leg.flags = flags;
        leg.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet([10, 0, 0, last].into()))];
        leg
    };
    let legs = vec![
        leg(1, 3, RouteNextHopFlags::empty()),
        leg(2, 4, RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown),
        leg(3, 5, RouteNextHopFlags::Linkdown),
    ];
    let message = route(vec![RouteAttribute::MultiPath(legs)]);
    let expected = vec![hop("10.0.0.1", 3), hop("10.0.0.3", 5)];
    match decoded(&encoded(RouteNetlinkMessage::NewRoute(message), 0)) {
        Ok(Message::Route(route)) => {
            assert_eq!((route.target, route.dead), (RouteTarget::Hops(expected), vec![4]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn policy_routes_and_other_types_are_not_followed() {
    type Case = (&'static str, fn(&mut RouteHeader));
    let cases: [Case; 4] = [
        ("type of service", |header| header.tos = 8),
        ("source prefix", |header| header.source_prefix_length = 24),
        ("multicast", |header| header.kind = RouteType::Multicast),
        ("local", |header| header.kind = RouteType::Local),
    ];
    for (name, alter) in cases {
        let mut message = route(vec![RouteAttribute::Oif(3)]);
        alter(&mut message.header);
        let bytes = encoded(RouteNetlinkMessage::NewRoute(message), 0);
        assert_eq!(decoded(&bytes), Ok(Message::Other), "{name}");
    }
}

#[test]
fn a_discarding_route_and_a_bad_length() {
    let mut message = route(vec![]);
    message.header.kind = RouteType::Unreachable;
    assert_eq!(target(message), RouteTarget::Discard);
    let mut message = route(vec![]);
    message.header.destination_prefix_length = 33;
    let bytes = encoded(RouteNetlinkMessage::NewRoute(message), 0);
    assert!(matches!(decoded(&bytes), Err(MessageError::Prefix(_))));
}

fn link(family: Family) -> Link {
    let mut stats = Stats64::default();
    (stats.rx_packets, stats.tx_packets) = (11, 22);
    let mut message = Link::default();
    message.header = LinkHeader {
        interface_family: family,
        index: 7,
        flags: LinkFlags::Up | LinkFlags::LowerUp,
        ..LinkHeader::default()
    };
    message.attributes = vec![
        LinkAttribute::IfName("eth0".into()),
        LinkAttribute::Mtu(9_000),
        LinkAttribute::OperState(State::LowerLayerDown),
        LinkAttribute::Stats64(stats),
    ];
    message
}

#[test]
fn a_link_its_removal_and_its_counters() {
    let up = encoded(RouteNetlinkMessage::NewLink(link(Family::Unspec)), 0);
    let change = LinkChange {
        name: "eth0".into(),
        present: true,
        admin_up: true,
        carrier: true,
        oper: OperState::LowerLayerDown,
        mtu: 9_000,
    };
    let expected = LinkMessage { index: 7, change };
    assert_eq!(decoded(&up), Ok(Message::Link(expected.clone())));
    let (_, payload) = messages(&up).next().unwrap().unwrap();
    let sample = CounterSample { rx_packets: 11, tx_packets: 22, ..CounterSample::default() };
    assert_eq!(read_link_counters(payload), Ok(Message::Counters { link: 7, sample }));
    let gone = encoded(RouteNetlinkMessage::DelLink(link(Family::Unspec)), 0);
    let change = LinkChange {
        present: false,
        admin_up: false,
        carrier: false,
        oper: OperState::NotPresent,
        ..expected.change
    };
    let expected = LinkMessage { index: 7, change };
    assert_eq!(decoded(&gone), Ok(Message::Link(expected)));
}

#[test]
fn leaving_a_bridge_is_not_a_removal() {
    let bytes = encoded(RouteNetlinkMessage::DelLink(link(Family::Bridge)), 0);
    assert_eq!(decoded(&bytes), Ok(Message::Other));
}

/// RTM_NEWNEXTHOP as `ip nexthop add id 20 group 11/12` makes the kernel send it.
#[test]
fn a_next_hop_group() {
    let mut fixed = vec![0; NEXT_HOP_HEADER];
    fixed.extend([8u16.to_ne_bytes(), NHA_ID.to_ne_bytes()].concat());
    fixed.extend(20u32.to_ne_bytes());
    fixed.extend([20u16.to_ne_bytes(), NHA_GROUP.to_ne_bytes()].concat());
    for member in [11u32, 12] {
        fixed.extend(member.to_ne_bytes());
        fixed.extend([0; 4]);
    }
    let bytes = request(RTM_NEWNEXTHOP, 0, 1, &fixed, None);
    let object = Some(NextHopObject::Group(vec![11, 12]));
    assert_eq!(decoded(&bytes), Ok(Message::NextHop(NextHopMessage { id: 20, object })));
    let bytes = request(RTM_DELNEXTHOP, 0, 1, &fixed, None);
    let gone = NextHopMessage { id: 20, object: None };
    assert_eq!(decoded(&bytes), Ok(Message::NextHop(gone)));
}

#[test]
fn a_neighbour_its_removal_and_what_is_none() {
    let neighbour = |family, kind, state, flags| {
        let mut message = Neighbour::default();
        message.header = NeighbourHeader { family, ifindex: 3, state, flags, kind };
        message.attributes =
            vec![NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 0, 0, 2].into()))];
        message
    };
    let none = NeighbourFlags::empty();
    let mut cases = Vec::new();
    for (state, expected) in [
        (Nud::Incomplete, NeighbourState::Incomplete),
        (Nud::Reachable, NeighbourState::Reachable),
        (Nud::Stale, NeighbourState::Stale),
        (Nud::Delay, NeighbourState::Delay),
        (Nud::Probe, NeighbourState::Probe),
        (Nud::Failed, NeighbourState::Failed),
        (Nud::Noarp, NeighbourState::Permanent),
        (Nud::Permanent, NeighbourState::Permanent),
    ] {
        cases.push((neighbour(Family::Inet, RouteType::Unicast, state, none), Some(expected)));
    }
    for (family, kind, state, flags) in [
        (Family::Inet, RouteType::Unicast, Nud::None, none),
        (Family::Inet, RouteType::Multicast, Nud::Noarp, none),
        (Family::Bridge, RouteType::Unicast, Nud::Reachable, none),
        (Family::Inet, RouteType::Unicast, Nud::Reachable, NeighbourFlags::Proxy),
    ] {
        cases.push((neighbour(family, kind, state, flags), None));
    }
    for (message, expected) in cases {
        for present in [true, false] {
            let message = message.clone();
            let bytes = if present {
                encoded(RouteNetlinkMessage::NewNeighbour(message), 0)
            } else {
                encoded(RouteNetlinkMessage::DelNeighbour(message), 0)
            };
            let address = [10, 0, 0, 2].into();
            let expected = expected.map_or(Message::Other, |state| Message::Neighbour {
                link: 3,
                change: NeighbourChange { address, state, present },
            });
            assert_eq!(decoded(&bytes), Ok(expected));
        }
    }
}

/// An attribute by hand: the independent encoder writes no statistics of qdiscs.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u16 + 4).to_ne_bytes();
    let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
    [&length[..], &kind.to_ne_bytes(), value, &padding].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn a_qdisc_its_statistics_and_its_limit() {
    let statistics = [
        attribute(1, &[&7_000_000_000u64.to_ne_bytes()[..], &words(&[17])].concat()),
        attribute(3, &words(&[3, 4_500, 11, 12, 13])),
    ]
    .concat();
    let rates = [0; 24];
    let cases: [(&str, Vec<u8>, u32); 5] = [
        ("pfifo", words(&[1_000]), 1_000),
        ("tbf", attribute(1, &[&rates[..], &words(&[65_536, 1, 2])].concat()), 65_536),
        (
            "fq_codel",
            [attribute(1, &words(&[5])), attribute(2, &words(&[10_240]))].concat(),
            10_240,
        ),
        ("sfq", words(&[1, 2, 127]), 127),
        ("htb", words(&[9]), 0),
    ];
    for (kind, options, limit) in cases {
        let fixed = [
            &words(&[0, 5, 0x0001_0000, u32::MAX, 1])[..],
            &attribute(1, format!("{kind}\0").as_bytes()),
            &attribute(2, &options),
            &attribute(7, &statistics),
        ]
        .concat();
        let expected = QueueSample {
            qdisc: kind.into(),
            handle: 0x0001_0000,
            parent: u32::MAX,
            present: true,
            limit,
            backlog_bytes: 4_500,
            backlog_packets: 3,
            bytes: 7_000_000_000,
            packets: 17,
            drops: 11,
            overlimits: 13,
            requeues: 12,
            ..QueueSample::default()
        };
        let bytes = request(RTM_NEWQDISC, 0, 1, &fixed, None);
        assert_eq!(decoded(&bytes), Ok(Message::Queue { link: 5, sample: expected.clone() }));
        let bytes = request(RTM_DELQDISC, 0, 1, &fixed, None);
        let gone = QueueSample { present: false, ..expected };
        assert_eq!(decoded(&bytes), Ok(Message::Queue { link: 5, sample: gone }));
    }
    let nameless = request(RTM_NEWQDISC, 0, 1, &words(&[0, 5, 0, 0, 0]), None);
    assert!(matches!(decoded(&nameless), Err(MessageError::Missing { part: "qdisc", .. })));
}

#[test]
fn what_is_cut_short_is_an_error() {
    let message = route(vec![RouteAttribute::Oif(3)]);
    let whole = encoded(RouteNetlinkMessage::NewRoute(message), 0);
    let mut short = whole[..whole.len() - 3].to_vec();
    assert!(matches!(decoded(&short), Err(MessageError::Header(_))));
    let length = (short.len() as u32).to_ne_bytes();
    short[..4].copy_from_slice(&length);
    assert!(matches!(decoded(&short), Err(MessageError::Attribute { part: "route", .. })));
}

proptest! {
    #[test]
    fn nothing_panics(
        kind in prop::sample::select(vec![16u16, 17, 24, 25, 28, 29, 36, 37, 92, 104, 105]),
        family in prop::sample::select(vec![0u8, 2, 7, 10]),
        mut payload in prop::collection::vec(any::<u8>(), 0..200),
        datagram in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Some(first) = payload.first_mut() {
            *first = family;
        }
        let header = Header { kind, flags: 0, sequence: 0 };
        let _ = (read(header, &payload), read_link_counters(&payload), error_number(&payload));
        let count = messages(&datagram).count();
        prop_assert!(count <= datagram.len() / NETLINK_HEADER + 1);
    }

    /// Valid attributes with wild lengths inside, so that the walk goes deeper.
    #[test]
    fn nested_lengths_do_not_panic(
        (kind, length) in prop::sample::select(vec![
            (RTM_NEWROUTE, ROUTE_HEADER),
            (RTM_NEWNEXTHOP, NEXT_HOP_HEADER),
            (RTM_NEWQDISC, QUEUE_HEADER),
            (RTM_NEWNEIGH, NEIGHBOUR_HEADER),
        ]),
        attribute in 0u16..32,
        mut value in prop::collection::vec(any::<u8>(), 0..64),
        leg in 0u16..70,
    ) {
        if let Some(first) = value.first_chunk_mut() {
            *first = leg.to_ne_bytes();
        }
        let mut payload = vec![0u8; length];
        (payload[0], payload[7]) = (AF_INET, 1);
        payload.extend((value.len() as u16 + 4).to_ne_bytes());
        payload.extend(attribute.to_ne_bytes());
        payload.extend(&value);
        let _ = read(Header { kind, flags: 0, sequence: 0 }, &payload);
    }
}
