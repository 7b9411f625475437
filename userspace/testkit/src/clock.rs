//! The clock of the laboratory: monotonic time, expressed as UTC by an offset fixed once.
//!
//! Invariant: a step of the wall clock never moves two readings against each other.

use edgelore_model::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;

/// Now, in nanoseconds since the Unix epoch.
#[must_use]
pub fn now() -> Timestamp {
    static OFFSET_NS: OnceLock<i64> = OnceLock::new();
    let offset = *OFFSET_NS
        .get_or_init(|| read_ns(ClockId::CLOCK_REALTIME) - read_ns(ClockId::CLOCK_MONOTONIC));
    Timestamp(read_ns(ClockId::CLOCK_MONOTONIC).saturating_add(offset))
}

fn read_ns(clock: ClockId) -> i64 {
    let time = clock_gettime(clock).expect("Linux has both clocks");
    Timestamp::from_secs_nanos(time.tv_sec(), u32::try_from(time.tv_nsec()).unwrap_or(0)).0
}

#[cfg(test)]
mod tests {
    use super::now;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn never_runs_backwards_and_is_near_the_wall_clock() {
        let first = now();
        assert!(now() >= first);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let apart = i128::from(first.0) - i128::try_from(wall).unwrap();
        assert!(apart.abs() < 5_000_000_000, "{apart} ns from the wall clock");
    }
}
