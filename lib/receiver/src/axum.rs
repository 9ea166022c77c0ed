//! The shell for axum: a route that verifies, calls the app, commits, answers.

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request as HttpRequest, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use roomhook_protocol::webhook::Answer;

use crate::receiver::{Received, Receiver, UnixMillis};
use crate::request::Request;
use crate::tracker::Notice;

/// The largest body read. A message is at most 12 KiB; escaping and the other fields at most multiply that by a small number.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// A receiver that request handlers share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Receiver>>);

impl Shared {
    /// Shares a receiver.
    #[must_use]
    pub fn new(receiver: Receiver) -> Self {
        Self(Arc::new(Mutex::new(receiver)))
    }

    /// The receiver, for reading gaps or resuming rooms. Do not hold the guard across an `.await`.
    pub fn lock(&self) -> MutexGuard<'_, Receiver> {
        // The core leaves no half-made state behind a panic that would be worse than refusing all further webhooks.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the app does with webhooks. Implemented for every `async fn(Received) -> Result<(), E>`.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Why the app could not handle an event.
    type Error: Display;

    /// Handles one event that is not a repeat. When it returns `Ok`, the app's work must be durable: the sender forgets the event. On
    /// an error it is sent again.
    ///
    /// It can be called twice for one event, at the same time even: when an attempt timed out at the sender while it was still being
    /// handled here, or after a restart. So key what you store by room, `MsgSeq` and `MsgId`.
    ///
    /// The future is dropped when the sender hangs up, at any `.await`; the event then counts as not handled.
    fn handle(&self, received: Received) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Learns about missing and late messages, after the commit. Logs nothing by default.
    fn notice(&self, notice: Notice) {
        drop(notice);
    }
}

impl<F, Fut, E> Handler for F
where
    F: Fn(Received) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Display,
{
    type Error = E;

    fn handle(&self, received: Received) -> impl Future<Output = Result<(), E>> + Send {
        self(received)
    }
}

/// A router that takes webhooks on every path, so that it can be nested wherever the configured URL points.
///
/// | what happened | answer |
/// |---|---|
/// | handled, or a repeat | 200 and `{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}` |
/// | the handler failed | 500 and its error as text: the sender tries again |
/// | not genuine, not readable | [`Error::status`](crate::Error::status) and the error as text |
/// | body over [`BODY_BYTES_MAX`] | 413 |
/// | not a POST | 405 |
///
/// ```
/// use roomhook_receiver::axum::{Shared, router};
/// use roomhook_receiver::{Config, Received, Receiver};
///
/// async fn store(received: Received) -> Result<(), std::io::Error> {
///     // Write received.event() to the database, commit, and only then return.
///     Ok(())
/// }
///
/// let receiver = Shared::new(Receiver::new(Config::new(1_400_000_001).token("lantern-9f21")));
/// let app: axum::Router = axum::Router::new().nest("/hook", router(receiver, store));
/// ```
pub fn router<H: Handler>(receiver: Shared, handler: H) -> Router {
    Router::new().fallback(move |request: HttpRequest<Body>| take(receiver, handler, request))
}

/// Takes one webhook, for apps that route themselves.
///
/// Cancel safe: dropped before its end, the event stays new.
pub async fn take<H: Handler>(receiver: Shared, handler: H, request: HttpRequest<Body>) -> Response {
    if request.method() != axum::http::Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], "webhooks are sent with POST")
            .into_response();
    }
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the body is cut off or larger than 1 MiB").into_response();
    };
    let request = with_headers(Request::new(head.uri.query().unwrap_or(""), &body), &head.headers);
    let begun = receiver.lock().begin(&request, unix_millis());
    let received = match begun {
        Ok(received) => received,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            return (status, error.to_string()).into_response();
        }
    };
    if received.is_repeat() {
        return acknowledged();
    }
    if let Err(error) = handler.handle(received.clone()).await {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let notices = receiver.lock().commit(&received, unix_millis());
    for notice in notices {
        handler.notice(notice);
    }
    acknowledged()
}

fn with_headers<'a>(request: Request<'a>, headers: &'a HeaderMap) -> Request<'a> {
    headers.iter().fold(request, |request, (name, value)| match value.to_str() {
        Ok(value) => request.header(name.as_str(), value),
        Err(_) => request,
    })
}

fn acknowledged() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Answer::OK_JSON).into_response()
}

fn unix_millis() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
