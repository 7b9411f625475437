//! Which observations tell a loss, and what has passed by then.
//!
//! **Invariant:** what is remembered is bounded by the bounds of sessions and links.

use super::ailing::Occasion;
use super::{Kind, Loss, Sender};
use crate::detect::Bounds;
use crate::detect::known::Known;
use edgelore_model::{
    Adjacency, CounterSample, Heartbeat, Interval, KernelEvent, LateHeartbeat, Link, Observation,
    Observed, PeerStatistics, Protocol, Scope, SentAgain, SessionKey, Span, Timestamp,
};
use std::collections::BTreeMap;

/// Statistics that count what a router found faulty (RFC 7854 §4.8): duplicate withdrawals; routes
/// invalidated by a loop of CLUSTER_LIST, AS_PATH, ORIGINATOR_ID or AS_CONFED; updates and prefixes
/// treated as withdrawn. Rejections by policy and duplicate announcements are everyday life.
const TROUBLES: [u16; 7] = [2, 3, 4, 5, 6, 11, 12];
/// Routes in Adj-RIB-In.
const ROUTES_IN: u16 = 7;
/// Assumed time between two keepalives where the hold time is not known: a third of the suggested
/// hold time of 90 s (RFC 4271 §10).
const KEEPALIVE_UNKNOWN: Span = Span::from_millis(30_000);
const LDP_PORT: u16 = 646;

#[derive(Debug)]
pub(super) struct Sources {
    links: BTreeMap<u32, (Timestamp, CounterSample)>,
    /// Of sessions that something of is counted: UPDATEs seen, and since when.
    talks: BTreeMap<SessionKey, (u64, Timestamp)>,
    reports: BTreeMap<(SessionKey, std::net::IpAddr), Report>,
}

/// The last report on a peer.
#[derive(Clone, Copy, Debug)]
struct Report {
    at: Timestamp,
    troubles: u64,
    /// Sum of the routes held at each report.
    routes: u64,
}

impl Sources {
    pub(super) const fn new() -> Self {
        Self { links: BTreeMap::new(), talks: BTreeMap::new(), reports: BTreeMap::new() }
    }

    /// A session says something of routes. Of most sessions nothing is counted.
    #[inline]
    pub(super) fn spoke(&mut self, session: SessionKey) {
        if !self.talks.is_empty()
            && let Some(talk) = self.talks.get_mut(&session)
        {
            talk.0 += 1;
        }
    }

    /// The loss that the observation tells; and whether there was no room to remember it.
    pub(super) fn loss(
        &mut self,
        observation: &Observation,
        known: &Known,
        bounds: &Bounds,
    ) -> (Option<Loss>, bool) {
        let (at, link) = (observation.at, observation.link);
        match &observation.what {
            Observed::Late(late) => (Some(heartbeat(late, at, link)), false),
            Observed::SentAgain(again) => (Some(segment(again, at, link)), false),
            Observed::Counters(sample) => self.counters(sample, at, link, bounds),
            Observed::PeerStatistics(report) => self.statistics(report, at, link, bounds),
            Observed::MessageFault { session, speaker, .. } => {
                let (passed, refused) = self.talk(*session, at, known, bounds, false);
                let place = (Scope::Session(*session), Protocol::Bgp);
                let occasion = counted(at, 1, passed);
                (
                    Some(Loss {
                        place,
                        what: (Kind::Messages, Sender::Address(*speaker)),
                        link,
                        occasion,
                    }),
                    refused,
                )
            }
            Observed::Kernel(KernelEvent::Retransmitted {
                session: Some(session),
                port,
                count,
            }) => self.retransmitted(*session, *port, *count, at, known, bounds),
            _ => (None, false),
        }
    }

    /// The kernel tells of this gateway's own connections.
    fn retransmitted(
        &mut self,
        session: SessionKey,
        port: u16,
        count: u64,
        at: Timestamp,
        known: &Known,
        bounds: &Bounds,
    ) -> (Option<Loss>, bool) {
        let (passed, refused) = self.talk(session, at, known, bounds, true);
        let protocol = if port == LDP_PORT { Protocol::Ldp } else { Protocol::Bgp };
        let link = known.sessions.get(session).map_or(0, |session| session.link);
        let place = (Scope::Session(session), protocol);
        let what = (Kind::OwnSegments, Sender::Any);
        (Some(Loss { place, what, link, occasion: counted(at, count, passed) }), refused)
    }

    /// What has passed on a session since it was first asked after: the UPDATEs seen and, when
    /// these are withheld, the keepalives that were due.
    fn talk(
        &mut self,
        session: SessionKey,
        at: Timestamp,
        known: &Known,
        bounds: &Bounds,
        keepalives: bool,
    ) -> (u64, bool) {
        if self.talks.len() >= bounds.sessions_max && !self.talks.contains_key(&session) {
            return (0, true);
        }
        let (updates, since) = *self.talks.entry(session).or_insert((0, at));
        let hold_s = known.sessions.get(session).and_then(|session| session.settings.hold_time_s());
        let interval = match hold_s {
            Some(seconds) if seconds > 0 => Span::from_millis(i64::from(seconds) * 1_000 / 3),
            _ => KEEPALIVE_UNKNOWN,
        };
        let due = ((at - since).0.max(0) / interval.0.max(1)).unsigned_abs();
        (updates + if keepalives { due } else { 0 }, false)
    }

