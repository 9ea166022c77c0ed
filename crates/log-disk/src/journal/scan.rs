//! Reads a journal from some place to its end, and decides what its end is. Changes nothing.

use std::{fs::File, io, path::Path};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::{
    error::JournalError,
    frame::{ALIGNMENT, Flags, Frame, Header, Origin, Place},
    oldest::oldest,
    segment::{self, HEAD_BYTES, Segment},
    window::{Files, Shelf, Window},
};

/// All segments that are part of the journal, oldest first.
pub(crate) fn segments(folder: &Path, store: u64) -> Result<Vec<Segment>, JournalError> {
    let oldest = oldest(folder)?;
    let mut numbers = match segment::numbers(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(JournalError::io("listing", folder))?,
    };
    // What was dropped when a crash came before its file was gone.
    numbers.retain(|number| *number >= oldest);
    let missing = (oldest..).zip(&numbers).find(|(expected, number)| expected != *number).map(|(expected, _)| expected);
    if let Some(number) = missing.or(numbers.is_empty().then_some(oldest)) {
        return Err(JournalError::Missing { number, path: segment::path(folder, number) });
    }
    let mut segments: Vec<Segment> = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = segment::path(folder, number);
        let file = File::open(&path).map_err(JournalError::io("opening", &path))?;
        add(&mut segments, segment::read_head(&file, &path, number, store)?);
    }
    Ok(segments)
}

/// Adds the next one by number. A machine that stopped before its disk had everything leaves segments behind an end that a later
/// start accepted: that start went on in a new segment, which begins before them.
pub(crate) fn add(segments: &mut Vec<Segment>, next: Segment) {
    while segments.last().is_some_and(|before| before.start.position >= next.start.position) {
        segments.pop();
    }
    segments.push(next);
}

/// Makes sure that what is read next is what the disk has, and not what a failed sync left in memory: after one, the
/// kernel takes pages for written that are not.
pub(crate) fn distrust_memory(segment: &Segment) -> Result<(), JournalError> {
    let file = synced(segment)?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .map_err(|errno| JournalError::io("dropping from memory", &segment.path)(io::Error::from(errno)))
}

/// Makes all of a segment durable.
pub(crate) fn sync(segment: &Segment) -> Result<(), JournalError> {
    synced(segment).map(drop)
}

fn synced(segment: &Segment) -> Result<File, JournalError> {
    let file = File::open(&segment.path).map_err(JournalError::io("opening", &segment.path))?;
    file.sync_all().map_err(JournalError::io("syncing", &segment.path))?;
    Ok(file)
}

/// Where a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) place: Place,
    /// Of the newest frame that was walked over.
    pub(crate) last: Option<Header>,
    /// Nothing but zeros follows in its segment, so that it can be written on.
    pub(crate) is_clean: bool,
    /// Frames that were never synced are gone, with their machine.
    pub(crate) is_lost: bool,
}

/// A walk over frames.
pub(crate) struct Walk<'a, S: Shelf = Files> {
    shelf: S,
    segments: &'a [Segment],
    origin: Origin,
    /// Index of the segment that is read.
    at: usize,
    window: Window<S::Book>,
    place: Place,
    last: Option<Header>,
}

impl<'a> Walk<'a> {
    /// Starts at `from`, which must be the end of a frame, or [`Place::START`]. `origin` is this store and the machine's present start.
    pub(crate) fn new(segments: &'a [Segment], from: Place, origin: Origin) -> Result<Self, JournalError> {
        Self::over(Files, segments, from, origin)
    }
}

impl<'a, S: Shelf> Walk<'a, S> {
    /// As [`Walk::new`], over segments that lie somewhere else.
    pub(crate) fn over(shelf: S, segments: &'a [Segment], from: Place, origin: Origin) -> Result<Self, JournalError> {
        let at = segments.partition_point(|segment| segment.start.position <= from.position).saturating_sub(1);
        let window = Window::open(&shelf, segments.get(at))?;
        Ok(Self { shelf, segments, origin, at, window, place: from, last: None })
    }

    /// The next frame and the segment it lies in; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(Frame, &'a Segment)>, JournalError> {
        loop {
            let Some(segment) = self.segments.get(self.at) else { return Ok(None) };
            let next = self.segments.get(self.at + 1);
            if next.is_some_and(|next| next.start == self.place) {
                self.at += 1;
                self.window = Window::open(&self.shelf, next)?;
                continue;
            }
            let offset = segment.offset(self.place.position);
            if let Some(frame) = self.window.frame(offset, self.place.position, self.origin.store)?
                && frame.header.continues(self.place)
            {
                self.place = frame.header.end();
                self.last = Some(frame.header);
                return Ok(Some((frame, segment)));
            }
            return Ok(None);
        }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Call when [`Walk::next`] has come to the end: looks at all that follows it.
    ///
    /// Whatever was written later proves that all before it was durable, and so that something is missing here. Unless it was
    /// written without a sync, and the machine has stopped since. What was synced proves also what was not and came before, so
    /// looking does not end with the first frame that proves nothing.
    pub(crate) fn end(mut self) -> Result<End, JournalError> {
        let mut end = End { place: self.place, last: self.last, is_clean: true, is_lost: false };
        let Some((segment, later)) = self.segments.get(self.at..).and_then(<[_]>::split_first) else { return Ok(end) };
        let start = segment.offset(self.place.position);
        // What lies at the end itself was found not to be a frame.
        end.is_clean = self.window.sector(start)?.is_none_or(|bytes| is_zero(&bytes));
        if let Some(offset) = self.proof(segment, start + ALIGNMENT, &mut end)? {
            return Err(damaged(segment, start, format!("what was written later is there, from byte {offset} on")));
        }
        for next in later {
            (end.is_clean, end.is_lost) = (false, true);
            self.window = Window::open(&self.shelf, Some(next))?;
            if self.proves(next.boot, next.flags) || self.proof(next, HEAD_BYTES as u64, &mut end)?.is_some() {
                return Err(damaged(segment, start, format!("segment {} follows, but not here", next.number)));
            }
        }
        Ok(end)
    }

    /// Where the first frame from `offset` of a segment on lies that proves all before it.
    fn proof(&mut self, segment: &Segment, mut offset: u64, end: &mut End) -> Result<Option<u64>, JournalError> {
        while let Some(bytes) = self.window.sector(offset)? {
            if !is_zero(&bytes) {
                end.is_clean = false;
                if let Some(frame) = self.window.frame(offset, segment.position(offset), self.origin.store)? {
                    if self.proves(frame.header.origin.boot, frame.header.flags) {
                        return Ok(Some(offset));
                    }
                    end.is_lost = true;
                }
            }
            offset += ALIGNMENT;
        }
        Ok(None)
    }

    fn proves(&self, boot: u64, flags: Flags) -> bool {
        flags.synced || boot == self.origin.boot
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn damaged(segment: &Segment, offset: u64, reason: String) -> JournalError {
    JournalError::Damaged { path: segment.path.clone(), offset, reason }
}

/// Whether the frame that began at `newest` and ended at `place` is still there, whole.
pub(crate) fn is_there(segments: &[Segment], newest: u64, place: Place, store: u64) -> Result<bool, JournalError> {
    if place == Place::START {
        return Ok(true);
    }
    let Some(segment) = segments.iter().rev().find(|segment| segment.start.position <= newest) else {
        return Ok(false);
    };
    let frame = Window::open(&Files, Some(segment))?.frame(segment.offset(newest), newest, store)?;
    Ok(frame.is_some_and(|frame| frame.header.end() == place))
}
