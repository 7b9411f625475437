//! An open incident: what set it off, what it concerns, what it moved so far.
//!
//! **Invariant:** a sign joins the incident that it has most in common with, or none; the chain
//! begins with the root and is bounded by [`CHAIN_MAX`], what is concerned by [`CONCERN_MAX`].

use super::exclude::Evidence;
use super::measure::{Blackholes, Explored};
use super::moves::Moves;
use super::recent::{Change, ChangeSource};
use super::start::intersection;
use crate::detect::Settings;
use crate::detect::adjacency::Vertex;
use edgelore_model::{
    Interval, Prefix, Protocol, Scope, SessionKey, Span, Timestamp, Trigger, TriggerKind,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Triggers kept per incident; further ones of a kind already kept say nothing new.
const CHAIN_MAX: usize = 32;
/// Sessions, links or routers that an incident is remembered to concern.
const CONCERN_MAX: usize = 256;
/// How late the kernel's message of what it did at once may be read.
pub(super) const LINK_REPORT: Span = Span::from_millis(20);

/// What a sign or an incident concerns.
#[derive(Clone, Debug, Default)]
pub(in crate::detect) struct Concern {
    pub(super) sessions: BTreeSet<SessionKey>,
    /// Links by index, never 0: that is where the source has none.
    pub(super) links: BTreeSet<u32>,
    /// Those of them on which nothing passes any more.
    pub(super) dead_links: BTreeSet<u32>,
    pub(super) routers: BTreeSet<Vertex>,
}

impl Concern {
    fn absorb(&mut self, other: Self) {
        fn extend<T: Ord>(own: &mut BTreeSet<T>, other: BTreeSet<T>) {
            let room = CONCERN_MAX.saturating_sub(own.len());
            own.extend(other.into_iter().take(room));
        }
        extend(&mut self.sessions, other.sessions);
        extend(&mut self.links, other.links);
        extend(&mut self.dead_links, other.dead_links);
        extend(&mut self.routers, other.routers);
    }
}

fn meet<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> bool {
    let (few, many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    few.iter().any(|one| many.contains(one))
}

/// When a sign makes an incident of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opens {
    /// At once.
    AtOnce,
    /// When a route moves within this time; else it was nothing.
    WhenRoutesMove(Span),
    /// Like that; and the routes of its session are kept meanwhile (graceful restart), so that
    /// losing it moves none.
    WhenRetainedRoutesMove(Span),
}

/// A sign that something failed or changed, before it is decided whose it is.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    pub(super) trigger: Trigger,
    pub(super) start: Interval,
    pub(super) protocol: Protocol,
    pub(super) concern: Concern,
    /// Prefixes that it says itself to be gone.
    pub(super) prefixes: Vec<Prefix>,
    pub(super) opens: Opens,
    /// How long further signs of the same failure may be on their way.
    pub(super) patience: Span,
    pub(super) evidence: Evidence,
    /// It tells of what may be over long since: a lost session is known by the next one.
    pub(super) late: bool,
    /// The session that failed had come up then.
    pub(super) up_since: Option<Timestamp>,
}

impl Sign {
    /// One that opens an incident at once and concerns nothing but its trigger.
    pub(super) fn at_once(trigger: Trigger, start: Interval, protocol: Protocol) -> Self {
        Self {
            trigger,
            start,
            protocol,
            concern: Concern::default(),
            prefixes: Vec::new(),
            opens: Opens::AtOnce,
            patience: Span(0),
            evidence: Evidence::default(),
            late: false,
            up_since: None,
        }
    }
}

/// What kind of protocol a sign comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Link,
    Bfd,
    Interior,
    Ldp,
    Bgp,
}

const fn class(trigger: &Trigger, protocol: Protocol) -> Class {
    match (trigger.kind, protocol) {
        (TriggerKind::LinkDown, _) => Class::Link,
        (TriggerKind::BfdDown, _) => Class::Bfd,
        (TriggerKind::LdpDown, _) | (_, Protocol::Ldp) => Class::Ldp,
        (TriggerKind::AdjacencyDown | TriggerKind::TopologyChange | TriggerKind::CostChange, _) => {
            Class::Interior
        }
        _ => Class::Bgp,
    }
}

/// How closely a sign and an incident belong together, the closest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kinship {
    /// A router is in both.
    Router,
    /// They meet on a link.
    Link,
    /// The same session.
    Session,
}

