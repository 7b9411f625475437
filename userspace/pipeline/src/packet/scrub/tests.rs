//! What goes, what stays, and that nothing hides.

use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Texts and what becomes of them.
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(scrub(text), *expected, "{text}");
    }
}

#[test]
fn addresses_go_in_every_notation() {
    check(&[
        ("peer 192.0.2.1 lost", "peer [address] lost"),
        ("to 192.0.2.1:179, then", "to [address], then"),
        ("neighbor=10.0.0.1", "neighbor=[address]"),
        ("(2001:db8::1)", "([address])"),
        ("[2001:db8::1]:179", "[[address]]:179"),
        ("fe80::1%eth0", "[address]"),
        ("::ffff:192.0.2.1", "[address]"),
        ("0:0:0:0:0:ffff:c000:201", "[address]"),
        ("::/0 and 10.0/16", "[address] and [address]"),
        ("10.0.0.0 255.255.255.0", "[address] [address]"),
        ("10.0.0.0 0.0.0.255", "[address] [address]"),
        ("192[.]0[.]2(.)1 and noc[at]example[dot]net", "[address] and [email]"),
        ("range 10.0.0.1-10.0.0.9", "range [address]"),
        ("x10.0.0.1y", "[address]"),
        ("0xc0000201", "[number]"),
        ("0xc0.0x00.0x02.0x01", "[address]"),
        ("0300.0000.0002.0001", "[mac]"),
        ("3221225985", "[number]"),
        ("ip-192-0-2-1", "[address]"),
        ("192-0-2-1", "[address]"),
        ("route-map in 657.54878", "route-map in [number]"),
        ("rose by 2.5 and 0.125 ms", "rose by 2.5 and 0.125 ms"),
        ("1.2.0.192.in-addr.arpa", "[address]"),
        ("area 0.0.0.10", "area [address]"),
        ("net 49.0001.1920.0000.2001.00", "net [address]"),
        ("net 49.0001.00aa.bbcc.ddee.00", "net [address]"),
        ("lsp 1920.0000.2001.00-00", "lsp [address]"),
    ]);
}

#[test]
fn hardware_addresses_go_in_every_notation() {
    for mac in [
        "00:11:22:33:44:55",
        "00-11-22-aa-bb-cc",
        "aa:bb:cc:dd:ee:ff",
        "0011.22aa.bbcc",
        "0011-22aa-bbcc",
        "001122-aabbcc",
        "001122aabbcc",
        "00:11:22:ff:fe:33:44:55",
    ] {
        assert_eq!(scrub(&format!("mac {mac} moved")), "mac [mac] moved", "{mac}");
    }
    check(&[("0:11:22:3:4:5", "[address]"), ("0011:22aa:bbcc", "[address]")]);
}

#[test]
fn as_numbers_and_communities_go() {
    check(&[
        ("AS64500 and asn 64501", "[asn] and asn [asn]"),
        ("AS 300", "AS [asn]"),
        ("ASN 65001", "ASN [asn]"),
        ("remote-as 64500", "remote-as [asn]"),
        ("router bgp 300", "router bgp [asn]"),
        ("neighbor as 42 up", "neighbor as [asn] up"),
        ("AS path 64500 7 done", "AS path [asn] [asn] done"),
        ("confederation identifier 300", "confederation identifier [asn]"),
        ("AS1.10", "[asn]"),
        ("peer-as64500", "[asn]"),
        ("65000.1 lost", "[number] lost"),
        ("moved from 3356 to others", "moved from [number] to others"),
        ("65,001 lost", "[number] lost"),
        ("community 64500:100", "community [community]"),
        ("community 1:1", "community [community]"),
        ("rt:65001:100 target:1:2", "[community] [community]"),
        ("65001:1:2", "[address]"),
        ("rd 192.0.2.1:100", "rd [address]"),
        ("0x0002fde900000064", "[number]"),
        ("as:65001", "[asn]"),
    ]);
}

