//! Replay: captures and dumps through the same engine that runs live, at a chosen pace.
//!
//! **Invariant:** findings depend on the files alone: neither on the pace nor on the number of
//! workers. A replay that is stopped has found what one of the part read so far finds.

use crate::engine::{Engine, Output, Totals, relocate};
use crate::pace::{Pace, Pacer, SystemTimer, Timer};
use edgelore_capture::file::{FileError, FileProgress, FileSource, SteppedOver};
use edgelore_model::{Batch, Timestamp};
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::{DetectConfig, Detected};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What is due within this much time of the timer is handed over together.
const GRAIN: Duration = Duration::from_millis(10);

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of all files, as they lie on the disk.
    pub bytes: FileProgress,
    /// Time of the last signal handed over; `None` before the first.
    pub at: Option<Timestamp>,
    /// Incidents closed so far.
    pub incidents: u64,
}

/// A file with damage that was stepped over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// How often something was stepped over.
    pub faults: u64,
    /// The first of it.
    pub first: SteppedOver,
}

/// The end of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// Everything that was decoded.
    pub totals: Totals,
    /// Files whose damage was stepped over.
    pub damages: Vec<Damage>,
    /// False if it was stopped before the end.
    pub whole: bool,
    /// Why a file could not be opened or read on; everything before the fault was delivered.
    pub read: Result<(), FileError>,
}

/// What to replay with, beside the files.
#[derive(Debug)]
pub struct Replay<'a> {
    /// Decoding threads.
    pub workers: usize,
    /// How incidents are detected.
    pub detect: DetectConfig,
    /// How fast.
    pub pace: Pace,
    /// Ends the replay when it is set.
    pub stop: &'a AtomicBool,
}

impl Replay<'_> {
    /// Reads `files` one after the other as one history, waits by `timer`, hands what is found to
    /// `output` and says to `progress` how far it is.
    pub fn run<T: Timer>(
        &self,
        files: &[impl AsRef<Path>],
        timer: T,
        mut progress: impl FnMut(&Progress),
        mut output: impl FnMut(Output<'_>) + Send + 'static,
    ) -> Replayed {
        let incidents = Arc::new(AtomicU64::new(0));
        let closed = Arc::clone(&incidents);
        let output = move |out: Output<'_>| {
            let one = matches!(out, Output::Detected(Detected::Closed(_)));
            closed.fetch_add(u64::from(one), Ordering::Relaxed);
            output(out);
        };
        let config = DecodeConfig::default();
        let length = |file: &Path| std::fs::metadata(file).map_or(0, |data| data.len());
        let mut run = Run {
            stop: self.stop,
            engine: Engine::start(self.workers, &config, self.detect.clone(), output),
            pacer: Pacer::new(self.pace, timer),
            progress: &mut progress,
            incidents,
            before: 0,
            length: files.iter().map(|file| length(file.as_ref())).sum(),
            damages: Vec::new(),
        };
        let mut whole = true;
        let read = files.iter().try_for_each(|file| {
            if whole {
                whole = run.file(file.as_ref())?;
            }
            Ok(())
        });
        Replayed { totals: run.engine.finish(), damages: run.damages, whole, read }
    }
}

/// A replay under way.
struct Run<'a, T> {
    stop: &'a AtomicBool,
    engine: Engine,
    pacer: Pacer<T>,
    progress: &'a mut dyn FnMut(&Progress),
    incidents: Arc<AtomicU64>,
    /// Bytes of the files before the present one.
    before: u64,
    /// Bytes of all files.
    length: u64,
    damages: Vec<Damage>,
}

impl<T: Timer> Run<'_, T> {
    /// Reads one file; `false` when the replay is to end.
    fn file(&mut self, file: &Path) -> Result<bool, FileError> {
        let mut source = FileSource::open(file)?;
        let ended = self.batches(&mut source);
        self.before += source.progress().read;
        if let Some(first) = source.stepped_over().first() {
            let (file, faults) = (file.to_owned(), source.counts().faults);
            self.damages.push(Damage { file, faults, first: *first });
        }
        ended
    }

    fn batches(&mut self, source: &mut FileSource) -> Result<bool, FileError> {
        loop {
            let mut batch = Batch::default();
            let more = source.next_batch(&mut batch)?;
            let at = batch.signals.last().map(|signal| signal.at);
            if !self.submit(batch) {
                return Ok(false);
            }
            let read = self.before + source.progress().read;
            (self.progress)(&Progress {
                bytes: FileProgress { read, length: self.length },
                at,
                incidents: self.incidents.load(Ordering::Relaxed),
            });
            if !more {
                return Ok(true);
            }
        }
    }

    /// Hands a batch over when its signals are due; `false` when the replay is to end.
    fn submit(&mut self, batch: Batch) -> bool {
        let Some(last) = batch.signals.last() else { return true };
        if self.pacer.is_unpaced() {
            return self.pacer.wait(last.at, self.stop) && self.engine.submit(batch);
        }
        let mut rest = &batch.signals[..];
        while let Some(first) = rest.first() {
            let limit = self.pacer.due(first.at).saturating_add(GRAIN);
            let count = rest.iter().take_while(|s| self.pacer.due(s.at) <= limit).count().max(1);
            let (due, later) = rest.split_at(count);
            let mut part = Batch::default();
            for signal in due {
                let signal = relocate(signal, &batch, &mut part);
                part.signals.push(signal);
            }
            if !self.pacer.wait(due[count - 1].at, self.stop) || !self.engine.submit(part) {
                return false;
            }
            rest = later;
        }
        true
    }
}

/// Reads `files` one after the other as one history, as fast as it goes, and hands what is found to
/// `output`.
///
/// # Errors
/// When a file cannot be opened or read on; everything before the fault was delivered, and the
/// totals of it come with the error.
pub fn replay(
    files: &[impl AsRef<Path>],
    workers: usize,
    detect: DetectConfig,
    output: impl FnMut(Output<'_>) + Send + 'static,
) -> (Totals, Result<(), FileError>) {
    let stop = AtomicBool::new(false);
    let replay = Replay { workers, detect, pace: Pace::Max, stop: &stop };
    let replayed = replay.run(files, SystemTimer::default(), |_| {}, output);
    (replayed.totals, replayed.read)
}
