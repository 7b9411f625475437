//! Owns what crosses the border between the BPF programs and userspace: ring buffer records, map
//! keys and values, counter indices and the version of all of these.
//!
//! It never holds logic: both sides are built from it, so neither can disagree with the other.
//!
//! ```text
//! ring buffer record:  RecordHeader (104 bytes) | payload (0..=CHUNK_LEN bytes)
//! ```
//!
//! **Invariant:** every type is `#[repr(C)]`, of integers only and without implicit padding; sizes
//! and offsets are pinned by assertions at compile time.
#![no_std]

pub mod trace;

use bytemuck::{Pod, Zeroable};
use core::mem::{offset_of, size_of};

/// Version of everything in this crate; raise it with every change of a layout or a meaning.
pub const ABI_VERSION: u32 = 4;
/// Section of the BPF object that holds [`ABI_VERSION`], as four bytes in the target's byte order.
pub const ABI_SECTION: &str = ".rodata.abi";

/// Names of maps and programs in the BPF object.
pub mod names {
    /// Ring buffer of records.
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU counters, see [`crate::counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// The section of [`crate::Passed`].
    pub const PASSED: &str = ".bss";
    /// LRU map of [`crate::FlowKey`] to [`crate::FlowState`].
    pub const FLOWS: &str = "FLOWS";
    /// LRU map of [`crate::BfdKey`] to [`crate::BfdState`].
    pub const BFD_SESSIONS: &str = "BFD_SESSIONS";
    /// LRU map of [`crate::HelloKey`] to [`crate::HelloState`].
    pub const HELLOS: &str = "HELLOS";
    /// XDP program for ingress.
    pub const XDP: &str = "edgelore_xdp";
    /// tcx program for egress.
    pub const TCX_EGRESS: &str = "edgelore_tcx_egress";
    /// tcx program for ingress, where XDP is not wanted.
    pub const TCX_INGRESS: &str = "edgelore_tcx_ingress";
    /// XDP program that only counts, for cards that run it themselves.
    pub const CLASSIFY: &str = "edgelore_classify";
    /// Its array of counters, see [`crate::class`].
    pub const CLASSES: &str = "CLASSES";
    /// XDP program that does nothing, the floor of benches.
    pub const EMPTY: &str = "edgelore_empty";
    /// XDP program that fills the ring, the producer of benches; see [`crate::fill`].
    pub const FILL: &str = "edgelore_fill";
}

/// Payload bytes in one record at most; a power of two. A longer payload travels in several records.
pub const CHUNK_LEN: usize = 4096;
/// Records for one packet at most: 64 KiB of payload.
pub const CHUNKS_MAX: u32 = 16;
/// Ring buffer size in bytes unless configured.
pub const RING_BYTES_DEFAULT: u32 = 8 << 20;
/// Directions of connections whose keepalives are remembered.
pub const FLOWS_MAX: u32 = 16_384;
/// Directions of BFD sessions whose last packet is remembered.
pub const BFD_SESSIONS_MAX: u32 = 16_384;

/// Records that one run of [`names::FILL`] tries to write.
pub const FILL_RECORDS: u32 = 64;
/// A short record of [`names::FILL`], in words of 8 bytes.
pub const FILL_SHORT_WORDS: usize = 8;
/// A long one: a header and the payload of a small UPDATE.
pub const FILL_LONG_WORDS: usize = 24;

/// When [`names::FILL`] wakes the reader.
pub mod fill {
    /// When the reader had read everything before: what the other programs do.
    pub const WAKE_WHEN_CAUGHT_UP: u32 = 0;
    /// Never.
    pub const WAKE_NEVER: u32 = 1;
    /// When the bytes that wait reach a threshold.
    pub const WAKE_AT_CROSSING: u32 = 2;
}

/// CPUs that count in [`Passed`]; any further one counts in [`names::COUNTERS`] alone.
pub const PASSED_CPUS_MAX: usize = 256;
/// Counters of one CPU in [`Passed`]: a cache line, of which the directions have one each.
pub const PASSED_CPU_COUNTERS: usize = 8;
/// Packets that the first look passed, by CPU and direction; they add to [`counter::OTHER`]. Memory
/// whose address is part of the program, since a lookup would cost more than the look itself.
pub type Passed = [[u64; PASSED_CPU_COUNTERS]; PASSED_CPUS_MAX];

/// Hello senders whose last hello is remembered.
pub const HELLOS_MAX: u32 = 16_384;

/// Values of [`RecordHeader::kind`].
pub mod kind {
    /// TCP segment of a BGP connection.
    pub const BGP: u8 = 1;
    /// BFD control packet.
    pub const BFD: u8 = 2;
    /// OSPF packet.
    pub const OSPF: u8 = 3;
    /// IS-IS PDU.
    pub const ISIS: u8 = 4;
    /// TCP segment of an LDP session.
    pub const LDP: u8 = 5;
    /// LDP hello.
    pub const LDP_HELLO: u8 = 6;
}

/// Values of [`RecordHeader::direction`].
pub mod direction {
    /// Into the gateway.
    pub const INGRESS: u8 = 0;
    /// Sent by the gateway.
    pub const EGRESS: u8 = 1;
    /// How many there are.
    pub const COUNT: u32 = 2;
}

/// Bits of [`RecordHeader::flags`].
pub mod flag {
    /// Not the first record of its packet.
    pub const CONTINUED: u16 = 1;
    /// More records of the same packet follow.
    pub const MORE: u16 = 2;
    /// [`crate::RecordHeader::delta`] is filled in: of a stream, a message begins with the payload.
    pub const DELTA: u16 = 4;
    /// [`crate::BgpDelta`]'s three lengths are all known.
    pub const BGP_LENGTHS: u16 = 8;
}

/// Indices into the per-CPU counters; one block of [`counter::COUNT`] per direction.
pub mod counter {
    /// Packets that are not control plane.
    pub const OTHER: u32 = 0;
    /// Packets that are control plane, withheld ones included.
    pub const CONTROL: u32 = 1;
    /// Withheld: segments of one BGP KEEPALIVE.
    pub const KEEPALIVE: u32 = 2;
    /// Withheld: segments without payload, SYN, FIN or RST.
    pub const PURE_ACK: u32 = 3;
    /// Withheld: BFD packets equal to the last of their session.
    pub const BFD_UNCHANGED: u32 = 4;
    /// Withheld: BFD echo packets, whose content is the sender's own affair.
    pub const BFD_ECHO: u32 = 5;
    /// Fragments of packets that may be control plane, not looked into.
    pub const FRAGMENT: u32 = 6;
    /// Packets whose headers cannot be walked to the end.
    pub const TRUNCATED: u32 = 7;
    /// Records put into the ring buffer.
    pub const EMITTED: u32 = 8;
    /// Records lost because the ring buffer was full.
    pub const RING_FULL: u32 = 9;
    /// Control packets that are shorter or longer than could be read: part of the payload is missing.
    pub const CUT: u32 = 10;
    /// Withheld: OSPF hellos equal to the last of their sender.
    pub const OSPF_HELLO_UNCHANGED: u32 = 11;
    /// Withheld: IS-IS hellos equal to the last of their sender.
    pub const ISIS_HELLO_UNCHANGED: u32 = 12;
    /// Withheld: LDP hellos equal to the last of their sender.
    pub const LDP_HELLO_UNCHANGED: u32 = 13;
    /// Withheld: segments of one LDP KeepAlive.
    pub const LDP_KEEPALIVE: u32 = 14;
    /// Records of packets that repeat themselves (hellos), spared because more than three quarters
    /// of the ring buffer waited to be read.
    pub const SHED: u32 = 15;
    /// How many there are; the size of a direction's block.
    pub const COUNT: u32 = 16;
    /// Entries of the map.
    pub const ENTRIES: u32 = COUNT * super::direction::COUNT;

    /// Index of `counter` for `direction`.
    #[inline(always)]
    #[must_use]
    pub const fn index(direction: u8, counter: u32) -> u32 {
        direction as u32 * COUNT + counter
    }
}

/// Indices into [`names::CLASSES`], in packets.
pub mod class {
    /// None of the others.
    pub const OTHER: u32 = 0;
    /// Fragments of packets that may be control plane.
    pub const FRAGMENT: u32 = 1;
    /// Headers that cannot be walked to the end.
    pub const TRUNCATED: u32 = 2;
    /// Tunnels, not looked into.
    pub const TUNNEL: u32 = 3;
    /// BGP.
    pub const BGP: u32 = 4;
    /// BFD, echo packets included.
    pub const BFD: u32 = 5;
    /// OSPF.
    pub const OSPF: u32 = 6;
    /// IS-IS.
    pub const ISIS: u32 = 7;
    /// LDP sessions.
    pub const LDP: u32 = 8;
    /// LDP hellos.
    pub const LDP_HELLO: u32 = 9;
    /// How many there are.
    pub const COUNT: u32 = 10;
}

/// One direction of a connection: the key of [`names::FLOWS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    /// Sender; IPv4 as `::ffff:a.b.c.d`.
    pub src: [u8; 16],
    /// Receiver; IPv4 as `::ffff:a.b.c.d`.
    pub dst: [u8; 16],
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
}

/// What is known of one direction of a connection, and withheld of it: the value of
/// [`names::FLOWS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowState {
    /// When its sender's last message was seen: `CLOCK_MONOTONIC`, nanoseconds.
    pub last_ns: u64,
    /// Bytes of withheld keepalives, modulo 2^32; each counted once however often it was seen.
    pub suppressed_bytes: u32,
    /// Sequence number of the newest keepalive.
    pub last_seq: u32,
    /// The hold time (BGP) or keepalive time (LDP) that its sender proposed, in seconds; 0 when that
    /// was not seen, or none is kept.
    pub hold_time_s: u32,
    /// Zero.
    pub reserved: u32,
}

