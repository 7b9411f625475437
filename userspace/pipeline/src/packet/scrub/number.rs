//! AS numbers, communities, and bare numbers.
//!
//! Owns what the words around a number say of it. "AS", "remote-as" or "router bgp" before it make
//! it an AS number, however short. A number of four digits or more stays only when the text says
//! what it counts: by a unit after it (`1500 ms`, `8000 prefixes`) or a quantity before it (`MTU`,
//! `limit`, `cost`). What is known to be an AS number of this network or of its neighbours goes
//! always, except for one of up to three digits where the text says what it counts.

use super::Rule;
use super::token::{Kind, Token};
use super::words::Words;
use std::borrow::Cow;

/// Words that are looked at on each side of a number.
const WORDS_SEEN: usize = 10;

/// A word among those around it. Those before it are judged already.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    pub(super) tokens: &'t [Token],
    pub(super) text: &'t str,
    /// The text as it was written, for AS and as.
    pub(super) written: &'t dyn Fn(&Token) -> bool,
    pub(super) at: usize,
}

/// One of the words around a number.
enum Around<'t> {
    Word(&'t str, &'t Token),
    Mark(Rule),
}

impl<'t> Place<'t> {
    /// The words before, the nearest first.
    fn before(self) -> impl Iterator<Item = Around<'t>> {
        self.tokens[..self.at].iter().rev().filter_map(move |t| self.around(t)).take(WORDS_SEEN)
    }

    fn after(self) -> impl Iterator<Item = Around<'t>> {
        self.tokens[self.at + 1..].iter().filter_map(move |t| self.around(t)).take(WORDS_SEEN)
    }

    fn around(self, token: &'t Token) -> Option<Around<'t>> {
        match token.kind {
            Kind::Gap => None,
            Kind::Mark(rule) => Some(Around::Mark(rule)),
            Kind::Word => {
                let word = super::trimmed(&self.text[token.range.clone()]);
                // A lone dash or colon is no word.
                let is_unit = &self.text[token.range.clone()] == "%";
                (is_unit || !word.is_empty())
                    .then_some(Around::Word(if is_unit { "%" } else { word }, token))
            }
        }
    }

    /// The word right before.
    pub(super) fn previous(self) -> Option<&'t str> {
        match self.before().next()? {
            Around::Word(word, _) => Some(word),
            Around::Mark(_) => None,
        }
    }
}

/// Digits, perhaps with commas between thousands and one dot.
fn is_numeric(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'.')
        && word.matches('.').count() <= 1
}

/// Digits with what may stand between several numbers.
fn is_numbers(word: &str, between: &[u8]) -> bool {
    word.bytes().any(|b| b.is_ascii_digit())
        && word.bytes().all(|b| b.is_ascii_digit() || between.contains(&b))
}

fn digits(word: &str) -> usize {
    word.bytes().filter(u8::is_ascii_digit).count()
}

/// Numbers that were taken out stand for numbers.
const fn is_number_mark(rule: Rule) -> bool {
    matches!(rule, Rule::Number | Rule::AsNumber | Rule::Community | Rule::Interface)
}

#[rustfmt::skip]
static AS_FILLERS: Words = Words::new(&[
    "number", "numbers", "no", "nr", "path", "paths", "is", "list", "identifier", "id", "peers", "peer", "and",
    "or", "to", "from", "prepend", "set", "sequence",
]);
/// Whose AS number "as" announces.
static AS_OWNERS: Words = Words::new(&["local", "remote", "neighbor", "peer"]);
#[rustfmt::skip]
static AS_WORDS: Words = Words::new(&[
    "asn", "asns", "ases", "as-path", "aspath", "as_path", "as-number", "system", "systems", "confederation",
    "prepend", "as-set", "asdot", "asplain", "autonomous",
]);

