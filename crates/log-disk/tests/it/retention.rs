//! Retention drops whole segments, never what the owner still needs, and frees the disk.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use roomhook_log::{Expect, LogAppend, LogId, LogRead, Lsn, NewRecord, NodeId};
use roomhook_log_disk::{DiskConfig, DiskLog};

use crate::store::{read_all, record, small};

const LOG: LogId = LogId(0);
const HOUR_MS: u64 = 3_600_000;

/// One append of 20 records per hour.
async fn a_day(store: &DiskLog, hours: std::ops::Range<u64>) -> roomhook_log::Claim {
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    for hour in hours {
        let of_hour = |n| NewRecord { at_ms: hour * HOUR_MS, ..record("room", format!("{n} {}", "x".repeat(2_000))) };
        store.append(&mut claim, (0..20).map(of_hour).collect(), vec![]).await.expect("append");
    }
    claim
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_age_what_is_old_and_no_longer_needed_goes() {
    let folder = tempfile::tempdir().expect("tempdir");
    let now = Arc::new(AtomicU64::new(24 * HOUR_MS));
    let clock = Arc::clone(&now);
    let config = DiskConfig {
        retention_max_age: Some(Duration::from_secs(12 * 3_600)),
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..small(folder.path())
    };
    let store = DiskLog::open(config).expect("open");
    let claim = a_day(&store, 0..24).await;
    store.retain().await.expect("retain");
    assert_eq!(store.bounds(LOG).await.expect("bounds").first, Lsn(1), "the owner has not given anything up");

    store.trim(&claim, Lsn(120)).await.expect("trim");
    store.retain().await.expect("retain");
    let first = store.bounds(LOG).await.expect("bounds").first;
    assert!(Lsn(60) < first && first <= Lsn(120), "up to the owner's floor, not {first}");

    store.trim(&claim, claim.next).await.expect("trim");
    store.retain().await.expect("retain");
    let oldest = read_all(&store, LOG).await.expect("read")[0].at_ms / HOUR_MS;
    assert!((9..=12).contains(&oldest), "12 hours are kept, in whole segments; the oldest is from {oldest}:00");

    now.store(1_000 * HOUR_MS, Ordering::Relaxed);
    store.retain().await.expect("retain");
    let bounds = store.bounds(LOG).await.expect("bounds");
    assert_eq!((bounds.first, bounds.next), (claim.next, claim.next), "all is old, and numbers go on");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_size_the_oldest_go_and_the_disk_gets_its_room_back() {
    let folder = tempfile::tempdir().expect("tempdir");
    let config = DiskConfig { retention_max_age: None, ..small(folder.path()) };
    let store = DiskLog::open(config.clone()).expect("open");
    let claim = a_day(&store, 0..50).await;
    store.trim(&claim, claim.next).await.expect("trim");
    store.retain().await.expect("retain");
    assert_eq!(store.bounds(LOG).await.expect("bounds").first, Lsn(1), "without a policy everything stays");
    store.shutdown().await;

    // The floor was stored: after a restart the policy alone decides, with no word from the owner.
    let config = DiskConfig { retention_max_bytes: Some(700_000), ..config };
    let store = DiskLog::open(config.clone()).expect("open");
    store.retain().await.expect("retain");
    let bounds = store.bounds(LOG).await.expect("bounds");
    assert!(Lsn(1) < bounds.first && bounds.first < bounds.next, "{bounds:?}");
    let kept = read_all(&store, LOG).await.expect("read");
    assert!(kept.len() < 400, "2 kB each, 700 kB: {} are kept", kept.len());
    store.shutdown().await;
    let mut files = crate::store::files(&folder.path().join("journal"));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "segment"));
    assert_eq!(files.len(), DiskLog::inspect(folder.path()).expect("inspect").segments, "their files are gone");
    let store = DiskLog::open(config).expect("open");
    assert_eq!(read_all(&store, LOG).await.expect("read"), kept);
    store.shutdown().await;
}
