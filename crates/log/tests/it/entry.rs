//! What the fuzz target `entry` runs, and an ordinary test besides. Included by both.

use bytes::{Bytes, BytesMut};
use roomhook_log::{
    Epoch, Key, Lsn, NewRecord, Record,
    entry::{Draft, Entry, Kind, Position, decode_chunk},
};

const HEAD_BYTES: usize = 52;
const CHUNKS_LENGTH_AT: usize = 44;
const ROWS_LENGTH_AT: usize = 48;
const CHUNK_BYTES_MIN: usize = 28;
const CRC_BYTES: usize = 4;

/// Bytes of somebody's disk: as they are, and with lengths and checksums that are right, so that what lies behind is reached.
pub(crate) fn append(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ = decode_chunk(&bytes, Lsn(1));
    read(bytes);
    read(dressed(data));
}

/// What can be read says what the head says, and is written as it was.
fn read(mut bytes: Bytes) {
    let Ok(entry) = Entry::take(&mut bytes) else { return };
    let head = &entry.head;
    let before = Position { next: head.first, crc: head.previous, ..head.position() };
    let of_epoch = |epoch| head.continues(&Position { epoch, ..before }).is_ok();
    let next_epoch = of_epoch(Epoch(head.epoch.0.wrapping_sub(1)));
    assert_eq!(
        (of_epoch(head.epoch), next_epoch),
        match head.kind {
            // A log that lost its end goes on in the first epoch after the loss.
            Kind::Append => (true, head.epoch.0 > 0 && head.epoch.claims() == 0),
            Kind::Claim => (false, head.epoch.0 > 0),
        }
    );
    let (Ok(pieces), Ok(rows)) = (entry.pieces(), entry.rows()) else { return };
    let Some(records) = records(&entry) else { return };
    let lsns = (head.first.0..).take(records.len());
    assert!(records.iter().zip(lsns).all(|(record, lsn)| (record.lsn, record.epoch) == (Lsn(lsn), head.epoch)));
    assert_eq!(head.position().next.0 - head.first.0, records.len() as u64);

    let given: Vec<NewRecord> = records.iter().map(given).collect();
    let mut out = BytesMut::new();
    let draft =
        Draft { kind: head.kind, log: head.log, store: head.store, after: before, records: &given, rows: &rows };
    let (again, cut) = draft.encode(&mut out);
    let mut out = out.freeze();
    // Chunks may end elsewhere than our writer would end them, and a time may be older than that of a record.
    if cut == pieces && again.newest_at_ms == head.newest_at_ms {
        assert_eq!(&out, entry.bytes());
    }
    let again = Entry::take(&mut out).expect("own encoding");
    assert_eq!((again.rows().expect("rows"), self::records(&again).expect("records")), (rows, records));
}

fn records(entry: &Entry) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    for piece in entry.pieces().ok()? {
        let read = decode_chunk(&entry.chunk(&piece), piece.first).ok()?;
        assert_eq!(read.len(), piece.count as usize);
        records.extend(read);
    }
    Some(records)
}

fn given(record: &Record) -> NewRecord {
    NewRecord { key: Key(record.key.0.clone()), at_ms: record.at_ms, payload: record.payload.clone() }
}

fn dressed(data: &[u8]) -> Bytes {
    let mut bytes = data.to_vec();
    bytes.resize(bytes.len().max(HEAD_BYTES), 0);
    bytes[0] = roomhook_log::entry::VERSION;
    let rest = bytes.len() - HEAD_BYTES;
    let chunks = number(&bytes, CHUNKS_LENGTH_AT).min(rest);
    put(&mut bytes, CHUNKS_LENGTH_AT, chunks as u32);
    put(&mut bytes, ROWS_LENGTH_AT, (rest - chunks) as u32);
    let (mut at, end) = (HEAD_BYTES, HEAD_BYTES + chunks);
    while end - at >= CHUNK_BYTES_MIN {
        let len = number(&bytes, at);
        let len = if (CHUNK_BYTES_MIN..=end - at).contains(&len) { len } else { end - at };
        put(&mut bytes, at, len as u32);
        let crc = crc32c::crc32c(&bytes[at..at + len - CRC_BYTES]);
        put(&mut bytes, at + len - CRC_BYTES, crc);
        at += len;
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes.into()
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes")) as usize
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
