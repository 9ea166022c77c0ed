//! The disk fills up under load, is freed again, or takes a write no more: writes stop with an error that says so, everything
//! else goes on, and nothing that was acknowledged is lost.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use hyper::StatusCode;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::Pid;
use roomhook_e2e::receiver::{Receiver, Seen as Webhook};
use roomhook_e2e::rest::{self, Client};
use roomhook_e2e::server::{Server, Setup};
use roomhook_e2e::small_disk::SmallDisk;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::owed::{Acknowledged, check, settle};

const ROOMS: usize = 6;
/// Large messages fill a disk quickly.
const TEXT_BYTES: usize = 6_000;
/// How much is acknowledged before the disk is full, so that there is something to lose.
const OWED: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

fn setup(receiver: &Receiver, disk: &SmallDisk) -> Setup {
    Setup {
        store: Some(disk.folder().to_owned()),
        of_storage: format!("free_bytes_min = \"{}B\"", disk.reserve()),
        of_webhooks: "retry_first = \"50ms\"\nretry_max = \"500ms\"".to_owned(),
        ..Setup::webhook(receiver.url())
    }
}

async fn make_rooms(server: &Server) -> Result<()> {
    let mut client = server.client().await?;
    client.import("ana_k").await?;
    for room in 0..ROOMS {
        client.create_room(&format!("room-{room}")).await?;
    }
    Ok(())
}

/// What one sender was told.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Acknowledged,
    /// Each reason once.
    refusals: HashSet<String>,
}

/// Two senders per room that go on through refusals until they are told to stop or the server is gone.
struct Load {
    seen: Arc<Seen>,
    senders: JoinSet<Told>,
}

/// What has happened so far, for those who wait for it.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    async fn begin(server: &Server) -> Result<Self> {
        let (seen, mut senders) = (Arc::<Seen>::default(), JoinSet::new());
        for sender in 0..ROOMS * 2 {
            senders.spawn(send(server.client().await?, format!("room-{}", sender % ROOMS), Arc::clone(&seen)));
        }
        Ok(Self { seen, senders })
    }

    /// Waits until so many messages were acknowledged.
    async fn acknowledged(&self, wanted: usize) -> Result<()> {
        self.until(&self.seen.acknowledged, wanted).await.context("messages are acknowledged")
    }

    /// Waits until there were so many refusals, from now on, that each sender can be counted on to have got one.
    async fn refused(&self) -> Result<()> {
        let wanted = self.seen.refused.load(Ordering::Acquire) + self.senders.len() * 3;
        self.until(&self.seen.refused, wanted).await.context("messages are refused")
    }

    async fn until(&self, count: &AtomicUsize, wanted: usize) -> Result<()> {
        let enough = async {
            while count.load(Ordering::Acquire) < wanted {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, enough).await.with_context(|| format!("{count:?} of {wanted}"))
    }

    async fn end(mut self) -> Result<Told> {
        self.seen.stop.store(true, Ordering::Release);
        let mut all = Told::default();
        while let Some(told) = self.senders.join_next().await {
            let told = told?;
            all.acknowledged.extend(told.acknowledged);
            all.refusals.extend(told.refusals);
        }
        Ok(all)
    }
}

async fn send(mut client: Client, room: String, seen: Arc<Seen>) -> Told {
    let (mut told, text) = (Told::default(), "x".repeat(TEXT_BYTES));
    let message = json!({"RoomId": room, "Sender_Account": "ana_k", "TextContent": text});
    while !seen.stop.load(Ordering::Acquire) {
        let Ok(answer) = client.call("live_engine_http_srv/send_text_msg", &message).await else { break };
        if answer["ErrorCode"] == 0
            && let Ok(receipt) = rest::receipt(&answer["Response"])
        {
            told.acknowledged.insert((room.clone(), receipt.seq));
            seen.acknowledged.fetch_add(1, Ordering::AcqRel);
        } else {
            let info = answer["ErrorInfo"].as_str().unwrap_or_default();
            // How much is free changes from one refusal to the next.
            let words = info.split(|letter: char| letter.is_ascii_digit()).collect::<Vec<_>>().join("#");
            told.refusals.insert(format!("{}: {words}", answer["ErrorCode"]));
            seen.refused.fetch_add(1, Ordering::AcqRel);
            sleep(Duration::from_millis(20)).await; // as a backend that backs off
        }
    }
    told
}

