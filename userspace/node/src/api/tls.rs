//! TLS of the server: its certificate, and whose certificates it takes.
//!
//! Owns reading PEM files and the choice of `ring` as the one provider of cryptography. Never
//! falls back to plain text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// The files of a server that speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate and what leads from it to its root, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
    /// Who signs the certificates of callers, PEM; with it, whoever has none is not let in.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no PEM of the kind that it should.
    #[error("reading {what} {path}: {reason}")]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What the files hold does not fit together.
    #[error("using certificate {path}: {source}")]
    Use {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Makes what accepts TLS connections.
///
/// # Errors
/// See [`TlsError`].
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let unusable = |source| TlsError::Use { path: files.certificate.clone(), source };
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("certificate", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| failed("private key", &files.key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots(path)?.into(), provider)
                    .build()
                    .map_err(|error| failed("client CA", path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn failed(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), reason: reason.to_string() }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| failed(what, path, &error))?;
    if certificates.is_empty() {
        return Err(failed(what, path, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client CA", path)? {
        roots.add(certificate).map_err(|error| failed("client CA", path, &error))?;
    }
    Ok(roots)
}
