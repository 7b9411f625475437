//! What the messages of one connection mean: counts, observations, the state of the session.
//!
//! **Invariant:** a message that does not decode is counted, explained while the conversation has
//! had few such, and changes nothing else, except that an UPDATE, even a malformed one, shows that
//! its session is up.

use super::bgp::update::{Delta, Encoding, PathIdHint};
use super::bgp::{AsWidth, BgpError, Message, Negotiated, Notification, Open, message_type};
use super::bmp::routers::Routers;
use super::session::{ConnectionId, Sessions, Transition};
use edgelore_model::{
    BgpFaultCounts, DownCause, FaultHandling, Observation, Observed, Rib, SessionKey, Summary,
    Timestamp,
};
use std::net::IpAddr;

/// Faults explained one by one in a conversation; the others are only counted, so that a speaker of
/// nonsense costs no more than one of sense.
const FAULTS_EXPLAINED_MAX: u8 = 16;

/// Cease / Connection Collision Resolution (RFC 4486).
const COLLISION: (u8, u8) = (6, 7);

/// What is remembered of a conversation between two speakers.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) id: ConnectionId,
    /// No SYN and no OPEN of it was seen.
    pub(super) found_midway: bool,
    /// A message was seen.
    pub(super) spoken: bool,
    /// NOTIFICATION, RST or FIN was seen.
    pub(super) ended: bool,
    opens: [Option<Open>; 2],
    negotiated: Option<[Negotiated; 2]>,
    faults_explained: u8,
}

impl Talk {
    pub(super) fn new(id: ConnectionId) -> Self {
        Self {
            id,
            found_midway: true,
            spoken: false,
            ended: false,
            opens: [None, None],
            negotiated: None,
            faults_explained: 0,
        }
    }

    /// What both ends hold to, in seconds; `None` while an OPEN was not seen.
    pub(super) fn hold_time_s(&self) -> Option<u16> {
        let [low, high] = &self.opens;
        Some(low.as_ref()?.hold_time_s.min(high.as_ref()?.hold_time_s))
    }

    fn any_open(&self) -> bool {
        self.opens.iter().any(Option::is_some)
    }

    /// How UPDATEs from `side` read.
    fn encoding(&self, side: usize, source: Source) -> Encoding<'_> {
        match (source, &self.negotiated) {
            (Source::Wire, Some(negotiated)) => Encoding::Negotiated(&negotiated[side]),
            (Source::Wire, None) => {
                let old = self.opens.iter().flatten().any(|open| open.capabilities.as4.is_none());
                let width = if old { AsWidth::Two } else { AsWidth::Four };
                Encoding::Presumed { width, path_ids: PathIdHint::Unlikely }
            }
            (Source::Record { as4, add_path }, negotiated) => Encoding::Presumed {
                width: if as4 { AsWidth::Four } else { AsWidth::Two },
                path_ids: match negotiated {
                    _ if add_path => PathIdHint::Likely,
                    Some(negotiated) => PathIdHint::As(&negotiated[side]),
                    None => PathIdHint::Unlikely,
                },
            },
        }
    }
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A TCP stream.
    Wire,
    /// A collector's record, whose type says how it reads.
    Record { as4: bool, add_path: bool },
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker {
    pub(super) address: IpAddr,
    /// 0 or 1.
    pub(super) side: usize,
}

/// The moment at which messages are read, and where what they say goes.
pub(super) struct Scene<'a, E> {
    pub(super) summary: &'a mut Summary,
    pub(super) sessions: &'a mut Sessions,
    pub(super) emit: &'a mut E,
    pub(super) index: usize,
    pub(super) at: Timestamp,
    pub(super) link: u32,
    pub(super) session: SessionKey,
    pub(super) routers: &'a mut Routers,
}

