//! Certificates of an authority that exists for one test.

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// PEM files: an authority, a server that is `localhost` and 127.0.0.1, and a client.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir().context("create a directory for certificates")?;
        let mut params = CertificateParams::new(Vec::new()).context("describe the authority")?;
        // Another name than the others', or they would seem to have signed themselves.
        params.distinguished_name.push(DnType::CommonName, "the authority of one test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().context("make the authority's key")?;
        let authority = CertifiedIssuer::self_signed(params, key).context("sign the authority")?;
        fs::write(directory.path().join("authority.crt"), authority.pem())
            .context("write the authority")?;
        for (name, subject) in
            [("server", vec!["localhost".to_owned(), "127.0.0.1".to_owned()]), ("client", vec![])]
        {
            let key = KeyPair::generate().context("make a key")?;
            let params = CertificateParams::new(subject).context("describe a certificate")?;
            let certificate = params.signed_by(&key, &authority).context("sign a certificate")?;
            let file = |extension: &str| directory.path().join(format!("{name}.{extension}"));
            fs::write(file("crt"), certificate.pem()).context("write a certificate")?;
            fs::write(file("key"), key.serialize_pem()).context("write a key")?;
        }
        Ok(Self { directory })
    }

    fn file(&self, name: &str) -> PathBuf {
        let directory: &Path = self.directory.path();
        directory.join(name)
    }

    /// The authority's certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("authority.crt")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server_cert(&self) -> PathBuf {
        self.file("server.crt")
    }

    /// The server's key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.file("server.key")
    }

    /// A client's certificate.
    #[must_use]
    pub fn client_cert(&self) -> PathBuf {
        self.file("client.crt")
    }

    /// A client's key.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.file("client.key")
    }
}