/// One direction of a BFD session: the key of [`names::BFD_SESSIONS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct BfdKey {
    /// Sender; IPv4 as `::ffff:a.b.c.d`.
    pub src: [u8; 16],
    /// Receiver; IPv4 as `::ffff:a.b.c.d`.
    pub dst: [u8; 16],
    /// The sender's discriminator.
    pub my_discriminator: u32,
}

/// Who sends a hello where: the key of [`names::HELLOS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct HelloKey {
    /// Sender, as in [`FlowKey`].
    pub src: [u8; 16],
    /// Receiver, as in [`FlowKey`].
    pub dst: [u8; 16],
    /// Interface index.
    pub ifindex: u32,
    /// VLAN ids.
    pub vlan: [u16; 2],
    /// See [`kind`].
    pub kind: u8,
    /// IS-IS PDU type; 0 for other protocols.
    pub subtype: u8,
    /// Zero.
    pub reserved: u16,
}

/// What is known of a sender's hellos: the value of [`names::HELLOS`]. Concurrent updates may lose
/// a count, never a change.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct HelloState {
    /// Hash of everything in the last hello that counts.
    pub hash: u64,
    /// When the last one was seen: `CLOCK_MONOTONIC`, nanoseconds.
    pub last_ns: u64,
    /// How many were seen.
    pub count: u64,
}

