//! What the fuzz target `journal` runs, and an ordinary test besides. Included by both.
//!
//! A small journal is written, and the fuzzer says what becomes of its bytes. Then it is walked over, as a start does.

use std::{io, path::PathBuf, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use roomhook_log::{
    LogId, Row,
    entry::{Draft, Kind, Position},
};

use super::{
    error::JournalError,
    frame::{Flags, FrameDraft, Header, Origin, Place},
    scan::{End, Walk, add},
    segment::{HEAD_BYTES, Segment, head, parse_head},
    window::{Book, Shelf},
};

const SECTOR: usize = 512;
const SEGMENT_BYTES: usize = 9 * SECTOR;
const STORE: u64 = 0xabc;
const SYNCED: Flags = Flags { synced: true, closing: false, lost: false };
const UNSYNCED: Flags = Flags { synced: false, ..SYNCED };
/// So few changed bits every checksum notices.
const FLIPS_MAX: usize = 3;

/// The first byte says which journal, what starts after it, and what can have happened to it.
pub(crate) fn damage(data: &[u8]) {
    let Some((&shape, edits)) = data.split_first() else { return };
    let written = &WRITTEN[usize::from(shape) % WRITTEN.len()];
    let boot = written.boot + u64::from(shape >> 2 & 1);
    let origin = Origin { store: STORE, boot };
    let is_forged = shape & 8 != 0;
    let mut disk = Disk(written.disk.0.clone());
    Edits { rest: edits, flips: 0, is_forged }.apply(&mut disk);
    let found = walk(&disk, origin);
    if is_forged {
        return;
    }
    if disk == written.disk {
        let (frames, end) = found.as_ref().expect("nothing happened to it");
        assert_eq!((frames.len(), end.is_clean, end.is_lost), (written.frames.len(), true, false));
    }
    if let Ok((frames, end)) = found {
        written.check(&disk, origin, &frames, &end);
        goes_on(disk, origin, &frames, &end);
    }
}

/// A start that accepts an end begins a segment there; the next one finds all that was found, and what is new.
fn goes_on(mut disk: Disk, origin: Origin, before: &[Header], end: &End) {
    let mut next =
        Written { disk: Disk(std::mem::take(&mut disk.0)), boot: origin.boot, frames: Vec::new(), place: end.place };
    next.begin(origin, SYNCED);
    next.write(origin, SYNCED, &[10]);
    let (frames, end) = walk(&next.disk, origin).expect("what was accepted once is accepted again");
    assert_eq!(frames, [before, &[next.frames[0].header]].concat());
    assert_eq!((end.place, end.is_clean, end.is_lost), (next.place, true, false));
}

/// All frames that a start finds, and the end. Ends, whatever the bytes are.
fn walk(disk: &Disk, origin: Origin) -> Result<(Vec<Header>, End), JournalError> {
    let mut segments = Vec::new();
    for (number, bytes) in (1..).zip(&disk.0) {
        add(&mut segments, parse_head(bytes, &PathBuf::new(), number, STORE)?);
    }
    let first = segments.first().map_or(Place::START, |first| first.start);
    let mut walk = Walk::over(disk, &segments, first, origin)?;
    let mut frames: Vec<Header> = Vec::new();
    while let Some((frame, _)) = walk.next()? {
        let before = frames.last().map_or(first, Header::end);
        assert!(frame.header.continues(before) && frame.header.end() == walk.place());
        let _ = frame.entries();
        frames.push(frame.header);
        assert!(frames.len() <= disk.0.len() * SEGMENT_BYTES / SECTOR, "it walks in circles");
    }
    Ok((frames, walk.end()?))
}

/// The bytes of all segments, from number 1 on.
#[derive(PartialEq)]
struct Disk(Vec<Vec<u8>>);

impl Shelf for &Disk {
    type Book = Bytes;

    fn open(&self, segment: &Segment) -> io::Result<Bytes> {
        let bytes = self.0.get(segment.number as usize - 1).ok_or(io::ErrorKind::NotFound)?;
        Ok(Bytes::copy_from_slice(bytes))
    }
}

impl Book for Bytes {
    fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(self.slice(start..start.saturating_add(len).min(self.len())))
    }
}

/// What happened to a disk, as the fuzzer tells it.
struct Edits<'a> {
    rest: &'a [u8],
    flips: usize,
    /// By somebody who can make checksums; then anything can be found.
    is_forged: bool,
}

