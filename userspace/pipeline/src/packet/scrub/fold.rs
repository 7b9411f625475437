//! The form in which text is judged: what looks alike is alike.
//!
//! Owns the folding of Unicode: compatibility forms (full-width digits, ligatures), marks on
//! letters, digits of every script, letters and punctuation that look like ASCII, capital letters;
//! and the characters that nobody sees. Never decides what goes.
//!
//! **Invariant:** every character of the text belongs as a whole to one word or to one gap.

use std::borrow::Cow;
use std::ops::Range;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// A text and its folded form.
pub(super) struct Folded<'t> {
    /// Without what nobody sees.
    seen: Cow<'t, str>,
    /// In small letters, folded.
    pub(super) text: Cow<'t, str>,
    /// For each byte of `text` the character of `seen` that it stands for: where it begins and
    /// ends. Empty when they are the same.
    origin: Vec<(u32, u32)>,
}

impl<'t> Folded<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let seen = joined(visible(text));
        if seen.is_ascii() {
            let small = !seen.bytes().fold(false, |found, b| found | b.is_ascii_uppercase());
            let text = if small { seen.clone() } else { seen.to_ascii_lowercase().into() };
            return Self { seen, text, origin: Vec::new() };
        }
        let (mut text, mut origin) = (String::new(), Vec::new());
        for (at, character) in seen.char_indices() {
            push_folded(character, &mut text);
            origin.resize(text.len(), (at as u32, (at + character.len_utf8()) as u32));
        }
        Self { seen, text: text.into(), origin }
    }

    /// What a stretch of the folded form was.
    pub(super) fn original(&self, range: &Range<usize>) -> &str {
        &self.seen[self.place(range)]
    }

    /// Where a stretch of the folded form stands in the text without what nobody sees.
    pub(super) fn place(&self, range: &Range<usize>) -> Range<usize> {
        if self.origin.is_empty() || range.is_empty() {
            return range.clone();
        }
        self.origin[range.start].0 as usize..self.origin[range.end - 1].1 as usize
    }

    /// The text without what nobody sees.
    pub(super) fn seen(&self) -> &str {
        &self.seen
    }

    /// As [`Folded::seen`], for good.
    pub(super) fn into_seen(self) -> Cow<'t, str> {
        self.seen
    }
}

fn push_folded(character: char, text: &mut String) {
    let before = text.len();
    decompose_compatible(character, |part| {
        if !is_combining_mark(part) {
            text.extend(alike(part).to_lowercase());
        }
    });
    // A "⑴" is the word 1, not a word between two brackets.
    if text[before..].contains(is_word) {
        let kept: String = text[before..].chars().filter(|c| is_word(*c)).collect();
        text.truncate(before);
        text.push_str(&kept);
    }
}

/// Separators that people put into brackets to make an address unreadable for machines.
const BRACKETED: &[(&str, &str)] = &[
    ("[.]", "."),
    ("(.)", "."),
    ("{.}", "."),
    ("[dot]", "."),
    ("[:]", ":"),
    ("[@]", "@"),
    ("[at]", "@"),
];

fn joined(mut text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'[' | b'(' | b'{')) {
        return text;
    }
    while let Some((bracketed, plain)) = BRACKETED.iter().find(|(b, _)| text.contains(b)) {
        text = Cow::Owned(text.replace(bracketed, plain));
    }
    text
}

/// Without what nobody sees.
fn visible(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| !is_unseen(*c)).collect())
}

/// The ASCII characters that make up words: letters, digits, and what stands in the middle of names
/// and numbers.
const ASCII_OF_WORDS: [bool; 256] = {
    let (mut of_words, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        of_words[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_' | b':' | b'-' | b'/' | b'%' | b'@');
        byte += 1;
    }
    of_words
};

/// As [`is_word`] of an ASCII character; no other byte does.
pub(super) const fn is_word_byte(byte: u8) -> bool {
    ASCII_OF_WORDS[byte as usize]
}

/// A digit, what stands in addresses, or a part of a character beyond ASCII.
pub(super) const fn is_telling(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b':' | b'/' | b'%' | b'@') || byte >= 0x80
}

/// Characters that make up words; a comma between the digits of a number does too.
pub(super) fn is_word(character: char) -> bool {
    match u8::try_from(character) {
        Ok(byte) if byte.is_ascii() => is_word_byte(byte),
        _ => character.is_alphanumeric(),
    }
}

/// Takes no room on a screen, so that it could part what one reads as a whole.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The zero of each script whose digits stand in a row (Unicode category Nd).
#[rustfmt::skip]
const ZEROS: &[u32] = &[
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450,
    0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1e140, 0x1e2f0, 0x1e4f0, 0x1e950,
];
/// Letters and punctuation, and what they are taken for.
const ALIKE: &[(&str, char)] = &[
    ("аΑаα", 'a'),
    ("ВвΒ", 'b'),
    ("сϲ", 'c'),
    ("ԁ", 'd'),
    ("еεΕ", 'e'),
    ("һΗ", 'h'),
    ("іιΙӏ", 'i'),
    ("ј", 'j'),
    ("кΚκ", 'k'),
    ("мΜ", 'm'),
    ("Νпν", 'n'),
    ("оοΟσ", 'o'),
    ("рΡρ", 'p'),
    ("ԛ", 'q'),
    ("г", 'r'),
    ("ѕ", 's'),
    ("тΤτ", 't'),
    ("ѵυ", 'v'),
    ("ԝω", 'w'),
    ("хΧχ", 'x'),
    ("уΥγ", 'y'),
    ("Ζ", 'z'),
    ("·∙‧・。｡•٫", '.'),
    ("։∶ː꞉׃˸", ':'),
    ("‐‑‒–—−⁃﹘", '-'),
    ("⁄∕⧸", '/'),
    ("٬‚", ','),
];

/// What a character looks like.
fn alike(character: char) -> char {
    if character.is_ascii() {
        return character;
    }
    let code = u32::from(character);
    let digit = ZEROS.iter().find_map(|zero| code.checked_sub(*zero).filter(|value| *value < 10));
    if let Some(digit) = digit.and_then(|value| char::from_digit(value, 10)) {
        return digit;
    }
    let small = character.to_lowercase().next().unwrap_or(character);
    let same = |(looks, _): &&(&str, char)| looks.contains(character) || looks.contains(small);
    ALIKE.iter().find(same).map_or(character, |(_, ascii)| *ascii)
}
