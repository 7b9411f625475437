//! The gate of live tests: they run as root, or are skipped where everyone can see it.
//!
//! Invariant: a live test leaves a trace, either a `SKIP` line on the terminal or its name in the
//! log that the test command checks afterwards.

use nix::unistd::geteuid;
use std::fs::OpenOptions;
use std::io::Write;

/// Set to `1`, a live test that cannot run fails instead of being skipped.
pub const REQUIRE_VARIABLE: &str = "EDGELORE_REQUIRE_LIVE_TESTS";

/// The file that receives the name of every live test that ran, one a line.
pub const LOG_VARIABLE: &str = "EDGELORE_LIVE_LOG";

/// True when the live test `name` may run: the process is root. Otherwise prints a `SKIP` line that
/// the test harness does not swallow, and returns false.
///
/// # Panics
/// When not root and [`REQUIRE_VARIABLE`] is `1`, or when the log cannot be written.
#[must_use]
pub fn live(name: &str) -> bool {
    if geteuid().is_root() {
        record(name);
        return true;
    }
    assert!(
        std::env::var_os(REQUIRE_VARIABLE).is_none_or(|value| value != "1"),
        "{name}: live tests are required but this process is not root"
    );
    // The harness captures `eprintln!`, not a direct write.
    let line = format!("SKIP {name}: needs root (network namespaces, eBPF)\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}

fn record(name: &str) {
    let Some(path) = std::env::var_os(LOG_VARIABLE) else { return };
    // One write per line: appends of this size do not interleave.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("append to {}: {error}", path.display()));
}
