//! A replay finds the same at every pace, takes as long as the capture says, and stops when asked.

use edgelore_node::engine::{Output, Totals};
use edgelore_node::pace::{Pace, Timer};
use edgelore_node::replay::{Progress, Replay};
use edgelore_pipeline::detect::{DetectConfig, Detected, Finding};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Time passes by sleeping alone.
#[derive(Clone, Default)]
struct Simulated(Arc<AtomicU64>);

impl Simulated {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Timer for Simulated {
    fn now(&mut self) -> Duration {
        self.elapsed()
    }

    fn sleep(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).expect("a slice is short");
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures").join(name)
}

struct Outcome {
    findings: Vec<Finding>,
    totals: Totals,
    whole: bool,
    waited: Duration,
    progress: Vec<Progress>,
}

fn run(files: &[PathBuf], pace: &str, workers: usize, stop_after: Option<u64>) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let (stop, timer) = (AtomicBool::new(false), Simulated::default());
    let pace: Pace = pace.parse().expect("a pace");
    let replay = Replay { workers, detect: DetectConfig::default(), pace, stop: &stop };
    let mut progress = Vec::new();
    let told = |now: &Progress| {
        progress.push(*now);
        stop.store(
            stop_after.is_some_and(|calls| progress.len() as u64 >= calls),
            Ordering::Relaxed,
        );
    };
    let replayed = replay.run(files, timer.clone(), told, move |output| {
        if let Output::Detected(Detected::Closed(finding)) = output {
            sender.send(*finding).expect("the receiver outlives the replay");
        }
    });
    replayed.read.expect("the fixtures can be read");
    let findings = receiver.into_iter().collect();
    let (totals, whole) = (replayed.totals, replayed.whole);
    Outcome { findings, totals, whole, waited: timer.elapsed(), progress }
}

#[test]
fn the_pace_changes_nothing_but_the_time_it_takes() {
    // Fifteen minutes of a collector's peers, in which sessions come and go.
    let files = [fixture("rrc01.updates.20001104.0124.gz")];
    let reference = run(&files, "max", 1, None);
    assert!(!reference.findings.is_empty());
    assert_eq!(reference.waited, Duration::ZERO);
    let captured = |outcome: &Outcome| outcome.waited.as_secs_f64();
    let wire = run(&files, "wire", 1, None);
    assert!(captured(&wire) > 60.0, "{:?}", wire.waited);
    for (pace, workers, factor) in [("wire", 2, 1.0), ("10x", 1, 10.0), ("0.5x", 3, 0.5)] {
        let paced = run(&files, pace, workers, None);
        assert!(paced.findings == reference.findings, "{pace}");
        assert_eq!(paced.totals, reference.totals, "{pace}");
        assert!(paced.whole);
        let (got, expected) = (captured(&paced), captured(&wire) / factor);
        assert!(
            (got - expected).abs() < 0.2 + expected * 0.01,
            "{pace}: {got} s, not {expected} s"
        );
    }
    assert!(wire.findings == reference.findings);
}

#[test]
fn progress_ends_with_the_last_byte_and_the_last_incident() {
    let files = ["rrc00.updates.20000102.2014.gz", "rrc03.updates.20100227.1600.first796.gz"];
    let files = files.map(fixture);
    let length: u64 = files.iter().map(|f| f.metadata().expect("a fixture").len()).sum();
    let outcome = run(&files, "max", 1, None);
    let last = outcome.progress.last().expect("there was progress");
    assert_eq!((last.bytes.read, last.bytes.length), (length, length));
    assert!(last.incidents <= outcome.findings.len() as u64);
    assert!(outcome.progress.windows(2).all(|pair| pair[0].bytes.read <= pair[1].bytes.read));
}

#[test]
fn a_replay_that_is_stopped_ends_at_once() {
    let files = [fixture("rrc00.updates.20000102.2014.gz")];
    let whole = run(&files, "max", 1, None);
    for pace in ["max", "wire"] {
        let stopped = run(&files, pace, 1, Some(1));
        assert!(!stopped.whole && stopped.progress.len() == 1, "{pace}");
        let (some, all) = (stopped.totals.summary.bgp.update, whole.totals.summary.bgp.update);
        assert!(some > 0 && some < all, "{pace}: {some} of {all}");
    }
}
