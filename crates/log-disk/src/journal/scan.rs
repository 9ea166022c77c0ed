//! Reads a journal from some place to its end, and decides what its end is. Changes nothing.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use bytes::Bytes;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::{
    error::JournalError,
    frame::{ALIGNMENT, Flags, Frame, HEADER_BYTES, Header, Origin, Place},
    oldest::oldest,
    segment::{self, Segment},
};

/// What is read ahead.
const WINDOW_BYTES: usize = 256 << 10;

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
        let segment = segment::read_head(&file, &path, number, store)?;
        // A machine that stopped before its disk had everything leaves segments behind an end that a later start accepted: that start
        // went on in a new segment, which begins before them.
        while segments.last().is_some_and(|before| before.start.position >= segment.start.position) {
            segments.pop();
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Makes sure that what is read next is what the disk has, and not what a failed sync left in memory: after one, the
/// kernel takes pages for written that are not.
pub(crate) fn distrust_memory(segment: &Segment) -> Result<(), JournalError> {
    let file = File::open(&segment.path).map_err(JournalError::io("opening", &segment.path))?;
    file.sync_all().map_err(JournalError::io("syncing", &segment.path))?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .map_err(|errno| JournalError::io("dropping from memory", &segment.path)(io::Error::from(errno)))
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
pub(crate) struct Walk<'a> {
    segments: &'a [Segment],
    origin: Origin,
    /// Index of the segment that is read.
    at: usize,
    window: Window,
    place: Place,
    last: Option<Header>,
}

impl<'a> Walk<'a> {
    /// Starts at `from`, which must be the end of a frame, or [`Place::START`]. `origin` is this store and the machine's present start.
    pub(crate) fn new(segments: &'a [Segment], from: Place, origin: Origin) -> Result<Self, JournalError> {
        let at = segments.partition_point(|segment| segment.start.position <= from.position).saturating_sub(1);
        let window = Window::open(segments.get(at))?;
        Ok(Self { segments, origin, at, window, place: from, last: None })
    }

    /// The next frame and the segment it lies in; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(Frame, &'a Segment)>, JournalError> {
        loop {
            let Some(segment) = self.segments.get(self.at) else { return Ok(None) };
            let next = self.segments.get(self.at + 1);
            if next.is_some_and(|next| next.start == self.place) {
                self.at += 1;
                self.window = Window::open(next)?;
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

    /// Call when [`Walk::next`] has come to the end: looks at what follows it.
    ///
    /// Whatever was written later proves that all before it was durable, and so that something is missing here. Unless it was
    /// written without a sync, and the machine has stopped since.
    pub(crate) fn end(mut self) -> Result<End, JournalError> {
        let mut end = End { place: self.place, last: self.last, is_clean: true, is_lost: false };
        let Some(segment) = self.segments.get(self.at) else { return Ok(end) };
        let start = segment.offset(self.place.position);
        let proves = |boot: u64, flags: Flags| flags.synced || boot == self.origin.boot;
        if let Some(next) = self.segments.get(self.at + 1) {
            if proves(next.boot, next.flags) {
                return Err(damaged(segment, start, format!("segment {} follows, but not here", next.number)));
            }
            return Ok(End { is_clean: false, is_lost: true, ..end });
        }
        let mut offset = start;
        while let Some(bytes) = self.window.sector(offset)? {
            if bytes.iter().any(|byte| *byte != 0) {
                end.is_clean = false;
                // What lies at the end itself was found not to be a frame.
                if offset > start
                    && let Some(frame) = self.window.frame(offset, segment.position(offset), self.origin.store)?
                {
                    if proves(frame.header.origin.boot, frame.header.flags) {
                        let reason = format!("what was written later is there, from byte {offset} on");
                        return Err(damaged(segment, start, reason));
                    }
                    end.is_lost = true;
                    return Ok(end);
                }
            }
            offset += ALIGNMENT;
        }
        Ok(end)
    }
}

fn damaged(segment: &Segment, offset: u64, reason: String) -> JournalError {
    JournalError::Damaged { path: segment.path.clone(), offset, reason }
}

/// A piece of a file in memory.
struct Window {
    file: Option<(File, std::path::PathBuf)>,
    start: u64,
    bytes: Bytes,
    /// The piece reaches to the end of the file.
    is_last: bool,
}

impl Window {
    fn open(segment: Option<&Segment>) -> Result<Self, JournalError> {
        let open = |segment: &Segment| {
            let file = File::open(&segment.path).map_err(JournalError::io("opening", &segment.path))?;
            Ok::<_, JournalError>((file, segment.path.clone()))
        };
        Ok(Self { file: segment.map(open).transpose()?, start: 0, bytes: Bytes::new(), is_last: false })
    }

    /// `len` bytes from `offset` on; fewer where the file ends.
    fn at(&mut self, offset: u64, len: usize) -> Result<Bytes, JournalError> {
        let inside = |window: &Self| offset.checked_sub(window.start).and_then(|skip| usize::try_from(skip).ok());
        let has = |window: &Self, skip: usize| skip + len <= window.bytes.len() || window.is_last;
        if !inside(self).is_some_and(|skip| skip <= self.bytes.len() && has(self, skip)) {
            self.load(offset, len.max(WINDOW_BYTES))?;
        }
        let skip = inside(self).unwrap_or(0).min(self.bytes.len());
        Ok(self.bytes.slice(skip..(skip + len).min(self.bytes.len())))
    }

    fn load(&mut self, offset: u64, len: usize) -> Result<(), JournalError> {
        let Some((file, path)) = &self.file else { return Ok(()) };
        let mut bytes = vec![0; len];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(JournalError::io("reading", path)(error)),
            }
        }
        bytes.truncate(read);
        *self = Self { file: self.file.take(), start: offset, is_last: read < len, bytes: bytes.into() };
        Ok(())
    }

    /// The whole frame that starts at `offset`.
    fn frame(&mut self, offset: u64, position: u64, store: u64) -> Result<Option<Frame>, JournalError> {
        let header = self.at(offset, HEADER_BYTES)?;
        let Some(header) = Header::parse(&header, position, store) else { return Ok(None) };
        let bytes = self.at(offset, header.len())?;
        Ok(header.is_whole(&bytes).then(|| Frame::new(header, bytes)))
    }

    /// What lies there; `None` behind the end of the file.
    fn sector(&mut self, offset: u64) -> Result<Option<Bytes>, JournalError> {
        let bytes = self.at(offset, ALIGNMENT as usize)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

/// Whether the frame that began at `newest` and ended at `place` is still there, whole.
pub(crate) fn is_there(segments: &[Segment], newest: u64, place: Place, store: u64) -> Result<bool, JournalError> {
    if place == Place::START {
        return Ok(true);
    }
    let Some(segment) = segments.iter().rev().find(|segment| segment.start.position <= newest) else {
        return Ok(false);
    };
    let frame = Window::open(Some(segment))?.frame(segment.offset(newest), newest, store)?;
    Ok(frame.is_some_and(|frame| frame.header.end() == place))
}
