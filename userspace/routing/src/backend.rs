//! The one trait of all backends.
//!
//! Owns the contract and its errors. Never does I/O.
//!
//! **Invariant:** every operation is idempotent: repeating it after a lost answer does no harm.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Cell;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::packet::{Opened, PacketError, PacketId};
use edgelore_pipeline::synthesise::{Found, Unsigned};
use serde::{Deserialize, Serialize};

/// The most packets that one query returns.
pub const LIMIT_MAX: usize = 1_000;
/// How many packets a query returns that does not say.
pub const LIMIT_DEFAULT: usize = 50;
/// The most publishers whose statements are asked for at once.
pub const PUBLISHERS_MAX: usize = 1_000;
/// The most statements that one page of all of them has.
pub const STATEMENTS_PAGE: usize = 1_000;
/// The most cells that one subscription follows.
pub const CELLS_MAX: usize = 256;

/// The most characters of what a server says.
const SAID_CHARACTERS_MAX: usize = 240;

/// What a server says beside an error, if anything: one line of at most 240 printable characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// Cuts a server's words to their bound; what cannot be printed becomes U+FFFD, for it would
    /// change what a terminal or a log shows.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let printable = |c: char| "'\"\\".contains(c) || c.escape_debug().len() == 1;
        let words = text.split_whitespace().take(SAID_CHARACTERS_MAX).collect::<Vec<_>>().join(" ");
        let mut characters = words.chars().map(|c| if printable(c) { c } else { '\u{fffd}' });
        let mut said: String = characters.by_ref().take(SAID_CHARACTERS_MAX).collect();
        if characters.next().is_some() {
            said.pop();
            said.push('…');
        }
        Self(said)
    }

    /// The line, empty when nothing was said.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// Why a backend did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The packet is not one; asking again does not help.
    #[error("storing a packet: {0}")]
    Packet(#[from] PacketError),
    /// The packet does not count any more.
    #[error("storing a packet: it has expired")]
    Expired,
    /// The packet says that it was made more than a day from now.
    #[error("storing a packet: it comes from the future")]
    Future,
    /// The store's operator does not take the packet; the text says why.
    #[error("storing a packet: {0}")]
    Refused(String),
    /// The request itself is wrong; asking again does not help.
    #[error("asking a backend: {0}")]
    Request(String),
    /// The bearer token, user, password or key is missing or wrong.
    #[error("asking a backend: not authorised{0}")]
    Unauthorised(Said),
    /// Every place is taken by packets that still count.
    #[error("storing a packet: the store is full")]
    Full,
    /// The caller asks more often than it may; asking again helps after so many milliseconds.
    #[error("asking a backend: too many requests, again in {0} ms{1}")]
    Throttled(u64, Said),
    /// The backend did not answer in time.
    #[error("asking a backend: no answer in {0} ms")]
    Timeout(u64),
    /// The backend cannot be reached or stopped answering.
    #[error("asking a backend: {0}")]
    Unavailable(String),
    /// The backend's own storage failed.
    #[error("backend storage: {0}")]
    Storage(String),
    /// The backend answered what it should not.
    #[error("backend answer: {0}")]
    Answer(String),
}

impl BackendError {
    /// Whether trying the same again can never help. False for everything that time or an
    /// operator can mend: an unreachable or full store, a wrong token, a wrong address.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Packet(_) | Self::Expired | Self::Future | Self::Refused(_) | Self::Request(_)
        )
    }

    /// What went wrong, in one word, for counting.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Packet(_) => "packet",
            Self::Expired => "expired",
            Self::Future => "future",
            Self::Refused(_) => "refused",
            Self::Request(_) => "request",
            Self::Unauthorised(_) => "unauthorised",
            Self::Full => "full",
            Self::Throttled(..) => "throttled",
            Self::Timeout(_) => "timeout",
            Self::Unavailable(_) => "unavailable",
            Self::Storage(_) => "storage",
            Self::Answer(_) => "answer",
        }
    }

    /// Whether the same request may succeed soon.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled(..) | Self::Timeout(_) | Self::Unavailable(_))
    }
}

/// An acknowledgement: the packet is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of the packet's bytes.
    pub id: PacketId,
    /// It was not there before.
    pub new: bool,
}

/// A place in a backend's order of arrival; only meaningful to the backend that gave it.
/// `Cursor(0)` lies before everything.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cursor(pub u64);

