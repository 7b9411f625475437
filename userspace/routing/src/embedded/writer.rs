//! The writer: the one thread that changes the file.
//!
//! While a commit is being synced, the next packets gather in the queue and go into the next
//! commit together. Each commit also purges some of what has expired.
//!
//! **Invariant:** no reply leaves before the commit that it speaks of is synced and indexed.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use edgelore_pipeline::packet::Opened;
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::disk::{Insert, Record};
use crate::backend::{BackendError, Stored};

/// Packets in one commit.
const BATCH_MAX: usize = 256;
/// Expired packets that one commit purges.
const PURGE_MAX: usize = 512;

type Reply = oneshot::Sender<Result<Stored, BackendError>>;

/// A verified packet to be stored.
pub(super) struct Request {
    pub(super) opened: Opened,
    pub(super) reply: Reply,
}

/// Writes until the last sender has gone. `committed` counts the commits.
pub(super) fn run(
    shared: &Shared,
    mut requests: mpsc::Receiver<Request>,
    committed: &watch::Sender<u64>,
) {
    while let Some(first) = requests.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(request) = requests.try_recv()
        {
            batch.push(request);
        }
        write(shared, batch);
        committed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What becomes of a request.
enum Fate {
    Known,
    New,
    Refused,
}

fn write(shared: &Shared, batch: Vec<Request>) {
    let (fates, purged) = plan(shared, &batch);
    let result = commit(shared, &batch, &fates, &purged);
    for (request, fate) in batch.into_iter().zip(fates) {
        let stored = |new| result.clone().map(|()| Stored { id: request.opened.id, new });
        let answer = match fate {
            Fate::Known => stored(false),
            Fate::New => stored(true),
            Fate::Refused => Err(BackendError::Full),
        };
        // A caller that has gone needs no answer.
        let _ = request.reply.send(answer);
    }
}

/// Decides for each request, and which expired packets make room.
fn plan(shared: &Shared, batch: &[Request]) -> (Vec<Fate>, Vec<u64>) {
    let index = shared.index();
    let purged = index.expired((shared.now)(), PURGE_MAX);
    let mut room = shared.packets_max.saturating_sub(index.len() - purged.len());
    let mut seen = HashSet::new();
    let fates = batch.iter().map(|request| {
        let id = request.opened.id;
        if index.contains(&id) || seen.contains(&id) {
            return Fate::Known;
        }
        let Some(rest) = room.checked_sub(1) else { return Fate::Refused };
        room = rest;
        seen.insert(id);
        Fate::New
    });
    (fates.collect(), purged)
}

fn commit(
    shared: &Shared,
    batch: &[Request],
    fates: &[Fate],
    purged: &[u64],
) -> Result<(), BackendError> {
    let new = batch.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::New));
    let new: Vec<(&Opened, Record)> =
        new.map(|(request, _)| (&request.opened, Record::from(&request.opened))).collect();
    if new.is_empty() && purged.is_empty() {
        return Ok(());
    }
    let last = shared.disk.last_sequence()?;
    let inserts: Vec<Insert<'_>> = (last + 1..)
        .zip(&new)
        .map(|(sequence, (opened, record))| Insert { sequence, bytes: &opened.bytes, record })
        .collect();
    shared.disk.commit(&inserts, purged, last + inserts.len() as u64)?;
    shared.commits.fetch_add(1, Ordering::Relaxed);
    let mut index = shared.index_mut();
    for sequence in purged {
        index.remove(*sequence);
    }
    for insert in &inserts {
        index.insert(insert.sequence, insert.record);
    }
    Ok(())
}
