//! Packet captures as segments and datagrams, through the same walk that runs in the kernel.
//!
//! **Invariant:** a packet yields at most one signal, at the time and on the interface that the
//! capture states.

mod link;

use super::kind::Content;
use super::{FAULTS_KEPT_MAX, Fault, FileCounts, FormatFault, SteppedOver};
use edgelore_headers::{ControlPacket, Kind, Walk};
use edgelore_model::{
    Batch, Datagram, Direction, IsisFrame, LossReason, Segment, Signal, SignalKind, StreamProtocol,
    Timestamp,
};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{
    Block, InterfaceDescriptionBlock, PcapBlockOwned, PcapError, PcapHeader, create_reader,
};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

const BUFFER_LEN: usize = 1 << 20;
/// No packet or block is longer, in bytes.
const BUFFER_LEN_MAX: usize = 64 << 20;
/// Interfaces of one section of a pcapng file.
const INTERFACES_MAX: usize = 4096;
/// Block type of an interface description; reads differently in a big-endian section.
const INTERFACE_DESCRIPTION: u32 = 1;
const NANOS: i128 = 1_000_000_000;

/// How packets of an interface read.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u16,
    /// Timestamp units per second.
    resolution: u64,
    /// Seconds added to timestamps.
    offset: i64,
}

/// One captured packet.
struct Packet<'a> {
    at: Timestamp,
    /// Interface index in the file, from 1; 0 where the format has none.
    link: u32,
    link_type: u16,
    frame: &'a [u8],
}

pub(super) struct PcapReader {
    blocks: Box<dyn PcapReaderIterator + Send>,
    said: Said,
    capacity: usize,
    interfaces: Vec<Interface>,
    last: Timestamp,
    counts: FileCounts,
    stepped_over: Vec<SteppedOver>,
}

/// What the system or the decompressor said; the parser does not hand it on.
type Said = Arc<Mutex<Option<std::io::Error>>>;

/// Fills the buffer it is given, so that a header is not taken for a cut one because the
/// decompressor returned it in two pieces. An error ends the content, and is kept: what was read
/// before it counts first.
struct Whole {
    content: Content,
    said: Said,
}

impl Whole {
    fn failed(&self) -> bool {
        self.said.lock().is_ok_and(|said| said.is_some())
    }
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && !self.failed() {
            match self.content.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Ok(mut said) = self.said.lock() {
                        *said = Some(error);
                    }
                    break;
                }
            }
        }
        Ok(filled)
    }
}

impl PcapReader {
    pub(super) fn new(content: Content) -> Result<Self, Fault> {
        let said = Said::default();
        let whole = Whole { content, said: Arc::clone(&said) };
        let blocks = create_reader(BUFFER_LEN, whole).map_err(|error| match error {
            PcapError::Incomplete(_) | PcapError::Eof => said_or(&said, 0, FormatFault::Truncated),
            _ => Fault::Format(0, FormatFault::Block),
        })?;
        let (interfaces, last) = (Vec::new(), Timestamp::default());
        let (counts, stepped_over) = (FileCounts::default(), Vec::new());
        let capacity = BUFFER_LEN;
        Ok(Self { blocks, said, capacity, interfaces, last, counts, stepped_over })
    }

    pub(super) const fn counts(&self) -> FileCounts {
        self.counts
    }

    pub(super) fn stepped_over(&self) -> &[SteppedOver] {
        &self.stepped_over
    }

    /// Reads one block; `false` at the end.
    pub(super) fn next_signal(&mut self, batch: &mut Batch) -> Result<bool, Fault> {
        let offset = self.blocks.consumed() as u64;
        let failed = match self.blocks.next() {
            Ok((length, block)) => {
                let state = (&mut self.interfaces, &mut self.last, &mut self.counts);
                take(block, state, batch);
                self.blocks.consume(length);
                return Ok(true);
            }
            Err(PcapError::Eof) => return self.end(offset),
            Err(PcapError::Incomplete(_)) => Failed::Short,
            Err(PcapError::BufferTooSmall) => Failed::Small,
            Err(PcapError::UnexpectedEof) => return self.cut_short(offset, batch),
            Err(_) => Failed::Fault(FormatFault::Block),
        };
        match failed {
            Failed::Fault(reason) => return Err(Fault::Format(offset, reason)),
            Failed::Small => {
                self.capacity *= 2;
                if self.capacity > BUFFER_LEN_MAX || !self.blocks.grow(self.capacity) {
                    return Err(Fault::Format(offset, FormatFault::TooLong));
                }
            }
            Failed::Short => {}
        }
        match self.blocks.refill() {
            Ok(()) => Ok(true),
            Err(_) => self.cut_short(offset, batch),
        }
    }

    fn end(&self, offset: u64) -> Result<bool, Fault> {
        said(&self.said).map_or(Ok(false), |error| Err(Fault::Read(offset, error)))
    }

    /// The content ends within a block: because it cannot be read on, or because it was cut. The
    /// latter is counted and told, and the end of the file.
    fn cut_short(&mut self, offset: u64, batch: &mut Batch) -> Result<bool, Fault> {
        if let Some(error) = said(&self.said) {
            return Err(Fault::Read(offset, error));
        }
        self.counts.faults += 1;
        if self.stepped_over.len() < FAULTS_KEPT_MAX {
            self.stepped_over.push(SteppedOver { offset, reason: FormatFault::Truncated });
        }
        let kind = SignalKind::Lost { reason: LossReason::Malformed, count: 1 };
        batch.signals.push(Signal { at: self.last, link: 0, kind });
        Ok(false)
    }
}

