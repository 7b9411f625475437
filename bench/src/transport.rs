//! The ring alone: a program that does nothing but fill it, against readers that do nothing but
//! copy records into batches. Between them lies what a record costs to cross.
//!
//! The producer does not wait for anybody: what the reader does not take in time is lost, and
//! shown. On a busy machine trust the CPU time; the rates need two idle CPUs.
//!
//! **Invariant:** read = written, and written + lost = offered, or the measurement fails.

use crate::injector::{Injector, second_reader};
use crate::inputs::{Random, update};
use crate::measure::Effort;
use crate::report::{Section, grouped};
use crate::ring::{open, unavailable};
use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, RingBuf};
use edgelore_capture::ring::{NAP, Program, Ring};
use edgelore_events::{
    FILL_LONG_WORDS, FILL_RECORDS, FILL_SHORT_WORDS, RECORD_HEADER_LEN, RecordHeader, fill, kind,
};
use edgelore_model::{Batch, SignalKind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

/// Records in a batch before it is emptied, as the ring source has it.
const BATCH_RECORDS: usize = 4096;
/// Bytes that wait when the threshold wakes the reader, and how long it waits at most.
const THRESHOLD: u32 = 256 << 10;
const POLL_MS: u8 = 1;
/// No measurement here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    if let Some(why) = unavailable() {
        return Ok(vec![Section::without_rows("Transport", why)]);
    }
    Ok(vec![filled(effort)?, streaming(effort)?])
}

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// `RingBuf::next`, which gives its position back with every record.
    Aya,
    /// The ring source's own, raw records copied into a batch.
    Own,
    /// The ring source as the node uses it: records become signals.
    Source,
}

/// How a reader goes on after it has emptied the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// It sleeps for a nap.
    Nap,
    /// It waits to be woken, at most [`POLL_MS`].
    Wait,
    /// It decides for itself.
    Itself,
}

/// A measured combination.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    reader: Reader,
    pace: Pace,
    policy: u32,
}

const CASES: [Case; 7] = [
    Case {
        name: "aya next(), nap, wake when caught up",
        reader: Reader::Aya,
        pace: Pace::Nap,
        policy: fill::WAKE_WHEN_CAUGHT_UP,
    },
    Case {
        name: "aya next(), nap, never woken",
        reader: Reader::Aya,
        pace: Pace::Nap,
        policy: fill::WAKE_NEVER,
    },
    Case {
        name: "own, nap, wake when caught up",
        reader: Reader::Own,
        pace: Pace::Nap,
        policy: fill::WAKE_WHEN_CAUGHT_UP,
    },
    Case {
        name: "own, nap, never woken",
        reader: Reader::Own,
        pace: Pace::Nap,
        policy: fill::WAKE_NEVER,
    },
    Case {
        name: "own, no nap, wake at 256 KiB",
        reader: Reader::Own,
        pace: Pace::Wait,
        policy: fill::WAKE_AT_CROSSING,
    },
    Case {
        name: "own, no nap, wake when caught up",
        reader: Reader::Own,
        pace: Pace::Wait,
        policy: fill::WAKE_WHEN_CAUGHT_UP,
    },
    Case {
        name: "ring source, 192-byte records to signals",
        reader: Reader::Source,
        pace: Pace::Itself,
        policy: fill::WAKE_WHEN_CAUGHT_UP,
    },
];