/// What is known of one direction of a BFD session: the value of [`names::BFD_SESSIONS`].
/// Concurrent updates may lose a count, never a change.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BfdState {
    /// When the last packet was seen: `CLOCK_MONOTONIC`, nanoseconds.
    pub last_ns: u64,
    /// How many were seen, modulo 2^32.
    pub count: u32,
    /// Where they are counted, see [`place`]: a packet passes a gateway in several places.
    pub place: u32,
    /// What the last one said, with [`BFD_POLL_FINAL`] cleared.
    pub delta: BfdDelta,
}

/// One place at which packets are seen: an interface and a direction.
#[inline(always)]
#[must_use]
pub const fn place(ifindex: u32, direction: u8) -> u32 {
    ifindex << 1 | direction as u32
}

/// Bytes of a delta header; shorter ones are followed by zeros.
pub const DELTA_LEN: usize = 24;

/// Delta header of a BGP message; fields as in `edgelore_headers::BgpDelta`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BgpDelta {
    /// Bytes, header included.
    pub message_len: u16,
    /// UPDATE's withdrawn routes, bytes.
    pub withdrawn_len: u16,
    /// UPDATE's path attributes, bytes.
    pub attributes_len: u16,
    /// UPDATE's NLRI, bytes.
    pub nlri_len: u16,
    /// RFC 4271 §4.1.
    pub message_type: u8,
    /// NOTIFICATION's error code.
    pub notification_code: u8,
    /// NOTIFICATION's error subcode.
    pub notification_subcode: u8,
    /// Zero.
    pub reserved: [u8; 13],
}

