//! A Kademlia DHT with gossip, over libp2p: no server, every node keeps a part.
//!
//! ```text
//! store ─► own store (redb, synced) ─► acknowledge      query ─► coarse cells within the radius
//!            ├► Keep to the nodes nearest to the cell            ├► Near to the nodes of each cell
//!            └► gossip to whoever follows the cell               └► Fetch what is not here ─► verify
//! upkeep: Offer to nodes that joined or came back · Since from others for what is followed here
//! ```
//!
//! A packet's key is its coarse cell as [`Cell::filed`] names it, so the cells within a radius can be
//! enumerated without asking anyone. The `replicas` nodes nearest to the key keep the packet, each
//! in an embedded store of its own. Several nodes may append to a cell at once: each packet is an
//! entry of its own in every store, so nothing is overwritten, and a query unites what all nodes of
//! a cell have.
//!
//! Statements about keys are on every node, whatever it keeps ([`beside`]). Packets that nobody signed are
//! on none: nobody answers for them, so anybody could fill all nodes with them.
//!
//! Owns the node, its peers and the copies. Believes no peer: what one sends passes the same
//! admission as what a user stores, and is counted by reason and weighed against the peer if it fails.
//!
//! **Invariant:** what is acknowledged is synced to this node's disk, whatever the network does;
//! what a peer answers can be missing, never wrong.

mod backoff;
mod beside;
mod circles;
mod compare;
mod config;
mod declare;
mod drive;
mod find;
mod follow;
mod identity;
mod inquire;
mod overlay;
mod peers;
mod rates;
mod refusals;
mod serve;
mod spread;
mod traffic;
mod upkeep;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as startup};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::{Grain, Space};
use edgelore_pipeline::packet::statement::Statement;
use libp2p::PeerId;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::admission::check_space;
use crate::backend::{
    Backend, BackendError, Capability, Cursor, Stored, Subscription, check_cells,
};
use crate::embedded::{Embedded, EmbeddedConfig, Now};
use crate::{Cell, Found, PacketId};
use circles::Circles;
use compare::{Comparisons, Passed};
pub use config::{DhtConfig, REPLICAS_MAX};
use drive::Order;
use follow::Follows;
use inquire::Inquiries;
pub use overlay::{ANSWER_MAX, CONNECTIONS_MAX};
pub use peers::{BANNED_AT, BANNED_FOR};
use rates::Pace;
use refusals::{Reason, Refusals};
use traffic::Traffic;
use wire::{Ask, Request, Response};

/// Orders that wait for the node's loop.
const ORDERS_MAX: usize = 1_024;
/// Requests of this node that wait for an answer.
const ASKED_MAX: usize = 256;
/// Copies that are on their way after the packet was acknowledged.
const COPIES_MAX: usize = 1_024;
/// Peers of which is remembered what they have not been offered.
const BEHIND_MAX: usize = 2_048;
/// How long after its start a node waits for the first of the peers that it was told.
const JOINING_MAX: Duration = Duration::from_secs(5);
/// How long the end of a node may take.
const END_MAX: Duration = Duration::from_secs(5);

/// What the calls, the node's loop and its tasks share.
struct Shared {
    local: Embedded,
    space: Space,
    now: Now,
    own: PeerId,
    replicas: usize,
    orders: mpsc::Sender<Order>,
    /// Where tasks run that outlive a call.
    runtime: Handle,
    circles: Circles,
    refusals: Refusals,
    traffic: Traffic,
    follows: Follows,
    connected: Mutex<HashSet<PeerId>>,
    /// Peers that have to be offered what came here after this.
    behind: Mutex<HashMap<PeerId, u64>>,
    /// A packet could not be placed, for its nodes were not found.
    unplaced: AtomicBool,
    addresses: Mutex<Vec<String>>,
    /// Whether a peer was met, or none is known to begin with.
    joined: watch::Sender<bool>,
    started: Instant,
    /// Upkeep is due.
    nudge: Notify,
    asked: Semaphore,
    copies: Arc<Semaphore>,
    banned: AtomicUsize,
    /// Publishers that were asked about.
    inquiries: Arc<Inquiries>,
    /// Statements that were not kept.
    passed: Passed,
    /// With whom statements were compared.
    comparisons: tokio::sync::Mutex<Comparisons>,
    /// When peers were last looked at for what they have.
    looked: tokio::sync::Mutex<Option<Instant>>,
    /// A peer was met, with whom statements are to be compared.
    met: Notify,
    /// How much peers may still be sent.
    pace: Pace,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Waits until the node is in the network, or has had its time.
    async fn joined(&self) {
        let rest = JOINING_MAX.saturating_sub(self.started.elapsed());
        let mut joined = self.joined.subscribe();
        // Alone it answers with what it has.
        let _ = tokio::time::timeout(rest, joined.wait_for(|joined| *joined)).await;
    }

