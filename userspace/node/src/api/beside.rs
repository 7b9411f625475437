//! Statements about keys, and packets of the reference's form.
//!
//! Owns the mapping between HTTP and what a [`Backend`](edgelore_routing::Backend) keeps beside its
//! packets. Never decides what is kept.
//!
//! **Invariant:** what nobody signed is answered without a publisher, so that no reader takes it for
//! more than somebody's word.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, Json, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::{STATEMENT_BYTES_MAX, Statement};
use edgelore_routing::http::beside::{ReferenceReply, StatementsReply};
use edgelore_routing::http::wire::{ErrorReply, Kind, QueryRequest, StoredReply};
use edgelore_routing::{BackendError, LIMIT_DEFAULT, PUBLISHERS_MAX};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Served;
use super::answers::{failure, refuse, stored};

/// The longest packet of the reference's form, bytes.
const REFERENCE_BYTES_MAX: usize = 16 * 1024;
/// The longest list of publishers, bytes: each takes 67.
const PUBLISHERS_BYTES_MAX: usize = 128 * 1024;

pub(super) fn routes() -> Router<Served> {
    let statements = Router::new()
        .route("/v1/statements", post(declare).get(page))
        .layer(DefaultBodyLimit::max(STATEMENT_BYTES_MAX));
    let about = Router::new()
        .route("/v1/statements/about", post(about))
        .layer(DefaultBodyLimit::max(PUBLISHERS_BYTES_MAX));
    let reference = Router::new()
        .route("/v1/reference", post(import))
        .route("/v1/reference/query", post(query))
        .layer(DefaultBodyLimit::max(REFERENCE_BYTES_MAX));
    statements.merge(about).merge(reference)
}

fn bad(reason: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, Kind::Request, reason)
}

/// Keep what a publisher says of its key.
#[utoipa::path(
    post, path = "/v1/statements", tag = "keys",
    request_body(content(("application/cose")), description = "The exact bytes of a statement"),
    responses(
        (status = 201, body = StoredReply, description = "Kept, durably"),
        (status = 200, body = StoredReply, description = "It was there"),
        (status = 400, body = ErrorReply, description = "Not a statement"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 413, body = ErrorReply, description = "Longer than its bound"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
    ),
)]
pub(super) async fn declare(
    State(served): State<Served>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => stored(served.store.declare(body.to_vec()).await),
        Err(rejection) => refuse(rejection.status(), Kind::Packet, &rejection.body_text()),
    }
}

/// Query parameters of a page of statements.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The id of the last statement of the page before, hexadecimal; the first page without.
    #[param(required = false)]
    after: Option<String>,
}

/// All statements, by id, a page at a time.
///
/// A page that is empty is the end.
#[utoipa::path(
    get, path = "/v1/statements", operation_id = "statements_after", tag = "keys", params(Page),
    responses(
        (status = 200, body = StatementsReply, description = "At most 1000 statements"),
        (status = 400, body = ErrorReply, description = "Not an id"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
    ),
)]
pub(super) async fn page(State(served): State<Served>, Query(page): Query<Page>) -> Response {
    let after = page.after.as_deref().map(|text| hex::decode(text).ok()?.try_into().ok());
    if after == Some(None) {
        return bad("a statement's id has 64 hexadecimal digits");
    }
    statements(served.store.statements_after(after.flatten()).await)
}

fn statements(found: Result<Vec<Statement>, BackendError>) -> Response {
    match found {
        Ok(found) => {
            let statements = found.iter().map(|s| hex::encode(&s.bytes)).collect();
            Json(StatementsReply { statements }).into_response()
        }
        Err(error) => failure(&error),
    }
}

/// What publishers said of their keys.
#[utoipa::path(
    post, path = "/v1/statements/about", tag = "keys",
    request_body(content = Vec<String>, description = "Publishers' ids, hexadecimal"),
    responses(
        (status = 200, body = StatementsReply, description = "Their statements"),
        (status = 400, body = ErrorReply, description = "Not a list of ids, or too long"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 413, body = ErrorReply, description = "Longer than its bound"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
    ),
)]
pub(super) async fn about(
    State(served): State<Served>,
    request: Result<Json<Vec<String>>, JsonRejection>,
) -> Response {
    let asked = match request {
        Ok(Json(asked)) => asked,
        Err(rejection) => {
            return refuse(rejection.status(), Kind::Request, &rejection.body_text());
        }
    };
    if asked.len() > PUBLISHERS_MAX {
        return bad(&format!("more than {PUBLISHERS_MAX} publishers"));
    }
    let publishers: Option<Vec<[u8; 32]>> =
        asked.iter().map(|text| hex::decode(text).ok()?.try_into().ok()).collect();
    let Some(publishers) = publishers else {
        return bad("a publisher's id has 64 hexadecimal digits");
    };
    statements(served.store.statements(&publishers).await)
}

/// Keep a packet of the reference's JSON form; nobody signed it, so it never votes.
///
/// The body is read as the reference writes it, whatever its media type says.
#[utoipa::path(
    post, path = "/v1/reference", tag = "reference",
    request_body(content = Object, description = "A packet as the reference writes it"),
    responses(
        (status = 201, body = StoredReply, description = "Kept, durably; the id is its fingerprint"),
        (status = 200, body = StoredReply, description = "It was there"),
        (status = 400, body = ErrorReply, description = "Not a packet of the reference"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 413, body = ErrorReply, description = "Longer than its bound"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
    ),
)]
pub(super) async fn import(
    State(served): State<Served>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection.status(), Kind::Packet, &rejection.body_text()),
    };
    let packet = std::str::from_utf8(&body).map_err(|error| error.to_string());
    match packet.and_then(|text| Reference::parse(text).map_err(|error| chain(&error))) {
        Ok(packet) => stored(served.store.import(packet).await),
        Err(reason) => refuse(StatusCode::BAD_REQUEST, Kind::Packet, &reason),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// What is near a situation, in the reference's form, unsigned packets too.
#[utoipa::path(
    post, path = "/v1/reference/query", tag = "reference",
    request_body = QueryRequest,
    responses(
        (status = 200, body = ReferenceReply, description = "Nearest first: what is signed, then the rest"),
        (status = 400, body = ErrorReply, description = "Not a query"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 413, body = ErrorReply, description = "Longer than its bound"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
    ),
)]
pub(super) async fn query(
    State(served): State<Served>,
    request: Result<Json<QueryRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => {
            return refuse(rejection.status(), Kind::Request, &rejection.body_text());
        }
    };
    let (radius, limit) = (request.radius(), request.limit.unwrap_or(LIMIT_DEFAULT));
    let signed = match served.store.query(&request.query, radius, limit).await {
        Ok(signed) => signed,
        Err(error) => return failure(&error),
    };
    match served.store.imported(&request.query, radius, limit).await {
        Ok(unsigned) => {
            let signed = signed.iter().map(Into::into);
            let found = signed.chain(unsigned.iter().map(Into::into)).collect();
            Json(ReferenceReply { found }).into_response()
        }
        Err(error) => failure(&error),
    }
}
