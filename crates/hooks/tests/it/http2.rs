//! Endpoints that offer HTTP/2: streams side by side on few connections, and every way in which such an endpoint can go
//! wrong in the middle of them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use roomhook_hooks::Config;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{
    misbehaving::{default, first_failure, wait_for_status},
    receiver::OK,
    tls::Authority,
    world::{World, config, endpoint},
};

/// For stories in which nothing should time out, however busy the machine is.
const PATIENT: Duration = Duration::from_secs(15);

/// What to do with one request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer,
    /// Answers, and says that no more requests are wanted on this connection.
    AnswerAndLeave,
    /// Closes the connection without a word, with all that is on its way there.
    Cut,
    /// Never answers.
    Hang,
    Reset(Reason),
    /// More header bytes than anybody reads.
    FloodOfHeaders,
    /// A body that does not end.
    EndlessBody,
}

/// How a server parts with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    InOrder,
    AtOnce,
}

/// One request as it came.
#[derive(Clone, Copy, Debug)]
struct Came {
    connection: usize,
    seq: u64,
    attempt: u32,
}

type Rule = dyn Fn(Came) -> Act + Send + Sync;

struct Seen {
    came: Mutex<Vec<Came>>,
    count: watch::Sender<usize>,
    open: AtomicUsize,
    open_max: AtomicUsize,
    /// Requests are answered while it has permits.
    gate: Semaphore,
    rule: Box<Rule>,
}

struct Server {
    url: String,
    authority: Authority,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Speaks HTTP/2 over TLS; `streams` is what it allows at once on a connection.
    async fn start(streams: u32, permits: usize, rule: impl Fn(Came) -> Act + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.issue("localhost", |_| {});
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        let mut tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("tls")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("https://localhost:{}/hook?a=b", listener.local_addr().expect("address").port());
        let seen = Arc::new(Seen {
            came: Mutex::default(),
            count: watch::channel(0).0,
            open: AtomicUsize::new(0),
            open_max: AtomicUsize::new(0),
            gate: Semaphore::new(permits),
            rule: Box::new(rule),
        });
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                connections.spawn(serve(acceptor.clone(), stream, connection, streams, shared.clone()));
            }
        });
        Self { url, authority, seen, task }
    }

    async fn world(&self, change: impl FnOnce(&mut Config)) -> World {
        let mut endpoint = endpoint(&self.url);
        endpoint.extra_roots_pem = self.authority.0.pem();
        let mut config = config();
        config.allow.push("::1".parse().expect("net"));
        change(&mut config);
        World::with(config, vec![endpoint]).await
    }

    async fn wait_for(&self, count: usize) -> Vec<Came> {
        let mut counted = self.seen.count.subscribe();
        let waiting = counted.wait_for(|came| *came >= count);
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").expect("open");
        self.came()
    }

    fn came(&self) -> Vec<Came> {
        self.seen.came.lock().expect("came").clone()
    }

    fn connections(&self) -> usize {
        self.came().iter().map(|came| came.connection + 1).max().unwrap_or(0)
    }
}

