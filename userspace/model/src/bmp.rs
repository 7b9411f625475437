//! BMP (RFC 7854, 8671, 9069): what a monitored router reports of its peers.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Which of a router's tables a route was seen in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Rib {
    /// On the wire between the two speakers, or in a collector's dump of it.
    #[default]
    Wire,
    /// Adj-RIB-In before policy (RFC 7854).
    InPre,
    /// Adj-RIB-In after policy (RFC 7854).
    InPost,
    /// Adj-RIB-Out before policy (RFC 8671).
    OutPre,
    /// Adj-RIB-Out after policy (RFC 8671).
    OutPost,
    /// Loc-RIB (RFC 9069).
    Local,
}

/// A statistics report (RFC 7854 §4.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatistics {
    /// The monitored router.
    pub router: IpAddr,
    /// Its peer.
    pub peer: IpAddr,
    /// The routing instance of the router that the peer belongs to; 0 for the default one.
    pub instance: u64,
    /// Statistics by type, 32- and 64-bit ones alike, in wire order; of those that are counted
    /// per address family, one entry for each.
    pub values: Vec<(u16, u64)>,
}

/// A monitored router came or went (its Initiation, Termination, or the end of its connection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterChange {
    /// The monitored router.
    pub router: IpAddr,
    /// It is connected.
    pub connected: bool,
    /// What it says of itself or of why it goes; stays on the gateway.
    pub words: String,
}
