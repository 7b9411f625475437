//! Database servers that a test starts on loopback, each with its data in a directory of its own.
//!
//! Owns the starting, killing and ending of servers, [`Relay`] between a client and a server, and
//! [`Certificates`] for TLS. Never knows what the data mean.
//!
//! **Invariant:** a server ends with its guard, by its pid; its data go with it.

mod certificates;
mod postgres;
mod redis;
mod relay;

pub use certificates::Certificates;
pub use postgres::PostgresServer;
pub use redis::RedisServer;
pub use relay::Relay;

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
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
    let redis = (!Path::new(redis::PROGRAM).exists()).then_some("redis-server");
    let postgres = postgres::programs().is_none().then_some("postgresql");
    redis.into_iter().chain(postgres).collect()
}
