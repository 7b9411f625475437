//! Owns which tracepoints are watched, which fields each program reads, and how a format and the
//! kernel's types become the layout that the programs are given.

use super::btf::Types;
use super::format::{Format, FormatError};
use edgelore_events::trace::{Layout, NamespaceLayout, count, names};
use std::os::unix::fs::MetadataExt;

/// A tracepoint that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tracepoint {
    /// Packets dropped, with the reason.
    Drop,
    /// Packets that a queue accepted.
    Enqueue,
    /// Packets that left a queue.
    Dequeue,
    /// TCP segments sent again.
    Retransmit,
    /// TCP sockets that changed their state.
    SocketState,
    /// Transmit queues that stalled.
    TransmitTimeout,
}

/// A field that a program reads: name, size in bytes, and where its offset goes.
type Needed = (&'static str, u32, fn(&mut Layout) -> &mut u32);

const POINTER: u32 = 8;

impl Tracepoint {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Drop,
        Self::Enqueue,
        Self::Dequeue,
        Self::Retransmit,
        Self::SocketState,
        Self::TransmitTimeout,
    ];

    /// Its full name in tracefs, such as `skb:kfree_skb`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "skb:kfree_skb",
            Self::Enqueue => "qdisc:qdisc_enqueue",
            Self::Dequeue => "qdisc:qdisc_dequeue",
            Self::Retransmit => "tcp:tcp_retransmit_skb",
            Self::SocketState => "sock:inet_sock_set_state",
            Self::TransmitTimeout => "net:net_dev_xmit_timeout",
        }
    }

    /// Category and event.
    pub(super) fn path(self) -> (&'static str, &'static str) {
        self.name().split_once(':').expect("every name has a colon")
    }

    /// The program's name in the object.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Drop => names::DROP,
            Self::Enqueue => names::ENQUEUE,
            Self::Dequeue => names::DEQUEUE,
            Self::Retransmit => names::RETRANSMIT,
            Self::SocketState => names::SOCKET_STATE,
            Self::TransmitTimeout => names::TRANSMIT_TIMEOUT,
        }
    }

    /// Where the program counts its runs.
    pub(super) const fn hits(self) -> usize {
        match self {
            Self::Drop => count::HITS_DROP,
            Self::Enqueue => count::HITS_ENQUEUE,
            Self::Dequeue => count::HITS_DEQUEUE,
            Self::Retransmit => count::HITS_RETRANSMIT,
            Self::SocketState => count::HITS_SOCKET_STATE,
            Self::TransmitTimeout => count::HITS_TRANSMIT_TIMEOUT,
        }
    }

    fn fields(self) -> &'static [Needed] {
        match self {
            Self::Drop => &[("reason", 4, |layout| &mut layout.drop_reason)],
            Self::Enqueue => &[
                ("ifindex", 4, |layout| &mut layout.enqueue_ifindex),
                ("txq", POINTER, |layout| &mut layout.enqueue_txq),
            ],
            Self::Dequeue => &[
                ("ifindex", 4, |layout| &mut layout.dequeue_ifindex),
                ("txq", POINTER, |layout| &mut layout.dequeue_txq),
                ("packets", 4, |layout| &mut layout.dequeue_packets),
                ("skbaddr", POINTER, |layout| &mut layout.dequeue_skb),
            ],
            Self::Retransmit => &[
                ("skaddr", POINTER, |layout| &mut layout.retransmit_socket),
                ("sport", 2, |layout| &mut layout.retransmit_sport),
                ("dport", 2, |layout| &mut layout.retransmit_dport),
                ("saddr_v6", 16, |layout| &mut layout.retransmit_saddr),
                ("daddr_v6", 16, |layout| &mut layout.retransmit_daddr),
            ],
            Self::SocketState => &[
                ("skaddr", POINTER, |layout| &mut layout.state_socket),
                ("oldstate", 4, |layout| &mut layout.state_old),
                ("newstate", 4, |layout| &mut layout.state_new),
                ("sport", 2, |layout| &mut layout.state_sport),
                ("dport", 2, |layout| &mut layout.state_dport),
                ("protocol", 2, |layout| &mut layout.state_protocol),
                ("saddr_v6", 16, |layout| &mut layout.state_saddr),
                ("daddr_v6", 16, |layout| &mut layout.state_daddr),
            ],
            Self::TransmitTimeout => &[
                ("name", 4, |layout| &mut layout.timeout_name),
                ("queue_index", 4, |layout| &mut layout.timeout_queue),
            ],
        }
    }

    /// Writes the offsets of the fields that this tracepoint's program reads.
    pub(super) fn fill(self, format: &Format, layout: &mut Layout) -> Result<(), FormatError> {
        for (name, size, place) in self.fields() {
            *place(layout) = format.offset(name, *size)?;
        }
        Ok(())
    }
}

