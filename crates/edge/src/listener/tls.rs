//! Certificates of a listener, reloaded when their files change.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Where a listener's certificate chain and private key lie, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, own certificate first.
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} holds no usable PEM: {reason}")]
    Pem { path: PathBuf, reason: String },
    #[error("certificate {cert} and key {key} do not work together: {source}")]
    Mismatch { cert: PathBuf, key: PathBuf, source: rustls::Error },
}

/// What [`Tls::refresh`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    Unchanged,
    Renewed,
}

/// The certificate in use. New connections take the newest one that worked; open connections keep theirs.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    /// What the files held when they were last looked at, good or bad, so that one bad state is reported once.
    seen: Mutex<FileBytes>,
}

/// Contents of both files. The key is in here: never printed.
#[derive(PartialEq, Eq)]
struct FileBytes {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileBytes([redacted])")
    }
}

impl Tls {
    /// Loads the files. Reads the disk: call it at start, not on a busy path.
    ///
    /// # Errors
    /// When a file cannot be read, is no PEM, or key and certificate do not belong together.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let bytes = FileBytes::read(&files)?;
        let config = build(&files, &bytes)?;
        Ok(Self { files, current: ArcSwap::from_pointee(config), seen: Mutex::new(bytes) })
    }

    /// Looks at the files again and takes them over when they changed and are sound. On an error the certificate in
    /// use stays. Each bad state of the files gives one error; looking again at the same state is `Unchanged`.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn refresh(&self) -> Result<Refresh, TlsError> {
        let bytes = FileBytes::read(&self.files)?;
        {
            let mut seen = self.seen.lock();
            if *seen == bytes {
                return Ok(Refresh::Unchanged);
            }
            *seen = FileBytes { cert: bytes.cert.clone(), key: bytes.key.clone() };
        }
        self.current.store(Arc::new(build(&self.files, &bytes)?));
        Ok(Refresh::Renewed)
    }

    /// Refreshes for ever, at this pace. Content is compared, not times: a file replaced within one second, or
    /// restored with an old time, is still noticed. Cancel safe.
    pub(super) async fn keep_fresh(self: Arc<Self>, every: Duration) {
        let mut unreadable = false;
        loop {
            tokio::time::sleep(every).await;
            let tls = Arc::clone(&self);
            let Ok(outcome) = tokio::task::spawn_blocking(move || tls.refresh()).await else { return };
            match outcome {
                Ok(Refresh::Unchanged) => unreadable = false,
                Ok(Refresh::Renewed) => {
                    unreadable = false;
                    tracing::info!(cert = %self.files.cert.display(), "certificate renewed");
                }
                // A missing file is an error at every look; one line per outage is enough.
                Err(TlsError::Read { .. }) if unreadable => {}
                Err(error) => {
                    unreadable = matches!(error, TlsError::Read { .. });
                    tracing::error!(%error, "new certificate refused, the old one stays in use");
                }
            }
        }
    }

    pub(super) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.current.load_full().into()
    }
}

impl FileBytes {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)? })
    }
}

fn build(files: &TlsFiles, bytes: &FileBytes) -> Result<ServerConfig, TlsError> {
    let pem = |path: &Path, reason: String| TlsError::Pem { path: path.to_owned(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes.cert)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(pem(&files.cert, "no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes.key).map_err(|error| pem(&files.key, error.to_string()))?;
    let mismatch = |source| TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(dir: &Path, name: &str) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_changed_pair_is_taken_over_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls::load(write_pair(dir.path(), "one.test")).unwrap();
        let first = tls.current.load_full();
        assert_eq!(tls.refresh().unwrap(), Refresh::Unchanged);

        let files = write_pair(dir.path(), "two.test");
        assert_eq!(tls.refresh().unwrap(), Refresh::Renewed);
        let second = tls.current.load_full();
        assert!(!Arc::ptr_eq(&first, &second));

        std::fs::write(&files.cert, "not a certificate").unwrap();
        assert!(matches!(tls.refresh(), Err(TlsError::Pem { .. })));
        assert_eq!(tls.refresh().unwrap(), Refresh::Unchanged, "one bad state is reported once");
        assert!(Arc::ptr_eq(&second, &tls.current.load_full()), "the old certificate stays");

        std::fs::remove_file(&files.key).unwrap();
        assert!(matches!(tls.refresh(), Err(TlsError::Read { .. })));

        write_pair(dir.path(), "three.test");
        assert_eq!(tls.refresh().unwrap(), Refresh::Renewed);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = write_pair(dir.path(), "one.test");
        let other = rcgen::generate_simple_self_signed(vec!["two.test".to_owned()]).unwrap();
        std::fs::write(&files.key, other.signing_key.serialize_pem()).unwrap();
        assert!(matches!(Tls::load(files), Err(TlsError::Mismatch { .. })));
    }
}
