//! Puts the signals of several live sources into one order by time.
//!
//! Each source is in order, but they are read at different moments. A signal waits for a short
//! window; what then still arrives too late goes out at once, in the order of arrival.
//!
//! **Invariant:** holds at most [`SIGNALS_HELD_MAX`] signals; beyond, the window shrinks.

use crate::engine::relocate;
use edgelore_model::{Batch, Span, Timestamp};

/// Signals that may wait.
pub const SIGNALS_HELD_MAX: usize = 1 << 18;

/// Signals that wait for earlier ones.
#[derive(Debug)]
pub struct Reorder {
    held: Batch,
    window: Span,
}

impl Reorder {
    /// Signals wait for `window`.
    #[must_use]
    pub fn new(window: Span) -> Self {
        Self { held: Batch::default(), window }
    }

    /// Takes a source's batch.
    pub fn add(&mut self, batch: &Batch) {
        for signal in &batch.signals {
            let signal = relocate(signal, batch, &mut self.held);
            self.held.signals.push(signal);
        }
    }

    /// Gives the signals that have waited long enough at `now`, in order of time; signals of the
    /// same time keep their order of arrival.
    pub fn release(&mut self, now: Timestamp) -> Batch {
        let full = self.held.signals.len() >= SIGNALS_HELD_MAX;
        let until = if full { now } else { now - self.window };
        let held = std::mem::take(&mut self.held);
        let (mut ready, waiting): (Vec<_>, Vec<_>) =
            held.signals.iter().partition(|signal| signal.at <= until);
        ready.sort_by_key(|signal| signal.at);
        let mut released = Batch::default();
        for signal in ready {
            let signal = relocate(signal, &held, &mut released);
            released.signals.push(signal);
        }
        for signal in waiting {
            let signal = relocate(signal, &held, &mut self.held);
            self.held.signals.push(signal);
        }
        released
    }

    /// When the earliest of the signals that wait has waited long enough; `None` when none waits.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.held.signals.iter().map(|signal| signal.at + self.window).min()
    }

    /// The moment up to which signals have been released at `now`.
    #[must_use]
    pub fn horizon(&self, now: Timestamp) -> Timestamp {
        now - self.window
    }

    /// Gives everything that still waits, in order of time.
    pub fn finish(mut self) -> Batch {
        self.window = Span(0);
        self.release(Timestamp(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::{Direction, PayloadRef, Segment, Signal, SignalKind, StreamProtocol};

    fn batch(times: &[i64]) -> Batch {
        let mut batch = Batch::default();
        for &at in times {
            let payload = batch.append(&at.to_be_bytes());
            let end = "192.0.2.1:179".parse().unwrap();
            let segment = Segment {
                protocol: StreamProtocol::Bgp,
                src: end,
                dst: end,
                seq: 0,
                flags: 0,
                gap: None,
                suppressed_bytes: 0,
                wire_len: 8,
                payload,
                direction: Direction::Ingress,
            };
            batch.signals.push(Signal {
                at: Timestamp(at),
                link: 1,
                kind: SignalKind::Segment(segment),
            });
        }
        batch
    }

    fn payload_of(signal: &Signal) -> PayloadRef {
        match &signal.kind {
            SignalKind::Segment(segment) => segment.payload,
            _ => PayloadRef::default(),
        }
    }

    #[test]
    fn sources_are_merged_by_time_and_keep_their_payloads() {
        let mut reorder = Reorder::new(Span(10));
        reorder.add(&batch(&[5, 30, 40]));
        reorder.add(&batch(&[1, 20, 35]));
        let mut times = Vec::new();
        for released in [reorder.release(Timestamp(40)), reorder.finish()] {
            for signal in &released.signals {
                assert_eq!(released.payload(payload_of(signal)), signal.at.0.to_be_bytes());
                times.push(signal.at.0);
            }
        }
        assert_eq!(times, [1, 5, 20, 30, 35, 40]);
    }

    #[test]
    fn a_signal_waits_for_its_window() {
        let mut reorder = Reorder::new(Span(10));
        assert_eq!(reorder.due(), None);
        reorder.add(&batch(&[9, 5]));
        assert_eq!(reorder.due(), Some(Timestamp(15)));
        assert!(reorder.release(Timestamp(14)).signals.is_empty());
        assert_eq!(reorder.release(Timestamp(15)).signals.len(), 1);
    }
}
