//! Faults on demand, on a runtime whose clock stands still.

use bytes::Bytes;
use roomhook_log::{
    AppendError, Claim, Expect, Fault, Key, LogAppend, LogId, LogRead, Lsn, MemoryLog, NewRecord, NodeId, ReadError,
    Row, Rows,
};

const LOG: LogId = LogId(0);

fn record(text: &'static str) -> NewRecord {
    NewRecord { key: Key(Bytes::from_static(b"room")), at_ms: 1, payload: Bytes::from_static(text.as_bytes()) }
}

fn row(value: &'static str) -> Row {
    Row { key: Bytes::from_static(b"row"), value: Some(Bytes::from_static(value.as_bytes())) }
}

async fn claimed() -> (MemoryLog, Claim) {
    let log = MemoryLog::new(1);
    let claim = log.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    (log, claim)
}

async fn stored(log: &MemoryLog) -> Vec<Bytes> {
    let key = Key(Bytes::from_static(b"room"));
    log.last(LOG, &key, Lsn(u64::MAX), 100).await.expect("last").into_iter().map(|record| record.payload).collect()
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_passes() {
    let (log, mut claim) = claimed().await;
    log.fail_next_append(LOG, Fault::Full);
    let failed = log.append(&mut claim, vec![record("a")], vec![row("1")]).await;
    assert!(matches!(failed, Err(AppendError::Full(_))));
    assert_eq!(log.state(LOG, b"row").await.expect("state"), None);
    assert_eq!(log.append(&mut claim, vec![record("b")], vec![]).await.expect("room again"), Lsn(2));
    assert_eq!(stored(&log).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn poison_stays_until_a_restart_and_reads_go_on() {
    let (log, mut claim) = claimed().await;
    log.append(&mut claim, vec![record("a")], vec![]).await.expect("append");
    log.fail_next_append(LOG, Fault::Poisoned);
    for _ in 0..2 {
        let failed = log.append(&mut claim, vec![record("b")], vec![]).await;
        assert!(matches!(failed, Err(AppendError::Poisoned { .. })));
    }
    assert!(matches!(log.claim(LOG, NodeId(2), Expect::Anyone).await, Err(AppendError::Poisoned { .. })));
    assert!(matches!(log.put(LOG, claim.epoch, vec![row("1")]).await, Err(AppendError::Poisoned { .. })));
    assert_eq!(stored(&log).await, ["a"]);
    let log = log.restart();
    let mut claim = log.claim(LOG, NodeId(1), Expect::Anyone).await.expect("healthy again");
    log.append(&mut claim, vec![record("c")], vec![]).await.expect("append");
    assert_eq!(stored(&log).await, ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn after_an_unknown_outcome_a_prefix_may_be_there_and_a_new_claim_tells() {
    for durable in 0..=2 {
        let (log, mut claim) = claimed().await;
        log.fail_next_append(LOG, Fault::Ambiguous { durable });
        let failed = log.append(&mut claim, vec![record("a"), record("b")], vec![row("1")]).await;
        assert!(matches!(failed, Err(AppendError::Ambiguous { expected: Lsn(2), .. })));
        let again = log.append(&mut claim, vec![record("c")], vec![]).await;
        assert!(matches!(again, Err(AppendError::Ambiguous { .. })), "the old claim is of no use");
        let mut claim = log.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
        assert_eq!(stored(&log).await, ["a", "b"][..durable]);
        assert_eq!(log.state(LOG, b"row").await.expect("state").is_some(), durable == 2, "rows come with all records");
        log.append(&mut claim, vec![record("c")], vec![]).await.expect("append");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rival_fences() {
    let (log, mut claim) = claimed().await;
    log.fail_next_append(LOG, Fault::Fenced);
    let failed = log.append(&mut claim, vec![record("a")], vec![]).await;
    assert!(matches!(failed, Err(AppendError::Fenced { .. })));
    assert!(stored(&log).await.is_empty());
    assert_eq!(log.bounds(LOG).await.expect("bounds").next, Lsn(3), "the rival's claim is in the log");
}

#[tokio::test(start_paused = true)]
async fn refused_and_closed_write_nothing() {
    let (log, mut claim) = claimed().await;
    log.fail_next_append(LOG, Fault::Refused);
    log.fail_next_append(LOG, Fault::Closed);
    assert!(matches!(log.append(&mut claim, vec![record("a")], vec![]).await, Err(AppendError::Refused(_))));
    assert!(matches!(log.append(&mut claim, vec![record("a")], vec![]).await, Err(AppendError::Closed)));
    log.append(&mut claim, vec![record("b")], vec![]).await.expect("append");
    assert_eq!(stored(&log).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_held_append_is_seen_by_nobody() {
    let (log, mut claim) = claimed().await;
    let hold = log.hold_appends(LOG);
    let writer = tokio::spawn({
        let log = log.clone();
        async move { log.append(&mut claim, vec![record("a")], vec![row("1")]).await }
    });
    hold.reached().await;
    assert!(stored(&log).await.is_empty());
    assert_eq!(log.state(LOG, b"row").await.expect("state"), None);
    hold.release();
    assert_eq!(writer.await.expect("writer").expect("append"), Lsn(2));
    assert_eq!(stored(&log).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_append_before_the_hold_has_written_nothing() {
    let (log, mut claim) = claimed().await;
    let hold = log.hold_appends(LOG);
    tokio::select! {
        biased;
        _ = log.append(&mut claim, vec![record("a")], vec![]) => panic!("held"),
        () = hold.reached() => {}
    }
    hold.release();
    log.append(&mut claim, vec![record("b")], vec![]).await.expect("append");
    assert_eq!(stored(&log).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_loses_the_newest_puts_only() {
    let (log, mut claim) = claimed().await;
    log.put(LOG, claim.epoch, vec![row("1")]).await.expect("put");
    log.append(&mut claim, vec![record("a")], vec![row("owner")]).await.expect("append");
    log.put(LOG, claim.epoch, vec![row("2")]).await.expect("put");
    assert_eq!(log.get(LOG, b"row").await.expect("get").as_deref(), Some(&b"2"[..]));
    let after_crash = log.restart();
    assert_eq!(after_crash.get(LOG, b"row").await.expect("get").as_deref(), Some(&b"2"[..]));
    let after_cut = after_crash.power_loss();
    assert_eq!(after_cut.get(LOG, b"row").await.expect("get").as_deref(), Some(&b"1"[..]));
    assert_eq!(after_cut.state(LOG, b"row").await.expect("state").as_deref(), Some(&b"owner"[..]));
    assert_eq!(stored(&after_cut).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_closes_the_old_handles() {
    let (log, mut claim) = claimed().await;
    let mut stream = log.read(LOG, Lsn(2)).expect("read");
    let reader = tokio::spawn(async move { stream.next_batch().await });
    tokio::task::yield_now().await;
    let _after = log.restart();
    assert!(matches!(reader.await.expect("reader"), Err(ReadError::Closed)));
    assert!(matches!(log.append(&mut claim, vec![record("a")], vec![]).await, Err(AppendError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn trimmed_history_is_gone_whoever_needs_it() {
    let (log, mut claim) = claimed().await;
    log.append(&mut claim, vec![record("a"), record("b"), record("c")], vec![]).await.expect("append");
    log.trim_history(LOG, Lsn(4));
    assert_eq!(log.bounds(LOG).await.expect("bounds").first, Lsn(4));
    assert_eq!(stored(&log).await, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_takes_back_rows_of_the_owner_but_not_what_it_gave_up_by() {
    let value = |log: MemoryLog| async move { log.state(LOG, b"row").await.expect("state") };
    for (appends, expected) in [(0, "4"), (1, "3"), (9, "3")] {
        let (log, mut claim) = claimed().await;
        for value in ["1", "2", "3"] {
            log.append(&mut claim, vec![record("a")], vec![row(value)]).await.expect("append");
            log.append(&mut claim, vec![record("b")], vec![]).await.expect("append");
        }
        log.trim(&claim, Lsn(3)).await.expect("trim");
        log.append(&mut claim, vec![record("c")], vec![row("4")]).await.expect("append");
        let crashed = log.crash(appends);
        assert_eq!(crashed.bounds(LOG).await.expect("bounds"), log.bounds(LOG).await.expect("bounds"));
        assert_eq!(value(crashed).await.as_deref(), Some(expected.as_bytes()), "{appends}");
    }
    let (log, mut claim) = claimed().await;
    log.append(&mut claim, vec![record("a")], vec![row("1")]).await.expect("append");
    assert_eq!(value(log.crash(1)).await, None, "a row that was not there before is gone");
}
