//! Loads a server with messages over REST, for every bench that sends some.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet};

use super::{
    load::{Connection, Pace, Target, Volume},
    process::{Probe, peak_rss_mb},
    stats::Latencies,
    subject::Subject,
};
use crate::cli::rest::{self, Admin, Caller};

/// What to send, how fast and for how long.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) volume: Volume,
    pub(super) rate: u32,
    pub(super) seconds: u32,
    pub(super) warmup: u32,
    pub(super) acks: Option<Acks>,
    pub(super) held_back: Option<Arc<HeldBack>>,
    /// Ends when so many were sent, if that is before the time is over.
    pub(super) messages: Option<u64>,
    /// Rooms that [`new_rooms`] made already. `None`: new ones.
    pub(super) room_prefix: Option<String>,
}

/// What is kept of the acknowledged messages.
#[derive(Clone)]
pub(super) enum Acks {
    /// Room and `MsgSeq` of each, a line each.
    File(Arc<Mutex<BufWriter<File>>>),
    /// When some of them were acknowledged, in microseconds of the Unix epoch, by their `Random`.
    Times(Arc<Mutex<HashMap<u64, u64>>>),
}

impl Acks {
    pub(super) fn to_file(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self::File(Arc::new(Mutex::new(BufWriter::new(file)))))
    }

    fn note(&self, room_prefix: &str, room: u32, seq: u64, random: u64) -> anyhow::Result<()> {
        match self {
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                writeln!(file, "{} {seq}", room_id(room_prefix, room)).context("write the acknowledged messages")
            }
            Self::Times(times) if is_sampled(random) => {
                times.lock().unwrap_or_else(PoisonError::into_inner).insert(random, unix_micros());
                Ok(())
            }
            Self::Times(_) => Ok(()),
        }
    }

    fn finish(&self) -> anyhow::Result<()> {
        let Self::File(file) = self else { return Ok(()) };
        file.lock().unwrap_or_else(PoisonError::into_inner).flush().context("write the acknowledged messages")
    }
}

/// Which messages are timed on their way: looking at all would load the machine that is measured.
pub(super) fn is_sampled(random: u64) -> bool {
    random.is_multiple_of(8)
}

/// The time of day, the one clock that all processes of a bench share.
pub(super) fn unix_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Keeps a load from sending more than can be carried on: at most `ahead_max` messages are sent and not arrived.
#[derive(Debug)]
pub(super) struct HeldBack {
    sent: AtomicU64,
    arrived: AtomicU64,
    ahead_max: u64,
}

impl HeldBack {
    pub(super) fn at_most(ahead_max: u64) -> Self {
        Self { sent: AtomicU64::new(0), arrived: AtomicU64::new(0), ahead_max }
    }

    /// Only counts.
    pub(super) fn unlimited() -> Self {
        Self::at_most(u64::MAX)
    }

    /// Acknowledged by the server so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// So many have arrived by now.
    pub(super) fn arrived(&self, count: u64) {
        self.arrived.store(count, Ordering::Relaxed);
    }

