//! When a sender of heartbeats was last heard, and whether it was heard in time.
//!
//! In a capture every heartbeat is a signal. Live, the kernel withholds those that are in time and
//! change nothing, and says with each that it hands over how long ago the one before was. Both ways
//! the same heartbeats are late, by the rule that both sides share ([`Pace`]).
//!
//! A packet passes a gateway in two places, and is counted at the first.
//!
//! **Invariant:** a heartbeat at which the pace changes is never late.

use edgelore_headers::Pace;
use edgelore_model::{Direction, Heard, Span, Timestamp};

/// A heartbeat as it was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    pub(super) at: Timestamp,
    pub(super) link: u32,
    pub(super) direction: Direction,
    pub(super) heard: Option<Heard>,
}

/// What is remembered of a sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    last: Beat,
    count: u32,
    interval_ns: u64,
}

/// A late one, and the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) interval: Span,
    pub(super) gap: Span,
    pub(super) count: u32,
}

impl Pulse {
    /// The first heartbeat of a sender.
    pub(super) fn new(beat: Beat) -> Self {
        Self { last: beat, count: 1, interval_ns: 0 }
    }

    /// Takes a heartbeat of this pace, where that is known; tells it if it is late.
    pub(super) fn beat(&mut self, beat: Beat, pace: Option<Pace>) -> Option<Late> {
        let since_ns = (beat.at - self.last.at).0.max(0).unsigned_abs();
        let elsewhere = (beat.link, beat.direction) != (self.last.link, self.last.direction);
        let pace = pace.unwrap_or_default();
        if elsewhere && since_ns < pace.interval_ns / 2 {
            return None;
        }
        let former_ns = std::mem::replace(&mut self.interval_ns, pace.interval_ns);
        self.last = beat;
        self.count = self.count.wrapping_add(1);
        let (gap_ns, count) = match beat.heard {
            Some(heard) => (heard.gap.0.max(0).unsigned_abs(), heard.count),
            None => (since_ns, self.count),
        };
        let late = former_ns == pace.interval_ns && pace.is_late(gap_ns);
        late.then(|| Late { interval: span(pace.interval_ns), gap: span(gap_ns), count })
    }
}

fn span(ns: u64) -> Span {
    Span(i64::try_from(ns).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace::bfd(100_000, 3);

    fn beat(at_ms: i64, link: u32) -> Beat {
        let at = Timestamp(at_ms * 1_000_000);
        Beat { at, link, direction: Direction::Ingress, heard: None }
    }

    #[test]
    fn late_heartbeats_are_told_with_those_before() {
        let mut pulse = Pulse::new(beat(0, 1));
        let told: Vec<(i64, Option<(i64, u32)>)> = [90, 180, 305, 431, 500, 700, 1_010, 1_200]
            .into_iter()
            .map(|at| {
                let late = pulse.beat(beat(at, 1), Some(PACE));
                (at, late.map(|late| (late.gap.millis(), late.count)))
            })
            .collect();
        let late = [(431, Some((126, 5))), (700, Some((200, 7))), (1_200, Some((190, 9)))];
        let told: Vec<_> = told.into_iter().filter(|(_, late)| late.is_some()).collect();
        assert_eq!(told, late, "what came after 310 ms came after the end");
    }

    #[test]
    fn a_packet_counts_where_it_is_seen_first() {
        let mut pulse = Pulse::new(beat(0, 1));
        pulse.beat(beat(90, 1), Some(PACE));
        for (at, link, late) in [
            (90, 2, None),
            (180, 1, None),
            (181, 2, None),
            (380, 1, Some(4)),
            (381, 2, None),
            // The way has changed: it counts there from now on.
            (581, 2, Some(5)),
            (671, 2, None),
        ] {
            let told = pulse.beat(beat(at, link), Some(PACE)).map(|late| late.count);
            assert_eq!(told, late, "{at} on {link}");
        }
    }

    #[test]
    fn the_kernels_word_goes_before_what_was_withheld() {
        let heard = |gap_ms, count| Some(Heard { gap: Span::from_millis(gap_ms), count });
        let mut pulse = Pulse::new(beat(0, 1));
        for (at, heard, late) in [
            (90, heard(90, 2), None),
            (9_000, heard(80, 100), None),
            (9_200, heard(200, 102), Some(102)),
            (9_900, heard(0, 1), None),
        ] {
            let told = pulse.beat(Beat { heard, ..beat(at, 1) }, Some(PACE));
            assert_eq!(told.map(|late| late.count), late, "{at}");
        }
    }

    #[test]
    fn another_pace_makes_nothing_late() {
        let mut pulse = Pulse::new(beat(0, 1));
        let slow = Pace::bfd(1_000_000, 3);
        pulse.beat(beat(900, 1), Some(slow));
        assert_eq!(pulse.beat(beat(1_050, 1), Some(PACE)), None, "faster from now on");
        assert!(pulse.beat(beat(1_200, 1), Some(PACE)).is_some());
        assert_eq!(pulse.beat(beat(1_400, 1), None), None, "no longer up");
        assert_eq!(pulse.beat(beat(1_600, 1), Some(PACE)), None, "up again");
    }
}