#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) scope: Scope,
    /// The protocol of the root.
    pub(super) protocol: Protocol,
    pub(super) chain: Vec<Trigger>,
    classes: Vec<Class>,
    pub(super) start: Interval,
    pub(super) concern: Concern,
    /// It was told of; until then it is a possibility.
    pub(super) told: bool,
    pub(super) retained: bool,
    /// How long it waits for the first move while it was not told of.
    wait: Span,
    /// How long it waits for further signs or moves, if longer than usual.
    patience: Span,
    pub(super) fib: Moves,
    pub(super) routes: Moves,
    /// Prefixes that advertisements no longer have.
    pub(super) taken_back: BTreeSet<Prefix>,
    /// What was announced on the lost sessions, sorted.
    pub(super) lost_routes: Vec<Prefix>,
    /// Moved prefixes of the kernel's table that an interior protocol advertises, and which one.
    pub(super) interior: (u64, Option<Protocol>),
    pub(super) explored: Explored,
    pub(super) fib_holes: Blackholes,
    pub(super) wire_holes: Option<Blackholes>,
    pub(super) gaps: bool,
    pub(super) evidence: Evidence,
    /// Its root was told late: what its session says when it is back is the repair.
    pub(super) late: bool,
    pub(super) settings: Settings,
}

impl Open {
    pub(super) fn new(sign: Sign, settings: Settings) -> Self {
        let (told, retained, wait) = match sign.opens {
            Opens::AtOnce => (true, false, Span(0)),
            Opens::WhenRoutesMove(wait) => (false, false, wait),
            Opens::WhenRetainedRoutesMove(wait) => (false, true, wait),
        };
        Self {
            scope: sign.trigger.on,
            protocol: sign.protocol,
            classes: vec![class(&sign.trigger, sign.protocol)],
            chain: vec![sign.trigger],
            start: sign.start,
            concern: sign.concern,
            told,
            retained,
            wait,
            patience: sign.patience,
            fib: Moves::default(),
            routes: Moves::default(),
            taken_back: sign.prefixes.into_iter().collect(),
            lost_routes: Vec::new(),
            interior: (0, None),
            explored: Explored::default(),
            fib_holes: Blackholes::default(),
            wire_holes: Some(Blackholes::default()),
            gaps: false,
            evidence: sign.evidence,
            late: sign.late,
            settings,
        }
    }

    /// What a sign has in common with the incident.
    pub(super) fn kinship(&self, sign: &Sign) -> Option<Kinship> {
        kinship(&self.concern, &self.classes, sign)
    }

    pub(super) fn to_past(&self, closed: Timestamp) -> Past {
        let last = self.last_activity();
        let (concern, classes) = (self.concern.clone(), self.classes.clone());
        let began = self.chain.iter().map(|trigger| trigger.at).min().unwrap_or(last);
        Past { concern, classes, began, last, closed }
    }

    /// A further sign of the same failure. One that comes from the failing thing itself may narrow
    /// the start; a link's loss that was read a moment late is still the root. True when it says
    /// something new.
    pub(super) fn join(&mut self, sign: Sign) -> bool {
        let class = class(&sign.trigger, sign.protocol);
        let known = |t: &Trigger| (t.kind, t.on) == (sign.trigger.kind, sign.trigger.on);
        let new = self.chain.len() < CHAIN_MAX && !self.chain.iter().any(known);
        if new {
            let late = class == Class::Link
                && self.classes[0] != Class::Link
                && sign.start.earliest <= self.chain[0].at;
            if late {
                self.chain.insert(0, sign.trigger);
                self.classes.insert(0, class);
                (self.scope, self.protocol) = (sign.trigger.on, sign.protocol);
            } else {
                self.chain.push(sign.trigger);
                self.classes.push(class);
            }
            if matches!(class, Class::Link | Class::Bfd | Class::Interior)
                && let Some(both) = narrowed(self.start, sign.start)
            {
                self.start = both;
            }
        }
        self.concern.absorb(sign.concern);
        self.taken_back.extend(sign.prefixes);
        self.evidence.join(&sign.evidence);
        self.patience = self.patience.max(sign.patience);
        match sign.opens {
            Opens::AtOnce => self.told = true,
            Opens::WhenRoutesMove(wait) | Opens::WhenRetainedRoutesMove(wait) => {
                self.wait = self.wait.max(wait);
            }
        }
        new
    }

    /// Takes over another incident that turned out to be part of this one.
    pub(super) fn absorb(&mut self, other: Self) {
        for (trigger, class) in other.chain.into_iter().zip(other.classes) {
            if self.chain.len() < CHAIN_MAX {
                self.chain.push(trigger);
                self.classes.push(class);
            }
        }
        self.concern.absorb(other.concern);
        self.told |= other.told;
        self.wait = self.wait.max(other.wait);
        self.patience = self.patience.max(other.patience);
        self.fib.absorb(other.fib);
        self.routes.absorb(other.routes);
        self.taken_back.extend(other.taken_back);
        self.lost_routes.extend(other.lost_routes);
        self.lost_routes.sort_unstable();
        self.lost_routes.dedup();
        self.interior = (self.interior.0 + other.interior.0, self.interior.1.or(other.interior.1));
        self.explored.absorb(other.explored);
        self.fib_holes.absorb(other.fib_holes);
        self.wire_holes = self.wire_holes.take().zip(other.wire_holes).map(|(mut own, holes)| {
            own.absorb(holes);
            own
        });
        self.gaps |= other.gaps;
        self.evidence.join(&other.evidence);
    }

