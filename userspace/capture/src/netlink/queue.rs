//! Follows the queueing disciplines of a network namespace and their statistics.
//!
//! Owns what was last seen of each qdisc; decides nothing about saturation.
//!
//! The kernel announces that a qdisc was added, changed or removed on request, but neither that its
//! statistics moved, nor that a device took its qdiscs along, nor that a default qdisc took the
//! place of a removed one: these show at the next sample.
//!
//! **Invariant:** the signals of one qdisc, told apart by link, parent and handle, are samples in
//! the order of time, no two in a row equal; the counts in them do not wrap at 32 bits as the
//! kernel's do, as long as fewer than 2^31 were added between two samples.

use super::NetlinkError;
use super::message::{Message, RTM_GETQDISC};
use super::sampled::{Sampled, Table, TableConfig, TableCounters};
use crate::Clock;
use edgelore_model::{Batch, QueueSample, SignalKind, Timestamp};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What to sample, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig(pub TableConfig);

impl QueueConfig {
    /// Samples each 100 ms, remembers 4,096 qdiscs.
    #[must_use]
    pub const fn new(clock: Clock) -> Self {
        Self(TableConfig {
            clock,
            interval: Duration::from_millis(100),
            receive_buffer_octets: 1 << 20,
            entries_max: 4_096,
        })
    }
}

#[derive(Debug)]
enum Qdiscs {}

impl Table for Qdiscs {
    /// Link, parent, handle: default qdiscs share the handle 0.
    type Key = (u32, u32, u32);
    /// As of a qdisc that is present.
    type State = QueueSample;
    const GROUP: (u32, &'static str) = (4, "join group TC");
    const REQUEST: (u16, &'static str) = (RTM_GETQDISC, "RTM_GETQDISC");

    fn entry(message: Message) -> Option<(Self::Key, QueueSample, bool)> {
        let Message::Queue { link, sample } = message else { return None };
        let present = sample.present;
        Some((
            (link, sample.parent, sample.handle),
            QueueSample { present: true, ..sample },
            present,
        ))
    }

    fn follow(before: &QueueSample, now: &mut QueueSample) {
        if before.qdisc == now.qdisc {
            now.drops = widened(before.drops, now.drops);
            now.overlimits = widened(before.overlimits, now.overlimits);
            now.requeues = widened(before.requeues, now.requeues);
        }
    }

    fn signal(
        key: Self::Key,
        sample: QueueSample,
        present: bool,
        not_before: Timestamp,
    ) -> (u32, SignalKind) {
        (key.0, SignalKind::Queue(QueueSample { present, not_before, ..sample }))
    }
}

/// A 32-bit count that was `before` in full, in full. One that falls by less than half its range
/// belongs to another qdisc, which began to count anew.
fn widened(before: u64, now: u64) -> u64 {
    const HALF: u64 = 1 << 31;
    let (high, low) = (before & !u64::from(u32::MAX), before & u64::from(u32::MAX));
    if now >= low {
        high | now
    } else if low - now > HALF {
        high.wrapping_add(1 << 32) | now
    } else {
        now
    }
}

/// The source of [`SignalKind::Queue`].
///
/// Starts with a signal for each qdisc.
#[derive(Debug)]
pub struct QueueSource(Sampled<Qdiscs>);

impl QueueSource {
    /// Joins the multicast group and reads the present state.
    ///
    /// # Errors
    /// When the interval is out of bounds, a socket call fails or the kernel refuses the dump.
    pub fn open(config: QueueConfig) -> Result<Self, NetlinkError> {
        Sampled::open(config.0).map(Self)
    }

    /// For `epoll`, level-triggered; readable when something was announced. Samples are due
    /// without it: read at least once an interval.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> TableCounters {
        self.0.counters()
    }

    /// Waits for an announcement or the next sample, but at most `timeout`. Appends up to 16,384
    /// signals to `batch` and returns how many.
    ///
    /// # Errors
    /// When a socket call fails or the dump is refused; the next sample makes up for it.
    pub fn read(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, NetlinkError> {
        self.0.read(timeout, batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_wrap() {
        let wrap = 1u64 << 32;
        for (name, before, now, expected) in [
            ("grown", 5, 9, 9),
            ("the same", 5, 5, 5),
            ("wrapped", wrap - 3, 4, wrap + 4),
            ("grown after a wrap", wrap + 4, 9, wrap + 9),
            ("wrapped again", 2 * wrap - 1, 0, 2 * wrap),
            ("another qdisc", 900, 3, 3),
            ("another qdisc after a wrap", wrap + 900, 3, 3),
        ] {
            assert_eq!(widened(before, now), expected, "{name}");
        }
    }
}
