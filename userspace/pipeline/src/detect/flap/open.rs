//! A flap while it lasts.
//!
//! **Invariant:** what a flap keeps beside its prefixes is bounded: [`PERIODS_MAX`] periods,
//! [`PROGRESS_MAX`] points of progress.

use crate::rib::Decay;
use edgelore_model::{
    EventType, Incident, Interval, Measured, PROGRESS_MAX, Prefix, Progress, Protocol, Scope, Span,
    Timestamp, Trigger, TriggerKind,
};
use std::collections::BTreeMap;

use super::super::convergence::incident_id;

/// Times from one loss to the next that are kept of one flap; further ones are not.
const PERIODS_MAX: usize = 1_024;
/// Sessions and the like that are told to have flapped along.
const CHAIN_MAX: usize = 32;
const HOUR_NS: i64 = 3_600_000_000_000;

/// What one event did to one subject, a prefix, a session, a link or an adjacency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    /// It was lost by this.
    pub(super) loss: bool,
    /// Its transitions in the running episode.
    pub(super) transitions: u32,
    /// Its penalty after this.
    pub(super) penalty: u16,
    /// When its running episode began.
    pub(super) first: Interval,
}

/// How one subject went since the flap began.
#[derive(Clone, Copy, Debug)]
struct Course {
    first: Timestamp,
    last: Timestamp,
    lost: Option<Timestamp>,
    transitions: u32,
}

/// A flap that is not over.
#[derive(Debug)]
pub(super) struct OpenFlap {
    detected: Timestamp,
    first: Interval,
    pub(super) last: Timestamp,
    /// Evidence was lost while it was open.
    pub(super) gaps: bool,
    /// The highest penalty of its subjects at the last event.
    penalty: u16,
    penalty_max: u16,
    transitions: u64,
    periods_ms: Vec<u32>,
    progress: Vec<Progress>,
    /// Every so many transitions are a point of progress; doubles as they become too many.
    stride: u64,
    chain: Vec<Trigger>,
    itself: Option<Course>,
    prefixes: BTreeMap<Prefix, Course>,
}

impl Course {
    const fn starting(event: &Event) -> Self {
        Self { first: event.first.estimate, last: event.at, lost: None, transitions: 0 }
    }

    /// Counts an event; the time since the last loss, if this is one.
    fn note(&mut self, event: &Event) -> Option<Span> {
        // What came before the flap was known counts with the event that made it known.
        let counted = if self.transitions == 0 { event.transitions.max(1) } else { 1 };
        self.transitions = self.transitions.saturating_add(counted);
        self.last = self.last.max(event.at);
        if !event.loss {
            return None;
        }
        self.lost.replace(event.at).map(|lost| event.at - lost)
    }

    fn per_hour(&self) -> u64 {
        let lasted = (self.last - self.first).0.max(1_000_000_000);
        let per_hour = i128::from(self.transitions) * i128::from(HOUR_NS) / i128::from(lasted);
        u64::try_from(per_hour).unwrap_or(u64::MAX)
    }

    /// The mean time from one loss to the next, in ms: every second transition is a loss.
    fn period_ms(&self) -> Option<u64> {
        let gaps = i64::from(self.transitions.checked_sub(1).filter(|&gaps| gaps > 0)?);
        u64::try_from((self.last - self.first).millis().saturating_mul(2) / gaps).ok()
    }
}

impl OpenFlap {
    pub(super) fn new(event: &Event) -> Self {
        Self {
            detected: event.at,
            first: event.first,
            last: event.at,
            gaps: false,
            penalty: 0,
            penalty_max: 0,
            transitions: 0,
            periods_ms: Vec::new(),
            progress: Vec::new(),
            stride: 1,
            chain: Vec::new(),
            itself: None,
            prefixes: BTreeMap::new(),
        }
    }

    /// It is known to flap in this.
    pub(super) fn has(&self, prefix: &Prefix) -> bool {
        self.prefixes.contains_key(prefix)
    }

    /// Prefixes that flap in this.
    pub(super) fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// Something happened to one of its prefixes, or to the subject itself.
    pub(super) fn note(&mut self, prefix: Option<Prefix>, event: &Event, decay: Decay) {
        let course = match prefix {
            Some(prefix) => self.prefixes.entry(prefix).or_insert_with(|| Course::starting(event)),
            None => self.itself.get_or_insert_with(|| Course::starting(event)),
        };
        let before = course.transitions;
        let period = course.note(event);
        self.transitions += u64::from(course.transitions - before);
        if let Some(period) = period.filter(|_| self.periods_ms.len() < PERIODS_MAX) {
            self.periods_ms.push(u32::try_from(period.millis().max(0)).unwrap_or(u32::MAX));
        }
        let left = self.penalty_at(event.at, decay);
        self.penalty = left.max(event.penalty);
        self.penalty_max = self.penalty_max.max(event.penalty);
        if event.first.estimate < self.first.estimate {
            self.first = event.first;
        }
        self.last = self.last.max(event.at);
        self.point(event.at);
    }

    /// A point of progress; when there are too many, every other one goes.
    fn point(&mut self, at: Timestamp) {
        let due =
            self.progress.last().is_none_or(|last| self.transitions >= last.value + self.stride);
        if !due {
            return;
        }
        if self.progress.len() >= PROGRESS_MAX {
            let mut place = 0;
            self.progress.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.stride *= 2;
        }
        self.progress.push(Progress { at, value: self.transitions });
    }

    /// Something flaps along with it, as a session does on a link.
    pub(super) fn joined(&mut self, on: Scope, at: Timestamp) {
        if self.chain.len() < CHAIN_MAX && self.chain.iter().all(|trigger| trigger.on != on) {
            self.chain.push(Trigger { at, kind: TriggerKind::Transitions, on });
        }
        self.last = self.last.max(at);
    }

    /// What is left of its penalty.
    pub(super) fn penalty_at(&self, now: Timestamp, decay: Decay) -> u16 {
        decay.after_span(self.penalty, now - self.last)
    }

    /// Its only prefix.
    pub(super) fn only_prefix(&self) -> Option<Prefix> {
        self.prefixes.keys().next().copied().filter(|_| self.prefixes.len() == 1)
    }

    pub(super) fn incident(mut self, protocol: Protocol, scope: Scope) -> Incident {
        let kind = TriggerKind::Transitions;
        let mut chain = vec![Trigger { at: self.detected, kind, on: scope }];
        chain.append(&mut self.chain);
        let courses = || self.prefixes.values().chain(self.itself.as_ref());
        self.periods_ms.sort_unstable();
        let median = self.periods_ms.get(self.periods_ms.len() / 2).copied().map(u64::from);
        let measured = Measured {
            transitions: Some(self.transitions),
            period_ms: median.or_else(|| courses().find_map(Course::period_ms)),
            penalty_max: Some(self.penalty_max.into()),
            ..Measured::default()
        };
        Incident {
            id: incident_id(EventType::Flap, &scope, self.first.estimate),
            event: EventType::Flap,
            protocol,
            scope,
            chain,
            start: self.first,
            end: Some(Interval::exactly(self.last)),
            severity: courses().map(Course::per_hour).max().unwrap_or(0),
            prefixes: self.prefixes.into_keys().collect(),
            gaps: self.gaps,
            maintenance: false,
            measured,
            progress: self.progress,
            ruled_out: Vec::new(),
        }
    }
}
