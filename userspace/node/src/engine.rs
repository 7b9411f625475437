//! The engine: from batches of signals to findings, on several threads, with one result.
//!
//! ```text
//! source ─► Sharder ──bounded──► worker 0: Decoder ──bounded──► merge by number ─► Detector ─► Distiller
//!                  └──bounded──► worker n: Decoder ──bounded──►
//! ```
//!
//! Every signal gets a number; its session decides its worker; the merge restores the order of
//! the numbers. So one worker and many give the same findings, bit for bit. Rounds (one batch cut
//! into a part per worker) keep the merge bounded: it never holds more than one round.
//!
//! **Invariant:** queues are bounded ([`ROUNDS_QUEUED_MAX`]) and block when full: a slow stage
//! slows its source, and what a live source then loses is counted where it is lost.

use crossbeam::channel::{Receiver, Sender, bounded};
use edgelore_model::{Batch, Observation, Signal, SignalKind, Summary, Timestamp};
use edgelore_pipeline::decode::{DecodeConfig, Decoder, shard_of};
use edgelore_pipeline::detect::{DetectConfig, Detected, Detector, Window};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, spawn};

/// Rounds that wait between two stages.
pub const ROUNDS_QUEUED_MAX: usize = 16;
/// Workers at most.
pub const WORKERS_MAX: usize = 64;

/// How many observations ahead the detector is told of one that comes.
const LOOKAHEAD: usize = 8;

/// Stands for the number of a signal where decoders flush what they still hold.
const FLUSHED: u64 = u64::MAX;

/// A part of a batch, for one worker, with the numbers of its signals.
#[derive(Debug, Default)]
struct Part {
    batch: Batch,
    numbers: Vec<u64>,
}

/// Observations of one part, each with the number of its signal.
type Decoded = Vec<(u64, Observation)>;

/// What comes out of the engine, in order.
#[derive(Debug)]
pub enum Output<'a> {
    /// An observation.
    Observation(&'a Observation),
    /// What detection tells.
    Detected(Detected),
}

/// The last word of an engine that was shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything that was decoded.
    pub summary: Summary,
    /// What did not fit into the bounded tables of decoders and detector.
    pub overflows: u64,
}

/// What was decoded so far, and what did not fit; cheap to clone.
#[derive(Clone, Debug)]
pub struct Figures(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    workers: Vec<Mutex<(Summary, u64)>>,
    detector: AtomicU64,
}

impl Figures {
    fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| Mutex::default()).collect();
        Self(Arc::new(Shared { workers, detector: AtomicU64::new(0) }))
    }

    fn of(&self, worker: usize) -> MutexGuard<'_, (Summary, u64)> {
        self.0.workers[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What did not fit into the bounded tables of decoders and detector.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        let decoders: u64 = (0..self.0.workers.len()).map(|worker| self.of(worker).1).sum();
        decoders + self.0.detector.load(Ordering::Relaxed)
    }

    /// The sum over all workers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        for worker in 0..self.0.workers.len() {
            sum += self.of(worker).0;
        }
        sum
    }
}

/// Changes the detector's settings while the engine runs; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tuning(Arc<Mutex<Tuned>>);

/// What the detector has not been told yet.
#[derive(Debug, Default)]
struct Tuned {
    config: Option<DetectConfig>,
    windows: Option<Vec<Window>>,
}

impl Tuning {
    /// The detector goes on with these thresholds and times from the next round of batches on; the
    /// bounds on its memory stay.
    pub fn set(&self, config: DetectConfig) {
        self.untold().config = Some(config);
    }

    /// Incidents that close from the next round of batches on, and overlap one of these windows,
    /// are marked as maintenance.
    pub fn maintain(&self, windows: Vec<Window>) {
        self.untold().windows = Some(windows);
    }

    fn untold(&self) -> MutexGuard<'_, Tuned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, detector: &mut Detector) {
        let Tuned { config, windows } = std::mem::take(&mut *self.untold());
        if let Some(config) = config {
            detector.retune(&config);
        }
        if let Some(windows) = windows {
            detector.maintain(windows);
        }
    }
}

/// The decoding workers and the detecting thread.
#[derive(Debug)]
pub struct Engine {
    parts: Vec<Sender<Part>>,
    workers: Vec<JoinHandle<()>>,
    detector: JoinHandle<()>,
    figures: Figures,
    tuning: Tuning,
    next_number: u64,
    last: Arc<AtomicI64>,
}

impl Engine {
    /// Starts `workers` decoders (1 to 64) and the detector, which hands what it finds to
    /// `output` on its own thread.
    pub fn start(
        workers: usize,
        decode: &DecodeConfig,
        detect: DetectConfig,
        output: impl FnMut(Output<'_>) + Send + 'static,
    ) -> Self {
        let workers = workers.clamp(1, WORKERS_MAX);
        let figures = Figures::new(workers);
        let mut parts = Vec::new();
        let mut decoded = Vec::new();
        let mut handles = Vec::new();
        for worker in 0..workers {
            let (part_in, part_out) = bounded(ROUNDS_QUEUED_MAX);
            let (decoded_in, decoded_out) = bounded(ROUNDS_QUEUED_MAX);
            let decoder = Decoder::new(*decode);
            let figures = figures.clone();
            handles.push(spawn(move || {
                work(decoder, &part_out, &decoded_in, |decoder| publish(&figures, worker, decoder));
            }));
            parts.push(part_in);
            decoded.push(decoded_out);
        }
        let last = Arc::new(AtomicI64::new(0));
        let tuning = Tuning::default();
        let detector = {
            let (last, figures, tuning) = (Arc::clone(&last), figures.clone(), tuning.clone());
            let detector = Detector::new(detect);
            spawn(move || detect_all(detector, &decoded, &last, &figures, &tuning, output))
        };
        Self { parts, workers: handles, detector, figures, tuning, next_number: 0, last }
    }

    /// Live figures, which outlive the engine.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures.clone()
    }

