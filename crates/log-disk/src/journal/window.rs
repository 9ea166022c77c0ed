//! A piece of a segment in memory, and the frames in it.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use bytes::Bytes;

use super::{
    error::JournalError,
    frame::{ALIGNMENT, Frame, HEADER_BYTES, Header},
    segment::Segment,
};

/// What is read ahead.
const WINDOW_BYTES: usize = 256 << 10;

/// Where segments are read from: files, or for a fuzzer, which has no time for files, memory.
pub(crate) trait Shelf {
    type Book: Book;

    fn open(&self, segment: &Segment) -> io::Result<Self::Book>;
}

/// One segment of a [`Shelf`].
pub(crate) trait Book {
    /// `len` bytes from `offset` on; fewer where it ends.
    fn read(&self, offset: u64, len: usize) -> io::Result<Bytes>;
}

/// The files that segments are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files;

impl Shelf for Files {
    type Book = File;

    fn open(&self, segment: &Segment) -> io::Result<File> {
        File::open(&segment.path)
    }
}

impl Book for File {
    fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes.into())
    }
}

/// A piece of a segment in memory.
pub(crate) struct Window<B> {
    book: Option<(B, PathBuf)>,
    start: u64,
    bytes: Bytes,
    /// The piece reaches to the end of the segment.
    is_last: bool,
}

impl<B: Book> Window<B> {
    pub(crate) fn open(shelf: &impl Shelf<Book = B>, segment: Option<&Segment>) -> Result<Self, JournalError> {
        let open = |segment: &Segment| {
            let book = shelf.open(segment).map_err(JournalError::io("opening", &segment.path))?;
            Ok::<_, JournalError>((book, segment.path.clone()))
        };
        Ok(Self { book: segment.map(open).transpose()?, start: 0, bytes: Bytes::new(), is_last: false })
    }

    /// `len` bytes from `offset` on; fewer where the segment ends.
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
        let Some((book, path)) = &self.book else { return Ok(()) };
        self.bytes = book.read(offset, len).map_err(JournalError::io("reading", path))?;
        (self.start, self.is_last) = (offset, self.bytes.len() < len);
        Ok(())
    }

    /// The whole frame that starts at `offset`.
    pub(crate) fn frame(&mut self, offset: u64, position: u64, store: u64) -> Result<Option<Frame>, JournalError> {
        let header = self.at(offset, HEADER_BYTES)?;
        let Some(header) = Header::parse(&header, position, store) else { return Ok(None) };
        let bytes = self.at(offset, header.len())?;
        Ok(header.is_whole(&bytes).then(|| Frame::new(header, bytes)))
    }

    /// What lies there; `None` behind the end of the segment.
    pub(crate) fn sector(&mut self, offset: u64) -> Result<Option<Bytes>, JournalError> {
        let bytes = self.at(offset, ALIGNMENT as usize)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}