impl Edits<'_> {
    fn apply(mut self, disk: &mut Disk) {
        while let Some(edit) = self.edit(disk) {
            edit.unwrap_or_default();
        }
    }

    /// `None` when there are no more; `Some(None)` for one that means nothing.
    fn edit(&mut self, disk: &mut Disk) -> Option<Option<()>> {
        let kind = self.byte()?;
        let segment = usize::from(self.byte()?) % disk.0.len();
        let at = usize::from(u16::from_le_bytes([self.byte()?, self.byte()?]));
        let len = usize::from(self.byte()?);
        let bytes = &mut disk.0[segment];
        let sector = at % (SEGMENT_BYTES / SECTOR) * SECTOR;
        Some(match kind % 7 {
            0 => bytes.get_mut(sector..sector + (1 + len % 4) * SECTOR).map(|sectors| sectors.fill(0)),
            1 => bytes.get_mut(at..at + len).map(|bytes| bytes.fill(0)),
            2 => {
                self.flips += 1;
                let may = self.is_forged || self.flips <= FLIPS_MAX;
                bytes.get_mut(at).filter(|_| may).map(|byte| *byte ^= 1 << (len % 8))
            }
            3 => (at < bytes.len()).then(|| bytes.truncate(at)),
            4 => {
                let other = usize::from(self.byte()?) % disk.0.len();
                let from = len % (SEGMENT_BYTES / SECTOR) * SECTOR;
                let copied = disk.0[other].get(from..from + SECTOR).map(<[u8]>::to_vec);
                let to = disk.0[segment].get_mut(sector..sector + SECTOR);
                copied.zip(to).map(|(copied, to)| to.copy_from_slice(&copied))
            }
            5 => {
                let (new, rest) = self.rest.split_at(len.min(self.rest.len()));
                self.rest = rest;
                let old = bytes.get_mut(at..at + new.len()).filter(|_| self.is_forged);
                old.map(|old| old.copy_from_slice(new))
            }
            _ if self.is_forged => sign(bytes, sector),
            _ => None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }
}

/// Makes the checksum of a head, or of the frame at `sector`, right.
fn sign(segment: &mut [u8], sector: usize) -> Option<()> {
    let bytes = segment.get_mut(sector..)?;
    let (crc_at, covered) = match sector {
        0 => (HEAD_BYTES - 4, 0..HEAD_BYTES - 4),
        _ => (4, 8..u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?) as usize),
    };
    let crc = crc32c::crc32c(bytes.get(covered)?);
    bytes.get_mut(crc_at..crc_at + 4)?.copy_from_slice(&crc.to_le_bytes());
    Some(())
}

/// A journal as it was written.
struct Written {
    disk: Disk,
    /// The start of the machine that wrote the last frame.
    boot: u64,
    frames: Vec<WrittenFrame>,
    place: Place,
}

struct WrittenFrame {
    header: Header,
    segment: usize,
    offset: usize,
    bytes: Bytes,
}

/// With a sync for each frame, without, with a machine that stopped in between, and with somebody who asked for syncs in between.
static WRITTEN: LazyLock<[Written; 4]> = LazyLock::new(|| {
    [(0, [SYNCED; 2]), (0, [UNSYNCED; 2]), (1, [UNSYNCED; 2]), (0, [UNSYNCED, SYNCED])].map(|(stops, flags)| {
        let mut written = Written { disk: Disk(Vec::new()), boot: 7, frames: Vec::new(), place: Place::START };
        for number in 0..3 {
            written.begin(Origin { store: STORE, boot: written.boot }, flags[0]);
            for (entries, late) in [(&[10][..], 0), (&[700, 0], 0), (&[], 0), (&[5, 5], 1), (&[400], 1)] {
                let flags = flags[late * number / 2];
                written.write(Origin { store: STORE, boot: written.boot }, flags, entries);
            }
            written.boot += if number == 0 { stops } else { 0 };
        }
        written
    })
});

impl Written {
    fn begin(&mut self, origin: Origin, flags: Flags) {
        let mut segment = vec![0; SEGMENT_BYTES];
        let number = u32::try_from(self.disk.0.len() + 1).expect("few");
        segment[..HEAD_BYTES].copy_from_slice(&head(number, origin, self.place, flags));
        self.disk.0.push(segment);
    }

    /// Writes a frame with entries of these sizes behind the newest one of the last segment.
    fn write(&mut self, origin: Origin, flags: Flags, entries: &[usize]) {
        let segment = self.disk.0.len() - 1;
        let newest = self.frames.last().filter(|newest| newest.segment == segment);
        let offset = newest.map_or(HEAD_BYTES, |newest| (newest.offset + newest.bytes.len()).next_multiple_of(SECTOR));
        let mut draft = FrameDraft::new(BytesMut::new());
        for bytes in entries {
            let row = Row { key: Bytes::from_static(b"k"), value: Some(vec![b'x'; *bytes].into()) };
            let (kind, rows) = (Kind::Append, &[row]);
            draft.add(&Draft { kind, log: LogId(0), store: STORE, after: Position::EMPTY, records: &[], rows });
        }
        let position = self.place.position;
        let (bytes, end) = draft.finish(self.place, origin, flags);
        self.disk.0[segment][offset..offset + bytes.len()].copy_from_slice(&bytes);
        let header = Header::parse(&bytes, position, STORE).expect("own encoding");
        self.frames.push(WrittenFrame { header, segment, offset, bytes: bytes.freeze().slice(..header.len()) });
        self.place = end;
    }

    /// What was found is a beginning of what was written. It may only be shorter where nothing behind it proves that there was more.
    fn check(&self, disk: &Disk, origin: Origin, found: &[Header], end: &End) {
        let written: Vec<Header> = self.frames.iter().map(|frame| frame.header).collect();
        assert_eq!(written.get(..found.len()), Some(found), "only what was written is found, in its order");
        assert_eq!(end.place, found.last().map_or(Place::START, Header::end));
        assert_eq!(end.last.as_ref(), found.last());
        let is_there = |frame: &WrittenFrame| {
            disk.0[frame.segment].get(frame.offset..).is_some_and(|rest| rest.starts_with(&frame.bytes))
        };
        let proves = |frame: &WrittenFrame| frame.header.flags.synced || frame.header.origin.boot == origin.boot;
        let lost = self.frames.get(found.len()..).unwrap_or_default();
        assert!(!lost.iter().any(|frame| is_there(frame) && proves(frame)), "what was told to somebody is given up");
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
#[test]
fn the_fuzz_target_runs_over_its_corpus() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "journal", damage);
}