impl<E: FnMut(usize, Observation)> Scene<'_, E> {
    pub(super) fn observe(&mut self, what: Observed) {
        (self.emit)(self.index, Observation { at: self.at, link: self.link, what });
    }

    fn apply(&mut self, transition: Transition) {
        let session = self.session;
        if let Some(cause) = transition.down {
            self.observe(Observed::SessionDown { session, cause });
        }
        if transition.up {
            self.observe(Observed::SessionUp { session });
        }
    }

    /// Reads one message.
    pub(super) fn message(
        &mut self,
        talk: &mut Talk,
        speaker: Speaker,
        source: Source,
        message: Message<'_>,
    ) {
        talk.spoken = true;
        let counts = &mut self.summary.bgp;
        match message.kind {
            message_type::OPEN => {
                counts.open += 1;
                self.open(talk, speaker, message.body);
            }
            message_type::UPDATE => {
                counts.update += 1;
                self.update(talk, speaker, source, message.body);
            }
            message_type::NOTIFICATION => {
                counts.notification += 1;
                self.notification(talk, speaker, message.body);
            }
            message_type::KEEPALIVE if message.body.is_empty() => counts.keepalive += 1,
            message_type::ROUTE_REFRESH => counts.route_refresh += 1,
            _ => self.undecodable(),
        }
    }

    /// Counts something that does not decode.
    pub(super) fn undecodable(&mut self) {
        self.summary.undecodable += 1;
    }

    /// Bytes of `speaker` are missing.
    pub(super) fn gap(&mut self, speaker: Speaker) {
        self.summary.gaps += 1;
        let session = self.session;
        self.observe(Observed::StreamGap { session, speaker: speaker.address });
    }

    /// The connection ended.
    pub(super) fn ended(&mut self, talk: &mut Talk, cause: DownCause) {
        talk.ended = true;
        let transition = self.sessions.ended(self.session, talk.id, cause, talk.found_midway);
        self.apply(transition);
    }

    /// A collector recorded a state change.
    pub(super) fn recorded(&mut self, peer: &edgelore_model::PeerState) {
        let transition = self.sessions.recorded(peer);
        self.apply(transition);
    }

    /// Counts a fault, and explains it unless enough were.
    fn fault(
        &mut self,
        talk: &mut Talk,
        speaker: Speaker,
        handling: FaultHandling,
        error: &BgpError,
    ) {
        let BgpFaultCounts { attribute_discard, treat_as_withdraw, session_reset } =
            &mut self.summary.bgp_faults;
        *match handling {
            FaultHandling::AttributeDiscard => attribute_discard,
            FaultHandling::TreatAsWithdraw => treat_as_withdraw,
            FaultHandling::SessionReset => session_reset,
        } += 1;
        if handling != FaultHandling::AttributeDiscard {
            self.undecodable();
        }
        if talk.faults_explained < FAULTS_EXPLAINED_MAX {
            talk.faults_explained += 1;
            let (session, speaker, fault) = (self.session, speaker.address, error.to_string());
            self.observe(Observed::MessageFault { session, speaker, handling, fault });
        }
    }

    fn open(&mut self, talk: &mut Talk, speaker: Speaker, body: &[u8]) {
        let open = match Open::parse(body) {
            Ok(open) => open,
            Err(error) => return self.fault(talk, speaker, FaultHandling::SessionReset, &error),
        };
        if let Some(error) = &open.passed_over {
            self.fault(talk, speaker, FaultHandling::AttributeDiscard, error);
        }
        let completes = talk.opens[speaker.side].is_none() && talk.any_open();
        if !completes {
            // A conversation that was under way begins anew.
            talk.opens = [None, None];
            talk.negotiated = None;
            let transition = self.sessions.reopened(self.session, talk.id);
            self.apply(transition);
        }
        (talk.found_midway, talk.ended) = (false, false);
        self.observe(Observed::Open {
            session: self.session,
            speaker: speaker.address,
            hold_time_s: open.hold_time_s,
            capabilities: open.summary(),
        });
        talk.opens[speaker.side] = Some(open);
        if let [Some(low), Some(high)] = &talk.opens {
            talk.negotiated =
                Some([Negotiated::between(low, high), Negotiated::between(high, low)]);
            let transition = self.sessions.opened(self.session, talk.id);
            self.apply(transition);
        }
    }

    fn update(&mut self, talk: &mut Talk, speaker: Speaker, source: Source, body: &[u8]) {
        // What is still in flight after the end does not bring the session back; a collector's
        // records do not tell connections apart, so there it does.
        if !talk.ended || matches!(source, Source::Record { .. }) {
            talk.ended = false;
            let transition = self.sessions.updated(self.session, talk.id, talk.any_open());
            self.apply(transition);
        }
        let delta = match Delta::read(body, &talk.encoding(speaker.side, source)) {
            Ok(delta) => delta,
            Err(error) => return self.fault(talk, speaker, FaultHandling::SessionReset, &error),
        };
        if let Some((handling, error)) = &delta.fault {
            self.fault(talk, speaker, *handling, error);
        }
        self.summary.prefixes += delta.counts;
        if let Some(moved) = delta.observed(self.session, speaker.address, Rib::Wire) {
            self.observe(moved);
        }
    }

    fn notification(&mut self, talk: &mut Talk, speaker: Speaker, body: &[u8]) {
        let read = match Notification::parse(body) {
            Ok(read) => read,
            Err(error) => return self.fault(talk, speaker, FaultHandling::SessionReset, &error),
        };
        // What an old connection sends again once it can, or one that lost a collision, says nothing
        // of the session that another carries.
        if self.sessions.speaks_for(self.session, talk.id) {
            self.observe(Observed::Notification {
                session: self.session,
                speaker: speaker.address,
                code: read.code,
                subcode: read.subcode,
                hard_reset: read.hard_reset,
                communication: read.communication,
            });
        }
        if (read.code, read.subcode) == COLLISION {
            self.sessions.collided(self.session, talk.id);
        }
        self.ended(talk, DownCause::Notification);
        talk.opens = [None, None];
        talk.negotiated = None;
    }
}
