//! Owns what happens to a control-plane packet: withhold and count it when it changes nothing,
//! otherwise send it to userspace with its payload. Shared by XDP and tcx.
//!
//! **Invariant:** what is withheld can be told from what is lost: withheld keepalive bytes are
//! summed per direction of a connection and travel with every later record of it, a keepalive that
//! is late is not withheld, and the last BFD
//! packet is remembered only once its record is in the ring.

use crate::hello::{hello, note};
use crate::maps::{
    BFD_SESSIONS, EVENTS, FLOWS, Scratch, add, count, count_passed, first_time, notice, scratch,
};
use crate::outline::outline;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_ANY, BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_query};
use aya_log_ebpf::warn;
use core::ffi::c_void;
use core::hint::black_box;
use edgelore_events::{
    BFD_POLL_FINAL, BfdDelta, BfdKey, BfdState, CHUNK_LEN, CHUNKS_MAX, DELTA_LEN, FlowKey,
    FlowState, RECORD_HEADER_LEN, RecordHeader, counter, flag, kind, place,
};
use edgelore_headers::{
    BFD_CONTROL_LEN, Bytes, ControlPacket, KEEPALIVE_LEN, Kind, LDP_KEEPALIVE_LEN, Pace, Scope,
    Verdict, bfd_delta, is_lone_keepalive, is_lone_ldp_keepalive, is_other, port,
    proposed_hold_time_s, tcp_flags,
};

/// Segments that begin or end a connection are always sent.
const SESSION_FLAGS: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
/// Headers never reach further than this into a frame; the verifier wants to know.
const HEADER_OFFSET_MAX: usize = 0x3fff;
/// A keepalive seen again lies at most this far behind the newest, in bytes of sequence space.
const REPEAT_WINDOW: u32 = 1 << 20;

/// A packet as its hook presents it.
pub(crate) trait Frame: Bytes + EbpfContext {
    /// One of `edgelore_events::direction`.
    const DIRECTION: u8;
    /// The program's scratch memory.
    const SLOT: u32;

    fn ifindex(&self) -> u32;

    /// A VLAN id that the stack took out of the frame; 0 when there is none.
    #[inline(always)]
    fn offloaded_vlan(&self) -> u16 {
        0
    }

    /// Sends the packet that scratch memory describes, see [`emit`]: a global function.
    fn send(&self) -> bool;

    /// Copies `len` packet bytes at `offset`, wherever they lie; false when they are not all there.
    ///
    /// # Safety
    /// `to` is valid for writing `len` bytes, and `len` is not 0.
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool;
}

/// Gives back what it takes. The verifier knows nothing of what a global function returns.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edgelore_forget(number: u64) -> u64 {
    black_box(number)
}

/// A number of which the verifier knows no more than that it is one: it then follows what comes
/// after once, not once for each way in which the number came about.
#[inline(always)]
pub(crate) fn forget(number: usize) -> usize {
    edgelore_forget(number as u64) as usize
}

