//! The real transport: HTTP/1.1 over TCP or TLS, one kept connection per channel.
//!
//! The task that sends also drives the connection: no second task per connection, no wake-up between two.

use std::{
    error::Error as _,
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};

use super::{
    Channel, Guard, Phase, Phases, Report, Request, Resolve, SendError, Target, Transport,
    answer::{self, BODY_BYTES_MAX, BodyError, HEAD_BYTES_MAX, HEADERS_MAX},
    stream::Stream,
};

/// Opens connections: resolves, checks the addresses, connects, encrypts.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    resolver: Arc<dyn Resolve>,
    guard: Arc<Guard>,
}

impl HttpTransport {
    pub fn new(resolver: Arc<dyn Resolve>, guard: Guard) -> Self {
        Self { resolver, guard: Arc::new(guard) }
    }
}

impl Transport for HttpTransport {
    fn channel(&self) -> Box<dyn Channel> {
        Box::new(HttpChannel {
            transport: self.clone(),
            kept: None,
            phase: Phase::default(),
            phases: Phases::default(),
        })
    }
}

type Driver = Pin<Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>>;

struct Connection {
    target: Arc<Target>,
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    ended: bool,
}

struct HttpChannel {
    transport: HttpTransport,
    kept: Option<Connection>,
    phase: Phase,
    phases: Phases,
}

impl fmt::Debug for HttpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpChannel").field("connected", &self.kept.is_some()).field("phase", &self.phase).finish()
    }
}

struct Answered {
    status: u16,
    body: Bytes,
    retry_after: Option<Duration>,
}

#[async_trait]
impl Channel for HttpChannel {
    async fn send(&mut self, request: &Request) -> Report {
        let start = Instant::now();
        (self.phase, self.phases) = (Phase::default(), Phases::default());
        let result = match tokio::time::timeout_at(start + request.timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Timeout(self.phase)),
        };
        self.phases.total = start.elapsed();
        match result {
            Ok(answered) => Report {
                malformed: (200..300).contains(&answered.status) && answer::is_malformed(&answered.body),
                result: Ok(answered.status),
                phases: self.phases,
                head: answer::kept(&answered.body, request.kept_bytes),
                retry_after: answered.retry_after,
            },
            Err(error) => {
                self.close();
                Report { phases: self.phases, ..Report::failed(error) }
            }
        }
    }

    async fn closed(&mut self) {
        let Some(connection) = &mut self.kept else { return std::future::pending().await };
        // Whether it ended well or not is of no interest: it was idle.
        if !connection.ended {
            let _ = connection.driver.as_mut().await;
        }
        self.close();
    }

    fn close(&mut self) {
        self.kept = None;
    }
}

impl HttpChannel {
    async fn exchange(&mut self, request: &Request) -> Result<Answered, SendError> {
        let mut message = message(request)?;
        // A kept connection may have been closed by the other side in the meantime. If the request certainly did not
        // go out, it goes out once more over a new connection, within the same attempt.
        if let Some(mut connection) = self.take_kept(&request.target).await {
            match self.post(&mut connection, message).await {
                Ok(answered) => {
                    self.kept = Some(connection);
                    return Ok(answered);
                }
                Err(PostError::Unsent(unsent)) => message = *unsent,
                Err(PostError::Failed(error)) => return Err(error),
            }
        }
        let mut connection = self.connect(&request.target).await?;
        match self.post(&mut connection, message).await {
            Ok(answered) => {
                self.kept = Some(connection);
                Ok(answered)
            }
            Err(PostError::Unsent(_)) => Err(SendError::Broken("the connection ended before the request".into())),
            Err(PostError::Failed(error)) => Err(error),
        }
    }

    /// The kept connection, if it leads to the same place and is still good.
    async fn take_kept(&mut self, target: &Arc<Target>) -> Option<Connection> {
        let mut connection = self.kept.take().filter(|kept| Arc::ptr_eq(&kept.target, target))?;
        let Connection { sender, driver, ended, .. } = &mut connection;
        let is_ready = drive(driver, ended, pin!(sender.ready())).await?.is_ok();
        is_ready.then_some(connection)
    }