async fn serve(
    acceptor: tokio_rustls::TlsAcceptor,
    stream: TcpStream,
    connection: usize,
    streams: u32,
    seen: Arc<Seen>,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let handshake = h2::server::Builder::new().max_concurrent_streams(streams).handshake::<_, Bytes>(stream).await;
    let Ok(mut http) = handshake else { return };
    let mut tasks = JoinSet::new();
    let (leave, mut leaving) = watch::channel(Leave::No);
    loop {
        let accepted = tokio::select! {
            accepted = http.accept() => accepted,
            Ok(()) = leaving.changed() => {
                if *leaving.borrow_and_update() == Leave::AtOnce {
                    return;
                }
                http.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        tasks.spawn(one(request, respond, connection, seen.clone(), leave.clone()));
    }
}

async fn one(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    seen: Arc<Seen>,
    leave: watch::Sender<Leave>,
) {
    assert_eq!((request.uri().path(), request.uri().scheme_str()), ("/hook", Some("https")));
    assert!(request.uri().query().is_some_and(|query| query.starts_with("a=b&SdkAppid=")), "{}", request.uri());
    let attempt = request.headers()["roomhook-attempt"].to_str().expect("text").parse().expect("number");
    let mut stream = request.into_body();
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let came = Came { connection, seq: body["MsgSeq"].as_u64().unwrap_or(0), attempt };
    seen.came.lock().expect("came").push(came);
    let open = seen.open.fetch_add(1, Ordering::AcqRel) + 1;
    seen.open_max.fetch_max(open, Ordering::AcqRel);
    seen.count.send_modify(|count| *count += 1);
    let _permit = seen.gate.acquire().await;
    act((seen.rule)(came), &mut respond, &leave).await;
    seen.open.fetch_sub(1, Ordering::AcqRel);
}

async fn act(act: Act, respond: &mut SendResponse<Bytes>, leave: &watch::Sender<Leave>) {
    let mut response = http::Response::new(());
    let body = match act {
        Act::Hang => return std::future::pending().await,
        Act::Cut => {
            let _ = leave.send(Leave::AtOnce);
            return std::future::pending().await;
        }
        Act::Reset(reason) => return respond.send_reset(reason),
        Act::FloodOfHeaders => {
            for number in 0..200 {
                let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).expect("name");
                response.headers_mut().insert(name, "v".repeat(200).parse().expect("value"));
            }
            Bytes::from_static(OK.as_bytes())
        }
        Act::AnswerAndLeave => {
            let _ = leave.send(Leave::InOrder);
            Bytes::from_static(OK.as_bytes())
        }
        Act::Answer => Bytes::from_static(OK.as_bytes()),
        Act::EndlessBody => {
            let Ok(mut stream) = respond.send_response(response, false) else { return };
            while stream.send_data(Bytes::from(vec![b'x'; 16_384]), false).is_ok() {
                stream.reserve_capacity(16_384);
                let _ = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            }
            return;
        }
    };
    if let Ok(mut stream) = respond.send_response(response, false) {
        let _ = stream.send_data(body, true);
    }
}

async fn say_in_rooms(world: &mut World, rooms: usize, each: usize) {
    for _ in 0..each {
        for room in 0..rooms {
            world.say(&format!("r{room}"), "x").await;
        }
    }
}

async fn delivered(world: &World, count: u64) {
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == count).await;
}

