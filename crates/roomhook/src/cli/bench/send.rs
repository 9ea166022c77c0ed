//! `bench send`: messages over REST, each acknowledged when it is durable.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    load::{Connection, Pace, Target},
    process::{Memory, Probe, Server, peak_rss_mb},
    stats::{Latencies, Report, rounded},
};
use crate::cli::{
    doctor::disk::fdatasync_median,
    rest::{self, Admin, Caller},
};

/// Send room messages and measure how fast they are acknowledged
///
/// Every answer is checked: ErrorCode 0 and a MsgSeq. Latency is from the moment a request is due (with --rate) or
/// sent (without) until its answer is read. CPU and memory are those of the server process alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Requests in flight, one per keep-alive connection
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Rooms the messages are spread over
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    rooms: u32,
    /// Bytes of text in each message
    #[arg(long, default_value_t = 300, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=12_000))]
    size: u32,
    /// Messages per second, sent whether or not the server keeps up; 0: as fast as it answers
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Seconds of load before measuring begins
    #[arg(long, default_value_t = 2)]
    warmup: u32,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Write each acknowledged message to this file: a line with room id and MsgSeq (complete when the run has ended)
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
    /// Keep the store of the server in this folder (it may hold one already)
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// "fsync" or "os": the server's storage.durability
    #[arg(long, default_value = "fsync", conflicts_with = "url")]
    durability: String,
    /// Load a running server instead, e.g. http://127.0.0.1:8080
    #[arg(long, requires = "sdkappid", requires = "key")]
    url: Option<String>,
    /// SDKAppID of an app of that server
    #[arg(long, requires = "url")]
    sdkappid: Option<u32>,
    /// The app's secret key
    #[arg(long, requires = "url", env = "ROOMHOOK_BENCH_KEY", hide_env_values = true)]
    key: Option<String>,
    /// An admin account of that app
    #[arg(long, default_value = "administrator")]
    admin: String,
    /// Process id of that server, for its CPU and memory
    #[arg(long, requires = "url")]
    server_pid: Option<u32>,
}

/// The server to load, and whether it is ours to stop.
struct Subject {
    target: Target,
    admin: Admin,
    probe: Option<Probe>,
    own: Option<Server>,
    /// One small write with `fdatasync` where the store of our own server lies.
    fdatasync: Option<Duration>,
    _folder: Option<tempfile::TempDir>,
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
    acks: Option<Mutex<BufWriter<File>>>,
}

/// What one connection measured.
struct Tally {
    latencies: Latencies,
    errors: u64,
    first_error: Option<String>,
}

/// A whole run: what the connections saw, and what the processes used while it was measured.
struct Measured {
    tally: Tally,
    cpu: Option<Duration>,
    load_cpu: Option<Duration>,
    peak_mb: Option<f64>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut subject = Subject::prepare(&args).await?;
    let room_prefix = format!("bench-{:06x}", fastrand::u32(..0x100_0000));
    make_rooms(&subject, &room_prefix, args.rooms).await?;
    let start_mb = subject.probe.and_then(Probe::rss_mb);
    let begin = Instant::now();
    let measure_from = begin + Duration::from_secs(args.warmup.into());
    let run = Arc::new(Run {
        target: subject.target.clone(),
        admin: subject.admin.clone(),
        pace: Pace::new(begin, args.rate),
        measure_from,
        end: measure_from + Duration::from_secs(args.seconds.into()),
        rooms: args.rooms,
        room_prefix,
        text: "x".repeat(args.size as usize),
        next: AtomicU64::new(fastrand::u32(..).into()),
        acks: args.acks.as_deref().map(create_acks).transpose()?,
    });
    let Measured { tally, cpu, load_cpu, peak_mb } = measured(&run, args.connections, subject.probe).await?;
    let took_s = f64::from(args.seconds);
    let sent = tally.latencies.count();
    let mut report = Report::new("send");
    for (name, value) in [
        ("connections", args.connections),
        ("rooms", args.rooms),
        ("size", args.size),
        ("rate", args.rate),
        ("seconds", args.seconds),
    ] {
        report.field(name, value);
    }
    report.field("per_s", rounded(sent as f64 / took_s));
    report.field("cpu_s_per_10k", cpu.filter(|_| sent > 0).map(|cpu| rounded(cpu.as_secs_f64() * 1e4 / sent as f64)));
    let memory = start_mb.zip(peak_mb).map(|(start_mb, peak_mb)| Memory { start_mb, peak_mb });
    report.common(tally.errors, &tally.latencies, memory);
    report.remark(format!("longest answer: {} ms", tally.latencies.max_ms()));
    if let Some(cpu) = cpu {
        let load = load_cpu.unwrap_or_default().as_secs_f64() / took_s;
        report.remark(format!("processors busy: server {:.2}, load {load:.2}", cpu.as_secs_f64() / took_s));
    }
    if let Some(fdatasync) = subject.fdatasync {
        report.remark(format!("one fdatasync, here and now: {} ms (median)", rounded(fdatasync.as_secs_f64() * 1e3)));
    }
    if let Some(server) = subject.own.take() {
        report.remark(format!("server was ready {} ms after its start", server.started_in.as_millis()));
        server.stop().await?;
    }
    report.print(args.json);
    match tally.first_error {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => anyhow::bail!("{} of {} requests failed; the first: {error}", tally.errors, tally.errors + sent),
    }
}

