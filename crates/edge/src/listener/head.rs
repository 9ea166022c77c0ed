//! What every HTTP/1 request must have right in its head before anybody looks at it: where two readers of one head may
//! disagree about whom it is for or where its body ends, the request is refused (RFC 9112 §3.2, §6.1).

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header, uri::Authority};
use http_body_util::Either;

use super::Body;

/// Why a request is not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("an HTTP/1.1 request has exactly one Host header")]
    Host,
    #[error("Host is no host")]
    HostValue,
    #[error("Transfer-Encoding names chunked more than once")]
    ChunkedTwice,
    #[error("the only transfer coding known here is chunked")]
    TransferCoding,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::HostValue | Self::ChunkedTwice => StatusCode::BAD_REQUEST,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// The answer; the connection ends with it, since what follows cannot be trusted to be a request.
    pub(super) fn response(self) -> Response<Body> {
        let mut response = Response::new(Either::Left(format!("{self}\n").into()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Judges the head of a request. HTTP/2 has neither of the two headers: its own layer frames bodies and names the host.
///
/// # Errors
/// As [`Refusal`] names them.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.version() > Version::HTTP_11 {
        return Ok(());
    }
    check_host(request.version(), request.headers())?;
    check_transfer_encoding(request.headers())
}

/// HTTP/1.0 knows no `Host`, but what comes must be one all the same. It is empty where the target has no authority.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (Some(host), None) if host.is_empty() => Ok(()),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) if !authority.as_str().contains('@') => Ok(()),
            _ => Err(Refusal::HostValue),
        },
        _ => Err(Refusal::Host),
    }
}

/// The HTTP layer goes by the last coding alone, so that `gzip, chunked` would reach a handler still compressed.
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let (mut chunked, mut others) = (0, 0);
    for line in headers.get_all(header::TRANSFER_ENCODING) {
        for coding in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            match coding {
                [] => {}
                coding if coding.eq_ignore_ascii_case(b"chunked") => chunked += 1,
                _ => others += 1,
            }
        }
    }
    match (chunked, others) {
        (0 | 1, 0) => Ok(()),
        (_, 0) => Err(Refusal::ChunkedTwice),
        _ => Err(Refusal::TransferCoding),
    }
}
