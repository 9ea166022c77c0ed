//! The real transport: HTTP/1.1 over TCP or TLS, one kept connection per channel; HTTP/2 over TLS where the endpoint
//! offers it, with connections that channels share (`multiplex`).
//!
//! With HTTP/1.1 the task that sends also drives the connection: no second task per connection, no wake-up between two.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, Uri, Version, header};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{
    Channel, Guard, Phase, Phases, Report, Request, Resolve, SendError, Target, Transport,
    answer::{self, BODY_BYTES_MAX, BodyError, HEADERS_MAX},
    meter::{Meter, Metered},
    multiplex::{Lease, Link, is_untouched},
    reasons::broken,
};
use crate::alarm::Alarm;

/// Opens connections: resolves, checks the addresses, connects, encrypts.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) guard: Arc<Guard>,
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
            alarm: Alarm::default(),
            phase: Phase::default(),
            phases: Phases::default(),
        })
    }
}

pub(super) type Driver = Pin<Box<http1::Connection<TokioIo<Metered>, Full<Bytes>>>>;

pub(super) struct Connection {
    pub(super) target: Arc<Target>,
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) driver: Driver,
    pub(super) ended: bool,
    pub(super) meter: Arc<Meter>,
}

/// What a channel holds on to between two requests.
enum Kept {
    Own(Connection),
    Shared(Arc<Target>, Arc<Link>),
}

/// How one request gets there.
pub(super) enum Way {
    Own(Connection),
    Shared(Lease),
}

pub(super) struct HttpChannel {
    pub(super) transport: HttpTransport,
    kept: Option<Kept>,
    alarm: Alarm,
    pub(super) phase: Phase,
    pub(super) phases: Phases,
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
        let mut alarm = std::mem::take(&mut self.alarm);
        let result = alarm.bound(start + request.timeout, pin!(self.exchange(request))).await;
        self.alarm = alarm;
        let result = result.unwrap_or(Err(SendError::Timeout(self.phase)));
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
                // A shared connection that was silent or broke may be dead for all: nobody begins anything new on it.
                if let (Some(Kept::Shared(_, link)), SendError::Timeout(_) | SendError::Broken(_)) =
                    (&self.kept, &error)
                {
                    link.retire();
                }
                self.close();
                Report { phases: self.phases, ..Report::failed(error) }
            }
        }
    }

    async fn closed(&mut self) {
        // Whether it ended well or not is of no interest: it was idle.
        match &mut self.kept {
            None => return std::future::pending().await,
            Some(Kept::Own(connection)) if connection.ended => {}
            Some(Kept::Own(connection)) => drop(connection.driver.as_mut().await),
            Some(Kept::Shared(_, link)) => link.ended().await,
        }
        self.close();
    }

    fn close(&mut self) {
        self.kept = None;
    }
}

impl HttpChannel {
    async fn exchange(&mut self, request: &Request) -> Result<Answered, SendError> {
        // A kept connection may have been closed by the other side in the meantime. If the request certainly was not
        // looked at, it goes out once more over another connection, within the same attempt.
        if let Some(way) = self.kept_way(&request.target).await {
            match self.post(way, request).await {
                Ok(answered) => return Ok(answered),
                Err(PostError::Unsent(_)) => {}
                Err(PostError::Failed(error)) => return Err(error),
            }
        }
        // In a box of its own: connecting needs ten times the state of a request, which would be set up for each.
        Box::pin(self.exchange_anew(request)).await
    }

    async fn exchange_anew(&mut self, request: &Request) -> Result<Answered, SendError> {
        let mut unsent = None;
        for _ in 0..WAYS_MAX {
            let way = self.new_way(&request.target).await?;
            match self.post(way, request).await {
                Ok(answered) => return Ok(answered),
                Err(PostError::Unsent(reason)) => unsent = Some(reason),
                Err(PostError::Failed(error)) => return Err(error),
            }
        }
        let reason = unsent.map(|reason| broken(&reason).to_string()).unwrap_or_default();
        Err(SendError::Broken(format!("{WAYS_MAX} connections ended before the request was looked at: {reason}")))
    }

    /// What is kept, if it leads to the same place and is still good.
    async fn kept_way(&mut self, target: &Arc<Target>) -> Option<Way> {
        match self.kept.take()? {
            Kept::Own(mut connection) if Arc::ptr_eq(&connection.target, target) => {
                let Connection { sender, driver, ended, .. } = &mut connection;
                let is_ready = drive(driver, ended, pin!(sender.ready())).await?.is_ok();
                is_ready.then_some(Way::Own(connection))
            }
            Kept::Shared(kept, link) if Arc::ptr_eq(&kept, target) => {
                let lease = link.lease().or_else(|| target.multiplex.lease())?;
                Some(self.share(target, lease))
            }
            Kept::Own(_) | Kept::Shared(..) => None,
        }
    }

    /// A place on a connection that others opened, or a new connection.
    async fn new_way(&mut self, target: &Arc<Target>) -> Result<Way, SendError> {
        let multiplex = &target.multiplex;
        if target.tls.is_none() || multiplex.is_single() {
            return self.connect(target).await;
        }
        self.phase = Phase::Connecting;
        let waiting = multiplex.wait();
        loop {
            // Before looking, so that what happens in between is not missed.
            let mut connected = pin!(multiplex.connected());
            connected.as_mut().enable();
            if let Some(lease) = multiplex.lease() {
                return Ok(self.share(target, lease));
            }
            if multiplex.is_single() {
                return self.connect(target).await;
            }
            if let Some(turn) = waiting.turn() {
                let connected = self.connect(target).await;
                drop(turn);
                return connected;
            }
            connected.await;
        }
    }

