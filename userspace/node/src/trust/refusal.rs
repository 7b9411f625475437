//! Why a packet is not taken, shown or delivered.
//!
//! Owns the reasons, one word each, under which refusals are counted and logged.

use edgelore_pipeline::packet::PacketError;
use edgelore_routing::BackendError;

/// A reason. Whatever is refused is refused for exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Not a packet, or one of a version that is not known.
    Malformed,
    /// Longer than a packet can be.
    Oversized,
    /// The signature does not fit.
    Forged,
    /// It was sent under another packet's id.
    Misnamed,
    /// It says what cannot be.
    Impossible,
    /// Of another similarity definition, or otherwise not what the store asked for.
    Foreign,
    /// It does not count any more.
    Expired,
    /// Made more than a day from now.
    Future,
    /// Made before the replay window.
    Stale,
    /// The publisher is on the deny list.
    Blocked,
    /// The publisher is not on the allow list.
    NotAllowed,
    /// The publisher's key was revoked.
    Revoked,
    /// Its publisher replaced it or took it back.
    Withdrawn,
    /// Its publisher publishes more than it may.
    Flooding,
    /// Nobody signed it, and only those in the book are taken.
    Unsigned,
    /// There is no room for it.
    Full,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::Oversized,
        Self::Forged,
        Self::Misnamed,
        Self::Impossible,
        Self::Foreign,
        Self::Expired,
        Self::Future,
        Self::Stale,
        Self::Blocked,
        Self::NotAllowed,
        Self::Revoked,
        Self::Withdrawn,
        Self::Flooding,
        Self::Unsigned,
        Self::Full,
    ];

    /// Its word in counters and logs.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::Forged => "forged",
            Self::Misnamed => "misnamed",
            Self::Impossible => "impossible",
            Self::Foreign => "foreign",
            Self::Expired => "expired",
            Self::Future => "future",
            Self::Stale => "stale",
            Self::Blocked => "blocked",
            Self::NotAllowed => "not_allowed",
            Self::Revoked => "revoked",
            Self::Withdrawn => "withdrawn",
            Self::Flooding => "flooding",
            Self::Unsigned => "unsigned",
            Self::Full => "full",
        }
    }

    /// What whoever sent the packet is told.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Stale => "it was made before the replay window of this store",
            Self::Blocked => "its publisher is blocked here",
            Self::NotAllowed => "its publisher is not among those that this store takes",
            Self::Revoked => "its publisher's key was revoked",
            Self::Withdrawn => "its publisher has withdrawn it",
            Self::Unsigned => "nobody signed it, and this store takes what known publishers sign",
            Self::Malformed => "it is no packet",
            Self::Oversized => "it is too long",
            Self::Forged => "its signature does not verify",
            Self::Misnamed => "it was sent under the id of another packet",
            Self::Impossible => "it says what cannot be",
            Self::Foreign => "it is not for this store",
            Self::Expired => "it has expired",
            Self::Future => "it comes from the future",
            Self::Flooding => "its publisher publishes more than it may",
            Self::Full => "the store is full",
        }
    }

    /// The reason in a store's error; `None` for those that say nothing of the packet, as when a
    /// server cannot be reached.
    #[must_use]
    pub const fn of(error: &BackendError) -> Option<Self> {
        Some(match error {
            BackendError::Packet(packet) => Self::of_packet(packet),
            BackendError::Expired => Self::Expired,
            BackendError::Future => Self::Future,
            BackendError::Request(_) => Self::Foreign,
            BackendError::Full => Self::Full,
            _ => return None,
        })
    }

    const fn of_packet(error: &PacketError) -> Self {
        match error {
            PacketError::Oversized(_) => Self::Oversized,
            PacketError::Signature | PacketError::Changed => Self::Forged,
            PacketError::Impossible(_) => Self::Impossible,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_word_and_a_sentence_of_its_own() {
        let terms: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.term()).collect();
        let reasons: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.reason()).collect();
        assert_eq!((terms.len(), reasons.len()), (Refusal::ALL.len(), Refusal::ALL.len()));
        let known: BTreeSet<_> = Refusal::ALL.into_iter().collect();
        assert_eq!(known.len(), Refusal::ALL.len());
    }

    #[test]
    fn a_server_that_is_away_refuses_nothing() {
        assert_eq!(Refusal::of(&BackendError::Timeout(1)), None);
        assert_eq!(Refusal::of(&BackendError::Unavailable(String::new())), None);
        let forged = BackendError::Packet(PacketError::Signature);
        assert_eq!(Refusal::of(&forged), Some(Refusal::Forged));
    }
}
