//! Who may call: whoever has the token; without one, programs on this machine.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{
    Context,
    error::{ApiError, Code},
};
use crate::listener::Peer;

/// Lets through who may call.
pub(super) async fn check(State(context): State<Context>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.addr().ip());
    match allowed(&context.token, peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// `peer`: the other end of the socket; unknown only in tests without one.
fn allowed(token: &str, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<(), ApiError> {
    if token.is_empty() {
        return if is_local(peer, headers) {
            Ok(())
        } else {
            Err(ApiError::new(Code::NotLocal, "set admin.token in the configuration to use this API from elsewhere"))
        };
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        Ok(())
    } else {
        Err(ApiError::new(Code::Unauthorized, "send the header: Authorization: Bearer <admin.token>"))
    }
}

/// A program on this machine that means this server, or a page that this server gave out. Any other web page in a browser
/// here gives itself away by its `Origin`, or by the `Host` under which it found this address.
fn is_local(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authority = text(header::HOST);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_local_host = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    let is_local_peer = peer.is_none_or(|ip| ip.to_canonical().is_loopback());
    let is_own_page = text(header::ORIGIN).strip_prefix("http://") == Some(authority);
    is_local_peer && is_local_host && (is_own_page || !headers.contains_key(header::ORIGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(token: &str, peer: &str, headers: &[(&'static str, &str)]) -> Option<Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        allowed(token, Some(peer.parse().unwrap()), &map).err().map(|error| error.code)
    }

    #[test]
    fn a_token_is_asked_of_everybody() {
        let token = "a-token-of-some-length";
        let good = format!("Bearer {token}");
        assert_eq!(code(token, "203.0.113.9", &[("authorization", &good)]), None);
        for bad in ["", "Bearer ", "Bearer a-token", "Bearer a-token-of-some-lengti", token] {
            assert_eq!(
                code(token, "127.0.0.1", &[("authorization", bad), ("host", "localhost")]),
                Some(Code::Unauthorized)
            );
        }
    }

    #[test]
    fn without_a_token_only_programs_on_this_machine_are_let_in() {
        for host in ["127.0.0.1:9090", "localhost:9090", "localhost", "[::1]:9090", "127.0.0.1"] {
            assert_eq!(code("", "127.0.0.1", &[("host", host)]), None, "{host}");
        }
        let own_page = [("host", "localhost:9090"), ("origin", "http://localhost:9090")];
        assert_eq!(code("", "127.0.0.1", &own_page), None);
        assert_eq!(code("", "203.0.113.9", &[("host", "127.0.0.1")]), Some(Code::NotLocal));
        // A page that rebound its name to this address, and a page that sends a form here.
        assert_eq!(code("", "127.0.0.1", &[("host", "evil.example:9090")]), Some(Code::NotLocal));
        let form = [("host", "127.0.0.1:9090"), ("origin", "https://evil.example")];
        assert_eq!(code("", "127.0.0.1", &form), Some(Code::NotLocal));
        assert_eq!(code("", "127.0.0.1", &[]), Some(Code::NotLocal));
    }
}
