//! Reading: history joins live with no seam, retention is told, a key's newest records are found.

use std::sync::Arc;

use super::{
    Factory, LOG,
    story::{append, claim, key, next_batch, poll_once, read_through, record, records, soon, texts},
};
use crate::{
    api::Log,
    error::ReadError,
    types::{LogId, Lsn, NewRecord, Record},
};

pub(super) async fn all(factory: &dyn Factory) {
    history_joins_live_without_a_seam(factory).await;
    many_readers_during_appends(factory).await;
    a_reader_that_stops_waiting_loses_nothing(factory).await;
    a_reader_may_wait_for_the_future(factory).await;
    the_newest_records_of_a_key(factory).await;
    the_newest_records_inside_large_appends(factory).await;
    a_key_is_read_on_from_anywhere(factory).await;
    one_record_is_read_without_its_neighbours(factory).await;
    what_was_trimmed_is_told(factory).await;
}

async fn history_joins_live_without_a_seam(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    append(&store, &mut owner, records("old", 0..300)).await;
    let mut stream = store.read(LOG, Lsn(17)).expect("read");
    read_through(&mut stream, Lsn(17), Lsn(301)).await;
    let last = append(&store, &mut owner, records("new", 0..3)).await;
    let seen = read_through(&mut stream, Lsn(302), last).await;
    assert_eq!(texts(&seen), ["new 0", "new 1", "new 2"]);
}

async fn many_readers_during_appends(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    append(&store, &mut owner, records("a", 0..100)).await;
    let end = Lsn(101 + 400);
    let readers: Vec<_> = [1, 2, 50, 101, 102, 250]
        .map(|from| {
            let mut stream = store.read(LOG, Lsn(from)).expect("read");
            tokio::spawn(
                async move { read_through(&mut stream, Lsn(from), end).await.len() as u64 == end.0 - from + 1 },
            )
        })
        .into();
    for chunk in 0..100 {
        append(&store, &mut owner, records("b", chunk * 4..chunk * 4 + 4)).await;
        tokio::task::yield_now().await;
    }
    for reader in readers {
        assert!(soon("reader", reader).await.expect("reader"), "each reader sees each record once");
    }
}

async fn a_reader_that_stops_waiting_loses_nothing(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let mut stream = store.read(LOG, Lsn(1)).expect("read");
    let mut seen: Vec<Record> = Vec::new();
    let mut appended = 1;
    // Each wait is polled once and dropped, before, while and after there is something to read.
    while seen.len() < 200 {
        let polled = poll_once(stream.next_batch()).await;
        if let Some(batch) = polled {
            seen.extend(batch.expect("read").iter().cloned());
        } else if appended < 200 {
            append(&store, &mut owner, vec![record("a", appended)]).await;
            appended += 1;
        } else {
            seen.extend(next_batch(&mut stream).await.expect("read").iter().cloned());
        }
    }
    assert!((1..).zip(&seen).all(|(lsn, record)| record.lsn == Lsn(lsn)), "nothing lost, nothing repeated");
}

async fn a_reader_may_wait_for_the_future(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let mut stream = store.read(LOG, Lsn(5)).expect("read");
    assert!(poll_once(stream.next_batch()).await.is_none());
    append(&store, &mut owner, records("a", 0..2)).await;
    let last = append(&store, &mut owner, records("a", 2..6)).await;
    assert_eq!(texts(&read_through(&mut stream, Lsn(5), last).await), ["a 3", "a 4", "a 5"]);
}

async fn last(store: &Arc<dyn Log>, name: &str, before: u64, limit: usize) -> Vec<String> {
    texts(&store.last(LOG, &key(name), Lsn(before), limit).await.expect("last"))
}

