//! Detection: observations in, incidents out.
//!
//! ```text
//!                 ┌ sessions (timers, up or down)  ┐
//!                 ├ adjacency, ldp (likewise)      │
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

mod adjacency;
mod clock;
mod config;
mod convergence;
mod degradation;
mod fib;
mod flap;
mod known;
mod ldp;
mod life;
mod maintenance;
mod saturation;
mod sessions;
mod settings;
mod thinned;

pub use config::{Bounds, DetectConfig};
pub use convergence::ConvergenceConfig;
pub use degradation::DegradationConfig;
pub use flap::FlapConfig;
pub use maintenance::{WEEK_MINUTES, WINDOWS_MAX, When, Window};
pub use saturation::SaturationConfig;
pub use sessions::{BfdTimers, SessionSettings};
pub use settings::{EdgeCosts, LinkSettings, QueueSettings, RouterSettings, Settings, Settled};

use crate::rib::Verdict;
use clock::{Clock, Heard};
use convergence::{Convergences, Ending};
use degradation::Degradations;
use edgelore_model::{
    EventType, Incident, LossReason, Observation, Observed, Protocol, RouteDelta, Scope,
    SessionKey, Span, Timestamp, TriggerKind,
};
use flap::Flaps;
use known::Known;
use saturation::Saturations;

/// What detection tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// An incident has begun.
    Opened(Opened),
    /// An incident that has begun is part of another one, or has another root: it goes on under
    /// that scope, and is closed under it.
    Joined(Joined),
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

