//! LDP sessions: whether they are up, on which link, and with which timers (RFC 5036).
//!
//! **Invariant:** a session that is down is lost once; at most `sessions_max` sessions and as many
//! speakers are remembered.

use edgelore_model::{LdpChange, SessionKey, Span};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Status "Hold Timer Expired": no hellos came (RFC 5036 §3.9).
const HELLO_EXPIRED: u32 = 0x09;
/// Status "Shutdown": by the operator (RFC 5036 §3.9).
pub(super) const SHUTDOWN: u32 = 0x0a;
/// Status "KeepAlive Timer Expired" (RFC 5036 §3.9).
const KEEPALIVE_EXPIRED: u32 = 0x14;
/// Hold times that 0 stands for, in seconds: of link and of targeted hellos (RFC 5036 §2.5.1).
const HELLO_HOLD_S: [u16; 2] = [15, 45];
/// Both timers are refreshed at a third of their time (RFC 5036 §2.5.1, §2.5.6).
const REFRESHES: i64 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct LdpSession {
    down: bool,
    link: u32,
    keepalive_s: u16,
}

/// A session that was up, or may have been, and is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LdpLoss {
    pub(super) session: SessionKey,
    pub(super) link: u32,
    /// How long silence lasted before it was noticed, and how often something was due; `None`
    /// where the loss announced itself.
    pub(super) silence: Option<(Span, Span)>,
    /// What the notification said; 0 without one.
    pub(super) status: u32,
}

#[derive(Debug)]
pub(super) struct LdpSessions {
    sessions: BTreeMap<SessionKey, LdpSession>,
    /// By transport address, the hello hold time in seconds.
    hold_s: BTreeMap<IpAddr, u16>,
    sessions_max: usize,
    pub(super) overflows: u64,
}

impl LdpSessions {
    pub(super) const fn new(sessions_max: usize) -> Self {
        Self { sessions: BTreeMap::new(), hold_s: BTreeMap::new(), sessions_max, overflows: 0 }
    }

    /// Takes a change; the loss of a session if it is one.
    pub(super) fn take(&mut self, link: u32, change: &LdpChange) -> Option<LdpLoss> {
        match change {
            LdpChange::Hello { speaker, hold_time_s, targeted, transport_address } => {
                let hold_s = match hold_time_s {
                    0 => HELLO_HOLD_S[usize::from(*targeted)],
                    told => *told,
                };
                self.heard(transport_address.unwrap_or(*speaker), hold_s);
                None
            }
            LdpChange::SessionUp { session, keepalive_time_s } => {
                let up = LdpSession { down: false, link, keepalive_s: *keepalive_time_s };
                *self.entry(*session, link)? = up;
                None
            }
            LdpChange::SessionDown { session, .. } => self.lost(*session, link, 0),
            LdpChange::Notification { session, status, fatal, .. } => {
                fatal.then(|| self.lost(*session, link, *status)).flatten()
            }
            LdpChange::Labels { session, .. } => {
                self.entry(*session, link);
                None
            }
        }
    }

    fn lost(&mut self, session: SessionKey, link: u32, status: u32) -> Option<LdpLoss> {
        let (low, high) = session.addresses();
        let held = [low, high].iter().filter_map(|end| self.hold_s.get(end)).min().copied();
        let known = self.entry(session, link)?;
        if std::mem::replace(&mut known.down, true) {
            return None;
        }
        let seconds = match status {
            HELLO_EXPIRED => Some(held.unwrap_or(HELLO_HOLD_S[1])),
            KEEPALIVE_EXPIRED => Some(known.keepalive_s).filter(|&s| s > 0),
            _ => None,
        };
        let silence = seconds.map(|s| {
            let timeout = Span::from_millis(i64::from(s) * 1_000);
            (timeout, Span(timeout.0 / REFRESHES))
        });
        Some(LdpLoss { session, link: known.link, silence, status })
    }

    fn heard(&mut self, end: IpAddr, hold_s: u16) {
        if self.hold_s.len() < self.sessions_max || self.hold_s.contains_key(&end) {
            self.hold_s.insert(end, hold_s);
        } else {
            self.overflows += 1;
        }
    }

    fn entry(&mut self, key: SessionKey, link: u32) -> Option<&mut LdpSession> {
        if self.sessions.len() >= self.sessions_max && !self.sessions.contains_key(&key) {
            self.overflows += 1;
            return None;
        }
        let session = self.sessions.entry(key).or_default();
        if link != 0 {
            session.link = link;
        }
        Some(session)
    }
}
