//! With `durability = "os"` a machine that stops may take the newest records with it. Nobody is to take new records for old ones then.

use std::{fs, path::Path};

use roomhook_log::{Expect, LogAppend, LogId, LogRead, Lsn, NodeId, Rows};
use roomhook_log_disk::{DiskConfig, DiskLog, Durability};

use crate::store::{copy, read_all, record, row, settled, small};

const LOG: LogId = LogId(0);

fn config(path: &Path, boot: u64) -> DiskConfig {
    DiskConfig { durability: Durability::Os, boot, ..small(path) }
}

/// A store as it was in the middle of its work on boot 1: thirty records, the last ten of which were acknowledged later than what the
/// second folder has.
async fn stopped() -> (tempfile::TempDir, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("tempdir");
    let store = DiskLog::open(config(folder.path(), 1)).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    for number in 0..20 {
        store.append(&mut claim, vec![record("room", number.to_string())], vec![]).await.expect("append");
    }
    settled(&store).await;
    let older = copy(folder.path());
    for number in 20..30 {
        store.append(&mut claim, vec![record("room", number.to_string())], vec![]).await.expect("append");
    }
    settled(&store).await;
    let newer = copy(folder.path());
    store.shutdown().await;
    (older, newer)
}

async fn losses(path: &Path, boot: u64) -> (u32, Lsn) {
    let store = DiskLog::open(config(path, boot)).expect("a start by itself");
    let bounds = store.bounds(LOG).await.expect("bounds");
    let silent = store.bounds(LogId(1)).await.expect("bounds").epoch.losses();
    assert_eq!(silent, bounds.epoch.losses(), "also a log that has nothing may have had something");
    let claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    assert_eq!(claim.epoch.losses(), silent);
    assert_eq!(read_all(&store, LOG).await.expect("read").len() as u64, claim.next.0 - 1, "dense");
    store.shutdown().await;
    (claim.epoch.losses(), bounds.next)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_stopped_makes_every_log_another_one() {
    let (older, newer) = stopped().await;
    assert_eq!(losses(newer.path(), 1).await, (0, Lsn(32)), "the process died, not the machine");
    // The disk had not got the last ten, and neither had the mirror.
    assert_eq!(losses(older.path(), 2).await, (1, Lsn(22)));
    assert_eq!(losses(older.path(), 2).await, (1, Lsn(23)), "once");
    assert_eq!(losses(older.path(), 3).await, (1, Lsn(24)), "an orderly stop loses nothing");

    // The mirror got further than the journal.
    let (older, newer) = stopped().await;
    fs::remove_dir_all(older.path().join("mirror")).expect("remove");
    fs::rename(newer.path().join("mirror"), older.path().join("mirror")).expect("rename");
    assert_eq!(losses(older.path(), 2).await, (1, Lsn(22)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_is_told_also_when_the_start_that_accepts_it_is_cut_off() {
    let (older, _) = stopped().await;
    // It dies before anything is written, or with nothing but a row.
    for put in [false, true] {
        let store = DiskLog::open(config(older.path(), 2)).expect("open");
        if put {
            let epoch = store.bounds(LOG).await.expect("bounds").epoch;
            store.put(LOG, epoch, vec![row("cursor", "1")]).await.expect("put");
        }
        settled(&store).await;
        let cut = copy(older.path());
        store.shutdown().await;
        assert_eq!(losses(cut.path(), 2).await, (1, Lsn(22)), "put {put}");
        let (again, _) = losses(cut.path(), 2).await;
        assert_eq!(again, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_sync_waited_for_a_machine_that_stops_loses_nothing() {
    let folder = tempfile::tempdir().expect("tempdir");
    let store = DiskLog::open(DiskConfig { boot: 1, ..small(folder.path()) }).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    store.append(&mut claim, vec![record("room", "a")], vec![]).await.expect("append");
    settled(&store).await;
    let cut = copy(folder.path());
    store.shutdown().await;
    let store = DiskLog::open(DiskConfig { boot: 2, ..small(cut.path()) }).expect("open");
    assert_eq!(store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim").epoch.losses(), 0);
    store.shutdown().await;
}
