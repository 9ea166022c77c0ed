//! Receivers that close a connection which was idle for a while, as all do, and whoever sends just then.
//!
//! A request that goes out while the other side closes is not answered, and nothing is wrong with either side: it has to
//! go out once more over a new connection, in the same attempt.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use roomhook_hooks::gate::{Config, Decision};
use roomhook_room::{Draft, Endpoint, GateFailure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    gate::{BEFORE_SEND, Door, EXCEPTION, moderated, room},
    misbehaving::{default, first_failure, wait_for_status},
    receiver::OK,
    world::{self, APP, World, draft, endpoint, user},
};

/// Nothing in these stories may fail because the machine is busy.
const PATIENT: Duration = Duration::from_secs(30);
const SENDERS: u32 = 20;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closed when nothing came over it for so long.
    Idle(Duration),
    /// Closed when the second request has come over it whole, without a byte of an answer.
    AtSecond,
    /// As before, by a reset.
    ResetAtSecond,
    /// Closed with the first request, without a byte of an answer.
    AtFirst,
    /// Says that it sends nothing more, and waits until the other side closes.
    HalfClosedWhenIdle(Duration),
    /// Left open for as long as the other side likes.
    Never,
}

/// One request.
#[derive(Clone, Debug)]
struct Came {
    connection: usize,
    webhook_id: String,
    body: serde_json::Value,
}

impl Came {
    fn text(&self) -> &str {
        self.body["MsgBody"][0]["MsgContent"]["Text"].as_str().unwrap_or("?")
    }
}

/// A receiver that says yes, over HTTP/1.1 written by hand.
struct Receiver {
    url: String,
    came: Arc<Mutex<Vec<Came>>>,
    /// Connections that the other side closed.
    left: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    async fn start(end: End) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/", listener.local_addr().expect("address"));
        let came = Arc::<Mutex<Vec<Came>>>::default();
        let (leave, left) = watch::channel(0);
        let leave = Arc::new(leave);
        let task = tokio::spawn({
            let came = came.clone();
            async move {
                let mut connections = JoinSet::new();
                for connection in 0.. {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    connections.spawn(serve(stream, connection, end, came.clone(), leave.clone()));
                }
            }
        });
        Self { url, came, left, task }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().expect("came").clone()
    }

    async fn wait_for(&self, done: impl Fn(&[Came]) -> bool) {
        let waiting = async {
            while !done(&self.came()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(PATIENT, waiting).await.is_ok(), "waited in vain for requests; {} came", self.came().len());
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    end: End,
    came: Arc<Mutex<Vec<Came>>>,
    leave: Arc<watch::Sender<usize>>,
) {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{OK}", OK.len());
    for number in 1.. {
        let idle = match end {
            End::Idle(idle) | End::HalfClosedWhenIdle(idle) if number > 1 => idle,
            _ => PATIENT * 10,
        };
        let read = timeout(idle, request(&mut stream)).await;
        match read {
            Ok(Some((webhook_id, body))) => {
                came.lock().expect("came").push(Came { connection, webhook_id, body });
                match (end, number) {
                    (End::AtFirst, _) | (End::AtSecond, 2..) => return,
                    (End::ResetAtSecond, 2..) => return stream.set_zero_linger().expect("linger"),
                    _ => stream.write_all(answer.as_bytes()).await.unwrap_or_default(),
                }
            }
            Ok(None) => return leave.send_modify(|left| *left += 1),
            Err(_) if matches!(end, End::HalfClosedWhenIdle(_)) => {
                let _gone = stream.shutdown().await;
                while matches!(stream.read(&mut [0; 4_096]).await, Ok(1..)) {}
                return leave.send_modify(|left| *left += 1);
            }
            Err(_) => return,
        }
    }
}

/// The next request: its `webhook-id` and its body. `None` when the other side closed.
async fn request(stream: &mut TcpStream) -> Option<(String, serde_json::Value)> {
    let mut got = Vec::new();
    loop {
        if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(got.get(..end)?).into_owned();
            let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            let bytes: usize = value("content-length: ")?.parse().ok()?;
            if let Some(body) = got.get(end + 4..end + 4 + bytes) {
                return Some((value("webhook-id: ")?, serde_json::from_slice(body).ok()?));
            }
        }
        if stream.read_buf(&mut got).await.ok()? == 0 {
            return None;
        }
    }
}

