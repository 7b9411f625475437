//! The tracepoint programs: what the kernel itself says of drops, queues, retransmissions, sockets
//! and stalled devices. An object of its own beside the packet path.
//!
//! Common events are summed in per-CPU maps, rare ones become records. Where a field lies is told
//! by userspace, which read each tracepoint's `format` file; nothing is read but those fields, by
//! a helper that fails on a bad address instead of faulting.
//!
//! ```text
//! skb:kfree_skb ──────────► COUNTS.drops[reason]
//! qdisc:qdisc_{en,de}queue ► QUEUES[ifindex]           entries made by userspace only
//! tcp:tcp_retransmit_skb ─► RETRANSMITS[connection]    control plane; the rest: COUNTS
//! sock:inet_sock_set_state ► RECORDS                   control plane only
//! net:net_dev_xmit_timeout ► RECORDS
//! ```
//!
//! **Invariant:** nothing here shares a map with XDP or tcx, which a tracepoint may interrupt; what
//! does not fit is counted.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_probe_read_kernel_str, bpf_ringbuf_output,
};
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::{LruPerCpuHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use aya_ebpf::programs::TracePointContext;
use core::hint::black_box;
use edgelore_events::trace::{
    Connection, Counts, INTERFACE_NAME_LEN, Layout, NamespaceLayout, PORTS, QUEUES_MAX,
    QueueCounts, RECORDS_BYTES, RETRANSMITS_MAX, StateRecord, TimeoutRecord, count, drop_slot,
    queue, record,
};

/// Userspace refuses an object whose version is not its own.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.abi")]
static EDGELORE_ABI: u32 = edgelore_events::ABI_VERSION;

/// The licence that the kernel asks for before it lends its GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Where the fields lie; userspace fills it in before it loads the object.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.layout")]
static TRACE_LAYOUT: Layout = Layout {
    drop_reason: 0,
    enqueue_ifindex: 0,
    enqueue_txq: 0,
    dequeue_ifindex: 0,
    dequeue_txq: 0,
    dequeue_packets: 0,
    dequeue_skb: 0,
    retransmit_socket: 0,
    retransmit_sport: 0,
    retransmit_dport: 0,
    retransmit_saddr: 0,
    retransmit_daddr: 0,
    state_socket: 0,
    state_old: 0,
    state_new: 0,
    state_sport: 0,
    state_dport: 0,
    state_protocol: 0,
    state_saddr: 0,
    state_daddr: 0,
    timeout_name: 0,
    timeout_queue: 0,
    namespace: NamespaceLayout {
        inum: 0,
        socket_net: 0,
        queue_device: 0,
        device_net: 0,
        net_inum: 0,
    },
};

#[map]
static COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(1, 0);

#[map]
static QUEUES: PerCpuHashMap<u32, QueueCounts> = PerCpuHashMap::with_max_entries(QUEUES_MAX, 0);

#[map]
static RETRANSMITS: LruPerCpuHashMap<Connection, u64> =
    LruPerCpuHashMap::with_max_entries(RETRANSMITS_MAX, 0);

#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(RECORDS_BYTES, 0);

/// IPPROTO_TCP.
const TCP: u16 = 6;
/// No queue hands over more packets at once; a larger figure is not believed.
const PACKETS_MAX: i32 = 1 << 20;

/// The offset that userspace filled in.
macro_rules! layout {
    ($($field:ident).+) => {{
        // SAFETY: the static is valid; a volatile read keeps the compiler from using the zeros
        // that stand there before userspace has filled it in.
        unsafe { core::ptr::addr_of!(TRACE_LAYOUT.$($field).+).read_volatile() as usize }
    }};
}

/// The value at the field's offset that `$field` names in the layout; gives up on the event when
/// it cannot be read. The offset is read anew each time: it is a constant to the verifier.
macro_rules! field {
    ($ctx:expr, $($field:ident).+ : $type:ty) => {{
        let offset = layout!($($field).+);
        // SAFETY: the helper checks the address; a wrong one is an error, not a fault.
        match unsafe { bpf_probe_read_kernel::<$type>($ctx.as_ptr().byte_add(offset).cast()) } {
            Ok(value) => value,
            Err(_) => return unreadable(),
        }
    }};
}

/// Adds one to a count of this CPU. A program may be interrupted between reading and writing, but
/// by none that writes the same count: the kernel runs no program on a tracepoint inside itself on
/// one CPU, and each count belongs to one program.
#[inline(always)]
fn add(which: usize) {
    // The verifier must see the bound on the very register that is added to the pointer.
    let which = black_box(which);
    if let Some(counts) = COUNTS.get_ptr_mut(0)
        && which < count::LEN
    {
        // SAFETY: the map returned a valid pointer to this CPU's own value, and the index lies
        // within it.
        unsafe {
            let value = counts.cast::<u64>().add(which);
            *value = (*value).wrapping_add(1);
        }
    }
}

#[inline(always)]
fn unreadable() {
    add(count::UNREADABLE);
}

#[inline(always)]
fn drop_event(ctx: &TracePointContext) {
    let slot = drop_slot(field!(ctx, drop_reason: u32));
    add(count::HITS_DROP);
    add(count::DROPS + slot);
}

/// Whether the pointer leads to the watched network namespace, or every one is watched.
#[inline(always)]
fn watched(net: Option<*const u8>) -> bool {
    let inum = layout!(namespace.inum) as u32;
    if inum == 0 {
        return true;
    }
    let Some(net) = net else { return false };
    let offset = layout!(namespace.net_inum);
    // SAFETY: the helper checks the address.
    let found = unsafe { bpf_probe_read_kernel(net.byte_add(offset).cast::<u32>()) };
    found == Ok(inum)
}

/// The pointer that lies `offset` bytes behind `base`.
#[inline(always)]
fn follow(base: *const u8, offset: usize) -> Option<*const u8> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(base.byte_add(offset).cast::<*const u8>()) }.ok()
}