/// The frame that tells the program what to write: a short record is the beginning of a long one.
fn order(case: Case) -> Vec<u8> {
    let payload = update(3, &mut Random::new(3));
    let room = FILL_LONG_WORDS * 8 - RECORD_HEADER_LEN;
    let mut header =
        RecordHeader { kind: kind::BGP, ip_version: 4, seq: 1, ..RecordHeader::default() };
    (header.flow.src_port, header.flow.dst_port) = (40_000, 179);
    (header.payload_len, header.wire_len) = (room as u32, room as u32);
    let long = u32::from(case.reader == Reader::Source);
    let mut frame: Vec<u8> =
        [case.policy, long, THRESHOLD, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    frame.extend_from_slice(bytemuck::bytes_of(&header));
    frame.extend(payload.iter().copied().chain(std::iter::repeat(0)).take(room));
    frame
}

const fn record_bytes(reader: Reader) -> u64 {
    let words = if matches!(reader, Reader::Source) { FILL_LONG_WORDS } else { FILL_SHORT_WORDS };
    words as u64 * 8 + 8
}

/// A reader with the batch that it fills.
struct Consumer {
    ring: Ring,
    /// Reads in place of `ring`.
    aya: Option<RingBuf<MapData>>,
    case: Case,
    batch: Batch,
}

impl Consumer {
    fn new(case: Case) -> Result<Self> {
        let ring = open()?;
        let aya = (case.reader == Reader::Aya).then(|| second_reader(&ring)).transpose()?;
        Ok(Self { ring, aya, case, batch: Batch::default() })
    }

    /// Reads what is there, as far as one batch goes; how many records.
    fn drain(&mut self) -> Result<u64> {
        let Self { ring, aya, case, batch } = self;
        batch.clear();
        let mut records = 0;
        if case.reader == Reader::Source {
            ring.poll(Duration::from_millis(POLL_MS.into()), batch)?;
            // Losses are reported among the signals.
            let segments =
                batch.signals.iter().filter(|s| matches!(s.kind, SignalKind::Segment(_)));
            return Ok(segments.count() as u64);
        }
        let mut take = |record: &[u8]| {
            batch.append(record);
            records += 1;
            if records < BATCH_RECORDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        if let Some(aya) = aya {
            while let Some(record) = aya.next() {
                if take(&record).is_break() {
                    break;
                }
            }
        } else {
            ring.drain_raw(&mut take);
        }
        Ok(records as u64)
    }

    /// Lets records gather.
    fn pause(&self) -> Result<()> {
        match self.case.pace {
            Pace::Nap => std::thread::sleep(NAP),
            Pace::Wait => {
                let fd = PollFd::new(self.ring.as_fd(), PollFlags::POLLIN);
                poll(&mut [fd], PollTimeout::from(POLL_MS)).context("wait for records")?;
            }
            Pace::Itself => {}
        }
        Ok(())
    }
}

/// The ring is filled, then drained: what reading costs when nobody writes.
fn filled(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Transport: a full ring is drained",
        &["reader", "ns a record", "min", "max", "M records/s", "times aya"],
    );
    section.note(
        "An 8 MiB ring is filled to nine tenths with records of 64 bytes, then read into batches \
         of 4,096, one thread; CPU time.",
    );
    let cases = [CASES[0], CASES[2], CASES[6]];
    let mut consumers = cases.map(Consumer::new).into_iter().collect::<Result<Vec<_>>>()?;
    let mut rounds = vec![Vec::new(); cases.len()];
    for round in 0..=effort.pick(31, 9) {
        for (consumer, rounds) in consumers.iter_mut().zip(&mut rounds) {
            let ns = drain_full(consumer)?;
            // The first round warms up.
            if round > 0 {
                rounds.push(ns);
            }
        }
    }
    let base = median(&rounds[0]);
    for (case, mut ns) in cases.into_iter().zip(rounds) {
        let middle = median(&ns);
        ns.sort_by(f64::total_cmp);
        let figure = |value: f64| format!("{value:.1}");
        section.row([
            case.name.to_owned(),
            figure(middle),
            figure(ns[0]),
            figure(ns[ns.len() - 1]),
            figure(1e3 / middle),
            format!("{:.2}", base / middle),
        ]);
    }
    Ok(section)
}

/// ns a record.
fn drain_full(consumer: &mut Consumer) -> Result<f64> {
    let runs = (8 << 20) * 9 / 10 / record_bytes(consumer.case.reader) / u64::from(FILL_RECORDS);
    let runs = u32::try_from(runs).expect("a ring holds a few thousand runs");
    consumer.ring.inject(Program::Fill, &order(consumer.case), runs)?;
    let expected = u64::from(runs) * u64::from(FILL_RECORDS);
    let (start, mut read) = (cpu_time()?, 0);
    while read < expected {
        let more = consumer.drain()?;
        ensure!(more > 0, "only {read} of {expected} records came");
        read += more;
    }
    Ok((cpu_time()? - start).as_nanos() as f64 / read as f64)
}

/// What one concurrent run brought.
struct Flow {
    /// Wall time, from the first record to the last.
    read_per_s: f64,
    reader_ns: f64,
    writer_ns: f64,
    /// Of what was offered.
    lost: f64,
}

/// Producer and reader at once.
fn streaming(effort: Effort) -> Result<Section> {
    let columns =
        ["reader", "M read/s", "min", "max", "reader ns", "aya's / its", "writer ns", "lost %"];
    let mut section = Section::new("Transport: writer and reader at once", &columns);
    let runs = effort.pick(150_000, 60_000);
    section.note(format!(
        "{} records of 64 bytes offered a round; a nap is {} µs; ns are CPU time a record read or \
         offered; medians of the rounds.",
        grouped(u64::from(runs) * u64::from(FILL_RECORDS)),
        NAP.as_micros(),
    ));
    let mut flows: Vec<Vec<Flow>> = CASES.iter().map(|_| Vec::new()).collect();
    for _ in 0..effort.pick(9, 3) {
        for (case, flows) in CASES.iter().zip(&mut flows) {
            flows.push(stream(*case, runs)?);
        }
    }
    let of = |flows: &[Flow], figure: fn(&Flow) -> f64| -> Vec<f64> {
        let mut values: Vec<f64> = flows.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let base = median(&of(&flows[0], |flow| flow.reader_ns));
    for (case, flows) in CASES.iter().zip(&flows) {
        let rates = of(flows, |flow| flow.read_per_s);
        let reader = median(&of(flows, |flow| flow.reader_ns));
        let million = |rate: f64| format!("{:.1}", rate / 1e6);
        section.row([
            case.name.to_owned(),
            million(median(&rates)),
            million(rates[0]),
            million(rates[rates.len() - 1]),
            format!("{reader:.1}"),
            format!("{:.2}", base / reader),
            format!("{:.1}", median(&of(flows, |flow| flow.writer_ns))),
            format!("{:.2}", median(&of(flows, |flow| flow.lost)) * 100.0),
        ]);
    }
    Ok(section)
}

fn stream(case: Case, runs: u32) -> Result<Flow> {
    let mut consumer = Consumer::new(case)?;
    let injector = Injector::through(Program::Fill, &consumer.ring)?;
    let ended = AtomicBool::new(false);
    let (writer, reader) = scope(|threads| {
        let writer = threads.spawn(|| {
            let written = inject_timed(&injector, case, runs);
            ended.store(true, Ordering::Release);
            written
        });
        let reader = follow(&mut consumer, &ended);
        (writer.join().expect("the writer does not panic"), reader)
    });
    let (used, read) = (writer?, reader?);
    let counters = consumer.ring.counters()?.ingress;
    let offered = u64::from(runs) * u64::from(FILL_RECORDS);
    let seen = read.first + read.records;
    let (written, lost) = (counters.records, counters.ring_full);
    ensure!(
        written == seen && written + lost == offered,
        "{}: of {offered} records {written} were written, {lost} lost, {seen} read",
        case.name
    );
    Ok(Flow {
        read_per_s: read.records as f64 / read.elapsed.as_secs_f64(),
        reader_ns: read.used.as_nanos() as f64 / read.records as f64,
        writer_ns: used.as_nanos() as f64 / offered as f64,
        lost: counters.ring_full as f64 / offered as f64,
    })
}

/// The writer's CPU time.
fn inject_timed(injector: &Injector, case: Case, runs: u32) -> Result<Duration> {
    let start = cpu_time()?;
    injector.inject(&order(case), runs)?;
    Ok(cpu_time()? - start)
}

/// What a reader did.
struct Read {
    /// Records of the first reading, which started the clocks.
    first: u64,
    /// Records after it.
    records: u64,
    /// CPU time.
    used: Duration,
    /// From the first record to the last.
    elapsed: Duration,
}

/// Reads until the writer has ended and nothing is left. The clocks start with the first record:
/// before it the kernel prepares the writer's run.
fn follow(consumer: &mut Consumer, ended: &AtomicBool) -> Result<Read> {
    let begun = Instant::now();
    let mut first = None;
    let (mut total, mut last) = (0u64, begun);
    loop {
        let no_more = ended.load(Ordering::Acquire);
        let records = consumer.drain()?;
        total += records;
        if records > 0 {
            last = Instant::now();
            if first.is_none() {
                first = Some((last, cpu_time()?, records));
            }
        } else if let Some((start, cpu, first)) = first
            && no_more
        {
            let (used, elapsed) = (cpu_time()? - cpu, last - start);
            return Ok(Read { first, records: total - first, used, elapsed });
        }
        ensure!(begun.elapsed() < PATIENCE, "only {total} records came");
        if records < BATCH_RECORDS as u64 {
            consumer.pause()?;
        }
    }
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the CPU clock")?.into())
}

/// The middle value, the upper one of two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
