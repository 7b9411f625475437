//! The configuration read anew under a running node, and what the node leaves when it ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_testkit::{NetNs, Process, live, scratch, veth, wait_for};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const EDGELORE: &str = env!("CARGO_BIN_EXE_edgelore");
const PATIENCE: Duration = Duration::from_secs(30);

/// The names of the interfaces that the node speaks of.
fn interfaces(gateway: &NetNs, data: &Path) -> Vec<String> {
    let output = gateway.command(EDGELORE).arg("status").arg("--data").arg(data).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let interfaces = status["interfaces"].as_object();
    interfaces.map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

/// What the kernel says of the gateway's interfaces.
fn details(ns: &NetNs) -> String {
    let output = ns.command("ip").args(["-details", "link", "show"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn live_a_hangup_reads_the_configuration_anew() {
    if !live("live_a_hangup_reads_the_configuration_anew") {
        return;
    }
    let (gateway, peer) = (NetNs::new("rlg").unwrap(), NetNs::new("rlp").unwrap());
    veth((&gateway, "gw0"), (&peer, "p0")).unwrap();
    veth((&gateway, "gw1"), (&peer, "p1")).unwrap();
    let directory = scratch("reload").unwrap();
    let data = directory.path().join("data");
    let file = directory.path().join("edgelore.toml");
    let write = |capture: &str| {
        let text = format!("[node]\ndata_dir = {data:?}\n[capture]\n{capture}\n");
        std::fs::write(&file, text).unwrap();
    };
    write("interfaces = ['gw0']");
    let mut command = gateway.command(EDGELORE);
    command.arg("run").arg("--config").arg(&file);
    let log = directory.path().join("log");
    let mut node = Process::spawn("edgelore run", &mut command, &log).unwrap();
    let watches = |expected: &[&str]| {
        wait_for(PATIENCE, &format!("{expected:?} watched"), || {
            interfaces(&gateway, &data) == expected
        })
    };
    let hangup = || {
        let kill = format!("kill -HUP {}", node.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    };
    let said = |what: &str| {
        wait_for(PATIENCE, what, || std::fs::read_to_string(&log).unwrap().contains(what))
    };
    watches(&["gw0"]).unwrap();
    write("interfaces = ['gw*']\nring_bytes = 1048576");
    hangup();
    watches(&["gw0", "gw1"]).unwrap();
    said("capture.ring_bytes").unwrap();
    write("interfaces = ['gw[']");
    hangup();
    said("the new configuration is not used").unwrap();
    watches(&["gw0", "gw1"]).unwrap();
    write("interfaces = ['gw1']");
    hangup();
    watches(&["gw1"]).unwrap();
    let status = node.stop().unwrap();
    assert!(status.success(), "{status}: {}", node.log_tail());
    assert!(!details(&gateway).contains("xdp"), "nothing stays attached");
}
