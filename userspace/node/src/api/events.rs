//! Subscriptions as server-sent events.
//!
//! Owns the stream's frame: `ready` first, then `packet` after `packet`, each with its cursor as
//! id, and `at` when the subscription moved on without one. Never buffers: the store is read as fast as the subscriber reads.
//!
//! **Invariant:** an id that a client saw is one that it can resume after; a stream ends when the
//! server is asked to stop, and takes one of its caller's places for as long as it is open.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Json, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use edgelore_routing::http::wire::{EVENT_AT, EVENT_PACKET, EVENT_READY, ErrorReply, Kind};
use edgelore_routing::{BackendError, Cell, Cursor, Delivery, Subscription};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Caller;
use super::answers::{failure, refuse};
use super::streams::Place;
use super::{Served, Stopping};

/// How often a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a stream that gives nothing says up to where there was nothing to give.
const TELL_AT: Duration = Duration::from_millis(500);

/// Query parameters of a subscription.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Cells, comma-separated; all without.
    #[serde(default)]
    #[param(required = false)]
    cell: String,
}

/// Follow cells as server-sent events.
///
/// The first event is `ready`; then comes a `packet` for each packet, its exact bytes in hexadecimal
/// as data. `at` says that nothing else up to its id is given out. Each event's id is a cursor: named
/// in `Last-Event-ID`, the stream goes on after it.
#[utoipa::path(
    get, path = "/v1/subscribe", operation_id = "subscribe", tag = "delivery",
    params(Parameters, ("Last-Event-ID" = Option<u64>, Header, description = "Resume after this")),
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "The stream"),
        (status = 400, body = ErrorReply, description = "A cell or the cursor is not one"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 429, body = ErrorReply, description = "Too many requests, or streams of this caller; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "As many streams as the store bears are open"),
    ),
)]
pub(super) async fn get(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let cells = parameters.cell.split(',').filter(|cell| !cell.is_empty());
    follow(&served, caller, cells, &headers).await
}

/// Follow cells, for lists that are too long for an address.
#[utoipa::path(
    post, path = "/v1/subscribe", operation_id = "subscribe_to_many", tag = "delivery",
    request_body(content = Vec<String>, description = "Cells; all when there are none"),
    params(("Last-Event-ID" = Option<u64>, Header, description = "Resume after this")),
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "The stream"),
        (status = 400, body = ErrorReply, description = "A cell or the cursor is not one"),
        (status = 401, body = ErrorReply, description = "It carries no token that is taken"),
        (status = 413, body = ErrorReply, description = "The body is too long"),
        (status = 429, body = ErrorReply, description = "Too many requests, or streams of this caller; Retry-After says when"),
        (status = 503, body = ErrorReply, description = "As many streams as the store bears are open"),
    ),
)]
pub(super) async fn post(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    cells: Result<Json<Vec<String>>, JsonRejection>,
) -> Response {
    match cells {
        Ok(Json(cells)) => {
            follow(&served, caller, cells.iter().map(String::as_str), &headers).await
        }
        Err(rejection) => refuse(rejection.status(), Kind::Request, &rejection.body_text()),
    }
}

async fn follow<'c>(
    served: &Served,
    caller: Caller,
    cells: impl Iterator<Item = &'c str>,
    headers: &HeaderMap,
) -> Response {
    let bad = |reason: &str| refuse(StatusCode::BAD_REQUEST, Kind::Request, reason);
    let cells: Result<Vec<Cell>, _> = cells.map(str::parse).collect();
    let cells = match cells {
        Ok(cells) => cells,
        Err(error) => return bad(&error.to_string()),
    };
    let after = match headers.get("last-event-id").map(|value| value.to_str()) {
        None => None,
        Some(Ok(text)) => match text.parse() {
            Ok(cursor) => Some(Cursor(cursor)),
            Err(_) => return bad("Last-Event-ID is not a cursor"),
        },
        Some(Err(_)) => return bad("Last-Event-ID is not text"),
    };
    let place = match served.streams.open(caller) {
        Ok(place) => place,
        Err(too_many) => return too_many.into_response(),
    };
    match served.store.subscribe(&cells, after).await {
        Ok(subscription) => events(Open { subscription, _place: place }, served.stopping.clone()),
        Err(error) => failure(&error),
    }
}

/// A stream that takes its caller's place.
struct Open {
    subscription: Box<dyn Subscription>,
    _place: Place,
}

/// Where a stream stands.
enum Stage {
    Opening(Open),
    Following(Open),
}

fn events(open: Open, stopping: Stopping) -> Response {
    let events = stream::unfold(Stage::Opening(open), |stage| async move {
        match stage {
            Stage::Opening(open) => {
                let ready = at(EVENT_READY, open.subscription.cursor());
                Some((Ok::<_, Infallible>(ready), Stage::Following(open)))
            }
            Stage::Following(mut open) => match next(&mut *open.subscription).await {
                Ok(event) => Some((Ok(event), Stage::Following(open))),
                Err(error) => {
                    tracing::warn!(%error, "a subscription ended");
                    None
                }
            },
        }
    });
    let events = events.take_until(Box::pin(stopping.asked()));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// The next packet, or how far the subscription came without one.
async fn next(subscription: &mut dyn Subscription) -> Result<Event, BackendError> {
    let before = subscription.cursor();
    loop {
        match tokio::time::timeout(TELL_AT, subscription.next()).await {
            Ok(delivery) => return Ok(packet(&delivery?)),
            Err(_) if subscription.cursor() > before => {
                return Ok(at(EVENT_AT, subscription.cursor()));
            }
            Err(_) => {}
        }
    }
}

fn at(event: &str, cursor: Cursor) -> Event {
    Event::default().event(event).id(cursor.0.to_string()).data("")
}

fn packet(delivery: &Delivery) -> Event {
    let data = hex::encode(&delivery.packet.bytes);
    Event::default().event(EVENT_PACKET).id(delivery.cursor.0.to_string()).data(data)
}
