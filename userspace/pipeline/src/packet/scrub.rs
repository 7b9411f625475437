//! What identifies a network is taken out of text before it leaves.
//!
//! Owns the patterns: IPv4 and IPv6 addresses and prefixes, MAC addresses, AS numbers and
//! communities, host names, interface names, and the words that the operator names. Never decides
//! whether a text is useful afterwards. In doubt it takes out: a version number that looks like an
//! address goes too.
//!
//! A bare number is not recognised as an AS number (it could be milliseconds), nor a plain word as
//! a host name: those belong into [`super::Privacy::names`].
//!
//! **Invariant:** a word that matches a pattern is replaced as a whole, so no part of it remains;
//! scrubbing twice gives the same as scrubbing once.

/// Replaces everything that identifies a network by `[address]`, `[mac]`, `[asn]`, `[host]`,
/// `[interface]` or, for one of `names`, `[name]`.
#[must_use]
pub fn scrub(text: &str, names: &[String]) -> String {
    let mut text = text.to_owned();
    for name in names.iter().filter(|name| !name.is_empty()) {
        text = replace_name(&text, name);
    }
    let mut out = String::with_capacity(text.len());
    let mut context = Context::None;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        if !word.is_empty() {
            push_word(&mut out, word, &mut context);
        }
        let next = tail.find(is_word).unwrap_or(tail.len());
        out.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    out
}

/// What the words before say about a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    None,
    /// "AS", "remote-as": any number is an AS number.
    AsNumber,
    /// "as", which is also an English word: numbers of three digits or more.
    MaybeAsNumber,
    /// "GigabitEthernet": a number with a slash is a port.
    Interface,
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || "._:-/%@".contains(character)
}

fn push_word(out: &mut String, word: &str, context: &mut Context) {
    let core = word.trim_matches(['.', ':', '-', '/', '_', '%', '@']);
    let lower = core.to_lowercase();
    if let Some(mark) = classify(word, &lower, *context) {
        out.push_str(mark);
    } else {
        out.push_str(word);
    }
    *context = following(core, &lower, *context);
}

/// The context for the next word.
fn following(core: &str, lower: &str, before: Context) -> Context {
    let numeric = !lower.is_empty() && lower.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let filler = ["number", "no", "nr", "path", "is", ""].contains(&lower);
    if core == "AS" || lower == "asn" || ends_in_as(lower) {
        Context::AsNumber
    } else if lower == "as" {
        Context::MaybeAsNumber
    } else if INTERFACES.contains(&lower) {
        Context::Interface
    } else if numeric || filler {
        before
    } else {
        Context::None
    }
}

fn ends_in_as(lower: &str) -> bool {
    ["-as", "_as", "as-path", "as_path", "aspath", "as-number", "system", "asns", "ases"]
        .iter()
        .any(|end| lower.ends_with(end))
}

fn classify(word: &str, lower: &str, context: Context) -> Option<&'static str> {
    if is_mac(lower) {
        Some("[mac]")
    } else if is_address(&word.to_lowercase()) {
        Some("[address]")
    } else if is_as_number(lower, context) {
        Some("[asn]")
    } else if is_interface(lower, context) {
        Some("[interface]")
    } else if is_host(lower) {
        Some("[host]")
    } else {
        None
    }
}

/// Six or eight octets with `:` or `-`, or three groups of four with dots, or twelve digits bare.
fn is_mac(lower: &str) -> bool {
    let groups = |separator: char, width: usize| {
        let mut count = 0;
        for group in lower.split(separator) {
            if group.len() != width || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return 0;
            }
            count += 1;
        }
        count
    };
    [6, 8].contains(&groups(':', 2))
        || [6, 8].contains(&groups('-', 2))
        || groups('.', 4) == 3
        || groups('x', 12) == 1
}

fn is_address(word: &str) -> bool {
    let colons = word.matches(':').count();
    let hexadecimal = word.bytes().all(|b| b.is_ascii_hexdigit() || b"./:%".contains(&b));
    let dotted = dotted_groups(word);
    word.contains("::")
        || colons >= 3
        || (colons == 2 && hexadecimal && !is_time_of_day(word))
        || dotted >= 3
        || (dotted == 2 && word.contains('/'))
}

