//! A segment: one file of the journal.
//!
//! ```text
//! <store>/journal/00000001.segment
//!
//! head    magic 8 bytes | version u32 | number u32 | store u64 | boot u64 | start u64 | previous u32 | flags u32 | zeros
//!         | crc32c u32 of all before                                                  (numbers little endian)
//! body    frames, from byte 512 on; zeros
//! ```
//!
//! `start` is the position of the first frame and `previous` the checksum of the frame before it. A segment is filled with zeros under
//! another name before it is used: a sync into bytes that are there already costs two thirds of one that makes a file longer.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut};

use crate::durable::sync_folder;

use super::{
    error::JournalError,
    frame::{ALIGNMENT, Flags, Origin, Place},
};

pub(crate) const VERSION: u32 = 1;
pub(crate) const HEAD_BYTES: usize = ALIGNMENT as usize;
const MAGIC: [u8; 8] = *b"RHJOURNL";
/// Behind it, what lies in a segment would have a position that no number can tell.
const POSITION_MAX: u64 = 1 << 62;
const SUFFIX: &str = ".segment";
const DRAFT_SUFFIX: &str = ".segment.new";
/// Zeros are written in pieces of this size.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// What the head of a segment says, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    /// Where its first frame goes.
    pub(crate) start: Place,
    /// Which start of the machine began it, and how what lies before it had been written.
    pub(crate) boot: u64,
    pub(crate) flags: Flags,
}

impl Segment {
    /// Offset in the file of what is at `position` of the journal, which must not lie before the segment.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        HEAD_BYTES as u64 + position.saturating_sub(self.start.position)
    }

    /// The reverse.
    pub(crate) fn position(&self, offset: u64) -> u64 {
        self.start.position + offset.saturating_sub(HEAD_BYTES as u64)
    }
}

pub(crate) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08}{SUFFIX}"))
}

/// By its name.
pub(crate) fn is_segment(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(SUFFIX))
}

/// The name of a segment until it is begun.
pub(crate) fn draft(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08}{DRAFT_SUFFIX}"))
}

