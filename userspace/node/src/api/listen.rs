//! Connections: accepting, TLS, HTTP/1.1, and their end.
//!
//! Owns how many connections there are and how long each may take to say what it wants. Never
//! looks into a request.
//!
//! **Invariant:** a connection that says nothing is closed after [`SILENCE`]; there are never more
//! than [`CONNECTIONS_MAX`], the next ones wait in the kernel's queue.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use edgelore_kernels::sha256;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::access::Peer;

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 1_024;
/// How long a connection may take for its TLS handshake, and be silent before a request.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Headers in a request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long accepting rests after it failed: the process may be out of file descriptors.
const REST: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves; then takes no more connections, and gives those that there are
/// `drain` to finish what they are doing.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, tls, router, &connections) => {}
        () = stop => {}
    }
    drop(listener);
    let under_way = connections.count();
    if tokio::time::timeout(drain, connections.shutdown()).await.is_err() {
        tracing::warn!(under_way, "connections did not end in time and are cut");
    }
}

async fn accept(
    listener: &TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    connections: &GracefulShutdown,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, address)) => {
                let (tls, router) = (tls.clone(), router.clone());
                let watcher = connections.watcher();
                tokio::spawn(connection(stream, address, tls, router, watcher, place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
    place: OwnedSemaphorePermit,
) {
    // Events are small and must not wait for more; a socket that refuses serves all the same.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let peer = Peer { address, certificate: None };
        return converse(TokioIo::new(stream), peer, router, watcher, place).await;
    };
    match tokio::time::timeout(SILENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificate = certificates.first().map(|certificate| hash(certificate));
            let peer = Peer { address, certificate };
            converse(TokioIo::new(stream), peer, router, watcher, place).await;
        }
        Ok(Err(error)) => tracing::info!(%address, %error, "a TLS handshake failed"),
        Err(_) => tracing::info!(%address, "a TLS handshake took too long"),
    }
}

async fn converse(
    io: impl Read + Write + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    watcher: Watcher,
    _place: OwnedSemaphorePermit,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(address = %peer.address, %error, "a connection ended early");
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [[0; 32]];
    sha256::digest_many(&[bytes], &mut out);
    out[0]
}
