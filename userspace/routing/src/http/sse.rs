//! A subscription over server-sent events.
//!
//! ```text
//! event: packet
//! id: 17
//! data: d28458…
//! (empty line)
//! ```
//!
//! Owns the stream's framing (WHATWG HTML, "Server-sent events") as our server writes it, and
//! resuming: a new connection names the last cursor in `Last-Event-ID`. Never gives a packet
//! twice.
//!
//! **Invariant:** the cursor moves only past packets that were handed out, or left out and counted, and
//! where the server says that nothing else is given out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Response;

use super::wire::{EVENT_AT, EVENT_PACKET, EVENT_READY};
use super::{Http, send, unavailable};
use crate::Cell;
use crate::backend::{BackendError, Cursor, Delivery, Subscription};

/// The longest event, bytes: a packet in hexadecimal and its frame.
const EVENT_BYTES_MAX: usize = 4_096;

/// The server shows every 15 s that it is alive; one that has not for this long counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A running stream of events.
pub(super) struct EventStream {
    http: Http,
    cells: Vec<Cell>,
    cursor: Option<Cursor>,
    response: Option<Response>,
    buffer: Vec<u8>,
}

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    id: Option<u64>,
    data: String,
}

impl EventStream {
    /// Connects and waits until the server follows the cells.
    pub(super) async fn connect(
        http: Http,
        cells: Vec<Cell>,
        after: Option<Cursor>,
    ) -> Result<Self, BackendError> {
        let mut stream = Self { http, cells, cursor: after, response: None, buffer: Vec::new() };
        stream.reconnect().await?;
        Ok(stream)
    }

    async fn reconnect(&mut self) -> Result<(), BackendError> {
        self.buffer.clear();
        let cells: Vec<String> = self.cells.iter().map(Cell::to_string).collect();
        let mut request = self.http.post_path("/v1/subscribe").json(&cells);
        if let Some(cursor) = self.cursor {
            request = request.header("Last-Event-ID", cursor.0.to_string());
        }
        let asked = tokio::time::timeout(SILENCE_MAX, send(request)).await;
        let mut response = asked.map_err(|_| silent())??;
        let ready = read_event(&mut response, &mut self.buffer).await?;
        match ready.id {
            Some(id) if ready.name == EVENT_READY => {
                // The server's word: a store that was replaced begins anew, and its cursors are
                // lower than the one that is held here.
                self.cursor = Some(Cursor(id));
                self.response = Some(response);
                Ok(())
            }
            _ => Err(BackendError::Answer("the stream does not begin with 'ready'".into())),
        }
    }

    async fn event(&mut self) -> Result<Event, BackendError> {
        if self.response.is_none() {
            self.reconnect().await?;
        }
        let lost = || BackendError::Unavailable("the stream was closed".into());
        let response = self.response.as_mut().ok_or_else(lost)?;
        let event = read_event(response, &mut self.buffer).await;
        if event.is_err() {
            self.response = None;
        }
        event
    }
}

fn silent() -> BackendError {
    BackendError::Unavailable("the stream has fallen silent".into())
}

/// Reads up to the next empty line. What was read of an unfinished event stays in `buffer`.
async fn read_event(response: &mut Response, buffer: &mut Vec<u8>) -> Result<Event, BackendError> {
    loop {
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            let event = parse(&String::from_utf8_lossy(&frame));
            if !event.name.is_empty() {
                return Ok(event);
            }
        }
        if buffer.len() > EVENT_BYTES_MAX {
            return Err(BackendError::Answer(format!("an event exceeds {EVENT_BYTES_MAX} bytes")));
        }
        let chunk = tokio::time::timeout(SILENCE_MAX, response.chunk()).await;
        let chunk = chunk.map_err(|_| silent())?;
        let chunk = chunk.map_err(|error| unavailable(&error))?;
        let chunk = chunk.ok_or(BackendError::Unavailable("the stream was closed".into()))?;
        buffer.extend_from_slice(&chunk);
    }
}

/// A comment has no name; our server sends one now and then to keep the connection.
fn parse(frame: &str) -> Event {
    let mut event = Event::default();
    for line in frame.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => event.id = value.parse().ok(),
            "data" => event.data.push_str(value),
            _ => {}
        }
    }
    event
}

#[async_trait]
impl Subscription for EventStream {
    fn cursor(&self) -> Cursor {
        self.cursor.unwrap_or_default()
    }

    async fn next(&mut self) -> Result<Delivery, BackendError> {
        loop {
            let event = self.event().await?;
            let Some(cursor) = event.id.map(Cursor) else { continue };
            if self.cursor.is_some_and(|last| cursor <= last) {
                continue;
            }
            match event.name.as_str() {
                EVENT_PACKET => {}
                EVENT_AT => {
                    self.cursor = Some(cursor);
                    continue;
                }
                _ => continue,
            }
            let packet = self.http.packet(&event.data);
            self.cursor = Some(cursor);
            // What is not the packet that it should be concerns no other.
            let Some(packet) = packet else { continue };
            return Ok(Delivery { cursor, packet: Arc::unwrap_or_clone(packet) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_field_by_field() {
        let event = parse("event: packet\nid: 17\ndata: d2\ndata:84\n\n");
        assert_eq!(event, Event { name: "packet".into(), id: Some(17), data: "d284".into() });
        assert_eq!(parse(": keep\n\n"), Event::default());
        assert_eq!(parse("id: x\n\n").id, None);
    }
}
