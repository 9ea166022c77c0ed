//! Whom we trust, and who we say we are: rustls configurations of endpoints.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::multiplex::{H2, HTTP_1_1};
use crate::config::Config;

/// Why an endpoint's TLS settings cannot be used. Says which setting; never repeats its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("extra roots hold no usable certificate: {0}")]
    ExtraRoots(String),
    #[error("client certificate: {0}")]
    ClientCertificate(String),
    #[error("client key: {0}")]
    ClientKey(String),
    #[error("a client certificate needs its key, and a key its certificate")]
    HalfOfPair,
}

/// The roots of the system and those of the configuration, read once when the first HTTPS endpoint needs them and shared by all
/// that trust nobody else.
#[derive(Debug, Default)]
pub struct Roots {
    extra_pem: String,
    http1_only: bool,
    shared: OnceLock<Result<Arc<RootCertStore>, TlsError>>,
    /// The configuration of endpoints with nothing of their own.
    plain: OnceLock<Result<Arc<ClientConfig>, TlsError>>,
}

impl Roots {
    /// `extra_pem`: certificates trusted for every endpoint, beside the system's.
    pub fn new(extra_pem: String) -> Self {
        Self { extra_pem, ..Self::default() }
    }

    /// What the operator's settings say.
    pub fn of(config: &Config) -> Self {
        Self { http1_only: !config.http2, ..Self::new(config.extra_roots_pem.clone()) }
    }

    /// The configuration of one endpoint: the same one for all that have nothing of their own.
    ///
    /// # Errors
    /// As [`TlsError`] names them.
    pub fn client_config(&self, extra_roots: &str, cert: &str, key: &str) -> Result<Arc<ClientConfig>, TlsError> {
        if [extra_roots, cert, key].iter().all(|pem| pem.trim().is_empty()) {
            return self.plain.get_or_init(|| self.own_config("", "", "")).clone();
        }
        self.own_config(extra_roots, cert, key)
    }

    fn own_config(&self, extra_roots: &str, cert: &str, key: &str) -> Result<Arc<ClientConfig>, TlsError> {
        let shared = self.shared.get_or_init(|| with_roots(system_roots(), &self.extra_pem).map(Arc::new)).clone()?;
        let store = match extra_roots.trim().is_empty() {
            true => shared,
            false => Arc::new(with_roots(RootCertStore::clone(&shared), extra_roots)?),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::ExtraRoots(error.to_string()))?
            .with_root_certificates(store);
        let mut config = match (cert.trim().is_empty(), key.trim().is_empty()) {
            (true, true) => builder.with_no_client_auth(),
            (false, false) => {
                let certs = certificates(cert).map_err(TlsError::ClientCertificate)?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|error| TlsError::ClientKey(error.to_string()))?;
                builder
                    .with_client_auth_cert(certs, key)
                    .map_err(|error| TlsError::ClientCertificate(error.to_string()))?
            }
            _ => return Err(TlsError::HalfOfPair),
        };
        config.alpn_protocols = match self.http1_only {
            true => vec![HTTP_1_1.to_vec()],
            false => vec![H2.to_vec(), HTTP_1_1.to_vec()],
        };
        Ok(Arc::new(config))
    }
}

/// `store` and the certificates of `pem`, which may be empty.
fn with_roots(mut store: RootCertStore, pem: &str) -> Result<RootCertStore, TlsError> {
    if !pem.trim().is_empty() {
        let certs = certificates(pem).map_err(TlsError::ExtraRoots)?;
        if store.add_parsable_certificates(certs).0 == 0 {
            return Err(TlsError::ExtraRoots("none could be parsed".into()));
        }
    }
    Ok(store)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certs = certs.map_err(|error| error.to_string())?;
    if certs.is_empty() { Err("no certificate in it".into()) } else { Ok(certs) }
}

fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        tracing::warn!(errors = ?loaded.errors, "no root certificates found on this system; HTTPS endpoints need extra roots");
    }
    store.add_parsable_certificates(loaded.certs);
    store
}
