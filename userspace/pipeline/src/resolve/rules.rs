//! Rules: which line of a router's configuration is which resolution.
//!
//! A table in TOML, shipped with the crate ([`Rules::shipped`]) and extended by the operator's own
//! ([`Rules::extended`]), whose rules are tried first. A rule names the lines that it knows, the
//! blocks that they lie in, the pattern that a change of them is, the incidents that it can act on
//! (of these `events` and `protocols`; without them, of all), and a sentence for each way of changing
//! them. Owns the table, its checks and the matching of one statement; never compares
//! configurations.
//!
//! A line is words: `word` itself, `one|other`, `*` for any one word, `{name}` for a number that
//! the sentences may name, and `...` at the end for whatever follows.
//!
//! **Invariant:** a sentence is the rule's own words and numbers of the line: a word of a router's
//! configuration, which may be an address or a name, never gets into one.

use super::text::Syntax;
use super::{Reach, is_pattern};
use crate::packet::scrub::scrub;
use edgelore_model::{EventType, Protocol};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rules at most, the shipped ones included.
pub const RULES_MAX: usize = 1_024;
/// Longest table that is read, in bytes.
pub const TABLE_BYTES_MAX: usize = 256 << 10;
/// Longest sentence, in bytes: one step of an outcome.
const SENTENCE_BYTES_MAX: usize = 200;
/// Digits of a number that a sentence may name.
const DIGITS_MAX: usize = 10;

const SHIPPED: &str = include_str!("rules.toml");

/// Why a table of rules is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is longer than [`TABLE_BYTES_MAX`] or has more than [`RULES_MAX`] rules.
    #[error("reading rules: more than {RULES_MAX} rules or {TABLE_BYTES_MAX} bytes")]
    TooMany,
    /// It is not TOML of the agreed form; the text says where and why.
    #[error("reading rules: {0}")]
    Syntax(String),
    /// A rule is not valid.
    #[error("rule '{rule}': {reason}")]
    Rule {
        /// Its name.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    rule: Vec<Written>,
}

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    syntax: Syntax,
    pattern: String,
    #[serde(default)]
    within: Vec<String>,
    #[serde(default)]
    events: Vec<EventType>,
    #[serde(default)]
    protocols: Vec<Protocol>,
    lines: Vec<String>,
    added: Option<String>,
    removed: Option<String>,
    changed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// One of these.
    Literal(Vec<String>),
    Any,
    Number(String),
    Rest,
}

/// A rule that was checked.
#[derive(Debug)]
pub(super) struct Rule {
    syntax: Syntax,
    pub(super) pattern: String,
    pub(super) reach: Reach,
    within: Vec<Vec<Word>>,
    lines: Vec<Vec<Word>>,
    added: Option<String>,
    removed: Option<String>,
    changed: Option<String>,
}

/// What a rule found in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Which rule, by its place in the table.
    pub(super) rule: usize,
    /// The words that say whose setting it is, such as a neighbour's address.
    pub(super) whose: Vec<String>,
    numbers: BTreeMap<String, String>,
}

/// The table; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rules(Arc<[Rule]>);

impl Rules {
    /// The rules that are shipped.
    #[must_use]
    pub fn shipped() -> Self {
        Self(read(SHIPPED).expect("a test reads the shipped rules").into())
    }

    /// The operator's rules before the shipped ones.
    ///
    /// # Errors
    /// When the text is not a valid table; the error names the rule and the reason.
    pub fn extended(text: &str) -> Result<Self, RuleError> {
        let mut rules = read(text)?;
        rules.extend(read(SHIPPED)?);
        if rules.len() > RULES_MAX {
            return Err(RuleError::TooMany);
        }
        Ok(Self(rules.into()))
    }

    pub(super) fn get(&self, match_: &Match) -> &Rule {
        &self.0[match_.rule]
    }

    /// The first rule that knows this statement.
    pub(super) fn find(&self, syntax: Syntax, path: &[Arc<str>], text: &str) -> Option<Match> {
        self.0.iter().enumerate().filter(|(_, rule)| rule.syntax == syntax).find_map(
            |(at, rule)| {
                let block =
                    |header: &Arc<str>| rule.within.iter().any(|w| matched(w, header).is_some());
                if !rule.within.is_empty() && !path.iter().any(block) {
                    return None;
                }
                let (whose, numbers) = rule.lines.iter().find_map(|line| matched(line, text))?;
                Some(Match { rule: at, whose, numbers })
            },
        )
    }
}

impl Rule {
    /// The sentence for a line that came.
    pub(super) fn added(&self, is: &Match) -> Option<String> {
        Some(filled(self.added.as_deref()?, None, Some(is)))
    }

