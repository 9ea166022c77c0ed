//! The process whose power is cut: a store that is written to in all ways at once, and that says what it was told. After each start it
//! looks at all it has, and says that too.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomhook_log::{
    AppendError, Claim, Expect, Key, LogAppend as _, LogId, LogRead as _, Lsn, NewRecord, NodeId, ReadError, Record,
    Row, Rows as _, TailLimits,
};
use roomhook_log_disk::{DiskConfig, DiskLog, Durability};

/// Which process this is, if it is one: the store's folder.
pub(super) const STORE: &str = "ROOMHOOK_POWERCUT_STORE";
pub(super) const DURABILITY: &str = "ROOMHOOK_POWERCUT_DURABILITY";
pub(super) const SEED: &str = "ROOMHOOK_POWERCUT_SEED_OF_WRITER";
/// Appends of each log until an orderly stop. 0: goes on with the next life after each, until it is killed.
pub(super) const APPENDS: &str = "ROOMHOOK_POWERCUT_APPENDS";

const LOGS: [LogId; 4] = [LogId(0), LogId(1), LogId(2), LogId::DIRECTORY];
const ROOMS: u64 = 5;

/// Segments of some dozens of records, dumps with each of them, and all of it may go as soon as nobody needs it.
fn config(path: &Path, durability: Durability) -> DiskConfig {
    DiskConfig {
        path: path.to_owned(),
        shards: 3,
        durability,
        segment_bytes: 48 << 10,
        retention_max_age: Some(Duration::from_secs(1)),
        free_bytes_min: 1 << 20,
        tail: TailLimits { bytes_max: 64 << 10, records_max: 50 },
        memtable_bytes: 64 << 10,
        clock: Arc::new(|| 1_000_000),
        ..DiskConfig::default()
    }
}

/// One line to the parent, in one write: a killed process leaves no half of it.
fn tell(line: &str) {
    // The parent may be gone already.
    let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
}

/// Not a test of its own: the process whose power is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else { return };
    let setting = |name: &str| std::env::var(name).unwrap_or_default();
    let durability = if setting(DURABILITY) == "os" { Durability::Os } else { Durability::Fsync };
    let mut random = fastrand::Rng::with_seed(setting(SEED).parse().expect("a seed"));
    let appends: u64 = setting(APPENDS).parse().expect("a number");
    loop {
        let lives = if appends > 0 { appends } else { 1 << random.u32(0..9) };
        match live(&path, durability, lives, &mut random).await {
            Ok(()) if appends > 0 => return tell("ended"),
            Ok(()) => {}
            Err(reason) => {
                tell(&format!("failed {}", reason.replace('\n', " ")));
                if appends > 0 {
                    return;
                }
                // The parent knows whether it may.
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn live(path: &Path, durability: Durability, appends: u64, random: &mut fastrand::Rng) -> Result<(), String> {
    let store = DiskLog::open(config(path, durability)).map_err(|error| format!("a start: {error}"))?;
    let mut last = Vec::new();
    for log in LOGS {
        last.push(look(&store, log).await.map_err(|error| format!("reading: {error}"))?);
    }
    tell("started");
    let mut writers = tokio::task::JoinSet::new();
    for (log, last) in LOGS.into_iter().zip(last) {
        let (store, random) = (Arc::clone(&store), random.fork());
        writers.spawn(async move { write(&store, log, last + 1, appends, random).await });
    }
    let mut failed = None;
    while let Some(written) = writers.join_next().await {
        failed = failed.or(written.expect("a writer").err());
    }
    match failed {
        None => {}
        // One that failed stops as well, as a server does.
        Some(reason) => {
            let health = store.health();
            store.shutdown().await;
            return Err(format!("{reason}; health: {health:?}"));
        }
    }
    tell("stopping");
    store.shutdown().await;
    Ok(())
}

// === looking ===

/// Reads all of a log, checks it against itself and what lies beside it, and tells the parent. Gives the newest number.
async fn look(store: &DiskLog, log: LogId) -> Result<u64, ReadError> {
    let records = read_all(store, log).await?;
    let appends = appends(log, &records);
    index_agrees(store, log, &records).await?;
    let number = async |row: Option<Bytes>| row.map_or(0, |row| parse(&row));
    let top = number(store.state(log, b"top").await?).await;
    let cursor = number(store.get(log, b"cursor").await?).await;
    let twin = number(store.get(log, b"twin").await?).await;
    let (first, last) = (appends.first().map(|append| append.number), appends.last().map(|append| append.number));
    let last = last.unwrap_or(0);
    broken_unless(top <= last, || format!("log {log}: the owner's row is of {top}, its records end at {last}"));
    broken_unless(first.is_none_or(|first| first <= top + 1), || {
        format!("log {log}: the owner's row is of {top}, and what came behind it starts at {first:?}")
    });
    broken_unless(cursor <= last, || format!("log {log}: a webhook of {cursor}, the records end at {last}"));
    broken_unless(cursor == twin, || format!("log {log}: half a put: {cursor} and {twin}"));
    let bounds = store.bounds(log).await?;
    let mut line = format!("holds {} {} {} {cursor}", log.0, bounds.first, bounds.next);
    for Append { number, last, nonce } in appends {
        line.push_str(&format!(" {number}/{last}/{nonce}"));
    }
    tell(&line);
    Ok(last)
}

fn broken_unless(holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        tell(&format!("broken {}", what()));
    }
}

fn parse(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        tell(&format!("broken a row says {text:?}"));
        0
    })
}

