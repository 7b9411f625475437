//! Convergence incidents: from a trigger to the last routing change before quiet.
//!
//! ```text
//! a sign (session, link, adjacency, LDP, burst) ─► related to an open incident? joins its chain
//!                                                ├ explained by one that has closed, or one that
//!                                                │ need not move routes here: waits for a move
//!                                                └ else opens an incident
//! a change (kernel's table, UPDATE) ─► the incident whose session, link or prefix it is; else kept
//!                                      for the look back
//! ```
//!
//! **Start.** A failure that announces itself (a link that loses its carrier, an administrative
//! NOTIFICATION) began when it was seen. A silent one began earlier, and several witnesses bound it:
//! the link's sign of life; the hold timer (the last message came one hold time before it
//! expired, the next was due a third of it later, RFC 4271 §10); BFD (likewise with its
//! detection time and interval, RFC 5880 §6.8.4); the dead interval of an interior protocol. The
//! narrowest bounds that agree are reported.
//!
//! **End.** The last change of the kernel's forwarding table where the gateway has one that
//! moved, otherwise the last route delta seen. A change lies between the moment at which the
//! source had last read everything and the moment at which it read the change. Advertisements
//! show no end: what other routers make of them is not seen.
//!
//! **Invariant:** related triggers join one incident; a session that is down triggers nothing
//! until it was up again; late signs of an incident that has closed open none, unless routes move.

mod exclude;
mod measure;
mod moves;
mod open;
mod owner;
mod recent;
mod report;
mod signs;
mod start;

pub(super) use report::incident_id;
pub(super) use signs::Ending;

use super::fib::Moved;
use super::known::Known;
use super::sessions::SessionSettings;
use super::{Bounds, Detected, Joined, Opened};
use crate::rib::{Became, Verdict};
use edgelore_model::{
    EventType, FibAction, FibChange, Interval, NextHop, Prefix, Protocol, RouteDelta, Scope,
    SessionKey, Span, Timestamp, Trigger, TriggerKind,
};
use open::{Open, Opens, Past, Sign};
use recent::{Change, ChangeSource, Recent};
use serde::{Deserialize, Serialize};
use start::micros;
use std::collections::VecDeque;

/// Assumed for a lost neighbour whose timers were not seen, in µs.
const TIMEOUT_UNKNOWN_US: u64 = 10_000_000;
/// Incidents that have closed and are remembered for their late signs.
const PAST_MAX: usize = 256;
/// Of the prefixes that an incident moved on the wire, one in so many may go on changing without
/// keeping it open: in a full table some always do.
const TOLERANCE: u64 = 100;

/// What a convergence is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvergenceConfig {
    /// A convergence has ended when routing stood still for this long, in ms. Shorter than a
    /// usual advertisement interval splits one convergence into several.
    pub quiet_ms: u32,
    /// A convergence that never quietens is closed after this long, in ms.
    pub longest_ms: u32,
    /// Routing changes this long before their trigger still belong to it, in ms: a daemon may
    /// change the kernel's table before it says on the wire why.
    pub lookback_ms: u32,
    /// So many prefixes withdrawn by one speaker within `withdrawal_window_ms` are a burst.
    pub withdrawal_burst_prefixes: u32,
    /// See `withdrawal_burst_prefixes`, in ms.
    pub withdrawal_window_ms: u32,
}

impl Default for ConvergenceConfig {
    fn default() -> Self {
        Self {
            quiet_ms: 5_000,
            longest_ms: 600_000,
            lookback_ms: 1_000,
            withdrawal_burst_prefixes: 100,
            withdrawal_window_ms: 1_000,
        }
    }
}

#[derive(Debug)]
pub(super) struct Convergences {
    config: ConvergenceConfig,
    bounds: Bounds,
    /// In the order in which they were opened.
    open: Vec<Open>,
    past: VecDeque<Past>,
    recent: Recent,
    pub(super) overflows: u64,
}

impl Convergences {
    pub(super) const fn new(config: ConvergenceConfig, bounds: Bounds) -> Self {
        Self {
            config,
            bounds,
            open: Vec::new(),
            past: VecDeque::new(),
            recent: Recent::new(),
            overflows: 0,
        }
    }

    /// Takes other thresholds and times from now on.
    pub(super) fn retune(&mut self, config: &ConvergenceConfig) {
        self.config.clone_from(config);
    }

    /// How long routing stands still when a convergence is over.
    pub(super) const fn quiet(&self) -> Span {
        Span::from_millis(self.config.quiet_ms as i64)
    }