#[inline(always)]
fn queue_is_watched(txq: *const u8) -> bool {
    if layout!(namespace.inum) == 0 {
        return true;
    }
    let device = follow(txq, layout!(namespace.queue_device));
    watched(device.and_then(|device| follow(device, layout!(namespace.device_net))))
}

#[inline(always)]
fn socket_is_watched(socket: *const u8) -> bool {
    if layout!(namespace.inum) == 0 {
        return true;
    }
    watched(follow(socket, layout!(namespace.socket_net)))
}

#[inline(always)]
fn enqueue_event(ctx: &TracePointContext) {
    let ifindex = field!(ctx, enqueue_ifindex: u32);
    let Some(counts) = QUEUES.get_ptr_mut(ifindex) else { return };
    if !queue_is_watched(field!(ctx, enqueue_txq: *const u8)) {
        return;
    }
    add(count::HITS_ENQUEUE);
    // SAFETY: the map returned a valid pointer to this CPU's own value.
    unsafe { (*counts)[queue::ENQUEUED] = (*counts)[queue::ENQUEUED].wrapping_add(1) };
}

#[inline(always)]
fn dequeue_event(ctx: &TracePointContext) {
    let ifindex = field!(ctx, dequeue_ifindex: u32);
    let Some(counts) = QUEUES.get_ptr_mut(ifindex) else { return };
    // The tracepoint also fires when the queue was asked and gave nothing.
    if field!(ctx, dequeue_skb: u64) == 0 {
        return;
    }
    if !queue_is_watched(field!(ctx, dequeue_txq: *const u8)) {
        return;
    }
    let packets = field!(ctx, dequeue_packets: i32);
    add(count::HITS_DEQUEUE);
    if packets > 0 && packets < PACKETS_MAX {
        // SAFETY: the map returned a valid pointer to this CPU's own value.
        unsafe {
            (*counts)[queue::DEQUEUED] = (*counts)[queue::DEQUEUED].wrapping_add(packets as u64)
        };
    }
}

#[inline(always)]
fn is_control_plane(local: u16, peer: u16) -> bool {
    let [bgp, ldp, bmp] = PORTS;
    let known = |port| port == bgp || port == ldp || port == bmp;
    known(local) || known(peer)
}