impl Subject {
    async fn prepare(args: &Args) -> anyhow::Result<Self> {
        if let (Some(url), Some(sdkappid), Some(key)) = (&args.url, args.sdkappid, &args.key) {
            return Ok(Self {
                target: Target::resolve(url).await?,
                admin: Admin::sign(sdkappid, key, &args.admin),
                probe: args.server_pid.map(|pid| Probe { pid }),
                own: None,
                fdatasync: None,
                _folder: None,
            });
        }
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        let store = match &args.data {
            Some(path) => std::path::absolute(path)?,
            None => folder.path().join("data"),
        };
        let (sdkappid, key) = (1_400_000_001, "a key for a bench, not a secret");
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
             [storage]\npath = {store:?}\ndurability = {:?}\n\
             [[app]]\nsdkappid = {sdkappid}\nkey = {key:?}\nadmins = [{:?}]\n[log]\nlevel = \"warn\"\n",
            args.durability, args.admin,
        );
        let fdatasync = fdatasync_median(store.parent().unwrap_or(&store)).ok();
        let server = Server::start(folder.path(), &config).await?;
        Ok(Self {
            target: Target { addr: server.ready.listen, host: server.ready.listen.to_string() },
            admin: Admin::sign(sdkappid, key, &args.admin),
            probe: Some(Probe { pid: server.pid() }),
            own: Some(server),
            fdatasync,
            _folder: Some(folder),
        })
    }
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

const SENDERS: u32 = 64;

fn sender(n: u32) -> String {
    format!("bench-{:02}", n % SENDERS)
}

fn room_id(prefix: &str, room: u32) -> String {
    format!("{prefix}-{room:05}")
}

fn create_acks(path: &Path) -> anyhow::Result<Mutex<BufWriter<File>>> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    Ok(Mutex::new(BufWriter::new(file)))
}

/// Runs all connections to the end of the time; returns what they saw, and the server's CPU and peak memory.
async fn measured(run: &Arc<Run>, connections: u32, probe: Option<Probe>) -> anyhow::Result<Measured> {
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        tasks.spawn(Arc::clone(run).connection(number));
    }
    let own = Probe { pid: std::process::id() };
    let cpu_at = |when: Instant| async move {
        tokio::time::sleep_until(when.into()).await;
        (probe.and_then(Probe::cpu), own.cpu())
    };
    let mut tallies = Vec::new();
    let load = async {
        while let Some(tally) = tasks.join_next().await {
            tallies.push(tally);
        }
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
    let (peak_mb, before, after) = tokio::join!(load, cpu_at(run.measure_from), cpu_at(run.end));
    if let Some(acks) = &run.acks {
        acks.lock().unwrap_or_else(PoisonError::into_inner).flush().context("write the acknowledged messages")?;
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
    Ok(Measured { tally: all, cpu, load_cpu, peak_mb })
}

impl Run {
    /// One connection's life: due, send, look at the answer, again; opens itself anew after an error.
    async fn connection(self: Arc<Self>, number: u32) -> anyhow::Result<Tally> {
        let mut tally = Tally { latencies: Latencies::new()?, errors: 0, first_error: None };
        let mut template = Template::new(&self, number);
        let mut connection = None;
        loop {
            let due = self.pace.turn().await;
            if due >= self.end || Instant::now() >= self.end {
                return Ok(tally);
            }
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let room = (turn % u64::from(self.rooms)) as u32;
            let outcome = self.exchange(&mut connection, template.request(room, turn)).await;
            let done = Instant::now();
            match outcome {
                Ok(seq) => {
                    self.acknowledged(room, seq)?;
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

    fn acknowledged(&self, room: u32, seq: u64) -> anyhow::Result<()> {
        let Some(acks) = &self.acks else { return Ok(()) };
        let mut file = acks.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{} {seq}", room_id(&self.room_prefix, room)).context("write the acknowledged messages")
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
        let random = 1_000_000_000 + turn % 3_294_967_296;
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
