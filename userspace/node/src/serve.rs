//! `edgelore serve`: the embedded store behind the HTTP API.

use crate::api;
use crate::store::{TokenError, embedded, read_token};
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::BackendError;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long running requests may take to finish after being asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store cannot be opened.
    #[error("opening the store: {0}")]
    Store(#[from] BackendError),
    /// Others could reach the address and nothing would ask them who they are.
    #[error(transparent)]
    Unprotected(#[from] api::Unprotected),
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The address cannot be used.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Serves a store that measures with `space` until SIGTERM or SIGINT, then lets running requests finish.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    address: SocketAddr,
    directory: &Path,
    token_file: Option<&Path>,
    space: Space,
) -> Result<(), ServeError> {
    let token = token_file.map(read_token).transpose()?;
    api::check_address(address, token.as_deref())?;
    let store = embedded(directory, space)?;
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    tracing::info!(address = %local, store = %directory.display(), "serving");
    let server = axum::serve(listener, api::router(Arc::new(store), token))
        .with_graceful_shutdown(asked_to_stop());
    tokio::select! {
        served = server.into_future() => served.map_err(listen),
        () = drained() => Ok(()),
    }
}

/// Resolves some time after being asked to stop: a subscription never ends by itself.
async fn drained() {
    asked_to_stop().await;
    tokio::time::sleep(DRAIN).await;
}

/// Resolves at SIGTERM or SIGINT.
pub(crate) async fn asked_to_stop() {
    let streams = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = streams else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
