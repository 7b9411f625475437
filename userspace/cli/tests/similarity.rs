//! `similar`, `similarity` and `packet`, as an architect uses them: the binary, files, and a store that
//! is served.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod served;

use serde_json::Value;
use served::Server;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const DEFAULT: &str = include_str!("../../pipeline/src/fingerprint/similarity.toml");

fn edgelore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgelore")).args(arguments).output().unwrap()
}

fn with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_edgelore"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(output: Output) -> Value {
    serde_json::from_str(&said(output)).unwrap()
}

fn error_of(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An outcome as a JSON line, with a severity and a topology class.
fn outcome(topology: &str, severity: u64) -> String {
    let created = std::time::SystemTime::now();
    let created = created.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() * 1_000_000_000;
    serde_json::json!({
        "situation": {
            "topology_class": topology, "protocol": "bgp", "event_type": "convergence",
            "severity": severity, "affected_prefixes": 8200, "node_count": 96,
        },
        "resolution": {
            "pattern": "bfd_tuning", "known": "measured",
            "steps": ["Reduced BFD multiplier from 5 to 3 across fabric"],
        },
        "before": severity, "after": 900, "convergence_delta_ms": severity - 900,
        "sample_size": 3, "created": created, "expires": created + 80 * 86_400_000_000_000_u64,
        "method": [1, 2, 3, 4, 5, 6, 7, 8], "parents": [], "supersedes": null, "revokes": null,
    })
    .to_string()
}

#[test]
fn a_distance_is_told_field_by_field() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("outcome.json");
    std::fs::write(&file, outcome("clos_5stage", 340_000)).unwrap();
    let asked = "topology_class=spine_leaf,protocol=bgp,severity=300000";
    let told = json(edgelore(&["similar", asked, text(&file), "--json"]));
    assert_eq!(told["distance"], 2_500 + 181);
    assert_eq!(told["within_default_radius"], true);
    assert_eq!(told["fields"][0]["distance"], 2_500);
    assert_eq!(told["fields"][0]["reason"], "2 edges of 1250: by fabric");
    assert_eq!(told["fields"][2]["reason"], "left open");
    assert!(told["addresses"].is_null(), "an open field has no address");
    let shown = said(edgelore(&["similar", text(&file), text(&file)]));
    assert!(shown.contains("0.000  within the default radius of 3.000"), "{shown}");
    assert!(shown.contains("share 128 bits"), "{shown}");
    let error = error_of(edgelore(&["similar", "severity=much", text(&file)]));
    assert!(error.contains("severity: 'much'"), "{error}");
}

#[test]
fn a_definition_is_checked_and_a_fault_has_its_line() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("similarity.toml");
    std::fs::write(&file, DEFAULT).unwrap();
    let checked = json(edgelore(&["similarity", "check", text(&file), "--json"]));
    let shipped = json(edgelore(&["similarity", "check", "default", "--json"]));
    assert_eq!(checked, shipped);
    assert_eq!(checked["space"].as_str().unwrap().len(), 64);
    std::fs::write(&file, DEFAULT.replace("weight = 250", "weight = -3")).unwrap();
    let error = error_of(edgelore(&["similarity", "check", text(&file)]));
    assert!(error.contains("similarity.toml") && error.contains("line 51"), "{error}");
}

