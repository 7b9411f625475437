//! The packets of OSPF and IS-IS in a capture file, and in frames from a packet socket; the latter
//! are found by a walk of the tests' own.

use edgelore_capture::file::FileSource;
use edgelore_model::{Batch, Datagram, Direction, IsisFrame, Signal, SignalKind, Timestamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Everything of the two protocols that a capture file holds, up to where it is damaged; interfaces
/// are not told apart.
pub(crate) fn read(path: &Path) -> Batch {
    let mut source = FileSource::open(path).expect("the capture can be opened");
    let mut all = Batch::default();
    let more = source.next_batch(&mut all);
    assert!(!matches!(more, Ok(true)), "{}: one batch holds it", path.display());
    all.signals.retain(|signal| matches!(signal.kind, SignalKind::Ospf(_) | SignalKind::Isis(_)));
    all.signals.iter_mut().for_each(|signal| signal.link = 0);
    all
}

/// Takes an Ethernet frame in if it holds a packet of either protocol.
pub(crate) fn signal(at: Timestamp, frame: &[u8], batch: &mut Batch) {
    let Some((src, packet)) = ethernet(frame) else { return };
    let direction = Direction::Ingress;
    let kind = match packet {
        Network::Isis(pdu) => {
            SignalKind::Isis(IsisFrame { src, payload: batch.append(pdu), direction, heard: None })
        }
        Network::Ip(packet) => {
            let Some((src, dst, payload)) = ospf(packet) else { return };
            let payload = batch.append(payload);
            SignalKind::Ospf(Datagram { src, dst, port: 0, payload, direction, heard: None })
        }
    };
    batch.signals.push(Signal { at, link: 0, kind });
}

enum Network<'a> {
    Ip(&'a [u8]),
    Isis(&'a [u8]),
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
