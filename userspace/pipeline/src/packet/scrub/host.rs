//! Names of machines, sites and accounts: whatever has dots, or letters and digits, and is not a
//! word of the trade.
//!
//! A name without a digit and without a dot is a word like any other: such names must be known
//! ([`super::Scrubber::hide`]).

use super::words::Words;

/// Words with digits that name nothing.
#[rustfmt::skip]
static PLAIN: Words = Words::new(&[
    "ipv4", "ipv6", "v4", "v6", "4in6", "6in4", "6to4", "nat64", "nat44", "464xlat", "ospfv2", "ospfv3", "bgp4",
    "mp-bgp4", "ripv2", "l1", "l2", "l3", "l4", "l1l2", "l2vpn", "l3vpn", "as4", "as2", "p2p", "p2mp", "mp2mp",
    "x86", "sha1", "sha256", "md5", "ed25519", "aes128", "aes256", "q1", "ipsec2", "ikev1", "ikev2", "igmpv2",
    "igmpv3", "mldv2", "snmpv2", "snmpv3", "vrrpv2", "vrrpv3", "e1", "e2", "n1", "n2", "utf8", "utf-8", "h3",
    "tcp4", "tcp6", "udp4", "udp6", "netflow9", "ipfix10", "sflow5", "ebpf2", "srv6", "6pe", "6vpe", "pim2",
    "cs0", "cs1", "cs2", "cs3", "cs4", "cs5", "cs6", "cs7", "af11", "af12", "af13", "af21", "af22", "af23", "af31",
    "af32", "af33", "af41", "af42", "af43",
]);
/// Words of the trade that are numbered.
#[rustfmt::skip]
static NUMBERED: Words = Words::new(&[
    "level", "layer", "tier", "stage", "phase", "step", "type", "class", "queue", "rfc", "priority", "prio", "lsa",
    "option", "version", "v", "x", "bgpv", "ospfv", "isisv", "ldpv", "bfdv", "attempt", "round", "try", "test",
]);
/// What may follow a number without a space.
#[rustfmt::skip]
static SUFFIXES: Words = Words::new(&[
    "s", "ms", "us", "ns", "µs", "μs", "m", "min", "mins", "h", "hr", "hrs", "d", "w", "y", "sec", "secs", "x", "k",
    "g", "t", "b", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "kbit", "mbit", "gbit", "tbit", "bit", "bits", "byte",
    "bytes", "kbps", "mbps", "gbps", "tbps", "bps", "pps", "kpps", "mpps", "st", "nd", "rd", "th", "stage", "way",
    "hop", "hops", "node", "nodes", "port", "ports", "tier", "fold", "pct", "percent", "ppm", "ge", "gbe", "hz", "khz",
    "mhz", "ghz", "q", "ad",
]);
/// Names of roles that people number.
#[rustfmt::skip]
static DEVICES: Words = Words::new(&[
    "r", "rtr", "router", "core", "edge", "leaf", "spine", "pe", "ce", "p", "sw", "switch", "gw", "gateway", "fw",
    "firewall", "border", "agg", "dist", "tor", "host", "node", "rack", "pop", "dc", "server", "srv", "rr", "asbr",
    "bng", "cpe", "hub", "spoke", "site", "peer", "cr", "ar", "br", "er", "area", "customer", "circuit", "ticket",
]);

/// `word` without punctuation around it.
pub(super) fn is_host(word: &str, before: Option<&str>) -> bool {
    if word.bytes().all(|b| b.is_ascii_digit()) {
        return is_numbered(before);
    }
    word.split([':', '/']).any(|part| is_domain(part) || is_device(part) || is_mixed(part))
}

/// Labels with dots between, the last of letters (RFC 1123 §2.1) or in Punycode.
pub(super) fn is_domain(part: &str) -> bool {
    let part = part.trim_matches(['.', '-', '_']);
    let Some((before, last)) = part.rsplit_once('.') else { return false };
    before.split('.').all(|label| !label.is_empty())
        && last.chars().count() >= 2
        && last.starts_with(char::is_alphabetic)
}

/// Several labels, one of them a number or numbered: sin-core-01.
fn is_device(part: &str) -> bool {
    let mut labels = part.split(['-', '_']);
    let first = labels.next().unwrap_or_default();
    let (mut named, mut count) = (false, 1);
    for label in labels {
        count += 1;
        let number = !label.is_empty() && label.chars().all(char::is_numeric);
        named |= number && (label.len() > 1 || count > 2);
    }
    count > 1 && named && first.starts_with(char::is_alphabetic) && !NUMBERED.contains(first)
}

/// Letters and digits in one label, and not a word of the trade.
fn is_mixed(part: &str) -> bool {
    !PLAIN.contains(part)
        && part.split(['-', '_', '.']).any(|label| {
            label.contains(char::is_numeric)
                && label.contains(char::is_alphabetic)
                && !is_of_the_trade(label)
        })
}

fn is_of_the_trade(label: &str) -> bool {
    let unit = label.trim_start_matches(|c: char| c.is_ascii_digit());
    let word = label.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = label.len() - word.len();
    let short_hexadecimal = label.len() <= 5 && label.starts_with("0x");
    PLAIN.contains(label)
        || short_hexadecimal
        || (unit.len() < label.len() && SUFFIXES.contains(unit))
        || (NUMBERED.contains(word) && (number <= 2 || (word == "rfc" && number <= 5)))
}

/// "router 7", "area 51": a role before its number.
fn is_numbered(before: Option<&str>) -> bool {
    before.is_some_and(|before| before.len() > 2 && DEVICES.contains(before))
}
