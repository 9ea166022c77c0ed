//! The whole server on a disk that forgets, under load: what it acknowledged is there and arrives, whatever fails.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use hyper::StatusCode;
use roomhook_e2e::forgetful_disk::{Cut, Data, Failure, Fault, ForgetfulDisk, Names};
use roomhook_e2e::receiver::{Receiver, Seen};
use roomhook_e2e::rest::{self, Client};
use roomhook_e2e::server::{Server, Setup};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::owed::{Acknowledged, check, setting, settle};

const ROOMS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// Text of each message by room and number.
type Book = BTreeMap<(String, u64), String>;

/// A server, its disk, and what was promised.
struct World {
    disk: ForgetfulDisk,
    server: Server,
    acknowledged: Book,
    /// Reasons for which messages were refused.
    refusals: Vec<String>,
    starts: usize,
}

impl World {
    async fn begin(durability: &'static str, receiver: &Receiver) -> Result<Self> {
        let disk = ForgetfulDisk::make()?;
        let setup = Setup {
            store: Some(disk.folder().join("store")),
            durability,
            enter: disk.enter()?,
            of_storage: "shards = 2\nfree_bytes_min = \"16MiB\"".to_owned(),
            of_webhooks: "retry_first = \"50ms\"\nretry_max = \"500ms\"".to_owned(),
            ..Setup::webhook(receiver.url())
        };
        let server = setup.start().await?;
        let mut client = server.client().await?;
        client.import("ana_k").await?;
        for room in 0..ROOMS {
            client.create_room(&format!("room-{room}")).await?;
        }
        Ok(Self { disk, server, acknowledged: Book::new(), refusals: Vec::new(), starts: 1 })
    }

    /// Two senders per room, until each was told something else than a receipt.
    async fn load(&self, round: u64) -> Result<JoinSet<(Book, Option<String>)>> {
        let mut senders = JoinSet::new();
        for sender in 0..ROOMS * 2 {
            let client = self.server.client().await?;
            senders.spawn(send(client, format!("room-{}", sender % ROOMS), format!("round {round} sender {sender}")));
        }
        Ok(senders)
    }

    async fn end(&mut self, mut senders: JoinSet<(Book, Option<String>)>) -> Result<()> {
        while let Some(told) = timeout(PATIENCE, senders.join_next()).await.context("the senders hang")? {
            let (book, refusal) = told?;
            self.refusals.extend(refusal);
            for (place, text) in book {
                let twice = self.acknowledged.insert(place.clone(), text);
                ensure!(twice.is_none(), "{place:?} was acknowledged as {twice:?} before");
            }
        }
        Ok(())
    }

    /// The power comes back, and the server starts by itself.
    async fn power_on(&mut self, cut: Cut, random: &mut Rng) -> Result<()> {
        self.server.kill_9().await?;
        self.disk.power_on(cut, random)?;
        self.server.will_enter(self.disk.enter()?);
        self.start_again().await
    }

    async fn start_again(&mut self) -> Result<()> {
        self.starts += 1;
        self.server.start_again().await
    }

    async fn one_more(&mut self) -> Result<()> {
        let mut client = self.server.client().await?;
        for room in 0..ROOMS {
            let room = format!("room-{room}");
            let text = format!("one more after start {}", self.starts);
            let seq = client.text(&room, "ana_k", &text).await?.seq;
            let newest = self.acknowledged.keys().filter(|(of, _)| *of == room).map(|(_, seq)| *seq).max().unwrap_or(0);
            ensure!(seq > newest, "{newest} was acknowledged in {room}, and the next message has number {seq}");
            self.acknowledged.insert((room, seq), text);
        }
        Ok(())
    }

    /// Everything arrived, once under each number and in order, and the numbers add up.
    async fn paid(&self, receiver: Receiver) -> Result<()> {
        let [owed, delivered, ..] = settle(&self.server, PATIENCE).await?;
        let acknowledged: Acknowledged = self.acknowledged.keys().cloned().collect();
        ensure!(owed >= acknowledged.len() as u64 && delivered == owed, "nothing was parked, nothing expired");
        let seen = receiver.stop().await?;
        check(&acknowledged, &seen, self.starts)?;
        one_story(&self.acknowledged, &seen)
    }
}

