//! Packets of a capture as signals, by a walk of its own: Ethernet, VLAN tags, PPP and Linux
//! cooked headers, IPv4 and IPv6 without extensions, TCP and UDP. Independent of the walk that
//! the kernel runs, so that the decoders can be held against captures without it.

use edgelore_model::{
    Batch, Datagram, Direction, Segment, Signal, SignalKind, StreamProtocol, Timestamp,
};
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Every segment and hello of LDP and BMP in a capture.
pub(crate) fn signals(path: &Path) -> Batch {
    let mut reader = create_reader(1 << 20, File::open(path).expect("open the capture"))
        .expect("read the capture's header");
    let (mut batch, mut link_type, mut at) = (Batch::default(), Linktype::ETHERNET, 0);
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => link_type = header.network,
                    PcapBlockOwned::Legacy(packet) => {
                        at += 1;
                        take(link_type, packet.data, at, &mut batch);
                    }
                    PcapBlockOwned::NG(_) => panic!("pcapng is not expected here"),
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return batch,
            Err(PcapError::Incomplete(_)) => reader.refill().expect("read the capture"),
            Err(error) => panic!("{}: {error:?}", path.display()),
        }
    }
}

fn take(link_type: Linktype, frame: &[u8], at: i64, batch: &mut Batch) -> Option<()> {
    let packet = network(link_type, frame)?;
    let (src, dst, protocol, payload) = addresses(packet)?;
    let port = |at: usize| Some(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    let (from, to) = (port(0)?, port(2)?);
    let direction = Direction::Ingress;
    let kind = match protocol {
        6 => {
            let offset = usize::from(*payload.get(12)? >> 4) * 4;
            let seq = u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?);
            let flags = *payload.get(13)?;
            let protocol = [(646, StreamProtocol::Ldp), (1790, StreamProtocol::Bmp)]
                .into_iter()
                .find(|(port, _)| *port == from || *port == to)?
                .1;
            let data = payload.get(offset..)?;
            let payload = batch.append(data);
            SignalKind::Segment(Segment {
                protocol,
                src: SocketAddr::new(src, from),
                dst: SocketAddr::new(dst, to),
                seq,
                flags,
                suppressed_bytes: 0,
                wire_len: data.len() as u32,
                payload,
                direction,
            })
        }
        17 if to == 646 => {
            let payload = batch.append(payload.get(8..)?);
            SignalKind::LdpHello(Datagram { src, dst, port: to, payload, direction })
        }
        _ => return None,
    };
    batch.signals.push(Signal { at: Timestamp(at * 1_000_000), link: 1, kind });
    Some(())
}

/// The IP packet within a frame.
fn network(link_type: Linktype, frame: &[u8]) -> Option<&[u8]> {
    let mut at = match link_type {
        Linktype::ETHERNET => 12,
        Linktype::LINUX_SLL => 14,
        // PPP (RFC 1661).
        Linktype(9) => return frame.get(4..),
        _ => return None,
    };
    loop {
        match frame.get(at..at + 2)? {
            [0x81, 0] | [0x88, 0xa8] => at += 4,
            [8, 0] | [0x86, 0xdd] => return frame.get(at + 2..),
            _ => return None,
        }
    }
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            let address =
                |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            let end = total.min(packet.len());
            Some((address(12)?, address(16)?, packet[9], packet.get(header..end)?))
        }
        6 => {
            let total = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
            let address = |at: usize| {
                Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?))
            };
            let end = (40 + total).min(packet.len());
            Some((address(8)?, address(24)?, packet[6], packet.get(40..end)?))
        }
        _ => None,
    }
}
