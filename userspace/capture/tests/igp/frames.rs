//! The packets of OSPF and IS-IS in a capture file, found by a reader of the tests' own, so that
//! decoding is tested apart from the walk that finds packets in production.

use edgelore_model::{Batch, Datagram, Direction, IsisFrame, Signal, SignalKind, Timestamp};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The link type of Ethernet frames.
pub(crate) const ETHERNET: i32 = 1;

/// Everything of the two protocols that a pcap or pcapng file holds.
pub(crate) fn read(path: &Path) -> Batch {
    let bytes = std::fs::read(path).expect("the capture can be read");
    let mut reader = create_reader(1 << 16, &bytes[..]).expect("it is a capture");
    let (mut batch, mut link_types) = (Batch::default(), Vec::new());
    loop {
        match reader.next() {
            Ok((length, block)) => {
                take(&block, &mut link_types, &mut batch);
                reader.consume(length);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().expect("the file goes on"),
            Err(PcapError::Eof) => return batch,
            Err(error) => panic!("{}: {error:?}", path.display()),
        }
    }
}

fn take(block: &PcapBlockOwned<'_>, link_types: &mut Vec<i32>, batch: &mut Batch) {
    match block {
        PcapBlockOwned::LegacyHeader(header) => link_types.push(header.network.0),
        PcapBlockOwned::Legacy(packet) => {
            let at = Timestamp::from_secs_nanos(packet.ts_sec.into(), packet.ts_usec * 1_000);
            let frame = &packet.data[..packet.caplen as usize];
            signal(link_types[0], at, frame, batch);
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
            link_types.push(described.linktype.0);
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let micros = i64::from(packet.ts_high) << 32 | i64::from(packet.ts_low);
            let link_type = link_types[packet.if_id as usize];
            signal(link_type, Timestamp(micros * 1_000), packet.packet_data(), batch);
        }
        PcapBlockOwned::NG(_) => {}
    }
}

/// Takes a frame in if it holds a packet of either protocol.
pub(crate) fn signal(link_type: i32, at: Timestamp, frame: &[u8], batch: &mut Batch) {
    let Some((src, packet)) = of_link(link_type, frame) else { return };
    let direction = Direction::Ingress;
    let kind = match packet {
        Network::Isis(pdu) => {
            SignalKind::Isis(IsisFrame { src, payload: batch.append(pdu), direction })
        }
        Network::Ip(packet) => {
            let Some((src, dst, payload)) = ospf(packet) else { return };
            let payload = batch.append(payload);
            SignalKind::Ospf(Datagram { src, dst, port: 0, payload, direction })
        }
    };
    batch.signals.push(Signal { at, link: 0, kind });
}

enum Network<'a> {
    Ip(&'a [u8]),
    Isis(&'a [u8]),
}

fn of_link(link_type: i32, frame: &[u8]) -> Option<([u8; 6], Network<'_>)> {
    const NO_ADDRESS: [u8; 6] = [0; 6];
    match link_type {
        0 => Some((NO_ADDRESS, Network::Ip(frame.get(4..)?))),
        ETHERNET => ethernet(frame),
        // Cisco HDLC: OSI packets have an octet of padding.
        104 if frame.get(2..4)? == [0xfe, 0xfe] => {
            Some((NO_ADDRESS, Network::Isis(frame.get(5..)?)))
        }
        104 => Some((NO_ADDRESS, Network::Ip(frame.get(4..)?))),
        // Frame relay in Cisco's encapsulation.
        107 => Some((NO_ADDRESS, Network::Ip(frame.get(4..)?))),
        // Juniper's metadata before Ethernet.
        178 => ethernet(frame.get(6 + usize::from(be16(frame, 4)?)..)?),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn ethernet(frame: &[u8]) -> Option<([u8; 6], Network<'_>)> {
    let src = frame.get(6..12)?.try_into().ok()?;
    let mut at = 12;
    while matches!(be16(frame, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    by_type(src, be16(frame, at)?, frame.get(at + 2..)?)
}

/// What an EtherType or, below 0x600, a length announces.
fn by_type(src: [u8; 6], ethertype: u16, rest: &[u8]) -> Option<([u8; 6], Network<'_>)> {
    match ethertype {
        0x0800 | 0x86dd => Some((src, Network::Ip(rest))),
        0..=1500 if rest.get(..3)? == [0xfe, 0xfe, 3] => Some((src, Network::Isis(&rest[3..]))),
        _ => None,
    }
}

/// The OSPF packet in an IP packet without options, perhaps behind an authentication header.
fn ospf(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    const OSPF: u8 = 89;
    const AUTHENTICATION_HEADER: u8 = 51;
    if packet.first()? >> 4 == 4 {
        let at = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
        let (src, dst): (Ipv4Addr, Ipv4Addr) = (at(12)?, at(16)?);
        let (header, total) = (usize::from(packet[0] & 15) * 4, usize::from(be16(packet, 2)?));
        let payload = packet.get(header..total.min(packet.len()))?;
        return (*packet.get(9)? == OSPF).then_some((src.into(), dst.into(), payload));
    }
    let at = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (at(8)?, at(24)?);
    let payload = packet.get(40..(40 + usize::from(be16(packet, 4)?)).min(packet.len()))?;
    let payload = match *packet.get(6)? {
        OSPF => payload,
        AUTHENTICATION_HEADER if *payload.first()? == OSPF => {
            payload.get((usize::from(*payload.get(1)?) + 2) * 4..)?
        }
        _ => return None,
    };
    Some((src.into(), dst.into(), payload))
}
