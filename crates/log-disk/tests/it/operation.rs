//! One process at a time, a full disk, a disk that fails, closing, and what a doctor can see.

use std::{fs, path::Path, time::Duration};

use prometheus_client::{encoding::text::encode, registry::Registry};
use roomhook_log::{AppendError, Epoch, Expect, LogAppend, LogId, LogRead, Lsn, NodeId, ReadError, Rows};
use roomhook_log_disk::{DiskConfig, DiskLog, Health, OpenError};

use crate::store::{read_all, record, row, small, soon, written};

const LOG: LogId = LogId(0);

#[tokio::test]
async fn a_second_process_is_told_that_the_store_is_in_use() {
    let folder = tempfile::tempdir().expect("tempdir");
    let store = DiskLog::open(small(folder.path())).expect("open");
    assert!(matches!(DiskLog::open(small(folder.path())), Err(OpenError::InUse { .. })));
    store.shutdown().await;
    DiskLog::open(small(folder.path())).expect("free again").shutdown().await;
}

/// A reserve so large that the disk of this folder is full, yet not so full that nothing goes on.
fn beyond_what_is_free(folder: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(folder).expect("statvfs");
    2 * stat.blocks_available() * stat.fragment_size()
}

#[tokio::test]
async fn a_full_disk_refuses_records_and_keeps_the_rest_going() {
    let folder = tempfile::tempdir().expect("tempdir");
    written(folder.path(), 3).await;
    let full = DiskConfig { free_bytes_min: beyond_what_is_free(folder.path()), ..small(folder.path()) };
    let store = DiskLog::open(full).expect("a full disk can be opened");
    assert_eq!(store.health(), Health::Full, "known before anybody is refused");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("a start must be possible");
    match store.append(&mut claim, vec![record("room", "no")], vec![]).await {
        Err(AppendError::Full(reason)) => assert!(reason.contains("are kept in reserve: free "), "{reason}"),
        other => panic!("refused as full, not {other:?}"),
    }
    store.put(LOG, claim.epoch, vec![row("cursor", "1")]).await.expect("webhooks go on");
    store.trim(&claim, claim.next).await.expect("retention goes on");
    assert_eq!(read_all(&store, LOG).await.expect("reads go on").len(), 32, "the claim is a record too");
    store.shutdown().await;

    let store = DiskLog::open(small(folder.path())).expect("open");
    assert_eq!(store.health(), Health::Ok);
    assert_eq!(store.get(LOG, b"cursor").await.expect("get").as_deref(), Some(&b"1"[..]));
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    store.append(&mut claim, vec![record("room", "yes")], vec![]).await.expect("room again");
    store.shutdown().await;
}

#[tokio::test]
async fn retention_makes_room_on_a_full_disk() {
    let folder = tempfile::tempdir().expect("tempdir");
    written(folder.path(), 30).await;
    let full = DiskConfig { free_bytes_min: beyond_what_is_free(folder.path()), ..small(folder.path()) };
    let store = DiskLog::open(full).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    assert!(matches!(store.append(&mut claim, vec![record("room", "no")], vec![]).await, Err(AppendError::Full(_))));
    store.trim(&claim, claim.next).await.expect("trim");
    store.retain().await.expect("retain");
    let first = store.bounds(LOG).await.expect("bounds").first;
    assert!(first > Lsn(200), "only the active segment is left, but the log starts at {first}");
    store.shutdown().await;
}

#[tokio::test]
async fn when_even_the_reserve_is_used_up_nothing_is_written_and_reads_go_on() {
    let folder = tempfile::tempdir().expect("tempdir");
    written(folder.path(), 3).await;
    let full = DiskConfig { free_bytes_min: u64::MAX / 2, ..small(folder.path()) };
    let store = DiskLog::open(full).expect("a full disk can be opened");
    match store.claim(LOG, NodeId(1), Expect::Anyone).await {
        Err(AppendError::Full(reason)) => assert!(reason.contains("or lower that setting"), "{reason}"),
        other => panic!("refused as full, not {other:?}"),
    }
    assert!(matches!(store.put(LOG, Epoch(1), vec![row("cursor", "1")]).await, Err(AppendError::Full(_))));
    assert_eq!(read_all(&store, LOG).await.expect("reads go on").len(), 31);
    store.shutdown().await;
}

