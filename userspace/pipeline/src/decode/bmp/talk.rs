//! What a monitored router's messages mean: counts, routes, the sessions of its peers.
//!
//! A peer is up from its Peer Up until its Peer Down. Some routers repeat the Peer Up of a session
//! that stayed up, and send a Peer Down at the start for every peer that is not up: neither is a
//! change. When the router's connection ends its peers are unknown, not down. The times in the
//! per-peer headers are the routers' clocks' and are not used: everything happens when it arrives.
//!
//! **Withdrawals that cannot be.** FRR reports every announcement of a peer as a withdrawal before
//! policy unless it keeps the peer's routes (soft-reconfiguration inbound; FRR issues 10240 and
//! 18070). Such a table announces nothing, ever. So what is withdrawn from a table that is known
//! to have begun empty, and that has announced nothing since, is counted and not believed. It is
//! known to have begun empty when the session came up after a Peer Down on the same unbroken
//! stream, or when its End-of-RIB came without a route before it. In every other case, and once
//! a table announced anything, withdrawals are believed.
//!
//! **Invariant:** downs and ups of a peer alternate; a message that does not decode is counted and
//! changes nothing else.

use super::routers::{Origin, Peer, Router, Routers, State, Tables};
use super::{Message, PeerDown, PeerHeader, PeerKey, PeerUp, message_type, statistics, tlv_text};
use crate::decode::bgp::update::{Delta, Encoding, PathIdHint};
use crate::decode::bgp::{self, AsWidth, Negotiated, Notification, Open, family_of};
use crate::decode::talk::Scene;
use edgelore_model::{
    DownCause, FaultHandling, Observation, Observed, PeerStatistics, Rib, RouterChange, SessionKey,
    Summary, Timestamp,
};
use std::net::{IpAddr, SocketAddr};

/// An event of the state machine (RFC 4271 §8.1.3).
const HOLD_TIMER_EXPIRES: u16 = 10;
/// SAFI of unicast (RFC 4760 §6).
const UNICAST: u8 = 1;

/// The moment at which messages of a router are read, and where what they say goes.
struct Report<'a, E> {
    summary: &'a mut Summary,
    emit: &'a mut E,
    index: usize,
    at: Timestamp,
    link: u32,
    router: IpAddr,
}

impl<E: FnMut(usize, Observation)> Scene<'_, E> {
    fn report(&mut self, router: SocketAddr) -> (Report<'_, E>, &mut Routers) {
        let (index, at, link) = (self.index, self.at, self.link);
        let (summary, emit) = (&mut *self.summary, &mut *self.emit);
        (Report { summary, emit, index, at, link, router: router.ip() }, self.routers)
    }

    /// A router's connection opened.
    pub(in crate::decode) fn bmp_opened(&mut self, origin: Origin, router: SocketAddr) {
        self.routers.of(origin, router);
    }

    /// A router's connection ended.
    pub(in crate::decode) fn bmp_closed(&mut self, origin: Origin, router: SocketAddr) {
        let (mut report, routers) = self.report(router);
        if routers.closed(origin, router).is_some() {
            report.router_change(false, "connection closed".to_owned());
        }
    }

    /// Reads one message.
    pub(in crate::decode) fn bmp_message(
        &mut self,
        origin: Origin,
        router: SocketAddr,
        bytes: &[u8],
    ) {
        let (mut report, routers) = self.report(router);
        match Message::parse(bytes) {
            Ok(message) => report.message(routers, origin, router, message),
            Err(_) => report.undecodable(),
        }
    }
}

