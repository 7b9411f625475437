//! JSON as Python's `json.dumps` writes it with its default settings.
//!
//! Owns the escapes and the separators. Never sorts: the caller gives the order.
//!
//! **Invariant:** the output is ASCII.

use std::fmt::{Display, Write};

/// Appends `text` as a JSON string with Python's `ensure_ascii` escapes: everything outside
/// U+0020..U+007E becomes `\uXXXX`, above U+FFFF as a surrogate pair.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        push_character(out, character);
    }
    out.push('"');
}

fn push_character(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        ' '..='~' => out.push(character),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("writing to a string does not fail");
            }
        }
    }
}

/// A JSON object under construction, with `", "` and `": "` between its parts.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push_str(", ");
        }
        push_string(&mut self.0, key);
        self.0.push_str(": ");
    }

    pub(super) fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        push_string(&mut self.0, value);
        self
    }

    pub(super) fn integer(mut self, key: &str, value: impl Display) -> Self {
        self.key(key);
        write!(self.0, "{value}").expect("writing to a string does not fail");
        self
    }

    pub(super) fn strings(mut self, key: &str, values: &[String]) -> Self {
        self.key(key);
        self.0.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push_str(", ");
            }
            push_string(&mut self.0, value);
        }
        self.0.push(']');
        self
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_escaped_as_python_does() {
        for (text, expected) in [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
            ("\u{0}\u{1f}", r#""\u0000\u001f""#),
            ("~\u{7f}\u{80}", r#""~\u007f\u0080""#),
            ("é環", r#""\u00e9\u74b0""#),
            ("😀", r#""\ud83d\ude00""#),
        ] {
            let mut out = String::new();
            push_string(&mut out, text);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn separators_are_those_of_python() {
        let object = Object::new()
            .integer("a", -1)
            .strings("b", &["x".into(), "y".into()])
            .strings("c", &[])
            .finish();
        assert_eq!(object, r#"{"a": -1, "b": ["x", "y"], "c": []}"#);
        assert_eq!(Object::new().finish(), "{}");
    }
}
