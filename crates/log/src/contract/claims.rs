//! One writer at a time.

use super::{
    Factory, LOG,
    story::{append, claim, fenced, read_all, record, records, row, soon, texts},
};
use crate::{
    error::AppendError,
    types::{Epoch, Expect, Key, LogId, Lsn, NodeId, Record},
};

pub(super) async fn all(factory: &dyn Factory) {
    a_second_claim_fences_the_first(factory).await;
    racing_claims_have_one_winner(factory).await;
    a_claim_sees_all_that_was_appended(factory).await;
    a_claim_says_whose_it_is(factory).await;
    a_claim_that_expects_its_own_epoch_comes_back(factory).await;
    a_claim_that_expects_its_own_epoch_never_steals(factory).await;
    of_claims_that_expect_one_epoch_one_holds(factory).await;
}

async fn a_second_claim_fences_the_first(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut old = claim(&store, LOG).await;
    append(&store, &mut old, records("old", 0..2)).await;
    let mut new = store.claim(LOG, NodeId(8), Expect::Anyone).await.expect("claim");
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
        tokio::spawn(async move { store.claim(LOG, NodeId(node), Expect::Anyone).await.expect("claim") })
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

/// Whoever does not know whether its claim holds asks the log.
async fn a_claim_says_whose_it_is(factory: &dyn Factory) {
    let store = factory.create().await;
    for node in [3, u64::MAX, 0] {
        let mut owner = store.claim(LOG, NodeId(node), Expect::Anyone).await.expect("claim");
        append(&store, &mut owner, records("a", 0..30)).await;
        let newest = store.last(LOG, &Key::CLAIMS, Lsn(u64::MAX), 1).await.expect("last");
        let told = newest.first().map(|record| (record.epoch, record.claimant()));
        assert_eq!(told, Some((owner.epoch, Some(NodeId(node)))));
    }
    let store = factory.reopen(store).await;
    let all = store.last(LOG, &Key::CLAIMS, Lsn(u64::MAX), 10).await.expect("last");
    assert_eq!(all.iter().map(Record::claimant).collect::<Vec<_>>(), [3, u64::MAX, 0].map(|node| Some(NodeId(node))));
    let others = read_all(&store, LOG).await.into_iter().filter(|record| record.claimant().is_none()).count();
    assert_eq!(others, 90, "no other record says that it is one");
}

/// What an owner does that is in doubt, as long as nobody else came.
async fn a_claim_that_expects_its_own_epoch_comes_back(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut first = store.claim(LOG, NodeId(7), Expect::Epoch(Epoch(0))).await.expect("nobody has claimed it before");
    append(&store, &mut first, records("a", 0..3)).await;
    let mut again = store.claim(LOG, NodeId(7), Expect::Epoch(first.epoch)).await.expect("nobody has claimed it since");
    assert!(again.epoch > first.epoch);
    append(&store, &mut again, records("b", 0..1)).await;
    let store = factory.reopen(store).await;
    let mut later = store.claim(LOG, NodeId(7), Expect::Epoch(again.epoch)).await.expect("a restart claims nothing");
    assert_eq!(append(&store, &mut later, records("c", 0..1)).await, Lsn(8));
    assert_eq!(texts(&read_all(&store, LOG).await[5..6]), ["b 0"]);
}

async fn a_claim_that_expects_its_own_epoch_never_steals(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut old = store.claim(LOG, NodeId(7), Expect::Anyone).await.expect("claim");
    append(&store, &mut old, records("old", 0..3)).await;
    let mut successor = store.claim(LOG, NodeId(8), Expect::Anyone).await.expect("claim");
    let before = read_all(&store, LOG).await;
    for expected in [old.epoch, Epoch(0), Epoch(successor.epoch.0 + 1)] {
        let outcome = store.claim(LOG, NodeId(7), Expect::Epoch(expected)).await;
        assert_eq!(fenced(outcome), (successor.epoch, expected));
    }
    assert_eq!(read_all(&store, LOG).await, before, "nothing was written");
    append(&store, &mut successor, records("new", 0..1)).await;
    let store = factory.reopen(store).await;
    assert_eq!(fenced(store.claim(LOG, NodeId(7), Expect::Epoch(old.epoch)).await), (successor.epoch, old.epoch));
    append(&store, &mut successor, records("new", 1..2)).await;
    assert_eq!(texts(&read_all(&store, LOG).await[5..]), ["new 0", "new 1"]);
    let other = store.claim(LogId(1), NodeId(7), Expect::Epoch(Epoch(0))).await;
    assert!(other.is_ok(), "epochs belong to one log: {other:?}");
}

/// As many come to the end of a reign at once as there are machines: no two of them get it.
async fn of_claims_that_expect_one_epoch_one_holds(factory: &dyn Factory) {
    let store = factory.create().await;
    let mut epoch = claim(&store, LOG).await.epoch;
    for round in 0..10 {
        let claims: Vec<_> = (0..4)
            .map(|node| {
                let store = store.clone();
                tokio::spawn(async move { store.claim(LOG, NodeId(node), Expect::Epoch(epoch)).await })
            })
            .collect();
        let mut owners = Vec::new();
        for outcome in claims {
            match soon("claim", outcome).await.expect("claim") {
                Ok(owner) => owners.push(owner),
                Err(error) => assert_eq!(fenced::<()>(Err(error)).1, epoch),
            }
        }
        let [owner] = &mut owners[..] else { panic!("{} of four hold in round {round}", owners.len()) };
        append(&store, owner, records("a", round..round + 1)).await;
        epoch = owner.epoch;
    }
    assert_eq!(read_all(&store, LOG).await.len(), 1 + 10 * 2);
}
