//! Writes frames, one after the other. Blocks; one thread has it.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use bytes::BytesMut;

use super::{
    frame::{Flags, FrameDraft, Origin, Place, aligned},
    next::Next,
    segment::{self, HEAD_BYTES, Segment},
};

/// The first segment of a store, so that a new one costs next to nothing. Each further one is larger, up to what is configured.
const FIRST_BYTES: u64 = 1 << 20;
const GROWTH: u64 = 4;
/// The next segment is ready when all but this part of the present one is used.
const READY_EARLY: u64 = 8;

/// The newest frame: what a mirror remembers, to find out whether the journal still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) position: u64,
    pub(crate) boot: u64,
    pub(crate) flags: Flags,
}

/// Where a journal is written to.
pub(crate) struct Writer {
    folder: PathBuf,
    origin: Origin,
    /// Segments are this long at most, unless a single frame is longer.
    bytes_max: u64,
    file: Arc<File>,
    segment: Segment,
    /// Bytes of the present segment's file that frames may take.
    capacity: u64,
    place: Place,
    /// Where the newest frame begins, and how it was written.
    newest: Newest,
    /// Number of the first segment with frames that were written without a sync since the last one.
    unsynced_from: Option<u32>,
    /// The next segment, while it is filled with zeros.
    next: Option<Next>,
}

impl Writer {
    /// Begins segment `number` at `place`, before which all is durable. `lost` says that something lay behind it which is gone.
    pub(crate) fn begin(
        folder: PathBuf,
        origin: Origin,
        bytes_max: u64,
        number: u32,
        (place, newest): (Place, Newest),
        lost: bool,
    ) -> io::Result<Self> {
        let flags = Flags { synced: true, closing: false, lost };
        let prepared = segment::prepare(&folder, number, FIRST_BYTES.min(bytes_max))?;
        let capacity = prepared.bytes;
        let (file, segment) = prepared.begin(&folder, origin, place, flags)?;
        let (file, unsynced_from, next) = (Arc::new(file), None, None);
        Ok(Self { folder, origin, bytes_max, file, segment, capacity, place, newest, unsynced_from, next })
    }

    /// Goes on in `segment`, behind `place`, where nothing but zeros follows, and before which all is durable.
    pub(crate) fn go_on(
        folder: PathBuf,
        origin: Origin,
        bytes_max: u64,
        segment: Segment,
        (place, newest): (Place, Newest),
    ) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&segment.path)?;
        let capacity = file.metadata()?.len();
        let (file, unsynced_from, next) = (Arc::new(file), None, None);
        Ok(Self { folder, origin, bytes_max, file, segment, capacity, place, newest, unsynced_from, next })
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn newest(&self) -> Newest {
        self.newest
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Whether a frame of `len` bytes goes into the present segment. One that is too long for any goes into an empty one.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        let used = self.segment.offset(self.place.position);
        used == HEAD_BYTES as u64 || used + aligned(len) <= self.capacity
    }

    /// Begins the next segment. When this fails, nothing has happened: it can be tried again. `flags` are those of the frames so far.
    pub(crate) fn roll(&mut self, flags: Flags) -> io::Result<()> {
        let prepared = match self.next.take().map(Next::finish) {
            Some(Ok(prepared)) => prepared,
            // Without zeros it works as well, only slower.
            _ => segment::prepare(&self.folder, self.segment.number + 1, 0)?,
        };
        let capacity = prepared.bytes.max(self.capacity);
        let (file, segment) = prepared.begin(&self.folder, self.origin, self.place, flags)?;
        (self.file, self.segment, self.capacity) = (Arc::new(file), segment, capacity);
        Ok(())
    }

    /// Writes a frame, and syncs it if `flags` say so. After an error nobody knows what the disk has: never write again.
    ///
    /// Returns the buffer, to be used again.
    pub(crate) fn write(&mut self, draft: FrameDraft, flags: Flags) -> io::Result<BytesMut> {
        match flags.synced {
            // Before it is there, since it proves that all before it is.
            true => self.sync()?,
            false => _ = self.unsynced_from.get_or_insert(self.segment.number),
        }
        let (bytes, end) = draft.finish(self.place, self.origin, flags);
        self.file.write_all_at(&bytes, self.segment.offset(self.place.position))?;
        if flags.synced {
            self.file.sync_data()?;
        }
        self.newest = Newest { position: self.place.position, boot: self.origin.boot, flags };
        self.place = end;
        self.prepare_next();
        Ok(bytes)
    }

    /// Has the next segment filled with zeros at the pace at which this one fills, so that it is ready a little earlier: all at once
    /// would hold up whoever waits for a sync.
    fn prepare_next(&mut self) {
        let bytes = self.capacity.saturating_mul(GROWTH).min(self.bytes_max);
        let used = self.segment.offset(self.place.position);
        let (folder, number) = (&self.folder, self.segment.number + 1);
        let next = match &mut self.next {
            Some(next) => next,
            // Without a thread the next segment is made when it is needed.
            none => match Next::begin(folder.clone(), number, bytes) {
                Ok(next) => none.insert(next),
                Err(_) => return,
            },
        };
        next.reach(bytes.saturating_mul(used) / (self.capacity - self.capacity / READY_EARLY).max(1));
    }

    /// Removes what was prepared for nothing.
    pub(crate) fn close(mut self) -> io::Result<()> {
        // What could not be prepared is swept up by the next start.
        self.next.take().map_or(Ok(()), Next::discard)
    }

    /// Makes what was written without a sync durable, in all segments that have such frames and are still there.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let Some(first) = self.unsynced_from else { return Ok(()) };
        for number in first..=self.segment.number {
            match File::open(segment::path(&self.folder, number)) {
                Ok(file) => file.sync_data()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.unsynced_from = None;
        Ok(())
    }
}
