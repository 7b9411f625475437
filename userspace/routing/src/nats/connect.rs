//! The connection, and what the server's errors mean.
//!
//! Owns the URL, TLS, authentication, the connection and the stream. Never retries a call: layers do.
//!
//! **Invariant:** no error text holds the URL or a secret; a call ends with the connection that it
//! was made on.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, Context, ErrorCode, context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError};
use reqwest::Url;
use tokio::sync::{Mutex, watch};

use super::layout::Subjects;
use crate::backend::{BackendError, Said};

/// How long an answer may take. Nobody says that the server of a cluster has ended that owes it.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often a silent connection is tried; two silent tries end it.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause before connecting again.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
/// How long the server knows a message by its id. Beyond it the subject alone tells.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Bytes of a message at most; a packet and its headers have far fewer.
const MESSAGE_BYTES_MAX: i32 = 8_192;
/// Stores that wait for their acknowledgement.
const ACKS_WAITING_MAX: usize = 1_024;
/// Servers that keep a stream, at most.
const REPLICAS_MAX: usize = 5;
/// As many keep what was acknowledged when one machine is lost.
const REPLICAS_DURABLE: usize = 3;

/// Who asks.
enum Auth {
    Nobody,
    Token(String),
    User(String, String),
    Nkey(String),
    Credentials(String),
}

/// A server that is connected to when it is first needed.
pub(super) struct Server {
    address: String,
    auth: Auth,
    tls: bool,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    stream: Config,
    synced: bool,
    link: Mutex<Option<Arc<Link>>>,
    /// The stream has to be looked for again before the link is used.
    doubted: AtomicBool,
    durable: AtomicBool,
    one_filter: AtomicBool,
}

/// A connection, and the stream on it.
pub(super) struct Link {
    pub(super) jetstream: Context,
    pub(super) stream: Stream<()>,
    name: String,
    connection: Connection,
}

#[derive(Clone)]
struct Connection {
    client: Client,
    /// Changes whenever the connection is lost or the server refuses something.
    losses: watch::Receiver<u64>,
    denied: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn new(
        url: &str,
        password: Option<String>,
        subjects: &Subjects,
        messages_max: u64,
    ) -> Result<Self, BackendError> {
        let url = Url::parse(url).map_err(|error| refused(&error))?;
        if !matches!(url.scheme(), "nats" | "tls") {
            return Err(refused(&"it begins neither with nats:// nor with tls://"));
        }
        let options = Options::read(&url)?;
        let host = url.host_str().ok_or_else(|| refused(&"it names no host"))?;
        let port = url.port().unwrap_or(4222);
        Ok(Self {
            address: format!("nats://{host}:{port}"),
            auth: options.auth(&url, password)?,
            tls: url.scheme() == "tls",
            synced: options.synced,
            stream: stream(subjects, messages_max, options.replicas),
            ca: options.ca,
            identity: match (options.cert, options.key) {
                (None, None) => None,
                (Some(cert), Some(key)) => Some((cert, key)),
                _ => return Err(refused(&"cert and key come together or not at all")),
            },
            link: Mutex::new(None),
            doubted: AtomicBool::new(false),
            durable: AtomicBool::new(false),
            one_filter: AtomicBool::new(false),
        })
    }