/// Loads the server until the disk is full and everybody has been refused; the server says why it is not ready.
async fn fill_by_load(server: &mut Server, disk: &SmallDisk) -> Result<Told> {
    let load = Load::begin(server).await?;
    load.acknowledged(OWED).await?;
    if !disk.is_own() {
        disk.fill_into_reserve().await?; // the load would take minutes to do that
    }
    let why = server.answers_readiness(StatusCode::SERVICE_UNAVAILABLE).await?;
    ensure!(why.contains("is full: make room; writes go on by themselves then"), "{why}");
    load.refused().await?;
    let told = load.end().await?;
    for refusal in &told.refusals {
        ensure!(refusal.contains("storage is not available, nothing happened"), "{refusal}");
        ensure!(refusal.contains("MiB are kept in reserve: free"), "it says what to do: {refusal}");
    }
    Ok(told)
}

/// Reading and asking go on.
async fn reads_go_on(server: &Server) -> Result<()> {
    let info = json!({"RoomId": "room-0"});
    server.client().await?.ok("live_engine_http_srv/get_room_info", &info).await?;
    let (status, _) = server.admin_get("/healthz").await?;
    ensure!(status == StatusCode::OK, "alive");
    Ok(())
}

fn lines(server: &Server, what: &str) -> usize {
    server.log().lines().filter(|line| line.contains(what)).count()
}

/// Sends one more message into each room; it is acknowledged.
async fn one_more(server: &Server, acknowledged: &mut Acknowledged) -> Result<()> {
    let mut client = server.client().await?;
    for room in 0..ROOMS {
        let room = format!("room-{room}");
        let receipt = client.text(&room, "ana_k", "there is room again").await?;
        acknowledged.insert((room, receipt.seq));
    }
    Ok(())
}

/// After healing: everything arrived, in order, and the numbers say so.
async fn healed(server: &Server, receiver: Receiver, told: &Told, seen: Vec<Webhook>, crashes: usize) -> Result<()> {
    let [owed, delivered, ..] = settle(server, PATIENCE).await?;
    ensure!(owed >= told.acknowledged.len() as u64 && delivered == owed, "nothing was parked, nothing expired");
    let seen = [seen, receiver.stop().await?].concat();
    check(&told.acknowledged, &seen, crashes)
}

/// The receiver is away while the disk fills up, so that everything is owed when it is full; the server dies in the middle of
/// paying, starts on the full disk, pays the rest there, and is ready by itself when there is room again.
async fn only_writes_stop(disk: &SmallDisk) -> Result<()> {
    let receiver = Receiver::start().await?;
    let mut server = setup(&receiver, disk).start().await?;
    make_rooms(&server).await?;
    let (mut seen, away) = receiver.go_away().await?;
    disk.leave(8 << 20)?;
    let mut told = fill_by_load(&mut server, disk).await?;
    reads_go_on(&server).await?;
    ensure!(lines(&server, "messages are refused: the disk is full") == 1, "told once");
    if disk.is_own() {
        disk.fill_into_reserve().await?; // as its neighbours on the disk would go on to do
    }

    let mut receiver = away.come_back().await?;
    seen.extend(receiver.take(OWED).await?);
    server.kill_9().await?;
    let why = server.start_again_unready().await?;
    ensure!(why.contains("is full"), "{why}");
    reads_go_on(&server).await?;
    settle(&server, PATIENCE).await.context("webhooks are paid on a full disk")?;
    ensure!(lines(&server, "cannot write webhook cursors") == 0, "the reserve has room for cursors");

    disk.make_room().await?;
    server.answers_readiness(StatusCode::OK).await?;
    one_more(&server, &mut told.acknowledged).await?;
    ensure!(lines(&server, "there is room on the disk again") == 1, "told once");
    // The receiver lived on: what a crash of the server repeats is all there may be.
    healed(&server, receiver, &told, seen, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_and_nothing_else() -> Result<()> {
    only_writes_stop(&SmallDisk::make().await?).await
}

/// The same where no file system can be mounted, on a disk that its neighbours fill and free all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_that_others_write_to_stops_writes_and_nothing_else() -> Result<()> {
    let disk = SmallDisk::borrow().await?;
    let neighbour = Neighbour::move_in()?;
    only_writes_stop(&disk).await?;
    neighbour.move_out()
}

/// Somebody else on the same disk: takes a GiB and a half in parts, gives it back, and begins again. Leaves when dropped at the latest.
struct Neighbour {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Neighbour {
    fn move_in() -> Result<Self> {
        const PART: u64 = 256 << 20;
        let folder = tempfile::Builder::new().prefix("roomhook-neighbour-").tempdir()?;
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Acquire) {
                let file = std::fs::File::create(folder.path().join("takes"))?;
                for parts in (1..=6).chain((0..6).rev()) {
                    file.set_len(parts * PART)?;
                    fallocate(&file, FallocateFlags::empty(), 0, i64::try_from((parts * PART).max(1))?)?;
                    thread::sleep(Duration::from_millis(50));
                }
            }
            Ok(())
        });
        Ok(Self { ended, thread: Some(thread) })
    }

    fn move_out(mut self) -> Result<()> {
        self.ended.store(true, Ordering::Release);
        let thread = self.thread.take().context("it has moved out")?;
        thread.join().map_err(|_| anyhow!("the neighbour panicked"))?
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// Somebody else takes the last byte, the reserve included. What nobody can write is not tried; a start says what it needs.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_room_a_start_says_what_to_do_and_nothing_is_lost() -> Result<()> {
    let disk = SmallDisk::make().await?;
    let receiver = Receiver::start().await?;
    let setup = setup(&receiver, &disk);
    let mut server = setup.start().await?;
    make_rooms(&server).await?;
    let load = Load::begin(&server).await?;
    load.acknowledged(OWED).await?;
    let greedy = Setup { of_storage: "free_bytes_min = \"1048576GiB\"".to_owned(), ..setup.clone() };
    if disk.is_own() {
        disk.fill_up()?;
        server.answers_readiness(StatusCode::SERVICE_UNAVAILABLE).await?;
        reads_go_on(&server).await?;
    }
    let mut told = load.end().await?;
    server.kill_9().await?;

    if disk.is_own() {
        // What a start would remove anyhow, and have room by that.
        remove_drafts(disk.folder())?;
        disk.fill_up()?;
    } else {
        greedy.rewrite(&server)?;
    }
    server.start_to_fail()?;
    let status = server.ended().await?;
    ensure!(status.code() == Some(1), "it ends with {status}");
    ensure!(lines(&server, "even the reserve of") >= 1, "it says why:\n{}", server.log());
    ensure!(lines(&server, "MiB or more, or lower that setting") >= 1, "it says what to do:\n{}", server.log());
    ensure!(lines(&server, "backup") == 0, "nothing has to be restored:\n{}", server.log());

    disk.make_room().await?;
    setup.rewrite(&server)?;
    server.start_again().await?;
    one_more(&server, &mut told.acknowledged).await?;
    // Nobody could write cursors any more: all that was delivered since may come again.
    let crashes = 1 + told.acknowledged.len() / crate::owed::REPEATS_PER_CRASH_MAX;
    healed(&server, receiver, &told, Vec::new(), crashes).await
}

