//! The command line as a script uses it: exit codes, JSON, errors that say where and why.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod served;

use serde_json::Value;
use served::Server;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn edgelore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgelore"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_edgelore"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error_of(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_summary_is_one_object_with_every_count() {
    let capture = fixture("captures/mrtparse.bird-mrtdump_bgp.mrt");
    let summary = json(&edgelore(&["decode", text(&capture), "--summary"]));
    assert_eq!(summary["bgp"]["update"], 6);
    assert_eq!(summary["bgp"]["route_refresh"], 1);
    assert_eq!(summary["prefixes"]["ipv4_announced"], 12);
    for (group, names) in [
        ("bgp", &["open", "update", "notification", "keepalive", "route_refresh"][..]),
        ("prefixes", &["ipv4_announced", "ipv4_withdrawn", "ipv6_announced", "ipv6_withdrawn"]),
        ("bfd", &["up", "down", "init", "admin_down"]),
    ] {
        for name in names {
            assert!(summary[group][name].is_u64(), "{group}.{name}");
        }
    }
    for name in ["streams", "gaps", "undecodable"] {
        assert!(summary[name].is_u64(), "{name}");
    }
}

#[test]
fn a_file_that_is_no_capture_is_refused_by_name() {
    let vectors = fixture("outcome_hash.jsonl");
    let error = error_of(edgelore(&["decode", text(&vectors), "--summary"]));
    assert!(error.contains("outcome_hash.jsonl") && error.contains("neither pcap"), "{error}");
    assert!(error_of(edgelore(&["decode", "/nonexistent"])).contains("/nonexistent"));
    assert_eq!(edgelore(&["decode"]).status.code(), Some(2), "wrong usage");
}

#[test]
fn fingerprints_equal_the_reference_line_by_line() {
    let vectors = std::fs::read_to_string(fixture("outcome_hash.jsonl")).unwrap();
    let vectors: Vec<Value> =
        vectors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let packets: String = vectors.iter().map(|v| format!("{}\n", v["packet"])).collect();
    let expected: String =
        vectors.iter().map(|v| format!("{}\n", v["outcome_hash"].as_str().unwrap())).collect();
    let output = with_input(&["fingerprint"], &packets);
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let error = error_of(with_input(&["fingerprint"], "{\"topology_class\": 3}\n"));
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn a_replay_gives_the_same_incidents_with_one_worker_and_many() {
    let files = ["rrc00.updates.20000102.2014.gz", "rrc03.updates.20100227.1600.first796.gz"]
        .map(|name| fixture("captures").join(name));
    let run = |workers: &str| {
        let files = [text(&files[0]), text(&files[1])];
        json(&edgelore(&["replay", files[0], files[1], "--workers", workers, "--json"]))
    };
    let one = run("1");
    assert!(!one["incidents"].as_array().unwrap().is_empty());
    assert_eq!(one["summary"]["bgp"]["update"], 3_818 + 768);
    for workers in ["2", "3"] {
        assert_eq!(one, run(workers), "{workers} workers");
    }
}

#[test]
fn a_file_that_was_cut_is_a_finding_and_a_table_dump_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixture("captures/tcpdump.bfd-multihop.pcap")).unwrap();
    let cut = directory.path().join("cut.pcap");
    std::fs::write(&cut, &whole[..whole.len() - 5]).unwrap();
    for command in [&["decode", "--summary"][..], &["replay", "--json"]] {
        let arguments = [&command[..1], &[text(&cut)], &command[1..]].concat();
        let output = edgelore(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("cut.pcap") && said.contains("ends within a record"), "{said}");
        let value = json(&output);
        let summary = if command[0] == "decode" { &value } else { &value["summary"] };
        assert_eq!((&summary["bfd"]["up"], &summary["undecodable"]), (&39.into(), &1.into()));
    }
    let table = fixture("captures/bgpdump.bview.ipv4_unicast_add_path.gz");
    let output = edgelore(&["decode", text(&table)]);
    assert!(output.status.success() && output.stdout.is_empty(), "a dump is no observation");
    let summary = json(&edgelore(&["decode", text(&table), "--summary"]));
    let expected = serde_json::json!({"peers": 3, "prefixes": 31, "entries": 62});
    assert_eq!(summary["table"], expected);
}

