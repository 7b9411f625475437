//! Interior gateway protocols: what OSPF and IS-IS say of adjacencies and of the topology.

use crate::{Prefix, Span};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which link-state protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IgpProtocol {
    /// RFC 2328.
    OspfV2,
    /// RFC 5340.
    OspfV3,
    /// ISO 10589, level 1.
    IsisLevel1,
    /// ISO 10589, level 2.
    IsisLevel2,
}

/// A router as its protocol names it: an OSPF router id in the last four octets of a zeroed six,
/// or an IS-IS system id; with the pseudonode number (IS-IS) or 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// Router id or system id.
    pub system: [u8; 6],
    /// IS-IS pseudonode number, or for OSPF the interface of a designated router that a network
    /// LSA describes (its address in IPv4, its interface id in OSPFv3); 0 for a router.
    pub pseudonode: u32,
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.system {
            write!(f, "{octet:02x}")?;
        }
        write!(f, ".{}", self.pseudonode)
    }
}

/// One level or area of a link-state protocol: topologies of different areas never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IgpArea {
    /// The protocol.
    pub protocol: IgpProtocol,
    /// OSPF area id; 0 for IS-IS, whose LSPs do not say one.
    pub area: u32,
}

/// What a router says in its hellos, told when it differs from what it said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloChange {
    /// Where.
    pub area: IgpArea,
    /// Who says it.
    pub router: NodeId,
    /// Time between hellos. IS-IS does not tell it: the interval is zero.
    pub hello_interval: Span,
    /// OSPF's RouterDeadInterval, IS-IS's holding time.
    pub dead_interval: Span,
    /// The neighbours it hears, sorted.
    pub neighbours: Vec<NodeId>,
    /// The first hello of this router on this link.
    pub first: bool,
}

/// How a link-state advertisement came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkStateAction {
    /// Not known before.
    New,
    /// A newer instance whose content differs.
    Changed,
    /// A newer instance with the same content.
    Refreshed,
    /// Withdrawn: MaxAge, or a remaining lifetime of zero.
    Flushed,
}

/// An edge of the topology, as one router claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopologyEdge {
    /// The other end.
    pub to: NodeId,
    /// Metric.
    pub cost: u32,
}

/// A prefix that a router reaches, with its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopologyPrefix {
    /// The prefix.
    pub prefix: Prefix,
    /// Metric.
    pub cost: u32,
}

/// A link-state advertisement (OSPF LSA, IS-IS LSP fragment) with what it says of the topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStateChange {
    /// Where.
    pub area: IgpArea,
    /// Who originated it; the pseudonode of a network LSA or pseudonode LSP.
    pub origin: NodeId,
    /// OSPF: LS type and Link State ID; IS-IS: 0 and the fragment number.
    pub id: (u16, u32),
    /// Sequence number as sent.
    pub sequence: u32,
    /// OSPF's LS age, or how much of IS-IS's remaining lifetime of 1,200 s has gone.
    pub age: Span,
    /// What happened.
    pub action: LinkStateAction,
    /// The IS-IS overload bit, or OSPF's stub router by infinite metrics (RFC 6987).
    pub overload: bool,
    /// Neighbours, sorted; empty after a flush.
    pub neighbours: Vec<TopologyEdge>,
    /// Prefixes, sorted; empty after a flush.
    pub prefixes: Vec<TopologyPrefix>,
}
