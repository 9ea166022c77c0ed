//! Journals that end in the middle of something.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use roomhook_log::{
    LogId, Row,
    entry::{Draft, Kind, Position},
};

use super::{
    error::JournalError,
    frame::{Flags, FrameDraft, Origin, Place},
    scan::{End, Walk, segments},
    segment::{Segment, sweep_drafts},
    writer::{Newest, Writer},
};

const ORIGIN: Origin = Origin { store: 0xabc, boot: 7 };
const SYNCED: Flags = Flags { synced: true, closing: false, lost: false };
const UNSYNCED: Flags = Flags { synced: false, ..SYNCED };
const NEWEST: Newest = Newest { position: 0, boot: 7, flags: SYNCED };
const SEGMENT_BYTES: u64 = 16 << 10;

struct Journal {
    folder: tempfile::TempDir,
}

impl Journal {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("tempdir") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn begin(&self) -> Writer {
        Writer::begin(self.path(), ORIGIN, SEGMENT_BYTES, 1, (Place::START, NEWEST), false).expect("begin")
    }

    fn segments(&self) -> Vec<Segment> {
        segments(self.folder.path(), ORIGIN.store).expect("segments")
    }

    /// Frames and end, as a start of the machine `boot` finds them.
    fn read(&self, boot: u64) -> Result<(usize, End), JournalError> {
        let segments = segments(self.folder.path(), ORIGIN.store)?;
        let mut walk = Walk::new(&segments, Place::START, Origin { boot, ..ORIGIN })?;
        let mut frames = 0;
        while walk.next()?.is_some() {
            frames += 1;
        }
        Ok((frames, walk.end()?))
    }
}

/// Writes a frame of about `bytes`; a new segment is begun when it has to be.
fn write(writer: &mut Writer, bytes: usize, flags: Flags) -> Place {
    let mut draft = FrameDraft::new(BytesMut::new());
    let row = Row { key: Bytes::from_static(b"k"), value: Some(Bytes::from(vec![b'x'; bytes])) };
    draft.add(&Draft {
        kind: Kind::Append,
        log: LogId(0),
        store: ORIGIN.store,
        after: Position::EMPTY,
        records: &[],
        rows: &[row],
    });
    if !writer.has_room(draft.len()) {
        writer.roll(flags).expect("roll");
    }
    writer.write(draft, flags).expect("write");
    writer.place()
}

fn change(path: &Path, offset: u64, with: impl Fn(u8) -> u8, len: usize) {
    let file = File::options().read(true).write(true).open(path).expect("open");
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset).expect("read");
    bytes.iter_mut().for_each(|byte| *byte = with(*byte));
    file.write_all_at(&bytes, offset).expect("write");
}

#[test]
fn what_was_written_is_found_over_many_segments() {
    let journal = Journal::new();
    let mut writer = journal.begin();
    let places: Vec<Place> = (0..60).map(|n| write(&mut writer, 100 + n * 37, SYNCED)).collect();
    drop(writer);
    assert!(journal.segments().len() > 4, "{:?}", journal.segments());
    let (frames, end) = journal.read(ORIGIN.boot).expect("a whole journal");
    assert_eq!((frames, Some(&end.place)), (60, places.last()));
    assert!(end.is_clean && !end.is_lost);

    // From the middle, as a mirror reads that stands there.
    let segments = journal.segments();
    let mut walk = Walk::new(&segments, places[29], ORIGIN).expect("walk");
    let mut rest = 0;
    while walk.next().expect("next").is_some() {
        rest += 1;
    }
    assert_eq!(rest, 30);
}

#[test]
fn a_frame_larger_than_a_segment_has_one_for_itself() {
    let journal = Journal::new();
    let mut writer = journal.begin();
    for bytes in [100, 100_000, 100] {
        write(&mut writer, bytes, SYNCED);
    }
    let (frames, end) = journal.read(ORIGIN.boot).expect("a whole journal");
    assert_eq!((frames, end.place), (3, writer.place()));
}

#[test]
fn it_goes_on_where_it_ended() {
    let journal = Journal::new();
    let mut writer = journal.begin();
    for _ in 0..10 {
        write(&mut writer, 700, SYNCED);
    }
    drop(writer);
    for life in 2..6 {
        let (_, end) = journal.read(ORIGIN.boot).expect("read");
        let last = journal.segments().pop().expect("a segment");
        sweep_drafts(&journal.path()).expect("sweep");
        let mut writer =
            Writer::go_on(journal.path(), ORIGIN, SEGMENT_BYTES, last, (end.place, NEWEST)).expect("go on");
        for _ in 0..10 {
            write(&mut writer, 700, SYNCED);
        }
        assert_eq!(journal.read(ORIGIN.boot).expect("read").0, life * 10);
    }
}

#[test]
fn a_torn_last_frame_was_told_to_nobody() {
    let journal = Journal::new();
    let mut writer = journal.begin();
    let before = write(&mut writer, 700, SYNCED);
    let torn = write(&mut writer, 3_000, SYNCED);
    let path = writer.segment().path.clone();
    drop(writer);
    let offset = 512 + before.position;
    // Any sector of it may be missing, also its first.
    for sector in 0..(torn.position - before.position) / 512 {
        let kept = fs::read(&path).expect("read");
        change(&path, offset + sector * 512, |_| 0, 512);
        let (frames, end) = journal.read(8).expect("an end is no damage");
        assert_eq!((frames, end.place, end.is_lost), (1, before, false), "sector {sector}");
        assert!(!end.is_clean);
        fs::write(&path, kept).expect("write");
    }

    // The next life leaves the remains alone and begins a new segment.
    change(&path, offset, |_| 0, 512);
    let mut writer = Writer::begin(journal.path(), ORIGIN, SEGMENT_BYTES, 2, (before, NEWEST), false).expect("begin");
    let end = write(&mut writer, 10, SYNCED);
    let (frames, found) = journal.read(ORIGIN.boot).expect("read");
    assert_eq!((frames, found.place, found.is_clean), (2, end, true));
}

