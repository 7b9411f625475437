//! The book of what is set: one entry per session, link and router, each with its last value.
//!
//! **Invariant:** bounded by [`Bounds`]; what does not fit is refused and counted.

use super::followed::Followed;
use super::multipath::Multipath;
use super::routers::Routers;
use super::{LinkSettings, QueueSettings, Settings};
use crate::detect::sessions::Sessions;
use crate::detect::{BfdTimers, Bounds, Detected, SessionSettings};
use edgelore_model::{
    Adjacency, BfdChange, BfdState, LdpChange, Link, LinkChange, NodeId, Observation, Observed,
    QueueSample, Scope, SessionKey, Timestamp,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Sessions of a link whose settings an incident on the link keeps.
const SESSIONS_MAX: usize = 64;
/// Queues remembered of a link.
const QUEUES_MAX: usize = 256;
/// `tc`'s handle of a link's own queue (`TC_H_ROOT`).
const ROOT: u32 = u32::MAX;
/// Cease / Maximum Number of Prefixes Reached (RFC 4486 §4).
const PREFIX_LIMIT: (u8, u8) = (6, 1);

#[derive(Debug, Default)]
struct LinkRecord {
    mtu: u32,
    /// By what it hangs on and its handle; and whether it exists.
    queues: BTreeMap<(u32, u32), (QueueSettings, bool)>,
}

/// What a setting belongs to.
enum Concern {
    Session(SessionKey),
    Link(u32),
    Router(NodeId),
    Paths,
}

#[derive(Debug)]
pub(in crate::detect) struct SettingsBook {
    now: Timestamp,
    sessions: BTreeMap<SessionKey, SessionSettings>,
    /// Hold times of LDP hellos by where their sender's sessions end.
    hellos: BTreeMap<IpAddr, u16>,
    links: BTreeMap<u32, LinkRecord>,
    routers: Routers,
    multipath: Multipath,
    followed: Followed,
    bounds: Bounds,
    overflowed: u64,
    pub(in crate::detect) overflows: u64,
}

impl SettingsBook {
    pub(in crate::detect) fn new(bounds: Bounds) -> Self {
        Self {
            now: Timestamp(i64::MIN),
            sessions: BTreeMap::new(),
            hellos: BTreeMap::new(),
            links: BTreeMap::new(),
            routers: Routers::new(bounds.sessions_max),
            multipath: Multipath::default(),
            followed: Followed::default(),
            bounds,
            overflowed: 0,
            overflows: 0,
        }
    }

    /// Takes what an observation says of settings.
    pub(in crate::detect) fn observe(&mut self, observation: &Observation) {
        let (at, link) = (observation.at, observation.link);
        let concern = match &observation.what {
            Observed::Fib(change) => {
                self.multipath.apply(change, at);
                self.count();
                return;
            }
            Observed::Open { session, .. } | Observed::Notification { session, .. } => {
                self.session_said(*session, &observation.what).then_some(Concern::Session(*session))
            }
            Observed::Bfd(change) => self.bfd(change).then_some(Concern::Session(change.session)),
            Observed::Ldp(change) => self.ldp(change),
            Observed::Link(change) => self.link(link, change).then_some(Concern::Link(link)),
            Observed::Queue(sample) => self.queue(link, sample).then_some(Concern::Link(link)),
            Observed::Hello(hello) => {
                self.routers.hello(hello, link).then_some(Concern::Router(hello.router))
            }
            Observed::LinkState(change) => {
                self.routers.advertised(change).then_some(Concern::Router(change.origin))
            }
            _ => return,
        };
        if let Some(concern) = concern {
            self.mark(at, &concern);
        }
        self.count();
    }

    /// Lets time pass: tells what changed and has stood since.
    pub(in crate::detect) fn advance(
        &mut self,
        to: Timestamp,
        sessions: &Sessions,
        out: &mut Vec<Detected>,
    ) {
        self.now = self.now.max(to);
        if let Some(moved) = self.multipath.advance(to) {
            self.mark(moved, &Concern::Paths);
        }
        if !self.followed.is_due(to) {
            return;
        }
        let mut followed = std::mem::take(&mut self.followed);
        let settings_of = |scope: &Scope| self.of(scope, sessions);
        followed.advance(to, settings_of, |told| out.push(Detected::Settled(Box::new(told))));
        self.followed = followed;
    }

    /// An incident of this scope has closed, and this was set when it began: what is set otherwise
    /// is told from now on.
    pub(in crate::detect) fn follow(&mut self, scope: &Scope, settings: &Settings) {
        self.followed.follow(scope, settings, self.now);
    }

    /// What is set where `scope` is.
    pub(in crate::detect) fn of(&self, scope: &Scope, sessions: &Sessions) -> Settings {
        match *scope {
            Scope::Session(key) => self.of_session(key, sessions),
            Scope::Prefix(_, speaker) => sessions
                .with(speaker)
                .map_or_else(Settings::default, |key| self.of_session(key, sessions)),
            Scope::Link(link) => Settings {
                sessions: sessions
                    .on(link.0)
                    .take(SESSIONS_MAX)
                    .map(|key| (key, self.session_settings(key)))
                    .collect(),
                links: self.link_settings(link.0).into_iter().collect(),
                routers: Vec::new(),
            },
            Scope::Queue(link, _) => Settings {
                links: self.link_settings(link.0).into_iter().collect(),
                ..Settings::default()
            },
            Scope::Adjacency(Adjacency { area, low, high }) => {
                let routers = [low, high].into_iter();
                let routers = routers.filter_map(|end| self.routers.of(area, end, false));
                Settings { routers: routers.collect(), ..Settings::default() }
            }
            Scope::Router(area, router) => {
                let routers = self.routers.of(area, router, true).into_iter().collect();
                Settings { routers, ..Settings::default() }
            }
        }
    }

    fn of_session(&self, key: SessionKey, sessions: &Sessions) -> Settings {
        let Some(session) = sessions.get(key) else { return Settings::default() };
        Settings {
            sessions: vec![(key, self.session_settings(key))],
            links: self.link_settings(session.link).into_iter().collect(),
            routers: Vec::new(),
        }
    }

    fn session_settings(&self, key: SessionKey) -> SessionSettings {
        let mut settings = self.sessions.get(&key).cloned().unwrap_or_default();
        let (low, high) = key.addresses();
        for end in [low, high] {
            if let Some(hold_s) = self.hellos.get(&end) {
                settings.hello_hold_time_s.insert(end, *hold_s);
            }
        }
        settings.paths = self.multipath.through([low, high]);
        settings
    }

    fn link_settings(&self, link: u32) -> Option<(Link, LinkSettings)> {
        let record = self.links.get(&link)?;
        let mut queues: Vec<QueueSettings> =
            record.queues.values().map(|(queue, _)| queue.clone()).collect();
        queues.sort_unstable();
        let paths = self.multipath.over(link);
        Some((Link(link), LinkSettings { mtu: record.mtu, queues, paths }))
    }

    fn session_said(&mut self, session: SessionKey, what: &Observed) -> bool {
        let limit = match what {
            Observed::Notification { code, subcode, .. } => (*code, *subcode) == PREFIX_LIMIT,
            _ => false,
        };
        if !limit && matches!(what, Observed::Notification { .. }) {
            return false;
        }
        let Some(settings) = self.session(session) else { return false };
        match what {
            Observed::Open { speaker, hold_time_s, capabilities, .. } => {
                let hold = settings.hold_time_s.insert(*speaker, *hold_time_s);
                // Having restarted, and the AS number, are none of what is set for a session.
                let capabilities =
                    edgelore_model::OpenCapabilities { restarting: false, asn: 0, ..*capabilities };
                let offered = settings.capabilities.insert(*speaker, capabilities);
                hold != Some(*hold_time_s) || offered != Some(capabilities)
            }
            Observed::Notification { speaker, .. } => settings.prefix_limits.insert(*speaker),
            _ => false,
        }
    }

    fn bfd(&mut self, change: &BfdChange) -> bool {
        let Some(settings) = self.session(change.session) else { return false };
        match change.state {
            BfdState::Up => {
                let timers = BfdTimers {
                    detect_multiplier: change.detect_multiplier,
                    desired_min_tx_us: change.desired_min_tx_us,
                    required_min_rx_us: change.required_min_rx_us,
                };
                settings.bfd.insert(change.speaker, timers) != Some(timers)
            }
            // Somebody switched it off (RFC 5880 §6.8.16); a failure does not.
            BfdState::AdminDown => settings.bfd.remove(&change.speaker).is_some(),
            BfdState::Down | BfdState::Init => false,
        }
    }

    fn ldp(&mut self, change: &LdpChange) -> Option<Concern> {
        match change {
            LdpChange::SessionUp { session, keepalive_time_s } => {
                let settings = self.session(*session)?;
                let before = settings.keepalive_time_s.replace(*keepalive_time_s);
                (before != Some(*keepalive_time_s)).then_some(Concern::Session(*session))
            }
            LdpChange::Hello { speaker, hold_time_s, transport_address, .. } => {
                let end = transport_address.unwrap_or(*speaker);
                if self.hellos.len() >= self.bounds.sessions_max && !self.hellos.contains_key(&end)
                {
                    self.overflowed += 1;
                    return None;
                }
                if self.hellos.insert(end, *hold_time_s) == Some(*hold_time_s) {
                    return None;
                }
                let mut sessions = self.sessions.keys().copied();
                sessions.find(|key| key.other(end).is_some()).map(Concern::Session)
            }
            _ => None,
        }
    }

    fn link(&mut self, link: u32, change: &LinkChange) -> bool {
        if !change.present || change.mtu == 0 {
            return false;
        }
        let Some(record) = self.link_record(link) else { return false };
        std::mem::replace(&mut record.mtu, change.mtu) != change.mtu
    }

    fn queue(&mut self, link: u32, sample: &QueueSample) -> bool {
        let key = (sample.parent, sample.handle);
        let Some(record) = self.link_record(link) else { return false };
        if !record.queues.contains_key(&key) && record.queues.len() >= QUEUES_MAX {
            self.overflowed += 1;
            return false;
        }
        let before = record.queues.get(&key);
        let same = |(queue, present): &(QueueSettings, bool)| {
            *present == sample.present
                && (!present || (queue.qdisc == sample.qdisc && queue.limit == sample.limit))
        };
        if before.is_some_and(same) || (before.is_none() && !sample.present) {
            return false;
        }
        if sample.present {
            let root = sample.parent == ROOT;
            let queue = QueueSettings { root, qdisc: sample.qdisc.clone(), limit: sample.limit };
            record.queues.insert(key, (queue, true));
        } else if let Some((_, present)) = record.queues.get_mut(&key) {
            *present = false;
        }
        // A queue that is gone is still what was set until another takes its place: a link that
        // goes down takes its queues along.
        let parent = (sample.parent, 0)..=(sample.parent, u32::MAX);
        if record.queues.range(parent).any(|(_, (_, present))| *present) {
            record.queues.retain(|(of, _), (_, present)| *present || *of != sample.parent);
        }
        true
    }

    fn session(&mut self, key: SessionKey) -> Option<&mut SessionSettings> {
        if self.sessions.len() >= self.bounds.sessions_max && !self.sessions.contains_key(&key) {
            self.overflowed += 1;
            return None;
        }
        Some(self.sessions.entry(key).or_default())
    }

    fn link_record(&mut self, link: u32) -> Option<&mut LinkRecord> {
        if self.links.len() >= self.bounds.links_max && !self.links.contains_key(&link) {
            self.overflowed += 1;
            return None;
        }
        Some(self.links.entry(link).or_default())
    }

    /// Whatever may be meant is looked at again: a look at too many costs less than one too few.
    fn mark(&mut self, at: Timestamp, concern: &Concern) {
        self.followed.mark(at, |scope| match (concern, scope) {
            (Concern::Session(key), Scope::Session(session)) => key == session,
            (Concern::Session(key), Scope::Prefix(_, speaker)) => key.other(*speaker).is_some(),
            (Concern::Link(link), Scope::Link(of) | Scope::Queue(of, _)) => *link == of.0,
            (Concern::Router(router), Scope::Adjacency(of)) => [of.low, of.high].contains(router),
            (Concern::Router(router), Scope::Router(_, of)) => router == of,
            (Concern::Session(_), Scope::Link(_)) => true,
            (Concern::Link(_) | Concern::Paths, Scope::Session(_) | Scope::Prefix(..)) => true,
            (Concern::Paths, Scope::Link(_) | Scope::Queue(..)) => true,
            _ => false,
        });
    }

    const fn count(&mut self) {
        self.overflows = self.overflowed + self.routers.overflows + self.multipath.overflows;
    }
}
