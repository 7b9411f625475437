//! Sessions: whether they are up, on which link, and with which timers.

use edgelore_model::{BfdChange, BfdState, OpenCapabilities, Rib, RouteDelta, SessionKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

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
    bfd_up: BTreeMap<IpAddr, bool>,
    /// By speaker, the table whose routes are followed. A monitored router reports one route from
    /// several tables, and it has moved once.
    followed: BTreeMap<IpAddr, Rib>,
    pub(super) settings: SessionSettings,
}

impl Session {
    /// A session of which only the link is known.
    pub(super) fn on(link: u32) -> Self {
        Self { link, ..Self::default() }
    }

    /// It came up and was refused, or had nothing to say: its end moves no route.
    pub(super) fn is_empty(&self) -> bool {
        self.routing && self.phase == Phase::Established && !self.carried
    }
}

#[derive(Debug)]
pub(super) struct Sessions {
    known: BTreeMap<SessionKey, Session>,
    by_address: HashMap<IpAddr, SessionKey>,
    sessions_max: usize,
    pub(super) overflows: u64,
}

impl Sessions {
    pub(super) fn new(sessions_max: usize) -> Self {
        Self { known: BTreeMap::new(), by_address: HashMap::new(), sessions_max, overflows: 0 }
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.known.get(&key)
    }

    /// A session that has this address at one of its ends.
    pub(super) fn with(&self, address: IpAddr) -> Option<SessionKey> {
        self.by_address.get(&address).copied()
    }

    /// The sessions of a link.
    pub(super) fn on(&self, link: u32) -> impl Iterator<Item = SessionKey> {
        self.known.iter().filter(move |(_, session)| session.link == link).map(|(key, _)| *key)
    }

    /// A session on this link is not known to be down.
    pub(super) fn any_on(&self, link: u32) -> bool {
        self.known.values().any(|s| s.link == link && s.phase != Phase::Down)
    }

    pub(super) fn opened(&mut self, key: SessionKey, link: u32, speaker: IpAddr, hold_s: u16) {
        if let Some(session) = self.entry(key, link) {
            session.routing = true;
            session.settings.hold_time_s.insert(speaker, hold_s);
        }
    }

    /// The session came up; `Some(true)` when it was down before.
    pub(super) fn up(&mut self, key: SessionKey, link: u32) -> Option<bool> {
        let session = self.entry(key, link)?;
        session.routing = true;
        Some(std::mem::replace(&mut session.phase, Phase::Established) == Phase::Down)
    }

    /// Routes passed on it: it must be up. False when another table of the same speaker is followed,
    /// one nearer to the wire.
    pub(super) fn routes_seen(&mut self, delta: &RouteDelta, link: u32) -> bool {
        let Some(session) = self.entry(delta.session, link) else { return true };
        session.routing = true;
        session.carried = true;
        if session.phase == Phase::Unknown {
            session.phase = Phase::Established;
        }
        let followed = session.followed.entry(delta.speaker).or_insert(delta.rib);
        *followed = delta.rib.min(*followed);
        *followed == delta.rib
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
    /// An administrative down ends the protection, not the session (RFC 5880 §6.8.16).
    pub(super) fn bfd_changed(&mut self, change: &BfdChange, link: u32) -> bool {
        let Some(session) = self.entry(change.session, link) else { return false };
        let up = change.state == BfdState::Up;
        let was_up = session.bfd_up.insert(change.speaker, up).unwrap_or(false);
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
        was_up && change.state == BfdState::Down
    }

    fn entry(&mut self, key: SessionKey, link: u32) -> Option<&mut Session> {
        if self.known.len() >= self.sessions_max && !self.known.contains_key(&key) {
            self.overflows += 1;
            return None;
        }
        let (low, high) = key.addresses();
        let (known, by_address) = (&mut self.known, &mut self.by_address);
        let session = known.entry(key).or_insert_with(|| {
            by_address.insert(low, key);
            by_address.insert(high, key);
            Session::default()
        });
        if link != 0 {
            session.link = link;
        }
        Some(session)
    }
}