#[tokio::test]
async fn when_the_mirror_fails_the_store_takes_no_more_and_the_next_start_makes_it_anew() {
    let folder = tempfile::tempdir().expect("tempdir");
    let config = DiskConfig { memtable_bytes: 16 << 10, ..small(folder.path()) };
    let store = DiskLog::open(config.clone()).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    store.append(&mut claim, vec![record("room", "before")], vec![]).await.expect("append");
    // The folder is taken away: the next memtable cannot be written out.
    fs::remove_dir_all(folder.path().join("mirror/keyspaces")).expect("remove");
    let (error, number) = soon("an append fails", async {
        for number in 0.. {
            let records = (0..10).map(|n| record(&format!("room {n}"), vec![7; 2_000])).collect();
            let top = vec![row("top", &number.to_string())];
            if let Err(error) = store.append(&mut claim, records, top).await {
                return (error, number);
            }
        }
        unreachable!("it fails some day")
    })
    .await;
    assert!(matches!(error, AppendError::Poisoned { log: LOG, .. }), "nothing of it was written: {error}");
    for log in [LOG, LogId(1)] {
        assert!(
            matches!(store.claim(log, NodeId(2), Expect::Anyone).await, Err(AppendError::Poisoned { .. })),
            "sticky, for all logs"
        );
    }
    assert!(matches!(store.health(), Health::Poisoned(reason) if reason.starts_with("the mirror failed: ")));
    // All that was answered is still read, also what the mirror did not take.
    let top = store.state(LOG, b"top").await.expect("state").expect("a row");
    assert_eq!(top, (number - 1).to_string());
    let rows = store.state_scan(LOG, b"t", None, 10).await.expect("scan");
    assert_eq!(rows, [("top".into(), top)]);
    assert!(!store.read(LOG, claim.next).expect("read").next_batch_now().await);
    let newest = Lsn(claim.next.0 - 1);
    assert_eq!(store.record(LOG, newest).await.expect("read").expect("a record").lsn, newest);
    let last = store.last(LOG, &roomhook_log::Key(b"room 9"[..].into()), claim.next, 1).await.expect("read");
    assert_eq!(last.first().map(|record| record.lsn), Some(newest));
    store.shutdown().await;

    let store = DiskLog::open(config).expect("the mirror is made anew");
    let all = read_all(&store, LOG).await.expect("read");
    assert_eq!(all.len() as u64, claim.next.0 - 1, "nothing that was acknowledged is missing");
    store.shutdown().await;
}

/// Whether a stream has something to say at once.
#[async_trait::async_trait]
trait NextNow {
    async fn next_batch_now(&mut self) -> bool;
}

