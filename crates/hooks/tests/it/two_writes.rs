//! Receivers as people write them first: head and body of an answer in two writes, and nothing said about Nagle's
//! algorithm. Their kernel holds the body back until ours has acknowledged the head.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    misbehaving::wait_for_status,
    receiver::OK,
    tls::Authority,
    world::{World, config, endpoint},
};

/// How long the kernel waits with an acknowledgement for something to send along with it, at least.
const DELAYED_ACK: Duration = Duration::from_millis(40);

struct Receiver {
    port: u16,
    /// When each request came.
    came: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let came = Arc::<Mutex<Vec<Instant>>>::default();
        let seen = came.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                assert!(!stream.nodelay().expect("nodelay"), "nobody said so");
                connections.spawn(connection(stream, tls.clone(), seen.clone()));
            }
        });
        Self { port, came, task }
    }

    /// Between one request and the next.
    fn gaps(&self) -> Vec<Duration> {
        self.came.lock().expect("came").windows(2).map(|two| two[1] - two[0]).collect()
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, came: Arc<Mutex<Vec<Instant>>>) -> io::Result<()> {
    match tls {
        Some(acceptor) => answer(acceptor.accept(stream).await?, came).await,
        None => answer(stream, came).await,
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, came: Arc<Mutex<Vec<Instant>>>) -> io::Result<()> {
    let mut got = Vec::new();
    loop {
        // A webhook is one JSON object, and ends with it.
        while !got.ends_with(b"}") {
            if stream.read_buf(&mut got).await? == 0 {
                return Ok(());
            }
        }
        got.clear();
        came.lock().expect("came").push(Instant::now());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", OK.len());
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
        stream.write_all(OK.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// Sixty webhooks of one room, one after the other.
async fn deliver(receiver: &Receiver, url: &str, authority: Option<&Authority>) {
    let mut endpoint = endpoint(url);
    endpoint.timeout_ms = Some(30_000);
    let mut config = config();
    config.allow.push("::1".parse().expect("net"));
    if let Some(authority) = authority {
        endpoint.extra_roots_pem = authority.0.pem();
    }
    let mut world = World::with(config, vec![endpoint]).await;
    for _ in 0..60 {
        world.say("r", "hello").await;
    }
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 60).await;
    world.stop().await;
    // A new connection is acknowledged at once for a while in any case. After that, each delivery took as long as the
    // kernel waits; and however busy this machine is, a quarter of them is faster than that now.
    let gaps = receiver.gaps().split_off(19);
    let quick = gaps.iter().filter(|gap| **gap < DELAYED_ACK / 2).count();
    assert!(quick >= 10, "{quick} of {} deliveries waited for no acknowledgement: {gaps:?}", gaps.len());
}

#[tokio::test]
async fn a_receiver_that_writes_head_and_body_apart_is_acknowledged_at_once() {
    let receiver = Receiver::start(None).await;
    deliver(&receiver, &format!("http://127.0.0.1:{}/", receiver.port), None).await;
}

#[tokio::test]
async fn so_is_one_behind_tls() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost", |_| {});
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("tls")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("certificate");
    let receiver = Receiver::start(Some(TlsAcceptor::from(Arc::new(tls)))).await;
    deliver(&receiver, &format!("https://localhost:{}/", receiver.port), Some(&authority)).await;
}
