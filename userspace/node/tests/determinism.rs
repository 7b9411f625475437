//! The same input gives the same, byte for byte: incidents, what else detection tells, outcomes and
//! sealed packets, with one worker or many, however it is cut, at every pace.
//!
//! Generic over what detection tells: all of it is compared as it would be written, whatever
//! detectors there are.

use edgelore_model::{
    Batch, IncidentId, Interval, Known, Resolution, Signal, SignalKind, Span, Timestamp,
};
use edgelore_node::engine::{Engine, Output};
use edgelore_node::pace::{Pace, Timer};
use edgelore_node::replay::Replay;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::{DetectConfig, Detected, Finding};
use edgelore_pipeline::distil::{Distiller, Site};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{Privacy, SigningKey, seal_with};
use edgelore_pipeline::resolve::{Change, Reach};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

/// Time passes by sleeping alone.
#[derive(Clone, Copy, Default)]
struct Simulated(Duration);

impl Timer for Simulated {
    fn now(&mut self) -> Duration {
        self.0
    }

    fn sleep(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

/// All that a run told, as it would be written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    observations: Vec<String>,
    detected: Vec<String>,
    outcomes: Vec<String>,
    packets: Vec<Vec<u8>>,
}

impl Told {
    fn findings(&mut self, findings: &[Finding]) {
        let site = Site { topology_class: "spine_leaf".to_owned(), node_count: 96 };
        let mut distiller = Distiller::new(site, [7; 8]);
        for finding in findings {
            self.closed(&mut distiller, finding);
        }
        // Something is changed, and a day later all of it happens again: outcomes.
        let ended = findings.iter().filter_map(|f| f.incident.end).map(|end| end.latest).max();
        let Some(ended) = ended else { return };
        distiller.changed(&Change {
            at: Interval::exactly(ended + Span::from_millis(60_000)),
            on: None,
            reach: Reach::default(),
            resolution: Resolution {
                pattern: "dampening".to_owned(),
                steps: vec!["Enabled dampening".to_owned()],
                known: Known::Declared,
            },
            evidence: String::new(),
        });
        for finding in findings {
            self.closed(&mut distiller, &a_day_later(finding));
        }
    }

