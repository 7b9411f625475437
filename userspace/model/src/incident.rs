//! Incidents: bounded episodes with a trigger, a start, an end and what they touched.

use crate::{Interval, Prefix, SessionKey, Span, Timestamp};
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
    /// Interfaces themselves.
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
display_as_serialized!(Protocol { Bgp => "bgp", Bfd => "bfd", Link => "link" });

/// A link by its interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Link(pub u32);

/// What an incident is about: the thing that failed or flapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One routing session.
    Session(SessionKey),
    /// One link.
    Link(Link),
    /// One prefix as one speaker announces it.
    Prefix(Prefix, IpAddr),
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
    /// Transitions came faster than the flap threshold.
    Transitions,
}

/// One signal of an incident's causal chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// When it was seen.
    pub at: Timestamp,
    /// What it was.
    pub kind: TriggerKind,
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
}

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
