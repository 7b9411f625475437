//! A text as words, marks and the gaps between them.
//!
//! **Invariant:** a mark that already stands in a text is one, so that scrubbing twice gives the
//! same as scrubbing once.

use super::Rule;
use super::fold::{is_telling, is_word, is_word_byte};
use std::ops::Range;

/// What a stretch of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Characters of words, in a row.
    Word,
    /// Something that was taken out.
    Mark(Rule),
    /// All else.
    Gap,
}

/// A stretch of a folded text.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
    /// A word with digits, with what stands in addresses, or beyond ASCII.
    pub(super) telling: bool,
}

/// Cuts a folded text; `named` are the stretches of names, in order, without overlap.
pub(super) fn tokens(text: &str, named: &[Range<usize>]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(24);
    let mut at = 0;
    for name in named {
        cut(text, at..name.start, &mut tokens);
        let (range, kind) = (name.clone(), Kind::Mark(Rule::Name));
        tokens.push(Token { range, kind, telling: false });
        at = name.end;
    }
    cut(text, at..text.len(), &mut tokens);
    tokens
}

fn cut(text: &str, within: Range<usize>, tokens: &mut Vec<Token>) {
    let mut at = within.start;
    while at < within.end {
        let rest = &text[at..within.end];
        let (length, kind, telling) = match mark(rest) {
            Some((length, rule)) => (length, Kind::Mark(rule), false),
            None => run(rest),
        };
        tokens.push(Token { range: at..at + length, kind, telling });
        at += length;
    }
}

/// The mark that a text begins with.
pub(super) fn mark(text: &str) -> Option<(usize, Rule)> {
    let inner = text.strip_prefix('[')?;
    let end = inner.bytes().take(12).position(|byte| byte == b']')?;
    let rule = Rule::ALL.iter().find(|rule| rule.word() == &inner[..end])?;
    Some((end + 2, *rule))
}

/// The length and the kind of the word or gap that a text begins with, and whether it is telling.
fn run(text: &str) -> (usize, Kind, bool) {
    // As most words are.
    let (mut ascii, mut telling) = (0, false);
    for byte in text.bytes().take_while(|byte| is_word_byte(*byte)) {
        (ascii, telling) = (ascii + 1, telling | is_telling(byte));
    }
    let ends = |next: &u8| next.is_ascii() && *next != b',';
    if ascii > 0 && text.as_bytes().get(ascii).is_none_or(ends) {
        return (ascii, Kind::Word, telling);
    }
    let mut characters = text.char_indices();
    let word = characters.next().is_some_and(|(_, first)| is_word(first));
    let ends = |&(at, character): &(usize, char)| {
        let of_word =
            is_word(character) || (character == ',' && groups_thousands(text.as_bytes(), at));
        of_word != word || (character == '[' && mark(&text[at..]).is_some())
    };
    let length = characters.find(ends).map_or(text.len(), |(at, _)| at);
    let kind = if word { Kind::Word } else { Kind::Gap };
    (length, kind, word && text[..length].bytes().any(is_telling))
}

/// A comma as in 6,000: a digit before, three and no more after.
fn groups_thousands(bytes: &[u8], at: usize) -> bool {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    at > 0 && digit(at - 1) && (1..=3).all(|next| digit(at + next)) && !digit(at + 4)
}
