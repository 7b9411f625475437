//! The bare client of PostgreSQL, with pgvector's table of vectors if there is one.

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use edgelore_pipeline::fingerprint::Space;
use pgvector::Vector;
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

const END: &str = "SELECT coalesce(max(p.arrival), 0) FROM edgelore.packet p";
/// Of the table of vectors `{}`.
const MISSING: &str = "SELECT p.arrival, p.id, p.bytes
    FROM edgelore.packet p JOIN edgelore.cell c ON c.id = p.cell
    WHERE c.space = $1 AND p.arrival > $2 AND p.arrival <= $3 AND NOT EXISTS (
        SELECT FROM edgelore.{} v WHERE v.packet = p.arrival
    ) ORDER BY p.arrival LIMIT $4";
/// Of the table of vectors `{}`.
const ADD: &str = "INSERT INTO edgelore.{} (packet, at)
    SELECT u.packet, u.at FROM unnest($1::bigint[], $2::vector[]) AS u (packet, at)
    JOIN edgelore.packet p ON p.arrival = u.packet FOR KEY SHARE OF p
    ON CONFLICT DO NOTHING";

/// The product's statements, prepared.
pub(crate) struct BarePostgres {
    client: Client,
    space: [u8; 8],
    beside: Statement,
    highest: Statement,
    near: Statement,
    store: Statement,
    vectors: Option<Vectors>,
    /// The number of the one cell that holds packets.
    cell: i32,
    /// Within which the next answer's packets are looked for first, as the product does, milli-units.
    reach: Option<i64>,
}

/// The statements that give a packet its vector.
struct Vectors {
    end: Statement,
    missing: Statement,
    add: Statement,
}

impl BarePostgres {
    /// Connects to where a client of the product has made the schema.
    pub(crate) async fn connect(url: &str, with_vectors: bool) -> Result<Self> {
        let connected = tokio_postgres::connect(url, NoTls).await;
        let (client, connection) = connected.context("connect the bare PostgreSQL client")?;
        tokio::spawn(connection);
        let space = Space::default_definition().short_id();
        let table = format!("vector_1_{}", hex::encode(space));
        let vectors = match with_vectors {
            true => Some(Vectors {
                end: client.prepare(END).await?,
                missing: client.prepare(&MISSING.replace("{}", &table)).await?,
                add: client.prepare(&ADD.replace("{}", &table)).await?,
            }),
            false => None,
        };
        Ok(Self {
            space,
            beside: client.prepare(BESIDE).await?,
            highest: client.prepare(HIGHEST).await?,
            near: client.prepare(NEAR).await?,
            store: client.prepare(STORE).await?,
            vectors,
            cell: 0,
            reach: None,
            client,
        })
    }

    /// Gives the packet that was just stored its vector.
    async fn fill(&self, vectors: &Vectors, vector: &Vector) -> Result<()> {
        let end: i64 = self.client.query_one(&vectors.end, &[]).await?.get(0);
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&&self.space[..], &(end - 1), &end, &FILL_AT_ONCE];
        let rows = self.client.query(&vectors.missing, &parameters).await?;
        let arrivals: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        ensure!(arrivals == [end], "another client stores as well");
        self.client.execute(&vectors.add, &[&arrivals, &vec![vector]]).await?;
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
        match &self.vectors {
            Some(vectors) => self.fill(vectors, &offered.vector).await,
            None => Ok(()),
        }
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
        let vectors = include_str!("../../../../userspace/routing/src/pgvector/vectors.rs");
        for (source, statement) in [
            (shelf, BESIDE),
            (query, HIGHEST),
            (store, STORE),
            (vectors, END),
            (vectors, MISSING),
            (vectors, ADD),
        ] {
            assert!(words(source).contains(&words(statement)), "{statement}");
        }
    }
}
