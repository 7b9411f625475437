//! Incidents: bounded episodes with a trigger, a start, an end and what they touched.

use crate::{IgpArea, IgpProtocol, Interval, NodeId, Prefix, SessionKey, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// What kind of episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// Routing moved to a new state after a trigger. Severity: its duration in ms.
    Convergence,
    /// Something went down and up again and again. Severity: transitions per hour.
    Flap,
    /// A queue stood full. Severity: ms of standing backlog.
    Saturation,
    /// Control-plane packets were lost or late. Severity: loss in parts per million.
    Degradation,
}

/// The protocol an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RFC 4271.
    Bgp,
    /// RFC 5880.
    Bfd,
    /// RFC 2328.
    Ospf,
    /// RFC 5340.
    OspfV3,
    /// ISO 10589, RFC 1195.
    Isis,
    /// RFC 5036.
    Ldp,
    /// Interfaces themselves, and their queues.
    Link,
}

macro_rules! display_as_serialized {
    ($type:ty { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl $type {
            /// The term as it stands in situations, addresses and packets.
            #[must_use]
            pub const fn term(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.term())
            }
        }
    };
}

display_as_serialized!(EventType {
    Convergence => "convergence",
    Flap => "flap",
    Saturation => "saturation",
    Degradation => "degradation",
});
display_as_serialized!(Protocol {
    Bgp => "bgp",
    Bfd => "bfd",
    Ospf => "ospf",
    OspfV3 => "ospfv3",
    Isis => "isis",
    Ldp => "ldp",
    Link => "link",
});

impl From<IgpProtocol> for Protocol {
    fn from(protocol: IgpProtocol) -> Self {
        match protocol {
            IgpProtocol::OspfV2 => Self::Ospf,
            IgpProtocol::OspfV3 => Self::OspfV3,
            IgpProtocol::IsisLevel1 | IgpProtocol::IsisLevel2 => Self::Isis,
        }
    }
}

/// A link by its interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Link(pub u32);

/// Two routers that are neighbours in an interior gateway protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Adjacency {
    /// The flooding domain.
    pub area: IgpArea,
    /// The smaller id.
    pub low: NodeId,
    /// The larger id.
    pub high: NodeId,
}

impl Adjacency {
    /// The adjacency of two routers, in whatever order they are given.
    #[must_use]
    pub fn between(area: IgpArea, a: NodeId, b: NodeId) -> Self {
        Self { area, low: a.min(b), high: a.max(b) }
    }
}

/// What an incident is about: the thing that failed, flapped, stood full or lost packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One session between two addresses; the incident's protocol says of which kind.
    Session(SessionKey),
    /// One link.
    Link(Link),
    /// One prefix as one speaker announces it.
    Prefix(Prefix, IpAddr),
    /// Two routers of an interior gateway protocol.
    Adjacency(Adjacency),
    /// One router of an interior gateway protocol: what it says of itself.
    Router(IgpArea, NodeId),
    /// A queueing discipline of a link, by its handle.
    Queue(Link, u32),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "session {session}"),
            Self::Link(link) => write!(f, "link {}", link.0),
            Self::Prefix(prefix, speaker) => write!(f, "prefix {prefix} from {speaker}"),
            Self::Adjacency(between) => write!(f, "adjacency {:?}-{:?}", between.low, between.high),
            Self::Router(_, router) => write!(f, "router {router:?}"),
            Self::Queue(link, handle) => write!(f, "queue {:x}: of link {}", handle >> 16, link.0),
        }
    }
}

/// What set an incident off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// The session ended.
    SessionDown,
    /// BFD went down.
    BfdDown,
    /// A NOTIFICATION with this code and subcode.
    Notification(u8, u8),
    /// Many prefixes were withdrawn in a short time.
    WithdrawalBurst,
    /// A link lost its carrier or vanished.
    LinkDown,
    /// The kernel's table left a next hop whose link had fallen silent before: nothing on the wire
    /// says so when the neighbour cannot be reached any more.
    NextHopLost,
    /// Two routers are no longer adjacent: a hello no longer names the neighbour, or its dead
    /// interval has passed.
    AdjacencyDown,
    /// An advertisement took back an edge or a prefix that it had, or all of itself.
    TopologyChange,
    /// An advertisement changed what an edge costs.
    CostChange,
    /// An LDP session ended.
    LdpDown,
    /// Transitions came faster than the flap threshold.
    Transitions,
    /// A queue stood above its threshold.
    Backlog,
    /// A queue dropped packets.
    QueueDrops,
    /// Segments of a control-plane session were sent again.
    Retransmissions,
    /// BFD packets came late or not at all, below what takes the session down.
    BfdLate,
    /// Hellos came late or not at all, below what takes the adjacency down.
    HellosLate,
    /// Keepalives came late, below what takes the session down.
    KeepalivesLate,
    /// An interface counted errors.
    LinkErrors,
    /// A peer's messages have faults, or a monitored router's statistics of it show trouble.
    PeerUnstable,
}

