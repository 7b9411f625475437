//! The vocabulary that crosses stage borders: plain values, no I/O, no clock, no async.
//!
//! ```text
//! capture ──Batch of Signal──► decode ──Observation──► detect ──Incident──► distil ──Outcome──► packet
//! ```
//!
//! **Invariant:** everything here is a value that can be compared, cloned and sent to another
//! thread; nothing here knows where it came from or where it goes.
#![forbid(unsafe_code)]

mod advice;
mod incident;
mod net;
mod observation;
mod outcome;
mod signal;
mod summary;
mod time;

pub use advice::{Advice, Evidence};
pub use incident::{EventType, Incident, IncidentId, Link, Protocol, Scope, Trigger, TriggerKind};
pub use net::{AddressFamily, Direction, NetError, Prefix, SessionKey};
pub use observation::{
    BfdChange, BfdState, DownCause, Observation, Observed, PathSummary, RouteDelta,
};
pub use outcome::{Known, Outcome, Query, Resolution, Situation};
pub use signal::{
    Batch, BfdDatagram, CounterSample, FibAction, FibChange, LinkChange, LossReason, NextHop,
    PayloadRef, PeerState, Segment, Signal, SignalKind, WholeMessage, tcp_flags,
};
pub use summary::{BfdCounts, BgpCounts, PrefixCounts, Summary};
pub use time::{Interval, Span, Timestamp};
