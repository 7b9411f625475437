//! `edgelore trust` beside a server that runs: what the operator says holds at once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod served;

use edgelore_testkit::wait_for;
use serde_json::{Value, json};
use served::Server;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

struct Lab {
    // Ends before its directory goes.
    server: Server,
    directory: tempfile::TempDir,
    store: String,
}

fn edgelore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgelore")).args(arguments).output().unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Lab {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store").to_str().unwrap().to_owned();
        let server = Server::start(&[&["--store", &store], arguments].concat());
        Self { server, directory, store }
    }

    /// A new key; its file and its publisher's id.
    fn key(&self, name: &str) -> (String, String) {
        let path = self.directory.path().join(name).to_str().unwrap().to_owned();
        let made: Value =
            serde_json::from_str(&done(&edgelore(&["keygen", "--out", &path, "--json"]))).unwrap();
        (path, made["publisher"].as_str().unwrap().to_owned())
    }

    fn trust(&self, arguments: &[&str]) -> Output {
        edgelore(&[&["trust"], arguments, &["--data", &self.store]].concat())
    }

    /// Publishes an outcome that is told from others by its prefixes.
    fn publish(&self, key: &str, prefixes: u64) -> Output {
        let outcome = json!({
            "topology_class": "spine_leaf", "protocol": "bgp", "event_type": "convergence",
            "resolution_pattern": "bfd_tuning", "convergence_delta_ms": 340_000,
            "affected_prefixes": prefixes, "node_count": 96, "resolution_steps": [],
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_edgelore"))
            .args(["publish", "-", "--store", &self.server.url, "--key", key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{outcome}").unwrap();
        child.wait_with_output().unwrap()
    }

    fn found(&self) -> Vec<String> {
        let query = ["query", "--store", &self.server.url, "--json", "--radius", "30"];
        let found: Value = serde_json::from_str(&done(&edgelore(&query))).unwrap();
        let publishers = found.as_array().unwrap().iter();
        publishers.map(|one| one["publisher"].as_str().unwrap().to_owned()).collect()
    }

    fn list(&self) -> Value {
        serde_json::from_str(&done(&self.trust(&["list", "--json"]))).unwrap()
    }

    fn log(&self, arguments: &[&str]) -> Vec<Value> {
        let text = done(&self.trust(&[&["log", "--json"], arguments].concat()));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn who_is_blocked_is_out_at_once_and_back_when_forgotten() {
    let lab = Lab::start(&[]);
    let ((good, good_id), (bad, bad_id)) = (lab.key("good"), lab.key("bad"));
    done(&lab.publish(&good, 1_000));
    done(&lab.publish(&bad, 2_000));
    assert_eq!(lab.found().len(), 2);
    wait_for(DEADLINE, "both publishers in the roll", || {
        lab.list()["publishers"].as_array().unwrap().len() == 2
    })
    .unwrap();
    done(&lab.trust(&["block", &bad_id[..12], "--note", "lies"]));
    assert_eq!(lab.found(), [good_id.as_str()]);
    let told = failed(&lab.publish(&bad, 3_000));
    assert!(told.contains("publisher is blocked"), "{told}");
    done(&lab.publish(&good, 4_000));
    assert_eq!(lab.found().len(), 2, "nobody else is concerned");
    done(&lab.trust(&["unblock", &bad_id]));
    done(&lab.publish(&bad, 3_000));
    assert_eq!(lab.found().len(), 4);
    let refused = lab.log(&["--event", "refused"]);
    assert!(refused.iter().all(|line| line["publisher"] == json!(bad_id)), "{refused:?}");
    let via = |via: &str| refused.iter().filter(|line| line["via"] == json!(via)).count();
    assert!(via("store") == 1 && via("query") >= 1, "{refused:?}");
    let said = lab.log(&["--event", "trust"]);
    let said: Vec<&Value> = said.iter().map(|line| &line["reason"]).collect();
    assert_eq!(said, [&json!("blocked"), &json!("unknown")]);
    assert_eq!(lab.log(&["--event", "accepted"]).len(), 4);
    wait_for(DEADLINE, "the counters on disk", || {
        let counts = &lab.list()["counts"];
        counts["accepted"] == json!(4) && counts["refused.blocked"].as_u64() >= Some(2)
    })
    .unwrap();
    let shown = done(&lab.trust(&["show", &bad_id]));
    assert!(
        shown.contains("unknown") && shown.contains("its publisher is blocked here"),
        "{shown}"
    );
}

#[test]
fn an_allow_list_lets_in_who_is_named_in_full() {
    let lab = Lab::start(&["--only-known"]);
    let ((friend, friend_id), (stranger, _)) = (lab.key("friend"), lab.key("stranger"));
    let told = failed(&lab.publish(&stranger, 1_000));
    assert!(told.contains("not among those"), "{told}");
    wait_for(DEADLINE, "the stranger in the roll", || {
        !lab.list()["publishers"].as_array().unwrap().is_empty()
    })
    .unwrap();
    let seen = lab.list()["publishers"][0]["publisher"].as_str().unwrap().to_owned();
    let told = failed(&lab.trust(&["allow", &seen[..16]]));
    assert!(told.contains("whole id"), "{told}");
    let said = done(&lab.trust(&["pin", &friend_id, "--group", "friends"]));
    assert!(said.contains("is pinned"), "{said}");
    done(&lab.publish(&friend, 1_000));
    assert_eq!(lab.found(), [friend_id.as_str()]);
    let pinned = lab.list()["publishers"][0].clone();
    assert_eq!((&pinned["standing"], &pinned["group"]), (&json!("pinned"), &json!("friends")));
}

#[test]
fn what_cannot_be_said_is_refused_with_a_reason() {
    let lab = Lab::start(&[]);
    let (_, id) = lab.key("key");
    for (arguments, told) in [
        (vec!["pin", "abc"], "neither a publisher's id"),
        (vec!["block", "0123456789"], "no publisher"),
        (vec!["forget", &id], "nothing stands in the book"),
        (vec!["pin", &id, "--group", ""], "printable characters"),
        (vec!["pin", &id, "--note", "a\nb"], "printable characters"),
    ] {
        let error = failed(&lab.trust(&arguments));
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
    let nowhere = edgelore(&["trust", "pin", &id, "--data", "/nonexistent"]);
    assert!(failed(&nowhere).contains("/nonexistent"));
    assert!(lab.list()["publishers"].as_array().unwrap().is_empty());
}
