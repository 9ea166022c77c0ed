//! Positions are dense, in order, and what was refused leaves no trace.

use bytes::Bytes;

use super::{
    Factory, LOG,
    story::{append, claim, is_refused, key, read_all, record, records, row, texts},
};
use crate::{
    error::ReadError,
    limits::{APPEND_BYTES_MAX, APPEND_RECORDS_MAX, PAYLOAD_BYTES_MAX, ROW_KEY_BYTES_MAX},
    types::{Bounds, Epoch, Expect, Key, LogId, Lsn, NewRecord, NodeId},
};

pub(super) async fn all(factory: &dyn Factory) {
    positions_are_dense_from_one(factory).await;
    records_come_back_as_they_were(factory).await;
    an_append_of_rows_only_moves_nothing(factory).await;
    logs_do_not_mix(factory).await;
    what_is_too_large_is_refused_whole(factory).await;
    the_largest_append_fits(factory).await;
    a_log_that_is_not_there_is_named(factory).await;
}

async fn positions_are_dense_from_one(factory: &dyn Factory) {
    let store = factory.create().await;
    let empty = store.bounds(LOG).await.expect("bounds");
    assert_eq!(empty, Bounds { first: Lsn(1), next: Lsn(1), epoch: Epoch(0) }, "an empty log starts at 1");

    let mut owner = claim(&store, LOG).await;
    assert_eq!(owner.next, Lsn(2), "the claim is a record");
    assert_eq!(append(&store, &mut owner, records("a", 0..3)).await, Lsn(4), "the last record's position is returned");
    assert_eq!(append(&store, &mut owner, records("b", 0..1)).await, Lsn(5));
    assert_eq!(owner.next, Lsn(6), "an append moves the claim on");
    assert_eq!(store.bounds(LOG).await.expect("bounds"), Bounds { first: Lsn(1), next: Lsn(6), epoch: Epoch(1) });

    let stored = read_all(&store, LOG).await;
    let positions: Vec<u64> = stored.iter().map(|record| record.lsn.0).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
    assert_eq!(stored[0].key, Key(Bytes::new()), "the claim's record has the empty key");
    assert_eq!(texts(&stored[1..]), ["a 0", "a 1", "a 2", "b 0"]);
}

async fn records_come_back_as_they_were(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let odd = vec![
        NewRecord { key: key("empty payload"), at_ms: 0, payload: Bytes::new() },
        NewRecord {
            key: Key(Bytes::from(vec![0xff; Key::BYTES_MAX])),
            at_ms: u64::MAX,
            payload: Bytes::from_static(&[0]),
        },
        NewRecord { key: Key(Bytes::from_static(&[0])), at_ms: 1, payload: Bytes::from(vec![7; PAYLOAD_BYTES_MAX]) },
        NewRecord { key: Key(Bytes::from_static(&[0, 0])), at_ms: 5, payload: Bytes::from(vec![8; 100_000]) },
    ];
    append(&store, &mut owner, odd.clone()).await;
    let stored = read_all(&store, LOG).await;
    for (stored, given) in stored[1..].iter().zip(&odd) {
        assert_eq!(stored.epoch, owner.epoch);
        assert_eq!((&stored.key, stored.at_ms), (&given.key, given.at_ms));
        assert!(stored.payload == given.payload, "the payload at {} is as it was given", stored.lsn);
    }
    // A key that is the beginning of another one is another key.
    let found = store.last(LOG, &odd[2].key, Lsn(u64::MAX), 10).await.expect("last");
    assert_eq!(found.iter().map(|r| r.lsn).collect::<Vec<_>>(), [Lsn(4)]);
}

async fn an_append_of_rows_only_moves_nothing(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    append(&store, &mut owner, records("a", 0..2)).await;
    let last = store.append(&mut owner, Vec::new(), vec![row("snapshot", "s")]).await.expect("append");
    assert_eq!((last, owner.next), (Lsn(3), Lsn(4)), "the position before `next` is returned");
    assert_eq!(store.state(LOG, b"snapshot").await.expect("state").as_deref(), Some(&b"s"[..]));
    let last = store.append(&mut owner, Vec::new(), Vec::new()).await.expect("append");
    assert_eq!(last, Lsn(3), "an append of nothing is one too");
    assert_eq!(read_all(&store, LOG).await.len(), 3);
}

