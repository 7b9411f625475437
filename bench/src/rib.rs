//! UPDATE bytes to per-session, per-prefix state, with a full table of two sessions in place.
//!
//! Every contender reads the same messages: the prefixes of one session's table in an order of
//! their own, 1 to 6 a message. The plain map that the state is measured against keeps no more
//! than a hash and a time for each prefix.
//!
//! **Invariant:** the messages hold each prefix of the table once, so that a round changes all of
//! it.

use crate::inputs::{Random, Updates};
use crate::measure::{
    Contender, Effort, PERCENTILES, Series, interleave, latencies, percentiles_us,
};
use crate::report::{Section, grouped, rate_cells};
use anyhow::{Context as _, Result, ensure};
use edgelore_model::{
    self as model, Observation, Observed, Prefix, RouteDelta, SessionKey, Span, Timestamp,
};
use edgelore_pipeline::decode::bgp::update::{Delta, Encoding, PathIdHint};
use edgelore_pipeline::decode::bgp::{self, AsWidth};
use edgelore_pipeline::detect::{DetectConfig, Detected, Detector};
use edgelore_pipeline::rib::{Changes, Rib, RibConfig};
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Prefixes of a full table.
const PREFIXES: u32 = 900_000;
/// Neighbours that announce one.
const SPEAKERS: [u8; 2] = [1, 2];
/// Deltas that are decoded before the first of them is applied.
const LOOKAHEAD: usize = 8;
const ENCODING: Encoding<'static> =
    Encoding::Presumed { width: AsWidth::Four, path_ids: PathIdHint::Unlikely };

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let prefixes = effort.pick(PREFIXES, PREFIXES / 4);
    // Two sets of messages that differ in their attributes alone.
    let [first, second] = [1, 2].map(|med| messages(prefixes, med));
    let before = resident_kib()?;
    let mut rib = Rib::new(RibConfig::default());
    let filling = fill(&mut rib, &first, prefixes)?;
    let grown = resident_kib()?.saturating_sub(before);
    let series = measure(&mut rib, &first, &second, effort)?;
    let kept = memory(&rib, grown, &filling);
    drop(rib);
    let detection = detection([&first, &second], prefixes, effort)?;
    Ok(vec![rates(&series, prefixes), kept, detection])
}

/// What it took to put the tables in place.
struct Filling {
    whole: Duration,
    /// The longest that one UPDATE took.
    longest: Duration,
}

fn fill(rib: &mut Rib, updates: &Updates, prefixes: u32) -> Result<Filling> {
    let (mut longest, mut verdicts) = (Duration::ZERO, Vec::new());
    let start = Instant::now();
    for speaker in SPEAKERS {
        let mut new = 0;
        for message in updates.iter() {
            let delta = read(message, speaker);
            verdicts.clear();
            let began = Instant::now();
            new += rib.apply(&delta, Timestamp(0), &mut verdicts).new;
            longest = longest.max(began.elapsed());
        }
        ensure!(new == prefixes, "{new} of {prefixes} prefixes found a place");
    }
    Ok(Filling { whole: start.elapsed(), longest })
}

fn measure(
    rib: &mut Rib,
    first: &Updates,
    second: &Updates,
    effort: Effort,
) -> Result<Vec<Series>> {
    let rib = std::cell::RefCell::new(rib);
    let clock = std::cell::Cell::new(0);
    let mut plain = Plain::default();
    let mut turn = false;
    let mut plain_turn = false;
    let now = || {
        clock.set(clock.get() + 1_000_000_000);
        Timestamp(clock.get())
    };
    // The attributes that the speakers announced last, so that a round repeats or changes all.
    let contenders = vec![
        Contender::timed("decoded, not applied", || {
            Ok(first.iter().map(|m| black_box(read(m, 1)).announced.len() as u64).sum())
        }),
        Contender::timed("applied: repeated", || {
            let changes = apply_all(&mut rib.borrow_mut(), first, 1, now());
            ensure!(changes.changed + changes.new == 0, "not all are repeated: {changes:?}");
            Ok(changes.repeated.into())
        }),
        Contender::timed("applied: changed", || {
            turn = !turn;
            let updates = if turn { second } else { first };
            let changes = apply_all(&mut rib.borrow_mut(), updates, 2, now());
            ensure!(changes.repeated + changes.new == 0, "not all are changed: {changes:?}");
            Ok(changes.changed.into())
        }),
        Contender::timed("a map of the standard library: changed", || {
            plain_turn = !plain_turn;
            Ok(plain.apply(if plain_turn { second } else { first }))
        }),
    ];
    interleave(effort.pick(9, 3), contenders)
}