#[tokio::test]
async fn many_rooms_share_few_connections_and_never_exceed_the_concurrency() {
    let server = Server::start(1_000, 0, |_| Act::Answer).await;
    let settings =
        |config: &mut Config| (config.concurrency, config.timeout) = (48.try_into().expect("limit"), PATIENT);
    let mut world = server.world(settings).await;
    say_in_rooms(&mut world, 60, 2).await;
    server.wait_for(48).await;
    assert_eq!(server.connections(), 2, "48 at once, 32 on each connection");
    server.seen.gate.add_permits(10_000);
    delivered(&world, 120).await;
    assert_eq!(server.seen.open_max.load(Ordering::Acquire), 48);
    assert_eq!(server.connections(), 2);
    assert!(server.came().iter().all(|came| came.attempt == 1));
    world.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_allows_few_streams_is_not_asked_for_more() {
    let server = Server::start(4, 1_000, |_| Act::Answer).await;
    let mut world = server.world(|config| config.timeout = PATIENT).await;
    say_in_rooms(&mut world, 30, 5).await;
    delivered(&world, 150).await;
    assert!(server.came().iter().all(|came| came.attempt == 1), "nothing was refused");
    world.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_allows_one_stream_gets_one_request_per_connection_and_none_waits_behind_another() {
    let server = Server::start(1, 0, |_| Act::Answer).await;
    let settings = |config: &mut Config| (config.concurrency, config.timeout) = (6.try_into().expect("limit"), PATIENT);
    let mut world = server.world(settings).await;
    say_in_rooms(&mut world, 6, 2).await;
    // All six are there although none is answered.
    let came = server.wait_for(6).await;
    let mut connections: Vec<usize> = came.iter().map(|came| came.connection).collect();
    connections.sort_unstable();
    assert_eq!(connections, [0, 1, 2, 3, 4, 5], "a connection each");
    server.seen.gate.add_permits(1_000);
    delivered(&world, 12).await;
    assert_eq!(server.connections(), 6, "they are kept");
    assert!(server.came().iter().all(|came| came.attempt == 1));
    world.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_allows_no_streams_is_not_sent_any() {
    let server = Server::start(0, 1_000, |_| Act::Answer).await;
    let mut world = server.world(|config| config.timeout = Duration::from_millis(200)).await;
    world.say("r", "x").await;
    let failure = first_failure(world.hooks()).await;
    assert!(failure.problem.as_deref().is_some_and(|reason| reason.contains("no full answer in time")), "{failure:?}");
    assert!(server.came().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_leaves_in_good_order_costs_no_failure() {
    let server =
        Server::start(100, 1_000, |came| if came.seq % 3 == 0 { Act::AnswerAndLeave } else { Act::Answer }).await;
    let mut world = server.world(|_| {}).await;
    say_in_rooms(&mut world, 8, 30).await;
    delivered(&world, 240).await;
    assert!(server.connections() > 1, "it was reached over new connections");
    let failures = world.hooks().attempts(&default(), true, 10).expect("attempts");
    assert!(failures.is_empty(), "{failures:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_connection_that_was_good_and_ends_without_a_word_costs_no_failure_and_a_new_one_that_does_has_failed() {
    // Each connection but the last takes a second request and ends.
    let answered = Mutex::new(std::collections::HashSet::new());
    let server = Server::start(100, 1_000, move |came| {
        let is_first = answered.lock().expect("answered").insert(came.connection);
        if is_first || came.connection >= 5 { Act::Answer } else { Act::Cut }
    })
    .await;
    let mut world = server.world(|config| config.timeout = PATIENT).await;
    for _ in 0..10 {
        world.say("r", "x").await;
    }
    delivered(&world, 10).await;
    let failures = world.hooks().attempts(&default(), true, 10).expect("attempts");
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(server.connections(), 6);
    world.stop().await;

    let server = Server::start(100, 1_000, |came| if came.attempt == 1 { Act::Cut } else { Act::Answer }).await;
    let mut world = server.world(|config| config.timeout = PATIENT).await;
    world.say("r", "x").await;
    delivered(&world, 1).await;
    assert_eq!(world.hooks().attempts(&default(), true, 10).expect("attempts").len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_and_a_reset_one_has_failed() {
    let refused = AtomicUsize::new(0);
    let server = Server::start(100, 1_000, move |came| match (came.seq, came.attempt) {
        (1, _) if refused.fetch_add(1, Ordering::AcqRel) == 0 => Act::Reset(Reason::REFUSED_STREAM),
        (2, 1) => Act::Reset(Reason::INTERNAL_ERROR),
        _ => Act::Answer,
    })
    .await;
    let mut world = server.world(|_| {}).await;
    world.say("r", "refused once").await;
    delivered(&world, 1).await;
    let failures = world.hooks().attempts(&default(), true, 10).expect("attempts");
    assert!(failures.is_empty(), "it was not looked at: {failures:?}");
    world.say("r", "broken once").await;
    delivered(&world, 2).await;
    let failure = first_failure(world.hooks()).await;
    assert_eq!((failure.seq, failure.number, failure.status), (2, 1, None), "{failure:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_stream_that_never_answers_times_out_and_its_neighbours_go_on() {
    let server =
        Server::start(100, 1_000, |came| if came.seq == 2 && came.attempt == 1 { Act::Hang } else { Act::Answer })
            .await;
    let mut world = server.world(|config| config.timeout = Duration::from_millis(200)).await;
    say_in_rooms(&mut world, 4, 3).await;
    delivered(&world, 12).await;
    let failure = first_failure(world.hooks()).await;
    assert!(failure.problem.as_deref().is_some_and(|reason| reason.contains("no full answer in time")), "{failure:?}");
    assert_eq!(failure.seq, 2);
    world.stop().await;
}

#[tokio::test]
async fn floods_of_headers_and_endless_bodies_are_refused() {
    for flood in [Act::FloodOfHeaders, Act::EndlessBody] {
        let server = Server::start(100, 1_000, move |came| if came.attempt == 1 { flood } else { Act::Answer }).await;
        let mut world = server.world(|_| {}).await;
        world.say("r", "x").await;
        delivered(&world, 1).await;
        let failure = first_failure(world.hooks()).await;
        assert_eq!(failure.status, None, "{flood:?}: {failure:?}");
        if matches!(flood, Act::EndlessBody) {
            assert!(failure.problem.as_deref().is_some_and(|reason| reason.contains("longer than")), "{failure:?}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn without_http2_in_the_settings_it_is_not_offered() {
    // This server speaks nothing else, so the handshake fails: that is how the test sees what was offered.
    let server = Server::start(100, 1_000, |_| Act::Answer).await;
    let mut world = server.world(|config| config.http2 = false).await;
    world.say("r", "x").await;
    let failure = first_failure(world.hooks()).await;
    assert!(failure.problem.as_deref().is_some_and(|reason| reason.contains("NoApplicationProtocol")), "{failure:?}");
    world.stop().await;
}
