//! What a router's configuration calls things: names and AS numbers that must not leave.
//!
//! Owns the words after which a name stands, in the syntaxes of FRR and BIRD, and descriptions: of
//! those the whole and every word that is capitalised or holds a digit. Addresses need no list.
//!
//! **Invariant:** at most 8,192 of each.

use super::Configuration;
use std::collections::{BTreeSet, HashSet};
use std::sync::OnceLock;

/// Names, and numbers, that are taken from one configuration.
pub(super) const NAMES_MAX: usize = 8_192;

/// What identifies a network in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identifiers {
    /// Of routers, neighbours, interfaces, filters, protocols, tables.
    pub names: BTreeSet<String>,
    /// AS numbers.
    pub numbers: BTreeSet<u32>,
}

/// A name follows.
#[rustfmt::skip]
const NAMING: &[&str] = &[
    "hostname", "neighbor", "peer-group", "route-map", "prefix-list", "access-list", "community-list",
    "large-community-list", "extcommunity-list", "filter-list", "distribute-list", "interface", "vrf", "profile",
    "protocol", "template", "filter", "function", "define", "table", "name", "domainname", "domain", "user",
    "username", "class-map", "policy-map", "key-chain", "nexthop-group", "pbr-map", "segment-list", "view",
];
/// An AS number follows, or several.
const NUMBERING: &[&str] =
    &["remote-as", "local-as", "as", "identifier", "peers", "prepend", "asn"];
/// May stand between such a word and the name.
#[rustfmt::skip]
const BETWEEN: &[&str] = &[
    "standard", "expanded", "bgp", "ospf", "ospf3", "v2", "v3", "rip", "babel", "static", "kernel", "device",
    "direct", "pipe", "bfd", "radv", "bmp", "rpki", "mrt", "ipv4", "ipv6", "vpn4", "vpn6", "filter", "table", "in",
    "out", "set", "int", "pair", "area", "range", "external", "internal", "vrf", "mpls", "l3vpn", "where", "all",
    "none", "accept", "reject", "permit", "deny", "seq", "activate", "default", "any", "main", "master", "master4",
    "master6", "unicast", "is", "passive", "point-to-point", "backbone", "=", "lo",
];

impl Configuration {
    /// What it calls things.
    #[must_use]
    pub fn identifiers(&self) -> Identifiers {
        let mut found = Identifiers::default();
        for statement in self.statements.keys() {
            statement.path.iter().for_each(|header| found.read(header));
            found.read(&statement.text);
        }
        found
    }
}

impl Identifiers {
    fn read(&mut self, statement: &str) {
        let words: Vec<&str> = statement.split_whitespace().map(bare).collect();
        let (mut naming, mut numbering) = (false, false);
        for (at, word) in words.iter().enumerate() {
            let lower = word.to_ascii_lowercase();
            let before = at.checked_sub(1).map_or("", |before| words[before]);
            if lower == "description" {
                return self.describe(&words[at + 1..]);
            }
            if let Some(number) = asn(word) {
                if numbering && self.numbers.len() < NAMES_MAX {
                    self.numbers.insert(number);
                }
                continue;
            }
            let names = NAMING.contains(&lower.as_str()) || (lower == "isis" && before == "router");
            numbering =
                NUMBERING.contains(&lower.as_str()) || (lower == "bgp" && before == "router");
            if naming && !names && !numbering && !BETWEEN.contains(&lower.as_str()) {
                self.add(word);
                naming = false;
            }
            naming |= names;
        }
    }

    fn describe(&mut self, words: &[&str]) {
        self.add(&words.join(" "));
        let telling = |word: &&&str| {
            word.len() > 2 && word.contains(|c: char| c.is_uppercase() || c.is_numeric())
        };
        words.iter().filter(telling).for_each(|word| self.add(word));
    }

    fn add(&mut self, name: &str) {
        let named = name.len() > 1 && name.contains(char::is_alphanumeric);
        if named && !is_of_the_trade(name) && self.names.len() < NAMES_MAX {
            self.names.insert(name.to_owned());
        }
    }
}

/// A word of the sentences that rules make: it says nothing of a network, whatever is called so.
fn is_of_the_trade(word: &str) -> bool {
    static WORDS: OnceLock<HashSet<String>> = OnceLock::new();
    let words = || {
        let sentence =
            |line: &&str| ["added", "removed", "changed"].iter().any(|key| line.starts_with(key));
        let sentences = include_str!("rules.toml").lines().filter(sentence);
        let words =
            sentences.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '-'));
        words.map(str::to_lowercase).collect()
    };
    WORDS.get_or_init(words).contains(&word.to_lowercase())
}

/// An AS number, plain or with a dot (RFC 5396).
fn asn(word: &str) -> Option<u32> {
    let dotted = || {
        let (high, low) = word.split_once('.')?;
        Some(high.parse::<u16>().ok()? as u32 * 65_536 + u32::from(low.parse::<u16>().ok()?))
    };
    word.parse().ok().or_else(dotted)
}

/// Without quotes and the punctuation of lists.
fn bare(word: &str) -> &str {
    word.trim_matches(['"', '\'', ',', ';', '(', ')', '{', '}', '[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, Vec<u32>) {
        let found = Configuration::read(text).unwrap().identifiers();
        (found.names.into_iter().collect(), found.numbers.into_iter().collect())
    }

    #[test]
    fn names_of_frr() {
        let (names, numbers) = read(
            "hostname sin-a\nrouter bgp 64500 vrf acme\n neighbor TRANSIT peer-group\n \
             neighbor TRANSIT remote-as 64501\n neighbor 192.0.2.1 description Uplink to Contoso\n \
             neighbor 192.0.2.1 route-map IMPORT-CONTOSO in\nip prefix-list OURS seq 5 permit any\n\
             bgp community-list standard BLACK permit 64500:666\ninterface uplink\n ip ospf cost 10\n\
             isis metric 5\nrouter isis core-a\nrouter bgp 64500\n timers bgp 3 9\n bgp dampening 15 \
             750 2000 60\n neighbor 192.0.2.1 local-as 1.10\n",
        );
        for name in [
            "sin-a",
            "acme",
            "TRANSIT",
            "Uplink to Contoso",
            "Contoso",
            "IMPORT-CONTOSO",
            "OURS",
            "BLACK",
            "uplink",
        ] {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
        assert!(names.iter().any(|found| found == "core-a"), "{names:?}");
        for word in ["cost", "ospf", "permit", "to", "in", "any", "metric", "dampening", "bgp"] {
            assert!(names.iter().all(|found| found != word), "{word}: {names:?}");
        }
        assert_eq!(numbers, [64_500, 64_501, 65_546]);
    }

    #[test]
    fn names_of_bird() {
        let (names, numbers) = read(
            "define OURS = 64500;\nprotocol bgp contoso_sin from transit {\n local as 64500;\n \
             neighbor 192.0.2.1 as 64501;\n description \"Contoso Singapore\";\n \
             ipv4 { import filter from_contoso; };\n interface \"uplink\";\n}\n",
        );
        for name in
            ["OURS", "contoso_sin", "Contoso Singapore", "Singapore", "from_contoso", "uplink"]
        {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
        assert_eq!(numbers, [64_500, 64_501]);
    }
}
