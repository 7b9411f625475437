//! A router's configuration as a set of statements, each within its blocks.
//!
//! Owns the two syntaxes: FRR's (blocks by indentation, as `show running-config` and
//! `write` print them) and BIRD's (blocks by braces, statements end at a semicolon). Never
//! interprets a statement.
//!
//! **Invariant:** order and layout do not count: two texts that say the same compare equal, and
//! reading is linear in time and memory.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest configuration that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 20;
/// Blocks within each other, at most.
pub const DEPTH_MAX: usize = 16;
/// Statements are kept whole up to this many bytes; of longer ones the beginning and a hash.
const STATEMENT_BYTES_MAX: usize = 1_024;
const BEGINNING_BYTES: usize = 256;

/// Why a configuration cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More than [`TEXT_BYTES_MAX`].
    #[error("reading a configuration: {0} bytes are more than {TEXT_BYTES_MAX}")]
    TooLong(usize),
    /// More than [`DEPTH_MAX`].
    #[error("reading a configuration: line {0} lies in more than {DEPTH_MAX} blocks")]
    TooDeep(usize),
    /// A block, a string or a comment does not end: the file is being written, or damaged.
    #[error("reading a configuration: a block, string or comment does not end")]
    Unfinished,
    /// A block ends that never began.
    #[error("reading a configuration: line {0} ends a block that never began")]
    Unbalanced(usize),
}

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Syntax {
    /// FRRouting.
    Frr,
    /// BIRD.
    Bird,
}

/// The headers of the blocks around a statement, the outermost first.
pub(super) type Path = Arc<[Arc<str>]>;

/// One statement within its blocks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Statement {
    pub(super) path: Path,
    pub(super) text: Arc<str>,
}

/// A configuration that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub(super) syntax: Syntax,
    /// Each statement, and how often it stands there.
    pub(super) statements: BTreeMap<Statement, u32>,
}

impl Configuration {
    /// Reads a text in the syntax that it is written in.
    ///
    /// # Errors
    /// See [`TextError`].
    pub fn read(text: &str) -> Result<Self, TextError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TextError::TooLong(text.len()));
        }
        let syntax = syntax_of(text);
        let mut reader = Reader::default();
        match syntax {
            Syntax::Frr => reader.frr(text)?,
            Syntax::Bird => reader.bird(text)?,
        }
        Ok(Self { syntax, statements: reader.statements })
    }

    /// How it is written.
    #[must_use]
    pub const fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// It says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

/// BIRD ends statements with semicolons; in FRR's syntax no line ends with one or opens a brace.
fn syntax_of(text: &str) -> Syntax {
    let ends_like_bird = |line: &str| line.ends_with(';') || line.ends_with('{');
    let code = |line: &'_ str| {
        let line = line.trim();
        !line.starts_with(['!', '#']) && ends_like_bird(line)
    };
    if text.lines().any(code) { Syntax::Bird } else { Syntax::Frr }
}

#[derive(Debug, Default)]
struct Reader {
    statements: BTreeMap<Statement, u32>,
}

impl Reader {
    fn add(&mut self, path: &Path, text: Arc<str>) {
        let statement = Statement { path: Arc::clone(path), text };
        *self.statements.entry(statement).or_default() += 1;
    }

    fn frr(&mut self, text: &str) -> Result<(), TextError> {
        // The lines that a deeper one would lie in, with the path of what lies in them.
        let mut above: Vec<(usize, Path)> = Vec::new();
        let top: Path = Arc::default();
        for (number, line) in text.lines().enumerate() {
            let indentation = line.len() - line.trim_start().len();
            let words = kept(&joined(line.split_whitespace()));
            if words.is_empty() || is_frr_layout(&words) {
                continue;
            }
            while above.last().is_some_and(|(upper, _)| *upper >= indentation) {
                above.pop();
            }
            let path = above.last().map_or_else(|| Arc::clone(&top), |(_, path)| Arc::clone(path));
            self.add(&path, Arc::clone(&words));
            if above.len() >= DEPTH_MAX {
                return Err(TextError::TooDeep(number + 1));
            }
            above.push((indentation, within(&path, words)));
        }
        Ok(())
    }

    fn bird(&mut self, text: &str) -> Result<(), TextError> {
        let mut blocks: Vec<Path> = vec![Arc::default()];
        let mut words = String::new();
        // Within brackets, braces belong to prefix patterns such as 10.0.0.0/8{16,24}.
        let mut brackets = 0_usize;
        let mut tokens = Tokens { rest: text, line: 1 };
        while let Some(token) = tokens.next()? {
            let path = Arc::clone(blocks.last().expect("the outermost block never ends"));
            match token {
                "{" | "}" | ";" if brackets > 0 => push_token(&mut words, token),
                ";" => self.take(&path, &mut words),
                "{" => {
                    let header = kept(&words);
                    self.take(&path, &mut words);
                    if blocks.len() > DEPTH_MAX {
                        return Err(TextError::TooDeep(tokens.line));
                    }
                    blocks.push(within(&path, header));
                }
                "}" => {
                    self.take(&path, &mut words);
                    blocks.pop();
                    if blocks.is_empty() {
                        return Err(TextError::Unbalanced(tokens.line));
                    }
                }
                word => {
                    brackets += usize::from(word == "[");
                    brackets = brackets.saturating_sub(usize::from(word == "]"));
                    push_token(&mut words, word);
                }
            }
        }
        if blocks.len() > 1 || brackets > 0 || !words.is_empty() {
            return Err(TextError::Unfinished);
        }
        Ok(())
    }

