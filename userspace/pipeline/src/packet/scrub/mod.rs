//! What identifies a network is taken out of text before it leaves.
//!
//! ```text
//! text ─► fold ─► names ─► words ─► address, number, interface, host ─► text with marks
//! ```
//!
//! Owns the patterns: IPv4 and IPv6 addresses, prefixes and masks, NSAP and MAC addresses in every
//! notation; AS numbers, communities, route targets; names of hosts and interfaces; e-mail
//! addresses; and what is known of this network by name or number. Text is judged in a folded form
//! ([`fold`]), so that look-alikes and characters that nobody sees hide nothing. Never decides
//! whether a text is useful afterwards. In doubt it takes out: a version number that looks like an
//! address goes too, and so does a number of four digits or more unless the text says what it counts.
//!
//! A plain word is not recognised as a name, nor a number that is spelt out: names must be known
//! ([`Scrubber::hide`]). What the operator allows ([`Allowed`]) no pattern takes out.
//!
//! **Invariant:** a word that matches is replaced as a whole, so no part of it remains; scrubbing
//! twice gives the same as scrubbing once.

mod address;
mod allow;
mod fold;
mod host;
mod interface;
mod names;
mod number;
mod token;
mod words;

pub use allow::{ALLOWED_BYTES_MAX, ALLOWED_MAX, AllowError, Allowed};
pub use names::NAMES_MAX;

use fold::Folded;
use names::Names;
use number::Place;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use token::{Kind, Token};

/// Numbers that are remembered.
pub const NUMBERS_MAX: usize = 65_536;

/// Why something was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It is known to name something of this network.
    Name,
    /// An IPv4, IPv6 or NSAP address, a prefix, a mask, a router id.
    Address,
    /// A hardware address.
    Mac,
    /// An AS number, or a path of them.
    AsNumber,
    /// A community, a route target or distinguisher.
    Community,
    /// A name or number of an interface.
    Interface,
    /// A name of a machine or place.
    Host,
    /// An e-mail address.
    Email,
    /// A number that may identify something, for the text does not say what it counts.
    Number,
}

impl Rule {
    const ALL: [Self; 9] = [
        Self::Name,
        Self::Address,
        Self::Mac,
        Self::AsNumber,
        Self::Community,
        Self::Interface,
        Self::Host,
        Self::Email,
        Self::Number,
    ];

    /// The word between the brackets of the mark that takes its place.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Address => "address",
            Self::Mac => "mac",
            Self::AsNumber => "asn",
            Self::Community => "community",
            Self::Interface => "interface",
            Self::Host => "host",
            Self::Email => "email",
            Self::Number => "number",
        }
    }
}

/// Something that was taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Why.
    pub rule: Rule,
    /// As it stood in the text.
    pub text: String,
}

/// Takes out what identifies a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubber {
    names: Names,
    numbers: BTreeSet<u32>,
    numbers_beyond: u64,
    allowed: Allowed,
}

impl Scrubber {
    /// Frees what is allowed from every pattern.
    #[must_use]
    pub fn allowing(allowed: Allowed) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// These name something of this network: compared as whole words, without regard to case.
    pub fn hide(&mut self, names: impl IntoIterator<Item = String>) {
        self.names.add(names);
    }

