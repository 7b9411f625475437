//! Flap incidents: prefixes and sessions that come and go again and again.
//!
//! A transition is a change between announced and withdrawn as one speaker sees it (a repeated
//! announcement is none), or between up and down. Enough transitions, none further than the quiet
//! time from the one before, make a flap; it lasts from the first transition to the last.
//! Prefixes that flap at the same speaker at the same time are one incident.
//!
//! **Invariant:** only prefixes that were withdrawn at least once take memory.

use super::convergence::incident_id;
use super::known::Known;
use super::{Bounds, Detected, Finding};
use crate::rib::{Became, Verdict};
use edgelore_model::{
    EventType, Incident, Interval, Measured, Prefix, Protocol, RouteDelta, Scope, SessionKey, Span,
    Timestamp, Trigger, TriggerKind,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

const HOUR_NS: i64 = 3_600_000_000_000;

/// What a flap is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlapConfig {
    /// So many transitions (withdrawn to announced or back, up to down or back) make a flap.
    pub transitions: u32,
    /// Transitions further apart than this do not belong together; a flap ends after this, in ms.
    pub quiet_ms: u32,
}

impl Default for FlapConfig {
    fn default() -> Self {
        Self { transitions: 6, quiet_ms: 60_000 }
    }
}

#[derive(Debug)]
pub(super) struct Flaps {
    config: FlapConfig,
    bounds: Bounds,
    prefixes: HashMap<(Prefix, IpAddr), Transitions>,
    sessions: HashMap<SessionKey, Transitions>,
    open: BTreeMap<FlapScope, OpenFlap>,
    swept: Timestamp,
    pub(super) overflows: u64,
}

/// Prefixes are gathered by session and speaker, sessions stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FlapScope {
    Prefixes(SessionKey, IpAddr),
    Session(SessionKey),
}

#[derive(Clone, Copy, Debug)]
struct Transitions {
    first: Timestamp,
    last: Timestamp,
    count: u32,
    up: bool,
}

#[derive(Debug)]
struct OpenFlap {
    detected: Timestamp,
    first: Timestamp,
    last: Timestamp,
    prefixes: BTreeMap<Prefix, Transitions>,
    session: Option<Transitions>,
}

impl Transitions {
    const fn starting(at: Timestamp, up: bool) -> Self {
        Self { first: at, last: at, count: 1, up }
    }

    /// Counts a change of state; false when the state is the same as before.
    fn moved(&mut self, up: bool, at: Timestamp, quiet: Span) -> bool {
        if self.up == up {
            return false;
        }
        if at - self.last > quiet {
            *self = Self::starting(at, up);
        } else {
            (self.last, self.up, self.count) = (at, up, self.count.saturating_add(1));
        }
        true
    }

    fn per_hour(&self) -> u64 {
        let lasted = (self.last - self.first).0.max(1_000_000_000);
        let per_hour = i128::from(self.count) * i128::from(HOUR_NS) / i128::from(lasted);
        u64::try_from(per_hour).unwrap_or(u64::MAX)
    }
}

impl Flaps {
    /// Takes other thresholds and times from now on.
    pub(super) fn retune(&mut self, config: &FlapConfig) {
        self.config.clone_from(config);
    }

    pub(super) fn new(config: FlapConfig, bounds: Bounds) -> Self {
        Self {
            config,
            bounds,
            prefixes: HashMap::new(),
            sessions: HashMap::new(),
            open: BTreeMap::new(),
            swept: Timestamp(i64::MIN),
            overflows: 0,
        }
    }

    pub(super) fn routes_moved(&mut self, delta: &RouteDelta, verdicts: &[Verdict], at: Timestamp) {
        let prefixes = delta.withdrawn.iter().chain(&delta.announced);
        for (&prefix, verdict) in prefixes.zip(verdicts) {
            match verdict.became {
                became if became.lost() => self.prefix_moved(delta, prefix, false, at),
                Became::Returned => self.prefix_moved(delta, prefix, true, at),
                _ => {}
            }
        }
    }

