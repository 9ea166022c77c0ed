//! The last attempts of parked deliveries, kept for as long as they are parked: whoever looks at one after a restart finds out
//! why it is. Everything else that was tried is remembered in memory only (`trail`).

use std::collections::BTreeMap;

use roomhook_log::{LogId, Row};

use crate::{
    attempt_row::{AttemptRow, TrailRow},
    engine::{Checkpoint, DeliveryId, EventPos},
    rows::{ExceptionRow, Names},
    shared::Shared,
};

/// Attempts kept of one parked delivery, the last ones.
const KEPT_MAX: usize = 3;
/// Rows per call.
const PUT_ROWS: usize = 256;

/// Brings the trails after a checkpoint that was written: those of what it parked, none of what it settled. A trail that cannot
/// be written is missed by nobody but whoever looks for it after a restart, so it does not hold up anything.
pub(crate) async fn follow(shared: &Shared, checkpoint: &Checkpoint) {
    let rows = rows_of(shared, checkpoint);
    for rows in rows.chunks(PUT_ROWS) {
        if let Err(error) = shared.world.rows.put(LogId(checkpoint.shard), rows.to_vec()).await {
            return tracing::warn!(shard = checkpoint.shard, %error, "cannot keep the attempts of parked deliveries");
        }
    }
}

fn rows_of(shared: &Shared, checkpoint: &Checkpoint) -> Vec<Row> {
    let settings = shared.settings.load();
    let own = &settings.endpoint;
    let names = Names::new(own.app, &own.id, own.generation);
    let (mut parked, mut rows) = (BTreeMap::new(), Vec::new());
    for row in &checkpoint.rows {
        let Some(pos) = names.exception_at(&row.key) else { continue };
        match &row.value {
            None => rows.push(Row { key: names.trail(pos), value: None }),
            Some(value) if is_parked(value) => {
                parked.insert(DeliveryId { shard: checkpoint.shard, pos }, Vec::new());
            }
            Some(_) => {}
        }
    }
    let trails = made_of(shared, parked);
    rows.extend(trails.map(|(pos, trail)| Row { key: names.trail(pos), value: Some(trail.to_bytes()) }));
    rows
}

fn is_parked(value: &[u8]) -> bool {
    ExceptionRow::from_bytes(value).is_ok_and(|row| row.parked)
}

/// What is remembered of the attempts at these deliveries, oldest first.
fn made_of(
    shared: &Shared,
    mut wanted: BTreeMap<DeliveryId, Vec<AttemptRow>>,
) -> impl Iterator<Item = (EventPos, TrailRow)> {
    if !wanted.is_empty() {
        let core = shared.core();
        for made in core.trail.failures() {
            if let Some(kept) = wanted.get_mut(&made.id).filter(|kept| kept.len() < KEPT_MAX) {
                kept.push(AttemptRow::from(made));
            }
        }
    }
    let is_known = |(_, kept): &(DeliveryId, Vec<AttemptRow>)| !kept.is_empty();
    wanted.into_iter().filter(is_known).map(|(id, mut attempts)| {
        attempts.reverse();
        (id.pos, TrailRow { attempts })
    })
}
