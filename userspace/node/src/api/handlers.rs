//! What each request does.
//!
//! Owns reading requests and writing answers. Never decides what is stored.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgelore_pipeline::packet;
use edgelore_routing::http::wire::{
    CBOR_SEQUENCE, ErrorReply, Kind, QueryReply, QueryRequest, StoredReply, to_sequence,
};
use edgelore_routing::{Capability, LIMIT_DEFAULT, PacketId};

use super::Served;
use super::answers::{failure, refuse, stored};
use crate::trust::Refusal;

/// The media type of a packet (RFC 9052 §2).
pub(super) const COSE_SIGN1: &str = "application/cose; cose-type=\"cose-sign1\"";

/// Store a packet.
#[utoipa::path(
    post, path = "/v1/packets", tag = "packets",
    request_body(content(("application/cose")), description = "The exact bytes, at most 512"),
    responses(
        (status = 201, body = StoredReply, description = "Stored, durably"),
        (status = 200, body = StoredReply, description = "It was there"),
        (status = 400, body = ErrorReply, description = "Not a packet, or of another similarity definition"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 403, body = ErrorReply, description = "The store does not take this publisher's packet"),
        (status = 413, body = ErrorReply, description = "Longer than 512 bytes"),
        (status = 422, body = ErrorReply, description = "Expired, or from the future"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
        (status = 507, body = ErrorReply, description = "The store is full"),
    ),
)]
pub(super) async fn post_packet(
    State(served): State<Served>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => store(&served, body).await,
        Err(rejection) => unread(&served, &rejection),
    }
}

/// Answers a body that could not be read; its packet's id is unknown.
fn unread(served: &Served, rejection: &BytesRejection) -> Response {
    let status = rejection.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        served.refused(Refusal::Oversized, &[0; 32]);
    }
    refuse(status, Kind::Packet, &rejection.body_text())
}

/// Store a packet under its id; doing so again changes nothing.
#[utoipa::path(
    put, path = "/v1/packets/{id}", tag = "packets",
    params(("id" = String, Path, description = "SHA-256 of the body, 64 hexadecimal digits")),
    request_body(content(("application/cose")), description = "The exact bytes, at most 512"),
    responses(
        (status = 201, body = StoredReply, description = "Stored, durably"),
        (status = 200, body = StoredReply, description = "It was there"),
        (status = 400, body = ErrorReply, description = "Not a packet, or not the one of this id"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 403, body = ErrorReply, description = "The store does not take this publisher's packet"),
        (status = 413, body = ErrorReply, description = "Longer than 512 bytes"),
        (status = 422, body = ErrorReply, description = "Expired, or from the future"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
        (status = 507, body = ErrorReply, description = "The store is full"),
    ),
)]
pub(super) async fn put_packet(
    State(served): State<Served>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread(&served, &rejection),
    };
    match packet_id(&id) {
        Some(id) if packet::id(&body) == id => store(&served, body).await,
        _ => {
            served.refused(Refusal::Misnamed, &packet::id(&body));
            refuse(StatusCode::BAD_REQUEST, Kind::Request, "the id in the path is not the packet's")
        }
    }
}

async fn store(served: &Served, body: Bytes) -> Response {
    stored(served.store.store(body.to_vec()).await)
}

/// Read a packet, expired or not.
#[utoipa::path(
    get, path = "/v1/packets/{id}", tag = "packets",
    params(("id" = String, Path, description = "64 hexadecimal digits")),
    responses(
        (status = 200, content(("application/cose")), description = "The exact bytes"),
        (status = 400, body = ErrorReply, description = "The request is wrong"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 404, body = ErrorReply, description = "No packet has this id"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
    ),
)]
pub(super) async fn get_packet(State(served): State<Served>, Path(id): Path<String>) -> Response {
    let Some(id) = packet_id(&id) else {
        return refuse(StatusCode::BAD_REQUEST, Kind::Request, "an id has 64 hexadecimal digits");
    };
    match served.store.get(&id).await {
        Ok(Some(bytes)) => ([(header::CONTENT_TYPE, COSE_SIGN1)], bytes).into_response(),
        Ok(None) => refuse(StatusCode::NOT_FOUND, Kind::NotFound, "no packet has this id"),
        Err(error) => failure(&error),
    }
}

/// Find what is near a situation, nearest first.
#[utoipa::path(
    post, path = "/v1/query", tag = "query",
    request_body = QueryRequest,
    responses(
        (status = 200, description = "What was found; with `Accept: application/cbor-seq` the \
            packets' exact bytes alone, each a byte string of a sequence (RFC 8742)", content(
            (QueryReply = "application/json"), ("application/cbor-seq"),
        )),
        (status = 400, body = ErrorReply, description = "Not JSON"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 413, body = ErrorReply, description = "The body is too long"),
        (status = 422, body = ErrorReply, description = "A field that there is not, or of another type"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "Not now; try again"),
    ),
)]
pub(super) async fn query(
    State(served): State<Served>,
    headers: HeaderMap,
    request: Result<Json<QueryRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => {
            return refuse(rejection.status(), Kind::Request, &rejection.body_text());
        }
    };
    let limit = request.limit.unwrap_or(LIMIT_DEFAULT);
    match served.store.query(&request.query, request.radius(), limit).await {
        Ok(found) if accepts(&headers, CBOR_SEQUENCE) => {
            let packets = to_sequence(found.iter().map(|found| &found.opened.bytes[..]));
            ([(header::CONTENT_TYPE, CBOR_SEQUENCE)], packets).into_response()
        }
        Ok(found) => {
            Json(QueryReply { found: found.into_iter().map(Into::into).collect() }).into_response()
        }
        Err(error) => failure(&error),
    }
}

/// Whether a request names this media type among those that it takes (RFC 9110 §12.5.1).
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media_type))
    })
}

/// What the store can do.
#[utoipa::path(
    get, path = "/v1/capability", tag = "server",
    responses(
        (status = 200, body = Capability, description = "What it can do"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 429, body = ErrorReply, description = "Too many requests; Retry-After says when"),
    ),
)]
pub(super) async fn capability(State(served): State<Served>) -> Response {
    Json(served.store.capability()).into_response()
}

/// The server runs.
#[utoipa::path(
    get, path = "/v1/health", tag = "server", security(()),
    responses((status = 200, body = String, description = "It runs")),
)]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// The server takes requests and its store answers.
#[utoipa::path(
    get, path = "/v1/ready", tag = "server", security(()),
    responses(
        (status = 200, body = String, description = "It does"),
        (status = 503, body = ErrorReply, description = "It is stopping, or its store does not answer"),
    ),
)]
pub(super) async fn ready(State(served): State<Served>) -> Response {
    if served.stopping.is_asked() {
        let (status, kind) = (StatusCode::SERVICE_UNAVAILABLE, Kind::Unavailable);
        return refuse(status, kind, "the server is stopping");
    }
    // No packet has this id; any answer shows that the store gives answers.
    match served.store.get(&[0; 32]).await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => failure(&error),
    }
}

fn packet_id(text: &str) -> Option<PacketId> {
    hex::decode(text).ok()?.try_into().ok()
}
