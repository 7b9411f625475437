//! Follows the neighbours of a network namespace: which next hops answer.
//!
//! Owns what was last seen of each neighbour; decides nothing about reachability.
//!
//! The kernel announces most changes. It does not announce that an address is being resolved
//! (INCOMPLETE), which is the first sign of a neighbour that has gone: that shows at the next
//! sample, and lasts three seconds by default.
//!
//! **Invariant:** the signals of one neighbour, told apart by link and address, are states in the
//! order of time, no two in a row equal. A state that began and ended between two samples without
//! an announcement is not seen.

use super::message::{Message, RTM_GETNEIGH};
use super::sampled::{Table, TableSource};
use edgelore_model::{NeighbourChange, NeighbourState, SignalKind, Timestamp};
use std::net::IpAddr;

/// The source of [`SignalKind::Neighbour`].
pub type NeighbourSource = TableSource<Neighbours>;

/// The table of neighbours.
#[derive(Debug)]
pub enum Neighbours {}

impl Table for Neighbours {
    /// Link and address.
    type Key = (u32, IpAddr);
    type State = NeighbourState;
    const GROUP: (u32, &'static str) = (3, "join group NEIGH");
    const REQUEST: (u16, &'static str) = (RTM_GETNEIGH, "RTM_GETNEIGH");

    fn entry(message: Message) -> Option<(Self::Key, NeighbourState, bool)> {
        let Message::Neighbour { link, change } = message else { return None };
        Some(((link, change.address), change.state, change.present))
    }

    fn signal(
        key: Self::Key,
        state: NeighbourState,
        present: bool,
        _: Timestamp,
    ) -> (u32, SignalKind) {
        let (link, address) = key;
        (link, SignalKind::Neighbour(NeighbourChange { address, state, present }))
    }
}
