//! A queue of 1 MB/s, sampled ten times a second, at the bounds.

use super::*;
use crate::detect::{DetectConfig, Detector};

const LINK: u32 = 3;
const ROOT_HANDLE: u32 = 0x1_0000;
/// What leaves a queue of 1 MB/s between two samples, in bytes.
const STEP_BYTES: u64 = 100_000;

fn ms(ms: i64) -> Timestamp {
    Timestamp(0) + Span::from_millis(ms)
}

/// A queue of 1 MB/s that is sampled each 100 ms: a backlog of 1,000 bytes stands for 1 ms.
#[derive(Clone)]
struct Samples {
    at_ms: i64,
    sample: QueueSample,
    all: Vec<Observation>,
}

impl Samples {
    fn new(qdisc: &str) -> Self {
        let sample = QueueSample {
            qdisc: qdisc.to_owned(),
            handle: ROOT_HANDLE,
            parent: ROOT,
            present: true,
            ..QueueSample::default()
        };
        let mut samples = Self { at_ms: 0, sample, all: Vec::new() };
        samples.push();
        samples
    }

    fn push(&mut self) {
        self.sample.not_before = ms((self.at_ms - 101).max(0));
        let what = Observed::Queue(self.sample.clone());
        self.all.push(Observation { at: ms(self.at_ms), link: LINK, what });
    }

    /// Goes on for `steps` samples with a backlog of so many ms and so many drops in each.
    fn stand(mut self, steps: i64, backlog_ms: u32, drops: u64) -> Self {
        for _ in 0..steps {
            self.at_ms += 100;
            self.sample.backlog_bytes = backlog_ms * 1_000;
            self.sample.backlog_packets = backlog_ms;
            self.sample.bytes += STEP_BYTES;
            self.sample.drops += drops;
            self.sample.overlimits += 7;
            self.push();
        }
        self
    }

    fn pass(mut self, time_ms: i64) -> Self {
        self.at_ms += time_ms;
        let what = Observed::Tick;
        self.all.push(Observation { at: ms(self.at_ms), link: 0, what });
        self
    }

    fn change(mut self, change: impl FnOnce(&mut QueueSample)) -> Self {
        self.at_ms += 100;
        change(&mut self.sample);
        self.push();
        self
    }
}

/// When each incident opened, and the incidents.
fn run(samples: Samples) -> (Vec<Timestamp>, Vec<Incident>) {
    let mut detector = Detector::new(DetectConfig::default());
    let mut detected = Vec::new();
    for observation in &samples.all {
        detector.observe(observation, &mut detected);
    }
    detector.finish(&mut detected);
    assert_eq!(detector.overflows(), 0);
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for one in detected {
        match one {
            Detected::Opened(one) => opened.push(one.at),
            Detected::Closed(finding) => closed.push(finding.incident),
            Detected::Settled(_) | Detected::Joined(_) => {}
        }
    }
    (opened, closed)
}

#[test]
fn a_short_queue_that_dropped_and_is_empty_is_over_without_another_sample() {
    let (opened, incidents) = run(Samples::new("pfifo").stand(2, 0, 0).stand(20, 0, 3).pass(5_000));
    let [incident] = &incidents[..] else { panic!("{incidents:?}") };
    assert_eq!(opened.len(), 1);
    assert_eq!(incident.end.map(|end| end.latest), Some(ms(2_200)));
    assert_eq!(incident.measured.drops, Some(60));
}

#[test]
fn a_standing_queue_is_one_saturation_with_its_bounds_and_counts() {
    let samples = Samples::new("tbf").stand(2, 0, 0).stand(20, 50, 3).stand(3, 0, 0).pass(5_000);
    let (opened, incidents) = run(samples);
    let [incident] = &incidents[..] else { panic!("{incidents:?}") };
    assert_eq!((incident.event, incident.protocol), (EventType::Saturation, Protocol::Link));
    assert_eq!(incident.scope, Scope::Queue(Link(LINK), ROOT_HANDLE));
    // The queue was empty at 200 ms and is full at 300 ms; full at 2,200 and empty at 2,300.
    assert_eq!((incident.start.earliest, incident.start.latest), (ms(200), ms(300)));
    let end = incident.end.unwrap();
    assert_eq!((end.earliest, end.latest), (ms(2_200), ms(2_300)));
    assert_eq!(opened, [ms(800)]);
    assert_eq!(incident.severity, 47, "fifty ms stood, and then none for a tenth of a second");
    let measured = &incident.measured;
    assert_eq!((measured.drops, measured.overlimits), (Some(60), Some(161)));
    assert_eq!(measured.backlog_bytes_max, Some(50_000));
    assert_eq!(measured.backlog_packets_max, Some(50));
    let kinds: Vec<TriggerKind> = incident.chain.iter().map(|trigger| trigger.kind).collect();
    assert_eq!(kinds, [TriggerKind::QueueDrops, TriggerKind::Backlog]);
    assert!(incident.progress.iter().any(|point| point.value == 50_000));
}

