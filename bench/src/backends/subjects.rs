//! The backends, each with a server of its own that ends with it.
//!
//! Owns starting them. Never measures.

use anyhow::{Context as _, Result};
use edgelore_node::api::{self, Policy, Stopping};
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::Backend;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::Http;
use edgelore_routing::postgres::{Postgres, PostgresConfig};
use edgelore_routing::redis::{Redis, RedisConfig};
use edgelore_testkit::server::{PASSWORD, PostgresServer, RedisServer};
use std::any::Any;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::bare::{Bare, BareHttp, BarePostgres, BareRedis};

/// A store with room for what is measured.
const PACKETS_MAX: usize = 4_000_000;

/// A backend and what it needs.
pub(super) struct Subject {
    pub(super) name: &'static str,
    url: String,
    /// Kept for the embedded store, which one process opens once.
    embedded: Option<Arc<Embedded>>,
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
        let embedded = Some(store(&folder)?);
        let needs: Vec<Box<dyn Any>> = vec![Box::new(folder)];
        Ok(Self { name: "embedded", url: String::new(), embedded, _needs: needs })
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
        Ok(Self { name: "http", url, embedded: None, _needs: needs })
    }

    pub(super) fn redis() -> Result<Self> {
        let server = RedisServer::start(&[])?;
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port());
        Ok(Self { name: "redis", url, embedded: None, _needs: vec![Box::new(server)] })
    }

    pub(super) fn postgres() -> Result<Self> {
        let server = PostgresServer::start()?;
        let url = format!("postgres://edgelore:{PASSWORD}@127.0.0.1:{}/postgres", server.port());
        Ok(Self { name: "postgres", url, embedded: None, _needs: vec![Box::new(server)] })
    }

    /// Another client, without layers; it lives in the runtime that it is first used in.
    pub(super) fn client(&self) -> Result<Arc<dyn Backend>> {
        if let Some(embedded) = &self.embedded {
            return Ok(Arc::<Embedded>::clone(embedded));
        }
        let packets_max = PACKETS_MAX as u64;
        Ok(match self.name {
            "http" => Arc::new(Http::new(&self.url, None, Space::default_definition())?),
            "redis" => {
                Arc::new(Redis::new(RedisConfig { packets_max, ..RedisConfig::at(&self.url) })?)
            }
            _ => {
                let config = PostgresConfig { packets_max, ..PostgresConfig::at(&self.url) };
                Arc::new(Postgres::new(config)?)
            }
        })
    }

    /// The client library alone; the embedded store has none.
    pub(super) async fn bare(&self) -> Result<Option<Box<dyn Bare>>> {
        Ok(match self.name {
            "http" => Some(Box::new(BareHttp::new(&self.url)?)),
            "redis" => Some(Box::new(BareRedis::connect(&self.url).await?)),
            "postgres" => Some(Box::new(BarePostgres::connect(&self.url).await?)),
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
