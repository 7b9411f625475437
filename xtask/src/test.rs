//! `cargo xtask test`: format, lints, tidy, every test, and proof that the live ones ran.
//!
//! Invariant: as root, a live test that exists and did not run is a failure.

use crate::setup::{self, Need};
use crate::{cross, ebpf, shell, tidy};
use anyhow::{Context, Result, ensure};
use edgelore_testkit::{LOG_VARIABLE, REQUIRE_VARIABLE};
use nix::unistd::geteuid;
use std::collections::BTreeSet;

/// The test targets: a live test is never in a documentation example.
const TARGETS: [&str; 4] = ["test", "--lib", "--bins", "--tests"];

pub(crate) fn run() -> Result<()> {
    let root = geteuid().is_root();
    ensure!(
        root || std::env::var_os(REQUIRE_VARIABLE).is_none_or(|value| value != "1"),
        "live tests are required ({REQUIRE_VARIABLE}=1) but this is not root"
    );
    let mut needs = vec![Need::Lints, Need::Toolchain, Need::Cross];
    if root {
        needs.push(Need::Daemons);
    }
    setup::ensure(&needs)?;
    ebpf::build()?;
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    shell::run(
        shell::cargo()
            .args(["clippy", "--workspace", "--exclude", "edgelore-programs", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
    )?;
    cross::check()?;
    shell::run(shell::cargo().args(["test", "--", "--skip", "live_"]))?;
    live(root)
}

/// The live tests, one at a time: they share the machine's routing daemons' names and its load.
fn live(root: bool) -> Result<()> {
    let expected = live_tests()?;
    let log = tempfile::NamedTempFile::new().context("create the log of live tests")?;
    shell::run(shell::cargo().env(LOG_VARIABLE, log.path()).args(TARGETS).args([
        "--",
        "--test-threads=1",
        "live_",
    ]))?;
    if !root {
        println!(
            "{} live tests skipped: this is not root, and they need network namespaces and eBPF",
            expected.len()
        );
        return Ok(());
    }
    let log = std::fs::read_to_string(log.path()).context("read the log of live tests")?;
    let ran: BTreeSet<&str> = log.lines().collect();
    let absent: Vec<&str> =
        expected.iter().map(String::as_str).filter(|name| !ran.contains(name)).collect();
    ensure!(absent.is_empty(), "live tests that did not run: {}", absent.join(", "));
    println!("{} live tests ran", expected.len());
    Ok(())
}

/// The names of all live tests, without their modules.
fn live_tests() -> Result<BTreeSet<String>> {
    let listed = shell::output(shell::cargo().args(["--quiet"]).args(TARGETS).args([
        "--",
        "--list",
        "--format=terse",
    ]))?;
    Ok(live_names(&listed))
}

fn live_names(listed: &str) -> BTreeSet<String> {
    listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter_map(|path| path.rsplit("::").next())
        .filter(|name| name.starts_with("live_"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::live_names;

    #[test]
    fn names_are_found_whatever_their_module() {
        let listed = "live_a: test\nx::y::live_b: test\nx::alive_c: test\nlive_d: bench\nz: test\n";
        assert_eq!(live_names(listed).into_iter().collect::<Vec<_>>(), ["live_a", "live_b"]);
    }
}