/// The two steps of the walk over one way of reading a packet, as global functions: the verifier
/// follows each once, whatever led to it. They take and leave what they find in scratch memory, and
/// return a `Verdict`.
macro_rules! steps {
    ($frame:ty, $slot:expr, $context:ty, $of:expr, $step:ident, $inner:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $step(ctx: *mut $context) -> i32 {
            let of: fn(*mut $context) -> $frame = $of;
            let Some(scratch) = $crate::maps::scratch($slot) else { return Verdict::Other as i32 };
            step_ethernet(&of(ctx), Scope::Gateway, &mut scratch.found) as i32
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $inner(ctx: *mut $context) -> i32 {
            let of: fn(*mut $context) -> $frame = $of;
            let Some(scratch) = $crate::maps::scratch($slot) else { return Verdict::Other as i32 };
            let inner = scratch.found.inner;
            step_inner(&of(ctx), &inner, Scope::Gateway, &mut scratch.found) as i32
        }
    };
}
pub(crate) use steps;

/// `N` bytes at `offset` of the packet memory between `start` and `end`, as a hook's context
/// states them.
#[inline(always)]
pub(crate) fn octets<const N: usize>(start: usize, end: usize, offset: usize) -> Option<[u8; N]> {
    if offset > HEADER_OFFSET_MAX {
        return None;
    }
    let at = start + offset;
    if at + N > end {
        return None;
    }
    // SAFETY: the `N` bytes at `at` lie before the packet's end, which the verifier checks again.
    Some(unsafe { (at as *const [u8; N]).read_unaligned() })
}

/// Counts the packet when it is plainly none of ours; false when that takes the whole walk to say.
#[inline(always)]
pub(crate) fn first_look<F: Frame>(frame: &F) -> bool {
    let other = is_other(frame, Scope::Gateway);
    if other {
        count_passed(F::DIRECTION);
    }
    other
}

/// Counts what was walked. True when it is control plane that has to be looked into.
#[inline(always)]
pub(crate) fn observe<F: Frame>(verdict: i32) -> bool {
    const FRAGMENT: i32 = Verdict::Fragment as i32;
    const TRUNCATED: i32 = Verdict::Truncated as i32;
    const CONTROL: i32 = Verdict::Control as i32;
    let which = match verdict {
        CONTROL => counter::CONTROL,
        FRAGMENT => counter::FRAGMENT,
        TRUNCATED => counter::TRUNCATED,
        _ => counter::OTHER,
    };
    count(F::DIRECTION, which);
    verdict == CONTROL
}

/// The headers alone say that nothing changes.
#[inline(always)]
fn is_empty<F: Frame>(packet: &ControlPacket) -> bool {
    let session = packet.tcp_flags & SESSION_FLAGS != 0;
    if is_stream(packet.kind) && packet.payload_len == 0 && !session {
        count(F::DIRECTION, counter::PURE_ACK);
        return true;
    }
    if packet.dst_port == port::BFD_ECHO && matches!(packet.kind, Kind::Bfd) {
        count(F::DIRECTION, counter::BFD_ECHO);
        return true;
    }
    false
}

const fn is_stream(kind: Kind) -> bool {
    matches!(kind, Kind::Bgp | Kind::Ldp | Kind::Bmp)
}

/// Withholds or sends the control packet that the walk left in scratch memory.
#[inline(always)]
pub(crate) fn control<F: Frame>(frame: &F) {
    let Some(scratch) = scratch(F::SLOT) else { return };
    let packet = &scratch.found.packet;
    if is_empty::<F>(packet) {
        return;
    }
    describe(frame, packet, &mut scratch.header);
    scratch.packet.payload_offset = packet.payload_offset as u32;
    scratch.packet.payload_len = packet.payload_len as u32;
    scratch.packet.seq = packet.seq;
    scratch.packet.tcp_flags = u32::from(packet.tcp_flags);
    (scratch.packet.emitted, scratch.packet.lost, scratch.packet.cut) = (0, 0, 0);
    (scratch.packet.shed, scratch.packet.repeats) = (0, 0);
    match scratch.header.kind {
        kind::BGP | kind::LDP => stream(frame, scratch),
        kind::BFD => bfd(frame, scratch),
        _ => hello(frame, scratch),
    }
}

/// Fills in everything that does not depend on the payload.
#[inline(always)]
fn describe<F: Frame>(frame: &F, packet: &ControlPacket, header: &mut RecordHeader) {
    // SAFETY: the helper has no preconditions.
    header.ktime_ns = unsafe { bpf_ktime_get_ns() };
    header.flow.src = packet.src;
    header.flow.dst = packet.dst;
    header.flow.src_port = packet.src_port;
    header.flow.dst_port = packet.dst_port;
    header.ifindex = frame.ifindex();
    header.suppressed_bytes = 0;
    let offloaded = frame.offloaded_vlan();
    let [outer, inner] = packet.vlan;
    header.vlan = if offloaded == 0 { [outer, inner] } else { [offloaded, outer] };
    header.kind = match packet.kind {
        Kind::Bgp => kind::BGP,
        Kind::Bfd => kind::BFD,
        Kind::Ospf => kind::OSPF,
        Kind::Isis => kind::ISIS,
        Kind::Ldp => kind::LDP,
        Kind::LdpHello => kind::LDP_HELLO,
        // Outside of this scope: the walk never says so.
        Kind::Bmp => 0,
    };
    header.direction = F::DIRECTION;
    header.ip_version = packet.ip_version;
    header.flags = 0;
    header.reserved = 0;
    header.gap_ms = 0;
    header.delta = [0; DELTA_LEN];
}

/// A segment of a BGP or LDP connection.
#[inline(always)]
fn stream<F: Frame>(frame: &F, scratch: &mut Scratch) {
    let tcp_flags = scratch.packet.tcp_flags as u8;
    if tcp_flags & tcp_flags::SYN != 0 {
        // A new connection: nothing of it has been withheld. Absence is fine.
        let _absent = FLOWS.remove(&scratch.header.flow);
    }
    if tcp_flags & SESSION_FLAGS == 0 {
        let len = scratch.packet.payload_len;
        if scratch.header.kind == kind::BGP {
            if len == KEEPALIVE_LEN as u32
                && load::<KEEPALIVE_LEN, F>(frame, scratch)
                && is_lone_keepalive(&Loaded { payload: &scratch.payload, len: KEEPALIVE_LEN })
            {
                return keepalive(frame, scratch, counter::KEEPALIVE);
            }
        } else if len == LDP_KEEPALIVE_LEN as u32
            && load::<LDP_KEEPALIVE_LEN, F>(frame, scratch)
            && is_lone_ldp_keepalive(&Loaded { payload: &scratch.payload, len: LDP_KEEPALIVE_LEN })
        {
            return keepalive(frame, scratch, counter::LDP_KEEPALIVE);
        }
    }
    if let Some(state) = FLOWS.get_ptr_mut(&scratch.header.flow) {
        // SAFETY: the map returned a valid pointer; a concurrent change is another segment's.
        let state = unsafe { &mut *state };
        scratch.header.suppressed_bytes = state.suppressed_bytes;
        state.last_ns = scratch.header.ktime_ns;
    }
    frame.send();
    note_hold_time(scratch);
}

/// Withholds a lone keepalive unless it came late. It counts once however often it is seen: a
/// retransmission, or the same packet on its way in and out of the gateway, adds nothing.
#[inline(always)]
fn keepalive<F: Frame>(frame: &F, scratch: &mut Scratch, which: u32) {
    let (last_ns, last_seq) = (scratch.header.ktime_ns, scratch.packet.seq);
    let len = scratch.packet.payload_len;
    let Some(state) = FLOWS.get_ptr_mut(&scratch.header.flow) else {
        let state =
            FlowState { last_ns, suppressed_bytes: len, last_seq, hold_time_s: 0, reserved: 0 };
        // An LRU map makes room by itself; when it cannot, the decoder sees a gap and resynchronises.
        let _full = FLOWS.insert(&scratch.header.flow, &state, u64::from(BPF_ANY));
        return count(F::DIRECTION, which);
    };
    // SAFETY: the map returned a valid pointer; one direction of one connection is rarely seen by
    // two CPUs at once, and a lost addition then shows as a gap, never as wrong data.
    let state = unsafe { &mut *state };
    if state.last_seq.wrapping_sub(last_seq) >= REPEAT_WINDOW {
        let gap_ns = last_ns.saturating_sub(state.last_ns);
        (state.last_ns, state.last_seq) = (last_ns, last_seq);
        if Pace::holding(hold_time_s(&scratch.header.flow, state.hold_time_s)).is_late(gap_ns) {
            scratch.header.gap_ms = (gap_ns / 1_000_000) as u32;
            scratch.header.suppressed_bytes = state.suppressed_bytes;
            if frame.send() {
                return;
            }
        }
        state.suppressed_bytes = state.suppressed_bytes.wrapping_add(len);
    }
    count(F::DIRECTION, which);
}

/// What both ends of a connection hold to, in seconds; 0 while one of them is not known.
#[inline(always)]
fn hold_time_s(flow: &FlowKey, own_s: u32) -> u16 {
    let back =
        FlowKey { src: flow.dst, dst: flow.src, src_port: flow.dst_port, dst_port: flow.src_port };
    // SAFETY: one number is copied out; it changes with a new connection only.
    let other_s = unsafe { FLOWS.get(&back) }.map_or(0, |state| state.hold_time_s);
    (if own_s < other_s { own_s } else { other_s }) as u16
}

/// Notes the hold time that an OPEN or an Initialization proposes, which was just sent.
#[inline(always)]
fn note_hold_time(scratch: &mut Scratch) {
    let header = &scratch.header;
    if header.flags & flag::DELTA == 0 {
        return;
    }
    let loaded = Loaded { payload: &scratch.payload, len: header.payload_len as usize };
    let Some(proposed) = proposed_hold_time_s(&loaded, header.kind == kind::LDP) else { return };
    let hold_time_s = u32::from(proposed);
    if let Some(state) = FLOWS.get_ptr_mut(&header.flow) {
        // SAFETY: the map returned a valid pointer; nobody else writes this field meanwhile.
        unsafe { (*state).hold_time_s = hold_time_s };
        return;
    }
    let (last_ns, last_seq) = (header.ktime_ns, header.seq);
    let state = FlowState { last_ns, suppressed_bytes: 0, last_seq, hold_time_s, reserved: 0 };
    let _full = FLOWS.insert(&header.flow, &state, u64::from(BPF_ANY));
}

#[inline(always)]
fn bfd<F: Frame>(frame: &F, scratch: &mut Scratch) {
    let known = scratch.packet.payload_len >= BFD_CONTROL_LEN as u32
        && load::<BFD_CONTROL_LEN, F>(frame, scratch);
    let loaded = Loaded { payload: &scratch.payload, len: if known { BFD_CONTROL_LEN } else { 0 } };
    let Some(delta) = bfd_delta(&loaded, 0) else {
        // Not a control packet as RFC 5880 has it: userspace counts it as undecodable.
        frame.send();
        return;
    };
    let delta = BfdDelta {
        state: delta.state,
        diag: delta.diag,
        multiplier: delta.multiplier,
        flags: delta.flags,
        my_discriminator: delta.my_discriminator,
        your_discriminator: delta.your_discriminator,
        desired_min_tx_us: delta.desired_min_tx_us,
        required_min_rx_us: delta.required_min_rx_us,
        required_min_echo_rx_us: delta.required_min_echo_rx_us,
    };
    scratch.header.set_delta(delta);
    scratch.packet.repeats = 1;
    let key = BfdKey {
        src: scratch.header.flow.src,
        dst: scratch.header.flow.dst,
        my_discriminator: delta.my_discriminator,
    };
    let now_ns = scratch.header.ktime_ns;
    let lasting = BfdDelta { flags: delta.flags & !BFD_POLL_FINAL, ..delta };
    let here = place(scratch.header.ifindex, F::DIRECTION);
    let mut state = BfdState { last_ns: now_ns, count: 1, place: here, delta: lasting };
    if let Some(last) = BFD_SESSIONS.get_ptr_mut(&key) {
        // SAFETY: the map returned a valid pointer. Another CPU may change the value meanwhile: a
        // count is lost then, and a torn read costs one redundant record.
        let last = unsafe { &mut *last };
        let pace = bfd_pace(&key, &delta);
        let gap_ns = now_ns.saturating_sub(last.last_ns);
        let unchanged = same(&last.delta, &lasting);
        // The same packet passes a gateway in two places, one right after the other.
        if last.place != here && gap_ns < pace.interval_ns / 2 {
            if unchanged {
                return count(F::DIRECTION, counter::BFD_UNCHANGED);
            }
            (state.last_ns, state.count, state.place) = (last.last_ns, last.count, last.place);
        } else {
            state.count = last.count.wrapping_add(1);
            note(scratch, gap_ns, state.count);
            (last.last_ns, last.count, last.place) = (now_ns, state.count, here);
            if unchanged && !pace.is_late(gap_ns) {
                return count(F::DIRECTION, counter::BFD_UNCHANGED);
            }
        }
    } else {
        note(scratch, 0, 1);
    }
    if frame.send() {
        // Remembered only now: a change whose record was lost is sent again with the next packet.
        let _full = BFD_SESSIONS.insert(&key, &state, u64::from(BPF_ANY));
    }
}

/// How often the packets of this sender come (RFC 5880 §6.8.7). While its neighbour is not known it
/// is what the sender wants: then packets count as late that may not be, and userspace judges.
#[inline(always)]
fn bfd_pace(key: &BfdKey, delta: &BfdDelta) -> Pace {
    let neighbour =
        BfdKey { src: key.dst, dst: key.src, my_discriminator: delta.your_discriminator };
    // SAFETY: one number is copied out; a concurrent change of it costs a redundant record.
    let wanted_us =
        unsafe { BFD_SESSIONS.get(&neighbour) }.map_or(0, |state| state.delta.required_min_rx_us);
    let own_us = delta.desired_min_tx_us;
    Pace::bfd(if own_us > wanted_us { own_us } else { wanted_us }, delta.multiplier)
}

/// Field by field: comparing as bytes would become a call of `memcmp`.
#[inline(always)]
fn same(a: &BfdDelta, b: &BfdDelta) -> bool {
    a.state == b.state
        && a.diag == b.diag
        && a.multiplier == b.multiplier
        && a.flags == b.flags
        && a.your_discriminator == b.your_discriminator
        && a.desired_min_tx_us == b.desired_min_tx_us
        && a.required_min_rx_us == b.required_min_rx_us
        && a.required_min_echo_rx_us == b.required_min_echo_rx_us
}

/// The payload as far as it was loaded into scratch memory.
pub(crate) struct Loaded<'a> {
    pub(crate) payload: &'a [u8; CHUNK_LEN],
    pub(crate) len: usize,
}