/// A door that lets nothing pass unjudged, and reports.
fn strict(url: &str) -> Endpoint {
    Endpoint {
        gate_failure: Some(GateFailure::Drop),
        commands: vec![BEFORE_SEND.into(), EXCEPTION.into()],
        timeout_ms: Some(u32::try_from(PATIENT.as_millis()).expect("timeout")),
        ..moderated(APP, url)
    }
}

fn door(url: &str) -> Arc<Door> {
    let config = Config { timeout: PATIENT, wait_max: PATIENT, ..Config::default() };
    Arc::new(Door::with(config, vec![strict(url)]))
}

fn said(name: &str, text: &str) -> Draft {
    Draft { from: user(name), ..draft(text) }
}

fn tell(door: &Door, text: &str) {
    let report = door.gate.report(&room(APP, "room-7")).expect("a place for a report");
    report.tell("Live", &draft(text), 10_023, "message rate of the group exceeded");
}

/// Rounds of twenty senders at once. Before each round, each of them has been silent for about `keep_alive`: one some `step`s
/// less, another some more. Each sends a message and, as something could not be sent, has a report told.
async fn rounds(door: &Arc<Door>, keep_alive: Duration, step: Duration, rounds: u32) -> HashSet<String> {
    let mut told = HashSet::new();
    for round in 0..=rounds {
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let text = format!("{keep_alive:?}-{round}-{sender}");
            told.extend([text.clone(), format!("report {text}")]);
            let pause = (keep_alive + step * sender).saturating_sub(step * (SENDERS / 2));
            let door = door.clone();
            senders.spawn(async move {
                if round > 0 {
                    sleep(pause).await;
                }
                let decided = door.decide(&said(&format!("u{sender}"), &text)).await;
                tell(&door, &format!("report {text}"));
                assert_eq!(decided, Some(Decision::Allow), "{text}: {:?}", door.gate.recent(APP).first());
            });
        }
        while let Some(done) = senders.join_next().await {
            done.expect("judged");
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_moderators_keep_alive_every_message_is_judged_and_every_report_arrives() {
    let mut stories = JoinSet::new();
    // Short ones often, long ones once: all of them take about ten seconds.
    for (keep_alive_ms, count) in [(100, 60), (150, 40), (250, 25), (400, 15), (1_000, 6), (5_000, 2), (10_000, 1)] {
        stories.spawn(async move {
            let keep_alive = Duration::from_millis(keep_alive_ms);
            let moderator = Receiver::start(End::Idle(keep_alive)).await;
            let door = door(&moderator.url);
            let told = rounds(&door, keep_alive, Duration::from_micros(500), count).await;
            // A report that goes out while the connection closes may arrive twice, and its id says so.
            moderator.wait_for(|came| came.iter().map(Came::text).collect::<HashSet<_>>().len() >= told.len()).await;
            let texts: HashSet<String> = moderator.came().iter().map(|came| came.text().to_owned()).collect();
            assert_eq!(texts, told, "{keep_alive:?}");
            let reports = (count + 1) * SENDERS;
            let sent = r#"roomhook_gate_exceptions_total{app="1400000001",outcome="sent"}"#;
            while door.metric(sent) != reports.to_string() {
                assert_eq!(door.metric(r#"roomhook_gate_exceptions_total{app="1400000001",outcome="failed"}"#), "0");
                sleep(Duration::from_millis(5)).await;
            }
            assert!(door.gate.recent(APP).iter().all(|asked| asked.problem.is_none()), "{keep_alive:?}");
        });
    }
    while let Some(done) = stories.join_next().await {
        done.expect("each keep-alive");
    }
}

/// Node closes a connection that was idle for `keepAliveTimeout`, 5 s unless told otherwise.
struct Node {
    url: String,
    child: Child,
}

impl Node {
    /// The Node that all tests use, whatever the machine has.
    fn start(keep_alive: Duration) -> Self {
        let script = format!(
            "const server = require('http').createServer((request, response) => {{ request.resume(); \
             request.on('end', () => {{ response.setHeader('content-type', 'application/json'); response.end('{OK}'); }}); }}); \
             server.keepAliveTimeout = {}; server.keepAliveTimeoutBuffer = 0; \
             server.listen(0, '127.0.0.1', () => console.log(server.address().port));",
            keep_alive.as_millis()
        );
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        // Does nothing where it is installed.
        let installed = Command::new(project.join("e2e/peers/install")).output().expect("the installer of peers");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let node = project.join(".tools/node/bin/node");
        let mut child = Command::new(node).arg("-e").arg(script).stdout(Stdio::piped()).spawn().expect("Node");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a port");
        Self { url: format!("http://127.0.0.1:{}/", line.trim()), child }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moderator_on_node_judges_after_every_pause() {
    let keep_alive = Duration::from_millis(120);
    let node = Node::start(keep_alive);
    let door = door(&node.url);
    // Its timers are coarse.
    rounds(&door, keep_alive, Duration::from_millis(4), 30).await;
    let asked = door.gate.recent(APP);
    assert!(asked.iter().all(|asked| asked.problem.is_none() && asked.verdict == "allow"), "{asked:?}");
}

#[tokio::test]
async fn what_a_kept_connection_takes_and_does_not_answer_goes_out_once_more_over_a_new_one() {
    for end in [End::AtSecond, End::ResetAtSecond] {
        let moderator = Receiver::start(end).await;
        let door = door(&moderator.url);
        for text in ["one", "two", "three"] {
            assert_eq!(door.decide(&draft(text)).await, Some(Decision::Allow), "{end:?}");
        }
        let came = moderator.came();
        let ways: Vec<(usize, &str)> = came.iter().map(|came| (came.connection, came.text())).collect();
        assert_eq!(ways, [(0, "one"), (0, "two"), (1, "two"), (1, "three"), (2, "three")], "{end:?}");
        assert_eq!(came[1].webhook_id, came[2].webhook_id, "{end:?}: a receiver drops repeats by it");
        tell(&door, "a report");
        moderator.wait_for(|came| came.iter().filter(|came| came.text() == "a report").count() == 2).await;
    }
}

#[tokio::test]
async fn a_webhook_that_a_kept_connection_did_not_answer_is_no_failed_attempt() {
    let receiver = Receiver::start(End::AtSecond).await;
    let mut world = World::new(vec![endpoint(&receiver.url)]).await;
    for _ in 0..10 {
        world.say("r", "hello").await;
    }
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 10).await;
    let failures = world.hooks().attempts(&default(), true, 10).expect("endpoint");
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(receiver.came().len(), 19, "all but the first twice");
    world.stop().await;
}

#[tokio::test]
async fn a_new_connection_that_does_not_answer_is_a_failure_at_once() {
    let receiver = Receiver::start(End::AtFirst).await;
    let door = door(&receiver.url);
    let decided = door.decide(&draft("hello")).await;
    assert!(matches!(decided, Some(Decision::Refuse { code: 80_003, .. })), "{decided:?}");
    assert_eq!(receiver.came().len(), 1, "it is not asked again");
    let mut world = World::new(vec![endpoint(&receiver.url)]).await;
    world.say("r", "hello").await;
    let failure = first_failure(world.hooks()).await;
    assert!(failure.problem.as_deref().is_some_and(|problem| problem.contains("connection")), "{failure:?}");
    world.stop().await;
}

async fn wait_until_left(receiver: &Receiver, why: &str) {
    let mut left = receiver.left.clone();
    assert!(timeout(PATIENT, left.wait_for(|left| *left == 1)).await.is_ok(), "{why}");
}

#[tokio::test]
async fn an_idle_connection_of_the_gate_is_closed_when_the_moderator_closes_it() {
    let moderator = Receiver::start(End::HalfClosedWhenIdle(Duration::from_millis(50))).await;
    let door = door(&moderator.url);
    assert_eq!(door.decide(&draft("hello")).await, Some(Decision::Allow));
    wait_until_left(&moderator, "nobody looks after it").await;
    assert_eq!(door.decide(&draft("again")).await, Some(Decision::Allow));
    assert_eq!(moderator.came().len(), 2);
}

#[tokio::test]
async fn an_idle_connection_of_the_gate_is_not_kept_for_ever() {
    let moderator = Receiver::start(End::Never).await;
    let hooks = roomhook_hooks::Config { idle: Duration::from_millis(200), ..world::config() };
    let door = Door::beside(hooks, Config { timeout: PATIENT, ..Config::default() }, vec![strict(&moderator.url)]);
    let began = Instant::now();
    assert_eq!(door.decide(&draft("hello")).await, Some(Decision::Allow));
    wait_until_left(&moderator, "it is kept").await;
    assert!(began.elapsed() >= Duration::from_millis(200), "it was kept for a while");
}
