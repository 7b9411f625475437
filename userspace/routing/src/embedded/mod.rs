//! The store in this process: one redb file, no server. What `edgelore serve` serves.
//!
//! ```text
//! store ─► open (verify) ─► bounded queue ─► writer thread: group commit ─► index ─► acknowledge
//! query ─► index (memory) ─► packets (redb snapshot) ─► compare their hash        └─► subscriptions
//! ```
//!
//! Owns the files `outcomes.redb` and `beside.redb` ([`beside`]: statements about keys, and what
//! nobody signed) in its directory; [`upkeep`] is what an
//! operator does with them. Packets of another similarity definition are
//! refused; those that an earlier definition left in the file are kept and not found.
//!
//! **Invariant:** a packet is acknowledged only after the transaction that holds it was synced to
//! disk, and is found only after that too.

mod beside;
mod disk;
mod eviction;
mod follow;
#[cfg(feature = "dht")]
pub(crate) mod heard;
mod index;
#[cfg(feature = "dht")]
pub(crate) mod replica;
#[cfg(feature = "dht")]
pub(crate) mod sums;
pub mod upkeep;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::Opened;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::admission::{admit, admit_subscription};
use crate::backend::{Backend, BackendError, Capability, Cursor, LIMIT_MAX, Stored, Subscription};
use crate::{Cell, Found, PacketId};
use beside::Beside;
pub use disk::Mark;
use disk::{Disk, Record};
use eviction::Ranking;
use follow::Follower;
use index::{Change, Index};
use writer::Request;

/// Packets that wait for the writer; when they are as many, the next is refused as busy.
pub const WRITES_QUEUED_MAX: usize = 1_024;
/// Subscriptions at the same time; when they are as many, the next is refused as busy.
pub const SUBSCRIPTIONS_MAX: usize = 256;

/// Tells the time; packets expire by it.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the embedded store is opened.
#[derive(Clone)]
pub struct EmbeddedConfig {
    /// Where its file lies; made, for its owner alone, if it is not there.
    pub directory: PathBuf,
    /// The similarity definition.
    pub space: Space,
    /// Packets at most (each takes about 2 KB of disk and 350 bytes of memory); when they are as
    /// many, the least useful one makes room, or is refused as it comes.
    pub packets_max: usize,
    /// The clock.
    pub now: Now,
}

impl EmbeddedConfig {
    /// The shipped similarity definition, the system's clock and at most a million packets.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            space: Space::default_definition(),
            packets_max: 1_000_000,
            now: Arc::new(system_time),
        }
    }
}

impl fmt::Debug for EmbeddedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedConfig")
            .field("directory", &self.directory)
            .field("packets_max", &self.packets_max)
            .finish_non_exhaustive()
    }
}

/// The system's clock.
pub(crate) fn system_time() -> Timestamp {
    // A clock before 1970 counts as 1970: everything is then from the future and refused.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let secs = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_secs_nanos(secs, since.subsec_nanos())
}

/// Counts since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Packets in the store that belong to its similarity definition.
    pub packets: usize,
    /// Packets in the file that belong to another one.
    pub foreign: usize,
    /// Packets refused because [`WRITES_QUEUED_MAX`] were waiting.
    pub refused_busy: u64,
    /// Packets that made room for others.
    pub evicted: u64,
    /// Commits.
    pub commits: u64,
}

/// What the callers, the writer and the subscriptions share.
struct Shared {
    disk: Disk,
    index: RwLock<Index>,
    space: Space,
    packets_max: usize,
    foreign: usize,
    now: Now,
    beside: Beside,
    refused_busy: AtomicU64,
    evicted: AtomicU64,
    commits: AtomicU64,
}

impl Shared {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn query(&self, query: &Query, radius: u32, limit: usize) -> Result<Vec<Found>, BackendError> {
        let near = self.index().near(query, radius, limit, (self.now)());
        let packets = self.disk.packets(near.iter().map(|hit| (hit.sequence, hit.id)))?;
        // What was purged or evicted between the two steps is left out.
        let found = near.into_iter().zip(packets).filter_map(|(hit, packet)| {
            Some(Found { opened: Arc::new(packet?), distance: hit.distance })
        });
        Ok(found.collect())
    }

    fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(sequence) = self.index().sequence(id) else { return Ok(None) };
        let packet = self.disk.packets([(sequence, *id)])?.pop().flatten();
        Ok(packet.map(|packet| packet.bytes))
    }
}

/// Reads on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&Shared) -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || read(&shared))
        .await
        .unwrap_or_else(|error| Err(disk::failed("reading the store", &error)))
}

/// The embedded store. One process at a time may have it open; dropping it waits for the commit
/// that is under way.
pub struct Embedded {
    shared: Arc<Shared>,
    /// `None` only while dropping.
    writes: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    committed: watch::Receiver<u64>,
    subscriptions: Arc<Semaphore>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens or creates the store.
    ///
    /// # Errors
    /// When the directory cannot be made, or the file is in use by another process, was written
    /// by a later version, or cannot be read.
    pub fn open(config: EmbeddedConfig) -> Result<Self, BackendError> {
        let disk = Disk::open(&config.directory)?;
        let Loaded { mut index, ranking, foreign } = load(&disk, &config.space)?;
        if foreign > 0 {
            tracing::warn!(foreign, "packets of another similarity definition are kept, not found");
        }
        let beside = Beside::open(&config.directory)?;
        index.learn(Change::All(beside.lineage()));
        let shared = Arc::new(Shared {
            disk,
            beside,
            index: RwLock::new(index),
            space: config.space,
            packets_max: config.packets_max,
            foreign,
            now: config.now,
            refused_busy: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        });
        let (writes, requests) = mpsc::channel(WRITES_QUEUED_MAX);
        let (committing, committed) = watch::channel(0);
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("outcomes-writer".to_owned())
                .spawn(move || writer::run(&shared, ranking, requests, &committing))
                .map_err(|error| disk::failed("starting the writer", &error))?
        };
        let subscriptions = Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX));
        Ok(Self { shared, writes: Some(writes), writer: Some(writer), committed, subscriptions })
    }

    /// Counts since the store was opened.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            packets: self.shared.index().len(),
            foreign: self.shared.foreign,
            refused_busy: self.shared.refused_busy.load(Ordering::Relaxed),
            evicted: self.shared.evicted.load(Ordering::Relaxed),
            commits: self.shared.commits.load(Ordering::Relaxed),
        }
    }

    /// Verifies and stores what was received from elsewhere, in one transaction with `marks`: either
    /// all of it is durable or nothing. Gives what became of each packet, in their order.
    ///
    /// # Errors
    /// When the store cannot write now, or not at all; nothing was written then.
    pub async fn receive(
        &self,
        packets: Vec<Vec<u8>>,
        marks: Vec<Mark>,
    ) -> Result<Vec<Result<Stored, BackendError>>, BackendError> {
        let admitted: Vec<_> = packets.iter().map(|packet| self.admit(packet)).collect();
        let opened: Vec<Opened> =
            admitted.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        let mut answers = self.write(opened, marks).await?.into_iter();
        let failed = |error: &BackendError| matches!(error, BackendError::Storage(_));
        let mut fates = Vec::new();
        for one in admitted {
            fates.push(match one {
                Err(error) => Err(error),
                Ok(_) => match answers.next().unwrap_or_else(|| Err(writer_gone())) {
                    Err(error) if failed(&error) => return Err(error),
                    answer => answer,
                },
            });
        }
        // Without packets there is one answer when the marks could not be written.
        answers.next().map_or(Ok(fates), |answer| Err(answer.err().unwrap_or_else(writer_gone)))
    }

    /// What was noted under this name last.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.shared.disk.mark(name)
    }

    /// Hands packets and marks to the writer, and waits for its answers.
    async fn write(
        &self,
        packets: Vec<Opened>,
        marks: Vec<Mark>,
    ) -> Result<writer::Answers, BackendError> {
        let (reply, acknowledged) = oneshot::channel();
        let writes = self.writes.as_ref().expect("the queue lives as long as the store");
        match writes.try_send(Request { packets, marks, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.refused_busy.fetch_add(1, Ordering::Relaxed);
                let reason = format!("{WRITES_QUEUED_MAX} packets are waiting");
                return Err(BackendError::Unavailable(reason));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(writer_gone()),
        }
        acknowledged.await.map_err(|_| writer_gone())
    }

    /// Verifies a packet and refuses what this store does not take.
    fn admit(&self, bytes: &[u8]) -> Result<Opened, BackendError> {
        admit(&self.shared.space, (self.shared.now)(), bytes)
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        let opened = self.admit(&packet)?;
        let id = opened.id;
        if self.shared.index().contains(&id) {
            return Ok(Stored { id, new: false });
        }
        let answers = self.write(vec![opened], Vec::new()).await?;
        answers.into_iter().next().unwrap_or_else(|| Err(writer_gone()))
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        let (query, limit) = (query.clone(), limit.min(LIMIT_MAX));
        blocking(&self.shared, move |shared| shared.query(&query, radius, limit)).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        let id = *id;
        blocking(&self.shared, move |shared| shared.get(&id)).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        let place = admit_subscription(&self.shared.space, cells, &self.subscriptions)?;
        let cursor = match after {
            Some(cursor) => self.shared.disk.resume(cursor)?,
            None => Cursor(self.shared.disk.last_sequence()?),
        };
        Ok(Box::new(Follower {
            shared: Arc::clone(&self.shared),
            cells: cells.into(),
            cursor,
            committed: self.committed.clone(),
            ready: VecDeque::new(),
            read: cursor,
            _place: place,
        }))
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        blocking(&self.shared, move |shared| {
            shared.beside.declare(&statement, |change| shared.index_mut().learn(change))
        })
        .await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        Ok(self.shared.beside.about(publishers))
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        Ok(self.shared.beside.after(after))
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        Ok(Some(self.shared.index().len() as u64))
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        blocking(&self.shared, move |shared| shared.beside.import(&packet, (shared.now)())).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        let now = (self.shared.now)();
        Ok(self.shared.beside.near(&self.shared.space, query, radius, limit, now))
    }

    fn capability(&self) -> Capability {
        Capability {
            name: "embedded".to_owned(),
            durable: true,
            exact: true,
            resumable: true,
            space: hex::encode(self.shared.space.short_id()),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the store has panicked");
        }
    }
}

