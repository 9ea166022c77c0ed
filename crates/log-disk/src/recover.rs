//! Opens one log and finds out whether everything that was promised is there.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fjall::{Database, Keyspace, PersistMode};
use roomhook_log::{Epoch, LogId, Lsn};

use crate::{
    batch::{EPOCH_KEY, FLOOR_KEY, Position},
    codec::{self, ChunkError, ChunkHead, check_chunk, decode_chunk, parse_event_key},
    committer::{Active, EMPTY},
    config::DiskConfig,
    durable,
    engine::{Engine, delete_segment, open_database, rows_keyspace, segment_exists, segment_keyspaces},
    error::OpenError,
    mark::{Mark, Marked, boot_number},
    segments::{Sealed, Segment, SegmentRow, Segments},
};

/// An opened log, ready for its committer.
pub(crate) struct Recovered {
    pub(crate) engine: Engine,
    pub(crate) position: Position,
    pub(crate) active: Active,
    pub(crate) sealed: VecDeque<Sealed>,
    pub(crate) mark: Mark,
    pub(crate) boot: u64,
}

/// The folder of a log.
pub(crate) fn log_folder(store: &Path, log: LogId) -> PathBuf {
    if log == LogId::DIRECTORY { store.join("log-directory") } else { store.join(format!("log-{:03}", log.0)) }
}

/// Where fjall has the folder of each keyspace of a log.
pub(crate) fn keyspaces_folder(store: &Path, log: LogId) -> PathBuf {
    log_folder(store, log).join("db/keyspaces")
}

pub(crate) fn mark_path(store: &Path, log: LogId) -> PathBuf {
    log_folder(store, log).join("mark")
}

/// Whose word is taken for what files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Believe {
    /// The disk's, which is asked anew for everything.
    Disk,
    /// The page cache's: enough for a copy that nothing is appended to.
    Cache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Make,
    Open(Believe),
}

/// Opens or makes a log.
pub(crate) fn recover(log: LogId, how: How, config: &DiskConfig) -> Result<Recovered, OpenError> {
    let is_new = how == How::Make;
    let folder = log_folder(&config.path, log);
    if !is_new && !folder.is_dir() {
        return Err(OpenError::LogMissing { log, path: folder });
    }
    match how {
        How::Make => durable::create_folder(&folder, 0o777).map_err(OpenError::io("creating", &folder))?,
        How::Open(Believe::Disk) => durable::settle(&folder).map_err(OpenError::unsynced)?,
        How::Open(Believe::Cache) => {}
    }
    let (mark, marked) = Mark::open(&folder.join("mark")).map_err(OpenError::io("opening the mark in", &folder))?;
    let boot = boot_number();

    let db = open_database(&folder.join("db"), config).map_err(OpenError::database(log))?;
    let engine = open_engine(log, db, is_new, config)?;
    let rows = segment_rows(&engine)?;
    let sealed: VecDeque<Sealed> = rows.iter().filter_map(|(_, row)| row.sealed).collect();
    let end = verify_end(&engine, &sealed, config.verify_bytes)?;
    check_mark(log, marked, boot, end.next, mark_path(&config.path, log))?;
    let active = active(&engine, end)?;
    let position = position(&engine, end, sealed.back(), active)?;
    Ok(Recovered { engine, position, active, sealed, mark, boot })
}

fn open_engine(log: LogId, db: Database, is_new: bool, config: &DiskConfig) -> Result<Engine, OpenError> {
    let failed = OpenError::database(log);
    // fjall would make what is missing anew, and empty.
    if let Some(name) = ["meta", "state", "rows"].into_iter().find(|name| !is_new && !db.keyspace_exists(name)) {
        return Err(damaged(log, Lsn(0), format!("its {name} are missing")));
    }
    let meta = rows_keyspace(&db, "meta", config).map_err(&failed)?;
    let owner_rows = rows_keyspace(&db, "state", config).map_err(&failed)?;
    let rows = rows_keyspace(&db, "rows", config).map_err(&failed)?;
    let mut engine = Engine { log, db, meta, owner_rows, rows, segments: Segments::new(Vec::new()) };
    let mut stored = segment_rows(&engine)?;
    if stored.is_empty() {
        stored.push(first_segment(&engine, config)?);
    }
    check_rows(log, &stored)?;
    sweep(&engine, &stored, config)?;
    let mut segments = Vec::with_capacity(stored.len());
    for (id, SegmentRow { first, .. }) in stored {
        if !segment_exists(&engine.db, id) {
            return Err(OpenError::SegmentMissing { log, segment: id, first });
        }
        let (events, index) = segment_keyspaces(&engine.db, id, config).map_err(&failed)?;
        segments.push(Segment { id, first, events, index });
    }
    engine.segments = Segments::new(segments);
    Ok(engine)
}

