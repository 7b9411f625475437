//! Another node's `edgelore serve` as a backend.
//!
//! Owns the client of the HTTP API; [`wire`] is what both ends agree on. Never trusts an answer:
//! packets are verified and distances measured again here.
//!
//! **Invariant:** what the server adds, changes or orders otherwise does not pass; what it leaves
//! out cannot be known.

pub mod beside;
mod sse;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::packet::{self, Opened};
use edgelore_pipeline::synthesise::Unsigned;
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::backend::{
    Backend, BackendError, Capability, Cursor, LIMIT_MAX, PUBLISHERS_MAX, Said, Stored,
    Subscription, check_cells, in_order,
};
use crate::opener::{Opener, Placed};
use crate::{Cell, Found, PacketId};
use beside::{ReferenceReply, StatementsReply};
use wire::{CBOR_SEQUENCE, ErrorReply, Kind, QueryRequest, StoredReply};

/// The longest answer that is read, bytes: a full page of statements or unsigned packets as JSON, with
/// room.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// As much is read of an answer that says why it is no other.
const REASON_BYTES_MAX: usize = 16 * 1024;

/// How long connecting may take, its TLS handshake included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Makes `ring` this process' one provider of cryptography. Call it before any other client of
/// HTTP is made; doing so again changes nothing.
pub fn use_ring() {
    // The one that is there already was put there by this.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// How a server is reached.
#[derive(Clone)]
pub struct HttpConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: String,
    /// The bearer token, if the server asks for one.
    pub token: Option<String>,
    /// Who signs the server's certificate, PEM; whom the system trusts, without.
    pub ca: Option<Vec<u8>>,
    /// Certificate and private key, PEM, if the server asks for them.
    pub identity: Option<Vec<u8>>,
    /// The similarity definition.
    pub space: Space,
}

/// A client of `edgelore serve`.
#[derive(Clone)]
pub struct Http {
    client: Client,
    base: String,
    token: Option<String>,
    space: Space,
    /// What was left out of answers because it was not what it should be.
    skipped: Arc<AtomicU64>,
    opener: Arc<Opener>,
}

impl Http {
    /// A client for the server at `url`, with its bearer token if it has one.
    ///
    /// # Errors
    /// See [`Http::open`].
    pub fn new(url: &str, token: Option<String>, space: Space) -> Result<Self, BackendError> {
        Self::open(HttpConfig { url: url.to_owned(), token, ca: None, identity: None, space })
    }

    /// A client; connects when it is first asked.
    ///
    /// # Errors
    /// [`BackendError::Request`] when the address is no `http://` or `https://` address, or a
    /// certificate or key is none.
    pub fn open(config: HttpConfig) -> Result<Self, BackendError> {
        use_ring();
        let url = &config.url;
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if parsed.is_none() {
            return Err(BackendError::Request(format!(
                "'{url}' is no http:// or https:// address"
            )));
        }
        let wrong = |what: &'static str| {
            move |error: reqwest::Error| {
                BackendError::Request(format!("{what}: {}", explain(&error)))
            }
        };
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN);
        if let Some(ca) = &config.ca {
            let ca = Certificate::from_pem_bundle(ca).map_err(wrong("reading the CA"))?;
            if ca.is_empty() {
                return Err(BackendError::Request("the CA's file holds no certificate".into()));
            }
            builder = builder.tls_certs_only(ca);
        }
        if let Some(identity) = &config.identity {
            let identity =
                Identity::from_pem(identity).map_err(wrong("reading the certificate"))?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(wrong("making a client"))?;
        let base = url.trim_end_matches('/').to_owned();
        let (token, space) = (config.token, config.space);
        let (skipped, opener) = (Arc::default(), Arc::new(Opener::new(space.clone())));
        Ok(Self { client, base, token, space, skipped, opener })
    }

    /// Counts what is left out of an answer, and logs it: every time at first, then ever more rarely.
    fn skip(&self, error: &BackendError) {
        let skipped = self.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        if skipped <= 16 || skipped.is_power_of_two() {
            tracing::warn!(server = self.base, %error, skipped, "left out of a server's answer");
        }
    }

    /// Those of a server's bytes that are packets, and of the space that is asked about.
    fn packets(&self, bytes: &[&[u8]]) -> Vec<Placed> {
        let foreign = || BackendError::Answer("it is of another similarity definition".into());
        let of_space = |packet: Placed| {
            if packet.space == self.space.short_id() { Ok(packet) } else { Err(foreign()) }
        };
        let packets = self.opener.open_all(bytes).filter_map(|packet| {
            let packet = packet.map_err(|error| BackendError::Answer(error.to_string()));
            packet.and_then(of_space).inspect_err(|error| self.skip(error)).ok()
        });
        packets.collect()
    }

    /// The packet in a text of the server.
    fn packet(&self, text: &str) -> Option<Arc<Opened>> {
        let bytes = decoded(text).inspect_err(|error| self.skip(error)).ok()?;
        self.packets(&[&bytes]).pop().map(|placed| placed.opened)
    }

    fn get_path(&self, path: &str) -> RequestBuilder {
        self.authorised(self.client.get(format!("{}{path}", self.base)))
    }

    fn post_path(&self, path: &str) -> RequestBuilder {
        self.authorised(self.client.post(format!("{}{path}", self.base)))
    }

    fn put_path(&self, path: &str) -> RequestBuilder {
        self.authorised(self.client.put(format!("{}{path}", self.base)))
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// What the server says that it can do.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    pub async fn remote_capability(&self) -> Result<Capability, BackendError> {
        json(send(self.get_path("/v1/capability")).await?).await
    }
}