    /// The connection that everything shares.
    pub(super) async fn link(&self) -> Result<Arc<Link>, BackendError> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|_| !self.doubted.load(Ordering::Relaxed)) {
            return Ok(Arc::clone(link));
        }
        // A connection knows the other servers of a cluster; the URL may name one that is down.
        let connection = link.as_ref().map(|link| link.connection.clone());
        let lost = BackendError::Timeout(ANSWER_MAX.as_millis() as u64);
        let new = tokio::time::timeout(ANSWER_MAX, self.make(connection));
        let new = new.await.unwrap_or(Err(lost))?;
        self.doubted.store(false, Ordering::Relaxed);
        Ok(Arc::clone(link.insert(Arc::new(new))))
    }

    /// The stream has gone: the next call looks for it again.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    async fn make(&self, connection: Option<Connection>) -> Result<Link, BackendError> {
        let connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let jetstream = context::ContextBuilder::new()
            .timeout(ANSWER_MAX)
            .max_ack_inflight(ACKS_WAITING_MAX)
            .build(connection.client.clone());
        let config = connection.unless_lost(self.prepare(&jetstream)).await?;
        let replicated = config.num_replicas >= REPLICAS_DURABLE;
        let kept = config.storage == StorageType::File && (self.synced || replicated);
        self.durable.store(kept, Ordering::Relaxed);
        let stream = jetstream.get_stream_no_info(&config.name).await;
        let stream = stream.map_err(|error| BackendError::Storage(error.to_string()))?;
        Ok(Link { jetstream, stream, name: config.name, connection })
    }

    async fn connect(&self) -> Result<Connection, BackendError> {
        let (tell, losses) = watch::channel(0u64);
        let denied = Arc::new(AtomicBool::new(false));
        let client = self.options(tell, Arc::clone(&denied))?.connect(&self.address).await;
        let client = client.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                BackendError::Unauthorised(Said::default())
            }
            _ => BackendError::Unavailable(error.to_string()),
        })?;
        Ok(Connection { client, losses, denied })
    }

    fn options(
        &self,
        tell: watch::Sender<u64>,
        denied: Arc<AtomicBool>,
    ) -> Result<ConnectOptions, BackendError> {
        let mut options = ConnectOptions::new()
            .name("edgelore")
            .connection_timeout(CONNECT_MAX)
            .request_timeout(Some(ANSWER_MAX))
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                RECONNECT_DELAY_MAX.min(Duration::from_millis(attempt as u64 * 20))
            })
            .require_tls(self.tls)
            .event_callback(move |event| {
                heed(&event, &tell, &denied);
                std::future::ready(())
            });
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((cert, key)) = &self.identity {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(match &self.auth {
            Auth::Nobody => options,
            Auth::Token(token) => options.token(token.clone()),
            Auth::User(user, password) => options.user_and_password(user.clone(), password.clone()),
            Auth::Nkey(seed) => options.nkey(seed.clone()),
            Auth::Credentials(text) => options
                .credentials(text)
                .map_err(|_| refused(&"the file of credentials holds none"))?,
        })
    }

    /// Makes the stream if it is not there, and refuses one that would lose packets.
    async fn prepare(&self, jetstream: &Context) -> Result<Config, BackendError> {
        let config = match jetstream.get_stream(&self.stream.name).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) => match error.kind() {
                context::GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    self.create(jetstream).await?
                }
                context::GetStreamErrorKind::JetStream(error) => return Err(failed(&error)),
                _ => return Err(BackendError::Unavailable(error.to_string())),
            },
        };
        let ours = &self.stream;
        let fits = config.subjects == ours.subjects
            && config.discard == DiscardPolicy::New
            && config.retention == RetentionPolicy::Limits
            && config.max_messages_per_subject == 1
            && config.max_age.is_zero();
        fits.then_some(config).ok_or_else(|| {
            let reason = "must take the subjects of its space, discard new messages, keep one a \
                          subject, and none for a time only";
            BackendError::Storage(format!("the stream {} {reason}", ours.name))
        })
    }

    async fn create(&self, jetstream: &Context) -> Result<Config, BackendError> {
        match jetstream.create_stream(&self.stream).await {
            Ok(stream) => Ok(stream.cached_info().config.clone()),
            Err(error) => match error.kind() {
                context::CreateStreamErrorKind::JetStream(error) => Err(failed(&error)),
                _ => Err(BackendError::Unavailable(error.to_string())),
            },
        }
    }

    /// Whether the operator says that the server syncs, or enough servers keep what it acknowledges.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    pub(super) fn filters_one_subject(&self) -> bool {
        self.one_filter.load(Ordering::Relaxed)
    }

    /// The server ignores filters on several subjects.
    pub(super) fn note_one_filter(&self) {
        if !self.one_filter.swap(true, Ordering::Relaxed) {
            tracing::info!("this NATS server filters by one subject only");
        }
    }
}

impl Connection {
    /// Losses from now on.
    fn losses(&self) -> watch::Receiver<u64> {
        let mut losses = self.losses.clone();
        losses.borrow_and_update();
        losses
    }

    /// Waits for the next loss.
    async fn loss(&self, losses: &mut watch::Receiver<u64>) -> BackendError {
        // An error says that the client has ended.
        let _ = losses.changed().await;
        lost(&self.denied)
    }

    /// Waits for an answer, as long as the connection lasts.
    async fn unless_lost<T>(
        &self,
        answer: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let mut losses = self.losses();
        if self.client.connection_state() != State::Connected {
            return Err(lost(&self.denied));
        }
        tokio::select! {
            answer = answer => answer,
            error = self.loss(&mut losses) => Err(error),
            () = tokio::time::sleep(ANSWER_MAX) => {
                Err(BackendError::Timeout(ANSWER_MAX.as_millis() as u64))
            }
        }
    }
}

impl Link {
    /// Waits for an answer, as long as the connection lasts.
    pub(super) async fn call<T>(
        &self,
        answer: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        self.connection.unless_lost(answer).await
    }

    /// Whether the connection stands, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.connection.client.connection_state() == State::Connected
    }

    /// The stream's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Losses from now on.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.connection.losses()
    }

    /// Waits for the next loss.
    pub(super) async fn loss(&self, losses: &mut watch::Receiver<u64>) -> BackendError {
        self.connection.loss(losses).await
    }
}

