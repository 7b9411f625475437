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
use std::cell::{Cell, RefCell};
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
    // Once before in memory that this machine may never have touched: a hypervisor then has to find it.
    let untouched = fill(&mut Rib::new(RibConfig::default()), &first, prefixes)?.longest;
    let mut rib = Rib::new(RibConfig::default());
    let filling = fill(&mut rib, &first, prefixes)?;
    let grown = resident_kib()?.saturating_sub(before);
    let series = measure(&mut rib, &first, &second, effort)?;
    let kept = memory(&rib, grown, &filling, untouched);
    drop(rib);
    let mut sections = vec![rates(&series, prefixes), kept];
    sections.extend(detection([&first, &second], prefixes, effort)?);
    Ok(sections)
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
    let rib = RefCell::new(rib);
    let clock = Cell::new(0);
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

fn memory(rib: &Rib, grown_kib: u64, filling: &Filling, untouched: Duration) -> Section {
    let columns = [
        "entries",
        "slots MiB",
        "resident MiB",
        "fill ms",
        "longest UPDATE µs",
        "in memory not used before",
    ];
    let mut section = Section::new("Memory of the state", &columns);
    section.note(
        "Resident memory of the process after the state was filled, less that before. The state was \
         filled twice: the first time, beside which stands the longest UPDATE alone, in memory that \
         this machine may not have used before.",
    );
    section.row([
        grouped(rib.entries() as u64),
        format!("{:.1}", rib.bytes() as f64 / 1_048_576.0),
        format!("{:.1}", grown_kib as f64 / 1024.0),
        format!("{:.0}", filling.whole.as_secs_f64() * 1e3),
        format!("{:.0}", filling.longest.as_secs_f64() * 1e6),
        format!("{:.0}", untouched.as_secs_f64() * 1e6),
    ]);
    section
}

/// Hours from one round to the next: penalties are forgotten meanwhile, and nothing flaps.
const ROUND: Span = Span::from_millis(3 * 3_600_000);
/// From one delta to the next, as a table comes in live: time passes for the detector as well.
const PACE: Span = Span(2_000);

/// Takes how long one UPDATE took in ns, and its prefixes.
type Took<'a> = &'a mut dyn FnMut(u64, u64);

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
            resident.round(updates, speaker, None);
        }
        resident
    }

    /// Decodes and observes all, as the engine does it, and says how many prefixes that were; hands on
    /// how long the detector took with each UPDATE in ns, and its prefixes, if that is asked for.
    fn round(&mut self, updates: &Updates, speaker: u8, mut took: Option<Took<'_>>) -> u64 {
        self.now = self.now + ROUND;
        let (mut prefixes, mut waiting) = (0, VecDeque::with_capacity(LOOKAHEAD));
        for message in updates.iter().map(Some).chain([None; LOOKAHEAD]) {
            let coming = message.map(|message| {
                self.now = self.now + PACE;
                observation(message, speaker, self.now)
            });
            let began = took.is_some().then(Instant::now);
            coming.iter().for_each(|coming| self.detector.foresee(coming));
            waiting.extend(coming);
            if waiting.len() < LOOKAHEAD && message.is_some() {
                continue;
            }
            let Some(observation) = waiting.pop_front() else { break };
            self.detector.observe(&observation, &mut self.detected);
            let ns = began.map(|began| began.elapsed().as_nanos() as u64);
            let moved = prefixes_of(&observation);
            prefixes += moved;
            if let (Some(took), Some(ns)) = (&mut took, ns) {
                took(ns, moved);
            }
        }
        prefixes
    }
}

fn observation(message: &[u8], speaker: u8, at: Timestamp) -> Observation {
    Observation { at, link: 1, what: Observed::Routes(read(message, speaker)) }
}

fn prefixes_of(observation: &Observation) -> u64 {
    match &observation.what {
        Observed::Routes(delta) => (delta.withdrawn.len() + delta.announced.len()) as u64,
        _ => 0,
    }
}

