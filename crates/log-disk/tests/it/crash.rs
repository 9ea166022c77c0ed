//! kill -9 at random moments: what was acknowledged is there, dense, and rows belong to their records.
//!
//! `ROOMHOOK_CRASH_ROUNDS` sets the number of rounds.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use roomhook_log::{Expect, Key, LogAppend, LogId, LogRead, Lsn, NodeId, Record, Rows};
use roomhook_log_disk::{DiskConfig, DiskLog};

use crate::store::{read_all, record, row, small};

const CHILD: &str = "ROOMHOOK_CRASH_CHILD";

/// Small segments, small memtables, everything may be dropped: kills hit rolls, flushes and retention too.
fn config(path: &Path) -> DiskConfig {
    DiskConfig { segment_bytes: 256 << 10, memtable_bytes: 256 << 10, ..small(path) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the seed of a failed run is wanted")]
async fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("ROOMHOOK_CRASH_ROUNDS").map_or(4, |rounds| rounds.parse().expect("a number"));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("tempdir");
    let mut promised = Promised::default();
    for round in 0..rounds {
        run_and_kill(folder.path(), random.usize(1..300), &mut promised);
        let store = DiskLog::open(config(folder.path())).unwrap_or_else(|error| panic!("round {round}: {error}"));
        check(&store, promised, round).await;
        store.shutdown().await;
    }
}

/// The newest of what the writer was told is safe.
#[derive(Clone, Copy, Default)]
struct Promised {
    position: u64,
    put: u64,
}

impl Promised {
    /// Notes a line of the writer; says whether it was about an append.
    fn note(&mut self, line: &str) -> bool {
        let number = |rest: &str| rest.parse().unwrap_or_default();
        if let Some(put) = line.strip_prefix("put ") {
            self.put = self.put.max(number(put));
        }
        let position = line.strip_prefix("acked ");
        self.position = self.position.max(position.map_or(0, number));
        position.is_some()
    }
}

/// Starts a writer on the store, waits for `acks` acknowledgements, and kills it.
fn run_and_kill(path: &Path, acks: usize, promised: &mut Promised) {
    let mut child = start_writer(path);
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines().map_while(Result::ok);
    let seen = lines.by_ref().filter(|line| promised.note(line)).take(acks).count();
    assert_eq!(seen, acks, "the writer writes until it is killed");
    child.kill().expect("kill");
    // What it managed to say before it died counts too. A line may be cut short: that makes its number smaller.
    for line in lines {
        promised.note(&line);
    }
    child.wait().expect("wait");
}

fn start_writer(path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("current_exe"))
        .args(["--exact", "crash::writer", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("spawn")
}

async fn check(store: &DiskLog, promised: Promised, round: u32) {
    let bounds = store.bounds(LogId(0)).await.expect("bounds");
    let acknowledged = promised.position;
    assert!(bounds.next.0 > acknowledged, "round {round}: {acknowledged} was acknowledged, the end is {}", bounds.next);
    let stored = read_all(store, LogId(0)).await.expect("read");
    let last = stored.iter().rfind(|record| !record.key.0.is_empty()).expect("records");
    // Each record says which append it came with, the row says which append it was written with.
    let top = store.state(LogId(0), b"top").await.expect("state").map_or(0, |top| text(&top));
    assert!(top <= number(last), "round {round}: the owner's rows may be older than its records, never newer");
    let epochs = stored.iter().map(|record| record.epoch);
    assert!(epochs.is_sorted(), "round {round}: no older epoch follows");
    let put: u64 = text(&store.get(LogId(0), b"cursor").await.expect("get").unwrap_or(b"0"[..].into()));
    assert!(put >= promised.put, "round {round}: a put that was answered survives the process");
}

/// Which append a record came with.
fn number(record: &Record) -> u64 {
    text(record.payload.split(|b| *b == b' ').next().expect("a number comes first"))
}

fn text(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).expect("text").parse().expect("a number")
}

/// Not a test of its own: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = DiskLog::open(config(Path::new(&path))).expect("open");
    let before = store.last(LogId(0), &Key(b"room"[..].into()), Lsn(u64::MAX), 1).await.expect("last");
    let mut number = before.first().map_or(0, |record| number(record) + 1);
    let mut claim = store.claim(LogId(0), NodeId(1), Expect::Anyone).await.expect("claim");
    loop {
        let records =
            (0..1 + number % 40).map(|n| record("room", format!("{number} {n} {}", "x".repeat(300)))).collect();
        let last = store.append(&mut claim, records, vec![row("top", &number.to_string())]).await.expect("append");
        // The parent may be gone already.
        let _ = writeln!(std::io::stdout(), "acked {}", last.0);
        store.put(LogId(0), claim.epoch, vec![row("cursor", &number.to_string())]).await.expect("put");
        let _ = writeln!(std::io::stdout(), "put {number}");
        if number.is_multiple_of(20) {
            store.trim(&claim, Lsn(last.0.saturating_sub(1_000))).await.expect("trim");
        }
        number += 1;
    }
}
