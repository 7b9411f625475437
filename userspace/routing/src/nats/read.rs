//! Reading the stream through consumers.
//!
//! Owns ephemeral consumers and the fall-back for servers that filter by one subject only. Never
//! decodes a message.
//!
//! **Invariant:** a consumer is used only if the server says that it has the filters asked for.

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind, LastRawMessageErrorKind};
use futures_util::StreamExt;
use std::time::Duration;

use super::Shared;
use super::connect::{Link, failed};
use crate::backend::BackendError;

/// Messages that are asked for at once.
pub(super) const MESSAGES_AT_ONCE: usize = 512;
/// How long the server keeps a consumer that nobody asks.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// How long one request for messages that are to come stays in the server.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A message and its place in the stream.
pub(super) struct Read {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) payload: Vec<u8>,
}

impl Read {
    pub(super) fn of(message: &Message) -> Result<Self, BackendError> {
        let info = message.info().map_err(|error| BackendError::Answer(error.to_string()))?;
        Ok(Self {
            sequence: info.stream_sequence,
            subject: message.subject.to_string(),
            payload: message.payload.to_vec(),
        })
    }
}

/// Everything that matches one of the filters now, each message once, in any order.
pub(super) async fn all(
    shared: &Shared,
    link: &Link,
    filters: &[String],
    mut each: impl FnMut(Read),
) -> Result<(), BackendError> {
    match consumer(shared, link, filters, 1).await? {
        Some(consumer) => drain(link, consumer, u64::MAX, &mut each).await.map(drop),
        None => {
            for filter in filters {
                let one = std::slice::from_ref(filter);
                let consumer = consumer(shared, link, one, 1).await?;
                let consumer = consumer.ok_or_else(ignored)?;
                drain(link, consumer, u64::MAX, &mut each).await?;
            }
            Ok(())
        }
    }
}

/// At most `count` messages that match a filter from sequence `start` on, in order.
pub(super) async fn some(
    shared: &Shared,
    link: &Link,
    filter: String,
    start: u64,
    count: usize,
    each: &mut impl FnMut(Read),
) -> Result<u64, BackendError> {
    let consumer = consumer(shared, link, &[filter], start).await?;
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
        let got = link.call(batch(&consumer, wanted, each)).await?;
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

async fn batch(
    consumer: &Consumer<Config>,
    count: usize,
    each: &mut impl FnMut(Read),
) -> Result<u64, BackendError> {
    let gone = |error: String| BackendError::Unavailable(error);
    let messages = consumer.fetch().max_messages(count).messages().await;
    let mut messages = messages.map_err(|error| gone(error.to_string()))?;
    let mut got = 0;
    while let Some(message) = messages.next().await {
        each(Read::of(&message.map_err(|error| gone(error.to_string()))?)?);
        got += 1;
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
    let answer = async {
        match link.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(Read {
                sequence: message.sequence,
                subject: message.subject.to_string(),
                payload: message.payload.to_vec(),
            })),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error) => Err(failed(&error)),
                _ => Err(BackendError::Unavailable(error.to_string())),
            },
        }
    };
    link.call(answer).await
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
