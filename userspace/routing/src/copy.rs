//! Copying one backend into another.
//!
//! ```text
//! statements ─► declare      everything that counts ─► store, 32 at once ─► read back, compare
//! ```
//!
//! Owns the order: statements about keys first, so that nothing of a revoked key counts in between.
//! What has expired or was withdrawn is not given by the source and not copied, and neither is what
//! nobody signed. Repeating a copy does no harm: what is there counts as known.
//!
//! **Invariant:** a copy succeeds only when every packet that the destination acknowledged was read
//! back from it afterwards and has the same bytes.

use std::collections::BTreeMap;

use edgelore_model::Timestamp;
use edgelore_pipeline::packet::{self, Opened};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::PacketId;
use crate::backend::{Backend, BackendError};
use crate::embedded::Now;
use crate::everything::Everything;

/// Packets that are stored, or read back, at the same time.
const AT_ONCE: usize = 32;
/// Packets that are missing and named; all are counted.
const NAMED_MAX: usize = 16;

/// Why a copy is not complete. What was stored until then stays; the same copy may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source failed.
    #[error("reading the source after {read} packets: {source}")]
    Source {
        /// Packets read before.
        read: u64,
        /// Why.
        source: BackendError,
    },
    /// The destination failed.
    #[error("storing in the destination after {stored} packets: {source}")]
    Destination {
        /// Packets that it has acknowledged.
        stored: u64,
        /// Why.
        source: BackendError,
    },
    /// The destination does not give back what it acknowledged.
    #[error(
        "verifying the destination: {missing} of {stored} acknowledged packets are not in it, \
         {altered} have other bytes; among them {named}"
    )]
    Unfaithful {
        /// Packets that it has acknowledged.
        stored: u64,
        /// Packets that are not there.
        missing: u64,
        /// Packets that are others.
        altered: u64,
        /// The first of them.
        named: String,
    },
}

/// What became of the statements about keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopiedStatements {
    /// Those that the destination did not have.
    pub new: u64,
    /// Those that it had.
    pub known: u64,
    /// Those that it does not take, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// What became of what the source holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Packets that the source gave.
    pub read: u64,
    /// Packets that it holds and did not give, because they have expired, were withdrawn or are not
    /// what they should be; `None` when it cannot say.
    pub left_out: Option<u64>,
    /// Packets that the destination did not have.
    pub new: u64,
    /// Packets that it had.
    pub known: u64,
    /// Packets that expired on the way.
    pub expired: u64,
    /// Packets that the destination will never take, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Packets that were read back and are the same.
    pub verified: u64,
    /// Statements about keys.
    pub statements: CopiedStatements,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Packets copied, of how many that the source holds, if it can say.
    Copying(u64, Option<u64>),
    /// Packets read back, of how many.
    Verifying(u64, u64),
}

/// What the destination said of a packet.
enum Fate {
    Stored { new: bool, id: PacketId, expires: Timestamp },
    Expired,
    Refused(String),
}

/// A packet that has to be there at the end.
type Kept = (PacketId, Timestamp);

/// Copies what counts at `now` and verifies the copy; holds 40 bytes a packet.
///
/// # Errors
/// See [`CopyError`]. A packet that the destination refuses for good is counted and no error.
pub async fn copy(
    from: &dyn Backend,
    to: &dyn Backend,
    now: &Now,
    mut tell: impl FnMut(Progress),
) -> Result<Copied, CopyError> {
    let of_source = |source| CopyError::Source { read: 0, source };
    let held = from.held().await.map_err(of_source)?;
    let mut copied = Copied { statements: statements(from, to).await?, ..Copied::default() };
    let everything = Everything::of(from, &[]).await.map_err(of_source)?;
    let kept = packets(everything, to, held, &mut copied, &mut tell).await?;
    copied.left_out = held.map(|held| held.saturating_sub(copied.read));
    verify(to, &kept, now, &mut copied, &mut tell).await?;
    Ok(copied)
}

