//! Names of interfaces, on Linux and on the usual routers.

use super::words::Words;

/// Words that names of interfaces begin with.
#[rustfmt::skip]
static INTERFACES: Words = Words::new(&[
    "eth", "en", "ens", "eno", "enp", "enx", "em", "wl", "wlan", "wlp", "wlx", "ww", "wwan", "lo", "bond", "team",
    "br", "bridge", "virbr", "docker", "veth", "vnet", "tap", "tun", "wg", "ppp", "vlan", "vxlan", "geneve",
    "gre", "gretap", "sit", "ipip", "vti", "ib", "dummy", "ifb", "macvlan", "macvtap", "ipvlan", "vrf", "swp",
    "xe", "ge", "et", "fe", "ae", "irb", "reth", "fxp", "so", "lt", "mt", "st", "gi", "gig", "gigabitethernet",
    "gige", "te", "ten", "tengige", "tengigabitethernet", "twe", "twentyfivegige", "fo", "fortygige",
    "fortygigabitethernet", "hu", "hundredgige", "hundredgigabitethernet", "fourhundredgige", "fa",
    "fastethernet", "ethernet", "po", "port-channel", "portchannel", "bundle-ether", "be", "lag", "loopback",
    "serial", "se", "tunnel", "tu", "mgmt", "mgmteth", "management", "bvi", "bdi", "nve", "vmnic", "dp", "cali",
    "cilium", "nic", "uplink", "downlink", "wan", "lan", "dsl", "lte", "svi", "subif", "pw", "mpls",
]);
/// After these a number is one of an interface, though a space stands between.
#[rustfmt::skip]
static SPELT: Words = Words::new(&[
    "gigabitethernet", "gige", "tengige", "tengigabitethernet", "twentyfivegige", "fortygige",
    "fortygigabitethernet", "hundredgige", "hundredgigabitethernet", "fourhundredgige", "fastethernet",
    "ethernet", "port-channel", "portchannel", "bundle-ether", "loopback", "vlan", "vxlan", "tunnel", "serial",
    "bond", "irb", "bvi", "bdi", "nve", "eth", "swp", "vrf", "vni", "ifindex",
]);
/// After these, an interface's name goes on with letters.
const OPEN: &[&str] = &["veth", "enx", "wlx", "cali", "lxc"];
const ANY: &[&str] =
    &["br-", "cilium_", "docker_", "wg-", "vrf-", "tun-", "tap-", "vlan-", "bond-"];

/// `slashed`: a number with a slash is a port here; `spelt`: every number is.
pub(super) fn is_interface(word: &str, before: Option<&str>) -> bool {
    let numeric = |others: &[u8]| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.bytes().all(|b| b.is_ascii_digit() || others.contains(&b))
    };
    let spelt = before.is_some_and(|word| SPELT.contains(word));
    if word.bytes().all(|b| b.is_ascii_digit()) {
        return spelt && !word.is_empty();
    }
    let known = before.is_some_and(|word| INTERFACES.contains(word));
    let slashes = word.matches('/').count();
    let port = slashes > 0 && numeric(b"/.:") && (known || slashes >= 2);
    let lettered = word.split_once('/').is_some_and(|(before, after)| {
        before.starts_with(char::is_alphabetic)
            && before.ends_with(char::is_numeric)
            && after.starts_with(char::is_numeric)
    });
    let parts = word.split([':', '@', '%', '_', '-', '/', '.']);
    port || lettered
        || (spelt && numeric(b"/.:-"))
        || is_name(word)
        || parts.into_iter().any(is_name)
}

/// Letters that interfaces begin with, then a number; or a name that goes on with letters.
fn is_name(word: &str) -> bool {
    if is_lettered_name(word.as_bytes()) {
        return true;
    }
    let Some(at) = word.find(|c: char| c.is_numeric()) else { return false };
    INTERFACES.contains(word[..at].trim_end_matches(['-', '/']))
}

/// A name that may have no digit, in letters of either size.
pub(super) fn is_lettered_name(word: &[u8]) -> bool {
    // What all of them begin with.
    let first = word.first().map(u8::to_ascii_lowercase);
    if !matches!(first, Some(b'b' | b'c' | b'd' | b'e' | b'l' | b't' | b'v' | b'w')) {
        return false;
    }
    let begins = |start: &str| {
        word.len() > start.len() && word[..start.len()].eq_ignore_ascii_case(start.as_bytes())
    };
    let opens = |start: &&&str| word.len() >= start.len() + 4 && begins(start);
    if let Some(start) = OPEN.iter().find(opens) {
        return word[start.len()..].iter().all(u8::is_ascii_hexdigit);
    }
    ANY.iter().any(|start| begins(start))
}