/// One signal of an incident's causal chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// When it was seen.
    pub at: Timestamp,
    /// What it was.
    pub kind: TriggerKind,
    /// What it happened to.
    pub on: Scope,
}

/// What was looked at as a cause and found not to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuledOut {
    /// The link kept its carrier.
    LinkDown,
    /// Packets went on coming in on the link.
    Silence,
    /// BFD stayed up.
    BfdDown,
    /// No queue of the link stood full or dropped packets.
    Congestion,
    /// Nobody shut the session down.
    AdministrativeShutdown,
}

/// How far an incident had come at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The time.
    pub at: Timestamp,
    /// Convergence: prefixes moved so far; flap: transitions so far; saturation: bytes of backlog;
    /// degradation: losses so far.
    pub value: u64,
}

/// What was measured beside severity and duration; what does not apply or was not seen is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Convergence: announcements that were replaced or taken back before the end, all prefixes
    /// together (path exploration).
    pub explored: Option<u64>,
    /// Convergence: the most of them for one prefix.
    pub explored_max: Option<u32>,
    /// Convergence: prefixes that had no route at all for a while.
    pub blackholed: Option<u64>,
    /// Convergence: the median of how long they had none, in ms.
    pub blackholed_ms_median: Option<u64>,
    /// Convergence: the longest that one had none, in ms.
    pub blackholed_ms_max: Option<u64>,
    /// Convergence: from the first to the last change of the kernel's own table, in ms.
    pub fib_ms: Option<u64>,
    /// Flap: transitions.
    pub transitions: Option<u64>,
    /// Flap: the median time from one loss to the next, in ms.
    pub period_ms: Option<u64>,
    /// Flap: the highest penalty reached (RFC 2439 §2.3), in units of 1,000 a withdrawal.
    pub penalty_max: Option<u32>,
    /// Saturation: the deepest backlog, in bytes.
    pub backlog_bytes_max: Option<u64>,
    /// Saturation: the deepest backlog, in packets.
    pub backlog_packets_max: Option<u64>,
    /// Saturation: packets that the queue dropped.
    pub drops: Option<u64>,
    /// Saturation: packets that the queue held back.
    pub overlimits: Option<u64>,
    /// Degradation: packets that were lost, sent again or late.
    pub lost: Option<u64>,
    /// Degradation: packets that were expected.
    pub expected: Option<u64>,
    /// Degradation: the latest that a packet came after it was due, in ms.
    pub late_ms_max: Option<u64>,
}

/// Identity of an incident on its gateway: derived from its content, equal in every replay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub u64);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A closed incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Identity.
    pub id: IncidentId,
    /// What kind.
    pub event: EventType,
    /// On which protocol.
    pub protocol: Protocol,
    /// On what.
    pub scope: Scope,
    /// What set it off, the first signal first; never empty.
    pub chain: Vec<Trigger>,
    /// When it began.
    pub start: Interval,
    /// When it ended; `None` when this vantage point cannot see an end.
    pub end: Option<Interval>,
    /// The prefixes it moved, sorted, each once.
    pub prefixes: Vec<Prefix>,
    /// In the unit of its event type.
    pub severity: u64,
    /// The observations it rests on have gaps.
    pub gaps: bool,
    /// It lies in a maintenance window: it is told, and no outcome rests on it.
    #[serde(default)]
    pub maintenance: bool,
    /// What else was measured.
    #[serde(default)]
    pub measured: Measured,
    /// How it went, at most [`PROGRESS_MAX`] points in time order.
    #[serde(default)]
    pub progress: Vec<Progress>,
    /// What did not cause it.
    #[serde(default)]
    pub ruled_out: Vec<RuledOut>,
}

/// Points of progress that an incident keeps.
pub const PROGRESS_MAX: usize = 64;

impl Incident {
    /// The shortest, likeliest and longest duration that the evidence allows.
    #[must_use]
    pub fn duration(&self) -> Option<(Span, Span, Span)> {
        let end = self.end?;
        let shortest = Span((end.earliest - self.start.latest).0.max(0));
        let longest = end.latest - self.start.earliest;
        Some((shortest, end.estimate - self.start.estimate, longest))
    }
}
