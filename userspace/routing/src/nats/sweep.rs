//! Deleting what has expired.
//!
//! The server does not know when a packet expires, so each client that stores goes round the stream, a
//! stretch of it in each second of its clock, and deletes what has expired.
//!
//! **Invariant:** only what can be read as a packet and has expired is deleted.

use std::sync::atomic::{AtomicI64, Ordering};

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::DeleteStatus;
use edgelore_pipeline::packet;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::Mutex;

use super::Shared;
use super::connect::Link;
use super::read::{EVERYTHING, MESSAGES_AT_ONCE, Read, some};
use crate::backend::BackendError;

/// Stretches that are looked at when a full stream refuses a packet.
const STRETCHES_MAX: usize = 64;
/// Messages that are deleted at the same time.
const DELETIONS_AT_ONCE: usize = 32;

/// How far the round is.
#[derive(Default)]
pub(super) struct Sweep {
    next: Mutex<u64>,
    last_secs: AtomicI64,
}

/// Looks at the next stretch unless this second's was looked at. That it fails is no failure of what
/// it is done beside.
pub(super) async fn now_and_then(shared: &Shared, link: &Link) {
    let now = shared.verifier.now().secs();
    if shared.sweep.last_secs.swap(now, Ordering::Relaxed) == now {
        return;
    }
    let Ok(mut next) = shared.sweep.next.try_lock() else { return };
    if let Err(error) = stretch(shared, link, &mut next).await {
        tracing::warn!(%error, "looking for expired packets in NATS");
    }
}

/// Looks until something was deleted; false when nothing was found to delete.
pub(super) async fn make_room(shared: &Shared, link: &Link) -> Result<bool, BackendError> {
    let mut next = shared.sweep.next.lock().await;
    let begun = *next;
    let mut wrapped = false;
    for _ in 0..STRETCHES_MAX {
        if stretch(shared, link, &mut next).await? > 0 {
            return Ok(true);
        }
        wrapped |= *next == 0;
        if wrapped && *next >= begun {
            break;
        }
    }
    Ok(false)
}

/// Deletes what has expired in the stretch that begins at `next`, which becomes the place after it, or
/// 0 at the end. How many were deleted.
async fn stretch(shared: &Shared, link: &Link, next: &mut u64) -> Result<usize, BackendError> {
    let now = shared.verifier.now();
    let (mut expired, mut after) = (Vec::new(), *next);
    let mut each = |message: Read| {
        after = message.sequence + 1;
        let packet = packet::reopen(&message.payload, &packet::id(&message.payload));
        if packet.is_ok_and(|packet| packet.outcome.expires <= now) {
            expired.push(message.sequence);
        }
    };
    let read = some(shared, link, EVERYTHING, *next, MESSAGES_AT_ONCE, &mut each).await?;
    *next = if read < MESSAGES_AT_ONCE as u64 { 0 } else { after };
    let count = expired.len();
    let deletions = stream::iter(expired).map(|sequence| delete(link, sequence));
    let mut deletions = deletions.buffer_unordered(DELETIONS_AT_ONCE);
    while let Some(deleted) = deletions.next().await {
        deleted?;
    }
    Ok(count)
}

/// Deletes a message; that another client was faster does not matter.
pub(super) async fn delete(link: &Link, sequence: u64) -> Result<(), BackendError> {
    let answer = async {
        let subject = format!("STREAM.MSG.DELETE.{}", link.name());
        // Without overwriting its bytes: they are no secret.
        let request = json!({ "seq": sequence, "no_erase": true });
        let answer = link.jetstream.request::<_, _, Response<DeleteStatus>>(subject, &request);
        answer.await.map(drop).map_err(|error| BackendError::Unavailable(error.to_string()))
    };
    link.call(answer).await
}
