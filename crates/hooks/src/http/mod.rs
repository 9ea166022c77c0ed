//! Posting: from a request to what came of it. [`Transport`] is the seam at which a simulator takes the place of sockets.

mod answer;
mod channel;
mod connection;
mod dial;
mod guard;
mod message;
mod meter;
mod multiplex;
mod reasons;
mod resolve;
mod stream;
mod tls;

#[cfg(any(test, fuzzing))]
pub mod entry;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;

pub use answer::{BODY_BYTES_MAX, KEPT_BYTES};
pub use channel::HttpTransport;
pub use guard::{Guard, IpNet, IpNetError, Range};
pub use multiplex::Multiplex;
pub use resolve::{Resolve, SystemResolver};
pub use tls::{Roots, TlsError};

/// Where an endpoint's requests go. Compared by identity: a changed endpoint gets new connections.
pub struct Target {
    pub host: String,
    pub port: u16,
    pub host_header: HeaderValue,
    /// `None` for plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Connections over HTTP/2, which all channels to this target share.
    pub multiplex: Multiplex,
}

impl fmt::Debug for Target {
    /// Certificates are long, and their keys nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}:{}, tls: {})", self.host, self.port, self.tls.is_some())
    }
}

/// One POST.
pub struct Request {
    pub target: Arc<Target>,
    /// Path and query.
    pub path: String,
    /// Stable over all attempts of a delivery.
    pub webhook_id: String,
    /// Unix seconds of sending.
    pub timestamp: u64,
    /// All signatures of the body, when the endpoint has signing secrets.
    pub signature: Option<String>,
    /// From 1.
    pub attempt: u32,
    pub body: Bytes,
    /// For the whole exchange, from looking up the name to the last byte of the answer.
    pub timeout: Duration,
    /// Of the answer's body, this much goes into the report.
    pub kept_bytes: usize,
}

impl fmt::Debug for Request {
    /// The path may hold secrets of the endpoint's URL and a fresh `Sign`; signatures and bodies stay out of logs, too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("target", &self.target)
            .field("webhook_id", &self.webhook_id)
            .field("attempt", &self.attempt)
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Resolving,
    Connecting,
    Tls,
    Waiting,
    Reading,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "looking up the name",
            Self::Connecting => "connecting",
            Self::Tls => "negotiating TLS",
            Self::Waiting => "waiting for the answer",
            Self::Reading => "reading the answer",
        })
    }
}

/// How long each part took. Zero for what a kept connection spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub dns: Duration,
    pub connect: Duration,
    pub tls: Duration,
    /// From the request being handed to the connection to the answer's head.
    pub first_byte: Duration,
    pub total: Duration,
}

/// Why there is no full answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The endpoint's settings cannot be used, e.g. a certificate that does not parse.
    #[error("{0}")]
    Settings(String),
    #[error("address {ip} is {range} and not allowed for webhooks; list its range under webhooks.allow to permit it")]
    NotAllowed { ip: IpAddr, range: Range },
    #[error("cannot look up {host}: {reason}")]
    Resolve { host: String, reason: String },
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no full answer in time, while {0}")]
    Timeout(Phase),
    /// The connection ended, or what came was not HTTP.
    #[error("{0}")]
    Broken(String),
    #[error("the answer's body is longer than {max} bytes")]
    AnswerTooLong { max: usize },
}

impl SendError {
    /// True when no request reached the endpoint: this says something about the endpoint, not about the message.
    pub fn is_connecting(&self) -> bool {
        match self {
            Self::Settings(_) | Self::NotAllowed { .. } | Self::Resolve { .. } | Self::Connect(_) | Self::Tls(_) => {
                true
            }
            Self::Timeout(phase) => matches!(phase, Phase::Resolving | Phase::Connecting | Phase::Tls),
            Self::Broken(_) | Self::AnswerTooLong { .. } => false,
        }
    }

    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::NotAllowed { .. } => "not_allowed",
            Self::Resolve { .. } => "resolve",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Broken(_) => "broken",
            Self::AnswerTooLong { .. } => "answer_too_long",
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Report {
    /// The status of a full answer.
    pub result: Result<u16, SendError>,
    pub phases: Phases,
    /// The first bytes of the answer's body.
    pub head: Bytes,
    /// A 2xx whose body is not the documented JSON.
    pub malformed: bool,
    /// `Retry-After` of the answer.
    pub retry_after: Option<Duration>,
}

impl Report {
    pub fn failed(error: SendError) -> Self {
        let phases = Phases::default();
        Self { result: Err(error), phases, head: Bytes::new(), malformed: false, retry_after: None }
    }

    /// Any 2xx.
    pub fn is_acknowledged(&self) -> bool {
        self.result.as_ref().is_ok_and(|status| (200..300).contains(status))
    }
}

/// Makes channels. One is shared by all endpoints.
pub trait Transport: Send + Sync + fmt::Debug {
    fn channel(&self) -> Box<dyn Channel>;
}

/// One request after the other, over a connection that is kept between them.
#[async_trait]
pub trait Channel: Send + fmt::Debug {
    /// Posts and reads the full answer, within the request's timeout. Cancel safe: dropping it abandons the connection.
    async fn send(&mut self, request: &Request) -> Report;

    /// Ends when the kept connection is gone, never when there is none. Cancel safe.
    async fn closed(&mut self);

    /// Closes the kept connection.
    fn close(&mut self);
}
