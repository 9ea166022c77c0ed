//! A mirror that stands earlier than the journal, as a power cut leaves it: what it lacks is read on, and what cannot be read on is never
//! relied on.

use std::{fs, path::Path};

use roomhook_log::{Claim, Expect, LogAppend, LogId, LogRead, Lsn, NodeId};
use roomhook_log_disk::DiskLog;

use crate::store::{copy, in_memory, read_all, record, row, small};

const LOG: LogId = LogId(0);

/// An append with the owner's row of it; all before it is given up if `trims`.
async fn append(store: &DiskLog, claim: &mut Claim, number: u32, trims: bool) {
    let records = (0..10).map(|n| record("room", format!("{number}/{n} {}", "x".repeat(100)))).collect();
    let first = claim.next;
    store.append(claim, records, vec![row("top", &number.to_string())]).await.expect("append");
    if trims {
        store.trim(claim, first).await.expect("trim");
    }
}

/// The mirror of another copy of the store.
fn exchange_mirror(store: &Path, other: &Path) {
    fs::remove_dir_all(store.join("mirror")).expect("remove");
    fs::rename(other.join("mirror"), store.join("mirror")).expect("rename");
}

/// Which append the owner's row is of, and which is the first that can be read.
async fn top_and_first(store: &DiskLog) -> (u32, u32) {
    let top = store.state(LOG, b"top").await.expect("state").expect("a row");
    let records = read_all(store, LOG).await.expect("read");
    let first = records.iter().find(|record| !record.key.0.is_empty()).expect("records");
    let number = |text: &[u8]| {
        let text = std::str::from_utf8(text).expect("text");
        text.split('/').next().expect("a number").parse().expect("a number")
    };
    (number(&top), number(&first.payload))
}

/// The owner's rows are not in the journal. A floor that came with newer ones says nothing of those that are left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_row_of_the_owner_needs_is_kept_although_a_newer_one_gave_it_up() {
    let folder = in_memory();
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    for number in 0..5 {
        append(&store, &mut claim, number, true).await;
    }
    store.shutdown().await;
    let early = copy(folder.path());
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    for number in 5..30 {
        append(&store, &mut claim, number, true).await;
    }
    store.shutdown().await;

    exchange_mirror(folder.path(), early.path());
    fs::remove_dir_all(folder.path().join("dumps")).expect("remove");
    fs::create_dir(folder.path().join("dumps")).expect("create");
    let store = DiskLog::open(small(folder.path())).expect("open");
    store.retain().await.expect("retain");
    let (top, first) = top_and_first(&store).await;
    assert_eq!(top, 4, "the newer rows are lost");
    assert!(first <= top + 1, "the row is of {top}, and what came behind it starts at {first}");

    // An owner that starts from what is there, and gives up from there, is believed.
    let mut claim = store.claim(LOG, NodeId(2), Expect::Anyone).await.expect("claim");
    append(&store, &mut claim, 30, true).await;
    store.retain().await.expect("retain");
    let (top, first) = top_and_first(&store).await;
    assert_eq!((top, first), (30, 30));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_from_before_something_was_dropped_is_made_anew() {
    let folder = in_memory();
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    append(&store, &mut claim, 0, false).await;
    store.shutdown().await;
    let early = copy(folder.path());
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    for number in 1..30 {
        append(&store, &mut claim, number, true).await;
    }
    store.retain().await.expect("retain");
    let before = (top_and_first(&store).await, read_all(&store, LOG).await.expect("read"));
    assert!(before.0.1 > 20, "something was dropped: {:?}", before.0);
    store.shutdown().await;

    exchange_mirror(folder.path(), early.path());
    let store = DiskLog::open(small(folder.path())).expect("open");
    assert_eq!((top_and_first(&store).await, read_all(&store, LOG).await.expect("read")), before);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_quiet_for_segments_is_read_from_a_mirror_that_was_made_anew() {
    let folder = in_memory();
    let store = DiskLog::open(small(folder.path())).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    let mut quiet = store.claim(LogId(1), NodeId(1), Expect::Anyone).await.expect("claim");
    for number in 0..40 {
        append(&store, &mut claim, number, number < 10).await;
        if number == 10 {
            // Where it was claimed goes, so the oldest segments that stay have nothing of it.
            store.trim(&quiet, quiet.next).await.expect("trim");
            store.retain().await.expect("retain");
        }
        if number > 30 && number % 5 == 0 {
            store.append(&mut quiet, vec![record("quiet", number.to_string())], vec![]).await.expect("append");
        }
    }
    store.retain().await.expect("a dump of all of it");
    let before = read_all(&store, LogId(1)).await.expect("read");
    store.shutdown().await;
    fs::remove_dir_all(folder.path().join("mirror")).expect("remove");
    let store = DiskLog::open(small(folder.path())).expect("open");
    assert_eq!(read_all(&store, LogId(1)).await.expect("read"), before);
    let key = roomhook_log::Key(b"quiet"[..].into());
    assert_eq!(store.of_key(LogId(1), &key, Lsn::FIRST, Lsn(u64::MAX), 100).await.expect("read").len(), 1);
    store.shutdown().await;
}

/// Its engine ends the process over some damages, so the next process must not try the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_a_process_ended_over_is_made_anew() {
    let folder = in_memory();
    crate::store::written(folder.path(), 30).await;
    let mark = folder.path().join("mirror/opening");
    assert!(!mark.exists(), "an orderly process leaves none");
    fs::write(&mark, b"").expect("write");
    let store = DiskLog::open(small(folder.path())).expect("open");
    assert_eq!(read_all(&store, LOG).await.expect("read").len(), 301);
    assert!(!mark.exists());
    store.shutdown().await;
}
