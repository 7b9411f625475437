//! Builds the eBPF object with whichever toolchain is there.
//!
//! Two routes lead to `core` for `bpfel-unknown-none`: Debian's `rustc-web`, which brings it built,
//! and a rustup nightly with `rust-src`, which builds it.
//!
//! Invariant: each object in `target/bpf` is replaced whole or not at all.

use crate::setup::linker;
use crate::shell::{self, root};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

const TARGET: &str = "bpfel-unknown-none";
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The instruction set: 32-bit jumps and ALU operations, in every kernel since 5.1.
const CPU: &str = "v3";

/// Loads of several octets at any address, as the processors of gateways and their verifiers allow:
/// otherwise every field of a header is put together octet by octet.
const FEATURES: &str = "+allows-misaligned-mem-access";

/// A compiler that can build for the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// Debian's compiler with its prebuilt `core`.
    Debian,
    /// A rustup nightly that builds `core` from `rust-src`.
    Nightly,
}

impl Toolchain {
    /// The one that is installed; Debian's first, since it is pinned by the distribution.
    pub(crate) fn installed() -> Option<Self> {
        [Self::Debian, Self::Nightly].into_iter().find(|toolchain| toolchain.works())
    }

    /// What it is, for the user.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Debian => "Debian's rustc with its prebuilt core for BPF",
            Self::Nightly => "the rustup nightly with rust-src (-Z build-std=core)",
        }
    }

    fn works(self) -> bool {
        let Ok(sysroot) = shell::output(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        let library = Path::new(sysroot.trim()).join("lib/rustlib");
        match self {
            Self::Debian => library.join(TARGET).join("lib").exists(),
            Self::Nightly => library.join("src/rust/library/core").exists(),
        }
    }

    fn rustc(self) -> Command {
        match self {
            Self::Debian => Command::new(DEBIAN_RUSTC),
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "rustc"]);
                command
            }
        }
    }

    fn cargo(self) -> Command {
        match self {
            Self::Debian => {
                let mut command = shell::cargo();
                // aya-ebpf needs `asm_experimental_arch`, which a stable compiler has but hides.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.current_dir(root()).env_remove("CARGO").env_remove("RUSTC");
                command.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
                command
            }
        }
    }
}

/// What the package's binaries are called as objects; the capture crate embeds them.
const OBJECTS: [(&str, &str); 2] =
    [("edgelore-programs", "edgelore.bpf.o"), ("edgelore-tracepoints", "tracepoints.bpf.o")];

/// Builds the objects.
pub(crate) fn build() -> Result<()> {
    let Some(toolchain) = Toolchain::installed() else {
        bail!("no toolchain for eBPF is installed: run `cargo xtask setup`");
    };
    println!("eBPF objects: built by {}", toolchain.describe());
    let directory = root().join("target/bpf");
    let mut command = toolchain.cargo();
    command
        .args(["build", "--release", "--package", "edgelore-programs", "--target", TARGET])
        .arg("--target-dir")
        .arg(&directory)
        // Flags meant for the host would break this build.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags());
    shell::run(&mut command)?;
    OBJECTS.iter().try_for_each(|(binary, object)| {
        place(&directory.join(TARGET).join("release").join(binary), &directory.join(object))
    })
}

fn flags() -> OsString {
    let mut flags = OsString::from("-C linker=");
    flags.push(linker::path());
    flags.push(format!(
        " -C debuginfo=2 -C link-arg=--btf -C target-cpu={CPU} -C target-feature={FEATURES}"
    ));
    flags
}

/// Moves an object to its place, unless an equal one is there: its time stamp decides whether
/// the binary that embeds it is built anew.
fn place(built: &Path, object: &Path) -> Result<()> {
    let new = std::fs::read(built).with_context(|| format!("read {}", built.display()))?;
    if std::fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let half = object.with_extension("o.tmp");
    std::fs::write(&half, new).with_context(|| format!("write {}", half.display()))?;
    std::fs::rename(&half, object).with_context(|| format!("write {}", object.display()))
}