    pub(super) fn session_moved(&mut self, session: SessionKey, up: bool, at: Timestamp) {
        let quiet = self.quiet();
        let full = self.sessions.len() >= self.bounds.sessions_max;
        let Some(transitions) = self.sessions.get_mut(&session) else {
            if full {
                self.overflows += 1;
            } else {
                self.sessions.insert(session, Transitions::starting(at, up));
            }
            return;
        };
        if transitions.moved(up, at, quiet) && transitions.count >= self.config.transitions {
            let transitions = *transitions;
            if let Some(flap) = self.open_flap(FlapScope::Session(session), transitions) {
                flap.session = Some(transitions);
            }
        }
    }

    /// Closes flaps that have been quiet, and forgets quiet prefixes now and then.
    pub(super) fn advance(&mut self, now: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        let quiet = self.quiet();
        let over: Vec<FlapScope> =
            self.open.iter().filter(|(_, f)| now - f.last > quiet).map(|(k, _)| *k).collect();
        for scope in over {
            self.close(scope, known, out);
        }
        if now - self.swept > quiet {
            self.swept = now;
            self.prefixes.retain(|_, t| now - t.last <= quiet);
            self.sessions.retain(|_, t| now - t.last <= quiet);
        }
    }

    pub(super) fn close_all(&mut self, known: &Known, out: &mut Vec<Detected>) {
        while let Some(scope) = self.open.keys().next().copied() {
            self.close(scope, known, out);
        }
    }

    fn prefix_moved(&mut self, delta: &RouteDelta, prefix: Prefix, up: bool, at: Timestamp) {
        let quiet = self.quiet();
        let full = self.prefixes.len() >= self.bounds.flap_prefixes_max;
        let Some(transitions) = self.prefixes.get_mut(&(prefix, delta.speaker)) else {
            if up {
                return;
            }
            if full {
                self.overflows += 1;
            } else {
                self.prefixes.insert((prefix, delta.speaker), Transitions::starting(at, up));
            }
            return;
        };
        if transitions.moved(up, at, quiet) && transitions.count >= self.config.transitions {
            let transitions = *transitions;
            let scope = FlapScope::Prefixes(delta.session, delta.speaker);
            let prefixes_max = self.bounds.incident_prefixes_max;
            if let Some(flap) = self.open_flap(scope, transitions)
                && flap.prefixes.len() < prefixes_max
            {
                flap.prefixes.insert(prefix, transitions);
            }
        }
    }

    fn open_flap(&mut self, scope: FlapScope, transitions: Transitions) -> Option<&mut OpenFlap> {
        if self.open.len() >= self.bounds.incidents_open_max && !self.open.contains_key(&scope) {
            self.overflows += 1;
            return None;
        }
        let flap = self.open.entry(scope).or_insert_with(|| OpenFlap {
            detected: transitions.last,
            first: transitions.first,
            last: transitions.last,
            prefixes: BTreeMap::new(),
            session: None,
        });
        flap.first = flap.first.min(transitions.first);
        flap.last = flap.last.max(transitions.last);
        Some(flap)
    }

    fn close(&mut self, scope: FlapScope, known: &Known, out: &mut Vec<Detected>) {
        let Some(flap) = self.open.remove(&scope) else { return };
        let only_prefix = flap.prefixes.keys().next().filter(|_| flap.prefixes.len() == 1);
        let named = match (scope, only_prefix) {
            (FlapScope::Prefixes(_, speaker), Some(prefix)) => Scope::Prefix(*prefix, speaker),
            (FlapScope::Prefixes(session, _) | FlapScope::Session(session), _) => {
                Scope::Session(session)
            }
        };
        let rates = flap.prefixes.values().chain(flap.session.as_ref()).map(Transitions::per_hour);
        let start = Interval::exactly(flap.first);
        let incident = Incident {
            id: incident_id(EventType::Flap, &named, start.estimate),
            event: EventType::Flap,
            protocol: Protocol::Bgp,
            scope: named,
            chain: vec![Trigger { at: flap.detected, kind: TriggerKind::Transitions, on: named }],
            start,
            end: Some(Interval::exactly(flap.last)),
            severity: rates.max().unwrap_or(0),
            prefixes: flap.prefixes.into_keys().collect(),
            gaps: false,
            maintenance: false,
            measured: Measured::default(),
            progress: Vec::new(),
            ruled_out: Vec::new(),
        };
        let settings = known.settings_of(&named);
        out.push(Detected::Closed(Box::new(Finding { incident, settings })));
    }

    fn quiet(&self) -> Span {
        Span::from_millis(i64::from(self.config.quiet_ms))
    }
}
