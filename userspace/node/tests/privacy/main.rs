//! No identifier that entered through capture, configuration or the operator's own words leaves in a
//! packet: from signals on the wire through detection, resolution, distillation and sealing to a
//! search of the packet's bytes, in every notation.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod planted;
mod story;

use edgelore_node::engine::{Engine, Output};
use edgelore_node::journal::Journal;
use edgelore_node::keeper::Keeper;
use edgelore_node::privacy;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::{DetectConfig, Detected};
use edgelore_pipeline::distil::{DistilConfig, Site};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{PACKET_BYTES_MAX, Privacy, SigningKey, open};
use edgelore_pipeline::resolve::{Configuration, Identifiers, Rules, config_changes, declared};
use planted::Planted;
use proptest::prelude::*;
use std::sync::{Arc, mpsc};

/// What the engine tells, in order, and what identifies the network in it.
fn detected(planted: &Planted) -> (Vec<Detected>, Identifiers) {
    let (sender, receiver) = mpsc::channel();
    let told = move |output: Output<'_>| {
        let one = match output {
            Output::Observation(observation) => {
                let mut known = Identifiers::default();
                privacy::hear(&mut known, observation);
                Err(known)
            }
            Output::Detected(detected) => Ok(detected),
        };
        sender.send(one).expect("the receiver outlives the engine");
    };
    let mut engine = Engine::start(1, &DecodeConfig::default(), DetectConfig::default(), told);
    assert!(engine.submit(story::signals(planted)));
    let totals = engine.finish();
    assert_eq!(totals.summary.undecodable, 0, "the story is well formed");
    let (mut all, mut known) = (Vec::new(), Identifiers::default());
    for one in receiver {
        match one {
            Ok(detected) => all.push(detected),
            Err(Identifiers { names, numbers }) => {
                known.names.extend(names);
                known.numbers.extend(numbers);
            }
        }
    }
    (all, known)
}

/// Tells the keeper what was changed: by the operator's word, and by two routers' configurations.
fn change(keeper: &mut Keeper, planted: &Planted) {
    let at = story::changed();
    for (pattern, steps) in planted.words() {
        keeper.changed(declared(pattern, &steps, at, None).unwrap()).unwrap();
    }
    for (before, after) in [planted.frr(), planted.bird()] {
        let (before, after) = (read(&before), read(&after));
        keeper.hide_identifiers(after.identifiers());
        let compared = config_changes(&Rules::shipped(), &before, &after, at);
        assert!(!compared.changes.is_empty(), "a rule knows the change");
        for change in compared.changes {
            keeper.changed(change).unwrap();
        }
    }
}

fn read(text: &str) -> Configuration {
    Configuration::read(text).unwrap()
}

/// All packets of the story.
fn packets(planted: &Planted) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(directory.path()).unwrap());
    let mut keeper = Keeper::new(
        Site { topology_class: "dual_homed".to_owned(), node_count: 12 },
        DetectConfig::default().method(),
        DistilConfig::default(),
        Arc::clone(&journal),
        SigningKey::from_seed(&mut [7; 32]),
        Space::default_definition(),
        Privacy::default(),
    )
    .unwrap();
    keeper.started(story::START).unwrap();
    let (told, known) = detected(planted);
    keeper.hide_identifiers(known);
    let mut changed = false;
    for detected in told {
        match detected {
            Detected::Opened(opened) => keeper.opened(&opened).unwrap(),
            Detected::Joined(_) => {}
            Detected::Settled(settled) => keeper.settled(*settled).unwrap(),
            Detected::Closed(finding) => {
                let second = finding.incident.start.earliest > story::changed().latest;
                if second && !changed {
                    change(&mut keeper, planted);
                    changed = true;
                }
                keeper.keep(&finding).unwrap();
            }
        }
    }
    assert!(changed, "nothing failed after the change");
    journal.outcomes().unwrap().into_iter().map(|(_, outcome)| outcome.packet).collect()
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_identifier_leaves_in_a_packet(planted in planted::networks()) {
        let packets = packets(&planted);
        prop_assert!(packets.len() > 3, "{} packets", packets.len());
        let mut scrubbed = 0;
        for packet in &packets {
            prop_assert!(packet.len() <= PACKET_BYTES_MAX);
            let outcome = open(packet).unwrap().outcome;
            scrubbed += outcome.resolution.steps.iter().filter(|step| step.contains('[')).count();
            for (name, form) in planted.forms() {
                prop_assert!(!holds(packet, &form), "{}: {:?} in {:?}", name, form, outcome);
            }
        }
        prop_assert!(scrubbed > 3, "steps with marks are among them");
    }
}

/// The search itself finds what is there.
#[test]
fn the_search_finds_what_is_planted() {
    let planted = planted::example();
    for (name, form) in planted.forms() {
        let hidden = [b"before ", form.as_slice(), b" after"].concat();
        assert!(holds(&hidden, &form), "{name}");
    }
    let words: String = planted.words().into_iter().flat_map(|(_, steps)| steps).collect();
    let found = planted.forms().into_iter().filter(|(_, form)| holds(words.as_bytes(), form));
    assert!(found.count() > 20, "the operator's words hold identifiers");
}