    /// Takes a sign: it joins what it belongs to, or opens an incident, or a possibility of one.
    fn sign(&mut self, mut sign: Sign, at: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        if let Some(place) = self.relative(&sign) {
            let (told, scope) = (self.open[place].told, self.open[place].scope);
            let merges = sign.trigger.kind == TriggerKind::LinkDown;
            let mut joined = if merges { self.merge(place, &sign) } else { Vec::new() };
            let open = &mut self.open[place];
            let says_more = open.join(sign);
            if told && open.scope != scope {
                joined.push(scope);
            } else if open.told && !told {
                out.push(Detected::Opened(opened(open, at)));
            }
            let (event, into) = (EventType::Convergence, open.scope);
            let joins = |scope| Detected::Joined(Joined { event, scope, into, at });
            out.extend(joined.into_iter().map(joins));
            if says_more {
                self.look_back(place, at, known, out);
            }
            return;
        }
        let quiet = self.quiet();
        let mut explaining = self.past.iter().filter(|past| past.explains(&sign, quiet)).peekable();
        if explaining.peek().is_some() {
            let told = sign.late && explaining.any(|past| past.lost_a_session_of(&sign));
            if told || sign.trigger.kind == TriggerKind::NextHopLost {
                return;
            }
            if sign.opens == Opens::AtOnce {
                sign.opens = Opens::WhenRoutesMove(quiet);
            }
        }
        if self.open.len() >= self.bounds.incidents_open_max && !self.make_room() {
            self.overflows += 1;
            return;
        }
        let settings = known.settings_of(&sign.trigger.on);
        let open = Open::new(sign, settings);
        if open.told {
            out.push(Detected::Opened(opened(&open, at)));
        }
        self.open.push(open);
        self.look_back(self.open.len() - 1, at, known, out);
    }

    /// The open incident that a sign has most in common with; of several, the first.
    fn relative(&self, sign: &Sign) -> Option<usize> {
        let kin = self.open.iter().enumerate();
        let kin = kin.filter_map(|(place, open)| Some((open.kinship(sign)?, place)));
        kin.max_by_key(|&(kinship, place)| (kinship, std::cmp::Reverse(place)))
            .map(|(_, place)| place)
    }

    /// A link that went down explains all that failed on it: the scopes of what was told of and
    /// is part of it now.
    fn merge(&mut self, into: usize, sign: &Sign) -> Vec<Scope> {
        let (mut place, mut joined) = (self.open.len(), Vec::new());
        while place > into + 1 {
            place -= 1;
            if self.open[place].kinship(sign).is_some() {
                let other = self.open.remove(place);
                joined.extend(other.told.then_some(other.scope));
                self.open[into].absorb(other);
            }
        }
        joined
    }

    /// A mere possibility makes room for what happens; false when there is none.
    fn make_room(&mut self) -> bool {
        let possible = self.open.iter().position(|open| !open.told);
        if let Some(place) = possible {
            self.open.remove(place);
            self.overflows += 1;
        }
        possible.is_some()
    }

    /// Takes the changes within the look back that belong to an incident, now that it concerns what
    /// it did not before.
    fn look_back(&mut self, place: usize, at: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        let since = at - Span::from_millis(i64::from(self.config.lookback_ms));
        let open = &self.open[place];
        let belongs = |change: &&Change| match &change.source {
            ChangeSource::Fib { .. } => {
                open.fib_left(change) || owner::is_interior(open, change, known)
            }
            ChangeSource::Withdrawn(session, _) => open.concern.sessions.contains(session),
        };
        let earlier: Vec<Change> = self.recent.since(since).filter(belongs).cloned().collect();
        for change in &earlier {
            match change.source {
                ChangeSource::Fib { gone, .. } => {
                    self.take_fib(place, change, gone, at, known, out)
                }
                ChangeSource::Withdrawn(session, speaker) => {
                    let route = Route { session, speaker, became: Became::Withdrawn };
                    self.take_route(place, change.when, change.prefix, route, at, known, out);
                }
            }
        }
    }

    /// The kernel's table moved a prefix.
    pub(super) fn fib_moved(
        &mut self,
        change: &FibChange,
        moved: &Moved,
        at: Timestamp,
        known: &mut Known,
        out: &mut Vec<Detected>,
    ) {
        let when = Interval { earliest: change.not_before.min(at), estimate: at, latest: at };
        let gone = change.action == FibAction::Deleted;
        let source = ChangeSource::Fib {
            via: moved.before.iter().filter_map(|hop| hop.via).collect(),
            links: moved.before.iter().map(|hop| hop.link).collect(),
            gone,
        };
        let left = Change { when, prefix: change.prefix, source };
        if let Some(place) = self.owner_of(&left, known) {
            return self.take_fib(place, &left, gone, at, known, out);
        }
        if moved.before.is_empty() {
            return;
        }
        if !self.recent.remember(left, &self.config, &self.bounds) {
            self.overflows += 1;
        }
        for hop in moved.before.iter() {
            if !change.next_hops.contains(hop) {
                self.departed(*hop, at, known, out);
            }
        }
    }

