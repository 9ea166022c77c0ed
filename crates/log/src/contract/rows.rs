//! Rows: the owner's, written with records, and the webhooks', in a namespace of their own.

use bytes::Bytes;

use super::{
    Factory, LOG,
    story::{append, claim, fenced, get, no_row, put, record, records, row, state},
};
use crate::{
    error::AppendError,
    limits::{APPEND_BYTES_MAX, ROW_FRAME_BYTES, ROW_VALUE_BYTES_MAX},
    types::{Epoch, Expect, LogId, Lsn, NodeId},
};

pub(super) async fn all(factory: &dyn Factory) {
    rows_change_with_the_records(factory).await;
    the_two_namespaces_are_apart(factory).await;
    scans_are_ordered_and_paged(factory).await;
    the_last_write_of_a_key_wins(factory).await;
    puts_keep_their_order(factory).await;
    a_put_of_an_epoch_that_is_over_is_fenced(factory).await;
    puts_that_race_a_claim_are_written_before_it_or_not_at_all(factory).await;
    after_a_crash_rows_of_the_owner_are_never_newer_than_its_records(factory).await;
    the_largest_rows_fit_and_larger_ones_leave_no_trace(factory).await;
}

async fn rows_change_with_the_records(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    store.append(&mut owner, vec![record("a", 0)], vec![row("one", "1"), row("two", "2")]).await.expect("append");
    assert_eq!((state(&store, "one").await, state(&store, "two").await), (Some("1".into()), Some("2".into())));
    store.append(&mut owner, vec![record("a", 1)], vec![no_row("one"), row("two", "22")]).await.expect("append");
    assert_eq!((state(&store, "one").await, state(&store, "two").await), (None, Some("22".into())));
    assert_eq!(store.state(LogId(1), b"two").await.expect("state"), None, "rows belong to one log");
}

async fn the_two_namespaces_are_apart(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    store.append(&mut owner, Vec::new(), vec![row("same", "owner")]).await.expect("append");
    assert_eq!(get(&store, "same").await, None);
    put(&store, owner.epoch, row("same", "hooks")).await;
    assert_eq!((state(&store, "same").await, get(&store, "same").await), (Some("owner".into()), Some("hooks".into())));
    put(&store, owner.epoch, no_row("same")).await;
    assert_eq!((state(&store, "same").await, get(&store, "same").await), (Some("owner".into()), None));
}

async fn scans_are_ordered_and_paged(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    // Written in the wrong order, with neighbours that must not show up.
    let mut rows: Vec<_> = (0..25).rev().map(|n| row(&format!("p/{n:02}"), &n.to_string())).collect();
    rows.extend([row("p", "before"), row("p0", "after"), row("o/1", "other")]);
    store.append(&mut owner, Vec::new(), rows.clone()).await.expect("append");
    store.put(LOG, owner.epoch, rows).await.expect("put");
    let expected: Vec<String> = (0..25).map(|n| format!("p/{n:02}")).collect();
    for hooks in [false, true] {
        let mut keys: Vec<Bytes> = Vec::new();
        loop {
            let after = keys.last().map(|key| &key[..]);
            let page = match hooks {
                true => store.scan(LOG, b"p/", after, 7).await,
                false => store.state_scan(LOG, b"p/", after, 7).await,
            };
            let page = page.expect("scan");
            assert!(page.len() <= 7, "a page has a limit");
            if page.is_empty() {
                break;
            }
            keys.extend(page.into_iter().map(|(key, _)| key));
        }
        assert_eq!(keys, expected, "every row of the prefix once, in order");
    }
    assert_eq!(store.scan(LOG, b"", None, 100).await.expect("scan").len(), 28, "the empty prefix is everything");
    assert_eq!(store.scan(LOG, b"p/", Some(b"a"), 1).await.expect("scan")[0].1, "0", "a start below the prefix");
    assert!(store.scan(LOG, b"p/", Some(b"q"), 1).await.expect("scan").is_empty(), "a start above the prefix");
    assert!(store.scan(LOG, &[0xff, 0xff], None, 1).await.expect("scan").is_empty(), "a prefix with no successor");
}

async fn the_last_write_of_a_key_wins(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let rows = vec![row("k", "1"), no_row("k"), row("k", "2"), row("gone", "1"), no_row("gone")];
    store.append(&mut owner, vec![record("a", 0)], rows.clone()).await.expect("append");
    assert_eq!((state(&store, "k").await, state(&store, "gone").await), (Some("2".into()), None));
    store.put(LOG, owner.epoch, rows).await.expect("put");
    assert_eq!((get(&store, "k").await, get(&store, "gone").await), (Some("2".into()), None));
}

async fn puts_keep_their_order(factory: &dyn Factory) {
    let store = factory.create().await;
    let owner = claim(&store, LOG).await;
    for number in 0..50 {
        put(&store, owner.epoch, row("cursor", &number.to_string())).await;
    }
    assert_eq!(get(&store, "cursor").await, Some("49".into()));
}

