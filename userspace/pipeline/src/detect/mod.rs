//! Detection: observations in, incidents out.
//!
//! ```text
//!                 ┌ sessions (timers, up or down)  ┐
//!                 ├ life (silence of a link)       │   ┌ convergence ┐
//! Observation ─► known: fib (who carried a prefix) ├─► ├ flap        ├─► Detected
//!                 └ settings (what is set where)   ┘   ├ saturation  │
//!                                                      └ degradation ┘
//! ```
//!
//! Time is what the observations say: nothing here reads a clock, and a finding depends only on
//! the observations and their times, never on when or in what portions they were handed over.
//!
//! **Invariant:** every table has a bound in [`Bounds`]; what does not fit is counted in
//! [`Detector::overflows`].

mod config;
mod convergence;
mod degradation;
mod fib;
mod flap;
mod known;
mod life;
mod saturation;
mod sessions;
mod settings;

pub use config::{Bounds, DetectConfig};
pub use convergence::ConvergenceConfig;
pub use degradation::DegradationConfig;
pub use flap::FlapConfig;
pub use saturation::SaturationConfig;
pub use sessions::{BfdTimers, SessionSettings};
pub use settings::{EdgeCosts, LinkSettings, QueueSettings, RouterSettings, Settings, Settled};

use convergence::Convergences;
use degradation::Degradations;
use edgelore_model::{
    EventType, Incident, Observation, Observed, Protocol, Scope, SessionKey, Timestamp, TriggerKind,
};
use flap::Flaps;
use known::Known;
use saturation::Saturations;

/// What detection tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// An incident has begun.
    Opened(Opened),
    /// An incident is over.
    Closed(Box<Finding>),
    /// Settings of a scope that has had an incident changed, and stood since.
    Settled(Box<Settled>),
}

/// An incident that has begun; its bounds and its identity are known when it has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Opened {
    /// What kind.
    pub event: EventType,
    /// On which protocol, as far as is known yet.
    pub protocol: Protocol,
    /// On what.
    pub scope: Scope,
    /// When the signal was seen that opened it.
    pub at: Timestamp,
}

/// A closed incident with what was set when it began: what distillation compares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// The incident.
    pub incident: Incident,
    /// What was set where it happened, at its start.
    pub settings: Settings,
}

/// The detector: a state machine over observations in time order.
///
/// Observations may be out of order by a few milliseconds, as several sources deliver them;
/// time itself never runs backwards.
#[derive(Debug)]
pub struct Detector {
    now: Timestamp,
    known: Known,
    convergences: Convergences,
    flaps: Flaps,
    saturations: Saturations,
    degradations: Degradations,
}

impl Detector {
    /// An empty detector.
    #[must_use]
    pub fn new(config: DetectConfig) -> Self {
        let bounds = config.bounds;
        Self {
            now: Timestamp(i64::MIN),
            known: Known::new(bounds),
            convergences: Convergences::new(config.convergence, bounds),
            flaps: Flaps::new(config.flap, bounds),
            saturations: Saturations::new(config.saturation, bounds),
            degradations: Degradations::new(config.degradation, bounds),
        }
    }

    /// Goes on with other thresholds and times; what is known and what is open stays, and so do the
    /// bounds on memory.
    pub fn retune(&mut self, config: &DetectConfig) {
        self.convergences.retune(&config.convergence);
        self.flaps.retune(&config.flap);
        self.saturations.retune(&config.saturation);
        self.degradations.retune(&config.degradation);
    }

