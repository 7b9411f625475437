//! Opens the store that a configuration or a command names.

use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::Http;
use edgelore_routing::layers::Timeout;
use edgelore_routing::{Backend, BackendError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a remote store may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a bearer token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("token file {path}: {source}")]
pub struct TokenError {
    path: PathBuf,
    source: std::io::Error,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text names no kind of store.
    #[error("store '{0}' is neither `http://HOST:PORT` nor `embedded:DIRECTORY`")]
    Unknown(String),
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The store refuses.
    #[error("store '{name}': {source}")]
    Backend {
        /// The text that named it.
        name: String,
        /// Why.
        source: BackendError,
    },
}

/// Opens `http://HOST:PORT` or `embedded:DIRECTORY`, with the shipped similarity definition.
///
/// # Errors
/// See [`StoreError`].
pub fn open(name: &str, token_file: Option<&Path>) -> Result<Arc<dyn Backend>, StoreError> {
    open_in(name, token_file, &Space::default_definition())
}

/// Opens `http://HOST:PORT` or `embedded:DIRECTORY`, which measures with `space`.
///
/// # Errors
/// See [`StoreError`].
pub fn open_in(
    name: &str,
    token_file: Option<&Path>,
    space: &Space,
) -> Result<Arc<dyn Backend>, StoreError> {
    let failed = |source| StoreError::Backend { name: name.to_owned(), source };
    if let Some(directory) = name.strip_prefix("embedded:") {
        return Ok(Arc::new(embedded(Path::new(directory), space.clone()).map_err(failed)?));
    }
    if !name.starts_with("http://") && !name.starts_with("https://") {
        return Err(StoreError::Unknown(name.to_owned()));
    }
    let token = token_file.map(read_token).transpose()?;
    let remote = Http::new(name, token, space.clone()).map_err(failed)?;
    Ok(Arc::new(Timeout::new(remote, ANSWER_TIMEOUT)))
}

/// Opens the embedded store in a directory, made if it is not there.
pub(crate) fn embedded(directory: &Path, space: Space) -> Result<Embedded, BackendError> {
    Embedded::open(EmbeddedConfig { space, ..EmbeddedConfig::in_directory(directory) })
}

/// Reads a bearer token: the file's content without surrounding white space.
///
/// # Errors
/// When the file cannot be read or is empty.
pub(crate) fn read_token(path: &Path) -> Result<String, TokenError> {
    let failed = |source| TokenError { path: path.to_owned(), source };
    let token = std::fs::read_to_string(path).map_err(failed)?.trim().to_owned();
    if token.is_empty() {
        return Err(failed(std::io::Error::other("is empty")));
    }
    Ok(token)
}
