//! What the client and the server of the HTTP API agree on.
//!
//! Owns the JSON bodies and the names of server-sent events. Never does I/O.
//!
//! **Invariant:** fields are added, never renamed; `/v1` stands for that.

use std::sync::Arc;

use edgelore_model::{Outcome, Query};
use edgelore_pipeline::fingerprint::{RADIUS_DEFAULT, UNIT};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Found;
use crate::backend::BackendError;

/// The event that opens a stream; its id is the cursor from which the stream goes on.
pub const EVENT_READY: &str = "ready";
/// The event that says that nothing else up to its id is given out.
pub const EVENT_AT: &str = "at";
/// The event that carries a packet, hexadecimal.
pub const EVENT_PACKET: &str = "packet";

/// The media type (RFC 8742 §6.3) of an answer to a query that is the exact bytes of packets, each a
/// CBOR byte string: who verifies them needs nothing else, and what is in one moves no other.
pub const CBOR_SEQUENCE: &str = "application/cbor-seq";

/// Writes packets as a [`CBOR_SEQUENCE`].
#[must_use]
pub fn to_sequence<'p>(packets: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut out = minicbor::Encoder::new(Vec::new());
    for packet in packets {
        out.bytes(packet).expect("writing to memory does not fail");
    }
    out.into_writer()
}

/// The packets of a [`CBOR_SEQUENCE`], not opened; with an error it ends.
pub fn from_sequence(sequence: &[u8]) -> impl Iterator<Item = Result<&[u8], BackendError>> {
    let mut input = minicbor::Decoder::new(sequence);
    std::iter::from_fn(move || {
        (input.position() < sequence.len()).then(|| {
            input.bytes().map_err(|error| {
                input.set_position(sequence.len());
                BackendError::Answer(format!("an item of it is no byte string: {error}"))
            })
        })
    })
}

/// The answer to a packet that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredReply {
    /// The packet's id, hexadecimal.
    pub id: String,
    /// It was not there before.
    pub new: bool,
}

/// The body of `POST /v1/query`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// The situation asked about; open fields cost nothing.
    #[serde(default)]
    pub query: Query,
    /// Radius in units; 3 when neither radius is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<u32>,
    /// Radius in milli-units; goes before `radius`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_milli: Option<u32>,
    /// The most packets to return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl QueryRequest {
    /// The radius in milli-units.
    #[must_use]
    pub fn radius(&self) -> u32 {
        let units = self.radius.map(|units| units.saturating_mul(UNIT));
        self.radius_milli.or(units).unwrap_or(RADIUS_DEFAULT)
    }
}

/// A packet that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FoundReply {
    /// The packet's id, hexadecimal.
    pub id: String,
    /// Milli-units from the query.
    pub distance: u32,
    /// The publisher's id, hexadecimal.
    pub publisher: String,
    /// The exact bytes, hexadecimal: the only part that a client can verify.
    pub packet: String,
    /// What the packet says, for people.
    pub outcome: Outcome,
}

impl From<Found> for FoundReply {
    fn from(found: Found) -> Self {
        Self {
            id: hex::encode(found.opened.id),
            distance: found.distance,
            publisher: hex::encode(found.opened.publisher),
            packet: hex::encode(&found.opened.bytes),
            outcome: Arc::unwrap_or_clone(found.opened).outcome,
        }
    }
}

/// The answer to a query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueryReply {
    /// Nearest first.
    pub found: Vec<FoundReply>,
}

/// What kind of error an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The packet is not one.
    Packet,
    /// The packet has expired.
    Expired,
    /// The packet comes from the future.
    Future,
    /// The store's operator does not take the packet.
    Refused,
    /// The request is wrong.
    Request,
    /// There is nothing of that name.
    NotFound,
    /// The store is full.
    Full,
    /// The caller asks more often than it may.
    Throttled,
    /// The server cannot answer now.
    Unavailable,
    /// The server's storage failed.
    Storage,
}

/// The body of an answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorReply {
    /// What went wrong, for people.
    pub error: String,
    /// What went wrong, for programs.
    pub kind: Kind,
}

impl From<&BackendError> for ErrorReply {
    fn from(error: &BackendError) -> Self {
        let kind = match error {
            BackendError::Packet(_) => Kind::Packet,
            BackendError::Expired => Kind::Expired,
            BackendError::Future => Kind::Future,
            BackendError::Refused(_) => Kind::Refused,
            BackendError::Request(_) | BackendError::Unauthorised(_) => Kind::Request,
            BackendError::Full => Kind::Full,
            BackendError::Throttled(..) => Kind::Throttled,
            BackendError::Timeout(_) | BackendError::Unavailable(_) | BackendError::Answer(_) => {
                Kind::Unavailable
            }
            BackendError::Storage(_) => Kind::Storage,
        };
        let error = match error {
            // How long to wait is in the answer's head.
            BackendError::Throttled(_, said) if !said.text().is_empty() => said.text().to_owned(),
            error => error.to_string(),
        };
        Self { error, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_holds_its_packets_apart_and_ends_with_what_is_none() {
        let packets: [&[u8]; 4] = [b"rubbish", &[], &[0xd2; 400], b"last"];
        let mut sequence = to_sequence(packets);
        let read = |sequence: &[u8]| {
            let items: Result<Vec<Vec<u8>>, _> =
                from_sequence(sequence).map(|item| item.map(<[u8]>::to_vec)).collect();
            items
        };
        assert_eq!(read(&sequence).unwrap(), packets);
        assert!(read(&[]).unwrap().is_empty());
        for end in 1..sequence.len() {
            let items: Vec<_> = from_sequence(&sequence[..end]).collect();
            let (last, whole) = items.split_last().unwrap();
            assert!(whole.iter().all(Result::is_ok), "{end}");
            assert!(whole.iter().flatten().zip(packets).all(|(item, packet)| *item == packet));
            assert!(last.is_err() || to_sequence(packets[..items.len()].to_vec()).len() == end);
        }
        sequence.extend(b"text");
        assert_eq!(from_sequence(&sequence).filter(Result::is_err).count(), 1);
        assert_eq!(from_sequence(&sequence).count(), 5);
    }
}
