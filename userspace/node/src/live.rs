//! The live sources: a thread each, all into one queue, put in order by time.
//!
//! ```text
//! ring (XDP, tcx) ──┐
//! rtnetlink FIB   ──┼─bounded─► reorder ─► engine
//! counters 10 ms  ──┤
//! tracepoints     ──┘
//! ```
//!
//! **Invariant:** a source never spins and never outlives its stop flag by more than
//! [`POLL`]; when the queue is full, counters are dropped and counted first, and the others wait,
//! so that the kernel's own buffers fill and their overflow is counted there.

use crate::config::CaptureConfig;
use crate::engine::Engine;
use crate::order::Reorder;
use crate::status::StatusSource;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use edgelore_capture::Clock;
use edgelore_capture::netlink::{CounterConfig, CounterSource, FibConfig, FibSource, NetlinkError};
use edgelore_capture::ring::{
    Attachment, Counters, DirectionCounters, Ring, RingConfig, RingError, Watch,
};
use edgelore_capture::trace::{TraceConfig, TraceSource};
use edgelore_model::{Batch, LossReason, Signal, SignalKind, Span};
use std::collections::BTreeMap;
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

/// How often the kernel's counters are read for the operator.
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
    /// Nothing to watch.
    #[error("no interfaces to watch: set capture.interfaces")]
    NoInterfaces,
}

/// The sources, opened and attached but not yet read.
#[derive(Debug)]
pub struct Sources {
    ring: Ring,
    fib: FibSource,
    counters: CounterSource,
    /// Absent when it is not wanted or cannot be had: the others say what matters most.
    trace: Option<TraceSource>,
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
        let watch = config.interfaces.iter().map(Watch::both).collect();
        let ring = Ring::open(&RingConfig { watch, ring_bytes: config.ring_bytes }, clock)?;
        status.update().interfaces = describe(ring.attachments());
        let mut links: Vec<u32> = ring.attachments().iter().map(|a| a.ifindex).collect();
        links.sort_unstable();
        links.dedup();
        let tables = config.fib_tables.clone();
        let fib = FibSource::open(FibConfig { clock, tables, ..FibConfig::default() })?;
        let interval = Duration::from_millis(config.counter_interval_ms.into());
        let counters = CounterSource::open(CounterConfig {
            interval,
            ..CounterConfig::new(clock, links.clone())
        })?;
        let trace = config.tracepoints.then(|| open_trace(clock, links, status)).flatten();
        let reorder = Span::from_millis(config.reorder_ms.into());
        Ok(Self { ring, fib, counters, trace, clock, reorder })
    }

    /// Reads all sources into the engine until `stop` is set; gives the engine back.
    pub fn run(self, mut engine: Engine, stop: &Arc<AtomicBool>, status: &StatusSource) -> Engine {
        let (batches, queue) = bounded(BATCHES_QUEUED_MAX);
        let Self { mut ring, mut fib, mut counters, trace, clock, reorder } = self;
        let ring_status = status.clone();
        let mut counted = None;
        let mut threads = vec![
            spawn("ring", batches.clone(), stop, Full::Wait, status, move |batch| {
                let polled = ring.poll(POLL, batch);
                let now = clock.now();
                if counted.is_none_or(|last| now - last >= COUNTERS_EVERY) {
                    counted = Some(now);
                    let counters = ring.counters().map_err(|error| error.to_string())?;
                    ring_status.update().kernel = named(&counters);
                }
                polled.map(drop).map_err(|error| error.to_string())
            }),
            spawn("fib", batches.clone(), stop, Full::Wait, status, move |batch| {
                fib.read(POLL, batch).map(drop).map_err(|error| error.to_string())
            }),
            spawn("counters", batches.clone(), stop, Full::Drop, status, move |batch| {
                counters.read(POLL, batch).map(drop).map_err(|error| error.to_string())
            }),
        ];
        if let Some(mut trace) = trace {
            threads.push(spawn("trace", batches.clone(), stop, Full::Wait, status, move |batch| {
                trace.read(POLL, batch).map(drop).map_err(|error| error.to_string())
            }));
        }
        drop(batches);
        merge(&queue, &mut engine, Reorder::new(reorder), clock, status);
        for thread in threads {
            thread.join().expect("a source thread never panics");
        }
        engine
    }
}

/// Opens the tracepoint source and says what it could have; without it capture goes on.
fn open_trace(clock: Clock, links: Vec<u32>, status: &StatusSource) -> Option<TraceSource> {
    let source = TraceSource::open(&TraceConfig::new(clock, links))
        .inspect_err(|error| tracing::warn!(%error, "tracepoints are not watched"))
        .ok()?;
    let mut status = status.update();
    for tracepoint in source.attached() {
        status.tracepoints.insert(tracepoint.name().to_owned(), "attached".to_owned());
    }
    for missing in source.missing() {
        tracing::warn!(what = missing.name, why = missing.why, "not to be had on this kernel");
        status.tracepoints.insert(missing.name.to_owned(), missing.why.clone());
    }
    drop(status);
    Some(source)
}

/// How the programs are attached, per interface, for the operator.
fn describe(attachments: &[Attachment]) -> BTreeMap<String, Vec<String>> {
    let mut interfaces: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for attachment in attachments {
        let mut text = format!("{:?}", attachment.mode);
        if !attachment.fallback.is_empty() {
            text += &format!(" ({})", attachment.fallback);
        }
        interfaces.entry(attachment.interface.clone()).or_default().push(text);
    }
    interfaces
}

/// The kernel side's counters by direction and name.
fn named(counters: &Counters) -> BTreeMap<String, u64> {
    let direction = |name: &'static str, counters: &DirectionCounters| {
        counters.named().into_iter().map(move |(key, value)| (format!("{name}.{key}"), value))
    };
    direction("ingress", &counters.ingress)
        .chain(direction("egress", &counters.egress))
        .chain([("malformed".to_owned(), counters.malformed)])
        .collect()
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