    /// A prefix left a next hop. When many do, or the last one does, and not one packet had come in
    /// on the link for half the time after which silence is a failure, the neighbour is lost: a
    /// living one is heard more often than that.
    fn departed(
        &mut self,
        hop: NextHop,
        at: Timestamp,
        known: &mut Known,
        out: &mut Vec<Detected>,
    ) {
        let Some(via) = hop.via else { return };
        let since = at - Span::from_millis(i64::from(self.config.withdrawal_window_ms));
        let burst = self.config.withdrawal_burst_prefixes.max(1) as usize;
        let enough = if known.fib.using(via) == 0 { 1 } else { burst };
        let Some(first) = self.recent.departures(via, since, enough) else { return };
        let session = known.sessions.with(via);
        let settings =
            session.and_then(|key| known.sessions.get(key)).map(|session| &session.settings);
        let timeout_us = settings.and_then(SessionSettings::timeout_us);
        let timeout = Span(micros(timeout_us.unwrap_or(TIMEOUT_UNKNOWN_US)));
        let heard = known.life.last_heard(hop.link);
        if heard.is_none_or(|heard| first.earliest - heard < Span(timeout.0 / 2)) {
            return;
        }
        match session {
            None => self.next_hop_lost(hop.link, first, at, known, out),
            Some(key) => {
                // A session that is down already has had its incident.
                let Some(before) = known.sessions.down(key) else { return };
                let kind = TriggerKind::NextHopLost;
                self.session_sign(key, &before, (at, kind, Some(first)), None, known, out);
            }
        }
    }

    /// An UPDATE moved prefixes; `verdicts` say what became of each.
    pub(super) fn routes_moved(
        &mut self,
        delta: &RouteDelta,
        verdicts: &[Verdict],
        at: Timestamp,
        known: &mut Known,
        out: &mut Vec<Detected>,
    ) {
        let quiet = self.quiet();
        let transfer = known.sessions.in_transfer(delta.session, delta.speaker, at, quiet);
        // The way of most deltas: nothing is lost, and no incident is open that anything could join.
        if self.open.is_empty() && !verdicts.iter().any(|verdict| verdict.became.lost()) {
            return;
        }
        let owners = self.owners_of(delta);
        let when = Interval::exactly(at);
        let mut lost = 0;
        for (prefix, became) in moves(delta, verdicts) {
            let route = Route { session: delta.session, speaker: delta.speaker, became };
            let owner = owners.iter().find(|&&place| self.claims(place, prefix, &route, transfer));
            if let Some(&place) = owner {
                self.take_route(place, when, prefix, route, at, known, out);
            } else if became.lost() && !transfer {
                lost += 1;
                let source = ChangeSource::Withdrawn(delta.session, delta.speaker);
                let change = Change { when, prefix, source };
                if !self.recent.remember(change, &self.config, &self.bounds) {
                    self.overflows += 1;
                }
            }
        }
        if lost > 0 {
            let (config, bounds) = (&self.config, &self.bounds);
            let burst = (delta.session, Protocol::Bgp);
            if let Some(first) = self.recent.withdrawn(burst, at, lost, config, bounds) {
                self.burst(burst, delta.speaker, first, at, known, out);
            }
        }
    }

    /// What was announced on a session that failed, and is no longer.
    pub(super) fn routes_lost(
        &mut self,
        session: SessionKey,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let concerned = |open: &Open| !open.is_burst() && open.concern.sessions.contains(&session);
        let Some(place) = self.open.iter().position(concerned) else { return };
        let mut routes = known.rib.prefixes_on(session);
        let room = self.bounds.incident_prefixes_max;
        if routes.len() > room {
            self.overflows += (routes.len() - room) as u64;
            routes.truncate(room);
        }
        let open = &mut self.open[place];
        if let Some(holes) = open.wire_holes.as_mut() {
            for &prefix in routes.iter().filter(|&&prefix| owner::alone(prefix, session, known)) {
                holes.left(prefix, at, room);
            }
        }
        // Where the kernel's table is seen it says what moves. Elsewhere losing them is the move.
        let moved = !routes.is_empty() && !open.retained && !known.fib.is_seen();
        open.lost_routes.append(&mut routes);
        open.lost_routes.sort_unstable();
        open.lost_routes.dedup();
        if moved && !open.told {
            open.told = true;
            out.push(Detected::Opened(opened(open, at)));
        }
    }

    /// Signals are missing: what is open now rests on incomplete evidence.
    pub(super) fn gap_seen(&mut self) {
        self.open.iter_mut().for_each(|open| open.gaps = true);
    }

    /// Lets time pass: closes incidents that have been quiet for long enough.
    #[inline]
    pub(super) fn advance(&mut self, now: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        if !self.open.is_empty() || !self.past.is_empty() {
            self.pass(now, known, out);
        }
    }

