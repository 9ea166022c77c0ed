//! Where a log ends, and when reads have got there.

use std::sync::Arc;

use super::{
    Factory, LOG,
    story::{append, claim, key, poll_once, record, records, soon},
};
use crate::{
    api::Log,
    error::ReadError,
    types::{LogId, Lsn},
};

pub(super) async fn all(factory: &dyn Factory) {
    the_end_is_behind_all_that_was_answered(factory).await;
    reads_see_what_they_have_reached(factory).await;
    whoever_waits_for_a_position_is_woken_by_it(factory).await;
    a_wait_that_is_dropped_and_made_again_misses_nothing(factory).await;
    after_a_restart_the_end_is_where_it_was(factory).await;
}

async fn the_end_is_behind_all_that_was_answered(factory: &dyn Factory) {
    let store = factory.create().await;
    assert_eq!(store.end(LOG).await.expect("end"), Lsn(1), "an empty log ends where it starts");
    let mut owner = claim(&store, LOG).await;
    assert_eq!(store.end(LOG).await.expect("end"), owner.next);
    for number in 0..50 {
        append(&store, &mut owner, records("a", 0..number % 3)).await;
        assert_eq!(store.end(LOG).await.expect("end"), owner.next);
    }
    assert_eq!(store.end(LogId(1)).await.expect("end"), Lsn(1), "each log has its own");
    // While others write, it is never behind what one of them was told before.
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in 0..100 {
                let last = append(&store, &mut owner, vec![record("b", number)]).await;
                assert!(store.end(LOG).await.expect("end") > last);
            }
        }
    });
    let mut before = Lsn(0);
    while !writer.is_finished() {
        let end = store.end(LOG).await.expect("end");
        assert!(end >= before, "it never goes back");
        before = end;
        tokio::task::yield_now().await;
    }
    writer.await.expect("writer");
}

async fn sees_up_to(store: &Arc<dyn Log>, end: Lsn) {
    let last = Lsn(end.0 - 1);
    assert!(store.record(LOG, last).await.expect("record").is_some(), "{last} can be read alone");
    let of_key = store.last(LOG, &key("a"), end, 1).await.expect("last");
    assert_eq!(of_key.first().map(|record| record.lsn), Some(last), "{last} is found by its key");
    let of_key = store.of_key(LOG, &key("a"), last, end, 1).await.expect("of_key");
    assert_eq!(of_key.first().map(|record| record.lsn), Some(last));
    assert!(store.bounds(LOG).await.expect("bounds").next >= end);
}

async fn reads_see_what_they_have_reached(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    for number in 0..30 {
        append(&store, &mut owner, vec![record("a", number)]).await;
        let end = store.end(LOG).await.expect("end");
        soon("reached", store.reached(LOG, end)).await.expect("reached");
        sees_up_to(&store, end).await;
    }
    for before in [Lsn(0), Lsn(1), owner.next] {
        soon("reached", store.reached(LOG, before)).await.expect("it was reached long ago");
    }
}

async fn whoever_waits_for_a_position_is_woken_by_it(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let wanted = Lsn(owner.next.0 + 20);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.reached(LOG, wanted).await.expect("reached");
                sees_up_to(&store, wanted).await;
            })
        })
        .collect();
    for number in 0..10 {
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "{} is before {wanted}", owner.next);
        append(&store, &mut owner, records("a", number * 2..number * 2 + 2)).await;
    }
    for waiting in waiting {
        soon("reached", waiting).await.expect("no panic");
    }
}

async fn a_wait_that_is_dropped_and_made_again_misses_nothing(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    for number in 0..50 {
        let wanted = owner.next.next();
        assert!(poll_once(store.reached(LOG, wanted)).await.is_none(), "{wanted} is not there yet");
        append(&store, &mut owner, vec![record("a", number)]).await;
        soon("reached", store.reached(LOG, wanted)).await.expect("reached");
    }
}

async fn after_a_restart_the_end_is_where_it_was(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    append(&store, &mut owner, records("a", 0..9)).await;
    let end = store.end(LOG).await.expect("end");
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.reached(LOG, Lsn(1_000)).await }
    });
    let old = Arc::clone(&store);
    let store = factory.reopen(store).await;
    let ended = soon("reached", waiting).await.expect("no panic");
    assert!(matches!(ended, Err(ReadError::Closed)), "nobody waits for what will not come: {ended:?}");
    assert!(matches!(old.end(LOG).await, Err(ReadError::Closed)), "the old one does not know any more");
    drop(old);
    assert_eq!(store.end(LOG).await.expect("end"), end);
    soon("reached", store.reached(LOG, end)).await.expect("reached");
    sees_up_to(&store, end).await;
}
