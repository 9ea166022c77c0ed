//! Whether an endpoint could be used as it is set, before it is.

use roomhook_protocol::standard_webhooks::Secret;
use roomhook_room::Endpoint;

use crate::{handle::Handle, http::TlsError, settings::Destination};

/// A setting that cannot be used. Never repeats its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct Unusable {
    /// As [`Endpoint`] names it in the admin API.
    pub setting: &'static str,
    pub reason: String,
}

impl Handle {
    /// Compiles an endpoint's settings as sending does: what passes fails no attempt for the settings' sake. The certificates are
    /// looked at also when the URL does not need them, for the day when it does.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self, endpoint: &Endpoint) -> Result<(), Unusable> {
        let unusable = |setting, reason: String| Err(Unusable { setting, reason });
        if let Some(error) = endpoint.signing_secrets.iter().find_map(|secret| Secret::parse(secret).err()) {
            return unusable("signing_secrets", error.to_string());
        }
        let (cert, key) = (&endpoint.client_cert_pem, &endpoint.client_key_pem);
        if let Err(error) = self.world.roots.client_config(&endpoint.extra_roots_pem, cert, key) {
            let setting = match error {
                TlsError::ExtraRoots(_) => "extra_roots_pem",
                TlsError::ClientCertificate(_) => "client_certificate.certificate_pem",
                TlsError::ClientKey(_) => "client_certificate.key_pem",
                TlsError::HalfOfPair => "client_certificate",
            };
            return unusable(setting, error.to_string());
        }
        if endpoint.url.is_empty() {
            return Ok(());
        }
        match Destination::new(&endpoint.url, endpoint, &self.world.roots) {
            Ok(_) => Ok(()),
            Err(reason) => unusable("url", reason),
        }
    }
}
