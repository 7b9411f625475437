//! Installs what is missing, and nothing else.
//!
//! Never does: start or enable a service, touch what is already installed, or need the network when
//! nothing is missing.
//!
//! Invariant: it either leaves everything it was asked for in place, or says in plain words what is
//! missing and what to type.

mod apt;
pub(crate) mod foreign;
pub(crate) mod linker;
mod servers;

use crate::cross;
use crate::ebpf::Toolchain;
use crate::shell;
use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use std::process::Command;

/// What a task cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A compiler and a linker for eBPF.
    Toolchain,
    /// The daemons and tools of the laboratory.
    Daemons,
    /// The database servers that backends are tested against.
    Servers,
    /// rustfmt and clippy.
    Lints,
    /// The standard library for the cross-check.
    Cross,
}

impl Need {
    /// Everything.
    pub(crate) const ALL: [Self; 5] =
        [Self::Lints, Self::Toolchain, Self::Daemons, Self::Servers, Self::Cross];
}

/// rustc with `core` for BPF, and LLVM and its libraries for bpf-linker.
const TOOLCHAIN_PACKAGES: [&str; 5] =
    ["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev", "zlib1g-dev", "libzstd-dev"];

/// LLVM and its libraries alone, when another compiler is used.
const LLVM_PACKAGES: [&str; 3] = ["llvm-22-dev", "zlib1g-dev", "libzstd-dev"];

#[rustfmt::skip]
const DAEMON_PACKAGES: [&str; 9] = [
    "frr", "bird2", "gobgpd", "exabgp", "openbgpd", "iproute2", "iputils-ping", "nftables", "python3",
];

/// Sees to it that the needs are met.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let mut did_something = false;
    for need in needs {
        did_something |= match need {
            Need::Toolchain => toolchain()?,
            Need::Daemons => daemons()?,
            Need::Servers => servers()?,
            Need::Lints => lints()?,
            Need::Cross => foreign()?,
        };
    }
    if !did_something {
        println!("set-up: nothing to do");
    }
    Ok(())
}

fn toolchain() -> Result<bool> {
    let found = Toolchain::installed();
    let linker_missing = !linker::installed();
    let packages: &[&str] = match found {
        None => &TOOLCHAIN_PACKAGES,
        Some(_) if linker_missing && linker::llvm_prefix().is_none() => &LLVM_PACKAGES,
        Some(_) => &[],
    };
    let installed = install("building the eBPF programs", packages)?;
    let Some(toolchain) = Toolchain::installed() else {
        bail!(
            "the packages are installed, but {} has no core for BPF; alternatively install a \
             rustup nightly: rustup toolchain install nightly --component rust-src",
            Toolchain::Debian.describe()
        );
    };
    if installed || linker_missing {
        println!("set-up: the eBPF programs will be built by {}", toolchain.describe());
    }
    if linker_missing {
        linker::install()?;
    }
    Ok(installed || linker_missing)
}

fn daemons() -> Result<bool> {
    let mut missing = edgelore_testkit::frr_missing();
    missing.extend(edgelore_testkit::speakers_missing());
    missing.extend(
        ["ip", "nsenter", "ping", "nft", "python3"]
            .into_iter()
            .filter(|tool| !shell::succeeds(Command::new(tool).arg("-V")))
            .map(Into::into),
    );
    if missing.is_empty() {
        return Ok(false);
    }
    install("the laboratory of the demo and the live tests", &DAEMON_PACKAGES)
}

fn servers() -> Result<bool> {
    let mut packages = edgelore_testkit::server::packages_missing();
    let complete = servers::installed();
    if !complete {
        packages.push(servers::DEBIAN);
    }
    let installed = install("the tests of the server backends", &packages)?;
    if !complete {
        servers::install()?;
    }
    Ok(installed || !complete)
}

/// Debian's compiler brings no other target along, and other systems have none of its packages:
/// there the cross-check says what it lacks.
fn foreign() -> Result<bool> {
    if !apt::is_debian() {
        return Ok(false);
    }
    let compiler = !shell::succeeds(Command::new(cross::FOREIGN_CC).arg("--version"));
    let packages: &[&str] =
        if compiler { &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"] } else { &[] };
    let installed = install("the cross-check", packages)?;
    Ok((!cross::rustup_has_target() && foreign::install()?) || installed)
}

fn lints() -> Result<bool> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| !shell::succeeds(shell::cargo().args([command, "--version"])))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let mut command = Command::new("rustup");
    command.current_dir(shell::root()).args(["component", "add"]).args(&missing);
    shell::run(&mut command)
        .with_context(|| format!("{} missing, and rustup cannot add it", missing.join(", ")))?;
    Ok(true)
}

/// Installs those of `packages` that are missing; false when none is.
fn install(purpose: &str, packages: &[&str]) -> Result<bool> {
    if packages.is_empty() {
        return Ok(false);
    }
    if !apt::is_debian() {
        bail!(
            "{purpose}: this set-up installs packages on Debian only; install by hand what stands \
             here for: {}. For eBPF a rustup nightly with rust-src and LLVM 22 (LLVM_PREFIX) also do",
            packages.join(", ")
        );
    }
    let missing = apt::missing(packages);
    if missing.is_empty() {
        return Ok(false);
    }
    if !geteuid().is_root() {
        bail!(
            "{purpose}: packages are missing and only root can install them: \
             sudo apt-get install --no-install-recommends {}",
            missing.join(" ")
        );
    }
    println!("set-up: {purpose} needs {}", missing.join(", "));
    apt::install(&missing)?;
    Ok(true)
}