/// The most decimal groups that stand in a row with dots between, wherever in the word.
fn dotted_groups(word: &str) -> usize {
    let runs = word.split(|c: char| !c.is_numeric() && c != '.');
    runs.map(|run| run.split('.').filter(|group| !group.is_empty()).count()).max().unwrap_or(0)
}

fn is_time_of_day(word: &str) -> bool {
    let groups: Vec<&str> = word.trim_end_matches([':', '.']).split(':').collect();
    groups.len() <= 3 && groups.iter().all(|group| group.len() == 2 && group.as_bytes()[0] < b'6')
}

fn is_as_number(lower: &str, context: Context) -> bool {
    let digits = lower.bytes().filter(u8::is_ascii_digit).count();
    let only = |others: &[u8]| {
        digits > 0 && lower.bytes().all(|b| b.is_ascii_digit() || others.contains(&b))
    };
    let by_context = match context {
        Context::AsNumber => only(b".:-_"),
        Context::MaybeAsNumber => only(b".:-_") && digits >= 3,
        Context::None | Context::Interface => false,
    };
    // A community (RFC 1997) or a path with underscores; "1:1" and "12:30" stay.
    let long = |separator| lower.split(separator).any(|part: &str| part.len() >= 3);
    let community = lower.contains(':') && only(b":") && long(':');
    let path = lower.contains('_') && only(b"_") && long('_');
    by_context || community || path || holds_as_number(lower)
}