#[test]
fn names_of_machines_and_interfaces_go() {
    check(&[
        ("core1.sg.example.net.", "[host]"),
        ("https://nms.example.net/x", "[host]"),
        ("mail noc@example.net", "mail [email]"),
        ("sg-edge1 and leaf03", "[host] and [host]"),
        ("sin-core-01", "[host]"),
        ("LON1 to xn--mnchen-3ya.example", "[host] to [host]"),
        ("area 51, ticket INC0012345", "area [host], ticket [host]"),
        ("on eth0.100", "on [interface]"),
        ("enp3s0f1 xe-0/0/1 br-lan", "[interface] [interface] [interface]"),
        ("swp1 bond0 vlan100 Ethernet4", "[interface] [interface] [interface] [interface]"),
        ("GigabitEthernet 0/1", "GigabitEthernet [interface]"),
        ("GigabitEthernet0/0/0.100", "[interface]"),
        ("Ethernet1/2 and vlan 100", "[interface] and vlan [interface]"),
        ("Te1/1/1, Port-channel7", "[interface], [interface]"),
        ("uplink:eth0", "[interface]"),
        ("veth1a2b3c4 vethabcdef", "[interface] [interface]"),
    ]);
}

#[test]
fn what_helps_stays() {
    for text in [
        "Identified BFD hello interval mismatch on spine-leaf links",
        "Reduced BFD multiplier from 5 to 3 across fabric",
        "Verified convergence improvement to 18 seconds",
        "Deployed dampening profile to border routers",
        "Set bfd to 300 ms x 3 (0.9 s), hold timer 90/30, at 12:30:05",
        "RFC 7606, e.g. ipv6-unicast; 99.9 % of 6,000 prefixes; ratio 1:1",
        "Changed a link's MTU from 1500 to 9000 octets",
        "Changed the limit of prefixes taken from a neighbor from 10000 to 12000",
        "Route flap dampening: half-life 15 min, reuse below 750, suppress above 2000",
        "Set OSPF's reference bandwidth to 100000 Mbit/s, cost to 65535",
        "hold 9, 1500ms, 10g ports, level2, l3vpn, 3rd attempt, x3",
        "Deny anything longer than a /24 or a /48; tag no-export, blackhole",
        "Dropped 0.5 % (DSCP 0x2e, af41) on 802.1q",
        "bfd_tuning clos_5stage hold_timer_tuning rsvp_te ospfv3",
        "Lowered the multiplier as 3 was enough, as 300 ms did",
        "Disabled four-octet AS numbers",
        "calibrated and dockerized",
        "環 é 😀",
        "",
    ] {
        assert_eq!(scrub(text), text);
    }
}

#[test]
fn look_alikes_and_what_nobody_sees_hide_nothing() {
    for text in [
        "peer 192.0.2.\u{200b}1",
        "peer 1\u{ad}92.0.2.1",
        "peer １９２．０．２．１",
        "peer ١٩٢.٠.٢.١",
        "peer 192\u{2024}0\u{2024}2\u{2024}1",
        "peer 192·0·2·1",
        "peer 1\u{336}9\u{336}2\u{336}.0.2.1",
        "peer 2001\u{a789}db8\u{2236}\u{2236}1",
        "peer \u{202e}2001:db8::1",
        "peer 𝟏𝟗𝟐.𝟎.𝟐.𝟏",
    ] {
        let scrubbed = scrub(text);
        assert_eq!(scrubbed, "peer [address]", "{text}");
    }
    check(&[
        ("аs64500 down", "[asn] down"),
        ("on еth0", "on [interface]"),
        ("маршрутизатор1", "[host]"),
        ("noc＠example。net", "[email]"),
        ("⑴ and ㎳", "⑴ and ㎳"),
    ]);
}

#[test]
fn names_go_without_regard_to_case_and_only_whole() {
    let mut scrubber = Scrubber::default();
    let names = ["Singapore-A", "Acme Corp", "asn", "", "Zürich"];
    scrubber.hide(names.map(str::to_owned));
    for (text, expected) in [
        ("singapore-a lost, singapore-ab stays", "[name] lost, singapore-ab stays"),
        ("the ACME corp. site", "the [name]. site"),
        ("uplink-singapore-a", "uplink-[name]"),
        ("[asn] of an asn", "[asn] of an [name]"),
        ("ZÜRICH and Zurich", "[name] and [name]"),
    ] {
        assert_eq!(scrubber.scrub(text), expected);
    }
}

