//! What peers sent that was not taken, by reason, and what each reason weighs against the peer.
//!
//! Owns the counts. Never decides about a peer: [`Peers`](super::peers::Peers) does.
//!
//! **Invariant:** nothing that a peer sent is left out without being counted here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use edgelore_pipeline::packet::PacketError;

use crate::backend::BackendError;

/// Why something of a peer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// No packet.
    Damaged,
    /// Longer than a packet can be.
    Oversized,
    /// A signature that does not fit.
    Forged,
    /// Of another similarity definition.
    Space,
    /// Not what was asked for, or not where it belongs.
    Unasked,
    /// It has expired.
    Expired,
    /// It comes from the future.
    Future,
    /// Named, and not given when it was asked for.
    Withheld,
    /// A frame that is no message, or a message out of its bounds.
    Malformed,
    /// More than one peer may send.
    Flood,
    /// More than this node can take now, or than its store holds.
    Busy,
    /// Other nodes are responsible for it.
    Elsewhere,
    /// A statement for which its key, or those that nobody here knows, have no room left.
    Crowded,
    /// A question of a later version.
    Unknown,
}

const ALL: [(Reason, &str, u32); 14] = [
    (Reason::Damaged, "damaged", 10),
    (Reason::Oversized, "oversized", 10),
    (Reason::Forged, "forged", 10),
    (Reason::Space, "space", 10),
    (Reason::Unasked, "unasked", 10),
    // A clock that is wrong makes honest peers send these.
    (Reason::Expired, "expired", 1),
    (Reason::Future, "future", 1),
    // What was purged meanwhile looks the same.
    (Reason::Withheld, "withheld", 1),
    (Reason::Malformed, "malformed", 20),
    (Reason::Flood, "flood", 1),
    (Reason::Busy, "busy", 0),
    (Reason::Elsewhere, "elsewhere", 0),
    (Reason::Crowded, "crowded", 0),
    (Reason::Unknown, "unknown", 0),
];

impl Reason {
    /// Why a store did not take a packet.
    pub(super) const fn of(error: &BackendError) -> Self {
        match error {
            BackendError::Packet(PacketError::Oversized(_)) => Self::Oversized,
            BackendError::Packet(PacketError::Signature) => Self::Forged,
            BackendError::Packet(_) => Self::Damaged,
            BackendError::Request(_) => Self::Space,
            BackendError::Expired => Self::Expired,
            BackendError::Future => Self::Future,
            _ => Self::Busy,
        }
    }

    /// What it weighs; a peer is banned at [`BANNED_AT`](super::peers::BANNED_AT).
    pub(super) const fn weight(self) -> u32 {
        ALL[self as usize].2
    }

    pub(super) const fn name(self) -> &'static str {
        ALL[self as usize].1
    }
}

/// Counts by reason.
#[derive(Debug, Default)]
pub(super) struct Refusals([AtomicU64; ALL.len()]);

impl Refusals {
    /// Counts, and logs: every time at first, then ever more rarely.
    pub(super) fn count(&self, reason: Reason, peer: &dyn std::fmt::Display) {
        let count = self.0[reason as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if count <= 8 || count.is_power_of_two() {
            tracing::warn!(%peer, reason = reason.name(), count, "refused what a peer sent");
        }
    }

    pub(super) fn all(&self) -> BTreeMap<&'static str, u64> {
        ALL.iter().map(|(reason, name, _)| (*name, self.of(*reason))).collect()
    }

    fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_stand_in_their_order() {
        for (place, (reason, name, _)) in ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place, "{name}");
        }
    }
}
