//! What is captured: sessions of BGP and LDP, hellos of OSPF and IS-IS, a link, the kernel's table;
//! two failures with an hour between them, and identifiers in every field that can hold one.

use crate::planted::Planted;
use edgelore_model::{
    Batch, Datagram, Direction, FibAction, FibChange, Interval, IsisFrame, LinkChange, NextHop,
    Prefix, Segment, Signal, SignalKind, Span, StreamProtocol, Timestamp, tcp_flags,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

const SECOND: i64 = 1_000_000_000;
pub(crate) const START: Timestamp = Timestamp(1_780_000_000 * SECOND);
const LINK: u32 = 3;
/// The second failure, seconds after the start.
const AGAIN: i64 = 3_600;

/// When everything was changed: between the failures.
pub(crate) fn changed() -> Interval {
    Interval::exactly(at(1_800, 0))
}

fn at(secs: i64, millis: i64) -> Timestamp {
    START + Span(secs * SECOND + millis * 1_000_000)
}

/// The whole story, in order.
pub(crate) fn signals(planted: &Planted) -> Batch {
    let mut wire = Wire { planted, batch: Batch::default(), next: HashMap::new() };
    wire.link();
    wire.table(at(0, 0), FibAction::Present, 1);
    for (begins, slow) in [(0, 6_000), (AGAIN, 600)] {
        wire.establish(begins, if begins == 0 { 180 } else { 9 });
        wire.interior(begins + 5, true);
        wire.fail(begins + 60, slow);
        wire.tick(begins + 600);
    }
    wire.tick(2 * AGAIN);
    wire.batch.signals.sort_by_key(|signal| signal.at);
    wire.batch
}

struct Wire<'p> {
    planted: &'p Planted,
    batch: Batch,
    next: HashMap<(SocketAddr, SocketAddr), u32>,
}