#[test]
fn known_numbers_go_unless_they_are_short_and_counted() {
    let mut scrubber = Scrubber::default();
    scrubber.hide_numbers([300, 65_001]);
    for (text, expected) in [
        ("limit 65001 prefixes", "limit [number] prefixes"),
        ("moved to 300", "moved to [number]"),
        ("300 ms", "300 ms"),
        ("hold time 300", "hold time 300"),
        ("65,001 and 65002 prefixes", "[number] and 65002 prefixes"),
    ] {
        assert_eq!(scrubber.scrub(text), expected);
    }
}

#[test]
fn what_is_allowed_stays_but_never_what_is_known() {
    let allowed = ["lab1", "rack*", "frr-8.4.?", "192.0.2.*", "6500?", "uplink0"];
    let allowed = Allowed::new(&allowed.map(str::to_owned)).unwrap();
    let mut scrubber = Scrubber::allowing(allowed);
    scrubber.hide(["uplink0".to_owned()]);
    scrubber.hide_numbers([65_001]);
    for (text, expected) in [
        ("LAB1 and lab2", "LAB1 and [host]"),
        ("rack12, 192.0.2.7, 192.0.3.7", "rack12, 192.0.2.7, [address]"),
        ("frr-8.4.1", "frr-8.4.1"),
        ("65001 65002", "[asn] 65002"),
        ("uplink0", "[name]"),
    ] {
        assert_eq!(scrubber.scrub(text), expected);
    }
    for wrong in ["", "*", "a*", "two words", "[a-z]*", "x[", &"x".repeat(65)] {
        assert!(Allowed::new(&[wrong.to_owned()]).is_err(), "{wrong}");
    }
    assert!(Allowed::new(&vec!["word".to_owned(); ALLOWED_MAX + 1]).is_err());
}

#[test]
fn what_was_taken_out_is_told_with_its_rule() {
    let (text, removed) = Scrubber::default().explain("peer １９２.0.2.1 of AS64500 [host]");
    assert_eq!(text, "peer [address] of [asn] [host]");
    let told: Vec<(Rule, &str)> = removed.iter().map(|r| (r.rule, r.text.as_str())).collect();
    assert_eq!(told, [(Rule::Address, "１９２.0.2.1"), (Rule::AsNumber, "AS64500")]);
}

#[test]
fn what_is_remembered_is_bounded_and_counted() {
    let mut scrubber = Scrubber::default();
    scrubber.hide((0..NAMES_MAX + 3).map(|n| format!("name-of-{n}x")));
    scrubber.hide_numbers(0..NUMBERS_MAX as u32 + 2);
    assert_eq!(scrubber.beyond(), 5);
}

