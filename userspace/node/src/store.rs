//! Opens the stores that a configuration or a command names.
//!
//! ```text
//! Mirror (several stores) ┬ Retry ─ Failover (a,b) ─ Breaker ─ Timeout ─ HTTP
//!                         ├ Retry ─ Timeout ─ NATS, PostgreSQL, Redis, DHT
//!                         └ embedded
//! ```

use crate::api::{TokenError, Tokens};
use crate::servers::{self, ServerError};
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::{Http, HttpConfig};
use edgelore_routing::layers::{Breaker, Failover, Mirror, Named, Retry, Timeout};
use edgelore_routing::{Backend, BackendError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a remote store may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a call is tried before whoever made it hears of it.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(250);

/// One store, or several that are all written and read together. Each is `embedded:DIRECTORY`, the
/// URL of a database server, or one or more comma-separated `http://HOST:PORT` or
/// `https://HOST:PORT`, servers that stand in for one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stores {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Stores {
    /// The text of each.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

impl From<&str> for Stores {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

/// What proves to remote stores who asks, and to us who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// File with the bearer token.
    pub token: Option<PathBuf>,
    /// Who signs the servers' certificates, PEM; whom the system trusts, without.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text names no kind of store.
    #[error(
        "store '{0}' is neither `embedded:DIRECTORY` nor `http://HOST:PORT` or `https://HOST:PORT` nor a database server's URL"
    )]
    Unknown(String),
    /// No store was named.
    #[error("an empty list of stores")]
    None,
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A certificate's file cannot be read.
    #[error("reading {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("a client's certificate and its key are given together")]
    Identity,
    /// The store is a database server that cannot be used.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The store refuses.
    #[error("store '{name}': {source}")]
    Backend {
        /// The text that named it.
        name: String,
        /// Why.
        source: BackendError,
    },
}

/// What is put around a server; it is given what messages call the server, which holds neither a user
/// nor a password.
pub type Around<'a> = &'a mut dyn FnMut(&str, Arc<dyn Backend>) -> Arc<dyn Backend>;

/// Opens what is named, to measure with `space`; remote stores are reached when they are first asked.
///
/// # Errors
/// See [`StoreError`].
pub fn open(
    stores: &Stores,
    access: &Access,
    space: &Space,
) -> Result<Arc<dyn Backend>, StoreError> {
    let opened = open_each(stores, access, space, &mut |_, server| server)?;
    together(opened).ok_or(StoreError::None)
}

/// Several stores as a mirror, one as it is; `None` for none.
pub(crate) fn together(mut stores: Vec<Named>) -> Option<Arc<dyn Backend>> {
    if stores.len() == 1 {
        return stores.pop().map(|(_, store)| store);
    }
    let named = stores.into_iter().map(|(name, store)| (label(&name), store));
    Some(Arc::new(Mirror::new(named.collect())?))
}

/// Opens each of what is named, in that order, by its text, with `around` put around every server;
/// an empty list is refused.
///
/// # Errors
/// See [`StoreError`].
pub fn open_each(
    stores: &Stores,
    access: &Access,
    space: &Space,
    around: Around<'_>,
) -> Result<Vec<Named>, StoreError> {
    let mut named = |name: &String| Ok((name.clone(), store(name, access, space, around)?));
    let opened: Vec<Named> =
        stores.names().iter().map(&mut named).collect::<Result<_, StoreError>>()?;
    if opened.is_empty() { Err(StoreError::None) } else { Ok(opened) }
}

/// What messages call a store: its name without user, password and options.
fn label(name: &str) -> String {
    let Some((scheme, _)) = name.split_once("://") else { return name.to_owned() };
    let servers = name.split(',').map(|server| {
        let Ok(mut url) = reqwest::Url::parse(server.trim()) else { return scheme.to_owned() };
        // Neither is refused by an address with a host.
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        url.as_str().trim_end_matches('/').to_owned()
    });
    servers.collect::<Vec<_>>().join(",")
}

fn store(
    name: &str,
    access: &Access,
    space: &Space,
    around: Around<'_>,
) -> Result<Arc<dyn Backend>, StoreError> {
    let failed = |source| StoreError::Backend { name: name.to_owned(), source };
    if let Some(directory) = name.strip_prefix("embedded:") {
        return Ok(Arc::new(embedded(Path::new(directory), space.clone()).map_err(failed)?));
    }
    if let Some(scheme) = servers::scheme(name) {
        let password = access.token.as_deref().map(password).transpose()?;
        return Ok(around(&label(name), servers::open(scheme, name, password, space)?));
    }
    let servers = name.split(',').map(str::trim).filter(|url| !url.is_empty());
    let mut named = Vec::new();
    for url in servers {
        let label = label(url);
        let server = around(&label, remote(url, access, space)?);
        named.push((label, server));
    }
    let servers = Failover::new(named);
    let servers = servers.ok_or_else(|| StoreError::Unknown(name.to_owned()))?;
    Ok(Arc::new(Retry::new(servers, ATTEMPTS, PAUSE)))
}

