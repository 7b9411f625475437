//! Convergence incidents: from a trigger to the last routing change before quiet.
//!
//! **Start.** A failure that announces itself (a link that loses its carrier, an administrative
//! NOTIFICATION) began when it was seen. A silent one began earlier, and several witnesses bound it:
//! the link's sign of life; the hold timer (the last message came one hold time before it
//! expired, the next was due a third of it later, RFC 4271 §10); BFD (likewise with its
//! detection time and interval, RFC 5880 §6.8.4). The narrowest bounds that agree are reported.
//!
//! **End.** The last change of the kernel's forwarding table where the gateway has one that
//! moved, otherwise the last route delta seen. A change lies between the moment at which the
//! source had last read everything and the moment at which it read the change.
//!
//! **Invariant:** related triggers join one incident; a session that is down triggers nothing
//! until it was up again.

use super::fib::Moved;
use super::known::Known;
use super::life::Life;
use super::sessions::{Session, SessionSettings, Sessions};
use super::{Bounds, Detected, Finding, Opened, Settings};
use crate::rib::{Became, Verdict};
use edgelore_model::{
    EventType, FibChange, Incident, IncidentId, Interval, Link, Measured, NextHop, Prefix,
    Protocol, RouteDelta, Scope, SessionKey, Span, Timestamp, Trigger, TriggerKind,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

/// Triggers kept per incident; further ones of a kind already kept say nothing new.
const CHAIN_MAX: usize = 32;
/// NOTIFICATION error code (RFC 4271 §4.5).
const HOLD_TIMER_EXPIRED: u8 = 4;
/// Assumed when the OPENs were not seen: the largest default among daemons, in seconds.
const HOLD_TIME_UNKNOWN_S: u16 = 240;
/// Assumed when the timers were not seen: ten times the slowest rate (RFC 5880 §6.8.3), in µs.
const BFD_UNKNOWN_US: u64 = 10_000_000;
/// Assumed for a lost neighbour whose timers were not seen, in µs.
const TIMEOUT_UNKNOWN_US: u64 = 10_000_000;
/// A session that is not up sends no more often than this (RFC 5880 §6.8.3), in µs: so late may the
/// wire say that BFD went down.
const BFD_SLOW_US: u64 = 1_000_000;
/// How late after a change of carrier the kernel's message may be read.
const LINK_REPORT: Span = Span::from_millis(20);

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
    open: BTreeMap<Scope, Open>,
    recent: VecDeque<Change>,
    bursts: HashMap<SessionKey, Burst>,
    pub(super) overflows: u64,
}

/// Withdrawals of one session within the window.
#[derive(Debug, Default)]
struct Burst {
    recent: VecDeque<(Timestamp, u64)>,
    prefixes: u64,
}

impl Burst {
    fn add(&mut self, at: Timestamp, prefixes: u64, since: Timestamp) {
        self.recent.push_back((at, prefixes));
        self.prefixes += prefixes;
        while let Some(&(when, count)) = self.recent.front()
            && when < since
        {
            self.recent.pop_front();
            self.prefixes -= count;
        }
    }
}

/// A routing change, by the session or link that the prefix used before.
#[derive(Clone, Debug)]
struct Change {
    when: Interval,
    prefix: Prefix,
    source: ChangeSource,
}

#[derive(Clone, Debug)]
enum ChangeSource {
    Fib { via: Vec<IpAddr>, links: Vec<u32> },
    Withdrawn(SessionKey),
}

#[derive(Debug)]
struct Open {
    protocol: Protocol,
    chain: Vec<Trigger>,
    start: Interval,
    fib: Moves,
    routes: Moves,
    gaps: bool,
    settings: Settings,
}

#[derive(Debug, Default)]
struct Moves {
    prefixes: BTreeSet<Prefix>,
    last: Option<Interval>,
}

impl Moves {
    fn add(&mut self, when: Interval, prefix: Prefix, prefixes_max: usize) -> bool {
        if self.last.is_none_or(|last| last.estimate <= when.estimate) {
            self.last = Some(when);
        }
        if self.prefixes.len() >= prefixes_max && !self.prefixes.contains(&prefix) {
            return false;
        }
        self.prefixes.insert(prefix);
        true
    }
}

