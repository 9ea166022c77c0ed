//! Stores for tests, and the few words they are written in.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use roomhook_log::{
    Expect, Key, LogAppend, LogId, LogRead, NewRecord, NodeId, ReadError, Record, Row, Rows, TailLimits,
};
use roomhook_log_disk::{DiskConfig, DiskLog, OpenError, Rehearsal};
use tempfile::TempDir;

/// A store with two shards, segments of some dozens of records and a clock some minutes on, so that
/// every sealed segment is old.
pub(crate) fn small(path: &Path) -> DiskConfig {
    DiskConfig {
        path: path.to_owned(),
        shards: 2,
        segment_bytes: 8 << 10,
        retention_max_age: Some(Duration::from_secs(1)),
        tail: TailLimits { bytes_max: 1 << 20, records_max: 20 },
        free_bytes_min: 0,
        clock: Arc::new(|| 1_000_000),
        ..DiskConfig::default()
    }
}

pub(crate) fn record(key: &str, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: Key(Bytes::copy_from_slice(key.as_bytes())), at_ms: 1, payload: payload.into() }
}

pub(crate) fn row(key: &str, value: &str) -> Row {
    Row { key: Bytes::copy_from_slice(key.as_bytes()), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

/// Fails the test instead of hanging it; generous, because the machine may be busy.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("{what}: waited too long"))
}

/// Reads a log from its first position to its end.
pub(crate) async fn read_all(store: &DiskLog, log: LogId) -> Result<Vec<Record>, ReadError> {
    let bounds = store.bounds(log).await?;
    let mut stream = store.read(log, bounds.first)?;
    let mut seen: Vec<Record> = Vec::new();
    while bounds.first.0 + (seen.len() as u64) < bounds.next.0 {
        seen.extend(soon("next_batch", stream.next_batch()).await?.iter().cloned());
    }
    for (expected, record) in (bounds.first.0..).zip(&seen) {
        assert_eq!(record.lsn.0, expected, "the log is dense");
    }
    Ok(seen)
}

/// A closed store whose log 0 has `appends` appends of ten records, each with the row `top` in the same commit.
pub(crate) async fn written(path: &Path, appends: u32) {
    let store = DiskLog::open(small(path)).expect("open");
    let mut claim = store.claim(LogId(0), NodeId(1), Expect::Anyone).await.expect("claim");
    for number in 0..appends {
        let records = (0..10).map(|n| record("room", format!("{number}/{n} {}", "x".repeat(100)))).collect();
        store.append(&mut claim, records, vec![row("top", &number.to_string())]).await.expect("append");
    }
    store.shutdown().await;
}

/// All files below a folder, in order of their names.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("read_dir") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A folder in memory, if the machine has a place for that: for tests of what is in files, to which syncs matter nothing.
pub(crate) fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("tempdir")
}

/// Tries a start on a copy of its own, beside the stores of the tests.
pub(crate) fn rehearse(config: DiskConfig) -> Result<Rehearsal, OpenError> {
    let place = ["/dev/shm", "/tmp"].map(Path::new).into_iter().find(|place| place.is_dir()).expect("a place");
    DiskLog::rehearse(config, place)
}

/// A copy of a store, to be damaged. Journals are mostly holes, which `cp` keeps. Of an open one that nobody writes to, files may still go
/// while they are copied: then it is tried again.
pub(crate) fn copy(from: &Path) -> TempDir {
    for _ in 0..20 {
        let to = in_memory();
        let status = Command::new("cp").args(["-r", "--sparse=always"]).arg(from.join(".")).arg(to.path()).status();
        if status.expect("cp").success() {
            return to;
        }
    }
    panic!("{} cannot be copied", from.display());
}

/// Waits until the mirror has all that was acknowledged, so that a copy is of one moment.
pub(crate) async fn settled(store: &DiskLog) {
    Rows::get(store, LogId(0), b"any").await.expect("get");
}
