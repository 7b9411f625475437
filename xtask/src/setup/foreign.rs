//! The standard library of another architecture, unpacked into `target/tools`.
//!
//! Never does: add an architecture to the system, or install a package of one. The package lists
//! that this needs are kept apart from the system's.
//!
//! Invariant: a library that lies in its place is whole and of the compiler's own version.

use super::apt;
use crate::shell::{self, root};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's name for the architecture, and the compiler's.
const ARCHITECTURE: &str = "arm64";
/// The target whose standard library this brings.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";
const PACKAGE: &str = "libstd-rust-web-dev";
const COMPILER: &str = "rustc-web";

/// A sysroot with the target's library in it, once it is installed.
pub(crate) fn sysroot() -> Option<PathBuf> {
    let version = apt::version(COMPILER)?;
    let sysroot = root().join("target/tools").join(ARCHITECTURE).join(version).join("usr");
    sysroot.join("lib/rustlib").join(TARGET).is_dir().then_some(sysroot)
}

/// Fetches and unpacks it; false when it was there.
pub(crate) fn install() -> Result<bool> {
    if sysroot().is_some() {
        return Ok(false);
    }
    let version = apt::version(COMPILER).context("rustc-web is not installed")?;
    println!("set-up: the cross-check needs {PACKAGE} of {ARCHITECTURE}");
    let place = root().join("target/tools").join(ARCHITECTURE);
    let lists = place.join("apt");
    for directory in ["state/lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(lists.join(directory))
            .with_context(|| format!("create {directory} for package lists"))?;
    }
    shell::run(apt_get(&lists).arg("update")).context("refresh the package lists")?;
    let package = format!("{PACKAGE}:{ARCHITECTURE}={version}");
    shell::run(apt_get(&lists).current_dir(&lists).args(["download", &package]))
        .context("fetch the library: does this release of Debian have it?")?;
    unpack(&lists, &place, &version)?;
    std::fs::remove_dir_all(&lists).context("remove the package lists")?;
    ensure!(sysroot().is_some(), "{package} does not hold {TARGET}");
    Ok(true)
}

/// apt-get on package lists of its own, so that the system keeps its architectures.
fn apt_get(lists: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet");
    for (option, value) in [
        ("Dir::State", lists.join("state").display().to_string()),
        ("Dir::Cache", lists.join("cache").display().to_string()),
        ("Dir::State::status", "/var/lib/dpkg/status".to_owned()),
        ("APT::Architectures", ARCHITECTURE.to_owned()),
        // The default user for downloads cannot write below a private directory.
        ("APT::Sandbox::User", "root".to_owned()),
    ] {
        command.arg("-o").arg(format!("{option}={value}"));
    }
    command
}

fn unpack(lists: &Path, place: &Path, version: &str) -> Result<()> {
    let package = std::fs::read_dir(lists)
        .context("list what was fetched")?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get fetched no package")?;
    let unpacked = lists.join("unpacked");
    shell::run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&unpacked))?;
    std::fs::rename(&unpacked, place.join(version)).context("put the library in its place")
}
