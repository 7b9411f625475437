//! Flap incidents: prefixes, sessions, adjacencies and links that come and go again and again.
//!
//! A transition is a change between announced and withdrawn as one speaker sees it (a repeated
//! announcement is none), or between up and down. Each loss, and each change of a route's
//! attributes, adds to a penalty that halves with time (RFC 2439 §4.2). Enough transitions, none
//! further than the quiet time from the one before, make a flap, and so does a high penalty. It
//! lasts from the first transition to the last, and is over when it has been quiet and the penalty
//! is low: what flaps with pauses is one flap, told once.
//!
//! Prefixes that flap at the same speaker at the same time are one incident. A session's own end is
//! no transition of its prefixes: they belong to the session's flap. Sessions that flap on a link
//! that flaps belong to the link's.
//!
//! **Invariant:** a prefix takes memory here only while it flaps; its counters are the per-prefix
//! state's. No more than [`Bounds::flap_prefixes_max`] of them are followed at a time.

mod config;
mod open;
mod track;

pub use config::FlapConfig;

use super::known::Known;
use super::{Bounds, Detected, Finding, Opened};
use crate::rib::{Decay, Verdict};
use edgelore_model::{
    Adjacency, BfdState, EventType, HelloChange, IgpArea, Interval, LdpChange, Link, LossReason,
    NodeId, Observation, Observed, Prefix, Protocol, RouteDelta, Scope, SessionKey, Span,
    Timestamp,
};
use open::{Event, OpenFlap};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use track::{Subject, Tracks};

/// The per-prefix state tells times to the tick, of a millisecond or so, on both sides.
const SLACK: Span = Span::from_millis(3);

/// What is open: the prefixes of one speaker of a session, or a subject of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Prefixes(SessionKey, IpAddr),
    Subject(Subject),
}

impl Key {
    const fn protocol(&self) -> Protocol {
        match self {
            Self::Prefixes(..) => Protocol::Bgp,
            Self::Subject((protocol, _)) => *protocol,
        }
    }

    const fn scope(&self) -> Scope {
        match self {
            Self::Prefixes(session, _) => Scope::Session(*session),
            Self::Subject((_, scope)) => *scope,
        }
    }
}

/// All flaps, and what may become one.
#[derive(Debug)]
pub(super) struct Flaps {
    config: FlapConfig,
    bounds: Bounds,
    tracks: Tracks,
    open: BTreeMap<Key, OpenFlap>,
    /// Prefixes of all open flaps.
    followed: usize,
    /// Whom a router hears on a link.
    heard: BTreeMap<(IgpArea, u32, NodeId), Vec<NodeId>>,
    /// What opened and is not told yet.
    told: Vec<Detected>,
    swept: Timestamp,
    pub(super) overflows: u64,
}

impl Flaps {
    pub(super) fn new(config: FlapConfig, bounds: Bounds) -> Self {
        Self {
            config,
            bounds,
            tracks: Tracks::default(),
            open: BTreeMap::new(),
            followed: 0,
            heard: BTreeMap::new(),
            told: Vec::new(),
            swept: Timestamp(i64::MIN),
            overflows: 0,
        }
    }

    /// Takes other thresholds and times from now on.
    pub(super) fn retune(&mut self, config: &FlapConfig) {
        self.config.clone_from(config);
    }

    /// Takes what says of itself that something is up or down, and tells what opened since.
    pub(super) fn observe(
        &mut self,
        observation: &Observation,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let at = observation.at;
        match &observation.what {
            Observed::Link(change) => {
                let subject = (Protocol::Link, Scope::Link(Link(observation.link)));
                self.says(subject, change.present && change.carrier, at, known);
            }
            Observed::Bfd(change) if change.state != BfdState::AdminDown => {
                let subject = (Protocol::Bfd, Scope::Session(change.session));
                self.says(subject, change.state == BfdState::Up, at, known);
            }
            Observed::Ldp(LdpChange::SessionUp { session, .. }) => {
                self.says((Protocol::Ldp, Scope::Session(*session)), true, at, known);
            }
            Observed::Ldp(LdpChange::SessionDown { session, .. }) => {
                self.says((Protocol::Ldp, Scope::Session(*session)), false, at, known);
            }
            Observed::Hello(change) => self.hello(change, observation.link, at, known),
            Observed::Lost { reason, .. } if *reason != LossReason::Shed => {
                self.open.values_mut().for_each(|open| open.gaps = true);
            }
            Observed::StreamGap { session, .. } => self.gap(*session),
            _ => {}
        }
        self.tell(known, out);
    }

