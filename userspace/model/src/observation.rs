//! Observations: one decoded fact with its time.

use crate::{
    CounterSample, FibChange, HelloChange, KernelEvent, LateHeartbeat, LdpChange, LinkChange,
    LinkStateChange, LossReason, NeighbourChange, PeerStatistics, Prefix, QueueSample, Rib,
    RouterChange, SentAgain, SessionKey, Span, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One decoded fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When it was seen.
    pub at: Timestamp,
    /// Interface index, 0 where there is none.
    pub link: u32,
    /// The fact.
    #[serde(flatten)]
    pub what: Observed,
}

/// The fact itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Observed {
    /// An OPEN was sent (RFC 4271 §4.2).
    Open {
        /// The session.
        session: SessionKey,
        /// Who sent it.
        speaker: IpAddr,
        /// The hold time it proposes, in seconds; 0 means no keepalives.
        hold_time_s: u16,
        /// What it can do.
        capabilities: OpenCapabilities,
    },
    /// Both ends exchanged what Established needs, or a collector says so.
    SessionUp {
        /// The session.
        session: SessionKey,
    },
    /// The session ended.
    SessionDown {
        /// The session.
        session: SessionKey,
        /// How one knows.
        cause: DownCause,
    },
    /// A NOTIFICATION was sent (RFC 4271 §4.5, RFC 4486).
    Notification {
        /// The session.
        session: SessionKey,
        /// Who sent it.
        speaker: IpAddr,
        /// Error code.
        code: u8,
        /// Error subcode.
        subcode: u8,
        /// It was wrapped in a Hard Reset (RFC 8538 §3): graceful restart does not apply. Code
        /// and subcode are the ones inside.
        #[serde(default)]
        hard_reset: bool,
        /// Shutdown communication (RFC 9003); stays on the gateway.
        communication: Option<String>,
    },
    /// A BGP message had a fault (RFC 7606). The first few of a conversation are reported one by
    /// one, all are counted.
    MessageFault {
        /// The session.
        session: SessionKey,
        /// Who sent the message.
        speaker: IpAddr,
        /// What the fault means for the routes.
        handling: FaultHandling,
        /// What is wrong, and where in the message; stays on the gateway.
        fault: String,
    },
    /// A speaker has sent all routes that it had when the session came up (RFC 4724 §2).
    EndOfRib {
        /// The session.
        session: SessionKey,
        /// Who sent it.
        speaker: IpAddr,
        /// The table it was seen in.
        rib: Rib,
        /// Address family identifier (RFC 4760).
        afi: u16,
        /// Subsequent address family identifier (RFC 4760).
        safi: u8,
    },
    /// Routes as one UPDATE moved them.
    Routes(RouteDelta),
    /// A BFD session's state or timers changed on the wire.
    Bfd(BfdChange),
    /// A link changed.
    Link(LinkChange),
    /// The kernel's forwarding table changed.
    Fib(FibChange),
    /// Interface counters.
    Counters(CounterSample),
    /// A queueing discipline.
    Queue(QueueSample),
    /// A neighbour changed.
    Neighbour(NeighbourChange),
    /// The gateway's own kernel reported something.
    Kernel(KernelEvent),
    /// A router says something new in its hellos.
    Hello(HelloChange),
    /// The link-state database changed.
    LinkState(LinkStateChange),
    /// LDP.
    Ldp(LdpChange),
    /// A monitored router's statistics of a peer.
    PeerStatistics(PeerStatistics),
    /// A monitored router came or went.
    Router(RouterChange),
    /// A heartbeat came later than its timers allow.
    Late(LateHeartbeat),
    /// A control session's segment was sent again on the wire.
    SentAgain(SentAgain),
    /// Bytes of a session's stream are missing; decoding went on at the next message.
    StreamGap {
        /// The session.
        session: SessionKey,
        /// Who sent the missing bytes.
        speaker: IpAddr,
    },
    /// Signals were lost before decoding.
    Lost {
        /// Where.
        reason: LossReason,
        /// How many.
        count: u64,
    },
    /// From here on, times count in steps of this, and are told as the step's beginning.
    Granularity {
        /// Its length.
        step: Span,
    },
    /// Time passed.
    Tick,
}

