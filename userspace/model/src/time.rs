//! Points and stretches of time. The pipeline never reads a clock: every time arrives as a value.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};

/// A point in time, in nanoseconds since the Unix epoch (UTC, no leap seconds).
///
/// Live sources take the kernel's monotonic clock and add an offset fixed once at start, so that
/// a step of the wall clock never moves two timestamps against each other.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A signed stretch of time in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Timestamp {
    /// From whole seconds and the nanoseconds within the second.
    #[must_use]
    pub const fn from_secs_nanos(secs: i64, nanos: u32) -> Self {
        Self(secs.saturating_mul(1_000_000_000).saturating_add(nanos as i64))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
}

impl Span {
    /// From milliseconds; saturates.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Milliseconds, rounded to the nearest (half away from zero).
    #[must_use]
    pub const fn millis(self) -> i64 {
        (self.0.saturating_add(if self.0 < 0 { -500_000 } else { 500_000 })) / 1_000_000
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.secs().div_euclid(86_400), self.secs().rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let millis = self.0.rem_euclid(1_000_000_000) / 1_000_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Proleptic Gregorian date of a day number counted from 1970-01-01 (Howard Hinnant's algorithm).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A point in time that is known only within bounds: `earliest <= estimate <= latest`, and the
/// true point lies between the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The true point is not before this.
    pub earliest: Timestamp,
    /// The best single guess.
    pub estimate: Timestamp,
    /// The true point is not after this.
    pub latest: Timestamp,
}

impl Interval {
    /// A point known exactly.
    #[must_use]
    pub const fn exactly(at: Timestamp) -> Self {
        Self { earliest: at, estimate: at, latest: at }
    }

    /// Bounds with the estimate in the middle; bounds given in the wrong order are swapped.
    #[must_use]
    pub fn between(a: Timestamp, b: Timestamp) -> Self {
        let (earliest, latest) = if a <= b { (a, b) } else { (b, a) };
        Self { earliest, estimate: earliest + Span((latest - earliest).0 / 2), latest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc_3339() {
        for (secs, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (1_282_898_400, 980_000_000, "2010-08-27T08:40:00.980Z"),
            (951_782_399, 999_999_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000Z"),
            (-1, 0, "1969-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(Timestamp::from_secs_nanos(secs, nanos).to_string(), expected);
        }
    }

    #[test]
    fn milliseconds_round_to_the_nearest() {
        assert_eq!(Span(1_499_999).millis(), 1);
        assert_eq!(Span(1_500_000).millis(), 2);
        assert_eq!(Span(-1_500_000).millis(), -2);
    }
}
