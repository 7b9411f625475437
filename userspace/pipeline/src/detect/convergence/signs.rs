//! From what is seen of sessions, links, interior protocols and LDP to signs.

use super::exclude::Evidence;
use super::open::{Concern, Open, Opens, Sign};
use super::{Convergences, Route, on_session, start};
use crate::detect::Detected;
use crate::detect::adjacency::IgpSign;
use crate::detect::known::Known;
use crate::detect::ldp::{self, LdpLoss};
use crate::detect::sessions::Session;
use crate::rib::Became;
use edgelore_model::{
    DownCause, Interval, LdpChange, Link, LinkChange, Protocol, Scope, SessionKey, Span, Timestamp,
    Trigger, TriggerKind,
};
use std::net::IpAddr;

/// The kernel's table follows an interior protocol within this time: the longest that daemons hold
/// back a calculation by default (RFC 8405 and its forerunners).
const CALCULATION_MAX: Span = Span::from_millis(10_000);
/// Beside its routers' hello interval, so long may their advertisements be on their way.
const FLOODING: Span = Span::from_millis(1_000);

/// Sessions of a link that went down that are followed.
const SESSIONS_ON_LINK_MAX: usize = 256;

/// What a session's end says of graceful restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::detect) struct Ending {
    /// A NOTIFICATION ended it.
    pub(in crate::detect) notified: bool,
    /// A Hard Reset (RFC 8538 §3).
    pub(in crate::detect) hard_reset: bool,
    /// How one knows, unless a NOTIFICATION says it.
    pub(in crate::detect) cause: Option<DownCause>,
    /// Why BFD is down, as its speaker says (RFC 5880 §4.1).
    pub(in crate::detect) diagnostic: Option<u8>,
}

impl Convergences {
    /// A session that was up failed.
    pub(in crate::detect) fn session_down(
        &mut self,
        session: SessionKey,
        before: &Session,
        (at, kind): (Timestamp, TriggerKind),
        ending: Ending,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let since = at - Span::from_millis(i64::from(self.config.lookback_ms));
        let (low, high) = session.addresses();
        let left = |c: &&super::Change| c.is_fib() && (c.used(low) || c.used(high));
        let moved = self.recent.since(since).find(left).map(|change| change.when);
        self.session_sign(session, before, (at, kind, moved), Some(ending), known, out);
    }

    /// A further sign of a failure that is known already.
    pub(in crate::detect) fn joined(
        &mut self,
        session: SessionKey,
        at: Timestamp,
        kind: TriggerKind,
    ) {
        let trigger = on_session(session, at, kind);
        let concerned = |open: &&mut Open| open.concern.sessions.contains(&session);
        if let Some(open) = self.open.iter_mut().find(concerned) {
            let sign = Sign::at_once(trigger, open.start, open.protocol);
            let evidence = Evidence::of_session(kind, open.evidence.heard);
            let _ = open.join(Sign { opens: Opens::WhenRoutesMove(Span(0)), evidence, ..sign });
        }
    }

    pub(super) fn session_sign(
        &mut self,
        session: SessionKey,
        before: &Session,
        (at, kind, moved): (Timestamp, TriggerKind, Option<Interval>),
        ending: Option<Ending>,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let trigger = on_session(session, at, kind);
        let links = before.links.iter().copied();
        let silent = |link: &u32| known.life.silent_since(*link, at).is_some();
        let heard = before.links.iter().any(|&link| known.life.is_heard(link, at))
            && !before.links.iter().any(silent);
        let retained =
            ending.and_then(|ending| before.retained(ending.notified, ending.hard_reset));
        let ending = ending.unwrap_or_default();
        let start = start::session_start(before, trigger, ending, moved, &known.life);
        let bfd_alone = kind == TriggerKind::BfdDown && !before.routing;
        let protocol = if bfd_alone { Protocol::Bfd } else { Protocol::Bgp };
        let sign = Sign {
            concern: Concern {
                sessions: [session].into(),
                dead_links: links.clone().filter(silent).collect(),
                links: links.collect(),
                ..Concern::default()
            },
            opens: retained.map_or(Opens::AtOnce, |restart| {
                Opens::WhenRetainedRoutesMove(Span(restart.0.saturating_add(CALCULATION_MAX.0)))
            }),
            evidence: Evidence::of_session(kind, heard),
            late: start::is_late(before, ending.cause, start, at),
            up_since: before.up_since,
            ..Sign::at_once(trigger, start, protocol)
        };
        self.sign(sign, at, known, out);
    }

