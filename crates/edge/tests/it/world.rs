//! A server in a test: real shards on a log in memory, the real doors on a real socket.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use prometheus_client::{encoding::text::encode, registry::Registry};
use roomhook_edge::{
    Doors, Entropy, Services,
    apps::{App, Apps},
    auth::{Authenticator, CacheLimits},
    listener::{self, Drained, Listener},
    publish::{Gate, Publisher},
    realtime::{self, Realtime},
    rest::{self, Rest},
    telemetry::{AuthMetrics, ListenerMetrics, RestMetrics},
};
use roomhook_log::{LogId, LogRead, Lsn, MemoryLog};
use roomhook_protocol::{
    message::Limits,
    usersig::{Mint, mint},
};
use roomhook_room::{AppId, Event, Message, RoomId, RoomKey, UnixMillis, UserId, decode_record};
use roomhook_shard::Shards;
use serde_json::Value;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

pub(crate) const APP: AppId = AppId(1_400_000_001);
pub(crate) const KEY: &str = "secret";
pub(crate) const ADMIN: &str = "administrator";
/// 2026-01-01 00:00:00 UTC.
pub(crate) const NEW_YEAR: UnixMillis = UnixMillis(1_767_225_600_000);

const SHARDS: u16 = 2;

/// What a test may want otherwise.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) gate: Option<Arc<dyn Gate>>,
    pub(crate) listener: listener::Config,
    pub(crate) backend_timeout: Duration,
    pub(crate) shard: roomhook_shard::Config,
    pub(crate) realtime: realtime::Config,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gate: None,
            listener: listener::Config::default(),
            backend_timeout: Duration::from_secs(30),
            shard: roomhook_shard::Config::default(),
            realtime: realtime::Config {
                close_timeout: Duration::from_millis(200),
                shutdown_spread: Duration::ZERO,
                ..realtime::Config::default()
            },
        }
    }
}

pub(crate) struct World {
    pub(crate) addr: SocketAddr,
    pub(crate) log: MemoryLog,
    pub(crate) services: Services,
    pub(crate) rest: Arc<Rest>,
    pub(crate) realtime: Realtime,
    now_ms: Arc<AtomicU64>,
    registry: Registry,
    shards: Shards,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let log = MemoryLog::new(SHARDS);
        let now_ms = Arc::new(AtomicU64::new(NEW_YEAR.0));
        let clock: roomhook_shard::Clock = {
            let now_ms = Arc::clone(&now_ms);
            Arc::new(move || UnixMillis(now_ms.load(Ordering::SeqCst)))
        };
        let mut registry = Registry::default();
        let shared: Arc<dyn roomhook_log::Log> = Arc::new(log.clone());
        let shards =
            roomhook_shard::start(shared, SHARDS, options.shard, Arc::clone(&clock), &mut registry).await.unwrap();