/// "as64500", "asn-64500", "peer-as64500": the letters at a border, then digits.
fn holds_as_number(lower: &str) -> bool {
    lower.match_indices("as").any(|(at, _)| {
        let border = lower[..at].chars().next_back().is_none_or(|c| !c.is_alphabetic());
        let tail = lower[at + 2..].strip_prefix('n').unwrap_or(&lower[at + 2..]);
        let tail = tail.trim_start_matches(['-', '_', ':', '.']);
        border && tail.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Names that interfaces begin with, on Linux and on the usual routers.
#[rustfmt::skip]
const INTERFACES: &[&str] = &[
    "eth", "en", "ens", "eno", "enp", "enx", "em", "wl", "wlan", "wlp", "wlx", "ww", "wwan", "lo", "bond", "team",
    "br", "bridge", "virbr", "docker", "veth", "vnet", "tap", "tun", "wg", "ppp", "vlan", "vxlan", "geneve",
    "gre", "gretap", "sit", "ipip", "vti", "ib", "dummy", "ifb", "macvlan", "macvtap", "ipvlan", "vrf", "swp",
    "xe", "ge", "et", "fe", "ae", "irb", "reth", "fxp", "so", "lt", "mt", "st", "gi", "gig", "gigabitethernet",
    "gige", "te", "ten", "tengige", "tengigabitethernet", "twe", "twentyfivegige", "fo", "fortygige",
    "fortygigabitethernet", "hu", "hundredgige", "hundredgigabitethernet", "fourhundredgige", "fa",
    "fastethernet", "ethernet", "po", "port-channel", "bundle-ether", "be", "lag", "loopback", "serial", "se",
    "tunnel", "tu", "mgmt", "mgmteth", "management", "bvi", "bdi", "nve", "vmnic", "dp", "cali", "cilium", "nic",
];
/// After these, an interface name goes on with letters.
const INTERFACES_OPEN: &[&str] = &["veth", "br-", "enx", "wlx", "docker", "cali", "cilium_", "lxc"];

fn is_interface(lower: &str, context: Context) -> bool {
    let slashed =
        lower.contains('/') && lower.bytes().all(|b| b.is_ascii_digit() || b"/.:".contains(&b));
    let port = slashed && (context == Context::Interface || lower.matches('/').count() >= 2);
    let lettered = lower.split_once('/').is_some_and(|(before, after)| {
        before.starts_with(char::is_alphabetic)
            && before.ends_with(char::is_numeric)
            && after.starts_with(char::is_numeric)
    });
    let parts = lower.split([':', '@', '%', '_', '-', '/', '.']);
    port || lettered || is_interface_name(lower) || parts.into_iter().any(is_interface_name)
}

fn is_interface_name(lower: &str) -> bool {
    let open = |start: &str| lower.len() > start.len() && lower.starts_with(start);
    if INTERFACES_OPEN.iter().any(|start| open(start)) {
        return true;
    }
    let Some(at) = lower.find(|c: char| c.is_numeric()) else { return false };
    let start = lower[..at].trim_end_matches(['-', '/']);
    INTERFACES.contains(&start)
}

/// Names of roles that people number.
#[rustfmt::skip]
const DEVICES: &[&str] = &[
    "r", "rtr", "router", "core", "edge", "leaf", "spine", "pe", "ce", "p", "sw", "switch", "gw", "gateway", "fw",
    "firewall", "border", "agg", "dist", "tor", "host", "node", "rack", "pop", "dc", "server", "srv", "rr", "asbr",
    "bng", "cpe", "hub", "spoke", "site", "peer", "cr", "ar", "br", "er",
];
/// Words with digits that are not names of devices.
#[rustfmt::skip]
const PLAIN: &[&str] = &[
    "ipv4", "ipv6", "v4", "v6", "ospfv2", "ospfv3", "bgp4", "l2", "l3", "as4", "p2p", "x86", "sha256", "ed25519",
    "802", "q1", "ipsec2",
];

fn is_host(lower: &str) -> bool {
    lower.contains("://")
        || lower.contains('@')
        || lower.split([':', '/']).any(|part| is_domain(part) || is_device(part))
}

/// Labels with dots between, the last of letters (RFC 1123 §2.1).
fn is_domain(part: &str) -> bool {
    let part = part.trim_matches(['.', '-', '_']);
    let Some((before, last)) = part.rsplit_once('.') else { return false };
    before.split('.').all(|label| !label.is_empty())
        && last.chars().count() >= 2
        && last.starts_with(char::is_alphabetic)
}

fn is_device(part: &str) -> bool {
    let mut labels = part.split(['-', '_']);
    let Some(first) = labels.next() else { return false };
    if is_numbered(first) && DEVICES.contains(&first.trim_end_matches(char::is_numeric)) {
        return true;
    }
    let mut named = is_numbered(first);
    let mut count = 1;
    for label in labels {
        count += 1;
        let number = !label.is_empty() && label.chars().all(char::is_numeric);
        named |= is_numbered(label) || (number && (label.len() > 1 || count > 2));
    }
    count > 1 && named && first.starts_with(char::is_alphabetic)
}

/// Letters, then digits.
fn is_numbered(label: &str) -> bool {
    let start = label.trim_end_matches(char::is_numeric);
    start.len() < label.len() && start.starts_with(char::is_alphabetic) && !PLAIN.contains(&label)
}

/// Replaces a name wherever it stands as a whole word, without regard to case.
fn replace_name(text: &str, name: &str) -> String {
    let (lower, name) = (text.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, found) in lower.match_indices(&name) {
        let end = at + found.len();
        let before = lower[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        let after = lower[end..].chars().next().is_none_or(|c| !c.is_alphanumeric());
        if before && after {
            out.push_str(&text[from..at]);
            out.push_str("[name]");
            from = end;
        }
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn what_identifies_goes() {
        for (text, expected) in [
            ("peer 192.0.2.1 lost", "peer [address] lost"),
            ("to 192.0.2.1:179, then", "to [address], then"),
            ("neighbor=10.0.0.1", "neighbor=[address]"),
            ("(2001:db8::1)", "([address])"),
            ("fe80::1%eth0", "[address]"),
            ("::/0 and 10.0/16", "[address] and [address]"),
            ("range 10.0.0.1-10.0.0.9", "range [address]"),
            ("x10.0.0.1y", "[address]"),
            ("mac 00:11:22:33:44:55", "mac [mac]"),
            ("mac 00-11-22-aa-bb-cc", "mac [mac]"),
            ("mac 0011.22aa.bbcc", "mac [mac]"),
            ("AS64500 and asn 64501", "[asn] and asn [asn]"),
            ("remote-as 64500", "remote-as [asn]"),
            ("AS path 64500 64501 done", "AS path [asn] [asn] done"),
            ("community 64500:100", "community [asn]"),
            ("AS1.10", "[asn]"),
            ("core1.sg.example.net.", "[host]"),
            ("https://nms.example.net/x", "[host]"),
            ("mail noc@example.net", "mail [host]"),
            ("sg-edge1 and leaf03", "[host] and [host]"),
            ("sin-core-01", "[host]"),
            ("on eth0.100", "on [interface]"),
            ("enp3s0f1 xe-0/0/1 br-lan", "[interface] [interface] [interface]"),
            ("GigabitEthernet 0/1", "GigabitEthernet [interface]"),
            ("Te1/1/1, Port-channel7", "[interface], [interface]"),
            ("uplink:eth0", "[interface]"),
        ] {
            let got = scrub(text, &[]);
            assert_eq!(got.trim_end_matches(','), expected.trim_end_matches(','), "{text}");
        }
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
            "bfd_tuning clos_5stage hold_timer_tuning rsvp_te ospfv3",
            "Lowered the multiplier as 3 was enough",
            "環 é 😀",
            "",
        ] {
            assert_eq!(scrub(text, &[]), text);
        }
    }

    #[test]
    fn named_words_go_without_regard_to_case_and_only_whole() {
        let names = ["Singapore-A".to_owned(), "64500".to_owned(), String::new()];
        let text = "singapore-a lost 64500 but 645001 stays";
        assert_eq!(scrub(text, &names), "[name] lost [name] but 645001 stays");
    }

    fn identifiers() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).to_string()),
            (any::<u32>(), 0..=32u8)
                .prop_map(|(bits, len)| format!("{}/{len}", Ipv4Addr::from(bits))),
            any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).to_string()),
            (any::<u128>(), 0..=128u8)
                .prop_map(|(bits, len)| format!("{}/{len}", Ipv6Addr::from(bits << 64))),
            "([0-9a-f]{2}:){5}[0-9a-f]{2}",
            "([0-9A-F]{2}-){5}[0-9A-F]{2}",
            "[0-9a-f]{4}\\.[0-9a-f]{4}\\.[0-9a-f]{4}",
            "(AS|as|ASN|asn)[1-9][0-9]{2,8}",
            "[1-9][0-9]{3,4}:[1-9][0-9]{2,4}",
            "[a-z][a-z0-9]{1,8}(\\.[a-z][a-z0-9]{1,8}){1,3}\\.(net|com|internal|sg)",
            "(sin|den|fra)-(core|edge|leaf)-?[0-9]{1,2}",
            "(eth|swp|ens|bond|wg|tun)[0-9]{1,3}",
            "(xe|ge|et)-[0-9]/[0-9]/[0-9]{1,2}",
            "(Gi|Te|Ethernet)[0-9]/[0-9]{1,2}",
            "veth[0-9a-f]{7}",
        ]
    }

    proptest! {
        #[test]
        fn no_identifier_remains(
            id in identifiers(),
            before in "(via |peer=|\\(|to: |->|\"|)",
            after in "( lost|\\)|,|\\.|: down|\"|)",
        ) {
            let text = format!("Moved {before}{id}{after} away");
            let scrubbed = scrub(&text, &[]).to_lowercase();
            prop_assert!(!scrubbed.contains(&id.to_lowercase()), "{text} -> {scrubbed}");
        }

        #[test]
        fn any_text_is_scrubbed_once(text in ".{0,80}", name in ".{0,4}") {
            let once = scrub(&text, &[]);
            prop_assert_eq!(scrub(&once, &[]), once);
            let _ = scrub(&text, &[name]);
        }
    }
}
