//! Signals to observations: TCP streams put back in order, BGP, LDP, BMP and BFD decoded.
//!
//! ```text
//! Segment ─► connection ─► tcp (order, holes) ─► framer ─┬► talk (bgp) ─► session ─► Observation
//!                                                        ├► ldp::talk ─► Observation
//! Bmp, BmpRouter ────────────────────────────────────────┴► bmp::talk (bgp) ─► Observation
//! LdpHello ─► ldp::hello ─► Observation
//! Message ─────────────────────────────────────────────► talk (bgp) ─► session ─► Observation
//! Ospf, Isis ─► igp ─► Observation
//! Table ──► dump (counted only)
//! Bfd ──► bfd ─► Observation (hellos and BFD through pulse: late or not)
//! Link, Fib, Counters, Lost, Granularity, Tick ─► the same as Observation
//! ```
//!
//! Never reads a clock, never judges a route, never keeps a routing table.
//!
//! **Invariant:** the observations depend on the signals and their order alone, not on how they
//! are cut into batches; and as long as no bound of [`DecodeConfig`] is reached, decoding the
//! shards of [`shard_of`] separately gives the same observations.

pub mod bfd;
pub mod bgp;
pub mod bmp;
mod connection;
mod dump;
pub mod igp;
pub mod ldp;
mod pulse;
mod session;
mod table;
mod talk;
mod tcp;

use bfd::{ControlPacket, Speakers};
use bmp::routers::{Origin, Routers};
use connection::{Connection, FourTuple};
use edgelore_model::{
    Batch, BfdChange, BmpMessage, BmpRouter, Datagram, LossReason, Observation, Observed,
    PeerState, Segment, SessionKey, Signal, SignalKind, Span, StreamProtocol, Summary, Timestamp,
    WholeMessage,
};
use igp::{Igp, Seen};
use ldp::hello::Hellos;
use pulse::Beat;
use session::{ConnectionId, Sessions};
use std::net::IpAddr;
use table::Table;
use talk::{Scene, Source, Speaker, Talk};
use tcp::Limits;

/// What a [`Decoder`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeConfig {
    /// TCP connections followed at once; past that one not used lately is forgotten.
    pub connections_max: usize,
    /// Routing sessions whose state is known at once.
    pub sessions_max: usize,
    /// BFD speakers whose last word is known at once.
    pub bfd_speakers_max: usize,
    /// LDP speakers whose last hello is known at once.
    pub ldp_speakers_max: usize,
    /// Monitored routers known at once.
    pub bmp_routers_max: usize,
    /// Peers of one monitored router whose sessions are known at once.
    pub bmp_peers_max: usize,
    /// OSPF and IS-IS speakers, per interface, whose last hello is known at once.
    pub hello_speakers_max: usize,
    /// Link-state advertisements known at once, of all areas together.
    pub link_states_max: usize,
    /// Bytes behind a hole, per direction of a connection.
    pub pending_bytes_max: usize,
    /// Segments behind a hole, per direction of a connection.
    pub pending_segments_max: usize,
    /// Bytes held for all connections together.
    pub held_bytes_max: usize,
    /// How long a hole is waited for once something lies behind it, in the signals' time. A
    /// retransmission comes within a second or so; what does not come was lost by the capture.
    pub hole_wait: Span,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            sessions_max: 8192,
            bfd_speakers_max: 8192,
            ldp_speakers_max: 4096,
            bmp_routers_max: 1024,
            bmp_peers_max: 2048,
            hello_speakers_max: 4096,
            link_states_max: 65_536,
            pending_bytes_max: 1 << 20,
            pending_segments_max: 1024,
            held_bytes_max: 64 << 20,
            hole_wait: Span::from_millis(3_000),
        }
    }
}

/// What was given up because a bound was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// Connections forgotten.
    pub connections: u64,
    /// Sessions forgotten.
    pub sessions: u64,
    /// BFD speakers forgotten.
    pub bfd_speakers: u64,
    /// LDP speakers forgotten.
    pub ldp_speakers: u64,
    /// Monitored routers forgotten.
    pub bmp_routers: u64,
    /// Peers of monitored routers forgotten.
    pub bmp_peers: u64,
    /// OSPF and IS-IS hello speakers forgotten, and neighbours in hellos beyond what is kept.
    pub hello_speakers: u64,
    /// Link-state advertisements forgotten.
    pub link_states: u64,
    /// Times that a connection's held bytes were dropped for want of memory.
    pub shed: u64,
}

impl Overflow {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let Self {
            connections,
            sessions,
            bfd_speakers,
            ldp_speakers,
            bmp_routers,
            bmp_peers,
            hello_speakers,
            link_states,
            shed,
        } = *self;
        let speakers = bfd_speakers + ldp_speakers + hello_speakers;
        connections + sessions + speakers + bmp_routers + bmp_peers + link_states + shed
    }
}

