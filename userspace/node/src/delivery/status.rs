//! What the operator is told of received outcomes.
//!
//! Owns the figures' form. Never counts by itself.

use edgelore_model::Timestamp;
use edgelore_pipeline::packet::Opened;
use serde::{Deserialize, Serialize};

/// Following one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// It is followed now.
    pub connected: bool,
    /// Cells that are followed.
    pub cells: usize,
    /// Cells within the radius that there was no room for.
    pub cells_left_out: usize,
    /// Up to where it was received, in the server's order of arrival.
    pub cursor: u64,
    /// Packets that were new here, since the start.
    pub received: u64,
    /// Those of them that others published.
    pub news: u64,
    /// Packets that were here already.
    pub repeated: u64,
    /// Packets that the local store does not take: expired meanwhile, or the first to go.
    pub refused: u64,
    /// Failures since the start.
    pub failures: u64,
    /// The last failure; absent while it is followed.
    pub error: Option<String>,
    /// The last one that somebody else published.
    pub latest: Option<ReceivedView>,
}

/// An outcome that somebody else published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedView {
    /// When it was received.
    pub at: Timestamp,
    /// The packet's id, hexadecimal.
    pub packet: String,
    /// Who published it, hexadecimal.
    pub publisher: String,
    /// The network's shape.
    pub topology_class: String,
    /// The protocol.
    pub protocol: String,
    /// What happened.
    pub event_type: String,
    /// What was done.
    pub pattern: String,
}

impl ReceivedView {
    pub(super) fn of(packet: &Opened, at: Timestamp) -> Self {
        let situation = &packet.outcome.situation;
        Self {
            at,
            packet: hex::encode(packet.id),
            publisher: hex::encode(packet.publisher),
            topology_class: situation.topology_class.clone(),
            protocol: situation.protocol.clone(),
            event_type: situation.event_type.clone(),
            pattern: packet.outcome.resolution.pattern.clone(),
        }
    }
}
