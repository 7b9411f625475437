//! What an UPDATE moves, and what its faults mean.

use super::super::{AsWidth, Negotiated};
use super::*;

const GUESS: Encoding<'static> =
    Encoding::Presumed { width: AsWidth::Four, path_ids: PathIdHint::Unlikely };

fn body(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| (part.len() as u16).to_be_bytes();
    [&length(withdrawn), withdrawn, &length(attributes), attributes, nlri].concat()
}

const PATH: [u8; 20] =
    [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, 0x40, 3, 4, 192, 0, 2, 7];

fn texts(list: &[Prefix]) -> Vec<String> {
    list.iter().map(Prefix::to_string).collect()
}

/// The delta of an UPDATE with these attributes and one prefix.
fn with(attributes: &[&[u8]]) -> Delta {
    Delta::read(&body(&[], &attributes.concat(), &[8, 10]), &GUESS).unwrap()
}

#[test]
fn a_delta_holds_everything() {
    let reach = [0x80, 14, 9, 0, 2, 1, 0, 0, 24, 0x20, 1, 0x0d];
    let unreach = [0x80, 15, 5, 0, 1, 2, 8, 10];
    let attributes = [&PATH[..], &reach, &unreach].concat();
    let body = body(&[8, 10], &attributes, &[24, 192, 0, 2]);
    let delta = Delta::read(&body, &GUESS).unwrap();
    assert_eq!(texts(&delta.withdrawn), ["10.0.0.0/8"]);
    assert_eq!(texts(&delta.announced), ["2001:d00::/24", "192.0.2.0/24"]);
    let path = delta.path.unwrap();
    assert_eq!((path.length, path.origin_as), (1, 65_000));
    let expected = PrefixCounts {
        ipv4_announced: 1,
        ipv4_withdrawn: 1,
        ipv6_announced: 1,
        other_withdrawn: 1,
        multicast_withdrawn: 1,
        ..Default::default()
    };
    assert_eq!(delta.counts, expected);
}

#[test]
fn the_hash_is_of_the_attributes_without_routes() {
    let hash = |extra: &[u8]| with(&[&PATH, extra]).path.unwrap().attributes_hash;
    assert_eq!(hash(&[]), hash(&[0x80, 15, 3, 0, 2, 1]), "an empty MP_UNREACH_NLRI");
    assert_ne!(hash(&[]), hash(&[0x80, 4, 4, 0, 0, 0, 1]), "MULTI_EXIT_DISC");
}