/// Turns signals into observations.
pub struct Decoder {
    limits: Limits,
    held_bytes_max: usize,
    held: usize,
    shed: u64,
    summary: Summary,
    sessions: Sessions,
    connections: Table<FourTuple, Connection>,
    recorded: Table<SessionKey, Talk>,
    speakers: Speakers,
    hellos: Hellos,
    routers: Routers,
    igp: Igp,
    tables: dump::TableDumps,
    conversations: u64,
    /// Time and link of the last signal.
    last: (Timestamp, u32),
}

impl Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new(config: DecodeConfig) -> Self {
        Self {
            limits: Limits {
                pending_bytes_max: config.pending_bytes_max,
                pending_segments_max: config.pending_segments_max,
                hole_wait: config.hole_wait,
            },
            held_bytes_max: config.held_bytes_max,
            held: 0,
            shed: 0,
            summary: Summary::default(),
            sessions: Sessions::new(config.sessions_max),
            connections: Table::new(config.connections_max),
            recorded: Table::new(config.sessions_max),
            speakers: Speakers::new(config.bfd_speakers_max),
            hellos: Hellos::new(config.ldp_speakers_max),
            routers: Routers::new(config.bmp_routers_max, config.bmp_peers_max),
            igp: Igp::new(config.hello_speakers_max, config.link_states_max),
            tables: dump::TableDumps::default(),
            conversations: 0,
            last: (Timestamp::default(), 0),
        }
    }

    /// Decodes a batch. `emit` gets each observation with the index, within the batch, of the
    /// signal that made it known.
    pub fn decode(&mut self, batch: &Batch, emit: &mut impl FnMut(usize, Observation)) {
        for (index, signal) in batch.signals.iter().enumerate() {
            self.signal(batch, index, signal, emit);
        }
    }

    /// Everything counted so far.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What was given up so far because a bound was reached.
    #[must_use]
    pub const fn overflow(&self) -> Overflow {
        let (bmp_routers, bmp_peers) = self.routers.evicted();
        Overflow {
            connections: self.connections.evicted(),
            sessions: self.sessions.evicted(),
            bfd_speakers: self.speakers.evicted(),
            ldp_speakers: self.hellos.evicted(),
            bmp_routers,
            bmp_peers,
            hello_speakers: self.igp.hello_overflow(),
            link_states: self.igp.link_states_evicted(),
            shed: self.shed,
        }
    }

    /// At the end of the signals: hands out what lies behind holes, each declared a gap, at the
    /// time of the last signal and under the index 0, in the order of the connections. A message
    /// of which only the start was captured is not a gap: nothing says that more was sent.
    pub fn finish(&mut self, emit: &mut impl FnMut(usize, Observation)) {
        let (at, link) = self.last;
        for place in self.connections.sorted() {
            let connection = self.connections.at(place);
            let session = connection.session();
            let before = connection.held();
            let (summary, sessions) = (&mut self.summary, &mut self.sessions);
            let routers = &mut self.routers;
            let mut scene = Scene { summary, sessions, emit, index: 0, at, link, session, routers };
            connection.flush(&mut scene);
            self.held = self.held - before + connection.held();
        }
    }

    fn signal<E: FnMut(usize, Observation)>(
        &mut self,
        batch: &Batch,
        index: usize,
        signal: &Signal,
        emit: &mut E,
    ) {
        let (at, link) = (signal.at, signal.link);
        self.last = (at, link);
        let what = match &signal.kind {
            SignalKind::Segment(segment) => {
                return self.segment(batch.payload(segment.payload), index, signal, segment, emit);
            }
            SignalKind::Message(message) => {
                return self.message(batch.payload(message.payload), index, signal, message, emit);
            }
            SignalKind::Peer(peer) => return self.peer(index, signal, peer, emit),
            SignalKind::Table(record) => {
                return self.tables.record(
                    record,
                    batch.payload(record.payload),
                    &mut self.summary,
                );
            }
            SignalKind::Bfd(datagram) => {
                let payload = batch.payload(datagram.payload);
                let emit = &mut |what| emit(index, Observation { at, link, what });
                return self.bfd(payload, datagram, at, link, emit);
            }
            SignalKind::Link(change) => Observed::Link(change.clone()),
            SignalKind::Fib(change) => Observed::Fib(change.clone()),
            SignalKind::Counters(sample) => Observed::Counters(*sample),
            SignalKind::Queue(sample) => Observed::Queue(sample.clone()),
            SignalKind::Neighbour(change) => Observed::Neighbour(*change),
            SignalKind::Kernel(event) => Observed::Kernel(event.clone()),
            SignalKind::LdpHello(hello) => {
                return self.hello(batch.payload(hello.payload), index, signal, hello, emit);
            }
            SignalKind::Bmp(message) => {
                return self.bmp(batch.payload(message.payload), index, signal, message, emit);
            }
            SignalKind::BmpRouter(router) => return self.router(index, signal, router, emit),
            SignalKind::Ospf(datagram) => {
                let payload = batch.payload(datagram.payload);
                let emit = &mut |what| emit(index, Observation { at, link, what });
                let seen = Seen::new(at, link, datagram.direction, datagram.heard);
                return self.igp.ospf(payload, datagram, seen, &mut self.summary, emit);
            }
            SignalKind::Isis(frame) => {
                let payload = batch.payload(frame.payload);
                let emit = &mut |what| emit(index, Observation { at, link, what });
                let seen = Seen::new(at, link, frame.direction, frame.heard);
                return self.igp.isis(payload, frame, seen, &mut self.summary, emit);
            }
            &SignalKind::Lost { reason, count } => {
                if reason == LossReason::Malformed {
                    self.summary.undecodable = self.summary.undecodable.saturating_add(count);
                }
                Observed::Lost { reason, count }
            }
            &SignalKind::Granularity(step) => Observed::Granularity { step },
            SignalKind::Tick => Observed::Tick,
        };
        emit(index, Observation { at, link, what });
    }

    fn segment<E: FnMut(usize, Observation)>(
        &mut self,
        payload: &[u8],
        index: usize,
        signal: &Signal,
        segment: &Segment,
        emit: &mut E,
    ) {
        let (key, side) = FourTuple::of(segment);
        let place = match self.connections.find(&key) {
            Some(place) => place,
            None => self.follow(key, segment.protocol),
        };
        let next_id = ConnectionId(self.conversations + 1);
        let connection = self.connections.at(place);
        let (before, session) = (connection.held(), connection.session());
        let (at, link) = (signal.at, signal.link);
        let (summary, sessions) = (&mut self.summary, &mut self.sessions);
        let routers = &mut self.routers;
        let mut scene = Scene { summary, sessions, emit, index, at, link, session, routers };
        connection.segment(&self.limits, side, segment, payload, next_id, &mut scene);
        if connection.id() == next_id {
            self.conversations += 1;
        }
        self.held = self.held - before + connection.held();
        if self.held > self.held_bytes_max {
            self.held -= connection.held();
            connection.shed(&mut scene);
            self.shed += 1;
        }
    }

    /// Begins to follow a connection, forgetting another if there are too many.
    fn follow(&mut self, key: FourTuple, protocol: StreamProtocol) -> usize {
        self.summary.streams += 1;
        self.conversations += 1;
        let connection = Connection::new(key, protocol, ConnectionId(self.conversations));
        let (place, gone) = self.connections.insert(key, connection);
        if let Some(gone) = gone {
            self.held -= gone.held();
            self.summary.gaps += gone.unfinished();
            self.sessions.forget(gone.session(), gone.id());
            if let Some(router) = gone.monitored() {
                // Nothing is known of it any more, not even that it went.
                let _ = self.routers.closed(Origin::Stream, router);
            }
        }
        place
    }

    /// The moment of a signal of no connection.
    fn scene<'a, E>(
        &'a mut self,
        session: SessionKey,
        index: usize,
        signal: &Signal,
        emit: &'a mut E,
    ) -> Scene<'a, E> {
        let (at, link) = (signal.at, signal.link);
        let (summary, sessions) = (&mut self.summary, &mut self.sessions);
        let routers = &mut self.routers;
        Scene { summary, sessions, emit, index, at, link, session, routers }
    }

    fn hello<E: FnMut(usize, Observation)>(
        &mut self,
        payload: &[u8],
        index: usize,
        signal: &Signal,
        datagram: &Datagram,
        emit: &mut E,
    ) {
        let (at, link) = (signal.at, signal.link);
        let beat = Beat { at, link, direction: datagram.direction, heard: datagram.heard };
        let read = self.hellos.read(payload, datagram, beat, &mut self.summary.ldp, |what| {
            emit(index, Observation { at, link, what });
        });
        if read.is_err() {
            self.summary.undecodable += 1;
        }
    }

    fn bmp<E: FnMut(usize, Observation)>(
        &mut self,
        payload: &[u8],
        index: usize,
        signal: &Signal,
        message: &BmpMessage,
        emit: &mut E,
    ) {
        let router = message.router;
        let session = SessionKey::between(router.ip(), router.ip());
        let mut scene = self.scene(session, index, signal, emit);
        scene.bmp_message(Origin::Listener, router, payload);
    }

    fn router<E: FnMut(usize, Observation)>(
        &mut self,
        index: usize,
        signal: &Signal,
        change: &BmpRouter,
        emit: &mut E,
    ) {
        let router = change.router;
        let session = SessionKey::between(router.ip(), router.ip());
        self.summary.streams += u64::from(change.connected);
        let mut scene = self.scene(session, index, signal, emit);
        if change.connected {
            scene.bmp_opened(Origin::Listener, router);
        } else {
            scene.bmp_closed(Origin::Listener, router);
        }
    }

    fn message<E: FnMut(usize, Observation)>(
        &mut self,
        payload: &[u8],
        index: usize,
        signal: &Signal,
        message: &WholeMessage,
        emit: &mut E,
    ) {
        let session = SessionKey::between(message.speaker, message.listener);
        let side = usize::from(message.speaker != session.addresses().0);
        let place = self.record(session);
        let talk = self.recorded.at(place);
        let (at, link) = (signal.at, signal.link);
        let (summary, sessions) = (&mut self.summary, &mut self.sessions);
        let routers = &mut self.routers;
        let mut scene = Scene { summary, sessions, emit, index, at, link, session, routers };
        let source = Source::Record { as4: message.as4, add_path: message.add_path };
        match bgp::message(payload) {
            Ok(read) => {
                let speaker = Speaker { address: message.speaker, side };
                scene.message(talk, speaker, source, read);
            }
            Err(_) => scene.undecodable(),
        }
    }

    fn peer<E: FnMut(usize, Observation)>(
        &mut self,
        index: usize,
        signal: &Signal,
        peer: &PeerState,
        emit: &mut E,
    ) {
        let (at, link, session) = (signal.at, signal.link, peer.session);
        self.record(session);
        let (summary, sessions) = (&mut self.summary, &mut self.sessions);
        let routers = &mut self.routers;
        Scene { summary, sessions, emit, index, at, link, session, routers }.recorded(peer);
    }

    /// The place of a session that a collector records.
    fn record(&mut self, session: SessionKey) -> usize {
        if let Some(place) = self.recorded.find(&session) {
            return place;
        }
        self.summary.streams += 1;
        self.recorded.insert(session, Talk::new(ConnectionId::RECORDED)).0
    }

    fn bfd(
        &mut self,
        payload: &[u8],
        datagram: &Datagram,
        at: Timestamp,
        link: u32,
        emit: &mut impl FnMut(Observed),
    ) {
        if datagram.port == bfd::port::ECHO {
            self.summary.bfd.echo += 1;
            return;
        }
        let Ok(packet) = ControlPacket::parse(payload) else {
            self.summary.undecodable += 1;
            return;
        };
        let kind = bfd::Kind::of(datagram.port, link);
        bfd::count(&mut self.summary.bfd, &packet, kind);
        let change = BfdChange {
            session: SessionKey::between(datagram.src, datagram.dst),
            speaker: datagram.src,
            state: packet.state,
            diagnostic: packet.diagnostic,
            detect_multiplier: packet.detect_multiplier,
            desired_min_tx_us: packet.desired_min_tx_us,
            required_min_rx_us: packet.required_min_rx_us,
        };
        let beat = Beat { at, link, direction: datagram.direction, heard: datagram.heard };
        let (changed, late) = self.speakers.hear(kind, change, packet.demand, beat);
        changed.map(Observed::Bfd).into_iter().for_each(&mut *emit);
        late.map(Observed::Late).into_iter().for_each(emit);
    }
}