/// Where the kernel shows its own types.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// The calling thread's network namespace.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// What tells this thread's network namespace from others, or why that cannot be had.
pub(super) fn namespace() -> Result<NamespaceLayout, String> {
    let number = std::fs::metadata(NAMESPACE).map_err(|error| format!("{NAMESPACE}: {error}"))?;
    let bytes = std::fs::read(KERNEL_TYPES).map_err(|error| format!("{KERNEL_TYPES}: {error}"))?;
    let types = Types::parse(&bytes).ok_or("the kernel's BTF cannot be read")?;
    let offset = |structure: &str, member: &str| {
        types
            .offset(structure, member)
            .ok_or_else(|| format!("the kernel's BTF has no member {member} of {structure}"))
    };
    let sum = |outer: u32, inner: u32| outer.checked_add(inner).ok_or("absurd offsets in BTF");
    Ok(NamespaceLayout {
        // Numbers of namespaces are 32 bits wide in the kernel.
        inum: u32::try_from(number.ino()).map_err(|_| "the namespace's number is too large")?,
        socket_net: sum(offset("sock", "__sk_common")?, offset("sock_common", "skc_net")?)?,
        queue_device: offset("netdev_queue", "dev")?,
        device_net: offset("net_device", "nd_net")?,
        net_inum: sum(offset("net", "ns")?, offset("ns_common", "inum")?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [(Tracepoint, &str); 6] = [
        (Tracepoint::Drop, include_str!("../../../fixtures/tracepoints/kfree_skb.format")),
        (Tracepoint::Enqueue, include_str!("../../../fixtures/tracepoints/qdisc_enqueue.format")),
        (Tracepoint::Dequeue, include_str!("../../../fixtures/tracepoints/qdisc_dequeue.format")),
        (
            Tracepoint::Retransmit,
            include_str!("../../../fixtures/tracepoints/tcp_retransmit_skb.format"),
        ),
        (
            Tracepoint::SocketState,
            include_str!("../../../fixtures/tracepoints/inet_sock_set_state.format"),
        ),
        (
            Tracepoint::TransmitTimeout,
            include_str!("../../../fixtures/tracepoints/net_dev_xmit_timeout.format"),
        ),
    ];

    #[test]
    fn a_layout_comes_from_the_formats_alone() {
        let mut layout = Layout::default();
        for (tracepoint, text) in FORMATS {
            tracepoint.fill(&Format::parse(text), &mut layout).unwrap();
        }
        let expected = Layout {
            drop_reason: 36,
            enqueue_ifindex: 32,
            enqueue_txq: 16,
            dequeue_ifindex: 40,
            dequeue_txq: 16,
            dequeue_packets: 24,
            dequeue_skb: 32,
            retransmit_socket: 16,
            retransmit_sport: 28,
            retransmit_dport: 30,
            retransmit_saddr: 42,
            retransmit_daddr: 58,
            state_socket: 8,
            state_old: 16,
            state_new: 20,
            state_sport: 24,
            state_dport: 26,
            state_protocol: 30,
            state_saddr: 40,
            state_daddr: 56,
            timeout_name: 8,
            timeout_queue: 16,
            namespace: NamespaceLayout::default(),
        };
        assert_eq!(layout, expected);
    }

    #[test]
    fn another_tracepoints_format_is_refused() {
        let error = Tracepoint::Drop.fill(&Format::parse(FORMATS[1].1), &mut Layout::default());
        assert_eq!(error, Err(FormatError::NoField("reason")));
    }
}