async fn read_all(store: &DiskLog, log: LogId) -> Result<Vec<Record>, ReadError> {
    let bounds = store.bounds(log).await?;
    let mut stream = store.read(log, bounds.first)?;
    let mut seen: Vec<Record> = Vec::new();
    while bounds.first.0 + (seen.len() as u64) < bounds.next.0 {
        seen.extend(stream.next_batch().await?.iter().cloned());
    }
    for (expected, record) in (bounds.first.0..).zip(&seen) {
        let found = record.lsn;
        broken_unless(found.0 == expected, || format!("log {log}: {found} lies at {expected}"));
    }
    broken_unless(seen.is_sorted_by_key(|record| record.epoch), || format!("log {log}: an older epoch follows"));
    Ok(seen)
}

struct Append {
    number: u64,
    last: Lsn,
    nonce: u64,
}

/// The appends that the records came with: all of each, and one after the other.
fn appends(log: LogId, records: &[Record]) -> Vec<Append> {
    let mut appends: Vec<Append> = Vec::new();
    let mut records = records.iter().filter(|record| !record.key.0.is_empty()).peekable();
    while let Some(first) = records.peek() {
        let text = String::from_utf8_lossy(&first.payload);
        let mut words = text.split(' ').map(|word| word.parse().unwrap_or(u64::MAX));
        let (number, nonce) = (words.next().unwrap_or(u64::MAX), words.next().unwrap_or(u64::MAX));
        let (mut last, at) = (first.lsn, first.lsn);
        for expected in batch(number, nonce) {
            match records.next() {
                Some(record) if record.key == expected.key && record.payload == expected.payload => last = record.lsn,
                found => {
                    let found = found.map(|found| (found.lsn, found.payload.slice(..found.payload.len().min(40))));
                    tell(&format!("broken log {log}: append {number} from {at} on is not what was written: {found:?}"));
                    return appends;
                }
            }
        }
        let follows = appends.last().is_none_or(|before| before.number + 1 == number);
        broken_unless(follows, || format!("log {log}: append {number} follows {:?}", appends.last().map(|a| a.number)));
        appends.push(Append { number, last, nonce });
    }
    appends
}

/// Whatever is found by its room is what is read in order.
async fn index_agrees(store: &DiskLog, log: LogId, records: &[Record]) -> Result<(), ReadError> {
    let mut rooms: BTreeMap<&Key, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.key.0.is_empty()) {
        rooms.entry(&record.key).or_default().push(record);
    }
    for (key, expected) in rooms {
        let found = store.of_key(log, key, Lsn::FIRST, Lsn(u64::MAX), usize::MAX >> 1).await?;
        let agrees = found.iter().eq(expected.iter().copied());
        broken_unless(agrees, || {
            format!("log {log}: {} records of room {key:?}, by its index {}", expected.len(), found.len())
        });
    }
    Ok(())
}

// === writing ===

/// The records of an append follow from its number and a nonce: an append that was never answered is not the one that is tried again.
fn batch(number: u64, nonce: u64) -> Vec<NewRecord> {
    let records = (0..1 + number % 4).map(|n| {
        let size = match (number * 7 + n) % 50 {
            0 => 9_000,
            size => 20 + size * 11,
        };
        NewRecord {
            key: Key(format!("room {}", (number + n * n) % ROOMS).into()),
            at_ms: 1,
            payload: format!("{number} {nonce} {n} {}", "x".repeat(usize::try_from(size).unwrap_or_default())).into(),
        }
    });
    records.collect()
}

fn row(key: &'static str, value: u64) -> Row {
    Row { key: Bytes::from_static(key.as_bytes()), value: Some(value.to_string().into()) }
}

async fn write(store: &DiskLog, log: LogId, from: u64, appends: u64, mut random: fastrand::Rng) -> Result<(), String> {
    let said = |what: &'static str| move |error: AppendError| format!("{what}: {error}");
    let mut claim = store.claim(log, NodeId(1), Expect::Anyone).await.map_err(said("claim"))?;
    // One of the logs is quiet.
    let appends = if log == LogId::DIRECTORY { 1 + appends / 8 } else { appends };
    for number in from..from + appends {
        write_one(store, &mut claim, number, &mut random).await.map_err(said("append"))?;
        if log == LogId(0) && random.u8(..12) == 0 {
            tell("retaining");
            store.retain().await.map_err(said("retain"))?;
        }
    }
    Ok(())
}

async fn write_one(
    store: &DiskLog,
    claim: &mut Claim,
    number: u64,
    random: &mut fastrand::Rng,
) -> Result<(), AppendError> {
    let (log, first, nonce) = (claim.log, claim.next, random.u64(..1 << 40));
    let has_top = number.is_multiple_of(6);
    let rows = if has_top { vec![row("top", number)] } else { Vec::new() };
    let last = store.append(claim, batch(number, nonce), rows).await?;
    tell(&format!("acked {} {number}/{last}/{nonce}", log.0));
    if random.u8(..4) == 0 {
        store.put(log, claim.epoch, vec![row("cursor", number), row("twin", number)]).await?;
        tell(&format!("put {} {number}", log.0));
    }
    if has_top && random.bool() {
        // What is said by the row that came with it is needed no more.
        tell(&format!("trimming {} {first}", log.0));
        store.trim(claim, first).await?;
    }
    Ok(())
}
