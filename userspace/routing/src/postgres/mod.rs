//! PostgreSQL as a backend.
//!
//! Everything lies in the schema `edgelore`, which the first client makes and later ones bring up
//! to date ([`schema`]). Packets that are stored at the same time are written by one call of one
//! function, so as a whole or not at all; each purges some of what has expired, by the clock of the
//! node that stores. The server measures: it keeps the coarse cell and the three coordinates of each
//! packet, finds by index what lies within the radius, and orders it; what is given was verified
//! and measured again here. Subscriptions read the packets in the order in which they were
//! committed; a notification, which carries a number and nothing else, wakes them.
//!
//! **URL.** `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE` (also `postgresql://`). `sslmode` is
//! `disable` or `require`; without it TLS is required unless the host is loopback or a socket. TLS
//! is always verified, against the system's certificates or those in `sslrootcert=FILE`;
//! `sslcert=FILE&sslkey=FILE` is shown to the server. Other parameters are those of
//! tokio-postgres. Needs PostgreSQL 13 or newer; the first client needs the right to create a
//! schema.
//!
//! **Durability** is the server's: the capability says whether `fsync` and `synchronous_commit`
//! were on when the connection was made.
//!
//! **Invariant:** words of packets and of queries reach the server as parameters and never as a
//! part of a command; nothing is given that was not verified in this process.

mod connect;
mod follow;
mod prepared;
mod query;
mod schema;
mod shelf;
mod store;

use std::fmt;
use std::sync::Arc;

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
pub(crate) use prepared::Prepared;
use query::{Directory, Reach};
use store::Writer;

/// How a PostgreSQL server is used.
#[derive(Clone)]
pub struct PostgresConfig {
    /// See the module.
    pub url: String,
    /// Replaces the URL's password.
    pub password: Option<String>,
    /// The similarity definition.
    pub space: Space,
    /// Packets at most, of all definitions; when they are as many and none has expired, the next
    /// is refused as full.
    pub packets_max: u64,
    /// The clock; packets expire by it.
    pub now: Now,
}

impl PostgresConfig {
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

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the URL nor the password: both are secrets.
        f.debug_struct("PostgresConfig")
            .field("packets_max", &self.packets_max)
            .finish_non_exhaustive()
    }
}

/// An index that tells how far the nearest packets are.
#[async_trait]
pub(crate) trait Nearness: Send + Sync {
    /// Makes a new connection ready.
    async fn prepare(&self, client: &Prepared) -> Result<(), BackendError>;

    /// Takes in what was stored since.
    async fn fill(&self, client: &Prepared, verifier: &Verifier) -> Result<(), BackendError>;

    /// Milli-units within which `count` packets lie that match the query; `None` when there may be
    /// fewer, or the index cannot tell.
    async fn bound(
        &self,
        client: &Prepared,
        verifier: &Verifier,
        query: &Query,
        count: usize,
    ) -> Result<Option<u32>, BackendError>;
}

/// What the calls, the writer and the subscriptions share.
struct Shared {
    server: Server,
    index: Option<Arc<dyn Nearness>>,
    verifier: Verifier,
    packets_max: i64,
    directory: Directory,
    reach: Reach,
}

/// A PostgreSQL server. Connects when first used, and again when a connection is lost: one for
/// reading, one for writing, and one for each subscription.
pub struct Postgres {
    shared: Arc<Shared>,
    writer: Writer,
    subscriptions: Arc<Semaphore>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("skipped", &self.skipped()).finish_non_exhaustive()
    }
}

impl Postgres {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    /// [`BackendError::Request`] when the URL is none, or names files that cannot be read.
    pub fn new(config: PostgresConfig) -> Result<Self, BackendError> {
        Self::indexed("postgres", config, None)
    }

    pub(crate) fn indexed(
        name: &'static str,
        config: PostgresConfig,
        index: Option<Arc<dyn Nearness>>,
    ) -> Result<Self, BackendError> {
        let shared = Shared {
            server: Server::new(&config.url, config.password, index.clone())?,
            index,
            verifier: Verifier::new(name, config.space, config.now),
            packets_max: i64::try_from(config.packets_max).unwrap_or(i64::MAX),
            directory: Directory::default(),
            reach: Reach::default(),
        };
        let shared = Arc::new(shared);
        let subscriptions = Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX));
        Ok(Self { writer: Writer::new(Arc::clone(&shared)), shared, subscriptions })
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        let verifier = &self.shared.verifier;
        self.writer.store(admit(&verifier.space, verifier.now(), &packet)?).await
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
        query::get(&self.shared, id).await
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
        query::held(&self.shared).await.map(Some)
    }

    fn capability(&self) -> Capability {
        self.shared.verifier.capability(self.shared.server.is_durable(), true)
    }
}
