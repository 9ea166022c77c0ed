//! Reads the journal from where a mirror stands, checks every entry against the one before, and takes it in.

use std::time::{Duration, Instant};

use roomhook_log::{
    Record,
    entry::{Entry, Position, decode_chunk},
};
use roomhook_mirror::{Applied, EntryIndex, Mirror, Stand};

use crate::{
    config::OnReading,
    error::OpenError,
    journal::{self, Frame, JournalError, Newest, Origin, Segment, Walk},
    keeper::segment_start,
    place::Standing,
    plan::{Floors, Positions},
};

/// What is taken in at once.
const BATCH_BYTES: usize = 4 << 20;
/// How often somebody who waits is told how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(2);

/// What a journal was found to hold.
pub(crate) struct Followed {
    pub(crate) positions: Positions,
    /// Those of the mirror before: the journal tells nothing of the owners' rows.
    pub(crate) floors: Floors,
    pub(crate) standing: Standing,
    /// Nothing but zeros follows.
    pub(crate) is_clean: bool,
    /// Something that was acknowledged may have followed, and is gone with its machine.
    pub(crate) is_lost: bool,
    /// An earlier start accepted that, or this is a backup; and nothing was written since.
    pub(crate) was_lost: bool,
}

/// Brings a mirror from where it stands to where the journal ends.
pub(crate) fn follow(
    mirror: &Mirror,
    segments: &[Segment],
    from: &Stand,
    origin: Origin,
    on_reading: &OnReading,
) -> Result<Followed, OpenError> {
    let standing = Standing::of(from);
    for (segment, next) in segments.iter().zip(segments.iter().skip(1).map(Some).chain([None])) {
        if next.is_none_or(|next| next.start.position > standing.newest.position) {
            journal::distrust_memory(segment)?;
        }
    }
    if !is_there(segments, standing, origin)? {
        return Err(end_lost(segments, standing));
    }
    let known = mirror.segments().last().map_or(0, |segment| segment.number);
    let mut following = Following {
        mirror,
        positions: from.logs.clone(),
        floors: from.floors.clone(),
        standing,
        batch: Vec::new(),
        bytes: 0,
        known,
    };
    let (mut walk, mut progress) =
        (Walk::new(segments, standing.place, origin)?, Progress::new(standing.place.position, segments, on_reading));
    while let Some((frame, segment)) = walk.next()? {
        following.take(&frame, segment)?;
        progress.tell(following.standing.place.position, segment);
    }
    following.flush()?;
    let end = walk.end()?;
    let Following { positions, floors, standing, .. } = following;
    let Newest { boot, flags, .. } = standing.newest;
    let is_lost = end.is_lost || (!flags.synced && !flags.closing && boot != origin.boot);
    if is_lost {
        tracing::error!("the machine stopped, and what was not synced may be lost: clients and receivers are told");
    }
    let was_lost = segments.last().is_some_and(|last| last.flags.lost && last.start == standing.place);
    Ok(Followed { positions, floors, standing, is_clean: end.is_clean, is_lost, was_lost })
}

/// Whether the journal has everything that whoever stands there has seen.
pub(crate) fn is_there(segments: &[Segment], standing: Standing, origin: Origin) -> Result<bool, JournalError> {
    journal::is_there(segments, standing.newest.position, standing.place, origin.store)
}

/// The mirror has seen what the journal does not have any more.
pub(crate) fn end_lost(segments: &[Segment], standing: Standing) -> OpenError {
    let segment = segments.iter().rev().find(|segment| segment.start.position <= standing.newest.position);
    let (path, offset) = segment
        .map_or_else(Default::default, |segment| (segment.path.clone(), segment.offset(standing.newest.position)));
    let reason = "what was acknowledged last was here and cannot be read any more".to_owned();
    JournalError::Damaged { path, offset, reason }.into()
}

struct Following<'a> {
    mirror: &'a Mirror,
    positions: Positions,
    floors: Floors,
    standing: Standing,
    batch: Vec<Applied>,
    bytes: usize,
    /// Number of the newest segment that the mirror knows.
    known: u32,
}

