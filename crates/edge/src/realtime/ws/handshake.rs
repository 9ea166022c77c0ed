//! The upgrade request, judged; the answer, composed.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header, request::Parts};
use roomhook_centrifuge::Format;

use super::deflate;

/// A request that may become a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) accept: String,
    /// To be echoed: browsers and Node give up otherwise.
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) format: Format,
    /// permessage-deflate was offered and is agreed to.
    pub(crate) deflate: bool,
}

/// Why a request may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this is a WebSocket endpoint; connect with a Centrifuge SDK")]
    NotAnUpgrade,
    #[error("only WebSocket version 13 is spoken here")]
    Version,
    #[error("Sec-WebSocket-Key is missing, malformed or there twice")]
    Key,
    #[error("this origin is not on the list of allowed origins")]
    Origin,
}

impl Refusal {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::NotAnUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key => StatusCode::BAD_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
        }
    }
}

/// Judges the head of a request. `origins` empty = any origin; a request without `Origin` is no browser and may pass.
/// `deflate`: whether compression is agreed to when offered.
///
/// # Errors
/// As [`Refusal`] names them.
pub(crate) fn check(request: &Parts, origins: &[String], deflate: bool) -> Result<Handshake, Refusal> {
    let headers = &request.headers;
    let upgrades = request.method == Method::GET
        && request.version == Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !upgrades {
        return Err(Refusal::NotAnUpgrade);
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).ok_or(Refusal::Key)?;
    if STANDARD.decode(key.as_bytes()).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(Refusal::Key);
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && !origins.is_empty()
        && !origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    {
        return Err(Refusal::Origin);
    }
    let subprotocol = chosen(headers);
    let format = match subprotocol {
        Some(name) if name == Format::Protobuf.subprotocol() => Format::Protobuf,
        Some(_) => Format::Json,
        None => format_by_query(&request.uri),
    };
    let deflate = deflate && tokens(headers, &header::SEC_WEBSOCKET_EXTENSIONS).any(deflate::acceptable);
    Ok(Handshake { accept: accept(key), subprotocol, format, deflate })
}

/// The value of a header that must not be there twice (RFC 6455 §4.1), if it is there once.
fn only<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The first subprotocol offered that is ours. An empty header, as old Python SDKs send, offers none.
fn chosen(headers: &HeaderMap) -> Option<&'static str> {
    let ours = [Format::Protobuf.subprotocol(), Format::Json.subprotocol()];
    tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).find_map(|offered| ours.into_iter().find(|name| *name == offered))
}

fn format_by_query(uri: &Uri) -> Format {
    let wants_protobuf = |pair: &str| matches!(pair, "format=protobuf" | "cf_protocol=protobuf");
    if uri.query().unwrap_or_default().split('&').any(wants_protobuf) { Format::Protobuf } else { Format::Json }
}

/// `Sec-WebSocket-Accept` (RFC 6455 §4.2.2). SHA-1 is a formality here: it proves nothing but that a WebSocket server answers.
fn accept(key: &HeaderValue) -> String {
    let mut sha1 = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key.as_bytes());
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha1.finish())
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn tokens<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, extra: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::get(uri)
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in extra {
            request.headers_mut().unwrap().insert(*name, value.parse().unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_standards_own_example_is_accepted() {
        let handshake = check(&request("/", &[]), &[], false).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((handshake.subprotocol, handshake.format), (None, Format::Json));
    }

    #[test]
    fn the_format_is_what_was_asked_for() {
        let asked = |uri: &str, offered: Option<&str>| {
            let extra: Vec<_> = offered.map(|offered| ("sec-websocket-protocol", offered)).into_iter().collect();
            let handshake = check(&request(uri, &extra), &[], false).unwrap();
            (handshake.subprotocol, handshake.format)
        };
        assert_eq!(asked("/", Some("centrifuge-protobuf")), (Some("centrifuge-protobuf"), Format::Protobuf));
        assert_eq!(asked("/", Some("other, centrifuge-json")), (Some("centrifuge-json"), Format::Json));
        assert_eq!(asked("/", Some("")), (None, Format::Json));
        assert_eq!(asked("/?a=b&format=protobuf", None), (None, Format::Protobuf));
        assert_eq!(asked("/?cf_protocol=protobuf", Some("other")), (None, Format::Protobuf));
    }

    #[test]
    fn compression_is_agreed_to_when_both_sides_want_it() {
        let agreed = |offer: &str, wanted: bool| {
            check(&request("/", &[("sec-websocket-extensions", offer)]), &[], wanted).unwrap().deflate
        };
        assert!(agreed("permessage-deflate; client_max_window_bits", true));
        assert!(!agreed("permessage-deflate; client_max_window_bits", false));
        assert!(agreed("permessage-deflate; server_max_window_bits=9, permessage-deflate", true), "the second choice");
        assert!(!agreed("permessage-deflate; server_max_window_bits=9", true));
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let refused = |extra: (&'static str, &str)| check(&request("/", &[extra]), &[], false).unwrap_err();
        assert_eq!(refused(("upgrade", "h2c")), Refusal::NotAnUpgrade);
        assert_eq!(refused(("connection", "close")), Refusal::NotAnUpgrade);
        assert_eq!(refused(("sec-websocket-version", "8")), Refusal::Version);
        assert_eq!(refused(("sec-websocket-key", "c2hvcnQ=")), Refusal::Key);
    }

    #[test]
    fn browsers_come_from_listed_origins_only() {
        let origins = ["https://app.example".to_owned()];
        let from = |origin: &str| check(&request("/", &[("origin", origin)]), &origins, false).map(|_| ());
        assert_eq!(from("https://app.example"), Ok(()));
        assert_eq!(from("https://App.Example"), Ok(()));
        assert_eq!(from("https://evil.example"), Err(Refusal::Origin));
        assert!(check(&request("/", &[]), &origins, false).is_ok(), "no origin, no browser");
    }
}
