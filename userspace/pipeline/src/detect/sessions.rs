//! Sessions: whether they are up, on which link, and with which timers.

use edgelore_model::{
    BfdChange, BfdState, OpenCapabilities, Rib, RouteDelta, SessionKey, Span, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// A session's first exchange of tables takes this long at most; what comes later is no transfer.
const TRANSFER_MAX: Span = Span::from_millis(600_000);
/// Links that a session is remembered to run over: a bridge sees each direction on another.
const SESSION_LINKS_MAX: usize = 4;
/// Speakers of routes that are known by name; with more of them, who else announces a prefix is
/// not asked any more.
const SPEAKERS_NAMED_MAX: usize = 8;
/// Sessions that share an address and are told apart when one is looked up by it.
const SESSIONS_OF_ADDRESS_MAX: usize = 64;

/// A BFD speaker's settings while its session is up (RFC 5880 §6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BfdTimers {
    /// Detection time multiplier.
    pub detect_multiplier: u8,
    /// Desired min TX interval, µs.
    pub desired_min_tx_us: u32,
    /// Required min RX interval, µs.
    pub required_min_rx_us: u32,
}

/// What both ends of a session have set, by speaker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionSettings {
    /// Proposed hold times in seconds (RFC 4271 §4.2); the smaller one holds.
    pub hold_time_s: BTreeMap<IpAddr, u16>,
    /// BFD, as last said in state Up.
    pub bfd: BTreeMap<IpAddr, BfdTimers>,
    /// What the OPENs offer, without AS number and restart state (RFC 5492).
    pub capabilities: BTreeMap<IpAddr, OpenCapabilities>,
    /// LDP: the keepalive time in force, in seconds (RFC 5036 §3.5.3).
    pub keepalive_time_s: Option<u16>,
    /// LDP: hold times of the hellos, in seconds; 0 stands for the default.
    pub hello_hold_time_s: BTreeMap<IpAddr, u16>,
    /// Who has ended the session because of a limit on the number of prefixes (RFC 4486).
    pub prefix_limits: BTreeSet<IpAddr>,
    /// The most next hops that routes through an end of the session had together, and kept; 0
    /// without routes of several next hops.
    pub paths: u16,
}

impl SessionSettings {
    /// The hold time in force: the smaller proposal (RFC 4271 §4.2), once both are known.
    #[must_use]
    pub fn hold_time_s(&self) -> Option<u16> {
        if self.hold_time_s.len() < 2 {
            return None;
        }
        self.hold_time_s.values().copied().min()
    }

    /// How long silence lasts before it is a failure, in µs: whichever of BFD and the hold timer
    /// runs out first; `None` when neither is known.
    #[must_use]
    pub fn timeout_us(&self) -> Option<u64> {
        let hold_us = self.hold_time_s().filter(|&s| s > 0).map(|s| u64::from(s) * 1_000_000);
        let detection_us = self.bfd_detection_us().map(|(detection, _)| detection);
        hold_us.into_iter().chain(detection_us).min()
    }

    /// How long silence lasts before the slower of both ends notices it, in µs, and the longest
    /// interval between two packets (RFC 5880 §6.8.4); `None` unless both ends run BFD.
    #[must_use]
    pub fn bfd_detection_us(&self) -> Option<(u64, u64)> {
        let [a, b] = self.bfd.values().collect::<Vec<_>>()[..] else { return None };
        let detection = |local: &BfdTimers, remote: &BfdTimers| {
            let interval = u64::from(local.required_min_rx_us.max(remote.desired_min_tx_us));
            (u64::from(remote.detect_multiplier) * interval, interval)
        };
        Some(detection(a, b).max(detection(b, a)))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Seen, but not from its beginning.
    #[default]
    Unknown,
    Established,
    Down,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) link: u32,
    phase: Phase,
    /// A routing protocol runs on it, not BFD alone.
    pub(super) routing: bool,
    /// It carried routes since it came up.
    carried: bool,
    /// When it came up, if that was seen.
    pub(super) up_since: Option<Timestamp>,
    /// When a speaker said something of routes last.
    spoken: Option<Timestamp>,
    /// Where it was seen, never 0; `link` is the last of them.
    pub(super) links: BTreeSet<u32>,
    /// What each speaker can do, as its last OPEN says.
    capabilities: BTreeMap<IpAddr, OpenCapabilities>,
    /// While its tables are transferred; `None` before and after.
    transfer: Option<Transfer>,
    /// BFD's state, as each speaker said last.
    bfd: BTreeMap<IpAddr, BfdState>,
    /// By speaker, the table whose routes are followed. A monitored router reports one route from
    /// several tables, and it has moved once.
    followed: BTreeMap<IpAddr, Rib>,
    pub(super) settings: SessionSettings,
}