    fn counters(
        &mut self,
        sample: &CounterSample,
        at: Timestamp,
        link: u32,
        bounds: &Bounds,
    ) -> (Option<Loss>, bool) {
        if self.links.len() >= bounds.links_max && !self.links.contains_key(&link) {
            return (None, true);
        }
        let Some((since, before)) = self.links.insert(link, (at, *sample)) else {
            return (None, false);
        };
        let errors = |sample: &CounterSample| sample.rx_errors.saturating_add(sample.tx_errors);
        // Counts that run backwards are another link's.
        let grown = errors(sample).saturating_sub(errors(&before));
        if grown == 0 || sample.rx_packets < before.rx_packets {
            return (None, false);
        }
        let passed = sample.rx_packets.saturating_add(sample.tx_packets);
        let when = Interval::between(since.min(at), at);
        let occasion = Occasion { when, ..counted(at, grown, passed) };
        let place = (Scope::Link(Link(link)), Protocol::Link);
        (Some(Loss { place, what: (Kind::LinkErrors, Sender::Any), link, occasion }), false)
    }

    fn statistics(
        &mut self,
        report: &PeerStatistics,
        at: Timestamp,
        link: u32,
        bounds: &Bounds,
    ) -> (Option<Loss>, bool) {
        let session = SessionKey::within(report.router, report.peer, report.instance);
        let key = (session, report.peer);
        if self.reports.len() >= bounds.sessions_max && !self.reports.contains_key(&key) {
            return (None, true);
        }
        let sum = |wanted: &[u16]| {
            let values = report.values.iter().filter(|(kind, _)| wanted.contains(kind));
            values.fold(0u64, |sum, (_, value)| sum.saturating_add(*value))
        };
        let (troubles, routes) = (sum(&TROUBLES), sum(&[ROUTES_IN]));
        let before = self.reports.get(&key).copied();
        let held = before.map_or(0, |before| before.routes).saturating_add(routes);
        self.reports.insert(key, Report { at, troubles, routes: held });
        let Some(before) = before else { return (None, false) };
        // Counts that run backwards have begun anew.
        let grown = troubles.saturating_sub(before.troubles);
        if grown == 0 || at <= before.at {
            return (None, false);
        }
        let when = Interval::between(before.at, at);
        let occasion = Occasion { when, interval: at - before.at, ..counted(at, grown, held) };
        let place = (Scope::Session(session), Protocol::Bgp);
        (Some(Loss { place, what: (Kind::PeerRoutes, Sender::Any), link, occasion }), false)
    }
}

/// A loss that was counted, without a pace.
fn counted(at: Timestamp, lost: u64, passed: u64) -> Occasion {
    let (when, none) = (Interval::exactly(at), Span(0));
    Occasion { at, when, lost, passed, late: none, interval: none }
}

fn segment(again: &SentAgain, at: Timestamp, link: u32) -> Loss {
    let place = (Scope::Session(again.session), again.protocol);
    let what = (Kind::Segments, Sender::Address(again.speaker));
    Loss { place, what, link, occasion: counted(at, 1, again.segments) }
}

fn heartbeat(late: &LateHeartbeat, at: Timestamp, link: u32) -> Loss {
    let (what, place) = match late.heartbeat {
        Heartbeat::Bfd { session, speaker } => {
            ((Kind::Bfd, Sender::Address(speaker)), (Scope::Session(session), Protocol::Bfd))
        }
        Heartbeat::Hello { area, router, neighbour } => {
            let scope = match neighbour {
                Some(neighbour) => Scope::Adjacency(Adjacency::between(area, router, neighbour)),
                None => Scope::Router(area, router),
            };
            ((Kind::Hellos, Sender::Router(router)), (scope, area.protocol.into()))
        }
        Heartbeat::Keepalive { session, speaker, protocol } => {
            let what = (Kind::Keepalives, Sender::Address(speaker));
            (what, (Scope::Session(session), protocol))
        }
        Heartbeat::LdpHello { speaker } => {
            let place = (Scope::Link(Link(link)), Protocol::Ldp);
            ((Kind::Hellos, Sender::Address(speaker)), place)
        }
    };
    let before = at - late.gap;
    let when =
        Interval { earliest: before, estimate: (before + late.interval).min(at), latest: at };
    let occasion = Occasion {
        at,
        when,
        lost: late.lost(),
        passed: u64::from(late.count),
        late: Span(late.gap.0.saturating_sub(late.interval.0).max(0)),
        interval: late.interval,
    };
    Loss { place, what, link, occasion }
}