impl Wire<'_> {
    fn push(&mut self, at: Timestamp, kind: SignalKind) {
        self.batch.signals.push(Signal { at, link: LINK, kind });
    }

    fn tick(&mut self, secs: i64) {
        for minute in 0..5 {
            self.push(at(secs + minute * 60, 0), SignalKind::Tick);
        }
    }

    fn link(&mut self) {
        let name = self.planted.interface.clone();
        let (present, admin_up, carrier, mtu) = (true, true, true, 1_500);
        let change = LinkChange { name, present, admin_up, carrier, mtu, ..LinkChange::default() };
        self.push(at(0, 0), SignalKind::Link(change));
    }

    /// The kernel's routes lead over a neighbour.
    fn table(&mut self, when: Timestamp, action: FibAction, neighbour: usize) {
        for prefix in self.planted.prefixes.clone() {
            let via = Some(IpAddr::V4(self.planted.routers[neighbour]));
            let change = FibChange {
                prefix: Prefix::new(prefix.into(), 24).unwrap(),
                table: 254,
                action,
                next_hops: vec![NextHop { via, link: LINK }],
                not_before: when - Span(1_000_000),
            };
            self.push(when, SignalKind::Fib(change));
        }
    }

    fn segment(&mut self, when: Timestamp, ends: Ends, flags: u8, payload: &[u8]) {
        let (src, dst, protocol) = ends;
        let next = self.next.entry((src, dst)).or_insert(1_000);
        let seq = *next;
        let turns = flags & (tcp_flags::SYN | tcp_flags::FIN) != 0;
        *next = seq.wrapping_add(payload.len() as u32 + u32::from(turns));
        let payload = self.batch.append(payload);
        let segment = Segment {
            protocol,
            src,
            dst,
            seq,
            flags,
            suppressed_bytes: 0,
            wire_len: payload.len,
            payload,
            direction: Direction::Ingress,
            gap: None,
        };
        self.push(when, SignalKind::Segment(segment));
    }

    /// The two directions of the session with a neighbour; another one each time.
    fn ends(
        &self,
        neighbour: usize,
        begins: i64,
        port: u16,
        protocol: StreamProtocol,
    ) -> [Ends; 2] {
        let own = SocketAddr::from((self.planted.routers[0], 40_000 + (begins / 60) as u16));
        let other = SocketAddr::from((self.planted.routers[neighbour], port));
        [(own, other, protocol), (other, own, protocol)]
    }

    /// Both neighbours' sessions of BGP and one of LDP come up; routes are announced.
    fn establish(&mut self, begins: i64, hold: u16) {
        for neighbour in [1, 2] {
            let [out, back] = self.ends(neighbour, begins, 179, StreamProtocol::Bgp);
            let (own, other) = (self.open(0, hold), self.open(neighbour, hold));
            let when = |millis| at(begins + 1, millis + neighbour as i64);
            self.segment(when(0), out, tcp_flags::SYN, &[]);
            self.segment(when(10), back, tcp_flags::SYN | tcp_flags::ACK, &[]);
            self.segment(when(20), out, tcp_flags::ACK, &own);
            self.segment(when(30), back, tcp_flags::ACK, &[other, message(4, &[])].concat());
            self.segment(when(40), out, tcp_flags::ACK, &message(4, &[]));
        }
        let [_, back] = self.ends(1, begins, 179, StreamProtocol::Bgp);
        let update = self.update(1);
        self.segment(at(begins + 2, 0), back, tcp_flags::ACK, &update);
        let [out, back] = self.ends(1, begins, 646, StreamProtocol::Ldp);
        self.segment(at(begins + 3, 0), out, tcp_flags::SYN, &[]);
        self.segment(at(begins + 3, 10), back, tcp_flags::SYN | tcp_flags::ACK, &[]);
        for (millis, ends) in [(20, out), (30, back)] {
            let pdu = self.ldp(0x0200, &self.ldp_session());
            self.segment(at(begins + 3, millis), ends, tcp_flags::ACK, &pdu);
        }
        for (millis, ends) in [(40, out), (50, back)] {
            let pdu = self.ldp(0x0201, &[]);
            self.segment(at(begins + 3, millis), ends, tcp_flags::ACK, &pdu);
        }
        self.table(at(begins + 4, 0), FibAction::Set, 1);
    }

    /// Hellos of OSPF, IS-IS and LDP; `seen`: they hear each other.
    fn interior(&mut self, secs: i64, seen: bool) {
        let hello = self.ospf_hello(seen);
        let payload = self.batch.append(&hello);
        let (src, dst) = (self.planted.routers[1].into(), [224, 0, 0, 5].into());
        let direction = Direction::Ingress;
        let ospf = Datagram { src, dst, port: 0, payload, direction, heard: None };
        self.push(at(secs, 0), SignalKind::Ospf(ospf));
        let hello = self.isis_hello(seen);
        let payload = self.batch.append(&hello);
        let frame = IsisFrame { src: self.planted.mac, payload, direction, heard: None };
        self.push(at(secs, 1), SignalKind::Isis(frame));
        let value = tlv(0x0400, &[0, 15, 0, 0]);
        let hello = self.ldp(0x0100, &value);
        let payload = self.batch.append(&hello);
        let dst = [224, 0, 0, 2].into();
        let hello = Datagram { src, dst, port: 646, payload, direction, heard: None };
        self.push(at(secs, 2), SignalKind::LdpHello(hello));
    }

    /// The first neighbour says why it goes; the other's routes take over.
    fn fail(&mut self, secs: i64, millis: i64) {
        let begins = secs - 60;
        self.interior(secs, false);
        let words = format!("{} leaves {}", self.planted.host, self.planted.customer);
        let words = [&[6, 2, words.len() as u8][..], words.as_bytes()].concat();
        let [_, back] = self.ends(1, begins, 179, StreamProtocol::Bgp);
        self.segment(at(secs, 10), back, tcp_flags::ACK, &message(3, &words));
        self.segment(at(secs, 11), back, tcp_flags::FIN | tcp_flags::ACK, &[]);
        let [_, labels] = self.ends(1, begins, 646, StreamProtocol::Ldp);
        self.segment(at(secs, 12), labels, tcp_flags::RST, &[]);
        let [_, back] = self.ends(2, begins, 179, StreamProtocol::Bgp);
        let update = self.update(2);
        self.segment(at(secs, millis), back, tcp_flags::ACK, &update);
        self.table(at(secs, millis + 5), FibAction::Set, 2);
        self.segment(at(secs + 500, 0), back, tcp_flags::FIN | tcp_flags::ACK, &[]);
    }

    /// RFC 4271 §4.2 with four-octet AS numbers (RFC 6793) and a host name
    /// (draft-walton-bgp-hostname-capability).
    fn open(&self, speaker: usize, hold: u16) -> Vec<u8> {
        let asn = self.planted.asns[speaker];
        let short = u16::try_from(asn).unwrap_or(23_456);
        let host = self.planted.host.as_bytes();
        let name = [&[73, host.len() as u8 + 2, host.len() as u8][..], host, &[0]].concat();
        let capabilities = [&[65, 4][..], &asn.to_be_bytes(), &name].concat();
        let parameter = [&[2, capabilities.len() as u8][..], &capabilities].concat();
        let identifier = self.planted.router_ids[speaker].octets();
        let body = [
            &[4][..],
            &short.to_be_bytes(),
            &hold.to_be_bytes(),
            &identifier,
            &[parameter.len() as u8],
            &parameter,
        ];
        message(1, &body.concat())
    }

    /// Announces all prefixes with a path and communities.
    fn update(&self, speaker: usize) -> Vec<u8> {
        let Planted { asns, routers, community: (high, low), .. } = self.planted;
        let path = [&[0x40, 2, 10, 2, 2][..], &asns[speaker].to_be_bytes(), &asns[2].to_be_bytes()];
        let hop = [&[0x40, 3, 4][..], &routers[speaker].octets()].concat();
        let community = [&[0xc0, 8, 4][..], &high.to_be_bytes(), &low.to_be_bytes()].concat();
        let attributes = [&[0x40, 1, 1, 0][..], &path.concat(), &hop, &community].concat();
        let prefixes: Vec<u8> = self
            .planted
            .prefixes
            .iter()
            .flat_map(|prefix| [&[24][..], &prefix.octets()[..3]].concat())
            .collect();
        let length = (attributes.len() as u16).to_be_bytes();
        message(2, &[&[0, 0][..], &length, &attributes, &prefixes].concat())
    }

    /// RFC 2328 §A.3.2.
    fn ospf_hello(&self, seen: bool) -> Vec<u8> {
        let Planted { router_ids, routers, area, .. } = self.planted;
        let mut body = vec![255, 255, 255, 0, 0, 10, 2, 1, 0, 0, 0, 40];
        body.extend(routers[1].octets());
        body.extend([0; 4]);
        if seen {
            body.extend(router_ids[0].octets());
        }
        let length = (24 + body.len() as u16).to_be_bytes();
        let mut packet = [&[2, 1][..], &length, &router_ids[1].octets(), &area.octets()].concat();
        packet.extend([0; 12]);
        packet.extend(body);
        let words = packet.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1]));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        packet[12..14].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        packet
    }

    /// ISO 10589 §9.5: a LAN hello of level 1 with area, address, host name and neighbour.
    fn isis_hello(&self, seen: bool) -> Vec<u8> {
        let Planted { system, routers, host, mac, .. } = self.planted;
        let mut fields = vec![tlv8(1, &[3, 0x49, 0, 1]), tlv8(132, &routers[1].octets())];
        fields.push(tlv8(137, host.as_bytes()));
        if seen {
            let mut neighbour = *mac;
            neighbour[5] ^= 1;
            fields.push(tlv8(6, &neighbour));
        }
        let fields = fields.concat();
        let length = (27 + fields.len() as u16).to_be_bytes();
        let header = [0x83, 27, 1, 0, 15, 1, 0, 3];
        let lan = [&system[..], &[1]].concat();
        let body = [&[1][..], system, &[0, 30], &length, &[64], &lan].concat();
        [&header[..], &body, &fields].concat()
    }

    /// RFC 5036 §3.5.3: the parameters of a session with the first neighbour.
    fn ldp_session(&self) -> Vec<u8> {
        let receiver = self.planted.router_ids[0].octets();
        tlv(0x0500, &[&[0, 1, 0, 45, 0, 0, 16, 0][..], &receiver, &[0, 0]].concat())
    }

    fn ldp(&self, kind: u16, fields: &[u8]) -> Vec<u8> {
        let length = (4 + fields.len() as u16).to_be_bytes();
        let message = [&kind.to_be_bytes()[..], &length, &[0, 0, 0, 9], fields].concat();
        let length = (6 + message.len() as u16).to_be_bytes();
        let sender = self.planted.router_ids[1].octets();
        [&[0, 1][..], &length, &sender, &[0, 0], &message].concat()
    }
}

type Ends = (SocketAddr, SocketAddr, StreamProtocol);

/// A BGP message (RFC 4271 §4.1).
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

fn tlv8(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, value.len() as u8][..], value].concat()
}