impl Convergences {
    /// Takes other thresholds and times from now on.
    pub(super) fn retune(&mut self, config: &ConvergenceConfig) {
        self.config.clone_from(config);
    }

    pub(super) fn new(config: ConvergenceConfig, bounds: Bounds) -> Self {
        Self {
            config,
            bounds,
            open: BTreeMap::new(),
            recent: VecDeque::new(),
            bursts: HashMap::new(),
            overflows: 0,
        }
    }

    /// A session that was up failed.
    pub(super) fn session_down(
        &mut self,
        session: SessionKey,
        before: &Session,
        at: Timestamp,
        kind: TriggerKind,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let trigger = Trigger { at, kind, on: Scope::Session(session) };
        if let Some(open) = self.open.get_mut(&Scope::Link(Link(before.link))) {
            open.protocol = Protocol::Bgp;
            return open.extend(trigger);
        }
        let scope = Scope::Session(session);
        let protocol = if before.routing { Protocol::Bgp } else { Protocol::Bfd };
        let moved = self.earlier(&scope, at, &known.sessions).find(|c| c.is_fib()).map(|c| c.when);
        let start = session_start(before, trigger, moved, &known.life);
        self.begin(scope, protocol, trigger, start, known, out);
    }

    /// A further sign of a failure that is known already.
    pub(super) fn joined(&mut self, session: SessionKey, at: Timestamp, kind: TriggerKind) {
        if let Some(open) = self.open.get_mut(&Scope::Session(session)) {
            open.extend(Trigger { at, kind, on: Scope::Session(session) });
        }
    }

    /// A link went down.
    pub(super) fn link_down(
        &mut self,
        link: u32,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let scope = Scope::Link(Link(link));
        let trigger = Trigger { at, kind: TriggerKind::LinkDown, on: scope };
        let sessions = &known.sessions;
        let joined = self.open.iter_mut().find(|(scope, _)| match scope {
            Scope::Session(key) => sessions.get(*key).is_some_and(|s| s.link == link),
            _ => false,
        });
        if let Some((_, open)) = joined {
            return open.extend(trigger);
        }
        let reported = Interval { earliest: at - LINK_REPORT, estimate: at, latest: at };
        let start = known
            .life
            .silent_since(link, at)
            .and_then(|silence| intersection(silence, reported))
            .unwrap_or(reported);
        let protocol = if sessions.any_on(link) { Protocol::Bgp } else { Protocol::Link };
        self.begin(scope, protocol, trigger, start, known, out);
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
        let source = ChangeSource::Fib {
            via: moved.before.iter().filter_map(|hop| hop.via).collect(),
            links: moved.before.iter().map(|hop| hop.link).collect(),
        };
        let left = Change { when, prefix: change.prefix, source };
        if let Some(scope) = self.owner_of(&left, &known.sessions) {
            return self.take(scope, &left);
        }
        self.remember(left);
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
        let Some(first) = self.departures(via, at, known.fib.using(via) == 0) else { return };
        let session = known.sessions.with(via);
        let settings =
            session.and_then(|key| known.sessions.get(key)).map(|session| &session.settings);
        let timeout_us = settings.and_then(SessionSettings::timeout_us);
        let timeout = Span(micros(timeout_us.unwrap_or(TIMEOUT_UNKNOWN_US)));
        let heard = known.life.last_heard(hop.link);
        if heard.is_none_or(|heard| first.earliest - heard < Span(timeout.0 / 2)) {
            return;
        }
        let (scope, before) = match session {
            None => (Scope::Link(Link(hop.link)), Session::on(hop.link)),
            Some(key) => {
                // A session that is down already has had its incident.
                let Some(before) = known.sessions.down(key) else { return };
                (Scope::Session(key), before)
            }
        };
        let trigger = Trigger { at, kind: TriggerKind::NextHopLost, on: scope };
        let start = session_start(&before, trigger, Some(first), &known.life);
        self.begin(scope, Protocol::Bgp, trigger, start, known, out);
    }

