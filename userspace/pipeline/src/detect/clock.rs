//! The detector's time: it follows what the observations say, and is not fooled by clocks that jump.
//!
//! Sources deliver a little out of order, so what is late by less than [`LATE_MAX`] is taken with
//! the time it has. What is later comes from a clock that was set back, or follows one wrong
//! timestamp from the future. It is taken as of now, and evidence counts as lost; when so many in a
//! row are late ([`BEHIND_MAX`]) it was this clock that was wrong, and history begins anew.
//!
//! **Invariant:** depends on the observations alone.

use edgelore_model::{Span, Timestamp};

/// How late an observation may come and keep its time.
const LATE_MAX: Span = Span::from_millis(10_000);
/// So many observations in a row that are later than that are right about the time.
const BEHIND_MAX: u32 = 256;

/// What an observation's time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is as it says.
    AsSaid,
    /// It is taken as of this time.
    Behind(Timestamp),
    /// What was known is of another time.
    SetBack,
}

#[derive(Debug)]
pub(super) struct Clock {
    now: Timestamp,
    behind: u32,
}

impl Clock {
    pub(super) const fn new() -> Self {
        Self { now: Timestamp(i64::MIN), behind: 0 }
    }

    /// Hears of an observation at `at`.
    pub(super) fn hear(&mut self, at: Timestamp) -> Heard {
        if at >= self.now || self.now - at <= LATE_MAX {
            self.now = self.now.max(at);
            self.behind = 0;
            return Heard::AsSaid;
        }
        self.behind += 1;
        if self.behind < BEHIND_MAX {
            return Heard::Behind(self.now);
        }
        *self = Self { now: at, behind: 0 };
        Heard::SetBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Span = Span::from_millis(3_600_000);
    const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

    #[test]
    fn what_is_a_little_late_keeps_its_time() {
        let mut clock = Clock::new();
        for late_ms in [0, 20, 10, 10_000] {
            assert_eq!(clock.hear(START - Span::from_millis(late_ms)), Heard::AsSaid);
        }
    }

    #[test]
    fn one_wrong_timestamp_stops_the_clock_for_a_while_only() {
        let mut clock = Clock::new();
        assert_eq!(clock.hear(START), Heard::AsSaid);
        let wrong = START + HOUR;
        assert_eq!(clock.hear(wrong), Heard::AsSaid);
        for n in 1..i64::from(BEHIND_MAX) {
            assert_eq!(clock.hear(START + Span(n)), Heard::Behind(wrong));
        }
        assert_eq!(clock.hear(START + Span(999)), Heard::SetBack);
        assert_eq!(clock.hear(START + Span(1_000)), Heard::AsSaid);
    }

    #[test]
    fn of_two_clocks_the_later_one_counts() {
        let mut clock = Clock::new();
        for n in 0..2_000 {
            assert_eq!(clock.hear(START + Span(n) + HOUR), Heard::AsSaid);
            assert_eq!(clock.hear(START + Span(n)), Heard::Behind(START + Span(n) + HOUR));
        }
    }
}
