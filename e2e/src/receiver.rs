//! The Python receiver (`peers/receiver.py`) as a test sees it.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::peers;

/// How long a test waits for a webhook that must come. Generous: it is only ever used up by a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One webhook request as Python's standard library read it.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    /// `POST`, one hopes.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query as sent.
    pub raw_query: String,
    /// Query split and decoded by `urllib`, in order.
    pub query: Vec<(String, String)>,
    /// Header names in lower case.
    pub headers: std::collections::HashMap<String, String>,
    /// The body as text.
    pub text: String,
    /// The body as JSON.
    pub body: Value,
    /// The body's members in order, with their Python types.
    pub types: Vec<(String, String)>,
    /// Whether `Sign` is what `hashlib` computes.
    pub sign_holds: bool,
    /// Whether `webhook-signature` is what `hmac` computes.
    pub signature_holds: bool,
}

impl Seen {
    /// The value of a query parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header; its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// `GroupId`, empty if there is none.
    #[must_use]
    pub fn room(&self) -> &str {
        self.body["GroupId"].as_str().unwrap_or_default()
    }

    /// `MsgSeq`, 0 if there is none.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.body["MsgSeq"].as_u64().unwrap_or_default()
    }
}

/// How to start a receiver.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// 0 for any free port.
    pub port: u16,
    /// The webhook token; empty for none.
    pub token: String,
    /// The signing secret, `whsec_…`; empty for none.
    pub secret: String,
    /// The HTTP status to answer; 0 for 200.
    pub status: u16,
    /// How many requests to answer with 500 first.
    pub fail_first: u32,
}

/// Where a receiver was. Its port is bound and not listened on: connections are refused, and no connection of another process, nor
/// one of the server under test, takes the port for its own end.
#[derive(Debug)]
pub struct Away {
    port: u16,
    _socket: TcpSocket,
}

impl Away {
    /// Starts a receiver there.
    ///
    /// # Errors
    /// As [`Receiver::start_with`].
    pub async fn come_back(self) -> Result<Receiver> {
        Receiver::start_with(Options { port: self.port, ..Options::default() }).await
    }
}

/// A running receiver. Ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    child: Child,
    port: u16,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Receiver {
    /// Starts one on a free port that answers 200.
    ///
    /// # Errors
    /// If Python does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts one.
    ///
    /// # Errors
    /// If Python does not start, or the port is taken.
    pub async fn start_with(options: Options) -> Result<Self> {
        let mut command = Command::new(peers::python()?);
        command.arg(peers::script("receiver.py")).arg("--token").arg(&options.token);
        command.arg("--secret").arg(&options.secret);
        command.arg("--port").arg(options.port.to_string());
        command.arg("--fail-first").arg(options.fail_first.to_string());
        command.arg("--status").arg(if options.status == 0 { "200".to_owned() } else { options.status.to_string() });
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the receiver")?;
        let mut lines = BufReader::new(child.stdout.take().context("the receiver has no output")?).lines();
        let hello: Value = serde_json::from_str(&lines.next_line().await?.context("the receiver ended at once")?)?;
        let port = u16::try_from(hello["port"].as_u64().context("the receiver named no port")?)?;

        // Unbounded on purpose: a test receiver must never slow its sender down, and a test's traffic is finite.
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(one) = serde_json::from_str(&line) else { break };
                if tell.send(one).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, port, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, to which the test may add a path and a query.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next request.
    ///
    /// # Errors
    /// If none comes within [`PATIENCE`].
    pub async fn next(&mut self) -> Result<Seen> {
        self.next_by(Instant::now() + PATIENCE).await
    }

    /// The next `count` requests.
    ///
    /// # Errors
    /// If they do not come within [`PATIENCE`].
    pub async fn take(&mut self, count: usize) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + PATIENCE;
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(
                self.next_by(deadline).await.with_context(|| format!("{} of {count} webhooks came", taken.len()))?,
            );
        }
        Ok(taken)
    }

    /// Reads requests until `enough` says so.
    ///
    /// # Errors
    /// If that does not happen before the deadline.
    pub async fn until(&mut self, deadline: Instant, mut enough: impl FnMut(Seen) -> bool) -> Result<()> {
        while !enough(self.next_by(deadline).await?) {}
        Ok(())
    }

    /// What has come and was not looked at yet.
    pub fn drain(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    /// Ends the process; nobody listens at its port until it is started again there.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn go_away(self) -> Result<(Vec<Seen>, Away)> {
        let port = self.port;
        let seen = self.stop().await?;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, port).into()).with_context(|| format!("keeping port {port}"))?;
        Ok((seen, Away { port, _socket: socket }))
    }

    /// Ends the process and gives the port free.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn stop(mut self) -> Result<Vec<Seen>> {
        self.child.kill().await.context("stopping the receiver")?;
        let mut rest = Vec::new();
        while let Some(seen) = self.seen.recv().await {
            rest.push(seen);
        }
        Ok(rest)
    }

    async fn next_by(&mut self, deadline: Instant) -> Result<Seen> {
        match timeout_at(deadline, self.seen.recv()).await {
            Ok(Some(seen)) => Ok(seen),
            Ok(None) => bail!("the receiver ended"),
            Err(_) => bail!("no webhook came in time"),
        }
    }
}