    /// The first of the recent changes away from a gateway, if they are a burst or `emptied` it.
    fn departures(&self, via: IpAddr, at: Timestamp, emptied: bool) -> Option<Interval> {
        let burst = self.config.withdrawal_burst_prefixes as usize;
        let enough = if emptied { 1 } else { burst };
        if self.recent.len() < enough {
            return None;
        }
        let since = at - Span::from_millis(i64::from(self.config.withdrawal_window_ms));
        let mut left = self.recent.iter().filter(|c| {
            let used =
                matches!(&c.source, ChangeSource::Fib { via: used, .. } if used.contains(&via));
            used && c.when.estimate >= since
        });
        let first = left.next()?.when;
        (left.take(enough - 1).count() + 1 >= enough).then_some(first)
    }

    /// The open incident that a change of the kernel's table belongs to: the one whose session or
    /// link the prefix used; else one that moved the prefix already; else, when no known session
    /// claims the former next hop (it was resolved recursively), the latest.
    fn owner_of(&self, change: &Change, sessions: &Sessions) -> Option<Scope> {
        let direct = self.open.keys().find(|scope| change.belongs_to(scope, sessions));
        let again =
            || self.open.iter().find(|(_, o)| o.fib.prefixes.contains(&change.prefix)).map(|o| o.0);
        let ChangeSource::Fib { via, .. } = &change.source else { return direct.copied() };
        let claimed = via.iter().any(|gateway| sessions.with(*gateway).is_some());
        let latest = || if claimed { None } else { self.latest_open() };
        direct.or_else(again).or_else(latest).copied()
    }

    /// An UPDATE moved prefixes.
    pub(super) fn routes_moved(
        &mut self,
        delta: &RouteDelta,
        verdicts: &[Verdict],
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let when = Interval::exactly(at);
        let own = Scope::Session(delta.session);
        let owner = if self.open.contains_key(&own) {
            Some(own)
        } else {
            // What other sessions say may follow from a loss, but not from a burst elsewhere.
            let losses = self.open.iter().filter(|(_, open)| !open.is_burst());
            losses.max_by_key(|(_, open)| open.chain[0].at).map(|(scope, _)| *scope)
        };
        let source = ChangeSource::Withdrawn(delta.session);
        if let Some(scope) = owner {
            for (prefix, _) in moves(delta, verdicts) {
                self.take(scope, &Change { when, prefix, source: source.clone() });
            }
            return;
        }
        let mut lost = 0;
        for (prefix, _) in moves(delta, verdicts).filter(|(_, became)| became.lost()) {
            self.remember(Change { when, prefix, source: source.clone() });
            lost += 1;
        }
        if lost > 0 {
            self.check_burst(delta, lost, at, known, out);
        }
    }

    /// Signals are missing: what is open now rests on incomplete evidence.
    pub(super) fn gap_seen(&mut self) {
        self.open.values_mut().for_each(|open| open.gaps = true);
    }