impl Bytes for Loaded<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn octets<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // The verifier must see the bound on the very register that is added to the pointer.
        let offset = black_box(offset);
        if offset > CHUNK_LEN - N || offset + N > self.len {
            return None;
        }
        // SAFETY: `offset + N` does not exceed the array.
        Some(unsafe { self.payload.as_ptr().add(offset).cast::<[u8; N]>().read_unaligned() })
    }
}

/// Loads the first `N` payload bytes.
#[inline(always)]
pub(crate) fn load<const N: usize, F: Frame>(frame: &F, scratch: &mut Scratch) -> bool {
    let offset = scratch.packet.payload_offset;
    // SAFETY: `N` is neither 0 nor larger than the payload array.
    unsafe { frame.load(offset, scratch.payload.as_mut_ptr(), N as u32) }
}

/// Sends the packet that scratch memory describes as one record, or as several when its payload
/// exceeds a chunk. True when all of them got into the ring.
#[inline(always)]
pub(crate) fn emit<F: Frame>(frame: &F) -> bool {
    let Some(scratch) = scratch(F::SLOT) else { return false };
    let in_frame = (frame.length() as u32).saturating_sub(scratch.packet.payload_offset);
    let wire_len = scratch.packet.payload_len;
    let readable = if wire_len < in_frame { wire_len } else { in_frame };
    let mut sent = 0u32;
    for chunk in 0..CHUNKS_MAX {
        let left = readable.wrapping_sub(sent);
        let len = if left < CHUNK_LEN as u32 { left } else { CHUNK_LEN as u32 };
        let last = len == left || chunk + 1 == CHUNKS_MAX;
        let loaded = len == 0 || load_chunk(frame, scratch, sent, len);
        scratch.header.wire_len = if last { wire_len.wrapping_sub(sent) } else { len };
        scratch.header.payload_len = if loaded { len } else { 0 };
        position(scratch, sent, last);
        if sent == 0 {
            outline(scratch);
        }
        output(scratch);
        if last {
            break;
        }
        sent += len;
    }
    settle::<F>(scratch)
}