    /// What did not fit into the bounded tables so far.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.known.overflows()
            + self.convergences.overflows
            + self.flaps.overflows
            + self.saturations.overflows
            + self.degradations.overflows
    }

    /// Takes one observation; appends what it tells.
    pub fn observe(&mut self, observation: &Observation, out: &mut Vec<Detected>) {
        self.advance(observation.at, out);
        let first = out.len();
        self.known.book.observe(observation);
        self.routing(observation, out);
        self.saturations.observe(observation, &self.known, out);
        self.degradations.observe(observation, &self.known, out);
        self.follow(&out[first..]);
    }

    fn routing(&mut self, observation: &Observation, out: &mut Vec<Detected>) {
        let (at, link) = (observation.at, observation.link);
        let known = &mut self.known;
        match &observation.what {
            Observed::Open { session, speaker, hold_time_s, .. } => {
                known.sessions.opened(*session, link, *speaker, *hold_time_s);
            }
            Observed::SessionUp { session } => {
                if let Some(was_down) = known.sessions.up(*session, link)
                    && was_down
                {
                    self.flaps.session_moved(*session, true, at);
                }
            }
            Observed::SessionDown { session, .. } => {
                self.session_trigger(*session, at, TriggerKind::SessionDown, out);
            }
            Observed::Notification { session, code, subcode, .. } => {
                self.session_trigger(*session, at, TriggerKind::Notification(*code, *subcode), out);
            }
            Observed::Routes(delta) => {
                if known.sessions.routes_seen(delta, link) {
                    self.convergences.routes_moved(delta, at, known, out);
                    self.flaps.routes_moved(delta, at);
                }
            }
            Observed::Bfd(change) => {
                if known.sessions.bfd_changed(change, link) {
                    self.session_trigger(change.session, at, TriggerKind::BfdDown, out);
                }
            }
            Observed::Link(change) => {
                if known.life.link_changed(link, change) {
                    self.convergences.link_down(link, at, known, out);
                }
            }
            Observed::Fib(change) => {
                if let Some(moved) = known.fib.apply(change) {
                    self.convergences.fib_moved(change, &moved, at, known, out);
                }
            }
            Observed::Counters(sample) => known.life.sampled(link, at, sample),
            Observed::StreamGap { .. } | Observed::Lost { .. } => self.convergences.gap_seen(),
            Observed::Queue(_)
            | Observed::Neighbour(_)
            | Observed::Kernel(_)
            | Observed::Hello(_)
            | Observed::LinkState(_)
            | Observed::Ldp(_)
            | Observed::PeerStatistics(_)
            | Observed::Router(_)
            | Observed::MessageFault { .. }
            | Observed::EndOfRib { .. }
            | Observed::Tick => {}
        }
    }

    /// Closes what can be closed: the input has ended at the last observation's time, so every
    /// incident that is still open is closed as if the quiet that it waits for had followed.
    pub fn finish(&mut self, out: &mut Vec<Detected>) {
        self.convergences.close_all(out);
        self.flaps.close_all(&self.known, out);
        self.saturations.close_all(&self.known, out);
        self.degradations.close_all(&self.known, out);
    }

    fn advance(&mut self, to: Timestamp, out: &mut Vec<Detected>) {
        if to <= self.now {
            return;
        }
        self.now = to;
        let first = out.len();
        self.convergences.advance(to, out);
        self.flaps.advance(to, &self.known, out);
        self.saturations.advance(to, &self.known, out);
        self.degradations.advance(to, &self.known, out);
        self.follow(&out[first..]);
        self.known.book.advance(to, &self.known.sessions, out);
    }

    /// Settings matter where incidents were.
    fn follow(&mut self, detected: &[Detected]) {
        for one in detected {
            if let Detected::Closed(finding) = one {
                self.known.book.follow(&finding.incident.scope, &finding.settings);
            }
        }
    }

    fn session_trigger(
        &mut self,
        session: SessionKey,
        at: Timestamp,
        kind: TriggerKind,
        out: &mut Vec<Detected>,
    ) {
        if is_collision(kind) {
            return;
        }
        let Some(before) = self.known.sessions.down(session) else {
            self.convergences.joined(session, at, kind);
            return;
        };
        if before.routing {
            self.flaps.session_moved(session, false, at);
        }
        if before.is_empty() {
            return;
        }
        self.convergences.session_down(session, &before, at, kind, &self.known, out);
    }
}

/// Cease / Connection Collision Resolution (RFC 4486): one of two connections of a healthy session.
const fn is_collision(kind: TriggerKind) -> bool {
    matches!(kind, TriggerKind::Notification(6, 7))
}

#[cfg(test)]
mod tests;
