//! The live sources: a thread each, all into one queue, put in order by time.
//!
//! ```text
//! gateway: ring, FIB, counters ──┐
//! routers: BMP listener        ──┴─bounded─► reorder ─► engine
//! ```
//!
//! **Invariant:** a source never spins and never outlives its stop flag by more than
//! [`POLL`]; when the queue is full, counters are dropped and counted first, and the others wait,
//! so that the kernel's own buffers fill and their overflow is counted there.

mod gateway;
mod routers;

use crate::config::CaptureConfig;
use crate::engine::Engine;
use crate::order::Reorder;
use crate::status::StatusSource;
use crate::watcher::Change;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use edgelore_capture::Clock;
use edgelore_capture::bmp::{BmpError, BmpSource};
use edgelore_capture::netlink::NetlinkError;
use edgelore_capture::ring::RingError;
use edgelore_model::{Batch, LossReason, Signal, SignalKind, Span, Timestamp};
use gateway::Gateway;
use std::net::SocketAddr;
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
/// How often a source's counters are read for the operator.
const COUNTERS_EVERY: Span = Span::from_millis(200);

/// Why capture could not start.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The BPF side.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The rtnetlink side.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The BMP listener.
    #[error(transparent)]
    Bmp(#[from] BmpError),
    /// A glob among the interfaces is malformed.
    #[error("capture.interfaces: {0}")]
    Pattern(#[from] glob::PatternError),
    /// Nothing to watch.
    #[error("nothing to watch: set capture.interfaces or capture.bmp")]
    NoInterfaces,
}

/// The sources, opened and attached but not yet read.
#[derive(Debug)]
pub struct Sources {
    /// The gateway itself; `None` when it only listens to routers.
    gateway: Option<Gateway>,
    bmp: Option<BmpSource>,
    clock: Clock,
    reorder: Span,
}

impl Sources {
    /// Opens every source in the network namespace of this thread.
    ///
    /// # Errors
    /// When a program cannot be loaded or attached, the kernel refuses rtnetlink, or the BMP
    /// listener's address cannot be had.
    pub fn open(
        config: &CaptureConfig,
        clock: Clock,
        status: &StatusSource,
    ) -> Result<Self, LiveError> {
        if config.interfaces.is_empty() && config.bmp.is_none() {
            return Err(LiveError::NoInterfaces);
        }
        let watching = !config.interfaces.is_empty();
        let gateway = watching.then(|| Gateway::open(config, clock, status)).transpose()?;
        let bmp = config.bmp.as_ref().map(|bmp| routers::open(bmp, clock)).transpose()?;
        let reorder = Span::from_millis(config.reorder_ms.into());
        Ok(Self { gateway, bmp, clock, reorder })
    }

    /// Where the operator's changes go while the sources run; `None` when no interface is watched.
    #[must_use]
    pub fn changes(&self) -> Option<Sender<Change>> {
        self.gateway.as_ref().map(Gateway::changes)
    }

    /// Where routers connect, if it listens to any; with the port that the system chose for port 0.
    #[must_use]
    pub fn bmp_address(&self) -> Option<SocketAddr> {
        self.bmp.as_ref()?.local_address().ok()
    }

    /// Reads all sources into the engine until `stop` is set; gives the engine back.
    pub fn run(self, mut engine: Engine, stop: &Arc<AtomicBool>, status: &StatusSource) -> Engine {
        let (batches, queue) = bounded(BATCHES_QUEUED_MAX);
        let Self { gateway, bmp, clock, reorder } = self;
        let start = Start { batches, stop, status, clock };
        let mut threads = Vec::new();
        if let Some(gateway) = gateway {
            threads.extend(gateway.start(&start));
        }
        threads.extend(bmp.map(|bmp| routers::start(bmp, &start)));
        drop(start);
        merge(&queue, &mut engine, Reorder::new(reorder), clock, status);
        for thread in threads {
            thread.join().expect("a source thread never panics");
        }
        engine
    }
}

/// What every source's thread is given.
struct Start<'a> {
    batches: Sender<Batch>,
    stop: &'a Arc<AtomicBool>,
    status: &'a StatusSource,
    clock: Clock,
}

impl Start<'_> {
    /// Reads a source on a thread of its own until it is told to stop.
    fn spawn(
        &self,
        name: &'static str,
        full: Full,
        mut read: impl FnMut(&mut Batch) -> Result<(), String> + Send + 'static,
    ) -> JoinHandle<()> {
        let (batches, stop) = (self.batches.clone(), Arc::clone(self.stop));
        let status = self.status.clone();
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
}

/// When a source's counters are read for the operator.
#[derive(Debug)]
pub(crate) struct Due {
    clock: Clock,
    last: Option<Timestamp>,
}

impl Due {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, last: None }
    }

    /// It is time, and the next time is [`COUNTERS_EVERY`] from now.
    pub(crate) fn now(&mut self) -> bool {
        let now = self.clock.now();
        let due = self.last.is_none_or(|last| now - last >= COUNTERS_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// What a source does when the queue is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    Wait,
    Drop,
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

/// How long the merge may wait for a batch: until a signal that it holds is due, or time passes.
fn patience(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = due.map_or(TICK, |due| Duration::from_nanos((due - now).0.max(0).unsigned_abs()));
    until.min(TICK)
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
        match queue.recv_timeout(patience(reorder.due(), clock.now())) {
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
