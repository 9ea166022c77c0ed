//! A backup is taken while the store is written to, and a store is made of it that everybody takes for another one.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use roomhook_log::{Claim, Expect, LogAppend, LogId, LogRead, Lsn, NodeId, Rows};
use roomhook_log_disk::{DiskLog, Full, OpenError, Taken};

use crate::store::{files, in_memory, read_all, record, row, small};

const LOG: LogId = LogId(0);

fn backup(store: &Path, to: &Path) -> Result<Taken, OpenError> {
    DiskLog::backup(store, to, Full::Copied, &mut |_, _| {})
}

fn restore(from: &Path, to: &Path) -> Result<Taken, OpenError> {
    DiskLog::restore(from, &small(to), &mut |_, _| {})
}

async fn write(store: &DiskLog, claim: &mut Claim, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let records = vec![record("room", format!("{number} {}", "x".repeat(200)))];
        store.append(claim, records, vec![row("top", &number.to_string())]).await.expect("append");
        if number % 10 == 0 {
            store.put(LOG, claim.epoch, vec![row("cursor", &number.to_string())]).await.expect("put");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_is_what_was_there_and_goes_on_as_another_store() {
    let folder = in_memory();
    let (path, to) = (folder.path().join("store"), folder.path().join("backup"));
    let store = DiskLog::open(small(&path)).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    write(&store, &mut claim, 0..300).await;
    store.trim(&claim, Lsn(100)).await.expect("trim");
    store.retain().await.expect("retain");
    let kept = read_all(&store, LOG).await.expect("read");
    assert!(kept[0].lsn > Lsn(1), "something was dropped");
    let taken = backup(&path, &to).expect("a backup of an open store");
    assert_eq!(taken.records, kept.len() as u64);
    write(&store, &mut claim, 300..320).await;
    store.shutdown().await;

    let refused = DiskLog::open(small(&to)).expect_err("a backup is not a store");
    assert!(matches!(refused, OpenError::StoreFileMissing { .. }), "{refused}");
    let restored = folder.path().join("restored");
    assert_eq!(restore(&to, &restored).expect("restore"), taken);
    let store = DiskLog::open(small(&restored)).expect("open");
    assert_eq!(read_all(&store, LOG).await.expect("read"), kept);
    assert_eq!(store.get(LOG, b"cursor").await.expect("get").as_deref(), Some(&b"290"[..]));
    let bounds = store.bounds(LOG).await.expect("bounds");
    assert_eq!(bounds.epoch.losses(), 1, "positions are given out again");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    write(&store, &mut claim, 0..20).await;
    store.shutdown().await;
    let store = DiskLog::open(small(&restored)).expect("open again");
    assert_eq!(store.bounds(LOG).await.expect("bounds").epoch.losses(), 1);
    store.shutdown().await;
}

/// The committer, retention and dumps go on while it is taken, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_meanwhile_all_that_was_acknowledged_before_is_in_it() {
    let folder = in_memory();
    let path = folder.path().join("store");
    let store = DiskLog::open(small(&path)).expect("open");
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn({
        let (store, acknowledged, stop) = (Arc::clone(&store), Arc::clone(&acknowledged), Arc::clone(&stop));
        async move {
            let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                write(&store, &mut claim, number..number + 1).await;
                acknowledged.store(claim.next.0 - 1, Ordering::Release);
                number += 1;
                if number % 50 == 0 {
                    store.trim(&claim, Lsn(claim.next.0.saturating_sub(40))).await.expect("trim");
                    store.retain().await.expect("retain");
                }
            }
        }
    });
    for round in 0..25 {
        let to = folder.path().join(format!("backup {round}"));
        let before = acknowledged.load(Ordering::Acquire);
        let (from, target) = (path.clone(), to.clone());
        let taken = tokio::task::spawn_blocking(move || backup(&from, &target)).await.expect("join");
        taken.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let restored = folder.path().join(format!("restored {round}"));
        restore(&to, &restored).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let copy = DiskLog::open(small(&restored)).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let bounds = copy.bounds(LOG).await.expect("bounds");
        assert!(bounds.next.0 > before, "round {round}: {before} were acknowledged, {bounds:?} came back");
        read_all(&copy, LOG).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        copy.shutdown().await;
        fs::remove_dir_all(&to).and_then(|()| fs::remove_dir_all(&restored)).expect("remove");
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("the writer");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_whole_or_does_not_fit_is_refused_and_nothing_is_made() {
    let folder = in_memory();
    let (path, to) = (folder.path().join("store"), folder.path().join("backup"));
    let store = DiskLog::open(small(&path)).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    write(&store, &mut claim, 0..200).await;
    assert!(matches!(backup(&path, &path), Err(OpenError::NotEmpty { .. })));
    assert!(matches!(backup(&folder.path().join("no"), &to), Err(OpenError::NoStore { .. })));
    backup(&path, &to).expect("backup");
    store.shutdown().await;
    assert!(matches!(restore(&to, &path), Err(OpenError::StoreThere { .. })), "never over a store");

    let restored = folder.path().join("restored");
    for file in files(&to.join("journal")) {
        let whole = fs::read(&file).expect("read");
        let mut damaged = whole.clone();
        // What fills a frame up to a whole sector is no part of it.
        let last = damaged.iter().rposition(|byte| *byte != 0).expect("something");
        let middle = (last / 2..last).find(|at| damaged[*at] != 0).expect("a frame");
        damaged[middle] ^= 1;
        fs::write(&file, damaged).expect("write");
        assert!(matches!(restore(&to, &restored), Err(OpenError::Journal(_))), "{}", file.display());
        assert!(!restored.exists());
        fs::write(&file, whole).expect("write");
    }
    let mut other = small(&restored);
    other.shards = 3;
    let refused = DiskLog::restore(&to, &other, &mut |_, _| {});
    assert!(matches!(refused, Err(OpenError::ShardCount { .. })));
    fs::remove_file(to.join("BACKUP")).expect("remove");
    assert!(matches!(restore(&to, &restored), Err(OpenError::NoBackup { .. })), "half a backup is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_cut_off_is_repeated_and_never_taken_for_a_store() {
    let folder = in_memory();
    let (path, to, restored) =
        (folder.path().join("store"), folder.path().join("backup"), folder.path().join("restored"));
    let store = DiskLog::open(small(&path)).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    write(&store, &mut claim, 0..200).await;
    backup(&path, &to).expect("backup");
    store.shutdown().await;
    let cut = std::panic::catch_unwind(|| DiskLog::restore(&to, &small(&restored), &mut |_, _| panic!("cut off")));
    assert!(cut.is_err());
    assert!(matches!(DiskLog::open(small(&restored)), Err(OpenError::StoreFileMissing { .. })));
    restore(&to, &restored).expect("once more");
    let store = DiskLog::open(small(&restored)).expect("open");
    assert_eq!(read_all(&store, LOG).await.expect("read").len(), 201);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linked_segments_cost_no_room() {
    let folder = in_memory();
    let (path, to) = (folder.path().join("store"), folder.path().join("backup"));
    let store = DiskLog::open(small(&path)).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    write(&store, &mut claim, 0..200).await;
    DiskLog::backup(&path, &to, Full::Linked, &mut |_, _| {}).expect("backup");
    let links = |file: &Path| fs::metadata(file).expect("metadata").nlink();
    let segments = files(&to.join("journal"));
    let (last, full) = segments.split_last().expect("segments");
    assert!(full.len() > 3 && full.iter().all(|file| links(file) == 2));
    assert_eq!(links(last), 1, "the one that is written to is copied");
    write(&store, &mut claim, 200..300).await;
    store.shutdown().await;
    restore(&to, &folder.path().join("restored")).expect("it did not change");
}
