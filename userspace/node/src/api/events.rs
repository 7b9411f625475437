//! Subscriptions as server-sent events.
//!
//! Owns the stream's frame: `ready` first, then `packet` after `packet`, each with its cursor as
//! id. Never buffers: the store is read as fast as the subscriber reads.
//!
//! **Invariant:** an id that a client saw is one that it can resume after.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use edgelore_routing::http::wire::{EVENT_PACKET, EVENT_READY, Kind};
use edgelore_routing::{Cell, Cursor, Delivery, Subscription};
use futures_util::stream;
use serde::Deserialize;

use super::Store;
use super::answers::{failure, refuse};

/// How often a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Query parameters of a subscription.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Cells, comma-separated.
    #[serde(default)]
    cell: String,
}

/// `GET /v1/subscribe`.
pub(super) async fn get(
    State(store): State<Store>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let cells = parameters.cell.split(',').filter(|cell| !cell.is_empty());
    follow(&store, cells, &headers).await
}

/// `POST /v1/subscribe`.
pub(super) async fn post(
    State(store): State<Store>,
    headers: HeaderMap,
    cells: Result<Json<Vec<String>>, JsonRejection>,
) -> Response {
    match cells {
        Ok(Json(cells)) => follow(&store, cells.iter().map(String::as_str), &headers).await,
        Err(rejection) => refuse(rejection.status(), Kind::Request, &rejection.body_text()),
    }
}

async fn follow<'c>(
    store: &Store,
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
    match store.subscribe(&cells, after).await {
        Ok(subscription) => events(subscription),
        Err(error) => failure(&error),
    }
}

/// Where a stream stands.
enum Stage {
    Opening(Box<dyn Subscription>),
    Following(Box<dyn Subscription>),
}

fn events(subscription: Box<dyn Subscription>) -> Response {
    let events = stream::unfold(Stage::Opening(subscription), |stage| async move {
        match stage {
            Stage::Opening(subscription) => {
                let ready = ready(subscription.cursor());
                Some((Ok::<_, Infallible>(ready), Stage::Following(subscription)))
            }
            Stage::Following(mut subscription) => match subscription.next().await {
                Ok(delivery) => Some((Ok(packet(&delivery)), Stage::Following(subscription))),
                Err(error) => {
                    tracing::warn!(%error, "a subscription ended");
                    None
                }
            },
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn ready(cursor: Cursor) -> Event {
    Event::default().event(EVENT_READY).id(cursor.0.to_string()).data("")
}

fn packet(delivery: &Delivery) -> Event {
    let data = hex::encode(&delivery.packet.bytes);
    Event::default().event(EVENT_PACKET).id(delivery.cursor.0.to_string()).data(data)
}