    /// These are AS numbers of this network and its neighbours, or its addresses as numbers.
    pub fn hide_numbers(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            if self.numbers.len() < NUMBERS_MAX || self.numbers.contains(&number) {
                self.numbers.insert(number);
            } else {
                self.numbers_beyond += 1;
            }
        }
    }

    /// Names and numbers that found no place.
    #[must_use]
    pub const fn beyond(&self) -> u64 {
        self.names.beyond + self.numbers_beyond
    }

    /// The text with a mark in the place of everything that identifies a network.
    #[must_use]
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.scrub_telling(text, |_, _| {})
    }

    /// The text scrubbed, and what was taken out of it.
    #[must_use]
    pub fn explain(&self, text: &str) -> (String, Vec<Removed>) {
        let mut removed = Vec::new();
        let scrubbed = self.scrub_telling(text, |rule, text| {
            removed.push(Removed { rule, text: text.to_owned() });
        });
        (scrubbed.into_owned(), removed)
    }

    fn scrub_telling<'t>(&self, text: &'t str, mut tell: impl FnMut(Rule, &str)) -> Cow<'t, str> {
        let mut scrubbed = self.pass(text, &mut tell);
        // A mark lays bare what stood beside the word in its place; each pass leaves fewer words.
        while let Cow::Owned(before) = &scrubbed {
            let again = self.pass(before, &mut tell);
            if again == *before {
                break;
            }
            scrubbed = Cow::Owned(again.into_owned());
        }
        scrubbed
    }

    fn pass<'t>(&self, text: &'t str, tell: &mut impl FnMut(Rule, &str)) -> Cow<'t, str> {
        if self.names.is_empty() && is_plain_text(text) {
            return Cow::Borrowed(text);
        }
        let folded = Folded::new(text);
        let mut tokens = token::tokens(&folded.text, &self.names.find(&folded.text));
        for at in 0..tokens.len() {
            if let Some(rule) = self.judge(&folded, &tokens, at) {
                tokens[at].kind = Kind::Mark(rule);
            }
        }
        if tokens.iter().all(|token| !matches!(token.kind, Kind::Mark(_))) {
            return folded.into_seen();
        }
        Cow::Owned(rewritten(&folded, &tokens, tell))
    }

    fn judge(&self, folded: &Folded<'_>, tokens: &[Token], at: usize) -> Option<Rule> {
        let token = &tokens[at];
        let whole = &folded.text[token.range.clone()];
        let lettered = || !token.telling && !interface::is_lettered_name(whole.as_bytes());
        if token.kind != Kind::Word || lettered() {
            return None;
        }
        let written = |token: &Token| folded.original(&token.range).contains("AS");
        let place = Place { tokens, text: &folded.text, written: &written, at };
        let word = trimmed(whole);
        let known = |value: u64| u32::try_from(value).is_ok_and(|v| self.numbers.contains(&v));
        if self.allowed.frees(word) || self.allowed.frees(whole) {
            let numbers = word.split(|c: char| !c.is_ascii_digit()).filter(|n| n.len() >= 4);
            let hidden = numbers.flat_map(str::parse).any(known);
            return hidden.then_some(Rule::AsNumber);
        }
        classify(whole, word, place, &known)
    }
}

/// Words of letters alone, none of them the name of an interface, and no mark: folded it is the same
/// but for the size of its letters.
fn is_plain_text(text: &str) -> bool {
    let mut words = text.as_bytes().split(|&b| !fold::is_word_byte(b));
    is_lettered(text) && !text.contains('[') && !words.any(interface::is_lettered_name)
}

/// Without digits and punctuation that could make it more than words.
fn is_lettered(text: &str) -> bool {
    // No early end: so it is done in vectors.
    !text.bytes().fold(false, |found, byte| found | fold::is_telling(byte))
}

/// A word without the punctuation around it.
fn trimmed(word: &str) -> &str {
    word.trim_matches(['.', ':', '-', '/', '_', '%', '@'])
}

fn classify(
    whole: &str,
    word: &str,
    place: Place<'_>,
    known: &dyn Fn(u64) -> bool,
) -> Option<Rule> {
    if word.is_empty() && !whole.contains("::") {
        return None;
    }
    let before = place.previous();
    let lettered = word.starts_with(char::is_alphabetic) && !word.contains(':');
    Some(if word.contains('@') && !interface::is_interface(word, before) {
        Rule::Email
    } else if word.contains("://") {
        Rule::Host
    } else if address::is_mac(word) {
        Rule::Mac
    } else if lettered && interface::is_interface(word, before) {
        Rule::Interface
    } else if number::is_community(word, place) && !address::is_address(whole) {
        Rule::Community
    } else if address::is_address(whole) {
        Rule::Address
    } else if number::is_as_number(word, place) {
        Rule::AsNumber
    } else if number::is_long_hexadecimal(word) {
        Rule::Number
    } else if interface::is_interface(word, before) {
        Rule::Interface
    } else if host::is_host(word, before) {
        Rule::Host
    } else if number::identifies(word, place, known) {
        Rule::Number
    } else {
        return None;
    })
}

/// The text with marks; what was taken out is told.
fn rewritten(folded: &Folded<'_>, tokens: &[Token], tell: &mut impl FnMut(Rule, &str)) -> String {
    let seen = folded.seen();
    let mut out = String::with_capacity(seen.len() + 16);
    let mut from = 0;
    for token in tokens {
        let Kind::Mark(rule) = token.kind else { continue };
        let place = folded.place(&token.range);
        out.push_str(&seen[from..place.start.max(from)]);
        out.push('[');
        out.push_str(rule.word());
        out.push(']');
        from = place.end;
        let text = &seen[place];
        if token::mark(text).is_none() {
            tell(rule, text);
        }
    }
    out.push_str(&seen[from..]);
    out
}

/// As [`Scrubber::scrub`] of what nothing is known of.
#[must_use]
pub fn scrub(text: &str) -> String {
    Scrubber::default().scrub(text).into_owned()
}

#[cfg(test)]
mod tests;