    fn closed(&mut self, distiller: &mut Distiller, finding: &Finding) {
        let key = SigningKey::from_seed(&mut [7; 32]);
        let space = Space::default_definition();
        for distilled in distiller.closed(finding) {
            // What cannot be sealed is refused alike in every run.
            if let Ok(packet) = seal_with(&distilled.outcome, &key, &space, &Privacy::default()) {
                self.packets.push(packet.bytes);
            }
            self.outcomes.push(written(&distilled));
        }
    }
}

fn a_day_later(finding: &Finding) -> Finding {
    let day = Span::from_millis(86_400_000);
    let later = |when: Interval| Interval {
        earliest: when.earliest + day,
        estimate: when.estimate + day,
        latest: when.latest + day,
    };
    let mut again = finding.clone();
    again.incident.id = IncidentId(!finding.incident.id.0);
    again.incident.start = later(finding.incident.start);
    again.incident.end = finding.incident.end.map(later);
    again
}

fn written(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it can be written")
}

/// What was told, through the end of a channel that the engine's thread writes to.
fn gather(receiver: mpsc::Receiver<Result<String, Detected>>) -> Told {
    let (mut told, mut findings) = (Told::default(), Vec::new());
    for one in receiver {
        match one {
            Ok(observation) => told.observations.push(observation),
            Err(detected) => {
                told.detected.push(format!("{detected:?}"));
                if let Detected::Closed(finding) = detected {
                    told.detected.push(written(&finding));
                    findings.push(*finding);
                }
            }
        }
    }
    told.findings(&findings);
    told
}

fn output(
    sender: mpsc::Sender<Result<String, Detected>>,
) -> impl FnMut(Output<'_>) + Send + 'static {
    move |output| {
        let one = match output {
            Output::Observation(observation) => Ok(written(observation)),
            Output::Detected(detected) => Err(detected),
        };
        sender.send(one).expect("the receiver outlives the engine");
    }
}

fn replayed(file: &Path, workers: usize, pace: &str) -> Told {
    let (sender, receiver) = mpsc::channel();
    let stop = AtomicBool::new(false);
    let pace: Pace = pace.parse().expect("a pace");
    let replay = Replay { workers, detect: DetectConfig::default(), pace, stop: &stop };
    let replayed = replay.run(&[file], Simulated::default(), |_| {}, output(sender));
    // A damaged fixture is damaged alike in every run.
    let _ = replayed.read;
    gather(receiver)
}

/// Runs signals in batches of a size.
fn cut(batch: &Batch, signals: usize, workers: usize) -> Told {
    let (sender, receiver) = mpsc::channel();
    let decode = DecodeConfig::default();
    let mut engine = Engine::start(workers, &decode, DetectConfig::default(), output(sender));
    for chunk in batch.signals.chunks(signals) {
        // Every part shares the whole arena: only the signals are cut.
        let part = Batch { signals: chunk.to_vec(), bytes: batch.bytes.clone() };
        assert!(engine.submit(part), "the engine takes all batches");
    }
    let _totals = engine.finish();
    gather(receiver)
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    let entries = std::fs::read_dir(folder).expect("the fixtures are there");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|file| file.extension().is_none_or(|extension| extension != "md"));
    files.sort();
    files
}

#[test]
fn every_fixture_gives_the_same_with_any_workers_at_any_pace() {
    let (mut incidents, mut outcomes) = (0, 0);
    for file in fixtures() {
        let reference = replayed(&file, 1, "max");
        for (workers, pace) in [(1, "max"), (2, "1000x"), (3, "wire"), (8, "max")] {
            let told = replayed(&file, workers, pace);
            let name = file.display();
            assert!(told == reference, "{name}: {workers} workers at pace {pace} differ");
        }
        incidents += reference.detected.len();
        outcomes += reference.packets.len();
    }
    assert!(incidents > 0 && outcomes > 0, "{incidents} incidents, {outcomes} packets");
}

/// Links, queues and counters of four interfaces that fail, fill and recover as a seed says.
fn generated(seed: u64) -> Batch {
    use edgelore_model::{CounterSample, FibAction, FibChange, LinkChange, NextHop, QueueSample};
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut batch, mut now) = (Batch::default(), 1_700_000_000_000_000_000_i64);
    let mut packets = 0;
    for _ in 0..4_000 {
        now += random(40_000_000) as i64;
        let link = 1 + random(4) as u32;
        let kind = match random(8) {
            0 => SignalKind::Link(LinkChange {
                name: format!("up{link}"),
                present: true,
                admin_up: true,
                carrier: random(3) > 0,
                ..LinkChange::default()
            }),
            1 | 2 => SignalKind::Queue(QueueSample {
                qdisc: "fq_codel".to_owned(),
                handle: 0x0001_0000,
                parent: u32::MAX,
                present: true,
                backlog_bytes: random(200_000) as u32,
                backlog_packets: random(200) as u32,
                drops: packets / 50,
                ..QueueSample::default()
            }),
            3 | 4 => {
                let address = std::net::IpAddr::from([198, 51, random(30) as u8, 0]);
                let via = Some(std::net::IpAddr::from([192, 0, 2, 1 + random(4) as u8]));
                SignalKind::Fib(FibChange {
                    prefix: edgelore_model::Prefix::new(address, 24).expect("24 bits are few"),
                    table: 254,
                    action: FibAction::Set,
                    next_hops: vec![NextHop { via, link }],
                    not_before: Timestamp(now - 1_000_000),
                })
            }
            _ => {
                packets += random(100);
                let mut sample = CounterSample::default();
                (sample.rx_packets, sample.tx_packets) = (packets, packets);
                SignalKind::Counters(sample)
            }
        };
        batch.signals.push(Signal { at: Timestamp(now), link, kind });
    }
    batch
}

#[test]
fn generated_histories_give_the_same_however_they_are_cut() {
    let mut detected = 0;
    for seed in 1..=6 {
        let batch = generated(seed);
        let reference = cut(&batch, batch.signals.len(), 1);
        for (signals, workers) in [(1, 1), (7, 2), (64, 3), (1_000, 8)] {
            let told = cut(&batch, signals, workers);
            assert!(told == reference, "seed {seed}: batches of {signals}, {workers} workers");
        }
        detected += reference.detected.len();
    }
    assert!(detected > 0, "nothing was detected");
}
