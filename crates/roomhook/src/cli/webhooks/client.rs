//! A caller of the admin API.

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Speaks to one server, over one connection at a time.
pub(super) struct Client {
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
    pub(super) fn new(admin: &str, token: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = admin.trim_end_matches('/').parse().with_context(|| format!("--admin {admin}"))?;
        anyhow::ensure!(
            matches!(uri.scheme_str(), None | Some("http")),
            "--admin {admin}: the admin listener speaks plain http"
        );
        let host = uri.host().with_context(|| format!("--admin {admin}: write http://host:port"))?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(9090));
        Ok(Self { authority, token: token.to_owned(), connection: None })
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
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
        let answer = connection.send_request(request).await;
        let answer = answer.with_context(|| format!("ask {}", self.authority))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?.to_bytes();
        if body.is_empty() && status.is_success() {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(&body)
            .with_context(|| format!("{} answered {status}, and not as roomhook's admin API would", self.authority))?;
        if status.is_success() {
            return Ok(answer);
        }
        let (code, message) = (&answer["error"]["code"], &answer["error"]["message"]);
        anyhow::bail!("{} ({})", message.as_str().unwrap_or("refused"), code.as_str().unwrap_or(status.as_str()))
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
                let hint = || format!("connect to {}: is the server running? --admin says where", self.authority);
                let stream = TcpStream::connect(&self.authority).await.with_context(hint)?;
                let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.with_context(hint)?;
                // Ends with the connection; whoever waits for an answer learns of its failure.
                tokio::spawn(driver);
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }
}

/// A text as one segment of a path, or as a value of a query.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encode = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
