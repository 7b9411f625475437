//! The writer: the one thread that changes the file.
//!
//! While a commit is being synced, the next packets gather in the queue and go into the next
//! commit together. Each commit also purges some of what has expired, and evicts what has to make
//! room.
//!
//! **Invariant:** no reply leaves before the commit that it speaks of is synced and indexed.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use edgelore_pipeline::packet::Opened;
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::disk::{Insert, Mark, Record};
use super::eviction::{Ranking, Worth};
use super::index::Index;
use crate::backend::{BackendError, Stored};

/// Packets in one commit.
const BATCH_MAX: usize = 256;
/// Expired packets that one commit purges.
const PURGE_MAX: usize = 512;

/// What became of the packets of a request, in their order.
pub(super) type Answers = Vec<Result<Stored, BackendError>>;

/// Verified packets to be stored, with the marks that go with them: in one transaction.
pub(super) struct Request {
    pub(super) packets: Vec<Opened>,
    pub(super) marks: Vec<Mark>,
    pub(super) reply: oneshot::Sender<Answers>,
}

/// Writes until the last sender has gone. `committed` counts the commits.
pub(super) fn run(
    shared: &Shared,
    mut ranking: Ranking,
    mut requests: mpsc::Receiver<Request>,
    committed: &watch::Sender<u64>,
) {
    while let Some(first) = requests.blocking_recv() {
        let mut packets = first.packets.len();
        let mut batch = vec![first];
        while packets < BATCH_MAX
            && let Ok(request) = requests.try_recv()
        {
            packets += request.packets.len();
            batch.push(request);
        }
        write(shared, &mut ranking, batch);
        committed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What becomes of a request.
enum Fate {
    Known,
    New(Box<Record>),
    Refused,
}

/// What one commit changes.
struct Plan {
    fates: Vec<Fate>,
    purged: Vec<u64>,
    evicted: Vec<u64>,
}

fn write(shared: &Shared, ranking: &mut Ranking, batch: Vec<Request>) {
    let packets: Vec<&Opened> = batch.iter().flat_map(|request| &request.packets).collect();
    let marks: Vec<&Mark> = batch.iter().flat_map(|request| &request.marks).collect();
    let plan = plan(shared, ranking, &packets);
    let result = commit(shared, ranking, &packets, &marks, &plan);
    let mut fates = plan.fates.into_iter();
    for request in batch {
        let answers = request.packets.iter().zip(&mut fates).map(|(opened, fate)| {
            let stored = |new| result.clone().map(|()| Stored { id: opened.id, new });
            match fate {
                Fate::Known => stored(false),
                Fate::New(_) => stored(true),
                // What was not written at all was not refused.
                Fate::Refused => stored(false).and(Err(BackendError::Full)),
            }
        });
        // A caller that has gone needs no answer.
        let answers = answers.collect();
        let unmarked = result.as_ref().err().filter(|_| request.packets.is_empty());
        let _ = request.reply.send(match unmarked {
            Some(error) => vec![Err(error.clone())],
            None => answers,
        });
    }
}

/// Decides for each request, and which packets make room.
fn plan(shared: &Shared, ranking: &Ranking, batch: &[&Opened]) -> Plan {
    let (mut fates, purged, held) = {
        let index = shared.index();
        let purged = index.expired((shared.now)(), PURGE_MAX);
        let held = index.len() - purged.len();
        let mut seen = HashSet::new();
        let fates = batch.iter().map(|opened| {
            if index.contains(&opened.id) || !seen.insert(opened.id) {
                Fate::Known
            } else {
                Fate::New(Box::new(Record::from(*opened)))
            }
        });
        (fates.collect::<Vec<_>>(), purged, held)
    };
    let evicted = make_room(shared.packets_max, held, ranking, &purged, &mut fates);
    Plan { fates, purged, evicted }
}

/// Refuses those of the new packets that would be the first to go; gives those that go for the
/// others.
fn make_room(
    packets_max: usize,
    held: usize,
    ranking: &Ranking,
    purged: &[u64],
    fates: &mut [Fate],
) -> Vec<u64> {
    let new: Vec<(usize, [u8; 32], Worth)> = fates
        .iter()
        .enumerate()
        .filter_map(|(place, fate)| match fate {
            Fate::New(record) => Some((place, record.publisher, Worth::of(record))),
            Fate::Known | Fate::Refused => None,
        })
        .collect();
    let excess = (held + new.len()).saturating_sub(packets_max);
    if excess == 0 || new.is_empty() {
        return Vec::new();
    }
    let judged: Vec<_> = new.iter().map(|(_, publisher, worth)| (*publisher, *worth)).collect();
    let victims = ranking.victims(excess, purged, &judged);
    for refused in victims.refused {
        fates[new[refused].0] = Fate::Refused;
    }
    victims.evicted
}

fn commit(
    shared: &Shared,
    ranking: &mut Ranking,
    batch: &[&Opened],
    marks: &[&Mark],
    plan: &Plan,
) -> Result<(), BackendError> {
    let new: Vec<(&Opened, &Record)> = batch
        .iter()
        .zip(&plan.fates)
        .filter_map(|(opened, fate)| match fate {
            Fate::New(record) => Some((*opened, record.as_ref())),
            Fate::Known | Fate::Refused => None,
        })
        .collect();
    let removed: Vec<u64> = plan.purged.iter().chain(&plan.evicted).copied().collect();
    if new.is_empty() && removed.is_empty() && marks.is_empty() {
        return Ok(());
    }
    let last = shared.disk.last_sequence()?;
    let inserts: Vec<Insert<'_>> = (last + 1..)
        .zip(&new)
        .map(|(sequence, (opened, record))| Insert { sequence, bytes: &opened.bytes, record })
        .collect();
    shared.disk.commit(&inserts, &removed, marks, last + inserts.len() as u64)?;
    shared.commits.fetch_add(1, Ordering::Relaxed);
    shared.evicted.fetch_add(plan.evicted.len() as u64, Ordering::Relaxed);
    let mut index = shared.index_mut();
    for sequence in removed {
        index.remove(sequence);
        ranking.remove(sequence);
    }
    for insert in &inserts {
        index.insert(insert.sequence, insert.record);
        ranking.insert(insert.sequence, insert.record);
    }
    for insert in &inserts {
        note_withdrawals(&index, ranking, insert.sequence, insert.record);
    }
    index.settle();
    Ok(())
}

/// What a packet withdraws, and that it was withdrawn itself before it came.
pub(super) fn note_withdrawals(
    index: &Index,
    ranking: &mut Ranking,
    sequence: u64,
    record: &Record,
) {
    for withdrawn in record.withdraws.iter().filter_map(|id| index.sequence(id)) {
        ranking.withdraw(withdrawn, &record.publisher);
    }
    if index.is_withdrawn(&record.publisher, &record.id) {
        ranking.withdraw(sequence, &record.publisher);
    }
}
