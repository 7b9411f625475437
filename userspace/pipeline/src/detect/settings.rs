//! What is set in the network: timers, costs, queues, as the wire and the kernel show them.
//!
//! Owns the book of what is set and the values that an incident keeps of it. A setting that can no
//! longer be seen keeps its last value: a session that is reset, a link that is down, an
//! advertisement that is withdrawn has not been configured otherwise. Never says what a difference
//! means; that is [`crate::resolve`].
//!
//! **Invariant:** what is kept of an incident is what concerns its scope, never the whole network.

mod book;
mod followed;
mod multipath;
mod routers;

pub(super) use book::SettingsBook;

use super::SessionSettings;
use edgelore_model::{IgpArea, Link, NodeId, Prefix, Scope, SessionKey, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// What is set where an incident happens, as it was when the incident began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Of the scope's session, or of the sessions on the scope's link.
    pub sessions: Vec<(SessionKey, SessionSettings)>,
    /// Of the scope's link, or of the link that the scope's session runs over.
    pub links: Vec<(Link, LinkSettings)>,
    /// Of the scope's router, or of both ends of the scope's adjacency.
    pub routers: Vec<(IgpArea, NodeId, RouterSettings)>,
}

/// What a link is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkSettings {
    /// Largest packet in octets; 0 where the kernel does not say.
    pub mtu: u32,
    /// Its queueing disciplines, sorted.
    pub queues: Vec<QueueSettings>,
    /// The most next hops that routes over the link had together, and kept; 0 without such routes.
    pub paths: u16,
}

/// A queueing discipline. Its handle is none of its settings: the kernel chooses a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueueSettings {
    /// It is the link's own, not a class's.
    pub root: bool,
    /// Its kind, such as `fq_codel`.
    pub qdisc: String,
    /// Its limit in its own unit, packets or bytes; 0 when it has none.
    pub limit: u32,
}

/// What a router of an interior gateway protocol has set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterSettings {
    /// Hello and dead interval on each link that it was heard on. IS-IS does not tell the former.
    pub intervals: Vec<(Link, Span, Span)>,
    /// What its edges cost.
    pub edges: Vec<EdgeCosts>,
    /// What its prefixes cost; kept where the scope is this router alone.
    pub prefixes: Vec<(Prefix, u32)>,
    /// It asks the others to route around it.
    pub overload: bool,
}

/// What the edges to one neighbour cost, as one advertisement says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCosts {
    /// The other end.
    pub to: NodeId,
    /// Which advertisement of the router, see [`edgelore_model::LinkStateChange::id`].
    pub advertisement: (u16, u32),
    /// One for each parallel edge, sorted.
    pub costs: Vec<u32>,
}

/// Settings of a scope that has had an incident, which changed and then stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// They were last changed no later than this.
    pub at: Timestamp,
    /// Where.
    pub scope: Scope,
    /// What holds now.
    pub settings: Settings,
}

#[cfg(test)]
mod tests;
