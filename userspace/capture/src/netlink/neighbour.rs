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

use super::NetlinkError;
use super::message::{Message, RTM_GETNEIGH};
use super::sampled::{Sampled, Table, TableConfig, TableCounters};
use crate::Clock;
use edgelore_model::{Batch, NeighbourChange, NeighbourState, SignalKind, Timestamp};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How often to look, and how much to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourConfig(pub TableConfig);

impl NeighbourConfig {
    /// Samples each 500 ms, remembers 65,536 neighbours.
    #[must_use]
    pub const fn new(clock: Clock) -> Self {
        Self(TableConfig {
            clock,
            interval: Duration::from_millis(500),
            receive_buffer_octets: 4 << 20,
            entries_max: 65_536,
        })
    }
}

#[derive(Debug)]
enum Neighbours {}

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

/// The source of [`SignalKind::Neighbour`].
///
/// Starts with a signal for each neighbour.
#[derive(Debug)]
pub struct NeighbourSource(Sampled<Neighbours>);

impl NeighbourSource {
    /// Joins the multicast group and reads the present state.
    ///
    /// # Errors
    /// When the interval is out of bounds, a socket call fails or the kernel refuses the dump.
    pub fn open(config: NeighbourConfig) -> Result<Self, NetlinkError> {
        Sampled::open(config.0).map(Self)
    }

    /// For `epoll`, level-triggered; readable when something was announced. Samples are due
    /// without it: read at least once an interval.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> TableCounters {
        self.0.counters()
    }

    /// Waits for an announcement or the next sample, but at most `timeout`. Appends up to 16,384
    /// signals to `batch` and returns how many.
    ///
    /// # Errors
    /// When a socket call fails or the dump is refused; the next sample makes up for it.
    pub fn read(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, NetlinkError> {
        self.0.read(timeout, batch)
    }
}
