//! Flaps in what route collectors recorded: exactly the prefixes that an independent count finds.
//!
//! The truth was counted from `bgpdump -m` by a few lines of Python: for each peer and prefix the
//! changes between announced (A) and withdrawn (W), the first announcement apart; a run of them
//! ends where more than 60 s lie between two; a peer's prefix flaps when a run has 6 or more.
//! Multicast prefixes, four in the first file, are none of unicast and left out.
//! Without the folder that `EDGELORE_DATA` names there is nothing to read.

use edgelore_model::{EventType, Observed, Prefix, Scope};
use edgelore_node::engine::Output;
use edgelore_node::replay::replay;
use edgelore_pipeline::detect::{DetectConfig, Detected};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

type Pairs = BTreeSet<(IpAddr, Prefix)>;

fn data(file: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("EDGELORE_DATA")?).join(file);
    path.exists().then_some(path)
}

/// Every peer's prefixes that flapped by their transitions alone.
fn flapping(file: &Path) -> Pairs {
    let mut config = DetectConfig::default();
    config.flap.penalty_open = u16::MAX;
    let found: Arc<Mutex<(Pairs, BTreeSet<IpAddr>)>> = Arc::default();
    let sink = Arc::clone(&found);
    let (_, read) = replay(&[file], 1, config, move |output| {
        let mut found = sink.lock().expect("nobody panics with it");
        match output {
            Output::Observation(observation) => {
                if let Observed::Routes(delta) = &observation.what {
                    found.1.insert(delta.speaker);
                }
            }
            Output::Detected(Detected::Closed(one)) if one.incident.event == EventType::Flap => {
                let ends = match one.incident.scope {
                    Scope::Prefix(_, speaker) => vec![speaker],
                    Scope::Session(session) => {
                        let (low, high) = session.addresses();
                        vec![low, high]
                    }
                    other => panic!("a collector has no {other}"),
                };
                for prefix in one.incident.prefixes {
                    found.0.extend(ends.iter().map(|end| (*end, prefix)));
                }
            }
            Output::Detected(_) => {}
        }
    });
    // Some of the files hold records that nobody can read; what they hold beside counts.
    drop(read);
    let found = found.lock().expect("nobody panicked with it");
    found.0.iter().filter(|(end, _)| found.1.contains(end)).copied().collect()
}

#[test]
fn the_prefixes_that_flap_at_route_collectors_come_out() {
    type Case = (&'static str, usize, &'static [(&'static str, &'static str)]);
    let cases: [Case; 3] = [
        (
            // 151, 151 and 151 transitions in 15 minutes.
            "mrt/caida.updates.example.bz2",
            100,
            &[
                ("208.51.134.246", "103.20.236.0/24"),
                ("208.51.134.246", "103.20.237.0/24"),
                ("208.51.134.246", "103.20.238.0/24"),
            ],
        ),
        (
            // 99 and 72 transitions in 5 minutes.
            "mrt/rrc23.updates.20220421.0200.gz",
            183,
            &[
                ("2001:de8:4::13:3210:1", "2a01:9e00:4279::/48"),
                ("27.111.228.201", "152.199.192.0/24"),
            ],
        ),
        (
            // 87 and 70 transitions in 15 minutes.
            "mrt/sydney.updates.20220601.0415.bz2",
            112,
            &[("45.127.172.78", "67.211.53.0/24"), ("2001:de8:6::5:8511:1", "2804:1f08::/32")],
        ),
    ];
    for (file, count, named) in cases {
        let Some(path) = data(file) else {
            println!("not there: {file}");
            continue;
        };
        let found = flapping(&path);
        for (speaker, prefix) in named {
            let pair = (speaker.parse().expect("an address"), prefix.parse().expect("a prefix"));
            assert!(found.contains(&pair), "{file}: {prefix} from {speaker}");
        }
        assert_eq!(found.len(), count, "{file}");
    }
}
