//! The laboratory tells the truth: its two witnesses agree, and FRR behaves as its timers say.

use edgelore_model::Span;
use edgelore_testkit::lab::{
    BFD_INTERVAL_MS, BFD_MULTIPLIER, Ground, Network, Recorder, SCENARIOS, Site, Truth, Viewpoint,
    Ways, agree, play,
};
use edgelore_testkit::{NetNs, live, remove_stale, scratch, wait_for};
use std::process::{Child, Command};
use std::time::Duration;

/// How far the lost packets and the FIB may disagree.
const WITNESSES_APART_MAX: Span = Span::from_millis(100);

fn check(truth: &Truth, at_least_ms: i64, at_most_ms: i64) {
    let (shortest, estimate, longest) = truth.duration();
    println!(
        "fib {} ms (injection took {} us), packets {} ms ({} lost)",
        estimate.millis(),
        (longest.0 - shortest.0) / 1000,
        truth.outage.duration().millis(),
        truth.outage.lost
    );
    assert!(shortest <= estimate && estimate <= longest);
    assert!((at_least_ms..=at_most_ms).contains(&estimate.millis()), "{estimate:?}");
    agree(truth.outage, estimate, WITNESSES_APART_MAX).expect("the two witnesses agree");
}

/// nsenter has entered once its namespace is not ours.
fn wait_until_inside(child: &Child) {
    let inside = || {
        let link = std::fs::read_link(format!("/proc/{}/ns/net", child.id())).ok();
        link != std::fs::read_link("/proc/self/ns/net").ok()
    };
    wait_for(Duration::from_secs(10), "nsenter", inside).expect("nsenter enters");
}

#[test]
fn live_lab_truth() {
    if !live("live_lab_truth") {
        return;
    }
    let mut network = Network::build(Site::new("truth", 77)).unwrap();
    network.start_routing().unwrap();
    // The hold timer (9 s) runs from the last keepalive, at most 3 s before the failure.
    check(&network.fail_primary().unwrap(), 5_900, 9_500);
    network.repair_primary().unwrap();
    network.tune_bfd(BFD_INTERVAL_MS, BFD_MULTIPLIER).unwrap();
    // RFC 5880, 6.8.7: intervals are jittered by up to a quarter; detection after three of them.
    check(&network.fail_primary().unwrap(), 500, 1_100);
}

#[test]
fn live_a_scenario_is_recorded_with_its_truth() {
    if !live("live_a_scenario_is_recorded_with_its_truth") {
        return;
    }
    let scenario = SCENARIOS.iter().find(|one| one.name == "bgp-bfd300-silent").unwrap();
    let directory = scratch("scenario").unwrap();
    let file = directory.path().join("bridge.pcapng");
    let mut ground = Ground::build("scenario", scenario.routing, scenario.bfd).unwrap();
    let (bridge, ports) = ground.bridge();
    let recorder = Recorder::start(bridge, ports, Ways::Incoming, &file).unwrap();
    ground.start().unwrap();
    let truth = play(scenario, &mut ground).unwrap();
    let recorded = recorder.finish().unwrap();
    // Two OPENs, 200 prefixes, and BFD at three packets a second and more for some seconds.
    assert!(recorded.packets > 50, "{recorded:?}");
    let written = std::fs::metadata(&file).unwrap().len();
    assert!(written > recorded.packets * 60, "{written} bytes, {recorded:?}");
    assert_eq!(truth.incidents.len(), 1);
    let silence = &truth.incidents[0];
    assert_eq!(silence.prefixes.count(), 200);
    // Three intervals of 300 ms, jittered by up to a quarter, and the routes' installation.
    let (shortest, longest) = silence.duration().unwrap();
    assert!((500..=2_000).contains(&shortest.millis()), "{shortest:?}");
    assert!((longest.0 - shortest.0) < 50_000_000, "{shortest:?} to {longest:?}");
    assert!(silence.sights[&Viewpoint::Router].end);
}

#[test]
fn live_namespaces_vanish_with_what_runs_in_them() {
    if !live("live_namespaces_vanish_with_what_runs_in_them") {
        return;
    }
    let namespace = NetNs::new("vanish").unwrap();
    let path = namespace.path();
    let mut child = namespace.command("sleep").arg("600").spawn().unwrap();
    wait_until_inside(&child);
    assert!(path.exists());
    drop(namespace);
    assert!(!path.exists());
    assert!(!child.wait().unwrap().success(), "it was ended, it did not finish");
}

#[test]
fn live_what_a_killed_run_left_is_removed() {
    if !live("live_what_a_killed_run_left_is_removed") {
        return;
    }
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let name = format!("el_{}_left", ended.id());
    let made = Command::new("ip").args(["netns", "add", &name]).status().unwrap();
    assert!(made.success());
    let namespace = std::path::Path::new("/run/netns").join(&name);
    let mut child = Command::new("nsenter")
        .arg(format!("--net={}", namespace.display()))
        .args(["sleep", "600"])
        .spawn()
        .unwrap();
    wait_until_inside(&child);
    let directory = std::env::temp_dir().join(format!("{name}_directory"));
    std::fs::create_dir(&directory).unwrap();
    let kept = NetNs::new("kept").unwrap();
    remove_stale().unwrap();
    assert!(!namespace.exists() && !directory.exists());
    assert!(kept.path().exists(), "a living run's namespace stays");
    assert!(!child.wait().unwrap().success());
}
