//! The engine alone, with a log, a store of rows and a clock made of vectors. No task, no socket, no time but ours.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use roomhook_hooks::{
    engine::{Content, Engine, EventPos, Failed, Job, Limits, Owed, Policy, ShardStart, Summary, Verdict},
    plan::{Command, Switches},
    retry::RetryPolicy,
    rows::{CursorRow, ExceptionRow, LanesRow, Names},
};
use roomhook_log::Lsn;
use roomhook_room::{AppId, EndpointId, Order, Positions};

pub(crate) const SHARDS: u16 = 2;

pub(crate) fn policy() -> Policy {
    Policy {
        sendable: true,
        order: Order::Room,
        concurrency: 8,
        retry: RetryPolicy::default(),
        hold_ms: 30_000,
        paused: false,
        catch_up_per_s: 0,
        limits: Limits::default(),
    }
}

pub(crate) fn failed() -> Verdict {
    Verdict::Failed(Failed { status: 500, ..Failed::default() })
}

pub(crate) fn refused() -> Verdict {
    Verdict::Failed(Failed { connecting: true, ..Failed::default() })
}

/// An event in the rig's log: its room, and its number there.
#[derive(Clone, Debug)]
struct Logged {
    room: &'static str,
    seq: u64,
    at: u64,
}

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) now: u64,
    pub(crate) policy: Policy,
    names: Names,
    logs: Vec<Vec<Logged>>,
    /// First position that retention has left.
    first: Vec<u64>,
    rows: Vec<BTreeMap<Bytes, Bytes>>,
    seqs: BTreeMap<&'static str, u64>,
}

impl Rig {
    pub(crate) fn new(policy: Policy) -> Self {
        let names = Names::new(AppId(1), &EndpointId("default".into()), 1);
        let switches = Switches { has_url: true, commands: Vec::new(), room_prefix: String::new() };
        let mut rows = Vec::new();
        for _ in 0..SHARDS {
            let cursor = CursorRow { next: 1, counted: 1, ..CursorRow::default() };
            rows.push(BTreeMap::from([(names.cursor(), cursor.to_bytes())]));
        }
        let mut engine = Engine::new(names.clone(), policy.clone(), starts(&names, &rows), 1, 0);
        engine.switch(&[(Positions::default(), Arc::new(switches))]);
        let logs = vec![Vec::new(); usize::from(SHARDS)];
        let first = vec![1; usize::from(SHARDS)];
        Self { engine, now: 0, policy, names, logs, first, rows, seqs: BTreeMap::new() }
    }

    /// Appends an event to a room; the first byte of its name decides the shard.
    pub(crate) fn append(&mut self, room: &'static str) {
        let seq = self.seqs.entry(room).or_default();
        *seq += 1;
        let shard = usize::from(room.as_bytes()[0] - b'a') % usize::from(SHARDS);
        self.logs[shard].push(Logged { room, seq: *seq, at: self.now });
    }

    /// Appends and lets the engine read.
    pub(crate) fn say(&mut self, room: &'static str) {
        self.append(room);
        self.read();
    }

    /// Lets the readers run until they have nothing more to do, up to 64 records at a time.
    pub(crate) fn read(&mut self) {
        for shard in 0..SHARDS {
            while self.read_some(shard) || self.read_for_lanes(shard) {}
        }
    }

    /// As the reader of rooms off the main path does it.
    fn read_for_lanes(&mut self, shard: u16) -> bool {
        let Some(work) = self.engine.lane_work(shard) else { return false };
        let first = self.first[usize::from(shard)];
        let log = &self.logs[usize::from(shard)];
        let of_room = |from: u64| {
            let there = from.max(first)..work.below.0;
            there.filter(|lsn| log[*lsn as usize - 1].room.as_bytes() == work.room)
        };
        if first > work.from.0 {
            let left = of_room(first).count() as u64;
            self.engine.lane_trimmed(shard, &work, Lsn(first), left);
            return true;
        }
        let found: Vec<u64> = of_room(work.from.0).take(work.limit).collect();
        let next = found.last().filter(|_| found.len() == work.limit).map_or(work.below, |last| Lsn(last + 1));
        let owed = found.into_iter().map(|lsn| owed(lsn, &log[lsn as usize - 1])).collect();
        self.engine.load_lane(shard, &work, owed, next);
        true
    }

    fn read_some(&mut self, shard: u16) -> bool {
        let (load_from, counted, space) = self.engine.reading(shard).expect("shard");
        let log = &self.logs[usize::from(shard)];
        let (end, first) = (log.len() as u64 + 1, self.first[usize::from(shard)]);
        if (space && load_from.0 < first) || (!space && counted.0 < first) {
            self.engine.trimmed(shard, Lsn(first));
            return true;
        }
        if space && load_from.0 < end {
            let to = end.min(load_from.0 + 64);
            let owed = (load_from.0..to).map(|lsn| owed(lsn, &log[lsn as usize - 1])).collect();
            self.engine.load(shard, owed, Lsn(to));
            return true;
        }
        if counted.0 < end {
            let at = log[counted.0 as usize - 1].at;
            self.engine.count(shard, end - counted.0, at, Lsn(end));
            return true;
        }
        false
    }

