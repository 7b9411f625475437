//! Raw signals: what capture hands to the pipeline.
//!
//! Signals travel in [`Batch`]es: the payload bytes of all signals of a batch lie in one arena,
//! so that the ring buffer is copied once and nothing is allocated per packet.

use crate::{
    Direction, KernelEvent, NeighbourChange, Prefix, QueueSample, SessionKey, Span, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// TCP flag bits (RFC 9293 §3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
}

/// Where a signal's payload lies in its batch's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadRef {
    /// First byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Signals in the order in which they were captured, with one arena for their payloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The signals.
    pub signals: Vec<Signal>,
    /// Payload bytes, addressed by [`PayloadRef`].
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Copies `payload` into the arena. An arena never grows past 4 GiB: a batch is cut long before.
    pub fn append(&mut self, payload: &[u8]) -> PayloadRef {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(payload);
        PayloadRef { start, len: payload.len() as u32 }
    }

    /// The bytes that `payload` names; empty if it names none of this batch.
    #[must_use]
    pub fn payload(&self, payload: PayloadRef) -> &[u8] {
        let start = payload.start as usize;
        self.bytes.get(start..start + payload.len as usize).unwrap_or_default()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.signals.clear();
        self.bytes.clear();
    }
}

/// One raw signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// When it was seen, at the point of capture.
    pub at: Timestamp,
    /// Kernel interface index; 0 where there is none (a file without one).
    pub link: u32,
    /// What was seen.
    pub kind: SignalKind,
}

/// What a signal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// A TCP segment of a control-plane connection.
    Segment(Segment),
    /// A BFD packet (UDP).
    Bfd(Datagram),
    /// An OSPF packet (IP protocol 89; the ports are 0).
    Ospf(Datagram),
    /// An LDP hello (UDP).
    LdpHello(Datagram),
    /// An IS-IS PDU (LLC).
    Isis(IsisFrame),
    /// A whole BMP message of a router that this gateway listens to.
    Bmp(BmpMessage),
    /// A monitored router's connection opened or closed.
    BmpRouter(BmpRouter),
    /// A whole BGP message whose session is known (MRT, BMP).
    Message(WholeMessage),
    /// A session's state as a collector recorded it (MRT BGP4MP_STATE_CHANGE).
    Peer(PeerState),
    /// A record of a table dump (MRT TABLE_DUMP, TABLE_DUMP_V2): what a collector held, not a change.
    Table(TableRecord),
    /// A link appeared, vanished or changed.
    Link(LinkChange),
    /// The kernel's forwarding table changed.
    Fib(FibChange),
    /// Interface counters, sampled.
    Counters(CounterSample),
    /// A queueing discipline of the link changed or was sampled.
    Queue(QueueSample),
    /// A neighbour on the link changed.
    Neighbour(NeighbourChange),
    /// The gateway's own kernel reported something.
    Kernel(KernelEvent),
    /// Signals were lost before this point.
    Lost {
        /// Where.
        reason: LossReason,
        /// How many signals.
        count: u64,
    },
    /// From here on, times count in steps of this, as where a collector writes whole seconds: what
    /// is said to be at a time came no earlier, and less than a step later.
    Granularity(Span),
    /// Nothing happened until now: lets time pass in a quiet network.
    Tick,
}

/// What a TCP connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamProtocol {
    /// Port 179.
    #[default]
    Bgp,
    /// Port 646.
    Ldp,
    /// A monitored router's BMP connection, found in a capture (port 1790).
    Bmp,
}

/// A TCP segment (or a part of one: a long segment may arrive cut, each part with its own `seq`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What the connection carries.
    pub protocol: StreamProtocol,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Sequence number of the first payload byte (of the SYN itself when SYN is set).
    pub seq: u32,
    /// Flags, see [`tcp_flags`].
    pub flags: u8,
    /// Of a lone keepalive that the kernel handed over because it came late: the time since its
    /// sender's last message. `None` where each keepalive is a signal.
    pub gap: Option<Span>,
    /// Bytes of keepalives that the kernel has withheld so far in this direction of the
    /// connection, modulo 2^32. Always 0 from a file.
    pub suppressed_bytes: u32,
    /// Payload length on the wire in bytes; more than captured when the capture was cut short.
    pub wire_len: u32,
    /// Payload as captured.
    pub payload: PayloadRef,
    /// Which way it passed.
    pub direction: Direction,
}

/// A control-plane packet that stands for itself: BFD, OSPF, an LDP hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    /// UDP destination port, such as 3784; 0 without UDP.
    pub port: u16,
    /// What follows the UDP header, or the IP header without UDP, as captured.
    pub payload: PayloadRef,
    /// Which way it passed.
    pub direction: Direction,
    /// What the kernel noted of this sender's heartbeats; `None` where each of them is a signal.
    pub heard: Option<Heard>,
}