    pub(super) fn share(&mut self, target: &Arc<Target>, lease: Lease) -> Way {
        self.kept = Some(Kept::Shared(target.clone(), lease.0.clone()));
        Way::Shared(lease)
    }

    async fn post(&mut self, way: Way, request: &Request) -> Result<Answered, PostError> {
        match way {
            Way::Own(mut connection) => {
                let answered = self.post_alone(&mut connection, request).await?;
                self.kept = Some(Kept::Own(connection));
                Ok(answered)
            }
            Way::Shared(lease) => {
                let answered = Box::pin(self.post_shared(&lease, request)).await;
                if matches!(answered, Err(PostError::Unsent(_))) {
                    lease.0.retire();
                }
                answered
            }
        }
    }

    async fn post_alone(&mut self, connection: &mut Connection, request: &Request) -> Result<Answered, PostError> {
        let Connection { sender, driver, ended, meter, .. } = connection;
        meter.answered();
        let sent = Instant::now();
        self.phase = Phase::Waiting;
        let message = message(request, Version::HTTP_11).map_err(PostError::Failed)?;
        let answer = drive(driver, ended, Box::pin(sender.try_send_request(message)).as_mut()).await;
        let response = match answer {
            None => return Err(PostError::Failed(SendError::Broken("the connection ended before an answer".into()))),
            Some(Ok(response)) => response,
            Some(Err(mut error)) => {
                return Err(match error.take_message() {
                    Some(_) => PostError::Unsent(error.into_error()),
                    None => PostError::Failed(broken(error.error())),
                });
            }
        };
        self.phases.first_byte = sent.elapsed();
        self.phase = Phase::Reading;
        match drive(driver, ended, Box::pin(read(response)).as_mut()).await {
            Some(answered) => answered.map_err(PostError::Failed),
            None => Err(PostError::Failed(SendError::Broken("the connection ended within the answer".into()))),
        }
    }

    async fn post_shared(&mut self, lease: &Lease, request: &Request) -> Result<Answered, PostError> {
        let message = message(request, Version::HTTP_2).map_err(PostError::Failed)?;
        let mut sender = lease.0.sender();
        let sent = Instant::now();
        self.phase = Phase::Waiting;
        sender.ready().await.map_err(PostError::Unsent)?;
        let response = match sender.try_send_request(message).await {
            Ok(response) => response,
            Err(mut error) => {
                return Err(match error.take_message() {
                    Some(_) => PostError::Unsent(error.into_error()),
                    None if is_untouched(error.error()) => PostError::Unsent(error.into_error()),
                    None => PostError::Failed(broken(error.error())),
                });
            }
        };
        self.phases.first_byte = sent.elapsed();
        self.phase = Phase::Reading;
        // The other version counts them while parsing.
        if response.headers().len() > HEADERS_MAX {
            return Err(PostError::Failed(SendError::Broken("the answer has too many headers".into())));
        }
        let answered = read(response).await.map_err(PostError::Failed)?;
        lease.0.answered();
        Ok(answered)
    }
}

/// The answer, to the last byte.
async fn read(response: Response<Incoming>) -> Result<Answered, SendError> {
    let status = response.status().as_u16();
    let retry_after = answer::retry_after(response.headers());
    match answer::read_body(response.into_body()).await {
        Ok(body) => Ok(Answered { status, body, retry_after }),
        Err(BodyError::TooLong) => Err(SendError::AnswerTooLong { max: BODY_BYTES_MAX }),
        Err(BodyError::Broken(error)) => Err(broken(&error)),
    }
}

type Message = http::Request<Full<Bytes>>;

/// Connections that one attempt tries, when one after the other ends before the request was looked at.
const WAYS_MAX: usize = 4;

enum PostError {
    /// Not a byte of it went out, or the endpoint said that it did not look at it.
    Unsent(hyper::Error),
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

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ROOMHOOK_ATTEMPT: HeaderName = HeaderName::from_static("roomhook-attempt");

fn message(request: &Request, version: Version) -> Result<Message, SendError> {
    let settings = |error: http::Error| SendError::Settings(error.to_string());
    let builder = http::Request::builder().method(Method::POST).version(version);
    // HTTP/2 names the host in the URI, HTTP/1.1 in a header.
    let host = &request.target.host_header;
    let builder = match version {
        Version::HTTP_2 => {
            let uri = Uri::builder().scheme("https").authority(host.as_bytes()).path_and_query(request.path.as_str());
            builder.uri(uri.build().map_err(settings)?)
        }
        _ => builder.uri(request.path.as_str()).header(header::HOST, host.clone()),
    };
    let mut message = builder.body(Full::new(request.body.clone())).map_err(settings)?;
    let headers = message.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(WEBHOOK_ID, value(&request.webhook_id)?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(request.timestamp));
    if let Some(signature) = &request.signature {
        headers.insert(WEBHOOK_SIGNATURE, value(signature)?);
    }
    headers.insert(ROOMHOOK_ATTEMPT, HeaderValue::from(request.attempt));
    Ok(message)
}

fn value(text: &str) -> Result<HeaderValue, SendError> {
    HeaderValue::from_str(text).map_err(|error| SendError::Settings(error.to_string()))
}
