//! Checks that everything compiles for 64-bit ARM: DPUs and many gateways run on it.
//!
//! Two routes lead to the target's standard library, as for eBPF: the rustup target, if it is
//! installed, and Debian's package for its own compiler.
//!
//! The cryptography library compiles C and assembly for the target, which takes a foreign C compiler.
//!
//! Invariant: nothing is linked or run.

use crate::ebpf::DEBIAN_RUSTC;
use crate::setup::foreign::{self, TARGET};
use crate::shell;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// The C compiler for the target, under the name by which build scripts look for it.
pub(crate) const FOREIGN_CC: &str = "aarch64-linux-gnu-gcc";

/// `cargo check` of the default members for the target, warnings denied. Says so where neither
/// route is there.
pub(crate) fn check() -> Result<()> {
    if !shell::succeeds(Command::new(FOREIGN_CC).arg("--version")) {
        println!("cross-check skipped: no {FOREIGN_CC}");
        return Ok(());
    }
    let mut command = shell::cargo();
    let mut flags = "-D warnings".to_owned();
    if !rustup_has_target() {
        let Some(sysroot) = foreign::sysroot() else {
            println!("cross-check skipped: no library for {TARGET}: `rustup target add {TARGET}`");
            return Ok(());
        };
        flags += &format!(" --sysroot={}", sysroot.display());
        command.env("RUSTC", DEBIAN_RUSTC);
    }
    // A directory of its own: the other compiler's version differs, and its flags do too.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", flags);
    shell::run(command.args(["check", "--target", TARGET, "--target-dir", "target/cross"]))
}

/// The compiler that cargo uses by itself has the target.
pub(crate) fn rustup_has_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(shell::root()).args(["--print", "target-libdir", "--target", TARGET]);
    shell::output(&mut rustc).is_ok_and(|directory| Path::new(directory.trim()).is_dir())
}