    /// The sentence for a line that went.
    pub(super) fn removed(&self, was: &Match) -> Option<String> {
        Some(filled(self.removed.as_deref()?, Some(was), None))
    }

    /// The sentence for a line that took another's place.
    pub(super) fn changed(&self, was: &Match, is: &Match) -> Option<String> {
        match &self.changed {
            Some(sentence) => Some(filled(sentence, Some(was), Some(is))),
            None => self.added(is),
        }
    }
}

fn read(text: &str) -> Result<Vec<Rule>, RuleError> {
    if text.len() > TABLE_BYTES_MAX {
        return Err(RuleError::TooMany);
    }
    let table: Table = toml::from_str(text).map_err(|e| RuleError::Syntax(e.to_string()))?;
    if table.rule.len() > RULES_MAX {
        return Err(RuleError::TooMany);
    }
    let mut names = BTreeSet::new();
    let rules = table.rule.into_iter().map(|written| {
        let rule = written.name.clone();
        let checked = if names.insert(rule.clone()) {
            check(written)
        } else {
            Err("there is another rule of this name".to_owned())
        };
        checked.map_err(|reason| RuleError::Rule { rule, reason })
    });
    rules.collect()
}

fn check(written: Written) -> Result<Rule, String> {
    if !is_pattern(&written.pattern) {
        return Err(format!("pattern '{}' is not a word of a-z, 0-9 and _", written.pattern));
    }
    let parse =
        |lines: &[String]| lines.iter().map(|line| words(line)).collect::<Result<Vec<_>, String>>();
    let lines: Vec<Vec<Word>> = parse(&written.lines)?;
    let within: Vec<Vec<Word>> = parse(&written.within)?;
    if lines.is_empty() {
        return Err("it knows no line".to_owned());
    }
    if within.iter().flatten().any(|word| matches!(word, Word::Number(_))) {
        return Err("within takes no number: write * in its place".to_owned());
    }
    for (sentence, was, is) in [
        (&written.added, false, true),
        (&written.removed, true, false),
        (&written.changed, true, true),
    ] {
        if let Some(sentence) = sentence {
            check_sentence(sentence, &lines, was, is)?;
        }
    }
    if written.added.is_none() && written.removed.is_none() && written.changed.is_none() {
        return Err("it has neither added, removed nor changed".to_owned());
    }
    let Written { syntax, pattern, events, protocols, added, removed, changed, .. } = written;
    let reach = Reach::new(events, protocols);
    Ok(Rule { syntax, pattern, reach, within, lines, added, removed, changed })
}

/// The words of a line.
fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    for text in line.split_whitespace() {
        if words.last() == Some(&Word::Rest) {
            return Err(format!("'{line}': nothing can follow ..."));
        }
        words.push(match text {
            "..." => Word::Rest,
            "*" => Word::Any,
            _ if text.starts_with('{') => Word::Number(number_name(text)?),
            _ => Word::Literal(text.split('|').map(str::to_owned).collect()),
        });
    }
    match words.first() {
        Some(Word::Literal(_)) => Ok(words),
        _ => Err(format!("'{line}' does not begin with a word")),
    }
}

fn number_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    if is_pattern(name) {
        return Ok(name.to_owned());
    }
    Err(format!("'{text}': only numbers can be taken from a line, as {{name}} with a plain name"))
}

/// A sentence may name numbers that every line gives, and nothing that identifies a network.
fn check_sentence(text: &str, lines: &[Vec<Word>], was: bool, is: bool) -> Result<(), String> {
    if text.is_empty() || text.len() > SENTENCE_BYTES_MAX {
        return Err(format!("a sentence has 1 to {SENTENCE_BYTES_MAX} bytes"));
    }
    for name in placeholders(text) {
        let name = name.ok_or_else(|| format!("'{text}': a brace does not end"))?;
        let (before, plain) = name.strip_prefix("was.").map_or((false, name), |n| (true, n));
        let known = |line: &Vec<Word>| line.contains(&Word::Number(plain.to_owned()));
        if !lines.iter().all(known) {
            return Err(format!("'{text}': not every line gives {{{plain}}}"));
        }
        if (before && !was) || (!before && !is) {
            return Err(format!("'{text}': there is no {{{name}}} when a line comes or goes"));
        }
    }
    // As it leaves, with a small or a large number in each place.
    for number in ["7", "60000"] {
        let example = placeholders(text)
            .flatten()
            .fold(text.to_owned(), |text, name| text.replace(&format!("{{{name}}}"), number));
        if scrub(&example) != example {
            return Err(format!(
                "'{text}' names an address, a name or an AS number, or does not say what its \
                 numbers count"
            ));
        }
    }
    Ok(())
}

