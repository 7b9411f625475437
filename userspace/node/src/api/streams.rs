//! How many event streams each caller may open and hold.
//!
//! Owns the places. Never opens a stream; how many there are of all callers together is the
//! store's bound.
//!
//! **Invariant:** no caller holds more than [`StreamBounds::held_max`] places, so by default none can
//! take them all; a place is given back when its stream ends, however it ends.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use edgelore_routing::embedded::SUBSCRIPTIONS_MAX;
use governor::Quota;

use super::access::Caller;
use super::answers::held_back;
use crate::limit::Limiter;

/// The most event streams of all callers together: what a store bears.
pub const STREAMS_MAX: u32 = SUBSCRIPTIONS_MAX as u32;
/// When a caller that holds all it may is to ask again: only it knows when one will end.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How many event streams a caller may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamBounds {
    /// Held at the same time, and opened at once; all callers together hold [`STREAMS_MAX`].
    pub held_max: NonZeroU32,
    /// Opened in a second.
    pub opened_per_second: NonZeroU32,
}

impl Default for StreamBounds {
    /// A quarter of those that a store bears, and four a second.
    fn default() -> Self {
        const HELD: NonZeroU32 = NonZeroU32::new(STREAMS_MAX / 4).expect("a quarter of 256");
        const OPENED: NonZeroU32 = NonZeroU32::new(4).expect("four is not zero");
        Self { held_max: HELD, opened_per_second: OPENED }
    }
}

/// Why a caller gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooMany {
    /// It holds all it may, so many.
    Held(NonZeroU32),
    /// It opens them faster than so many a second; the next after this.
    Opened(NonZeroU32, Duration),
}

impl IntoResponse for TooMany {
    fn into_response(self) -> Response {
        match self {
            Self::Held(count) => held_back(
                ASK_AGAIN,
                &format!(
                    "{count} event streams of this caller are open: end one, or follow \
                     more cells in one of them"
                ),
            ),
            Self::Opened(count, wait) => held_back(
                wait,
                &format!(
                    "a caller opens {count} event streams a second: keep one open, \
                     and resume it with Last-Event-ID when it ends"
                ),
            ),
        }
    }
}

/// The places.
pub(super) struct Streams {
    bounds: StreamBounds,
    held: Mutex<HashMap<Caller, u32>>,
    opened: Limiter<Caller>,
}

impl Streams {
    pub(super) fn new(bounds: StreamBounds) -> Self {
        let quota = Quota::per_second(bounds.opened_per_second).allow_burst(bounds.held_max);
        Self { bounds, held: Mutex::default(), opened: Limiter::new(quota, Caller::Others) }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Caller, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for as long as what is returned lives.
    pub(super) fn open(self: &Arc<Self>, caller: Caller) -> Result<Place, TooMany> {
        let mut held = self.held();
        let StreamBounds { held_max, opened_per_second } = self.bounds;
        if held.get(&caller).is_some_and(|count| *count >= held_max.get()) {
            return Err(TooMany::Held(held_max));
        }
        if let Some(wait) = self.opened.refuses(caller) {
            return Err(TooMany::Opened(opened_per_second, wait));
        }
        *held.entry(caller).or_default() += 1;
        Ok(Place { streams: Arc::clone(self), caller })
    }
}

/// A place that a stream has.
pub(super) struct Place {
    streams: Arc<Streams>,
    caller: Caller,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.streams.held();
        if let Some(count) = held.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_holds_so_many_and_leaves_the_rest_to_others() {
        let bounds = StreamBounds::default();
        let streams = Arc::new(Streams::new(bounds));
        let mut places: Vec<Place> = (0..bounds.held_max.get())
            .map(|_| streams.open(Caller::Token(1)).ok().unwrap())
            .collect();
        assert_eq!(streams.open(Caller::Token(1)).err(), Some(TooMany::Held(bounds.held_max)));
        let other = streams.open(Caller::Token(2)).ok();
        assert!(other.is_some());
        places.pop();
        assert!(!matches!(streams.open(Caller::Token(1)), Err(TooMany::Held(_))), "one has ended");
        drop((places, other));
        assert!(streams.held().is_empty(), "nothing is kept of those who hold none");
    }

    #[test]
    fn who_opens_and_ends_them_again_and_again_waits() {
        let bounds = StreamBounds::default();
        let streams = Arc::new(Streams::new(bounds));
        let mut opened = 0;
        // However slow this test is, four a second do not keep up with it.
        let wait = loop {
            match streams.open(Caller::Token(1)) {
                Ok(_) => opened += 1,
                Err(TooMany::Opened(count, wait)) => {
                    assert_eq!(count, bounds.opened_per_second);
                    break wait;
                }
                Err(TooMany::Held(_)) => panic!("none is held"),
            }
            assert!(opened < 100_000);
        };
        assert!(
            opened >= bounds.held_max.get() && wait <= Duration::from_secs(1),
            "{opened} {wait:?}"
        );
        assert!(streams.open(Caller::Token(2)).is_ok());
    }
}
