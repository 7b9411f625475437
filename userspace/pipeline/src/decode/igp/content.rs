//! What an advertisement says of the topology, in the model's terms.
//!
//! **Invariant:** neighbours and prefixes are sorted, and none stands twice with the same metric.

use edgelore_model::{NodeId, Span, TopologyEdge, TopologyPrefix};

/// The content of an OSPF LSA or IS-IS LSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Who originated it, or the pseudonode that it speaks for.
    pub origin: NodeId,
    /// Not to be used for transit.
    pub overload: bool,
    /// Neighbours.
    pub neighbours: Vec<TopologyEdge>,
    /// Prefixes.
    pub prefixes: Vec<TopologyPrefix>,
    /// How long a restarting router asks its neighbours to wait.
    pub grace: Option<Span>,
}

impl Content {
    /// One that says nothing of the topology.
    pub(super) const fn of(origin: NodeId) -> Self {
        Self { origin, overload: false, neighbours: Vec::new(), prefixes: Vec::new(), grace: None }
    }

    /// Puts what was read in order.
    pub(super) fn sorted(mut self) -> Self {
        self.neighbours.sort_unstable();
        self.neighbours.dedup();
        self.prefixes.sort_unstable();
        self.prefixes.dedup();
        self
    }
}