    /// Changes the detector's settings.
    #[must_use]
    pub fn tuning(&self) -> Tuning {
        self.tuning.clone()
    }

    /// Hands a batch over; blocks while the queues are full. False when a stage has ended, which
    /// it does only by a panic: the caller then stops and [`Engine::finish`] passes it on.
    #[must_use]
    pub fn submit(&mut self, batch: Batch) -> bool {
        let count = batch.signals.len() as u64;
        if let Some(signal) = batch.signals.last() {
            self.last.store(signal.at.0, Ordering::Release);
        }
        let parts = shard(batch, self.parts.len(), self.next_number);
        self.next_number += count;
        self.parts.iter().zip(parts).all(|(queue, part)| queue.send(part).is_ok())
    }

    /// Lets everything that was submitted run through and ends the threads.
    ///
    /// # Panics
    /// If a worker or `output` panicked.
    #[must_use]
    pub fn finish(self) -> Totals {
        drop(self.parts);
        for worker in self.workers {
            worker.join().expect("a decoding worker never panics");
        }
        self.detector.join().expect("the detector never panics");
        Totals { summary: self.figures.summary(), overflows: self.figures.overflows() }
    }
}

/// Cuts a batch into a part per worker. One worker gets the batch as it is.
fn shard(batch: Batch, workers: usize, first: u64) -> Vec<Part> {
    let numbers = first..first + batch.signals.len() as u64;
    if workers == 1 {
        return vec![Part { batch, numbers: numbers.collect() }];
    }
    let mut parts: Vec<Part> = (0..workers).map(|_| Part::default()).collect();
    for (number, signal) in numbers.zip(&batch.signals) {
        let part = &mut parts[shard_of(signal, workers)];
        let moved = relocate(signal, &batch, &mut part.batch);
        part.batch.signals.push(moved);
        part.numbers.push(number);
    }
    parts
}

/// The signal with its payload copied into another batch's arena.
pub(crate) fn relocate(signal: &Signal, from: &Batch, to: &mut Batch) -> Signal {
    let mut signal = signal.clone();
    let payload = match &mut signal.kind {
        SignalKind::Segment(segment) => &mut segment.payload,
        SignalKind::Bfd(datagram) | SignalKind::Ospf(datagram) | SignalKind::LdpHello(datagram) => {
            &mut datagram.payload
        }
        SignalKind::Bmp(message) => &mut message.payload,
        SignalKind::Isis(frame) => &mut frame.payload,
        SignalKind::Message(message) => &mut message.payload,
        SignalKind::Table(record) => &mut record.payload,
        _ => return signal,
    };
    *payload = to.append(from.payload(*payload));
    signal
}

fn publish(figures: &Figures, worker: usize, decoder: &Decoder) {
    *figures.of(worker) = (*decoder.summary(), decoder.overflow().total());
}

fn work(
    mut decoder: Decoder,
    parts: &Receiver<Part>,
    decoded: &Sender<Decoded>,
    publish: impl Fn(&Decoder),
) {
    for part in parts {
        let mut observations = Decoded::new();
        decoder.decode(&part.batch, &mut |index, observation| {
            observations.push((part.numbers[index], observation));
        });
        publish(&decoder);
        if decoded.send(observations).is_err() {
            return;
        }
    }
    let mut last = Decoded::new();
    decoder.finish(&mut |_, observation| last.push((FLUSHED, observation)));
    publish(&decoder);
    // The detector may be gone only when it panicked, which `Engine::finish` reports.
    let _ = decoded.send(last);
}

fn detect_all(
    mut detector: Detector,
    workers: &[Receiver<Decoded>],
    last: &AtomicI64,
    figures: &Figures,
    tuning: &Tuning,
    mut output: impl FnMut(Output<'_>),
) {
    let mut detected = Vec::new();
    loop {
        let round: Vec<Decoded> = workers.iter().filter_map(|queue| queue.recv().ok()).collect();
        if round.is_empty() {
            break;
        }
        tuning.tell(&mut detector);
        let merged = merge(round, last);
        for (at, (_, observation)) in merged.iter().enumerate() {
            if let Some((_, coming)) = merged.get(at + LOOKAHEAD) {
                detector.foresee(coming);
            }
            output(Output::Observation(observation));
            detector.observe(observation, &mut detected);
            detected.drain(..).for_each(|detected| output(Output::Detected(detected)));
        }
        figures.0.detector.store(detector.overflows(), Ordering::Relaxed);
    }
    detector.finish(&mut detected);
    detected.drain(..).for_each(|detected| output(Output::Detected(detected)));
    figures.0.detector.store(detector.overflows(), Ordering::Relaxed);
}

/// One round in the order of its signals. A signal's own observations keep their order, for they
/// come from one worker. What decoders flush at the end has no number: it gets the time of the
/// last signal of all, since each worker knows only its own last one, and is ordered by its text.
fn merge(round: Vec<Decoded>, last: &AtomicI64) -> Decoded {
    let mut merged: Decoded = round.into_iter().flatten().collect();
    merged.sort_by_key(|(number, _)| *number);
    let flushed = merged.partition_point(|(number, _)| *number < FLUSHED);
    for (_, observation) in &mut merged[flushed..] {
        observation.at = Timestamp(last.load(Ordering::Acquire));
        observation.link = 0;
    }
    merged[flushed..].sort_by_cached_key(|(_, observation)| format!("{observation:?}"));
    merged
}