async fn the_newest_records_of_a_key(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    append(&store, &mut owner, vec![record("rare", 0)]).await;
    // Position 2 is `rare 0`; from 3 on, `a` has the odd positions and `b` the even ones.
    for number in 0..200 {
        append(&store, &mut owner, vec![record("a", number), record("b", number)]).await;
    }
    assert_eq!(last(&store, "a", u64::MAX, 3).await, ["a 197", "a 198", "a 199"], "the newest, oldest first");
    assert_eq!(last(&store, "a", 3 + 2 * 10, 2).await, ["a 8", "a 9"], "`before` is not included");
    assert_eq!(last(&store, "a", 3 + 2 * 10 + 1, 2).await, ["a 9", "a 10"]);
    assert_eq!(last(&store, "a", 3, 10).await, Vec::<String>::new(), "nothing before the first");
    assert_eq!(last(&store, "rare", u64::MAX, 10).await, ["rare 0"], "found however far back");
    assert_eq!(last(&store, "nobody", u64::MAX, 10).await, Vec::<String>::new());
    assert_eq!(last(&store, "a", u64::MAX, 0).await, Vec::<String>::new(), "a limit of none");
    let all = last(&store, "b", u64::MAX, 1_000).await;
    assert_eq!(all, (0..200).map(|number| format!("b {number}")).collect::<Vec<_>>(), "across all segments");
    let mut paged: Vec<Record> = Vec::new();
    loop {
        let before = paged.first().map_or(Lsn(u64::MAX), |record| record.lsn);
        let page = store.last(LOG, &key("b"), before, 33).await.expect("last");
        if page.is_empty() {
            break;
        }
        paged.splice(0..0, page);
    }
    assert_eq!(texts(&paged), all, "pages join without a seam");
}

async fn the_newest_records_inside_large_appends(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    // Four appends of 300 records in which three keys take turns; `c` only in the middle of each.
    let name = |n: u64| if (100..110).contains(&n) { "c" } else { ["a", "b"][(n % 2) as usize] };
    let long = "x".repeat(200);
    let mut all = Vec::new();
    for round in 0..4 {
        let batch: Vec<_> = (0..300)
            .map(|n| NewRecord { payload: format!("{round}/{n} {long}").into(), ..record(name(n), n) })
            .collect();
        all.extend(batch.iter().map(|record| (record.key.clone(), record.payload.clone())));
        append(&store, &mut owner, batch).await;
    }
    for key_name in ["a", "b", "c"] {
        for before in [2, 3, 50, 102, 108, 301, 302, 303, 407, 700, 1_201, 5_000] {
            for limit in [1, 7, 1_000] {
                let found = store.last(LOG, &key(key_name), Lsn(before), limit).await.expect("last");
                let older = (2..before).zip(&all).filter(|(_, (key, _))| key.0 == key_name);
                let mut expected: Vec<_> = older.map(|(lsn, (_, payload))| (Lsn(lsn), payload.clone())).collect();
                expected.drain(..expected.len().saturating_sub(limit));
                let found: Vec<_> = found.into_iter().map(|record| (record.lsn, record.payload)).collect();
                assert!(found == expected, "the last {limit} of {key_name} before {before}");
            }
        }
    }
}

async fn a_key_is_read_on_from_anywhere(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    // Large appends and small ones; `rare` is in one append only.
    let name = |n: u64| if n == 150 { "rare" } else { ["a", "b"][usize::from(n.is_multiple_of(3))] };
    let long = "x".repeat(200);
    let mut all = Vec::new();
    for (from, to) in [(0, 300), (300, 301), (301, 310), (310, 600)] {
        let batch: Vec<_> =
            (from..to).map(|n| NewRecord { payload: format!("{n} {long}").into(), ..record(name(n), n) }).collect();
        all.extend(batch.iter().map(|record| (record.key.clone(), record.payload.clone())));
        append(&store, &mut owner, batch).await;
    }
    for key_name in ["a", "b", "rare", "nobody"] {
        for from in [0, 1, 2, 50, 151, 152, 153, 300, 302, 312, 601, 5_000] {
            for (below, limit) in [(u64::MAX, 1), (u64::MAX, 7), (u64::MAX, 1_000), (310, 1_000), (152, 5), (from, 5)] {
                let found = store.of_key(LOG, &key(key_name), Lsn(from), Lsn(below), limit).await.expect("of_key");
                let there = (2..)
                    .zip(&all)
                    .filter(|(lsn, (key, _))| key.0 == key_name && (from..below.max(from)).contains(lsn));
                let expected: Vec<_> =
                    there.map(|(lsn, (_, payload))| (Lsn(lsn), payload.clone())).take(limit).collect();
                let found: Vec<_> = found.into_iter().map(|record| (record.lsn, record.payload)).collect();
                assert!(found == expected, "{limit} of {key_name} in {from}..{below}");
            }
        }
    }
}

