//! What must be true in the end, when everything has been healed and all is paid.

use roomhook_hooks::{
    Status,
    engine::{DeliveryId, Mode},
};
use roomhook_room::{Event, RetryProfile, RoomKey, invariants};
use roomhook_shard::{Directory, Router};

use crate::{
    auditor::{self, Auditor},
    ledger::EndpointTruth,
    world::World,
};

/// `same-fold`: what the server believes of its rooms is what the whole log says. Rooms that cannot be asked are passed over.
pub(crate) async fn same_fold(world: &World, router: &Router, rooms: &[RoomKey]) {
    for room in rooms {
        let Ok(view) = router.view(room.clone()).await else { continue };
        let ledger = world.ledger.lock();
        let newer = |at| {
            ledger.rooms.get(room).and_then(|truth| truth.places.last()).is_some_and(|(_, place)| *place as u64 >= at)
        };
        if view.as_ref().is_some_and(|view| newer(view.at.0)) {
            // More became durable while the answer was on its way.
            continue;
        }
        let Some(truth) = ledger.rooms.get(room).map(|truth| &truth.room) else {
            world.check("same-fold", view.is_none(), || format!("{room}: exists without records"));
            continue;
        };
        let believed = view
            .as_ref()
            .map(|view| (Some(&view.info), Some(view.incarnation), Some(view.created_at), view.top, view.statistic));
        let told = truth
            .exists()
            .then(|| (truth.info(), truth.incarnation(), truth.created_at(), truth.top(), truth.statistic()));
        world
            .check("same-fold", believed == told, || format!("{room}: the server says {believed:?}, the log {told:?}"));
    }
}

/// `same-fold`, for the directory: the endpoints that the server knows are those of the log.
pub(crate) fn same_endpoints(world: &World, directory: &Directory) {
    let known = directory.endpoints().borrow().clone();
    let ledger = world.ledger.lock();
    let told = ledger.endpoints.iter().filter(|known| !known.deleted);
    let newest = || told.clone().filter_map(|known| known.versions.last()).map(|version| &version.endpoint);
    let same = newest().count() == known.len() && newest().all(|endpoint| known.contains(endpoint));
    world.check("same-fold", same, || {
        format!("the directory knows {} endpoints, the log {}", known.len(), newest().count())
    });
}

/// `dense`, `same-fold`: over the whole past of each room, with a snapshot taken anywhere in it.
pub(crate) fn histories(world: &World) {
    let ledger = world.ledger.lock();
    for (room, truth) in &ledger.rooms {
        let entries = truth.places.iter().filter_map(|(log, place)| ledger.at(*log, *place));
        let events: Vec<Event> = entries.flat_map(|entry| entry.events.iter().cloned()).collect();
        world.check("dense", invariants::all_dense(&events), || format!("{room}"));
        let (before, after) = events.split_at(world.act_dice.index(events.len() + 1));
        world.check("same-fold", invariants::same_fold(before, after), || format!("{room}: after {}", before.len()));
    }
}

/// Whether all that `status` must know of is counted and nothing is pending.
pub(crate) fn is_paid(world: &World, status: &Status) -> bool {
    let Some(endpoint) = auditor::current(world, &status.name) else { return false };
    let ledger = world.ledger.lock();
    let Some(known) = ledger.endpoints.get(endpoint) else { return false };
    let (summary, totals) = (&status.summary, &status.summary.totals);
    if totals.pending() > 0 || summary.in_flight > 0 {
        return false;
    }
    let auditor = world.auditor.lock();
    let must = ledger.owed_to(known).filter(|(_, entry, owes)| owes.must && !entry.trimmed);
    let (mut all, mut unpaid) = (0, 0);
    for (id, ..) in must {
        all += 1;
        unpaid += u64::from(!is_settled(&auditor, known, endpoint, id));
    }
    // What a reader has not read yet is in no number; what may be owed can hide it in the sum.
    unpaid == 0 && totals.acknowledged >= all
}

/// Whether this delivery reached its end, or whoever set up the endpoint or looked after it gave it up.
fn is_settled(auditor: &Auditor, known: &EndpointTruth, endpoint: usize, id: DeliveryId) -> bool {
    let acknowledged = auditor.deliveries.get(&(endpoint, id)).is_some_and(|seen| seen.acknowledged);
    acknowledged || skips(known) || auditor.skipped.contains(&(endpoint, id))
}

/// Whether this endpoint gave up deliveries by policy, or may have.
fn skips(known: &EndpointTruth) -> bool {
    known.versions.iter().any(|version| {
        let endpoint = &version.endpoint;
        endpoint.url.is_empty() || matches!(endpoint.retry, Some(RetryProfile::Tencent | RetryProfile::DurableSkip))
    })
}

/// `owed-paid`, by name and by number, for one endpoint.
pub(crate) fn owed_paid(world: &World, status: &Status) {
    let (name, totals) = (&status.name.id.0, status.summary.totals);
    let Some(endpoint) = auditor::current(world, &status.name) else {
        return world.violate("owed-paid", format!("{name} runs and is not in the log"));
    };
    let (ledger, auditor) = (world.ledger.lock(), world.auditor.lock());
    let Some(known) = ledger.endpoints.get(endpoint) else { return };
    let acknowledged = |id: DeliveryId| auditor.deliveries.get(&(endpoint, id)).is_some_and(|seen| seen.acknowledged);
    let skips = skips(known);
    let (mut must, mut may, mut paid, mut gone) = (0, 0, 0, 0);
    for (id, entry, owes) in ledger.owed_to(known) {
        // What retention drops before a reader has seen it is in no number but that of the records lost.
        (must, may) = (must + u64::from(owes.must && !entry.trimmed), may + 1);
        paid += u64::from(acknowledged(id));
        gone += u64::from(entry.trimmed);
        world.check("owed-paid", !owes.must || entry.trimmed || is_settled(&auditor, known, endpoint, id), || {
            let seen = auditor.deliveries.get(&(endpoint, id));
            format!(
                "endpoint {endpoint} ({name}) never got {}/{} (stamp {}): {seen:?}",
                id.shard, id.pos.lsn, entry.stamp
            )
        });
    }
    let skipped = auditor.skipped.iter().filter(|(of, _)| *of == endpoint).count() as u64;
    let adds_up = (must..=may).contains(&totals.acknowledged)
        && totals.acknowledged == totals.delivered + totals.parked + totals.expired
        && totals.delivered <= paid
        && (totals.parked == 0 || status.summary.mode == Mode::NoUrl)
        && (totals.skipped..=totals.skipped + gone).contains(&totals.expired)
        && (skips || totals.skipped <= skipped);
    world.check("owed-paid", adds_up, || {
        format!("{name}: {totals:?}, owed {must} to {may}, paid {paid}, skipped by hand {skipped}, dropped by retention {gone}")
    });
}
