//! A memory log with rooms in it, a directory of endpoints, and webhooks running over them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use roomhook_hooks::{
    Config, Hooks,
    http::{Guard, HttpTransport, SystemResolver, Transport},
    retry::RetryPolicy,
};
use roomhook_log::{
    Claim, Expect, Key, LogAppend, LogId, LogRead as _, Lsn, MemoryLog, NewRecord, NodeId, Reign, Reigns, Rows,
};
use roomhook_room::{
    AppId, Draft, Endpoint, EndpointId, Event, Message, MsgId, MsgSeq, Origin, Platform, Positions, Priority, RoomId,
    RoomInfo, RoomKey, Start, UnixMillis, UserId, encode_record,
};
use tokio::sync::watch;

use crate::watched_log::{Reads, WatchedLog};

pub(crate) const APP: AppId = AppId(1_400_000_001);
pub(crate) const AFTER_SEND: &str = "Group.CallbackAfterSendMsg";

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock");
    UnixMillis(u64::try_from(since.as_millis()).expect("time"))
}

/// An endpoint at the URL, with after-send switched on, that owes everything from now on.
pub(crate) fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.into(),
        commands: vec![AFTER_SEND.into()],
        start: Start::Oldest,
        generation: 1,
        ..Endpoint::new(APP, EndpointId(EndpointId::DEFAULT.into()))
    }
}

/// Quick retries, and loopback allowed.
pub(crate) fn config() -> Config {
    Config {
        allow: vec!["127.0.0.0/8".parse().expect("net")],
        retry: RetryPolicy {
            first: Duration::from_millis(20),
            max: Duration::from_millis(200),
            ..RetryPolicy::default()
        },
        timeout: Duration::from_millis(500),
        checkpoint_every: Duration::from_millis(20),
        ..Config::default()
    }
}

pub(crate) struct World {
    pub(crate) log: Arc<MemoryLog>,
    /// Of the log, by webhooks.
    pub(crate) reads: Arc<Reads>,
    pub(crate) shards: u16,
    pub(crate) config: Config,
    claims: Vec<Claim>,
    reigns: watch::Sender<Reigns>,
    seqs: HashMap<String, u64>,
    endpoints: watch::Sender<Arc<Vec<Arc<Endpoint>>>>,
    hooks: Option<Hooks>,
    /// Milliseconds by which the server's time of day is off.
    pub(crate) clock_off: Arc<AtomicI64>,
    pub(crate) registry: Registry,
}

impl World {
    pub(crate) async fn new(endpoints: Vec<Endpoint>) -> Self {
        Self::with(config(), endpoints).await
    }

    pub(crate) async fn with(config: Config, endpoints: Vec<Endpoint>) -> Self {
        let mut world = Self::stopped(config, endpoints).await;
        world.start();
        world
    }

    /// A world whose webhooks do not run yet.
    pub(crate) async fn stopped(config: Config, endpoints: Vec<Endpoint>) -> Self {
        let shards = 2;
        let log = Arc::new(MemoryLog::new(shards));
        let mut claims = Vec::new();
        for shard in 0..shards {
            claims.push(log.claim(LogId(shard), NodeId(1), Expect::Anyone).await.expect("claim"));
        }
        let (endpoints, _) = watch::channel(Arc::new(endpoints.into_iter().map(Arc::new).collect()));
        Self {
            log,
            reads: Arc::default(),
            shards,
            config,
            reigns: watch::Sender::new(reigns_of(&claims)),
            claims,
            seqs: HashMap::new(),
            endpoints,
            hooks: None,
            clock_off: Arc::default(),
            registry: Registry::default(),
        }
    }

    pub(crate) fn start(&mut self) {
        let guard = Guard::new(self.config.allow.clone());
        self.start_over(Arc::new(HttpTransport::new(Arc::new(SystemResolver::default()), guard)));
    }

    pub(crate) fn start_over(&mut self, transport: Arc<dyn Transport>) {
        self.start_beside(transport, self.log.clone());
    }

    pub(crate) fn start_beside(&mut self, transport: Arc<dyn Transport>, rows: Arc<dyn Rows>) {
        self.registry = Registry::default();
        let off = self.clock_off.clone();
        let clock = move || UnixMillis(now().0.saturating_add_signed(off.load(Ordering::Acquire)));
        let log = Arc::new(WatchedLog { log: self.log.clone(), reads: self.reads.clone() });
        let hooks = roomhook_hooks::start_with(
            transport,
            log,
            rows,
            self.reigns.subscribe(),
            self.shards,
            self.endpoints.subscribe(),
            self.config.clone(),
            Arc::new(clock),
            &mut self.registry,
        );
        self.hooks = Some(hooks);
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(hooks) = self.hooks.take() {
            hooks.shutdown(Duration::from_secs(5)).await;
        }
    }

