//! Degradation incidents: control packets that are lost or late while what they serve lives on.
//!
//! ```text
//! Late (BFD, hellos, keepalives) ─────────────┐
//! SentAgain (wire), Retransmitted (kernel) ───┤
//! Counters (errors of a link) ────────────────┼─► occasions by place and kind ─► open ─► closed
//! PeerStatistics (BMP), MessageFault (BGP) ───┘
//! ```
//!
//! Each *occasion* tells how much was lost and how much has passed. A degradation **opens** when
//! within the window at least `open_losses` were lost on at least `open_occasions` occasions, and
//! that is `open_ppm` of what was expected: one retransmission is none, nor is one pause however
//! long. The window is `window_ms`, or 500 heartbeats where these come slowly, at most an hour.
//! It **closes** when nothing was lost for `close_after_ms`, or for as long as one loss among all
//! that came meanwhile would still be more than `close_ppm`, at most ten minutes. Losses of several
//! kinds at one place are one incident.
//!
//! **Start** is when the first packet of the window was lost: between the last that came before it
//! and the one that came late. **End** is when the last was. **Severity** is the loss from start to
//! end in ppm, of the kind and sender that lost most.
//!
//! | loss | expected | scope |
//! |---|---|---|
//! | BFD packets that did not come (RFC 5880 §6.8.7) | BFD packets | session |
//! | hellos that did not come (OSPF, IS-IS) | hellos | adjacency, or router with several neighbours |
//! | hellos that did not come (LDP) | hellos | link |
//! | keepalives that did not come (BGP, LDP) | keepalives | session |
//! | segments sent again, seen on the wire | segments with data | session |
//! | segments sent again by this gateway, that the wire does not show (keepalives) | updates, keepalives | session |
//! | packets that a link counts as errors | packets | link |
//! | routes that a monitored router found faulty (RFC 7854 §4.8) | routes it holds of the peer | session |
//! | BGP messages with faults | updates | session |
//!
//! A saturation that stood on the link when it began is its cause, and leads its chain.
//!
//! **Invariant:** at most `ailing_max` places and kinds are counted, and `incidents_open_max`
//! incidents open.

mod ailing;
mod sources;

use super::convergence::incident_id;
use super::known::Known;
use super::saturation::Saturations;
use super::thinned::Thinned;
use super::{Bounds, Detected, Finding, Opened, Settings};
use ailing::{Ailing, Occasion, Rate};
use edgelore_model::{
    EventType, Incident, Interval, LossReason, Measured, NodeId, Observation, Observed, Protocol,
    RuledOut, Scope, SessionKey, Span, Timestamp, Trigger, TriggerKind,
};
use serde::{Deserialize, Serialize};
use sources::Sources;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// No degradation waits longer for a further loss.
const CLOSE_AFTER_MAX: Span = Span::from_millis(600_000);
/// Time between two looks for what can be forgotten.
const SWEEP_EVERY: Span = Span::from_millis(10_000);

/// What a degradation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DegradationConfig {
    /// Loss from this on opens a degradation, in parts per million.
    pub open_ppm: u32,
    /// Likewise of packets on a link, of which fewer errors are too many.
    pub open_link_ppm: u32,
    /// So many must be lost at least.
    pub open_losses: u32,
    /// On so many occasions at least: however many one pause costs, it is one.
    pub open_occasions: u32,
    /// Loss below this lets it end, in parts per million.
    pub close_ppm: u32,
    /// How far back losses count, in ms.
    pub window_ms: u32,
    /// So long nothing must be lost, in ms.
    pub close_after_ms: u32,
}

impl Default for DegradationConfig {
    fn default() -> Self {
        Self {
            open_ppm: 10_000,
            open_link_ppm: 1_000,
            open_losses: 5,
            open_occasions: 3,
            close_ppm: 2_500,
            window_ms: 60_000,
            close_after_ms: 30_000,
        }
    }
}

