//! Redis as a backend.
//!
//! | key `edgelore:1:{SPACE}:…` | type | holds |
//! |---|---|---|
//! | `packets` | hash | id → the packet's exact bytes |
//! | `history` | stream | an entry a packet, in the order of arrival: id, exact cell, index record |
//! | `cells` | set | the coarse cells that hold packets |
//! | `cell:PATH` | sorted set | index records ([`layout::Record`]) by severity coordinate |
//! | `expiry` | sorted set | entries of `history` by the second in which they expire |
//! | `withdrawn` | hash | publisher and id → ids of the packets that supersede or revoke it |
//! | `beside` | stream | statements about keys, and packets that nobody signed |
//! | `meta` | hash | `cells`: the entry that last brought a new cell |
//!
//! Storing is one Lua script, so it happens as a whole or not at all, and once however often it is
//! repeated; each purges some of what has expired, by the clock of the node that stores. A query
//! reads records of the cells within its radius, those nearest in severity first, as far as they matter
//! ([`walk`]), measures, and verifies the packets that it gives. Subscriptions read the stream, each on a
//! connection of its own: nothing is lost while a subscriber is away, as it would be with publish and
//! subscribe.
//!
//! **URL.** `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`, or `rediss://…` for TLS, verified against
//! the system's certificates or those in `?ca=FILE`; `cert=FILE&key=FILE` is shown to the server
//! (PEM files). Needs Redis 6.2 or newer, not as a cluster of several masters.
//!
//! **Durability** is the server's: with `appendonly yes` and `appendfsync always` an acknowledged
//! packet survives a crash; the capability says whether that was so when the connection was made.
//!
//! **Invariant:** nothing is given that was not verified in this process; what was planted in the
//! server is skipped and counted.

mod connect;
mod follow;
mod layout;
mod query;
mod shelf;
mod store;
mod walk;

use std::fmt;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;
use tokio::sync::Semaphore;

use crate::admission::{admit, admit_subscription};
use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::embedded::{Now, SUBSCRIPTIONS_MAX, system_time};
use crate::verify::Verifier;
use crate::{Cell, Found, PacketId};
use connect::Server;
use layout::Keys;
use query::Directory;

/// How a Redis server is used.
#[derive(Clone)]
pub struct RedisConfig {
    /// See the module.
    pub url: String,
    /// Replaces the URL's password.
    pub password: Option<String>,
    /// The similarity definition.
    pub space: Space,
    /// Packets at most; when they are as many and none has expired, the next is refused as full.
    pub packets_max: u64,
    /// The clock; packets expire by it.
    pub now: Now,
}

impl RedisConfig {
    /// The shipped similarity definition, the system's clock and at most a million packets.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            password: None,
            space: Space::default_definition(),
            packets_max: 1_000_000,
            now: Arc::new(system_time),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the URL nor the password: both are secrets.
        f.debug_struct("RedisConfig")
            .field("packets_max", &self.packets_max)
            .finish_non_exhaustive()
    }
}

/// What the calls and the subscriptions share.
struct Shared {
    server: Server,
    keys: Keys,
    verifier: Verifier,
    packets_max: u64,
    directory: RwLock<Directory>,
}

/// A Redis server. Connects when first used, and again when the connection is lost.
pub struct Redis {
    shared: Arc<Shared>,
    subscriptions: Arc<Semaphore>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("skipped", &self.skipped()).finish_non_exhaustive()
    }
}

impl Redis {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    /// [`BackendError::Request`] when the URL is none, or names files that cannot be read.
    pub fn new(config: RedisConfig) -> Result<Self, BackendError> {
        let shared = Shared {
            server: Server::new(&config.url, config.password)?,
            keys: Keys::of(&config.space),
            verifier: Verifier::new("redis", config.space, config.now),
            packets_max: config.packets_max,
            directory: RwLock::default(),
        };
        let subscriptions = Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX));
        Ok(Self { shared: Arc::new(shared), subscriptions })
    }
}

#[async_trait]
impl Backend for Redis {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        let verifier = &self.shared.verifier;
        let now = verifier.now();
        let opened = admit(&verifier.space, now, &packet)?;
        store::store(&self.shared, &opened, now).await
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        query::query(&self.shared, query, radius, limit).await
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        let packet = query::packets(&self.shared, &[*id]).await?.pop().flatten();
        Ok(packet.map(|packet| packet.bytes.clone()))
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        let space = &self.shared.verifier.space;
        let place = admit_subscription(space, cells, &self.subscriptions)?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(follow::follow(shared, cells, after, place).await?))
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        self.shared.verifier.declare(&*self.shared, statement).await
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        self.shared.verifier.statements(&*self.shared, publishers).await
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        self.shared.verifier.statements_after(&*self.shared, after).await
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        self.shared.verifier.import(&*self.shared, &packet).await
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        self.shared.verifier.imported(&*self.shared, query, radius, limit).await
    }

    fn skipped(&self) -> u64 {
        self.shared.verifier.skipped()
    }

    async fn held(&self) -> Result<Option<u64>, BackendError> {
        store::held(&self.shared).await.map(Some)
    }

    fn capability(&self) -> Capability {
        self.shared.verifier.capability(self.shared.server.is_durable(), true)
    }
}
