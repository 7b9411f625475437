//! Which crate may depend on which: the arrows of ARCHITECTURE.md.
//!
//! Invariant: a crate of the workspace that has no rule is itself a violation.

use super::Violation;
use crate::shell;
use anyhow::{Context, Result};
use serde::Deserialize;

/// What one crate may have among its dependencies (those of its tests apart).
struct Rule {
    name: &'static str,
    /// The crates of this workspace that it may depend on.
    may: &'static [&'static str],
    /// Foreign crates that it must not depend on.
    never: &'static [&'static str],
}

const IO: &[&str] = &["tokio", "redb", "aya", "nix", "axum", "reqwest", "anyhow"];
const NO_ANYHOW: &[&str] = &["anyhow"];

const RULES: [Rule; 13] = [
    Rule { name: "edgelore-events", may: &[], never: IO },
    Rule { name: "edgelore-headers", may: &[], never: IO },
    Rule {
        name: "edgelore-programs",
        may: &["edgelore-events", "edgelore-headers"],
        never: NO_ANYHOW,
    },
    Rule { name: "edgelore-model", may: &[], never: IO },
    Rule { name: "edgelore-kernels", may: &[], never: IO },
    Rule {
        name: "edgelore-pipeline",
        may: &["edgelore-model", "edgelore-kernels", "edgelore-headers"],
        never: IO,
    },
    Rule {
        name: "edgelore-capture",
        may: &["edgelore-model", "edgelore-events", "edgelore-headers"],
        never: NO_ANYHOW,
    },
    Rule {
        name: "edgelore-routing",
        may: &["edgelore-model", "edgelore-pipeline", "edgelore-kernels"],
        never: &["anyhow", "aya", "axum"],
    },
    Rule {
        name: "edgelore-node",
        may: &[
            "edgelore-model",
            "edgelore-events",
            "edgelore-capture",
            "edgelore-pipeline",
            "edgelore-routing",
            "edgelore-kernels",
        ],
        never: NO_ANYHOW,
    },
    Rule {
        name: "edgelore",
        may: &[
            "edgelore-model",
            "edgelore-capture",
            "edgelore-pipeline",
            "edgelore-routing",
            "edgelore-node",
        ],
        never: &["aya", "axum"],
    },
    Rule { name: "edgelore-testkit", may: &["edgelore-model"], never: &["aya"] },
    Rule {
        name: "edgelore-bench",
        may: &[
            "edgelore-model",
            "edgelore-events",
            "edgelore-headers",
            "edgelore-capture",
            "edgelore-pipeline",
            "edgelore-routing",
            "edgelore-node",
            "edgelore-kernels",
            "edgelore-testkit",
        ],
        never: &[],
    },
    Rule { name: "xtask", may: &["edgelore-testkit", "edgelore-model"], never: &["aya", "tokio"] },
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Absent for an ordinary dependency, `dev` or `build` otherwise.
    kind: Option<String>,
}

pub(super) fn check() -> Result<Vec<Violation>> {
    let answer = shell::output(shell::cargo().args([
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--offline",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&answer).context("read cargo's metadata")?;
    let members: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    Ok(metadata.packages.iter().flat_map(|package| package_violations(package, &members)).collect())
}

fn package_violations(package: &Package, members: &[&str]) -> Vec<Violation> {
    let manifest = std::path::Path::new(&package.manifest_path);
    let file = manifest.strip_prefix(shell::root()).unwrap_or(manifest);
    let Some(rule) = RULES.iter().find(|rule| rule.name == package.name) else {
        return vec![Violation::new(
            file,
            1,
            format!("no rule says what {} may use", package.name),
        )];
    };
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .filter(|dependency| !rule.allows(&dependency.name, members))
        .map(|dependency| {
            let reason = format!("{} must not depend on {}", package.name, dependency.name);
            Violation::new(file, line_of(&text, &dependency.name), reason)
        })
        .collect()
}

impl Rule {
    fn allows(&self, dependency: &str, members: &[&str]) -> bool {
        if members.contains(&dependency) {
            return self.may.contains(&dependency);
        }
        // `aya` stands for its family too, `tokio` likewise.
        !self.never.iter().any(|never| {
            dependency
                .strip_prefix(never)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    manifest.lines().position(|line| line.starts_with(dependency)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(name: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let package = Package {
            name: name.to_owned(),
            manifest_path: "nowhere/Cargo.toml".to_owned(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                })
                .collect(),
        };
        let members: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        package_violations(&package, &members).into_iter().map(|v| v.reason).collect()
    }

    #[test]
    fn the_core_stays_pure() {
        assert_eq!(
            reasons("edgelore-pipeline", &[("edgelore-model", None), ("serde", None)]).len(),
            0
        );
        assert_eq!(
            reasons("edgelore-pipeline", &[("tokio", None), ("edgelore-routing", None)]).len(),
            2
        );
        assert_eq!(reasons("edgelore-pipeline", &[("tokio-util", None)]).len(), 1);
        assert_eq!(reasons("edgelore-pipeline", &[("tokio", Some("dev"))]).len(), 0, "a test may");
        assert_eq!(reasons("edgelore-capture", &[("edgelore-pipeline", None)]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_rule_is_noticed() {
        assert_eq!(reasons("edgelore-new", &[]).len(), 1);
    }
}