    /// The coarse cell whose nodes keep a situation.
    fn filed(&self, situation: &edgelore_model::Situation) -> Cell {
        Cell::filed(&self.space, situation, Grain::Coarse)
    }

    /// Counts something that a peer sent and that is not taken, and holds it against the peer.
    fn blame(&self, peer: PeerId, reason: Reason) {
        self.refusals.count(reason, &peer);
        // When the loop has no time the count is there, and the peer will do it again.
        let _ = self.orders.try_send(Order::Blame { peer, reason });
    }

    /// Asks a peer; `None` when it gave no answer in time, was too busy, or has had as much as it takes.
    async fn ask(&self, peer: PeerId, ask: Ask) -> Option<Response> {
        if !self.pace.admits(peer, &ask).await {
            self.traffic.spared.one();
            return None;
        }
        let _place = self.asked.acquire().await.ok()?;
        self.traffic.asked.one();
        let (reply, answer) = oneshot::channel();
        let request = Request { space: self.space.short_id(), ask };
        let order = Order::Ask { peer, request: Box::new(request), reply };
        let asked = async {
            self.orders.send(order).await.ok()?;
            answer.await.ok().flatten()
        };
        let answer = tokio::time::timeout(ANSWER_MAX, asked).await.ok().flatten();
        if answer.is_none() {
            self.circles.forget(&peer);
        }
        let is_answer =
            |one: &Response| !matches!(one, Response::Busy | Response::Refused | Response::Unknown);
        let answer = answer.filter(is_answer);
        if answer.is_none() {
            self.traffic.unanswered.one();
        }
        answer
    }

    /// The peer has to be offered what came here after `after`.
    fn fell_behind(&self, peer: PeerId, after: u64) {
        let mut behind = lock(&self.behind);
        if behind.len() < BEHIND_MAX || behind.contains_key(&peer) {
            let from = behind.entry(peer).or_insert(after);
            *from = after.min(*from);
        }
    }
}

/// Counts since the node was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Peers that it is connected to.
    pub peers: usize,
    /// Peers that are banned now.
    pub banned: usize,
    /// Packets that it keeps.
    pub packets: usize,
    /// Packets that made room for others.
    pub evicted: u64,
    /// What peers sent and was not taken, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Requests that it sent to peers.
    pub asked: u64,
    /// Those of them that a peer did not answer in time, was too busy for or refused.
    pub unanswered: u64,
    /// Requests that it did not send, for the peer had as many as it takes; what they carried is offered
    /// later.
    pub spared: u64,
    /// Copies that peers said they keep for it.
    pub copies: u64,
    /// Copies that it took from peers to keep.
    pub kept: u64,
    /// Messages of the gossip that it sent for packets stored, or statements declared, here.
    pub gossiped: u64,
    /// Those that it could not send, for all queues were full; who misses them asks for them.
    pub ungossiped: u64,
    /// Statements about keys that it keeps.
    pub statements: usize,
    /// Copies of statements declared here that peers said they keep.
    pub told: u64,
    /// Statements that it took over from peers.
    pub learnt: u64,
}

impl Figures {
    /// All of it by name, refusals as `refused.REASON`.
    fn counts(&self) -> BTreeMap<String, u64> {
        let refused = self.refused.iter().map(|(why, count)| (format!("refused.{why}"), *count));
        let others = [
            ("peers", self.peers as u64),
            ("banned", self.banned as u64),
            ("packets", self.packets as u64),
            ("evicted", self.evicted),
            ("asked", self.asked),
            ("unanswered", self.unanswered),
            ("spared", self.spared),
            ("copies", self.copies),
            ("kept", self.kept),
            ("gossiped", self.gossiped),
            ("ungossiped", self.ungossiped),
            ("statements", self.statements as u64),
            ("told", self.told),
            ("learnt", self.learnt),
        ];
        refused.chain(others.map(|(name, count)| (name.to_owned(), count))).collect()
    }
}

