//! What a listener promises: limits, TLS, and an end without cut requests.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::Extension,
    routing::{get, post},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use roomhook_edge::{
    listener::{Config, Drained, Listener, Peer, Tls, TlsFiles},
    telemetry::ListenerMetrics,
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinHandle,
};

/// A server of this test's own, stopped by [`Server::stop`].
struct Server {
    addr: SocketAddr,
    registry: Registry,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

impl Server {
    fn start(config: Config, router: Router) -> Self {
        let mut registry = Registry::default();
        let metrics = ListenerMetrics::register(&mut registry, "test");
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config, metrics).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(listener.serve(router, async { stopped.await.unwrap_or_default() }));
        Self { addr, registry, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    fn metric(&self, line: &str) -> bool {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.lines().any(|found| found == line)
    }

    async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        self.served.await.unwrap()
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Sends one request and reads what comes until `hello` or the end.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    if stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.is_err() {
        return String::new();
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") && stream.read_buf(&mut answer).await.unwrap_or(0) > 0 {}
    String::from_utf8(answer).unwrap()
}

/// Reads to the end, which must come before the deadline.
async fn ends(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    // A reset is an end too.
    let _ = read.expect("the server closes the connection in time");
    rest
}

#[tokio::test]
async fn a_handler_sees_who_called() {
    let whoami =
        Router::new().route("/", get(|Extension(peer): Extension<Peer>| async move { peer.addr().to_string() }));
    let server = Server::start(Config::default(), whoami);
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(ends(&mut client).await).unwrap();
    assert!(answer.ends_with(&client.local_addr().unwrap().to_string()), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_a_place() {
    let server = Server::start(Config { connections_max: 1, ..Config::default() }, hello());
    let mut first = server.connect().await;
    assert!(ask(&mut first).await.starts_with("HTTP/1.1 200"));
    let mut second = server.connect().await;
    let waiting = tokio::spawn(async move { ask(&mut second).await });
    assert!(ask(&mut first).await.ends_with("hello"));
    assert!(server.metric("roomhook_connections_open{listener=\"test\"} 1"));
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.unwrap().ends_with("hello"));
    server.stop().await;
}

#[tokio::test]
async fn who_says_nothing_or_only_half_a_head_is_closed() {
    let config = Config { first_request_timeout: Duration::from_millis(50), ..Config::default() };
    let server = Server::start(config, hello());
    for beginning in ["", "P", "PRI * HTT", "GET / HTTP/1.1\r\nhost: te"] {
        let mut client = server.connect().await;
        client.write_all(beginning.as_bytes()).await.unwrap();
        assert!(!ends(&mut client).await.starts_with(b"HTTP/1.1 200"), "{beginning:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (first_request_timeout, idle_timeout) = (Duration::from_millis(500), Duration::from_millis(20));
    let config = Config { first_request_timeout, idle_timeout, ..Config::default() };
    let server = Server::start(config, slow(&began, &go_on));
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    began.notified().await;
    // Long enough for the watchdog to look several times: a request in work is not idling.
    tokio::time::sleep(first_request_timeout + 10 * idle_timeout).await;
    assert!(server.metric("roomhook_connections_open{listener=\"test\"} 1"));
    go_on.notify_one();
    let answer = String::from_utf8(ends(&mut client).await).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(server.metric("roomhook_connections_idle_closed_total{listener=\"test\"} 1"));
    server.stop().await;
}

/// The status that this head is answered with, on a connection that must end then.
async fn status_of(server: &Server, head: &str) -> String {
    let mut client = server.connect().await;
    client.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let answer = String::from_utf8(ends(&mut client).await).unwrap();
    answer.split(' ').nth(1).unwrap_or("nothing").to_owned()
}

#[tokio::test]
async fn a_request_is_for_one_host() {
    let server = Server::start(Config::default(), hello());
    for (head, status) in [
        ("GET / HTTP/1.1\r\nconnection: close", "400"),
        ("GET / HTTP/1.1", "400"),
        ("GET http://one.test/ HTTP/1.1\r\nconnection: close", "400"),
        ("GET / HTTP/1.1\r\nhost: one.test\r\nhost: two.test", "400"),
        ("GET / HTTP/1.1\r\nhost: one.test\r\nHost: one.test", "400"),
        ("GET / HTTP/1.0\r\nhost: one.test\r\nhost: two.test", "400"),
        ("GET / HTTP/1.1\r\nhost: one.test/path", "400"),
        ("GET / HTTP/1.1\r\nhost: me@one.test", "400"),
        ("GET / HTTP/1.1\r\nhost: one.test:80, two.test", "400"),
        ("GET / HTTP/1.1\r\nhost: one.test:8080\r\nconnection: close", "200"),
        ("GET / HTTP/1.1\r\nhost: [::1]:8080\r\nconnection: close", "200"),
        ("GET / HTTP/1.1\r\nhost:\r\nconnection: close", "200"),
        ("GET / HTTP/1.0", "200"),
    ] {
        assert_eq!(status_of(&server, head).await, status, "{head:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_coded_in_more_than_chunks_is_not_taken() {
    let server = Server::start(Config::default(), Router::new().route("/", post(|body: String| async { body })));
    let chunks = "\r\n\r\n5\r\nhello\r\n0";
    for (coding, status) in [
        ("gzip, chunked", "501"),
        ("gzip\r\ntransfer-encoding: chunked", "501"),
        ("identity, chunked", "501"),
        ("chunked, chunked", "400"),
        ("chunked\r\nconnection: close", "200"),
        ("Chunked\r\nconnection: close", "200"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: {coding}{chunks}");
        assert_eq!(status_of(&server, &head).await, status, "{coding:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_head_is_refused_and_the_server_goes_on() {
    let server = Server::start(Config::default(), hello());
    let mut greedy = server.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let _ = greedy.write_all(head.as_bytes()).await;
    assert!(!ends(&mut greedy).await.starts_with(b"HTTP/1.1 200"));
    assert!(ask(&mut server.connect().await).await.ends_with("hello"));
    server.stop().await;
}

/// A handler that says when it began and answers when it is told to.
fn slow(began: &Arc<Notify>, go_on: &Arc<Notify>) -> Router {
    let (began, go_on) = (Arc::clone(began), Arc::clone(go_on));
    let handler = move || {
        let (began, go_on) = (Arc::clone(&began), Arc::clone(&go_on));
        async move {
            began.notify_one();
            go_on.notified().await;
            "hello"
        }
    };
    Router::new().route("/", get(handler))
}

#[tokio::test]
async fn a_stop_lets_requests_in_work_finish_and_closes_the_rest() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Server::start(Config::default(), slow(&began, &go_on));
    let mut silent = server.connect().await;
    let mut working = server.connect().await;
    let answer = tokio::spawn(async move { ask(&mut working).await });
    began.notified().await;
    let addr = server.addr;
    let stopped = tokio::spawn(server.stop());
    ends(&mut silent).await;
    assert!(TcpStream::connect(addr).await.is_err(), "nobody new is accepted");
    assert!(!stopped.is_finished());
    go_on.notify_one();
    assert!(answer.await.unwrap().ends_with("hello"));
    assert_eq!(stopped.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_at_the_deadline() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let config = Config { drain_deadline: Duration::from_millis(20), ..Config::default() };
    let server = Server::start(config, slow(&began, &go_on));
    let mut working = server.connect().await;
    let answer = tokio::spawn(async move { ask(&mut working).await });
    began.notified().await;
    assert_eq!(server.stop().await, Drained { cut: 1 });
    assert_eq!(answer.await.unwrap(), "");
}

struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { cert: self.dir.path().join("cert.pem"), key: self.dir.path().join("key.pem") }
    }

    /// Writes a new pair and returns a client that trusts exactly that one.
    fn renew(&self) -> tokio_rustls::TlsConnector {
        let made = rcgen::generate_simple_self_signed(vec!["chat.test".to_owned()]).unwrap();
        std::fs::write(self.files().cert, made.cert.pem()).unwrap();
        std::fs::write(self.files().key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(client).into()
    }
}

async fn ask_tls(server: &Server, client: &tokio_rustls::TlsConnector) -> std::io::Result<String> {
    let name = ServerName::try_from("chat.test").unwrap();
    let mut stream = client.connect(name, server.connect().await).await?;
    Ok(ask(&mut stream).await)
}

#[tokio::test]
async fn https_is_served_and_a_new_certificate_is_taken_over_while_running() {
    let certificates = Certificates::new();
    let old = certificates.renew();
    let tls = Arc::new(Tls::load(certificates.files()).unwrap());
    let config = Config {
        tls: Some(tls),
        tls_refresh_every: Duration::from_millis(5),
        tls_handshake_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    let server = Server::start(config, hello());
    assert!(ask_tls(&server, &old).await.unwrap().ends_with("hello"));

    let new = certificates.renew();
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask_tls(&server, &new).await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate is in use by now");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(ask_tls(&server, &old).await.is_err());

    // Plain text and silence on the TLS port end by themselves.
    let mut plain = server.connect().await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(!ends(&mut plain).await.starts_with(b"HTTP"));
    ends(&mut server.connect().await).await;
    assert!(ask_tls(&server, &new).await.unwrap().ends_with("hello"));
    server.stop().await;
}

/// As a proxy on this machine, or as a stranger when nobody here is trusted.
async fn whoami_after(header: &[u8], trusted: &str) -> String {
    let whoami =
        Router::new().route("/", get(|Extension(peer): Extension<Peer>| async move { peer.addr().ip().to_string() }));
    let config = Config {
        proxy_protocol: true,
        trusted_proxies: Arc::new([trusted.parse().unwrap()]),
        first_request_timeout: Duration::from_millis(100),
        ..Config::default()
    };
    let server = Server::start(config, whoami);
    let mut client = server.connect().await;
    // A refusal may come before all is sent.
    let _ = client.write_all(&[header, b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"].concat()).await;
    let answer = String::from_utf8(ends(&mut client).await).unwrap();
    let refused = server.metric("roomhook_connections_proxy_refused_total{listener=\"test\"} 1");
    server.stop().await;
    let status = answer.split(' ').nth(1).unwrap_or(if refused { "refused" } else { "closed" });
    if status == "200" { answer.lines().last().unwrap_or_default().to_owned() } else { status.to_owned() }
}

const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\xdc\x04\x01\xbb";

#[tokio::test]
async fn a_trusted_proxy_says_by_the_proxy_protocol_whose_connection_it_is() {
    let line = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n";
    assert_eq!(whoami_after(line, "127.0.0.0/8").await, "203.0.113.9");
    assert_eq!(whoami_after(PROXY_V2, "127.0.0.0/8").await, "203.0.113.9");
    assert_eq!(whoami_after(b"PROXY UNKNOWN\r\n", "127.0.0.0/8").await, "127.0.0.1");
    for wrong in [&b""[..], b"PROXY TCP4 nobody\r\n", b"PROXY ", &[b'x'; 300]] {
        assert_eq!(whoami_after(wrong, "127.0.0.0/8").await, "refused", "{}", wrong.escape_ascii());
    }
}

#[tokio::test]
async fn nobody_else_can_name_a_client() {
    assert_eq!(whoami_after(b"", "10.0.0.0/8").await, "127.0.0.1");
    for header in [&b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n"[..], PROXY_V2] {
        let told = whoami_after(header, "10.0.0.0/8").await;
        assert!(told == "400" || told == "closed", "{told}");
    }
}

#[tokio::test]
async fn half_a_proxy_header_is_not_waited_for_for_long() {
    let config = Config {
        proxy_protocol: true,
        trusted_proxies: Arc::new(["127.0.0.1".parse().unwrap()]),
        first_request_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let server = Server::start(config, hello());
    for beginning in [&b""[..], b"PROXY TCP4 203.0.113.9 192.0.2.1 56", &PROXY_V2[..20]] {
        let mut client = server.connect().await;
        client.write_all(beginning).await.unwrap();
        assert_eq!(ends(&mut client).await, b"", "cut, without a word");
    }
    server.stop().await;
}
