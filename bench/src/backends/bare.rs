//! The bare clients: each backend's client library making the same round trips with the same packets,
//! and doing nothing with them.
//!
//! Owns what the round trips are for each. Never opens, verifies or measures a packet.

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream;
use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_routing::PacketId;
use edgelore_routing::http::wire::QueryRequest;
use edgelore_testkit::server::PASSWORD;
use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::cmd;

use super::Asked;

/// A client library.
#[async_trait]
pub(super) trait Bare: Send {
    /// The round trip that makes a packet durable.
    async fn store(&mut self, id: &PacketId, packet: &[u8]) -> Result<()>;
    /// The round trips of a query; gives how much came back.
    async fn fetch(&mut self, asked: &Asked) -> Result<usize>;
}

/// A hash of its own for storing; the backend's keys for reading.
pub(super) struct BareRedis {
    connection: MultiplexedConnection,
    prefix: String,
    space: Space,
}

impl BareRedis {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let client = redis::Client::open(url).context("open the bare Redis client")?;
        let connection = client.get_multiplexed_async_connection().await;
        let connection = connection.context("connect the bare Redis client")?;
        let space = Space::default_definition();
        let prefix = format!("edgelore:1:{{{}}}", hex::encode(space.short_id()));
        Ok(Self { connection, prefix, space })
    }

    async fn ask(&mut self, command: &redis::Cmd) -> Result<redis::Value> {
        Ok(command.query_async(&mut self.connection).await?)
    }
}

#[async_trait]
impl Bare for BareRedis {
    async fn store(&mut self, id: &PacketId, packet: &[u8]) -> Result<()> {
        let mut command = cmd("HSET");
        command.arg("bare").arg(&id[..]).arg(packet);
        self.ask(&command).await.map(drop)
    }

    /// The directory's version, the index of the one cell, the packets, what withdraws them.
    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let prefix = self.prefix.clone();
        self.ask(cmd("HGET").arg(format!("{prefix}:meta")).arg("cells")).await?;
        let zero = Query { severity: Some(0), ..Query::default() };
        let at = self.space.query_distance(&zero, &asked.situation);
        let cell = Cell::coarse(&self.space, &asked.situation);
        let mut index = cmd("ZRANGEBYSCORE");
        index.arg(format!("{prefix}:cell:{cell}")).arg(at.saturating_sub(asked.radius));
        index.arg(at.saturating_add(asked.radius)).arg("WITHSCORES");
        self.ask(&index).await?;
        for table in ["packets", "withdrawn"] {
            let mut all = cmd("HMGET");
            all.arg(format!("{prefix}:{table}"));
            for id in &asked.ids {
                all.arg(&id[..]);
            }
            self.ask(&all).await?;
        }
        Ok(asked.ids.len())
    }
}

/// A table of its own for storing; the backend's table for reading.
pub(super) struct BarePostgres {
    client: tokio_postgres::Client,
    insert: tokio_postgres::Statement,
    select: tokio_postgres::Statement,
}

impl BarePostgres {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.context("connect the bare PostgreSQL client")?;
        tokio::spawn(connection);
        let table = "CREATE TABLE IF NOT EXISTS bare (id bytea PRIMARY KEY, bytes bytea NOT NULL)";
        client.batch_execute(table).await?;
        let insert = "INSERT INTO bare (id, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let select = "SELECT id, bytes FROM edgelore.packet WHERE id = ANY($1)";
        let (insert, select) = (client.prepare(insert).await?, client.prepare(select).await?);
        Ok(Self { client, insert, select })
    }
}

#[async_trait]
impl Bare for BarePostgres {
    async fn store(&mut self, id: &PacketId, packet: &[u8]) -> Result<()> {
        self.client.execute(&self.insert, &[&&id[..], &packet]).await?;
        Ok(())
    }

    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let ids: Vec<&[u8]> = asked.ids.iter().map(|id| &id[..]).collect();
        let rows = self.client.query(&self.select, &[&ids]).await?;
        Ok(rows.iter().filter(|row| !row.get::<_, &[u8]>(1).is_empty()).count())
    }
}

/// A subject of its own for storing; one consumer on the coarse cell for reading.
pub(super) struct BareNats {
    jetstream: jetstream::Context,
    space: Space,
}

impl BareNats {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let (user, password) = ("edgelore".to_owned(), PASSWORD.to_owned());
        let options = async_nats::ConnectOptions::with_user_and_password(user, password);
        let address = url.rsplit('@').next().unwrap_or(url);
        let client = options.connect(address).await.context("connect the bare NATS client")?;
        let jetstream = jetstream::new(client);
        let config = jetstream::stream::Config {
            name: "bare".to_owned(),
            subjects: vec!["bare.>".to_owned()],
            ..jetstream::stream::Config::default()
        };
        jetstream.get_or_create_stream(config).await?;
        Ok(Self { jetstream, space: Space::default_definition() })
    }
}

#[async_trait]
impl Bare for BareNats {
    async fn store(&mut self, id: &PacketId, packet: &[u8]) -> Result<()> {
        let subject = format!("bare.{}", hex::encode(id));
        self.jetstream.publish(subject, packet.to_vec().into()).await?.await?;
        Ok(())
    }

    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let name = format!("EDGELORE-1-{}", hex::encode(self.space.short_id()));
        let cell = Cell::coarse(&self.space, &asked.situation).to_string().replace('/', ".");
        let config = jetstream::consumer::pull::Config {
            filter_subject: format!("{cell}.>"),
            ack_policy: jetstream::consumer::AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            ..jetstream::consumer::pull::Config::default()
        };
        let stream = self.jetstream.get_stream_no_info(name).await?;
        let consumer = stream.create_consumer(config).await?;
        let (mut left, mut fetched) = (consumer.cached_info().num_pending as usize, 0);
        while left > 0 {
            let wanted = left.min(512);
            let mut messages = consumer.fetch().max_messages(wanted).messages().await?;
            while let Some(message) = messages.next().await {
                fetched +=
                    usize::from(!message.map_err(anyhow::Error::from_boxed)?.payload.is_empty());
            }
            left -= wanted;
        }
        stream.delete_consumer(&consumer.cached_info().name).await?;
        Ok(fetched)
    }
}

/// The same requests, whose answers are read and not looked at.
pub(super) struct BareHttp {
    client: reqwest::Client,
    base: String,
}

impl BareHttp {
    pub(super) fn new(base: &str) -> Result<Self> {
        edgelore_routing::http::use_ring();
        let client = reqwest::Client::builder().no_proxy().build().context("make a client")?;
        Ok(Self { client, base: base.to_owned() })
    }
}

#[async_trait]
impl Bare for BareHttp {
    async fn store(&mut self, id: &PacketId, packet: &[u8]) -> Result<()> {
        let request = self.client.put(format!("{}/v1/packets/{}", self.base, hex::encode(id)));
        let answer = request.body(packet.to_vec()).send().await?;
        ensure!(answer.status().is_success(), "the server answers {}", answer.status());
        answer.bytes().await?;
        Ok(())
    }

    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let request = QueryRequest {
            query: Query::from(&asked.situation),
            radius: None,
            radius_milli: Some(asked.radius),
            limit: Some(super::LIMIT),
        };
        let request = self.client.post(format!("{}/v1/query", self.base)).json(&request);
        Ok(request.send().await?.bytes().await?.len())
    }
}
