//! Owns an open ring: its configuration, its attachments and the way of records into batches.
//!
//! **Invariant:** a poll returns after at most its timeout plus one bounded drain; a batch never
//! grows past [`BATCH_SIGNALS_MAX`] signals and [`BATCH_BYTES_MAX`] bytes by more than one record.

use super::attach::{Attachment, Attachments, Watch};
use super::log::KernelLog;
use super::object::{Object, Program};
use super::{Classified, Counters, RingError, counters, selftest, signal_of};
use crate::Clock;
use edgelore_events::RING_BYTES_DEFAULT;
use edgelore_model::{Batch, LossReason, Signal, SignalKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Signals in a batch after which a drain stops.
pub const BATCH_SIGNALS_MAX: usize = 4096;
/// Payload bytes in a batch after which a drain stops.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

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
    /// Ring-full losses that have been reported.
    lost: u64,
    malformed: u64,
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
        let lost = counters::ring_full(&object.counters)?;
        if let Some(log) = &mut log {
            log.flush();
        }
        let mut attachments = Attachments::default();
        for watch in &config.watch {
            attachments.attach(&mut object, watch)?;
        }
        Ok(Self { object, log, clock, attachments, baseline, lost, malformed: 0 })
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

    /// Waits at most `timeout` for records and appends them to `batch` as signals, at most
    /// [`BATCH_SIGNALS_MAX`] signals and [`BATCH_BYTES_MAX`] bytes. Returns how many signals were
    /// appended; losses since the last call are among them.
    ///
    /// # Errors
    /// [`RingError::Wait`] or [`RingError::Map`]; the ring stays usable.
    pub fn poll(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, RingError> {
        let before = batch.signals.len();
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

    /// Runs `program` on `frame` `repeat` times through `BPF_PROG_TEST_RUN`, without any interface,
    /// and returns the CPU time that took; records go through the ring as if the frame had come in.
    /// For benches: subtract what [`Program::Empty`] takes.
    ///
    /// # Errors
    /// [`RingError::Program`] when the kernel refuses, for example a frame shorter than 14 bytes.
    pub fn inject(
        &self,
        program: Program,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Duration, RingError> {
        self.object.time(program, frame, repeat)
    }

    fn drain(&mut self, batch: &mut Batch) {
        while batch.signals.len() < BATCH_SIGNALS_MAX && batch.bytes.len() < BATCH_BYTES_MAX {
            let Some(record) = self.object.events.next() else { return };
            match signal_of(&record, &self.clock, batch) {
                Ok(signal) => batch.signals.push(signal),
                Err(error) => {
                    self.malformed += 1;
                    tracing::error!(%error, "a ring record is malformed");
                    batch.signals.push(loss(self.clock, LossReason::Malformed, 1));
                }
            }
        }
    }

    /// Until records or messages of the programs arrive, at most `timeout`.
    fn wait(&mut self, timeout: Duration) -> Result<(), RingError> {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(self.object.events.as_fd(), PollFlags::POLLIN)];
        if let Some(log) = &self.log {
            fds.push(PollFd::new(log.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(RingError::Wait(errno.into())),
        }
        drop(fds);
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    fn report_losses(&mut self, batch: &mut Batch) -> Result<(), RingError> {
        let lost = counters::ring_full(&self.object.counters)?;
        let count = lost.wrapping_sub(self.lost);
        if count > 0 {
            self.lost = lost;
            batch.signals.push(loss(self.clock, LossReason::RingFull, count));
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