/// The names in braces; `None` for a brace that does not end.
fn placeholders(text: &str) -> impl Iterator<Item = Option<&str>> {
    text.split('{').skip(1).map(|part| part.split_once('}').map(|(name, _)| name))
}

fn filled(sentence: &str, was: Option<&Match>, is: Option<&Match>) -> String {
    let mut parts = sentence.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or_default();
        let (from, name) = name.strip_prefix("was.").map_or((is, name), |name| (was, name));
        text.push_str(from.and_then(|m| m.numbers.get(name)).map_or("", String::as_str));
        text.push_str(rest);
    }
    text
}

type Taken = (Vec<String>, BTreeMap<String, String>);

/// What the line gives when it is one that these words describe.
fn matched(words: &[Word], text: &str) -> Option<Taken> {
    let (mut whose, mut numbers) = Taken::default();
    let mut given = text.split_whitespace();
    for word in words {
        if *word == Word::Rest {
            return Some((whose, numbers));
        }
        let given = given.next()?;
        match word {
            Word::Literal(one_of) => one_of.iter().any(|literal| literal == given).then_some(())?,
            Word::Any => whose.push(given.to_owned()),
            Word::Number(name) => {
                let digits = given.bytes().all(|byte| byte.is_ascii_digit());
                (digits && given.len() <= DIGITS_MAX).then_some(())?;
                numbers.insert(name.clone(), given.to_owned());
            }
            Word::Rest => {}
        }
    }
    given.next().is_none().then_some((whose, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rule: &str) -> String {
        format!("[[rule]]\nname = 'own'\nsyntax = 'frr'\npattern = 'own'\n{rule}")
    }

    #[test]
    fn the_shipped_rules_are_valid() {
        assert!(read(SHIPPED).expect("they are valid").len() > 40);
        assert!(Rules::extended("").is_ok());
    }

    #[test]
    fn a_faulty_rule_is_refused_by_name_and_reason() {
        for (rule, named) in [
            ("lines = []\nadded = 'A'", "knows no line"),
            ("lines = ['a {b:word}']\nadded = 'A'", "only numbers"),
            ("lines = ['a {b']\nadded = 'A'", "only numbers"),
            ("lines = ['* a']\nadded = 'A'", "does not begin with a word"),
            ("lines = ['a ... b']\nadded = 'A'", "nothing can follow"),
            ("lines = ['a']", "neither added"),
            ("lines = ['a', 'b {n}']\nadded = 'Set {n}'", "not every line"),
            ("lines = ['b {n}']\nremoved = 'Took {n}'", "when a line comes or goes"),
            ("lines = ['b {n}']\nadded = 'Set {n'", "does not end"),
            ("lines = ['a']\nadded = 'Sent it to 192.0.2.1'", "names an address"),
            ("lines = ['a']\nadded = 'Peered with AS65001'", "names an address"),
            ("lines = ['a']\nwithin = ['b {n}']\nadded = 'A'", "within takes no number"),
            ("lines = ['a']\nadded = ''", "1 to 200 bytes"),
            ("lines = ['a']\nadd = 'A'", "unknown field"),
            ("lines = ['a']\nadded = 'A'\nprotocols = ['rip']", "unknown variant"),
        ] {
            let error = Rules::extended(&table(rule)).expect_err(rule).to_string();
            assert!(error.contains(named), "{rule}: {error}");
            assert!(error.contains("own") || named.starts_with("unknown"), "{error}");
        }
        let twice = format!("{0}{0}", table("lines = ['a']\nadded = 'A'\n"));
        assert!(Rules::extended(&twice).expect_err("twice").to_string().contains("another rule"));
        let pattern = table("lines = ['a']\nadded = 'A'").replace("'own'\nl", "'An Own'\nl");
        assert!(Rules::extended(&pattern).expect_err("pattern").to_string().contains("An Own"));
    }

    #[test]
    fn the_operators_rules_come_first() {
        let rules = Rules::extended(&table("lines = ['bgp dampening']\nadded = 'Ours'")).unwrap();
        let path: [Arc<str>; 1] = ["router bgp 1".into()];
        let found = rules.find(Syntax::Frr, &path, "bgp dampening").unwrap();
        assert_eq!(rules.get(&found).added(&found).as_deref(), Some("Ours"));
    }

    #[test]
    fn a_word_never_passes_for_a_number() {
        let line = words("timers {keepalive} {hold}").unwrap();
        assert!(matched(&line, "timers 3 9").is_some());
        for other in ["timers 3 r1", "timers 3", "timers 3 9 9", "timers 3 12345678901"] {
            assert!(matched(&line, other).is_none(), "{other}");
        }
    }
}
