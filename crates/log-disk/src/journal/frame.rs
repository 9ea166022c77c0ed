//! A frame: what one write of the journal puts on the disk, and what one sync makes durable. It holds entries of any number of
//! logs.
//!
//! ```text
//! frame   magic u32 | crc32c u32 of all behind it | length u32 of all of it | entries u32 | position u64 | store u64
//!         | boot u64 | previous u32 | flags u32 | entries                                   (numbers little endian)
//! ```
//!
//! A frame is written when the one before is durable, never earlier. So a frame that is whole proves all before it, and where
//! one is not whole and nothing whole follows, the journal ends: nobody was told that it holds more.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roomhook_log::entry::{Draft, Entry, EntryError, Head, Piece};

pub(crate) const HEADER_BYTES: usize = 48;
/// Frames start at multiples of this, so that none shares a sector with one that was acknowledged before.
pub(crate) const ALIGNMENT: u64 = 512;
/// More than the largest append and what may ride along with it.
pub(crate) const BYTES_MAX: usize = 16 << 20;

const MAGIC: u32 = 0x314A_4852;
const CRC_FROM: usize = 8;

/// A point between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// In bytes of all segments since the store was made.
    pub(crate) position: u64,
    /// Checksum of the frame that ends here; 0 at the beginning.
    pub(crate) crc: u32,
}

impl Place {
    pub(crate) const START: Self = Self { position: 0, crc: 0 };
}

/// Which store, and which start of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) store: u64,
    pub(crate) boot: u64,
}

/// How a frame was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// It, and all before it, was synced before anybody was told.
    pub(crate) synced: bool,
    /// The last one of an orderly stop: nothing was under way.
    pub(crate) closing: bool,
    /// Only of a segment's head: what lay before lost its end. Every log goes on in an epoch after that loss.
    pub(crate) lost: bool,
}

impl Flags {
    pub(crate) fn bits(self) -> u32 {
        u32::from(self.synced) | u32::from(self.closing) << 1 | u32::from(self.lost) << 2
    }

    pub(crate) fn parse(bits: u32) -> Self {
        Self { synced: bits & 1 != 0, closing: bits & 2 != 0, lost: bits & 4 != 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    crc: u32,
    length: u32,
    entries: u32,
    position: u64,
    pub(crate) origin: Origin,
    previous: u32,
    pub(crate) flags: Flags,
}

impl Header {
    /// `None` when the bytes cannot be the header of a frame that starts at `position`.
    pub(crate) fn parse(mut bytes: &[u8], position: u64, store: u64) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || bytes.get_u32_le() != MAGIC {
            return None;
        }
        let header = Self {
            crc: bytes.get_u32_le(),
            length: bytes.get_u32_le(),
            entries: bytes.get_u32_le(),
            position: bytes.get_u64_le(),
            origin: Origin { store: bytes.get_u64_le(), boot: bytes.get_u64_le() },
            previous: bytes.get_u32_le(),
            flags: Flags::parse(bytes.get_u32_le()),
        };
        let fits = (HEADER_BYTES..=BYTES_MAX).contains(&header.len());
        (fits && header.position == position && header.origin.store == store).then_some(header)
    }

    /// Bytes of the frame, without what fills it up to the next multiple of [`ALIGNMENT`].
    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether `frame`, which starts with this header, is whole.
    pub(crate) fn is_whole(&self, frame: &[u8]) -> bool {
        frame.len() == self.len() && frame.get(CRC_FROM..).is_some_and(|body| crc32c::crc32c(body) == self.crc)
    }

    /// Whether this frame was written behind the one that ends at `place`.
    pub(crate) fn continues(&self, place: Place) -> bool {
        self.position == place.position && self.previous == place.crc
    }

    pub(crate) fn start(&self) -> u64 {
        self.position
    }

    pub(crate) fn end(&self) -> Place {
        Place { position: self.position + aligned(self.len()), crc: self.crc }
    }
}

/// Bytes that a frame takes up.
pub(crate) fn aligned(len: usize) -> u64 {
    (len as u64).next_multiple_of(ALIGNMENT)
}

/// A frame in the making.
#[derive(Debug)]
pub(crate) struct FrameDraft {
    bytes: BytesMut,
    entries: u32,
}

impl FrameDraft {
    /// Starts a frame in `buffer`, whose content goes.
    pub(crate) fn new(mut buffer: BytesMut) -> Self {
        buffer.clear();
        buffer.put_bytes(0, HEADER_BYTES);
        Self { bytes: buffer, entries: 0 }
    }

    /// Adds an entry, and says at which offset of the frame it lies and where its chunks lie in it.
    pub(crate) fn add(&mut self, entry: &Draft<'_>) -> (Head, u32, Vec<Piece>) {
        let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let (head, pieces) = entry.encode(&mut self.bytes);
        self.entries += 1;
        (head, offset, pieces)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes to write at `place`, filled up to a multiple of [`ALIGNMENT`], and where they end.
    pub(crate) fn finish(mut self, place: Place, origin: Origin, flags: Flags) -> (BytesMut, Place) {
        let length = self.bytes.len();
        assert!(length <= BYTES_MAX, "a frame of {length} bytes: gathering should have stopped earlier");
        let mut header = Header {
            crc: 0,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            entries: self.entries,
            position: place.position,
            origin,
            previous: place.crc,
            flags,
        };
        self.put(&header);
        header.crc = crc32c::crc32c(self.bytes.get(CRC_FROM..).unwrap_or_default());
        self.put(&header);
        let padding = usize::try_from(aligned(length)).unwrap_or(length) - length;
        self.bytes.put_bytes(0, padding);
        (self.bytes, header.end())
    }

    fn put(&mut self, header: &Header) {
        let Some(mut out) = self.bytes.get_mut(..HEADER_BYTES) else { return };
        out.put_u32_le(MAGIC);
        out.put_u32_le(header.crc);
        out.put_u32_le(header.length);
        out.put_u32_le(header.entries);
        out.put_u64_le(header.position);
        out.put_u64_le(header.origin.store);
        out.put_u64_le(header.origin.boot);
        out.put_u32_le(header.previous);
        out.put_u32_le(header.flags.bits());
    }
}

/// A frame that is whole.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    bytes: Bytes,
}

impl Frame {
    /// `bytes` must be those of a frame that [`Header::is_whole`].
    pub(crate) fn new(header: Header, bytes: Bytes) -> Self {
        Self { header, bytes }
    }

