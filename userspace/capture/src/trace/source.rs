//! Owns an open tracepoint source: when it reads what, and the signals that come of it.
//!
//! **Invariant:** a read returns after at most its timeout plus one bounded drain and one reading of
//! the maps. What has not changed is not told. Its thread sleeps until records come or the interval
//! is over.

use super::counters::{self, TraceCounters};
use super::error::{Missing, TraceError};
use super::layout::Tracepoint;
use super::object::{ConnectionKey, Object};
use super::record::{self, Told};
use super::tracefs::Origin;
use crate::Clock;
use crate::clock::monotonic_ns;
use aya::maps::{MapError, PerCpuValues};
use aya::util::nr_cpus;
use edgelore_events::trace::{Counts, QUEUES_MAX, QueueCounts, RETRANSMITS_MAX, count, names};
use edgelore_model::{Batch, KernelEvent, LossReason, Signal, SignalKind, Timestamp};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Records taken from the ring buffer in one read.
pub const RECORDS_READ_MAX: usize = 1024;

/// How to open a tracepoint source.
#[derive(Clone, Debug)]
pub struct TraceConfig {
    /// Its clock; sources whose timestamps are compared share one.
    pub clock: Clock,
    /// Interfaces whose queues are watched, by index; at most 256.
    pub links: Vec<u32>,
    /// Time between two readings of what was summed, 10 ms to 10 s.
    pub interval: Duration,
}

impl TraceConfig {
    /// Watches the queues of `links`; reads each 100 ms.
    #[must_use]
    pub fn new(clock: Clock, links: Vec<u32>) -> Self {
        Self { clock, links, interval: Duration::from_millis(100) }
    }
}

/// The source of [`SignalKind::Kernel`].
pub struct TraceSource {
    object: Object,
    clock: Clock,
    interval_ns: i64,
    /// The next reading of the sums, on the monotonic clock.
    due_ns: i64,
    counts: Box<Counts>,
    queues: BTreeMap<u32, QueueCounts>,
    retransmits: BTreeMap<ConnectionKey, u64>,
    /// Made in the watched network namespace, where it finds interfaces by name.
    names: Option<UdpSocket>,
    malformed: u64,
}

