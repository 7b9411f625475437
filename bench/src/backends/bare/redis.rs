//! The bare client of Redis.

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::Opened;
use redis::aio::MultiplexedConnection;
use redis::{Script, Value, cmd, pipe};
use sha2::{Digest as _, Sha256};

use super::super::subjects::PACKETS_MAX;
use super::{Asked, Bare, Offered};
use crate::store::now_secs;

/// The product's script.
const STORE: &str = include_str!("../../../../userspace/routing/src/redis/store.lua");
/// Expired packets that one call purges.
const PURGE_MAX: usize = 64;
/// Entries of the log beside the packets that are read in one round trip.
const ENTRIES_AT_ONCE: usize = 512;

/// The script for storing; the product's keys for reading.
pub(crate) struct BareRedis {
    connection: MultiplexedConnection,
    store: Script,
    keys: Keys,
    /// Publisher and id of each packet that is fetched.
    withdrawn: Vec<Vec<u8>>,
}

struct Keys {
    /// In the order of the script.
    of_script: [String; 6],
    packets: String,
    cell: String,
    withdrawn: String,
    meta: String,
    beside: String,
}

impl Keys {
    fn new() -> Self {
        let space = hex::encode(Space::default_definition().short_id());
        let key = |name: &str| format!("edgelore:1:{{{space}}}:{name}");
        Self {
            of_script: ["packets", "history", "cells", "expiry", "withdrawn", "meta"].map(key),
            packets: key("packets"),
            cell: key("cell:"),
            withdrawn: key("withdrawn"),
            meta: key("meta"),
            beside: key("beside"),
        }
    }
}

/// What the index says of a packet: id, prefixes, nodes, expiry, and the first eight bytes of the
/// pattern's SHA-256.
pub(super) fn record(packet: &Opened, at: [u32; 3]) -> Vec<u8> {
    let [_, prefixes, nodes] = at.map(u32::to_be_bytes);
    let expires = packet.outcome.expires.secs().to_be_bytes();
    let pattern = Sha256::digest(packet.outcome.resolution.pattern.as_bytes());
    [&packet.id[..], &prefixes, &nodes, &expires, &pattern[..8]].concat()
}

impl BareRedis {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let client = redis::Client::open(url).context("open the bare Redis client")?;
        let connection = client.get_multiplexed_async_connection().await;
        let connection = connection.context("connect the bare Redis client")?;
        let (store, keys) = (Script::new(STORE), Keys::new());
        Ok(Self { connection, store, keys, withdrawn: Vec::new() })
    }
}

/// The values of some fields of a hash.
async fn fields<'f>(
    connection: &mut MultiplexedConnection,
    key: &str,
    fields: impl Iterator<Item = &'f [u8]>,
) -> Result<Value> {
    let mut command = cmd("HMGET");
    command.arg(key);
    for field in fields {
        command.arg(field);
    }
    Ok(command.query_async(connection).await?)
}

#[async_trait]
impl Bare for BareRedis {
    async fn store(&mut self, offered: &Offered) -> Result<()> {
        let packet = &offered.packet;
        let mut call = self.store.prepare_invoke();
        for key in &self.keys.of_script {
            call.key(key);
        }
        let withdraws: &[u8] = &[];
        call.arg(&packet.id[..])
            .arg(&packet.bytes[..])
            .arg(&offered.exact)
            .arg(&offered.record[..])
            .arg(offered.at[0])
            .arg(packet.outcome.expires.secs())
            .arg(withdraws)
            .arg(now_secs())
            .arg(PACKETS_MAX)
            .arg(PURGE_MAX)
            .arg(&self.keys.cell);
        let _: Value = call.invoke_async(&mut self.connection).await?;
        Ok(())
    }

    async fn prepare(&mut self, asked: &Asked) -> Result<()> {
        let keys = asked.nearest.iter().map(|one| [one.opened.publisher, one.opened.id].concat());
        self.withdrawn = keys.collect();
        Ok(())
    }

    /// The end of the log beside the packets, the directory's version, the index of the one cell,
    /// the nearest packets, and what withdraws them.
    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let (keys, connection) = (&self.keys, &mut self.connection);
        let mut beside = cmd("XRANGE");
        beside.arg(&keys.beside).arg("(0-0").arg("+").arg("COUNT").arg(ENTRIES_AT_ONCE);
        let _: Value = beside.query_async(connection).await?;
        let _: Value = cmd("HGET").arg(&keys.meta).arg("cells").query_async(connection).await?;
        let mut index = pipe();
        index
            .cmd("ZRANGEBYSCORE")
            .arg(format!("{}{}", keys.cell, asked.coarse))
            .arg(asked.at[0].saturating_sub(asked.radius))
            .arg(asked.at[0].saturating_add(asked.radius))
            .arg("WITHSCORES");
        let _: Vec<Value> = index.query_async(connection).await?;
        let ids = asked.nearest.iter().map(|one| &one.opened.id[..]);
        let packets = fields(connection, &keys.packets, ids).await?;
        let withdrawn = self.withdrawn.iter().map(Vec::as_slice);
        fields(connection, &keys.withdrawn, withdrawn).await?;
        let Value::Array(packets) = packets else { return Ok(0) };
        Ok(packets.iter().filter(|packet| matches!(packet, Value::BulkString(_))).count())
    }
}