    /// Lets time pass: closes incidents that have been quiet for long enough.
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Vec<Detected>) {
        let quiet = Span::from_millis(i64::from(self.config.quiet_ms));
        let longest = Span::from_millis(i64::from(self.config.longest_ms));
        let over =
            |open: &Open| now - open.last_activity() >= quiet || now - open.chain[0].at >= longest;
        let done: Vec<Scope> =
            self.open.iter().filter(|(_, open)| over(open)).map(|(scope, _)| *scope).collect();
        for scope in done {
            self.close(scope, out);
        }
    }

    /// Closes every incident.
    pub(super) fn close_all(&mut self, out: &mut Vec<Detected>) {
        while let Some(scope) = self.open.keys().next().copied() {
            self.close(scope, out);
        }
    }

    fn close(&mut self, scope: Scope, out: &mut Vec<Detected>) {
        let Some(open) = self.open.remove(&scope) else { return };
        let moves = if open.fib.last.is_some() { open.fib } else { open.routes };
        let severity =
            moves.last.map_or(0, |end| (end.estimate - open.start.estimate).millis().max(0));
        let incident = Incident {
            id: incident_id(EventType::Convergence, &scope, open.start.estimate),
            event: EventType::Convergence,
            protocol: open.protocol,
            scope,
            chain: open.chain,
            start: open.start,
            end: moves.last,
            prefixes: moves.prefixes.into_iter().collect(),
            severity: severity.unsigned_abs(),
            gaps: open.gaps,
            maintenance: false,
            measured: Measured::default(),
            progress: Vec::new(),
            ruled_out: Vec::new(),
        };
        out.push(Detected::Closed(Box::new(Finding { incident, settings: open.settings })));
    }

    fn begin(
        &mut self,
        scope: Scope,
        protocol: Protocol,
        trigger: Trigger,
        start: Interval,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        if let Some(open) = self.open.get_mut(&scope) {
            return open.extend(trigger);
        }
        if self.open.len() >= self.bounds.incidents_open_max {
            self.overflows += 1;
            return;
        }
        let open = Open {
            protocol,
            chain: vec![trigger],
            start,
            fib: Moves::default(),
            routes: Moves::default(),
            gaps: false,
            settings: known.settings_of(&scope),
        };
        self.open.insert(scope, open);
        let event = EventType::Convergence;
        out.push(Detected::Opened(Opened { event, protocol, scope, at: trigger.at }));
        let earlier: Vec<Change> =
            self.earlier(&scope, trigger.at, &known.sessions).cloned().collect();
        for change in &earlier {
            self.take(scope, change);
        }
    }

    /// Changes within the look back that belong to a scope, oldest first.
    fn earlier<'a>(
        &'a self,
        scope: &'a Scope,
        at: Timestamp,
        sessions: &'a Sessions,
    ) -> impl Iterator<Item = &'a Change> {
        let since = at - Span::from_millis(i64::from(self.config.lookback_ms));
        self.recent
            .iter()
            .filter(move |c| c.when.estimate >= since && c.belongs_to(scope, sessions))
    }

    fn take(&mut self, scope: Scope, change: &Change) {
        let prefixes_max = self.bounds.incident_prefixes_max;
        let Some(open) = self.open.get_mut(&scope) else { return };
        let moves = match change.source {
            ChangeSource::Fib { .. } => &mut open.fib,
            ChangeSource::Withdrawn(_) => &mut open.routes,
        };
        if !moves.add(change.when, change.prefix, prefixes_max) {
            self.overflows += 1;
        }
    }

    fn remember(&mut self, change: Change) {
        let keep_ms = self.config.lookback_ms.max(self.config.withdrawal_window_ms);
        let oldest = change.when.estimate - Span::from_millis(i64::from(keep_ms));
        while self.recent.front().is_some_and(|c| c.when.estimate < oldest) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.bounds.recent_changes_max {
            self.recent.pop_front();
            self.overflows += 1;
        }
        self.recent.push_back(change);
    }

    /// Opens an incident when one session withdrew many prefixes within the window.
    fn check_burst(
        &mut self,
        delta: &RouteDelta,
        lost: u64,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let since = at - Span::from_millis(i64::from(self.config.withdrawal_window_ms));
        if self.bursts.len() >= self.bounds.sessions_max {
            self.bursts.retain(|_, burst| burst.recent.back().is_some_and(|last| last.0 >= since));
        }
        let burst = self.bursts.entry(delta.session).or_default();
        burst.add(at, lost, since);
        if burst.prefixes < u64::from(self.config.withdrawal_burst_prefixes) {
            return;
        }
        let first = self.bursts.remove(&delta.session).and_then(|b| b.recent.front().map(|f| f.0));
        let scope = Scope::Session(delta.session);
        let trigger = Trigger { at, kind: TriggerKind::WithdrawalBurst, on: scope };
        let start = Interval::exactly(first.unwrap_or(at));
        self.begin(scope, Protocol::Bgp, trigger, start, known, out);
    }

    fn latest_open(&self) -> Option<&Scope> {
        self.open.iter().max_by_key(|(_, open)| open.chain[0].at).map(|(scope, _)| scope)
    }
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

impl Change {
    const fn is_fib(&self) -> bool {
        matches!(self.source, ChangeSource::Fib { .. })
    }

    /// The prefix used what the scope names.
    fn belongs_to(&self, scope: &Scope, sessions: &Sessions) -> bool {
        match (&self.source, scope) {
            (ChangeSource::Withdrawn(key), Scope::Session(session)) => key == session,
            (ChangeSource::Fib { via, .. }, Scope::Session(session)) => {
                via.iter().any(|gateway| session.other(*gateway).is_some())
            }
            (ChangeSource::Fib { links, .. }, Scope::Link(link)) => links.contains(&link.0),
            (ChangeSource::Withdrawn(key), Scope::Link(link)) => {
                sessions.get(*key).is_some_and(|session| session.link == link.0)
            }
            _ => false,
        }
    }
}

