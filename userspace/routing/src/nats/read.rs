//! Reading the stream through consumers.
//!
//! Owns ephemeral consumers and the fall-back for servers that filter by one subject only. Never
//! decodes a message.
//!
//! **Invariant:** a consumer is used only if the server says that it has the filters asked for.

use async_nats::Subject;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{
    ConsumerError, ConsumerErrorKind, LastRawMessageError, LastRawMessageErrorKind, State,
};
use bytes::Bytes;
use edgelore_pipeline::packet;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use std::ops::Range;
use std::time::Duration;

use super::Shared;
use super::connect::{Link, failed};
use super::index::{Mark, mark};
use crate::backend::BackendError;

/// Messages that are asked for at once.
pub(super) const MESSAGES_AT_ONCE: usize = 512;
/// Messages that are asked for by themselves at the same time.
pub(super) const QUESTIONS_AT_ONCE: usize = 64;
/// The filter that all messages match. Without one a server makes a consumer faster.
pub(super) const EVERYTHING: &str = "";
/// How long the server keeps a consumer that nobody asks.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// How long one request for messages that are to come stays in the server. When the server of a cluster
/// that has the consumer ends, it is noticed five seconds after this.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A message and its place in the stream.
pub(super) struct Read {
    pub(super) sequence: u64,
    pub(super) subject: Subject,
    pub(super) payload: Bytes,
}

impl Read {
    /// What tells it from others in its place.
    pub(super) fn mark(&self) -> Mark {
        mark(self.sequence, &packet::id(&self.payload))
    }

    /// What a consumer delivers, if it is its `number`-th message.
    pub(super) fn next(message: Message, number: u64) -> Result<Self, BackendError> {
        let info = message.info().map_err(|error| BackendError::Answer(error.to_string()))?;
        if info.consumer_sequence != number {
            return Err(BackendError::Unavailable("a message of a consumer was lost".into()));
        }
        let sequence = info.stream_sequence;
        let async_nats::Message { subject, payload, .. } = message.message;
        Ok(Self { sequence, subject, payload })
    }
}

/// Everything that matches one of the filters from a sequence on now, each message once.
pub(super) struct Reading(Vec<Consumer<Config>>);

impl Reading {
    /// With one consumer, or one a filter where the server takes no more.
    pub(super) async fn begin(
        shared: &Shared,
        link: &Link,
        filters: &[String],
        start: u64,
    ) -> Result<Self, BackendError> {
        if let Some(consumer) = consumer(shared, link, filters, start).await? {
            return Ok(Self(vec![consumer]));
        }
        let mut consumers = Vec::new();
        for filter in filters {
            let consumer = consumer(shared, link, std::slice::from_ref(filter), start).await?;
            consumers.push(consumer.ok_or_else(ignored)?);
        }
        Ok(Self(consumers))
    }

    /// How many messages there are to read.
    pub(super) fn pending(&self) -> u64 {
        self.0.iter().map(|consumer| consumer.cached_info().num_pending).sum()
    }

    /// Reads them all, in the order of each filter.
    pub(super) async fn all(
        self,
        link: &Link,
        mut each: impl FnMut(Read),
    ) -> Result<(), BackendError> {
        for consumer in self.0 {
            drain(link, consumer, u64::MAX, &mut each).await?;
        }
        Ok(())
    }

    /// Reads nothing.
    pub(super) fn end(self, link: &Link) {
        self.0.iter().for_each(|consumer| remove(link, consumer));
    }
}

/// At most `count` messages that match a filter from sequence `start` on, in order.
pub(super) async fn some(
    shared: &Shared,
    link: &Link,
    filter: &str,
    start: u64,
    count: usize,
    each: &mut impl FnMut(Read),
) -> Result<u64, BackendError> {
    let consumer = consumer(shared, link, &[filter.to_owned()], start).await?;
    drain(link, consumer.ok_or_else(ignored)?, count as u64, each).await
}

fn ignored() -> BackendError {
    BackendError::Answer("the server ignores the filter of a consumer".into())
}

/// A consumer from sequence `start` on; `None` when the server takes one filter only.
pub(super) async fn consumer(
    shared: &Shared,
    link: &Link,
    filters: &[String],
    start: u64,
) -> Result<Option<Consumer<Config>>, BackendError> {
    let mut config = Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start.max(1) },
        ack_policy: AckPolicy::None,
        inactive_threshold: UNUSED_MAX,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    };
    match filters {
        [one] => config.filter_subject.clone_from(one),
        _ if shared.server.filters_one_subject() => return Ok(None),
        several => config.filter_subjects = several.to_vec(),
    }
    let made = async {
        let made = link.stream.create_consumer(config.clone()).await;
        made.map_err(|error| refused(&error))
    };
    let made = link.call(made).await?;
    let echoed = &made.cached_info().config;
    let filtered = match filters {
        [one] => {
            echoed.filter_subject == *one || echoed.filter_subjects == std::slice::from_ref(one)
        }
        several => echoed.filter_subjects == *several,
    };
    if filtered {
        return Ok(Some(made));
    }
    remove(link, &made);
    if filters.len() > 1 {
        shared.server.note_one_filter();
    }
    Ok(None)
}