    fn take(&mut self, path: &Path, words: &mut String) {
        if !words.is_empty() {
            self.add(path, kept(words));
            words.clear();
        }
    }
}

/// Comments, ends of blocks, and what a shell prints around a configuration.
fn is_frr_layout(words: &str) -> bool {
    words.starts_with(['!', '#'])
        || words.starts_with("exit-")
        || words.starts_with("Building configuration")
        || words.starts_with("Current configuration")
        || ["exit", "end", "quit"].contains(&words)
}

fn within(path: &Path, header: Arc<str>) -> Path {
    path.iter().cloned().chain([header]).collect()
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    words.for_each(|word| push_token(&mut text, word));
    text
}

fn push_token(text: &mut String, word: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(word);
}

/// A statement as it is kept: whole, or its beginning and what tells it from others.
fn kept(text: &str) -> Arc<str> {
    if text.len() <= STATEMENT_BYTES_MAX {
        return text.into();
    }
    let mut cut = BEGINNING_BYTES;
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let hash = hex::encode(&Sha256::digest(text.as_bytes())[..8]);
    format!("{} … {hash}", &text[..cut]).into()
}

/// BIRD's tokens: words, strings, and the marks that make up its structure.
struct Tokens<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Result<Option<&'a str>, TextError> {
        loop {
            let code = self.rest.trim_start();
            self.skip(self.rest.len() - code.len());
            let length = match code.as_bytes() {
                [] => return Ok(None),
                [b'#', ..] => {
                    self.skip(code.find('\n').unwrap_or(code.len()));
                    continue;
                }
                [b'/', b'*', ..] => {
                    self.skip(code.find("*/").ok_or(TextError::Unfinished)? + 2);
                    continue;
                }
                [b'{' | b'}' | b';' | b'[' | b']', ..] => 1,
                [b'"', ..] => code[1..].find('"').ok_or(TextError::Unfinished)? + 2,
                [b'0'..=b'9', ..] => number(code),
                _ => word(code),
            };
            let token = &code[..length];
            self.skip(length);
            return Ok(Some(token));
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
    }
}

fn word(code: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || "{};[]\"#".contains(c);
    // At least the first character: the callers have excluded what ends a word at its start.
    let first = code.chars().next().map_or(0, char::len_utf8);
    code[first..].find(ends).map_or(code.len(), |at| first + at)
}

/// The length of the token that begins with a digit: `100ms` is a number and its unit.
fn number(code: &str) -> usize {
    let whole = word(code);
    let digits = code.bytes().take_while(u8::is_ascii_digit).count();
    if ["us", "ms", "s"].contains(&&code[digits..whole]) { digits } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<String> {
        let read = Configuration::read(text).expect("the text is valid");
        let line = |s: &Statement| {
            s.path.iter().map(AsRef::as_ref).chain([&*s.text]).collect::<Vec<_>>().join(" > ")
        };
        read.statements.keys().map(line).collect()
    }

    #[test]
    fn frr_blocks_are_told_by_indentation() {
        let text = "Building configuration...\n\nCurrent configuration:\n!\nhostname a\n!\n\
            router bgp 65001\n timers bgp 3 9\n !\n address-family ipv4 unicast\n  bgp dampening\n \
            exit-address-family\nexit\n!\nip prefix-list A seq 5 permit any\nend\n";
        let expected = [
            "hostname a",
            "ip prefix-list A seq 5 permit any",
            "router bgp 65001",
            "router bgp 65001 > address-family ipv4 unicast",
            "router bgp 65001 > address-family ipv4 unicast > bgp dampening",
            "router bgp 65001 > timers bgp 3 9",
        ];
        let mut found = lines(text);
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn bird_blocks_are_told_by_braces() {
        let text = "# a comment; {\nprotocol bgp up1 { /* { */\n hold time 90; ipv4 { import limit \
            100 action restart; };\n bfd { min rx interval 100ms; }\n interface \"e{0\";\n}\n\
            define N = [ 10.0.0.0/8{16,24}, 192.0.2.0/24+ ];\n";
        let found = lines(text);
        for expected in [
            "protocol bgp up1 > hold time 90",
            "protocol bgp up1 > ipv4 > import limit 100 action restart",
            "protocol bgp up1 > bfd > min rx interval 100 ms",
            "protocol bgp up1 > interface \"e{0\"",
            "define N = [ 10.0.0.0/8 { 16,24 } , 192.0.2.0/24+ ]",
        ] {
            assert!(found.iter().any(|line| line == expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn what_is_half_written_is_refused() {
        for (text, error) in [
            ("protocol bgp a {\n hold time 90;\n", TextError::Unfinished),
            ("a;\n/* ", TextError::Unfinished),
            ("a;\n\"b", TextError::Unfinished),
            ("a;\nb", TextError::Unfinished),
            ("a; }\n;", TextError::Unbalanced(1)),
        ] {
            assert_eq!(Configuration::read(text), Err(error), "{text}");
        }
        let deep = "a {\n".repeat(DEPTH_MAX + 1);
        assert_eq!(Configuration::read(&deep), Err(TextError::TooDeep(DEPTH_MAX + 1)));
    }

    #[test]
    fn long_statements_are_told_apart_without_being_kept() {
        let of = |last: char| lines(&format!("a {}{last}", "x".repeat(5_000))).remove(0);
        assert_ne!(of('1'), of('2'));
        assert!(of('1').len() < 300);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[ \\na-z0-9{};\"#/*!\\[\\]é]{0,200}") {
            let _ = Configuration::read(&text);
        }
    }
}
