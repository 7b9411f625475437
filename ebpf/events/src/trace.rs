//! Owns what crosses the border between the tracepoint programs and userspace: where the fields of
//! each tracepoint lie, what is counted, and the records of rare events.
//!
//! The programs are an object of their own: they are loaded, and fail, apart from the packet path,
//! and share no map with it, since a tracepoint may interrupt an XDP program on the same CPU.
//!
//! **Invariant:** as for the rest of this crate: `#[repr(C)]`, integers only, no implicit padding.

use bytemuck::{Pod, Zeroable};
use core::mem::{offset_of, size_of};

/// Names of maps, programs and globals in the object.
pub mod names {
    /// Per-CPU array of one [`super::Counts`].
    pub const COUNTS: &str = "COUNTS";
    /// Per-CPU hash of interface index to [`super::QueueCounts`]; userspace makes the entries.
    pub const QUEUES: &str = "QUEUES";
    /// Per-CPU LRU hash of [`super::Connection`] to segments sent again.
    pub const RETRANSMITS: &str = "RETRANSMITS";
    /// Ring buffer of [`super::StateRecord`] and [`super::TimeoutRecord`].
    pub const RECORDS: &str = "RECORDS";
    /// Read-only global of type [`super::Layout`], filled in before loading.
    pub const LAYOUT: &str = "TRACE_LAYOUT";
    /// On `skb:kfree_skb`.
    pub const DROP: &str = "edgelore_drop";
    /// On `qdisc:qdisc_enqueue`.
    pub const ENQUEUE: &str = "edgelore_enqueue";
    /// On `qdisc:qdisc_dequeue`.
    pub const DEQUEUE: &str = "edgelore_dequeue";
    /// On `tcp:tcp_retransmit_skb`.
    pub const RETRANSMIT: &str = "edgelore_retransmit";
    /// On `sock:inet_sock_set_state`.
    pub const SOCKET_STATE: &str = "edgelore_socket_state";
    /// On `net:net_dev_xmit_timeout`.
    pub const TRANSMIT_TIMEOUT: &str = "edgelore_transmit_timeout";
}

/// Interfaces whose queues are counted.
pub const QUEUES_MAX: u32 = 256;
/// Control-plane connections whose retransmissions are told apart.
pub const RETRANSMITS_MAX: u32 = 1024;
/// Size of the ring buffer of records in bytes.
pub const RECORDS_BYTES: u32 = 64 << 10;

/// TCP ports of the control plane: BGP, LDP, BMP.
pub const PORTS: [u16; 3] = [179, 646, 1790];

/// Drop reasons of the kernel's core that have a counter of their own: codes 0 to 255.
pub const CORE_REASONS: u32 = 256;
/// Subsystems (the code's upper half, from 1 on) whose reasons have counters.
pub const SUBSYSTEMS: u32 = 7;
/// Reasons counted per subsystem: the code's lower half, 0 to 63.
pub const SUBSYSTEM_REASONS: u32 = 64;
/// Counters of drop reasons; the last one takes what has none of its own.
pub const DROP_SLOTS: usize = (CORE_REASONS + SUBSYSTEMS * SUBSYSTEM_REASONS + 1) as usize;

/// The counter of a drop reason's code (`enum skb_drop_reason`).
#[inline(always)]
#[must_use]
pub const fn drop_slot(reason: u32) -> usize {
    let (subsystem, code) = (reason >> 16, reason & 0xffff);
    if subsystem == 0 && code < CORE_REASONS {
        code as usize
    } else if subsystem >= 1 && subsystem <= SUBSYSTEMS && code < SUBSYSTEM_REASONS {
        (CORE_REASONS + (subsystem - 1) * SUBSYSTEM_REASONS + code) as usize
    } else {
        DROP_SLOTS - 1
    }
}

/// The code that a counter stands for; `None` for the last one, or a number that is none.
#[must_use]
pub const fn drop_reason(slot: usize) -> Option<u32> {
    let slot = slot as u32;
    if slot < CORE_REASONS {
        Some(slot)
    } else if (slot as usize) < DROP_SLOTS - 1 {
        let rest = slot - CORE_REASONS;
        Some(((rest / SUBSYSTEM_REASONS + 1) << 16) | (rest % SUBSYSTEM_REASONS))
    } else {
        None
    }
}