/// Delta header of a BFD packet; fields as in `edgelore_headers::BfdDelta`. Also a part of
/// [`BfdState`], there with [`BFD_POLL_FINAL`] cleared.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BfdDelta {
    /// 0 AdminDown, 1 Down, 2 Init, 3 Up.
    pub state: u8,
    /// RFC 5880 §4.1.
    pub diag: u8,
    /// Detect Mult.
    pub multiplier: u8,
    /// P, F, C, A, D, M.
    pub flags: u8,
    /// The sender's name for the session.
    pub my_discriminator: u32,
    /// The receiver's name for it.
    pub your_discriminator: u32,
    /// Microseconds.
    pub desired_min_tx_us: u32,
    /// Microseconds.
    pub required_min_rx_us: u32,
    /// Microseconds.
    pub required_min_echo_rx_us: u32,
}

/// Delta header of an OSPF packet; fields as in `edgelore_headers::OspfDelta`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct OspfDelta {
    /// 2 or 3.
    pub version: u8,
    /// RFC 2328 §A.3.1.
    pub packet_type: u8,
    /// 1 when an update's first LSA is withdrawn.
    pub max_age: u8,
    /// Zero.
    pub reserved: u8,
    /// Who sent it.
    pub router_id: u32,
    /// Hello's, seconds.
    pub dead_interval_s: u32,
    /// LSAs in an update.
    pub lsa_count: u32,
    /// Hello's, seconds.
    pub hello_interval_s: u16,
    /// LS age of an update's first LSA, seconds.
    pub lsa_age_s: u16,
    /// LS type of an update's first LSA.
    pub lsa_type: u16,
    /// Zero.
    pub reserved_end: u16,
}

/// Delta header of an IS-IS PDU; fields as in `edgelore_headers::IsisDelta`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct IsisDelta {
    /// ISO 10589 §9.
    pub pdu_type: u8,
    /// 1 when an LSP's overload bit is set.
    pub overload: u8,
    /// Hello's, seconds.
    pub holding_time_s: u16,
    /// LSP's, seconds.
    pub remaining_lifetime_s: u16,
    /// Zero.
    pub reserved: u16,
    /// LSP id, or a hello's system id and two zeros.
    pub id: [u8; 8],
    /// LSP's sequence number.
    pub sequence: u32,
    /// Zero.
    pub reserved_end: u32,
}

/// Delta header of an LDP PDU; fields as in `edgelore_headers::LdpDelta`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct LdpDelta {
    /// Bytes after the PDU length field.
    pub pdu_len: u16,
    /// RFC 5036 §3.5.
    pub message_type: u16,
    /// Bytes after the message length field.
    pub message_len: u16,
    /// Zero.
    pub reserved: u16,
    /// The sender's router id.
    pub lsr_id: u32,
    /// Zero.
    pub reserved_end: [u32; 3],
}

/// The P and F bits in [`BfdDelta::flags`]: they ask and answer, and change nothing by themselves.
pub const BFD_POLL_FINAL: u8 = 0x30;

/// What precedes the payload in a ring buffer record; numbers in the machine's byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RecordHeader {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ktime_ns: u64,
    /// Who speaks to whom.
    pub flow: FlowKey,
    /// Interface index.
    pub ifindex: u32,
    /// Sequence number of the first payload byte of this record (of the SYN when SYN is set). Of
    /// BFD packets and hellos how many of their sender were seen so far, modulo 2^32.
    pub seq: u32,
    /// Payload length on the wire in bytes that this record stands for.
    pub wire_len: u32,
    /// Payload bytes that follow, at most [`CHUNK_LEN`]; fewer than `wire_len` when the rest could
    /// not be read.
    pub payload_len: u32,
    /// [`FlowState::suppressed_bytes`] of this direction when the record was made. Of BFD packets
    /// and hellos the time since their sender's last one in microseconds, 0 when that is not known.
    pub suppressed_bytes: u32,
    /// VLAN ids, the outer first; 0 where there is no tag.
    pub vlan: [u16; 2],
    /// See [`kind`].
    pub kind: u8,
    /// See [`direction`].
    pub direction: u8,
    /// 4 or 6; 0 for IS-IS, whose hardware addresses stand in the first six octets of `flow`'s.
    pub ip_version: u8,
    /// RFC 9293 §3.1; of a packet in several records, SYN stands in the first, FIN and RST in the last.
    pub tcp_flags: u8,
    /// See [`flag`].
    pub flags: u16,
    /// Zero.
    pub reserved: u16,
    /// Of a lone keepalive that came late the time since its sender's last message, in milliseconds;
    /// 0 of everything else.
    pub gap_ms: u32,
    /// Valid with [`flag::DELTA`]: the delta header of `kind`, see [`RecordHeader::bgp`] and the like.
    pub delta: [u8; DELTA_LEN],
}