/// Which of `shards` decoders a signal belongs to: all signals of a session go to the same one,
/// signals of no session to shard 0. The same on every machine and in every run.
#[must_use]
pub fn shard_of(signal: &Signal, shards: usize) -> usize {
    let session = match &signal.kind {
        // A router may report to several collectors; what it says is one stream of facts.
        SignalKind::Segment(segment) if segment.protocol == StreamProtocol::Bmp => return 0,
        SignalKind::Segment(segment) => SessionKey::between(segment.src.ip(), segment.dst.ip()),
        SignalKind::Bfd(datagram) | SignalKind::LdpHello(datagram) => {
            SessionKey::between(datagram.src, datagram.dst)
        }
        SignalKind::Bmp(BmpMessage { router, .. })
        | SignalKind::BmpRouter(BmpRouter { router, .. }) => {
            SessionKey::between(router.ip(), router.ip())
        }
        SignalKind::Message(message) => SessionKey::between(message.speaker, message.listener),
        SignalKind::Peer(peer) => peer.session,
        _ => return 0,
    };
    let (low, high) = session.addresses();
    (fnv(fnv(FNV_BASIS, low), high) % shards.max(1) as u64) as usize
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, with a final mix so that the low bits depend on all octets.
fn fnv(basis: u64, address: IpAddr) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(PRIME);
    let hash = match address {
        IpAddr::V4(v4) => v4.octets().iter().fold(basis, step),
        IpAddr::V6(v6) => v6.octets().iter().fold(basis, step),
    };
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests;
