//! Keys, revocation, privacy of what is published, and clients of the reference's kind: the command
//! line against a real server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod served;

use serde_json::{Value, json};
use served::Server;
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn edgelore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgelore")).args(arguments).output().expect("it starts")
}

fn done(output: Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A store that is served while it lives, with keys beside it.
struct Lab {
    // Ends before its directory goes.
    server: Server,
    directory: tempfile::TempDir,
}

impl Lab {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        let server = Server::start(&["--store", store.to_str().unwrap()]);
        Self { server, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn key(&self, name: &str) -> String {
        let path = self.path(name).to_str().unwrap().to_owned();
        if !Path::new(&path).exists() {
            let made = done(edgelore(&["keygen", "--out", &path, "--json"]));
            assert_eq!(made["publisher"].as_str().unwrap().len(), 64);
        }
        path
    }

    /// Publishes outcomes; what the command reports of each.
    fn publish(&self, outcomes: &[Value], arguments: &[&str]) -> Vec<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgelore"));
        command.args(["publish", "-", "--store", &self.server.url]).args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        outcomes.iter().for_each(|outcome| writeln!(input, "{outcome}").unwrap());
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    fn found(&self) -> Vec<Value> {
        let arguments =
            ["query", "--store", &self.server.url, "--json", "--protocol", "bgp", "--radius", "30"];
        done(edgelore(&arguments)).as_array().unwrap().clone()
    }

    fn votes(&self) -> u64 {
        let arguments = [
            "advise",
            "--store",
            &self.server.url,
            "--json",
            "--protocol",
            "bgp",
            "--radius",
            "30",
        ];
        let report = done(edgelore(&arguments));
        report["advice"].as_array().unwrap().iter().map(|one| one["votes"].as_u64().unwrap()).sum()
    }
}

/// The reference's example.
fn packet() -> Value {
    json!({
        "topology_class": "spine_leaf",
        "protocol": "bgp",
        "event_type": "convergence",
        "resolution_pattern": "bfd_tuning",
        "convergence_delta_ms": 340_000,
        "affected_prefixes": 8_249,
        "node_count": 96,
        "resolution_steps": ["Reduced BFD multiplier from 5 to 3 towards 192.0.2.1 (AS64500)"],
    })
}

#[test]
fn a_key_is_made_once_and_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let path = path.to_str().unwrap();
    let made = done(edgelore(&["keygen", "--out", path, "--json"]));
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(made["public_key"].as_str().unwrap().len(), 64);
    let secret = std::fs::read(path).unwrap();
    let refused = error_of(&edgelore(&["keygen", "--out", path]));
    assert!(refused.contains("never overwritten"), "{refused}");
    assert_eq!(std::fs::read(path).unwrap(), secret);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let arguments = ["publish", "/dev/null", "--key", path, "--dry-run"];
    let refused = error_of(&edgelore(&arguments));
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn a_dry_run_shows_the_bytes_that_leave_and_what_does_not() {
    let lab = Lab::start();
    let key = lab.key("key");
    let shown = lab.publish(&[packet()], &["--key", &key, "--dry-run", "--json"]);
    assert!(lab.found().is_empty(), "nothing was sent");
    let [shown] = shown.as_slice() else { panic!("{shown:?}") };
    let bytes = shown["packet"].as_str().unwrap();
    assert_eq!(shown["bytes"], bytes.len() / 2);
    let changed = shown["changed"].as_array().unwrap();
    let told: Vec<(&str, &str)> = changed
        .iter()
        .map(|one| (one["field"].as_str().unwrap(), one["rule"].as_str().unwrap_or("rounded")))
        .collect();
    assert_eq!(
        told,
        [("step 1", "address"), ("step 1", "as_number"), ("affected_prefixes", "rounded")]
    );
    assert_eq!((&changed[2]["from"], &changed[2]["to"]), (&json!(8_249), &json!(8_200)));
    let notation = shown["diagnostic"].as_str().unwrap();
    assert!(notation.contains("towards [address] ([asn])"), "{notation}");
    assert!(!notation.contains("192.0.2.1") && !notation.contains("64500"), "{notation}");

    // What a dry run of the same outcome shows is what leaves.
    let own = shown["outcome"].clone();
    let again = lab.publish(std::slice::from_ref(&own), &["--key", &key, "--dry-run", "--json"]);
    assert_eq!((&again[0]["packet"], &again[0]["changed"]), (&shown["packet"], &json!([])));
    let stored = lab.publish(&[own], &["--key", &key]);
    assert_eq!(stored[0]["packet_id"], shown["packet_id"]);
    let exact = ["--key", &key, "--dry-run", "--json", "--counts", "exact", "--allow", "192.0.2.*"];
    let exact = lab.publish(&[packet()], &exact);
    assert_eq!(exact[0]["outcome"]["situation"]["affected_prefixes"], 8_249);
    let step = exact[0]["outcome"]["resolution"]["steps"][0].as_str().unwrap();
    assert!(step.contains("192.0.2.1 ([asn])"), "{step}");
    let bucketed = lab.publish(
        &[packet()],
        &["--key", &key, "--dry-run", "--json", "--counts", "bucketed", "--hide", "fabric"],
    );
    let situation = &bucketed[0]["outcome"]["situation"];
    assert_eq!(
        (&situation["affected_prefixes"], &situation["node_count"]),
        (&json!(3_000), &json!(64))
    );
}

#[test]
fn an_outcome_is_taken_back_by_its_own_key_alone() {
    let lab = Lab::start();
    let (key, other) = (lab.key("key"), lab.key("other"));
    let mine = lab.publish(&[packet()], &["--key", &key])[0]["packet_id"].clone();
    let mine = mine.as_str().unwrap();
    let theirs = lab.publish(&[packet()], &["--key", &other])[0]["packet_id"].clone();
    assert_eq!((lab.found().len(), lab.votes()), (2, 2));
    let revoke = |key: &str, id: &str| {
        edgelore(&["revoke", id, "--key", key, "--store", &lab.server.url, "--json"])
    };
    let refused = error_of(&revoke(&other, mine));
    assert!(refused.contains("neither is nor succeeds"), "{refused}");
    let refused = error_of(&revoke(&key, &"0".repeat(64)));
    assert!(refused.contains("no packet"), "{refused}");
    assert_eq!(done(revoke(&key, mine))["revoked"], mine);
    let left = lab.found();
    let ids: Vec<&Value> = left
        .iter()
        .filter(|found| found["outcome"]["revokes"].is_null())
        .map(|found| &found["packet_id"])
        .collect();
    assert_eq!((ids, lab.votes()), (vec![&theirs], 1));
}

#[test]
fn a_key_is_succeeded_with_overlap_and_revoked_as_a_whole() {
    let lab = Lab::start();
    let old = lab.key("old");
    let first = lab.publish(&[packet()], &["--key", &old])[0]["packet_id"].clone();
    let new = lab.path("new").to_str().unwrap().to_owned();
    let rotated = edgelore(&[
        "keygen",
        "--rotate",
        &old,
        "--out",
        &new,
        "--store",
        &lab.server.url,
        "--json",
    ]);
    let rotated = done(rotated);
    assert_eq!(rotated["told"], true);
    assert!(Path::new(rotated["succession"].as_str().unwrap()).exists());

    // Both publish, and have one vote together.
    let mut later = packet();
    later["convergence_delta_ms"] = json!(300_000);
    let second = lab.publish(&[later], &["--key", &new])[0]["packet_id"].clone();
    assert_eq!((lab.found().len(), lab.votes()), (2, 1));

    // The new key may take back what the old one published.
    let id = first.as_str().unwrap();
    done(edgelore(&["revoke", id, "--key", &new, "--store", &lab.server.url, "--json"]));
    assert!(lab.found().iter().all(|found| found["packet_id"] != first));

    // With the old key gone as a whole the new one stands for itself.
    let gone = edgelore(&["revoke", "--all", "--key", &old, "--store", &lab.server.url, "--json"]);
    assert_eq!(done(gone)["new"], true);
    assert_eq!(lab.votes(), 1);
    let late = lab.path("late");
    std::fs::write(&late, packet().to_string()).unwrap();
    let late = late.to_str().unwrap();
    let refused = edgelore(&["publish", late, "--key", &old, "--store", &lab.server.url]);
    let told = error_of(&refused);
    assert!(told.contains("key was revoked"), "nothing of a revoked key is taken: {told}");
    let left: Vec<Value> = lab.found().iter().map(|found| found["packet_id"].clone()).collect();
    assert!(left.contains(&second) && !left.contains(&first), "{left:?}");
}

#[test]
fn what_too_few_share_is_kept_back_until_enough_do() {
    let lab = Lab::start();
    let publish = |key: &str| {
        let key = lab.key(key);
        lab.publish(&[packet()], &["--key", &key, "--k-anonymity", "3"]).remove(0)
    };
    let held = publish("mine");
    let reason = held["held"].as_str().unwrap();
    assert!(reason.starts_with("1 of 3 publishers known in fabric/bgp/convergence"), "{reason}");
    assert!(lab.found().is_empty());
    for (at, class) in ["fat_tree", "clos_3stage"].iter().enumerate() {
        let mut near = packet();
        near["topology_class"] = json!(class);
        let key = lab.key(&format!("other{at}"));
        lab.publish(&[near], &["--key", &key]);
    }
    let released = publish("mine");
    assert_eq!((&released["held"], &released["new"]), (&Value::Null, &json!(true)));
    let found = lab.found();
    let mine = found.iter().find(|found| found["packet_id"] == released["packet_id"]).unwrap();
    let situation = &mine["outcome"]["situation"];
    assert_eq!(situation["topology_class"], "fabric", "lifted as far as it took");
    assert_eq!((&situation["node_count"], &situation["severity"]), (&json!(0), &json!(262_144)));
    assert_eq!(mine["outcome"]["resolution"]["steps"], json!([]), "the operator's own words stay");
}

/// Python with its standard library alone; the set-up sees to it that it is there.
#[test]
fn a_python_program_publishes_and_asks_as_the_reference_does() {
    let lab = Lab::start();
    let key = lab.key("key");
    lab.publish(&[packet()], &["--key", &key]);
    let (mut near, mut far) = (packet(), packet());
    near["convergence_delta_ms"] = json!(300_000);
    near["affected_prefixes"] = json!(6_000);
    near["resolution_steps"] = json!(["Asked noc@example.net"]);
    far["protocol"] = json!("ospf");
    let packets = lab.path("packets.jsonl");
    std::fs::write(&packets, format!("{near}\n{far}\n")).unwrap();
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference_client.py");
    let output = Command::new("python3")
        .arg(client)
        .arg(&lab.server.url)
        .arg(&packets)
        .output()
        .expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let seen: Vec<(bool, i64)> = found
        .iter()
        .map(|one| (one["publisher"].is_string(), one["convergence_delta_ms"].as_i64().unwrap()))
        .collect();
    assert_eq!(seen, [(true, 340_000), (false, 300_000)], "signed first, then somebody's word");
    assert_eq!(found[1]["resolution_steps"], json!(["Asked [email]"]));

    // Nobody signed it: it is shown as evidence and does not vote.
    let arguments = ["advise", "--store", &lab.server.url, "--json", "--protocol", "bgp"];
    let report = done(edgelore(&arguments));
    let advice = &report["advice"][0];
    assert_eq!((&advice["pattern"], &advice["votes"]), (&json!("bfd_tuning"), &json!(1)));
    let votes: Vec<bool> = advice["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["votes"].as_bool().unwrap())
        .collect();
    assert_eq!(votes.iter().filter(|vote| **vote).count(), 1);
    assert_eq!(votes.len(), 2);
}
