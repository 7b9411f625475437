//! The bodies of the HTTP API, shared by its server (`edgelore serve`) and its client.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/packets` | the packet's exact bytes | 201 (new) or 200 with [`StoredBody`] |
//! | `GET /v1/packets/{id}` | | 200 with the packet's exact bytes, or 404 |
//! | `POST /v1/query` | [`QueryBody`] | 200 with [`FoundBody`] |
//! | `GET /v1/subscribe?cells=C,C…` | | server-sent events, see below |
//! | `GET /v1/capability` | | 200 with [`crate::Capability`] |
//! | `GET /v1/health` | | 200, without a token |
//!
//! Any other answer carries a [`Problem`]: 400 (request), 401 (token), 404 (no such packet),
//! 408 (slow request), 413 (oversized), 422 (packet refused), 503 (busy), 507 (full), 500 (storage).
//! An event is named `packet`; its `id` is a [`crate::Cursor`], its data the packet in hexadecimal.
//! `Last-Event-ID` resumes after a cursor. A comment every [`KEEP_ALIVE`] shows that the store lives.
//!
//! Ids and packets stand in lower-case hexadecimal. Owns these forms and nothing else.
//!
//! **Invariant:** unknown members of an answer are ignored, so that servers may add some.

use edgelore_model::Query;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::time::Duration;

/// The media type of a packet (RFC 9052 §10.1).
pub const PACKET_MEDIA_TYPE: &str = "application/cose; cose-type=\"cose-sign1\"";
/// The name of an event that carries a packet.
pub const PACKET_EVENT: &str = "packet";
/// The header with the cursor after which to resume.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// Time between two signs of life on a subscription.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The answer to a stored packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBody {
    /// SHA-256 of the packet's exact bytes.
    pub id: String,
    /// It was not there before.
    pub new: bool,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryBody {
    /// What is asked.
    pub query: Query,
    /// Milli-units, inclusive.
    pub radius: u32,
    /// Outcomes at most.
    pub limit: usize,
}

/// The answer to a query, nearest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundBody {
    /// What was found.
    pub found: Vec<FoundEntry>,
}

/// One outcome that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundEntry {
    /// SHA-256 of the packet's exact bytes.
    pub id: String,
    /// Milli-units from the query.
    pub distance: u32,
    /// The packet's exact bytes.
    pub packet: String,
}

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub error: String,
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a hexadecimal text; `None` when it is not one.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trips_and_refuses_the_rest() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)).unwrap(), bytes);
        assert_eq!(unhex("0aFF"), Some(vec![10, 255]));
        for text in ["0", "+1", "0x", "é", "ég"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
