//! The HTTP API of `edgelore serve`.
//!
//! | request | what it does |
//! |---|---|
//! | `POST /v1/packets` | store the packet in the body (exact bytes); 201 when new, 200 when it was there |
//! | `PUT /v1/packets/{id}` | the same, refused when the id is not the packet's |
//! | `GET /v1/packets/{id}` | the packet's exact bytes |
//! | `POST /v1/query` | `{query, radius, limit}` → what is near, nearest first |
//! | `GET /v1/subscribe?cell=…` | follow cells (comma-separated; all without) as server-sent events; `Last-Event-ID` resumes |
//! | `POST /v1/subscribe` | the same with the cells as a JSON array, for long lists |
//! | `POST /v1/statements` | keep what a publisher says of its key (exact bytes); 201 or 200 as for packets |
//! | `POST /v1/statements/about` | publishers' ids as a JSON array → their statements |
//! | `POST /v1/reference` | keep a packet of the reference's JSON form; nobody signed it, so it never votes |
//! | `POST /v1/reference/query` | as `/v1/query`, the answer in the reference's form, unsigned packets too |
//! | `GET /v1/capability` | what the store can do |
//! | `GET /v1/health` | 200 while the server runs; needs no token |
//!
//! Owns the mapping between HTTP and [`Backend`]. Never decides what is stored.
//!
//! **Invariant:** with a token configured, nothing but `/v1/health` answers without it; a body
//! longer than its bound is answered with 413 and not read.

mod answers;
mod beside;
mod events;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, Json, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use edgelore_pipeline::packet::PACKET_BYTES_MAX;
use edgelore_routing::http::wire::{Kind, QueryReply, QueryRequest, StoredReply};
use edgelore_routing::{Backend, LIMIT_DEFAULT, PacketId};

use answers::{failure, refuse};

/// The longest body of a query, bytes.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// The longest list of cells, bytes.
const CELLS_BYTES_MAX: usize = 256 * 1024;
/// The media type of a packet (RFC 9052 §2).
const COSE_SIGN1: &str = "application/cose; cose-type=\"cose-sign1\"";

type Store = Arc<dyn Backend>;

/// Why an address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("listening on {0}: an address that others can reach needs a token")]
pub struct Unprotected(pub SocketAddr);

/// Refuses to serve others without asking who they are.
///
/// # Errors
/// [`Unprotected`] when `address` is not a loopback address and there is no token.
pub fn check_address(address: SocketAddr, token: Option<&str>) -> Result<(), Unprotected> {
    let protected = token.is_some_and(|token| !token.is_empty());
    if address.ip().to_canonical().is_loopback() || protected {
        Ok(())
    } else {
        Err(Unprotected(address))
    }
}

/// The API over a store; with a token, requests need it as `Authorization: Bearer …`.
pub fn router(store: Arc<dyn Backend>, token: Option<String>) -> Router {
    let packets = Router::new()
        .route("/v1/packets", post(post_packet))
        .route("/v1/packets/{id}", get(get_packet).put(put_packet))
        .layer(DefaultBodyLimit::max(PACKET_BYTES_MAX));
    let queries =
        Router::new().route("/v1/query", post(query)).layer(DefaultBodyLimit::max(QUERY_BYTES_MAX));
    let events = Router::new()
        .route("/v1/subscribe", get(events::get).post(events::post))
        .layer(DefaultBodyLimit::max(CELLS_BYTES_MAX));
    let token: Option<Arc<str>> = token.map(Into::into);
    packets
        .merge(queries)
        .merge(events)
        .merge(beside::routes())
        .route("/v1/capability", get(capability))
        .layer(from_fn_with_state(token, authorise))
        .route("/v1/health", get(|| async { "ok\n" }))
        .with_state(store)
}

async fn authorise(
    State(token): State<Option<Arc<str>>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match token {
        Some(token) if !given.is_some_and(|given| same(given, token.as_bytes())) => {
            let mut response = refuse(StatusCode::UNAUTHORIZED, Kind::Request, "not authorised");
            let challenge = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
        _ => next.run(request).await,
    }
}

/// Compares without telling by its duration where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

async fn post_packet(State(store): State<Store>, body: Result<Bytes, BytesRejection>) -> Response {
    match body {
        Ok(body) => store_packet(&store, body).await,
        Err(rejection) => refuse(rejection.status(), Kind::Packet, &rejection.body_text()),
    }
}

async fn put_packet(
    State(store): State<Store>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            return refuse(rejection.status(), Kind::Packet, &rejection.body_text());
        }
    };
    let own = edgelore_pipeline::packet::open(&body).map(|packet| packet.id);
    match (own, packet_id(&id)) {
        (Ok(own), Some(id)) if own == id => store_packet(&store, body).await,
        (Ok(_), _) => {
            refuse(StatusCode::BAD_REQUEST, Kind::Request, "the id in the path is not the packet's")
        }
        (Err(error), _) => failure(&error.into()),
    }
}

async fn store_packet(store: &Store, body: Bytes) -> Response {
    match store.store(body.to_vec()).await {
        Ok(stored) => {
            let status = if stored.new { StatusCode::CREATED } else { StatusCode::OK };
            let reply = StoredReply { id: hex::encode(stored.id), new: stored.new };
            (status, Json(reply)).into_response()
        }
        Err(error) => failure(&error),
    }
}

async fn get_packet(State(store): State<Store>, Path(id): Path<String>) -> Response {
    let Some(id) = packet_id(&id) else {
        return refuse(StatusCode::BAD_REQUEST, Kind::Request, "an id has 64 hexadecimal digits");
    };
    match store.get(&id).await {
        Ok(Some(bytes)) => ([(header::CONTENT_TYPE, COSE_SIGN1)], bytes).into_response(),
        Ok(None) => refuse(StatusCode::NOT_FOUND, Kind::NotFound, "no packet has this id"),
        Err(error) => failure(&error),
    }
}

async fn query(
    State(store): State<Store>,
    request: Result<Json<QueryRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => {
            return refuse(rejection.status(), Kind::Request, &rejection.body_text());
        }
    };
    let limit = request.limit.unwrap_or(LIMIT_DEFAULT);
    match store.query(&request.query, request.radius(), limit).await {
        Ok(found) => {
            Json(QueryReply { found: found.into_iter().map(Into::into).collect() }).into_response()
        }
        Err(error) => failure(&error),
    }
}

async fn capability(State(store): State<Store>) -> Response {
    Json(store.capability()).into_response()
}

fn packet_id(text: &str) -> Option<PacketId> {
    hex::decode(text).ok()?.try_into().ok()
}