async fn logs_do_not_mix(factory: &dyn Factory) {
    let store = factory.create().await;
    for (number, log) in [LogId(0), LogId(1), LogId::DIRECTORY].into_iter().enumerate() {
        let mut owner = claim(&store, log).await;
        append(&store, &mut owner, vec![record("same", number as u64)]).await;
    }
    for (number, log) in [LogId(0), LogId(1), LogId::DIRECTORY].into_iter().enumerate() {
        assert_eq!(texts(&read_all(&store, log).await[1..]), [format!("same {number}")]);
    }
}

async fn what_is_too_large_is_refused_whole(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let before = store.bounds(LOG).await.expect("bounds");
    let large_payload = NewRecord { payload: Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]), ..record("a", 1) };
    let large_key = NewRecord { key: Key(Bytes::from(vec![1; Key::BYTES_MAX + 1])), ..record("a", 1) };
    let no_key = NewRecord { key: Key(Bytes::new()), ..record("a", 1) };
    for bad in [large_payload, large_key, no_key] {
        let outcome = store.append(&mut owner, vec![record("a", 0), bad], vec![row("r", "1")]).await;
        assert!(is_refused(&outcome), "refused, not {outcome:?}");
    }
    let too_many = records("a", 0..APPEND_RECORDS_MAX as u64 + 1);
    assert!(is_refused(&store.append(&mut owner, too_many, Vec::new()).await), "too many records are refused");
    let too_heavy = (0..APPEND_BYTES_MAX / PAYLOAD_BYTES_MAX)
        .map(|n| NewRecord { payload: Bytes::from(vec![0; PAYLOAD_BYTES_MAX]), ..record("a", n as u64) });
    let too_heavy = store.append(&mut owner, too_heavy.collect(), Vec::new()).await;
    assert!(is_refused(&too_heavy), "with their keys they are too large together");
    let long_row = row(&"k".repeat(ROW_KEY_BYTES_MAX + 1), "v");
    assert!(is_refused(&store.append(&mut owner, Vec::new(), vec![long_row.clone()]).await));
    assert!(store.put(LOG, owner.epoch, vec![long_row]).await.is_err(), "a long row key is refused");

    assert_eq!(store.bounds(LOG).await.expect("bounds"), before, "nothing was written");
    assert_eq!(store.state(LOG, b"r").await.expect("state"), None, "no row either");
    assert_eq!(append(&store, &mut owner, records("a", 0..1)).await, before.next, "and the claim goes on");
}

async fn the_largest_append_fits(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let of_bytes = |bytes| NewRecord { payload: Bytes::from(vec![7; bytes]), ..record("a", 1) };
    let whole = APPEND_BYTES_MAX / PAYLOAD_BYTES_MAX - 1;
    let mut largest: Vec<_> = (0..whole).map(|_| of_bytes(PAYLOAD_BYTES_MAX)).collect();
    largest.push(of_bytes(PAYLOAD_BYTES_MAX - whole - 1));
    let last = append(&store, &mut owner, largest.clone()).await;
    assert!(is_refused(
        &store.append(&mut owner, largest.into_iter().chain([of_bytes(0)]).collect(), Vec::new()).await
    ));
    let many = (0..APPEND_RECORDS_MAX as u64).map(|n| record("many", n)).collect();
    assert_eq!(append(&store, &mut owner, many).await.0, last.0 + APPEND_RECORDS_MAX as u64);
    let store = factory.reopen(store).await;
    assert_eq!(read_all(&store, LOG).await.len(), 1 + whole + 1 + APPEND_RECORDS_MAX);
}

async fn a_log_that_is_not_there_is_named(factory: &dyn Factory) {
    let store = factory.create().await;
    let missing = LogId(999);
    assert!(matches!(store.bounds(missing).await, Err(ReadError::NoSuchLog(log)) if log == missing));
    assert!(matches!(store.read(missing, Lsn(1)), Err(ReadError::NoSuchLog(log)) if log == missing));
    assert!(matches!(store.end(missing).await, Err(ReadError::NoSuchLog(log)) if log == missing));
    assert!(matches!(store.reached(missing, Lsn(1)).await, Err(ReadError::NoSuchLog(log)) if log == missing));
    assert!(store.claim(missing, NodeId(1), Expect::Anyone).await.is_err());
    assert!(store.put(missing, Epoch(0), vec![row("a", "b")]).await.is_err());
}
