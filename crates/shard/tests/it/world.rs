//! A server of shards on a memory log, told in few words.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use roomhook_log::{Log, LogId, LogRead as _, Lsn, MemoryLog, Record};
use roomhook_room::{
    AppId, Command, ContentHash, CreateRoom, Draft, Event, Incarnation, MsgId, Origin, Platform, Priority, Receipt,
    RoomId, RoomInfo, RoomKey, Sent, UnixMillis, UserId, decode_record,
};
use roomhook_shard::{Config, Directory, ExecuteError, NodeId, Ownership, RoomView, Router, Shards, start};

pub(crate) const APP: AppId = AppId(1_400_000_001);

pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) router: Router,
    pub(crate) directory: Directory,
    pub(crate) ownership: Ownership,
    shards: Shards,
    pub(crate) config: Config,
    count: u16,
    pub(crate) clock: TestClock,
    pub(crate) registry: Registry,
}

/// A clock that stands still unless told, and panics once when asked to.
#[derive(Clone)]
pub(crate) struct TestClock {
    ms: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
}

impl TestClock {
    fn new() -> Self {
        Self { ms: Arc::new(AtomicU64::new(1_700_000_000_000)), broken: Arc::default() }
    }

    pub(crate) fn wait(&self, ms: u64) {
        self.ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn panic_once(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    pub(crate) fn repair(&self) {
        self.broken.store(false, Ordering::Relaxed);
    }

    fn now(&self) -> UnixMillis {
        assert!(!self.broken.swap(false, Ordering::Relaxed), "the clock broke, as the test asked");
        UnixMillis(self.ms.load(Ordering::Relaxed))
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(1, Config::default()).await
    }

    pub(crate) async fn with(count: u16, config: Config) -> Self {
        Self::on(MemoryLog::new(count), count, config, TestClock::new()).await
    }

    async fn on(log: MemoryLog, count: u16, config: Config, clock: TestClock) -> Self {
        Self::start(Arc::new(log.clone()), log, count, config, clock).await
    }

    /// On `store`, which stands before `log`.
    pub(crate) async fn over(store: Arc<dyn Log>, log: MemoryLog, count: u16, config: Config) -> Self {
        Self::start(store, log, count, config, TestClock::new()).await
    }

    async fn start(store: Arc<dyn Log>, log: MemoryLog, count: u16, config: Config, clock: TestClock) -> Self {
        let mut registry = Registry::default();
        let ticking = clock.clone();
        let now = Arc::new(move || ticking.now());
        let shards = start(store, count, config.clone(), now, &mut registry).await.unwrap();
        let (router, directory, ownership) =
            (shards.router.clone(), shards.directory.clone(), shards.ownership.clone());
        Self { log, router, directory, ownership, shards, config, count, clock, registry }
    }

    /// Another process that claims all logs, while this one still believes that they are its own.
    pub(crate) async fn rival(&self) -> Self {
        let config = Config { node: NodeId(self.config.node.0 + 1), ..self.config.clone() };
        Self::on(self.log.clone(), self.count, config, self.clock.clone()).await
    }

    /// kill -9 and a new start.
    pub(crate) async fn crash(self) -> Self {
        self.crash_with_older_rows(0).await
    }

    /// The same, and rows of the owner are as they were so many appends ago.
    pub(crate) async fn crash_with_older_rows(self, appends: usize) -> Self {
        let log = self.log.crash(appends);
        drop(self.shards);
        Self::on(log, self.count, self.config, self.clock).await
    }

    /// The machine stops before the disk had the newest `records` of the first shard, and a new start.
    pub(crate) async fn lose_newest(self, records: u64) -> Self {
        let end = self.log.bounds(LogId(0)).await.unwrap().next;
        let log = self.log.lose_end(LogId(0), Lsn(end.0 - records));
        drop(self.shards);
        Self::on(log, self.count, self.config, self.clock).await
    }

    pub(crate) async fn shutdown(self) -> MemoryLog {
        self.shards.shutdown().await;
        self.log
    }

    pub(crate) async fn create(&self, name: &str) -> RoomKey {
        assert_eq!(self.router.execute(room(name), create("ann")).await, Ok(Receipt::Created));
        room(name)
    }

    /// Bob says it, and it is sent.
    pub(crate) async fn say(&self, name: &str, random: u32) -> Sent {
        match self.send(name, random).await {
            Ok(Receipt::Sent(sent)) => sent,
            other => panic!("not sent: {other:?}"),
        }
    }

    pub(crate) async fn send(&self, name: &str, random: u32) -> Result<Receipt, ExecuteError> {
        self.router.execute(room(name), Command::Send(draft("bob", random))).await
    }

    pub(crate) async fn view(&self, name: &str) -> Option<RoomView> {
        self.router.view(room(name)).await.unwrap()
    }

    pub(crate) async fn top(&self, name: &str) -> u64 {
        self.view(name).await.unwrap().top.0
    }

    /// Everything released, in order.
    pub(crate) async fn records(&self) -> Vec<Record> {
        self.records_of(LogId(0)).await
    }

    pub(crate) async fn records_of(&self, shard: LogId) -> Vec<Record> {
        let bounds = self.log.bounds(shard).await.unwrap();
        let mut stream = self.log.read(shard, bounds.first).unwrap();
        let mut records: Vec<Record> = Vec::new();
        while records.last().map_or(bounds.first, |record| record.lsn.next()) < bounds.next {
            records.extend(stream.next_batch().await.unwrap().iter().cloned());
        }
        records.retain(|record| !record.key.0.is_empty());
        records
    }

    pub(crate) async fn events(&self, name: &str) -> Vec<Event> {
        let shard = self.router.tail().shard_of(&room(name));
        let key = room(name).to_bytes();
        let records = self.records_of(shard).await;
        let of_room = records.iter().filter(|record| record.key.0 == key);
        of_room.flat_map(|record| decode_record(&record.payload).unwrap()).collect()
    }

    /// Value of a metric of shard 0.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.metric_of("0", name)
    }

    /// Value of a metric of this shard, or of the `directory`.
    pub(crate) fn metric_of(&self, shard: &str, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let start = format!("{name}{{shard=\"{shard}\"");
        let line = text.lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

pub(crate) fn room(name: &str) -> RoomKey {
    RoomKey { app: APP, room: RoomId::new(name).unwrap() }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn create(owner: &str) -> Command {
    let info = RoomInfo {
        name: "Lobby".into(),
        take_seat_mode: "FreeToTake".into(),
        is_public_visible: true,
        ..RoomInfo::bare("Live", user(owner))
    };
    Command::Create(CreateRoom { operator: user(owner), info, incarnation: Incarnation::from_random(7) })
}

pub(crate) fn draft(from: &str, random: u32) -> Draft {
    let body = Bytes::from(format!("[\"{random}\"]"));
    let custom_data = Bytes::from_static(b"\"\"");
    Draft {
        from: user(from),
        operator: user(from),
        origin: Origin { platform: Platform::Web, client_ip: Ipv4Addr::LOCALHOST.into(), client: None },
        random,
        content: Some(ContentHash::of(&body, &custom_data)),
        msg_id: MsgId { account: (1 << 57) + 1, secs: 1_700_000_000, random },
        priority: Priority::Normal,
        body,
        custom_data,
        forbid_after_hook: false,
    }
}

pub(crate) const FIRST_FREE: Lsn = Lsn(2);
