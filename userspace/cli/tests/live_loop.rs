//! The node on a gateway between real routers: what it says of a failure is held against the truth.
//!
//! The whole story, with two networks and advice, is the demo's; this is its core, so that the
//! tests alone show whether the loop measures and distils.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_model::Outcome;
use edgelore_node::status::Status;
use edgelore_node::view::{DurationView, IncidentView};
use edgelore_testkit::lab::{BFD_INTERVAL_MS, BFD_MULTIPLIER, Network, Site, Truth};
use edgelore_testkit::{NetNs, Process, live, scratch, wait_for_some};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;

const EDGELORE: &str = env!("CARGO_BIN_EXE_edgelore");
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The estimate may be off by this, by a fiftieth, or by what its own bounds leave open.
const ERROR_MS_MAX: i64 = 50;

#[derive(Deserialize)]
struct Distilled {
    outcome: Outcome,
    packet_bytes: usize,
}

/// What a command prints as JSON; `None` while it fails.
fn ask<T: DeserializeOwned>(gateway: &NetNs, command: &str, data: &Path) -> Option<T> {
    let mut asked = gateway.command(EDGELORE);
    let output = asked.arg(command).arg("--data").arg(data).arg("--json").output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
}

/// Waits for the incident with this number, and holds it against the truth.
fn check(gateway: &NetNs, data: &Path, number: usize, truth: &Truth, prefixes: usize) {
    let incident = wait_for_some(ANSWER_DEADLINE, "the incident", || {
        let incidents: Vec<IncidentView> = ask(gateway, "incidents", data)?;
        incidents.into_iter().nth(number)
    })
    .unwrap();
    let (shortest, actual, longest) = truth.duration();
    let DurationView { earliest, estimate, latest } =
        incident.duration_ms.expect("the gateway's own table shows the end");
    println!("truth {} ms, measured {estimate} ms [{earliest} .. {latest}]", actual.millis());
    assert_eq!(incident.event, "convergence");
    assert_eq!(incident.prefixes, prefixes);
    assert!(shortest.millis() <= latest && earliest <= longest.millis());
    // A router that has to wait for a processor is heard late, and the bounds say so.
    let (error, vague) = ((estimate - actual.millis()).abs(), latest - earliest);
    assert!((earliest..=latest).contains(&estimate));
    assert!(error <= ERROR_MS_MAX.max(actual.millis() / 50).max(vague), "{error} ms off");
}

#[test]
fn live_a_gateway_measures_failures_and_distils_the_change_between_them() {
    if !live("live_a_gateway_measures_failures_and_distils_the_change_between_them") {
        return;
    }
    let directory = scratch("loop").unwrap();
    let data = directory.path().join("data");
    let mut network = Network::build(Site::new("loop", 78)).unwrap();
    let prefixes = usize::from(network.site().prefixes);
    let config = directory.path().join("edgelore.toml");
    let interfaces = network.uplinks().map(|name| format!("{name:?}")).join(", ");
    let text = format!(
        "[node]\ndata_dir = {data:?}\n[capture]\ninterfaces = [{interfaces}]\n\
         [detect.convergence]\nquiet_ms = 1000\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = network.gateway().command(EDGELORE);
    command.arg("run").arg("--config").arg(&config);
    let log = directory.path().join("log");
    let mut node = Process::spawn("edgelore run", &mut command, &log).unwrap();
    network.start_routing().unwrap();

    let slow = network.fail_primary().unwrap();
    check(network.gateway(), &data, 0, &slow, prefixes);
    network.repair_primary().unwrap();
    network.tune_bfd(BFD_INTERVAL_MS, BFD_MULTIPLIER).unwrap();
    let fast = network.fail_primary().unwrap();
    check(network.gateway(), &data, 1, &fast, prefixes);

    let distilled: Vec<Distilled> = ask(network.gateway(), "outcomes", &data).unwrap();
    assert_eq!(distilled.len(), 1);
    assert_eq!(distilled[0].outcome.resolution.pattern, "bfd_tuning");
    assert!(distilled[0].outcome.after < distilled[0].outcome.before);
    assert!(distilled[0].packet_bytes <= 512);
    let mut asked = network.gateway().command(EDGELORE);
    let told = asked.arg("status").arg("--data").arg(&data).output().unwrap();
    let figures: Status = serde_json::from_slice(&told.stdout).unwrap();
    let latency = figures.opened_latency_us.expect("incidents were opened");
    println!("incidents told after {} µs, at most {} µs", latency.p50, latency.max);
    assert!(latency.count >= 2);
    let status = node.stop().unwrap();
    assert!(status.success(), "{status}: {}", node.log_tail());
}
