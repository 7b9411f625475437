//! How fast a capture is replayed.
//!
//! Owns the mapping from the capture's time to the timer's; knows no signal and no file.
//!
//! **Invariant:** the pace decides when something is handed over, never what or in which order. No
//! single wait is longer than [`WAIT_MAX`], and none goes on for longer than [`SLICE_MAX`] after
//! the stop flag was set.

use edgelore_model::Timestamp;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for one signal. A longer hole in a capture, or between two files of one history,
/// is cut to this.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long is slept at most before the stop flag is looked at.
pub const SLICE_MAX: Duration = Duration::from_millis(100);
/// Fastest pace that is still paced, in thousandths.
const FACTOR_MILLI_MAX: u32 = 1_000_000_000;

/// How fast a capture is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it goes.
    #[default]
    Max,
    /// So many thousandths of the speed at which it was captured, from 1.
    Milli(u32),
}

impl Pace {
    /// As fast as it was captured.
    pub const WIRE: Self = Self::Milli(1_000);
}

/// The text is no pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 'wire', 'max' or a factor from 0.001x to 1000000x, such as 10x")]
pub struct PaceError;

impl FromStr for Pace {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, PaceError> {
        match text {
            "max" => return Ok(Self::Max),
            "wire" => return Ok(Self::WIRE),
            _ => {}
        }
        let factor = text.strip_suffix('x').ok_or(PaceError)?;
        let (whole, fraction) = factor.split_once('.').unwrap_or((factor, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 3 || !digits(whole) || !digits(fraction) {
            return Err(PaceError);
        }
        match format!("{whole}{fraction:0<3}").parse() {
            Ok(milli @ 1..=FACTOR_MILLI_MAX) => Ok(Self::Milli(milli)),
            _ => Err(PaceError),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Max => f.write_str("max"),
            Self::WIRE => f.write_str("wire"),
            Self::Milli(milli) if milli % 1_000 == 0 => write!(f, "{}x", milli / 1_000),
            Self::Milli(milli) => write!(f, "{}.{:03}x", milli / 1_000, milli % 1_000),
        }
    }
}

/// A clock that can be slept by; a test brings its own.
pub trait Timer {
    /// Time since some fixed moment; never goes back.
    fn now(&mut self) -> Duration;
    /// Waits.
    fn sleep(&mut self, duration: Duration);
}

/// The system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemTimer(Instant);

impl Default for SystemTimer {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Timer for SystemTimer {
    fn now(&mut self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Tells when what was captured at some time is due, and waits for it.
#[derive(Debug)]
pub struct Pacer<T> {
    pace: Pace,
    timer: T,
    /// A capture time with the timer's time at which it is due.
    origin: Option<(Timestamp, Duration)>,
}

impl<T: Timer> Pacer<T> {
    /// Begins with the first signal that is waited for.
    pub fn new(pace: Pace, timer: T) -> Self {
        Self { pace, timer, origin: None }
    }

    /// Waits are over before they begin.
    #[must_use]
    pub fn is_unpaced(&self) -> bool {
        self.pace == Pace::Max
    }

    /// The timer's time at which what was captured at `at` is due. Time that goes back in the
    /// capture is due at once.
    pub fn due(&mut self, at: Timestamp) -> Duration {
        let Pace::Milli(milli) = self.pace else { return Duration::ZERO };
        let (from, due_from) = match self.origin {
            Some(origin) => origin,
            None => *self.origin.insert((at, self.timer.now())),
        };
        let captured_ns = u128::from((at - from).0.max(0).unsigned_abs());
        let nanos = captured_ns * 1_000 / u128::from(milli.max(1));
        due_from.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Waits until `at` is due; `false` when `stop` was set meanwhile.
    pub fn wait(&mut self, at: Timestamp, stop: &AtomicBool) -> bool {
        let due = self.due(at);
        if self.is_unpaced() {
            return !stop.load(Ordering::Relaxed);
        }
        let began = self.timer.now();
        let until = due.min(began.saturating_add(WAIT_MAX));
        while !stop.load(Ordering::Relaxed) {
            let left = until.saturating_sub(self.timer.now());
            if left.is_zero() {
                // A wait that was cut moves all that follows with it, and so does time that went
                // back: a new count begins here.
                let back = self.origin.is_some_and(|(from, _)| at < from);
                if until < due || back {
                    self.origin = Some((at, self.timer.now()));
                }
                return true;
            }
            self.timer.sleep(left.min(SLICE_MAX));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time passes by sleeping alone.
    #[derive(Default)]
    struct Simulated(Duration, Vec<Duration>);

    impl Timer for Simulated {
        fn now(&mut self) -> Duration {
            self.0
        }

        fn sleep(&mut self, duration: Duration) {
            self.0 += duration;
            self.1.push(duration);
        }
    }

    #[test]
    fn paces_are_read_and_written() {
        for (text, pace) in [
            ("max", Pace::Max),
            ("wire", Pace::WIRE),
            ("10x", Pace::Milli(10_000)),
            ("0.5x", Pace::Milli(500)),
            ("2.125x", Pace::Milli(2_125)),
        ] {
            assert_eq!(text.parse(), Ok(pace), "{text}");
            assert_eq!(pace.to_string().parse(), Ok(pace), "{text}");
        }
        assert_eq!("1x".parse(), Ok(Pace::WIRE));
        for text in ["", "x", "10", "0x", "0.0001x", "-1x", "1e3x", "4294967x", ".5x", "1000001x"] {
            assert_eq!(text.parse::<Pace>(), Err(PaceError), "{text}");
        }
    }

    #[test]
    fn waits_add_up_to_the_captured_time() {
        let stop = AtomicBool::new(false);
        for (pace, expected_ms) in [("wire", 2_000), ("10x", 200), ("0.5x", 4_000), ("max", 0)] {
            let mut pacer = Pacer::new(pace.parse().expect("a pace"), Simulated::default());
            for ms in [5_000, 5_300, 5_300, 7_000] {
                assert!(pacer.wait(Timestamp(ms * 1_000_000), &stop));
            }
            assert_eq!(pacer.timer.0, Duration::from_millis(expected_ms), "{pace}");
            assert!(pacer.timer.1.iter().all(|slept| *slept <= SLICE_MAX), "{pace}");
        }
    }

    #[test]
    fn a_hole_is_cut_and_time_that_goes_back_is_not_waited_for() {
        let stop = AtomicBool::new(false);
        let mut pacer = Pacer::new(Pace::WIRE, Simulated::default());
        let mut after = |second: i64| {
            assert!(pacer.wait(Timestamp(second * 1_000_000_000), &stop));
            pacer.timer.0.as_secs()
        };
        // A year passes; what follows keeps its distance; an older file begins; it keeps its own.
        let waited = [1_000, 31_536_000, 31_536_002, 10, 13].map(&mut after);
        assert_eq!(waited, [0, 60, 62, 62, 65]);
        assert_eq!([i64::MAX / 1_000_000_000, i64::MIN / 1_000_000_000].map(after), [125, 125]);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let mut pacer = Pacer::new(Pace::WIRE, Simulated::default());
        let stop = AtomicBool::new(false);
        assert!(pacer.wait(Timestamp(0), &stop));
        stop.store(true, Ordering::Relaxed);
        assert!(!pacer.wait(Timestamp(1_000_000_000), &stop));
        assert_eq!(pacer.timer.0, Duration::ZERO);
        let mut pacer = Pacer::new(Pace::Max, Simulated::default());
        assert!(!pacer.wait(Timestamp(0), &stop));
    }
}