impl DegradationConfig {
    /// How long nothing must be lost of what comes at this pace.
    fn close_after(&self, interval: Span) -> Span {
        let least = Span::from_millis(i64::from(self.close_after_ms));
        let beats = 1_000_000 / i64::from(self.close_ppm.max(1));
        least.max(Span(interval.0.saturating_mul(beats)).min(CLOSE_AFTER_MAX))
    }
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bfd,
    Hellos,
    Keepalives,
    Segments,
    OwnSegments,
    LinkErrors,
    PeerRoutes,
    Messages,
}

impl Kind {
    const fn trigger(self) -> TriggerKind {
        match self {
            Self::Bfd => TriggerKind::BfdLate,
            Self::Hellos => TriggerKind::HellosLate,
            Self::Keepalives => TriggerKind::KeepalivesLate,
            Self::Segments | Self::OwnSegments => TriggerKind::Retransmissions,
            Self::LinkErrors => TriggerKind::LinkErrors,
            Self::PeerRoutes | Self::Messages => TriggerKind::PeerUnstable,
        }
    }
}

/// Whose packets are lost: what one end sends is counted apart from what the other does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sender {
    /// Nobody in particular.
    Any,
    Address(IpAddr),
    Router(NodeId),
}

/// Where something is lost, on which protocol.
type Place = (Scope, Protocol);
/// What is lost of whom.
type What = (Kind, Sender);

/// A loss, as a source tells it.
struct Loss {
    place: Place,
    what: What,
    link: u32,
    occasion: Occasion,
}

#[derive(Debug)]
pub(super) struct Degradations {
    config: DegradationConfig,
    bounds: Bounds,
    sources: Sources,
    ailing: BTreeMap<(Place, What), Ailing>,
    open: BTreeMap<Place, Open>,
    /// Nothing happens by itself before this.
    due: Timestamp,
    pub(super) overflows: u64,
}

#[derive(Debug)]
struct Open {
    chain: Vec<Trigger>,
    link: u32,
    start: Interval,
    last: Occasion,
    totals: BTreeMap<What, Total>,
    late_max: Span,
    lost: u64,
    progress: Thinned,
    settings: Settings,
    gaps: bool,
}

/// What was lost, and what passed since the first occasion; and the count of that at the last one.
#[derive(Clone, Copy, Debug)]
struct Total {
    lost: u64,
    passed: u64,
    last_passed: u64,
}

impl Total {
    fn rate(self) -> Rate {
        Rate { lost: self.lost, expected: self.passed.saturating_add(self.lost) }
    }
}

impl Degradations {
    pub(super) const fn new(config: DegradationConfig, bounds: Bounds) -> Self {
        Self {
            config,
            bounds,
            sources: Sources::new(),
            ailing: BTreeMap::new(),
            open: BTreeMap::new(),
            due: Timestamp(i64::MAX),
            overflows: 0,
        }
    }

    /// Takes other thresholds and times from now on.
    pub(super) fn retune(&mut self, config: &DegradationConfig) {
        self.config.clone_from(config);
        self.due = Timestamp(i64::MIN);
    }

    /// Takes an observation; `known` and `saturations` have taken it already.
    pub(super) fn observe(
        &mut self,
        observation: &Observation,
        known: &Known,
        saturations: &Saturations,
        out: &mut Vec<Detected>,
    ) {
        match &observation.what {
            Observed::Lost { reason, .. } if *reason != LossReason::Shed => {
                self.open.values_mut().for_each(|open| open.gaps = true);
            }
            Observed::StreamGap { session, .. } => {
                let of = |place: &Place| place.0 == Scope::Session(*session);
                let open = self.open.iter_mut().filter(|(place, _)| of(place));
                open.for_each(|(_, open)| open.gaps = true);
            }
            _ => {}
        }
        let (loss, refused) = self.sources.loss(observation, known, &self.bounds);
        self.overflows += u64::from(refused);
        if let Some(loss) = loss {
            self.lost(loss, known, saturations, out);
        }
    }

