//! The bare client of NATS JetStream.

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context};
use async_trait::async_trait;
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_testkit::server::PASSWORD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::time::Duration;

use super::super::LIMIT;
use super::{Asked, Bare, Offered};
use crate::store::now_secs;

/// Messages that are asked for by themselves at the same time.
const QUESTIONS_AT_ONCE: usize = 64;
/// Messages that a client which stores looks at in each second, for what has expired.
const MESSAGES_AT_ONCE: usize = 512;
/// How long the server keeps a consumer that nobody asks.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// The product's stream and subjects.
pub(crate) struct BareNats {
    jetstream: Context,
    stream: Stream<()>,
    /// The last second in which messages were looked at.
    looked_secs: i64,
    /// Where that goes on.
    next: u64,
    /// The stream's last message.
    last: u64,
    /// Where the packets lie that are fetched.
    places: Vec<u64>,
}

impl BareNats {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let (user, password) = ("edgelore".to_owned(), PASSWORD.to_owned());
        let options = async_nats::ConnectOptions::with_user_and_password(user, password);
        let address = url.rsplit('@').next().unwrap_or(url);
        let client = options.connect(address).await.context("connect the bare NATS client")?;
        let space = Space::default_definition();
        let name = format!("EDGELORE-1-{}", hex::encode(space.short_id()));
        let jetstream = jetstream::new(client);
        let stream = jetstream.get_stream_no_info(&name).await?;
        Ok(Self { jetstream, stream, looked_secs: 0, next: 0, last: 0, places: Vec::new() })
    }

    /// Reads the next messages of the stream, through a consumer that is made for them.
    async fn look(&mut self) -> Result<()> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.next.max(1) },
            ack_policy: AckPolicy::None,
            inactive_threshold: UNUSED_MAX,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await?;
        let wanted = (consumer.cached_info().num_pending as usize).min(MESSAGES_AT_ONCE);
        let mut next = 0;
        if wanted > 0 {
            let mut messages = consumer.fetch().max_messages(wanted).messages().await?;
            while let Some(message) = messages.next().await {
                let message = message.map_err(anyhow::Error::from_boxed)?;
                let info = message.info().map_err(anyhow::Error::from_boxed)?;
                next = info.stream_sequence + 1;
            }
        }
        self.next = if wanted < MESSAGES_AT_ONCE { 0 } else { next };
        self.stream.delete_consumer(&consumer.cached_info().name).await?;
        Ok(())
    }

    /// The stream's state, and whether its last message is still in its place.
    async fn state(&self) -> Result<()> {
        let (info, last) =
            tokio::join!(self.stream.get_info(), self.stream.get_raw_message(self.last));
        info?;
        last?;
        Ok(())
    }
}

#[async_trait]
impl Bare for BareNats {
    /// The look at some messages, once a second, and the packet.
    async fn store(&mut self, offered: &Offered) -> Result<()> {
        let now = now_secs();
        if self.looked_secs != now {
            self.looked_secs = now;
            self.look().await?;
        }
        let (packet, id) = (&offered.packet, hex::encode(offered.packet.id));
        let subject = format!("{}.{id}", dotted(&offered.exact));
        let message = PublishMessage::build()
            .payload(packet.bytes.clone().into())
            .expected_last_subject_sequence(0)
            .message_id(id);
        let acknowledged = self.jetstream.send_publish(subject, message).await?.await?;
        ensure!(!acknowledged.duplicate, "the packet was there");
        Ok(())
    }

    async fn prepare(&mut self, asked: &Asked) -> Result<()> {
        let (space, last) = (Space::default_definition(), self.stream.get_info().await?.state);
        self.last = last.last_sequence;
        self.places = Vec::new();
        // No more are fetched than are given, unless some were withdrawn.
        for one in asked.nearest.iter().take(LIMIT) {
            let (packet, id) = (&one.opened, hex::encode(one.opened.id));
            let cell = Cell::exact(&space, &packet.outcome.situation).to_string();
            let subject = format!("{}.{id}", dotted(&cell));
            let message = self.stream.get_last_raw_message_by_subject(&subject).await?;
            self.places.push(message.sequence);
        }
        Ok(())
    }

    /// The stream's state, for the log beside the packets and for the index, and the nearest packets. The
    /// index knows that nothing withdraws them.
    async fn fetch(&mut self, _: &Asked) -> Result<usize> {
        self.state().await?;
        self.state().await?;
        // By their numbers: a closure over references would have to do for every lifetime.
        let packets = stream::iter(0..self.places.len())
            .map(|at| self.stream.get_raw_message(self.places[at]))
            .buffered(QUESTIONS_AT_ONCE);
        let packets: Vec<_> = packets.try_collect().await?;
        Ok(packets.iter().filter(|packet| !packet.payload.is_empty()).count())
    }
}

fn dotted(path: &str) -> String {
    path.replace('/', ".")
}