#[async_trait::async_trait]
impl NextNow for Box<dyn roomhook_log::RecordStream> {
    async fn next_batch_now(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.next_batch() => true,
            () = std::future::ready(()) => false,
        }
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_queued_and_ends_streams() {
    let folder = tempfile::tempdir().expect("tempdir");
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    let mut stream = store.read(LOG, Lsn(3)).expect("read");
    let reader = tokio::spawn(async move { (stream.next_batch().await, stream.next_batch().await) });
    store.append(&mut claim, vec![record("room", "a"), record("room", "b")], vec![]).await.expect("append");
    store.shutdown().await;
    let (first, second) = soon("the stream ends", reader).await.expect("reader");
    assert_eq!(first.expect("what is in memory is read").len(), 1);
    assert!(matches!(second, Err(ReadError::Closed)));
    assert!(matches!(store.append(&mut claim, vec![record("room", "c")], vec![]).await, Err(AppendError::Closed)));
    assert!(matches!(store.state(LOG, b"a").await, Err(ReadError::Closed)));
    assert!(matches!(store.bounds(LOG).await, Err(ReadError::Closed)));
    store.shutdown().await;
}

#[tokio::test]
async fn a_store_that_is_only_dropped_can_be_opened_again() {
    let folder = tempfile::tempdir().expect("tempdir");
    for life in 0..3 {
        let store = soon("open", async {
            loop {
                // The committers of the store before end on their own.
                match DiskLog::open(small(folder.path())) {
                    Err(OpenError::InUse { .. } | OpenError::Mirror { .. }) => tokio::task::yield_now().await,
                    other => return other.expect("open"),
                }
            }
        })
        .await;
        assert_eq!(store.bounds(LOG).await.expect("bounds").next, Lsn(1 + 2 * life));
        let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
        store.append(&mut claim, vec![record("room", "a")], vec![]).await.expect("append");
    }
}

#[tokio::test]
async fn a_doctor_sees_facts_of_an_open_and_of_a_closed_store() {
    let folder = tempfile::tempdir().expect("tempdir");
    assert!(matches!(DiskLog::inspect(folder.path()), Err(OpenError::StoreFile { .. })));
    written(folder.path(), 30).await;
    let facts = DiskLog::inspect(folder.path()).expect("inspect");
    assert_eq!((facts.format, facts.shards, facts.in_use), (2, 2, false));
    assert!(facts.segments >= 3 && facts.bytes > 0, "{facts:?}");
    assert!(facts.problems.is_empty(), "{:?}", facts.problems);

    let store = DiskLog::open(small(folder.path())).expect("open");
    assert!(DiskLog::inspect(folder.path()).expect("inspect").in_use);
    store.shutdown().await;

    fs::remove_file(folder.path().join("journal/00000002.segment")).expect("remove");
    let facts = DiskLog::inspect(folder.path()).expect("inspect");
    assert!(facts.problems.iter().any(|problem| problem.contains("segment 2")), "{:?}", facts.problems);
}

#[tokio::test]
async fn metrics_follow_the_log() {
    let folder = tempfile::tempdir().expect("tempdir");
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut registry = Registry::default();
    store.register(&mut registry);
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    store.append(&mut claim, (0..5).map(|_| record("room", "a")).collect(), vec![]).await.expect("append");
    let mut text = String::new();
    encode(&mut text, &registry).expect("encode");
    assert!(text.contains("log_records_total{log=\"0\"} 6"), "{text}");
    assert!(text.contains("log_tail_records{log=\"0\"} 6"), "{text}");
    assert!(text.contains("log_queue_jobs_max 256"), "{text}");
    assert!(text.contains("log_mirror_lag_frames"), "{text}");
    store.shutdown().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_committer() {
    let folder = tempfile::tempdir().expect("tempdir");
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    for _ in 0..20 {
        // The outcome of a dropped append is unknown; the next claim finds out.
        let append = store.append(&mut claim, vec![record("room", "a")], vec![]);
        let _ = tokio::time::timeout(Duration::ZERO, append).await;
        claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    }
    assert_eq!(read_all(&store, LOG).await.expect("read").len() as u64, claim.next.0 - 1);
    store.shutdown().await;
}

#[tokio::test]
async fn a_new_store_is_for_its_owner_alone_and_a_folder_that_is_there_keeps_its_rights() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("tempdir");
    let rights = |path: &std::path::Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    let (made, given) = (folder.path().join("new/store"), folder.path().join("given"));
    std::fs::create_dir(&given).expect("create");
    std::fs::set_permissions(&given, std::fs::Permissions::from_mode(0o750)).expect("chmod");
    for (path, expected) in [(made, 0o700), (given, 0o750)] {
        let store = DiskLog::open(small(&path)).expect("open");
        assert_eq!(rights(&path), expected, "{}", path.display());
        store.shutdown().await;
    }
}