/// Where the fields lie in each tracepoint's record, in bytes, as its `format` file says.
///
/// A tracepoint whose fields are not known is not attached, so its offsets are never used.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Layout {
    /// `skb:kfree_skb`: `reason`, 4 bytes.
    pub drop_reason: u32,
    /// `qdisc:qdisc_enqueue`: `ifindex`, 4 bytes.
    pub enqueue_ifindex: u32,
    /// `qdisc:qdisc_enqueue`: `txq`, a pointer.
    pub enqueue_txq: u32,
    /// `qdisc:qdisc_dequeue`: `ifindex`, 4 bytes.
    pub dequeue_ifindex: u32,
    /// `qdisc:qdisc_dequeue`: `txq`, a pointer.
    pub dequeue_txq: u32,
    /// `qdisc:qdisc_dequeue`: `packets`, 4 bytes.
    pub dequeue_packets: u32,
    /// `qdisc:qdisc_dequeue`: `skbaddr`, a pointer; null when the queue gave nothing.
    pub dequeue_skb: u32,
    /// `tcp:tcp_retransmit_skb`: `skaddr`, a pointer.
    pub retransmit_socket: u32,
    /// `tcp:tcp_retransmit_skb`: `sport`, 2 bytes in the machine's order.
    pub retransmit_sport: u32,
    /// `tcp:tcp_retransmit_skb`: `dport`, 2 bytes in the machine's order.
    pub retransmit_dport: u32,
    /// `tcp:tcp_retransmit_skb`: `saddr_v6`, 16 bytes; IPv4 is mapped.
    pub retransmit_saddr: u32,
    /// `tcp:tcp_retransmit_skb`: `daddr_v6`, 16 bytes; IPv4 is mapped.
    pub retransmit_daddr: u32,
    /// `sock:inet_sock_set_state`: `skaddr`, a pointer.
    pub state_socket: u32,
    /// `sock:inet_sock_set_state`: `oldstate`, 4 bytes.
    pub state_old: u32,
    /// `sock:inet_sock_set_state`: `newstate`, 4 bytes.
    pub state_new: u32,
    /// `sock:inet_sock_set_state`: `sport`, 2 bytes in the machine's order.
    pub state_sport: u32,
    /// `sock:inet_sock_set_state`: `dport`, 2 bytes in the machine's order.
    pub state_dport: u32,
    /// `sock:inet_sock_set_state`: `protocol`, 2 bytes.
    pub state_protocol: u32,
    /// `sock:inet_sock_set_state`: `saddr_v6`, 16 bytes; IPv4 is mapped.
    pub state_saddr: u32,
    /// `sock:inet_sock_set_state`: `daddr_v6`, 16 bytes; IPv4 is mapped.
    pub state_daddr: u32,
    /// `net:net_dev_xmit_timeout`: `name`, 4 bytes that say where the text lies.
    pub timeout_name: u32,
    /// `net:net_dev_xmit_timeout`: `queue_index`, 4 bytes.
    pub timeout_queue: u32,
    /// How one tells this network namespace's sockets and queues from others'.
    pub namespace: NamespaceLayout,
}

/// The way from a socket or a transmit queue to the number of its network namespace, as the
/// kernel's BTF says; offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct NamespaceLayout {
    /// The namespace to watch; 0: every one, and the offsets below are not used.
    pub inum: u32,
    /// In `struct sock`: the pointer to `struct net`.
    pub socket_net: u32,
    /// In `struct netdev_queue`: the pointer to `struct net_device`.
    pub queue_device: u32,
    /// In `struct net_device`: the pointer to `struct net`.
    pub device_net: u32,
    /// In `struct net`: the namespace's number, 4 bytes.
    pub net_inum: u32,
}

/// What is counted in one place, the value of [`names::COUNTS`]: read at once, addressed by
/// [`count`].
pub type Counts = [u64; count::LEN];

