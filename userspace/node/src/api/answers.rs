//! Errors and acknowledgements as answers.
//!
//! Owns which status stands for which error. **Invariant:** each answer that is not a success has
//! a JSON body with the reason.

use axum::Json;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgelore_pipeline::packet::PacketError;
use edgelore_routing::http::wire::{ErrorReply, Kind, StoredReply};
use edgelore_routing::{BackendError, Stored};

/// The answer to a request that the store did not do; with `Retry-After` in whole seconds (RFC 9110
/// §10.2.3) to whoever asks too often.
pub(super) fn failure(error: &BackendError) -> Response {
    let mut response = answer(error);
    if let BackendError::Throttled(ms, _) = error {
        retry_after(&mut response, *ms);
    }
    response
}

fn retry_after(response: &mut Response, ms: u64) {
    let seconds = HeaderValue::from(ms.div_ceil(1_000).max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
}

fn answer(error: &BackendError) -> Response {
    let status = match error {
        BackendError::Packet(PacketError::Oversized(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        BackendError::Packet(_) | BackendError::Request(_) => StatusCode::BAD_REQUEST,
        BackendError::Expired | BackendError::Future => StatusCode::UNPROCESSABLE_ENTITY,
        BackendError::Refused(_) => StatusCode::FORBIDDEN,
        BackendError::Unauthorised(_) => StatusCode::UNAUTHORIZED,
        BackendError::Full => StatusCode::INSUFFICIENT_STORAGE,
        BackendError::Throttled(..) => StatusCode::TOO_MANY_REQUESTS,
        BackendError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        BackendError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        BackendError::Answer(_) => StatusCode::BAD_GATEWAY,
        BackendError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status.is_server_error() {
        tracing::warn!(%error, "a request failed");
    }
    (status, Json(ErrorReply::from(error))).into_response()
}

/// The answer to a request that is wrong.
pub(super) fn refuse(status: StatusCode, kind: Kind, reason: &str) -> Response {
    (status, Json(ErrorReply { error: reason.to_owned(), kind })).into_response()
}

/// The answer to a caller that has to wait, or do something else first, and what.
pub(super) fn held_back(wait: Duration, reason: &str) -> Response {
    let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, Kind::Throttled, reason);
    retry_after(&mut response, millis(wait));
    response
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// What was acknowledged: 201 when it was not there before, else 200.
pub(super) fn stored(result: Result<Stored, BackendError>) -> Response {
    match result {
        Ok(stored) => {
            let status = if stored.new { StatusCode::CREATED } else { StatusCode::OK };
            let reply = StoredReply { id: hex::encode(stored.id), new: stored.new };
            (status, Json(reply)).into_response()
        }
        Err(error) => failure(&error),
    }
}