/// The rows about segments, oldest first.
fn segment_rows(engine: &Engine) -> Result<Vec<(u32, SegmentRow)>, OpenError> {
    let mut rows = Vec::new();
    for entry in engine.meta.prefix(SegmentRow::PREFIX) {
        let (key, value) = entry.into_inner().map_err(OpenError::database(engine.log))?;
        match (SegmentRow::parse_key(&key), SegmentRow::decode(&value)) {
            (Some(id), Some(row)) => rows.push((id, row)),
            _ => return Err(damaged(engine.log, Lsn(0), "the row of a segment cannot be read".to_owned())),
        }
    }
    Ok(rows)
}

/// Creates segment 1 of a new log.
fn first_segment(engine: &Engine, config: &DiskConfig) -> Result<(u32, SegmentRow), OpenError> {
    let failed = OpenError::database(engine.log);
    let (events, _) = segment_keyspaces(&engine.db, 1, config).map_err(&failed)?;
    if events.first_key_value().is_some() {
        return Err(damaged(engine.log, Lsn::FIRST, "there are records, but no row of a segment".to_owned()));
    }
    let row = SegmentRow { first: Lsn::FIRST, sealed: None };
    let mut batch = engine.db.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(&engine.meta, SegmentRow::key(1), row.encode());
    batch.commit().map_err(&failed)?;
    Ok((1, row))
}

/// Each segment starts where the one before ends, and only the last is still open.
fn check_rows(log: LogId, rows: &[(u32, SegmentRow)]) -> Result<(), OpenError> {
    for pair in rows.windows(2) {
        let [(id, row), (next_id, next)] = pair else { continue };
        let Some(sealed) = row.sealed else {
            return Err(damaged(log, row.first, format!("segment {id} was not closed")));
        };
        if *next_id != id + 1 || sealed.next != next.first {
            return Err(OpenError::Gap { log, expected_from: sealed.next, found: next.first });
        }
    }
    match rows.last() {
        Some((id, SegmentRow { first, sealed: Some(_) })) => {
            Err(OpenError::SegmentMissing { log, segment: id + 1, first: *first })
        }
        _ => Ok(()),
    }
}

/// Deletes segments that a crash left half made or half dropped: they have no row.
fn sweep(engine: &Engine, rows: &[(u32, SegmentRow)], config: &DiskConfig) -> Result<(), OpenError> {
    let known = |id: u32| rows.iter().any(|(known, _)| *known == id);
    let names = engine.db.list_keyspace_names();
    let ids = names.iter().filter_map(|name| name.strip_prefix("ev").or_else(|| name.strip_prefix("ix"))?.parse().ok());
    let mut strays: Vec<u32> = ids.filter(|id| !known(*id)).collect();
    strays.sort_unstable();
    strays.dedup();
    for id in strays {
        tracing::info!(log = %engine.log, segment = id, "removing a segment that a crash left behind");
        let failed = OpenError::database(engine.log);
        let (events, index) = segment_keyspaces(&engine.db, id, config).map_err(&failed)?;
        delete_segment(&engine.db, Segment { id, first: Lsn(0), events, index }).map_err(&failed)?;
    }
    Ok(())
}

/// What the end of a log says about itself.
#[derive(Clone, Copy, Debug)]
struct End {
    next: Lsn,
    /// The newest chunk; `None` in an empty log.
    last: Option<ChunkHead>,
}

/// Walks back from the newest record over `bytes` of chunks, and on to the start of the segment it got into only if
/// that is within them: each chunk must be whole and end where the next one starts.
fn verify_end(engine: &Engine, sealed: &VecDeque<Sealed>, bytes: u64) -> Result<End, OpenError> {
    let segments = engine.segments.all();
    let mut left = bytes;
    let mut end: Option<End> = None;
    // Position that the segment looked at must end at; not known for the active one.
    let mut upper: Option<Lsn> = None;
    for segment in segments.iter().rev() {
        let verified = verify_segment(engine.log, segment, upper, &mut left)?;
        let end = *end.get_or_insert(verified);
        if end.last.is_none() && !sealed.is_empty() {
            return Err(OpenError::SegmentMissing { log: engine.log, segment: segment.id, first: segment.first });
        }
        if left == 0 {
            break;
        }
        upper = Some(segment.first);
    }
    Ok(end.unwrap_or(End { next: Lsn::FIRST, last: None }))
}