fn rates(series: &[Series], prefixes: u32) -> Section {
    let columns = ["work", "M prefixes/s", "min", "max", "ns a prefix", "× plain map"];
    let mut section = Section::new("UPDATE to per-session, per-prefix state", &columns);
    section.note(format!(
        "{} prefixes of each of {} sessions in place; UPDATEs with 1 to 6 prefixes in random order, \
         from their bytes to the state, on one thread. The plain map keeps a hash and a time for \
         each prefix of one session.",
        grouped(prefixes.into()),
        SPEAKERS.len(),
    ));
    let base = &series[series.len() - 1];
    for one in series {
        section.row([one.name.clone()].into_iter().chain(rate_cells(one, base)));
    }
    section
}

fn memory(rib: &Rib, grown_kib: u64, filling: &Filling) -> Section {
    let columns = ["entries", "slots MiB", "resident MiB", "fill ms", "longest UPDATE µs"];
    let mut section = Section::new("Memory of the state", &columns);
    section.note("Resident memory of the process after the state was filled, less that before.");
    section.row([
        grouped(rib.entries() as u64),
        format!("{:.1}", rib.bytes() as f64 / 1_048_576.0),
        format!("{:.1}", grown_kib as f64 / 1024.0),
        format!("{:.0}", filling.whole.as_secs_f64() * 1e3),
        format!("{:.0}", filling.longest.as_secs_f64() * 1e6),
    ]);
    section
}

/// Hours from one round to the next: penalties are forgotten meanwhile, and nothing flaps.
const ROUND: Span = Span::from_millis(3 * 3_600_000);

/// A detector with a full table of two sessions in it, and its time.
struct Resident {
    detector: Detector,
    now: Timestamp,
    detected: Vec<Detected>,
}

impl Resident {
    fn new(updates: &Updates) -> Self {
        let detector = Detector::new(DetectConfig::default());
        let mut resident = Self { detector, now: Timestamp(0), detected: Vec::new() };
        for speaker in SPEAKERS {
            resident.observe_all(&observations(updates, speaker, Timestamp(0)), |_| {});
        }
        resident
    }

    /// Observes all as the engine does, some told ahead; hands on how long each took in ns.
    fn observe_all(&mut self, all: &[Observation], mut took: impl FnMut(u64)) {
        for (at, observation) in all.iter().enumerate() {
            let began = Instant::now();
            if let Some(coming) = all.get(at + LOOKAHEAD) {
                self.detector.foresee(coming);
            }
            self.detector.observe(observation, &mut self.detected);
            took(began.elapsed().as_nanos() as u64);
        }
    }
}

fn observations(updates: &Updates, speaker: u8, at: Timestamp) -> Vec<Observation> {
    let observation =
        |message| Observation { at, link: 1, what: Observed::Routes(read(message, speaker)) };
    updates.iter().map(observation).collect()
}

fn detection(sets: [&Updates; 2], prefixes: u32, effort: Effort) -> Result<Section> {
    let mut resident = Resident::new(sets[0]);
    let columns: Vec<&str> =
        ["announcements", "ns a prefix (mean)"].into_iter().chain(PERCENTILES).collect();
    let mut section = Section::new("Detector: one route delta with full tables in place", &columns);
    let mut clock = latencies();
    for _ in 0..100_000 {
        let began = Instant::now();
        clock.saturating_record(began.elapsed().as_nanos() as u64);
    }
    section.note(format!(
        "{} prefixes of each of {} sessions; each delta of 1 to 6 prefixes in random order timed \
         alone, in µs. Reading the clock takes {} ns (p50) of each.",
        grouped(prefixes.into()),
        SPEAKERS.len(),
        clock.value_at_quantile(0.5),
    ));
    for (name, order) in [("repeated", [0, 0, 0]), ("changed", [1, 0, 1])] {
        let (mut histogram, mut whole) = (latencies(), 0);
        let rounds = effort.pick(3, 1);
        for &set in &order[..rounds] {
            resident.now = resident.now + ROUND;
            let all = observations(sets[set], SPEAKERS[1], resident.now);
            let began = Instant::now();
            resident.observe_all(&all, |ns| histogram.saturating_record(ns));
            whole += began.elapsed().as_nanos() as u64;
        }
        let mean = whole as f64 / (rounds as f64 * f64::from(prefixes));
        let cells = [name.to_owned(), format!("{mean:.1}")];
        section.row(cells.into_iter().chain(percentiles_us(&histogram)));
    }
    ensure!(resident.detected.is_empty(), "no incident was due: {:?}", resident.detected.first());
    ensure!(resident.detector.overflows() == 0, "all prefixes have their place");
    Ok(section)
}

