//! Owns an open ring: its configuration, its attachments and the way of records into batches.
//!
//! The programs wake the reader only when it has read everything before (`flags` 0), so a burst
//! costs one wake-up. While records come faster than one per [`NAP`] the reader does not even wait
//! for that: it sleeps for a nap and reads what has gathered. So a lone record is read as soon as
//! the reader can be woken, and no rate of records makes more than a few thousand readings a second.
//!
//! **Invariant:** a poll returns after at most its timeout plus one [`NAP`] and one bounded drain,
//! and never spins; a batch never grows past [`BATCH_SIGNALS_MAX`] signals and
//! [`BATCH_BYTES_MAX`] bytes by more than one record.

use super::attach::{Attachment, Attachments, Watch};
use super::counters::Losses;
use super::log::KernelLog;
use super::object::{Object, Program};
use super::{Classified, Counters, RingError, selftest, signal_of};
use crate::Clock;
use edgelore_events::{RECORD_HEADER_LEN, RING_BYTES_DEFAULT};
use edgelore_model::{Batch, LossReason, Signal, SignalKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Signals in a batch after which a drain stops.
pub const BATCH_SIGNALS_MAX: usize = 4096;
/// Payload bytes in a batch after which a drain stops.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// How long the reader of a busy ring sleeps, to let records gather.
pub const NAP: Duration = Duration::from_micros(200);
/// So many records at once mean that the ring is busy.
const BURST_RECORDS: usize = 64;

/// How to open a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// What to watch; empty for a ring that is only fed by [`Ring::inject`].
    pub watch: Vec<Watch>,
    /// Ring buffer size in bytes: a power of two between 128 KiB and 1 GiB.
    pub ring_bytes: u32,
}

impl RingConfig {
    /// Both directions of these interfaces, with the default ring of 8 MiB.
    pub fn watching<I: Into<String>>(interfaces: impl IntoIterator<Item = I>) -> Self {
        let watch = interfaces.into_iter().map(Watch::both).collect();
        Self { watch, ring_bytes: RING_BYTES_DEFAULT }
    }
}

/// The live source of BGP segments and BFD packets.
pub struct Ring {
    object: Object,
    log: Option<KernelLog>,
    clock: Clock,
    attachments: Attachments,
    /// Counters after the self-test.
    baseline: Counters,
    /// Losses that have been reported.
    lost: Losses,
    malformed: u64,
    pace: Pace,
}

/// Whether records come so fast that the reader had better let them gather.
#[derive(Debug)]
struct Pace {
    busy: bool,
    /// When records were last found.
    found: Instant,
}

impl Pace {
    /// Takes note of a drain that found `records` and left the ring `empty` or not.
    fn note(&mut self, now: Instant, records: usize, empty: bool) {
        let soon = now.saturating_duration_since(self.found) < 2 * NAP;
        // Whoever left something behind goes on at once.
        self.busy = empty && records > 0 && (soon || records >= BURST_RECORDS);
        if records > 0 {
            self.found = now;
        }
    }
}

impl Ring {
    /// Loads the programs, proves that each runs, and attaches them in this thread's network
    /// namespace. Timestamps are the kernel's monotonic clock shifted by `clock`.
    ///
    /// # Errors
    /// [`RingError`] when the object is missing or of another version, when the kernel refuses a
    /// program, or when an interface cannot be watched at all. What was attached is detached.
    pub fn open(config: &RingConfig, clock: Clock) -> Result<Self, RingError> {
        let mut object = Object::load(config.ring_bytes)?;
        let mut log = KernelLog::open(&mut object.ebpf);
        selftest::run(&mut object)?;
        let baseline = Counters::read(&object.counters)?;
        let lost = Losses::read(&object.counters)?;
        if let Some(log) = &mut log {
            log.flush();
        }
        let pace = Pace { busy: false, found: Instant::now() };
        let mut attachments = Attachments::default();
        for watch in &config.watch {
            attachments.attach(&mut object, watch)?;
        }
        Ok(Self { object, log, clock, attachments, baseline, lost, malformed: 0, pace })
    }

