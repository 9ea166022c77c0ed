//! The shared tail: bounded, shared, joined to history without a seam.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use roomhook_log::{
    ColdRead, Epoch, Key, LogId, Lsn, ReadError, Record, RecordStream, Tail, TailLimits, TailStream, limits,
};

const LOG: LogId = LogId(3);

fn batch(positions: std::ops::Range<u64>, payload_bytes: usize) -> Arc<[Record]> {
    let record = |lsn| Record {
        lsn: Lsn(lsn),
        epoch: Epoch(1),
        key: Key(Bytes::from_static(b"k")),
        at_ms: lsn,
        payload: Bytes::from(vec![0; payload_bytes]),
    };
    positions.map(record).collect()
}

/// History that notes what it was asked for.
#[derive(Default)]
struct History(Mutex<Vec<(u64, u64)>>);

#[async_trait]
impl ColdRead for History {
    async fn read_cold(&self, _log: LogId, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        self.0.lock().push((from.0, below.0));
        tokio::task::yield_now().await;
        Ok(batch(from.0..below.0.min(from.0 + 10), 1))
    }
}

fn tail(limits: TailLimits) -> Arc<Tail> {
    Arc::new(Tail::new(LOG, Lsn(101), limits))
}

#[tokio::test(start_paused = true)]
async fn readers_share_the_batch_that_was_published() {
    let tail = tail(TailLimits::default());
    let published = batch(101..104, 10);
    tail.publish(Arc::clone(&published));
    for _ in 0..2 {
        let mut stream = TailStream::<History>::new(Arc::clone(&tail), Arc::default(), Lsn(101));
        let read = stream.next_batch().await.expect("read");
        assert!(Arc::ptr_eq(&read, &published), "no copy is made for a reader");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_reader_reads_history_up_to_the_ring_and_no_further() {
    let tail = tail(TailLimits { bytes_max: usize::MAX, records_max: 10 });
    for first in (101..141).step_by(5) {
        tail.publish(batch(first..first + 5, 1));
    }
    assert_eq!(tail.size().records, 10, "the ring is bounded by records");
    let history = Arc::new(History::default());
    let mut stream = TailStream::new(Arc::clone(&tail), Arc::clone(&history), Lsn(115));
    let mut next = 115;
    while next < 141 {
        for record in stream.next_batch().await.expect("read").iter() {
            assert_eq!(record.lsn.0, next);
            next += 1;
        }
    }
    assert_eq!(*history.0.lock(), [(115, 131), (125, 131)], "two cold reads, then the ring");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_starts_inside_a_batch_gets_the_rest_of_it() {
    let tail = tail(TailLimits::default());
    tail.publish(batch(101..110, 1));
    let mut stream = TailStream::<History>::new(Arc::clone(&tail), Arc::default(), Lsn(105));
    let read = stream.next_batch().await.expect("read");
    assert_eq!((read.first().map(|r| r.lsn), read.len()), (Some(Lsn(105)), 5));
}

#[test]
fn the_ring_is_bounded_by_bytes_and_keeps_the_newest_batch() {
    let tail = tail(TailLimits { bytes_max: 10_000, records_max: usize::MAX });
    for lsn in 101..200 {
        tail.publish(batch(lsn..lsn + 1, 1_000));
        assert!(tail.size().bytes <= 10_000);
    }
    tail.publish(batch(200..201, 50_000));
    assert_eq!(tail.size().records, 1, "one batch above the limit stays, alone");
}

#[tokio::test(start_paused = true)]
async fn a_huge_append_is_handed_out_in_pieces() {
    let tail = tail(TailLimits { bytes_max: usize::MAX, records_max: usize::MAX });
    tail.publish(batch(101..109, 400_000));
    let mut stream = TailStream::<History>::new(Arc::clone(&tail), Arc::default(), Lsn(101));
    let mut next = Lsn(101);
    while next < Lsn(109) {
        let read = stream.next_batch().await.expect("read");
        assert!(read.iter().map(|record| record.payload.len()).sum::<usize>() <= limits::BATCH_BYTES_MAX);
        assert_eq!(read.first().map(|record| record.lsn), Some(next));
        next = Lsn(next.0 + read.len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_tail_is_read_to_its_end() {
    let tail = tail(TailLimits::default());
    let mut stream = TailStream::<History>::new(Arc::clone(&tail), Arc::default(), Lsn(101));
    tail.publish(batch(101..103, 1));
    tail.close();
    assert_eq!(stream.next_batch().await.expect("what is there is read").len(), 2);
    assert!(matches!(stream.next_batch().await, Err(ReadError::Closed)));
}

#[test]
#[should_panic(expected = "must continue the tail")]
fn a_hole_is_not_published() {
    tail(TailLimits::default()).publish(batch(102..103, 1));
}

/// A store that reads from the wrong place, or finds nothing where something is.
struct Damaged(Arc<[Record]>);

#[async_trait]
impl ColdRead for Damaged {
    async fn read_cold(&self, _log: LogId, _from: Lsn, _below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        Ok(Arc::clone(&self.0))
    }
}

/// Before, release builds handed the wrong records out as if nothing was missing, and asked for ever when there were none.
#[tokio::test(start_paused = true)]
async fn a_store_that_skips_records_is_not_believed() {
    for read in [batch(52..60, 1), batch(0..0, 1)] {
        let mut stream = TailStream::new(tail(TailLimits::default()), Arc::new(Damaged(read)), Lsn(50));
        for _ in 0..2 {
            let damaged = stream.next_batch().await.expect_err("not what was asked for");
            assert!(matches!(damaged, ReadError::Corrupt { at: Lsn(50), .. }), "it stays where it was: {damaged}");
        }
    }
}
