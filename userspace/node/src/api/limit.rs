//! How often each caller may ask.
//!
//! Owns one token bucket a caller (the generic cell rate algorithm, by `governor`). Never tells
//! callers apart: that is done before.
//!
//! **Invariant:** there are at most [`CALLERS_MAX`] buckets; callers for whom there is none share one.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::access::Caller;

/// Buckets, the shared one included.
const CALLERS_MAX: usize = 4_096;
/// How many seconds' worth of requests may come at once.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

/// The limit of every caller.
pub(super) struct Limiter {
    buckets: DefaultKeyedRateLimiter<Caller>,
    clock: DefaultClock,
}

impl Limiter {
    /// So many requests a second for each caller.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(BURST_SECONDS);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self { buckets: DefaultKeyedRateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    /// How long the caller has to wait, if it may not ask now.
    pub(super) fn refuses(&self, caller: Caller) -> Option<Duration> {
        let caller = if self.has_place() { caller } else { Caller::Others };
        let refused = self.buckets.check_key(&caller).err()?;
        Some(refused.wait_time_from(self.clock.now()))
    }

    fn has_place(&self) -> bool {
        // One place is kept for the bucket that is shared.
        let is_full = || self.buckets.len() + 1 >= CALLERS_MAX;
        if is_full() {
            // Whoever has not asked for a while has a full bucket, as a new caller has.
            self.buckets.retain_recent();
        }
        !is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn each_caller_has_a_bucket_and_the_table_is_bounded() {
        // One request an hour and more would not refill within this test.
        let limiter = Limiter {
            buckets: DefaultKeyedRateLimiter::keyed(
                Quota::with_period(Duration::from_secs(3_600)).unwrap(),
            ),
            clock: DefaultClock::default(),
        };
        assert_eq!(limiter.refuses(Caller::Token(0)), None);
        let wait = limiter.refuses(Caller::Token(0)).expect("the bucket is empty");
        assert!(wait > Duration::from_secs(3_500), "{wait:?}");
        assert_eq!(limiter.refuses(Caller::Token(1)), None);
        let address = |n: u128| Caller::Address(Ipv6Addr::from_bits(n).into());
        for n in 0..2 * CALLERS_MAX as u128 {
            limiter.refuses(address(n));
        }
        assert!(limiter.buckets.len() <= CALLERS_MAX);
        assert!(limiter.refuses(address(u128::MAX)).is_some(), "the shared bucket is empty");
    }
}