async fn statements(from: &dyn Backend, to: &dyn Backend) -> Result<CopiedStatements, CopyError> {
    let mut copied = CopiedStatements::default();
    let mut after = None;
    loop {
        let page = from.statements_after(after).await;
        let page = page.map_err(|source| CopyError::Source { read: 0, source })?;
        let Some(last) = page.last() else { return Ok(copied) };
        after = Some(last.id);
        for statement in page {
            match to.declare(statement.bytes).await {
                Ok(stored) if stored.new => copied.new += 1,
                Ok(_) => copied.known += 1,
                Err(error) if error.is_final() || error == BackendError::Full => {
                    *copied.refused.entry(error.to_string()).or_default() += 1;
                }
                Err(source) => return Err(CopyError::Destination { stored: 0, source }),
            }
        }
    }
}

async fn packets(
    everything: Everything,
    to: &dyn Backend,
    held: Option<u64>,
    copied: &mut Copied,
    tell: &mut impl FnMut(Progress),
) -> Result<Vec<Kept>, CopyError> {
    let source = stream::try_unfold(everything, |mut everything| async move {
        let delivery = everything.next().await.map_err(|error| (true, error))?;
        Ok(delivery.map(|delivery| (delivery.packet, everything)))
    });
    let fates = source.map_ok(|packet| store(to, packet)).try_buffer_unordered(AT_ONCE);
    let mut fates = std::pin::pin!(fates);
    let mut kept = Vec::new();
    while let Some(fate) = fates.next().await {
        let fate = fate.map_err(|(reading, source)| match reading {
            true => CopyError::Source { read: copied.read, source },
            false => CopyError::Destination { stored: copied.new + copied.known, source },
        })?;
        copied.read += 1;
        match fate {
            Fate::Stored { new, id, expires } => {
                kept.push((id, expires));
                *(if new { &mut copied.new } else { &mut copied.known }) += 1;
            }
            Fate::Expired => copied.expired += 1,
            Fate::Refused(reason) => *copied.refused.entry(reason).or_default() += 1,
        }
        tell(Progress::Copying(copied.read, held));
    }
    Ok(kept)
}

/// The flag of an error says whether it is the source's.
async fn store(to: &dyn Backend, packet: Opened) -> Result<Fate, (bool, BackendError)> {
    let (id, expires) = (packet.id, packet.outcome.expires);
    match to.store(packet.bytes).await {
        Ok(stored) => Ok(Fate::Stored { new: stored.new, id, expires }),
        Err(BackendError::Expired) => Ok(Fate::Expired),
        Err(error) if error.is_final() => Ok(Fate::Refused(error.to_string())),
        Err(error) => Err((false, error)),
    }
}

/// Whether a packet was read back as it was.
enum Read {
    Same,
    Other,
    Gone,
}

async fn verify(
    to: &dyn Backend,
    kept: &[Kept],
    now: &Now,
    copied: &mut Copied,
    tell: &mut impl FnMut(Progress),
) -> Result<(), CopyError> {
    let stored = copied.new + copied.known;
    let read_back = |&(id, expires): &Kept| async move {
        // A packet's id is the hash of its bytes: the same hash, the same bytes.
        let read = match to.get(&id).await? {
            Some(bytes) if packet::id(&bytes) == id => Read::Same,
            Some(_) => Read::Other,
            None => Read::Gone,
        };
        Ok::<_, BackendError>((id, expires, read))
    };
    let mut read = stream::iter(kept).map(read_back).buffer_unordered(AT_ONCE);
    let (mut missing, mut altered, mut named) = (0, 0, Vec::new());
    while let Some(one) = read.next().await {
        let (id, expires, read) =
            one.map_err(|source| CopyError::Destination { stored, source })?;
        match read {
            Read::Same => copied.verified += 1,
            // It was stored, and purged meanwhile.
            Read::Gone if expires <= now() => copied.expired += 1,
            Read::Gone => missing += 1,
            Read::Other => altered += 1,
        }
        if missing + altered > named.len() as u64 && named.len() < NAMED_MAX {
            named.push(hex::encode(id));
        }
        tell(Progress::Verifying(copied.verified, stored));
    }
    if missing + altered > 0 {
        let named = named.join(", ");
        return Err(CopyError::Unfaithful { stored, missing, altered, named });
    }
    Ok(())
}