enum Failed {
    Short,
    Small,
    Fault(FormatFault),
}

fn said(said: &Said) -> Option<std::io::Error> {
    said.lock().ok().and_then(|mut said| said.take())
}

/// What the system said is the reason, if it said anything.
fn said_or(said: &Said, offset: u64, reason: FormatFault) -> Fault {
    self::said(said).map_or(Fault::Format(offset, reason), |error| Fault::Read(offset, error))
}

type State<'s> = (&'s mut Vec<Interface>, &'s mut Timestamp, &'s mut FileCounts);

fn take(block: PcapBlockOwned<'_>, (interfaces, last, counts): State<'_>, batch: &mut Batch) {
    let packet = match &block {
        PcapBlockOwned::LegacyHeader(header) => {
            *interfaces = vec![of_header(header)];
            return;
        }
        PcapBlockOwned::Legacy(packet) => interfaces.first().map(|interface| {
            let units = i128::from(packet.ts_sec) * i128::from(interface.resolution)
                + i128::from(packet.ts_usec);
            let frame = &packet.data[..packet.data.len().min(packet.caplen as usize)];
            Packet { at: interface.time(units), link: 0, link_type: interface.link_type, frame }
        }),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            return;
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
            if interfaces.len() < INTERFACES_MAX {
                interfaces.push(Interface {
                    link_type: described.linktype.0 as u16,
                    resolution: described.ts_resolution().filter(|&r| r > 0).unwrap_or(1_000_000),
                    offset: offset(described),
                });
            }
            return;
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            interfaces.get(packet.if_id as usize).map(|interface| {
                let units = i128::from(packet.ts_high) << 32 | i128::from(packet.ts_low);
                Packet {
                    at: interface.time(units),
                    link: packet.if_id + 1,
                    link_type: interface.link_type,
                    frame: packet.packet_data(),
                }
            })
        }
        // It has no time of its own: it was seen after the packet before it.
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => interfaces.first().map(|interface| {
            let frame = packet.packet_data();
            Packet { at: *last, link: 1, link_type: interface.link_type, frame }
        }),
        PcapBlockOwned::NG(_) => return,
    };
    counts.records += 1;
    match packet {
        Some(packet) => {
            *last = packet.at;
            signal(&packet, counts, batch);
        }
        None => counts.unknown_link += 1,
    }
}

/// The parser reads the offset as little-endian in every section.
fn offset(described: &InterfaceDescriptionBlock<'_>) -> i64 {
    let little = described.block_type == INTERFACE_DESCRIPTION;
    if little { described.ts_offset() } else { described.ts_offset().swap_bytes() }
}

fn of_header(header: &PcapHeader) -> Interface {
    let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
    // The upper half says how long the frame check sequence is, among others.
    Interface { link_type: header.network.0 as u16, resolution, offset: 0 }
}

impl Interface {
    fn time(&self, units: i128) -> Timestamp {
        let nanos = units * NANOS / i128::from(self.resolution) + i128::from(self.offset) * NANOS;
        let bounds = (i128::from(i64::MIN), i128::from(i64::MAX));
        Timestamp(nanos.clamp(bounds.0, bounds.1) as i64)
    }
}

fn signal(packet: &Packet<'_>, counts: &mut FileCounts, batch: &mut Batch) {
    match link::walk(packet.link_type, packet.frame) {
        Some(Walk::Control(control)) => {
            let kind = control_signal(&control, packet.frame, batch);
            batch.signals.push(Signal { at: packet.at, link: packet.link, kind });
        }
        Some(Walk::Other) => counts.skipped += 1,
        Some(Walk::Fragment) => counts.fragments += 1,
        Some(Walk::Truncated) => counts.truncated += 1,
        None => counts.unknown_link += 1,
    }
}

fn control_signal(control: &ControlPacket, frame: &[u8], batch: &mut Batch) -> SignalKind {
    let from = control.payload_offset.min(frame.len());
    let to = control.payload_offset.saturating_add(control.payload_len).min(frame.len());
    let payload = batch.append(&frame[from..to.max(from)]);
    let (src, dst) = (address(control, control.src), address(control, control.dst));
    let direction = Direction::Ingress;
    let datagram = Datagram { src, dst, port: control.dst_port, payload, direction, heard: None };
    let protocol = match control.kind {
        Kind::Bfd => return SignalKind::Bfd(datagram),
        Kind::Ospf => return SignalKind::Ospf(datagram),
        Kind::LdpHello => return SignalKind::LdpHello(datagram),
        Kind::Isis => {
            let [a, b, c, d, e, f, ..] = control.src;
            return SignalKind::Isis(IsisFrame {
                src: [a, b, c, d, e, f],
                payload,
                direction,
                heard: None,
            });
        }
        Kind::Bgp => StreamProtocol::Bgp,
        Kind::Ldp => StreamProtocol::Ldp,
        Kind::Bmp => StreamProtocol::Bmp,
    };
    SignalKind::Segment(Segment {
        protocol,
        src: SocketAddr::new(src, control.src_port),
        dst: SocketAddr::new(dst, control.dst_port),
        seq: control.seq,
        flags: control.tcp_flags,
        gap: None,
        suppressed_bytes: 0,
        wire_len: u32::try_from(control.payload_len).unwrap_or(u32::MAX),
        payload,
        direction,
    })
}

fn address(control: &ControlPacket, octets: [u8; 16]) -> IpAddr {
    match (control.ip_version, octets) {
        (4, [.., a, b, c, d]) => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(octets).into(),
    }
}

#[cfg(test)]
mod tests;
