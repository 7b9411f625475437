//! One TCP connection: two directions put back in order, and the talk that they carry, be it
//! BGP, LDP or BMP.
//!
//! **Invariant:** a new SYN, once the connection has spoken or ended, begins a new conversation;
//! nothing of the old one is used to read the new one.

use super::bgp;
use super::bmp::routers::Origin;
use super::ldp::talk::LdpTalk;
use super::session::ConnectionId;
use super::talk::{Scene, Source, Speaker, Talk};
use super::tcp::{Deliver, Event, HalfStream, Limits, Part, Standing, keepalive_len};
use edgelore_headers::Pace;
use edgelore_model::{
    Direction, DownCause, Heartbeat, LateHeartbeat, Observation, Observed, Protocol, Segment,
    SentAgain, SessionKey, Span, StreamProtocol, Timestamp, tcp_flags,
};
use std::net::SocketAddr;

/// A segment that fills a hole sooner than this overtook, or was overtaken by, the ones behind.
const REORDERED: Span = Span::from_millis(3);
/// A wire length past this, in bytes, is no segment's.
const WIRE_LEN_MAX: u32 = 1 << 20;

/// The unordered pair of a connection's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FourTuple {
    low: SocketAddr,
    high: SocketAddr,
}

impl FourTuple {
    /// The connection a segment belongs to, and the side (0 or 1) that sent it.
    pub(super) fn of(segment: &Segment) -> (Self, usize) {
        let (src, dst) = (segment.src, segment.dst);
        if src <= dst {
            (Self { low: src, high: dst }, 0)
        } else {
            (Self { low: dst, high: src }, 1)
        }
    }

    pub(super) fn session(&self) -> SessionKey {
        SessionKey::between(self.low.ip(), self.high.ip())
    }

    fn end(&self, side: usize) -> SocketAddr {
        if side == 0 { self.low } else { self.high }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    key: FourTuple,
    /// The BGP talk; for the other protocols the life of the connection alone.
    talk: Talk,
    carries: Carries,
    halves: [HalfStream; 2],
    traffic: [Traffic; 2],
}

/// What one direction carried, counted where it is seen first: a segment passes a gateway in two
/// places.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    place: Option<(u32, Direction)>,
    segments: u64,
    /// Lone keepalives, those apart that the kernel withheld.
    keepalives: u32,
    /// When something was last seen first.
    heard: Option<Timestamp>,
}

/// What a connection carries, with what is remembered of it.
#[derive(Debug)]
enum Carries {
    Bgp,
    Ldp(LdpTalk),
    /// BMP, and the side of the monitored router once it has spoken.
    Bmp(Option<usize>),
}

impl Carries {
    fn new(protocol: StreamProtocol) -> Self {
        match protocol {
            StreamProtocol::Bgp => Self::Bgp,
            StreamProtocol::Ldp => Self::Ldp(LdpTalk::default()),
            StreamProtocol::Bmp => Self::Bmp(None),
        }
    }

    const fn protocol(&self) -> StreamProtocol {
        match self {
            Self::Bgp => StreamProtocol::Bgp,
            Self::Ldp(_) => StreamProtocol::Ldp,
            Self::Bmp(_) => StreamProtocol::Bmp,
        }
    }
}

impl Connection {
    pub(super) fn new(key: FourTuple, protocol: StreamProtocol, id: ConnectionId) -> Self {
        let (talk, carries) = (Talk::new(id), Carries::new(protocol));
        Self { key, talk, carries, halves: halves(protocol), traffic: Default::default() }
    }

    pub(super) fn session(&self) -> SessionKey {
        self.key.session()
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.talk.id
    }

    /// Bytes held in both directions.
    pub(super) fn held(&self) -> usize {
        self.halves.iter().map(HalfStream::held).sum()
    }

    /// Directions in which something is held that will be lost if nothing follows.
    pub(super) fn unfinished(&self) -> u64 {
        self.halves.iter().filter(|half| half.unfinished()).count() as u64
    }