/// Numbers of the segments in `folder`, in order. Files with other names are not looked at.
pub(crate) fn numbers(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes all durable that was written to segment `number` and later ones. Returns the number of the newest.
pub(crate) fn sync_from(folder: &Path, number: u32) -> io::Result<u32> {
    let numbers = numbers(folder)?;
    for number in numbers.iter().filter(|other| **other >= number) {
        match File::open(path(folder, *number)).and_then(|file| file.sync_data()) {
            // Dropped meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
    }
    Ok(numbers.last().copied().unwrap_or(number))
}

/// Removes what was prepared and not used.
pub(crate) fn sweep_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(DRAFT_SUFFIX)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Reads the head of a segment.
pub(crate) fn read_head(file: &File, path: &Path, number: u32, store: u64) -> Result<Segment, JournalError> {
    let mut head = [0; HEAD_BYTES];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => parse_head(&head, path, number, store),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => parse_head(&[], path, number, store),
        Err(error) => Err(JournalError::io("reading", path)(error)),
    }
}

/// Reads what a segment begins with.
pub(crate) fn parse_head(bytes: &[u8], path: &Path, number: u32, store: u64) -> Result<Segment, JournalError> {
    let damaged = |reason: &str| JournalError::Damaged { path: path.to_owned(), offset: 0, reason: reason.to_owned() };
    let Some((body, mut crc)) = bytes.get(..HEAD_BYTES).and_then(|head| head.split_at_checked(HEAD_BYTES - 4)) else {
        return Err(damaged("it is shorter than its head"));
    };
    let mut fields = body;
    let mut magic = [0; 8];
    fields.copy_to_slice(&mut magic);
    if magic != MAGIC {
        return Err(damaged("it does not begin like a segment"));
    }
    let version = fields.get_u32_le();
    if version != VERSION {
        return Err(JournalError::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    if crc32c::crc32c(body) != crc.get_u32_le() {
        return Err(damaged("the checksum of its head is wrong"));
    }
    let (said, of, boot) = (fields.get_u32_le(), fields.get_u64_le(), fields.get_u64_le());
    let start = Place { position: fields.get_u64_le(), crc: fields.get_u32_le() };
    let flags = Flags::parse(fields.get_u32_le());
    if of != store {
        return Err(JournalError::Foreign { path: path.to_owned() });
    }
    if said != number {
        return Err(damaged(&format!("it says to be segment {said}")));
    }
    if start.position > POSITION_MAX {
        return Err(damaged("it says to begin where no journal ever comes"));
    }
    Ok(Segment { number, path: path.to_owned(), start, boot, flags })
}

/// What a segment begins with.
pub(crate) fn head(number: u32, origin: Origin, start: Place, flags: Flags) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let mut out = &mut head[..];
    out.put_slice(&MAGIC);
    out.put_u32_le(VERSION);
    out.put_u32_le(number);
    out.put_u64_le(origin.store);
    out.put_u64_le(origin.boot);
    out.put_u64_le(start.position);
    out.put_u32_le(start.crc);
    out.put_u32_le(flags.bits());
    let crc = crc32c::crc32c(&head[..HEAD_BYTES - 4]);
    head[HEAD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// A file of zeros that may become a segment.
#[derive(Debug)]
pub(crate) struct Prepared {
    file: File,
    draft: PathBuf,
    number: u32,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Makes a file that is ready to become segment `number`. `bytes` of zeros are on the disk when it returns.
pub(crate) fn prepare(folder: &Path, number: u32, bytes: u64) -> io::Result<Prepared> {
    let mut blank = Blank::create(folder, number)?;
    while blank.bytes < bytes {
        blank.grow(bytes)?;
    }
    blank.finish()
}

/// A file of zeros in the making.
#[derive(Debug)]
pub(crate) struct Blank {
    file: File,
    draft: PathBuf,
    number: u32,
    pub(crate) bytes: u64,
}

impl Blank {
    pub(crate) fn create(folder: &Path, number: u32) -> io::Result<Self> {
        let draft = draft(folder, number);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&draft)?;
        Ok(Self { file, draft, number, bytes: 0 })
    }

    /// Adds a piece of zeros, at most up to `bytes` in all, and waits until it is on the disk: what waits to be written would hold up
    /// others all at once.
    pub(crate) fn grow(&mut self, bytes: u64) -> io::Result<()> {
        let piece = usize::try_from(bytes.saturating_sub(self.bytes)).unwrap_or(ZEROS.len()).min(ZEROS.len());
        self.file.write_all_at(ZEROS.get(..piece).unwrap_or_default(), self.bytes)?;
        self.bytes += piece as u64;
        self.file.sync_data()
    }

    pub(crate) fn finish(self) -> io::Result<Prepared> {
        self.file.sync_all()?;
        let Self { file, draft, number, bytes } = self;
        Ok(Prepared { file, draft, number, bytes: bytes.max(HEAD_BYTES as u64) })
    }

    pub(crate) fn discard(self) -> io::Result<()> {
        fs::remove_file(self.draft)
    }
}

impl Prepared {
    /// Makes it the segment that begins at `start`: durable, with its name, when it returns. `flags` tell how what lies before was
    /// written.
    pub(crate) fn begin(
        self,
        folder: &Path,
        origin: Origin,
        start: Place,
        flags: Flags,
    ) -> io::Result<(File, Segment)> {
        let path = path(folder, self.number);
        self.file.write_all_at(&head(self.number, origin, start, flags), 0)?;
        self.file.sync_all()?;
        fs::rename(&self.draft, &path)?;
        sync_folder(folder)?;
        Ok((self.file, Segment { number: self.number, path, start, boot: origin.boot, flags }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Place = Place { position: 4096, crc: 17 };
    const ORIGIN: Origin = Origin { store: 0xabc, boot: 7 };
    const SYNCED: Flags = Flags { synced: true, closing: false, lost: false };

    fn begun(folder: &Path) -> (File, Segment) {
        prepare(folder, 3, 2_000_000).expect("prepare").begin(folder, ORIGIN, START, SYNCED).expect("begin")
    }

    #[test]
    fn a_segment_is_prepared_begun_and_found_again() {
        let folder = tempfile::tempdir().expect("tempdir");
        let prepared = prepare(folder.path(), 3, 2_000_000).expect("prepare");
        assert_eq!(numbers(folder.path()).expect("numbers"), [], "what is only prepared is no segment");
        drop(prepared);
        sweep_drafts(folder.path()).expect("sweep");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0);

        let (file, segment) = begun(folder.path());
        assert_eq!(numbers(folder.path()).expect("numbers"), [3]);
        assert_eq!(read_head(&file, &segment.path, 3, 0xabc).expect("head"), segment);
        assert_eq!(file.metadata().expect("file").len(), 2_000_000);
        assert_eq!((segment.offset(4096), segment.offset(5120)), (512, 1536));
        assert_eq!(segment.position(1536), 5120);
    }

    #[test]
    fn every_bit_of_a_head_counts() {
        let folder = tempfile::tempdir().expect("tempdir");
        let (file, segment) = begun(folder.path());
        for bit in 0..HEAD_BYTES * 8 {
            let mut byte = [0];
            let at = (bit / 8) as u64;
            file.read_exact_at(&mut byte, at).expect("read");
            file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], at).expect("flip");
            assert!(read_head(&file, &segment.path, 3, 0xabc).is_err(), "bit {bit}");
            file.write_all_at(&byte, at).expect("flip back");
        }
        assert!(read_head(&file, &segment.path, 3, 0xabc).is_ok());
        let foreign = read_head(&file, &segment.path, 3, 0xabd);
        assert!(matches!(foreign, Err(JournalError::Foreign { .. })));
        let renamed = read_head(&file, &segment.path, 4, 0xabc);
        assert!(matches!(renamed, Err(JournalError::Damaged { .. })), "a file under the name of another");
    }
}
