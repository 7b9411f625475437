//! Vital signs of control sessions: heartbeats that come late, segments that are sent again.

use crate::{IgpArea, NodeId, Protocol, SessionKey, Span};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Whose heartbeats, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Heartbeat {
    /// BFD control packets (RFC 5880).
    Bfd {
        /// The session.
        session: SessionKey,
        /// Who sends them.
        speaker: IpAddr,
    },
    /// Hellos of OSPF or IS-IS.
    Hello {
        /// Where.
        area: IgpArea,
        /// Who sends them.
        router: NodeId,
        /// The neighbour that they name, if it is exactly one.
        neighbour: Option<NodeId>,
    },
    /// Keepalives of BGP or LDP that stand alone (RFC 4271 §4.4, RFC 5036 §3.5.4).
    Keepalive {
        /// The session.
        session: SessionKey,
        /// Who sends them.
        speaker: IpAddr,
        /// Which of the two.
        protocol: Protocol,
    },
    /// Hellos of LDP (RFC 5036 §2.4).
    LdpHello {
        /// Who sends them.
        speaker: IpAddr,
    },
}

/// A heartbeat that came later than its timers allow, but early enough for the session to live on:
/// some before it were lost, or it was held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateHeartbeat {
    /// Whose.
    #[serde(flatten)]
    pub heartbeat: Heartbeat,
    /// The longest time between two of them that their sender may let pass.
    pub interval: Span,
    /// The time since the one before.
    pub gap: Span,
    /// Heartbeats of this sender seen so far, this one included, modulo 2^32.
    pub count: u32,
}

impl LateHeartbeat {
    /// How many heartbeats should have come within the gap and did not, at least one. An interval
    /// may be shortened by a quarter (RFC 5880 §6.8.7, ISO 10589 §10.1), so this is the fewest that
    /// explain the gap.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let (gap, interval) =
            (self.gap.0.max(0).unsigned_abs(), self.interval.0.max(1).unsigned_abs());
        gap.saturating_sub(interval / 4).div_ceil(interval).saturating_sub(1).max(1)
    }
}

/// A segment with data that had passed before passed again at the same place: it, or its
/// acknowledgment, was lost (RFC 9293 §3.8.1). A hole that is filled late counts likewise: the
/// segment was lost before it came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAgain {
    /// The session.
    pub session: SessionKey,
    /// Who sent it.
    pub speaker: IpAddr,
    /// What the session carries: BGP or LDP.
    pub protocol: Protocol,
    /// Segments with data that passed there since the connection began, repetitions and lone
    /// keepalives not counted.
    pub segments: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_tells_the_fewest_losses_that_explain_it() {
        let session = SessionKey::between([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let heartbeat = Heartbeat::Bfd { session, speaker: [192, 0, 2, 1].into() };
        for (gap_ms, lost) in [(130, 1), (150, 1), (200, 1), (225, 1), (226, 2), (425, 3), (426, 4)]
        {
            let (interval, gap) = (Span::from_millis(100), Span::from_millis(gap_ms));
            let late = LateHeartbeat { heartbeat, interval, gap, count: 9 };
            assert_eq!(late.lost(), lost, "{gap_ms} ms");
        }
    }
}
