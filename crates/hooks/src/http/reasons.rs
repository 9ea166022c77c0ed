//! Why an exchange failed, in words for people: what hyper and rustls say, and what to do about it where they do not.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::SendError;

/// hyper says what happened in its source chain, e.g. which alert ended a TLS connection.
pub(super) fn broken(error: &hyper::Error) -> SendError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = tls_error(cause).filter(|error| refuses_us(error)) {
            return SendError::Tls(told(error));
        }
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    SendError::Broken(text)
}

/// A handshake that failed.
pub(super) fn tls(error: &io::Error) -> SendError {
    let inner: Option<&TlsError> = error.get_ref().and_then(|inner| inner.downcast_ref());
    SendError::Tls(inner.map_or_else(|| error.to_string(), told))
}

/// The TLS error that a cause is or carries. An [`io::Error`] does not show what it carries as its source.
fn tls_error<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let io =
        cause.downcast_ref::<io::Error>().or_else(|| cause.downcast_ref::<h2::Error>().and_then(h2::Error::get_io))?;
    io.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Whether the endpoint does not accept who we are. With TLS 1.3 it can say so only after the handshake, when a request
/// is on its way that it does not read.
fn refuses_us(error: &TlsError) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    let TlsError::AlertReceived(alert) = error else { return false };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | HandshakeFailure
            | UnknownCA
            | UnsupportedCertificate
    )
}

fn told(error: &TlsError) -> String {
    let advice = match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; if you trust who issued it, add that authority to the endpoint's extra roots"
        }
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            "; the endpoint wants a client certificate, give it one"
        }
        error if refuses_us(error) => "; the endpoint does not accept this server, look at its client certificate",
        _ => "",
    };
    format!("{error}{advice}")
}
