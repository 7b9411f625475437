//! Storing: packets that arrive while others are being written go together in the next call.
//!
//! Owns the queue and the task that writes. Never decides what is admitted.
//!
//! **Invariant:** no answer leaves before the server has committed what it speaks of.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;
use edgelore_pipeline::packet::Opened;
use tokio::sync::{mpsc, oneshot};

use super::Prepared;
use super::Shared;
use super::connect::within;
use crate::backend::{BackendError, Stored};
use crate::placement::{Coordinates, withdraws};
use crate::{Cell, PacketId};

/// Packets that wait for the writer; when they are as many, the next is refused as busy.
const WRITES_QUEUED_MAX: usize = 1_024;
/// Packets in one call.
const BATCH_MAX: usize = 256;
/// Expired packets that one call purges.
const PURGE_MAX: i32 = 512;

const STORE: &str = "SELECT stored, fate FROM edgelore.store(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// What became of each packet, as the server tells it.
type Fates = HashMap<PacketId, i32, RandomState>;

/// An admitted packet, and who waits for it.
struct Request {
    packet: Opened,
    reply: oneshot::Sender<Result<Stored, BackendError>>,
}

/// The way to the writing task, which runs from the first packet on.
pub(super) struct Writer {
    shared: Arc<Shared>,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
}

impl Writer {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, requests: Mutex::new(None) }
    }

    /// Stores an admitted packet.
    pub(super) async fn store(&self, packet: Opened) -> Result<Stored, BackendError> {
        let (reply, answer) = oneshot::channel();
        match self.requests().try_send(Request { packet, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let reason = format!("{WRITES_QUEUED_MAX} packets are waiting");
                return Err(BackendError::Unavailable(reason));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn requests(&self) -> mpsc::Sender<Request> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        match requests.as_ref().filter(|requests| !requests.is_closed()) {
            Some(requests) => requests.clone(),
            None => {
                let (sender, receiver) = mpsc::channel(WRITES_QUEUED_MAX);
                tokio::spawn(run(Arc::clone(&self.shared), receiver));
                requests.insert(sender).clone()
            }
        }
    }
}

fn gone() -> BackendError {
    BackendError::Unavailable("the writer has ended".into())
}

/// Writes until the last sender has gone.
async fn run(shared: Arc<Shared>, mut requests: mpsc::Receiver<Request>) {
    let mut client: Option<Prepared> = None;
    let mut batch = Vec::new();
    while requests.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let result = within(write(&shared, &mut client, &batch)).await;
        if let Err(BackendError::Timeout(_)) = result {
            client = None;
        }
        answer(&mut batch, result);
        if let (Some(index), Some(connected)) = (&shared.index, &client) {
            // Whoever asks fills what is missing, so a failure delays and loses nothing.
            if let Err(error) = within(index.fill(connected, &shared.verifier)).await {
                tracing::warn!(%error, "taking packets into an index");
                client = None;
            }
        }
    }
}

/// Tells each what became of its packet. Of several with the same packet the first brought it.
fn answer(batch: &mut Vec<Request>, result: Result<Fates, BackendError>) {
    let mut fates = result;
    for Request { packet, reply } in batch.drain(..) {
        let told = match &mut fates {
            Ok(fates) => match fates.get_mut(&packet.id) {
                Some(-1) => Err(BackendError::Full),
                Some(fate) => {
                    let new = std::mem::take(fate) == 1;
                    Ok(Stored { id: packet.id, new })
                }
                None => Err(BackendError::Answer("it does not say what became of a packet".into())),
            },
            Err(error) => Err(error.clone()),
        };
        // A caller that has gone needs no answer.
        let _ = reply.send(told);
    }
}

async fn write(
    shared: &Shared,
    client: &mut Option<Prepared>,
    batch: &[Request],
) -> Result<Fates, BackendError> {
    let connected = match client.take().filter(|client| !client.is_closed()) {
        Some(connected) => connected,
        None => shared.server.connect().await?.client,
    };
    let connected = client.insert(connected);
    // In the order of arrival, each once.
    let mut seen = HashSet::with_hasher(RandomState::new());
    let packets = batch.iter().map(|request| &request.packet);
    let packets: Vec<&Opened> = packets.filter(|packet| seen.insert(packet.id)).collect();
    call(shared, connected, &packets).await
}

/// The call: a column for each argument, a row for each packet.
async fn call(
    shared: &Shared,
    client: &Prepared,
    packets: &[&Opened],
) -> Result<Fates, BackendError> {
    let space = &shared.verifier.space;
    let at: Vec<Coordinates> =
        packets.iter().map(|packet| space.coordinates(&packet.outcome.situation)).collect();
    let axis = |axis: usize| at.iter().map(|at| i64::from(at[axis])).collect::<Vec<_>>();
    let cells = |cell: fn(&_, &_) -> Cell| {
        let cells = packets.iter().map(|packet| cell(space, &packet.outcome.situation).to_string());
        cells.collect::<Vec<String>>()
    };
    let ids: Vec<&[u8]> = packets.iter().map(|packet| &packet.id[..]).collect();
    let publishers: Vec<&[u8]> = packets.iter().map(|packet| &packet.publisher[..]).collect();
    let expires: Vec<i64> = packets.iter().map(|packet| packet.outcome.expires.secs()).collect();
    let patterns: Vec<&[u8]> =
        packets.iter().map(|packet| packet.outcome.resolution.pattern.as_bytes()).collect();
    let contents: Vec<&[u8]> = packets.iter().map(|packet| packet.bytes.as_slice()).collect();
    let withdrawals: Vec<(&[u8], PacketId)> = packets
        .iter()
        .flat_map(|packet| withdraws(packet).map(|target| (&packet.id[..], target)))
        .collect();
    let withdrawing: Vec<&[u8]> = withdrawals.iter().map(|(by, _)| *by).collect();
    let targets: Vec<&[u8]> = withdrawals.iter().map(|(_, target)| &target[..]).collect();
    let rows = client
        .query(
            STORE,
            &[
                &&space.short_id()[..],
                &ids,
                &publishers,
                &cells(Cell::coarse),
                &cells(Cell::exact),
                &axis(0),
                &axis(1),
                &axis(2),
                &expires,
                &patterns,
                &contents,
                &withdrawing,
                &targets,
                &shared.verifier.now().secs(),
                &shared.packets_max,
                &PURGE_MAX,
            ],
        )
        .await?;
    let fate = |row: &tokio_postgres::Row| {
        let id = row.get::<_, &[u8]>(0).try_into().ok()?;
        Some((id, row.get(1)))
    };
    Ok(rows.iter().filter_map(fate).collect())
}