/// An IS-IS PDU over IEEE 802.2 LLC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsisFrame {
    /// Sender's hardware address; stays on the gateway. Zero where the link has none.
    pub src: [u8; 6],
    /// The PDU from its discriminator (0x83) on, as captured.
    pub payload: PayloadRef,
    /// Which way it passed.
    pub direction: Direction,
    /// What the kernel noted of this sender's heartbeats; `None` where each of them is a signal.
    pub heard: Option<Heard>,
}

/// What is known of a sender's heartbeats (BFD packets, hellos) where those that change nothing
/// are withheld.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Time since the one before; zero when this is the first.
    pub gap: Span,
    /// Heartbeats seen so far, this one included, modulo 2^32.
    pub count: u32,
}

/// A whole BMP message (RFC 7854 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmpMessage {
    /// The monitored router's end of the connection.
    pub router: SocketAddr,
    /// The message, common header included.
    pub payload: PayloadRef,
}

/// A monitored router's connection to this gateway's BMP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BmpRouter {
    /// The monitored router's end of the connection.
    pub router: SocketAddr,
    /// It opened (false: it closed).
    pub connected: bool,
}

/// A whole BGP message with header, from a source that knows the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeMessage {
    /// The router that sent the message.
    pub speaker: IpAddr,
    /// The router (or collector) that received it.
    pub listener: IpAddr,
    /// AS numbers in AS_PATH take four octets (RFC 6793).
    pub as4: bool,
    /// NLRI carry path identifiers (RFC 7911), as the source's record type says.
    pub add_path: bool,
    /// The message, marker included.
    pub payload: PayloadRef,
}

/// The body of one record of a table dump (RFC 6396 §4.2 and §4.3, RFC 8050 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRecord {
    /// Type: 12 for TABLE_DUMP, 13 for TABLE_DUMP_V2.
    pub kind: u16,
    /// Subtype.
    pub subtype: u16,
    /// The body, without the MRT header.
    pub payload: PayloadRef,
}

/// A session's state change as recorded by a collector (RFC 6396 §4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// The session.
    pub session: SessionKey,
    /// The collector's peer.
    pub peer: IpAddr,
    /// Former state, 1 (Idle) to 6 (Established); collectors write others too.
    pub old: u16,
    /// New state.
    pub new: u16,
}

/// A link's operational state (`ifOperStatus`, RFC 2863 §3.1.12 to §3.1.14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperState {
    /// The driver does not say; `carrier` tells what is known.
    #[default]
    Unknown,
    /// A component, typically hardware, is missing.
    NotPresent,
    /// Cannot pass packets.
    Down,
    /// Down because a link that it runs over is down.
    LowerLayerDown,
    /// In a test mode: passes no operational packets.
    Testing,
    /// Waits for an external event, such as authentication.
    Dormant,
    /// Passes packets.
    Up,
}

/// A link as rtnetlink reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkChange {
    /// Interface name; stays on the gateway.
    pub name: String,
    /// The interface exists (false: it was removed).
    pub present: bool,
    /// Administratively up.
    pub admin_up: bool,
    /// Lower layer up.
    pub carrier: bool,
    /// Operational state; after a removal [`OperState::NotPresent`].
    pub oper: OperState,
    /// Largest packet in octets, without the link's header; 0 where the kernel does not say.
    pub mtu: u32,
}

/// What happened to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FibAction {
    /// Found in the table when capture started or resynchronised: not a change.
    Present,
    /// Added or replaced.
    Set,
    /// Removed.
    Deleted,
}

/// One next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// Gateway address; `None` for a directly connected route.
    pub via: Option<IpAddr>,
    /// Outgoing interface index.
    pub link: u32,
}

/// A change of the kernel's forwarding table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibChange {
    /// The prefix.
    pub prefix: Prefix,
    /// Routing table (254 = main).
    pub table: u32,
    /// What happened.
    pub action: FibAction,
    /// The next hops that hold from now on, resolved through next-hop groups; empty after a removal.
    pub next_hops: Vec<NextHop>,
    /// The change is not older than this: the last moment at which the source had read
    /// everything that the kernel had to say.
    pub not_before: Timestamp,
}

/// Interface counters at one moment, as the kernel keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterSample {
    /// Packets received since the interface exists.
    pub rx_packets: u64,
    /// Packets sent since the interface exists.
    pub tx_packets: u64,
    /// Packets that came in damaged or could not be taken in since the interface exists.
    #[serde(default)]
    pub rx_errors: u64,
    /// Packets that could not be sent since the interface exists.
    #[serde(default)]
    pub tx_errors: u64,
}

/// Where signals can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The kernel's ring buffer was full.
    RingFull,
    /// The kernel's ring buffer was nearly full, and the packet repeats itself.
    Shed,
    /// A queue between threads was full.
    QueueFull,
    /// The kernel dropped netlink messages (ENOBUFS); the source resynchronised.
    NetlinkOverrun,
    /// A record did not have the agreed form.
    Malformed,
}
