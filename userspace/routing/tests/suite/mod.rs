//! The behaviour that every backend has, as one suite: a backend's test file names a [`Subject`]
//! and gets all cases.
//!
//! Owns the cases and the packets that they store. Never looks behind the trait.

mod cases;
mod packets;

pub(crate) use cases::*;
pub(crate) use packets::{START, SimClock, key, outcome, sealed};

use async_trait::async_trait;
use edgelore_routing::Backend;

/// A backend under test, with a store of its own.
#[async_trait]
pub(crate) trait Subject: Send + Sized {
    /// Starts with an empty store.
    async fn start() -> Self;
    /// Ends everything that holds the store, and starts again on what is on disk.
    async fn restart(&mut self);
    /// The backend.
    fn backend(&self) -> &dyn Backend;
    /// The store's clock.
    fn clock(&self) -> &SimClock;
}

/// One test a case.
#[macro_export]
macro_rules! conformance {
    ($subject:ty) => {
        $crate::conformance_cases!($subject:
            packets_come_back_byte_for_byte,
            storing_twice_stores_once,
            the_radius_is_exact,
            open_fields_cost_nothing,
            the_reference_example_is_found_at_radius_3,
            a_limit_keeps_the_nearest,
            what_has_expired_is_not_found_and_not_taken,
            what_comes_from_the_future_is_not_taken,
            damaged_packets_are_refused_for_good,
            oversized_packets_are_refused_for_good,
            another_similarity_definition_is_refused,
            any_words_are_found_again,
            a_restart_loses_nothing,
            only_its_own_publisher_withdraws_a_packet,
            a_subscription_delivers_the_past_and_the_present,
            a_subscription_without_cursor_begins_now,
            a_subscription_resumes_across_a_restart,
            what_cannot_be_followed_is_refused,
            the_capability_says_what_the_suite_has_shown,
        );
    };
}

/// See [`conformance!`].
#[macro_export]
macro_rules! conformance_cases {
    ($subject:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut subject = <$subject as suite::Subject>::start().await;
                suite::$case(&mut subject).await;
            }
        )+
    };
}