    async fn wait(&self, end: Instant) {
        let ahead = || self.sent.load(Ordering::Relaxed).saturating_sub(self.arrived.load(Ordering::Relaxed));
        while ahead() > self.ahead_max && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What the connections share.
struct Run {
    target: Target,
    admin: Admin,
    pace: Pace,
    measure_from: Instant,
    end: Instant,
    rooms: u32,
    room_prefix: String,
    text: String,
    next: AtomicU64,
    /// Messages left to send.
    left: AtomicU64,
    acks: Option<Acks>,
    held_back: Option<Arc<HeldBack>>,
}

/// What one connection measured.
pub(super) struct Tally {
    pub(super) latencies: Latencies,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

/// A whole run: what the connections saw, and what the processes used while it was measured.
pub(super) struct Measured {
    pub(super) tally: Tally,
    pub(super) cpu: Option<Duration>,
    pub(super) load_cpu: Option<Duration>,
    /// When measuring began and ended.
    pub(super) from: Instant,
    pub(super) end: Instant,
    pub(super) from_unix_micros: u64,
    pub(super) start_mb: Option<f64>,
    pub(super) peak_mb: Option<f64>,
}

/// Accounts and rooms of a load. Senders: `bench-0` to `bench-63`.
async fn make_rooms(subject: &Subject, prefix: &str, rooms: u32) -> anyhow::Result<()> {
    let mut caller = Caller::connect(subject.target.clone(), subject.admin.clone()).await?;
    let senders: Vec<_> = (0..SENDERS).map(sender).collect();
    caller.must("im_open_login_svc/multiaccount_import", &json!({ "Accounts": senders })).await?;
    for room in 0..rooms {
        let info = json!({ "RoomId": room_id(prefix, room), "RoomType": "Live", "Owner_Account": sender(0) });
        caller.must("live_engine_http_srv/create_room", &json!({ "RoomInfo": info })).await?;
    }
    Ok(())
}

/// Accounts, and rooms of a name that no other run has; returns what the names begin with.
pub(super) async fn new_rooms(subject: &Subject, rooms: u32) -> anyhow::Result<String> {
    let prefix = format!("bench-{:06x}", fastrand::u32(..0x100_0000));
    make_rooms(subject, &prefix, rooms).await?;
    Ok(prefix)
}

pub(super) const SENDERS: u32 = 64;

pub(super) fn sender(n: u32) -> String {
    format!("bench-{:02}", n % SENDERS)
}

pub(super) fn room_id(prefix: &str, room: u32) -> String {
    format!("{prefix}-{room:05}")
}

/// Runs all connections to the end of the time; returns what they saw, and the server's CPU and peak memory.
pub(super) async fn measured(subject: &Subject, plan: Plan) -> anyhow::Result<Measured> {
    let (probe, connections) = (subject.probe, plan.volume.connections);
    let room_prefix = match plan.room_prefix {
        Some(prefix) => prefix,
        None => new_rooms(subject, plan.volume.rooms).await?,
    };
    let start_mb = probe.and_then(Probe::rss_mb);
    let begin = Instant::now();
    let measure_from = begin + Duration::from_secs(plan.warmup.into());
    let from_unix_micros = unix_micros() + u64::from(plan.warmup) * 1_000_000;
    let run = Arc::new(Run {
        target: subject.target.clone(),
        admin: subject.admin.clone(),
        pace: Pace::new(begin, plan.rate),
        measure_from,
        end: measure_from + Duration::from_secs(plan.seconds.into()),
        rooms: plan.volume.rooms,
        room_prefix,
        text: "x".repeat(plan.volume.size as usize),
        next: AtomicU64::new(fastrand::u32(..).into()),
        left: AtomicU64::new(plan.messages.unwrap_or(u64::MAX)),
        acks: plan.acks,
        held_back: plan.held_back,
    });
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        tasks.spawn(Arc::clone(&run).connection(number));
    }
    let own = Probe { pid: std::process::id() };
    let ended = Notify::new();
    let cpu_at = |when: Instant| async move {
        tokio::time::sleep_until(when.into()).await;
        (probe.and_then(Probe::cpu), own.cpu())
    };
    let at_the_end = async {
        tokio::select! {
            () = tokio::time::sleep_until(run.end.into()) => {}
            () = ended.notified() => {}
        }
        (cpu_at(Instant::now()).await, Instant::now())
    };
    let mut tallies = Vec::new();
    let load = async {
        while let Some(tally) = tasks.join_next().await {
            tallies.push(tally);
        }
        ended.notify_one();
    };
    let load = async {
        match probe {
            Some(probe) => Some(peak_rss_mb(probe, load).await),
            None => {
                load.await;
                None
            }
        }
    };
    let (peak_mb, before, (after, end)) = tokio::join!(load, cpu_at(run.measure_from), at_the_end);
    if let Some(acks) = &run.acks {
        acks.finish()?;
    }
    let mut all = Tally { latencies: Latencies::new()?, errors: 0, first_error: None };
    for tally in tallies {
        let tally = tally.context("a connection's task failed")??;
        all.latencies.merge(&tally.latencies)?;
        all.errors += tally.errors;
        all.first_error = all.first_error.or(tally.first_error);
    }
    let between = |(before, after): (Option<Duration>, Option<Duration>)| Some(after?.saturating_sub(before?));
    let (cpu, load_cpu) = (between((before.0, after.0)), between((before.1, after.1)));
    Ok(Measured { tally: all, cpu, load_cpu, from: run.measure_from, end, from_unix_micros, start_mb, peak_mb })
}

impl Run {
    /// One connection's life: due, send, look at the answer, again; opens itself anew after an error.
    async fn connection(self: Arc<Self>, number: u32) -> anyhow::Result<Tally> {
        let mut tally = Tally { latencies: Latencies::new()?, errors: 0, first_error: None };
        let mut template = Template::new(&self, number);
        let mut connection = None;
        loop {
            if let Some(held_back) = &self.held_back {
                held_back.wait(self.end).await;
            }
            let due = self.pace.turn().await;
            if due >= self.end || Instant::now() >= self.end || !self.take_one() {
                return Ok(tally);
            }
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let room = (turn % u64::from(self.rooms)) as u32;
            let outcome = self.exchange(&mut connection, template.request(room, turn)).await;
            let done = Instant::now();
            match outcome {
                Ok(seq) => {
                    if let Some(acks) = &self.acks {
                        acks.note(&self.room_prefix, room, seq, random_of(turn))?;
                    }
                    if let Some(held_back) = &self.held_back {
                        held_back.sent.fetch_add(1, Ordering::Relaxed);
                    }
                    if due >= self.measure_from && done <= self.end {
                        tally.latencies.record(done - due);
                    }
                }
                Err(error) => {
                    tally.errors += 1;
                    tally.first_error.get_or_insert(error);
                    connection = None;
                    // A server that is away is asked again at a gentle pace.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Whether there is one left to send; it is the caller's then.
    fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// One message; its `MsgSeq`, or what was wrong.
    async fn exchange(&self, slot: &mut Option<Connection>, request: &[u8]) -> Result<u64, String> {
        let connection = match slot {
            Some(connection) => connection,
            None => slot.insert(Connection::open(&self.target).await.map_err(|error| format!("connect: {error}"))?),
        };
        let body = connection.exchange(request).await.map_err(|error| error.to_string())?;
        let answer: Answer =
            serde_json::from_slice(body).map_err(|error| format!("answer is not as documented: {error}"))?;
        match answer {
            Answer { error_code: 0, msg_seq: Some(seq) } if seq > 0 => Ok(seq),
            _ => Err(String::from_utf8_lossy(body).into_owned()),
        }
    }
}

/// The part of an answer that is checked.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "ErrorCode")]
    error_code: i64,
    #[serde(rename = "MsgSeq")]
    msg_seq: Option<u64>,
}

/// The `Random` of a turn's message: ten digits.
fn random_of(turn: u64) -> u64 {
    1_000_000_000 + turn % 3_294_967_296
}

/// A request made once, in which only digits change: building it anew would cost the load more than sending it.
struct Template {
    bytes: Vec<u8>,
    call_random: usize,
    room: usize,
    msg_random: usize,
}

impl Template {
    fn new(run: &Run, number: u32) -> Self {
        let path = format!("{}&random=1000000000", run.admin.path("group_open_http_svc/send_group_msg"));
        let body = format!(
            r#"{{"GroupId":"{}","Random":1000000000,"From_Account":"{}","MsgBody":[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{}"}}}}]}}"#,
            room_id(&run.room_prefix, 0),
            sender(number),
            run.text,
        );
        let bytes = rest::request(&run.target, &path, &body);
        let at = |needle: &str| {
            let found = bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
            found.map_or(0, |start| start + needle.len())
        };
        let call_random = at("&random=");
        let room = at(&format!("{}-", run.room_prefix));
        let msg_random = at("\"Random\":");
        Self { bytes, call_random, room, msg_random }
    }

    /// The request for a turn. `Random` has ten digits and differs for four billion turns.
    fn request(&mut self, room: u32, turn: u64) -> &[u8] {
        let random = random_of(turn);
        self.digits::<10>(self.call_random, random);
        self.digits::<10>(self.msg_random, random);
        self.digits::<5>(self.room, room.into());
        &self.bytes
    }

    fn digits<const N: usize>(&mut self, at: usize, mut number: u64) {
        for place in self.bytes.iter_mut().skip(at).take(N).rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}