/// The segment that was being prepared when the server was killed.
fn remove_drafts(store: &std::path::Path) -> Result<()> {
    for entry in std::fs::read_dir(store.join("journal"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Sets the largest file that a running process may write.
fn limit_files(of: Pid, bytes: &str) -> Result<()> {
    let status = Command::new("prlimit").args(["--pid", &of.to_string(), &format!("--fsize={bytes}:")]).status();
    ensure!(status.context("starting prlimit (Debian: util-linux)")?.success(), "prlimit fails");
    Ok(())
}

/// The system refuses a write that the server was sure of. What the disk holds is known again after a restart only: until then
/// nothing is written, and all the rest goes on.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_write_that_fails_only_a_restart_writes_again() -> Result<()> {
    let receiver = Receiver::start().await?;
    let quick = "retry_first = \"50ms\"\nretry_max = \"500ms\"".to_owned();
    let mut server = Setup { of_webhooks: quick, ..Setup::webhook(receiver.url()) }.start().await?;
    make_rooms(&server).await?;
    let load = Load::begin(&server).await?;
    load.acknowledged(OWED).await?;
    limit_files(server.id()?, "4096")?;
    let why = server.answers_readiness(StatusCode::SERVICE_UNAVAILABLE).await?;
    ensure!(why.contains("look at the disk, then restart"), "{why}");
    load.refused().await?; // what was under way is answered
    limit_files(server.id()?, "unlimited")?;
    let acknowledged = load.seen.acknowledged.load(Ordering::Acquire);
    load.refused().await?;
    ensure!(
        load.seen.acknowledged.load(Ordering::Acquire) == acknowledged,
        "writing goes on after a write that failed"
    );
    let mut told = load.end().await?;
    reads_go_on(&server).await?;
    let (status, _) = server.admin_get("/readyz").await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "not ready until a restart");
    let ended = timeout(PATIENCE, server.terminate()).await??;
    ensure!(ended.success(), "a server that cannot write still ends in order: {ended}");

    server.start_again().await?;
    one_more(&server, &mut told.acknowledged).await?;
    // No cursor was written after the failure.
    let crashes = 1 + told.acknowledged.len() / crate::owed::REPEATS_PER_CRASH_MAX;
    healed(&server, receiver, &told, Vec::new(), crashes).await
}
