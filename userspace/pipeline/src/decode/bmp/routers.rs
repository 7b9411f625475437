//! What is remembered of monitored routers and their peers.
//!
//! **Invariant:** at most `routers_max` routers with at most `peers_max` peers each; what is
//! evicted or was reported over a connection that has ended is unknown again, never down.

use super::PeerKey;
use crate::decode::bgp::Negotiated;
use crate::decode::table::Table;
use edgelore_model::{AddressFamily, Rib};
use std::net::{IpAddr, SocketAddr};

/// Connections of one router that are told apart: one for each routing instance that reports on
/// its own, and those of a router that came back before its old connection was seen to end.
const CONNECTIONS_MAX: usize = 16;

/// Where a router's messages come from. A router that is both listened to and seen in passing
/// counts as two, so that what is read of one source never depends on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::decode) enum Origin {
    /// This gateway's listener.
    Listener,
    /// A connection to another collector.
    Stream,
}

/// All monitored routers.
pub(in crate::decode) struct Routers {
    table: Table<(Origin, IpAddr), Router>,
    peers_max: usize,
    pub(super) peers_evicted: u64,
}

impl Routers {
    pub(in crate::decode) fn new(routers_max: usize, peers_max: usize) -> Self {
        Self { table: Table::new(routers_max), peers_max, peers_evicted: 0 }
    }

    /// Routers and peers forgotten because there were too many.
    pub(in crate::decode) const fn evicted(&self) -> (u64, u64) {
        (self.table.evicted(), self.peers_evicted)
    }

    /// The router at the other end of a connection, known from now on.
    pub(super) fn of(&mut self, origin: Origin, end: SocketAddr) -> &mut Router {
        let max = self.peers_max;
        let router = self.table.get_or_insert((origin, end.ip()), || Router::new(max));
        router.opened(end);
        router
    }

    /// Bytes of the router are missing: what its tables hold is not certain any more.
    pub(in crate::decode) fn gap(&mut self, origin: Origin, router: IpAddr) {
        if let Some(place) = self.table.find(&(origin, router)) {
            let router = self.table.at(place);
            router.whole = false;
            router.gaps += 1;
        }
    }

    /// A connection ended. What the router had said of itself, when it was the last one and the
    /// router had not said goodbye.
    pub(in crate::decode) fn closed(&mut self, origin: Origin, end: SocketAddr) -> Option<String> {
        let place = self.table.find(&(origin, end.ip()))?;
        let router = self.table.at(place);
        router.connections.retain(|&connection| connection != end);
        if !router.connections.is_empty() {
            return None;
        }
        let words = router.words.take();
        *router = Router::new(self.peers_max);
        words
    }
}

/// One monitored router.
pub(super) struct Router {
    connections: Vec<SocketAddr>,
    /// Its Initiation was seen and no byte since is missing.
    pub(super) whole: bool,
    /// What it said of itself; `None` before that and after its Termination.
    pub(super) words: Option<String>,
    /// Gaps so far; a peer's tables are known only if there was none since they were begun.
    gaps: u64,
    peers: Table<PeerKey, Peer>,
}

impl Router {
    fn new(peers_max: usize) -> Self {
        let (connections, peers) = (Vec::new(), Table::new(peers_max));
        Self { connections, whole: false, words: None, gaps: 0, peers }
    }

    fn opened(&mut self, end: SocketAddr) {
        if self.connections.contains(&end) {
            return;
        }
        if self.connections.len() == CONNECTIONS_MAX {
            self.connections.remove(0);
        }
        self.connections.push(end);
    }

    /// Forgets all peers: they are unknown from now on.
    pub(super) fn forget_peers(&mut self, peers_max: usize) {
        self.peers = Table::new(peers_max);
    }

    /// The peer, and whether another had to be forgotten for it.
    pub(super) fn peer(&mut self, key: PeerKey) -> (&mut Peer, bool) {
        let (place, gone) = match self.peers.find(&key) {
            Some(place) => (place, false),
            None => {
                let (place, gone) = self.peers.insert(key, Peer::default());
                (place, gone.is_some())
            }
        };
        let peer = self.peers.at(place);
        if peer.gaps != self.gaps {
            (peer.gaps, peer.tables) = (self.gaps, Tables::default());
        }
        (peer, gone)
    }
}

impl Routers {
    /// The bound on peers of one router.
    pub(super) const fn peers_max(&self) -> usize {
        self.peers_max
    }
}

/// What is known of a peer's session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    #[default]
    Unknown,
    /// It carries routes, but its Peer Up was not seen.
    Presumed,
    /// Peer Up was seen.
    Up,
    /// Peer Down was seen.
    Down,
}

/// One peer of a monitored router.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) state: State,
    /// TCP ports of the session, as its Peer Up stated them.
    pub(super) ports: [u16; 2],
    /// What its OPENs agreed on for messages from the peer, and from the router.
    pub(super) negotiated: Option<Box<[Negotiated; 2]>>,
    pub(super) tables: Tables,
    gaps: u64,
}

impl Peer {
    /// Forgets the session.
    pub(super) fn restart(&mut self) {
        *self = Self { gaps: self.gaps, ..Self::default() };
    }
}

/// What the tables of a peer have shown since its session came up, a bit for each table and
/// address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    announced: u16,
    /// What is in the table is known: nothing, or what was announced.
    complete: u16,
}

impl Tables {
    /// Those of a session that has just begun: all empty.
    pub(super) const EMPTY: Self = Self { announced: 0, complete: u16::MAX };

    /// A route was announced.
    pub(super) fn announced(&mut self, rib: Rib, family: AddressFamily) {
        self.announced |= bit(rib, family);
    }

    /// End-of-RIB: the table was sent as a whole.
    pub(super) fn complete(&mut self, rib: Rib, family: AddressFamily) {
        self.complete |= bit(rib, family);
    }

    /// The session began before our eyes or the router said that it had sent this table as a
    /// whole, and no route was announced: nothing can be withdrawn from it.
    pub(super) fn is_empty(self, rib: Rib, family: AddressFamily) -> bool {
        let bit = bit(rib, family);
        self.complete & bit != 0 && self.announced & bit == 0
    }
}

const fn bit(rib: Rib, family: AddressFamily) -> u16 {
    let table = match rib {
        Rib::Wire => 0,
        Rib::InPre => 1,
        Rib::InPost => 2,
        Rib::OutPre => 3,
        Rib::OutPost => 4,
        Rib::Local => 5,
    };
    let family = match family {
        AddressFamily::Ipv4 => 0,
        AddressFamily::Ipv6 => 1,
    };
    1 << (2 * table + family)
}
