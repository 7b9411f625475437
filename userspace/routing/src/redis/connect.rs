//! Connections, and what the server's errors mean.
//!
//! Owns the URL, TLS and the connections. Never retries a command: layers do.
//!
//! **Invariant:** no error text holds the URL or the password.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ErrorKind, RedisError, ServerErrorKind,
    TlsCertificates, cmd,
};
use reqwest::Url;
use std::collections::HashMap;
use tokio::sync::OnceCell;

use crate::backend::{BackendError, Said};

/// How long a subscription's read waits in the server, ms.
pub(super) const BLOCK_MS: u64 = 5_000;
/// How long an answer may take before the connection counts as lost.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Attempts to connect again before a call fails.
const RECONNECTS_MAX: usize = 2;

/// A server that is connected to when it is first needed.
pub(super) struct Server {
    client: Client,
    manager: OnceCell<ConnectionManager>,
    durable: AtomicBool,
}

impl Server {
    pub(super) fn new(url: &str, password: Option<String>) -> Result<Self, BackendError> {
        let refused = |reason: &str| BackendError::Request(format!("the URL of Redis: {reason}"));
        let mut url = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
        if !matches!(url.scheme(), "redis" | "rediss") {
            return Err(refused("it begins neither with redis:// nor with rediss://"));
        }
        let certificates = certificates(&url)?;
        url.set_query(None);
        if let Some(password) = password {
            url.set_password(Some(&password)).map_err(|()| refused("it takes no password"))?;
        }
        let client = match url.scheme() {
            "rediss" => Client::build_with_tls(url, certificates),
            _ => Client::open(url),
        };
        let client = client.map_err(|error| refused(error.category()))?;
        Ok(Self { client, manager: OnceCell::new(), durable: AtomicBool::new(false) })
    }

    /// The connection that calls share.
    pub(super) async fn connection(&self) -> Result<ConnectionManager, BackendError> {
        self.manager.get_or_try_init(|| self.connect()).await.cloned()
    }

    async fn connect(&self) -> Result<ConnectionManager, BackendError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX))
            .set_max_delay(Duration::from_millis(500))
            .set_number_of_retries(RECONNECTS_MAX);
        let manager = ConnectionManager::new_with_config(self.client.clone(), config);
        let mut manager = manager.await.map_err(|error| failed(&error))?;
        let durable = syncs_always(&mut manager).await?;
        self.durable.store(durable, Ordering::Relaxed);
        Ok(manager)
    }

    /// A connection for commands that wait.
    pub(super) async fn dedicated(&self) -> Result<MultiplexedConnection, BackendError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config);
        connection.await.map_err(|error| failed(&error))
    }

    /// Whether the server is known to sync every write before it acknowledges it.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }
}

/// Asks whether every write is synced; a server that does not tell counts as one that does not.
async fn syncs_always(connection: &mut ConnectionManager) -> Result<bool, BackendError> {
    let mut command = cmd("CONFIG");
    command.arg("GET").arg("append*");
    match command.query_async::<HashMap<String, String>>(connection).await {
        Ok(config) => {
            let is = |name: &str, value: &str| config.get(name).is_some_and(|have| have == value);
            Ok(is("appendonly", "yes") && is("appendfsync", "always"))
        }
        Err(error) => match failed(&error) {
            lost @ BackendError::Unavailable(_) => Err(lost),
            refused => {
                tracing::warn!(%refused, "Redis does not tell whether it syncs every write");
                Ok(false)
            }
        },
    }
}

fn certificates(url: &Url) -> Result<TlsCertificates, BackendError> {
    let (mut root_cert, mut client_cert, mut client_key) = (None, None, None);
    for (name, path) in url.query_pairs() {
        let file = match name.as_ref() {
            "ca" => &mut root_cert,
            "cert" => &mut client_cert,
            "key" => &mut client_key,
            _ => {
                let reason = format!("the URL of Redis: '{name}' is none of ca, cert, key");
                return Err(BackendError::Request(reason));
            }
        };
        let content = std::fs::read(path.as_ref());
        *file = Some(content.map_err(|e| BackendError::Request(format!("reading {path}: {e}")))?);
    }
    let client_tls = match (client_cert, client_key) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => return Err(BackendError::Request("cert and key come together or not at all".into())),
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// What an error of the client or the server means to the caller.
pub(super) fn failed(error: &RedisError) -> BackendError {
    let text = error.to_string();
    if text.contains("OOM command not allowed") {
        return BackendError::Full;
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
            BackendError::Unauthorised(Said::default())
        }
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => {
            BackendError::Unauthorised(Said::default())
        }
        ErrorKind::Io
        | ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ReadOnly,
        ) => BackendError::Unavailable(text),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => BackendError::Answer(text),
        ErrorKind::InvalidClientConfig => BackendError::Request(text),
        _ if error.is_timeout() || error.is_connection_dropped() => BackendError::Unavailable(text),
        _ => BackendError::Storage(text),
    }
}