fn identifiers() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).to_string()),
        (any::<u32>(), 0..=32u8).prop_map(|(bits, len)| format!("{}/{len}", Ipv4Addr::from(bits))),
        (any::<u32>(), any::<u16>())
            .prop_map(|(bits, port)| format!("{}:{port}", Ipv4Addr::from(bits))),
        (1u32 << 24..).prop_map(|bits| format!("{bits:#010x}")),
        (1u32 << 24..).prop_map(|bits| bits.to_string()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).to_string()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).to_ipv6_mapped().to_string()),
        (any::<u128>(), 0..=128u8)
            .prop_map(|(bits, len)| format!("{}/{len}", Ipv6Addr::from(bits << 64))),
        (any::<u64>()).prop_map(|bits| format!("fe80::{:x}%eth1", bits)),
        "([0-9a-f]{2}:){5}[0-9a-f]{2}",
        "([0-9A-F]{2}-){5}[0-9A-F]{2}",
        "[0-9a-f]{4}\\.[0-9a-f]{4}\\.[0-9a-f]{4}",
        "49\\.[0-9]{4}\\.[0-9a-f]{4}\\.[0-9a-f]{4}\\.[0-9a-f]{4}\\.00",
        "(AS|as|ASN|asn)[1-9][0-9]{2,8}",
        "[1-9][0-9]{3,9}",
        "[1-9][0-9]{3,4}\\.[0-9]{1,4}",
        "[1-9][0-9]{3,4}:[1-9][0-9]{2,4}",
        "(rt|target|soo|rd):[1-9][0-9]{3,4}:[1-9][0-9]{0,4}",
        "[1-9][0-9]{3,9}:[0-9]{1,5}:[0-9]{1,5}",
        "[a-z][a-z0-9]{1,8}(\\.[a-z][a-z0-9]{1,8}){1,3}\\.(net|com|internal|sg)",
        "[a-z]{2,8}@[a-z]{2,8}\\.(net|com)",
        "(sin|den|fra)-(core|edge|leaf)-?[0-9]{1,2}",
        "[a-z]{3}(core|edge|leaf)[0-9]{1,2}",
        "(eth|swp|ens|bond|wg|tun|vlan|Ethernet|Loopback)[0-9]{1,3}",
        "(eth|swp|bond)[0-9]{1,2}\\.[0-9]{1,4}",
        "(xe|ge|et)-[0-9]/[0-9]/[0-9]{1,2}",
        "(Gi|Te|Ethernet|GigabitEthernet|HundredGigE)[0-9](/[0-9]{1,2}){1,3}",
        "veth[0-9a-f]{7}",
    ]
}

/// An identifier as somebody writes it who does not want it found.
fn disguised(text: &str, how: u8) -> String {
    match how % 5 {
        0 => text.to_owned(),
        1 => text.to_uppercase(),
        2 => text.chars().flat_map(|c| [c, '\u{200b}']).collect(),
        3 => text
            .chars()
            .map(|c| match c {
                '0'..='9' => char::from_u32(0xff10 + (c as u32 - 48)).unwrap(),
                '.' => '。',
                ':' => '：',
                _ => c,
            })
            .collect(),
        _ => text.chars().flat_map(|c| [c, '\u{336}']).collect(),
    }
}

/// Letters and digits of a text, as they are folded.
fn bare(text: &str) -> String {
    Folded::new(text).text.chars().filter(|c| c.is_alphanumeric()).collect()
}

proptest! {
    #[test]
    fn no_identifier_remains(
        id in identifiers(),
        how: u8,
        before in "(via |peer=|\\(|to: |->|\"|was |)",
        after in "( lost|\\)|,|\\.|: down|\"|)",
    ) {
        let text = format!("Moved {before}{}{after} away", disguised(&id, how));
        let scrubbed = scrub(&text);
        prop_assert!(!bare(&scrubbed).contains(&bare(&id)), "{} -> {}", text, scrubbed);
    }

    #[test]
    fn any_text_is_scrubbed_once(text in ".{0,80}", name in ".{0,4}") {
        once(&text, &name)?;
    }

    #[test]
    fn any_row_of_words_is_scrubbed_once(
        words in proptest::collection::vec(
            "(AS|as|path|to|from|limit|ms|bgp|router|\\[asn\\]|\\[number\\]|Ethernet|vlan|x|%|[0-9]{1,5}|\
             [0-9]:[0-9]{1,3}|eth[0-9]|ab1|[0-9],[0-9]{3})", 0..12),
        between in "( |, |: | - )",
    ) {
        once(&words.join(&between), "x")?;
    }
}

#[test]
fn what_a_mark_lays_bare_goes_too() {
    let mut scrubber = Scrubber::default();
    scrubber.hide(["\u{fffd}Ⱥ".to_owned()]);
    assert_eq!(scrubber.scrub("À0\u{fffd}Ⱥ up"), "[host][name] up");
}

fn once(text: &str, name: &str) -> Result<(), TestCaseError> {
    let mut scrubber = Scrubber::default();
    scrubber.hide([name.to_owned()]);
    scrubber.hide_numbers([7, 300, 65_001]);
    let once = scrubber.scrub(text);
    prop_assert_eq!(&scrubber.scrub(&once), &once);
    Ok(())
}