    /// The last routes left a gateway on a silent link that no known session is with.
    pub(super) fn next_hop_lost(
        &mut self,
        link: u32,
        first: Interval,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let on = Scope::Link(Link(link));
        let trigger = Trigger { at, kind: TriggerKind::NextHopLost, on };
        let before = Session::on(link);
        let ending = Ending::default();
        let start = start::session_start(&before, trigger, ending, Some(first), &known.life);
        let sign = Sign {
            concern: link_concern(link, known),
            evidence: Evidence::of_session(trigger.kind, false),
            ..Sign::at_once(trigger, start, Protocol::Bgp)
        };
        self.sign(sign, at, known, out);
    }

    /// A link went down.
    pub(in crate::detect) fn link_down(
        &mut self,
        link: u32,
        change: &LinkChange,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let on = Scope::Link(Link(link));
        let interior = known.adjacencies.routers_on(link).next();
        let protocol = match interior {
            _ if known.sessions.any_on(link) => Protocol::Bgp,
            Some((area, _)) => area.protocol.into(),
            None => Protocol::Link,
        };
        let trigger = Trigger { at, kind: TriggerKind::LinkDown, on };
        let start = start::link_start(link, change, at, &known.life);
        let sign = Sign {
            concern: link_concern(link, known),
            evidence: Evidence { heard: false, by_operator: Some(!change.admin_up) },
            ..Sign::at_once(trigger, start, protocol)
        };
        self.sign(sign, at, known, out);
    }

    /// An interior protocol took something back, or changed a cost. What happens on the gateway's
    /// own links is a failure here; what happens elsewhere is one where routes move, or where
    /// nothing shows whether they do. A changed cost alone is none, nor is a loss that an
    /// advertisement tells once more.
    pub(in crate::detect) fn interior(
        &mut self,
        sign: IgpSign,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let area = sign.routers.first().map(|(area, _)| *area);
        let hello = area.and_then(|area| known.adjacencies.hello_interval(area));
        let patience = hello.map_or(FLOODING, |hello| Span(hello.0.saturating_add(FLOODING.0)));
        let local = !sign.links.is_empty() && sign.kind != TriggerKind::CostChange;
        let blind = !known.fib.is_seen() && sign.kind != TriggerKind::CostChange;
        let heard = sign.links.iter().any(|&link| known.life.is_heard(link, at));
        let silent = |link: &u32| known.life.silent_since(*link, at).is_some();
        let start = start::interior_start(&sign, at, &known.life);
        let trigger = Trigger { at, kind: sign.kind, on: sign.on };
        let sign = Sign {
            concern: Concern {
                dead_links: sign.links.iter().copied().filter(silent).collect(),
                links: sign.links.into_iter().collect(),
                routers: sign.routers.into_iter().collect(),
                ..Concern::default()
            },
            prefixes: sign.prefixes,
            opens: if (local || blind) && !sign.told {
                Opens::AtOnce
            } else {
                Opens::WhenRoutesMove(patience.max(CALCULATION_MAX))
            },
            patience,
            evidence: Evidence { heard, by_operator: None },
            ..Sign::at_once(trigger, start, sign.protocol)
        };
        self.sign(sign, at, known, out);
    }