fn heed(event: &Event, tell: &watch::Sender<u64>, denied: &AtomicBool) {
    let refused = match event {
        Event::ServerError(ServerError::AuthorizationViolation) => true,
        Event::ServerError(ServerError::Other(text)) => {
            text.to_ascii_lowercase().contains("permissions violation")
        }
        Event::Disconnected | Event::Closed => false,
        _ => return,
    };
    if refused {
        denied.store(true, Ordering::Relaxed);
    }
    tell.send_modify(|count| *count = count.wrapping_add(1));
}

fn lost(denied: &AtomicBool) -> BackendError {
    if denied.swap(false, Ordering::Relaxed) {
        return BackendError::Unauthorised(Said::default());
    }
    BackendError::Unavailable("the connection was lost".into())
}

fn refused(reason: &dyn Display) -> BackendError {
    BackendError::Request(format!("the URL of NATS: {reason}"))
}

fn stream(subjects: &Subjects, messages_max: u64, replicas: usize) -> Config {
    Config {
        name: subjects.stream.clone(),
        description: Some("outcome packets of Edgelore".to_owned()),
        subjects: vec![subjects.all()],
        max_messages: i64::try_from(messages_max).unwrap_or(i64::MAX),
        max_messages_per_subject: 1,
        max_message_size: MESSAGE_BYTES_MAX,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

/// What the URL says beside its address.
struct Options {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    nkey: Option<PathBuf>,
    creds: Option<PathBuf>,
    synced: bool,
    replicas: usize,
}

impl Options {
    fn read(url: &Url) -> Result<Self, BackendError> {
        let (mut ca, mut cert, mut key, mut nkey, mut creds) = (None, None, None, None, None);
        let (mut synced, mut replicas) = (false, 1);
        for (name, value) in url.query_pairs() {
            let file = match (name.as_ref(), value.as_ref()) {
                ("ca", _) => &mut ca,
                ("cert", _) => &mut cert,
                ("key", _) => &mut key,
                ("nkey", _) => &mut nkey,
                ("creds", _) => &mut creds,
                ("sync", "always") => {
                    synced = true;
                    continue;
                }
                ("replicas", count) => {
                    let count =
                        count.parse().ok().filter(|count| (1..=REPLICAS_MAX).contains(count));
                    replicas = count.ok_or_else(|| refused(&"replicas is none of 1 to 5"))?;
                    continue;
                }
                _ => {
                    let known = "ca, cert, key, nkey, creds, replicas, sync=always";
                    return Err(refused(&format_args!("'{name}' is none of {known}")));
                }
            };
            let path = PathBuf::from(value.as_ref());
            text(&path)?;
            *file = Some(path);
        }
        Ok(Self { ca, cert, key, nkey, creds, synced, replicas })
    }

    fn auth(&self, url: &Url, password: Option<String>) -> Result<Auth, BackendError> {
        match (&self.nkey, &self.creds) {
            (Some(_), Some(_)) => return Err(refused(&"nkey and creds exclude each other")),
            (Some(path), None) => return Ok(Auth::Nkey(text(path)?.trim().to_owned())),
            (None, Some(path)) => return Ok(Auth::Credentials(text(path)?)),
            (None, None) => {}
        }
        let user = decoded(url.username())?;
        let password = match password {
            Some(password) => Some(password),
            None => url.password().map(decoded).transpose()?,
        };
        Ok(match (user.is_empty(), password) {
            (true, None) => Auth::Nobody,
            (true, Some(token)) => Auth::Token(token),
            (false, None) => Auth::Token(user),
            (false, Some(password)) => Auth::User(user, password),
        })
    }
}

fn text(path: &PathBuf) -> Result<String, BackendError> {
    let content = std::fs::read_to_string(path);
    content.map_err(|error| refused(&format_args!("reading {}: {error}", path.display())))
}

/// A part of a URL without its percent signs.
fn decoded(part: &str) -> Result<String, BackendError> {
    let (mut bytes, mut rest) = (Vec::new(), part.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let (b'%', Some((digits, tail))) = (first, tail.split_at_checked(2)) {
            bytes.extend(hex::decode(digits).map_err(|_| refused(&"a percent sign stands alone"))?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).map_err(|_| refused(&"the user or password is not UTF-8"))
}

/// What an answer of JetStream means to the caller.
pub(super) fn failed(error: &jetstream::Error) -> BackendError {
    let text = error.to_string();
    match error.error_code() {
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => {
            BackendError::Full
        }
        ErrorCode::STREAM_STORE_FAILED if text.contains("maximum") => BackendError::Full,
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND => {
            BackendError::Unavailable(text)
        }
        _ if error.code() == 503 => BackendError::Unavailable(text),
        _ => BackendError::Storage(text),
    }
}
