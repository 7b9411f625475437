//! The backends, each with a server of its own that ends with it.
//!
//! Owns starting them. Never measures.

use anyhow::{Context as _, Result};
use edgelore_node::api::{self, Policy, Stopping};
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::Backend;
use edgelore_routing::dht::{Dht, DhtConfig};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::Http;
use edgelore_routing::nats::{Nats, NatsConfig};
use edgelore_routing::pgvector::Pgvector;
use edgelore_routing::postgres::{Postgres, PostgresConfig};
use edgelore_routing::redis::{Redis, RedisConfig};
use edgelore_testkit::server::{NatsServer, PASSWORD, PostgresServer, RedisServer};
use edgelore_testkit::wait_for;
use std::any::Any;
use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::bare::{Bare, BareHttp, BareNats, BarePostgres, BareRedis};

/// A store with room for what is measured.
pub(super) const PACKETS_MAX: usize = 4_000_000;
/// Nodes of a DHT, all of them in this process.
const NODES: usize = 5;
/// How long they may take to find each other.
const MEETING: Duration = Duration::from_secs(60);

/// A backend and what it needs.
pub(super) struct Subject {
    pub(super) name: &'static str,
    url: String,
    /// The embedded store, which one process opens once, or the nodes of a DHT: no server has them.
    here: Vec<Arc<dyn Backend>>,
    /// Clients so far.
    clients: Cell<usize>,
    /// Servers and directories; they go with it.
    _needs: Vec<Box<dyn Any>>,
}

/// A folder beside this program, so on a real disk wherever the build folder is on one.
fn folder() -> Result<TempDir> {
    let program = std::env::current_exe().context("find this program")?;
    let beside = program.parent().context("find the folder of this program")?;
    tempfile::tempdir_in(beside).context("make a folder for a store")
}

fn store(folder: &TempDir) -> Result<Arc<Embedded>> {
    let config = EmbeddedConfig::in_directory(folder.path());
    Ok(Arc::new(Embedded::open(EmbeddedConfig { packets_max: PACKETS_MAX, ..config })?))
}

impl Subject {
    pub(super) fn embedded() -> Result<Self> {
        let folder = folder()?;
        let here: Vec<Arc<dyn Backend>> = vec![store(&folder)?];
        Ok(Self { here, ..Self::served("embedded", String::new(), vec![Box::new(folder)]) })
    }

    pub(super) fn served(name: &'static str, url: String, needs: Vec<Box<dyn Any>>) -> Self {
        Self { name, url, here: Vec::new(), clients: Cell::new(0), _needs: needs }
    }

    /// The API over an embedded store, served by threads of this process.
    pub(super) fn http() -> Result<Self> {
        let folder = folder()?;
        let store = store(&folder)?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let policy = Policy { rate: NonZeroU32::MAX, ..Policy::default() };
        let router = api::router(store, policy, Stopping::new().1);
        runtime.spawn(api::serve(listener, None, router, std::future::pending(), Duration::ZERO));
        let needs: Vec<Box<dyn Any>> = vec![Box::new(Ending(Some(runtime))), Box::new(folder)];
        Ok(Self::served("http", url, needs))
    }

    pub(super) fn redis() -> Result<Self> {
        let server = RedisServer::start(&[])?;
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port());
        Ok(Self::served("redis", url, vec![Box::new(server)]))
    }

    pub(super) fn postgres() -> Result<Self> {
        Ok(Self::on_postgres("postgres", PostgresServer::start()?))
    }

    pub(super) fn pgvector() -> Result<Self> {
        Ok(Self::on_postgres("pgvector", PostgresServer::start_with_pgvector()?))
    }

    fn on_postgres(name: &'static str, server: PostgresServer) -> Self {
        let url = format!("{name}://edgelore:{PASSWORD}@127.0.0.1:{}/postgres", server.port());
        Self::served(name, url, vec![Box::new(server)])
    }

    pub(super) fn nats() -> Result<Self> {
        let server = NatsServer::start()?;
        let url = format!("nats://edgelore:{PASSWORD}@127.0.0.1:{}", server.port());
        Ok(Self::served("nats", url, vec![Box::new(server)]))
    }

    /// Nodes that know each other, over TCP and QUIC on loopback.
    pub(super) fn dht() -> Result<Self> {
        let (mut nodes, mut needs) = (Vec::<Arc<Dht>>::new(), Vec::<Box<dyn Any>>::new());
        for _ in 0..NODES {
            let folder = folder()?;
            let bootstrap = nodes.first().map(|node| node.addresses()).unwrap_or_default();
            let config = DhtConfig::in_directory(folder.path());
            let config = DhtConfig { bootstrap, packets_max: PACKETS_MAX, ..config };
            nodes.push(Arc::new(Dht::open(config)?));
            needs.push(Box::new(folder));
        }
        let met = || nodes.iter().all(|node| node.figures().peers == NODES - 1);
        wait_for(MEETING, "the nodes of the DHT to meet", met)?;
        let here = nodes.into_iter().map(|node| node as Arc<dyn Backend>).collect();
        Ok(Self { here, ..Self::served("dht", String::new(), needs) })
    }

    /// Another client, without layers, or the next node; it lives in the runtime that it is first used in.
    pub(super) fn client(&self) -> Result<Arc<dyn Backend>> {
        if !self.here.is_empty() {
            let turn = self.clients.replace(self.clients.get() + 1);
            return Ok(Arc::clone(&self.here[turn % self.here.len()]));
        }
        let packets_max = PACKETS_MAX as u64;
        let postgres = || PostgresConfig { packets_max, ..PostgresConfig::at(&self.url) };
        Ok(match self.name {
            "http" => Arc::new(Http::new(&self.url, None, Space::default_definition())?),
            "redis" => {
                Arc::new(Redis::new(RedisConfig { packets_max, ..RedisConfig::at(&self.url) })?)
            }
            "nats" => Arc::new(Nats::new(NatsConfig { packets_max, ..NatsConfig::at(&self.url) })?),
            "pgvector" => Arc::new(Pgvector::new(postgres())?),
            _ => Arc::new(Postgres::new(postgres())?),
        })
    }

    /// The client library alone; what has no server has none.
    pub(super) async fn bare(&self) -> Result<Option<Box<dyn Bare>>> {
        Ok(match self.name {
            "http" => Some(Box::new(BareHttp::new(&self.url)?)),
            "redis" => Some(Box::new(BareRedis::connect(&self.url).await?)),
            "postgres" | "pgvector" => {
                let url = self.url.replace("pgvector://", "postgres://");
                Some(Box::new(BarePostgres::connect(&url, self.name == "pgvector").await?))
            }
            "nats" => Some(Box::new(BareNats::connect(&self.url).await?)),
            _ => None,
        })
    }
}

/// A runtime that is not waited for.
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