/// A machine that was taken for dead wakes up and writes its cursor: it would go back over its successor's.
async fn a_put_of_an_epoch_that_is_over_is_fenced(factory: &dyn Factory) {
    let store = factory.create().await;
    let old = claim(&store, LOG).await;
    put(&store, old.epoch, row("cursor", "1")).await;
    let new = store.claim(LOG, NodeId(8), Expect::Anyone).await.expect("claim");
    put(&store, new.epoch, row("cursor", "2")).await;
    let late = store.put(LOG, old.epoch, vec![row("cursor", "1"), row("other", "1")]).await;
    assert_eq!(fenced(late), (new.epoch, old.epoch));
    let early = store.put(LOG, Epoch(new.epoch.0 + 1), vec![row("cursor", "3")]).await;
    assert_eq!(fenced(early), (new.epoch, Epoch(new.epoch.0 + 1)), "nor is an epoch that nobody has begun");
    assert_eq!(
        (get(&store, "cursor").await, get(&store, "other").await),
        (Some("2".into()), None),
        "nothing was written"
    );

    let store = factory.reopen(store).await;
    assert_eq!(get(&store, "cursor").await, Some("2".into()));
    put(&store, new.epoch, row("cursor", "3")).await;
    let newest = claim(&store, LOG).await;
    assert_eq!(fenced(store.put(LOG, new.epoch, vec![no_row("cursor")]).await), (newest.epoch, new.epoch));
    assert_eq!(get(&store, "cursor").await, Some("3".into()));
}

/// Puts and claims of one log race: whoever is told that a row was written is believed, and no older epoch writes after that.
async fn puts_that_race_a_claim_are_written_before_it_or_not_at_all(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    for round in 0..20 {
        let epoch = owner.epoch;
        let puts: Vec<_> = (0..4)
            .map(|number| {
                let (store, row) = (store.clone(), row("cursor", &format!("{round} {number}")));
                tokio::spawn(async move { store.put(LOG, epoch, vec![row]).await })
            })
            .collect();
        owner = claim(&store, LOG).await;
        put(&store, owner.epoch, row("cursor", "the successor's")).await;
        for outcome in puts {
            match outcome.await.expect("put") {
                Ok(()) => {}
                Err(AppendError::Fenced { current, ours, .. }) => assert_eq!((current, ours), (owner.epoch, epoch)),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(get(&store, "cursor").await, Some("the successor's".into()), "round {round}");
    }
}

/// What the owner keeps beside its records follows from them: a start folds what is missing.
async fn after_a_crash_rows_of_the_owner_are_never_newer_than_its_records(factory: &dyn Factory) {
    let mut store = factory.create().await;
    for life in 0..4_u64 {
        let mut owner = claim(&store, LOG).await;
        for number in 0..5 {
            let top = owner.next.0 + 1;
            let rows = vec![row("top", &top.to_string()), row("twin", &top.to_string())];
            store.append(&mut owner, records("a", number..number + 2), rows).await.expect("append");
        }
        put(&store, owner.epoch, row("cursor", &life.to_string())).await;
        let end = owner.next;
        store = factory.crash(store).await;

        assert_eq!(store.bounds(LOG).await.expect("bounds").next, end, "records that were answered are there");
        assert_eq!(get(&store, "cursor").await, Some(life.to_string()), "and so is what webhooks put");
        let (top, twin) = (state(&store, "top").await, state(&store, "twin").await);
        assert_eq!(top, twin, "rows of one append come back together");
        let covers = top.map_or(Lsn(0), |top| Lsn(top.parse().expect("a position")));
        assert!(covers < end, "{covers} is not in the log");
        let mut missing = store.read(LOG, covers.next()).expect("read");
        super::story::read_through(&mut missing, covers.next(), Lsn(end.0 - 1)).await;
    }
}

async fn the_largest_rows_fit_and_larger_ones_leave_no_trace(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    let sized = |key: &str, bytes: usize| row(key, &"x".repeat(bytes));
    let rest = APPEND_BYTES_MAX - ROW_VALUE_BYTES_MAX - 2 * (1 + ROW_FRAME_BYTES);
    let largest = || vec![sized("a", ROW_VALUE_BYTES_MAX), sized("b", rest)];
    store.append(&mut owner, Vec::new(), largest()).await.expect("the largest append of rows");
    store.put(LOG, owner.epoch, largest()).await.expect("the largest put");
    for too_large in [vec![sized("c", ROW_VALUE_BYTES_MAX + 1)], largest().into_iter().chain([row("c", "")]).collect()]
    {
        let appended = store.append(&mut owner, Vec::new(), too_large.clone()).await;
        assert!(matches!(appended, Err(AppendError::Refused(_))), "{appended:?}");
        let put = store.put(LOG, owner.epoch, too_large).await;
        assert!(matches!(put, Err(AppendError::Refused(_))), "{put:?}");
    }
    assert_eq!((state(&store, "c").await, get(&store, "c").await), (None, None));
    let store = factory.reopen(store).await;
    assert_eq!(get(&store, "a").await.map(|value| value.len()), Some(ROW_VALUE_BYTES_MAX));
    append(&store, &mut claim(&store, LOG).await, records("a", 0..1)).await;
}