    /// A session says something of routes.
    #[inline]
    pub(super) fn spoke(&mut self, session: SessionKey) {
        self.sources.spoke(session);
    }

    /// Lets time pass: closes incidents that are over, forgets what has recovered.
    #[inline]
    pub(super) fn advance(
        &mut self,
        now: Timestamp,
        saturations: &Saturations,
        out: &mut Vec<Detected>,
    ) {
        if now >= self.due {
            self.pass(now, saturations, out);
        }
    }

    fn pass(&mut self, now: Timestamp, saturations: &Saturations, out: &mut Vec<Detected>) {
        let config = self.config.clone();
        let ends = |open: &Open| open.last.at + config.close_after(open.last.interval);
        let over = self.open.iter().filter(|(_, open)| now >= ends(open));
        let over: Vec<Place> = over.map(|(place, _)| *place).collect();
        for place in over {
            self.close(place, saturations, out);
        }
        let open = &self.open;
        self.ailing
            .retain(|key, ailing| open.contains_key(&key.0) || !ailing.is_over(now, &config));
        let swept = (!self.ailing.is_empty()).then_some(now + SWEEP_EVERY);
        let next = self.open.values().map(ends).chain(swept).min();
        self.due = next.unwrap_or(Timestamp(i64::MAX));
    }

    /// Closes every incident.
    pub(super) fn close_all(&mut self, saturations: &Saturations, out: &mut Vec<Detected>) {
        while let Some(place) = self.open.keys().next().copied() {
            self.close(place, saturations, out);
        }
    }

    fn lost(
        &mut self,
        loss: Loss,
        known: &Known,
        saturations: &Saturations,
        out: &mut Vec<Detected>,
    ) {
        let Loss { place, what, link, occasion } = loss;
        // What is sent again into silence is the failure's, and no loss on the way.
        let resent = matches!(what.0, Kind::Segments | Kind::OwnSegments);
        if resent && known.life.silent_since(link, occasion.at).is_some() {
            return;
        }
        let full = self.ailing.len() >= self.bounds.ailing_max;
        if full && !self.ailing.contains_key(&(place, what)) {
            self.overflows += 1;
            return;
        }
        let ailing = self.ailing.entry((place, what)).or_insert_with(|| Ailing::new(link));
        if ailing.link != link {
            return;
        }
        ailing.add(occasion, &self.config);
        let closes = occasion.at + self.config.close_after(occasion.interval);
        self.due = self.due.min(closes).min(occasion.at + SWEEP_EVERY);
        let open_ppm = match what.0 {
            Kind::LinkErrors => self.config.open_link_ppm,
            _ => self.config.open_ppm,
        };
        // Where a session's stream stands still it is no degradation but a failure.
        let lives = what.0 != Kind::Segments || ailing.rate().expected > ailing.rate().lost;
        let grave = lives && ailing.is_grave(open_ppm, &self.config);
        let room = self.open.len() < self.bounds.incidents_open_max;
        match self.open.get_mut(&place) {
            Some(open) if open.totals.contains_key(&what) => open.add(what, &occasion),
            Some(open) if grave => open.join(place.0, what, ailing),
            None if grave && room => {
                let open = Open::new(place, what, ailing, known, saturations);
                self.open.insert(place, open);
                let (event, at) = (EventType::Degradation, occasion.at);
                let (scope, protocol) = place;
                out.push(Detected::Opened(Opened { event, protocol, scope, at }));
            }
            None if grave => self.overflows += 1,
            _ => {}
        }
    }