        let admins = HashSet::from([UserId::new(ADMIN).unwrap()]);
        let app = App { id: APP, key: KEY.into(), admins, disabled: false };
        let apps = Arc::new(Apps::new(vec![app]).unwrap());
        let auth_metrics = AuthMetrics::register(&mut registry);
        let authenticator = Arc::new(Authenticator::new(Arc::clone(&apps), CacheLimits::default(), auth_metrics));
        let counter = AtomicU64::new(0);
        let entropy = Entropy::new(move || counter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed));
        let publisher = Publisher::new(
            shards.router.clone(),
            shards.directory.clone(),
            options.gate,
            Limits::default(),
            entropy.clone(),
            options.backend_timeout,
        );
        let services = Services {
            router: shards.router.clone(),
            directory: shards.directory.clone(),
            apps,
            authenticator,
            publisher,
            clock,
            entropy,
        };
        let config = rest::Config { backend_timeout: options.backend_timeout, ..rest::Config::default() };
        let rest = Arc::new(Rest::new(services.clone(), config, RestMetrics::register(&mut registry)));
        let metrics = ListenerMetrics::register(&mut registry, "test");
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), options.listener, metrics).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let realtime = Realtime::start(services.clone(), options.realtime, &mut registry).await.unwrap();
        let doors = Doors::new(Arc::clone(&rest), realtime.router());
        let served = tokio::spawn(listener.serve(doors, async { stopped.await.unwrap_or_default() }));
        Self { addr, log, services, rest, realtime, now_ms, registry, shards, stop, served }
    }

    /// With a room called `lobby` and the accounts `ann` and `bob`.
    pub(crate) async fn with_lobby() -> Self {
        let world = Self::new().await;
        world.furnish().await;
        world
    }

    pub(crate) async fn furnish(&self) {
        self.ok("im_open_login_svc/multiaccount_import", r#"{"Accounts":["ann","bob"]}"#).await;
        let room = r#"{"RoomInfo":{"RoomId":"lobby","RoomType":"Live","Owner_Account":"ann"}}"#;
        self.ok("live_engine_http_srv/create_room", room).await;
    }

    pub(crate) fn now_is(&self, now: UnixMillis) {
        self.now_ms.store(now.0, Ordering::SeqCst);
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// One call by the admin on a connection of its own.
    pub(crate) async fn call(&self, command: &str, body: &str) -> Value {
        self.client().await.call(command, body.to_owned()).await
    }

    pub(crate) async fn ok(&self, command: &str, body: &str) -> Value {
        let answer = self.call(command, body).await;
        assert_eq!(answer["ErrorCode"], 0, "{command} {body}: {answer}");
        assert_eq!(answer["ActionStatus"], "OK");
        answer
    }

    pub(crate) async fn code(&self, command: &str, body: &str) -> i64 {
        code_of(&self.call(command, body).await)
    }

    /// The messages in the log of a room, in order.
    pub(crate) async fn messages(&self, room: &str) -> Vec<Message> {
        let key = RoomKey { app: APP, room: RoomId::new(room).unwrap() };
        let log = LogId((key.stable_hash() % u64::from(SHARDS)) as u16);
        let key = roomhook_log::Key(key.to_bytes());
        let records = self.log.last(log, &key, Lsn(u64::MAX), 10_000).await.unwrap();
        let events = records.iter().flat_map(|record| decode_record(&record.payload).unwrap());
        events
            .filter_map(|event| match event {
                Event::MessageSent(message) => Some(message),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(crate) async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        let drained = self.served.await.unwrap();
        self.realtime.shutdown().await;
        self.shards.shutdown().await;
        drained
    }
}

pub(crate) fn code_of(answer: &Value) -> i64 {
    let code = answer["ErrorCode"].as_i64().unwrap_or_else(|| panic!("no ErrorCode in {answer}"));
    let status = if code == 0 { "OK" } else { "FAIL" };
    assert_eq!(answer["ActionStatus"], status, "{answer}");
    assert!(code == 0 || answer["ErrorInfo"].as_str().is_some_and(|info| !info.is_empty()), "{answer}");
    code
}

/// A UserSig that lasts through every test.
pub(crate) fn usersig(userid: &str, key: &str) -> String {
    let now_secs = NEW_YEAR.secs() - 100;
    mint(&Mint { sdkappid: APP.0, key, userid, expire_secs: 86_400, now_secs, userbuf: None })
}

/// The query of a good call by the admin.
pub(crate) fn query() -> String {
    format!("sdkappid={APP}&identifier={ADMIN}&usersig={}&random=99&contenttype=json", usersig(ADMIN, KEY))
}

/// A keep-alive connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    query: String,
}

impl Client {
    async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move {
            // Ends when the sender is dropped or the server closes.
            let _ = connection.await;
        });
        Self { sender, query: query() }
    }

    pub(crate) async fn call(&mut self, command: &str, body: impl Into<Bytes>) -> Value {
        let uri = format!("/v4/{command}?{}", self.query);
        self.send(Method::POST, &uri, &[], body).await
    }

    /// Any request; the answer must be one of this API in form.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Value {
        let (status, headers, body) = self.exchange(method, uri, headers, body.into()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["content-type"], "application/json");
        serde_json::from_slice(&body).unwrap()
    }

    async fn exchange(
        &mut self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::builder().method(method).uri(uri).header("host", "chat.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        self.sender.ready().await.unwrap();
        let (parts, body) = self.sender.send_request(request).await.unwrap().into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }
}