    /// The process dies in the middle of whatever it does, and starts again.
    pub(crate) async fn crash(&mut self) {
        self.start_on(self.log.restart()).await;
    }

    /// As a crash, and the newest `records` of a shard are gone with the machine.
    pub(crate) async fn lose_newest(&mut self, shard: u16, records: u64) {
        let end = self.log.bounds(LogId(shard)).await.expect("bounds").next;
        self.start_on(self.log.lose_end(LogId(shard), Lsn(end.0 - records))).await;
    }

    async fn start_on(&mut self, log: MemoryLog) {
        let log = Arc::new(log);
        // What is left of the old process can write nothing any more.
        drop(self.hooks.take());
        self.log = log;
        for (shard, claim) in (0..).zip(&mut self.claims) {
            *claim = self.log.claim(LogId(shard), NodeId(1), Expect::Anyone).await.expect("claim");
        }
        self.reigns = watch::Sender::new(reigns_of(&self.claims));
        self.start();
    }

    /// The owner of a shard claims its log anew, and is not able to say so yet.
    pub(crate) async fn claim_anew(&mut self, shard: u16) {
        let claim = self.log.claim(LogId(shard), NodeId(1), Expect::Anyone).await.expect("claim");
        self.claims[usize::from(shard)] = claim;
    }

    /// Now it says so.
    pub(crate) fn tell_of_claims(&self) {
        self.reigns.send_modify(|reigns| {
            for claim in &self.claims {
                reigns.entry(claim.log).and_modify(|reign| reign.epoch = claim.epoch).or_insert(first_reign(claim));
            }
        });
    }