fn unavailable(error: &reqwest::Error) -> BackendError {
    BackendError::Unavailable(explain(error))
}

/// An error with its causes.
fn explain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Sends a request; an answer that is not a success becomes the error that it names.
async fn send(request: RequestBuilder) -> Result<Response, BackendError> {
    let response = request.send().await.map_err(|error| unavailable(&error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(refusal(response).await)
}

async fn refusal(response: Response) -> BackendError {
    let status = response.status();
    let wait_ms = wait_ms(&response);
    let body = beginning(response).await;
    let reply = serde_json::from_slice::<ErrorReply>(&body).ok();
    let said = match &reply {
        Some(reply) => Said::new(&reply.error),
        None => Said::new(&String::from_utf8_lossy(&body)),
    };
    let text = || said.text().to_owned();
    match (status, reply.map(|reply| reply.kind)) {
        (StatusCode::TOO_MANY_REQUESTS, _) | (_, Some(Kind::Throttled)) => {
            BackendError::Throttled(wait_ms, said)
        }
        (StatusCode::UNAUTHORIZED, _) => BackendError::Unauthorised(said),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => {
            BackendError::Request(format!("the server takes no request of this size{said}"))
        }
        (_, Some(Kind::Expired)) => BackendError::Expired,
        (_, Some(Kind::Future)) => BackendError::Future,
        (_, Some(Kind::Refused)) => BackendError::Refused(text()),
        (_, Some(Kind::Full)) => BackendError::Full,
        (_, Some(Kind::Unavailable)) => BackendError::Unavailable(text()),
        (_, Some(Kind::Storage)) => BackendError::Storage(text()),
        (_, Some(Kind::Packet | Kind::Request | Kind::NotFound)) => BackendError::Request(text()),
        (status, None) if status.is_server_error() => {
            BackendError::Unavailable(format!("the server answers {status}{said}"))
        }
        (status, None) => BackendError::Answer(format!("status {status}{said}")),
    }
}

/// The beginning of a body that says why; what there is of one that breaks off.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > REASON_BYTES_MAX {
            body.truncate(REASON_BYTES_MAX);
            break;
        }
    }
    body
}

/// What `Retry-After` asks for (RFC 9110 §10.2.3), a second when it does not say.
fn wait_ms(response: &Response) -> u64 {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    seconds.and_then(|text| text.parse().ok()).unwrap_or(1_u64).saturating_mul(1_000)
}

/// An answer of the media type that was asked for.
fn of_type(response: Response, media_type: &str) -> Result<Response, BackendError> {
    let found = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if found == Some(media_type) {
        return Ok(response);
    }
    let found = Said::new(found.unwrap_or("no media type"));
    Err(BackendError::Answer(format!("asked for {media_type}, it sends {}", found.text())))
}