/// Indices into [`Counts`].
pub mod count {
    /// Runs on `skb:kfree_skb`.
    pub const HITS_DROP: usize = 0;
    /// Runs on `qdisc:qdisc_enqueue` of a watched interface.
    pub const HITS_ENQUEUE: usize = 1;
    /// Runs on `qdisc:qdisc_dequeue` of a watched interface, whose queue gave something.
    pub const HITS_DEQUEUE: usize = 2;
    /// Runs on `tcp:tcp_retransmit_skb`.
    pub const HITS_RETRANSMIT: usize = 3;
    /// Runs on `sock:inet_sock_set_state` of a control-plane socket.
    pub const HITS_SOCKET_STATE: usize = 4;
    /// Runs on `net:net_dev_xmit_timeout`.
    pub const HITS_TRANSMIT_TIMEOUT: usize = 5;
    /// Segments sent again by connections that are not control plane.
    pub const RETRANSMITS_OTHER: usize = 6;
    /// Segments sent again by control-plane connections: when it grows, the map is read.
    pub const RETRANSMITS_CONTROL: usize = 7;
    /// Of these, not told apart: the map took no entry.
    pub const RETRANSMITS_UNKEYED: usize = 8;
    /// Records put into the ring buffer.
    pub const RECORDS: usize = 9;
    /// Records lost because it was full.
    pub const RECORDS_LOST: usize = 10;
    /// Events with a field that could not be read.
    pub const UNREADABLE: usize = 11;
    /// First of [`super::DROP_SLOTS`]: packets dropped, by [`super::drop_slot`].
    pub const DROPS: usize = 12;
    /// How many there are.
    pub const LEN: usize = DROPS + super::DROP_SLOTS;
}

/// What an interface's queues took in and gave out, the value of [`names::QUEUES`]: addressed by
/// [`queue`].
pub type QueueCounts = [u64; queue::LEN];

/// Indices into [`QueueCounts`].
pub mod queue {
    /// Packets that a queue accepted.
    pub const ENQUEUED: usize = 0;
    /// Packets that left one.
    pub const DEQUEUED: usize = 1;
    /// How many there are.
    pub const LEN: usize = 2;
}

/// A TCP connection of this gateway: the key of [`names::RETRANSMITS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Connection {
    /// This end; IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// The other end; IPv4 as `::ffff:a.b.c.d`.
    pub peer: [u8; 16],
    /// This end's port.
    pub local_port: u16,
    /// The other end's port.
    pub peer_port: u16,
}

/// Values of the `kind` that begins every record, after its time.
pub mod record {
    /// A [`super::StateRecord`].
    pub const STATE: u32 = 1;
    /// A [`super::TimeoutRecord`].
    pub const TIMEOUT: u32 = 2;
}

/// A control-plane socket changed its state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct StateRecord {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ktime_ns: u64,
    /// [`record::STATE`].
    pub kind: u32,
    /// Both ends.
    pub connection: Connection,
    /// Former state as the kernel numbers it.
    pub old: u32,
    /// New state.
    pub new: u32,
}

/// Bytes of an interface's name (`IFNAMSIZ`), filled up with zeros.
pub const INTERFACE_NAME_LEN: usize = 16;

/// A device's transmit queue stalled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TimeoutRecord {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ktime_ns: u64,
    /// [`record::TIMEOUT`].
    pub kind: u32,
    /// The device's queue.
    pub queue: u32,
    /// The device's name.
    pub name: [u8; INTERFACE_NAME_LEN],
}

const _: () = {
    assert!(size_of::<Layout>() == 27 * 4);
    assert!(offset_of!(Layout, namespace) == 22 * 4);
    assert!(size_of::<Connection>() == 36);
    assert!(offset_of!(StateRecord, connection) == 12);
    assert!(offset_of!(StateRecord, old) == 48);
    assert!(size_of::<StateRecord>() == 56);
    assert!(offset_of!(TimeoutRecord, kind) == offset_of!(StateRecord, kind));
    assert!(size_of::<TimeoutRecord>() == 32);
    // A per-CPU value may take 32 KiB at most.
    assert!(size_of::<Counts>() <= 32 << 10);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_reasons_are_each_others_inverse() {
        for slot in 0..DROP_SLOTS - 1 {
            assert_eq!(drop_slot(drop_reason(slot).unwrap()), slot);
        }
        assert_eq!(drop_reason(DROP_SLOTS - 1), None);
        for (reason, slot) in [
            (64, 64),
            (255, 255),
            (256, DROP_SLOTS - 1),
            (0x1_0000, 256),
            (0x3_0002, 256 + 128 + 2),
            (0x1_0040, DROP_SLOTS - 1),
            (0x8_0000, DROP_SLOTS - 1),
            (u32::MAX, DROP_SLOTS - 1),
        ] {
            assert_eq!(drop_slot(reason), slot, "{reason:#x}");
        }
    }
}
