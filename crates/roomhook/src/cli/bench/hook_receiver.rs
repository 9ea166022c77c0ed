//! The receiver of `bench webhook`, in a process of its own: acknowledges, counts, and notes when a sample arrived.
//!
//! Written by hand for the same reason as the load: what it costs is taken from the machine that is measured.

use std::{
    collections::HashMap,
    io::{self, BufRead as _},
    net::SocketAddr,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    load::{Connection, Target},
    sending::{is_sampled, unix_micros},
};
use crate::out::say;

/// Receive, count and time webhooks (a peer of `bench webhook`)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each answer takes
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// Write head and body of each answer apart and leave Nagle's algorithm on
    #[arg(long)]
    two_writes: bool,
}

const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n\
    {\"ActionStatus\":\"OK\",\"ErrorInfo\":\"\",\"ErrorCode\":0}";
/// Where its body begins.
const ACCEPTED_BODY_AT: usize = ACCEPTED.len() - 50;
const AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
/// A request of ours is far shorter.
const REQUEST_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
struct Desk {
    latency: Duration,
    two_writes: bool,
    away: AtomicBool,
    accepted: AtomicU64,
    /// When sampled messages came first, in microseconds of the Unix epoch, by their `Random`.
    arrivals: Mutex<HashMap<u64, u64>>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(args.addr).await.with_context(|| format!("listen on {}", args.addr))?;
    say!("{}", listener.local_addr()?);
    let desk = Arc::new(Desk { latency: args.latency, two_writes: args.two_writes, ..Desk::default() });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(!args.two_writes)?;
        let desk = Arc::clone(&desk);
        // Detached: it ends with its connection, and all of them with this process.
        tokio::spawn(async move {
            let _gone = desk.connection(stream).await;
        });
    }
}

impl Desk {
    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(8192);
        loop {
            let (head_bytes, whole_bytes) = loop {
                if let Some((head, body)) = request_sizes(&buffer).filter(|(head, body)| buffer.len() >= head + body) {
                    break (head, head + body);
                }
                if buffer.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            };
            let control = buffer.strip_prefix(b"POST /bench/").map(|rest| {
                let name = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
                self.control(name)
            });
            if let Some(answer) = control {
                stream.write_all(answer.as_bytes()).await?;
            } else {
                self.webhook(&mut stream, buffer.get(head_bytes..whole_bytes).unwrap_or_default()).await?;
            }
            buffer.drain(..whole_bytes);
        }
    }

    async fn webhook(&self, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
        if self.away.load(Ordering::Relaxed) {
            return stream.write_all(AWAY).await;
        }
        if let Some(random) = random_of(body).filter(|random| is_sampled(*random)) {
            let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.entry(random).or_insert_with(unix_micros);
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        if self.two_writes {
            let (head, body) = ACCEPTED.split_at(ACCEPTED_BODY_AT);
            stream.write_all(head).await?;
            return stream.write_all(body).await;
        }
        stream.write_all(ACCEPTED).await
    }

    fn control(&self, name: &[u8]) -> String {
        let answer = match name {
            b"count" => self.accepted.load(Ordering::Relaxed).to_string(),
            b"away" => {
                self.away.store(true, Ordering::Relaxed);
                "null".to_owned()
            }
            b"back" => {
                self.away.store(false, Ordering::Relaxed);
                "null".to_owned()
            }
            _ => {
                // As pairs, a part at a time: an answer has a limit of its own.
                let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                let part: Vec<(u64, u64)> =
                    arrivals.iter().take(ARRIVALS_PER_PART).map(|(key, value)| (*key, *value)).collect();
                for (random, _) in &part {
                    arrivals.remove(random);
                }
                serde_json::to_string(&part).unwrap_or_default()
            }
        };
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())
    }
}

const ARRIVALS_PER_PART: usize = 4_000;

/// The value of the body's `Random`.
fn random_of(body: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"Random\":";
    let at = body.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let digits = body.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(body.get(at..at + digits)?).ok()?.parse().ok()
}

/// Length of head and body, once the head is there.
pub(super) fn request_sizes(buffer: &[u8]) -> Option<(usize, usize)> {
    let head_bytes = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(buffer.get(..head_bytes)?).ok()?;
    let length = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value).next();
    Some((head_bytes, length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)))
}

/// How the receiver answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// So long after the request.
    pub(super) latency: Duration,
    /// Head and body apart, with Nagle's algorithm on.
    pub(super) two_writes: bool,
}

/// The receiver's process, as the bench holds it. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct HookReceiver {
    child: Child,
    pub(super) addr: SocketAddr,
    connection: Connection,
    host: String,
}

impl HookReceiver {
    pub(super) async fn start(listen: SocketAddr, answers: Answers) -> anyhow::Result<Self> {
        let Answers { latency, two_writes } = answers;
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .args(["bench", "hook-receiver", "--latency", &humantime::format_duration(latency).to_string()])
            .args(["--addr", &listen.to_string()])
            .args(two_writes.then_some("--two-writes"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the receiver")?;
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().context("the receiver has no output")?).read_line(&mut line)?;
        let addr = line.trim().parse().context("the receiver did not say where it is")?;
        let host = format!("{addr}");
        let connection = Connection::open(&Target { addr, host: host.clone() }).await?;
        Ok(Self { child, addr, connection, host })
    }

    /// Where webhooks go.
    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub(super) async fn ask<T: serde::de::DeserializeOwned>(&mut self, what: &str) -> anyhow::Result<T> {
        let request = format!("POST /bench/{what} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", self.host);
        let answer = self.connection.exchange(request.as_bytes()).await.context("ask the receiver")?;
        serde_json::from_slice(answer).context("the receiver's answer")
    }

    /// Webhooks acknowledged so far.
    pub(super) async fn count(&mut self) -> anyhow::Result<u64> {
        self.ask("count").await
    }

    /// When sampled messages came, by `Random`; forgets them.
    pub(super) async fn take_arrivals(&mut self) -> anyhow::Result<HashMap<u64, u64>> {
        let mut all = HashMap::new();
        loop {
            let part: Vec<(u64, u64)> = self.ask("arrivals").await?;
            if part.is_empty() {
                return Ok(all);
            }
            all.extend(part);
        }
    }
}

impl Drop for HookReceiver {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_measured_and_its_random_is_found() {
        let request = b"POST /h?x=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 17\r\n\r\n{\"Random\":123456}";
        let (head, body) = request_sizes(request).expect("a whole head");
        assert_eq!((body, request.len()), (17, head + body));
        assert_eq!(random_of(&request[head..]), Some(123_456));
        assert_eq!(request_sizes(&request[..30]), None);
        assert_eq!(request_sizes(ACCEPTED).map(|(head, _)| head), Some(ACCEPTED_BODY_AT));
        let (head, body) = ACCEPTED.split_at(ACCEPTED_BODY_AT);
        assert_eq!(request_sizes(head).map(|sizes| sizes.1), Some(body.len()));
        serde_json::from_slice::<serde_json::Value>(body).expect("JSON");
    }
}