/// The body, refused when it is too long.
async fn body(mut response: Response) -> Result<Vec<u8>, BackendError> {
    let said = response.content_length().and_then(|said| usize::try_from(said).ok());
    let mut body = Vec::with_capacity(said.unwrap_or_default().min(ANSWER_BYTES_MAX));
    while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(BackendError::Answer(format!("it exceeds {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, BackendError> {
    let body = body(response).await?;
    serde_json::from_slice(&body).map_err(|error| BackendError::Answer(error.to_string()))
}

fn acknowledged(id: PacketId, reply: &StoredReply) -> Result<Stored, BackendError> {
    if hex::decode(&reply.id).ok().as_deref() != Some(id.as_slice()) {
        return Err(BackendError::Answer("it acknowledges another packet".into()));
    }
    Ok(Stored { id, new: reply.new })
}

/// The bytes of a packet from the server.
fn decoded(text: &str) -> Result<Vec<u8>, BackendError> {
    hex::decode(text).map_err(|_| BackendError::Answer("a packet is not hexadecimal".into()))
}

#[async_trait]
impl Backend for Http {
    async fn store(&self, packet: Vec<u8>) -> Result<Stored, BackendError> {
        // What the server would refuse need not travel.
        let id = packet::open(&packet)?.id;
        let path = format!("/v1/packets/{}", hex::encode(id));
        acknowledged(id, &json(send(self.put_path(&path).body(packet)).await?).await?)
    }

    async fn query(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Found>, BackendError> {
        let request = QueryRequest {
            query: query.clone(),
            radius: None,
            radius_milli: Some(radius),
            limit: Some(limit.min(LIMIT_MAX)),
        };
        let request = self.post_path("/v1/query").header(ACCEPT, CBOR_SEQUENCE).json(&request);
        let sequence = body(of_type(send(request).await?, CBOR_SEQUENCE)?).await?;
        let items = wire::from_sequence(&sequence).take(limit.min(LIMIT_MAX));
        let items = items.filter_map(|item| item.inspect_err(|error| self.skip(error)).ok());
        let items: Vec<&[u8]> = items.collect();
        let aim = self.space.aim(query);
        let pattern = query.resolution_pattern.as_deref();
        let place = |placed: Placed| {
            let distance = placed.within(&self.space, &aim, radius, pattern)?;
            Some(Found { opened: placed.opened, distance })
        };
        let mut found = self.packets(&items).into_iter().filter_map(place).collect();
        in_order(&mut found);
        Ok(found)
    }

    async fn get(&self, id: &PacketId) -> Result<Option<Vec<u8>>, BackendError> {
        let path = format!("/v1/packets/{}", hex::encode(id));
        let response = self.get_path(&path).send().await.map_err(|error| unavailable(&error))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let bytes = body(response).await?;
        let packet =
            packet::open(&bytes).map_err(|error| BackendError::Answer(error.to_string()))?;
        if packet.id != *id {
            return Err(BackendError::Answer("it sends another packet".into()));
        }
        Ok(Some(bytes))
    }

    async fn subscribe(
        &self,
        cells: &[Cell],
        after: Option<Cursor>,
    ) -> Result<Box<dyn Subscription>, BackendError> {
        check_cells(cells)?;
        Ok(Box::new(sse::EventStream::connect(self.clone(), cells.to_vec(), after).await?))
    }

    async fn declare(&self, statement: Vec<u8>) -> Result<Stored, BackendError> {
        let id = packet::statement::open(&statement)?.id;
        let reply: StoredReply =
            json(send(self.post_path("/v1/statements").body(statement)).await?).await?;
        acknowledged(id, &reply)
    }

    async fn statements(&self, publishers: &[[u8; 32]]) -> Result<Vec<Statement>, BackendError> {
        let asked: Vec<String> = publishers.iter().take(PUBLISHERS_MAX).map(hex::encode).collect();
        let request = self.post_path("/v1/statements/about").json(&asked);
        let reply: StatementsReply = json(send(request).await?).await?;
        let read =
            |text: &String| beside::verified(text).inspect_err(|error| self.skip(error)).ok();
        Ok(reply.statements.iter().filter_map(read).collect())
    }

    async fn statements_after(
        &self,
        after: Option<PacketId>,
    ) -> Result<Vec<Statement>, BackendError> {
        let after = after.map(|id| format!("?after={}", hex::encode(id))).unwrap_or_default();
        let request = self.get_path(&format!("/v1/statements{after}"));
        let reply: StatementsReply = json(send(request).await?).await?;
        reply.statements.iter().map(|text| beside::verified(text)).collect()
    }

    async fn import(&self, packet: Reference) -> Result<Stored, BackendError> {
        let request = self.post_path("/v1/reference").header("content-type", "application/json");
        let reply: StoredReply = json(send(request.body(packet.to_json())).await?).await?;
        acknowledged(packet.id(), &reply)
    }

    async fn imported(
        &self,
        query: &Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<Unsigned>, BackendError> {
        let request = QueryRequest {
            query: query.clone(),
            radius: None,
            radius_milli: Some(radius),
            limit: Some(limit.min(LIMIT_MAX)),
        };
        let request = self.post_path("/v1/reference/query").json(&request);
        let reply: ReferenceReply = json(send(request).await?).await?;
        let unsigned = reply.found.into_iter().filter(|found| found.publisher.is_none());
        unsigned.take(limit.min(LIMIT_MAX)).map(beside::unsigned).collect()
    }

    fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn capability(&self) -> Capability {
        Capability {
            name: "http".into(),
            durable: true,
            exact: true,
            resumable: true,
            space: hex::encode(self.space.short_id()),
        }
    }
}
