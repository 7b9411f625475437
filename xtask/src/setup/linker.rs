//! bpf-linker, built once into `target/tools`.
//!
//! Invariant: never touches the user's own cargo programs.

use crate::shell::{self, root};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "0.13.0";
/// LLVM releases that bpf-linker of this version links, the preferred one first.
const LLVM: [&str; 2] = ["22", "23"];

/// Where it is.
pub(crate) fn path() -> PathBuf {
    root().join("target/tools/bin/bpf-linker")
}

/// The right version is there and runs.
pub(crate) fn installed() -> bool {
    shell::output(Command::new(path()).arg("--version"))
        .is_ok_and(|answer| answer.split_whitespace().any(|word| word == VERSION))
}

/// An LLVM to build with: its release and where it is.
pub(crate) fn llvm_prefix() -> Option<(&'static str, PathBuf)> {
    let configured = std::env::var_os("LLVM_PREFIX").map(PathBuf::from);
    if let Some(prefix) = configured {
        let version = shell::output(Command::new(prefix.join("bin/llvm-config")).arg("--version"));
        let version = version.ok()?;
        let release = LLVM.into_iter().find(|r| version.starts_with(&format!("{r}.")))?;
        return Some((release, prefix));
    }
    LLVM.into_iter()
        .map(|release| (release, Path::new("/usr/lib").join(format!("llvm-{release}"))))
        .find(|(_, prefix)| prefix.join("include/llvm-c/Core.h").exists())
}

/// Builds it.
pub(crate) fn install() -> Result<()> {
    let (release, prefix) = llvm_prefix().context(
        "bpf-linker needs LLVM 22 or 23 with its headers: install llvm-22-dev or set LLVM_PREFIX",
    )?;
    let mut command = shell::cargo();
    command
        .env("LLVM_PREFIX", prefix)
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
        .args(["--no-default-features", "--features", &format!("llvm-{release}"), "--root"])
        .arg(root().join("target/tools"));
    shell::run(&mut command).context("build bpf-linker")
}