    /// Appends what was found since the last time.
    #[inline]
    pub(super) fn tell(&mut self, known: &Known, out: &mut Vec<Detected>) {
        if !self.told.is_empty() {
            self.join(known);
            out.append(&mut self.told);
        }
    }

    /// Bytes of a session are missing.
    fn gap(&mut self, session: SessionKey) {
        let of = |key: &Key| match key {
            Key::Prefixes(of, _) | Key::Subject((_, Scope::Session(of))) => *of == session,
            Key::Subject(_) => false,
        };
        let open = self.open.iter_mut().filter(|(key, _)| of(key));
        open.for_each(|(_, open)| open.gaps = true);
    }

    /// What became of the prefixes of a delta, withdrawn ones first.
    pub(super) fn routes_moved(&mut self, delta: &RouteDelta, verdicts: &[Verdict], at: Timestamp) {
        let key = Key::Prefixes(delta.session, delta.speaker);
        let open = !self.open.is_empty() && self.open.contains_key(&key);
        for (place, verdict) in verdicts.iter().enumerate() {
            if !(verdict.became.moved() || verdict.became.lost()) {
                continue;
            }
            let reached = self.config.reached(verdict.transitions.into(), verdict.penalty);
            // One that flaps already has more behind it than a first loss.
            let again = verdict.transitions > 1 || verdict.penalty > self.config.penalty_loss;
            let mut prefixes = delta.withdrawn.iter().chain(&delta.announced);
            if (reached || open && again)
                && let Some(&prefix) = prefixes.nth(place)
            {
                self.prefix_moved(key, prefix, verdict, reached, at);
            }
        }
    }

    /// A session of BGP went up or down.
    pub(super) fn session_moved(&mut self, session: SessionKey, up: bool, at: Timestamp) {
        self.moved((Protocol::Bgp, Scope::Session(session)), up, at);
    }

    /// Closes flaps that are over, and forgets quiet subjects now and then.
    #[inline]
    pub(super) fn advance(&mut self, now: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        if !self.open.is_empty() || now - self.swept > self.config.quiet() {
            self.pass(now, known, out);
        }
    }

    fn pass(&mut self, now: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        let quiet = self.config.quiet();
        if !self.open.is_empty() {
            let decay = Decay::new(self.config.penalties());
            let over = |flap: &OpenFlap| {
                now - flap.last > quiet && flap.penalty_at(now, decay) < self.config.penalty_close
            };
            let closing: Vec<Key> =
                self.open.iter().filter(|(_, flap)| over(flap)).map(|(key, _)| *key).collect();
            closing.into_iter().for_each(|key| self.close(key, known, out));
        }
        if now - self.swept > quiet {
            self.swept = now;
            self.tracks.sweep(now, &self.config);
        }
    }

    pub(super) fn close_all(&mut self, known: &Known, out: &mut Vec<Detected>) {
        out.append(&mut self.told);
        while let Some(key) = self.open.keys().next().copied() {
            self.close(key, known, out);
        }
    }

    fn prefix_moved(
        &mut self,
        key: Key,
        prefix: Prefix,
        verdict: &Verdict,
        reached: bool,
        at: Timestamp,
    ) {
        let known = self.open.get(&key).is_some_and(|flap| flap.has(&prefix));
        if !known && !reached {
            return;
        }
        let of = self.open.get(&key).map_or(0, OpenFlap::prefixes);
        let bounds = self.bounds;
        let room = self.followed < bounds.flap_prefixes_max && of < bounds.incident_prefixes_max;
        if !known && !room {
            self.overflows += 1;
            return;
        }
        let began = at - Span::from_millis(verdict.lasted_ms().into());
        let event = Event {
            at,
            loss: verdict.became.lost(),
            transitions: verdict.transitions.into(),
            penalty: verdict.penalty,
            first: Interval {
                earliest: began - SLACK,
                estimate: began,
                latest: (began + SLACK).min(at),
            },
        };
        let decay = Decay::new(self.config.penalties());
        if let Some(flap) = self.open_flap(key, &event) {
            flap.note(Some(prefix), &event, decay);
            self.followed += usize::from(!known);
        }
    }

