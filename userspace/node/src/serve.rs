//! `edgelore serve`: the embedded store behind the HTTP API.
//!
//! **Invariant:** asked to stop, it ends the streams, answers what was asked before, and leaves a
//! store that reopens without repair.

use crate::api::{self, Policy, Stopping, StreamBounds, TlsFiles, Tokens};
use crate::store::embedded;
use crate::trust::{Trust, TrustConfig, TrustError};
use edgelore_capture::Clock;
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::BackendError;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long running requests may take to finish after being asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What is served to whom.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where to listen. Anything but loopback needs tokens or a CA of the callers' certificates.
    pub listen: SocketAddr,
    /// Directory of the embedded store; made if it is not there.
    pub store: PathBuf,
    /// File with the tokens that callers must present one of; see [`Tokens::read`].
    pub token_file: Option<PathBuf>,
    /// Certificates; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// The similarity definition that the store measures with.
    pub space: Space,
    /// Requests a second of each caller.
    pub rate: NonZeroU32,
    /// Event streams of each caller.
    pub streams: StreamBounds,
    /// Whose packets are taken; the trust book lies in the store's directory.
    pub trust: TrustConfig,
}

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store cannot be opened.
    #[error("opening the store: {0}")]
    Store(#[from] BackendError),
    /// The trust book or the audit log cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Others could reach the address and nothing would ask them who they are.
    #[error(transparent)]
    Unprotected(#[from] api::Unprotected),
    /// The tokens cannot be read.
    #[error(transparent)]
    Token(#[from] api::TokenError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] api::TlsError),
    /// The address cannot be used.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Serves until SIGTERM or SIGINT; then ends the streams and lets running requests finish.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: &ServeConfig) -> Result<(), ServeError> {
    let address = config.listen;
    let tokens = config.token_file.as_deref().map(Tokens::read).transpose()?.unwrap_or_default();
    let asks_certificates = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    api::check_address(address, !tokens.is_empty() || asks_certificates)?;
    let tls = config.tls.as_ref().map(api::acceptor).transpose()?;
    if tls.is_none() && !address.ip().to_canonical().is_loopback() {
        tracing::warn!("tokens and packets travel in plain text: give a certificate for TLS");
    }
    let store = Arc::new(embedded(&config.store, config.space.clone())?);
    let clock = Clock::new();
    let trust = Trust::open(&config.store, config.trust.clone(), Arc::new(move || clock.now()))?;
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let (ask, stopping) = Stopping::new();
    let (rate, streams) = (config.rate, config.streams);
    let policy = Policy { tokens, rate, streams, trust: Some(Arc::clone(&trust)) };
    let written = tokio::spawn(Arc::clone(&trust).keep_written());
    let router = api::router(store, policy, stopping);
    tracing::info!(address = %local, tls = tls.is_some(), store = %config.store.display(), "serving");
    let stop = async {
        asked_to_stop().await;
        tracing::info!("stopping");
        ask.send_replace(true);
    };
    api::serve(listener, tls, router, stop, DRAIN).await;
    written.abort();
    trust.write();
    Ok(())
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