/// Checks a segment from its end on. `left` is what may still be read; at 0 the walk ends.
fn verify_segment(log: LogId, segment: &Segment, upper: Option<Lsn>, left: &mut u64) -> Result<End, OpenError> {
    let mut end = End { next: segment.first, last: None };
    let mut expected_end = upper;
    for entry in segment.events.iter().rev() {
        let (key, stored) = entry.into_inner().map_err(OpenError::database(log))?;
        let first = parse_event_key(&key).ok_or_else(|| damaged(log, segment.first, "a key is damaged".to_owned()))?;
        let head = check_chunk(&stored, first).map_err(|error| chunk_error(log, first, &error))?;
        if let Some(expected) = expected_end
            && head.next() != expected
        {
            return Err(OpenError::Gap { log, expected_from: head.next(), found: expected });
        }
        if end.last.is_none() {
            end = End { next: head.next(), last: Some(head) };
        }
        expected_end = Some(first);
        *left = left.saturating_sub(stored.len() as u64);
        if *left == 0 {
            return Ok(end);
        }
    }
    match expected_end {
        Some(start) if start != segment.first => {
            Err(OpenError::Gap { log, expected_from: segment.first, found: start })
        }
        _ => Ok(end),
    }
}

/// Acknowledged records must be there. Only a log that was not synced may have lost its end with the machine.
fn check_mark(log: LogId, marked: Option<Marked>, boot: u64, found: Lsn, mark: PathBuf) -> Result<(), OpenError> {
    let Some(marked) = marked.filter(|marked| marked.bounds.next > found) else { return Ok(()) };
    let acknowledged = Lsn(marked.bounds.next.0 - 1);
    let found = Lsn(found.0 - 1);
    if marked.synced || marked.boot == boot {
        return Err(OpenError::EndLost { log, acknowledged, found, mark });
    }
    tracing::error!(%log, %acknowledged, %found, "the machine stopped and records that were not synced are lost");
    Ok(())
}

fn active(engine: &Engine, end: End) -> Result<Active, OpenError> {
    let Some(segment) = engine.segments.active() else { return Ok(Active::default()) };
    if end.last.is_none() {
        return Ok(Active::default());
    }
    let entry = segment.events.first_key_value().map(fjall::Guard::into_inner);
    let oldest = entry.transpose().map_err(OpenError::database(engine.log))?;
    let times = oldest.map(|(_, stored)| times(engine.log, segment.first, stored.into())).transpose()?;
    Ok(Active { bytes: segment.events.disk_space(), oldest_at_ms: times })
}

fn times(log: LogId, first: Lsn, stored: Bytes) -> Result<u64, OpenError> {
    let records = decode_chunk(&stored, first).map_err(|error| chunk_error(log, first, &error))?;
    Ok(records.iter().map(|record| record.at_ms).max().unwrap_or_default())
}

fn position(engine: &Engine, end: End, sealed: Option<&Sealed>, active: Active) -> Result<Position, OpenError> {
    let (log, failed) = (engine.log, OpenError::database(engine.log));
    let epoch = Epoch(number(&engine.meta, EPOCH_KEY).map_err(&failed)?.unwrap_or_default());
    let floor = Lsn(number(&engine.meta, FLOOR_KEY).map_err(&failed)?.unwrap_or_default());
    let Some(last) = end.last else { return Ok(EMPTY) };
    if last.epoch > epoch {
        return Err(damaged(log, last.first, format!("it is of epoch {}, the newest claim is {epoch}", last.epoch)));
    }
    let newest = newest_time(engine, last.first)?;
    let newest_at_ms = newest.max(sealed.map_or(0, |sealed| sealed.newest_at_ms)).max(active.oldest_at_ms.unwrap_or(0));
    Ok(Position { epoch, next: end.next, floor: floor.min(end.next), newest_at_ms })
}

fn newest_time(engine: &Engine, first: Lsn) -> Result<u64, OpenError> {
    let Some(segment) = engine.segments.active() else { return Ok(0) };
    let stored = segment.events.get(codec::event_key(first)).map_err(OpenError::database(engine.log))?;
    stored.map_or(Ok(0), |stored| times(engine.log, first, stored.into()))
}

/// The first eight bytes of a row.
fn number(meta: &Keyspace, key: &[u8]) -> fjall::Result<Option<u64>> {
    let stored = meta.get(key)?;
    Ok(stored.and_then(|stored| stored.first_chunk::<8>().copied()).map(u64::from_le_bytes))
}

fn damaged(log: LogId, at: Lsn, reason: String) -> OpenError {
    OpenError::Damaged { log, at, reason }
}

fn chunk_error(log: LogId, at: Lsn, error: &ChunkError) -> OpenError {
    match error {
        ChunkError::Version(found) => OpenError::RecordVersion { log, found: *found, known: codec::VERSION },
        other => damaged(log, at, other.to_string()),
    }
}
