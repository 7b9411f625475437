//! What is lost of one kind at one place, lately.
//!
//! **Invariant:** at most [`OCCASIONS_MAX`] occasions are kept; past that the oldest goes, with what
//! passed until then, so that the rate stays that of what is kept.

use super::DegradationConfig;
use edgelore_model::{Interval, Span, Timestamp};
use std::collections::VecDeque;

/// Occasions kept of one kind at one place.
const OCCASIONS_MAX: usize = 64;
/// Losses of what comes at a pace are judged over so many of it at least.
const WINDOW_BEATS: i64 = 500;
/// No window is longer.
const WINDOW_MAX: Span = Span(3_600_000_000_000);

/// Something was lost, sent again or late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub(super) at: Timestamp,
    /// When the first of it was lost.
    pub(super) when: Interval,
    pub(super) lost: u64,
    /// What has passed so far in all, at some origin of counting.
    pub(super) passed: u64,
    /// How late the next one came.
    pub(super) late: Span,
    /// The longest usual time between two; zero where there is no pace.
    pub(super) interval: Span,
}

#[derive(Debug, Default)]
pub(super) struct Ailing {
    occasions: VecDeque<Occasion>,
    /// The link on which it shows: what passes a gateway in two places is counted in one.
    pub(super) link: u32,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) lost: u64,
    pub(super) expected: u64,
}

impl Rate {
    /// Loss in parts per million, rounded down.
    pub(super) fn ppm(self) -> u64 {
        let ppm = u128::from(self.lost) * 1_000_000 / u128::from(self.expected.max(1));
        u64::try_from(ppm).unwrap_or(u64::MAX)
    }
}

impl Ailing {
    pub(super) fn new(link: u32) -> Self {
        Self { occasions: VecDeque::new(), link }
    }

    pub(super) fn add(&mut self, occasion: Occasion, config: &DegradationConfig) {
        if let Some(last) = self.occasions.back()
            && occasion.passed < last.passed
        {
            // What counts has begun anew.
            self.occasions.clear();
        }
        let since = occasion.at - window(occasion.interval, config);
        self.occasions.push_back(occasion);
        while self.occasions.len() > OCCASIONS_MAX
            || self.occasions.front().is_some_and(|first| first.at < since)
        {
            self.occasions.pop_front();
        }
    }

    pub(super) fn rate(&self) -> Rate {
        let lost = self.occasions.iter().fold(0u64, |sum, one| sum.saturating_add(one.lost));
        let passed = match (self.occasions.front(), self.occasions.back()) {
            (Some(first), Some(last)) => last.passed - first.passed,
            _ => 0,
        };
        Rate { lost, expected: passed.saturating_add(lost) }
    }

    /// Enough was lost, often enough.
    pub(super) fn is_grave(&self, open_ppm: u32, config: &DegradationConfig) -> bool {
        let rate = self.rate();
        self.occasions.len() >= config.open_occasions as usize
            && rate.lost >= u64::from(config.open_losses)
            && rate.ppm() >= u64::from(open_ppm)
    }

    pub(super) fn occasions(&self) -> impl Iterator<Item = &Occasion> {
        self.occasions.iter()
    }

    pub(super) fn is_over(&self, now: Timestamp, config: &DegradationConfig) -> bool {
        self.occasions.back().is_none_or(|last| now - last.at > window(last.interval, config))
    }
}

fn window(interval: Span, config: &DegradationConfig) -> Span {
    let least = Span::from_millis(i64::from(config.window_ms));
    least.max(Span(interval.0.saturating_mul(WINDOW_BEATS))).min(WINDOW_MAX.max(least))
}