    /// Somebody says that a subject is up or down. BFD that only follows its session is not told.
    fn says(&mut self, subject: Subject, up: bool, at: Timestamp, known: &Known) {
        let states_max = self.bounds.sessions_max + self.bounds.links_max;
        match self.tracks.says(subject, up, states_max) {
            Some(true) => {}
            Some(false) => return,
            None => return self.overflows += 1,
        }
        if let (Protocol::Bfd, Scope::Session(session)) = subject
            && known.sessions.get(session).is_some_and(|session| session.routing)
            && self.tracks.is_unrest(&(Protocol::Bgp, subject.1), at, &self.config)
        {
            return;
        }
        self.moved(subject, up, at);
    }

    /// A subject went up or down.
    fn moved(&mut self, subject: Subject, up: bool, at: Timestamp) {
        let tracks_max = self.bounds.sessions_max + self.bounds.links_max;
        let Some(event) = self.tracks.moved(subject, up, at, &self.config, tracks_max) else {
            self.overflows += 1;
            return;
        };
        let key = Key::Subject(subject);
        if !self.open.contains_key(&key) && !self.config.reached(event.transitions, event.penalty) {
            return;
        }
        let decay = Decay::new(self.config.penalties());
        if let Some(flap) = self.open_flap(key, &event) {
            flap.note(None, &event, decay);
        }
    }

    /// A router names whom it hears: two are adjacent as long as one hears the other.
    fn hello(&mut self, change: &HelloChange, link: u32, at: Timestamp, known: &Known) {
        let from = (change.area, link, change.router);
        if !self.heard.contains_key(&from) && self.heard.len() >= self.bounds.sessions_max {
            self.overflows += 1;
            return;
        }
        let before = self.heard.insert(from, change.neighbours.clone()).unwrap_or_default();
        let both: BTreeSet<NodeId> = before.iter().chain(&change.neighbours).copied().collect();
        for neighbour in both {
            let between = Adjacency::between(change.area, change.router, neighbour);
            let subject = (change.area.protocol.into(), Scope::Adjacency(between));
            self.says(subject, change.neighbours.contains(&neighbour), at, known);
        }
    }

    fn open_flap(&mut self, key: Key, event: &Event) -> Option<&mut OpenFlap> {
        if !self.open.contains_key(&key) {
            if self.open.len() >= self.bounds.incidents_open_max {
                self.overflows += 1;
                return None;
            }
            self.open.insert(key, OpenFlap::new(event));
            let (protocol, scope) = (key.protocol(), key.scope());
            let opened = Opened { event: EventType::Flap, protocol, scope, at: event.at };
            self.told.push(Detected::Opened(opened));
        }
        self.open.get_mut(&key)
    }

    /// Sessions that begin to flap on a link that flaps belong to the link's flap.
    fn join(&mut self, known: &Known) {
        let mut told = std::mem::take(&mut self.told);
        told.retain(|one| {
            let Detected::Opened(Opened { protocol, scope, at, .. }) = one else { return true };
            let Scope::Session(session) = scope else { return true };
            let Some(session) = known.sessions.get(*session).filter(|s| s.link != 0) else {
                return true;
            };
            let link = Key::Subject((Protocol::Link, Scope::Link(Link(session.link))));
            let subject = Key::Subject((*protocol, *scope));
            if !self.open.contains_key(&link) || self.open.remove(&subject).is_none() {
                return true;
            }
            if let Some(flap) = self.open.get_mut(&link) {
                flap.joined(*scope, *at);
            }
            false
        });
        self.told = told;
    }

    fn close(&mut self, key: Key, known: &Known, out: &mut Vec<Detected>) {
        let Some(flap) = self.open.remove(&key) else { return };
        self.followed -= flap.prefixes();
        let scope = match (key, flap.only_prefix()) {
            (Key::Prefixes(_, speaker), Some(prefix)) => Scope::Prefix(prefix, speaker),
            _ => key.scope(),
        };
        let settings = known.settings_of(&scope);
        let incident = flap.incident(key.protocol(), scope);
        out.push(Detected::Closed(Box::new(Finding { incident, settings })));
    }
}

#[cfg(test)]
mod tests;