/// Sends until something else than a receipt comes; gives what it was.
async fn send(mut client: Client, room: String, label: String) -> (Book, Option<String>) {
    let mut book = Book::new();
    for number in 0_u64.. {
        let text = format!("{label} message {number}");
        let message = json!({"RoomId": room, "Sender_Account": "ana_k", "TextContent": text});
        let Ok(answer) = client.call("live_engine_http_srv/send_text_msg", &message).await else { break };
        match rest::receipt(&answer["Response"]) {
            Ok(receipt) if answer["ErrorCode"] == 0 => book.insert((room.clone(), receipt.seq), text),
            _ => return (book, Some(answer["ErrorInfo"].as_str().unwrap_or_default().to_owned())),
        };
    }
    (book, None)
}

/// No message was told that is not there, and no number was given twice.
fn one_story(acknowledged: &Book, seen: &[Seen]) -> Result<()> {
    let mut told = Book::new();
    for one in seen {
        let (place, text) = ((one.room().to_owned(), one.seq()), &one.body["MsgBody"][0]["MsgContent"]["Text"]);
        let text = text.as_str().unwrap_or_default().to_owned();
        if let Some(before) = told.insert(place.clone(), text.clone()) {
            ensure!(before == text, "{place:?} was told as {before:?} and as {text:?}");
        }
    }
    for (place, text) in acknowledged {
        ensure!(told.get(place) == Some(text), "{place:?} was acknowledged as {text:?}, told as {:?}", told.get(place));
    }
    for room in 0..ROOMS {
        let room = format!("room-{room}");
        let seqs: Vec<u64> = told.keys().filter(|(of, _)| *of == room).map(|(_, seq)| *seq).collect();
        ensure!(seqs.iter().copied().eq(1..=seqs.len() as u64), "the numbers of {room} are not dense: {seqs:?}");
    }
    Ok(())
}