async fn one_record_is_read_without_its_neighbours(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    for chunk in 0..20 {
        append(&store, &mut owner, records("a", chunk * 10..chunk * 10 + 10)).await;
    }
    for at in [1, 2, 11, 12, 100, 201] {
        let record = store.record(LOG, Lsn(at)).await.expect("record").expect("it is there");
        assert_eq!(record.lsn, Lsn(at));
    }
    for at in [0, 202, u64::MAX] {
        assert_eq!(
            store.record(LOG, Lsn(at)).await.expect("record"),
            None,
            "nothing is at {at}, and nobody waits for it"
        );
    }
    let other = store.record(LogId(7), Lsn(1)).await;
    assert!(matches!(other, Err(ReadError::NoSuchLog(LogId(7)))), "{other:?}");
}

async fn what_was_trimmed_is_told(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    append(&store, &mut owner, vec![record("rare", 0)]).await;
    for chunk in 0..50 {
        append(&store, &mut owner, records("a", chunk * 10..chunk * 10 + 10)).await;
    }
    let up_to = Lsn(400);
    let mut slow = store.read(LOG, Lsn(1)).expect("read");
    factory.trim(&store, &owner, up_to).await;
    let bounds = store.bounds(LOG).await.expect("bounds");
    assert!(Lsn(1) < bounds.first && bounds.first <= up_to, "some history is gone, and none that must stay");
    assert_eq!(bounds.next, owner.next, "the end stays");

    let outcome = next_batch(&mut slow).await;
    match outcome {
        Err(ReadError::Trimmed { log, wanted, first }) => assert_eq!((log, wanted, first), (LOG, Lsn(1), bounds.first)),
        other => panic!("a reader of trimmed history is told where to go on, not {other:?}"),
    }
    assert!(matches!(next_batch(&mut slow).await, Err(ReadError::Trimmed { .. })), "the stream stays where it was");
    let mut stream = store.read(LOG, bounds.first).expect("read");
    read_through(&mut stream, bounds.first, Lsn(bounds.next.0 - 1)).await;

    assert!(last(&store, "rare", u64::MAX, 10).await.is_empty(), "trimmed records are not found by key either");
    let found = store.last(LOG, &key("a"), Lsn(u64::MAX), 1_000).await.expect("last");
    assert_eq!(found.first().map(|record| record.lsn), Some(bounds.first));
    assert!(store.last(LOG, &key("a"), bounds.first, 10).await.expect("last").is_empty());
    let of_key = store.of_key(LOG, &key("a"), Lsn(1), Lsn(u64::MAX), 3).await.expect("of_key");
    assert_eq!(of_key.first().map(|record| record.lsn), Some(bounds.first), "what is left of it");
    assert!(store.of_key(LOG, &key("a"), Lsn(1), bounds.first, 3).await.expect("of_key").is_empty());
    assert_eq!(store.record(LOG, Lsn(bounds.first.0 - 1)).await.expect("record"), None);
    assert!(store.record(LOG, bounds.first).await.expect("record").is_some());
    append(&store, &mut owner, records("a", 500..510)).await;
}
