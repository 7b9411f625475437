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
mod bmp;
mod igp;
mod incident;
mod kernel;
mod ldp;
mod net;
mod observation;
mod outcome;
mod sharing;
mod signal;
mod summary;
mod time;
mod vital;

pub use advice::{Advice, Evidence};
pub use bmp::{PeerStatistics, Rib, RouterChange};
pub use igp::{
    HelloChange, IgpArea, IgpProtocol, LinkStateAction, LinkStateChange, NodeId, TopologyEdge,
    TopologyPrefix,
};
pub use incident::{
    Adjacency, EventType, Incident, IncidentId, Link, Measured, PROGRESS_MAX, Progress, Protocol,
    RuledOut, Scope, Trigger, TriggerKind,
};
pub use kernel::{KernelEvent, NeighbourChange, NeighbourState, QueueSample, TcpState};
pub use ldp::LdpChange;
pub use net::{AddressFamily, Direction, NetError, Prefix, SessionKey};
pub use observation::{
    BfdChange, BfdState, DownCause, FaultHandling, Observation, Observed, OpenCapabilities,
    PathSummary, RouteDelta,
};
pub use outcome::{Known, Outcome, Query, Resolution, Situation};
pub use sharing::Sharing;
pub use signal::{
    Batch, BmpMessage, BmpRouter, CounterSample, Datagram, FibAction, FibChange, Heard, IsisFrame,
    LinkChange, LossReason, NextHop, OperState, PayloadRef, PeerState, Segment, Signal, SignalKind,
    StreamProtocol, TableRecord, WholeMessage, tcp_flags,
};
pub use summary::{
    BfdCounts, BgpCounts, BgpFaultCounts, BmpCounts, IsisCounts, LdpCounts, OspfCounts,
    PrefixCounts, Summary, TableCounts,
};
pub use time::{Interval, Span, Timestamp};
pub use vital::{Heartbeat, LateHeartbeat, SentAgain};
