//! Why a store did not do what it was asked.

use edgelore_pipeline::packet::PacketError;
use std::time::Duration;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The packet is not one: malformed, too large, wrongly signed, impossible.
    #[error("refusing packet: {0}")]
    Packet(#[from] PacketError),
    /// The packet was published under another similarity definition.
    #[error("refusing packet: its similarity definition is {packet}, the store's is {store}")]
    Space {
        /// First eight bytes of the packet's space id, hexadecimal.
        packet: String,
        /// Those of the store's.
        store: String,
    },
    /// The packet's time is over.
    #[error("refusing packet: it has expired")]
    Expired,
    /// The packet claims to be from a time that has not come.
    #[error("refusing packet: it was created more than a day from now")]
    NotYet,
    /// The remote store refuses the packet or the request, and will refuse it again.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// The request cannot be served by any store.
    #[error("request: {0}")]
    Request(String),
    /// The remote store does not accept our token, or wants one.
    #[error("the store denies access: {0}")]
    Denied(String),
    /// A bounded queue is full.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// The store holds as many packets as it may.
    #[error("the store is full: {0}")]
    Full(String),
    /// There is nobody at the other end.
    #[error("{operation}: the store cannot be reached: {reason}")]
    Unreachable {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// No answer in time.
    #[error("{operation}: no answer within {} ms", .after.as_millis())]
    Timeout {
        /// What was being done.
        operation: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is not what a store says: a wrong address, a proxy, or a store that lies.
    #[error("{operation}: not an answer of a store: {reason}")]
    Answer {
        /// What was being done.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The database or the disk below it.
    #[error("{operation}: {reason}")]
    Storage {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The configuration names no usable store.
    #[error("configuration: {0}")]
    Configuration(String),
}

impl BackendError {
    /// Trying the same again can never help. False for everything that time or an operator can
    /// mend: an unreachable, busy or full store, a wrong token, a wrong address.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Packet(_)
                | Self::Space { .. }
                | Self::Expired
                | Self::NotYet
                | Self::Refused(_)
                | Self::Request(_)
        )
    }

    /// Trying the same again soon may help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unreachable { .. } | Self::Timeout { .. })
    }
}
