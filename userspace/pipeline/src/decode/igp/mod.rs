//! The link-state protocols: OSPF versions 2 and 3, and IS-IS.
//!
//! ```text
//! Ospf ─► ospf ─► hello bodies ──────────────► hello ─► HelloChange
//!             └─► LSAs ─► ospf2, ospf3 ─┐
//! Isis ─► isis ─► hellos ───────────────│────► hello ─► HelloChange
//!             └─► lsp ──────────────────┴────► lsdb ──► LinkStateChange
//! ```
//!
//! Takes part in no protocol: sends nothing, acknowledges nothing, computes no routes. Database
//! descriptions, requests, acknowledgments and sequence numbers PDUs tell what a router holds, not
//! what it says; they are counted, and checked for their framing.
//!
//! **Invariant:** what does not decode is counted and changes nothing else; an advertisement whose
//! checksum does not hold is never told.

mod content;
mod fletcher;
mod hello;
pub mod isis;
mod lsdb;
mod lsp;
pub mod ospf;
pub mod ospf2;
pub mod ospf3;
mod reader;

pub use content::Content;
pub use hello::{LAN_ROUTERS_MAX, NEIGHBOURS_MAX};
pub use lsp::Lsp;
pub use reader::{Fault, IgpError};

use crate::decode::pulse::Beat;
use edgelore_model::{
    Datagram, Direction, Heard, HelloChange, IgpArea, IgpProtocol, IsisFrame, LinkStateAction,
    LinkStateChange, NodeId, Observed, Span, Summary, Timestamp,
};
use hello::{Hellos, Speaker};
use isis::{Level, Pdu};
use lsdb::{Digest, Instance, Key, Lsdb};
use ospf::{Body, Lsa, Lsas, Packet};
use std::net::IpAddr;

/// When and where a packet was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    at: Timestamp,
    link: u32,
    beat: Beat,
}

impl Seen {
    pub(super) const fn new(
        at: Timestamp,
        link: u32,
        direction: Direction,
        heard: Option<Heard>,
    ) -> Self {
        Self { at, link, beat: Beat { at, link, direction, heard } }
    }
}

/// What is remembered of all link-state protocols.
pub(super) struct Igp {
    hellos: Hellos,
    lsdb: Lsdb,
}

impl Igp {
    pub(super) fn new(hello_speakers_max: usize, link_states_max: usize) -> Self {
        Self { hellos: Hellos::new(hello_speakers_max), lsdb: Lsdb::new(link_states_max) }
    }

    /// Hello speakers and their neighbours that did not fit.
    pub(super) const fn hello_overflow(&self) -> u64 {
        self.hellos.overflow()
    }

    /// Advertisements forgotten.
    pub(super) const fn link_states_evicted(&self) -> u64 {
        self.lsdb.evicted()
    }

    /// Reads an OSPF packet.
    pub(super) fn ospf(
        &mut self,
        payload: &[u8],
        datagram: &Datagram,
        seen: Seen,
        summary: &mut Summary,
        emit: &mut impl FnMut(Observed),
    ) {
        let read = Packet::parse(payload).and_then(|packet| {
            packet.body.count(&mut summary.ospf);
            packet.check_whole()?;
            match packet.body {
                Body::Hello(body) => self.ospf_hello(&packet, body, datagram.src, seen, emit),
                Body::LinkStateUpdate(body) => {
                    summary.undecodable += self.update(&packet, body, seen, emit)?;
                    Ok(())
                }
                _ => ospf::check_headers(packet.version, &packet.body),
            }
        });
        summary.undecodable += u64::from(read.is_err());
    }

    fn ospf_hello(
        &mut self,
        packet: &Packet<'_>,
        body: &[u8],
        src: IpAddr,
        Seen { link, beat, .. }: Seen,
        emit: &mut impl FnMut(Observed),
    ) -> Result<(), IgpError> {
        let hello = ospf::Hello::parse(packet.version, body)?;
        let (area, router) = (packet.area(), NodeId::ospf(packet.router_id));
        let circuit = match (hello.interface_id, src) {
            (Some(interface_id), _) => u64::from(interface_id),
            (None, IpAddr::V4(address)) => u64::from(address.to_bits()),
            (None, IpAddr::V6(_)) => 0,
        };
        let change = HelloChange {
            area,
            router,
            hello_interval: seconds(u32::from(hello.hello_interval_s)),
            dead_interval: seconds(hello.dead_interval_s),
            designated: hello.designated(packet.version),
            neighbours: hello.neighbours.into_iter().map(NodeId::ospf).collect(),
            first: false,
        };
        let speaker = Speaker { link, area, router, circuit };
        self.hellos.hello(speaker, change, &mut |change| emit(Observed::Hello(change)));
        self.hellos.beat(&speaker, beat).map(Observed::Late).into_iter().for_each(emit);
        Ok(())
    }

    /// Reads the advertisements of an update; hands out how many of them are damaged.
    fn update(
        &mut self,
        packet: &Packet<'_>,
        body: &[u8],
        seen: Seen,
        emit: &mut impl FnMut(Observed),
    ) -> Result<u64, IgpError> {
        let mut damaged = 0;
        for lsa in Lsas::of_update(packet.version, body)? {
            let content = lsa.and_then(|lsa| Ok((lsa, lsa.content(packet)?)));
            match content {
                Ok((lsa, content)) => self.lsa(packet, &lsa, content, seen, emit),
                Err(_) => damaged += 1,
            }
        }
        Ok(damaged)
    }