    /// How long routing stands still when it is over, where `quiet` is usual.
    pub(super) fn quiet(&self, quiet: Span) -> Span {
        quiet.max(if self.told { self.patience } else { self.wait })
    }

    /// A change of the kernel's table left what this incident concerns.
    pub(super) fn fib_left(&self, change: &Change) -> bool {
        let ChangeSource::Fib { via, links, .. } = &change.source else { return false };
        let session = |gateway: &IpAddr| {
            self.concern.sessions.iter().any(|session| session.other(*gateway).is_some())
        };
        via.iter().any(session) || links.iter().any(|link| self.concern.dead_links.contains(link))
    }

    /// Routes of the lost session were announced with this prefix.
    pub(super) fn had(&self, prefix: Prefix) -> bool {
        self.lost_routes.binary_search(&prefix).is_ok()
    }

    /// It moved this prefix already.
    pub(super) fn moved(&self, prefix: Prefix) -> bool {
        self.fib.prefixes.contains(&prefix) || self.routes.prefixes.contains(&prefix)
    }

    pub(super) fn is_burst(&self) -> bool {
        self.chain[0].kind == TriggerKind::WithdrawalBurst
    }

    pub(super) fn is_interior(&self) -> bool {
        self.classes.contains(&Class::Interior)
    }

    pub(super) fn has_bgp(&self) -> bool {
        self.classes.contains(&Class::Bgp)
    }

    pub(super) fn has_ldp(&self) -> bool {
        self.classes.contains(&Class::Ldp)
    }

    pub(super) fn is_ldp_alone(&self) -> bool {
        self.classes.iter().all(|class| *class == Class::Ldp)
    }

    /// When something last happened that the end depends on.
    pub(super) fn last_activity(&self) -> Timestamp {
        let moved = self.fib.last().or(self.routes.last()).map(|when| when.latest);
        let signs = self.chain.iter().map(|trigger| trigger.at);
        signs.chain(moved).max().unwrap_or(self.start.latest)
    }
}

/// What both allow, with the estimate of the one that knows better.
fn narrowed(a: Interval, b: Interval) -> Option<Interval> {
    let width = |one: Interval| one.latest - one.earliest;
    if width(b) < width(a) { intersection(b, a) } else { intersection(a, b) }
}

/// What is remembered of an incident that has closed: late signs of it are no second incident.
#[derive(Clone, Debug)]
pub(super) struct Past {
    concern: Concern,
    classes: Vec<Class>,
    /// When it was noticed.
    began: Timestamp,
    last: Timestamp,
    pub(super) closed: Timestamp,
}

impl Past {
    /// The sign still speaks of that incident: what it shows began before that was over, or it
    /// comes within `quiet` of its closing. How long a failure far away went unnoticed is not
    /// known: what counts is when it was told there. A session that has come up since fails anew.
    pub(super) fn explains(&self, sign: &Sign, quiet: Span) -> bool {
        let far =
            class(&sign.trigger, sign.protocol) == Class::Interior && sign.concern.links.is_empty();
        let began = if far { sign.start.estimate } else { sign.start.earliest };
        kinship(&self.concern, &self.classes, sign).is_some()
            && sign.up_since.is_none_or(|up| up <= self.began)
            && (began <= self.last || sign.trigger.at - self.closed <= quiet)
    }

    /// The sign is of a session that failed by then.
    pub(super) fn lost_a_session_of(&self, sign: &Sign) -> bool {
        meet(&self.concern.sessions, &sign.concern.sessions)
    }
}

/// Sessions on one link fail each for itself, unless nothing passes on the link any more; signs
/// of different protocols on one link speak of the same failure.
fn kinship(concern: &Concern, classes: &[Class], sign: &Sign) -> Option<Kinship> {
    let own = class(&sign.trigger, sign.protocol);
    let theirs = &sign.concern;
    if meet(&concern.sessions, &theirs.sessions) {
        return Some(Kinship::Session);
    }
    let dead = meet(&concern.dead_links, &theirs.links) || meet(&concern.links, &theirs.dead_links);
    if dead || (!classes.contains(&own) && meet(&concern.links, &theirs.links)) {
        return Some(Kinship::Link);
    }
    let interior = own == Class::Interior && meet(&concern.routers, &theirs.routers);
    interior.then_some(Kinship::Router)
}