#[inline(always)]
pub(crate) fn load_chunk<F: Frame>(frame: &F, scratch: &mut Scratch, sent: u32, len: u32) -> bool {
    // `len` lies in 1..=CHUNK_LEN already; this form shows the verifier that it does.
    let len = (black_box(len).wrapping_sub(1) & (CHUNK_LEN as u32 - 1)) + 1;
    let offset = scratch.packet.payload_offset.wrapping_add(sent);
    // SAFETY: `len` is neither 0 nor larger than the payload array.
    unsafe { frame.load(offset, scratch.payload.as_mut_ptr(), len) }
}

/// Says where in the stream the record stands.
#[inline(always)]
fn position(scratch: &mut Scratch, sent: u32, last: bool) {
    let tcp_flags = scratch.packet.tcp_flags as u8;
    let header = &mut scratch.header;
    header.flags = if sent == 0 { header.flags & flag::DELTA } else { flag::CONTINUED };
    header.tcp_flags = tcp_flags;
    header.seq = scratch.packet.seq.wrapping_add(sent);
    if sent > 0 {
        header.tcp_flags &= !tcp_flags::SYN;
        // A SYN takes one sequence number before the payload (RFC 9293 §3.4).
        let syn = u32::from(tcp_flags & tcp_flags::SYN != 0);
        header.seq = header.seq.wrapping_add(syn);
    }
    if !last {
        header.flags |= flag::MORE;
        header.tcp_flags &= !(tcp_flags::FIN | tcp_flags::RST);
    }
}