    fn close(&mut self, place: Place, saturations: &Saturations, out: &mut Vec<Detected>) {
        let Some(mut open) = self.open.remove(&place) else { return };
        open.blame(saturations);
        let congested = open.chain[0].kind;
        let congested = matches!(congested, TriggerKind::Backlog | TriggerKind::QueueDrops);
        let ruled_out = (!congested && saturations.watches(open.link))
            .then_some(RuledOut::Congestion)
            .into_iter()
            .collect();
        let settings = std::mem::take(&mut open.settings);
        let incident = open.incident(place, ruled_out);
        out.push(Detected::Closed(Box::new(Finding { incident, settings })));
    }
}

impl Open {
    fn new(
        place: Place,
        what: What,
        ailing: &Ailing,
        known: &Known,
        saturations: &Saturations,
    ) -> Self {
        let first = ailing.occasions().next().copied();
        let last = ailing.occasions().last().copied();
        let first = first.expect("what is grave has occasions");
        let mut open = Self {
            chain: Vec::new(),
            link: ailing.link,
            start: first.when,
            last: last.unwrap_or(first),
            totals: BTreeMap::new(),
            late_max: Span(0),
            lost: 0,
            progress: Thinned::default(),
            settings: known.settings_of(&place.0),
            gaps: false,
        };
        open.join(place.0, what, ailing);
        open.blame(saturations);
        open
    }

    /// A kind of loss joins with all that is known of it.
    fn join(&mut self, scope: Scope, what: What, ailing: &Ailing) {
        let kind = what.0.trigger();
        for occasion in ailing.occasions() {
            let total = Total { lost: 0, passed: 0, last_passed: occasion.passed };
            self.totals.entry(what).or_insert(total);
            if self.chain.iter().all(|trigger| trigger.kind != kind) {
                self.chain.push(Trigger { at: occasion.at, kind, on: scope });
            }
            if occasion.when.estimate < self.start.estimate {
                self.start = occasion.when;
            }
            self.add(what, occasion);
        }
        self.chain.sort_by_key(|trigger| trigger.at);
    }

    fn add(&mut self, what: What, occasion: &Occasion) {
        if let Some(total) = self.totals.get_mut(&what) {
            total.lost = total.lost.saturating_add(occasion.lost);
            // A count that runs backwards has begun anew.
            total.passed += occasion.passed.saturating_sub(total.last_passed);
            total.last_passed = occasion.passed;
        }
        self.late_max = self.late_max.max(occasion.late);
        self.lost = self.lost.saturating_add(occasion.lost);
        if occasion.at >= self.last.at {
            self.last = *occasion;
            self.progress.add(occasion.at, self.lost);
        }
    }

    /// Puts the saturation that stood on the link when it began before everything else.
    fn blame(&mut self, saturations: &Saturations) {
        let congested = |trigger: &Trigger| matches!(trigger.on, Scope::Queue(..));
        if self.link != 0
            && !self.chain.iter().any(congested)
            && let Some(cause) = saturations.cause(self.link, self.start.latest)
        {
            self.chain.insert(0, cause);
        }
    }

    fn incident(self, (scope, protocol): Place, ruled_out: Vec<RuledOut>) -> Incident {
        let rates = self.totals.values().map(|total| total.rate());
        let worst = rates.max_by_key(|rate| rate.ppm()).unwrap_or(Rate { lost: 0, expected: 0 });
        let end = Interval { earliest: self.last.when.estimate, ..Interval::exactly(self.last.at) };
        let measured = Measured {
            lost: Some(worst.lost),
            expected: Some(worst.expected),
            late_ms_max: (self.late_max.0 > 0)
                .then(|| self.late_max.millis().max(0).unsigned_abs()),
            ..Measured::default()
        };
        Incident {
            id: incident_id(EventType::Degradation, &scope, self.start.estimate),
            event: EventType::Degradation,
            protocol,
            scope,
            chain: self.chain,
            start: self.start,
            end: Some(end),
            prefixes: Vec::new(),
            severity: worst.ppm(),
            gaps: self.gaps,
            maintenance: false,
            measured,
            progress: self.progress.finish(),
            ruled_out,
        }
    }
}

#[cfg(test)]
mod tests;