/// A session's first exchange of tables.
#[derive(Clone, Debug, Default)]
struct Transfer {
    since: Timestamp,
    /// By speaker, when its last route came.
    last: BTreeMap<IpAddr, Timestamp>,
    /// Speakers that have announced, and whether they have said that it was all.
    through: BTreeMap<IpAddr, bool>,
    /// When the last of them had.
    ended: Option<Timestamp>,
}

impl Transfer {
    /// It is over: long ago everybody had sent all, or this speaker has paused.
    fn is_over(&self, speaker: IpAddr, at: Timestamp, pause: Span) -> bool {
        let paused = |since: Timestamp| at - since >= pause;
        let last = self.last.get(&speaker);
        at - self.since >= TRANSFER_MAX
            || self.ended.is_some_and(paused)
            || last.is_none_or(|&last| paused(last))
    }
}

impl Session {
    /// A session of which only the link is known.
    pub(super) fn on(link: u32) -> Self {
        Self { link, links: (link != 0).then_some(link).into_iter().collect(), ..Self::default() }
    }

    /// For how long the routes of a session that ends now are kept by whoever still stands
    /// (RFC 4724 §4.2, with a NOTIFICATION RFC 8538 §4); `None` where they go at once.
    pub(super) fn retained(&self, notified: bool, hard_reset: bool) -> Option<Span> {
        let graceful = |c: &OpenCapabilities| {
            c.graceful_restart_s.is_some() && (!notified || c.graceful_notification)
        };
        let negotiated = self.capabilities.len() >= 2 && self.capabilities.values().all(graceful);
        let restarts = self.capabilities.values().filter(|c| c.graceful_restart_families > 0);
        let longest = restarts.filter_map(|c| c.graceful_restart_s).max()?;
        (negotiated && !hard_reset).then(|| Span::from_millis(i64::from(longest) * 1_000))
    }

    /// Since when it may have been dead at the earliest, if whoever speaks has heard the other end
    /// within the last `hold`; `None` when nothing was ever seen of it.
    pub(super) fn alive_until(&self, hold: Span) -> Option<Timestamp> {
        self.up_since.max(self.spoken.map(|spoken| spoken - hold))
    }

    /// Both ends said last that BFD is up.
    pub(super) fn bfd_is_up(&self) -> bool {
        self.bfd.len() == 2 && self.bfd.values().all(|&state| state == BfdState::Up)
    }

    /// It came up and was refused, or had nothing to say: its end moves no route.
    pub(super) fn is_empty(&self) -> bool {
        self.routing && self.phase == Phase::Established && !self.carried
    }
}

#[derive(Debug)]
pub(super) struct Sessions {
    ids: BTreeMap<SessionKey, usize>,
    known: Vec<Session>,
    /// The session of the last routes: often that of the next.
    last: Option<(SessionKey, usize)>,
    by_address: HashMap<IpAddr, BTreeSet<SessionKey>>,
    /// Who announces routes, and in which table that is followed.
    speakers: BTreeMap<(SessionKey, IpAddr), Rib>,
    sessions_max: usize,
    pub(super) overflows: u64,
}

impl Sessions {
    pub(super) fn new(sessions_max: usize) -> Self {
        Self {
            ids: BTreeMap::new(),
            known: Vec::new(),
            last: None,
            by_address: HashMap::new(),
            speakers: BTreeMap::new(),
            sessions_max,
            overflows: 0,
        }
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.id(key).map(|id| &self.known[id])
    }

