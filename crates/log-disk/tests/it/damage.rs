//! Damage: the store refuses to start, or the read fails. It never starts with less, and never reads something else.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use roomhook_log::{LogAppend, LogId, LogRead, Record};
use roomhook_log_disk::{DiskConfig, DiskLog, OpenError};

use crate::store::{copy, files, read_all, small, written};

fn refusal(config: DiskConfig) -> OpenError {
    match DiskLog::open(config) {
        Ok(_) => panic!("the store must not open"),
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("restore") || text.contains("use ") || text.contains("set it"),
                "says what to do: {text}"
            );
            error
        }
    }
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("write");
}

/// What a damaged store still says, if it says anything: everything, as it was.
async fn says_all_or_nothing(path: &Path, whole: &[Record], what: &str) -> bool {
    let Ok(store) = DiskLog::open(small(path)) else { return false };
    let said = read_all(&store, LogId(0)).await;
    let top = store.state(LogId(0), b"top").await;
    store.shutdown().await;
    let (Ok(records), Ok(top)) = (said, top) else { return false };
    assert!(records == whole, "{what}: records differ");
    assert_eq!(top.as_deref(), Some(&b"13"[..]), "{what}: the row differs");
    true
}

/// A hundred and forty records in four segments, and what is in them.
async fn whole() -> (tempfile::TempDir, Vec<Record>) {
    let folder = tempfile::tempdir().expect("tempdir");
    written(folder.path(), 14).await;
    let store = DiskLog::open(small(folder.path())).expect("open");
    let records = read_all(&store, LogId(0)).await.expect("read");
    assert_eq!(records.len(), 141);
    store.shutdown().await;
    (folder, records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_anywhere_is_never_believed() {
    let (folder, records) = whole().await;
    let mut noticed = 0;
    let mut tried = 0;
    for file in files(&folder.path().join("log-000/db")) {
        let length = written_bytes(&file);
        let name = file.strip_prefix(folder.path()).expect("below");
        // The journal is where silence is easiest: its entries have no checksum of their own, only its batches have.
        let steps = if name.extension().is_some_and(|extension| extension == "jnl") { 20 } else { 1 };
        for step in 0..steps.min(length) {
            let damaged = copy(folder.path());
            flip(&damaged.path().join(name), length * step / steps + length / (2 * steps).max(1) % length.max(1));
            tried += 1;
            let all = says_all_or_nothing(damaged.path(), &records, &format!("{} step {step}", name.display())).await;
            noticed += u32::from(!all);
        }
    }
    assert!(noticed * 2 > tried, "most of it matters: {noticed} of {tried}");
}

/// Length without the zeros that a journal is made with: they take no room on the disk.
fn written_bytes(file: &Path) -> u64 {
    let file = fs::File::open(file).expect("open");
    let on_disk = file.metadata().expect("metadata").blocks() * 512;
    let mut bytes = Vec::new();
    file.take(on_disk).read_to_end(&mut bytes).expect("read");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_file_is_never_overlooked() {
    let (folder, records) = whole().await;
    for file in files(&folder.path().join("log-000/db")) {
        let name = file.strip_prefix(folder.path()).expect("below");
        let damaged = copy(folder.path());
        fs::remove_file(damaged.path().join(name)).expect("remove");
        says_all_or_nothing(damaged.path(), &records, &format!("without {}", name.display())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_lost_its_end_is_told_by_the_mark() {
    let (folder, _) = whole().await;
    let journals = files(&folder.path().join("log-000/db"));
    let journal = journals.iter().rfind(|file| file.extension().is_some_and(|e| e == "jnl")).expect("a journal");
    let length = written_bytes(journal);
    let damaged = copy(folder.path());
    let copied = damaged.path().join(journal.strip_prefix(folder.path()).expect("below"));
    OpenOptions::new().write(true).open(&copied).and_then(|file| file.set_len(length - 700)).expect("truncate");
    assert!(
        matches!(refusal(small(damaged.path())), OpenError::EndLost { log: LogId(0), acknowledged, .. } if acknowledged.0 == 141)
    );
    // The way out that the message names.
    fs::remove_file(damaged.path().join("log-000/mark")).expect("remove");
    let store = DiskLog::open(small(damaged.path())).expect("opens without the mark");
    assert!(store.bounds(LogId(0)).await.expect("bounds").next.0 < 142);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_segment_stops_the_start() {
    let (folder, _) = whole().await;
    let mut kinds = Vec::new();
    for entry in fs::read_dir(folder.path().join("log-000/db/keyspaces")).expect("read_dir") {
        let name = entry.expect("entry").file_name();
        if name == "0" {
            continue;
        }
        let damaged = copy(folder.path());
        fs::remove_dir_all(damaged.path().join("log-000/db/keyspaces").join(name)).expect("remove");
        kinds.push(match refusal(small(damaged.path())) {
            OpenError::SegmentMissing { .. } => "segment",
            OpenError::Damaged { .. } => "rows",
            other => panic!("{other}"),
        });
    }
    assert!(kinds.iter().filter(|kind| **kind == "segment").count() == 8, "events and index of each segment");
    assert_eq!(kinds.iter().filter(|kind| **kind == "rows").count(), 3, "meta, state, rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_log_stops_the_start() {
    let (folder, _) = whole().await;
    let damaged = copy(folder.path());
    fs::remove_dir_all(damaged.path().join("log-000/db")).expect("remove");
    let refused = refusal(small(damaged.path()));
    assert!(matches!(refused, OpenError::Damaged { .. } | OpenError::EndLost { .. }), "{refused}");
    let damaged = copy(folder.path());
    fs::remove_dir_all(damaged.path().join("log-directory")).expect("remove");
    assert!(matches!(refusal(small(damaged.path())), OpenError::LogMissing { log: LogId::DIRECTORY, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_file_is_believed_or_nothing_is() {
    let (folder, _) = whole().await;
    let store_file = folder.path().join("STORE");
    let more_shards = DiskConfig { shards: 3, ..small(folder.path()) };
    assert!(matches!(refusal(more_shards), OpenError::ShardCount { stored: 2, configured: 3, .. }));
    fs::write(&store_file, "roomhook store\nformat = 2\nshards = 2\n").expect("write");
    assert!(matches!(refusal(small(folder.path())), OpenError::Format { found: 2, known: 1, .. }));
    fs::write(&store_file, "something else").expect("write");
    assert!(matches!(refusal(small(folder.path())), OpenError::StoreFile { .. }));
    fs::remove_file(&store_file).expect("remove");
    assert!(matches!(refusal(small(folder.path())), OpenError::StoreFileMissing { .. }));
}

/// Does something to the newest events of log 0 that fjall takes for an ordinary write.
fn tamper(path: &Path, change: impl FnOnce(&fjall::Keyspace)) {
    let db = fjall::Database::builder(path.join("log-000/db")).open().expect("open");
    let names = db.list_keyspace_names();
    let newest = names.iter().filter(|name| name.starts_with("ev")).max().expect("a segment");
    change(&db.keyspace(newest, Default::default).expect("keyspace"));
    db.persist(fjall::PersistMode::SyncAll).expect("persist");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_and_strange_records_at_the_end_are_named() {
    let (folder, _) = whole().await;
    let key_of = |entry: Option<fjall::Guard>| entry.expect("an entry").key().expect("key");

    let damaged = copy(folder.path());
    tamper(damaged.path(), |events| {
        let inner = key_of(events.iter().nth_back(1));
        events.remove(inner).expect("remove");
    });
    assert!(matches!(refusal(small(damaged.path())), OpenError::Gap { log: LogId(0), .. }));

    let damaged = copy(folder.path());
    tamper(damaged.path(), |events| {
        let last = key_of(events.last_key_value());
        let mut value = events.get(&last).expect("get").expect("value").to_vec();
        value[0] = 9;
        events.insert(last, value).expect("insert");
    });
    assert!(matches!(refusal(small(damaged.path())), OpenError::RecordVersion { found: 9, known: 1, .. }));

    let damaged = copy(folder.path());
    tamper(damaged.path(), |events| {
        let last = key_of(events.last_key_value());
        let mut value = events.get(&last).expect("get").expect("value").to_vec();
        value[50] ^= 1;
        events.insert(last, value).expect("insert");
    });
    assert!(matches!(refusal(small(damaged.path())), OpenError::Damaged { log: LogId(0), .. }));
}
