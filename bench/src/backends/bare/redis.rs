//! The bare client of Redis.

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_pipeline::packet::Opened;
use redis::aio::MultiplexedConnection;
use redis::{Script, Value, cmd, pipe};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

use super::super::LIMIT;
use super::super::subjects::PACKETS_MAX;
use super::{Asked, Bare, NEAREST, Offered};
use crate::store::now_secs;

/// The product's script.
const STORE: &str = include_str!("../../../../userspace/routing/src/redis/store.lua");
/// Expired packets that one call purges.
const PURGE_MAX: usize = 64;
/// Records of an index that are read first on each side of the severity asked for, and how many times
/// as many are read next.
const RECORDS_AT_FIRST: usize = 512;
const RECORDS_GROWTH: usize = 4;
/// Entries of the log beside the packets that are read in one round trip.
const ENTRIES_AT_ONCE: usize = 512;

/// The script for storing; the product's keys for reading.
pub(crate) struct BareRedis {
    connection: MultiplexedConnection,
    store: Script,
    keys: Keys,
    /// Publisher and id of each packet that is fetched.
    withdrawn: Vec<Vec<u8>>,
    /// What is read of the one cell's index, round trip by round trip.
    trips: Vec<Vec<Range>>,
}

/// A part of an index: its records from one severity on, in the direction of another, a page at most.
#[derive(Clone, Copy)]
struct Range {
    from: u32,
    end: u32,
    page: usize,
}

impl Range {
    fn command(&self) -> &'static str {
        if self.from <= self.end { "ZRANGEBYSCORE" } else { "ZREVRANGEBYSCORE" }
    }
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
        Ok(Self { connection, store, keys, withdrawn: Vec::new(), trips: Vec::new() })
    }

    async fn read(&mut self, coarse: &Cell, ranges: &[Range]) -> Result<Vec<Value>> {
        let mut index = pipe();
        for range in ranges {
            let records = index.cmd(range.command()).arg(format!("{}{coarse}", self.keys.cell));
            records.arg(range.from).arg(range.end).arg("WITHSCORES");
            records.arg("LIMIT").arg(0).arg(range.page);
        }
        Ok(index.query_async(&mut self.connection).await?)
    }

    /// Both sides of the severity asked for, in growing pages, until no record can be among the nearest.
    async fn trips(&mut self, asked: &Asked) -> Result<Vec<Vec<Range>>> {
        let (at, mut bound) = (asked.at[0], asked.radius);
        let (mut trips, mut best) = (Vec::new(), BTreeSet::new());
        let mut fronts = vec![(at, true)];
        fronts.extend(at.checked_sub(1).map(|below| (below, false)));
        let mut page = RECORDS_AT_FIRST;
        loop {
            fronts.retain(|(from, _)| at.abs_diff(*from) <= bound);
            if fronts.is_empty() {
                return Ok(trips);
            }
            let range = |(from, upward): &(u32, bool)| {
                let end = if *upward { at.saturating_add(bound) } else { at.saturating_sub(bound) };
                Range { from: *from, end, page }
            };
            let ranges: Vec<Range> = fronts.iter().map(range).collect();
            let answers = self.read(&asked.coarse, &ranges).await?;
            let mut left = Vec::new();
            for ((_, upward), answer) in fronts.iter().zip(answers) {
                let records: Vec<(Vec<u8>, u32)> = redis::from_redis_value(answer)?;
                if let Some((_, last)) = records.last().filter(|_| records.len() == page) {
                    left.push((*last, *upward));
                }
                let far = |record: (Vec<u8>, u32)| (distance(&record, asked.at), record.0);
                best.extend(records.into_iter().map(far));
            }
            while best.len() > NEAREST {
                best.pop_last();
            }
            if let Some((farthest, _)) = best.last().filter(|_| best.len() == NEAREST) {
                bound = bound.min(*farthest);
            }
            trips.push(ranges);
            (fronts, page) = (left, page * RECORDS_GROWTH);
        }
    }
}

/// How far the record of a packet in the one cell is.
fn distance((member, severity): &(Vec<u8>, u32), at: [u32; 3]) -> u32 {
    let word = |from: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| member[from + byte]));
    let place = [*severity, word(32), word(36)];
    at.into_iter().zip(place).map(|(asked, value)| asked.abs_diff(value)).sum()
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
        let given = asked.nearest.iter().take(LIMIT);
        let keys = given.map(|one| [one.opened.publisher, one.opened.id].concat());
        self.withdrawn = keys.collect();
        self.trips = self.trips(asked).await?;
        Ok(())
    }

    /// The end of the log beside the packets, the directory's version, what matters of the
    /// index of the one cell, the nearest packets, and what withdraws them.
    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let mut beside = cmd("XRANGE");
        beside.arg(&self.keys.beside).arg("(0-0").arg("+").arg("COUNT").arg(ENTRIES_AT_ONCE);
        let _: Value = beside.query_async(&mut self.connection).await?;
        let mut version = cmd("HGET");
        version.arg(&self.keys.meta).arg("cells");
        let _: Value = version.query_async(&mut self.connection).await?;
        for trip in self.trips.clone() {
            self.read(&asked.coarse, &trip).await?;
        }
        let (keys, connection) = (&self.keys, &mut self.connection);
        let ids = asked.nearest.iter().take(LIMIT).map(|one| &one.opened.id[..]);
        let packets = fields(connection, &keys.packets, ids).await?;
        let withdrawn = self.withdrawn.iter().map(Vec::as_slice);
        fields(connection, &keys.withdrawn, withdrawn).await?;
        let Value::Array(packets) = packets else { return Ok(0) };
        Ok(packets.iter().filter(|packet| matches!(packet, Value::BulkString(_))).count())
    }
}
