//! The mark: how far a log had got, in a small file beside its database.
//!
//! fjall takes a broken batch in its journal for a torn last write and drops it and all that follows, without a word.
//! The mark is written after each commit, so the next start sees that acknowledged records are missing. It is synced about
//! once a second: after a power cut it may be behind the log by that much, never ahead of it when each commit was synced.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::{Buf, BufMut};
use roomhook_log::{Bounds, Lsn};

use crate::durable;

const MAGIC: u32 = 0x5248_4d31;
const SLOT_BYTES: usize = 48;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Which start of the machine wrote it: files that were not synced are only complete within one.
    pub(crate) boot: u64,
    /// The records were synced before the mark was written.
    pub(crate) synced: bool,
    pub(crate) bounds: Bounds,
    pub(crate) segments: u32,
}

/// Two slots, written in turn, so that a torn write leaves the other one.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    turn: u64,
}

impl Mark {
    /// Opens the mark of a log, or makes one that says nothing.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Marked>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if let Some(folder) = path.parent() {
            durable::sync_folder(folder)?;
        }
        let newest = newest(&file);
        let turn = newest.map_or(0, |(turn, _)| turn);
        Ok((Self { file, turn }, newest.map(|(_, marked)| marked)))
    }

    pub(crate) fn read(path: &Path) -> io::Result<Option<Marked>> {
        Ok(newest(&File::open(path)?).map(|(_, marked)| marked))
    }

    pub(crate) fn write(&mut self, marked: Marked) -> io::Result<()> {
        self.turn += 1;
        self.file.write_all_at(&encode(self.turn, marked), (self.turn % 2) * SLOT_BYTES as u64)
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn newest(file: &File) -> Option<(u64, Marked)> {
    let slot = |number: u64| {
        let mut bytes = [0; SLOT_BYTES];
        file.read_exact_at(&mut bytes, number * SLOT_BYTES as u64).ok()?;
        decode(&bytes)
    };
    [slot(0), slot(1)].into_iter().flatten().max_by_key(|(turn, _)| *turn)
}

fn encode(turn: u64, marked: Marked) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let mut out = &mut slot[..];
    out.put_u32_le(MAGIC);
    out.put_u64_le(turn);
    out.put_u64_le(marked.boot);
    out.put_u64_le(marked.bounds.first.0);
    out.put_u64_le(marked.bounds.next.0);
    out.put_u32_le(marked.segments);
    out.put_u8(marked.synced.into());
    let body = SLOT_BYTES - 4;
    let crc = crc32c::crc32c(&slot[..body]);
    slot[body..].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Marked)> {
    let (body, crc) = slot.split_last_chunk::<4>()?;
    let mut fields = body;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) || fields.get_u32_le() != MAGIC {
        return None;
    }
    let (turn, boot) = (fields.get_u64_le(), fields.get_u64_le());
    let bounds = Bounds { first: Lsn(fields.get_u64_le()), next: Lsn(fields.get_u64_le()) };
    let segments = fields.get_u32_le();
    Some((turn, Marked { boot, synced: fields.get_u8() != 0, bounds, segments }))
}

/// A number for this start of the machine; 0 when it cannot be told.
pub(crate) fn boot_number() -> u64 {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (front, back) = id.split_at(id.len() / 2);
    u64::from(crc32c::crc32c(front)) << 32 | u64::from(crc32c::crc32c(back))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(next: u64) -> Marked {
        Marked { boot: 5, synced: true, bounds: Bounds { first: Lsn(3), next: Lsn(next) }, segments: 2 }
    }

    #[test]
    fn the_newest_mark_is_read_and_a_torn_one_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("mark");
        let (mut mark, before) = Mark::open(&path).expect("open");
        assert_eq!(before, None);
        for next in 10..15 {
            mark.write(marked(next)).expect("write");
            assert_eq!(Mark::read(&path).expect("read"), Some(marked(next)));
        }
        let torn_slot = (mark.turn % 2) * SLOT_BYTES as u64;
        mark.file.write_all_at(&[0xff; 20], torn_slot).expect("tear");
        let (mut mark, before) = Mark::open(&path).expect("open");
        assert_eq!(before, Some(marked(13)));
        mark.write(marked(20)).expect("write");
        assert_eq!(Mark::read(&path).expect("read"), Some(marked(20)));
    }
}