/// What an OPEN offers that detection and resolution read (RFC 5492).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenCapabilities {
    /// The sender's AS number: the four-octet one where it has the capability (RFC 6793).
    pub asn: u32,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_as: bool,
    /// Address families offered (RFC 4760); IPv4 unicast counts when none is named.
    pub families: u8,
    /// Add-path for at least one family (RFC 7911).
    pub add_path: bool,
    /// Families in which the sender wants to send several paths (RFC 7911 §4).
    pub add_path_send: u8,
    /// Families in which the sender is ready to receive several paths (RFC 7911 §4).
    pub add_path_receive: u8,
    /// Extended messages (RFC 8654).
    pub extended_messages: bool,
    /// Extended next hop encoding (RFC 8950).
    pub extended_next_hop: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Enhanced route refresh (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Graceful restart's restart time in seconds (RFC 4724); `None` without the capability.
    pub graceful_restart_s: Option<u16>,
    /// Families that graceful restart covers; 0 when the sender only helps others.
    pub graceful_restart_families: u8,
    /// The sender has restarted (the R bit of RFC 4724 §3).
    pub restarting: bool,
    /// NOTIFICATIONs do not end graceful restart (the N bit of RFC 8538 §2).
    pub graceful_notification: bool,
    /// Long-lived graceful restart (RFC 9494).
    pub long_lived_graceful_restart: bool,
    /// BGP role (RFC 9234 §4.1): 0 provider, 1 route server, 2 its client, 3 customer, 4 peer.
    pub role: Option<u8>,
}

/// What a fault in a message means for the state that it should have changed (RFC 7606 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultHandling {
    /// The attribute or capability is passed over; all else holds.
    AttributeDiscard,
    /// The routes announced count as withdrawn.
    TreatAsWithdraw,
    /// Nothing of it can be relied upon: its receiver ends the session.
    SessionReset,
}

/// How one knows that a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownCause {
    /// A NOTIFICATION.
    Notification,
    /// TCP RST.
    Reset,
    /// TCP RST of an end that knows nothing of the connection any more, in answer to what the
    /// other goes on sending: it has no ACK (RFC 9293 §3.10.7.1). The session had ended before.
    Forgotten,
    /// TCP FIN.
    Closed,
    /// A new connection took its place (SYN or OPEN while the session was up).
    Replaced,
    /// The hold timer ran out, as a monitored router says (RFC 7854 §4.9, with event 10 of
    /// RFC 4271 §8.1).
    Expired,
    /// A collector recorded it, and not why.
    Recorded,
}

/// What one UPDATE changed (RFC 4271 §4.3, RFC 4760).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDelta {
    /// The session.
    pub session: SessionKey,
    /// Who sent it.
    pub speaker: IpAddr,
    /// The table it was seen in.
    pub rib: Rib,
    /// Unicast prefixes withdrawn, IPv4 and IPv6, in wire order; what was announced with a fault
    /// that amounts to a withdrawal (RFC 7606) comes last.
    pub withdrawn: Vec<Prefix>,
    /// Unicast prefixes announced, IPv4 and IPv6, in wire order.
    pub announced: Vec<Prefix>,
    /// Path identifiers of `withdrawn` (RFC 7911), one each; empty when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn_path_ids: Vec<u32>,
    /// Path identifiers of `announced` (RFC 7911), one each; empty when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced_path_ids: Vec<u32>,
    /// The attributes of what was announced; `None` when nothing was.
    pub path: Option<PathSummary>,
}

/// What detection needs to know of an UPDATE's path attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathSummary {
    /// Number of ASes in AS_PATH; an AS_SET counts one (RFC 4271 §9.1.2.2), a confederation's
    /// segments none (RFC 5065 §5.3).
    pub length: u16,
    /// Last AS of AS_PATH; 0 when the path is empty or does not end in an AS_SEQUENCE
    /// (RFC 6811 §2).
    pub origin_as: u32,
    /// NEXT_HOP, or that of MP_REACH_NLRI (its global address where it has two).
    pub next_hop: Option<IpAddr>,
    /// Communities: standard (RFC 1997), extended (RFC 4360, RFC 5701) and large (RFC 8092).
    pub communities: u16,
    /// A 64-bit hash of the path attributes as sent without MP_REACH_NLRI and MP_UNREACH_NLRI, to
    /// tell a repeated announcement from a changed one. The same on every machine; not made to
    /// withstand a neighbour that wants two announcements to look the same.
    pub attributes_hash: u64,
}

/// RFC 5880 §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BfdState {
    /// 0.
    AdminDown,
    /// 1.
    Down,
    /// 2.
    Init,
    /// 3.
    Up,
}

/// What a BFD speaker says now, sent when anything in it differs from what it said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdChange {
    /// The session.
    pub session: SessionKey,
    /// Who sent it.
    pub speaker: IpAddr,
    /// Its state.
    pub state: BfdState,
    /// Diagnostic, 0 to 31.
    pub diagnostic: u8,
    /// Detection time multiplier.
    pub detect_multiplier: u8,
    /// Desired min TX interval in microseconds.
    pub desired_min_tx_us: u32,
    /// Required min RX interval in microseconds.
    pub required_min_rx_us: u32,
}
