//! The bare client of PostgreSQL, with pgvector's table of vectors if there is one.

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use edgelore_pipeline::fingerprint::Space;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::super::LIMIT;
use super::super::subjects::PACKETS_MAX;
use super::{Asked, Bare, Offered};
use crate::store::now_secs;

/// Rows that are read beyond those that are given: some may be withdrawn.
const ROWS_MORE: usize = 16;
/// How many times as far the next look reaches when one has brought too few.
const WIDER: i64 = 4;
/// The first look reaches at least this part of the radius.
const NARROWEST: i64 = 64;
/// Entries of the log beside the packets that are read in one round trip.
const BESIDE_AT_ONCE: i64 = 512;
/// Expired packets that one call purges.
const PURGE_MAX: i32 = 512;
/// Packets that get their vectors in one call.
const FILL_AT_ONCE: i64 = 256;

const BESIDE: &str = "SELECT number, kind, bytes FROM edgelore.beside
    WHERE number > $1 ORDER BY number LIMIT $2";
const HIGHEST: &str = "SELECT coalesce(max(id), 0) FROM edgelore.cell";
/// The product's own.
const NEAR: &str = include_str!("../../../../userspace/routing/src/postgres/near.sql");
const STORE: &str = "SELECT stored, fate FROM edgelore.store(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// The product's own, of the table of vectors `VECTORS`.
const FILL: &str = include_str!("../../../../userspace/routing/src/pgvector/fill.sql");

/// The product's statements, prepared.
pub(crate) struct BarePostgres {
    client: Client,
    space: [u8; 8],
    beside: Statement,
    highest: Statement,
    near: Statement,
    store: Statement,
    /// Gives packets their vectors, if it is pgvector.
    fill: Option<Statement>,
    /// Everything that arrived up to here has its vector.
    filled: i64,
    /// The number of the one cell that holds packets.
    cell: i32,
    /// Within which the next answer's packets are looked for first, as the product does, milli-units.
    reach: Option<i64>,
}

impl BarePostgres {
    /// Connects to where a client of the product has made the schema.
    pub(crate) async fn connect(url: &str, with_vectors: bool) -> Result<Self> {
        let connected = tokio_postgres::connect(url, NoTls).await;
        let (client, connection) = connected.context("connect the bare PostgreSQL client")?;
        tokio::spawn(connection);
        let space = Space::default_definition().short_id();
        let table = format!("vector_1_{}", hex::encode(space));
        let fill = match with_vectors {
            true => Some(client.prepare(&FILL.replace("VECTORS", &table)).await?),
            false => None,
        };
        Ok(Self {
            space,
            beside: client.prepare(BESIDE).await?,
            highest: client.prepare(HIGHEST).await?,
            near: client.prepare(NEAR).await?,
            store: client.prepare(STORE).await?,
            fill,
            filled: 0,
            cell: 0,
            reach: None,
            client,
        })
    }

    /// Gives the packets that were just stored their vectors, a few, in one call.
    async fn fill(&mut self) -> Result<()> {
        let Some(fill) = &self.fill else { return Ok(()) };
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.filled, &i64::MAX, &FILL_AT_ONCE];
        let row = self.client.query_one(fill, &parameters).await?;
        let _: (i32, Option<i64>) = (row.get(0), row.get(3));
        let (end, count): (i64, i64) = (row.get(1), row.get(2));
        ensure!(count < FILL_AT_ONCE, "more packets want vectors than one call gives");
        self.filled = end;
        Ok(())
    }

    /// The nearest packets within a radius.
    async fn near(&self, asked: &Asked, radius: i64) -> Result<Vec<Row>> {
        let [severity, prefixes, nodes] = asked.at.map(|at| Some(i64::from(at)));
        let (pattern, first): (Option<&[u8]>, &[u8]) = (None, &[]);
        let parameters: [&(dyn ToSql + Sync); 11] = [
            &vec![self.cell],
            &vec![0_i64],
            &now_secs(),
            &pattern,
            &severity,
            &prefixes,
            &nodes,
            &radius,
            &((LIMIT + ROWS_MORE) as i64),
            &-1_i64,
            &first,
        ];
        Ok(self.client.query(&self.near, &parameters).await?)
    }
}

#[async_trait]
impl Bare for BarePostgres {
    async fn store(&mut self, offered: &Offered) -> Result<()> {
        let packet = &offered.packet;
        let [severity, prefixes, nodes] = offered.at.map(|at| vec![i64::from(at)]);
        let none: Vec<&[u8]> = Vec::new();
        let parameters: [&(dyn ToSql + Sync); 16] = [
            &&self.space[..],
            &vec![&packet.id[..]],
            &vec![&packet.publisher[..]],
            &vec![&offered.coarse[..]],
            &vec![&offered.exact[..]],
            &severity,
            &prefixes,
            &nodes,
            &vec![packet.outcome.expires.secs()],
            &vec![packet.outcome.resolution.pattern.as_bytes()],
            &vec![&packet.bytes[..]],
            &none,
            &none,
            &now_secs(),
            &(PACKETS_MAX as i64),
            &PURGE_MAX,
        ];
        let rows = self.client.query(&self.store, &parameters).await?;
        let fates: Vec<(&[u8], i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        ensure!(fates == [(&packet.id[..], 1)], "the packet was not stored");
        self.fill().await
    }

    async fn prepare(&mut self, asked: &Asked) -> Result<()> {
        let cell = "SELECT id FROM edgelore.cell WHERE path = $1";
        self.cell = self.client.query_one(cell, &[&asked.coarse.to_string()]).await?.get(0);
        Ok(())
    }

    /// The end of the log beside the packets, the highest cell, and the nearest packets.
    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let beside = self.client.query(&self.beside, &[&0_i64, &BESIDE_AT_ONCE]).await?;
        ensure!(beside.is_empty(), "something stands beside the packets");
        let _: i32 = self.client.query_one(&self.highest, &[]).await?.get(0);
        let radius = i64::from(asked.radius);
        let mut bound =
            self.reach.unwrap_or(radius).clamp((radius + NARROWEST - 1) / NARROWEST, radius);
        let mut rows = self.near(asked, bound).await?;
        while rows.len() < LIMIT && bound < radius {
            bound = (bound * WIDER).min(radius);
            rows = self.near(asked, bound).await?;
        }
        if let Some(farthest) = rows.get(LIMIT - 1) {
            let distance: i64 = farthest.get(1);
            self.reach = Some(distance + distance / 4);
        }
        Ok(rows.iter().filter(|row| packet_bytes(row) > 0).count())
    }
}

/// Reads the columns of a packet.
fn packet_bytes(row: &Row) -> usize {
    let (id, bytes): (&[u8], &[u8]) = (row.get(0), row.get(2));
    let _: i64 = row.get(1);
    let (by, contents): (Vec<&[u8]>, Vec<&[u8]>) = (row.get(3), row.get(4));
    id.len() + bytes.len() + by.len() + contents.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_statements_are_the_products() {
        let query = include_str!("../../../../userspace/routing/src/postgres/query.rs");
        let shelf = include_str!("../../../../userspace/routing/src/postgres/shelf.rs");
        let store = include_str!("../../../../userspace/routing/src/postgres/store.rs");
        for (source, statement) in [(shelf, BESIDE), (query, HIGHEST), (store, STORE)] {
            assert!(words(source).contains(&words(statement)), "{statement}");
        }
    }
}