fn apply_all(rib: &mut Rib, updates: &Updates, speaker: u8, at: Timestamp) -> Changes {
    let (mut sum, mut verdicts) = (Changes::default(), Vec::new());
    // As the engine does it: some deltas are decoded before the first of them is applied.
    let mut waiting = VecDeque::with_capacity(LOOKAHEAD);
    for message in updates.iter().map(Some).chain([None; LOOKAHEAD]) {
        if let Some(message) = message {
            let delta = read(message, speaker);
            rib.foresee(&delta);
            waiting.push_back(delta);
        }
        if waiting.len() < LOOKAHEAD && message.is_some() {
            continue;
        }
        let Some(delta) = waiting.pop_front() else { break };
        verdicts.clear();
        let changes = rib.apply(&delta, at, &mut verdicts);
        sum.new += changes.new;
        sum.changed += changes.changed;
        sum.repeated += changes.repeated;
    }
    sum
}

/// The delta of a message made here.
fn read(message: &[u8], speaker: u8) -> RouteDelta {
    let body = bgp::message(message).expect("made here").body;
    let delta = Delta::read(body, &ENCODING).expect("made here");
    let (near, speaker) = (IpAddr::from([192, 0, 2, 254]), IpAddr::from([192, 0, 2, speaker]));
    RouteDelta {
        session: SessionKey::between(near, speaker),
        speaker,
        rib: model::Rib::Wire,
        withdrawn: delta.withdrawn,
        announced: delta.announced,
        withdrawn_path_ids: delta.withdrawn_path_ids,
        announced_path_ids: delta.announced_path_ids,
        path: delta.path,
    }
}

/// What one would write without much thought.
#[derive(Default)]
struct Plain {
    routes: HashMap<Prefix, (u64, Timestamp)>,
}

impl Plain {
    fn apply(&mut self, updates: &Updates) -> u64 {
        let mut count = 0;
        for message in updates.iter() {
            let delta = read(message, 1);
            let hash = delta.path.map_or(0, |path| path.attributes_hash);
            for prefix in &delta.announced {
                self.routes.insert(*prefix, (hash, Timestamp(count as i64)));
                count += 1;
            }
        }
        count
    }
}

/// UPDATEs that announce each of `count` prefixes once, in random order.
fn messages(count: u32, med: u8) -> Updates {
    let mut random = Random::new(7);
    let mut numbers: Vec<u32> = (0..count).collect();
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, random.within(&(0..=at as u64)) as usize);
    }
    let mut updates = Updates { bytes: Vec::new(), messages: Vec::new() };
    let mut rest = &numbers[..];
    while !rest.is_empty() {
        let some = rest.len().min(random.within(&(1..=6)) as usize);
        let (these, others) = rest.split_at(some);
        // From 11.0.0.0/24 on: unicast space.
        let nlri = these.iter().map(|number| (11 << 16) + number).flat_map(|number| {
            let [_, a, b, c] = number.to_be_bytes();
            [24, a, b, c]
        });
        updates.push(&crate::inputs::announcement(&nlri.collect::<Vec<u8>>(), med, &mut random));
        rest = others;
    }
    updates
}

/// Memory of this process that is in RAM, KiB.
fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.trim().strip_suffix(" kB"));
    figure.and_then(|text| text.trim().parse().ok()).context("find VmRSS in /proc/self/status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_hold_each_prefix_once() {
        let mut rib = Rib::new(RibConfig::default());
        let filling = fill(&mut rib, &messages(5_000, 1), 5_000).unwrap();
        assert!(filling.longest <= filling.whole);
        let changed = apply_all(&mut rib, &messages(5_000, 2), 1, Timestamp(1));
        assert_eq!(changed, Changes { changed: 5_000, ..Changes::default() });
        assert!(resident_kib().unwrap() > 0);
    }
}
