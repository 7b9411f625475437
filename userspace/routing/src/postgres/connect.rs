//! Connections, and what the server's errors mean.
//!
//! Owns the URL, TLS and the connections. Never retries a command: layers do.
//!
//! **Invariant:** no error text holds the URL or the password; a connection without TLS goes to
//! loopback or a socket unless the URL says otherwise.

use std::error::Error as _;
use std::future::poll_fn;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Mutex, watch};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket};
use tokio_postgres::{Connection, tls::TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::prepared::Prepared;
use super::{Nearness, schema};
use crate::backend::{BackendError, Said};

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an answer may take before the connection counts as lost.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long sent data may stay unacknowledged before the connection counts as lost.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// A server that is connected to when it is first needed.
pub(super) struct Server {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    reader: Mutex<Option<Arc<Prepared>>>,
    durable: AtomicBool,
    index: Option<Arc<dyn Nearness>>,
}

/// A connection; `news` changes with every notification and closes with the connection.
pub(super) struct Session {
    pub(super) client: Prepared,
    pub(super) news: watch::Receiver<u64>,
}

impl Server {
    pub(super) fn new(
        url: &str,
        password: Option<String>,
        index: Option<Arc<dyn Nearness>>,
    ) -> Result<Self, BackendError> {
        let mut url = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(refused("it begins neither with postgres:// nor with postgresql://"));
        }
        let files = Files::take(&mut url);
        let mut config: Config = url.as_str().parse().map_err(|error: tokio_postgres::Error| {
            refused(&error.source().map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        if let Some(password) = password {
            config.password(password);
        }
        config.connect_timeout(CONNECT_MAX);
        config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
        config.application_name("edgelore");
        let named = url.query_pairs().any(|(name, _)| name == "sslmode");
        let tls = match (named, config.get_ssl_mode()) {
            (false, _) => !config.get_hosts().iter().all(is_near),
            (true, SslMode::Disable) => false,
            (true, SslMode::Require) => true,
            _ => return Err(refused("sslmode is neither disable nor require")),
        };
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        Ok(Self {
            config,
            tls: tls.then(|| files.tls()).transpose()?,
            reader: Mutex::new(None),
            durable: AtomicBool::new(false),
            index,
        })
    }

    /// The connection that reading calls share.
    pub(super) async fn reader(&self) -> Result<Arc<Prepared>, BackendError> {
        let mut reader = self.reader.lock().await;
        match reader.as_ref().filter(|client| !client.is_closed()) {
            Some(client) => Ok(Arc::clone(client)),
            None => {
                let client = Arc::new(self.connect().await?.client);
                *reader = Some(Arc::clone(&client));
                Ok(client)
            }
        }
    }

    /// A connection of one's own, to a schema that is up to date.
    pub(super) async fn connect(&self) -> Result<Session, BackendError> {
        within(self.open()).await
    }

    async fn open(&self) -> Result<Session, BackendError> {
        let (mut client, news) = match &self.tls {
            Some(tls) => start(self.config.connect(tls.clone()).await),
            None => start(self.config.connect(NoTls).await),
        }?;
        // No plan here is worth compiling: what the server holds costly may be only what it has to do.
        client.batch_execute("SET jit = off").await.map_err(|error| failed(&error))?;
        schema::migrate(&mut client).await?;
        let session = Session { client: Prepared::new(client), news };
        if let Some(index) = &self.index {
            index.prepare(&session.client).await?;
        }
        let syncs = "SELECT current_setting('fsync') = 'on'
            AND current_setting('synchronous_commit') <> 'off'";
        let syncs = session.client.query_one(syncs, &[]).await?;
        self.durable.store(syncs.get(0), Ordering::Relaxed);
        Ok(session)
    }

    /// Whether the server is known to sync what it acknowledges.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }
}

/// Gives up on an answer after [`ANSWER_MAX`].
pub(super) async fn within<T>(
    answer: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    let lost = BackendError::Timeout(ANSWER_MAX.as_millis() as u64);
    tokio::time::timeout(ANSWER_MAX, answer).await.unwrap_or(Err(lost))
}

fn refused(reason: &str) -> BackendError {
    BackendError::Request(format!("the URL of PostgreSQL: {reason}"))
}

/// A host that no network lies before.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
    }
}

/// Drives a new connection for as long as it lasts.
fn start<S>(
    connected: Result<(Client, Connection<Socket, S>), tokio_postgres::Error>,
) -> Result<(Client, watch::Receiver<u64>), BackendError>
where
    S: TlsStream + Unpin + Send + 'static,
{
    let (client, mut connection) = connected.map_err(|error| failed(&error))?;
    let (tell, news) = watch::channel(0);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(_) = message {
                tell.send_modify(|count: &mut u64| *count = count.wrapping_add(1));
            }
        }
    });
    Ok((client, news))
}

/// Files that the URL names; the parameters are those of libpq.
#[derive(Default)]
struct Files {
    root: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl Files {
    /// Takes them out of the URL.
    fn take(url: &mut Url) -> Self {
        let mut files = Self::default();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        url.set_query(None);
        for (name, value) in pairs {
            match name.as_str() {
                "sslrootcert" => files.root = Some(value),
                "sslcert" => files.cert = Some(value),
                "sslkey" => files.key = Some(value),
                _ => {
                    url.query_pairs_mut().append_pair(&name, &value);
                }
            }
        }
        files
    }

    fn tls(&self) -> Result<MakeRustlsConnect, BackendError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error.to_string()))?
            .with_root_certificates(self.roots()?);
        let config = match (&self.cert, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| refused(&format!("reading {key}: {error}")))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, key)
                    .map_err(|error| refused(&error.to_string()))?
            }
            _ => return Err(refused("sslcert and sslkey come together or not at all")),
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, BackendError> {
        let mut roots = RootCertStore::empty();
        match &self.root {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| refused(&format!("{path}: {error}")))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, BackendError> {
    CertificateDer::pem_file_iter(Path::new(path))
        .and_then(Iterator::collect)
        .map_err(|error| refused(&format!("reading {path}: {error}")))
}

/// What an error of the client or the server means to the caller.
pub(super) fn failed(error: &tokio_postgres::Error) -> BackendError {
    let mut text = error.to_string();
    if let Some(cause) = error.source() {
        text = format!("{text}: {cause}");
    }
    let Some(code) = error.code() else {
        // Without a word of the server's it is the connection.
        return BackendError::Unavailable(text);
    };
    let denied = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    // Classes (PostgreSQL, appendix A): 08 connection, 40 rollback, 53 resources, 57 intervention.
    let passing = ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class));
    if denied.contains(code) {
        BackendError::Unauthorised(Said::default())
    } else if passing && *code != SqlState::DISK_FULL {
        BackendError::Unavailable(text)
    } else {
        BackendError::Storage(text)
    }
}
