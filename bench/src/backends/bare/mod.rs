//! The bare clients: each backend's client library sending what the product's client sends to store a
//! packet and to answer a query, once that is connected and has caught up, and reading the answers
//! into the library's own types.
//!
//! Owns the round trips of each. A bare client never opens, verifies or measures a packet. What the product
//! keeps to itself (SQL, keys, subjects) is said again here; tests compare the SQL with the product's, and
//! the bytes that both send.
//!
//! **Invariant:** [`Bare::store`] and [`Bare::fetch`] do nothing but send and read: what they send is in
//! [`Offered`] and [`Asked`], or was made by [`Bare::prepare`].

mod http;
mod nats;
mod postgres;
mod redis;
#[cfg(test)]
mod tests;

use anyhow::Result;
use async_trait::async_trait;
use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_pipeline::packet::{Opened, Sealed, open};
use edgelore_routing::{Backend, Found};

pub(super) use http::BareHttp;
pub(super) use nats::BareNats;
pub(super) use postgres::BarePostgres;
pub(super) use redis::BareRedis;

use super::LIMIT;

/// As many of the nearest packets as any client fetches for one query: those that it gives, and some
/// that may take the place of withdrawn ones.
const NEAREST: usize = LIMIT + LIMIT / 4 + 16;

/// A client library.
#[async_trait]
pub(super) trait Bare: Send {
    /// The round trips that make a packet durable, and those that follow them.
    async fn store(&mut self, offered: &Offered) -> Result<()>;

    /// Looks up what the round trips of a query send; not to be measured.
    async fn prepare(&mut self, asked: &Asked) -> Result<()>;

    /// The round trips of a query; gives how much came back: packets, or bytes where nothing else can
    /// be told apart.
    async fn fetch(&mut self, asked: &Asked) -> Result<usize>;
}

/// A packet to be stored, and what the backends' commands say of it.
pub(super) struct Offered {
    pub(super) packet: Opened,
    /// The path of its coarse cell.
    coarse: String,
    /// The path of its exact cell. Its words are in the taxonomies, so it is filed under this one.
    exact: String,
    at: [u32; 3],
    /// Its record in Redis' index.
    record: Vec<u8>,
}

impl Offered {
    pub(super) fn new(sealed: &Sealed, space: &Space) -> Result<Self> {
        let packet = open(&sealed.bytes)?;
        let situation = &packet.outcome.situation;
        let at = space.coordinates(situation);
        Ok(Self {
            coarse: Cell::coarse(space, situation).to_string(),
            exact: Cell::exact(space, situation).to_string(),
            at,
            record: redis::record(&packet, at),
            packet,
        })
    }
}

/// A query for a situation, and what the backends' commands say of it.
pub(super) struct Asked {
    pub(super) query: Query,
    /// Milli-units.
    pub(super) radius: u32,
    /// The coarse cell that holds all packets.
    coarse: Cell,
    at: [u32; 3],
    /// The nearest packets, nearest first, [`NEAREST`] at most.
    nearest: Vec<Found>,
}

impl Asked {
    /// Learns from a client which packets are the nearest.
    pub(super) async fn learn(
        finder: &dyn Backend,
        situation: &Situation,
        radius: u32,
    ) -> Result<Self> {
        let space = Space::default_definition();
        let query = Query::from(situation);
        let nearest = finder.query(&query, radius, NEAREST).await?;
        let (coarse, at) = (Cell::coarse(&space, situation), space.coordinates(situation));
        Ok(Self { query, radius, coarse, at, nearest })
    }
}
