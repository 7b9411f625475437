//! Detection: observations in, incidents out.
//!
//! ```text
//! Observation ─► sessions (timers, up or down) ─┐
//!             ─► life (silence of a link)      ─┼─► convergence ─► Incident
//!             ─► fib (who carried a prefix)    ─┘
//!             ─► flap (transitions)            ───────────────────► Incident
//! ```
//!
//! Time is what the observations say: nothing here reads a clock, and a finding depends only on
//! the observations and their times, never on when or in what portions they were handed over.
//!
//! **Invariant:** every table has a bound in [`DetectConfig`]; what does not fit is counted in
//! [`Detector::overflows`].

mod config;
mod convergence;
mod fib;
mod flap;
mod life;
mod sessions;

pub use config::DetectConfig;
pub use sessions::{BfdTimers, SessionSettings, Settings};

use convergence::{Convergences, View};
use edgelore_model::{Incident, Observation, Observed, Timestamp, TriggerKind};
use fib::FibTable;
use flap::Flaps;
use life::Life;
use sessions::Sessions;

/// A closed incident with the timers that held when it began: what distillation compares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// The incident.
    pub incident: Incident,
    /// The timers of every known session at its start.
    pub settings: Settings,
}

/// The detector: a state machine over observations in time order.
///
/// Observations may be out of order by a few milliseconds, as several sources deliver them;
/// time itself never runs backwards.
#[derive(Debug)]
pub struct Detector {
    now: Timestamp,
    sessions: Sessions,
    life: Life,
    fib: FibTable,
    convergences: Convergences,
    flaps: Flaps,
}

impl Detector {
    /// An empty detector.
    #[must_use]
    pub fn new(config: DetectConfig) -> Self {
        Self {
            now: Timestamp(i64::MIN),
            sessions: Sessions::new(config.sessions_max),
            life: Life::new(config.links_max),
            fib: FibTable::new(config.fib_routes_max),
            convergences: Convergences::new(config.clone()),
            flaps: Flaps::new(config),
        }
    }

    /// Goes on with other thresholds and times; what is known and what is open stays, and so do the
    /// bounds on memory.
    pub fn retune(&mut self, config: &DetectConfig) {
        self.convergences.retune(config);
        self.flaps.retune(config);
    }

    /// What did not fit into the bounded tables so far.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.sessions.overflows
            + self.life.overflows
            + self.fib.overflows
            + self.convergences.overflows
            + self.flaps.overflows
    }

    /// Takes one observation; appends the incidents that it closed.
    pub fn observe(&mut self, observation: &Observation, closed: &mut Vec<Finding>) {
        self.advance(observation.at, closed);
        let at = observation.at;
        match &observation.what {
            Observed::Open { session, speaker, hold_time_s, .. } => {
                self.sessions.opened(*session, observation.link, *speaker, *hold_time_s);
            }
            Observed::SessionUp { session } => {
                if let Some(was_down) = self.sessions.up(*session, observation.link)
                    && was_down
                {
                    self.flaps.session_moved(*session, true, at);
                }
            }
            Observed::SessionDown { session, .. } => {
                self.session_trigger(*session, at, TriggerKind::SessionDown);
            }
            Observed::Notification { session, code, subcode, .. } => {
                self.session_trigger(*session, at, TriggerKind::Notification(*code, *subcode));
            }
            Observed::Routes(delta) => {
                if self.sessions.routes_seen(delta, observation.link) {
                    self.convergences.routes_moved(delta, at, &self.sessions);
                    self.flaps.routes_moved(delta, at);
                }
            }
            Observed::Bfd(change) => {
                if self.sessions.bfd_changed(change, observation.link) {
                    self.session_trigger(change.session, at, TriggerKind::BfdDown);
                }
            }
            Observed::Link(change) => {
                if self.life.link_changed(observation.link, change) {
                    self.convergences.link_down(observation.link, at, &self.life, &self.sessions);
                }
            }
            Observed::Fib(change) => {
                if let Some(moved) = self.fib.apply(change) {
                    let remaining = moved.before.iter().filter_map(|hop| hop.via);
                    let emptied = remaining.filter(|via| self.fib.using(*via) == 0).collect();
                    let view = View { life: &self.life, emptied };
                    self.convergences.fib_moved(change, &moved, at, &view, &mut self.sessions);
                }
            }
            Observed::Counters(sample) => self.life.sampled(observation.link, at, sample),
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
    pub fn finish(&mut self, closed: &mut Vec<Finding>) {
        self.convergences.close_all(closed);
        self.flaps.close_all(&self.sessions, closed);
    }

    fn advance(&mut self, to: Timestamp, closed: &mut Vec<Finding>) {
        if to <= self.now {
            return;
        }
        self.now = to;
        self.convergences.advance(to, closed);
        self.flaps.advance(to, &self.sessions, closed);
    }

    fn session_trigger(
        &mut self,
        session: edgelore_model::SessionKey,
        at: Timestamp,
        kind: TriggerKind,
    ) {
        if is_collision(kind) {
            return;
        }
        let Some(before) = self.sessions.down(session) else {
            self.convergences.joined(session, at, kind);
            return;
        };
        if before.routing {
            self.flaps.session_moved(session, false, at);
        }
        if before.is_empty() {
            return;
        }
        self.convergences.session_down(session, &before, at, kind, &self.life, &self.sessions);
    }
}

/// Cease / Connection Collision Resolution (RFC 4486): one of two connections of a healthy session.
const fn is_collision(kind: TriggerKind) -> bool {
    matches!(kind, TriggerKind::Notification(6, 7))
}

#[cfg(test)]
mod tests;
