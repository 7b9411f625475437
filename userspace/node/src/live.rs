//! The live sources: a thread each, all into one queue, put in order by time.
//!
//! ```text
//! ring (XDP, tcx) ──┐
//!   ▲ links come and go
//! rtnetlink FIB   ──┼─bounded─► reorder ─► engine
//!   links ▼ watched │
//! counters 10 ms  ──┘
//! ```
//!
//! **Invariant:** a source never spins and never outlives its stop flag by more than
//! [`POLL`]; when the queue is full, counters are dropped and counted first, and the others wait,
//! so that the kernel's own buffers fill and their overflow is counted there.

use crate::config::CaptureConfig;
use crate::engine::Engine;
use crate::order::Reorder;
use crate::status::StatusSource;
use crate::watcher::{Change, Ends, Watcher};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use edgelore_capture::Clock;
use edgelore_capture::netlink::{CounterConfig, CounterSource, FibConfig, FibSource, NetlinkError};
use edgelore_capture::ring::RingError;
use edgelore_model::{Batch, LossReason, Signal, SignalKind, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a source sleeps at most before it looks at its stop flag.
pub const POLL: Duration = Duration::from_millis(100);
/// Batches that wait for the merge.
pub const BATCHES_QUEUED_MAX: usize = 64;
/// How often time passes in a quiet network.
const TICK: Duration = Duration::from_millis(20);

/// Why capture could not start.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The BPF side.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The rtnetlink side.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A glob among the interfaces is malformed.
    #[error("capture.interfaces: {0}")]
    Pattern(#[from] glob::PatternError),
    /// Nothing to watch.
    #[error("no interfaces to watch: set capture.interfaces")]
    NoInterfaces,
}

/// The sources, opened and attached but not yet read.
#[derive(Debug)]
pub struct Sources {
    watcher: Watcher,
    ends: Ends,
    fib: FibSource,
    counters: CounterSource,
    clock: Clock,
    reorder: Span,
}

impl Sources {
    /// Opens every source in the network namespace of this thread.
    ///
    /// # Errors
    /// When a program cannot be loaded or attached, or the kernel refuses rtnetlink.
    pub fn open(
        config: &CaptureConfig,
        clock: Clock,
        status: &StatusSource,
    ) -> Result<Self, LiveError> {
        if config.interfaces.is_empty() {
            return Err(LiveError::NoInterfaces);
        }
        let (watcher, ends) = Watcher::open(config, clock, status)?;
        let tables = config.fib_tables.clone();
        let fib = FibSource::open(FibConfig { clock, tables, ..FibConfig::default() })?;
        let interval = Duration::from_millis(config.counter_interval_ms.into());
        let links = watcher.links();
        let counters =
            CounterSource::open(CounterConfig { interval, ..CounterConfig::new(clock, links) })?;
        let reorder = Span::from_millis(config.reorder_ms.into());
        Ok(Self { watcher, ends, fib, counters, clock, reorder })
    }

    /// Where the operator's changes go while the sources run.
    #[must_use]
    pub fn changes(&self) -> Sender<Change> {
        self.ends.changes.clone()
    }

    /// Reads all sources into the engine until `stop` is set; gives the engine back.
    pub fn run(self, mut engine: Engine, stop: &Arc<AtomicBool>, status: &StatusSource) -> Engine {
        let (batches, queue) = bounded(BATCHES_QUEUED_MAX);
        let Self { mut watcher, ends, mut fib, mut counters, clock, reorder } = self;
        let Ends { changes, links } = ends;
        let threads = [
            spawn("ring", batches.clone(), stop, Full::Wait, status, move |batch| {
                watcher.read(batch)
            }),
            spawn("fib", batches.clone(), stop, Full::Wait, status, move |batch| {
                let read = fib.read(POLL, batch);
                pass_on(batch, &changes);
                read.map(drop).map_err(|error| error.to_string())
            }),
            spawn("counters", batches, stop, Full::Drop, status, move |batch| {
                if let Some(links) = links.try_iter().last() {
                    counters.watch(&links).map_err(|error| error.to_string())?;
                }
                counters.read(POLL, batch).map(drop).map_err(|error| error.to_string())
            }),
        ];
        merge(&queue, &mut engine, Reorder::new(reorder), clock, status);
        for thread in threads {
            thread.join().expect("a source thread never panics");
        }
        engine
    }
}

/// Tells the ring's thread what the kernel said of its links.
fn pass_on(batch: &Batch, changes: &Sender<Change>) {
    for signal in &batch.signals {
        if let SignalKind::Link(link) = &signal.kind {
            let (ifindex, name, present) = (signal.link, link.name.clone(), link.present);
            // The ring's thread is gone only when the node stops.
            let _ = changes.send(Change::Link { ifindex, name, present });
        }
    }
}

/// What a source does when the queue is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    Wait,
    Drop,
}

fn spawn(
    name: &'static str,
    batches: Sender<Batch>,
    stop: &Arc<AtomicBool>,
    full: Full,
    status: &StatusSource,
    mut read: impl FnMut(&mut Batch) -> Result<(), String> + Send + 'static,
) -> JoinHandle<()> {
    let (stop, status) = (Arc::clone(stop), status.clone());
    let body = move || {
        while !stop.load(Ordering::Relaxed) {
            let mut batch = Batch::default();
            if let Err(error) = read(&mut batch) {
                tracing::error!(source = name, error, "source failed");
                // A source that fails at once every time must not spin.
                std::thread::sleep(POLL);
            }
            if !batch.signals.is_empty() && !hand_over(&batches, batch, full, &status) {
                break;
            }
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the system has threads left")
}

/// False when nobody takes batches any more.
fn hand_over(batches: &Sender<Batch>, batch: Batch, full: Full, status: &StatusSource) -> bool {
    if full == Full::Wait {
        return batches.send(batch).is_ok();
    }
    match batches.try_send(batch) {
        Ok(()) => true,
        Err(TrySendError::Full(batch)) => {
            *status.update().lost.entry(LossReason::QueueFull).or_default() +=
                batch.signals.len() as u64;
            true
        }
        Err(TrySendError::Disconnected(_)) => false,
    }
}

/// Takes batches until every source has ended.
fn merge(
    queue: &Receiver<Batch>,
    engine: &mut Engine,
    mut reorder: Reorder,
    clock: Clock,
    status: &StatusSource,
) {
    loop {
        match queue.recv_timeout(TICK) {
            Ok(batch) => {
                reorder.add(&batch);
                queue.try_iter().take(BATCHES_QUEUED_MAX).for_each(|batch| reorder.add(&batch));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let mut ready = reorder.release(clock.now());
        count_losses(&ready, status);
        let passed = reorder.horizon(clock.now());
        ready.signals.push(Signal { at: passed, link: 0, kind: SignalKind::Tick });
        if !engine.submit(ready) {
            return;
        }
    }
    let rest = reorder.finish();
    count_losses(&rest, status);
    // The engine is finished next; if a stage of it has ended, that is where it shows.
    let _ = engine.submit(rest);
}

fn count_losses(batch: &Batch, status: &StatusSource) {
    for signal in &batch.signals {
        if let SignalKind::Lost { reason, count } = signal.kind {
            *status.update().lost.entry(reason).or_default() += count;
        }
    }
}