    /// Takes a segment that `side` sent; `next_id` names the conversation that it may begin.
    pub(super) fn segment<E: FnMut(usize, Observation)>(
        &mut self,
        limits: &Limits,
        side: usize,
        segment: &Segment,
        payload: &[u8],
        next_id: ConnectionId,
        scene: &mut Scene<'_, E>,
    ) {
        for side in 0..2 {
            self.with(side, scene, |half, now, deliver| half.expire(limits, now, deliver));
        }
        let part = part(segment, payload, scene);
        let reset = segment.flags & tcp_flags::RST != 0;
        if segment.flags & tcp_flags::SYN != 0 && !reset {
            if !self.halves[side].repeats_syn(part.seq) {
                self.restart(side, segment.flags, next_id, scene);
                self.with(side, scene, |half, _, deliver| half.syn(limits, &part, deliver));
            }
        } else if reset {
            // The data of a RST is a text for people (RFC 9293 §3.5.3), not the stream's.
            self.flush(scene);
            let knows = segment.flags & tcp_flags::ACK != 0;
            self.ended(if knows { DownCause::Reset } else { DownCause::Forgotten }, scene);
        } else {
            self.count(side, &part, segment, scene);
            self.with(side, scene, |half, _, deliver| half.segment(limits, &part, deliver));
        }
    }

    /// Counts a segment with data, and tells it if it was sent again.
    fn count<E: FnMut(usize, Observation)>(
        &mut self,
        side: usize,
        part: &Part<'_>,
        segment: &Segment,
        scene: &mut Scene<'_, E>,
    ) {
        let protocol = match self.carries {
            Carries::Bgp => Protocol::Bgp,
            Carries::Ldp(_) => Protocol::Ldp,
            Carries::Bmp(_) => return,
        };
        // One octet or none asks whether the other end lives (RFC 9293 §3.8.4).
        if part.wire_len <= 1 {
            return;
        }
        if keepalive_len(self.carries.protocol()) == Some(part.wire_len) {
            // The last word of a connection is no heartbeat, and the kernel tells no time of it.
            if segment.flags & tcp_flags::FIN == 0 {
                self.beat(side, protocol, part, segment.gap, scene);
            }
            return;
        }
        let (traffic, here) = (&mut self.traffic[side], (scene.link, segment.direction));
        let again = match self.halves[side].standing(part) {
            Standing::New => {
                traffic.place = Some(here);
                false
            }
            Standing::Ahead => false,
            Standing::Fills(since) => part.at - since > REORDERED,
            Standing::Seen => true,
        };
        if traffic.place.is_some_and(|place| place != here) {
            return;
        }
        if !again {
            (traffic.segments, traffic.heard) = (traffic.segments + 1, Some(part.at));
            return;
        }
        let (session, speaker) = (scene.session, self.key.end(side).ip());
        let segments = traffic.segments;
        scene.observe(Observed::SentAgain(SentAgain { session, speaker, protocol, segments }));
    }

    /// Takes a lone keepalive where it is seen first, and tells it if it came late. It is not seen
    /// everywhere, so that one that is sent again is not told.
    fn beat<E: FnMut(usize, Observation)>(
        &mut self,
        side: usize,
        protocol: Protocol,
        part: &Part<'_>,
        gap: Option<Span>,
        scene: &mut Scene<'_, E>,
    ) {
        if self.halves[side].standing(part) == Standing::Seen {
            return;
        }
        let hold_s = match &self.carries {
            Carries::Ldp(ldp) => ldp.keepalive_s(),
            _ => self.talk.hold_time_s(),
        };
        let traffic = &mut self.traffic[side];
        traffic.keepalives = traffic.keepalives.wrapping_add(1);
        let since = traffic.heard.replace(part.at).map(|heard| part.at - heard);
        let (Some(hold_s), Some(gap)) = (hold_s, gap.or(since)) else { return };
        let pace = Pace::holding(hold_s);
        if !pace.is_late(gap.0.max(0).unsigned_abs()) {
            return;
        }
        let interval = Span(i64::try_from(pace.interval_ns).unwrap_or(i64::MAX));
        let count = (part.suppressed / part.wire_len).wrapping_add(traffic.keepalives);
        let (session, speaker) = (scene.session, self.key.end(side).ip());
        let heartbeat = Heartbeat::Keepalive { session, speaker, protocol };
        scene.observe(Observed::Late(LateHeartbeat { heartbeat, interval, gap, count }));
    }

    /// Hands out what lies behind holes.
    pub(super) fn flush<E: FnMut(usize, Observation)>(&mut self, scene: &mut Scene<'_, E>) {
        for side in 0..2 {
            self.with(side, scene, |half, now, deliver| half.flush(now, deliver));
        }
    }

    /// Drops what is held, declaring gaps: memory is needed.
    pub(super) fn shed<E: FnMut(usize, Observation)>(&mut self, scene: &mut Scene<'_, E>) {
        for side in 0..2 {
            self.with(side, scene, |half, _, deliver| half.shed(deliver));
        }
    }

