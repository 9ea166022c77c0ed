//! The bytes of a file, sparse and cheap to copy.

use std::collections::HashMap;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// What the kernel writes out as one.
pub(super) const PAGE_BYTES: usize = 4_096;
/// What a disk writes as one.
pub(super) const SECTOR_BYTES: usize = 512;

type Page = [u8; PAGE_BYTES];

/// Pages that are not there are zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: HashMap<u64, Arc<Page>>,
    len: u64,
}

/// Something that was done to a file.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    Len(u64),
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that take up room.
    pub(super) fn allocated(&self) -> u64 {
        (self.pages.len() * PAGE_BYTES) as u64
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, data } => self.write(*offset, data),
            Change::Len(len) => self.set_len(*len),
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut written = 0;
        while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
            let (number, from) = place_of(offset + written as u64);
            let part = rest.len().min(PAGE_BYTES - from);
            let page = self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[from..from + part].copy_from_slice(&rest[..part]);
            written += part;
        }
        self.len = self.len.max(offset + written as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (last, used) = place_of(len);
            self.pages.retain(|number, _| *number < last || (*number == last && used > 0));
            if let Some(page) = self.pages.get_mut(&last) {
                Arc::make_mut(page)[used..].fill(0);
            }
        }
        self.len = len;
    }

    /// As much of `len` bytes from `offset` on as there is.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let len = usize::try_from(self.len.saturating_sub(offset)).map_or(len, |left| left.min(len));
        let mut read = Vec::with_capacity(len);
        while read.len() < len {
            let (number, from) = place_of(offset + read.len() as u64);
            let until = PAGE_BYTES.min(from + len - read.len());
            match self.pages.get(&number) {
                Some(page) => read.extend_from_slice(&page[from..until]),
                None => read.resize(read.len() + until - from, 0),
            }
        }
        read
    }

    /// Writes it to a file of the machine, which is empty and long enough.
    pub(super) fn copy_to(&self, file: &std::fs::File) -> std::io::Result<()> {
        self.pages.iter().try_for_each(|(number, page)| {
            let offset = number * PAGE_BYTES as u64;
            let len = usize::try_from(self.len.saturating_sub(offset)).map_or(PAGE_BYTES, |left| left.min(PAGE_BYTES));
            file.write_all_at(&page[..len], offset)
        })
    }

    /// Bytes of one piece of `bytes`, which divides a page, as if the file were long enough.
    pub(super) fn piece(&self, number: u64, bytes: usize) -> Vec<u8> {
        let (page, from) = place_of(number * bytes as u64);
        self.pages.get(&page).map_or_else(|| vec![0; bytes], |page| page[from..from + bytes].to_vec())
    }

    /// Sets a piece, and never the length.
    pub(super) fn set_piece(&mut self, number: u64, bytes: &[u8]) {
        let len = self.len;
        let offset = number * bytes.len() as u64;
        if offset < len {
            self.write(offset, bytes);
            self.set_len(len);
        }
    }
}

fn place_of(offset: u64) -> (u64, usize) {
    let bytes = PAGE_BYTES as u64;
    (offset / bytes, (offset % bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_was_cut_off_is_zeros() {
        let mut content = Content::default();
        content.write(4_090, b"over the edge");
        assert_eq!(content.len(), 4_103);
        assert_eq!(content.read(4_088, 100), b"\0\0over the edge");
        let copy = content.clone();
        content.set_len(4_094);
        content.set_len(5_000);
        assert_eq!(content.read(4_090, 10), b"over\0\0\0\0\0\0");
        assert_eq!(copy.read(4_090, 100), b"over the edge", "a copy stays as it is");
        content.set_piece(9, &[7; SECTOR_BYTES]);
        assert_eq!((content.len(), content.read(4_999, 9)), (5_000, vec![7]), "a piece makes nothing longer");
    }
}
