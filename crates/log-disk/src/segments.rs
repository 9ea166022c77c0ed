//! The segments of a log: what retention drops as a whole.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use fjall::Keyspace;
use parking_lot::RwLock;
use roomhook_log::Lsn;

/// One segment: two keyspaces. As long as a reader holds it, its files stay.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) first: Lsn,
    pub(crate) events: Keyspace,
    pub(crate) index: Keyspace,
}

impl Segment {
    /// Bytes on disk, as compressed; what is still in memory is not counted.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.events.disk_space() + self.index.disk_space()
    }
}

/// All segments, oldest first; never empty. The last one is written to.
pub(crate) struct Segments(RwLock<Arc<Vec<Segment>>>);

impl Segments {
    pub(crate) fn new(segments: Vec<Segment>) -> Self {
        Self(RwLock::new(Arc::new(segments)))
    }

    /// The segments of this moment. Keep it only for one read: it keeps dropped segments on disk.
    pub(crate) fn all(&self) -> Arc<Vec<Segment>> {
        Arc::clone(&self.0.read())
    }

    pub(crate) fn first(&self) -> Lsn {
        self.0.read().first().map_or(Lsn::FIRST, |segment| segment.first)
    }

    pub(crate) fn active(&self) -> Option<Segment> {
        self.0.read().last().cloned()
    }

    pub(crate) fn push(&self, segment: Segment) {
        Arc::make_mut(&mut self.0.write()).push(segment);
    }

    /// Takes out the oldest segment, unless it is the last one.
    pub(crate) fn take_oldest(&self) -> Option<Segment> {
        let mut segments = self.0.write();
        (segments.len() > 1).then(|| Arc::make_mut(&mut segments).remove(0))
    }
}

pub(crate) fn events_name(id: u32) -> String {
    format!("ev{id:06}")
}

pub(crate) fn index_name(id: u32) -> String {
    format!("ix{id:06}")
}

/// What is stored about a segment. The row of a new segment is written with its first records, so a segment that has a
/// row is never empty, but for the first one of a new log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    pub(crate) first: Lsn,
    pub(crate) sealed: Option<Sealed>,
}

/// Known once no more records are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Position after the last record.
    pub(crate) next: Lsn,
    pub(crate) newest_at_ms: u64,
}

impl SegmentRow {
    pub(crate) const PREFIX: &'static [u8] = b"segment/";

    pub(crate) fn key(id: u32) -> Vec<u8> {
        [Self::PREFIX, &id.to_be_bytes()].concat()
    }

    pub(crate) fn parse_key(key: &[u8]) -> Option<u32> {
        key.strip_prefix(Self::PREFIX)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.put_u64_le(self.first.0);
        if let Some(sealed) = self.sealed {
            out.put_u64_le(sealed.next.0);
            out.put_u64_le(sealed.newest_at_ms);
        }
        out
    }

    pub(crate) fn decode(mut stored: &[u8]) -> Option<Self> {
        let sealed = match stored.len() {
            8 => false,
            24 => true,
            _ => return None,
        };
        let first = Lsn(stored.get_u64_le());
        let sealed = sealed.then(|| Sealed { next: Lsn(stored.get_u64_le()), newest_at_ms: stored.get_u64_le() });
        Some(Self { first, sealed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let sealed = Some(Sealed { next: Lsn(9), newest_at_ms: 7 });
        for row in [SegmentRow { first: Lsn(5), sealed }, SegmentRow { first: Lsn(1), sealed: None }] {
            assert_eq!(SegmentRow::decode(&row.encode()), Some(row));
        }
        assert_eq!(SegmentRow::decode(b"short"), None);
        assert_eq!(SegmentRow::parse_key(&SegmentRow::key(17)), Some(17));
        assert_eq!(SegmentRow::parse_key(b"segment/"), None);
    }
}
