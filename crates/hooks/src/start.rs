//! Where an endpoint goes on, or begins.

use roomhook_log::{LogId, LogRead, Lsn, ReadError, Row};
use roomhook_room::{Endpoint, Start};

use crate::{
    engine::ShardStart,
    own_rows::Unwritten,
    rows::{CursorRow, ExceptionRow, LanesRow, Names, RowError},
    shared::World,
};

/// Exceptions read per call.
const SCAN_ROWS: usize = 1_000;

/// Why an endpoint cannot start. All of these are worth trying again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] Unwritten),
    #[error("a row beside log {log} cannot be read: {error}")]
    Row { log: LogId, error: RowError },
}

/// Reads what the rows of a shard say. A new endpoint gets its cursor written at once: where it begins must not move
/// when the process dies before the first delivery.
pub(crate) async fn shard_start(
    world: &World,
    names: &Names,
    endpoint: &Endpoint,
    shard: u16,
) -> Result<ShardStart, StartError> {
    let log = LogId(shard);
    let row_error = |error| StartError::Row { log, error };
    if let Some(bytes) = world.rows.get(log, &names.cursor()).await? {
        let cursor = CursorRow::from_bytes(&bytes).map_err(row_error)?;
        let lanes = world.rows.get(log, &names.lanes()).await?;
        let lanes = lanes.map(|bytes| LanesRow::from_bytes(&bytes)).transpose().map_err(row_error)?;
        let mut set_aside = Vec::new();
        let mut after = None;
        loop {
            let rows = world.rows.scan(log, &names.exceptions(), after.as_deref(), SCAN_ROWS).await?;
            for (key, value) in &rows {
                let row = ExceptionRow::from_bytes(value).map_err(row_error)?;
                if let Some(pos) = Names::position(key).filter(|_| !row.parked) {
                    set_aside.push((pos, row));
                }
            }
            match rows.last() {
                Some((key, _)) if rows.len() == SCAN_ROWS => after = Some(key.clone()),
                _ => return Ok(ShardStart { cursor, set_aside, lanes: lanes.unwrap_or_default() }),
            }
        }
    }
    let next = first_owed(world.log.as_ref(), log, endpoint).await?;
    // What was switched on at which records is in the directory, as long as none is counted.
    let cursor = CursorRow { next: next.0, counted: next.0, begun: next.0, ..CursorRow::default() };
    world.rows.put(log, vec![Row { key: names.cursor(), value: Some(cursor.to_bytes()) }]).await?;
    Ok(ShardStart { cursor, ..ShardStart::default() })
}

async fn first_owed(log: &dyn LogRead, id: LogId, endpoint: &Endpoint) -> Result<Lsn, ReadError> {
    match endpoint.start {
        Start::Oldest => Ok(log.bounds(id).await?.first),
        Start::Time(at) => first_at(log, id, at).await,
        Start::Tail => match endpoint.begins.of(id.0) {
            Some(begins) => Ok(Lsn(begins)),
            // Created by a release that told times, and not begun since.
            None if endpoint.created_at.0 > 0 => first_at(log, id, endpoint.created_at.0).await,
            // There is nothing better than the end of the log as it is now.
            None => Ok(log.end(id).await?),
        },
    }
}

/// The first record decided at or after a time, by bisection: records are in order of time but for clock steps.
pub(crate) async fn first_at(log: &dyn LogRead, id: LogId, at: u64) -> Result<Lsn, ReadError> {
    let bounds = log.bounds(id).await?;
    let (mut low, mut high) = (bounds.first.0, bounds.next.0);
    while low < high {
        let middle = low + (high - low) / 2;
        match log.read(id, Lsn(middle))?.next_batch().await {
            Ok(batch) if batch.first().is_some_and(|record| record.at_ms >= at) => high = middle,
            Ok(_) => low = middle + 1,
            Err(ReadError::Trimmed { first, .. }) => low = first.0.max(middle + 1),
            Err(error) => return Err(error),
        }
    }
    Ok(Lsn(low))
}
