//! The clock of live sources: `CLOCK_MONOTONIC`, shifted once to the Unix epoch.
//!
//! Owns the offset between the monotonic and the wall clock. It never reads the wall clock again
//! after [`Clock::new`], so that an NTP step or an operator's `date -s` moves no two timestamps
//! against each other. Sources whose timestamps are compared must share one `Clock` (it is `Copy`).
//!
//! **Invariant:** for one `Clock`, timestamps order as the kernel's `CLOCK_MONOTONIC` does, which is
//! also the clock of `bpf_ktime_get_ns`.

use edgelore_model::{Span, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// How often the two clocks are read at start; the pair with the shortest window wins.
const READINGS: usize = 5;

/// Turns monotonic time into [`Timestamp`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Wall clock minus monotonic clock when the `Clock` was made.
    offset: Span,
}

impl Clock {
    /// Fixes the offset now. The wall clock is read between two monotonic readings, and the
    /// tightest of several such readings is kept, so the offset's error is well below 1 µs unless
    /// the thread is preempted every time.
    #[must_use]
    pub fn new() -> Self {
        let (_, offset) = (0..READINGS)
            .map(|_| {
                let (before, wall, after) = (monotonic_ns(), wall_ns(), monotonic_ns());
                let window = after.saturating_sub(before);
                (window, wall.saturating_sub(before.saturating_add(window / 2)))
            })
            .min_by_key(|&(window, _)| window)
            .expect("READINGS is not zero");
        Self { offset: Span(offset) }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(monotonic_ns()) + self.offset
    }

    /// The timestamp of a `CLOCK_MONOTONIC` reading in nanoseconds, such as `bpf_ktime_get_ns`
    /// delivers.
    #[must_use]
    pub fn from_monotonic_ns(&self, ns: u64) -> Timestamp {
        Timestamp(i64::try_from(ns).unwrap_or(i64::MAX)) + self.offset
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_ns() -> i64 {
    read_ns(ClockId::CLOCK_MONOTONIC)
}

fn wall_ns() -> i64 {
    read_ns(ClockId::CLOCK_REALTIME)
}

fn read_ns(id: ClockId) -> i64 {
    let time = clock_gettime(id).expect("Linux always has the monotonic and the real-time clock");
    time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn now_lies_between_two_monotonic_readings() {
        let clock = Clock::new();
        let before = monotonic_ns();
        let now = clock.now();
        let after = monotonic_ns();
        assert!(clock.from_monotonic_ns(before as u64) <= now);
        assert!(now <= clock.from_monotonic_ns(after as u64));
    }

    #[test]
    fn now_is_the_wall_clock_at_the_start() {
        let clock = Clock::new();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        assert!((clock.now() - Timestamp(wall)).0.abs() < 5_000_000_000);
    }

    #[test]
    fn an_absurd_reading_saturates() {
        assert_eq!(Clock::new().from_monotonic_ns(u64::MAX), Timestamp(i64::MAX));
    }
}
