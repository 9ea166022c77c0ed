//! What must hold at any moment, looked at again and again.

use roomhook_hooks::{
    Status,
    engine::{Mode, Totals},
};

use crate::{auditor, people::Doors, world::World};

/// Virtual milliseconds between two looks.
pub(crate) const TICK_MS: u64 = 100;
/// Each shard may have something of its main path and of one lane in memory, however small the limits.
const LEAST_PER_SHARD: usize = 2;

/// One look. `deep` compares with the whole ledger.
pub(crate) fn check(world: &World, doors: &Doors, deep: bool) {
    auditor::note_aside(world);
    for status in doors.handle.status() {
        owed_paid(world, &status);
        bounded(world, &status);
        count(world, &status);
        if deep {
            not_too_much(world, &status);
        }
    }
}

/// `owed-paid`: the numbers add up without help: what is known to be pending fits into what the sum leaves.
pub(crate) fn owed_paid(world: &World, status: &Status) {
    let (summary, totals) = (&status.summary, &status.summary.totals);
    let settled = totals.delivered + totals.parked + totals.expired;
    let holds = settled <= totals.acknowledged
        && totals.skipped <= totals.expired
        && (summary.open + summary.set_aside) as u64 <= totals.acknowledged - settled;
    world.check("owed-paid", holds, || format!("{}: {summary:?}", status.name.id.0));
}

fn bounded(world: &World, status: &Status) {
    let (summary, limits) = (&status.summary, &world.scenario.hooks.limits);
    let least = usize::from(world.scenario.shards) * LEAST_PER_SHARD;
    let holds = summary.open <= limits.open_max.max(least)
        && summary.span <= limits.span_max.max(least)
        && summary.set_aside <= limits.aside_max;
    world.check("bounded", holds, || format!("{}: {summary:?}, limits {limits:?}", status.name.id.0));
}

/// `owed-paid`: nothing is counted that nobody is owed.
fn not_too_much(world: &World, status: &Status) {
    // A supervisor that waits for the store may still run a namesake that is deleted.
    let Some(endpoint) = auditor::current(world, &status.name).filter(|_| !world.is_disturbed()) else { return };
    let ledger = world.ledger.lock();
    let Some(known) = ledger.endpoints.get(endpoint) else { return };
    let (may, counted) = (ledger.owed_to(known).count() as u64, status.summary.totals.acknowledged);
    world.check("owed-paid", counted <= may, || {
        format!("{}: {counted} acknowledged, at most {may} can be", status.name.id.0)
    });
}

/// Counts what became of an endpoint since the last look.
fn count(world: &World, status: &Status) {
    let summary = &status.summary;
    let now = (summary.mode, summary.totals);
    let before = world.auditor.lock().modes.insert(status.name.clone(), now);
    let (mode, totals) = before.unwrap_or((Mode::Running, Totals::default()));
    let pauses = |mode: Mode| matches!(mode, Mode::Paused { .. });
    let gone = |totals: Totals| totals.expired.saturating_sub(totals.skipped);
    let counts = [
        ("hooks: an endpoint is paused", u64::from(pauses(now.0) && !pauses(mode))),
        ("hooks: an endpoint catches up", u64::from(now.0 == Mode::CatchingUp && mode != Mode::CatchingUp)),
        ("hooks: a window is full", u64::from(summary.open >= world.scenario.hooks.limits.open_max)),
        ("hooks: a room is detached", u64::from(summary.detached_rooms > 0)),
        ("hooks: a delivery is parked", now.1.parked.saturating_sub(totals.parked)),
        ("hooks: a delivery is skipped by policy", now.1.skipped.saturating_sub(totals.skipped)),
        ("hooks: a delivery expires by retention", gone(now.1).saturating_sub(gone(totals))),
    ];
    counts.into_iter().for_each(|(what, times)| world.count_many(what, times));
}