/// Decodes all and lets each wait as long as before it is detected, which it never is.
fn decode_all(updates: &Updates, speaker: u8) -> u64 {
    let (mut prefixes, mut waiting) = (0, VecDeque::with_capacity(LOOKAHEAD));
    for message in updates.iter() {
        if waiting.len() == LOOKAHEAD {
            waiting.pop_front();
        }
        let observation = observation(message, speaker, Timestamp(0));
        prefixes += prefixes_of(&observation);
        waiting.push_back(black_box(observation));
    }
    prefixes
}

fn detection(sets: [&Updates; 2], prefixes: u32, effort: Effort) -> Result<Vec<Section>> {
    let resident = RefCell::new(Resident::new(sets[0]));
    let turn = Cell::new(0);
    let [repeating, changing] = SPEAKERS;
    let contenders = vec![
        Contender::timed("decoded", || Ok(decode_all(sets[0], repeating))),
        Contender::timed("decoded and detected: repeated", || {
            Ok(resident.borrow_mut().round(sets[0], repeating, None))
        }),
        Contender::timed("decoded and detected: changed", || {
            turn.set(1 - turn.get());
            Ok(resident.borrow_mut().round(sets[turn.get()], changing, None))
        }),
    ];
    let series = interleave(effort.pick(21, 5), contenders)?;
    let added = added(&series, prefixes);
    let mut resident = resident.into_inner();
    let alone = alone(&mut resident, sets, turn.get(), effort);
    ensure!(resident.detected.is_empty(), "no incident was due: {:?}", resident.detected.first());
    ensure!(resident.detector.overflows() == 0, "all prefixes have their place");
    Ok(vec![added, alone])
}

fn added(series: &[Series], prefixes: u32) -> Section {
    let columns = ["work", "ns a prefix", "min", "max", "added: median", "quartiles"];
    let mut section =
        Section::new("Detector: what it adds to a route delta, full tables in place", &columns);
    section.note(format!(
        "{} prefixes of each of {} sessions in place. UPDATEs of 1 to 6 prefixes in random order, each \
         2 µs after the one before, are decoded to observations, on one thread, and left at that or \
         handed to the detector, its per-prefix state included. A route delta is one prefix that was \
         announced. What is added is the difference to decoding alone, taken round by round, each round a \
         whole table. Goal: 60 ns.",
        grouped(prefixes.into()),
        SPEAKERS.len(),
    ));
    for one in series {
        let (fast, slow) = one.ns_range();
        let (low, high) = one.ns_above_quartiles(&series[0]);
        section.row([
            one.name.clone(),
            format!("{:.1}", one.ns()),
            format!("{fast:.1}"),
            format!("{slow:.1}"),
            format!("{:.1}", one.ns_above(&series[0])),
            format!("{low:.1}..{high:.1}"),
        ]);
    }
    section
}

/// Each delta alone; `turn` is the set that was announced last.
fn alone(resident: &mut Resident, sets: [&Updates; 2], turn: usize, effort: Effort) -> Section {
    let columns: Vec<&str> =
        ["announcements", "p50 ns a prefix"].into_iter().chain(PERCENTILES).collect();
    let mut section = Section::new("Detector: one UPDATE's deltas alone", &columns);
    let mut clock = latencies();
    for _ in 0..100_000 {
        let began = Instant::now();
        clock.saturating_record(began.elapsed().as_nanos() as u64);
    }
    let reading = clock.value_at_quantile(0.5);
    section.note(format!(
        "The same, each UPDATE of 1 to 6 prefixes timed alone, in µs, and by prefix: less what reading \
         the clock takes, {reading} ns (p50)."
    ));
    let rounds = effort.pick(3, 1);
    for (name, speaker) in [("repeated", SPEAKERS[0]), ("changed", SPEAKERS[1])] {
        let (mut whole, mut each) = (latencies(), latencies());
        for round in 1..=rounds {
            let set = if name == "changed" { (turn + round) % 2 } else { 0 };
            let mut took = |ns: u64, prefixes: u64| {
                whole.saturating_record(ns);
                let by_prefix = ns.saturating_sub(reading) / prefixes.max(1);
                each.saturating_record_n(by_prefix.max(1), prefixes);
            };
            resident.round(sets[set], speaker, Some(&mut took));
        }
        let cells = [name.to_owned(), each.value_at_quantile(0.5).to_string()];
        section.row(cells.into_iter().chain(percentiles_us(&whole)));
    }
    section
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
