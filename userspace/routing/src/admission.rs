//! What a store takes: the same for every backend that keeps packets by itself.
//!
//! Owns the rules of admission. Never does I/O and reads no clock.
//!
//! **Invariant:** what is admitted was verified, belongs to the store's similarity definition and
//! counts now.

use std::sync::Arc;

use edgelore_model::{Span, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{self, Opened};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Cell;
use crate::backend::{BackendError, check_cells};
use crate::embedded::SUBSCRIPTIONS_MAX;

/// How far a publisher's clock may run ahead.
pub const CLOCK_AHEAD_MAX: Span = Span::from_millis(86_400_000);

/// Verifies a packet and refuses what a store of `space` does not take at `now`.
pub(crate) fn admit(space: &Space, now: Timestamp, bytes: &[u8]) -> Result<Opened, BackendError> {
    let opened = packet::open(bytes)?;
    let space = space.short_id();
    if opened.space != space {
        let (packet, store) = (hex::encode(opened.space), hex::encode(space));
        return Err(BackendError::Request(format!(
            "the packet's similarity definition is {packet}, the store's is {store}"
        )));
    }
    if opened.outcome.expires <= now {
        return Err(BackendError::Expired);
    }
    if opened.outcome.created > now + CLOCK_AHEAD_MAX {
        return Err(BackendError::Future);
    }
    Ok(opened)
}

/// Refuses cells of another similarity definition.
pub(crate) fn check_space(cells: &[Cell], space: &Space) -> Result<(), BackendError> {
    match cells.iter().find(|cell| cell.space() != space.short_id()) {
        Some(cell) => Err(BackendError::Request(format!(
            "{cell} belongs to another similarity definition than the store"
        ))),
        None => Ok(()),
    }
}

/// Refuses what cannot be followed, and takes one of [`SUBSCRIPTIONS_MAX`] places for the rest.
pub(crate) fn admit_subscription(
    space: &Space,
    cells: &[Cell],
    places: &Arc<Semaphore>,
) -> Result<OwnedSemaphorePermit, BackendError> {
    check_cells(cells)?;
    check_space(cells, space)?;
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        BackendError::Unavailable(format!("{SUBSCRIPTIONS_MAX} subscriptions are open"))
    })
}