/// It is an AS number by what stands before it.
pub(super) fn is_as_number(word: &str, place: Place<'_>) -> bool {
    if !is_numbers(word, b".:-_,/") {
        return holds_as_number(word);
    }
    if is_path(word) {
        return true;
    }
    let mut weak = false;
    let mut before = place.before().peekable();
    while let Some(around) = before.next() {
        let further = match before.peek() {
            Some(Around::Word(word, _)) => *word,
            _ => "",
        };
        match around {
            Around::Word(word, token) => {
                let as_name =
                    word == "as" && ((place.written)(token) || AS_OWNERS.contains(further));
                let process = word == "bgp" && further == "router";
                if is_as_word(word) || as_name || process {
                    return true;
                }
                weak |= word == "as";
                if word == "as" || !(is_numeric(word) || AS_FILLERS.contains(word)) {
                    break;
                }
            }
            Around::Mark(Rule::AsNumber) => weak = true,
            Around::Mark(rule) if is_number_mark(rule) => {}
            Around::Mark(_) => break,
        }
    }
    weak && digits(word) >= 3 && !has_unit(place)
}

fn is_as_word(word: &str) -> bool {
    AS_WORDS.contains(word) || word.ends_with("-as") || word.ends_with("_as")
}

/// "as64500", "asn-64500", "peer-as64500": the letters at a border, then digits.
fn holds_as_number(word: &str) -> bool {
    word.match_indices("as").any(|(at, _)| {
        let border = word[..at].chars().next_back().is_none_or(|c| !c.is_alphabetic());
        let tail = word[at + 2..].strip_prefix('n').unwrap_or(&word[at + 2..]);
        let tail = tail.trim_start_matches(['-', '_', ':', '.', '/', '%', '@']);
        border && word != "as4" && word != "as2" && tail.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// A path with underscores.
fn is_path(word: &str) -> bool {
    word.contains('_') && is_numbers(word, b"_") && word.split('_').any(|part| part.len() >= 3)
}

#[rustfmt::skip]
static COMMUNITY_WORDS: Words = Words::new(&[
    "community", "communities", "large-community", "extcommunity", "ext-community", "rt", "rd", "soo", "target",
    "route-target", "route-distinguisher", "distinguisher", "import", "export", "both", "origin", "large",
    "extended", "standard",
]);

/// Numbers with colons: a community (RFC 1997, 4360, 8092), a route target or distinguisher. A
/// ratio such as 1:1 and a time of day stay.
pub(super) fn is_community(word: &str, place: Place<'_>) -> bool {
    if !word.contains(':') {
        return false;
    }
    let number = |part: &&str| is_numbers(part, b".,");
    let numbers = word.split(':').filter(number).count();
    let long = word.split(':').filter(number).any(|part| digits(part) >= 3);
    let named = || place.previous().is_some_and(|word| COMMUNITY_WORDS.contains(word));
    let inner = || word.split(':').any(|part| COMMUNITY_WORDS.contains(part));
    numbers >= 2 && (long || numbers >= 3 && !is_time(word) || inner() || named())
}

fn is_time(word: &str) -> bool {
    word.split(':').count() <= 3 && word.split(':').all(|part| part.len() <= 2)
}

/// What a number may count, after it.
#[rustfmt::skip]
static UNITS: Words = Words::new(&[
    "%", "ms", "s", "sec", "secs", "second", "seconds", "us", "µs", "μs", "ns", "min", "mins", "minute", "minutes", "h",
    "hour", "hours", "day", "days", "week", "weeks", "month", "months", "year", "years", "millisecond",
    "milliseconds", "microseconds", "nanoseconds", "prefix", "prefixes", "route", "routes", "path", "paths", "peer",
    "peers", "neighbor", "neighbors", "neighbour", "neighbours", "session", "sessions", "node", "nodes", "router",
    "routers", "link", "links", "interface", "interfaces", "port", "ports", "packet", "packets", "frame", "frames",
    "byte", "bytes", "octet", "octets", "bit", "bits", "bit/s", "kbit", "mbit", "gbit", "kbit/s", "mbit/s", "gbit/s",
    "kbps", "mbps", "gbps", "bps", "pps", "b/s", "packets/s", "kb", "mb", "gb", "kib", "mib", "gib", "hello",
    "hellos", "times", "per", "ppm", "percent", "equal", "next", "hops", "hop", "entries", "entry", "flows",
    "updates", "withdrawals", "messages", "transitions", "flaps", "incidents", "failures", "events", "retries",
    "attempts", "samples", "queues", "classes", "labels", "lsas", "lsps", "adjacencies", "families", "x",
]);
/// What a number may count, before it.
#[rustfmt::skip]
static QUANTITIES: Words = Words::new(&[
    "multiplier", "interval", "intervals", "timer", "timers", "time", "times", "timeout", "delay", "hold",
    "hold-time", "holdtime", "keepalive", "dead", "hello", "hellos", "retransmit", "retransmission", "limit",
    "limits", "maximum", "max", "minimum", "min", "threshold", "cost", "costs", "metric", "metrics", "bandwidth",
    "weight", "preference", "local-pref", "med", "localpref", "mtu", "mss", "size", "length", "count", "number",
    "paths", "prefixes", "routes", "half-life", "reuse", "suppress", "penalty", "dampening", "rate", "burst",
    "quantum", "target", "queue", "buffer", "depth", "rfc", "ratio", "factor", "window", "age", "lifetime",
    "spf", "throttle", "stalepath-time", "restart-time", "second", "percent", "duration", "convergence",
]);
/// What may stand between a number and what it counts.
#[rustfmt::skip]
static BETWEEN: Words = Words::new(&[
    "from", "to", "of", "is", "was", "at", "by", "and", "or", "than", "up", "down", "about", "over", "under", "most",
    "least", "then", "instead", "only", "new", "old", "below", "above", "between", "around", "nearly", "a", "an",
    "the", "link", "link's", "neighbor", "neighbor's", "interface", "interface's", "session", "session's", "prefix",
    "taken", "not", "s", "ms", "back",
]);

fn is_between(word: &str) -> bool {
    is_numeric(word) || BETWEEN.contains(word)
}

/// A unit follows, perhaps after more numbers.
fn has_unit(place: Place<'_>) -> bool {
    for around in place.after() {
        match around {
            Around::Word(word, _) if UNITS.contains(word) => return true,
            Around::Word(word, _) if is_between(word) => {}
            Around::Mark(rule) if is_number_mark(rule) => {}
            _ => return false,
        }
    }
    false
}

fn has_quantity(place: Place<'_>) -> bool {
    for around in place.before() {
        match around {
            Around::Word(word, _) if QUANTITIES.contains(word) => return true,
            Around::Word(word, _) if is_between(word) => {}
            Around::Mark(rule) if is_number_mark(rule) => {}
            _ => return false,
        }
    }
    false
}

/// A number of which the text does not say what it counts, or that is known to be an AS number.
pub(super) fn identifies(word: &str, place: Place<'_>, known: &dyn Fn(u64) -> bool) -> bool {
    let mut parts = word.split([':', '/', '-', '_']).filter(|part| is_numeric(part)).peekable();
    if parts.peek().is_none() {
        return false;
    }
    let counted = || has_unit(place) || has_quantity(place);
    parts.any(|part| {
        let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
        let whole =
            if whole.contains(',') { whole.replace(',', "").into() } else { Cow::from(whole) };
        let value = whole.parse::<u64>().ok();
        let known = value.is_some_and(known) || asdot(&whole, fraction).is_some_and(known);
        let long = whole.len().max(fraction.len()) >= 4;
        match (known, long) {
            (true, true) => true,
            (false, false) => false,
            _ => !counted() || (whole.len() > 7 && !has_unit(place)),
        }
    })
}

/// The AS number that two halves with a dot between stand for (RFC 5396 §2).
fn asdot(high: &str, low: &str) -> Option<u64> {
    let half = |text: &str| text.parse::<u16>().ok().map(u64::from);
    Some((half(high)? << 16) | half(low)?)
}

/// 0x and more than three digits: a long value in hexadecimal, such as an address or a community.
pub(super) fn is_long_hexadecimal(word: &str) -> bool {
    word.len() > 5
        && word.match_indices("0x").any(|(at, _)| {
            let tail = word[at + 2..].bytes().take_while(u8::is_ascii_hexdigit);
            tail.count() > 3
        })
}