    #[inline]
    fn id(&self, key: SessionKey) -> Option<usize> {
        match self.last {
            Some((last, id)) if last == key => Some(id),
            _ => self.ids.get(&key).copied(),
        }
    }

    fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.id(key).map(|id| &mut self.known[id])
    }

    /// All sessions, in the order of their keys.
    fn all(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.ids.iter().map(|(&key, &id)| (key, &self.known[id]))
    }

    /// A session that has this address at one of its ends: of several, one that is not down.
    pub(super) fn with(&self, address: IpAddr) -> Option<SessionKey> {
        let sessions = self.by_address.get(&address)?;
        let is_up = |key: &&SessionKey| self.get(**key).is_some_and(|s| s.phase != Phase::Down);
        sessions.iter().find(is_up).or_else(|| sessions.first()).copied()
    }

    /// Everyone who announces routes, with the table that is followed; `None` where there are too
    /// many to ask.
    pub(super) fn speakers(&self) -> Option<impl Iterator<Item = (SessionKey, IpAddr, Rib)>> {
        let named = self.speakers.len() <= SPEAKERS_NAMED_MAX;
        named.then(|| {
            self.speakers.iter().map(|(&(session, speaker), &rib)| (session, speaker, rib))
        })
    }

    /// Tables are being transferred: the session came up, not everybody has said that this was all
    /// (RFC 4724 §2), and the speaker made no pause of `pause` since. What is withdrawn then follows
    /// from what the other end announces.
    pub(super) fn in_transfer(
        &mut self,
        key: SessionKey,
        speaker: IpAddr,
        at: Timestamp,
        pause: Span,
    ) -> bool {
        let Some(session) = self.get_mut(key) else { return false };
        let Some(transfer) = &mut session.transfer else { return false };
        if transfer.is_over(speaker, at, pause) {
            session.transfer = None;
            return false;
        }
        transfer.last.insert(speaker, at);
        transfer.through.entry(speaker).or_insert(false);
        true
    }

    /// A speaker has sent all routes that it had when the session came up.
    pub(super) fn all_sent(&mut self, key: SessionKey, speaker: IpAddr, at: Timestamp) {
        let Some(session) = self.get_mut(key) else { return };
        if let Some(transfer) = session.transfer.as_mut().filter(|_| key.other(speaker).is_some()) {
            transfer.through.insert(speaker, true);
            if transfer.through.values().all(|&through| through) {
                transfer.ended = Some(at);
            }
        }
    }

    /// A monitored router is no longer heard: its sessions may be up or not.
    pub(super) fn unknown_since(&mut self, router: IpAddr) {
        for (_, &id) in self.ids.iter().filter(|(key, _)| key.other(router).is_some()) {
            let session = &mut self.known[id];
            session.phase = Phase::Unknown;
            session.transfer = None;
        }
    }

    /// The sessions of a link.
    pub(super) fn on(&self, link: u32) -> impl Iterator<Item = SessionKey> {
        let here = move |session: &Session| session.link == link || session.links.contains(&link);
        self.all().filter(move |(_, session)| here(session)).map(|(key, _)| key)
    }

    /// A routing session on this link is not known to be down.
    pub(super) fn any_on(&self, link: u32) -> bool {
        self.known.iter().any(|s| s.routing && s.link == link && s.phase != Phase::Down)
    }

    pub(super) fn opened(
        &mut self,
        key: SessionKey,
        link: u32,
        speaker: IpAddr,
        hold_s: u16,
        capabilities: OpenCapabilities,
    ) {
        if let Some(session) = self.entry(key, link)
            && key.other(speaker).is_some()
        {
            session.routing = true;
            session.settings.hold_time_s.insert(speaker, hold_s);
            session.capabilities.insert(speaker, capabilities);
        }
    }

    /// The session came up; `Some(true)` when it was down before.
    pub(super) fn up(&mut self, key: SessionKey, link: u32, at: Timestamp) -> Option<bool> {
        let session = self.entry(key, link)?;
        session.routing = true;
        session.up_since = Some(at);
        let (low, high) = key.addresses();
        session.transfer = Some(Transfer {
            since: at,
            last: [(low, at), (high, at)].into(),
            ..Transfer::default()
        });
        Some(std::mem::replace(&mut session.phase, Phase::Established) == Phase::Down)
    }

    /// Routes passed on it: it must be up. False when another table of the same speaker is followed,
    /// one nearer to the wire.
    pub(super) fn routes_seen(&mut self, delta: &RouteDelta, link: u32, at: Timestamp) -> bool {
        let Some(session) = self.entry(delta.session, link) else { return true };
        session.routing = true;
        session.spoken = Some(at);
        session.carried = true;
        if session.phase == Phase::Unknown {
            session.phase = Phase::Established;
        }
        if let Some(&followed) = session.followed.get(&delta.speaker)
            && followed <= delta.rib
        {
            return followed == delta.rib;
        }
        session.followed.insert(delta.speaker, delta.rib);
        if self.speakers.len() <= SPEAKERS_NAMED_MAX {
            self.speakers.insert((delta.session, delta.speaker), delta.rib);
        }
        true
    }

    /// The session failed: its state before, or `None` when it was down already.
    pub(super) fn down(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.entry(key, 0)?;
        if session.phase == Phase::Down {
            return None;
        }
        let before = session.clone();
        session.phase = Phase::Down;
        session.carried = false;
        Some(before)
    }

    /// Takes a BFD change; true when a speaker that was up says that it no longer is.
    /// An administrative down ends the protection, not the session (RFC 5880 §6.8.16), and neither
    /// does the other end's answer to it.
    pub(super) fn bfd_changed(&mut self, change: &BfdChange, link: u32) -> bool {
        let Some(session) = self.entry(change.session, link) else { return false };
        let was_up = session.bfd.insert(change.speaker, change.state) == Some(BfdState::Up);
        let other = change.session.other(change.speaker);
        let ended = other.and_then(|other| session.bfd.get(&other)) == Some(&BfdState::AdminDown);
        match change.state {
            BfdState::Up => {
                let timers = BfdTimers {
                    detect_multiplier: change.detect_multiplier,
                    desired_min_tx_us: change.desired_min_tx_us,
                    required_min_rx_us: change.required_min_rx_us,
                };
                session.settings.bfd.insert(change.speaker, timers);
                if !session.routing {
                    session.phase = Phase::Established;
                }
            }
            BfdState::AdminDown => {
                session.settings.bfd.remove(&change.speaker);
            }
            BfdState::Down | BfdState::Init => {}
        }
        was_up && !ended && change.state == BfdState::Down
    }

    fn entry(&mut self, key: SessionKey, link: u32) -> Option<&mut Session> {
        let id = self.place(key)?;
        let session = &mut self.known[id];
        if link != 0 && session.link != link {
            session.link = link;
            if session.links.len() < SESSION_LINKS_MAX {
                session.links.insert(link);
            }
        }
        Some(session)
    }

    /// Where a session is, or finds its place; `None` when there is none left.
    fn place(&mut self, key: SessionKey) -> Option<usize> {
        let id = match self.id(key) {
            Some(id) => id,
            None if self.known.len() >= self.sessions_max => {
                self.overflows += 1;
                return None;
            }
            None => self.begin(key),
        };
        if !matches!(self.last, Some((_, last)) if last == id) {
            self.last = Some((key, id));
        }
        Some(id)
    }

    fn begin(&mut self, key: SessionKey) -> usize {
        let (low, high) = key.addresses();
        for end in [low, high] {
            let sessions = self.by_address.entry(end).or_default();
            if sessions.len() < SESSIONS_OF_ADDRESS_MAX {
                sessions.insert(key);
            }
        }
        self.known.push(Session::default());
        self.ids.insert(key, self.known.len() - 1);
        self.known.len() - 1
    }
}
