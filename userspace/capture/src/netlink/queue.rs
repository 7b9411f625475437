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

use super::message::{Message, RTM_GETQDISC};
use super::sampled::{Table, TableSource};
use edgelore_model::{QueueSample, SignalKind, Timestamp};

/// The source of [`SignalKind::Queue`].
pub type QueueSource = TableSource<Qdiscs>;

/// The table of queueing disciplines.
#[derive(Debug)]
pub enum Qdiscs {}

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