    /// Retention drops all records of a shard below a position.
    pub(crate) fn trim(&mut self, shard: u16, first: u64) {
        self.first[usize::from(shard)] = first;
    }

    pub(crate) fn next(&mut self) -> Option<Job> {
        self.engine.next(self.now)
    }

    /// The next attempt, as room, number and attempt; it must exist.
    pub(crate) fn send(&mut self) -> Job {
        self.next().expect("something to send")
    }

    pub(crate) fn settle(&mut self, job: &Job, verdict: Verdict) {
        self.engine.settle(job, verdict, self.now);
        self.read();
    }

    /// Sends and settles whatever can be sent until nothing can; tells what was sent.
    pub(crate) fn drain(&mut self, verdict: impl Fn(&Job) -> Verdict) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(job) = self.next() {
            sent.push(told(&job));
            let verdict = verdict(&job);
            self.settle(&job, verdict);
        }
        sent
    }

    /// As [`Rig::drain`], but so many attempts at most.
    pub(crate) fn drain_some(&mut self, most: usize, verdict: impl Fn(&Job) -> Verdict) -> Vec<String> {
        let mut sent = Vec::new();
        while sent.len() < most
            && let Some(job) = self.next()
        {
            sent.push(told(&job));
            let verdict = verdict(&job);
            self.settle(&job, verdict);
        }
        sent
    }

    /// What a position of a shard's log is about.
    pub(crate) fn owed(&self, shard: u16, lsn: u64) -> Owed {
        owed(lsn, &self.logs[usize::from(shard)][lsn as usize - 1])
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now += ms;
        self.engine.tick(self.now);
    }

    pub(crate) fn checkpoint(&mut self) {
        for shard in 0..SHARDS {
            let Some(checkpoint) = self.engine.checkpoint(shard, true) else { continue };
            let rows = &mut self.rows[usize::from(shard)];
            for row in checkpoint.rows {
                match row.value {
                    Some(value) => rows.insert(row.key, value),
                    None => rows.remove(&row.key),
                };
            }
        }
    }

    /// The process dies and comes back with what the rows say.
    pub(crate) fn crash(&mut self) {
        self.restart();
        self.read();
    }

    /// As [`Rig::crash`], before anything is read.
    pub(crate) fn restart(&mut self) {
        let starts = starts(&self.names, &self.rows);
        self.engine = Engine::new(self.names.clone(), self.policy.clone(), starts, self.now, self.now);
    }

    pub(crate) fn configure(&mut self, policy: Policy) {
        self.policy = policy.clone();
        self.engine.configure(policy, self.now);
        self.read();
    }

    /// The version of a shard's cursor row as it was written.
    pub(crate) fn cursor_version(&self, shard: u16) -> u8 {
        self.rows[usize::from(shard)][&self.names.cursor()][0]
    }

    pub(crate) fn summary(&self) -> Summary {
        self.engine.summary()
    }

    pub(crate) fn appended(&self) -> u64 {
        self.logs.iter().map(|log| log.len() as u64).sum()
    }

    /// Parked rows, as room and number.
    pub(crate) fn parked(&self) -> Vec<String> {
        self.exceptions().into_iter().filter(|(_, row)| row.parked).map(|(_, row)| named(&row.room, row.seq)).collect()
    }

    pub(crate) fn exceptions(&self) -> Vec<(EventPos, ExceptionRow)> {
        self.rows.iter().flat_map(|rows| exceptions(&self.names, rows)).collect()
    }
}

fn starts(names: &Names, rows: &[BTreeMap<Bytes, Bytes>]) -> Vec<ShardStart> {
    rows.iter()
        .map(|rows| ShardStart {
            cursor: CursorRow::from_bytes(&rows[&names.cursor()]).expect("cursor"),
            lanes: rows.get(&names.lanes()).map(|row| LanesRow::from_bytes(row).expect("lanes")).unwrap_or_default(),
            set_aside: exceptions(names, rows).into_iter().filter(|(_, row)| !row.parked).collect(),
        })
        .collect()
}

fn exceptions(names: &Names, rows: &BTreeMap<Bytes, Bytes>) -> Vec<(EventPos, ExceptionRow)> {
    let prefix = names.exceptions();
    let found = rows.iter().filter(|(key, _)| key.starts_with(&prefix));
    found
        .map(|(key, value)| (Names::position(key).expect("key"), ExceptionRow::from_bytes(value).expect("row")))
        .collect()
}

fn owed(lsn: u64, event: &Logged) -> Owed {
    Owed {
        pos: EventPos { lsn: Lsn(lsn), index: 0 },
        room: Bytes::from_static(event.room.as_bytes()),
        seq: event.seq,
        at: event.at,
        content: Content { command: Command::AfterSendMsg, origin: None, body: Bytes::from_static(b"{}") },
    }
}

fn named(room: &[u8], seq: u64) -> String {
    format!("{}{seq}", String::from_utf8_lossy(room))
}

/// `a2` for the second message of room a, `a2#3` for its third attempt, `a2?` for a probe.
pub(crate) fn told(job: &Job) -> String {
    let attempt = if job.attempt > 1 { format!("#{}", job.attempt) } else { String::new() };
    format!("{}{attempt}{}", named(&job.room, job.seq), if job.probe { "?" } else { "" })
}
