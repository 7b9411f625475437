//! The Singapore–Denver laboratory: an edge gateway with two FRR neighbours, a fault that can be
//! injected beyond the gateway's carrier, and the truth about what it did.
//!
//! ```text
//!              ┌─ prim0 ── sw (bridge) ── prim (FRR, preferred) ─┐
//!  lan ─ lan0 ─ gw (FRR, Edgelore)                               ├─ the same prefixes
//!              └─ sec0 ────────────────── sec  (FRR, prepended) ─┘
//! ```
//!
//! Never does: look at Edgelore. The truth is the kernel's route notifications ([`FibMonitor`]) and
//! the packets that were lost ([`Stream`]).

mod config;
mod fib;
mod flood;
mod ground;
mod heard;
mod judge;
mod network;
mod play;
mod recorder;
mod scenarios;
mod stream;
mod truth;
mod words;

pub use fib::FibMonitor;
pub use ground::{Ground, Protection, Routing};
pub use heard::{RoutesHeard, routes_heard};
pub use judge::{ESTIMATE_OFF_MAX, Judgement, Reported, Verdict, judge};
pub use network::{BFD_INTERVAL_MS, BFD_MULTIPLIER, Network, Site, Truth};
pub use play::play;
pub use recorder::{Recorded, Recorder, Ways};
pub use scenarios::{Fault, SCENARIOS, Scenario, Step};
pub use stream::{ECHO_PORT, ECHO_WAIT, Outage, SPACING, Stream, agree};
pub use truth::{Finding, Happened, Moved, Resolved, ScenarioTruth, Sight, Viewpoint};
