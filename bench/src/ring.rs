//! Kernel to pipeline: BGP segments run through the XDP program on one thread, read from the ring
//! buffer into batches and decoded on another.
//!
//! The frame repeats, so the reader gives every segment the sequence number that it would have had
//! in a stream; otherwise the decoder would rightly throw all but the first away.

use crate::frames;
use crate::injector::Injector;
use crate::inputs::{Random, update};
use crate::measure::{Effort, PERCENTILES, Work, latencies, percentiles_us};
use crate::report::{Section, grouped};
use anyhow::{Result, ensure};
use edgelore_capture::Clock;
use edgelore_capture::ring::{Program, Ring, RingConfig, object_embedded};
use edgelore_model::{Batch, Observed, Signal, SignalKind};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

const RING_BYTES: u32 = 8 << 20;
/// Runs in one call of the kernel.
const REPEAT: u32 = 10_000;
/// Records that fit the ring at once with room to spare.
const FITTING: u32 = 30_000;
/// No measurement here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How long a reader sleeps that lets records gather.
const NAP: Duration = Duration::from_millis(1);

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    const TITLE: &str = "Kernel to pipeline";
    if let Some(why) = unavailable() {
        return Ok(vec![Section::without_rows(TITLE, why)]);
    }
    let payload = update(3, &mut Random::new(3));
    let frame = frames::bgp(&payload);
    Ok(vec![halves(&frame, effort)?, together(&frame, effort)?, delay(&frame, effort)?])
}

/// Why there can be no ring here.
pub(crate) fn unavailable() -> Option<String> {
    if !object_embedded() {
        return Some(
            "Not measured: built without the eBPF object (`cargo xtask bench` builds it)."
                .to_owned(),
        );
    }
    (!nix::unistd::geteuid().is_root()).then(|| "Not measured: needs root.".to_owned())
}

/// A ring that no interface feeds.
pub(crate) fn open() -> Result<Ring> {
    open_with(Clock::new())
}

fn open_with(clock: Clock) -> Result<Ring> {
    let config = RingConfig { watch: Vec::new(), ring_bytes: RING_BYTES };
    let mut ring = Ring::open(&config, clock)?;
    ring.load(Program::Empty)?;
    ring.load(Program::Fill)?;
    Ok(ring)
}

/// What is done with what was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Batches,
    Decoder,
}

impl Reader {
    const ALL: [Self; 2] = [Self::Batches, Self::Decoder];

    const fn name(self) -> &'static str {
        match self {
            Self::Batches => "read into batches",
            Self::Decoder => "read into batches and decoded",
        }
    }
}

/// How a reader goes on after it has emptied the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At once: it waits to be woken.
    Steady,
    /// After a [`NAP`].
    Napping,
}

impl Pace {
    const fn name(self) -> &'static str {
        match self {
            Self::Steady => "",
            Self::Napping => ", 1 ms naps",
        }
    }
}

/// Reads the ring and turns the repeated segment into a stream.
struct Consumer {
    decoder: Option<Decoder>,
    batch: Batch,
    next_seq: u32,
    delivered: u64,
    decoded: u64,
}

impl Consumer {
    fn new(reader: Reader) -> Self {
        let decoder = (reader == Reader::Decoder).then(|| Decoder::new(DecodeConfig::default()));
        Self { decoder, batch: Batch::default(), next_seq: 1, delivered: 0, decoded: 0 }
    }

    /// Reads once; waits at most [`POLL`].
    fn poll(&mut self, ring: &mut Ring) -> Result<()> {
        self.batch.clear();
        ring.poll(POLL, &mut self.batch)?;
        let Self { decoder, batch, next_seq, delivered, decoded } = self;
        for signal in &mut batch.signals {
            let Signal { kind: SignalKind::Segment(segment), .. } = signal else { continue };
            segment.seq = *next_seq;
            *next_seq = next_seq.wrapping_add(segment.wire_len);
            *delivered += 1;
        }
        if let Some(decoder) = decoder {
            decoder.decode(batch, &mut |_, observation| {
                *decoded += u64::from(matches!(observation.what, Observed::Routes(_)));
            });
        }
        Ok(())
    }

    /// Everything that was read must have been decoded, or the figures mean something else.
    fn check(&self) -> Result<()> {
        let expected = if self.decoder.is_some() { self.delivered } else { 0 };
        ensure!(self.decoded == expected, "{} of {expected} records decoded", self.decoded);
        Ok(())
    }
}

/// Kernel side and user side by themselves, one after the other.
fn halves(frame: &[u8], effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Kernel to pipeline: each side alone",
        &["side", "ns a record", "min", "max", "M records/s"],
    );
    section.note(format!(
        "{} records of {} payload bytes fill part of an 8 MiB ring, then are drained; one core.",
        grouped(FITTING.into()),
        frame.len() - frames::BGP_HEADERS_LEN,
    ));
    let mut ring = open()?;
    let mut sides: Vec<(&str, Vec<f64>)> = vec![("program writes to the ring", Vec::new())];
    sides.extend(Reader::ALL.map(|reader| (reader.name(), Vec::new())));
    for _ in 0..effort.pick(21, 5) {
        for (at, reader) in Reader::ALL.into_iter().enumerate() {
            let written = ring.inject(Program::Xdp, frame, FITTING)?;
            let read = drain(&mut ring, reader)?;
            sides[0].1.push(written.as_nanos() as f64 / f64::from(FITTING));
            sides[at + 1].1.push(read.elapsed.as_nanos() as f64 / read.units as f64);
        }
    }
    for (name, mut ns) in sides {
        ns.sort_by(f64::total_cmp);
        let (low, middle, high) = (ns[0], ns[ns.len() / 2], ns[ns.len() - 1]);
        let figure = |value: f64| format!("{value:.1}");
        section.row([
            name.to_owned(),
            figure(middle),
            figure(low),
            figure(high),
            format!("{:.2}", 1e3 / middle),
        ]);
    }
    Ok(section)
}

