//! How many event streams each caller may open and hold.
//!
//! Owns the places. Never opens a stream; how many there are of all callers together is the
//! store's bound.
//!
//! **Invariant:** no caller holds more than [`STREAMS_MAX`] places, so none can take them all; a place
//! is given back when its stream ends, however it ends.

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

/// Streams that one caller may hold at the same time: a quarter of those that a store bears.
pub const STREAMS_MAX: usize = SUBSCRIPTIONS_MAX / 4;
/// Streams that one caller may open in a second; as many as it may hold may be opened at once.
pub const STREAMS_PER_SECOND: NonZeroU32 = NonZeroU32::new(4).expect("it is not zero");
const AT_ONCE: NonZeroU32 = NonZeroU32::new(STREAMS_MAX as u32).expect("it is not zero");
/// When a caller that holds all it may is to ask again: only it knows when one will end.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Why a caller gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooMany {
    /// It holds all it may.
    Held,
    /// It opens them too fast; the next after this.
    Opened(Duration),
}

impl IntoResponse for TooMany {
    fn into_response(self) -> Response {
        match self {
            Self::Held => held_back(
                ASK_AGAIN,
                &format!(
                    "{STREAMS_MAX} event streams of this caller are open: end one, or follow \
                     more cells in one of them"
                ),
            ),
            Self::Opened(wait) => held_back(
                wait,
                &format!(
                    "a caller opens {STREAMS_PER_SECOND} event streams a second: keep one open, \
                     and resume it with Last-Event-ID when it ends"
                ),
            ),
        }
    }
}

/// The places.
pub(super) struct Streams {
    held: Mutex<HashMap<Caller, usize>>,
    opened: Limiter<Caller>,
}

impl Default for Streams {
    fn default() -> Self {
        let quota = Quota::per_second(STREAMS_PER_SECOND).allow_burst(AT_ONCE);
        Self { held: Mutex::default(), opened: Limiter::new(quota, Caller::Others) }
    }
}

impl Streams {
    fn held(&self) -> MutexGuard<'_, HashMap<Caller, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for as long as what is returned lives.
    pub(super) fn open(self: &Arc<Self>, caller: Caller) -> Result<Place, TooMany> {
        let mut held = self.held();
        if held.get(&caller).is_some_and(|count| *count >= STREAMS_MAX) {
            return Err(TooMany::Held);
        }
        if let Some(wait) = self.opened.refuses(caller) {
            return Err(TooMany::Opened(wait));
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
        let streams = Arc::new(Streams::default());
        let mut places: Vec<Place> =
            (0..STREAMS_MAX).map(|_| streams.open(Caller::Token(1)).ok().unwrap()).collect();
        assert_eq!(streams.open(Caller::Token(1)).err(), Some(TooMany::Held));
        let other = streams.open(Caller::Token(2)).ok();
        assert!(other.is_some());
        places.pop();
        assert!(!matches!(streams.open(Caller::Token(1)), Err(TooMany::Held)), "one has ended");
        drop((places, other));
        assert!(streams.held().is_empty(), "nothing is kept of those who hold none");
    }

    #[test]
    fn who_opens_and_ends_them_again_and_again_waits() {
        let streams = Arc::new(Streams::default());
        let mut opened = 0;
        // However slow this test is, four a second do not keep up with it.
        let wait = loop {
            match streams.open(Caller::Token(1)) {
                Ok(_) => opened += 1,
                Err(TooMany::Opened(wait)) => break wait,
                Err(TooMany::Held) => panic!("none is held"),
            }
            assert!(opened < 100_000);
        };
        assert!(opened >= STREAMS_MAX && wait <= Duration::from_secs(1), "{opened} {wait:?}");
        assert!(streams.open(Caller::Token(2)).is_ok());
    }
}
