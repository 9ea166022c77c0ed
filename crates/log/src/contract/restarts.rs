//! What was durable before a restart is there after it.

use super::{
    Factory, LOG,
    story::{append, claim, key, put, read_all, record, records, row, texts},
};
use crate::{
    error::{AppendError, ReadError},
    types::{LogId, Lsn},
};

pub(super) async fn all(factory: &dyn Factory) {
    a_restart_keeps_everything(factory).await;
    a_restart_after_trimming_keeps_the_rest(factory).await;
    a_claim_from_before_is_fenced_by_the_next(factory).await;
}

async fn a_restart_keeps_everything(factory: &dyn Factory) {
    let mut store = factory.create().await;
    let mut expected = Vec::new();
    for life in 0..3 {
        let mut owner = claim(&store, LOG).await;
        for chunk in 0..10 {
            let numbers = life * 100 + chunk * 10..life * 100 + chunk * 10 + 10;
            let rows = vec![row("top", &numbers.end.to_string())];
            store.append(&mut owner, records("a", numbers), rows).await.expect("append");
        }
        put(&store, owner.epoch, row("cursor", &life.to_string())).await;
        let before = read_all(&store, LOG).await;
        let old_stream = store.read(LOG, owner.next).expect("read");

        store = factory.reopen(store).await;
        drop(old_stream);
        assert_eq!(read_all(&store, LOG).await, before, "every record is as it was");
        expected.push(owner.epoch);
        let top = store.state(LOG, b"top").await.expect("state");
        assert_eq!(top.as_deref(), Some((life * 100 + 100).to_string().as_bytes()));
        let cursor = store.get(LOG, b"cursor").await.expect("get");
        assert_eq!(cursor.as_deref(), Some(life.to_string().as_bytes()), "a crash of the process loses no put");
    }
    assert!(expected.is_sorted_by(|a, b| a < b), "epochs rise over restarts");
    assert_eq!(store.last(LOG, &key("a"), Lsn(u64::MAX), 300).await.expect("last").len(), 300);
    assert_eq!(store.bounds(LogId(1)).await.expect("bounds").next, Lsn(1), "an unused log stays empty");
}

async fn a_restart_after_trimming_keeps_the_rest(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut owner = claim(&store, LOG).await;
    for chunk in 0..50 {
        append(&store, &mut owner, records("a", chunk * 10..chunk * 10 + 10)).await;
    }
    factory.trim(&store, &owner, Lsn(300)).await;
    let (bounds, before) = (store.bounds(LOG).await.expect("bounds"), read_all(&store, LOG).await);
    let store = factory.reopen(store).await;
    assert_eq!(store.bounds(LOG).await.expect("bounds"), bounds);
    assert_eq!(read_all(&store, LOG).await, before);
    let mut stream = store.read(LOG, Lsn(1)).expect("read");
    assert!(matches!(stream.next_batch().await, Err(ReadError::Trimmed { first, .. }) if first == bounds.first));
    let mut owner = claim(&store, LOG).await;
    assert_eq!(append(&store, &mut owner, vec![record("a", 500)]).await, bounds.next.next());
}

async fn a_claim_from_before_is_fenced_by_the_next(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut old = claim(&store, LOG).await;
    append(&store, &mut old, records("a", 0..3)).await;
    let store = factory.reopen(store).await;
    let mut new = claim(&store, LOG).await;
    assert!(new.epoch > old.epoch);
    let outcome = store.append(&mut old, vec![record("late", 0)], Vec::new()).await;
    assert!(matches!(outcome, Err(AppendError::Fenced { .. })), "fenced, not {outcome:?}");
    append(&store, &mut new, records("b", 0..1)).await;
    assert_eq!(texts(&read_all(&store, LOG).await[5..]), ["b 0"]);
}