/// An incident that has begun and turned out to be part of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Joined {
    /// What kind both are.
    pub event: EventType,
    /// The scope under which it was opened; nothing more is told of it.
    pub scope: Scope,
    /// The scope of the one that it is part of, which is open.
    pub into: Scope,
    /// When the signal was seen that showed it.
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
/// Observations may be out of order by a few milliseconds, as several sources deliver them. Clocks
/// that jump make no incident last less than no time: see `clock`.
#[derive(Debug)]
pub struct Detector {
    config: DetectConfig,
    clock: Clock,
    windows: Vec<Window>,
    /// A session that has ended, whose routes are read and forgotten with the next observation:
    /// that takes longer than to tell that it has ended.
    ended: Option<(SessionKey, Timestamp)>,
    /// On the prefixes of the last delta: kept for its memory.
    verdicts: Vec<Verdict>,
    now: Timestamp,
    /// The longest step in which the times of a source count.
    step: Span,
    /// What did not fit before history began anew.
    overflows_before: u64,
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
            clock: Clock::new(),
            windows: Vec::new(),
            ended: None,
            verdicts: Vec::new(),
            now: Timestamp(i64::MIN),
            step: Span(0),
            overflows_before: 0,
            known: Known::new(bounds, &config.flap),
            convergences: Convergences::new(config.convergence.clone(), bounds),
            flaps: Flaps::new(config.flap.clone(), bounds),
            saturations: Saturations::new(config.saturation.clone(), bounds),
            degradations: Degradations::new(config.degradation.clone(), bounds),
            config,
        }
    }

    /// Incidents that close from now on and overlap one of these windows are marked so.
    pub fn maintain(&mut self, windows: Vec<Window>) {
        self.windows = windows;
    }

    /// Goes on with other thresholds and times; what is known and what is open stays, and so do the
    /// bounds on memory.
    pub fn retune(&mut self, config: &DetectConfig) {
        self.convergences.retune(&config.convergence);
        self.flaps.retune(&config.flap);
        self.known.rib.retune(config.flap.quiet(), config.flap.penalties());
        self.saturations.retune(&config.saturation);
        self.degradations.retune(&config.degradation);
        self.config = DetectConfig { bounds: self.config.bounds, ..config.clone() };
    }

    /// What did not fit into the bounded tables so far.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.overflows_before
            + self.known.overflows()
            + self.convergences.overflows
            + self.flaps.overflows
            + self.saturations.overflows
            + self.degradations.overflows
    }

    /// Has the memory brought near that an observation will need which comes some observations
    /// later: changes nothing but the time that it then takes.
    pub fn foresee(&self, observation: &Observation) {
        if let Observed::Routes(delta) = &observation.what {
            self.known.rib.foresee(delta);
        }
    }

    /// Takes one observation; appends what it tells.
    pub fn observe(&mut self, observation: &Observation, out: &mut Vec<Detected>) {
        let first = out.len();
        match self.clock.hear(observation.at) {
            Heard::AsSaid => self.take(observation, out),
            Heard::Behind(now) => {
                self.miss(now, out);
                self.take(&Observation { at: now, ..observation.clone() }, out);
            }
            Heard::SetBack => {
                self.miss(self.now, out);
                self.begin_anew(out);
                self.take(observation, out);
            }
        }
        self.judge(&mut out[first..]);
    }

    /// Evidence is missing: nobody can say when what comes now has happened.
    fn miss(&mut self, at: Timestamp, out: &mut Vec<Detected>) {
        let what = Observed::Lost { reason: LossReason::Malformed, count: 1 };
        self.take(&Observation { at, link: 0, what }, out);
    }

    /// Closes what is open, and forgets all that is known but settings and windows.
    fn begin_anew(&mut self, out: &mut Vec<Detected>) {
        self.close_all(out);
        let clock = std::mem::replace(&mut self.clock, Clock::new());
        let windows = std::mem::take(&mut self.windows);
        let (step, overflows_before) = (self.step, self.overflows());
        *self = Self { clock, windows, step, overflows_before, ..Self::new(self.config.clone()) };
    }

    /// What holds of every incident, whoever found it.
    fn judge(&self, detected: &mut [Detected]) {
        for one in detected {
            let Detected::Closed(finding) = one else { continue };
            let incident = &mut finding.incident;
            incident.maintenance = maintenance::covers(&self.windows, incident, self.now);
            // What is late keeps its time, and may be older than what it ends.
            let start = incident.start;
            incident.start.latest = start.latest + self.step;
            if let Some(end) = &mut incident.end {
                end.earliest = end.earliest.max(start.earliest);
                end.estimate = end.estimate.max(start.estimate).max(end.earliest);
                end.latest = end.latest.max(end.estimate) + self.step;
            }
        }
    }

    fn take(&mut self, observation: &Observation, out: &mut Vec<Detected>) {
        self.settle(out);
        self.advance(observation.at, out);
        let first = out.len();
        if let Observed::Routes(delta) = &observation.what {
            self.routes(delta, observation.link, observation.at, out);
        } else {
            self.known.book.observe(observation);
            self.routing(observation, out);
            self.flaps.observe(observation, &self.known, out);
            self.saturations.observe(observation, &self.known, out);
            self.degradations.observe(observation, &self.known, &self.saturations, out);
        }
        self.follow(&out[first..]);
    }

    fn routing(&mut self, observation: &Observation, out: &mut Vec<Detected>) {
        let (at, link) = (observation.at, observation.link);
        let known = &mut self.known;
        match &observation.what {
            Observed::Open { session, speaker, hold_time_s, capabilities } => {
                known.sessions.opened(*session, link, *speaker, *hold_time_s, *capabilities);
            }
            Observed::SessionUp { session } => {
                // Its end may have gone by unseen: what follows is a table transfer in any case.
                known.rib.session_ended(*session);
                if let Some(was_down) = known.sessions.up(*session, link, at)
                    && was_down
                {
                    self.flaps.session_moved(*session, true, at);
                }
            }
            Observed::SessionDown { session, cause } => {
                let ending = Ending { cause: Some(*cause), ..Ending::default() };
                self.session_trigger(*session, at, TriggerKind::SessionDown, ending, out);
                self.ended = Some((*session, at));
            }
            Observed::Notification { session, code, subcode, hard_reset, .. } => {
                let kind = TriggerKind::Notification(*code, *subcode);
                let ending =
                    Ending { notified: true, hard_reset: *hard_reset, ..Ending::default() };
                self.session_trigger(*session, at, kind, ending, out);
            }
            Observed::EndOfRib { session, speaker, .. } => {
                known.sessions.all_sent(*session, *speaker, at);
            }
            Observed::Router(change) if !change.connected => {
                known.sessions.unknown_since(change.router);
            }
            Observed::Bfd(change) => {
                if known.sessions.bfd_changed(change, link) {
                    let diagnostic = Some(change.diagnostic);
                    let (kind, ending) =
                        (TriggerKind::BfdDown, Ending { diagnostic, ..Ending::default() });
                    self.session_trigger(change.session, at, kind, ending, out);
                }
            }
            Observed::Link(change) => {
                if known.life.link_changed(link, change) {
                    self.convergences.link_down(link, change, at, known, out);
                }
            }
            Observed::Hello(_) | Observed::LinkState(_) | Observed::Ldp(_) => {
                self.interior(observation, out);
            }
            Observed::Fib(change) => {
                if let Some(moved) = known.fib.apply(change) {
                    self.convergences.fib_moved(change, &moved, at, known, out);
                }
            }
            Observed::Counters(sample) => known.life.sampled(link, at, sample),
            Observed::StreamGap { .. } | Observed::Lost { .. } => self.convergences.gap_seen(),
            Observed::Queue(sample) => known.life.queue_sampled(link, at, sample),
            Observed::Neighbour(_)
            | Observed::Kernel(_)
            | Observed::PeerStatistics(_)
            | Observed::Router(_)
            | Observed::MessageFault { .. }
            | Observed::Late(_)
            | Observed::SentAgain(_)
            | Observed::Routes(_)
            | Observed::Tick => {}
            Observed::Granularity { step } => self.step = self.step.max(*step),
        }
    }

    /// What runs inside a network: OSPF, IS-IS and LDP.
    fn interior(&mut self, observation: &Observation, out: &mut Vec<Detected>) {
        let (at, link) = (observation.at, observation.link);
        let known = &mut self.known;
        match &observation.what {
            Observed::Hello(change) => {
                if let Some(sign) = known.adjacencies.hello(link, at, change) {
                    self.convergences.interior(sign, at, known, out);
                }
            }
            Observed::LinkState(change) => {
                if let Some(sign) = known.adjacencies.link_state(at, change) {
                    self.convergences.interior(sign, at, known, out);
                }
            }
            Observed::Ldp(change) => {
                if let Some(loss) = known.ldp.take(link, change) {
                    self.convergences.ldp_down(loss, at, known, out);
                }
                self.convergences.labels_moved(change, at, known, out);
            }
            _ => {}
        }
    }

    /// The way of nearly all observations. Of routes the other detectors have nothing to say but that
    /// their session speaks.
    fn routes(&mut self, delta: &RouteDelta, link: u32, at: Timestamp, out: &mut Vec<Detected>) {
        let known = &mut self.known;
        if known.sessions.routes_seen(delta, link, at) {
            known.routes_moved(delta, at, &mut self.verdicts);
            self.convergences.routes_moved(delta, &self.verdicts, at, known, out);
            self.flaps.routes_moved(delta, &self.verdicts, at);
            self.flaps.tell(known, out);
        }
        self.degradations.spoke(delta.session);
    }

    /// Reads what was announced on a session that has ended, and forgets it.
    fn settle(&mut self, out: &mut Vec<Detected>) {
        if let Some((session, at)) = self.ended.take() {
            self.convergences.routes_lost(session, at, &self.known, out);
            self.known.rib.session_ended(session);
        }
    }

    /// Closes what can be closed: the input has ended at the last observation's time, so every
    /// incident that is still open is closed as if the quiet that it waits for had followed.
    pub fn finish(&mut self, out: &mut Vec<Detected>) {
        let first = out.len();
        self.close_all(out);
        self.judge(&mut out[first..]);
    }

    fn close_all(&mut self, out: &mut Vec<Detected>) {
        self.settle(out);
        self.convergences.close_all(&self.known, out);
        self.flaps.close_all(&self.known, out);
        // What stands full may be what degrades others: it is closed last.
        self.degradations.close_all(&self.saturations, out);
        self.saturations.close_all(&self.known, out);
    }

    fn advance(&mut self, to: Timestamp, out: &mut Vec<Detected>) {
        if to <= self.now {
            return;
        }
        self.now = to;
        let first = out.len();
        self.convergences.advance(to, &self.known, out);
        self.flaps.advance(to, &self.known, out);
        self.saturations.advance(to, &self.known, out);
        self.degradations.advance(to, &self.saturations, out);
        self.follow(&out[first..]);
        self.known.rib.age(to);
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
        ending: Ending,
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
        self.convergences.session_down(session, &before, (at, kind), ending, &self.known, out);
    }
}

/// Cease / Connection Collision Resolution (RFC 4486): one of two connections of a healthy session.
const fn is_collision(kind: TriggerKind) -> bool {
    matches!(kind, TriggerKind::Notification(6, 7))
}

#[cfg(test)]
mod tests;
