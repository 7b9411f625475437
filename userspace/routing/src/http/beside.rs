//! The bodies of the HTTP API for what stands beside the packets: statements about keys, and
//! packets of the reference's form that nobody signed.
//!
//! **Invariant:** as in [`super::wire`]; what a server says of a statement or a fingerprint is
//! computed again here.

use edgelore_model::Timestamp;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::{self, Statement};
use edgelore_pipeline::synthesise::Unsigned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Found;
use crate::backend::BackendError;

/// The answer to `POST /v1/statements/about`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementsReply {
    /// The statements' exact bytes, hexadecimal.
    pub statements: Vec<String>,
}

/// The answer to `POST /v1/reference/query`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReferenceReply {
    /// Nearest first: what is signed, then what is not.
    pub found: Vec<ReferenceFound>,
}

/// An outcome in the reference's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReferenceFound {
    /// Who signed it, hexadecimal; absent when nobody did, and then it is only somebody's word.
    pub publisher: Option<String>,
    /// When it was made or came in, seconds since 1970.
    pub created: i64,
    /// When it stops counting, seconds since 1970.
    pub expires: i64,
    /// The packet as the reference would write it.
    #[schema(value_type = Object)]
    pub packet: Reference,
}

impl From<&Found> for ReferenceFound {
    fn from(found: &Found) -> Self {
        Self {
            publisher: Some(hex::encode(found.opened.publisher)),
            created: found.opened.outcome.created.secs(),
            expires: found.opened.outcome.expires.secs(),
            packet: Reference::from(&found.opened.outcome),
        }
    }
}

impl From<&Unsigned> for ReferenceFound {
    fn from(unsigned: &Unsigned) -> Self {
        Self {
            publisher: None,
            created: unsigned.outcome.created.secs(),
            expires: unsigned.outcome.expires.secs(),
            packet: Reference::from(&unsigned.outcome),
        }
    }
}

/// A statement from a server, verified here.
pub(super) fn verified(text: &str) -> Result<Statement, BackendError> {
    let bytes = hex::decode(text)
        .map_err(|_| BackendError::Answer("a statement is not hexadecimal".into()))?;
    statement::open(&bytes).map_err(|error| BackendError::Answer(error.to_string()))
}

pub(super) fn unsigned(found: ReferenceFound) -> Result<Unsigned, BackendError> {
    let at = |secs: i64| {
        let nanos = secs.checked_mul(1_000_000_000).filter(|_| secs >= 0);
        nanos.map(Timestamp).ok_or_else(|| BackendError::Answer("a time is impossible".into()))
    };
    let refused = |error: &dyn std::fmt::Display| BackendError::Answer(error.to_string());
    let outcome = found.packet.to_outcome(at(found.created)?, at(found.expires)?);
    let outcome = outcome.map_err(|error| refused(&error))?;
    Ok(Unsigned { id: found.packet.id(), outcome })
}