    /// The same, after a while.
    pub(crate) fn telling_of_claims(&self, after: Duration) -> tokio::task::JoinHandle<()> {
        let (reigns, now) = (self.reigns.clone(), reigns_of(&self.claims));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            reigns.send_modify(|reigns| {
                reigns.iter_mut().zip(now).for_each(|((_, reign), (_, now))| reign.epoch = now.epoch);
            });
        })
    }

    /// The owner of a shard was deposed by somebody else, and knows it.
    pub(crate) async fn depose(&self, shard: u16) -> Claim {
        let rival = self.rob(shard).await;
        let was_owned = self.reigns.send_if_modified(|reigns| reigns.remove(&LogId(shard)).is_some());
        assert!(was_owned);
        rival
    }

    /// The same, and the owner does not know yet.
    pub(crate) async fn rob(&self, shard: u16) -> Claim {
        self.log.claim(LogId(shard), NodeId(2), Expect::Anyone).await.expect("claim")
    }

    /// The one who was deposed has it again.
    pub(crate) async fn take_again(&mut self, shard: u16) {
        self.claim_anew(shard).await;
        self.tell_of_claims();
    }

    pub(crate) fn hooks(&self) -> &roomhook_hooks::Handle {
        &self.hooks.as_ref().expect("running").handle
    }

    /// Waits until webhooks say that they run.
    pub(crate) async fn started(&self) {
        self.hooks.as_ref().expect("running").started().await;
    }

    /// As `/metrics` shows them, without the program's prefix.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics");
        text
    }

    /// Where the logs end now, as the directory asks when an endpoint is created or changed.
    pub(crate) fn ends(&self) -> Positions {
        Positions(self.claims.iter().map(|claim| claim.next.0).collect())
    }

    pub(crate) fn configure(&self, endpoints: Vec<Endpoint>) {
        self.endpoints.send_replace(Arc::new(endpoints.into_iter().map(Arc::new).collect()));
    }

    /// Rows of the default endpoint's generation that are left beside all shards.
    pub(crate) async fn rows_of_generation(&self, generation: u64) -> usize {
        let names = roomhook_hooks::rows::Names::new(APP, &EndpointId(EndpointId::DEFAULT.into()), generation);
        let mut left = 0;
        for shard in 0..self.shards {
            for prefix in [names.cursor(), names.exceptions(), names.trails()] {
                left += self.log.scan(LogId(shard), &prefix, None, 100).await.expect("scan").len();
            }
        }
        left
    }

    /// Appends a message to a room; returns its `MsgSeq`.
    pub(crate) async fn say(&mut self, room: &str, text: &str) -> u64 {
        self.say_with(room, text, |_| {}).await
    }

    pub(crate) async fn say_with(&mut self, room: &str, text: &str, change: impl FnOnce(&mut Draft)) -> u64 {
        let seq = self.seqs.get(room).copied().unwrap_or(0) + 1;
        let mut draft = draft(text);
        change(&mut draft);
        let event = Event::MessageSent(Message { seq: MsgSeq(seq), at: now(), room_type: String::new(), draft });
        self.append(room, &[event]).await.expect("append");
        self.seqs.insert(room.into(), seq);
        seq
    }

    /// Appends so many messages to a room in one batch, each a record.
    pub(crate) async fn say_at_once(&mut self, room: &str, count: u64) {
        let key = RoomKey { app: APP, room: RoomId::new(room).expect("room id") };
        let shard = usize::try_from(key.stable_hash() % u64::from(self.shards)).expect("shard");
        let first = self.seqs.get(room).copied().unwrap_or(0) + 1;
        let records = (first..first + count).map(|seq| {
            let (at, room_type) = (now(), String::new());
            let event = Event::MessageSent(Message { seq: MsgSeq(seq), at, room_type, draft: draft("x") });
            NewRecord { key: Key(key.to_bytes()), at_ms: at.0, payload: encode_record(&[event]) }
        });
        self.log.append(&mut self.claims[shard], records.collect(), Vec::new()).await.expect("append");
        self.seqs.insert(room.into(), first + count - 1);
    }

    /// Somebody else wrote into the room, up to this number.
    pub(crate) fn go_on_at(&mut self, room: &str, seq: u64) {
        self.seqs.insert(room.into(), seq);
    }

    /// The room's numbers begin again: it was made anew.
    pub(crate) fn begin_again(&mut self, room: &str) {
        self.seqs.remove(room);
    }

    /// Appends a message that was sent at a time in a room of a type.
    pub(crate) async fn say_at(&mut self, room: &str, at: UnixMillis, room_type: &str) -> u64 {
        let seq = self.seqs.get(room).copied().unwrap_or(0) + 1;
        let room_type = room_type.to_owned();
        let event = Event::MessageSent(Message { seq: MsgSeq(seq), at, room_type, draft: draft("x") });
        self.append_at(room, at, &[event]).await.expect("append");
        self.seqs.insert(room.into(), seq);
        seq
    }

    pub(crate) async fn append(&mut self, room: &str, events: &[Event]) -> Result<(), roomhook_log::AppendError> {
        self.append_at(room, now(), events).await
    }

    async fn append_at(
        &mut self,
        room: &str,
        at: UnixMillis,
        events: &[Event],
    ) -> Result<(), roomhook_log::AppendError> {
        let key = RoomKey { app: APP, room: RoomId::new(room).expect("room id") };
        let shard = usize::try_from(key.stable_hash() % u64::from(self.shards)).expect("shard");
        let record = NewRecord { key: Key(key.to_bytes()), at_ms: at.0, payload: encode_record(events) };
        self.log.append(&mut self.claims[shard], vec![record], Vec::new()).await.map(|_| ())
    }
}

fn first_reign(claim: &Claim) -> Reign {
    Reign { epoch: claim.epoch, since: claim.epoch }
}

fn reigns_of(claims: &[Claim]) -> Reigns {
    claims.iter().map(|claim| (claim.log, first_reign(claim))).collect()
}

pub(crate) fn draft(text: &str) -> Draft {
    Draft {
        from: user("ana_k"),
        operator: user("ana_k"),
        origin: Origin { platform: Platform::Web, client_ip: [203, 0, 113, 24].into(), client: None },
        random: 2_874_610_953,
        content: None,
        msg_id: MsgId { account: 144_115_289_000_012_345, secs: 1_767_225_663, random: 2_874_610_953 },
        priority: Priority::Normal,
        body: Bytes::from(format!(r#"[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{text}"}}}}]"#)),
        custom_data: Bytes::from_static(br#""""#),
        forbid_after_hook: false,
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).expect("user id")
}

pub(crate) fn room_info() -> RoomInfo {
    RoomInfo {
        name: "Night market".into(),
        take_seat_mode: "ApplyToTake".into(),
        is_seat_enabled: true,
        is_public_visible: true,
        max_seat_count: 9,
        max_member_count: 500,
        category: vec![3, 11],
        ..RoomInfo::bare("Live", user("host_lin"))
    }
}
