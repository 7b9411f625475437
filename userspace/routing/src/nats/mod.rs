//! NATS JetStream as a backend.
//!
//! One stream a similarity definition, `EDGELORE-1-SPACE`, which the first client makes. A packet is
//! one message, so it is stored as a whole or not at all:
//!
//! | subject `edgelore.1.SPACE.…` | payload |
//! |---|---|
//! | the path of the exact cell under which it is filed, `.` for `/`, then its id | a packet |
//! | `withdrawn.PUBLISHER.ID` | the packet that supersedes or revokes the packet ID |
//! | `beside.KIND.ID` | a statement about a key, or a packet that nobody signed |
//!
//! A message is taken only if its subject is free (`Nats-Expected-Last-Subject-Sequence`), so storing
//! again changes nothing, however late; the id is the message's `Nats-Msg-Id` too. A client knows by
//! heart where packets lie ([`index`], by default 40 MiB of memory at most), reads on before a query,
//! fetches the nearest and verifies them. A subscription reads the stream from a sequence number, its
//! cursor, by an ephemeral consumer that acknowledges nothing: whoever resumes brings the cursor along,
//! and nothing of a subscriber that never comes back is left in the server. Where a server ignores
//! `filter_subjects` (before 2.10; the consumer it made tells) it is one consumer for each cell of a
//! query, and one wider one for a subscription. Each second in which a client stores it looks at
//! some of the stream ([`sweep`]) and deletes what has expired by its clock.
//!
//! **URL.** `nats://[USER[:PASSWORD]@]HOST[:PORT]`, or `tls://…` for TLS; a server that asks for TLS
//! gets it either way, verified against the system's certificates or those in `?ca=FILE`;
//! `cert=FILE&key=FILE` is shown to the server (PEM files). A user without password is a token, and
//! so is a password that is given apart without a user. `nkey=FILE` holds an NKEY seed,
//! `creds=FILE` a JWT and its seed. `replicas=N` (1 to 5) is how many servers keep a stream that is
//! made. Needs NATS 2.9 or newer with JetStream. A stream made beforehand spares clients the right
//! to create one; it must discard new messages and keep one a subject.
//!
//! **Durability.** By default a JetStream server acknowledges what it has handed to the operating system
//! and syncs every two minutes: that survives the end of the process, not that of the machine.
//! `sync_interval: always` (2.10 or newer) in the server's configuration changes it, but no client
//! can ask for it: `sync=always` in the URL is the operator's word that it is set. The
//! capability says durable with that word, or when three or more servers keep the stream.
//!
//! **Invariant:** nothing is given that was not verified in this process; what was planted in the
//! server is skipped and counted.

mod connect;
mod follow;
mod index;
mod layout;
mod query;
mod read;
mod shelf;
mod store;
mod sweep;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::synthesise::Unsigned;
use tokio::sync::{Mutex, Semaphore};

use crate::admission::{admit, admit_subscription};
use crate::backend::{Backend, BackendError, Capability, Cursor, Stored, Subscription};
use crate::embedded::{Now, SUBSCRIPTIONS_MAX, system_time};
use crate::verify::Verifier;
use crate::{Cell, Found, PacketId};
use connect::Server;
use index::{Index, Mark};
use layout::Subjects;
use sweep::Sweep;

/// How a NATS server is used.
#[derive(Clone)]
pub struct NatsConfig {
    /// See the module.
    pub url: String,
    /// Replaces the URL's password; without a user it is a token.
    pub password: Option<String>,
    /// The similarity definition.
    pub space: Space,
    /// Messages at most in a stream that is made; when they are as many and none has expired, the
    /// next is refused as full.
    pub packets_max: u64,
    /// Packets at most of which this client knows by heart where they lie, 40 bytes each; those beyond
    /// are read for each query.
    pub known_max: usize,
    /// The clock; packets expire by it.
    pub now: Now,
}

impl NatsConfig {
    /// The shipped similarity definition, the system's clock and at most a million packets.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            password: None,
            space: Space::default_definition(),
            packets_max: 1_000_000,
            known_max: index::PACKETS_MAX,
            now: Arc::new(system_time),
        }
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the URL nor the password: both are secrets.
        f.debug_struct("NatsConfig").field("packets_max", &self.packets_max).finish_non_exhaustive()
    }
}

/// What the calls and the subscriptions share.
struct Shared {
    server: Server,
    subjects: Subjects,
    verifier: Verifier,
    index: Mutex<Index>,
    /// The stream's last message when it was last looked at for what stands beside the packets.
    looked: std::sync::Mutex<Option<Mark>>,
    sweep: Sweep,
}

/// A NATS server. Connects when first used, and again when the connection is lost.
pub struct Nats {
    shared: Arc<Shared>,
    subscriptions: Arc<Semaphore>,
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("skipped", &self.skipped()).finish_non_exhaustive()
    }
}

impl Nats {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    /// [`BackendError::Request`] when the URL is none, or names files that cannot be read.
    pub fn new(config: NatsConfig) -> Result<Self, BackendError> {
        let subjects = Subjects::of(&config.space);
        let shared = Shared {
            server: Server::new(&config.url, config.password, &subjects, config.packets_max)?,
            subjects,
            index: Mutex::new(Index::new(config.space.clone(), config.known_max)),
            verifier: Verifier::new("nats", config.space, config.now),
            looked: std::sync::Mutex::default(),
            sweep: Sweep::default(),
        };
        let subscriptions = Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX));
        Ok(Self { shared: Arc::new(shared), subscriptions })
    }

    /// Whether the server was seen to ignore filters on several subjects.
    #[must_use]
    pub fn filters_one_subject(&self) -> bool {
        self.shared.server.filters_one_subject()
    }
}

#[async_trait]
impl Backend for Nats {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        let verifier = &self.shared.verifier;
        let opened = admit(&verifier.space, verifier.now(), &packet)?;
        store::store(&self.shared, &opened).await
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

    fn capability(&self) -> Capability {
        self.shared.verifier.capability(self.shared.server.is_durable(), true)
    }
}