    /// An LDP session that was up is no more.
    pub(in crate::detect) fn ldp_down(
        &mut self,
        loss: LdpLoss,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let links: Vec<u32> = Some(loss.link).filter(|&link| link != 0).into_iter().collect();
        let start = match loss.silence {
            Some(timer) => start::timed_start(timer, at, &links, &known.life),
            None => start::announced_start(at),
        };
        let heard = links.iter().any(|&link| known.life.is_heard(link, at));
        let by_operator = (loss.status != 0).then_some(loss.status == ldp::SHUTDOWN);
        let trigger = on_session(loss.session, at, TriggerKind::LdpDown);
        let sign = Sign {
            concern: Concern {
                sessions: [loss.session].into(),
                links: links.into_iter().collect(),
                ..Concern::default()
            },
            evidence: Evidence { heard, by_operator },
            ..Sign::at_once(trigger, start, Protocol::Ldp)
        };
        self.sign(sign, at, known, out);
    }

    /// Labels moved: with an incident that lost an LDP session or changed what labels follow, or
    /// as a burst.
    pub(in crate::detect) fn labels_moved(
        &mut self,
        change: &LdpChange,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let LdpChange::Labels { session, speaker, mapped, withdrawn, withdrawn_all } = change
        else {
            return;
        };
        let (session, speaker, when) = (*session, *speaker, Interval::exactly(at));
        if let Some(place) = self.label_owner(session) {
            let withdrawn = withdrawn.iter().map(|prefix| (prefix, Became::Withdrawn));
            for (&prefix, became) in withdrawn.chain(mapped.iter().map(|p| (p, Became::Changed))) {
                if became.lost() || self.open[place].moved(prefix) {
                    let route = Route { session, speaker, became };
                    self.take_route(place, when, prefix, route, at, known, out);
                }
            }
            return;
        }
        let (burst, lost) = ((session, Protocol::Ldp), withdrawn.len() as u64);
        let (config, bounds) = (&self.config, &self.bounds);
        let lost = if *withdrawn_all { u64::from(config.withdrawal_burst_prefixes) } else { lost };
        if lost > 0
            && let Some(first) = self.recent.withdrawn(burst, at, lost, config, bounds)
        {
            self.burst(burst, speaker, first, at, known, out);
        }
    }

    fn label_owner(&self, session: SessionKey) -> Option<usize> {
        let (low, high) = session.addresses();
        let near = |lost: &SessionKey| lost.other(low).or_else(|| lost.other(high)).is_some();
        let owns = |open: &Open| {
            open.told
                && (open.is_interior() || open.has_ldp() && open.concern.sessions.iter().any(near))
        };
        self.open.iter().position(owns)
    }

    /// A speaker withdrew many prefixes in a short time. The router that lost a session tells its
    /// other neighbours what it has lost: that is no failure of its own.
    pub(super) fn burst(
        &mut self,
        (session, protocol): (SessionKey, Protocol),
        speaker: IpAddr,
        first: Timestamp,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let trigger = on_session(session, at, TriggerKind::WithdrawalBurst);
        let sign = Sign {
            concern: Concern { sessions: [session].into(), ..Concern::default() },
            ..Sign::at_once(trigger, Interval::exactly(first), protocol)
        };
        let loses = |open: &&mut Open| {
            let ends = |lost: &SessionKey| lost.other(speaker).is_some();
            open.told && !open.is_burst() && open.concern.sessions.iter().any(ends)
        };
        match self.open.iter_mut().find(loses) {
            Some(open) => {
                let _ = open.join(sign);
            }
            None => self.sign(sign, at, known, out),
        }
    }
}

/// Everything that is on a link.
fn link_concern(link: u32, known: &Known) -> Concern {
    if link == 0 {
        return Concern::default();
    }
    Concern {
        sessions: known.sessions.on(link).take(SESSIONS_ON_LINK_MAX).collect(),
        links: [link].into(),
        dead_links: [link].into(),
        routers: known.adjacencies.routers_on(link).collect(),
    }
}