    fn lsa(
        &mut self,
        packet: &Packet<'_>,
        lsa: &Lsa<'_>,
        content: Content,
        seen: Seen,
        emit: &mut impl FnMut(Observed),
    ) {
        let header = &lsa.header;
        let key = Key {
            area: packet.area(),
            link: if header.is_link_scoped(packet.version) { seen.link } else { 0 },
            system: content.origin.system,
            id: (header.ls_type, header.link_state_id),
        };
        let instance = Instance {
            sequence: header.sequence,
            checksum: header.checksum,
            age_s: header.age_s,
            ages: !header.do_not_age,
            flushed: header.is_flushed(),
        };
        let digest = Digest::NONE.and(&[header.options]).and(lsa.body).value();
        self.offer(key, instance, digest, header.age(), content, seen, emit);
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of one advertisement")]
    fn offer(
        &mut self,
        key: Key,
        instance: Instance,
        digest: u64,
        age: Span,
        content: Content,
        seen: Seen,
        emit: &mut impl FnMut(Observed),
    ) {
        let Some(action) = self.lsdb.offer(key, instance, digest, seen.at) else { return };
        let content = match action {
            LinkStateAction::Flushed => Content::of(content.origin),
            _ => content,
        };
        emit(Observed::LinkState(LinkStateChange {
            area: key.area,
            origin: content.origin,
            id: key.id,
            sequence: instance.sequence,
            age,
            action,
            overload: content.overload,
            neighbours: content.neighbours,
            prefixes: content.prefixes,
            grace: content.grace,
        }));
    }

    /// Reads an IS-IS PDU.
    pub(super) fn isis(
        &mut self,
        payload: &[u8],
        frame: &IsisFrame,
        seen: Seen,
        summary: &mut Summary,
        emit: &mut impl FnMut(Observed),
    ) {
        let read = Pdu::parse(payload).and_then(|pdu| {
            pdu.count(&mut summary.isis);
            match pdu {
                Pdu::LanHello(level, body) => {
                    self.lan_hello(level, body.lan_hello()?, frame.src, seen, emit);
                    Ok(())
                }
                Pdu::PointToPointHello(body) => {
                    self.circuit_hello(&body.point_to_point_hello()?, frame.src, seen, emit);
                    Ok(())
                }
                Pdu::LinkState(level, body) => {
                    self.lsp(level, body.link_state()?, seen, emit);
                    Ok(())
                }
                Pdu::CompleteSequenceNumbers(_, body) => body.check_sequence_numbers(true),
                Pdu::PartialSequenceNumbers(_, body) => body.check_sequence_numbers(false),
            }
        });
        summary.undecodable += u64::from(read.is_err());
    }

    fn lan_hello(
        &mut self,
        level: Level,
        hello: isis::Hello,
        src: [u8; 6],
        Seen { link, beat, .. }: Seen,
        emit: &mut impl FnMut(Observed),
    ) {
        let change = isis_change(level, &hello);
        let circuit = hello::circuit(src, 0);
        let speaker = Speaker { link, area: change.area, router: change.router, circuit };
        let mut tell = |change| emit(Observed::Hello(change));
        self.hellos.lan_hello(speaker, src, change, hello.heard, &mut tell);
        self.hellos.beat(&speaker, beat).map(Observed::Late).into_iter().for_each(emit);
    }

    /// A hello on a point-to-point link speaks for both levels if its sender is in both.
    fn circuit_hello(
        &mut self,
        hello: &isis::Hello,
        src: [u8; 6],
        Seen { link, beat, .. }: Seen,
        emit: &mut impl FnMut(Observed),
    ) {
        for (bit, level) in [(1, Level::One), (2, Level::Two)] {
            if hello.levels & bit == 0 {
                continue;
            }
            let change = isis_change(level, hello);
            let circuit = hello::circuit(src, hello.circuit);
            let speaker = Speaker { link, area: change.area, router: change.router, circuit };
            self.hellos.hello(speaker, change, &mut |change| emit(Observed::Hello(change)));
            let late = self.hellos.beat(&speaker, beat);
            late.map(Observed::Late).into_iter().for_each(&mut *emit);
        }
    }

    fn lsp(&mut self, level: Level, lsp: Lsp, seen: Seen, emit: &mut impl FnMut(Observed)) {
        let origin = lsp.content.origin;
        let key = Key {
            area: isis_area(level, lsp.instance),
            link: 0,
            system: origin.system,
            id: (origin.pseudonode as u16, u32::from(lsp.fragment)),
        };
        let instance = Instance {
            sequence: lsp.sequence,
            checksum: lsp.checksum,
            age_s: 0,
            ages: false,
            flushed: lsp.lifetime_s == 0,
        };
        let age = lsp.age();
        self.offer(key, instance, lsp.digest, age, lsp.content, seen, emit);
    }
}

fn seconds(seconds: u32) -> Span {
    Span::from_millis(i64::from(seconds) * 1_000)
}

const fn isis_area(level: Level, instance: u16) -> IgpArea {
    let protocol = match level {
        Level::One => IgpProtocol::IsisLevel1,
        Level::Two => IgpProtocol::IsisLevel2,
    };
    IgpArea { protocol, instance, area: 0 }
}

fn isis_change(level: Level, hello: &isis::Hello) -> HelloChange {
    HelloChange {
        area: isis_area(level, hello.instance),
        router: NodeId::isis(hello.system),
        hello_interval: Span::default(),
        dead_interval: seconds(u32::from(hello.holding_time_s)),
        neighbours: hello.neighbour.into_iter().collect(),
        designated: hello.designated,
        first: false,
    }
}

#[cfg(test)]
mod tests;
