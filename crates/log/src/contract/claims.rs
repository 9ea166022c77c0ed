//! One writer at a time.

use super::{
    Factory, LOG,
    story::{append, claim, read_all, record, records, row, texts},
};
use crate::{
    error::AppendError,
    types::{Lsn, NodeId},
};

pub(super) async fn all(factory: &dyn Factory) {
    a_second_claim_fences_the_first(factory).await;
    racing_claims_have_one_winner(factory).await;
    a_claim_sees_all_that_was_appended(factory).await;
}

async fn a_second_claim_fences_the_first(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut old = claim(&store, LOG).await;
    append(&store, &mut old, records("old", 0..2)).await;
    let mut new = store.claim(LOG, NodeId(8)).await.expect("claim");
    assert!(new.epoch > old.epoch, "every claim raises the epoch");

    let outcome = store.append(&mut old, vec![record("old", 2)], vec![row("r", "old")]).await;
    match outcome {
        Err(AppendError::Fenced { log, current, ours }) => {
            assert_eq!((log, current, ours), (LOG, new.epoch, old.epoch));
        }
        other => panic!("the old writer is fenced, not {other:?}"),
    }
    assert!(matches!(store.append(&mut old, Vec::new(), vec![row("r", "old")]).await, Err(AppendError::Fenced { .. })));
    assert!(matches!(store.trim(&old, Lsn(2)).await, Err(AppendError::Fenced { .. })));
    assert_eq!(store.state(LOG, b"r").await.expect("state"), None, "a fenced append writes no row");

    append(&store, &mut new, records("new", 0..1)).await;
    let stored = read_all(&store, LOG).await;
    let epochs: Vec<_> = stored.iter().map(|record| record.epoch).collect();
    assert!(epochs.is_sorted(), "after a claim no record of an older epoch follows: {epochs:?}");
    assert_eq!(texts(&stored[1..3]), ["old 0", "old 1"]);
    assert_eq!(texts(&stored[4..]), ["new 0"]);
}

async fn racing_claims_have_one_winner(factory: &dyn Factory) {
    let store = factory.create().await;
    let claims = (0..4).map(|node| {
        let store = store.clone();
        tokio::spawn(async move { store.claim(LOG, NodeId(node)).await.expect("claim") })
    });
    let mut owners = Vec::new();
    for owner in claims.collect::<Vec<_>>() {
        owners.push(owner.await.expect("claim"));
    }
    owners.sort_by_key(|owner| owner.epoch);
    assert!(owners.windows(2).all(|pair| pair[0].epoch < pair[1].epoch), "no two claims share an epoch");
    let mut winner = owners.pop().expect("four claims");
    for mut loser in owners {
        let outcome = store.append(&mut loser, vec![record("loser", 0)], Vec::new()).await;
        assert!(matches!(outcome, Err(AppendError::Fenced { .. })), "only the newest claim writes");
    }
    append(&store, &mut winner, records("winner", 0..1)).await;
    assert_eq!(texts(&read_all(&store, LOG).await[4..]), ["winner 0"]);
}

async fn a_claim_sees_all_that_was_appended(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut old = claim(&store, LOG).await;
    let last = append(&store, &mut old, records("a", 0..9)).await;
    let new = claim(&store, LOG).await;
    assert_eq!(new.next, last.next().next(), "the claim's own record follows the last one");
    assert_eq!(store.bounds(LOG).await.expect("bounds").next, new.next);
}