/// A server whose calls end in time and are tried again.
#[cfg(any(
    feature = "dht",
    feature = "nats",
    feature = "pgvector",
    feature = "postgres",
    feature = "redis"
))]
pub(crate) fn patient(server: impl Backend + 'static) -> Arc<dyn Backend> {
    Arc::new(Retry::new(Timeout::new(server, ANSWER_TIMEOUT), ATTEMPTS, PAUSE))
}

/// A database server's password; unlike a token it may be of any length.
fn password(path: &Path) -> Result<String, StoreError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn remote(url: &str, access: &Access, space: &Space) -> Result<Arc<dyn Backend>, StoreError> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(StoreError::Unknown(url.to_owned()));
    }
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| StoreError::File { path: path.clone(), source })
    };
    let identity = match (&access.certificate, &access.key) {
        (Some(certificate), Some(key)) => Some([read(certificate)?, read(key)?].join(&b'\n')),
        (None, None) => None,
        _ => return Err(StoreError::Identity),
    };
    let http = Http::open(HttpConfig {
        url: url.to_owned(),
        token: access.token.as_deref().map(Tokens::read_one).transpose()?,
        ca: access.ca.as_ref().map(read).transpose()?,
        identity,
        space: space.clone(),
    });
    let http = http.map_err(|source| StoreError::Backend { name: url.to_owned(), source })?;
    Ok(Arc::new(Breaker::new(Timeout::new(http, ANSWER_TIMEOUT))))
}

/// Opens the embedded store in a directory, made if it is not there.
pub(crate) fn embedded(directory: &Path, space: Space) -> Result<Embedded, BackendError> {
    Embedded::open(EmbeddedConfig { space, ..EmbeddedConfig::in_directory(directory) })
}

/// Opens the store of what a node receives, in its data directory.
pub(crate) fn received(
    data_dir: &Path,
    space: &Space,
    packets_max: usize,
) -> Result<Embedded, StoreError> {
    let directory = data_dir.join("received");
    let config = EmbeddedConfig {
        space: space.clone(),
        packets_max,
        ..EmbeddedConfig::in_directory(&directory)
    };
    let name = || format!("embedded:{}", directory.display());
    Embedded::open(config).map_err(|source| StoreError::Backend { name: name(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(stores: &Stores, access: &Access) -> String {
        open(stores, access, &Space::default_definition()).err().expect("it is refused").to_string()
    }

    #[test]
    fn stores_are_named_one_or_several() {
        let directory = tempfile::tempdir().unwrap();
        let embedded = format!("embedded:{}", directory.path().display());
        let several = Stores::Several(vec![embedded, "http://a:1, https://b:2".into()]);
        let opened = open(&several, &Access::default(), &Space::default_definition());
        assert_eq!(opened.unwrap().capability().name, "embedded");
        for wrong in ["ftp://a", "http://a:1,b:2", "", ","] {
            assert!(error(&wrong.into(), &Access::default()).contains("is neither"), "{wrong}");
        }
        assert_eq!(
            error(&Stores::Several(Vec::new()), &Access::default()),
            "an empty list of stores"
        );
    }

    #[test]
    fn each_server_is_told_apart_and_no_message_holds_a_secret() {
        for (name, expected) in [
            ("embedded:/var/x", "embedded:/var/x"),
            ("redis://a:secret@h:1/0?ca=/x", "redis://h:1/0"),
            ("http://a:1, https://u:p@b:2", "http://a:1,https://b:2"),
            ("odd://a b", "odd"),
        ] {
            assert_eq!(label(name), expected);
        }
        let mut told = Vec::new();
        let mut around = |name: &str, server| {
            told.push(name.to_owned());
            server
        };
        let stores = "http://a:1,https://b:2".into();
        open_each(&stores, &Access::default(), &Space::default_definition(), &mut around).unwrap();
        assert_eq!(told, ["http://a:1", "https://b:2"]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = Some(file.path().to_owned());
        let https = Stores::from("https://localhost:1");
        let alone = Access { certificate: path.clone(), ..Access::default() };
        assert!(error(&https, &alone).contains("together"));
        let empty = Access { ca: path.clone(), ..Access::default() };
        assert!(error(&https, &empty).contains("holds no certificate"));
        let missing = Access { ca: Some("/nonexistent".into()), ..Access::default() };
        assert!(error(&https, &missing).contains("/nonexistent"));
        std::fs::write(file.path(), "one-token-0123456\nanother-token-0123456\n").unwrap();
        let two = Access { token: path, ..Access::default() };
        assert!(error(&https, &two).contains("presents one"));
    }
}
