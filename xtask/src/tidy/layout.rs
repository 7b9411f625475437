//! What lies where, and that the documents are there.

use super::{Entry, Violation};
use std::path::Path;

/// Everything that may lie at the top, besides documents and licences.
const TOP: [&str; 13] = [
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "bench",
    "clippy.toml",
    "ebpf",
    "kernels",
    "rustfmt.toml",
    "userspace",
    "xtask",
];

/// Documents that must be there, with what they must mention.
const DOCUMENTS: [(&str, &[&str]); 2] =
    [("README.md", &["cargo xtask demo", "cargo xtask test"]), ("ARCHITECTURE.md", &[])];

pub(super) fn check(files: &[Entry]) -> Vec<Violation> {
    let mut violations: Vec<Violation> =
        files.iter().filter_map(|file| misplaced(&file.path)).collect();
    violations.extend(files.iter().filter_map(binary));
    violations.extend(DOCUMENTS.iter().flat_map(|(name, needles)| document(files, name, needles)));
    violations
}

fn misplaced(path: &Path) -> Option<Violation> {
    let top = path.iter().next()?.to_str()?;
    let document = path.iter().count() == 1 && (top.ends_with(".md") || top.starts_with("LICENSE"));
    (!document && !TOP.contains(&top))
        .then(|| Violation::new(path, 1, format!("`{top}` does not belong at the top level")))
}

fn binary(file: &Entry) -> Option<Violation> {
    let fixture = file.path.iter().any(|part| part == "fixtures");
    (!fixture && file.bytes.contains(&0))
        .then(|| Violation::new(&file.path, 1, "a binary file outside a `fixtures` folder"))
}

fn document(files: &[Entry], name: &str, needles: &[&str]) -> Vec<Violation> {
    let Some(file) = files.iter().find(|file| file.path == Path::new(name)) else {
        return vec![Violation::new(name, 1, "this document is missing")];
    };
    let text = String::from_utf8_lossy(&file.bytes);
    needles
        .iter()
        .filter(|needle| !text.contains(**needle))
        .map(|needle| Violation::new(name, 1, format!("does not mention `{needle}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, bytes: &[u8]) -> Entry {
        Entry { path: path.into(), bytes: bytes.to_vec() }
    }

    #[test]
    fn strangers_binaries_and_missing_documents_are_found() {
        let good = [
            entry("README.md", b"cargo xtask demo, cargo xtask test"),
            entry("ARCHITECTURE.md", b""),
            entry("userspace/fixtures/a.pcap", &[0, 1]),
            entry(".ci/run", b""),
        ];
        assert_eq!(check(&good), []);
        let bad = [
            entry("README.md", b"cargo xtask demo"),
            entry("notes.txt", b""),
            entry("docs/x.md", b""),
            entry("xtask/a.bin", &[0]),
        ];
        let found: Vec<_> = check(&bad).into_iter().map(|v| v.file).collect();
        let names = ["notes.txt", "docs/x.md", "xtask/a.bin", "README.md", "ARCHITECTURE.md"];
        assert_eq!(found, names.map(std::path::PathBuf::from));
    }
}