/// Records that are handed over together when a store is opened, and how many times so many may wait.
const CHUNK_RECORDS: usize = 4_096;
const CHUNKS_AHEAD: usize = 4;

/// What is in memory of a store.
struct Loaded {
    index: Index,
    ranking: Ranking,
    /// Packets of another similarity definition.
    foreign: usize,
}

/// Reads all records; another thread makes the index of them meanwhile.
fn load(disk: &Disk, space: &Space) -> Result<Loaded, BackendError> {
    let count = disk.records()?;
    let (mut ranking, mut foreign, own) = (Ranking::default(), 0, space.short_id());
    let (send, received) = sync_channel::<Vec<(u64, Record)>>(CHUNKS_AHEAD);
    let (read, (index, withdrawing)) = std::thread::scope(|scope| {
        let indexing = scope.spawn(move || {
            let (mut index, mut withdrawing) = (Index::new(space.clone()), Vec::new());
            index.fill(count, received.into_iter().flatten(), |sequence, record| {
                if !record.withdraws.is_empty() {
                    withdrawing.push((sequence, record));
                }
            });
            (index, withdrawing)
        });
        let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
        let read = disk.each_record(|sequence, record| {
            if record.space != own {
                foreign += 1;
                return;
            }
            ranking.insert(sequence, &record);
            chunk.push((sequence, record));
            if chunk.len() == CHUNK_RECORDS {
                // Were the other thread gone, joining it would say so.
                let _ = send.send(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_RECORDS)));
            }
        });
        let _ = send.send(chunk);
        drop(send);
        (read, indexing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    read?;
    for (sequence, record) in &withdrawing {
        writer::note_withdrawals(&index, &mut ranking, *sequence, record);
    }
    Ok(Loaded { index, ranking, foreign })
}

fn writer_gone() -> BackendError {
    disk::failed("storing a packet", &"the writer has ended")
}