    /// What is attached where, and how.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        self.attachments.list()
    }

    /// Watches an interface, or watches it anew after it vanished and came back: the kernel drops
    /// attachments with their interface. Works in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`RingError::NoInterface`] or [`RingError::Attach`]; other interfaces stay watched.
    pub fn attach(&mut self, watch: &Watch) -> Result<(), RingError> {
        self.attachments.attach(&mut self.object, watch)
    }

    /// Stops watching an interface; nothing happens when it was not watched.
    ///
    /// # Errors
    /// [`RingError::Missing`] never in a ring that was opened.
    pub fn detach(&mut self, interface: &str) -> Result<(), RingError> {
        self.attachments.detach(&mut self.object, interface)
    }

    /// Stops watching the interface of this index, whatever its name; nothing happens when it was
    /// not watched.
    ///
    /// # Errors
    /// As [`Ring::detach`].
    pub fn forget(&mut self, ifindex: u32) -> Result<(), RingError> {
        self.attachments.forget(&mut self.object, ifindex)
    }

    /// Watches what leaves a watched interface as well, or no longer; what comes in stays watched
    /// throughout. Works in the network namespace of the calling thread.
    ///
    /// # Errors
    /// As [`Ring::attach`]; what comes in stays watched.
    pub fn watch_egress(&mut self, ifindex: u32, wanted: bool) -> Result<(), RingError> {
        self.attachments.egress(&mut self.object, ifindex, wanted)
    }

    /// Takes note that the interface of this index has another name; it stays watched.
    pub fn rename(&mut self, ifindex: u32, name: &str) {
        self.attachments.rename(ifindex, name);
    }

    /// Waits at most `timeout` for records and appends them to `batch` as signals, at most
    /// [`BATCH_SIGNALS_MAX`] signals and [`BATCH_BYTES_MAX`] bytes. Returns how many signals were
    /// appended; losses since the last call are among them.
    ///
    /// # Errors
    /// [`RingError::Wait`] or [`RingError::Map`]; the ring stays usable.
    pub fn poll(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, RingError> {
        let before = batch.signals.len();
        if self.pace.busy {
            self.nap(timeout);
        }
        self.drain(batch);
        if batch.signals.len() == before {
            self.wait(timeout)?;
            self.drain(batch);
        }
        self.report_losses(batch)?;
        Ok(batch.signals.len() - before)
    }

    /// What the kernel has counted since the ring was opened.
    ///
    /// # Errors
    /// [`RingError::Map`] when the counters cannot be read.
    pub fn counters(&self) -> Result<Counters, RingError> {
        let mut counters = Counters::read(&self.object.counters)?.since(&self.baseline);
        counters.malformed = self.malformed;
        Ok(counters)
    }

    /// What [`Program::Classify`] has counted where this host runs it: a card keeps its own.
    ///
    /// # Errors
    /// [`RingError::Map`] when the counters cannot be read.
    pub fn classified(&self) -> Result<Classified, RingError> {
        Classified::read(&self.object.ebpf)
    }

    /// Loads a program that is attached nowhere, so that [`Ring::inject`] can run it; one that is
    /// loaded stays as it is.
    ///
    /// # Errors
    /// [`RingError::Program`] when the kernel refuses it.
    pub fn load(&mut self, program: Program) -> Result<(), RingError> {
        self.object.load_program(program)
    }

    /// Runs `program` on `frame` `repeat` times through `BPF_PROG_TEST_RUN`, without any interface,
    /// and returns the CPU time that took; records go through the ring as if the frame had come in.
    /// For benches: subtract what [`Program::Empty`] takes.
    ///
    /// # Errors
    /// [`RingError::Program`] when the program was not loaded, or when the kernel refuses, for
    /// example a frame shorter than 14 bytes.
    pub fn inject(
        &self,
        program: Program,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Duration, RingError> {
        self.object.time(program, frame, repeat)
    }

    /// Hands out records as they lie in the ring until `take` breaks, and returns how many. Never
    /// waits. For benches: these records make no signals.
    pub fn drain_raw(&mut self, take: impl FnMut(&[u8]) -> ControlFlow<()>) -> usize {
        self.object.events.drain(take).records
    }

    fn drain(&mut self, batch: &mut Batch) {
        let Self { object, clock, malformed, .. } = self;
        let waiting = object.events.waiting();
        let signals_max = BATCH_SIGNALS_MAX.saturating_sub(batch.signals.len());
        batch.signals.reserve(signals_max.min(waiting / RECORD_HEADER_LEN));
        batch.bytes.reserve(waiting.min(BATCH_BYTES_MAX));
        let mut cut = false;
        let drained = object.events.drain(|record| {
            match signal_of(record, clock, batch) {
                Ok(signal) => batch.signals.push(signal),
                Err(error) => {
                    *malformed += 1;
                    tracing::error!(%error, "a ring record is malformed");
                    batch.signals.push(loss(*clock, LossReason::Malformed, 1));
                }
            }
            cut = batch.signals.len() >= BATCH_SIGNALS_MAX || batch.bytes.len() >= BATCH_BYTES_MAX;
            if cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if drained.corrupt {
            *malformed += 1;
            tracing::error!("the ring contradicts itself, what it held is passed over");
            batch.signals.push(loss(*clock, LossReason::Malformed, 1));
        }
        self.pace.note(Instant::now(), drained.records, !cut);
        // A producer at work would end the wait for records at once, again and again.
        self.pace.busy |= drained.busy;
    }

    /// Lets records gather.
    fn nap(&mut self, timeout: Duration) {
        std::thread::sleep(NAP.min(timeout));
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Until records or messages of the programs arrive, at most `timeout`.
    fn wait(&mut self, timeout: Duration) -> Result<(), RingError> {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let events = PollFd::new(self.object.events.as_fd(), PollFlags::POLLIN);
        let polled = match &self.log {
            Some(log) => poll(&mut [events, PollFd::new(log.as_fd(), PollFlags::POLLIN)], timeout),
            None => poll(&mut [events], timeout),
        };
        match polled {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(RingError::Wait(errno.into())),
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    fn report_losses(&mut self, batch: &mut Batch) -> Result<(), RingError> {
        let lost = Losses::read(&self.object.counters)?;
        let before = std::mem::replace(&mut self.lost, lost);
        for (reason, count) in [
            (LossReason::RingFull, lost.ring_full.wrapping_sub(before.ring_full)),
            (LossReason::Shed, lost.shed.wrapping_sub(before.shed)),
        ] {
            if count > 0 {
                batch.signals.push(loss(self.clock, reason, count));
            }
        }
        Ok(())
    }
}

fn loss(clock: Clock, reason: LossReason, count: u64) -> Signal {
    Signal { at: clock.now(), link: 0, kind: SignalKind::Lost { reason, count } }
}

impl AsFd for Ring {
    /// Readable when records wait; for an event loop of the caller's.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.object.events.as_fd()
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("attachments", &self.attachments.list())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_ring_makes_its_reader_nap() {
        let start = Instant::now();
        let mut pace = Pace { busy: false, found: start };
        let at = |micros| start + Duration::from_micros(micros);
        for (micros, records, empty, busy, why) in [
            (1_000, 1, true, false, "a lone record"),
            (2_000, 1, true, false, "another, a millisecond later"),
            (2_300, 1, true, true, "one that comes soon"),
            (2_600, 0, true, false, "nothing came"),
            (9_000, 64, true, true, "a burst"),
            (9_100, 4096, false, false, "more is there already"),
            (9_200, 1, true, true, "the end of it"),
        ] {
            pace.note(at(micros), records, empty);
            assert_eq!(pace.busy, busy, "{why}");
        }
    }
}