    /// At a SYN: ends the conversation before it, if there was one.
    fn restart<E: FnMut(usize, Observation)>(
        &mut self,
        side: usize,
        flags: u8,
        next_id: ConnectionId,
        scene: &mut Scene<'_, E>,
    ) {
        let history = self.talk.spoken || self.talk.ended;
        // A SYN that answers one may have been captured after the data that it allowed.
        let late_answer = flags & tcp_flags::ACK != 0 && !self.halves[side].started();
        if history && !late_answer {
            self.flush(scene);
            self.ended(DownCause::Replaced, scene);
            self.talk = Talk::new(next_id);
            let protocol = self.carries.protocol();
            (self.carries, self.halves) = (Carries::new(protocol), halves(protocol));
            self.traffic = Default::default();
        }
        self.talk.found_midway = false;
    }

    /// The monitored router's end, once it has spoken.
    pub(super) fn monitored(&self) -> Option<SocketAddr> {
        match self.carries {
            Carries::Bmp(side) => side.map(|side| self.key.end(side)),
            Carries::Bgp | Carries::Ldp(_) => None,
        }
    }

    /// The connection ended.
    fn ended<E: FnMut(usize, Observation)>(&mut self, cause: DownCause, scene: &mut Scene<'_, E>) {
        self.carries.ended(&mut self.talk, &self.key, cause, scene);
    }

    /// Runs `work` on one direction and reads what comes out of it.
    fn with<E: FnMut(usize, Observation)>(
        &mut self,
        side: usize,
        scene: &mut Scene<'_, E>,
        work: impl FnOnce(&mut HalfStream, Timestamp, &mut Deliver<'_>),
    ) {
        let (key, talk, carries) = (self.key, &mut self.talk, &mut self.carries);
        let speaker = Speaker { address: key.end(side).ip(), side };
        let now = scene.at;
        work(&mut self.halves[side], now, &mut |event| match event {
            Event::Message(bytes) => carries.message(talk, &key, speaker, bytes, scene),
            Event::Lost => scene.undecodable(),
            Event::Gap => {
                scene.gap(speaker);
                if matches!(carries, Carries::Bmp(_)) {
                    scene.routers.gap(Origin::Stream, speaker.address);
                }
            }
            Event::Fin => carries.ended(talk, &key, DownCause::Closed, scene),
        });
    }
}

impl Carries {
    /// Reads what `speaker` sent as a whole.
    fn message<E: FnMut(usize, Observation)>(
        &mut self,
        talk: &mut Talk,
        key: &FourTuple,
        speaker: Speaker,
        bytes: &[u8],
        scene: &mut Scene<'_, E>,
    ) {
        match self {
            Self::Bgp => {
                return match bgp::message(bytes) {
                    Ok(message) => scene.message(talk, speaker, Source::Wire, message),
                    Err(_) => scene.undecodable(),
                };
            }
            Self::Ldp(ldp) => {
                ldp.found_midway = talk.found_midway;
                scene.ldp_pdu(ldp, speaker, bytes);
                talk.found_midway = ldp.found_midway;
            }
            Self::Bmp(router) => {
                *router = Some(speaker.side);
                scene.bmp_message(Origin::Stream, key.end(speaker.side), bytes);
            }
        }
        talk.spoken = true;
    }

    fn ended<E: FnMut(usize, Observation)>(
        &mut self,
        talk: &mut Talk,
        key: &FourTuple,
        cause: DownCause,
        scene: &mut Scene<'_, E>,
    ) {
        match self {
            Self::Bgp => return scene.ended(talk, cause),
            Self::Ldp(ldp) => {
                ldp.found_midway = talk.found_midway;
                scene.ldp_ended(ldp, cause);
            }
            Self::Bmp(router) => {
                if let Some(side) = router.take() {
                    scene.bmp_closed(Origin::Stream, key.end(side));
                }
            }
        }
        talk.ended = true;
    }
}

fn halves(protocol: StreamProtocol) -> [HalfStream; 2] {
    [HalfStream::new(protocol), HalfStream::new(protocol)]
}

fn part<'a, E>(segment: &Segment, payload: &'a [u8], scene: &Scene<'_, E>) -> Part<'a> {
    let payload = &payload[..payload.len().min(WIRE_LEN_MAX as usize)];
    Part {
        at: scene.at,
        seq: segment.seq,
        payload,
        wire_len: segment.wire_len.clamp(payload.len() as u32, WIRE_LEN_MAX),
        suppressed: segment.suppressed_bytes,
        fin: segment.flags & tcp_flags::FIN != 0,
    }
}
