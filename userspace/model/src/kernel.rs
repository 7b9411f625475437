//! What the gateway's own kernel reports beside packets: tracepoints, queues, neighbours.

use crate::{SessionKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// TCP states as the kernel numbers them (`enum` in `include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpState {
    /// 1.
    Established,
    /// 2.
    SynSent,
    /// 3.
    SynReceived,
    /// 4.
    FinWait1,
    /// 5.
    FinWait2,
    /// 6.
    TimeWait,
    /// 7.
    Close,
    /// 8.
    CloseWait,
    /// 9.
    LastAck,
    /// 10.
    Listen,
    /// 11.
    Closing,
    /// 12.
    NewSynReceived,
}

impl TcpState {
    /// The state that the kernel numbers so; `None` for a number that it does not use.
    #[must_use]
    pub const fn from_kernel(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynReceived,
            _ => return None,
        })
    }
}

/// What tracepoints counted since the last sample, or one event of the rare kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum KernelEvent {
    /// `skb:kfree_skb`: packets dropped for one reason.
    Dropped {
        /// The reason's name as the kernel spells it, such as `QDISC_DROP`.
        reason: String,
        /// Packets since the last sample.
        count: u64,
    },
    /// `tcp:tcp_retransmit_skb`: segments sent again.
    Retransmitted {
        /// The control-plane session; `None` sums up every other connection.
        session: Option<SessionKey>,
        /// Its well-known port, such as 179; 0 without a session.
        port: u16,
        /// Segments since the last sample.
        count: u64,
    },
    /// `sock:inet_sock_set_state` of a control-plane socket of this gateway.
    SocketState {
        /// This end.
        local: SocketAddr,
        /// The other end.
        peer: SocketAddr,
        /// Former state.
        old: TcpState,
        /// New state.
        new: TcpState,
    },
    /// `qdisc:qdisc_enqueue` and `qdisc:qdisc_dequeue` of the signal's link since the last sample.
    QueueActivity {
        /// Packets that a queue accepted.
        enqueued: u64,
        /// Packets that left one.
        dequeued: u64,
    },
    /// `net:net_dev_xmit_timeout`: the device's transmit queue stalled.
    TransmitTimeout {
        /// The device's queue.
        queue: u32,
    },
}

/// A queueing discipline as rtnetlink reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSample {
    /// Its kind, such as `fq_codel`.
    pub qdisc: String,
    /// Major and minor number of its handle.
    pub handle: u32,
    /// The handle it hangs on; `u32::MAX` for the root.
    pub parent: u32,
    /// It exists (false: it was removed).
    pub present: bool,
    /// Size of its configured limit in the qdisc's own unit (packets or bytes); 0 when it has none.
    pub limit: u32,
    /// Bytes waiting now.
    pub backlog_bytes: u32,
    /// Packets waiting now.
    pub backlog_packets: u32,
    /// Bytes sent since it exists.
    pub bytes: u64,
    /// Packets sent since it exists.
    pub packets: u64,
    /// Packets dropped since it exists.
    pub drops: u64,
    /// Times that its rate was exceeded since it exists.
    pub overlimits: u64,
    /// Packets put back since it exists.
    pub requeues: u64,
    /// What is new here came about no earlier than this: the source had asked for everything then,
    /// and was told what it had told before.
    #[serde(default)]
    pub not_before: Timestamp,
}

/// Reachability of a neighbour (RFC 4861 §7.3.2, and ARP's likewise).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeighbourState {
    /// The address is being resolved.
    Incomplete,
    /// Known to answer.
    Reachable,
    /// Known, not lately confirmed.
    Stale,
    /// Waits before probing.
    Delay,
    /// Being probed.
    Probe,
    /// Does not answer.
    Failed,
    /// Set by the operator, or needs no resolution.
    Permanent,
}

/// A neighbour's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourChange {
    /// Who.
    pub address: IpAddr,
    /// New state; the last known one when it is gone.
    pub state: NeighbourState,
    /// The entry exists (false: it was removed).
    pub present: bool,
}