    fn pass(&mut self, now: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        let longest = Span::from_millis(i64::from(self.config.longest_ms));
        let mut place = 0;
        while let Some(open) = self.open.get(place) {
            let quiet = open.quiet(self.quiet());
            if now - open.last_activity() >= quiet || now - open.chain[0].at >= longest.max(quiet) {
                self.close(place, known, out);
            } else {
                place += 1;
            }
        }
        while self.past.front().is_some_and(|past| now - past.closed >= longest) {
            self.past.pop_front();
        }
    }

    /// Closes every incident.
    pub(super) fn close_all(&mut self, known: &Known, out: &mut Vec<Detected>) {
        while !self.open.is_empty() {
            self.close(0, known, out);
        }
    }

    fn close(&mut self, place: usize, known: &Known, out: &mut Vec<Detected>) {
        let open = self.open.remove(place);
        if !open.told {
            return;
        }
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        let quiet = open.quiet(self.quiet());
        self.past.push_back(open.to_past(open.last_activity() + quiet));
        let mut finding = report::finding(open, quiet, known);
        // Incidents that turned out to be one, and what a session had announced, may be more together.
        let (prefixes, room) = (&mut finding.incident.prefixes, self.bounds.incident_prefixes_max);
        self.overflows += prefixes.len().saturating_sub(room) as u64;
        prefixes.truncate(room);
        out.push(Detected::Closed(Box::new(finding)));
    }

    /// A change of the kernel's table is part of an incident.
    fn take_fib(
        &mut self,
        place: usize,
        change: &Change,
        gone: bool,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let (room, quiet) = (self.bounds.incident_prefixes_max, self.quiet());
        let open = &mut self.open[place];
        let (prefix, when) = (change.prefix, change.when);
        let new = !open.fib.prefixes.contains(&prefix);
        let fits = open.fib.add(when, prefix, room, (quiet, 0));
        if gone {
            open.fib_holes.left(prefix, when.estimate, room);
        } else {
            open.fib_holes.back(prefix, when.estimate);
        }
        if let Some(protocol) = known.adjacencies.advertised(prefix).filter(|_| new) {
            open.interior = (open.interior.0 + 1, Some(protocol));
        }
        self.overflows += u64::from(!fits);
        tell(open, at, out);
    }

    /// A route that was seen on the wire is part of an incident.
    #[expect(clippy::too_many_arguments, reason = "each is a part of one change")]
    fn take_route(
        &mut self,
        place: usize,
        when: Interval,
        prefix: Prefix,
        route: Route,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let (room, quiet) = (self.bounds.incident_prefixes_max, self.quiet());
        let open = &mut self.open[place];
        let fits = open.routes.add(when, prefix, room, (quiet, TOLERANCE));
        let explored = open.explored.take(prefix, route.speaker, route.became, room);
        if !route.became.lost() {
            open.wire_holes.iter_mut().for_each(|holes| holes.back(prefix, when.estimate));
        } else if let Some(speakers) = known.sessions.speakers() {
            let mut others = speakers.filter(|&(session, speaker, _)| {
                (session, speaker) != (route.session, route.speaker)
            });
            let held = others.any(|source| owner::announces(source, prefix, known));
            if let Some(holes) = open.wire_holes.as_mut().filter(|_| !held) {
                holes.left(prefix, when.estimate, room);
            }
        } else {
            open.wire_holes = None;
        }
        self.overflows += u64::from(!fits || !explored);
        tell(open, at, out);
    }
}

/// What one speaker said of a prefix.
#[derive(Clone, Copy, Debug)]
struct Route {
    session: SessionKey,
    speaker: std::net::IpAddr,
    became: Became,
}

/// A route moved: what was possible has happened.
fn tell(open: &mut Open, at: Timestamp, out: &mut Vec<Detected>) {
    if !std::mem::replace(&mut open.told, true) {
        out.push(Detected::Opened(opened(open, at)));
    }
}

fn opened(open: &Open, at: Timestamp) -> Opened {
    Opened { event: EventType::Convergence, protocol: open.protocol, scope: open.scope, at }
}

/// The prefixes that a delta moved, withdrawn ones first: what was announced as before, or was
/// withdrawn already, did not move.
fn moves<'d>(
    delta: &'d RouteDelta,
    verdicts: &'d [Verdict],
) -> impl Iterator<Item = (Prefix, Became)> + 'd {
    let prefixes = delta.withdrawn.iter().chain(&delta.announced).zip(verdicts);
    let all = prefixes.map(|(&prefix, verdict)| (prefix, verdict.became));
    all.filter(|(_, became)| !matches!(became, Became::Repeated | Became::WithdrawnAgain))
}

/// A session's trigger.
fn on_session(session: SessionKey, at: Timestamp, kind: TriggerKind) -> Trigger {
    Trigger { at, kind, on: Scope::Session(session) }
}