/// A node of the DHT. One process at a time may have its directory open; dropping it ends the
/// node.
pub struct Dht {
    shared: Arc<Shared>,
    /// `None` only while dropping.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dht").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Dht {
    /// Opens the store in the directory and starts the node; whom it knows is dialled afterwards.
    ///
    /// # Errors
    /// [`BackendError::Request`] for a wrong configuration; and when the directory cannot be used,
    /// or none of the addresses can be listened at.
    pub fn open(config: DhtConfig) -> Result<Self, BackendError> {
        let checked = config.check()?;
        let local = Embedded::open(EmbeddedConfig {
            directory: config.directory.clone(),
            space: config.space.clone(),
            packets_max: config.packets_max,
            now: Arc::clone(&config.now),
        })?;
        let key = identity::load(&config.directory)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("dht")
            .enable_all()
            .build()
            .map_err(|error| unavailable("its threads", &error))?;
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let shared = Arc::new(Shared {
            local,
            now: config.now,
            own: key.public().to_peer_id(),
            replicas: config.replicas,
            orders,
            runtime: runtime.handle().clone(),
            circles: Circles::default(),
            refusals: Refusals::default(),
            traffic: Traffic::default(),
            follows: Follows::new(config.space.clone()),
            space: config.space,
            connected: Mutex::default(),
            behind: Mutex::default(),
            unplaced: AtomicBool::new(false),
            addresses: Mutex::default(),
            joined: watch::Sender::new(config.bootstrap.is_empty()),
            started: Instant::now(),
            nudge: Notify::new(),
            asked: Semaphore::new(ASKED_MAX),
            copies: Arc::new(Semaphore::new(COPIES_MAX)),
            banned: AtomicUsize::new(0),
            inquiries: Arc::default(),
            passed: Passed::default(),
            comparisons: tokio::sync::Mutex::default(),
            looked: tokio::sync::Mutex::default(),
            met: Notify::new(),
            pace: Pace::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let (started, starting) = startup::channel();
        let node = drive::Start { key, checked, mdns: config.mdns, upkeep: config.upkeep };
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("dht-node".to_owned())
                .spawn(move || {
                    runtime.block_on(drive::run(shared, node, received, stopped, started));
                    runtime.shutdown_timeout(END_MAX);
                })
                .map_err(|error| unavailable("its thread", &error))?
        };
        let dht = Self { shared, stop: Some(stop), thread: Some(thread) };
        match starting.recv() {
            Ok(Ok(())) => Ok(dht),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(unavailable("its loop", &error)),
        }
    }

    /// The node's id, as peers know it.
    #[must_use]
    pub fn id(&self) -> String {
        self.shared.own.to_string()
    }

    /// The addresses it listens at, with its id: what others give as `bootstrap`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let addresses = lock(&self.shared.addresses);
        addresses.iter().map(|address| format!("{address}/p2p/{}", self.shared.own)).collect()
    }

    /// Counts since the node was started.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let local = self.shared.local.figures();
        Figures {
            peers: lock(&self.shared.connected).len(),
            banned: self.shared.banned.load(Ordering::Relaxed),
            packets: local.packets,
            evicted: local.evicted,
            refused: self.shared.refusals.all(),
            asked: self.shared.traffic.asked.count(),
            unanswered: self.shared.traffic.unanswered.count(),
            spared: self.shared.traffic.spared.count(),
            copies: self.shared.traffic.copies.count(),
            kept: self.shared.traffic.kept.count(),
            gossiped: self.shared.traffic.gossiped.count(),
            ungossiped: self.shared.traffic.ungossiped.count(),
            statements: self.shared.local.statements_kept(),
            told: self.shared.traffic.told.count(),
            learnt: self.shared.traffic.learnt.count(),
        }
    }
}

impl Drop for Dht {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the node of the DHT has panicked");
        }
    }
}

fn unavailable(what: &str, reason: &dyn fmt::Display) -> BackendError {
    BackendError::Unavailable(format!("the node of the DHT: {what}: {reason}"))
}

#[async_trait]
impl Backend for Dht {
    /// New is what this node did not hold.
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        let stored = self.shared.local.store(packet).await?;
        self.shared.joined().await;
        spread::place(&self.shared, stored.id).await?;
        Ok(stored)
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        self.shared.joined().await;
        find::query(&self.shared, query, radius, limit).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        if let Some(bytes) = self.shared.local.get(id).await? {
            return Ok(Some(bytes));
        }
        self.shared.joined().await;
        find::get(&self.shared, id).await
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        check_cells(cells)?;
        check_space(cells, &self.shared.space)?;
        let local = self.shared.local.subscribe(cells, after).await?;
        Ok(Box::new(follow::Following::new(&self.shared, cells, local)))
    }

    /// New is what this node did not hold. Past the bounds of statements it is [`BackendError::Full`],
    /// as in every store.
    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        declare::declare(&self.shared, statement).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.shared.joined().await;
        inquire::keep_up(&self.shared, publishers).await;
        self.shared.local.statements(publishers).await
    }

    /// The first page begins with comparing, so that those who read all get all that peers have.
    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        if after.is_none() {
            self.shared.joined().await;
            // What a slow peer has is for the next time.
            let _ = tokio::time::timeout(ANSWER_MAX, compare::round(&self.shared)).await;
        }
        self.shared.local.statements_after(after).await
    }

    fn skipped(&self) -> u64 {
        self.shared.refusals.all().values().sum()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.figures().counts()
    }

    fn capability(&self) -> Capability {
        Capability {
            name: "dht".to_owned(),
            durable: true,
            exact: true,
            resumable: true,
            space: hex::encode(self.shared.space.short_id()),
        }
    }
}
