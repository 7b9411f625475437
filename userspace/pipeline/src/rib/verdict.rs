//! What one announcement or withdrawal did, as detection reads it.

use super::table::TICK_BITS;

/// What became of one prefix of one speaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Became {
    /// Announced, and never heard of before in this life of the session: how a table is
    /// transferred.
    New,
    /// Announced again after it was withdrawn.
    Returned,
    /// Announced with other attributes than before.
    Changed,
    /// Announced as before.
    #[default]
    Repeated,
    /// Withdrawn, and was announced.
    Withdrawn,
    /// Withdrawn, and never heard of before in this life of the session: a true loss when its
    /// beginning was not seen, else nothing.
    WithdrawnUnheard,
    /// Withdrawn, and was withdrawn already.
    WithdrawnAgain,
    /// Announced for the first time, and not followed for want of room.
    Refused,
}

/// As many kinds as a word has octets: that is how they are counted.
const _: () = assert!(Became::Refused as u32 == 7);

impl Became {
    /// A route that was known is another now: changed, lost or back.
    #[must_use]
    pub const fn moved(self) -> bool {
        matches!(self, Self::Changed | Self::Withdrawn | Self::Returned)
    }

    /// It is no longer announced, and was as far as can be known.
    #[must_use]
    pub const fn lost(self) -> bool {
        matches!(self, Self::Withdrawn | Self::WithdrawnUnheard)
    }
}

/// What one announcement or withdrawal did to its prefix, and how the prefix stands since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub became: Became,
    /// Changes between announced and withdrawn in the running episode, this one included; at most
    /// 127.
    pub transitions: u8,
    /// The penalty after it (RFC 2439 §2.3), in units of 1,000 a withdrawal.
    pub penalty: u16,
    /// The time since its running episode began with its first transition or change, in ticks.
    pub(super) lasted: u32,
}

impl Verdict {
    /// The time since the prefix's running episode began with its first transition or change, in
    /// ms, early or late by two.
    #[must_use]
    pub fn lasted_ms(&self) -> u32 {
        u32::try_from((u64::from(self.lasted) << TICK_BITS) / 1_000_000).unwrap_or(u32::MAX)
    }
}