    async fn post(&mut self, connection: &mut Connection, message: Message) -> Result<Answered, PostError> {
        let Connection { sender, driver, ended, .. } = connection;
        let sent = Instant::now();
        self.phase = Phase::Waiting;
        let answer = drive(driver, ended, pin!(sender.try_send_request(message))).await;
        let response = match answer {
            None => return Err(PostError::Failed(SendError::Broken("the connection ended before an answer".into()))),
            Some(Ok(response)) => response,
            Some(Err(mut error)) => {
                return Err(match error.take_message() {
                    Some(message) => PostError::Unsent(Box::new(message)),
                    None => PostError::Failed(broken(error.error())),
                });
            }
        };
        self.phases.first_byte = sent.elapsed();
        self.phase = Phase::Reading;
        let status = response.status().as_u16();
        let retry_after = answer::retry_after(response.headers());
        let body: Incoming = response.into_body();
        match drive(driver, ended, pin!(answer::read_body(body))).await {
            Some(Ok(body)) => Ok(Answered { status, body, retry_after }),
            Some(Err(BodyError::TooLong)) => Err(PostError::Failed(SendError::AnswerTooLong { max: BODY_BYTES_MAX })),
            Some(Err(BodyError::Broken(error))) => Err(PostError::Failed(broken(&error))),
            None => Err(PostError::Failed(SendError::Broken("the connection ended within the answer".into()))),
        }
    }

    async fn connect(&mut self, target: &Arc<Target>) -> Result<Connection, SendError> {
        let addresses = self.addresses(target).await?;
        self.phase = Phase::Connecting;
        let started = Instant::now();
        let stream = connect_any(&addresses).await.map_err(|error| SendError::Connect(error.to_string()))?;
        self.phases.connect = started.elapsed();
        // Requests are written in one go; waiting for more to fill a packet would only delay them.
        stream.set_nodelay(true).map_err(|error| SendError::Connect(error.to_string()))?;
        let stream = self.encrypt(target, stream).await?;
        let (sender, driver) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        Ok(Connection { target: target.clone(), sender, driver: Box::pin(driver), ended: false })
    }

    /// The addresses that may be connected to. If the name has none that may, the first forbidden one is the reason.
    async fn addresses(&mut self, target: &Target) -> Result<Vec<SocketAddr>, SendError> {
        self.phase = Phase::Resolving;
        let started = Instant::now();
        let host = target.host.trim_start_matches('[').trim_end_matches(']');
        let found = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, target.port)],
            Err(_) => self
                .transport
                .resolver
                .resolve(host, target.port)
                .await
                .map_err(|error| SendError::Resolve { host: host.to_owned(), reason: error.to_string() })?,
        };
        self.phases.dns = started.elapsed();
        let mut refused = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found {
            match self.transport.guard.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(range) => refused = refused.or(Some(SendError::NotAllowed { ip: address.ip(), range })),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(refused)) => Err(refused),
            (true, None) => Err(SendError::Resolve { host: host.to_owned(), reason: "the name has no address".into() }),
        }
    }

    async fn encrypt(&mut self, target: &Target, stream: TcpStream) -> Result<Stream, SendError> {
        let Some(config) = &target.tls else { return Ok(Stream::Plain(stream)) };
        self.phase = Phase::Tls;
        let started = Instant::now();
        let host = target.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| SendError::Tls(error.to_string()))?;
        let connected = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await;
        let stream = connected.map_err(|error| SendError::Tls(error.to_string()))?;
        self.phases.tls = started.elapsed();
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Tries one address after the other. The request's own deadline bounds the whole.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

type Message = http::Request<Full<Bytes>>;

enum PostError {
    /// Not a byte of it went out.
    Unsent(Box<Message>),
    Failed(SendError),
}

/// Drives the connection while `wanted` waits for something of it. `None` when the connection ended first.
async fn drive<F: Future>(driver: &mut Driver, ended: &mut bool, mut wanted: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(output) = wanted.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if !*ended && driver.as_mut().poll(cx).is_ready() {
            *ended = true;
        }
        // The driver may just have delivered what is waited for; asking again now saves a round through the scheduler.
        match wanted.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if *ended => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn message(request: &Request) -> Result<Message, SendError> {
    let settings = |error: http::Error| SendError::Settings(error.to_string());
    let mut message = http::Request::builder()
        .method(Method::POST)
        .uri(request.path.as_str())
        .body(Full::new(request.body.clone()))
        .map_err(settings)?;
    let headers = message.headers_mut();
    headers.reserve(8);
    headers.insert(header::HOST, request.target.host_header.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", value(&request.webhook_id)?);
    headers.insert("webhook-timestamp", HeaderValue::from(request.timestamp));
    if let Some(signature) = &request.signature {
        headers.insert("webhook-signature", value(signature)?);
    }
    headers.insert("roomhook-attempt", HeaderValue::from(request.attempt));
    Ok(message)
}

fn value(text: &str) -> Result<HeaderValue, SendError> {
    HeaderValue::from_str(text).map_err(|error| SendError::Settings(error.to_string()))
}

/// hyper says what happened in its source chain, e.g. which alert ended a TLS connection.
fn broken(error: &hyper::Error) -> SendError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    SendError::Broken(text)
}
