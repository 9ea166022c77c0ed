//! Certificates that a test makes, and a client that trusts exactly one of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A self-signed certificate for `localhost` and its address.
#[derive(Debug)]
pub struct Certificate {
    cert: rcgen::Certificate,
    key_pem: String,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Errors
    /// If the key cannot be made.
    pub fn make() -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        Ok(Self { cert, key_pem: signing_key.serialize_pem() })
    }

    /// Writes `cert.pem` and `key.pem`, each replaced in one step as certificate tools do it.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(PathBuf, PathBuf)> {
        let put = |name: &str, text: &str| -> Result<PathBuf> {
            let (path, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
            std::fs::write(&fresh, text)?;
            std::fs::rename(&fresh, &path)?;
            Ok(path)
        };
        Ok((put("cert.pem", &self.cert.pem())?, put("key.pem", &self.key_pem)?))
    }

    /// Connects with TLS, trusting this certificate and no other.
    ///
    /// # Errors
    /// If the server shows another certificate or does not speak TLS.
    pub async fn connect(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(self.cert.der()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost")?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("the TLS handshake failed")
    }
}