/// Three stored outcomes; the new definition brings two of them together and renames a branch.
#[test]
fn what_a_change_does_to_stored_outcomes_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let (key, new) = (scratch.path().join("key"), scratch.path().join("new.toml"));
    assert!(edgelore(&["keygen", "--out", text(&key)]).status.success());
    let server = Server::start(&["--store", text(&scratch.path().join("store"))]);
    let lines = [("spine_leaf", 4_000), ("spine_leaf", 40_000), ("metro_ring", 4_000)];
    let lines = lines.map(|(topology, severity)| outcome(topology, severity)).join("\n");
    let publish = ["publish", "-", "--store", &server.url, "--key", text(&key)];
    let ids: Vec<String> = said(with_input(&publish, lines.as_bytes()))
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["packet_id"].as_str().unwrap().into()
        })
        .collect();
    assert_eq!(ids.len(), 3);
    let changed = DEFAULT
        .replace("weight = 1000\nscale = \"log2\"", "weight = 500\nscale = \"log2\"")
        .replace("ring = [", "circle = [");
    std::fs::write(&new, changed).unwrap();
    let diff = ["similarity", "diff", "default", text(&new), "--store", &server.url];
    let told = json(edgelore(&[&diff[..], &["--json"]].concat()));
    assert_eq!(told["removed"][0], "severity log2 1000");
    assert!(told["added"].as_array().unwrap().contains(&"severity log2 500".into()));
    assert_eq!(
        (&told["stored"]["outcomes"], &told["stored"]["limited"]),
        (&3.into(), &false.into())
    );
    let changes = told["stored"]["changed"].as_array().unwrap();
    let of = |id: &String| changes.iter().find(|change| change["packet_id"] == **id).unwrap();
    assert_eq!(of(&ids[0])["gained"], serde_json::json!([ids[1]]));
    assert_eq!(of(&ids[1])["gained"], serde_json::json!([ids[0]]));
    assert!(of(&ids[0])["moved"].is_null());
    let moved = of(&ids[2])["moved"].as_array().unwrap();
    assert!(moved[0].as_str().unwrap().starts_with("ring/metro_ring/bgp/"), "{moved:?}");
    assert!(moved[1].as_str().unwrap().starts_with("circle/metro_ring/bgp/"), "{moved:?}");
    let shown = said(edgelore(&diff));
    assert!(shown.contains("3 of 3 stored outcomes are affected"), "{shown}");
    let same = said(edgelore(&["similarity", "diff", "default", "default"]));
    assert!(same.contains("both say the same"), "{same}");
}

#[test]
fn a_server_and_its_clients_use_a_definition_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let (key, own) = (scratch.path().join("key"), scratch.path().join("own.toml"));
    assert!(edgelore(&["keygen", "--out", text(&key)]).status.success());
    std::fs::write(&own, DEFAULT.replace("weight = 250", "weight = 0")).unwrap();
    let store = scratch.path().join("store");
    let server = Server::start(&["--store", text(&store), "--similarity", text(&own)]);
    let publish = ["publish", "-", "--store", &server.url, "--key", text(&key)];
    let line = outcome("spine_leaf", 4_000);
    let error = error_of(with_input(&publish, line.as_bytes()));
    assert!(error.contains("similarity definition"), "{error}");
    let publish = [&publish[..], &["--similarity", text(&own)]].concat();
    assert!(with_input(&publish, line.as_bytes()).status.success());
    let query = ["query", "--store", &server.url, "--similarity", text(&own), "--radius", "0"];
    let query = [&query[..], &["--severity", "4000", "--nodes", "5", "--json"]].concat();
    assert_eq!(json(edgelore(&query)).as_array().unwrap().len(), 1, "nodes weigh nothing");
    let config = scratch.path().join("edgelore.toml");
    std::fs::write(&config, format!("[similarity]\ndefinition = '{}'\n", own.display())).unwrap();
    assert!(edgelore(&["run", "--config", text(&config), "--check"]).status.success());
    std::fs::write(&own, DEFAULT.replace("version = 1", "version = 9")).unwrap();
    let error = error_of(edgelore(&["run", "--config", text(&config), "--check"]));
    assert!(error.contains("own.toml") && error.contains("line 14"), "{error}");
}

#[test]
fn a_packet_is_taken_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let key = scratch.path().join("key");
    assert!(edgelore(&["keygen", "--out", text(&key)]).status.success());
    let store = format!("embedded:{}", scratch.path().join("store").display());
    let dry = ["publish", "-", "--store", &store, "--key", text(&key), "--dry-run", "--json"];
    let shown = json(with_input(&dry, outcome("spine_leaf", 4_000).as_bytes()));
    let packet = shown["packet"].as_str().unwrap();
    let told = json(with_input(&["packet", "inspect", "-", "--json"], packet.as_bytes()));
    assert!(told["refused"].is_null());
    assert_eq!(told["bytes"].as_u64().unwrap() + told["left"].as_u64().unwrap(), 512);
    let file = scratch.path().join("packet");
    let mut bytes: Vec<u8> = packet
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect();
    std::fs::write(&file, &bytes).unwrap();
    let shown = said(edgelore(&["packet", "inspect", text(&file)]));
    assert!(shown.contains("topology_class") && shown.contains("spine_leaf"), "{shown}");
    assert!(shown.contains("valid: the signature verifies"), "{shown}");
    let same = json(edgelore(&["similar", text(&file), text(&file), "--json"]));
    assert_eq!(same["distance"], 0);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let shown = said(edgelore(&["packet", "inspect", text(&file)]));
    assert!(shown.contains("refused: packet signature does not verify"), "{shown}");
}
