//! The load: keep-alive HTTP/1.1 connections, one request in flight on each, and answers that are looked at.
//!
//! Written by hand instead of with a client library, because the load shares the machine with the server it measures:
//! a request costs one write, one read and a few comparisons.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How much is sent at once, and where to.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Volume {
    /// Requests in flight to an app, one per keep-alive connection
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(super) connections: u32,
    /// Rooms the messages of an app are spread over
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    pub(super) rooms: u32,
    /// Bytes of text in each message
    #[arg(long, default_value_t = 300, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=12_000))]
    pub(super) size: u32,
}

impl Volume {
    /// As reports tell it.
    pub(super) fn told(&self) -> [(&'static str, u32); 3] {
        [("connections", self.connections), ("rooms", self.rooms), ("size", self.size)]
    }
}

/// Longer heads or bodies than this are no answer of ours.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Where the load goes: the address to connect to and the `Host` to send.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) host: String,
}

impl Target {
    pub(crate) fn at(addr: SocketAddr) -> Self {
        Self { addr, host: addr.to_string() }
    }

    /// Reads `http://host:port`.
    ///
    /// # Errors
    /// When the text is no such address or the name does not resolve.
    pub(crate) async fn resolve(url: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        anyhow::ensure!(uri.scheme_str() == Some("http"), "the load speaks plain http only; write http://host:port");
        let host = uri.authority().context("the URL has no host")?.as_str().to_owned();
        let port = uri.port_u16().unwrap_or(80);
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let addr = tokio::net::lookup_host((name, port)).await.with_context(|| format!("resolve {name}"))?.next();
        Ok(Self { addr: addr.with_context(|| format!("{name} has no address"))?, host })
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends one whole request and reads its answer's body.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is not HTTP/1.1 200 with a `Content-Length`.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (head_bytes, body_bytes) = loop {
            if let Some(sizes) = answer_sizes(&self.buffer)? {
                break sizes;
            }
            self.read_more().await?;
        };
        while self.buffer.len() < head_bytes + body_bytes {
            self.read_more().await?;
        }
        self.buffer.get(head_bytes..head_bytes + body_bytes).ok_or_else(|| broken("answer ends early"))
    }

    async fn read_more(&mut self) -> io::Result<()> {
        if self.buffer.len() > ANSWER_BYTES_MAX {
            return Err(broken("answer is too long"));
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Length of head and body, once the head is complete.
fn answer_sizes(buffer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(head_bytes) = buffer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let head = buffer
        .get(..head_bytes)
        .and_then(|head| std::str::from_utf8(head).ok())
        .ok_or_else(|| broken("head is no text"))?;
    let mut lines = head.split("\r\n");
    if !lines.next().is_some_and(|status| status.starts_with("HTTP/1.1 200")) {
        return Err(broken("status is not 200"));
    }
    let length =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let body_bytes = length.and_then(|(_, value)| value.trim().parse().ok()).filter(|bytes| *bytes < ANSWER_BYTES_MAX);
    body_bytes.map(|bytes| Some((head_bytes, bytes))).ok_or_else(|| broken("answer has no usable Content-Length"))
}

/// When requests start. Saturating: as soon as the last was answered. With a rate (open loop): at their own times,
/// whether or not the server keeps up, and latency counts from that time, so that a stall is not left out.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// Zero = saturate.
    interval: Duration,
    next: AtomicU64,
}

impl Pace {
    /// `per_s` of 0 saturates.
    pub(crate) fn new(start: Instant, per_s: u32) -> Self {
        let interval = if per_s == 0 { Duration::ZERO } else { Duration::from_secs(1) / per_s };
        Self { start, interval, next: AtomicU64::new(0) }
    }

    /// Waits for the next turn; returns when it was due.
    pub(crate) async fn turn(&self) -> Instant {
        if self.interval.is_zero() {
            return Instant::now();
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.start
            + Duration::from_nanos(turn.saturating_mul(u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX)));
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::answer_sizes;

    #[test]
    fn an_answer_is_measured_when_its_head_is_complete() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(answer_sizes(answer).ok(), Some(Some((answer.len() - 2, 2))));
        assert_eq!(answer_sizes(&answer[..20]).ok(), Some(None));
        assert!(answer_sizes(b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}").is_err());
        assert!(answer_sizes(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
