//! `cargo xtask tidy`: the rules of the repository that a program can check.
//!
//! Invariant: every violation is printed as `file:line: reason`; one is enough to fail.

mod arrows;
mod layout;
mod source;

use crate::shell;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: PathBuf,
    /// Counted from one.
    line: usize,
    reason: String,
}

impl Violation {
    fn new(file: impl Into<PathBuf>, line: usize, reason: impl Into<String>) -> Self {
        Self { file: file.into(), line, reason: reason.into() }
    }
}

/// A file of the repository and what is in it.
#[derive(Debug)]
struct Entry {
    /// Relative to the root.
    path: PathBuf,
    bytes: Vec<u8>,
}

pub(crate) fn run() -> Result<()> {
    let files = repository()?;
    let mut violations = layout::check(&files);
    violations.extend(arrows::check()?);
    for file in &files {
        violations.extend(source::check(file));
    }
    violations.sort();
    for Violation { file, line, reason } in &violations {
        println!("{}:{line}: {reason}", file.display());
    }
    ensure!(violations.is_empty(), "{} violations of the repository's rules", violations.len());
    println!("tidy: {} files keep the rules", files.len());
    Ok(())
}

/// The files that are or would be committed.
fn repository() -> Result<Vec<Entry>> {
    let root = shell::root();
    let listed = shell::output(
        Command::new("git")
            .current_dir(&root)
            // Root may look at a checkout that another user owns.
            .args(["-c", "safe.directory=*", "ls-files", "-z"])
            .args(["--cached", "--others", "--exclude-standard"]),
    )?;
    listed
        .split_terminator('\0')
        .filter(|path| root.join(path).is_file())
        .map(|path| {
            let bytes = std::fs::read(root.join(path)).with_context(|| format!("read {path}"))?;
            Ok(Entry { path: path.into(), bytes })
        })
        .collect()
}
