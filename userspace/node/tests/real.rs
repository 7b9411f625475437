//! Real data, published as it was collected: what is found in it is held against what is known of
//! the day. Runs when `EDGELORE_DATA` names a folder that holds the files.

use edgelore_model::{EventType, Incident, Timestamp, TriggerKind};
use edgelore_node::engine::Output;
use edgelore_node::replay::replay;
use edgelore_pipeline::detect::{DetectConfig, Detected};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc;

/// The convergences in a file of the data folder; `None`, with a word, when it is not there.
fn convergences(name: &str) -> Option<Vec<Incident>> {
    let file = std::env::var_os("EDGELORE_DATA").map(|data| PathBuf::from(data).join(name));
    let Some(file) = file.filter(|file| file.is_file()) else {
        println!("SKIP: EDGELORE_DATA names no folder with {name}");
        return None;
    };
    let (sender, receiver) = mpsc::channel();
    let (totals, read) = replay(&[file], 1, DetectConfig::default(), move |output| {
        if let Output::Detected(Detected::Closed(finding)) = output {
            sender.send(finding.incident).expect("the receiver outlives the replay");
        }
    });
    read.expect("the file can be read");
    assert_eq!(totals.overflows, 0);
    let incidents = receiver.into_iter().filter(|i| i.event == EventType::Convergence);
    Some(incidents.collect())
}

#[test]
fn a_full_table_that_is_transferred_is_no_convergence() {
    // One session comes up and sends 577,737 prefixes in half a minute.
    let Some(found) = convergences("mrt/bgpdump.updates.et-header.2015.gz") else { return };
    assert!(found.is_empty(), "{} convergences", found.len());
}

#[test]
fn the_withdrawals_of_27_august_2010_are_found_where_they_were() {
    let Some(found) = convergences("mrt/rrc01.updates.20100827.0840.gz") else { return };
    for incident in &found {
        println!(
            "{} {} {} {:?} {} ms {} prefixes {:?}",
            incident.start.estimate,
            incident.end.map_or("-".to_owned(), |e| e.estimate.to_string()),
            incident.scope,
            incident.chain.iter().map(|t| t.kind).collect::<Vec<_>>(),
            incident.severity,
            incident.prefixes.len(),
            incident.measured,
        );
    }
    // No session of the collector ended: each of its peers told what it had lost itself.
    assert!(found.iter().all(|i| i.chain[0].kind == TriggerKind::WithdrawalBurst));
    // The experiment's first announcement is of 08:42:16, the most withdrawals of 08:43:27.
    let second = |text: i64| Timestamp::from_secs_nanos(1_282_898_400 + text, 0);
    let before = found.iter().filter(|i| i.start.estimate < second(136)).count();
    let after = found.len() - before;
    assert!(after > before, "{before} before it, {after} after it");
    let at_the_peak = found
        .iter()
        .filter(|i| i.start.earliest <= second(208))
        .filter(|i| i.end.is_some_and(|end| end.latest >= second(207)));
    let moved: BTreeSet<_> = at_the_peak.flat_map(|i| &i.prefixes).collect();
    assert!(moved.len() > 6_000, "{} prefixes moved at the peak", moved.len());
}
