//! Where a mirror, or a dump, stands: everything before is in it, nothing after.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};
use roomhook_log::{Epoch, LogId, Lsn, entry::Position};

/// A point in a log of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Where the log's own files (or its stream) go on, in words of its own: opaque here.
    pub place: [u64; 4],
    /// Where each log stood.
    pub logs: BTreeMap<LogId, Position>,
    /// Records that the owners need beside their rows *as they are in here*, from these positions on; all, where none is said. The
    /// floors of [`Stand::logs`] are not that: an owner's rows are not in the log's files, so what a power cut takes of them is not
    /// made up for by reading on.
    pub floors: BTreeMap<LogId, Lsn>,
}

impl Stand {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + 10 * self.floors.len() + 30 * self.logs.len());
        self.place.iter().for_each(|part| out.put_u64_le(*part));
        out.put_u16_le(u16::try_from(self.floors.len()).unwrap_or(u16::MAX));
        for (log, floor) in &self.floors {
            out.put_u16_le(log.0);
            out.put_u64_le(floor.0);
        }
        put_logs(&self.logs, &mut out);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// `None` when the bytes are something else.
    pub(crate) fn decode(stored: &[u8]) -> Option<Self> {
        let (body, crc) = stored.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = body;
        let mut place = [0; 4];
        for part in &mut place {
            *part = rest.try_get_u64_le().ok()?;
        }
        let mut floors = BTreeMap::new();
        for _ in 0..rest.try_get_u16_le().ok()? {
            floors.insert(LogId(rest.try_get_u16_le().ok()?), Lsn(rest.try_get_u64_le().ok()?));
        }
        Some(Self { place, logs: logs(rest)?, floors })
    }
}

fn put_logs(logs: &BTreeMap<LogId, Position>, out: &mut Vec<u8>) {
    for (log, position) in logs {
        out.put_u16_le(log.0);
        out.put_u64_le(position.epoch.0);
        out.put_u64_le(position.next.0);
        out.put_u64_le(position.newest_at_ms);
        out.put_u32_le(position.crc);
    }
}

fn logs(mut rest: &[u8]) -> Option<BTreeMap<LogId, Position>> {
    let mut logs = BTreeMap::new();
    while !rest.is_empty() {
        let log = LogId(rest.try_get_u16_le().ok()?);
        let position = Position {
            epoch: Epoch(rest.try_get_u64_le().ok()?),
            next: Lsn(rest.try_get_u64_le().ok()?),
            newest_at_ms: rest.try_get_u64_le().ok()?,
            crc: rest.try_get_u32_le().ok()?,
        };
        logs.insert(log, position);
    }
    Some(logs)
}

/// A segment of the log's files, and where each log stood when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    pub number: u32,
    /// Where it begins, as the first part of [`Stand::place`] counts.
    pub place: u64,
    pub logs: BTreeMap<LogId, Lsn>,
    /// The newest time of a record before it.
    pub newest_at_ms: u64,
}

impl SegmentStart {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 10 * self.logs.len());
        out.put_u64_le(self.place);
        out.put_u64_le(self.newest_at_ms);
        for (log, next) in &self.logs {
            out.put_u16_le(log.0);
            out.put_u64_le(next.0);
        }
        out
    }

    /// `None` when the bytes are something else.
    pub(crate) fn decode(number: u32, mut stored: &[u8]) -> Option<Self> {
        let (place, newest_at_ms) = (stored.try_get_u64_le().ok()?, stored.try_get_u64_le().ok()?);
        let mut logs = BTreeMap::new();
        while !stored.is_empty() {
            logs.insert(LogId(stored.try_get_u16_le().ok()?), Lsn(stored.try_get_u64_le().ok()?));
        }
        Some(Self { number, place, logs, newest_at_ms })
    }

    /// Where a log goes on in this segment. One that is not named had nothing before.
    #[must_use]
    pub fn first(&self, log: LogId) -> Lsn {
        self.logs.get(&log).copied().unwrap_or(Lsn::FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_comes_back_and_a_changed_bit_is_noticed() {
        let position = Position { epoch: Epoch(3), next: Lsn(77), newest_at_ms: 9, crc: 8 };
        let logs = [(LogId(0), position), (LogId::DIRECTORY, Position::EMPTY)].into();
        let stand = Stand { place: [1, 2, 3, 4], logs, floors: [(LogId(0), Lsn(4))].into() };
        let stored = stand.encode();
        assert_eq!(Stand::decode(&stored), Some(stand));
        for bit in 0..stored.len() * 8 {
            let mut changed = stored.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stand::decode(&changed), None, "bit {bit}");
        }
    }

    #[test]
    fn the_start_of_a_segment_comes_back() {
        let start = SegmentStart { number: 4, place: 8, logs: [(LogId(1), Lsn(9))].into(), newest_at_ms: 17 };
        assert_eq!(SegmentStart::decode(4, &start.encode()), Some(start.clone()));
        assert_eq!((start.first(LogId(1)), start.first(LogId(2))), (Lsn(9), Lsn::FIRST));
        assert_eq!(SegmentStart::decode(4, b"short"), None);
    }
}