impl<E: FnMut(usize, Observation)> Report<'_, E> {
    fn observe(&mut self, what: Observed) {
        (self.emit)(self.index, Observation { at: self.at, link: self.link, what });
    }

    fn undecodable(&mut self) {
        self.summary.undecodable += 1;
    }

    fn message(
        &mut self,
        routers: &mut Routers,
        origin: Origin,
        end: SocketAddr,
        message: Message<'_>,
    ) {
        let counts = &mut self.summary.bmp;
        match message.kind {
            message_type::ROUTE_MONITORING => counts.route_monitoring += 1,
            message_type::STATISTICS_REPORT => counts.statistics += 1,
            message_type::PEER_DOWN => counts.peer_down += 1,
            message_type::PEER_UP => counts.peer_up += 1,
            message_type::INITIATION => counts.initiation += 1,
            message_type::TERMINATION => counts.termination += 1,
            message_type::ROUTE_MIRRORING => counts.route_mirroring += 1,
            _ => return self.undecodable(),
        }
        let peers_max = routers.peers_max();
        let router = routers.of(origin, end);
        match message.kind {
            message_type::INITIATION => self.initiation(router, message.body),
            message_type::TERMINATION => self.termination(router, peers_max, message.body),
            // What is mirrored is a copy of what the peers said, or of what was lost of it; the
            // routes come again as Route Monitoring.
            message_type::ROUTE_MIRRORING => {}
            kind => {
                let Ok((header, rest)) = PeerHeader::parse(message.body) else {
                    return self.undecodable();
                };
                if kind == message_type::STATISTICS_REPORT {
                    return self.statistics(header.key, rest);
                }
                let whole = router.whole;
                let (peer, forgotten) = router.peer(header.key);
                match kind {
                    message_type::ROUTE_MONITORING => self.routes(&header, peer, rest),
                    message_type::PEER_UP => self.peer_up(header.key, peer, rest),
                    _ => self.peer_down(header.key, peer, whole, rest),
                }
                routers.peers_evicted += u64::from(forgotten);
            }
        }
    }

    fn initiation(&mut self, router: &mut Router, body: &[u8]) {
        let words = tlv_text(message_type::INITIATION, body);
        router.whole = true;
        if router.words.as_ref() != Some(&words) {
            router.words = Some(words.clone());
            self.router_change(true, words);
        }
    }

    fn termination(&mut self, router: &mut Router, peers_max: usize, body: &[u8]) {
        router.words = None;
        router.whole = false;
        router.forget_peers(peers_max);
        self.router_change(false, tlv_text(message_type::TERMINATION, body));
    }

    fn router_change(&mut self, connected: bool, words: String) {
        let router = self.router;
        self.observe(Observed::Router(RouterChange { router, connected, words }));
    }

    fn statistics(&mut self, key: PeerKey, bytes: &[u8]) {
        let Ok(values) = statistics(bytes) else { return self.undecodable() };
        let (router, peer, instance) = (self.router, key.address, key.distinguisher);
        self.observe(Observed::PeerStatistics(PeerStatistics { router, peer, instance, values }));
    }

    fn session(&self, key: PeerKey) -> SessionKey {
        let peer = if key.is_loc_rib() { self.router } else { key.address };
        SessionKey::within(peer, self.router, key.distinguisher)
    }

    fn peer_up(&mut self, key: PeerKey, peer: &mut Peer, bytes: &[u8]) {
        let Ok(up) = PeerUp::parse(bytes) else { return self.undecodable() };
        // The router says that the session is up; an OPEN that we would not take changes nothing.
        let opens = [up.sent, up.received].map(|body| Open::parse(body).ok());
        self.summary.undecodable += opens.iter().filter(|open| open.is_none()).count() as u64;
        peer.negotiated = negotiated(&opens);
        let before = std::mem::replace(&mut peer.state, State::Up);
        let same = before == State::Up && peer.ports == up.ports;
        peer.ports = up.ports;
        if same {
            return;
        }
        match before {
            State::Down => peer.tables = Tables::EMPTY,
            State::Unknown | State::Up => peer.tables = Tables::default(),
            State::Presumed => {}
        }
        if key.is_loc_rib() {
            return;
        }
        let session = self.session(key);
        if before == State::Up {
            self.observe(Observed::SessionDown { session, cause: DownCause::Replaced });
        }
        for (speaker, open) in [self.router, key.address].into_iter().zip(&opens) {
            let Some(open) = open else { continue };
            let (hold_time_s, capabilities) = (open.hold_time_s, open.summary());
            self.observe(Observed::Open { session, speaker, hold_time_s, capabilities });
        }
        self.observe(Observed::SessionUp { session });
    }

    /// `whole` when the router's messages have been seen from the first on: a peer that had no
    /// Peer Up was not up then, otherwise it is presumed to have been.
    fn peer_down(&mut self, key: PeerKey, peer: &mut Peer, whole: bool, bytes: &[u8]) {
        let Ok(reason) = PeerDown::parse(bytes) else { return self.undecodable() };
        let before = peer.state;
        peer.restart();
        if key.is_loc_rib() || reason == PeerDown::NotMonitored {
            return;
        }
        peer.state = State::Down;
        let was_up = match before {
            State::Up | State::Presumed => true,
            State::Unknown => !whole,
            State::Down => false,
        };
        if !was_up {
            return;
        }
        let session = self.session(key);
        let cause = match reason {
            PeerDown::LocalNotification(body) => self.notification(session, self.router, body),
            PeerDown::RemoteNotification(body) => self.notification(session, key.address, body),
            PeerDown::RemoteClosed => DownCause::Closed,
            PeerDown::LocalEvent(HOLD_TIMER_EXPIRES) => DownCause::Expired,
            PeerDown::LocalEvent(_) | PeerDown::NotMonitored | PeerDown::LocalClosed => {
                DownCause::Recorded
            }
        };
        self.observe(Observed::SessionDown { session, cause });
    }

    fn notification(&mut self, session: SessionKey, speaker: IpAddr, body: &[u8]) -> DownCause {
        match Notification::parse(body) {
            Ok(Notification { code, subcode, hard_reset, communication }) => {
                self.observe(Observed::Notification {
                    session,
                    speaker,
                    code,
                    subcode,
                    hard_reset,
                    communication,
                });
            }
            Err(_) => self.undecodable(),
        }
        DownCause::Notification
    }

    fn routes(&mut self, header: &PeerHeader, peer: &mut Peer, bytes: &[u8]) {
        let update = bgp::message(bytes).ok().filter(|m| m.kind == bgp::message_type::UPDATE);
        let Some(update) = update else { return self.undecodable() };
        if peer.state == State::Unknown {
            peer.state = State::Presumed;
        }
        let delta = match Delta::reported(update.body, &encoding(header, peer)) {
            Ok(delta) => delta,
            Err(_) => return self.undecodable(),
        };
        if delta.fault.as_ref().is_some_and(|fault| fault.0 != FaultHandling::AttributeDiscard) {
            self.undecodable();
        }
        self.summary.prefixes += delta.counts;
        let mut delta = delta;
        self.believe(header.rib, peer, &mut delta);
        let (session, rib) = (self.session(header.key), header.rib);
        let speaker = match rib {
            Rib::InPre | Rib::InPost | Rib::Wire => header.key.address,
            Rib::OutPre | Rib::OutPost | Rib::Local => self.router,
        };
        if let Some(moved) = delta.observed(session, speaker, rib) {
            self.observe(moved);
        }
    }

    /// Takes out what is withdrawn from a table that is known to be empty.
    fn believe(&mut self, rib: Rib, peer: &mut Peer, delta: &mut Delta) {
        for prefix in &delta.announced {
            peer.tables.announced(rib, prefix.family());
        }
        if let Some((afi, UNICAST)) = delta.end_of_rib {
            if let Some(family) = family_of(afi) {
                peer.tables.complete(rib, family);
            }
            return;
        }
        let before = delta.withdrawn.len();
        let tables = peer.tables;
        delta.retain_withdrawn(|prefix| !tables.is_empty(rib, prefix.family()));
        self.summary.bmp.unfounded_withdrawals += (before - delta.withdrawn.len()) as u64;
    }
}

/// What the router's and its peer's OPENs agree on for messages from the peer, and from the
/// router.
fn negotiated([sent, received]: &[Option<Open>; 2]) -> Option<Box<[Negotiated; 2]>> {
    let (router, peer) = (sent.as_ref()?, received.as_ref()?);
    Some(Box::new([Negotiated::between(peer, router), Negotiated::between(router, peer)]))
}

/// How an UPDATE about this peer reads. The two OPENs are a hint for path identifiers and not
/// more: routers exist that leave them out of what they report, or put them in unasked.
fn encoding<'p>(header: &PeerHeader, peer: &'p Peer) -> Encoding<'p> {
    let from_router = matches!(header.rib, Rib::OutPre | Rib::OutPost | Rib::Local);
    let path_ids = match &peer.negotiated {
        Some(negotiated) => PathIdHint::As(&negotiated[usize::from(from_router)]),
        None => PathIdHint::Unlikely,
    };
    let width = if header.legacy_as_path { AsWidth::Two } else { AsWidth::Four };
    Encoding::Presumed { width, path_ids }
}