#[test]
fn only_what_stands_long_enough_and_high_enough_is_a_saturation() {
    for (name, steps, backlog_ms, drops, incidents) in [
        ("a burst that drains", 3, 500, 0, 0),
        ("a burst that drops and drains", 3, 500, 9, 0),
        ("just too short", 6, 50, 0, 0),
        ("just long enough", 7, 50, 0, 1),
        ("just too low", 100, 19, 0, 0),
        ("just high enough", 100, 20, 0, 1),
        ("drops without a backlog", 100, 0, 1, 1),
        ("an idle queue", 100, 0, 0, 0),
    ] {
        let samples = Samples::new("pfifo").stand(2, 0, 0).stand(steps, backlog_ms, drops);
        let (opened, found) = run(samples.stand(3, 0, 0).pass(5_000));
        assert_eq!((opened.len(), found.len()), (incidents, incidents), "{name}: {found:?}");
    }
}

#[test]
fn a_wavering_queue_does_not_flutter() {
    let mut samples = Samples::new("tbf").stand(10, 50, 0);
    for _ in 0..20 {
        // Gone for less than a second, or not quite gone.
        samples = samples.stand(5, 0, 0).stand(1, 30, 0).stand(20, 10, 0);
    }
    let (opened, incidents) = run(samples.stand(2, 0, 0).pass(1_000));
    assert_eq!((opened.len(), incidents.len()), (1, 1));
    // A second without backlog later another is another.
    let again = Samples::new("tbf").stand(10, 50, 0).stand(12, 0, 0).stand(10, 50, 0);
    assert_eq!(run(again.stand(2, 0, 0).pass(1_000)).1.len(), 2);
}

#[test]
fn shaping_alone_is_none() {
    let mut samples = Samples::new("tbf");
    for _ in 0..100 {
        samples = samples.change(|sample| sample.overlimits += 1_000);
    }
    assert!(run(samples.pass(5_000)).1.is_empty());
}

#[test]
fn a_removed_queue_ends_its_saturation() {
    let standing = Samples::new("tbf").stand(20, 50, 2);
    let gone = standing.clone().change(|sample| (sample.present, sample.drops) = (false, 45));
    let replaced = standing.clone().change(|sample| {
        *sample = QueueSample { qdisc: "pfifo".to_owned(), drops: 0, bytes: 0, ..sample.clone() };
    });
    for (name, samples, drops) in [("gone", gone, 45), ("replaced", replaced, 40)] {
        let (_, incidents) = run(samples.pass(100));
        let [incident] = &incidents[..] else { panic!("{name}: {incidents:?}") };
        assert_eq!(incident.end.map(|end| end.latest), Some(ms(2_100)), "{name}");
        assert_eq!(incident.measured.drops, Some(drops), "{name}");
    }
    let (_, incidents) = run(standing);
    assert_eq!(incidents[0].end, None, "its end was not seen");
}

#[test]
fn a_stuck_queue_saturates_without_samples() {
    let stuck = Samples::new("pfifo").change(|sample| sample.backlog_bytes = 900);
    assert!(run(stuck.clone().pass(14_900)).1.is_empty());
    let (opened, incidents) = run(stuck.pass(15_100));
    assert_eq!((opened, incidents.len()), (vec![ms(15_100)], 1));
    assert_eq!(incidents[0].start.latest, ms(100));
}

#[test]
fn of_queues_one_above_the_other_the_lowest_counts() {
    let upper = Samples::new("htb").stand(20, 50, 3).stand(20, 0, 0);
    let mut lower = Samples::new("fq_codel").stand(20, 50, 3).stand(20, 0, 0);
    for observation in &mut lower.all {
        if let Observed::Queue(sample) = &mut observation.what {
            (sample.handle, sample.parent) = (0x20_0000, ROOT_HANDLE | 0x20);
        }
    }
    let mut both = upper;
    both.all.extend(lower.all);
    both.all.sort_by_key(|observation| observation.at);
    let (_, incidents) = run(both);
    let [incident] = &incidents[..] else { panic!("{incidents:?}") };
    assert_eq!(incident.scope, Scope::Queue(Link(LINK), 0x20_0000));
}

#[test]
fn a_table_that_is_full_counts_what_it_refuses() {
    let mut config = DetectConfig::default();
    (config.bounds.queues_max, config.bounds.incidents_open_max) = (2, 1);
    let mut detector = Detector::new(config);
    let mut detected = Vec::new();
    let samples = Samples::new("tbf").stand(20, 50, 0);
    for observation in &samples.all {
        for link in 1..=3 {
            detector.observe(&Observation { link, ..observation.clone() }, &mut detected);
        }
    }
    let opened = detected.iter().filter(|one| matches!(one, Detected::Opened(_))).count();
    assert_eq!(opened, 1);
    // The third link's queue at each sample, and the second one's incident once.
    assert_eq!(detector.overflows(), 21 + 1);
}

#[test]
fn time_and_counts_that_jump_make_no_saturation() {
    let mut samples = Samples::new("tbf").stand(3, 50, 0);
    for jump in [i64::MIN / 2, -1, 0, 1, i64::MAX / 2_000_000] {
        samples.at_ms = samples.at_ms.saturating_add(jump).clamp(-1_000_000, 9_000_000_000);
        samples = samples.change(|sample| {
            sample.bytes = sample.bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sample.drops /= 2;
            sample.backlog_bytes = 0;
        });
    }
    assert!(run(samples).1.is_empty());
}
