//! Makes a mirror anew, from a dump and the journal.

use std::{collections::BTreeMap, fs, io, path::Path};

use roomhook_log::{
    Epoch, LogId,
    entry::{Head, Kind, Position},
};
use roomhook_mirror::{Applied, Dump, Mirror, MirrorConfig, SegmentStart, Stand};

use crate::{
    config::OnReading,
    dumps,
    error::OpenError,
    follow::{Followed, Progress, continues, end_lost, follow, index_of, is_there},
    journal::{JournalError, Origin, Segment, Walk},
    open::Folders,
    place::Standing,
    plan::{Floors, Positions},
};

/// A new mirror that is where the journal ends.
pub(crate) fn rebuild(
    folders: &Folders,
    segments: &[Segment],
    origin: Origin,
    config: MirrorConfig,
    on_reading: &OnReading,
) -> Result<(Mirror, Followed), OpenError> {
    let whole = dumps::whole(&folders.dumps, origin.store).map_err(OpenError::io("listing", &folders.dumps))?;
    for dump in usable(whole, segments, origin)? {
        tracing::info!(segments = segments.len(), "making the mirror anew from a dump and the journal");
        let mirror = empty(folders, config)?;
        if index_before(&mirror, segments, &dump.stand, origin, on_reading)? {
            dump.install(&mirror)?;
            let followed = follow(&mirror, segments, &dump.stand, origin, on_reading)?;
            return Ok((mirror, followed));
        }
        tracing::warn!("the journal lost a part of what a dump stands behind: an older one is tried");
    }
    if segments.first().is_some_and(|first| first.start.position > 0) {
        return Err(OpenError::NoDump { path: folders.dumps.clone() });
    }
    let mirror = empty(folders, config)?;
    let from = Standing::nothing(origin.boot).stand(&Positions::new(), &Floors::new());
    let followed = follow(&mirror, segments, &from, origin, on_reading)?;
    Ok((mirror, followed))
}

fn empty(folders: &Folders, config: MirrorConfig) -> Result<Mirror, OpenError> {
    match fs::remove_dir_all(&folders.mirror) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("removing", &folders.mirror)(error));
        }
        _ => {}
    }
    Mirror::open(&folders.mirror, config).map_err(OpenError::mirror(&folders.mirror))
}

/// Whether the journal may have lost what was written so far, without anybody being to blame.
fn may_be_lost(standing: Standing, origin: Origin) -> bool {
    !standing.newest.flags.synced && standing.newest.boot != origin.boot
}

/// The dumps that the journal reaches back to, newest first. One that is ahead of the journal proves that this lost its end, unless
/// that may be.
fn usable(whole: Vec<Dump>, segments: &[Segment], origin: Origin) -> Result<Vec<Dump>, OpenError> {
    let start = segments.first().map_or(0, |first| first.start.position);
    let mut usable = Vec::new();
    for dump in whole {
        let standing = Standing::of(&dump.stand);
        if !is_there(segments, standing, origin)? {
            if !may_be_lost(standing, origin) {
                return Err(end_lost(segments, standing));
            }
        } else if standing.place.position >= start {
            usable.push(dump);
        }
    }
    Ok(usable)
}

/// Indexes what lies before a dump: its records are history, its rows are in the dump. False if something of it is gone that may be.
fn index_before(
    mirror: &Mirror,
    segments: &[Segment],
    until: &Stand,
    origin: Origin,
    on_reading: &OnReading,
) -> Result<bool, OpenError> {
    let Some(first) = segments.first() else { return Ok(true) };
    let until_place = Standing::of(until).place;
    let mut positions: BTreeMap<LogId, Position> = BTreeMap::new();
    let start = first_start(first, segments, until, origin)?;
    // Where each log stands in front of the next frame: one that said nothing so far, where its first entry begins.
    let mut logs = start.logs.clone();
    mirror.begin_segment(start)?;
    let (mut walk, mut known) = (Walk::new(segments, first.start, origin)?, first.number);
    let (mut batch, mut progress) = (Vec::new(), Progress::new(first.start.position, segments, on_reading));
    while walk.place().position < until_place.position
        && let Some((frame, segment)) = walk.next()?
    {
        if segment.number > known {
            mirror.apply(&std::mem::take(&mut batch))?;
            logs.extend(positions.iter().map(|(log, position)| (*log, position.next)));
            let newest_at_ms = positions.values().map(|position| position.newest_at_ms).max().unwrap_or_default();
            let (number, place) = (segment.number, segment.start.position);
            mirror.begin_segment(SegmentStart { number, place, logs: logs.clone(), newest_at_ms })?;
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
    if walk.place().position < until_place.position && may_be_lost(Standing::of(until), origin) {
        return Ok(false);
    }
    // A start that accepted a lost end raises the epochs before any entry does.
    let fits = |(log, position): (&LogId, &Position)| {
        let epoch = position.epoch;
        until.logs.get(log).is_some_and(|at| at.epoch >= epoch && Position { epoch, ..*at } == *position)
    };
    match positions.iter().find(|pair| !fits(*pair)) {
        None => Ok(true),
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
    Position { epoch, next: head.first, newest_at_ms: 0, crc: head.previous }
}

fn damaged(segment: &Segment, position: u64, reason: String) -> OpenError {
    JournalError::Damaged { path: segment.path.clone(), offset: segment.offset(position), reason }.into()
}

/// Where the dumps stand that are whole, newest first.
pub(crate) fn stands(folder: &Path, store: u64) -> io::Result<Vec<Stand>> {
    Ok(dumps::whole(folder, store)?.into_iter().map(|dump| dump.stand).collect())
}