/// Whether the last quarter of the ring has been reached, which is kept for what never repeats.
#[inline(always)]
fn crowded() -> bool {
    let ring: *mut c_void = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer, and the flags ask for figures only.
    let (waiting, size) = unsafe {
        (
            bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)),
            bpf_ringbuf_query(ring, u64::from(BPF_RB_RING_SIZE)),
        )
    };
    waiting > size / 4 * 3
}

/// Puts the record into the ring. What went wrong is noted in scratch memory, not in registers:
/// the verifier would follow every combination of outcomes of all records of a packet.
#[inline(always)]
fn output(scratch: &mut Scratch) {
    if scratch.header.payload_len != scratch.header.wire_len {
        scratch.packet.cut += 1;
    }
    let payload_len = black_box(scratch.header.payload_len) as usize;
    if payload_len > CHUNK_LEN {
        return;
    }
    if scratch.packet.repeats != 0 && crowded() {
        scratch.packet.shed += 1;
        return;
    }
    // SAFETY: header and payload lie next to each other (`Scratch` is `repr(C)` and the header's
    // size is a multiple of its alignment), and `payload_len` does not exceed the payload.
    let result = unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&EVENTS).cast_mut().cast(),
            core::ptr::from_mut(scratch).cast(),
            (RECORD_HEADER_LEN + payload_len) as u64,
            0,
        )
    };
    if result == 0 {
        scratch.packet.emitted += 1;
    } else {
        scratch.packet.lost += 1;
    }
}

/// Counts how the records of a packet fared; true when all of them got into the ring.
#[inline(always)]
fn settle<F: Frame>(scratch: &mut Scratch) -> bool {
    let scratch = black_box(scratch);
    add(F::DIRECTION, counter::EMITTED, u64::from(scratch.packet.emitted));
    if scratch.packet.cut > 0 {
        count(F::DIRECTION, counter::CUT);
    }
    if scratch.packet.shed > 0 {
        add(F::DIRECTION, counter::SHED, u64::from(scratch.packet.shed));
        return false;
    }
    if scratch.packet.lost == 0 {
        return true;
    }
    add(F::DIRECTION, counter::RING_FULL, u64::from(scratch.packet.lost));
    if first_time(notice::RING_FULL) {
        say_ring_full();
    }
    false
}

/// A function of its own, global, so that the verifier follows the formatting once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn say_ring_full() -> i32 {
    warn!(&(), "ring buffer full: records of control-plane packets are being lost");
    0
}
