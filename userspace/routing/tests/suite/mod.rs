//! The behaviour that every backend has, as one suite: a backend's test file names a [`Subject`]
//! and gets all cases.
//!
//! Owns the cases and the packets that they store. Never looks behind the trait, but for what is
//! planted in a server ([`Served`]).
#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses a part")]

mod beside;
mod cases;
mod elsewhere;
mod packets;
mod servers;

pub(crate) use beside::*;
pub(crate) use cases::*;
pub(crate) use elsewhere::Elsewhere;
pub(crate) use packets::{START, SimClock, key, outcome, sealed};
pub(crate) use servers::*;

use async_trait::async_trait;
use edgelore_model::Outcome;
use edgelore_routing::{Backend, PacketId};
use edgelore_testkit::server::Relay;

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
    /// Whether the store is set to survive the end of its machine.
    fn durable(&self) -> bool {
        true
    }
}

/// A backend whose packets another process keeps, reached through a [`Relay`].
#[async_trait]
pub(crate) trait Served: Subject {
    /// Another client of the same server.
    fn another(&self) -> Box<dyn Backend>;
    /// A client that does not know the password.
    fn stranger(&self) -> Box<dyn Backend>;
    /// The network between the clients and the server.
    fn relay(&self) -> &Relay;
    /// Kills the server; the backend stays.
    fn kill(&mut self);
    /// Starts it on what is on its disk.
    fn start_again(&mut self);
    /// Writes `bytes` into the server as packet `id`, indexed where `like` lies, past Edgelore.
    async fn plant(&self, id: PacketId, bytes: &[u8], like: &Outcome);
    /// Writes rubbish wherever the server takes some.
    async fn litter(&self, like: &Outcome);
    /// How often the backend left something out.
    fn skipped(&self) -> u64;
}

/// All cases of a server: a module of live tests, each of which starts a server.
#[macro_export]
macro_rules! served {
    ($module:ident, $subject:ty) => {
        mod $module {
            use super::*;

            $crate::conformance!(live $module $subject);
            $crate::conformance_cases!(live $module $subject:
                what_is_planted_is_skipped_and_counted,
                a_wrong_password_is_refused,
                a_server_killed_amid_writes_loses_nothing,
                a_slow_server_delays_and_loses_nothing,
                a_subscription_outlives_the_server,
                two_clients_see_the_same,
                nothing_of_a_revoked_key_is_found_or_delivered,
                a_successor_withdraws_what_its_predecessor_published,
                what_nobody_signed_is_kept_apart,
                what_one_client_declares_another_honours,
            );
        }
    };
}

/// One test a case.
#[macro_export]
macro_rules! conformance {
    ($($subject:tt)+) => {
        $crate::conformance_cases!($($subject)+:
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
            many_append_to_one_cell_at_once,
            a_large_answer_is_cut_at_its_bound,
            no_word_gets_out_of_its_field,
        );
    };
}

/// See [`conformance!`]. Live ones are gated and leave their trace.
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
    (live $module:ident $subject:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if edgelore_testkit::live(concat!(stringify!($module), "::", stringify!($case))) {
                    let mut subject = <$subject as suite::Subject>::start().await;
                    suite::$case(&mut subject).await;
                }
            }
        )+
    };
}