impl TraceSource {
    /// Loads and attaches what this kernel can have. Drops and stalled devices are those of the whole
    /// machine; queues, retransmissions and sockets those of this thread's network namespace, unless
    /// [`missing`](Self::missing) says that these cannot be told apart.
    ///
    /// # Errors
    /// [`TraceError`] when nothing at all can be had, or the configuration is out of bounds.
    pub fn open(config: &TraceConfig) -> Result<Self, TraceError> {
        let allowed = Duration::from_millis(10)..=Duration::from_secs(10);
        if !allowed.contains(&config.interval) {
            return Err(TraceError::Interval(config.interval));
        }
        let mut source = Self {
            object: Object::open()?,
            clock: config.clock,
            interval_ns: config.interval.as_nanos() as i64,
            due_ns: monotonic_ns(),
            counts: Box::new([0; count::LEN]),
            queues: BTreeMap::new(),
            retransmits: BTreeMap::new(),
            // Without it a stalled device is told without its index.
            names: UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).ok(),
            malformed: 0,
        };
        source.watch(&config.links)?;
        Ok(source)
    }

    /// The tracepoints that are attached.
    #[must_use]
    pub fn attached(&self) -> &[Tracepoint] {
        &self.object.attached
    }

    /// What could not be had, and why.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.object.missing
    }

    /// Which tracefs was read; `None` when none could be had.
    #[must_use]
    pub fn tracefs(&self) -> Option<&Origin> {
        self.object.tracefs.as_ref()
    }

    /// What the programs did so far.
    ///
    /// # Errors
    /// [`TraceError::Map`] or [`TraceError::System`] when the counts cannot be read.
    pub fn counters(&self) -> Result<TraceCounters, TraceError> {
        let operation = "read what the kernel says of a program";
        let skipped =
            self.object.skipped().map_err(|source| TraceError::System { operation, source })?;
        let (counts, attached) = (self.read_counts()?, &self.object.attached);
        Ok(TraceCounters::of(&counts, attached, self.malformed, skipped))
    }

    /// Watches the queues of these links from now on.
    ///
    /// # Errors
    /// [`TraceError::TooManyInterfaces`] past 256 links, when nothing is changed, or
    /// [`TraceError::Map`].
    pub fn watch(&mut self, links: &[u32]) -> Result<(), TraceError> {
        if links.len() > QUEUES_MAX as usize {
            let (named, max) = (links.len(), QUEUES_MAX as usize);
            return Err(TraceError::TooManyInterfaces { named, max });
        }
        let gone: Vec<u32> =
            self.queues.keys().filter(|link| !links.contains(link)).copied().collect();
        for link in gone {
            self.queues.remove(&link);
            self.object.queues.remove(&link).map_err(map_error(names::QUEUES))?;
        }
        let cpus =
            nr_cpus().map_err(|(operation, source)| TraceError::System { operation, source })?;
        for link in links {
            if !self.queues.contains_key(link) {
                let zero = PerCpuValues::try_from(vec![QueueCounts::default(); cpus])
                    .map_err(|source| TraceError::System { operation: "count CPUs", source })?;
                self.object.queues.insert(link, zero, 0).map_err(map_error(names::QUEUES))?;
                self.queues.insert(*link, QueueCounts::default());
            }
        }
        Ok(())
    }

    /// Waits at most `timeout` for records or for the end of the interval, and appends what is new to
    /// `batch`. Returns how many signals were appended.
    ///
    /// # Errors
    /// [`TraceError::System`] or [`TraceError::Map`]; the source stays usable, and what could not
    /// be read is told by a later call.
    pub fn read(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, TraceError> {
        let before = batch.signals.len();
        self.wait(timeout)?;
        self.drain(batch);
        let now_ns = monotonic_ns();
        if now_ns >= self.due_ns {
            self.due_ns = now_ns.saturating_add(self.interval_ns);
            self.collect(batch)?;
        }
        Ok(batch.signals.len() - before)
    }

    fn wait(&self, timeout: Duration) -> Result<(), TraceError> {
        let until_due = self.due_ns.saturating_sub(monotonic_ns()).max(0).unsigned_abs();
        let millis = timeout.min(Duration::from_nanos(until_due)).as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.object.records.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => {
                Err(TraceError::System { operation: "wait for records", source: errno.into() })
            }
        }
    }

    fn drain(&mut self, batch: &mut Batch) {
        for _ in 0..RECORDS_READ_MAX {
            let Some(record) = self.object.records.next() else { return };
            let told = record::parse(&record);
            drop(record);
            match told {
                Some(Told { ktime_ns, device, event }) => {
                    let link = device.and_then(|name| self.index(&name)).unwrap_or_default();
                    let at = self.clock.from_monotonic_ns(ktime_ns);
                    batch.signals.push(Signal { at, link, kind: SignalKind::Kernel(event) });
                }
                None => {
                    self.malformed += 1;
                    batch.signals.push(loss(self.clock.now(), LossReason::Malformed, 1));
                }
            }
        }
    }

    /// Tells what has grown since the last time. What was read is remembered only once everything
    /// has been read: after an error the growth is told next time.
    fn collect(&mut self, batch: &mut Batch) -> Result<(), TraceError> {
        let counts = self.read_counts()?;
        let queues = self.read_queues()?;
        let grown = |which: usize| counters::growth(counts[which], self.counts[which]);
        let retransmits = if grown(count::RETRANSMITS_CONTROL) > 0 {
            Some(self.read_retransmits()?)
        } else {
            None
        };
        let at = self.clock.now();
        let mut tell = |link, event| {
            batch.signals.push(Signal { at, link, kind: SignalKind::Kernel(event) });
        };
        for event in counters::drops(&counts, &self.counts, &self.object.reasons) {
            tell(0, event);
        }
        for (link, now) in &queues {
            let before = self.queues.get(link).copied().unwrap_or_default();
            if let Some(event) = counters::activity(now, &before) {
                tell(*link, event);
            }
        }
        for event in
            retransmits.iter().flat_map(|now| counters::retransmissions(now, &self.retransmits))
        {
            tell(0, event);
        }
        let other = grown(count::RETRANSMITS_OTHER);
        if other > 0 {
            tell(0, KernelEvent::Retransmitted { session: None, port: 0, count: other });
        }
        for (which, reason) in [
            (count::RECORDS_LOST, LossReason::RingFull),
            (count::UNREADABLE, LossReason::Malformed),
        ] {
            if grown(which) > 0 {
                batch.signals.push(loss(at, reason, grown(which)));
            }
        }
        (self.counts, self.queues) = (counts, queues);
        if let Some(retransmits) = retransmits {
            self.retransmits = retransmits;
        }
        Ok(())
    }

    fn read_counts(&self) -> Result<Box<Counts>, TraceError> {
        let values = self.object.counts.get(&0, 0).map_err(map_error(names::COUNTS))?;
        Ok(counters::sum(&values))
    }

    fn read_queues(&self) -> Result<BTreeMap<u32, QueueCounts>, TraceError> {
        let read = |link: &u32| {
            let values = self.object.queues.get(link, 0).map_err(map_error(names::QUEUES))?;
            Ok((*link, *counters::sum(&values)))
        };
        self.queues.keys().map(read).collect()
    }

    /// The map may change while it is walked: an entry that goes is skipped, and the walk ends after
    /// twice the map's size, however often it is led back to its beginning.
    fn read_retransmits(&self) -> Result<BTreeMap<ConnectionKey, u64>, TraceError> {
        let mut found = BTreeMap::new();
        for entry in self.object.retransmits.iter().take(2 * RETRANSMITS_MAX as usize) {
            match entry {
                Ok((key, values)) => {
                    let total = values.iter().fold(0u64, |sum, value| sum.wrapping_add(*value));
                    found.insert(key, total);
                }
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error(names::RETRANSMITS)(error)),
            }
        }
        Ok(found)
    }

    /// The index of an interface of the watched network namespace.
    fn index(&self, name: &str) -> Option<u32> {
        let socket = self.names.as_ref()?;
        // SAFETY: all zeros is a valid value of this structure of integers.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let room = request.ifr_name.len() - 1;
        for (place, octet) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *place = octet as libc::c_char;
        }
        // SAFETY: the request is valid for reading and writing, and the name ends in zero.
        let result =
            unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX as _, &raw mut request) };
        if result != 0 {
            return None;
        }
        // SAFETY: the call succeeded, so the kernel has written the index.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        u32::try_from(index).ok()
    }
}

impl std::fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceSource")
            .field("attached", &self.object.attached)
            .field("missing", &self.object.missing)
            .finish_non_exhaustive()
    }
}

fn map_error(map: &'static str) -> impl FnOnce(MapError) -> TraceError {
    move |source| TraceError::Map { map, source: Box::new(source) }
}

fn loss(at: Timestamp, reason: LossReason, count: u64) -> Signal {
    Signal { at, link: 0, kind: SignalKind::Lost { reason, count } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_interval_is_refused() {
        let interval = Duration::from_millis(1);
        let config = TraceConfig { interval, ..TraceConfig::new(Clock::new(), vec![]) };
        assert!(matches!(TraceSource::open(&config), Err(TraceError::Interval(_))));
    }

    #[test]
    fn a_missing_object_says_what_to_do() {
        if super::super::object_embedded() {
            return;
        }
        let error = TraceSource::open(&TraceConfig::new(Clock::new(), vec![])).unwrap_err();
        assert!(error.to_string().contains("cargo xtask build"), "{error}");
    }
}
