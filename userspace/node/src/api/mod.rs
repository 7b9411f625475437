//! The HTTP API of `edgelore serve`.
//!
//! | request | what it does |
//! |---|---|
//! | `PUT /v1/packets/{id}` | store the packet in the body (exact bytes), refused when the id is not its own; 201 when new, 200 when it was there |
//! | `POST /v1/packets` | the same without naming the id |
//! | `GET /v1/packets/{id}` | the packet's exact bytes |
//! | `POST /v1/query` | `{query, radius, limit}` → what is near, nearest first; as `application/cbor-seq` the exact packets alone |
//! | `GET /v1/subscribe?cell=…` | follow cells (comma-separated; all without) as server-sent events; `Last-Event-ID` resumes |
//! | `POST /v1/subscribe` | the same with the cells as a JSON array, for long lists |
//! | `POST /v1/statements` | keep what a publisher says of its key (exact bytes); 201 or 200 as for packets |
//! | `GET /v1/statements?after=…` | all statements, by id, a page at a time |
//! | `POST /v1/statements/about` | publishers' ids as a JSON array → their statements |
//! | `POST /v1/reference` | keep a packet of the reference's JSON form; nobody signed it, so it never votes |
//! | `POST /v1/reference/query` | as `/v1/query`, the answer in the reference's form, unsigned packets too |
//! | `GET /v1/capability` | what the store can do |
//! | `GET /v1/health` | 200 while the server runs |
//! | `GET /v1/ready` | 200 while it takes requests and its store answers, else 503 |
//! | `GET /v1/openapi.json` | this table for programs (OpenAPI 3.1) |
//!
//! Owns the mapping between HTTP and [`Backend`], who may ask and how often. Never decides what is
//! stored.
//!
//! **Invariant:** with tokens configured, nothing but the last three answers without one; a body
//! longer than its bound is answered with 413 and not read; a request is answered, or its stream
//! begun, within [`ANSWER_WITHIN`].

mod access;
mod answers;
mod beside;
mod events;
mod handlers;
mod listen;
mod openapi;
mod streams;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use edgelore_pipeline::packet::PACKET_BYTES_MAX;
use edgelore_routing::http::wire::Kind;
use edgelore_routing::{Backend, PacketId};
use governor::Quota;
use tokio::sync::watch;

pub use access::{TOKEN_CHARACTERS_MIN, TOKENS_MAX, TokenError, Tokens};
pub use listen::{CONNECTIONS_MAX, SILENCE, serve};
pub use openapi::document;
pub use streams::{STREAMS_MAX, StreamBounds};
pub use tls::{TlsError, TlsFiles, acceptor};

use crate::limit::Limiter;
use crate::trust::{Guard, Refusal, Trust};
use access::{Caller, Peer, identify};
use answers::{held_back, refuse};
use streams::Streams;

/// The longest body of a query, bytes.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// The longest list of cells, bytes.
const CELLS_BYTES_MAX: usize = 256 * 1024;
/// How long a request may take, its body included; a stream of events, until it begins.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Requests a second that a caller may make, unless the operator says otherwise.
pub const RATE_DEFAULT: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// How many seconds' worth of requests may come at once.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

/// What whoever shows no token is told.
const NO_TOKEN: &str = "the request carries no token that this server takes";

/// Why an address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "listening on {0}: an address that others can reach needs tokens or a CA of their certificates"
)]
pub struct Unprotected(pub SocketAddr);

/// Refuses to serve others without asking who they are.
///
/// # Errors
/// [`Unprotected`] when `address` is not a loopback address and nobody is asked.
pub fn check_address(address: SocketAddr, asks: bool) -> Result<(), Unprotected> {
    if address.ip().to_canonical().is_loopback() || asks {
        Ok(())
    } else {
        Err(Unprotected(address))
    }
}

/// Who may ask, and how often.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The bearer tokens that are taken.
    pub tokens: Tokens,
    /// Requests a second of each caller: each token, else each certificate, else each address.
    pub rate: NonZeroU32,
    /// Event streams of each caller.
    pub streams: StreamBounds,
    /// Whose packets are taken, shown and delivered; everybody's without.
    pub trust: Option<Arc<Trust>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            rate: RATE_DEFAULT,
            streams: StreamBounds::default(),
            trust: None,
        }
    }
}

/// Whether the server was asked to stop.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Never, unless `true` is sent.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (ask, asked) = watch::channel(false);
        (ask, Self(asked))
    }

    fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when it was asked; never, when whoever could ask has gone.
    pub async fn asked(mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What the handlers work on.
#[derive(Clone)]
struct Served {
    store: Arc<dyn Backend>,
    trust: Option<Arc<Trust>>,
    streams: Arc<Streams>,
    stopping: Stopping,
}

impl Served {
    /// Counts a packet that does not come as far as the store.
    fn refused(&self, why: Refusal, id: &PacketId) {
        if let Some(trust) = &self.trust {
            trust.refuse_unread(why, id);
        }
    }
}

/// The API over a store.
pub fn router(store: Arc<dyn Backend>, policy: Policy, stopping: Stopping) -> Router {
    let store = match &policy.trust {
        Some(trust) => Guard::serving(store, Arc::clone(trust)) as Arc<dyn Backend>,
        None => store,
    };
    let packets = Router::new()
        .route("/v1/packets", post(handlers::post_packet))
        .route("/v1/packets/{id}", get(handlers::get_packet).put(handlers::put_packet))
        .layer(DefaultBodyLimit::max(PACKET_BYTES_MAX));
    let queries = Router::new()
        .route("/v1/query", post(handlers::query))
        .layer(DefaultBodyLimit::max(QUERY_BYTES_MAX));
    let events = Router::new()
        .route("/v1/subscribe", get(events::get).post(events::post))
        .layer(DefaultBodyLimit::max(CELLS_BYTES_MAX));
    let burst = policy.rate.saturating_mul(BURST_SECONDS);
    let quota = Quota::per_second(policy.rate).allow_burst(burst);
    let limiter = Limiter::new(quota, Caller::Others);
    let gate = Gate { tokens: policy.tokens, rate: policy.rate, limiter };
    let streams = Arc::new(Streams::new(policy.streams));
    packets
        .merge(queries)
        .merge(events)
        .merge(beside::routes())
        .route("/v1/capability", get(handlers::capability))
        .layer(from_fn_with_state(Arc::new(gate), admit))
        .route("/v1/health", get(handlers::health))
        .route("/v1/ready", get(handlers::ready))
        .route("/v1/openapi.json", get(openapi::serve))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn(in_time))
        .with_state(Served { store, trust: policy.trust, streams, stopping })
}

struct Gate {
    tokens: Tokens,
    rate: NonZeroU32,
    limiter: Limiter<Caller>,
}

/// Lets requests of known callers pass, as often as they may ask, and says who asks.
async fn admit(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>();
    let Some(caller) = identify(&gate.tokens, peer, request.headers()) else {
        let mut response = refuse(StatusCode::UNAUTHORIZED, Kind::Request, NO_TOKEN);
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    };
    match gate.limiter.refuses(caller) {
        Some(wait) => held_back(wait, &format!("a caller makes {} requests a second", gate.rate)),
        None => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    }
}

async fn nothing() -> Response {
    refuse(StatusCode::NOT_FOUND, Kind::NotFound, "there is nothing at this address")
}

async fn not_so() -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    refuse(status, Kind::Request, "this address takes other methods")
}

/// Gives up on a request whose body does not come.
async fn in_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await.unwrap_or_else(|_| {
        refuse(StatusCode::REQUEST_TIMEOUT, Kind::Unavailable, "the request took too long")
    })
}
