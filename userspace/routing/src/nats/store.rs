//! Storing: one message a packet, and one for each packet that it withdraws.
//!
//! Owns the conditions under which a subject is written. Never decides what is admitted.
//!
//! **Invariant:** withdrawals are written before the packet that says them, so an acknowledged packet
//! has all of them.

use std::error::Error as _;

use async_nats::jetstream::{self, context::PublishErrorKind, message::PublishMessage};
use edgelore_pipeline::packet::{self, Opened};

use super::Shared;
use super::connect::{Link, failed};
use super::read::last;
use super::sweep;
use crate::PacketId;
use crate::backend::{BackendError, Stored};
use crate::placement::withdraws;

/// Attempts to write a subject that others write too.
const ATTEMPTS_MAX: usize = 8;

/// Stores an admitted packet.
pub(super) async fn store(shared: &Shared, packet: &Opened) -> Result<Stored, BackendError> {
    let link = shared.server.link().await?;
    sweep::now_and_then(shared, &link).await;
    let mut stored = write(shared, &link, packet).await;
    if matches!(stored, Err(BackendError::Full)) && sweep::make_room(shared, &link).await? {
        stored = write(shared, &link, packet).await;
    }
    if matches!(stored, Err(BackendError::Unavailable(_))) && link.is_up() {
        // It answers, and does not have what it had.
        shared.server.doubt();
    }
    stored
}

async fn write(shared: &Shared, link: &Link, packet: &Opened) -> Result<Stored, BackendError> {
    let (id, space) = (packet.id, &shared.verifier.space);
    for target in withdraws(packet) {
        let subject = shared.subjects.withdrawal(&packet.publisher, &target);
        let gives_way = |there: &[u8]| !outlasts(shared, there, packet, &target);
        put(link, &subject, &packet.bytes, None, gives_way).await?;
    }
    let subject = shared.subjects.packet(space, packet);
    // Whatever else lies under a packet's name is not that packet.
    let new = put(link, &subject, &packet.bytes, Some(hex::encode(id)), |_| true).await?;
    Ok(Stored { id, new })
}

/// Whether a withdrawal of the same packet is genuine and counts as long as this one.
fn outlasts(shared: &Shared, there: &[u8], packet: &Opened, target: &PacketId) -> bool {
    shared.verifier.read(&packet::id(there), there).is_some_and(|there| {
        there.publisher == packet.publisher
            && withdraws(&there).any(|id| id == *target)
            && there.outcome.expires >= packet.outcome.expires
    })
}

/// Writes bytes under a subject unless it is there, or something that does not give way. True
/// when it was written.
pub(super) async fn put(
    link: &Link,
    subject: &str,
    bytes: &[u8],
    mut name: Option<String>,
    gives_way: impl Fn(&[u8]) -> bool,
) -> Result<bool, BackendError> {
    let mut expected = 0;
    for _ in 0..ATTEMPTS_MAX {
        // Without its name from the second attempt on: a name is known for a while after its
        // message has gone.
        if publish(link, subject, bytes, name.take(), expected).await? {
            return Ok(true);
        }
        expected = match last(link, subject).await? {
            Some(there) if there.payload == bytes || !gives_way(&there.payload) => {
                return Ok(false);
            }
            Some(there) => there.sequence,
            None => 0,
        };
    }
    Err(BackendError::Unavailable("others keep writing under the same subject".into()))
}

/// True when the message was written; false when the server knows its name or the last message under
/// its subject is not the expected one.
async fn publish(
    link: &Link,
    subject: &str,
    bytes: &[u8],
    name: Option<String>,
    expected: u64,
) -> Result<bool, BackendError> {
    let mut message = PublishMessage::build()
        .payload(bytes.to_vec().into())
        .expected_last_subject_sequence(expected);
    if let Some(name) = name {
        message = message.message_id(name);
    }
    let acknowledged = async {
        let sent = link.jetstream.send_publish(subject.to_owned(), message).await;
        match async { sent?.await }.await {
            Ok(ack) => Ok(!ack.duplicate),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(error) => {
                let source = error.source().and_then(|source| source.downcast_ref());
                Err(source.map_or_else(
                    || BackendError::Unavailable(error.to_string()),
                    |error: &jetstream::Error| failed(error),
                ))
            }
        }
    };
    link.call(acknowledged).await
}
