//! The rules of single files: how modules open, how long things are, words that do not belong.
//!
//! Invariant: relies on rustfmt's layout, which the test command checks first: a function ends at
//! the first closing brace in the column in which it began.

use super::{Entry, Violation};
use std::path::Path;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// A comment inside a longer function that says why it is one.
const LONG_BECAUSE: &str = "Long because";

/// Paths of single machines, and work left undone. In pieces, so that this file passes.
const FORBIDDEN: [(&str, &str); 7] = [
    (concat!("/", "work/"), "a path of one machine"),
    (concat!("/", "root/"), "a path of one machine"),
    (concat!("/", "home/"), "a path of one machine"),
    (concat!("TO", "DO"), "work left undone"),
    (concat!("FIX", "ME"), "work left undone"),
    (concat!("todo", "!("), "work left undone"),
    (concat!("unimplemented", "!("), "work left undone"),
];

pub(super) fn check(file: &Entry) -> Vec<Violation> {
    let fixture = file.path.iter().any(|part| part == "fixtures");
    let Ok(text) = std::str::from_utf8(&file.bytes) else { return Vec::new() };
    if fixture || file.path == Path::new("Cargo.lock") {
        return Vec::new();
    }
    let mut found = forbidden(text);
    if file.path.extension().is_some_and(|extension| extension == "rs") {
        found.extend(opening(text));
        if !is_test(&file.path) {
            found.extend(file_length(text));
            found.extend(function_lengths(text));
        }
    }
    found.into_iter().map(|(line, reason)| Violation::new(&file.path, line, reason)).collect()
}

/// Files of tests and nothing else may be long, and so may a test.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests") || path.ends_with("tests.rs")
}

fn forbidden(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (word, why) in FORBIDDEN {
            if line.match_indices(word).any(|(at, _)| stands_alone(line, word, at)) {
                found.push((index + 1, format!("`{word}`: {why}")));
            }
        }
    }
    found
}

/// The word begins where it stands: `net/work/` is a different path.
fn stands_alone(line: &str, word: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    let after = line[at + word.len()..].chars().next();
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let relative = word.starts_with('/') && before.is_some_and(|c| matches!(c, '.' | '}' | '>'));
    let longer = word.ends_with(char::is_alphanumeric) && part_of_word(after);
    !part_of_word(before) && !relative && !longer
}

fn opening(text: &str) -> Option<(usize, String)> {
    let first = text.lines().find(|line| !line.trim().is_empty());
    (!first.is_some_and(|line| line.starts_with("//!")))
        .then(|| (1, "a module opens with `//!`: what it owns and never does".to_owned()))
}

/// The lines before the test module.
fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| *line != "#[cfg(test)]")
}

fn file_length(text: &str) -> Option<(usize, String)> {
    let lines = without_tests(text).count();
    (lines > FILE_LINES_MAX)
        .then(|| (lines, format!("{lines} lines without tests, {FILE_LINES_MAX} at most")))
}

fn function_lengths(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = without_tests(text).collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let Some(length) = body_length(&lines[start..]) else { continue };
        let excused = lines[start..start + length].iter().any(|line| line.contains(LONG_BECAUSE));
        if length > FUNCTION_LINES_MAX && !excused {
            let reason = format!("fn {name} has {length} lines, {FUNCTION_LINES_MAX} at most");
            found.push((start + 1, reason));
        }
    }
    found
}

/// The name of the function that this line begins.
fn function_name(line: &str) -> Option<&str> {
    let (head, tail) = line.trim_start().split_once("fn ")?;
    let modifiers = head.split_whitespace().all(|word| {
        word.starts_with("pub")
            || matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"" | "default")
            || matches!(word, "in" | "super)" | "crate)")
    });
    let end = tail.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (modifiers && end > 0).then(|| &tail[..end])
}

/// How many lines the function takes; `None` when it has no body.
fn body_length(lines: &[&str]) -> Option<usize> {
    let indent = lines.first()?.len() - lines.first()?.trim_start().len();
    let signature = lines.iter().position(|line| code(line).ends_with(['{', '}', ';']))?;
    if !code(lines[signature]).ends_with('{') {
        return None;
    }
    let closes = |line: &&str| line.len() == indent + 1 && line.ends_with('}');
    lines.iter().skip(signature + 1).position(closes).map(|offset| signature + offset + 2)
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split_once(" //").map_or(line, |(code, _)| code).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = Entry { path: path.into(), bytes: text.as_bytes().to_vec() };
        check(&file).into_iter().map(|v| (v.line, v.reason)).collect()
    }

    fn function(lines: usize, comment: &str) -> String {
        let body = "    a();\n".repeat(lines - 3);
        format!("//! Module.\npub(crate) fn long(\n) {{ // {comment}\n{body}}}\n")
    }

    #[test]
    fn long_functions_are_counted_from_signature_to_brace() {
        assert_eq!(reasons("a.rs", &function(70, "")), []);
        let found = reasons("a.rs", &function(71, ""));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, 2);
        assert!(found[0].1.contains("fn long has 71 lines"), "{found:?}");
        assert_eq!(reasons("a.rs", &function(200, "Long because it is a table.")), []);
        assert_eq!(reasons("x/tests/a.rs", &function(200, "")), []);
    }

    #[test]
    fn long_files_are_found_and_test_modules_do_not_count() {
        let text = format!("//! Module.\n{}", "// line\n".repeat(599));
        assert_eq!(reasons("a.rs", &text), []);
        assert_eq!(reasons("a.rs", &format!("{text}// one more\n")).len(), 1);
        assert_eq!(reasons("a.rs", &format!("{text}#[cfg(test)]\nmod tests {{\n}}\n")), []);
    }

    #[test]
    fn modules_open_with_their_documentation() {
        assert_eq!(reasons("a.rs", "use x;\n").len(), 1);
        assert_eq!(reasons("a.rs", "").len(), 1);
        assert_eq!(reasons("a.rs", "\n//! Fine.\n"), []);
        assert_eq!(reasons("a.sh", "use x;\n"), []);
    }

    #[test]
    fn words_that_do_not_belong_are_found_with_their_line() {
        for (word, _) in FORBIDDEN {
            let found = reasons("a.md", &format!("first\nsee {word}x here\nand {word} there\n"));
            assert!(found.iter().any(|(line, _)| *line == 3), "{word}: {found:?}");
        }
        let harmless = "net/work/x, https://x.org/home/, a/b/root/, METODOLOGY";
        assert_eq!(reasons("a.md", harmless), []);
    }
}