#[test]
fn what_comes_behind_a_hole_proves_damage_and_the_place_is_told() {
    let journal = Journal::new();
    let mut writer = journal.begin();
    let hole = write(&mut writer, 700, SYNCED);
    write(&mut writer, 700, SYNCED);
    write(&mut writer, 700, SYNCED);
    let path = writer.segment().path.clone();
    drop(writer);
    change(&path, 512 + hole.position + 60, |byte| byte ^ 4, 1);
    match journal.read(8) {
        Err(JournalError::Damaged { path: found, offset, reason }) => {
            assert_eq!((found, offset), (path.clone(), 512 + hole.position));
            assert!(reason.contains("later"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    change(&path, 512 + hole.position + 60, |byte| byte ^ 4, 1);
    assert_eq!(journal.read(8).expect("as before").0, 3, "undoing it brings everything back");
}

#[test]
fn a_hole_before_another_segment_is_damage_even_at_the_end_of_its_own() {
    let journal = Journal::new();
    let mut writer = journal.begin();
    while journal.segments().len() < 2 {
        write(&mut writer, 3_000, SYNCED);
    }
    let first = journal.segments().remove(0);
    let second = journal.segments().remove(1);
    let last_frame = second.start.position - 3_584;
    change(&first.path, first.offset(last_frame) + 5, |byte| byte ^ 1, 1);
    let found = journal.read(8);
    assert!(matches!(&found, Err(JournalError::Damaged { path, .. }) if *path == first.path), "{found:?}");
}

#[test]
fn a_missing_segment_is_named() {
    let journal = Journal::new();
    let mut writer = journal.begin();
    while journal.segments().len() < 4 {
        write(&mut writer, 3_000, SYNCED);
    }
    fs::remove_file(&journal.segments()[1].path).expect("remove");
    assert!(matches!(journal.read(8), Err(JournalError::Missing { number: 2, .. })));
}

#[test]
fn what_was_not_synced_may_go_with_its_machine_and_only_then() {
    for frames in [3, 40] {
        let journal = Journal::new();
        let mut writer = journal.begin();
        let hole = write(&mut writer, 700, UNSYNCED);
        for _ in 1..frames {
            write(&mut writer, 700, UNSYNCED);
        }
        drop(writer);
        let first = journal.segments().remove(0);
        change(&first.path, 512 + hole.position, |_| 0, 512);
        let found = journal.read(ORIGIN.boot);
        assert!(matches!(found, Err(JournalError::Damaged { .. })), "the machine never stopped: {found:?}");
        let (kept, end) = journal.read(8).expect("it was not promised");
        assert_eq!((kept, end.place, end.is_lost, end.is_clean), (1, hole, true, false));

        // The start that accepts this goes on in a new segment; what is left of the others is no part of the journal any more.
        let number = journal.segments().pop().expect("last").number + 1;
        let mut writer =
            Writer::begin(journal.path(), ORIGIN, SEGMENT_BYTES, number, (hole, NEWEST), true).expect("begin");
        let end = write(&mut writer, 10, SYNCED);
        let (frames, found) = journal.read(ORIGIN.boot).expect("read");
        assert_eq!((frames, found.place, found.is_lost), (2, end, false));
    }
}

/// Somebody asked for syncs: from then on, what is there proves all before it, however that had been written.
#[test]
fn what_was_synced_proves_what_was_not_and_came_before() {
    for unsynced in [3, 40] {
        let journal = Journal::new();
        let mut writer = journal.begin();
        let hole = write(&mut writer, 700, UNSYNCED);
        for _ in 1..unsynced {
            write(&mut writer, 700, UNSYNCED);
        }
        write(&mut writer, 700, SYNCED);
        drop(writer);
        let first = journal.segments().remove(0);
        change(&first.path, 512 + hole.position, |_| 0, 512);
        let found = journal.read(8);
        assert!(
            matches!(&found, Err(JournalError::Damaged { path, .. }) if *path == first.path),
            "{unsynced}: {found:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_changed_bit_never_gives_other_frames_and_never_fewer_unless_it_is_in_the_last(
        sizes in prop::collection::vec(0usize..4_000, 2..20),
        at: prop::sample::Index,
        which: prop::sample::Index,
        bit in 0..8u8,
    ) {
        let journal = Journal::new();
        let mut writer = journal.begin();
        let mut before_last = Place::START;
        for size in &sizes {
            before_last = writer.place();
            write(&mut writer, *size, SYNCED);
        }
        drop(writer);
        let segments = journal.segments();
        let segment = which.get(&segments);
        let used = 512 + segments.iter().map(|s| s.start.position).find(|p| *p > segment.start.position)
            .unwrap_or(journal.read(8).expect("whole").1.place.position) - segment.start.position;
        let offset = at.index(usize::try_from(used).expect("fits")) as u64;
        change(&segment.path, offset, |byte| byte ^ (1 << bit), 1);
        match journal.read(8) {
            Ok((frames, end)) => {
                let in_last = offset >= 512 && segment.position(offset) >= before_last.position;
                prop_assert!(frames == sizes.len() || (in_last && frames == sizes.len() - 1 && end.place == before_last));
            }
            Err(JournalError::Damaged { path, .. } | JournalError::Version { path, .. } | JournalError::Foreign { path }) => {
                prop_assert!(path == segment.path, "the damaged file is named");
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