/// A packet that a subscriber receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Resume after this to miss nothing and receive nothing twice.
    pub cursor: Cursor,
    /// The packet, verified.
    pub packet: Opened,
}

/// What a backend can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Capability {
    /// Its name: `embedded`, `http`, …
    pub name: String,
    /// An acknowledged packet survives the crash of the machine that stores it.
    pub durable: bool,
    /// A query returns everything within the radius, not a sample.
    pub exact: bool,
    /// A subscription can resume after a cursor.
    pub resumable: bool,
    /// First eight bytes of the id of the similarity definition that it measures and keys with,
    /// hexadecimal.
    pub space: String,
}

/// A running subscription.
#[async_trait]
pub trait Subscription: Send {
    /// Where the subscription stands: resuming after this continues it. While [`Subscription::next`]
    /// waits, it moves past what the backend holds and does not give out.
    fn cursor(&self) -> Cursor;

    /// Waits for the next packet. After a transient error the next call resumes where it stood.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] when the backend went away.
    async fn next(&mut self) -> Result<Delivery, BackendError>;
}

/// Refuses a subscription to more than [`CELLS_MAX`] cells.
pub(crate) fn check_cells(cells: &[Cell]) -> Result<(), BackendError> {
    if cells.len() > CELLS_MAX {
        return Err(BackendError::Request(format!("more than {CELLS_MAX} cells")));
    }
    Ok(())
}

/// A place where packets are stored and found.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Verifies and stores a packet; returns once it is durable. Storing it again changes nothing.
    ///
    /// # Errors
    /// [`BackendError::Packet`], [`BackendError::Expired`], [`BackendError::Future`] for what is
    /// not accepted, and whatever keeps the backend from storing.
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError>;

    /// Everything within `radius` milli-units of `query` that has not expired, nearest first,
    /// equally near ones by id; at most `limit`, and never more than [`LIMIT_MAX`].
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError>;

    /// The exact bytes of a packet, expired or not; `None` when it is not there.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError>;

    /// Follows the cells (all of them when there are none), in the order of arrival: from `after`,
    /// or from now when that is `None`.
    ///
    /// # Errors
    /// [`BackendError::Request`] for more than [`CELLS_MAX`] cells or a cell of another space.
    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError>;

    /// Verifies and keeps what a publisher says of its key; a store that keeps statements honours
    /// them in everything that it gives.
    ///
    /// # Errors
    /// [`BackendError::Packet`] for what is no statement, [`BackendError::Request`] from a backend
    /// that keeps none, and whatever keeps it from storing.
    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        drop(statement);
        Err(BackendError::Request("this store keeps no statements about keys".into()))
    }

    /// What these publishers said of their keys, and who names them as successors; at most
    /// [`PUBLISHERS_MAX`] are asked about.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        let _ = publishers;
        Ok(Vec::new())
    }

    /// A page of all the statements that it keeps: those whose ids follow `after` (all without), by
    /// id, at most [`STATEMENTS_PAGE`]. None from a backend that keeps none.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        let _ = after;
        Ok(Vec::new())
    }

    /// How many packets it holds, with those that do not count any more; `None` when it cannot say.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    async fn held(&self) -> Result<Option<u64>, BackendError> {
        Ok(None)
    }

    /// Keeps a packet of the reference's form, which nobody signed. It is shown and never votes.
    ///
    /// # Errors
    /// [`BackendError::Request`] for impossible values and from a backend that keeps none.
    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        drop(packet);
        Err(BackendError::Request("this store keeps no unsigned packets".into()))
    }

    /// The unsigned packets within `radius` milli-units of `query` that have not expired, nearest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        let _ = (query, radius, limit);
        Ok(Vec::new())
    }

    /// How often something in a server or its answers was left out because it was not what it should
    /// be; of several backends together.
    fn skipped(&self) -> u64 {
        0
    }

    /// What it counts of its own, beside what it is asked, by name; of several backends together
    /// summed. Nothing from one that counts nothing.
    fn counts(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// What it can do.
    fn capability(&self) -> Capability;
}

/// Nearest first, of those equally far the one with the lower id, and each packet once: as a query
/// answers.
pub(crate) fn in_order(found: &mut Vec<Found>) {
    found.sort_by_key(|found| (found.distance, found.opened.id));
    found.dedup_by_key(|found| found.opened.id);
}