impl RecordHeader {
    /// The delta header of a BGP message that begins with the payload.
    #[must_use]
    pub fn bgp(&self) -> Option<BgpDelta> {
        self.delta_of(&[kind::BGP])
    }

    /// The delta header of a BFD packet.
    #[must_use]
    pub fn bfd(&self) -> Option<BfdDelta> {
        self.delta_of(&[kind::BFD])
    }

    /// The delta header of an OSPF packet.
    #[must_use]
    pub fn ospf(&self) -> Option<OspfDelta> {
        self.delta_of(&[kind::OSPF])
    }

    /// The delta header of an IS-IS PDU.
    #[must_use]
    pub fn isis(&self) -> Option<IsisDelta> {
        self.delta_of(&[kind::ISIS])
    }

    /// The delta header of an LDP PDU, in a session or in a hello.
    #[must_use]
    pub fn ldp(&self) -> Option<LdpDelta> {
        self.delta_of(&[kind::LDP, kind::LDP_HELLO])
    }

    /// Sets the delta header, one of the types of this crate that have [`DELTA_LEN`] bytes.
    #[inline(always)]
    pub fn set_delta<T: Pod>(&mut self, delta: T) {
        const { assert!(size_of::<T>() == DELTA_LEN) };
        self.delta = bytemuck::cast(delta);
        self.flags |= flag::DELTA;
    }

    fn delta_of<T: Pod>(&self, kinds: &[u8]) -> Option<T> {
        let there = self.flags & flag::DELTA != 0 && kinds.contains(&self.kind);
        there.then(|| bytemuck::pod_read_unaligned(&self.delta))
    }
}

const _: () = {
    assert!(size_of::<FlowKey>() == 36);
    assert!(size_of::<FlowState>() == 24);
    assert!(size_of::<BfdKey>() == 36);
    assert!(size_of::<HelloKey>() == 44);
    assert!(size_of::<HelloState>() == 24);
    assert!(size_of::<BgpDelta>() == DELTA_LEN);
    assert!(size_of::<BfdState>() == 16 + DELTA_LEN);
    assert!(size_of::<BfdDelta>() == DELTA_LEN);
    assert!(size_of::<OspfDelta>() == DELTA_LEN);
    assert!(size_of::<IsisDelta>() == DELTA_LEN);
    assert!(size_of::<LdpDelta>() == DELTA_LEN);
    assert!(offset_of!(RecordHeader, flow) == 8);
    assert!(offset_of!(RecordHeader, ifindex) == 44);
    assert!(offset_of!(RecordHeader, seq) == 48);
    assert!(offset_of!(RecordHeader, wire_len) == 52);
    assert!(offset_of!(RecordHeader, payload_len) == 56);
    assert!(offset_of!(RecordHeader, suppressed_bytes) == 60);
    assert!(offset_of!(RecordHeader, vlan) == 64);
    assert!(offset_of!(RecordHeader, kind) == 68);
    assert!(offset_of!(RecordHeader, flags) == 72);
    assert!(offset_of!(RecordHeader, gap_ms) == 76);
    assert!(offset_of!(RecordHeader, delta) == 80);
    assert!(size_of::<RecordHeader>() == 104);
    assert!(CHUNK_LEN.is_power_of_two());
};

/// Bytes of a record before its payload.
pub const RECORD_HEADER_LEN: usize = size_of::<RecordHeader>();
