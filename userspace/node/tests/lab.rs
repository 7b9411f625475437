//! The laboratory's recorded scenarios, replayed: what is found in each capture is what really
//! happened, as far as the viewpoint can see it.
//!
//! `cargo xtask lab --record-only --keep DIR` records them anew.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_node::engine::Output;
use edgelore_node::replay::replay;
use edgelore_pipeline::detect::{DetectConfig, Detected, Finding};
use edgelore_testkit::lab::{Moved, Reported, ScenarioTruth, Viewpoint, judge};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/lab")
}

fn incidents(capture: &Path) -> Vec<Reported> {
    let (sender, receiver) = mpsc::channel::<Finding>();
    let (_, read) = replay(&[capture], 1, DetectConfig::default(), move |output| {
        if let Output::Detected(Detected::Closed(finding)) = output {
            sender.send(*finding).expect("the receiver outlives the replay");
        }
    });
    read.unwrap();
    receiver
        .into_iter()
        .map(|Finding { incident, .. }| Reported {
            event: incident.event,
            protocol: incident.protocol,
            start: incident.start,
            end: incident.end,
            prefixes: Moved::of(&incident.prefixes),
        })
        .collect()
}

/// Every capture of a scenario: the viewpoint that replays it, and the file.
fn captures(scenario: &Path) -> impl Iterator<Item = (Viewpoint, PathBuf)> {
    Viewpoint::LIVE.into_iter().flat_map(move |viewpoint| {
        ["pcapng", "pcapng.xz"]
            .map(|suffix| scenario.join(format!("{}.{suffix}", viewpoint.name())))
            .into_iter()
            .filter(|file| file.exists())
            .map(move |file| (viewpoint.replay(), file))
    })
}

#[test]
fn what_is_found_in_the_recorded_scenarios_is_what_happened() {
    let mut wrong = BTreeSet::new();
    let mut judged = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let scenario = entry.unwrap().path();
        if !scenario.is_dir() {
            continue;
        }
        let truth = ScenarioTruth::read(&scenario.join("truth.json")).unwrap();
        for (viewpoint, file) in captures(&scenario) {
            judged += 1;
            // What the operator is told of changes needs ends, which captures seldom show.
            let problems = judge(&truth, viewpoint, &incidents(&file), &[]).problems();
            let name = format!("{}/{}", truth.scenario, viewpoint.name());
            for problem in &problems {
                println!("{name}: {problem}");
            }
            if !problems.is_empty() {
                wrong.insert(name);
            }
        }
    }
    assert!(judged >= 20, "{judged} captures judged");
    assert!(wrong.is_empty(), "found otherwise than it happened: {wrong:#?}");
}
