//! JSON as Python's `json.dumps` writes it with its default settings.
//!
//! Owns the escapes and the separators. Never sorts: the caller gives the order.
//!
//! **Invariant:** the output is ASCII.

use edgelore_kernels::text;

/// Appends an integer.
pub(super) fn push_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    let appended = text::push_plain(out, itoa::Buffer::new().format(value).as_bytes());
    debug_assert!(appended, "digits stand for themselves");
}

/// Appends `value` as a JSON string with Python's `ensure_ascii` escapes: everything outside
/// U+0020..U+007E becomes `\uXXXX`, above U+FFFF as a surrogate pair.
#[inline]
pub(super) fn push_string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    if !text::push_plain(out, value.as_bytes()) {
        push_escaped(out, value);
    }
    out.push(b'"');
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    text.chars().for_each(|character| push_character(out, character));
}

fn push_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        ' '..='~' => out.push(character as u8),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let digit = |shift: u32| b"0123456789abcdef"[usize::from(*unit >> shift & 15)];
                out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
        }
    }
}

/// A JSON object under construction, with `", "` and `": "` between its parts.
pub(super) struct Object(Vec<u8>);

impl Object {
    pub(super) fn new() -> Self {
        Self(vec![b'{'])
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.extend_from_slice(b", ");
        }
        push_string(&mut self.0, key);
        self.0.extend_from_slice(b": ");
    }

    pub(super) fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        push_string(&mut self.0, value);
        self
    }

    pub(super) fn integer(mut self, key: &str, value: impl itoa::Integer) -> Self {
        self.key(key);
        push_integer(&mut self.0, value);
        self
    }

    pub(super) fn strings(mut self, key: &str, values: &[String]) -> Self {
        self.key(key);
        self.0.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.extend_from_slice(b", ");
            }
            push_string(&mut self.0, value);
        }
        self.0.push(b']');
        self
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("the output is ASCII")
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
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(out, expected.as_bytes());
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