#[test]
fn attributes_are_summed_up() {
    let communities = [
        &[0xc0, 8, 8, 0, 1, 0, 2, 0, 3, 0, 4][..],
        &[0xc0, 16, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xc0, 32, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    ];
    let path = with(&[&PATH, &communities.concat()]).path.unwrap();
    assert_eq!((path.length, path.origin_as, path.communities), (1, 65_000, 4));
    assert_eq!(path.next_hop, Some("192.0.2.7".parse().unwrap()));
    let mut reach = vec![0x80, 14, 25, 0, 2, 1, 16];
    reach.extend_from_slice(&"2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
    reach.extend_from_slice(&[0, 24, 0x20, 1, 0x0d]);
    let body = body(&[], &[&PATH, &reach[..]].concat(), &[]);
    let path = Delta::read(&body, &GUESS).unwrap().path.unwrap();
    assert_eq!(path.next_hop, Some("2001:db8::9".parse().unwrap()));
}

#[test]
fn faults_mean_what_rfc_7606_says() {
    use FaultHandling::{AttributeDiscard, TreatAsWithdraw};
    for (name, attributes, expected) in [
        ("sound", PATH.to_vec(), None),
        ("no next hop", PATH[..13].to_vec(), Some(TreatAsWithdraw)),
        ("no path", [&PATH[..4], &PATH[13..]].concat(), Some(TreatAsWithdraw)),
        (
            "a path that does not add up",
            [&PATH[..4], &[0x40, 2, 3, 2, 1, 0], &PATH[13..]].concat(),
            Some(TreatAsWithdraw),
        ),
        ("communities", [&PATH[..], &[0xc0, 8, 3, 1, 2, 3]].concat(), Some(TreatAsWithdraw)),
        ("cut short", PATH[..19].to_vec(), Some(TreatAsWithdraw)),
        ("twice", [&PATH[..], &PATH[..4]].concat(), Some(AttributeDiscard)),
        ("aggregator", [&PATH[..], &[0xc0, 7, 1, 0]].concat(), Some(AttributeDiscard)),
        ("discarded and withdrawn", [&PATH[..13], &PATH[..4]].concat(), Some(TreatAsWithdraw)),
    ] {
        let delta = with(&[&attributes]);
        assert_eq!(delta.fault.map(|(handling, _)| handling), expected, "{name}");
        let withdrawn = expected == Some(TreatAsWithdraw);
        let lists = (texts(&delta.announced), texts(&delta.withdrawn));
        let (there, none) = (vec!["10.0.0.0/8".to_owned()], vec![]);
        assert_eq!(lists, if withdrawn { (none, there) } else { (there, none) }, "{name}");
        assert_eq!((delta.path.is_none(), delta.counts.ipv4_announced), (withdrawn, 1));
    }
}

#[test]
fn an_external_neighbour_has_no_local_preference() {
    let body = body(&[], &[&PATH[..], &[0x40, 5, 4, 0, 0, 0, 9]].concat(), &[8, 10]);
    let negotiated = Negotiated { as4: true, external: true, add_path: vec![] };
    let delta = Delta::read(&body, &Encoding::Negotiated(&negotiated)).unwrap();
    let (handling, error) = delta.fault.unwrap();
    assert_eq!((handling, delta.announced.len()), (FaultHandling::AttributeDiscard, 1));
    let expected =
        "in UPDATE: in path attributes: at byte 0: attribute 5 is not for external sessions";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_fault_names_its_place() {
    for (body, expected) in [
        (
            body(&[8], &[], &[]),
            "in UPDATE: in withdrawn routes: at byte 0: 1 octets where 2 are needed",
        ),
        (
            body(&[], &PATH[..12], &[]),
            "in UPDATE: in path attributes: at byte 4: 8 octets where 9 are needed",
        ),
        (vec![0, 9, 1], "in UPDATE: in withdrawn routes: at byte 0: 3 octets where 11 are needed"),
    ] {
        assert_eq!(Delta::read(&body, &GUESS).unwrap_err().to_string(), expected);
    }
    let twice = [0x80, 15, 3, 0, 2, 1, 0x80, 15, 3, 0, 2, 1];
    assert_eq!(
        Delta::read(&body(&[], &twice, &[]), &GUESS).unwrap_err().fault,
        Fault::RepeatedAttribute(15)
    );
}

#[test]
fn a_fault_in_the_last_list_leaves_what_came_before() {
    let delta = Delta::read(&body(&[], &PATH, &[8, 10, 33, 0]), &GUESS).unwrap();
    assert_eq!((delta.announced.len(), delta.counts.ipv4_announced), (1, 1));
    assert_eq!(
        delta.fault.map(|(handling, error)| (handling, error.to_string())),
        Some((
            FaultHandling::SessionReset,
            "in UPDATE: in NLRI: at byte 2: 2 octets where 6 are needed".to_owned()
        ))
    );
}

#[test]
fn negotiated_path_identifiers_are_read() {
    let negotiated = Negotiated { as4: true, add_path: vec![(1, 1)], ..Default::default() };
    let encoding = Encoding::Negotiated(&negotiated);
    let body = body(&[0, 0, 0, 9, 8, 11], &PATH, &[1, 2, 3, 4, 8, 10]);
    let delta = Delta::read(&body, &encoding).unwrap();
    assert_eq!(delta.announced[0].to_string(), "10.0.0.0/8");
    assert_eq!((delta.announced_path_ids, delta.withdrawn_path_ids), (vec![0x0102_0304], vec![9]));
    let mut faulty = body.clone();
    faulty[13] = 9;
    let delta = Delta::read(&faulty, &encoding).unwrap();
    assert_eq!(delta.fault.map(|(handling, _)| handling), Some(FaultHandling::TreatAsWithdraw));
    assert_eq!((delta.withdrawn.len(), delta.withdrawn_path_ids), (2, vec![9, 0x0102_0304]));
}

#[test]
fn families_without_path_identifiers_have_zero() {
    let negotiated = Negotiated { as4: true, add_path: vec![(1, 1)], ..Default::default() };
    let mut reach = vec![0x80, 14, 25, 0, 2, 1, 16];
    reach.extend_from_slice(&[0x20; 16]);
    reach.extend_from_slice(&[0, 24, 0x20, 1, 0x0d]);
    let body = body(&[], &[&PATH[..], &reach].concat(), &[1, 2, 3, 4, 8, 10]);
    let delta = Delta::read(&body, &Encoding::Negotiated(&negotiated)).unwrap();
    assert_eq!((delta.announced.len(), delta.announced_path_ids), (2, vec![0, 0x0102_0304]));
}

#[test]
fn end_of_rib_names_its_family() {
    for (name, body, expected) in [
        ("IPv4", body(&[], &[], &[]), Some((1, 1))),
        ("IPv6", body(&[], &[0x80, 15, 3, 0, 2, 1], &[]), Some((2, 1))),
        ("VPN", body(&[], &[0x90, 15, 0, 3, 0, 1, 128], &[]), Some((1, 128))),
        (
            "with another attribute",
            body(&[], &[&PATH[..], &[0x80, 15, 3, 0, 2, 1]].concat(), &[]),
            None,
        ),
        ("a withdrawal", body(&[8, 10], &[], &[]), None),
    ] {
        let delta = Delta::read(&body, &GUESS).unwrap();
        assert_eq!(delta.end_of_rib, expected, "{name}");
        assert_eq!(delta.announced, [], "{name}");
    }
}
