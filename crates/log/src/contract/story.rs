//! The words the tests are written in.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::LOG;
use crate::{
    api::{Claim, Log, RecordStream},
    error::{AppendError, ReadError},
    types::{Epoch, Expect, Key, LogId, Lsn, NewRecord, NodeId, Record, Row},
};

pub(super) fn key(name: &str) -> Key {
    Key(Bytes::copy_from_slice(name.as_bytes()))
}

/// A record whose payload tells it apart.
pub(super) fn record(name: &str, number: u64) -> NewRecord {
    NewRecord { key: key(name), at_ms: 1_000 + number, payload: Bytes::from(format!("{name} {number}")) }
}

pub(super) fn records(name: &str, numbers: std::ops::Range<u64>) -> Vec<NewRecord> {
    numbers.map(|number| record(name, number)).collect()
}

pub(super) fn row(key: &str, value: &str) -> Row {
    Row { key: Bytes::copy_from_slice(key.as_bytes()), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

pub(super) fn no_row(key: &str) -> Row {
    Row { key: Bytes::copy_from_slice(key.as_bytes()), value: None }
}

pub(super) fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

pub(super) async fn claim(store: &Arc<dyn Log>, log: LogId) -> Claim {
    store.claim(log, NodeId(7), Expect::Anyone).await.expect("a healthy log can be claimed")
}

pub(super) async fn append(store: &Arc<dyn Log>, claim: &mut Claim, records: Vec<NewRecord>) -> Lsn {
    store.append(claim, records, Vec::new()).await.expect("a healthy log takes records")
}

/// Webhooks of the owner of this epoch write a row.
pub(super) async fn put(store: &Arc<dyn Log>, epoch: Epoch, row: Row) {
    store.put(LOG, epoch, vec![row]).await.expect("a healthy log takes rows");
}

pub(super) async fn state(store: &Arc<dyn Log>, key: &str) -> Option<String> {
    text(store.state(LOG, key.as_bytes()).await.expect("state"))
}

pub(super) async fn get(store: &Arc<dyn Log>, key: &str) -> Option<String> {
    text(store.get(LOG, key.as_bytes()).await.expect("get"))
}

fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// What a fenced call says of epochs: the present one and the caller's.
pub(super) fn fenced<T: std::fmt::Debug>(outcome: Result<T, AppendError>) -> (Epoch, Epoch) {
    match outcome {
        Err(AppendError::Fenced { log: LOG, current, ours }) => (current, ours),
        other => panic!("it is fenced, not {other:?}"),
    }
}

/// Polls once and drops the future if it is not ready.
pub(super) async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}

/// Fails the test instead of hanging it; generous, because the machine may be busy.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("{what}: waited too long"))
}

pub(super) async fn next_batch(stream: &mut Box<dyn RecordStream>) -> Result<Arc<[Record]>, ReadError> {
    soon("next_batch", stream.next_batch()).await
}

/// Reads until position `to` has been seen; checks that there is no hole, no repeat and no empty batch.
pub(super) async fn read_through(stream: &mut Box<dyn RecordStream>, from: Lsn, to: Lsn) -> Vec<Record> {
    let mut seen = Vec::new();
    let mut expected = from;
    while expected <= to {
        let batch = next_batch(stream).await.expect("a healthy log can be read");
        assert!(!batch.is_empty(), "a batch holds at least one record");
        for record in batch.iter() {
            assert_eq!(record.lsn, expected, "records come in order, without a hole and without a repeat");
            expected = expected.next();
        }
        seen.extend(batch.iter().cloned());
    }
    seen
}

pub(super) async fn read_all(store: &Arc<dyn Log>, log: LogId) -> Vec<Record> {
    let bounds = store.bounds(log).await.expect("bounds");
    if bounds.first == bounds.next {
        return Vec::new();
    }
    let mut stream = store.read(log, bounds.first).expect("read");
    read_through(&mut stream, bounds.first, Lsn(bounds.next.0 - 1)).await
}

pub(super) fn is_refused(outcome: &Result<Lsn, AppendError>) -> bool {
    matches!(outcome, Err(AppendError::Refused(_)))
}
