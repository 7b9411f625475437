//! How often each caller may ask, and each publisher publish.
//!
//! Owns one token bucket for each (the generic cell rate algorithm, by `governor`). Never tells
//! them apart: that is done before.
//!
//! **Invariant:** there are at most [`BUCKETS_MAX`] buckets; those for whom there is none share one.

use std::hash::Hash;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// Buckets, the shared one included.
const BUCKETS_MAX: usize = 4_096;

/// The limit of everyone.
pub(crate) struct Limiter<K: Hash + Eq + Clone> {
    buckets: DefaultKeyedRateLimiter<K>,
    /// Who has no bucket of its own.
    others: K,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// The same quota for each; `others` is the key of the shared bucket.
    pub(crate) fn new(quota: Quota, others: K) -> Self {
        let clock = DefaultClock::default();
        Self { buckets: DefaultKeyedRateLimiter::keyed(quota), others, clock }
    }

    /// How long to wait, for whoever may not go on now.
    pub(crate) fn refuses(&self, who: K) -> Option<Duration> {
        let who = if self.has_place() { who } else { self.others.clone() };
        let refused = self.buckets.check_key(&who).err()?;
        Some(refused.wait_time_from(self.clock.now()))
    }

    fn has_place(&self) -> bool {
        // One place is kept for the bucket that is shared.
        let is_full = || self.buckets.len() + 1 >= BUCKETS_MAX;
        if is_full() {
            // Whoever has not asked for a while has a full bucket, as a new one has.
            self.buckets.retain_recent();
        }
        !is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_bucket_and_the_table_is_bounded() {
        // One an hour and more would not refill within this test.
        let quota = Quota::with_period(Duration::from_secs(3_600)).unwrap();
        let limiter = Limiter::new(quota, usize::MAX);
        assert_eq!(limiter.refuses(0), None);
        let wait = limiter.refuses(0).expect("the bucket is empty");
        assert!(wait > Duration::from_secs(3_500), "{wait:?}");
        assert_eq!(limiter.refuses(1), None);
        for who in 2..2 * BUCKETS_MAX {
            limiter.refuses(who);
        }
        assert!(limiter.buckets.len() <= BUCKETS_MAX);
        assert!(limiter.refuses(2 * BUCKETS_MAX).is_some(), "the shared bucket is empty");
    }
}
