//! `cargo xtask test`: format, lints, tidy, every test, and proof that the live ones ran.
//!
//! Invariant: as root, a live test that exists and did not run is a failure.

use crate::FEATURES;
use crate::setup::{self, Need};
use crate::{cross, ebpf, shell, tidy};
use anyhow::{Context, Result, ensure};
use edgelore_testkit::{LOG_VARIABLE, REQUIRE_VARIABLE};
use nix::unistd::geteuid;
use std::collections::BTreeSet;

/// The test targets: a live test is never in a documentation example.
const TARGETS: [&str; 6] = ["test", "--lib", "--bins", "--tests", FEATURES[0], FEATURES[1]];

pub(crate) fn run() -> Result<()> {
    let root = geteuid().is_root();
    ensure!(
        root || std::env::var_os(REQUIRE_VARIABLE).is_none_or(|value| value != "1"),
        "live tests are required ({REQUIRE_VARIABLE}=1) but this is not root"
    );
    let mut needs = vec![Need::Lints, Need::Toolchain, Need::Cross];
    if root {
        needs.extend([Need::Daemons, Need::Servers]);
    }
    setup::ensure(&needs)?;
    ebpf::build()?;
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    shell::run(
        shell::cargo()
            .args(["clippy", "--workspace", "--exclude", "edgelore-programs", "--all-targets"])
            .args(FEATURES)
            .args(["--", "--deny", "warnings"]),
    )?;
    cross::check()?;
    shell::run(shell::cargo().arg("test").args(FEATURES).args(["--", "--skip", "live_"]))?;
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
            "{} live tests skipped: this is not root, and they need namespaces, eBPF and servers",
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

/// The names of all live tests, without the modules around what is called live: a live module
/// belongs to the names of its tests.
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
        .filter_map(live_name)
        .map(str::to_owned)
        .collect()
}

/// From the first segment that is called live to the end.
fn live_name(path: &str) -> Option<&str> {
    if path.starts_with("live_") {
        return Some(path);
    }
    path.find("::live_").map(|at| &path[at + "::".len()..])
}

#[cfg(test)]
mod tests {
    use super::live_names;

    #[test]
    fn names_are_found_whatever_their_module() {
        let listed = "live_a: test\nx::y::live_b: test\nx::alive_c: test\nlive_d: bench\nz: test\n\
                      x::live_e::f: test\nlive_e::f: test\nlive_g::f: test\n";
        let names: Vec<String> = live_names(listed).into_iter().collect();
        assert_eq!(names, ["live_a", "live_b", "live_e::f", "live_g::f"]);
    }
}
