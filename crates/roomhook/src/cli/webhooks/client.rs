//! A caller of the admin API.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::table::cell;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// For a connection, and for an answer: the slowest one is a test of an endpoint that does not answer, for its timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// The server could not be asked at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error(
        "nobody listens for operators at {authority} ({reason}): is the server running? --admin says where its server.admin_listen is"
    )]
    Down { authority: String, reason: String },
    #[error("{authority} does not answer: {reason}")]
    Silent { authority: String, reason: String },
    #[error(
        "{authority} answered {status}, but not as roomhook's admin API would: is --admin the server's server.admin_listen?"
    )]
    Stranger { authority: String, status: u16 },
    #[error(
        "{authority} wants another token: give the server's admin.token with --token or ROOMHOOK_ADMIN_TOKEN (unauthorized)"
    )]
    Token { authority: String },
    #[error("{authority} has no admin.token, so it lets in programs on its own machine only: {message} (not_local)")]
    NotLocal { authority: String, message: String },
}

/// Speaks to one server, over one connection at a time.
pub(in crate::cli) struct Client {
    authority: String,
    token: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl std::fmt::Debug for Client {
    /// The token stays out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Client {
    /// # Errors
    /// When the address cannot be used.
    pub(in crate::cli) fn new(admin: &str, token: &str) -> anyhow::Result<Self> {
        let authority = authority(admin).map_err(|reason| anyhow::anyhow!("--admin {admin}: {reason}"))?;
        Ok(Self { authority, token: token.to_owned(), connection: None })
    }

    pub(in crate::cli) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(super) async fn delete(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    /// The answer of a success; null when it has no body.
    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/admin/api{path}"))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body)).context("--token")?;
        let connection = self.connect().await?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange(connection, request)).await;
        let authority = self.authority.clone();
        let (status, body) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Unreachable::Silent { authority, reason: format!("{error:#}") }.into()),
            Err(_elapsed) => {
                return Err(Unreachable::Silent { authority, reason: format!("nothing for {ANSWER_TIMEOUT:?}") }.into());
            }
        };
        if body.is_empty() && status.is_success() {
            return Ok(Value::Null);
        }
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            Some(answer) if answer["error"].is_object() => Err(refusal(authority, &answer["error"])),
            _ => Err(Unreachable::Stranger { authority, status: status.as_u16() }.into()),
        }
    }

    /// The kept connection, or a new one.
    async fn connect(&mut self) -> anyhow::Result<&mut SendRequest<Full<Bytes>>> {
        let kept = match self.connection.take() {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let connection = match kept {
            Some(kept) => kept,
            None => {
                let down = |reason: String| Unreachable::Down { authority: self.authority.clone(), reason };
                let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority)).await;
                let stream = stream.map_err(|_elapsed| down(format!("no answer for {CONNECT_TIMEOUT:?}")))?;
                let stream = stream.map_err(|error| down(error.to_string()))?;
                let (connection, driver) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(|error| down(error.to_string()))?;
                // Ends with the connection; whoever waits for an answer learns of its failure.
                tokio::spawn(driver);
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }
}

/// Host and port of `--admin`.
fn authority(admin: &str) -> Result<String, &'static str> {
    let form = "write http://host:port";
    let uri: http::Uri = admin.trim_end_matches('/').parse().map_err(|_| form)?;
    if !matches!(uri.scheme_str(), None | Some("http")) {
        return Err("the admin listener speaks plain http");
    }
    let host = uri.host().ok_or(form)?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(9090)))
}

/// `--admin` as it was given, if it can be used.
pub(super) fn usable(admin: &str) -> Result<String, &'static str> {
    authority(admin).map(|_| admin.to_owned())
}

/// Sends a request and reads its whole answer.
async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?.to_bytes();
    Ok((status, body))
}

/// What the API said no with.
fn refusal(authority: String, error: &Value) -> anyhow::Error {
    let message = error["message"].as_str().unwrap_or("refused").to_owned();
    match error["code"].as_str().unwrap_or("?") {
        "unauthorized" => Unreachable::Token { authority }.into(),
        "not_local" => Unreachable::NotLocal { authority, message }.into(),
        code => anyhow::anyhow!("{} ({code}){}", cell(&message.into()), hint(code)),
    }
}

/// Which command helps on.
fn hint(code: &str) -> &'static str {
    match code {
        "endpoint_missing" => "; `roomhook webhooks list` shows those there are",
        "delivery_missing" => "; `roomhook webhooks parked` shows those that are parked",
        "replay_missing" => "; `roomhook webhooks replays` shows those there are",
        "app_missing" => "; `roomhook webhooks list` shows the apps that have endpoints",
        "event_missing" => {
            "; check room and MsgSeq (a message has the number that its sender was answered). \
             What retention dropped has no trail any more"
        }
        _ => "",
    }
}

/// A text as one segment of a path, or as a value of a query.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encode = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
