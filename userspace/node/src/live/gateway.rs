//! The sources that watch the gateway itself: its packets, its forwarding table, its links.
//!
//! ```text
//! ring (XDP, tcx) ──┐
//!   ▲ links come and go
//! rtnetlink FIB   ──┼─► batches
//!   links ▼ watched │
//! counters 10 ms  ──┤
//! tracepoints     ──┤
//! queues          ──┤
//! neighbours      ──┘
//! ```

use super::{Full, LiveError, POLL, Start};
use crate::config::CaptureConfig;
use crate::egress::Speech;
use crate::status::StatusSource;
use crate::watcher::{Change, Ends, Watcher};
use crossbeam::channel::Sender;
use edgelore_capture::Clock;
use edgelore_capture::netlink::{
    CounterConfig, CounterSource, FibConfig, FibSource, NeighbourSource, QueueSource, TableConfig,
};
use edgelore_capture::trace::{TraceConfig, TraceSource};
use edgelore_model::{Batch, SignalKind};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Gateway {
    watcher: Watcher,
    speech: Speech,
    ends: Ends,
    fib: FibSource,
    counters: CounterSource,
    queues: QueueSource,
    neighbours: NeighbourSource,
    /// Absent when it is not wanted or cannot be had: the others say what matters most.
    trace: Option<TraceSource>,
}

impl Gateway {
    pub(super) fn open(
        config: &CaptureConfig,
        clock: Clock,
        status: &StatusSource,
    ) -> Result<Self, LiveError> {
        let speech = Speech::open();
        let (watcher, ends) = Watcher::open(config, speech.said(), clock, status)?;
        let tables = config.fib_tables.clone();
        let fib = FibSource::open(FibConfig { clock, tables, ..FibConfig::default() })?;
        let interval = Duration::from_millis(config.counter_interval_ms.into());
        let links = watcher.links();
        let trace = config.tracepoints.then(|| open_trace(clock, links.clone(), status)).flatten();
        let counters =
            CounterSource::open(CounterConfig { interval, ..CounterConfig::new(clock, links) })?;
        let interval = Duration::from_millis(config.queue_interval_ms.into());
        let queues = TableConfig { interval, ..TableConfig::queues(clock) };
        let queues = QueueSource::open(queues)?;
        let neighbours = NeighbourSource::open(TableConfig::neighbours(clock))?;
        Ok(Self { watcher, speech, ends, fib, counters, queues, neighbours, trace })
    }

    /// Where the operator's changes go.
    pub(super) fn changes(&self) -> Sender<Change> {
        self.ends.changes.clone()
    }

    pub(super) fn start(self, start: &Start<'_>) -> Vec<JoinHandle<()>> {
        let Self { mut watcher, mut speech, ends, mut fib, mut counters, .. } = self;
        let Self { mut queues, mut neighbours, trace, .. } = self;
        let Ends { changes, links: [links, traced_links] } = ends;
        let told_to = changes.clone();
        let mut threads = vec![
            start.spawn("ring", Full::Wait, move |batch| watcher.read(batch)),
            start.spawn("fib", Full::Wait, move |batch| {
                let read = fib.read(POLL, batch);
                pass_on(batch, &changes);
                told(read)
            }),
            start.spawn("counters", Full::Drop, move |batch| {
                if let Some(links) = links.try_iter().last() {
                    told(counters.watch(&links))?;
                }
                told(counters.read(POLL, batch))
            }),
            start.spawn("queues", Full::Wait, move |batch| told(queues.read(POLL, batch))),
            start.spawn("sockets", Full::Wait, move |_| {
                if speech.changed_after(POLL) {
                    // The ring's thread is gone only when the node stops.
                    let _ = told_to.send(Change::Speaks(speech.said().clone()));
                }
                Ok(())
            }),
            start.spawn("neighbours", Full::Wait, move |batch| told(neighbours.read(POLL, batch))),
        ];
        threads.extend(trace.map(|mut trace| {
            start.spawn("trace", Full::Wait, move |batch| {
                if let Some(links) = traced_links.try_iter().last() {
                    told(trace.watch(&links))?;
                }
                told(trace.read(POLL, batch))
            })
        }));
        threads
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

/// What a source's thread tells of a read.
fn told<T, E: ToString>(read: Result<T, E>) -> Result<(), String> {
    read.map(drop).map_err(|error| error.to_string())
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
