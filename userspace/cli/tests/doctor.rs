//! `edgelore doctor` as an operator meets it: without the rights it needs, and on a gateway.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_testkit::{NetNs, live, scratch, veth};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

const EDGELORE: &str = env!("CARGO_BIN_EXE_edgelore");
/// `nobody`, by convention.
const NOBODY: u32 = 65534;

fn findings(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

fn of<'a>(findings: &'a [Value], severity: &str) -> Vec<&'a str> {
    findings
        .iter()
        .filter(|finding| finding["severity"] == severity)
        .map(|finding| finding["check"].as_str().unwrap())
        .collect()
}

/// The doctor without any rights, whoever runs the test.
fn unprivileged(directory: &Path, arguments: &[&str]) -> Output {
    let binary = directory.join("edgelore");
    if !binary.exists() {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a child that the other test forks while this one writes would keep the
        // file open for writing, and nobody could execute it.
        let mut install = Command::new("install");
        install.args(["-m", "755", EDGELORE]).arg(&binary);
        assert!(install.status().unwrap().success());
    }
    let mut command = Command::new(binary);
    command.arg("doctor").args(arguments).current_dir("/");
    if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
    {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

#[test]
fn without_rights_it_says_what_is_missing_and_fails() {
    let directory = scratch("doctor").unwrap();
    let config = directory.path().join("edgelore.toml");
    std::fs::write(&config, "[capture]\ninterfaces = ['lo', 'el_none']\n").unwrap();
    let config = config.to_str().unwrap();
    let output = unprivileged(directory.path(), &["--config", config, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&output);
    let problems = of(&found, "problem");
    for check in ["capabilities", "eBPF programs", "interface el_none"] {
        assert!(problems.contains(&check), "{check}: {problems:?}");
    }
    assert!(of(&found, "ok").contains(&"configuration"));
    for finding in found.iter().filter(|finding| finding["severity"] != "ok") {
        assert!(!finding["advice"].as_str().unwrap().is_empty(), "{finding}");
    }
    let text = unprivileged(directory.path(), &["--config", config]);
    assert_eq!(text.status.code(), Some(1));
    let table = String::from_utf8(text.stdout).unwrap();
    assert!(table.contains("PROBLEM  capabilities"), "{table}");
    assert!(String::from_utf8(text.stderr).unwrap().contains("problems found"));
}

#[test]
fn a_wrong_configuration_is_a_finding_among_others() {
    let directory = scratch("doctorc").unwrap();
    let output = unprivileged(directory.path(), &["--config", "/nonexistent.toml", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&output);
    assert!(of(&found, "problem").contains(&"configuration"));
    assert!(found.len() > 10, "{}", found.len());
}

#[test]
fn live_a_gateway_that_is_ready_has_no_problem() {
    if !live("live_a_gateway_that_is_ready_has_no_problem") {
        return;
    }
    let directory = scratch("doctorl").unwrap();
    let (gateway, peer) = (NetNs::new("dog").unwrap(), NetNs::new("dop").unwrap());
    veth((&gateway, "gw0"), (&peer, "peer0")).unwrap();
    let config = directory.path().join("edgelore.toml");
    let data = directory.path().join("data");
    std::fs::write(
        &config,
        format!("[node]\ndata_dir = '{}'\n[capture]\ninterfaces = ['gw0']\n", data.display()),
    )
    .unwrap();
    let examine = |arguments: &[&str]| {
        let mut command = gateway.command(EDGELORE);
        command.arg("doctor").arg("--config").arg(&config).arg("--json").args(arguments);
        command.output().unwrap()
    };
    let output = examine(&["--attach"]);
    let found = findings(&output);
    assert!(output.status.success(), "{found:?}");
    assert_eq!(of(&found, "problem"), Vec::<&str>::new());
    let says = |check: &str, text: &str| {
        found.iter().any(|finding| {
            finding["check"] == check && finding["found"].as_str().unwrap().contains(text)
        })
    };
    assert!(says("attachment", "gw0 XdpNative"), "{found:?}");
    assert!(says("attachment", "gw0 TcxEgress"), "{found:?}");
    assert!(says("tracepoints", "6 attach"), "{found:?}");
    assert!(!data.exists(), "nothing was made");
    let again = findings(&examine(&[]));
    assert!(
        again.iter().any(|finding| finding["found"]
            .as_str()
            .unwrap()
            .starts_with("no XDP program is attached")),
        "what was attached has been detached: {again:?}"
    );
}