async fn until_off(disk: &ForgetfulDisk) -> Result<()> {
    let wait = async {
        while !disk.is_off() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.context("the load never comes to the operation before which the power fails")
}

/// How many operations a start takes is up to what the last cut left of the mirror.
async fn off_or_ready(world: &World) -> Result<()> {
    let wait = async {
        while !world.disk.is_off() && world.server.admin_get("/readyz").await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.context("a start that neither ends nor loses its power")
}

#[expect(clippy::print_stderr, reason = "that nothing was tried must be in the output")]
fn lacks() -> bool {
    let lacking = ForgetfulDisk::lacking();
    if let Some(lacking) = &lacking {
        eprintln!("SKIPPED: this machine lacks {lacking} for a disk that forgets");
    }
    lacking.is_some()
}

#[expect(clippy::print_stderr, reason = "a failed round is repeated with its seed")]
fn seed() -> Result<Rng> {
    let seed = setting("ROOMHOOK_POWERCUT_SEED", fastrand::u64(..))?;
    eprintln!("ROOMHOOK_POWERCUT_SEED={seed}");
    Ok(Rng::with_seed(seed))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_acknowledged_survives_power_cuts_and_arrives() -> Result<()> {
    if lacks() {
        return Ok(());
    }
    let mut random = seed()?;
    let receiver = Receiver::start().await?;
    let mut world = World::begin("fsync", &receiver).await?;
    let mut cuts: Vec<Cut> = Cut::all().collect();
    random.shuffle(&mut cuts);
    let rounds = setting("ROOMHOOK_POWERCUT_SERVER_ROUNDS", 6)?;
    for (round, cut) in (0..rounds).zip(cuts.into_iter().cycle()) {
        let senders = world.load(round).await?;
        world.disk.cut_after(random.u64(..1_000));
        until_off(&world.disk).await?;
        if random.bool() {
            world.disk.restart_machine()?;
        }
        world.server.kill_9().await?;
        world.end(senders).await?;
        let powered = async {
            // A start may lose its power as well.
            if random.u8(..3) == 0 {
                world.disk.power_on(cut, &mut random)?;
                world.disk.cut_after(random.u64(..100));
                world.server.will_enter(world.disk.enter()?);
                world.server.start_to_fail()?;
                off_or_ready(&world).await?;
                world.disk.cut_now();
            }
            world.power_on(cut, &mut random).await?;
            world.one_more().await
        };
        powered.await.with_context(|| format!("round {round}, after {cut:?}"))?;
    }
    // What was refused while there was no power is no matter; what was answered is.
    world.paid(receiver).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sync_the_server_starts_by_itself_after_a_power_cut_and_goes_on() -> Result<()> {
    if lacks() {
        return Ok(());
    }
    let mut random = seed()?;
    let receiver = Receiver::start().await?;
    let mut world = World::begin("os", &receiver).await?;
    for data in [Data::Lost, Data::Sectors] {
        let senders = world.load(0).await?;
        world.disk.cut_after(random.u64(100..1_000));
        until_off(&world.disk).await?;
        world.disk.restart_machine()?;
        world.server.kill_9().await?;
        world.end(senders).await?;
        world.acknowledged.clear();
        world.power_on(Cut { data, names: Names::InOrder }, &mut random).await?;
        let mut client = world.server.client().await?;
        client.import("ana_k").await?;
        for room in 0..ROOMS {
            let room = format!("room-{room}");
            // The room itself may be among what was lost.
            let _ = client.create_room(&room).await;
            let first = client.text(&room, "ana_k", "after the cut").await?.seq;
            ensure!(client.text(&room, "ana_k", "and one more").await?.seq == first + 1, "dense again");
        }
        settle(&world.server, PATIENCE).await?;
    }
    Ok(())
}

/// Whoever is refused is told why, and so is whoever asks whether the server is ready.
fn names_the_cause(text: &str, failure: Failure) -> bool {
    let in_the_log = text.contains("could not write in the background; its line in the log says why");
    in_the_log
        || match failure {
            Failure::Broken => text.contains("Input/output error"),
            Failure::Full => ["No space left on device", "MiB free", "is full"].iter().any(|word| text.contains(word)),
        }
}

/// Of what was under way the outcome is not known; whoever comes later is told the cause.
async fn sender_is_told(server: &Server, failure: Failure) -> Result<()> {
    let message = json!({"RoomId": "room-0", "Sender_Account": "ana_k", "TextContent": "is it written?"});
    let mut client = server.client().await?;
    loop {
        let answer = client.call("live_engine_http_srv/send_text_msg", &message).await?;
        let told = answer["ErrorInfo"].as_str().unwrap_or_default();
        ensure!(answer["ErrorCode"] != 0, "acknowledged by a server that is not ready: {answer}");
        if names_the_cause(told, failure) {
            return Ok(());
        }
        ensure!(told.contains("the outcome is unknown"), "a sender is told {answer}");
    }
}

/// The server goes on or refuses, with the reason; after a restart, and a power cut behind that, all that it acknowledged is there.
async fn one_failure(fault: Fault, random: &mut Rng) -> Result<bool> {
    let receiver = Receiver::start().await?;
    let mut world = World::begin("fsync", &receiver).await?;
    let senders = world.load(0).await?;
    world.disk.fail(fault);
    let enough = world.disk.operations() + fault.at + 400;
    let deadline = Instant::now() + PATIENCE;
    while world.disk.operations() < enough && world.server.admin_get("/readyz").await?.0 == StatusCode::OK {
        ensure!(Instant::now() < deadline, "the load does not go on");
        sleep(Duration::from_millis(10)).await; // the load runs meanwhile
    }
    let (status, why) = world.server.admin_get("/readyz").await?;
    let refused = status != StatusCode::OK;
    if refused {
        ensure!(names_the_cause(&why, fault.failure), "/readyz says {why:?}");
        timeout(PATIENCE, sender_is_told(&world.server, fault.failure)).await.context("no sender is told")??;
    }
    let ended = world.server.terminate().await?;
    ensure!(ended.success(), "a server whose disk fails still ends in order: {ended}");
    world.end(senders).await?;
    for refusal in world.refusals.iter().filter(|_| refused) {
        let is_unknown = refusal.contains("the outcome is unknown");
        ensure!(is_unknown || names_the_cause(refusal, fault.failure), "a sender is told {refusal:?}");
    }
    let failed = world.disk.work_again();
    ensure!(failed > 0 || !refused, "nothing failed, and yet: {why}");
    world.start_again().await.context("after a restart")?;
    world.one_more().await?;
    world.power_on(Cut { data: Data::Lost, names: Names::Lost }, random).await.context("after a power cut")?;
    world.one_more().await?;
    world.paid(receiver).await?;
    Ok(refused)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what was tried must be in the output")]
async fn a_failure_of_the_disk_is_told_with_its_cause_and_costs_nothing_that_was_acknowledged() -> Result<()> {
    if lacks() {
        return Ok(());
    }
    let mut random = seed()?;
    let (mut refused, rounds) = (0, setting("ROOMHOOK_FAILURES_SERVER_ROUNDS", 3)?);
    let kinds = [(Failure::Broken, false), (Failure::Full, true), (Failure::Broken, true), (Failure::Full, false)];
    for (_, (failure, stays)) in (0..rounds).zip(kinds.into_iter().cycle()) {
        let fault = Fault { at: random.u64(..300), failure, stays };
        refused += u64::from(one_failure(fault, &mut random).await.with_context(|| format!("{fault:?}"))?);
    }
    eprintln!("{rounds} failures, {refused} of them noticed by senders");
    Ok(())
}
