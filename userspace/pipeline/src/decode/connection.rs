//! One TCP connection: two directions put back in order, and the talk that they carry.
//!
//! **Invariant:** a new SYN, once the connection has spoken or ended, begins a new conversation;
//! nothing of the old one is used to read the new one.

use super::bgp;
use super::session::ConnectionId;
use super::talk::{Scene, Source, Speaker, Talk};
use super::tcp::{Deliver, Event, HalfStream, Limits, Part};
use edgelore_model::{DownCause, Observation, Segment, SessionKey, Timestamp, tcp_flags};
use std::net::{IpAddr, SocketAddr};

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

    fn address(&self, side: usize) -> IpAddr {
        if side == 0 { self.low.ip() } else { self.high.ip() }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    key: FourTuple,
    talk: Talk,
    halves: [HalfStream; 2],
}

impl Connection {
    pub(super) fn new(key: FourTuple, id: ConnectionId) -> Self {
        Self { key, talk: Talk::new(id), halves: Default::default() }
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
            scene.ended(&mut self.talk, DownCause::Reset);
        } else {
            self.with(side, scene, |half, _, deliver| half.segment(limits, &part, deliver));
        }
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
            scene.ended(&mut self.talk, DownCause::Replaced);
            self.talk = Talk::new(next_id);
            self.halves = Default::default();
        }
        self.talk.found_midway = false;
    }

    /// Runs `work` on one direction and reads what comes out of it.
    fn with<E: FnMut(usize, Observation)>(
        &mut self,
        side: usize,
        scene: &mut Scene<'_, E>,
        work: impl FnOnce(&mut HalfStream, Timestamp, &mut Deliver<'_>),
    ) {
        let speaker = Speaker { address: self.key.address(side), side };
        let talk = &mut self.talk;
        let now = scene.at;
        work(&mut self.halves[side], now, &mut |event| match event {
            Event::Message(bytes) => match bgp::message(bytes) {
                Ok(message) => scene.message(talk, speaker, Source::Wire, message),
                Err(_) => scene.undecodable(),
            },
            Event::Lost => scene.undecodable(),
            Event::Gap => scene.gap(speaker),
            Event::Fin => scene.ended(talk, DownCause::Closed),
        });
    }
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
