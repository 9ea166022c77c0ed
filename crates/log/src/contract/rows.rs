//! Rows: the owner's, written with records, and the webhooks', in a namespace of their own.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Factory, LOG,
    story::{claim, no_row, record, row},
};
use crate::{api::Log, types::LogId};

pub(super) async fn all(factory: &dyn Factory) {
    rows_change_with_the_records(factory).await;
    the_two_namespaces_are_apart(factory).await;
    scans_are_ordered_and_paged(factory).await;
    the_last_write_of_a_key_wins(factory).await;
    puts_keep_their_order(factory).await;
}

async fn state(store: &Arc<dyn Log>, key: &str) -> Option<String> {
    let value = store.state(LOG, key.as_bytes()).await.expect("state");
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

async fn get(store: &Arc<dyn Log>, key: &str) -> Option<String> {
    let value = store.get(LOG, key.as_bytes()).await.expect("get");
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
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
    store.put(LOG, vec![row("same", "hooks")]).await.expect("put");
    assert_eq!((state(&store, "same").await, get(&store, "same").await), (Some("owner".into()), Some("hooks".into())));
    store.put(LOG, vec![no_row("same")]).await.expect("put");
    assert_eq!((state(&store, "same").await, get(&store, "same").await), (Some("owner".into()), None));
}

async fn scans_are_ordered_and_paged(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    // Written in the wrong order, with neighbours that must not show up.
    let mut rows: Vec<_> = (0..25).rev().map(|n| row(&format!("p/{n:02}"), &n.to_string())).collect();
    rows.extend([row("p", "before"), row("p0", "after"), row("o/1", "other")]);
    store.append(&mut owner, Vec::new(), rows.clone()).await.expect("append");
    store.put(LOG, rows).await.expect("put");
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
    store.put(LOG, rows).await.expect("put");
    assert_eq!((get(&store, "k").await, get(&store, "gone").await), (Some("2".into()), None));
}

async fn puts_keep_their_order(factory: &dyn Factory) {
    let store = factory.create().await;
    for number in 0..50 {
        store.put(LOG, vec![row("cursor", &number.to_string())]).await.expect("put");
    }
    assert_eq!(get(&store, "cursor").await, Some("49".into()));
}