/// Reads what waited for the consumer when it was made, at most `count` messages, and removes it.
async fn drain(
    link: &Link,
    consumer: Consumer<Config>,
    count: u64,
    each: &mut impl FnMut(Read),
) -> Result<u64, BackendError> {
    let mut left = consumer.cached_info().num_pending.min(count);
    let mut read = 0;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(MESSAGES_AT_ONCE);
        let got = link.call(batch(&consumer, read, wanted, each)).await?;
        read += got;
        left = left.saturating_sub(got);
        if got < wanted as u64 {
            // The rest was deleted meanwhile.
            break;
        }
    }
    remove(link, &consumer);
    Ok(read)
}

/// The next messages of a consumer that has delivered `before`.
async fn batch(
    consumer: &Consumer<Config>,
    before: u64,
    count: usize,
    each: &mut impl FnMut(Read),
) -> Result<u64, BackendError> {
    let gone = |error: String| BackendError::Unavailable(error);
    let messages = consumer.fetch().max_messages(count).messages().await;
    let mut messages = messages.map_err(|error| gone(error.to_string()))?;
    let mut got = 0;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| gone(error.to_string()))?;
        got += 1;
        each(Read::next(message, before + got)?);
    }
    Ok(got)
}

/// A request for messages that are there or will come.
pub(super) async fn wait(link: &Link, consumer: &Consumer<Config>) -> Result<Batch, BackendError> {
    let request = async {
        let batch = consumer.batch().max_messages(MESSAGES_AT_ONCE).expires(WAIT_MAX).messages();
        batch.await.map_err(|error| BackendError::Unavailable(error.to_string()))
    };
    link.call(request).await
}

/// The last message under a subject.
pub(super) async fn last(link: &Link, subject: &str) -> Result<Option<Read>, BackendError> {
    link.call(raw(link.stream.get_last_raw_message_by_subject(subject))).await
}

/// The message in a place of the stream.
pub(super) async fn at(link: &Link, sequence: u64) -> Result<Option<Read>, BackendError> {
    link.call(raw(link.stream.get_raw_message(sequence))).await
}

/// The messages in some places, in their order.
pub(super) async fn several(
    link: &Link,
    places: &[u64],
) -> Result<Vec<Option<Read>>, BackendError> {
    let mut messages = Vec::with_capacity(places.len());
    for places in places.chunks(QUESTIONS_AT_ONCE) {
        let each = places.iter().map(|sequence| raw(link.stream.get_raw_message(*sequence)));
        messages.extend(link.call(try_join_all(each)).await?);
    }
    Ok(messages)
}

/// The messages in some places that are there, in their order, without a consumer.
pub(super) async fn each_of(
    link: &Link,
    places: Range<u64>,
    each: impl FnMut(Read),
) -> Result<(), BackendError> {
    let messages = several(link, &places.collect::<Vec<u64>>()).await?;
    messages.into_iter().flatten().for_each(each);
    Ok(())
}

/// The stream as it is now, and whether a message is still in its place.
pub(super) async fn state(link: &Link, last: Option<Mark>) -> Result<(State, bool), BackendError> {
    let info = link.call(async {
        let info = link.stream.get_info().await;
        info.map_err(|error| BackendError::Unavailable(error.to_string()))
    });
    let there = async {
        match last {
            Some(mark) => is_there(link, mark).await,
            None => Ok(true),
        }
    };
    let (info, there) = tokio::try_join!(info, there)?;
    Ok((info.state, there))
}

/// Whether a message is in its place.
pub(super) async fn is_there(link: &Link, mark: Mark) -> Result<bool, BackendError> {
    Ok(at(link, mark.sequence).await?.is_some_and(|message| message.mark() == mark))
}

async fn raw(
    answer: impl Future<Output = Result<StreamMessage, LastRawMessageError>>,
) -> Result<Option<Read>, BackendError> {
    match answer.await {
        Ok(StreamMessage { sequence, subject, payload, .. }) => {
            Ok(Some(Read { sequence, subject, payload }))
        }
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(error) => Err(failed(&error)),
            _ => Err(BackendError::Unavailable(error.to_string())),
        },
    }
}

/// Removes a consumer without waiting; a lost word only lets it stay for [`UNUSED_MAX`].
pub(super) fn remove(link: &Link, consumer: &Consumer<Config>) {
    let (stream, name) = (link.stream.clone(), consumer.cached_info().name.clone());
    tokio::spawn(async move {
        let _ = stream.delete_consumer(&name).await;
    });
}

fn refused(error: &ConsumerError) -> BackendError {
    match error.kind() {
        ConsumerErrorKind::JetStream(error) => failed(&error),
        _ => BackendError::Unavailable(error.to_string()),
    }
}