    /// Its entries, each with its offset from the start of the frame.
    ///
    /// # Errors
    /// When they are not what the header says, although the frame's checksum is right: another program's doing.
    pub(crate) fn entries(&self) -> Result<Vec<(usize, Entry)>, EntryError> {
        let mut rest = self.bytes.slice(HEADER_BYTES..);
        let mut entries = Vec::with_capacity(4);
        while rest.has_remaining() {
            let offset = self.bytes.len() - rest.len();
            entries.push((offset, Entry::take(&mut rest)?));
        }
        if entries.len() == self.header.entries as usize { Ok(entries) } else { Err(EntryError::Content) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roomhook_log::{
        Key, LogId, NewRecord,
        entry::{Kind, Position},
    };

    use super::*;

    const ORIGIN: Origin = Origin { store: 0xabc, boot: 7 };
    const SYNCED: Flags = Flags { synced: true, closing: false, lost: false };

    /// A frame with an entry for each of `sizes`, behind `place`.
    fn frame(place: Place, sizes: &[usize]) -> (Bytes, Place) {
        let mut draft = FrameDraft::new(BytesMut::new());
        for (log, size) in (0..).zip(sizes) {
            let record =
                NewRecord { key: Key(Bytes::from_static(b"room")), at_ms: 5, payload: Bytes::from(vec![b'x'; *size]) };
            draft.add(&Draft {
                kind: Kind::Append,
                log: LogId(log),
                store: ORIGIN.store,
                after: Position::EMPTY,
                records: &[record],
                rows: &[],
            });
        }
        let (bytes, end) = draft.finish(place, ORIGIN, SYNCED);
        (bytes.freeze(), end)
    }

    fn whole(bytes: &Bytes, position: u64) -> Option<Frame> {
        let header = Header::parse(bytes, position, ORIGIN.store)?;
        let bytes = (header.len() <= bytes.len()).then(|| bytes.slice(..header.len()))?;
        header.is_whole(&bytes).then(|| Frame::new(header, bytes))
    }

    #[test]
    fn frames_follow_each_other() {
        let (bytes, end) = frame(Place::START, &[10, 600, 0]);
        assert_eq!(bytes.len() as u64, end.position);
        assert_eq!(end.position % ALIGNMENT, 0);
        let first = whole(&bytes, 0).expect("whole");
        assert!(first.header.continues(Place::START));
        assert_eq!(first.header.end(), end);
        assert_eq!((first.header.origin, first.header.flags), (ORIGIN, SYNCED));
        let entries = first.entries().expect("entries");
        assert_eq!(entries.iter().map(|(_, entry)| entry.head.log.0).collect::<Vec<_>>(), [0, 1, 2]);
        for (offset, entry) in &entries {
            assert_eq!(bytes.slice(*offset..*offset + entry.head.size()), entry.bytes(), "it lies where it is said");
        }

        let (next, _) = frame(end, &[1]);
        let next = whole(&next, end.position).expect("whole");
        assert!(next.header.continues(end));
        assert!(!next.header.continues(Place { crc: end.crc + 1, ..end }), "another frame lay before it");
    }

    #[test]
    fn a_frame_is_one_only_where_it_was_written_and_in_its_store() {
        let (bytes, _) = frame(Place { position: 1024, crc: 3 }, &[10]);
        assert!(whole(&bytes, 1024).is_some());
        assert!(whole(&bytes, 512).is_none(), "a copy of it elsewhere is none");
        assert!(Header::parse(&bytes, 1024, ORIGIN.store + 1).is_none(), "nor one that somebody put into a message");
    }

    #[test]
    fn an_empty_frame_can_close_a_journal() {
        let closing = Flags { closing: true, ..SYNCED };
        let (bytes, end) = FrameDraft::new(BytesMut::new()).finish(Place::START, ORIGIN, closing);
        let frame = whole(&bytes.freeze(), 0).expect("whole");
        assert_eq!((frame.header.flags, end.position), (closing, ALIGNMENT));
        assert!(frame.entries().expect("none").is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_changed_bit_is_noticed_unless_it_only_fills(at: prop::sample::Index, bit in 0..8u8) {
            let (bytes, _) = frame(Place::START, &[40, 700]);
            let before = whole(&bytes, 0).expect("whole");
            let mut changed = bytes.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            let after = whole(&Bytes::from(changed), 0);
            prop_assert_eq!(after.is_some(), at >= before.header.len());
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut draft = FrameDraft::new(BytesMut::new());
            draft.bytes.put_slice(&body);
            draft.entries += 1;
            let (dressed, _) = draft.finish(Place::START, ORIGIN, SYNCED);
            prop_assert!(whole(&dressed.freeze(), 0).expect("whole").entries().is_err());
            let _ = whole(&Bytes::from(body), 0);
        }
    }
}