impl Following<'_> {
    fn take(&mut self, frame: &Frame, segment: &Segment) -> Result<(), OpenError> {
        if segment.number > self.known {
            self.flush()?;
            let start = segment_start(segment.number, segment.start.position, &self.positions);
            self.mirror.begin_segment(start)?;
            self.known = segment.number;
        }
        let mut entries = Vec::new();
        for (entry, index) in index_of(frame, segment)? {
            let position = self.positions.entry(entry.head.log).or_insert(Position::EMPTY);
            continues(&entry, position, segment, frame)?;
            self.bytes += entry.bytes().len();
            entries.push(index);
        }
        let newest =
            Newest { position: frame.header.start(), boot: frame.header.origin.boot, flags: frame.header.flags };
        self.standing = Standing { place: frame.header.end(), newest };
        self.batch.push(Applied { entries, stand: Some(self.standing.stand(&self.positions, &self.floors)) });
        if self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OpenError> {
        self.bytes = 0;
        Ok(self.mirror.apply(&std::mem::take(&mut self.batch))?)
    }
}

/// Moves `position` on behind `entry`, which must be the next one of its log.
pub(crate) fn continues(
    entry: &Entry,
    position: &mut Position,
    segment: &Segment,
    frame: &Frame,
) -> Result<(), JournalError> {
    entry.head.continues(position).map_err(|error| {
        let (path, offset) = (segment.path.clone(), segment.offset(frame.header.start()));
        JournalError::Damaged { path, offset, reason: format!("log {}: {error}", entry.head.log) }
    })?;
    *position = entry.head.position();
    Ok(())
}

/// The entries of a frame, and what the mirror needs of each. It has only the rows of webhooks: the owner's follow from the records.
pub(crate) fn index_of(frame: &Frame, segment: &Segment) -> Result<Vec<(Entry, EntryIndex)>, JournalError> {
    let at = segment.offset(frame.header.start());
    let damaged = |reason: String| JournalError::Damaged { path: segment.path.clone(), offset: at, reason };
    let mut all = Vec::new();
    for (offset, entry) in frame.entries().map_err(|error| damaged(error.to_string()))? {
        let offset = u32::try_from(at + offset as u64).unwrap_or(u32::MAX);
        let index = index(&entry, segment.number, offset).map_err(damaged)?;
        all.push((entry, index));
    }
    Ok(all)
}

fn index(entry: &Entry, segment: u32, offset: u32) -> Result<EntryIndex, String> {
    let pieces = entry.pieces().map_err(|error| error.to_string())?;
    let mut records: Vec<Record> = Vec::with_capacity(entry.head.count as usize);
    for piece in &pieces {
        records.extend(decode_chunk(&entry.chunk(piece), piece.first).map_err(|error| error.to_string())?);
    }
    Ok(EntryIndex {
        log: entry.head.log,
        first: entry.head.first,
        segment,
        offset,
        pieces,
        records: records.into(),
        owner_rows: Vec::new(),
        hook_rows: entry.rows().map_err(|error| error.to_string())?,
    })
}

/// Tells somebody who waits how far it is.
pub(crate) struct Progress<'a> {
    from: u64,
    all: u64,
    on_reading: &'a OnReading,
    told: Instant,
}

impl<'a> Progress<'a> {
    /// From a position to the end of the newest segment, which need not be full.
    pub(crate) fn new(from: u64, segments: &[Segment], on_reading: &'a OnReading) -> Self {
        let size = |segment: &Segment| std::fs::metadata(&segment.path).map_or(0, |file| file.len());
        let end = segments.last().map_or(from, |last| last.position(size(last)));
        Self { from, all: end.saturating_sub(from), on_reading, told: Instant::now() }
    }

    pub(crate) fn tell(&mut self, position: u64, segment: &Segment) {
        if self.told.elapsed() < PROGRESS_PERIOD {
            return;
        }
        self.told = Instant::now();
        let done = position.saturating_sub(self.from);
        (self.on_reading)(done, self.all);
        let (mib, of) = (done >> 20, self.all >> 20);
        tracing::info!(mib, of, segment = segment.number, "reading the journal into the mirror");
    }
}