#[inline(always)]
fn retransmit_event(ctx: &TracePointContext) {
    if !socket_is_watched(field!(ctx, retransmit_socket: *const u8)) {
        return;
    }
    let local_port = field!(ctx, retransmit_sport: u16);
    let peer_port = field!(ctx, retransmit_dport: u16);
    add(count::HITS_RETRANSMIT);
    if !is_control_plane(local_port, peer_port) {
        add(count::RETRANSMITS_OTHER);
        return;
    }
    let connection = Connection {
        local: field!(ctx, retransmit_saddr: [u8; 16]),
        peer: field!(ctx, retransmit_daddr: [u8; 16]),
        local_port,
        peer_port,
    };
    if let Some(segments) = RETRANSMITS.get_ptr_mut(connection) {
        // SAFETY: the map returned a valid pointer to this CPU's own value.
        unsafe { *segments = (*segments).wrapping_add(1) };
    } else if RETRANSMITS.insert(connection, 1u64, u64::from(BPF_ANY)).is_err() {
        add(count::RETRANSMITS_UNKEYED);
    }
    // Last, so that userspace never sees it grown before the map has.
    add(count::RETRANSMITS_CONTROL);
}

/// Puts a record into the ring; the reader wakes.
#[inline(always)]
fn output<T>(record: &T) {
    // SAFETY: the record is valid for reading its size, and has no padding.
    let result = unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&RECORDS).cast_mut().cast(),
            core::ptr::from_ref(record).cast_mut().cast(),
            size_of::<T>() as u64,
            0,
        )
    };
    if result == 0 {
        add(count::RECORDS);
    } else {
        add(count::RECORDS_LOST);
    }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn socket_state_event(ctx: &TracePointContext) {
    let local_port = field!(ctx, state_sport: u16);
    let peer_port = field!(ctx, state_dport: u16);
    if !is_control_plane(local_port, peer_port) || field!(ctx, state_protocol: u16) != TCP {
        return;
    }
    if !socket_is_watched(field!(ctx, state_socket: *const u8)) {
        return;
    }
    add(count::HITS_SOCKET_STATE);
    output(&StateRecord {
        ktime_ns: now_ns(),
        kind: record::STATE,
        connection: Connection {
            local: field!(ctx, state_saddr: [u8; 16]),
            peer: field!(ctx, state_daddr: [u8; 16]),
            local_port,
            peer_port,
        },
        old: field!(ctx, state_old: u32),
        new: field!(ctx, state_new: u32),
    });
}

#[inline(always)]
fn transmit_timeout_event(ctx: &TracePointContext) {
    add(count::HITS_TRANSMIT_TIMEOUT);
    // `__data_loc`: the text's offset in the lower half, its length in the upper.
    let offset = (field!(ctx, timeout_name: u32) & 0xffff) as usize;
    let mut record = TimeoutRecord {
        ktime_ns: now_ns(),
        kind: record::TIMEOUT,
        queue: field!(ctx, timeout_queue: u32),
        name: [0; INTERFACE_NAME_LEN],
    };
    // SAFETY: the name is valid for writing its size; the helper checks the address it reads.
    let read = unsafe {
        bpf_probe_read_kernel_str(
            record.name.as_mut_ptr().cast(),
            INTERFACE_NAME_LEN as u32,
            ctx.as_ptr().byte_add(offset).cast(),
        )
    };
    if read < 0 {
        return unreadable();
    }
    output(&record);
}

/// On `skb:kfree_skb`.
#[tracepoint]
fn edgelore_drop(ctx: TracePointContext) -> u32 {
    drop_event(&ctx);
    0
}

/// On `qdisc:qdisc_enqueue`.
#[tracepoint]
fn edgelore_enqueue(ctx: TracePointContext) -> u32 {
    enqueue_event(&ctx);
    0
}

/// On `qdisc:qdisc_dequeue`.
#[tracepoint]
fn edgelore_dequeue(ctx: TracePointContext) -> u32 {
    dequeue_event(&ctx);
    0
}

/// On `tcp:tcp_retransmit_skb`.
#[tracepoint]
fn edgelore_retransmit(ctx: TracePointContext) -> u32 {
    retransmit_event(&ctx);
    0
}

/// On `sock:inet_sock_set_state`.
#[tracepoint]
fn edgelore_socket_state(ctx: TracePointContext) -> u32 {
    socket_state_event(&ctx);
    0
}

/// On `net:net_dev_xmit_timeout`.
#[tracepoint]
fn edgelore_transmit_timeout(ctx: TracePointContext) -> u32 {
    transmit_timeout_event(&ctx);
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program from which this can be reached, so it never runs.
    loop {}
}