impl Open {
    fn extend(&mut self, trigger: Trigger) {
        if self.chain.len() < CHAIN_MAX
            && self.chain.iter().all(|t| (t.kind, t.on) != (trigger.kind, trigger.on))
        {
            self.chain.push(trigger);
        }
    }

    fn is_burst(&self) -> bool {
        self.chain[0].kind == TriggerKind::WithdrawalBurst
    }

    /// When something last happened that the end depends on.
    fn last_activity(&self) -> Timestamp {
        let moved = self.fib.last.or(self.routes.last).map(|when| when.latest);
        let triggered = self.chain[0].at;
        moved.map_or(triggered, |at| at.max(triggered))
    }
}

/// Bounds of a session failure's start from all that bears witness to it. `moved` is the first
/// change of the kernel's table that belongs to it, if that came before the trigger: the daemon
/// had noticed by then.
fn session_start(
    before: &Session,
    trigger: Trigger,
    moved: Option<Interval>,
    life: &Life,
) -> Interval {
    let noticed = moved.map_or(trigger.at, |moved| moved.latest.min(trigger.at));
    let Some(timer) = silence_timer(before, trigger, noticed, moved.is_some()) else {
        return Interval::exactly(trigger.at);
    };
    let (last_heard, slack) = (noticed - timer.timeout, Span(timer.timeout.0 / 20));
    let prompt =
        Interval::between(last_heard - slack, (last_heard + timer.interval + slack).min(noticed));
    let bounds = Interval { earliest: prompt.earliest - timer.late, ..prompt };
    life.silent_since(before.link, noticed)
        .and_then(|silence| intersection(silence, bounds))
        .unwrap_or(bounds)
}

/// A timer that ran out because a neighbour was silent.
struct SilenceTimer {
    /// How long silence lasted before it was noticed.
    timeout: Span,
    /// How long after the last packet the next one was due.
    interval: Span,
    /// How much earlier than it was seen it may have been noticed.
    late: Span,
}

/// The timer that noticed a failure; `None` for a failure that announced itself.
fn silence_timer(
    before: &Session,
    trigger: Trigger,
    noticed: Timestamp,
    moved: bool,
) -> Option<SilenceTimer> {
    let known_s = before.settings.hold_time_s();
    let hold_us = u64::from(known_s.unwrap_or(HOLD_TIME_UNKNOWN_S)) * 1_000_000;
    let (timeout_us, interval_us, late_us) = match trigger.kind {
        TriggerKind::Notification(HOLD_TIMER_EXPIRED, _) if known_s.is_some() => {
            (hold_us, hold_us / 3, 0)
        }
        TriggerKind::BfdDown => {
            let unknown = (BFD_UNKNOWN_US, BFD_UNKNOWN_US);
            let (detection_us, interval_us) = before.settings.bfd_detection_us().unwrap_or(unknown);
            (detection_us, interval_us, if moved { 0 } else { BFD_SLOW_US })
        }
        // One of several timers, or one whose setting was not seen.
        TriggerKind::Notification(HOLD_TIMER_EXPIRED, _) | TriggerKind::NextHopLost => {
            (hold_us, hold_us, 0)
        }
        _ if trigger.at - noticed > LINK_REPORT => (hold_us, hold_us, 0),
        _ => return None,
    };
    Some(SilenceTimer {
        timeout: Span(micros(timeout_us)),
        interval: Span(micros(interval_us)),
        late: Span(micros(late_us)),
    })
}

fn micros(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX).saturating_mul(1_000)
}

/// What both intervals allow, with the first one's estimate where it still fits.
fn intersection(a: Interval, b: Interval) -> Option<Interval> {
    let (earliest, latest) = (a.earliest.max(b.earliest), a.latest.min(b.latest));
    (earliest <= latest).then(|| Interval {
        earliest,
        estimate: a.estimate.clamp(earliest, latest),
        latest,
    })
}

/// Derived from content, so that every replay gives an incident the same identity.
pub(super) fn incident_id(event: EventType, scope: &Scope, start: Timestamp) -> IncidentId {
    let scope = serde_json::to_string(scope).expect("a scope always serializes");
    let digest = Sha256::digest(format!("{event}\n{scope}\n{}", start.0));
    IncidentId(u64::from_be_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes")))
}
