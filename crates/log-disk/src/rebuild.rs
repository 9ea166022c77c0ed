//! Makes a mirror anew, from a dump and the journal.

use std::{collections::BTreeMap, fs, io, path::Path};

use roomhook_log::{
    Epoch, LogId, Lsn,
    entry::{Head, Kind, Position},
};
use roomhook_mirror::{Applied, Dump, Mirror, MirrorConfig, SegmentStart, Stand};

use crate::{
    dumps,
    error::OpenError,
    follow::{Followed, Progress, continues, end_lost, follow, index_of, is_there},
    journal::{JournalError, Origin, Segment, Walk},
    open::Folders,
    place::Standing,
};

/// A new mirror that is where the journal ends.
pub(crate) fn rebuild(
    folders: &Folders,
    segments: &[Segment],
    origin: Origin,
    config: MirrorConfig,
) -> Result<(Mirror, Followed), OpenError> {
    match fs::remove_dir_all(&folders.mirror) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("removing", &folders.mirror)(error));
        }
        _ => {}
    }
    let mirror = Mirror::open(&folders.mirror, config).map_err(OpenError::mirror(&folders.mirror))?;
    let whole = dumps::whole(&folders.dumps, origin.store).map_err(OpenError::io("listing", &folders.dumps))?;
    let dump = usable(whole, segments, origin)?;
    let from = match &dump {
        Some(dump) => {
            tracing::info!(segments = segments.len(), "making the mirror anew from a dump and the journal");
            index_before(&mirror, segments, &dump.stand, origin)?;
            dump.install(&mirror)?;
            dump.stand.clone()
        }
        None if segments.first().is_none_or(|first| first.start.position == 0) => {
            Standing::nothing(origin.boot).stand(&BTreeMap::new())
        }
        None => return Err(OpenError::NoDump { path: folders.dumps.clone() }),
    };
    let followed = follow(&mirror, segments, &from, origin)?;
    Ok((mirror, followed))
}

/// The newest dump that the journal reaches back to. One that is ahead of the journal proves that this lost its end, unless nothing
/// was synced and the machine has stopped since.
fn usable(whole: Vec<Dump>, segments: &[Segment], origin: Origin) -> Result<Option<Dump>, OpenError> {
    let start = segments.first().map_or(0, |first| first.start.position);
    for dump in whole {
        let standing = Standing::of(&dump.stand);
        if !is_there(segments, standing, origin)? {
            if standing.newest.flags.synced || standing.newest.boot == origin.boot {
                return Err(end_lost(segments, standing));
            }
        } else if standing.place.position >= start {
            return Ok(Some(dump));
        }
    }
    Ok(None)
}

/// Indexes what lies before a dump: its records are history, its rows are in the dump.
fn index_before(mirror: &Mirror, segments: &[Segment], until: &Stand, origin: Origin) -> Result<(), OpenError> {
    let Some(first) = segments.first() else { return Ok(()) };
    let until_place = Standing::of(until).place;
    let mut positions: BTreeMap<LogId, Position> = BTreeMap::new();
    mirror.begin_segment(first_start(first, segments, until, origin)?)?;
    let (mut walk, mut known) = (Walk::new(segments, first.start, origin)?, first.number);
    let (mut batch, mut progress) = (Vec::new(), Progress::new(first.start.position));
    while walk.place().position < until_place.position
        && let Some((frame, segment)) = walk.next()?
    {
        if segment.number > known {
            mirror.apply(&std::mem::take(&mut batch))?;
            // A log that said nothing so far stands where the dump has it.
            let mut logs: BTreeMap<LogId, Lsn> =
                until.logs.iter().map(|(log, position)| (*log, position.next)).collect();
            logs.extend(positions.iter().map(|(log, position)| (*log, position.next)));
            let newest_at_ms = positions.values().map(|position| position.newest_at_ms).max().unwrap_or_default();
            let start = SegmentStart { number: segment.number, place: segment.start.position, logs, newest_at_ms };
            mirror.begin_segment(start)?;
            known = segment.number;
        }
        let mut entries = Vec::new();
        for (entry, index) in index_of(&frame, segment)? {
            let position = positions.entry(entry.head.log).or_insert_with(|| before(&entry.head));
            continues(&entry, position, segment, &frame)?;
            entries.push(index);
        }
        batch.push(Applied { entries, stand: None });
        progress.tell(frame.header.end().position, segment);
        if batch.len() >= 256 {
            mirror.apply(&std::mem::take(&mut batch))?;
        }
    }
    mirror.apply(&batch)?;
    let fits = |(log, position): (&LogId, &Position)| until.logs.get(log) == Some(position);
    match positions.iter().find(|pair| !fits(*pair)) {
        None => Ok(()),
        Some((log, _)) => {
            let segment = segments.iter().rev().find(|segment| segment.start.position <= until_place.position);
            let segment = segment.unwrap_or(first);
            let reason = format!("log {log} is not where the dump has it");
            Err(damaged(segment, until_place.position, reason))
        }
    }
}

/// Where each log stood when the oldest segment began: told by the first entry of each.
fn first_start(
    first: &Segment,
    segments: &[Segment],
    until: &Stand,
    origin: Origin,
) -> Result<SegmentStart, OpenError> {
    let mut start =
        SegmentStart { number: first.number, place: first.start.position, logs: BTreeMap::new(), newest_at_ms: 0 };
    if first.start.position == 0 {
        return Ok(start);
    }
    let mut walk = Walk::new(segments, first.start, origin)?;
    while start.logs.len() < until.logs.len()
        && walk.place().position < Standing::of(until).place.position
        && let Some((frame, segment)) = walk.next()?
    {
        for (_, entry) in frame.entries().map_err(|error| damaged(segment, frame.header.start(), error.to_string()))? {
            start.logs.entry(entry.head.log).or_insert(entry.head.first);
        }
    }
    for (log, position) in &until.logs {
        start.logs.entry(*log).or_insert(position.next);
    }
    Ok(start)
}

/// Where a log must have stood before an entry, which is believed.
pub(crate) fn before(head: &Head) -> Position {
    let epoch = match head.kind {
        Kind::Claim => Epoch(head.epoch.0.saturating_sub(1)),
        Kind::Append => head.epoch,
    };
    Position { epoch, next: head.first, floor: head.floor, newest_at_ms: 0, crc: head.previous }
}

fn damaged(segment: &Segment, position: u64, reason: String) -> OpenError {
    JournalError::Damaged { path: segment.path.clone(), offset: segment.offset(position), reason }.into()
}

/// Where the dumps stand that are whole, newest first.
pub(crate) fn stands(folder: &Path, store: u64) -> io::Result<Vec<Stand>> {
    Ok(dumps::whole(folder, store)?.into_iter().map(|dump| dump.stand).collect())
}
