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
/// or an IS-IS system id; or the pseudonode that stands for a network with several routers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// Router id or system id.
    pub system: [u8; 6],
    /// IS-IS pseudonode number, or for OSPF the interface of a designated router that a network
    /// LSA describes (its address in OSPFv2, its interface id in OSPFv3); 0 for a router.
    ///
    /// OSPFv2's router LSAs tell only the address: `system` is zero then, and the address, which
    /// is unique within an area, names the pseudonode alone (RFC 2328 §A.4.2).
    pub pseudonode: u32,
}

impl NodeId {
    /// The router with this OSPF router id.
    #[must_use]
    pub const fn ospf(router_id: u32) -> Self {
        let [a, b, c, d] = router_id.to_be_bytes();
        Self { system: [0, 0, a, b, c, d], pseudonode: 0 }
    }

    /// The IS-IS system with this id.
    #[must_use]
    pub const fn isis(system: [u8; 6]) -> Self {
        Self { system, pseudonode: 0 }
    }

    /// The same system's pseudonode; itself for 0.
    #[must_use]
    pub const fn with_pseudonode(self, pseudonode: u32) -> Self {
        Self { system: self.system, pseudonode }
    }

    /// It is a router, not the pseudonode of a network.
    #[must_use]
    pub const fn is_router(self) -> bool {
        self.pseudonode == 0
    }
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
    /// The instance, 0 where there is but one: OSPFv2's of RFC 6549, OSPFv3's of RFC 5340, the
    /// instance identifier of IS-IS (RFC 8202).
    pub instance: u16,
    /// OSPF area id, the area of the link that it was seen on where an LSA is flooded beyond
    /// areas; 0 for IS-IS, whose LSPs belong to no single one.
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
    /// The neighbours it hears, sorted. IS-IS names them by hardware address on a LAN: those are
    /// left out whose own hello was not seen yet.
    pub neighbours: Vec<NodeId>,
    /// The designated router of the link as this router sees it, in the form of a pseudonode
    /// except in OSPFv3, which tells the router alone; `None` without one.
    pub designated: Option<NodeId>,
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
    /// Withdrawn: MaxAge, or a remaining lifetime of zero; told even of what was not known before.
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
    /// Who originated it; the pseudonode of a network LSA or pseudonode LSP, and of an
    /// intra-area prefix LSA that tells the prefixes of a network.
    pub origin: NodeId,
    /// OSPF: LS type and Link State ID; IS-IS: pseudonode number and fragment number. With
    /// `origin.system` it names the advertisement within its area.
    pub id: (u16, u32),
    /// Sequence number as sent.
    pub sequence: u32,
    /// OSPF's LS age, or how much of IS-IS's remaining lifetime of 1,200 s has gone; zero for a
    /// lifetime beyond that.
    pub age: Span,
    /// What happened.
    pub action: LinkStateAction,
    /// The IS-IS overload bit, or OSPF's stub router by infinite metrics (RFC 6987).
    pub overload: bool,
    /// Neighbours, sorted; empty after a flush.
    pub neighbours: Vec<TopologyEdge>,
    /// Prefixes, sorted; empty after a flush.
    pub prefixes: Vec<TopologyPrefix>,
    /// The grace period of a grace LSA: the origin restarts and asks for patience (RFC 3623,
    /// RFC 5187).
    pub grace: Option<Span>,
}