fn drain(ring: &mut Ring, reader: Reader) -> Result<Work> {
    let mut consumer = Consumer::new(reader);
    let start = Instant::now();
    while consumer.delivered < u64::from(FITTING) {
        consumer.poll(ring)?;
        ensure!(start.elapsed() < PATIENCE, "only {} records came", consumer.delivered);
    }
    let elapsed = start.elapsed();
    consumer.check()?;
    Ok(Work { units: consumer.delivered, elapsed })
}

/// What one concurrent run brought.
#[derive(Clone, Copy)]
struct Flow {
    delivered: f64,
    lost: f64,
}

/// Both sides at once, as fast as they can.
fn together(frame: &[u8], effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Kernel to pipeline: both sides at once",
        &["reader", "M delivered/s", "min", "max", "ns a record", "M lost/s (ring full)"],
    );
    section.note(
        "One thread runs the program as fast as it can, another reads; what does not fit into the \
         ring is lost and counted. Delivered plus lost is what the program was given. Nothing \
         lost means that the thread that runs the program was the bound, not the reader.",
    );
    let records = effort.pick(2_000_000, 300_000);
    let paces = [Pace::Steady, Pace::Napping];
    let cases = paces.map(|pace| Reader::ALL.map(|reader| (reader, pace))).concat();
    let mut flows = vec![Vec::new(); cases.len()];
    for _ in 0..effort.pick(7, 3) {
        for (&(reader, pace), flows) in cases.iter().zip(&mut flows) {
            flows.push(overload(frame, reader, pace, records)?);
        }
    }
    for ((reader, pace), mut flows) in cases.into_iter().zip(flows) {
        flows.sort_by(|a, b| a.delivered.total_cmp(&b.delivered));
        let (low, middle, high) = (flows[0], flows[flows.len() / 2], flows[flows.len() - 1]);
        let million = |value: f64| format!("{:.2}", value / 1e6);
        section.row([
            format!("{}{}", reader.name(), pace.name()),
            million(middle.delivered),
            million(low.delivered),
            million(high.delivered),
            format!("{:.0}", 1e9 / middle.delivered),
            million(middle.lost),
        ]);
    }
    Ok(section)
}

/// Reads `records` while another thread runs the program without pause.
fn overload(frame: &[u8], reader: Reader, pace: Pace, records: u64) -> Result<Flow> {
    let mut ring = open()?;
    let injector = Injector::of(&ring)?;
    let stop = AtomicBool::new(false);
    let mut consumer = Consumer::new(reader);
    let elapsed = scope(|threads| {
        let producer = threads.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                injector.inject(frame, REPEAT)?;
            }
            Ok(())
        });
        let read = read_until(&mut ring, &mut consumer, records, || {
            if pace == Pace::Napping {
                std::thread::sleep(NAP);
            }
            producer.is_finished()
        });
        stop.store(true, Ordering::Relaxed);
        producer.join().expect("the producer does not panic")?;
        read
    })?;
    consumer.check()?;
    let seconds = elapsed.as_secs_f64();
    let lost = ring.counters()?.ingress.ring_full as f64;
    Ok(Flow { delivered: consumer.delivered as f64 / seconds, lost: lost / seconds })
}

/// Reads until enough has come, and says how long that took from the first record on.
fn read_until(
    ring: &mut Ring,
    consumer: &mut Consumer,
    records: u64,
    mut ended: impl FnMut() -> bool,
) -> Result<Duration> {
    consumer.poll(ring)?;
    let start = Instant::now();
    while consumer.delivered < records {
        consumer.poll(ring)?;
        ensure!(!ended() && start.elapsed() < PATIENCE, "only {} records came", consumer.delivered);
    }
    Ok(start.elapsed())
}

/// From the program to a batch in userspace, a record at a time.
fn delay(frame: &[u8], effort: Effort) -> Result<Section> {
    let count = effort.pick(5_000, 1_000);
    let columns: Vec<&str> = ["path", "records"].into_iter().chain(PERCENTILES).collect();
    let mut section = Section::new("Kernel to pipeline: latency", &columns);
    section.note(
        "One record a millisecond: from the program's `bpf_ktime_get_ns` to the moment when the \
         waiting reader holds the signal in a batch. Includes waking the reader.",
    );
    let histogram = delays(frame, count)?;
    let path = ["program → batch".to_owned(), grouped(histogram.len())];
    section.row(path.into_iter().chain(percentiles_us(&histogram)));
    Ok(section)
}

fn delays(frame: &[u8], count: u64) -> Result<Histogram<u64>> {
    let clock = Clock::new();
    let mut ring = open_with(clock)?;
    let injector = Injector::of(&ring)?;
    let mut histogram = latencies();
    scope(|threads| {
        let producer = threads.spawn(|| -> Result<()> {
            for _ in 0..count {
                injector.inject(frame, 1)?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let start = Instant::now();
        let mut batch = Batch::default();
        let mut read = || -> Result<()> {
            while histogram.len() < count {
                batch.clear();
                ring.poll(POLL, &mut batch)?;
                let now = clock.now();
                for signal in &batch.signals {
                    histogram.saturating_record(u64::try_from((now - signal.at).0).unwrap_or(0));
                }
                ensure!(start.elapsed() < PATIENCE, "only {} records came", histogram.len());
            }
            Ok(())
        };
        let read = read();
        producer.join().expect("the producer does not panic")?;
        read
    })?;
    Ok(histogram)
}
