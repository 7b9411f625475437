//! Debian packages.
//!
//! Invariant: while packages are installed, `policy-rc.d` forbids that services start, and a service
//! that comes with a package is disabled again; the policy file is removed if it was ours.

use crate::shell;
use anyhow::{Context, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const OS_RELEASE: &str = "/etc/os-release";
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// What starts with the machine.
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants";
/// Packages that bring a service, and its name.
const WITH_SERVICE: [(&str, &str); 8] = [
    ("frr", "frr"),
    ("bird2", "bird"),
    ("gobgpd", "gobgpd"),
    ("exabgp", "exabgp"),
    ("openbgpd", "openbgpd"),
    ("nats-server", "nats-server"),
    ("redis-server", "redis-server"),
    ("postgresql", "postgresql"),
];

/// This machine runs Debian or something derived from it that has apt.
pub(crate) fn is_debian() -> bool {
    std::fs::read_to_string(OS_RELEASE).is_ok_and(|text| names_debian(&text))
        && Path::new("/usr/bin/apt-get").exists()
}

fn names_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"))
        .any(|(_, value)| value.trim_matches('"').split(' ').any(|word| word == "debian"))
}

/// Those of `packages` that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages.iter().copied().filter(|package| !is_installed(package)).collect()
}

/// The version of an installed package.
pub(crate) fn version(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Version}", package]);
    shell::output(&mut query).ok().filter(|version| !version.is_empty())
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status}", package]);
    shell::output(&mut query).is_ok_and(|status| status == "installed")
}

/// Installs packages without recommendations and without starting anything.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let _policy = NoStart::begin()?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        command
    };
    shell::run(apt().arg("update")).context("refresh the package lists: is there a network?")?;
    shell::run(
        apt().args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages),
    )
    .context("install packages: does this release of Debian have them?")?;
    for (_, service) in WITH_SERVICE.iter().filter(|(package, _)| packages.contains(package)) {
        disable(service)?;
    }
    Ok(())
}

/// Takes back what the package's installation enabled. It does so even where systemd is not
/// installed, by a link that a later systemd would follow.
fn disable(service: &str) -> Result<()> {
    if !Path::new("/usr/bin/systemctl").exists() {
        let link = Path::new(WANTED).join(format!("{service}.service"));
        if link.is_symlink() {
            std::fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
        }
        return Ok(());
    }
    let mut command = Command::new("systemctl");
    command.arg("disable");
    if Path::new("/run/systemd/system").exists() {
        command.arg("--now");
    }
    shell::run(command.arg(service)).with_context(|| format!("take the start of {service} back"))
}

/// Forbids service starts for as long as it lives.
struct NoStart {
    ours: bool,
}

impl NoStart {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            println!("set-up: {POLICY} is there already and stays in force");
            return Ok(Self { ours: false });
        }
        // Exit code 101: the action is forbidden by policy (invoke-rc.d(8)).
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .and_then(|()| std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("forbid service starts by {POLICY}"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoStart {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("remove {POLICY}: {error}: services cannot start until it is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::names_debian;

    #[test]
    fn debian_and_its_derivatives_are_recognised() {
        for (text, expected) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", true),
            ("ID=ubuntu\nID_LIKE=debian\n", true),
            ("ID=mint\nID_LIKE=\"ubuntu debian\"\n", true),
            ("ID=fedora\nNAME=\"not debian\"\n", false),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", false),
            ("", false),
        ] {
            assert_eq!(names_debian(text), expected, "{text:?}");
        }
    }
}