#[test]
fn a_replay_keeps_the_pace_it_is_given() {
    let capture = fixture("captures/tcpdump.bfd-multihop.pcap");
    let run = |pace: &str| json(&edgelore(&["replay", text(&capture), "--json", "--pace", pace]));
    assert_eq!(run("1000x"), run("max"));
    for wrong in ["fast", "0x", "-1x"] {
        let output = edgelore(&["replay", text(&capture), &format!("--pace={wrong}")]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn an_interrupted_replay_reports_what_it_read() {
    // A capture of minutes at the pace of the wire: it does not end by itself in time.
    let capture = fixture("captures/rrc00.updates.20000102.2014.gz");
    let replay = Command::new(env!("CARGO_BIN_EXE_edgelore"))
        .args(["replay", text(&capture), "--json", "--pace", "0.001x"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let pid = replay.id().to_string();
    // It catches the signal from when it reads its file on.
    let deadline = Instant::now() + Duration::from_secs(60);
    let reads = |link: std::fs::DirEntry| {
        std::fs::read_link(link.path()).is_ok_and(|p| p.ends_with("rrc00.updates.20000102.2014.gz"))
    };
    while !std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().any(reads) {
        assert!(Instant::now() < deadline, "the file is never opened");
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(asked.success());
    let output = replay.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    assert!(json(&output)["summary"]["bgp"]["update"].as_u64().unwrap() < 3_818);
}

#[test]
fn a_command_for_a_node_that_does_not_run_says_so() {
    let nowhere = tempfile::tempdir().unwrap();
    let error = error_of(edgelore(&["incidents", "--data", text(nowhere.path())]));
    assert!(error.contains("no node is running"), "{error}");
}

#[test]
fn a_store_that_others_could_reach_needs_a_token() {
    let store = tempfile::tempdir().unwrap();
    let error =
        error_of(edgelore(&["serve", "--listen", "0.0.0.0:0", "--store", text(store.path())]));
    assert!(error.contains("needs tokens or a CA"), "{error}");
}

#[test]
fn a_configuration_is_checked_without_running() {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("edgelore.toml");
    std::fs::write(&config, "[capture]\ninterfaces = ['uplink0']\n").unwrap();
    assert!(edgelore(&["run", "--config", text(&config), "--check"]).status.success());
    std::fs::write(&config, "[capture]\nintrfaces = ['uplink0']\n").unwrap();
    let error = error_of(edgelore(&["run", "--config", text(&config), "--check"]));
    assert!(error.contains("intrfaces") && error.contains("line 2"), "{error}");
}

/// The reference's own example: asked with 300 s and 6,000 prefixes, answered from 340 s and 8,200.
#[test]
fn the_reference_example_is_published_found_and_advised() {
    let scratch = tempfile::tempdir().unwrap();
    let key = scratch.path().join("key");
    assert!(edgelore(&["keygen", "--out", text(&key)]).status.success());
    let server = Server::start(&["--store", text(&scratch.path().join("store"))]);
    let vectors = std::fs::read_to_string(fixture("outcome_hash.jsonl")).unwrap();
    let first: Value = serde_json::from_str(vectors.lines().next().unwrap()).unwrap();
    let publish = |extra: &[&str]| {
        let mut arguments = vec!["publish", "-", "--store", &server.url, "--key", text(&key)];
        arguments.extend(extra);
        with_input(&arguments, &format!("{}\n", first["packet"]))
    };
    let shown = publish(&["--dry-run"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("bytes       d284") && shown.contains("notation    18([<<{1: -8"),
        "{shown}"
    );
    let stored = json(&publish(&[]));
    assert!(stored["bytes"].as_u64().unwrap() <= 512);
    assert_eq!((&stored["truncated"], &stored["new"]), (&Value::Bool(false), &Value::Bool(true)));

    let situation =
        ["--severity", "300000", "--prefixes", "6000", "--topology-class", "spine_leaf"];
    for pattern in [&[][..], &["--pattern", "bfd_tuning"]] {
        let mut arguments = vec!["query", "--store", &server.url, "--radius", "3", "--json"];
        arguments.extend(["--protocol", "bgp", "--event-type", "convergence"]);
        arguments.extend(situation);
        arguments.extend(pattern);
        let found = json(&edgelore(&arguments));
        assert_eq!(found.as_array().unwrap().len(), 1, "{pattern:?}");
        assert_eq!(found[0]["packet_id"], stored["packet_id"]);
    }
    let mut arguments = vec!["advise", "--store", &server.url, "--json"];
    arguments.extend(situation);
    let report = json(&edgelore(&arguments));
    assert_eq!(report["advice"][0]["pattern"], "bfd_tuning");
    assert_eq!(report["advice"][0]["steps"].as_array().unwrap().len(), 4);
}
